/* SPDX-License-Identifier: MIT */
/*
 * Settle - drain, blame, withdraw, keep, decide
 *
 * There is one way to settle a connection, whatever made it leave its worker: a death, or that the worker gave it
 * back. What was delivered is rewound to what was committed, output that was not committed is withdrawn, what
 * goes on is copied out of the worker's lanes (keep.c), and then the first of these that holds decides:
 *
 *   closed by the handler, or its output shut       what is queued is sent, then it is closed
 *   only the end of file lies beyond `committed`,   no handler is started for that: the same
 *     or nothing; clean
 *   at rest; clean                                  goes on: its next byte opens an attachment elsewhere
 *   clean                                           delivered again from `committed` elsewhere, unless too many
 *                                                   workers died of it: then reset, and remembered (quarantine.c)
 *   its OPEN was never taken off the lane           starts elsewhere from the beginning
 *   otherwise                                       reset, after the committed output has left the kernel
 *
 * What was dialled belongs to the coroutine that asked for it: nothing of its output is withdrawn, because there is
 * nobody who could say it again, and it is never clean; so it ends by the first line or by the last.
 *
 * Clean: resumable, nothing uncommitted was sent, nothing acknowledged without a commit. Output that was only
 * parked, or found by the drain, does not spoil that.
 *
 * When a worker has died (waitid has said so), its lane is drained first, up to its tail: what it published
 * counts, and nothing is sent meanwhile. What it had not taken off our lane, it cannot have died of: that is read
 * from the slots beyond its head. Everything else is tried once more when it is delivered again; and, unless we
 * ended the worker ourselves, it is suspect. A worker that dies holding a suspect clears all others.
 *
 * Input that no worker takes is nobody's fault, however many die before they take it, and no attempt is counted. It
 * waits for a worker all the while, from the first of these deaths on, and for no longer than queue-timeout.
 */
#include "broker/settle.h"

#include <errno.h>
#include <string.h>

#include "broker/datagram.h"
#include "broker/debt.h"
#include "broker/dispatch.h"
#include "broker/forward.h"
#include "broker/input.h"
#include "broker/intake.h"
#include "broker/keep.h"
#include "broker/quarantine.h"
#include "broker/socket.h"
#include "shm/crash.h"

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

static bool
is_clean(const vn_record *r)
{
	return (r->flags & VN_R_RESUMABLE) && r->sent <= r->queued_c && r->acked == r->committed;
}

static bool
only_end_is_left(const vn_record *r)
{
	return (r->flags & VN_R_ENDED) && r->received <= r->committed + 1;
}

/* Whoever never took the OPEN has acknowledged nothing and sent nothing; if it did, its head lied. */
static bool
is_fresh(const vn_record *r)
{
	return (r->flags & VN_R_FRESH) && r->acked == r->committed && r->sent <= r->queued_c;
}

/* Will anybody have to do with it any more, given that it may be delivered again? */
static bool
goes_on(const vn_record *r)
{
	return !(r->flags & (VN_R_CLOSED | VN_R_SHUT)) && (is_clean(r) || is_fresh(r));
}

static void
doom(vn_broker *b, vn_record *r, vn_reset_reason reason)
{
	vn_keep_drop(b, r);
	vn_socket_doom(b, r, b->phase >= VN_PHASE_STOPPING ? VN_RESET_STOPPING : reason);
}

/* One worker after the other has died without looking at it. */
static bool
has_waited(const vn_broker *b, const vn_record *r)
{
	return r->flags & VN_R_TRIED && r->untaken_since &&
	       vn_broker_ms(b) - r->untaken_since >= (uint32_t)(b->config->queue_timeout / VN_MS);
}

/* Input that was not committed goes to another worker, if there is anybody who could take it. */
static void
deliver_again(vn_broker *b, vn_record *r)
{
	if (b->phase >= VN_PHASE_DRAINING) {
		doom(b, r, VN_RESET_STOPPING);
	} else if (has_waited(b, r)) {
		doom(b, r, VN_RESET_QUEUE_TIMEOUT);
	} else if ((r->flags & VN_R_TRIED) && r->blame >= b->config->retries) {
		vn_quarantine_add(b, r);
		doom(b, r, VN_RESET_QUARANTINED);
	} else {
		vn_socket_want_output(b, r);
		vn_socket_input(b, r);
	}
}

