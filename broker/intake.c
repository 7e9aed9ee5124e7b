/* SPDX-License-Identifier: MIT */
/*
 * Intake - take descriptors off a worker's lane, believe nothing, act
 *
 * Descriptors are copied, their shape is checked (vn_desc_check), the slots are given back, then each one is
 * acted upon. What is checked here is what needs the connection: that it exists, that the worker has it, and
 * that its positions go on from where they stood. A generation that is over is no violation, because the
 * descriptor may have crossed a REVOKED: it is counted and ignored, but for a CLOSE, which is honoured while
 * nobody else has the connection. Anything else that cannot come from an honest worker kills it.
 *
 * A drain of a dead worker honours the same descriptors but the requests (LISTEN, CONNECT, READY, ...): output is
 * chained and nothing is sent, so that settling can withdraw what was not committed.
 */
#include "broker/intake.h"

#include <errno.h>
#include <string.h>

#include "broker/datagram.h"
#include "broker/debt.h"
#include "broker/dial.h"
#include "broker/dispatch.h"
#include "broker/endpoint.h"
#include "broker/forward.h"
#include "broker/keep.h"
#include "broker/own.h"
#include "broker/settle.h"
#include "broker/socket.h"
#include "broker/stages.h"
#include "broker/worker.h"
#include "shm/crash.h"

#define BATCH 64

/* The connection of a descriptor, if this worker has it; else NULL, having said what that means. */
static vn_record *
record_of(vn_broker *b, vn_worker *w, const vn_desc *d, const char **bad)
{
	vn_record *r;

	if (d->conn >= b->ledger->high) {
		*bad = "conn";
		return NULL;
	}
	r = vn_record_at(b->ledger, d->conn);
	if ((int32_t)(d->gen - r->gen) > 0) {
		*bad = "gen";
		return NULL;
	}
	if (d->gen == r->gen && (r->worker != w->slot || r->incarnation != w->incarnation)) {
		*bad = "conn";
		return NULL;
	}
	if (d->gen == r->gen && (r->flags & (VN_R_ATTACHED | VN_R_RELEASED)) == VN_R_ATTACHED)
		return r;
	/* The handler closed it while it was being taken back, and nobody has it yet: the client spoke first. */
	if (d->kind == VN_KIND_CLOSE && d->gen == r->gen && r->fd >= 0 && vn_record_at_rest(r) &&
		(r->flags & (VN_R_USED | VN_R_ATTACHED | VN_R_CLOSED)) == VN_R_USED) {
		if (d->flags & VN_ABORT)
			vn_socket_reset(b, r, VN_RESET_BY_HANDLER);
		else
			vn_socket_close(b, r);
	} else
		vn_count(&b->count->n_stale_messages, 1);
	return NULL;
}

/* What a commit means beyond positions, for the few to whom it means more. */
static const char *
commit_more(vn_broker *b, vn_worker *w, vn_record *r, uint64_t to)
{
	if (to > r->committed && r->flags & VN_R_TRIED)
		vn_dispatch_absolve(b, w, r);
	return vn_keep_commit(b, r);
}

/* Is a request done by this commit? The end of file alone is none, nor is what comes in reply to our own worker. */
static bool
is_request_done(const vn_record *r, uint64_t to)
{
	uint64_t end = r->received - !!(r->flags & VN_R_ENDED);

	return (to < end ? to : end) > r->committed && !(r->flags & VN_R_DIALLED);
}

static void
count_request(vn_broker *b, vn_worker *w, vn_record *r, vn_desc_times times)
{
	vn_count(&w->count->n_requests, 1);
	vn_count(&b->count->n_requests, 1);
	if (VN_STAGES)
		vn_stages_finished(b, w, r, times);
}

