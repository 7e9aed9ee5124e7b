/* SPDX-License-Identifier: MIT */
/*
 * Hub - a round trip between two real hubs: a coroutine, the end of its turn, the lane, and the other hub
 *
 * The hook and the watch are what client/net has for its link to the broker: at the end of a turn publish, then
 * take; before sleeping arm; a bell only wakes. Where hubs poll, both have the spinning that a hub learns by itself
 * on a machine with processors to spare, and begin each slice as if they had learnt it.
 */
#include "client/hub/hub.h"

#include <stdlib.h>

#include "shm/bell.h"
#include "tests/bench/lane/link.h"

#define PLENTY 64 /* of processors: enough for a hub to spin */

typedef struct hub_end {
	bench_link b;
	vn_hook hook;
	vn_watch watch;
	vn_hub *hub;
	vn_waitq queue;
	bool polls, arrived;
	uint64_t number;
} hub_end;

static hub_end *
end_of(vn_hook *k)
{
	return (hub_end *)(void *)((char *)k - offsetof(hub_end, hook));
}

static bool
hub_turn(vn_hook *k)
{
	hub_end *e = end_of(k);
	vn_desc d;

	vn_link_flush(&e->b.link);
	if (vn_lane_rx_take(&e->b.link.rx, &d, 1) != 1)
		return false;
	vn_link_release(&e->b.link);
	if (vn_desc_check(&d, e->b.sends, e->b.link.geometry.area_bytes) || d.report != e->number)
		errx(1, "round trip %ju is missing", (uintmax_t)e->number);
	e->arrived = true;
	if (e->queue.first)
		vn_wake(e->queue.first, 0);
	return false;
}

static bool
hub_arm(vn_hook *k)
{
	return vn_lane_rx_arm(&end_of(k)->b.link.rx);
}

static void
hub_rung(vn_watch *w, uint32_t events)
{
	hub_end *e = (hub_end *)(void *)((char *)w - offsetof(hub_end, watch));

	(void)events;
	if (!e->b.sends && ++e->b.n_naps % 1000 == 0)
		vn_bell_drain(e->b.link.bell_in);
}

static void *
hub_open(const carrier *c, const carrier_place *place)
{
	hub_end *e = calloc(1, sizeof *e);

	if (!e)
		err(1, "hub");
	bench_link_open(&e->b, place);
	e->polls = c == &carrier_hub_trip_polls;
	return e;
}

static void
hub_begin(void *state, bool sends)
{
	hub_end *e = state;

	bench_link_begin(&e->b, sends);
	e->hub = vn_hub_open(&vn_sys_linux);
	if (!e->hub)
		err(1, "vn_hub_open");
	vn_spin_init(&e->hub->spin, e->polls ? PLENTY : 1);
	e->hook = (vn_hook){.turn = hub_turn, .arm = hub_arm};
	vn_hub_hook(e->hub, &e->hook);
	vn_hub_hold(e->hub);
	if (vn_watch_add(
		    e->hub->poller, &e->watch, e->b.link.bell_in, EPOLLIN | EPOLLET, hub_rung) < 0)
		errx(1, "vn_watch_add");
}

static void
hub_await(hub_end *e)
{
	vn_clause clause = {0};

	while (!e->arrived) {
		vn_waitq_push(&e->queue, &clause);
		if (vn_wait(e->hub, &clause, 1, VN_NEVER) != 0)
			errx(1, "vn_wait");
	}
	e->arrived = false;
}

static void
hub_push(hub_end *e)
{
	vn_desc d = {
		.kind = e->b.sends ? VN_KIND_SENT : VN_KIND_ACK, .conn = 1, .report = e->number};

	vn_lane_tx_push(&e->b.link.tx, &d);
}

/* As a hub is that has learnt that messages come soon: between the slices nobody sends any. */
static void
hub_spin(hub_end *e)
{
	e->hub->spin.budget = e->hub->spin.limit;
}

static void
hub_send(void *state, uint64_t n, carrier_tally *t)
{
	hub_end *e = state;

	hub_spin(e);
	for (; n > 0; n--) {
		if (!vn_lane_tx_has(&e->b.link.tx, 1))
			errx(1, "no room");
		hub_push(e);
		hub_await(e);
		e->number++;
	}
	bench_link_tally(&e->b, t);
}

static void
hub_receive(void *state, uint64_t n, carrier_tally *t)
{
	hub_end *e = state;

	hub_spin(e);
	for (; n > 0; n--) {
		if (!vn_lane_tx_has(&e->b.link.tx, 1))
			errx(1, "no room");
		hub_await(e);
		hub_push(e);
		e->number++;
	}
	vn_link_flush(&e->b.link); /* the last one: nobody waits after it */
	bench_link_tally(&e->b, t);
}

#define HUB .open = hub_open, .begin = hub_begin, .send = hub_send, .receive = hub_receive

const carrier carrier_hub_trip_polls = {
	.name = "hub-trip-polls",
	.settings =
		"a coroutine each, hubs that spin as they do where there are processors to spare",
	HUB,
};
const carrier carrier_hub_trip_sleeps = {
	.name = "hub-trip-sleeps",
	.settings = "a coroutine each, hubs that do not spin",
	HUB,
};
