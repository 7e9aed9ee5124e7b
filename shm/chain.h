/* SPDX-License-Identifier: MIT */
/*
 * Chain - the blocks that hold a stretch of one byte stream, oldest first
 *
 * Both halves of a connection, on both sides, keep the same thing: the blocks between the position up to which
 * the stream is done with and the position that it has reached. A block has one link, found by its number in a
 * table that the chain's owner keeps (private memory, or the broker's ledger): no pointers, no allocation.
 *
 * Bytes fill a block from its start, so a link needs only how far its block is filled and the stream position
 * of that point; where a position lies in a block follows from the two. A block is given back when the stream
 * is done with its last byte.
 */
#ifndef VN_SHM_CHAIN_H
#define VN_SHM_CHAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/block.h"

typedef struct vn_chain_link {
	uint32_t next; /* VN_NO_BLOCK at the end */
	uint32_t fill; /* bytes of the block that are used, from its start */
	uint64_t end;  /* stream position just after them */
} vn_chain_link;

typedef struct vn_chain {
	uint32_t first, last; /* VN_NO_BLOCK when empty */
	uint32_t charge;      /* capacity of its blocks, where the owner counts it */
} vn_chain;

#define VN_CHAIN_EMPTY ((vn_chain){VN_NO_BLOCK, VN_NO_BLOCK, 0})

static inline bool
vn_chain_is_empty(const vn_chain *c)
{
	return c->first == VN_NO_BLOCK;
}

/* Adds a block that is filled up to `fill`, where the stream stands at `end`. */
static inline void
vn_chain_push(vn_chain *c, vn_chain_link *table, uint32_t block, uint32_t fill, uint64_t end)
{
	table[block] = (vn_chain_link){VN_NO_BLOCK, fill, end};
	if (c->first == VN_NO_BLOCK)
		c->first = block;
	else
		table[c->last].next = block;
	c->last = block;
}

/* n more bytes in the last block. */
static inline void
vn_chain_extend(vn_chain *c, vn_chain_link *table, uint32_t n)
{
	table[c->last].fill += n;
	table[c->last].end += n;
}

/* Where stream position `at` lies in its block. */
static inline uint32_t
vn_chain_offset(const vn_chain_link *link, uint64_t at)
{
	return link->fill - (uint32_t)(link->end - at);
}

/* Takes the first block out if the stream is done with it; VN_NO_BLOCK if it is not. */
static inline uint32_t
vn_chain_pop(vn_chain *c, const vn_chain_link *table, uint64_t done)
{
	uint32_t block = c->first;

	if (block == VN_NO_BLOCK || table[block].end > done)
		return VN_NO_BLOCK;
	c->first = table[block].next;
	if (c->first == VN_NO_BLOCK)
		c->last = VN_NO_BLOCK;
	return block;
}

/* Gives back every block that the stream is done with. */
static inline void
vn_chain_free(vn_chain *c, const vn_chain_link *table, vn_blocks *blocks, uint64_t done)
{
	uint32_t block;

	while ((block = vn_chain_pop(c, table, done)) != VN_NO_BLOCK)
		c->charge -= vn_block_free(blocks, block);
}

#endif
