/* SPDX-License-Identifier: MIT */
/*
 * Datagram - datagrams in blocks, one after another
 *
 * Datagrams lie in blocks as a stream of frames, so that what streams have serves them too: positions, chains of
 * blocks, acknowledgements, windows. One block, and one descriptor, carry a whole batch.
 *
 *     head  payload  head  payload  ...
 *
 * A frame is a head (both addresses, the interface, the length) and the payload of one datagram or of a run of
 * them: datagrams of one size with the same addresses, of which the last may be shorter. That is what the kernel
 * gives and takes as one message (UDP_GRO, UDP_SEGMENT). Neither a head nor a payload is ever cut; where both do
 * not fit into one block, the payload begins the next one.
 *
 * The writer makes a run as long as the frame at its end is not published; what is published never changes. Who
 * reads frames of somebody else's reads each head once, into memory of its own, and believes nothing.
 */
#ifndef VN_SHM_DATAGRAM_H
#define VN_SHM_DATAGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/chain.h"
#include "shm/segment.h"

#define VN_RUN_DATAGRAMS 64    /* what every kernel takes that has UDP_SEGMENT */
#define VN_RUN_BYTES     65507 /* and IPv4 can carry */

enum { /* vn_datagram_head.flags, of what was received */
	VN_DATAGRAM_TRUNCATED = 1,
	VN_DATAGRAM_GROUP = 2, /* `local` is a group or everybody: no address to send from */
};

typedef struct vn_datagram_head {
	uint32_t len;     /* bytes of payload */
	uint16_t segment; /* of a run: bytes of each datagram but the last; 0: one datagram */
	uint8_t family;   /* AF_INET, AF_INET6; 0: the peer that the socket is connected to */
	uint8_t flags;
	uint32_t interface; /* by which it came or goes; 0: any */
	uint32_t scope;     /* of the peer, AF_INET6 */
	uint16_t port;      /* of the peer, in network byte order */
	uint16_t zero;
	uint8_t peer[16];  /* 4 bytes, the rest 0; or 16 */
	uint8_t local[16]; /* likewise; all zero: any */
} vn_datagram_head;

_Static_assert(sizeof(vn_datagram_head) == 52, "no gaps, so that heads can be compared");

#define VN_FRAME_HEAD ((uint32_t)sizeof(vn_datagram_head))

/* A stream of frames, as its writer has it. */
typedef struct vn_frames {
	vn_chain chain; /* the blocks between what is done with and `end` */
	uint64_t end;
	uint32_t run_block,
		run_offset; /* the head of the last frame while that can grow; VN_NO_BLOCK */
	vn_datagram_head run;
} vn_frames;

#define VN_FRAMES_EMPTY ((vn_frames){.chain = VN_CHAIN_EMPTY, .run_block = VN_NO_BLOCK})

/* Where they lie. */
typedef struct vn_frame_area {
	const vn_segment *segment;
	vn_chain_link *table; /* by block */
	vn_blocks *blocks;    /* the writer's */
} vn_frame_area;

/* A frame, as its reader has it. */
typedef struct vn_frame {
	vn_datagram_head head;
	uint32_t block, offset; /* of the payload */
	uint64_t end;           /* position after it */
} vn_frame;

bool vn_frames_grow(
	vn_frames *f, const vn_frame_area *a, const vn_datagram_head *h, const void *data);
uint32_t vn_frames_need(
	const vn_frames *f, const vn_frame_area *a, uint32_t len, unsigned int size_class);
bool vn_frames_add(vn_frames *f, const vn_frame_area *a, const vn_datagram_head *h,
	const void *data, unsigned int size_class);
int vn_frame_at(const vn_frame_area *a, uint32_t block, uint64_t at, vn_frame *f);

/* What is there can be read by others from here on: nothing is added to it. */
static inline void
vn_frames_seal(vn_frames *f)
{
	f->run_block = VN_NO_BLOCK;
}

/* Datagrams in a frame. */
static inline uint32_t
vn_frame_datagrams(const vn_datagram_head *h)
{
	return h->segment ? (h->len + h->segment - 1) / h->segment : 1;
}

/* Bytes of the datagram that begins at `at` of a frame's payload. */
static inline uint32_t
vn_frame_datagram_len(const vn_datagram_head *h, uint32_t at)
{
	uint32_t left = h->len - at;

	return h->segment && h->segment < left ? h->segment : left;
}

#endif