/* Input up to `to` is used up: its blocks are ours again. */
static const char *
take_ack(vn_broker *b, vn_worker *w, vn_record *r, const vn_desc *d, uint64_t to, bool commit)
{
	const char *bad;

	if (to < r->acked || to > r->delivered)
		return "report";
	if (to > r->acked) {
		vn_ledger *l = b->ledger;
		uint32_t ref;

		r->acked = to;
		while ((ref = vn_chain_pop(&r->in, l->in_table, to)) != VN_NO_BLOCK) {
			uint32_t block = ref - vn_ref(b, w->slot, 0);

			r->in.charge -= vn_block_size(w->link.blocks, block);
			vn_block_free(w->link.blocks, block);
		}
	}
	vn_dispatch_unasks(w, r);
	if (commit) {
		if (is_request_done(r, to))
			count_request(b, w, r, d->times);
		w->served |= !(r->flags & VN_R_DIALLED);
		if (r->flags & (VN_R_TRIED | VN_R_STAGED) && (bad = commit_more(b, w, r, to)))
			return bad;
		r->committed = to;
		r->queued_c = r->queued;
	}
	if (r->acked == r->delivered) {
		vn_dispatch_calm(b, w, r);
		r->since = vn_broker_ms(b);
	} else if (b->config->request_timeout) {
		r->since = vn_broker_ms(b);
	}
	return NULL;
}

/* After an acknowledgement there may be room for what waits in the socket. */
static void
read_on(vn_broker *b, vn_worker *w, vn_record *r)
{
	if (vn_record_has_input(r) && r->fd >= 0)
		vn_debt_add(b, w, r, VN_D_DATA);
	else if (b->phase >= VN_PHASE_DRAINING)
		vn_broker_stop_record(b, r);
}

static const char *
take_send(vn_broker *b, vn_worker *w, vn_record *r, const vn_desc *d)
{
	vn_chain_link *table = b->ledger->out_table;
	uint32_t ref = vn_ref(b, w->slot, d->block);
	uint64_t from =
		r->sent > r->reported ? r->sent : r->reported; /* what is not of others before it */

	if (r->flags & (VN_R_SHUT | VN_R_CLOSED))
		return "kind";
	if (d->pos != r->queued)
		return "pos";
	if (r->queued + d->len - from > w->link.geometry.area_bytes)
		return "len";
	if (table[ref].fill && (r->out.last != ref || table[ref].fill != d->offset))
		return "block";
	r->queued += d->len;
	if (r->flags & VN_R_RESET) {
		r->sent = r->queued; /* nobody is there to get it */
		return NULL;
	}
	if (table[ref].fill)
		vn_chain_extend(&r->out, table, d->len);
	else
		vn_chain_push(&r->out, table, ref, d->offset + d->len, r->queued);
	vn_count(&w->count->bytes_out, d->len);
	return NULL;
}

/* The handler is done with it: all input is used up and committed, all output is. */
static const char *
take_close(vn_broker *b, vn_worker *w, vn_record *r, const vn_desc *d)
{
	const char *bad;

	if (r->flags & VN_R_CLOSED)
		return "kind";
	if (d->pos != r->queued)
		return "pos";
	bad = take_ack(b, w, r, d, r->delivered, true);
	if (bad)
		return bad;
	r->flags |= VN_R_CLOSED;
	r->debts &= (uint16_t) ~(VN_D_DATA | VN_D_END | VN_D_RESET | VN_D_FULL);
	vn_dispatch_unwait(b, r);
	if (d->flags & VN_ABORT)
		vn_socket_reset(b, r, VN_RESET_BY_HANDLER);
	return NULL;
}

/* A dead worker's connections are closed by settling; a live one's now. */
static void
act_on_close(vn_broker *b, vn_worker *w, vn_record *r)
{
	if (r->fd >= 0)
		vn_socket_close(b, r);
	else
		vn_debt_add(b, w, r, VN_D_FINAL);
}

static const char *
take_shutdown(vn_record *r, const vn_desc *d)
{
	if (r->flags & (VN_R_SHUT | VN_R_CLOSED))
		return "kind";
	if (d->pos != r->queued)
		return "pos";
	r->flags |= VN_R_SHUT;
	r->queued_c = r->queued;
	return NULL;
}

/* It counts from the commit on that follows it. */
static const char *
take_state(vn_broker *b, vn_record *r, const vn_desc *d)
{
	const char *bad;

	if (r->flags & VN_R_CLOSED || !(r->flags & VN_R_RESUMABLE))
		return "kind";
	if (r->fd < 0)
		return NULL;
	bad = vn_keep_stage(b, r, d);
	if (!bad && r->staged == VN_NO_BLOCK)
		vn_socket_reset(b, r, VN_RESET_NO_BLOCKS);
	return bad;
}