/* Nobody has it, and what it keeps is where it can stay: what becomes of it? */
static void
decide(vn_broker *b, vn_record *r)
{
	bool fresh = is_fresh(r);

	r->flags &= ~(uint32_t)VN_R_FRESH;
	if (r->flags & (VN_R_CLOSED | VN_R_SHUT) || (is_clean(r) && only_end_is_left(r))) {
		vn_keep_drop(b, r);
		vn_socket_close(b, r);
	} else if (is_clean(r) && vn_record_at_rest(r)) {
		vn_socket_want_output(b, r);
		if (b->phase >= VN_PHASE_DRAINING)
			vn_broker_stop_record(b, r);
		else if (r->flags & VN_R_READABLE)
			vn_socket_input(b, r);
	} else if (is_clean(r) || fresh) {
		deliver_again(b, r);
	} else {
		doom(b, r, r->flags & VN_R_DIALLED ? VN_RESET_DIALLER_DIED : VN_RESET_WORKER_DIED);
	}
}

/* What it needs later leaves the worker's lanes. */
static int
keep(vn_broker *b, vn_worker *w, vn_record *r)
{
	int rc = 0;

	vn_keep_unstage(b, r);
	if (goes_on(r) && r->fd >= 0)
		rc = vn_keep_input(b, w, r);
	else
		vn_keep_forget_input(b, w, r);
	return rc;
}

/* The worker is dead. */
static void
settle_record(vn_broker *b, vn_worker *w, vn_record *r)
{
	int rc;

	if (!(r->flags & VN_R_DIALLED))
		withdraw(b, r, r->sent > r->queued_c ? r->sent : r->queued_c);
	rc = keep(b, w, r);
	r->debts = 0;
	r->flags &= ~(uint32_t)VN_R_DEBTOR;
	vn_dispatch_detach(b, r);
	if (r->fd < 0) {
		vn_socket_drop_output(b, r);
		vn_socket_gone(b, r);
		return;
	}
	vn_socket_flush(b, r);
	if (r->fd < 0)
		return;
	if (rc == 0)
		rc = vn_keep_output(b, w, r);
	if (rc < 0)
		vn_socket_reset(b, r, VN_RESET_NO_BLOCKS);
	else
		decide(b, r);
}

/**
 * vn_settle_released() - a live worker has given a connection back
 *
 * Everything of it leaves the worker's lanes, so FINAL is owed at once; then it is somebody else's.
 */
void
vn_settle_released(vn_broker *b, vn_worker *w, vn_record *r)
{
	int rc = keep(b, w, r);

	r->debts = 0;
	vn_debt_add(b, w, r, VN_D_FINAL);
	if (r->fd < 0)
		return;
	vn_socket_flush(b, r);
	if (r->fd < 0)
		return;
	if (rc == 0)
		rc = vn_keep_output(b, w, r);
	if (rc < 0)
		vn_socket_reset(b, r, VN_RESET_NO_BLOCKS);
}

/**
 * vn_settle_given_back() - FINAL was said of a connection that its worker gave back
 */
void
vn_settle_given_back(vn_broker *b, vn_record *r)
{
	decide(b, r);
}

/* What a dead worker had taken, and what it is blamed for. */

static void
note_untaken(vn_broker *b, vn_worker *w, const vn_desc *d)
{
	bool is_input = d->kind == VN_KIND_DATA || d->kind == VN_KIND_END;
	vn_record *r;

	if (d->kind == VN_KIND_DATAGRAMS)
		vn_datagrams_untaken(w, d);
	if (!is_input && d->kind != VN_KIND_OPEN)
		return;
	r = vn_record_at(b->ledger, d->conn);
	if (d->gen != r->gen || !(r->flags & VN_R_ATTACHED) || r->worker != w->slot)
		return;
	if (d->kind == VN_KIND_OPEN || d->flags & VN_OPEN)
		r->flags |= VN_R_FRESH;
	if (is_input && d->pos - r->acked < r->untaken)
		r->untaken = (uint32_t)(d->pos - r->acked);
}

/* Reads from the slots beyond its head what it never took. A head that lies says that it took everything. */
static void
find_untaken(vn_broker *b, vn_worker *w)
{
	vn_lane_tx *tx = &w->link.tx;
	vn_desc d;

	vn_datagrams_taken(w);
	for (uint32_t i = w->attached; i != VN_NO_RECORD; i = vn_record_at(b->ledger, i)->next) {
		vn_record *r = vn_record_at(b->ledger, i);

		r->untaken = UINT32_MAX;
		if (r->debts & VN_D_OPEN)
			r->flags |= VN_R_FRESH;
	}
	if (!w->linked)
		return;
	vn_lane_tx_refresh(tx);
	vn_lane_tx_flush(tx); /* nobody takes it any more, but all of it is looked at in one way */
	for (uint32_t back = 0; !tx->broken && back < tx->published - tx->taken; back++)
		if (vn_lane_tx_recall(tx, back, &d))
			note_untaken(b, w, &d);
}

