/* SPDX-License-Identifier: MIT */
/*
 * Keep - copies into and out of the spill area
 *
 * Three things of a connection can lie there. Output that a worker published and that the kernel does not take:
 * it stays at the front of `out`, whoever writes after it. Input that a worker had and did not commit: `kept`,
 * from `delivered` on, goes to the next worker before the socket is read again. And the state that its handler
 * leaves to a successor: `staged` as it was taken off the lane, `state` since the commit after it.
 *
 * All of it is copied, so that the lanes of a dead worker can go at once, and so that a worker that gives a
 * connection back keeps nothing of it. The memory behind the area is given back when nothing lies there any more.
 */
#include "broker/keep.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "broker/dispatch.h"
#include "shm/crash.h"

/* A block with that text at its start; VN_NO_BLOCK when the area is full. */
static uint32_t
spill_text(vn_ledger *l, const void *text, uint32_t len)
{
	uint32_t block = VN_NO_BLOCK;

	for (unsigned int c = vn_block_class(len); c < VN_N_CLASSES && block == VN_NO_BLOCK; c++)
		block = vn_block_alloc(l->spill_blocks, c);
	if (block == VN_NO_BLOCK)
		return VN_NO_BLOCK;
	l->is_spilled = true;
	if (text)
		vn_area_write(&l->spill, block, 0, text, len);
	return block;
}

static bool
is_spilled(const vn_ledger *l, uint32_t ref)
{
	return ref < l->n_spill;
}

/* Copies what `link` holds from `from` on into the spill area, at the end of `to`. */
static int
spill_link(vn_ledger *l, vn_chain_link *table, vn_chain *to, const vn_chain_link *link,
	const void *text, uint64_t from)
{
	uint32_t len = (uint32_t)(link->end - from), block = spill_text(l, text, len);

	if (block == VN_NO_BLOCK)
		return -ENOBUFS;
	vn_chain_push(to, table, block, len, link->end);
	return 0;
}

/**
 * vn_keep_output() - output that is still to be sent leaves the worker's lane
 *
 * Return: 0, or -ENOBUFS: some of it is lost.
 */
int
vn_keep_output(vn_broker *b, vn_worker *w, vn_record *r)
{
	vn_ledger *l = b->ledger;
	vn_chain to = {VN_NO_BLOCK, VN_NO_BLOCK, r->out.charge};
	uint64_t at = r->sent;
	uint32_t ref;
	int rc = 0;

	while ((ref = vn_chain_pop(&r->out, l->out_table, UINT64_MAX)) != VN_NO_BLOCK) {
		vn_chain_link *link = &l->out_table[ref], copy = *link;

		if (is_spilled(l, ref)) { /* from an earlier worker: stays where it is */
			vn_chain_push(&to, l->out_table, ref, copy.fill, copy.end);
		} else {
			const void *text = vn_area_at(&w->link.peer, ref - vn_ref(b, w->slot, 0),
				vn_chain_offset(&copy, at));

			if (rc == 0)
				rc = spill_link(l, l->out_table, &to, &copy, text, at);
			link->fill = 0;
		}
		at = copy.end;
	}
	VN_CRASH_POINT("broker.keep.output");
	r->out = to;
	return rc;
}

static void
kept_drop(vn_ledger *l, vn_record *r)
{
	uint32_t ref;

	while ((ref = vn_chain_pop(&r->kept, l->in_table, UINT64_MAX)) != VN_NO_BLOCK)
		vn_block_free(l->spill_blocks, ref);
	r->flags &= ~(uint32_t)VN_R_KEPT;
}

/* What an earlier worker left comes after what the last one had got of it. */
static void
kept_append(vn_ledger *l, vn_chain *to, const vn_record *r)
{
	if (r->kept.first == VN_NO_BLOCK)
		return;
	if (to->first == VN_NO_BLOCK)
		to->first = r->kept.first;
	else
		l->in_table[to->last].next = r->kept.first;
	to->last = r->kept.last;
}

/**
 * vn_keep_input() - un-acknowledged input leaves the worker's lane, to be delivered again
 *
 * `delivered` is `acked` afterwards.
 *
 * Return: 0, or -ENOBUFS: some of it is lost.
 */
int
vn_keep_input(vn_broker *b, vn_worker *w, vn_record *r)
{
	vn_ledger *l = b->ledger;
	vn_chain to = VN_CHAIN_EMPTY;
	uint64_t at = r->acked;
	uint32_t ref;
	int rc = 0;

	while ((ref = vn_chain_pop(&r->in, l->in_table, UINT64_MAX)) != VN_NO_BLOCK) {
		vn_chain_link link = l->in_table[ref];
		uint32_t block = ref - vn_ref(b, w->slot, 0);

		if (rc == 0)
			rc = spill_link(l, l->in_table, &to, &link,
				vn_area_at(&w->link.own, block, vn_chain_offset(&link, at)), at);
		vn_block_free(w->link.blocks, block);
		at = link.end;
		VN_CRASH_POINT("broker.keep.input");
	}
	kept_append(l, &to, r);
	r->in = VN_CHAIN_EMPTY;
	r->kept = to;
	r->delivered = r->acked;
	if (to.first != VN_NO_BLOCK)
		r->flags |= VN_R_KEPT;
	if (rc < 0)
		kept_drop(l, r);
	return rc;
}

/**
 * vn_keep_forget_input() - nobody will get it again
 */
void
vn_keep_forget_input(vn_broker *b, vn_worker *w, vn_record *r)
{
	uint32_t ref;

	while ((ref = vn_chain_pop(&r->in, b->ledger->in_table, UINT64_MAX)) != VN_NO_BLOCK)
		vn_block_free(w->link.blocks, ref - vn_ref(b, w->slot, 0));
	r->in = VN_CHAIN_EMPTY;
	kept_drop(b->ledger, r);
}

