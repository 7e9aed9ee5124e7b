/* SPDX-License-Identifier: MIT */
/*
 * Ring - items that wait, the oldest first; an error may lie in the place of any
 *
 * Without room (cap 0) it is always empty and always full.
 */
#ifndef VN_MESSAGE_RING_H
#define VN_MESSAGE_RING_H

#include "client/message/end.h"

typedef struct vn_ring {
	unsigned char *items;
	size_t cap, first, n;
	size_t item_size;
	int16_t *errors; /* one for each place, 0: an item lies there */
	size_t n_errors;
} vn_ring;

int vn_ring_init(vn_ring *r, size_t item_size, size_t cap); /* -EINVAL, -ENOMEM */
void vn_ring_deinit(vn_ring *r);

static inline bool
vn_ring_is_full(const vn_ring *r)
{
	return r->n == r->cap;
}

/* Not full. @error: 0, or what lies there in place of the item. */
static inline void
vn_ring_push(vn_ring *r, const void *item, int error)
{
	size_t at = r->first + r->n;

	if (at >= r->cap)
		at -= r->cap;
	r->n++;
	if (__builtin_expect(error, 0)) {
		r->errors[at] = (int16_t)error;
		r->n_errors++;
		return;
	}
	vn_item_copy(r->items + at * r->item_size, item, r->item_size);
}

/* Not empty. Returns 0 with the item, or the error that lay in its place. */
static inline int
vn_ring_pop(vn_ring *r, void *item)
{
	size_t at = r->first;

	r->first = at + 1 == r->cap ? 0 : at + 1;
	r->n--;
	if (__builtin_expect(r->n_errors > 0, 0) && r->errors[at]) {
		int error = r->errors[at];

		r->errors[at] = 0;
		r->n_errors--;
		return error;
	}
	vn_item_copy(item, r->items + at * r->item_size, r->item_size);
	return 0;
}

/* Takes the oldest out, or an error; NULL for an error. The item lies there until the next push. */
static inline void *
vn_ring_skip(vn_ring *r)
{
	size_t at = r->first;

	r->first = at + 1 == r->cap ? 0 : at + 1;
	r->n--;
	if (r->errors[at] == 0)
		return r->items + at * r->item_size;
	r->errors[at] = 0;
	r->n_errors--;
	return NULL;
}

#endif
