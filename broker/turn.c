/* SPDX-License-Identifier: MIT */
/*
 * Turn - the order of the broker's work at the end of each of its hub's turns
 *
 * The poller has received what sockets had (socket.c) and said which bells rang. Then
 *
 *   take      the lanes of hot workers, a batch of each: acknowledgements, output
 *   send      one sendmsg for each connection that got output
 *   dispatch  those who wait in line, now that workers have room
 *   pay       what workers are owed, a round of each
 *   publish   one store of tail per worker with news, and a bell if it sleeps
 *
 * A bell makes a worker hot, and so does anything that is pushed for it; it cools when its lane is empty and
 * the hub is about to sleep: armed, looked at once more. So sleeping costs what is hot, not what is there.
 */
#include "broker/broker.h"
#include "broker/datagram.h"
#include "broker/debt.h"
#include "broker/dispatch.h"
#include "broker/intake.h"
#include "broker/keep.h"
#include "broker/liveness.h"
#include "broker/patience.h"
#include "broker/sample.h"
#include "broker/socket.h"
#include "broker/worker.h"

#define SWEEP_EVERY (50 * VN_MS)
#define PAY_SLOTS                                                                                  \
	(VN_OWN_SLOTS + 1 + vn_state_descs(VN_STATE_MAX)) /* whatever is owed, one can be paid */

void
vn_worker_heat(vn_worker *w)
{
	if (w->hot)
		return;
	if (w->linked)
		vn_lane_rx_disarm(&w->link.rx);
	w->hot = true;
	w->hot_next = w->broker->hot;
	w->broker->hot = w;
}

static bool
take_all(vn_broker *b)
{
	bool more = false;

	for (vn_worker *w = b->hot; w; w = w->hot_next)
		if (vn_intake_take(b, w))
			more = true;
	return more;
}

static void
publish_all(vn_broker *b)
{
	for (vn_worker *w = b->hot; w; w = w->hot_next) {
		if (!w->linked || w->broken)
			continue;
		if (w->starved.first != VN_NO_RECORD)
			vn_dispatch_starved(b, w);
		if (w->datagrams_stalled)
			vn_datagrams_resume(w);
		if (vn_debt_owes(w))
			vn_debt_pay(b, w);
		vn_link_flush(&w->link);
		if (w->link.tx.broken)
			vn_worker_violation(w, "head cursor", NULL);
	}
}

static bool
broker_turn(vn_hook *k)
{
	vn_broker *b = (vn_broker *)(void *)((char *)k - offsetof(vn_broker, hook));
	bool more = take_all(b);

	if (b->output_first != VN_NO_RECORD)
		vn_socket_outputs(b);
	if (b->datagram_outputs)
		vn_datagrams_outputs(b);
	if (b->waiting.first != VN_NO_RECORD)
		vn_dispatch_waiting(b);
	publish_all(b);
	return more || b->output_first != VN_NO_RECORD;
}

/*
 * May the hub sleep as far as this worker is concerned? Cools it if so. While one worker is paid, a connection may
 * move to another that was paid before: then that one has something staged.
 */
static bool
worker_arm(vn_worker *w)
{
	vn_link *l = &w->link;

	if (!w->linked || w->broken)
		return true;
	if (l->tx.broken || vn_lane_tx_staged(&l->tx))
		return false;
	if (vn_debt_owes(w)) {
		if (vn_lane_tx_room(&l->tx) >= PAY_SLOTS)
			return false;
		if (vn_lane_tx_want(&l->tx, l->tx.mask / 2))
			return false;
	}
	return vn_lane_rx_arm(&l->rx);
}

static bool
broker_arm(vn_hook *k)
{
	vn_broker *b = (vn_broker *)(void *)((char *)k - offsetof(vn_broker, hook));
	vn_worker **link = &b->hot;

	while (*link) {
		vn_worker *w = *link;

		if (!worker_arm(w))
			return false;
		w->hot = false;
		*link = w->hot_next;
	}
	return true;
}

/* What rests, waits or lingers for too long; armed while there is any connection. */
static void
sweep_fire(vn_timer *t)
{
	vn_broker *b = (vn_broker *)(void *)((char *)t - offsetof(vn_broker, sweep));

	vn_dispatch_sweep(b);
	vn_socket_linger_sweep(b);
	vn_patience_sweep(b, SWEEP_EVERY);
	vn_liveness_sweep(b);
	vn_datagrams_sweep(b);
	vn_keep_trim(b->ledger);
	vn_slow_sweep(b);
	vn_broker_sample(b);
	vn_wheel_arm(b->hub->wheel, t, b->hub->now + SWEEP_EVERY);
}

void
vn_broker_turn_init(vn_broker *b)
{
	b->output_first = b->unreported = VN_NO_RECORD;
	b->waiting = b->closing = (vn_ledger_list){VN_NO_RECORD, VN_NO_RECORD};
	b->hook.turn = broker_turn;
	b->hook.arm = broker_arm;
	vn_hub_hook(b->hub, &b->hook);
	b->sweep.fire = sweep_fire;
	vn_wheel_arm(b->hub->wheel, &b->sweep, b->hub->now + SWEEP_EVERY);
}
