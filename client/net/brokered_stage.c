/* SPDX-License-Identifier: MIT */
/*
 * Brokered stage - what is said to the broker goes into the lane, and out of it by one store
 *
 * Descriptors are staged in the lane and published together: between runs of coroutines, never inside one, so that
 * what is written at once, its state and its commit leave by one store of the tail. When FLUSH_AT are staged the run
 * ends early, and the rest of the ready coroutines runs after the flush.
 *
 * When the lane is full, descriptors without payload wait in a private list (at most a few per connection), and
 * everything after them too, or it would overtake them. Those who would write wait until there is room for `reserve`
 * slots: two SENDs, the longest state that there is, ACK, what says that somebody waits, and one for whoever closes.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/hub/log.h"
#include "client/net/brokered.h"

#define FLUSH_AT 32 /* staged descriptors that are published before the next coroutine runs */

static void
stage_later(vn_brokered *b, const vn_desc *d)
{
	if (b->n_waiting == b->n_waiting_max) {
		uint32_t n = b->n_waiting_max ? b->n_waiting_max * 2 : 64;
		vn_desc *waiting = realloc(b->waiting, n * sizeof *waiting);

		if (!waiting) {
			vn_log(b->net->hub, LOG_CRIT,
				"out of memory for messages to the broker; ending, "
				"so that the connections go on in another worker");
			_exit(71);
		}
		b->waiting = waiting;
		b->n_waiting_max = n;
	}
	b->waiting[b->n_waiting++] = *d;
}

/**
 * vn_stage() - say something to the broker, with what else is said in this run
 *
 * Return: a cursor, meaningful while the lane had room.
 */
uint32_t
vn_stage(vn_brokered *b, const vn_desc *d)
{
	vn_lane_tx *tx = &b->link.tx;

	if (b->n_waiting || !vn_lane_tx_has(tx, 1)) {
		stage_later(b, d);
		return tx->published - 1;
	}
	if (vn_lane_tx_staged(tx) == FLUSH_AT)
		vn_hub_pause(b->net->hub);
	return vn_lane_tx_push(tx, d);
}

/* Moves what waited into the lane, as far as there is room. */
static void
stage_waiting(vn_brokered *b)
{
	uint32_t n = 0;

	while (n < b->n_waiting && vn_lane_tx_has(&b->link.tx, 1))
		vn_lane_tx_push(&b->link.tx, &b->waiting[n++]);
	if (n == 0)
		return;
	b->n_waiting -= n;
	memmove(b->waiting, b->waiting + n, b->n_waiting * sizeof *b->waiting);
}

static bool
space_is_there(vn_brokered *b)
{
	return b->n_waiting == 0 && vn_lane_tx_has(&b->link.tx, b->reserve);
}

/**
 * vn_stage_flush() - publish what is staged, and what waited, as far as there is room
 */
void
vn_stage_flush(vn_brokered *b)
{
	if (b->n_waiting)
		stage_waiting(b);
	vn_link_flush(&b->link);
	if (b->link.tx.broken)
		vn_brokered_lost(b, "wrote a bad cursor");
	if (b->space.first && space_is_there(b))
		vn_wake(b->space.first, 0);
}

/**
 * vn_stage_flush_all() - everything that was asked of the library reaches the lane, for up to a second if that is full
 */
void
vn_stage_flush_all(vn_brokered *b)
{
	const vn_sys *sys = b->net->hub->sys;
	vn_time until = sys->now(sys) + VN_SEC;

	vn_stage_flush(b);
	while (b->n_waiting && sys->now(sys) < until) {
		if (!vn_lane_tx_want(&b->link.tx, b->reserve))
			vn_poller_poll(b->net->hub->poller, 20 * VN_MS);
		vn_stage_flush(b);
	}
}

/* Its state may leave with what it is about to write. */
static void
reserve_state(vn_brokered *b, const vn_conn *c)
{
	uint32_t reserve = VN_STAGE_RESERVE + vn_state_descs(c->memory->len);

	if (b->reserve < reserve)
		b->reserve = reserve;
}

static int
wait_space(vn_conn *c)
{
	vn_brokered *b = vn_brokered_of(c->net);
	int rc = 0;

	while (rc == 0 && !space_is_there(b))
		rc = vn_conn_wait(c, &c->writers, &b->space);
	if (space_is_there(b))
		vn_conn_wake(&b->space);
	return rc;
}

/**
 * vn_stage_ready() - wait until a SEND and what belongs to it can be staged
 *
 * Return: 0, or what vn_conn_wait() says.
 */
int
vn_stage_ready(vn_conn *c)
{
	vn_brokered *b = vn_brokered_of(c->net);

	if (c->flags & VN_CONN_MEMORY)
		reserve_state(b, c);
	return vn_lane_tx_room(&b->link.tx) >= b->reserve && b->n_waiting == 0 ? 0 : wait_space(c);
}