/* It had un-acknowledged input of this connection. */
static bool
had_taken(const vn_record *r)
{
	return r->delivered > r->acked && r->untaken > 0 && !(r->flags & VN_R_RELEASED);
}

static bool
is_suspect(const vn_record *r)
{
	return (r->flags & VN_R_TRIED) && r->blame > 0;
}

static void
try_begin(vn_record *r)
{
	if (!(r->flags & VN_R_TRIED))
		r->untaken_since = r->n_attempts = r->blame = 0;
	r->flags |= VN_R_TRIED;
}

static void
try_count(vn_record *r)
{
	try_begin(r);
	r->n_attempts += r->n_attempts < UINT8_MAX;
	r->untaken_since = 0;
}

/* It was given this input, or this connection, and had not taken it. */
static void
try_in_vain(const vn_broker *b, vn_record *r)
{
	uint32_t now = vn_broker_ms(b);

	if (r->flags & VN_R_RELEASED || (r->delivered == r->acked && !(r->flags & VN_R_FRESH)))
		return;
	try_begin(r);
	if (!r->untaken_since)
		r->untaken_since = now ? now : UINT32_MAX; /* 0 is none */
}

static void
blame(const vn_worker *w, vn_record *r)
{
	r->blame += r->blame < UINT16_MAX;
	memmove(r->killed + 1, r->killed, sizeof r->killed - sizeof *r->killed);
	memmove(r->killed_by + 1, r->killed_by, sizeof r->killed_by - sizeof *r->killed_by);
	r->killed[0] = w->incarnation;
	r->killed_by[0] = w->number;
}

/* Whom to blame: the suspect that it was working on; else all suspects that it had; else whatever it had. */
static bool
is_to_blame(const vn_broker *b, const vn_worker *w, const vn_record *r, bool had_suspects)
{
	if (w->suspect && had_taken(vn_record_at(b->ledger, w->suspect - 1)))
		return w->suspect - 1 == vn_record_index(b->ledger, r);
	return !had_suspects || is_suspect(r);
}

static void
blame_all(vn_broker *b, vn_worker *w)
{
	bool counts = !w->ordered && b->phase < VN_PHASE_STOPPING, had_suspects = false;
	vn_ledger *l = b->ledger;

	find_untaken(b, w);
	for (uint32_t i = w->attached; i != VN_NO_RECORD; i = vn_record_at(l, i)->next)
		had_suspects |= had_taken(vn_record_at(l, i)) && is_suspect(vn_record_at(l, i));
	for (uint32_t i = w->attached; i != VN_NO_RECORD; i = vn_record_at(l, i)->next) {
		vn_record *r = vn_record_at(l, i);
		bool guilty = counts && is_to_blame(b, w, r, had_suspects);

		if (!had_taken(r)) {
			try_in_vain(b, r);
			continue;
		}
		try_count(r);
		if (guilty && is_suspect(r))
			w->served = true; /* that says nothing of the program: no back-off */
		if (guilty)
			blame(w, r);
	}
	w->suspect = 0;
}

/* The oldest attachment first: whoever has waited longest is the first to be served again. */
static void
reverse_attached(vn_broker *b, vn_worker *w)
{
	uint32_t index = w->attached;

	while (index != VN_NO_RECORD) {
		vn_record *r = vn_record_at(b->ledger, index);
		uint32_t next = r->next;

		r->next = r->prev;
		r->prev = next;
		w->attached = index;
		index = next;
	}
}

/**
 * vn_settle_worker() - settle every connection of a worker that is dead
 *
 * Afterwards nothing refers to its link, which the caller frees.
 */
void
vn_settle_worker(vn_broker *b, vn_worker *w)
{
	VN_CRASH_POINT("broker.settle.before");
	vn_intake_drain(b, w);
	VN_CRASH_POINT("broker.settle.drained");
	blame_all(b, w);
	vn_forward_gone(b, w);
	vn_debt_forget(b, w);
	reverse_attached(b, w);
	while (w->attached != VN_NO_RECORD) {
		VN_CRASH_POINT("broker.settle.next");
		settle_record(b, w, vn_record_at(b->ledger, w->attached));
	}
	VN_CRASH_POINT("broker.settle.after");
	vn_datagrams_settle(w);
}
