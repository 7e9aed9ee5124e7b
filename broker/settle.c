/* SPDX-License-Identifier: MIT */
/*
 * Settle - drain, withdraw, decide
 *
 * The worker is dead (waitid has said so). First its lane is drained up to its tail: what it published counts,
 * and nothing is sent meanwhile. Then each of its connections is settled: output beyond what was committed, or
 * beyond what the kernel has already, is withdrawn; then the first of these that holds decides:
 *
 *   closed by the handler, or its output shut       what is queued is sent, then it is closed
 *   only the end of file lies beyond `committed`,   no handler is started for that: the same
 *     nothing uncommitted was sent; resumable
 *   at rest, nothing uncommitted was sent;          goes on: its next byte opens an attachment elsewhere
 *     resumable
 *   otherwise                                       reset, after the committed output has left the kernel
 *
 * Output that the kernel does not take at once is copied into the ledger's spill area, so that the dead
 * worker's segments can go right away.
 */
#include "broker/settle.h"

#include <errno.h>
#include <string.h>

#include "broker/debt.h"
#include "broker/dispatch.h"
#include "broker/intake.h"
#include "broker/socket.h"

/* Cuts the chain of output at `limit`: what lies beyond is as if it had never been published. */
static void
withdraw(vn_broker *b, vn_record *r, uint64_t limit)
{
	vn_chain_link *table = b->ledger->out_table;
	uint32_t ref = r->out.first, keep = VN_NO_BLOCK;
	uint64_t start = r->sent;

	if (r->queued <= limit)
		return;
	r->queued = limit;
	while (ref != VN_NO_BLOCK && table[ref].end <= limit) {
		keep = ref;
		start = table[ref].end;
		ref = table[ref].next;
	}
	if (ref != VN_NO_BLOCK && start < limit) { /* the limit lies inside of this one */
		table[ref].fill = vn_chain_offset(&table[ref], limit);
		table[ref].end = limit;
		keep = ref;
		ref = table[ref].next;
	}
	while (ref != VN_NO_BLOCK) {
		uint32_t next = table[ref].next;

		table[ref].fill = 0;
		ref = next;
	}
	if (keep == VN_NO_BLOCK) {
		r->out = VN_CHAIN_EMPTY;
		return;
	}
	table[keep].next = VN_NO_BLOCK;
	r->out.last = keep;
}

/* Copies one stretch of a dead worker's lane into the spill; -ENOBUFS when that is full. */
static int
spill_one(vn_broker *b, vn_worker *w, vn_chain *to, uint32_t ref, uint64_t from)
{
	vn_ledger *l = b->ledger;
	vn_chain_link *link = &l->out_table[ref];
	uint32_t offset = vn_chain_offset(link, from), len = (uint32_t)(link->end - from), block;

	block = vn_block_alloc(l->spill_blocks, vn_block_class(len));
	if (block == VN_NO_BLOCK)
		return -ENOBUFS;
	vn_area_write(&l->spill, block, 0,
		vn_area_at(&w->link.peer, ref - vn_ref(b, w->slot, 0), offset), len);
	vn_chain_push(to, l->out_table, block, len, link->end);
	return 0;
}

/* Nothing of a dead worker's segments is referred to any more. */
static int
spill(vn_broker *b, vn_worker *w, vn_record *r)
{
	vn_ledger *l = b->ledger;
	vn_chain to = VN_CHAIN_EMPTY;
	uint64_t at = r->sent;
	uint32_t ref;
	int rc = 0;

	while ((ref = vn_chain_pop(&r->out, l->out_table, UINT64_MAX)) != VN_NO_BLOCK) {
		uint64_t end = l->out_table[ref].end;

		if (ref < l->n_granules) { /* from an earlier death: stays where it is */
			vn_chain_push(&to, l->out_table, ref, l->out_table[ref].fill, end);
		} else {
			if (rc == 0)
				rc = spill_one(b, w, &to, ref, at);
			l->out_table[ref].fill = 0;
		}
		at = end;
	}
	r->out = to;
	return rc;
}

/* All input of the attachment is the ledger's to forget: its lane goes with the worker. */
static void
forget_input(vn_record *r)
{
	r->in = VN_CHAIN_EMPTY;
	r->debts = 0;
	r->flags &= ~(uint32_t)(VN_R_DEBTOR | VN_R_NEED | VN_R_NEED_INPUT);
}

static bool
may_go_on(const vn_record *r)
{
	return (r->flags & VN_R_RESUMABLE) && r->sent <= r->queued_c && r->acked == r->committed;
}

static bool
only_end_is_left(const vn_record *r)
{
	return (r->flags & VN_R_ENDED) && r->received == r->committed + 1;
}

/* Its output is where it can stay; what becomes of it? */
static void
decide(vn_broker *b, vn_record *r)
{
	if (r->flags & (VN_R_CLOSED | VN_R_SHUT) || (may_go_on(r) && only_end_is_left(r))) {
		vn_socket_close(b, r);
	} else if (may_go_on(r) && vn_record_at_rest(r)) {
		vn_socket_want_output(b, r);
		if (b->phase >= VN_PHASE_DRAINING)
			vn_broker_stop_record(b, r);
		else if (r->flags & VN_R_READABLE)
			vn_socket_input(b, r);
	} else {
		vn_socket_doom(b, r,
			b->phase >= VN_PHASE_STOPPING ? VN_RESET_STOPPING : VN_RESET_WORKER_DIED);
	}
}

static void
settle_record(vn_broker *b, vn_worker *w, vn_record *r)
{
	withdraw(b, r, r->sent > r->queued_c ? r->sent : r->queued_c);
	vn_dispatch_detach(b, r);
	forget_input(r);
	if (r->fd < 0) {
		vn_socket_drop_output(b, r);
		vn_socket_gone(b, r);
		return;
	}
	vn_socket_flush(b, r);
	if (r->fd < 0)
		return;
	if (spill(b, w, r) < 0) {
		vn_socket_reset(b, r, VN_RESET_NO_BLOCKS);
		return;
	}
	decide(b, r);
}

/**
 * vn_settle_worker() - settle every connection of a worker that is dead
 *
 * Afterwards nothing refers to its link, which the caller frees.
 */
void
vn_settle_worker(vn_broker *b, vn_worker *w)
{
	vn_intake_drain(b, w);
	vn_debt_forget(b, w);
	while (w->attached != VN_NO_RECORD)
		settle_record(b, w, vn_record_at(b->ledger, w->attached));
}
