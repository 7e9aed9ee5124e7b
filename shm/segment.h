/* SPDX-License-Identifier: MIT */
/*
 * Segment - a memfd with one writer, sealed so that the other side can only ever read it
 *
 * The broker makes both segments of a link. SHRINK and GROW are sealed at once, so a mapping can never be
 * made to fault by a truncation. FUTURE_WRITE and SEAL follow as soon as the owner has its writable mapping:
 * from then on nobody can map the memory writable, truncate it, punch holes or change the seals. A mapping
 * made before the seal could be made writable by mprotect: so the reader maps only after it.
 */
#ifndef VN_SHM_SEGMENT_H
#define VN_SHM_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "shm/crash.h"
#include "shm/protocol.h"

#define VN_SEGMENT_SLOTS 8192u /* where the slots begin: layout.h */

typedef struct vn_geometry {
	uint32_t n_slots;    /* a power of two, 64 to 4096 */
	uint32_t area_bytes; /* a multiple of 64 KiB, 1 MiB to 1 GiB */
} vn_geometry;

typedef struct vn_segment {
	int fd; /* -1 when it is not held any more */
	bool writable;
	vn_geometry geometry;
	size_t size;
	unsigned char *base; /* NULL until mapped */
} vn_segment;

bool vn_geometry_valid(const vn_geometry *g);
size_t vn_geometry_size(const vn_geometry *g);

int vn_segment_create(vn_segment *s, const char *name, const vn_geometry *g, uint32_t incarnation);
int vn_segment_adopt(vn_segment *s, int fd, const vn_geometry *g);
int vn_segment_map(vn_segment *s, bool writable);
int vn_segment_claim(vn_segment *s, uint32_t incarnation);
int vn_segment_seal(vn_segment *s);
int vn_segment_check(const vn_segment *s, uint32_t incarnation);
void vn_segment_deinit(vn_segment *s);

/* Where the area begins, which is where the slots end: they are whole pages. */
static inline size_t
vn_geometry_area(const vn_geometry *g)
{
	return VN_SEGMENT_SLOTS + (size_t)g->n_slots * sizeof(vn_desc);
}

/**
 * Where the payload of a checked descriptor lies, for system calls and views; never dereferenced outside of shm/.
 * @block and @offset were checked against the area (vn_desc_check()) or come from our own allocator.
 */
static inline void *
vn_area_at(const vn_segment *s, uint32_t block, uint32_t offset)
{
	return s->base + vn_geometry_area(&s->geometry) + (size_t)block * VN_GRANULE + offset;
}

/* Copies payload out of a segment; `len` was checked with block and offset against the area. */
static inline void
vn_area_read(const vn_segment *s, uint32_t block, uint32_t offset, void *to, uint32_t len)
{
	VN_CRASH_POINT("block.read.before");
	memcpy(to, vn_area_at(s, block, offset), len);
	VN_CRASH_POINT("block.read.after");
}

/* Copies payload into a block of one's own segment. */
static inline void
vn_area_write(const vn_segment *s, uint32_t block, uint32_t offset, const void *from, uint32_t len)
{
	VN_CRASH_POINT("block.write.before");
	memcpy(vn_area_at(s, block, offset), from, len);
	VN_CRASH_POINT("block.write.after");
}

#endif