/* It is at a commit point, its output as well, and knows nothing of what comes after that. */
static const char *
take_released(vn_broker *b, vn_worker *w, vn_record *r, const vn_desc *d)
{
	if (!(r->flags & VN_R_RELEASE) || r->flags & (VN_R_SHUT | VN_R_CLOSED))
		return "kind";
	if (d->report != r->committed || r->acked != r->committed || r->queued != r->queued_c)
		return "report";
	r->flags |= VN_R_RELEASED;
	vn_dispatch_calm(b, w, r);
	vn_dispatch_unwait(b, r);
	return NULL;
}

/* What changes positions; the same for the living and the dead. */
static const char *
take_positions(vn_broker *b, vn_worker *w, vn_record *r, const vn_desc *d)
{
	const char *bad = NULL;

	switch (d->kind) {
	case VN_KIND_SEND:
		bad = take_send(b, w, r, d);
		if (!bad && (d->flags & VN_ACK))
			bad = take_ack(b, w, r, d, d->report, d->flags & VN_COMMIT);
		return bad;
	case VN_KIND_ACK:
		return take_ack(b, w, r, d, d->report, d->flags & VN_COMMIT);
	case VN_KIND_SHUTDOWN:
		return take_shutdown(r, d);
	case VN_KIND_CLOSE:
		return take_close(b, w, r, d);
	case VN_KIND_RELEASED:
		return take_released(b, w, r, d);
	case VN_KIND_STATE:
		return take_state(b, r, d);
	case VN_KIND_NEED_INPUT:
		return d->report > r->delivered ? "report" : NULL;
	default: /* NEED */
		return NULL;
	}
}

/*
 * A read waits with input un-acknowledged: if no more fits, it must know. If more is on its way to it, it does not
 * wait any more, and asks again if that was not enough.
 */
static void
act_on_need_input(vn_broker *b, vn_worker *w, vn_record *r, uint64_t has)
{
	if (has < r->delivered)
		return;
	vn_dispatch_asks(w, r);
	if (r->flags & VN_R_TRIED)
		vn_dispatch_unsuspect(b, w, r);
	if (vn_record_has_input(r))
		vn_debt_add(b, w, r, VN_D_DATA);
}

static void
act_on_need(vn_broker *b, vn_worker *w, vn_record *r)
{
	r->flags |= VN_R_NEED;
	if (r->sent > r->reported)
		vn_debt_add(b, w, r, VN_D_SENT);
}

/* What a live worker expects to happen now. */
static void
act(vn_broker *b, vn_worker *w, vn_record *r, const vn_desc *d)
{
	switch (d->kind) {
	case VN_KIND_SEND:
		vn_socket_want_output(b, r);
		break;
	case VN_KIND_SHUTDOWN:
		vn_socket_shut(b, r);
		return;
	case VN_KIND_CLOSE:
		act_on_close(b, w, r);
		return;
	case VN_KIND_NEED:
		act_on_need(b, w, r);
		return;
	case VN_KIND_NEED_INPUT:
		act_on_need_input(b, w, r, d->report);
		return;
	case VN_KIND_RELEASED:
		vn_settle_released(b, w, r);
		return;
	case VN_KIND_STATE:
		return;
	default:
		break;
	}
	read_on(b, w, r);
}

static const char *
take_listen(vn_broker *b, vn_worker *w, const vn_desc *d)
{
	char url[VN_URL_MAX];

	if (d->len >= sizeof url)
		return "len";
	if (w->listeners[d->arg].used)
		return "arg";
	vn_area_read(&w->link.peer, d->block, d->offset, url, d->len);
	url[d->len] = '\0';
	VN_CRASH_POINT("broker.listen.before");
	vn_endpoint_ask(b, w, d->arg, url, d->flags);
	VN_CRASH_POINT("broker.listen.after");
	return NULL;
}

