/* SPDX-License-Identifier: MIT */
/*
 * Block - room for payload in the area of a segment, allocated by its owner from private metadata
 *
 * The area is cut into spans of 64 KiB. A span in use serves one class: 256 blocks of 256 bytes, 32 of 2 KiB,
 * 4 of 16 KiB, or one of 64 KiB. Free spans are taken lowest address first, because the memory behind the area
 * is committed on first touch and never given back. Inside a class the block that was freed last is the next
 * to go: it is still in the cache. A span whose blocks are all free goes back, except the last one of its class.
 *
 * A block is named by its first granule (256 bytes). The allocator knows nothing of the memory itself, so it
 * serves an area in shared memory and one in private memory alike; a peer that scribbles cannot touch it.
 */
#ifndef VN_SHM_BLOCK_H
#define VN_SHM_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/protocol.h"

#define VN_SPAN_BYTES VN_BLOCK_MAX
#define VN_N_CLASSES  4

typedef struct vn_blocks vn_blocks;

vn_blocks *vn_blocks_new(uint32_t area_bytes);
vn_blocks *vn_blocks_free(vn_blocks *b);

uint32_t vn_block_alloc(vn_blocks *b, unsigned int size_class);
uint32_t vn_block_free(vn_blocks *b, uint32_t block);
uint32_t vn_block_size(const vn_blocks *b, uint32_t block);
bool vn_block_is_out(const vn_blocks *b, uint32_t block);
uint64_t vn_blocks_available(const vn_blocks *b);

/* The smallest class that holds `size` bytes; the largest for more than any does. */
static inline unsigned int
vn_block_class(uint64_t size)
{
	return size <= 256 ? 0 : size <= 2048 ? 1 : size <= 16384 ? 2 : 3;
}

static inline uint32_t
vn_block_class_bytes(unsigned int size_class)
{
	return size_class == 3 ? 65536 : 256u << (3 * size_class);
}

#endif
