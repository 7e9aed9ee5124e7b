/* SPDX-License-Identifier: MIT */
/*
 * Ring - its memory
 */
#include "client/message/ring.h"

#include <stdlib.h>

#define MOST UINT32_MAX /* of items, and of bytes of one */

/**
 * vn_ring_init() - an empty ring
 * @r:         ring
 * @item_size: bytes of one item
 * @cap:       how many there is room for; may be 0
 *
 * Return: 0; -EINVAL for an item or a number that is too large, -ENOMEM.
 */
int
vn_ring_init(vn_ring *r, size_t item_size, size_t cap)
{
	size_t bytes, each = item_size + sizeof(int16_t);

	*r = (vn_ring){.cap = cap, .item_size = item_size};
	if (item_size > MOST || cap > MOST)
		return -EINVAL;
	if (cap == 0)
		return 0;
	bytes = (item_size * cap + sizeof(int16_t) - 1) / sizeof(int16_t) * sizeof(int16_t);
	if (cap > SIZE_MAX / 2 / each)
		return -ENOMEM;
	r->items = calloc(1, bytes + cap * sizeof(int16_t));
	if (!r->items)
		return -ENOMEM;
	r->errors = (int16_t *)(void *)(r->items + bytes);
	return 0;
}

/**
 * vn_ring_deinit() - free its memory; what is in it is forgotten
 * @r: ring
 */
void
vn_ring_deinit(vn_ring *r)
{
	free(r->items);
	*r = (vn_ring){0};
}
