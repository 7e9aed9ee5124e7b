/* SPDX-License-Identifier: MIT */
/*
 * Crossing - one way between two threads: items in chunks
 *
 *     sender: fills a chunk --[full]--> receiver: empties it --[empty]--> sender
 *
 * Two rings of pointers, so neither a lock nor an allocation for an item, and an ordered access for each chunk alone.
 * A chunk has up to 32 items; there are 64 at most, made as they are needed, and then the sender waits for one to come
 * back. The sender publishes a chunk that is full, and at the end of its turn the one that it has begun.
 */
#ifndef VN_OS_CROSSING_H
#define VN_OS_CROSSING_H

#include "client/os/handoff.h"

#define VN_CHUNK_ITEMS 32u
#define VN_N_CHUNKS    64u

typedef struct vn_chunk vn_chunk;

typedef struct vn_crossing {
	/* the sender's */
	vn_chunk *filling; /* NULL: nothing is unpublished */
	uint32_t n_chunks;
	/* nobody's, once it is made */
	uint32_t chunk_items;
	size_t item_size;
	vn_handoff full, empty;
	/* the receiver's */
	vn_chunk *taking __attribute__((aligned(128))); /* NULL: it has none */
	uint32_t taken;                                 /* items of it */
	uint32_t n_given; /* chunks given back since the sender was last told */
} vn_crossing;

bool vn_crossing_init(vn_crossing *c, size_t item_size);
void vn_crossing_deinit(vn_crossing *c);
bool vn_crossing_put(vn_crossing *c, const void *item, int error);
bool vn_crossing_flush(vn_crossing *c);
int vn_crossing_get(vn_crossing *c, void *item);

/* Is it worth while to tell the sender that there is room? Asked by the receiver. */
static inline bool
vn_crossing_has_room(vn_crossing *c)
{
	if (c->n_given < VN_N_CHUNKS / 2 && (c->n_given == 0 || c->taking))
		return false;
	c->n_given = 0;
	return true;
}

#endif
