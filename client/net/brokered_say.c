/* SPDX-License-Identifier: MIT */
/*
 * Brokered say - what handlers did becomes descriptors
 *
 * Commit and output leave together: a SEND that no later descriptor of the same batch follows carries the
 * acknowledgement too, and means "these bytes, then the ack". So output is never appended across an acknowledgement,
 * nor across anything else that is said of the connection: c->stage_appends tells whether its last SEND, at the
 * cursor c->stage, may still grow.
 *
 * What commits says when the handler saw what it commits, and when it was done: the clock is read for that once in some
 * microseconds, so a handler that took longer shows in its own times and not in those of whoever runs next.
 *
 * State goes before the commit that it belongs to, so output that is staged before it goes without one. A CLOSE gives
 * all input back; RELEASED all that was not taken, and after it nothing more is said of that attachment.
 */
#include <string.h>

#include "client/net/brokered.h"
#include "shm/crash.h"

/* A commit is made now; what comes after it has not been seen yet. */
static inline vn_desc_times
commit_times(vn_conn *c)
{
	vn_desc_times times = {0, 0};

	if (!VN_STAGES)
		return times;
	times.taken = c->found;
	times.done = vn_net_ticks(c->net);
	c->found = 0;
	return times;
}

static void
stage_short(vn_conn *c, uint8_t kind, uint64_t report)
{
	vn_stage(vn_brokered_of(c->net),
		&(vn_desc){.kind = kind, .conn = c->index, .gen = c->gen, .report = report});
}

/**
 * vn_brokered_send() - bytes were added at the end of c->out
 */
void
vn_brokered_send(vn_conn *c, uint32_t block, uint32_t offset, uint32_t len)
{
	vn_brokered *b = vn_brokered_of(c->net);

	if (c->stage_appends && offset && vn_lane_tx_open(&b->link.tx, c->stage)) {
		vn_lane_tx_extend(&b->link.tx, c->stage, len);
		return;
	}
	c->stage = vn_stage(b, &(vn_desc){.kind = VN_KIND_SEND,
				       .conn = c->index,
				       .gen = c->gen,
				       .len = len,
				       .pos = c->queued - len,
				       .block = block,
				       .offset = offset});
	c->stage_appends = true;
}

/**
 * vn_brokered_ack() - c->acked has moved, and c->committed if `commit`
 */
void
vn_brokered_ack(vn_conn *c, bool commit)
{
	vn_brokered *b = vn_brokered_of(c->net);
	uint8_t flags = commit ? VN_COMMIT : 0;
	vn_desc_times times = commit ? commit_times(c) : (vn_desc_times){0, 0};

	VN_CRASH_POINT("worker.commit.before");
	while (vn_chain_pop(&c->in, c->net->in_table, c->acked) != VN_NO_BLOCK)
		;
	if (c->stage_appends && vn_lane_tx_open(&b->link.tx, c->stage)) {
		c->stage_appends = false;
		vn_lane_tx_amend(&b->link.tx, c->stage, VN_ACK | flags, c->acked, times);
		VN_CRASH_POINT("worker.commit.amended");
		return;
	}
	c->stage_appends = false;
	vn_stage(b, &(vn_desc){.kind = VN_KIND_ACK,
			    .flags = flags,
			    .conn = c->index,
			    .gen = c->gen,
			    .report = c->acked,
			    .times = times});
}

/**
 * vn_brokered_absolve() - is what was tried before done with?
 *
 * As the broker counts: what was taken together is tried together, until a commit is published. So the count stays
 * until the commit that was staged first is.
 */
void
vn_brokered_absolve(vn_conn *c)
{
	const vn_lane_tx *tx = &vn_brokered_of(c->net)->link.tx;

	if (!(c->flags & VN_CONN_ABSOLVED)) {
		c->flags |= VN_CONN_ABSOLVED;
		c->absolved = tx->next;
	} else if ((int32_t)(tx->published - c->absolved) >= 0) {
		c->flags &= ~(uint32_t)VN_CONN_ABSOLVED;
		c->attempts = 0;
	}
}

/**
 * vn_brokered_state() - what a successor finds from the next commit on, which comes after this
 */
void
vn_brokered_state(vn_conn *c)
{
	vn_brokered *b = vn_brokered_of(c->net);
	const vn_conn_memory *m = c->memory;
	uint32_t n = vn_state_descs(m->len);

	c->stage_appends = false;
	for (uint16_t i = 0; i < n; i++) {
		vn_desc d = {.kind = VN_KIND_STATE,
			.arg = i,
			.len = m->len,
			.conn = c->index,
			.gen = c->gen};

		memcpy(d.bytes, m->bytes + m->len + i * VN_INLINE_BYTES, vn_state_part(&d));
		vn_stage(b, &d);
	}
}

/**
 * vn_brokered_release() - a connection is given back
 *
 * What was not taken is the broker's at once: it may use those blocks for others.
 */
void
vn_brokered_release(vn_conn *c)
{
	while (vn_chain_pop(&c->in, c->net->in_table, UINT64_MAX) != VN_NO_BLOCK)
		;
	c->in_at = VN_NO_BLOCK;
	c->received = c->taken;
	c->stage_appends = false;
	stage_short(c, VN_KIND_RELEASED, c->committed);
}

/**
 * vn_brokered_shut() - no more output
 */
void
vn_brokered_shut(vn_conn *c)
{
	c->stage_appends = false;
	vn_stage(vn_brokered_of(c->net), &(vn_desc){.kind = VN_KIND_SHUTDOWN,
						 .conn = c->index,
						 .gen = c->gen,
						 .pos = c->queued});
}

static void
stage_close(vn_conn *c, uint8_t flags)
{
	c->flags |= VN_CONN_CLOSED;
	c->stage_appends = false;
	vn_stage(vn_brokered_of(c->net), &(vn_desc){.kind = VN_KIND_CLOSE,
						 .flags = flags,
						 .conn = c->index,
						 .gen = c->gen,
						 .pos = c->queued,
						 .times = commit_times(c)});
}

/**
 * vn_brokered_abort() - have it reset now; it is still to be closed
 *
 * A CLOSE gives all input back, so it waits until the views are released.
 */
void
vn_brokered_abort(vn_conn *c)
{
	if (!c->n_pins && !(c->flags & VN_CONN_CLOSED))
		stage_close(c, VN_ABORT);
}

/**
 * vn_brokered_close() - the handler is done with it
 */
void
vn_brokered_close(vn_conn *c)
{
	if (c->flags & VN_CONN_FINAL)
		vn_brokered_forget(vn_brokered_of(c->net), c);
	else if (!(c->flags & (VN_CONN_STALE | VN_CONN_CLOSED)))
		stage_close(c, c->flags & VN_CONN_ABORTED ? VN_ABORT : 0);
}

/**
 * vn_brokered_need() - a coroutine is about to wait for window or blocks
 */
void
vn_brokered_need(vn_conn *c)
{
	c->stage_appends = false;
	stage_short(c, VN_KIND_NEED, 0);
}

/**
 * vn_brokered_need_input() - a coroutine is about to wait for input, having some un-acknowledged
 *
 * With how much it has got: what the broker has said meanwhile may be what it waits for.
 */
void
vn_brokered_need_input(vn_conn *c)
{
	c->stage_appends = false;
	stage_short(c, VN_KIND_NEED_INPUT, c->received);
}