static const char *
take_connect(vn_broker *b, vn_worker *w, const vn_desc *d)
{
	char url[VN_URL_MAX];

	if (d->len >= sizeof url)
		return "len";
	if (w->dials[d->arg].used)
		return "arg";
	vn_area_read(&w->link.peer, d->block, d->offset, url, d->len);
	url[d->len] = '\0';
	vn_dial_ask(b, w, d->arg, url);
	return NULL;
}

/* What is about the worker as such. */
static const char *
take_request(vn_broker *b, vn_worker *w, const vn_desc *d)
{
	switch (d->kind) {
	case VN_KIND_LISTEN:
		return take_listen(b, w, d);
	case VN_KIND_UNLISTEN:
		if (!w->listeners[d->arg].used)
			return "arg";
		vn_endpoint_unask(b, w, d->arg);
		return NULL;
	case VN_KIND_CONNECT:
		return take_connect(b, w, d);
	case VN_KIND_GIVE_UP:
		vn_dial_give_up(b, w, d->arg);
		return NULL;
	case VN_KIND_SUBSCRIBE:
		vn_forward_subscribe(b, w, d->report);
		return NULL;
	case VN_KIND_METRIC:
		return vn_own_ask(b, w, d);
	default:
		if (w->was_ready)
			return "kind";
		vn_worker_on_ready(w);
		return NULL;
	}
}

static bool
is_request(const vn_desc *d)
{
	return (d->kind >= VN_KIND_LISTEN && d->kind <= VN_KIND_READY) ||
	       (d->kind >= VN_KIND_CONNECT && d->kind <= VN_KIND_METRIC);
}

/* One descriptor of a worker; the name of the field that cannot be. */
static const char *
take_one(vn_broker *b, vn_worker *w, const vn_desc *d, bool alive)
{
	const char *bad = vn_desc_check(d, true, w->link.geometry.area_bytes);
	vn_record *r;

	if (bad)
		return bad;
	if (is_request(d))
		return alive || d->kind == VN_KIND_METRIC ? take_request(b, w, d) : NULL;
	if (vn_datagrams_is_kind(d->kind))
		return vn_datagrams_take(w, d, alive);
	r = record_of(b, w, d, &bad);
	if (!r)
		return bad;
	bad = take_positions(b, w, r, d);
	if (!bad && alive)
		act(b, w, r, d);
	return bad;
}

/**
 * vn_intake_take() - take what a worker has published, up to a batch
 *
 * Return: true if there may be more at once.
 */
bool
vn_intake_take(vn_broker *b, vn_worker *w)
{
	vn_desc batch[BATCH];
	int n;

	if (!w->linked || w->broken)
		return false;
	n = vn_lane_rx_take(&w->link.rx, batch, BATCH);
	if (n < 0) {
		vn_worker_violation(w, "tail cursor", NULL);
		return false;
	}
	if (n == 0)
		return false;
	vn_link_release(&w->link);
	b->taking_at = vn_stages_now(b);
	for (int i = 0; i < n && !w->broken; i++) {
		const char *bad;

		if (i + 2 < n && batch[i + 2].conn < b->ledger->high)
			vn_record_prefetch(b->ledger, batch[i + 2].conn);
		bad = take_one(b, w, &batch[i], true);
		if (bad)
			vn_worker_violation(w, bad, &batch[i]);
	}
	return n == BATCH && !w->broken && vn_lane_rx_pending(&w->link.rx) != 0;
}

/**
 * vn_intake_drain() - take everything that a dead worker has published
 *
 * Its tail is loaded once; a lane that was found to lie is not read past the bad descriptor.
 */
void
vn_intake_drain(vn_broker *b, vn_worker *w)
{
	vn_desc batch[BATCH];
	int n;

	while (w->linked && !w->broken && (n = vn_lane_rx_take(&w->link.rx, batch, BATCH)) != 0) {
		if (n < 0) {
			vn_worker_violation(w, "tail cursor", NULL);
			return;
		}
		b->taking_at = vn_stages_now(b);
		for (int i = 0; i < n && !w->broken; i++) {
			const char *bad = take_one(b, w, &batch[i], false);

			if (bad)
				vn_worker_violation(w, bad, &batch[i]);
		}
	}
}
