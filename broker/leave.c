/* SPDX-License-Identifier: MIT */
/*
 * Leave - how a worker is relieved of its connections without anybody noticing
 *
 * A worker that leaves gets no new work. What it has is handed over, each connection in the way that its state
 * allows: at rest it is taken back at once (REVOKED); in the middle of a request its worker is asked to give it
 * back at the next commit point (RELEASE); what cannot go elsewhere, because its endpoint is not resumable or
 * its output has ended, is served to its end. This can be undone (a change that is rolled back) until the
 * worker is told to leave for good: then its listeners end (DRAIN) and it has drain-timeout, after which every
 * wait in it ends (STOP), and a second later it is killed. Its death is nobody's fault.
 *
 * DRAIN overtakes the debts of connections in the worker's lane, and a worker whose listener has ended turns
 * connections away; so it is told when each of its connections has been opened.
 */
#include "broker/leave.h"

#include "broker/change.h"
#include "broker/dispatch.h"
#include "broker/event.h"
#include "broker/worker.h"

#define LOOK_EVERY (5 * VN_MS)

/**
 * vn_leave_give_away() - whatever can go elsewhere; what cannot at once, goes when this is called again
 */
void
vn_leave_give_away(vn_broker *b, vn_worker *w)
{
	if (!w->linked || w->broken)
		return;
	for (uint32_t index = w->attached; index != VN_NO_RECORD;) {
		vn_record *r = vn_record_at(b->ledger, index);

		index = r->next;
		vn_dispatch_release(b, w, r);
	}
}

static bool
all_are_opened(const vn_broker *b, const vn_worker *w)
{
	for (uint32_t index = w->attached; index != VN_NO_RECORD;) {
		const vn_record *r = vn_record_at(b->ledger, index);

		if (r->debts & VN_D_OPEN)
			return false;
		index = r->next;
	}
	return true;
}

/* DRAIN, once. */
static void
tell_one(const vn_broker *b, vn_worker *w)
{
	if (w->state != VN_WORKER_DRAINING || !w->going || w->was_told || !all_are_opened(b, w))
		return;
	w->was_told = true;
	w->owes_drain = true;
	vn_worker_heat(w);
}

/**
 * vn_leave_tell() - tell those who leave for good, and have all their connections, to finish
 */
void
vn_leave_tell(vn_broker *b)
{
	for (uint32_t i = 1; i <= b->n_slots; i++)
		if (b->workers[i])
			tell_one(b, b->workers[i]);
}

static void
look_after(vn_broker *b, vn_worker *w)
{
	vn_leave_give_away(b, w);
	if (!w->going || b->hub->now < w->leave_until || w->was_stopped)
		return;
	vn_event(b, VN_EVENT_WORKER_OVERDUE, (vn_about){.worker = w},
		"worker %u.%u has not finished within drain-timeout", w->number, w->incarnation);
	vn_change_on_overdue(w);
	vn_worker_stop(w);
}

static void
leave_fire(vn_timer *t)
{
	vn_broker *b = (vn_broker *)(void *)((char *)t - offsetof(vn_broker, leave_timer));
	bool somebody = false;

	if (b->phase >=
		VN_PHASE_DRAINING) /* stop.c has a clock of its own, and nobody takes over */
		return;
	for (uint32_t i = 1; i <= b->n_slots; i++) {
		vn_worker *w = b->workers[i];

		if (!w || w->state != VN_WORKER_DRAINING)
			continue;
		somebody = true;
		look_after(b, w);
	}
	vn_leave_tell(b);
	if (somebody)
		vn_wheel_arm(b->hub->wheel, t, b->hub->now + LOOK_EVERY);
}

static void
leave_watch(vn_broker *b)
{
	if (vn_timer_armed(&b->leave_timer) || b->phase >= VN_PHASE_DRAINING)
		return;
	b->leave_timer.fire = leave_fire;
	vn_wheel_arm(b->hub->wheel, &b->leave_timer, b->hub->now);
}

/**
 * vn_leave_begin() - no more work for this worker; what it has goes to others
 * @w: one that serves, or stands by; else nothing is changed
 */
void
vn_leave_begin(vn_worker *w)
{
	vn_broker *b = w->broker;

	if (w->state != VN_WORKER_READY && w->state != VN_WORKER_STANDBY)
		return;
	if (w->state == VN_WORKER_READY)
		vn_dispatch_worker_ready(b, w, false);
	w->state = VN_WORKER_DRAINING;
	leave_watch(b);
}

/**
 * vn_leave_return() - it goes on after all
 * @w: not told yet that it leaves for good; dead meanwhile, it is started again
 */
void
vn_leave_return(vn_worker *w)
{
	if (w->state == VN_WORKER_DRAINING)
		vn_worker_serve(w);
	else if (w->state == VN_WORKER_NONE && !vn_timer_armed(&w->restart_timer))
		vn_worker_restart(w);
}

/**
 * vn_leave_for_good() - it finishes and ends; nobody comes after it
 *
 * While the service runs, it may be gone when this returns.
 */
void
vn_leave_for_good(vn_worker *w)
{
	vn_broker *b = w->broker;

	if (w->going)
		return;
	w->going = true;
	w->ordered = true;
	w->leave_until = b->hub->now + b->config->drain_timeout;
	vn_wheel_disarm(b->hub->wheel, &w->restart_timer);
	w->coming = false;
	vn_leave_begin(w);
	if (w->state == VN_WORKER_STARTING) {
		w->state = VN_WORKER_DRAINING;
		vn_worker_kill(w, "was stopped before it was ready");
	} else if (w->state != VN_WORKER_NONE) {
		tell_one(b, w);
	} else if (b->phase < VN_PHASE_DRAINING) {
		vn_worker_retire(w);
	}
}

void
vn_leave_deinit(vn_broker *b)
{
	vn_wheel_disarm(b->hub->wheel, &b->leave_timer);
}
