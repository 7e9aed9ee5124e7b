/* SPDX-License-Identifier: MIT */
/*
 * Layout - what lies where in a segment, and who writes it
 *
 * A segment is one memfd with exactly one writer, its owner; the peer maps it read-only. It holds
 *
 *      0     header: informational, checked once when the link is made
 *   4096     tail      descriptors that the owner has published
 *   4224     space_ev  "ring me when your head passes this"
 *   4352     head      descriptors of the peer's segment that the owner has taken
 *   4480     ev        event index: "ring me when your tail passes this"
 *   4608     life      coarse clock and statistics: hints, never trusted
 *   8192     slots     64 bytes each, a power of two of them
 *  aligned   area      blocks for payload
 *
 * Each hot word has a pair of cache lines of its own (the second one because the adjacent-line prefetcher
 * drags it along). head and ev are apart so that the producer's look at ev stays a cache hit while the
 * consumer moves head. All cursors run freely and are compared by unsigned difference only.
 *
 * Only files in shm/ include this header.
 */
#ifndef VN_SHM_LAYOUT_H
#define VN_SHM_LAYOUT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/protocol.h"
#include "shm/segment.h"

#define VN_SEGMENT_MAGIC  0x314c4e56u /* "VNL1" */
#define VN_LAYOUT_VERSION 1u
#define VN_CURSOR_START   0xfffffff0u /* near the wrap, so that every link wraps early */

typedef struct vn_segment_header {
	uint32_t magic;
	uint32_t version;
	uint32_t features;
	uint32_t incarnation;
	uint32_t n_slots;
	uint32_t area_bytes;
} vn_segment_header;

typedef struct vn_segment_layout {
	vn_segment_header header;
	unsigned char pad_header[4096 - sizeof(vn_segment_header)];
	uint32_t tail;
	unsigned char pad_tail[124];
	uint32_t space_ev;
	unsigned char pad_space_ev[124];
	uint32_t head;
	unsigned char pad_head[124];
	uint32_t ev;
	unsigned char pad_ev[124];
	uint64_t life[448];
	vn_desc slots[];
} vn_segment_layout;

static_assert(sizeof(vn_desc) == 64, "a descriptor is one cache line");
static_assert(offsetof(vn_segment_layout, tail) == 4096, "layout");
static_assert(offsetof(vn_segment_layout, space_ev) == 4224, "layout");
static_assert(offsetof(vn_segment_layout, head) == 4352, "layout");
static_assert(offsetof(vn_segment_layout, ev) == 4480, "layout");
static_assert(offsetof(vn_segment_layout, life) == 4608, "layout");
static_assert(offsetof(vn_segment_layout, slots) == VN_SEGMENT_SLOTS, "layout");

#endif
