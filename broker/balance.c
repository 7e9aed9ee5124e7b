/* SPDX-License-Identifier: MIT */
/*
 * Balance - busy connections move to a worker that has nothing to do
 *
 * New connections and those at rest find the best worker by themselves (dispatch.c). But a connection that is
 * never at rest, a pipeline that is always fed, stays where it began, and a worker that came later would look on.
 * So a worker that had nothing at all to do from one look to the next takes half of what the busiest one has:
 * these are asked back at their next commit point (RELEASE), and go where dispatch then sends them, which is there.
 * Between workers that have something to do nothing is moved: that costs more than it brings.
 */
#include "broker/balance.h"

#include "broker/dispatch.h"

#define LOOK_EVERY (100 * VN_MS)

/* Nothing to do, now and since the last look. */
static bool
idles(vn_worker *w)
{
	bool idle = w->n_busy == 0 && w->link.rx.next == w->taken_seen, still = idle && w->idled;

	w->taken_seen = w->link.rx.next;
	w->idled = idle;
	return still;
}

static bool
may_move(const vn_record *r, const vn_worker *to)
{
	return (r->flags & VN_R_BUSY) && to->listener_of[r->endpoint] != VN_NO_LISTENER;
}

static void
relieve(vn_broker *b, vn_worker *from, const vn_worker *to)
{
	uint32_t left = from->n_busy / 2;

	for (uint32_t index = from->attached; index != VN_NO_RECORD && left > 0;) {
		vn_record *r = vn_record_at(b->ledger, index);

		index = r->next;
		if (may_move(r, to))
			left -= vn_dispatch_release(b, from, r);
	}
}

/**
 * vn_balance_look() - does one worker have too much, and another one nothing?
 */
void
vn_balance_look(vn_broker *b)
{
	vn_worker *busiest = NULL, *idle = NULL;

	for (uint32_t i = 1; i <= b->n_slots; i++) {
		vn_worker *w = b->workers[i];

		if (!w || w->state != VN_WORKER_READY || w->broken)
			continue;
		if (idles(w))
			idle = w;
		if (w->n_busy >= 2 && (!busiest || w->n_busy > busiest->n_busy))
			busiest = w;
	}
	if (idle && busiest)
		relieve(b, busiest, idle);
}

static void
balance_fire(vn_timer *t)
{
	vn_broker *b = (vn_broker *)(void *)((char *)t - offsetof(vn_broker, balance_timer));

	if (b->phase >= VN_PHASE_DRAINING)
		return;
	vn_balance_look(b);
	vn_wheel_arm(b->hub->wheel, t, b->hub->now + LOOK_EVERY);
}

void
vn_balance_init(vn_broker *b)
{
	b->balance_timer.fire = balance_fire;
	vn_wheel_arm(b->hub->wheel, &b->balance_timer, b->hub->now + LOOK_EVERY);
}

void
vn_balance_deinit(vn_broker *b)
{
	vn_wheel_disarm(b->hub->wheel, &b->balance_timer);
}
