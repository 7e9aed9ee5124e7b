/* SPDX-License-Identifier: MIT */
/*
 * Crossing - filling chunks, and emptying them
 */
#include "client/os/crossing.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "client/message/end.h"

#define CHUNK_BYTES 65536u

struct vn_chunk {
	uint32_t n, n_errors;
	int16_t errors[VN_CHUNK_ITEMS]; /* 0: an item lies there */
	unsigned char items[] __attribute__((aligned(16)));
};

/**
 * vn_crossing_init() - a way for items of one size
 * @c:         zero
 * @item_size: bytes
 *
 * Return: false without memory; it is to be deinitialised all the same.
 */
bool
vn_crossing_init(vn_crossing *c, size_t item_size)
{
	c->item_size = item_size;
	c->chunk_items = VN_CHUNK_ITEMS;
	while (c->chunk_items > 1 && c->chunk_items * item_size > CHUNK_BYTES)
		c->chunk_items /= 2;
	return vn_handoff_init(&c->full, VN_N_CHUNKS) && vn_handoff_init(&c->empty, VN_N_CHUNKS);
}

/**
 * vn_crossing_deinit() - free it, with what is still on its way
 * @c: zero, or initialised; nobody else uses it any more
 */
void
vn_crossing_deinit(vn_crossing *c)
{
	void *chunk;

	free(c->filling);
	free(c->taking);
	while (c->full.slots && (chunk = vn_handoff_take(&c->full)))
		free(chunk);
	while (c->empty.slots && (chunk = vn_handoff_take(&c->empty)))
		free(chunk);
	vn_handoff_deinit(&c->full);
	vn_handoff_deinit(&c->empty);
}

/* The next to fill; NULL while all are out, or without memory: one that is out will come back. */
static vn_chunk *
chunk_next(vn_crossing *c)
{
	vn_chunk *k = vn_handoff_take(&c->empty);

	if (!k && c->n_chunks < VN_N_CHUNKS) {
		k = malloc(sizeof *k + c->chunk_items * c->item_size);
		if (k)
			c->n_chunks++;
	}
	if (k)
		k->n = k->n_errors = 0;
	return k;
}

/**
 * vn_crossing_put() - one item more
 * @c:     crossing
 * @item:  copied
 * @error: 0, or what is sent in its place
 *
 * Caller: the sender. What is then `filling` is not published; NULL: it was full, and is.
 *
 * Return: false if there is no room.
 */
bool
vn_crossing_put(vn_crossing *c, const void *item, int error)
{
	vn_chunk *k = c->filling;

	if (!k && !(k = c->filling = chunk_next(c)))
		return false;
	if (__builtin_expect(!error, 1))
		vn_item_copy(k->items + k->n * c->item_size, item, c->item_size);
	else
		k->n_errors++;
	k->errors[k->n++] = (int16_t)error;
	if (k->n == c->chunk_items)
		vn_crossing_flush(c);
	return true;
}

/**
 * vn_crossing_flush() - publish what was put
 * @c: crossing
 *
 * Caller: the sender.
 *
 * Return: true if there was anything: the receiver may have to be woken.
 */
bool
vn_crossing_flush(vn_crossing *c)
{
	bool fits;

	if (!c->filling)
		return false;
	fits = vn_handoff_put(&c->full, c->filling);
	assert(fits);
	c->filling = NULL;
	return true;
}

static void
chunk_return(vn_crossing *c)
{
	bool fits = vn_handoff_put(&c->empty, c->taking);

	assert(fits);
	c->taken = 0;
	c->n_given++;
	c->taking = vn_handoff_take(&c->full);
}

/**
 * vn_crossing_get() - the next item
 * @c:    crossing
 * @item: copied to here
 *
 * Caller: the receiver.
 *
 * Return: 0, the error that was sent in its place, or -EAGAIN: none is there.
 */
int
vn_crossing_get(vn_crossing *c, void *item)
{
	vn_chunk *k = c->taking;
	uint32_t at = c->taken;
	int error;

	if (!k && !(k = c->taking = vn_handoff_take(&c->full)))
		return -EAGAIN;
	error = k->n_errors ? k->errors[at] : 0;
	if (!error)
		vn_item_copy(item, k->items + at * c->item_size, c->item_size);
	c->taken++;
	if (c->taken == k->n)
		chunk_return(c);
	return error;
}