/**
 * vn_keep_next() - the kept input that is to be delivered next
 * @data: where it lies
 *
 * Return: how much of it lies there; 0 when nothing is kept.
 */
uint32_t
vn_keep_next(const vn_broker *b, const vn_record *r, const void **data)
{
	const vn_chain_link *link;

	if (r->kept.first == VN_NO_BLOCK)
		return 0;
	link = &b->ledger->in_table[r->kept.first];
	*data = vn_area_at(&b->ledger->spill, r->kept.first, vn_chain_offset(link, r->delivered));
	return (uint32_t)(link->end - r->delivered);
}

/**
 * vn_keep_given() - kept input up to `delivered` lies in the lane of a worker now
 */
void
vn_keep_given(vn_broker *b, vn_record *r)
{
	uint32_t ref;

	while ((ref = vn_chain_pop(&r->kept, b->ledger->in_table, r->delivered)) != VN_NO_BLOCK)
		vn_block_free(b->ledger->spill_blocks, ref);
	if (r->kept.first == VN_NO_BLOCK)
		r->flags &= ~(uint32_t)VN_R_KEPT;
}

/**
 * vn_keep_show() - the first bytes of what is kept, for people
 *
 * Return: how many, at most size.
 */
uint32_t
vn_keep_show(const vn_broker *b, const vn_record *r, unsigned char *out, uint32_t size)
{
	const vn_chain_link *table = b->ledger->in_table;
	uint64_t at = r->delivered;
	uint32_t n = 0;

	for (uint32_t ref = r->kept.first; ref != VN_NO_BLOCK && n < size; ref = table[ref].next) {
		uint32_t len = (uint32_t)(table[ref].end - at);

		len = len < size - n ? len : size - n;
		vn_area_read(
			&b->ledger->spill, ref, vn_chain_offset(&table[ref], at), out + n, len);
		at = table[ref].end;
		n += len;
	}
	return n;
}

/* State. */

/**
 * vn_keep_unstage() - state that was not committed is as if it had never been said
 */
void
vn_keep_unstage(vn_broker *b, vn_record *r)
{
	if (!(r->flags & VN_R_STAGED))
		return;
	vn_block_free(b->ledger->spill_blocks, r->staged);
	r->staged = VN_NO_BLOCK;
	r->flags &= ~(uint32_t)VN_R_STAGED;
}

/**
 * vn_keep_stage() - a part of the state that the next commit makes current
 * @d: was checked as such
 *
 * Return: NULL, or the field that cannot be. Without memory for it r->staged is VN_NO_BLOCK.
 */
const char *
vn_keep_stage(vn_broker *b, vn_record *r, const vn_desc *d)
{
	vn_ledger *l = b->ledger;
	uint32_t part = vn_state_part(d);

	if (d->arg == 0) {
		vn_keep_unstage(b, r);
		r->staged_len = (uint16_t)d->len;
		r->staged_fill = 0;
		r->staged = spill_text(l, NULL, d->len);
		if (r->staged == VN_NO_BLOCK)
			return NULL;
		r->flags |= VN_R_STAGED;
	} else if (!(r->flags & VN_R_STAGED) || d->len != r->staged_len ||
		   d->arg * VN_INLINE_BYTES != r->staged_fill) {
		return "arg";
	}
	vn_area_write(&l->spill, r->staged, r->staged_fill, d->bytes, part);
	r->staged_fill += (uint16_t)part;
	return NULL;
}

/**
 * vn_keep_commit() - what was staged is what a successor will find
 *
 * Return: NULL, or the name of what is wrong: only a part of it was said.
 */
const char *
vn_keep_commit(vn_broker *b, vn_record *r)
{
	if (!(r->flags & VN_R_STAGED))
		return NULL;
	if (r->staged_fill != r->staged_len)
		return "state";
	if (r->flags & VN_R_STATEFUL)
		vn_block_free(b->ledger->spill_blocks, r->state);
	r->state = r->staged;
	r->state_len = r->staged_len;
	r->staged = VN_NO_BLOCK;
	r->flags ^= VN_R_STAGED;
	r->flags |= VN_R_STATEFUL;
	return NULL;
}

/**
 * vn_keep_restore() - one part of the state, as its worker gets it
 */
void
vn_keep_restore(const vn_broker *b, const vn_record *r, vn_desc *d, uint16_t part)
{
	d->arg = part;
	d->len = r->state_len;
	vn_area_read(
		&b->ledger->spill, r->state, part * VN_INLINE_BYTES, d->bytes, vn_state_part(d));
}

/**
 * vn_keep_drop() - nothing is kept of it any more: no input, no state
 */
void
vn_keep_drop(vn_broker *b, vn_record *r)
{
	kept_drop(b->ledger, r);
	vn_keep_unstage(b, r);
	if (r->flags & VN_R_STATEFUL)
		vn_block_free(b->ledger->spill_blocks, r->state);
	r->state = VN_NO_BLOCK;
	r->flags &= ~(uint32_t)VN_R_STATEFUL;
}

/**
 * vn_keep_trim() - when nothing is spilled, the memory behind it goes back
 */
void
vn_keep_trim(vn_ledger *l)
{
	if (!l->is_spilled || vn_blocks_available(l->spill_blocks) != l->spill.geometry.area_bytes)
		return;
	madvise(vn_area_at(&l->spill, 0, 0), l->spill.geometry.area_bytes, MADV_REMOVE);
	l->is_spilled = false;
}
