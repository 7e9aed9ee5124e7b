/* SPDX-License-Identifier: MIT */
/*
 * Change - reload, restart, scale, drain: one mechanism
 *
 * A change has workers that come and workers that go; either may be none. Nobody goes before all who come have
 * proven themselves:
 *
 *   starting   those who come are started, beside the others; waits until all are READY
 *   idle       for reload-trial: they stand by, and nothing is given to them; the others serve
 *   at work    for reload-trial: they serve; the others give away what they have (leave.c) and stand by
 *   over       the others leave for good
 *
 * A trial ends with a question: not before all who come have taken a PING that was sent at its end. So one that
 * hangs is never put to work, and never left alone with it; stall-timeout ends it, however short the trial was, and
 * one that is only slow, because the machine is, does not fail.
 *
 * If one that comes dies, or hangs, or cannot be started, or is not READY within start-timeout, before it is over, the
 * change is rolled back: those who were there serve as before, those who came leave, and the reason is the
 * outcome. Nobody else notices: until "at work" no client was theirs, and what is given to a worker that then
 * dies is settled like after any other death.
 *
 * One change comes at a time, and who wants another one waits for its end (vn_change_is_open()); the workers that
 * leave because of the last one may still be finishing what they have when the next one begins. It is done, for
 * those who asked for it, when they are gone. Signals that come during a change are remembered: any number of
 * SIGHUP makes one reload.
 */
#include "broker/change.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/event.h"
#include "broker/leave.h"
#include "broker/liveness.h"
#include "broker/worker.h"

#define N_OUTCOMES 64
#define LOOK_EVERY VN_MS /* whether those who were asked have answered */

typedef enum stage { STAGE_NONE, STAGE_STARTING, STAGE_IDLE, STAGE_AT_WORK } stage;

struct vn_change {
	vn_broker *broker;
	stage stage;
	bool asked; /* those who come, at the end of this trial */
	uint32_t serial;
	const char *what;
	vn_timer timer;
	bool wants_reload;  /* by a signal, when this is over */
	int32_t wants_more; /* the same: workers */
	vn_outcome outcomes[N_OUTCOMES];
};

static void change_next(vn_change *c);
static void timer_fire(vn_timer *t);

vn_change *
vn_change_new(vn_broker *b)
{
	vn_change *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->broker = b;
	c->timer.fire = timer_fire;
	return c;
}

vn_change *
vn_change_free(vn_change *c)
{
	if (c)
		vn_wheel_disarm(c->broker->hub->wheel, &c->timer);
	free(c);
	return NULL;
}

/**
 * vn_change_count() - how many workers there are to be, those included that are being restarted
 */
uint32_t
vn_change_count(const vn_change *c)
{
	const vn_broker *b = c->broker;
	uint32_t n = 0;

	for (uint32_t i = 1; i <= b->n_slots; i++)
		n += b->workers[i] && !b->workers[i]->coming && !b->workers[i]->going;
	return n;
}

/* Those who come with this change, or are to go with it; call it again until it is NULL. */
static vn_worker *
next_of(const vn_change *c, uint32_t *slot, bool coming)
{
	const vn_broker *b = c->broker;

	while (++*slot <= b->n_slots) {
		vn_worker *w = b->workers[*slot];

		if (w && w->change == c->serial && w->coming == coming && !w->going)
			return w;
	}
	return NULL;
}

/* "1.2 2.2", as many as fit. */
static void
names_of(const vn_change *c, bool coming, char out[static 160])
{
	size_t len = 0;
	const vn_worker *w;

	out[0] = '\0';
	for (uint32_t slot = 0; len < 130 && (w = next_of(c, &slot, coming));)
		len += (size_t)snprintf(
			out + len, 160 - len, "%s%u.%u", len ? " " : "", w->number, w->incarnation);
	if (len >= 130)
		snprintf(out + len, 160 - len, " ...");
}

/* The end, for better or worse; what those who wait for it will read. */
static void
conclude(vn_change *c, bool failed, const char *text)
{
	vn_outcome *o = &c->outcomes[c->serial % N_OUTCOMES];

	o->serial = c->serial;
	o->failed = failed;
	o->n_overdue = 0;
	snprintf(o->text, sizeof o->text, "%s", text);
	vn_event(c->broker, failed ? VN_EVENT_CHANGE_FAILED : VN_EVENT_CHANGE_DONE, (vn_about){0},
		"%s: %s", c->what, o->text);
	c->stage = STAGE_NONE;
	vn_wheel_disarm(c->broker->hub->wheel, &c->timer);
}

/* Those who came are there to stay, those who were there leave for good. */
static void
complete(vn_change *c)
{
	char came[160], went[160], text[VN_CHANGE_TEXT * 2];
	vn_worker *w;

	names_of(c, true, came);
	names_of(c, false, went);
	snprintf(text, sizeof text, "%s%s%s%s%s", came, *came ? " at work" : "",
		*came && *went ? ", " : "", went, *went ? " let go" : "");
	for (uint32_t slot = 0; (w = next_of(c, &slot, false));)
		vn_leave_for_good(w);
	for (uint32_t slot = 0; (w = next_of(c, &slot, true));) {
		w->coming = false;
		w->change = 0;
	}
	conclude(c, false, *text ? text : "nothing to do");
	change_next(c);
}

/* Nobody comes. If they were at work already, they give back what they have to those who were there. */
static void
roll_back(vn_change *c, const char *why)
{
	bool worked = c->stage == STAGE_AT_WORK;
	char text[VN_CHANGE_TEXT + 16];
	vn_worker *w;

	snprintf(text, sizeof text, "rolled back: %s", why);
	for (uint32_t slot = 0; (w = next_of(c, &slot, false));) {
		w->change = 0;
		if (worked)
			vn_leave_return(w);
	}
	for (uint32_t slot = 0; (w = next_of(c, &slot, true));)
		vn_leave_for_good(w);
	conclude(c, true, text);
	change_next(c);
}

static void
wait_for_trial(vn_change *c, stage next)
{
	c->stage = next;
	c->asked = false;
	vn_wheel_arm(c->broker->hub->wheel, &c->timer,
		c->broker->hub->now + c->broker->config->reload_trial);
}

/* Do those who come still take what they are told? Asks first, so it is never true at once. */
static bool
all_answer(vn_change *c)
{
	bool all = true;
	vn_worker *w;

	for (uint32_t slot = 0; (w = next_of(c, &slot, true));) {
		if (!c->asked)
			vn_liveness_ask(w);
		all &= vn_liveness_answered(w);
	}
	c->asked = true;
	return all;
}

/* Those who come take over. */
static void
put_to_work(vn_change *c)
{
	vn_worker *w;

	for (uint32_t slot = 0; (w = next_of(c, &slot, true));)
		vn_worker_serve(w);
	for (uint32_t slot = 0; (w = next_of(c, &slot, false));) {
		vn_wheel_disarm(c->broker->hub->wheel, &w->restart_timer);
		vn_leave_begin(w);
	}
	wait_for_trial(c, STAGE_AT_WORK);
}

static void
timer_fire(vn_timer *t)
{
	vn_change *c = (vn_change *)(void *)((char *)t - offsetof(vn_change, timer));

	if (c->stage == STAGE_STARTING)
		wait_for_trial(c, STAGE_IDLE);
	else if (!all_answer(c))
		vn_wheel_arm(c->broker->hub->wheel, &c->timer, c->broker->hub->now + LOOK_EVERY);
	else if (c->stage == STAGE_IDLE)
		put_to_work(c);
	else
		complete(c);
}

/**
 * vn_change_on_ready() - one of those who come is ready; it stands by
 */
void
vn_change_on_ready(vn_worker *w)
{
	vn_change *c = w->broker->change;

	if (c->stage != STAGE_STARTING)
		return;
	for (uint32_t slot = 0; (w = next_of(c, &slot, true));)
		if (w->state != VN_WORKER_STANDBY)
			return;
	vn_wheel_arm(c->broker->hub->wheel, &c->timer, c->broker->hub->now); /* not in here */
}

/* What is known about a program that ended like this. */
static const char *
explain(const vn_worker *w, vn_worker_state was)
{
	if (was != VN_WORKER_STARTING)
		return w->was_killed ? "" : " right after it was ready";
	if (*w->exec_error == ENOENT)
		return ": the program was not found";
	if (*w->exec_error)
		return ": the program cannot be executed";
	return w->was_killed ? "" : " before it was ready";
}

/**
 * vn_change_on_death() - one of those who come is dead: nobody comes
 * @was: its state before
 */
void
vn_change_on_death(vn_worker *w, vn_worker_state was)
{
	char why[VN_CHANGE_TEXT];

	snprintf(why, sizeof why, "worker %u.%u %s%s", w->number, w->incarnation, w->last_death,
		explain(w, was));
	w->coming = false;
	w->going = true;
	roll_back(w->broker->change, why);
}

/**
 * vn_change_is_open() - is none under way, so that one may begin?
 *
 * One whose workers only have to finish what they have is over in this respect.
 */
bool
vn_change_is_open(const vn_change *c)
{
	return c->stage == STAGE_NONE;
}

/* May a change begin? */
static bool
may_begin(const vn_change *c, char why[static VN_CHANGE_TEXT])
{
	const char *reason = NULL;

	if (c->broker->phase == VN_PHASE_STARTING)
		reason = "the service is still starting";
	else if (c->broker->phase >= VN_PHASE_DRAINING)
		reason = "the service is stopping";
	else if (c->stage != STAGE_NONE)
		reason = "another change of workers is under way";
	if (reason)
		snprintf(why, VN_CHANGE_TEXT, "%s", reason);
	return !reason;
}

static void
begin(vn_change *c, const char *what)
{
	c->what = what;
	c->asked = false;
	c->serial++;
	c->stage = STAGE_STARTING;
}

/* A worker that comes, with the number of one that goes, or a new one. */
static int
summon(vn_change *c, uint16_t number, char why[static VN_CHANGE_TEXT])
{
	const vn_worker *old = vn_worker_find(c->broker, number);
	vn_worker *w = vn_worker_new(c->broker, number);
	int rc = w ? 0 : -errno;

	if (w) {
		w->coming = true;
		w->change = c->serial;
		vn_count(&w->count->n_restarts, old != NULL);
		rc = vn_worker_start(w);
	}
	if (rc < 0)
		snprintf(why, VN_CHANGE_TEXT, "worker %u cannot be started: %s", number,
			rc == -EUSERS ? "too many workers have not finished yet" : vn_strerror(rc));
	return rc;
}

/* Everybody who is to come and to go is marked. Return: the serial number. */
static uint32_t
proceed(vn_change *c)
{
	uint32_t slot = 0, serial = c->serial;
	char came[160], went[160];

	names_of(c, true, came);
	names_of(c, false, went);
	vn_event(c->broker, VN_EVENT_CHANGE_BEGUN, (vn_about){.level = *came ? 0 : LOG_DEBUG},
		"%s: %s%s", c->what,
		*came   ? "starting "
		: *went ? "without "
			: "nobody comes or goes",
		*came ? came : went);
	if (!next_of(c, &slot, true)) { /* nobody to wait for */
		slot = 0;
		for (vn_worker *w; (w = next_of(c, &slot, false));)
			vn_leave_begin(w);
		c->stage = STAGE_AT_WORK;
		vn_wheel_arm(c->broker->hub->wheel, &c->timer, c->broker->hub->now);
	}
	return serial;
}

static uint32_t
fail(vn_change *c, const char *reason)
{
	uint32_t serial = c->serial;

	roll_back(c, reason);
	return serial;
}

/* Replaces one worker, or all. */
static uint32_t
replace(vn_change *c, const char *what, const vn_worker *only)
{
	vn_broker *b = c->broker;
	uint32_t n_slots = b->n_slots;
	char why[VN_CHANGE_TEXT];

	begin(c, what);
	for (uint32_t i = 1; i <= n_slots; i++) {
		vn_worker *w = b->workers[i];

		if (!w || w->coming || w->going || (only && w != only))
			continue;
		if (summon(c, w->number, why) < 0)
			return fail(c, why);
		w->change = c->serial;
	}
	return proceed(c);
}

/**
 * vn_change_reload() - start the program anew, for every worker
 */
uint32_t
vn_change_reload(vn_change *c, char why[static VN_CHANGE_TEXT])
{
	return may_begin(c, why) ? replace(c, "reload", NULL) : 0;
}

/**
 * vn_change_restart() - start the program anew, for one worker
 */
uint32_t
vn_change_restart(vn_change *c, vn_worker *w, char why[static VN_CHANGE_TEXT])
{
	return may_begin(c, why) ? replace(c, "restart", w) : 0;
}

static uint32_t
add(vn_change *c, uint32_t n)
{
	char why[VN_CHANGE_TEXT];

	for (uint16_t number = 1; n > 0 && number <= VN_MAX_WORKERS; number++) {
		if (vn_worker_find(c->broker, number))
			continue;
		if (summon(c, number, why) < 0)
			return fail(c, why);
		n--;
	}
	return proceed(c);
}

/**
 * vn_change_scale() - have so many workers
 *
 * New ones get the lowest numbers that are free, and the highest numbers go.
 */
uint32_t
vn_change_scale(vn_change *c, uint32_t n, char why[static VN_CHANGE_TEXT])
{
	uint32_t count = vn_change_count(c);

	if (!may_begin(c, why))
		return 0;
	if (n < 1 || n > VN_MAX_WORKERS) {
		snprintf(why, VN_CHANGE_TEXT, "there can be 1 to %d workers, not %u",
			VN_MAX_WORKERS, n);
		return 0;
	}
	begin(c, "scale");
	if (n > count)
		return add(c, n - count);
	for (uint16_t number = VN_MAX_WORKERS; count > n; number--) {
		vn_worker *w = vn_worker_find(c->broker, number);

		if (!w)
			continue;
		w->change = c->serial;
		count--;
	}
	return proceed(c);
}

/**
 * vn_change_drain() - do without one worker
 */
uint32_t
vn_change_drain(vn_change *c, vn_worker *w, char why[static VN_CHANGE_TEXT])
{
	if (!may_begin(c, why))
		return 0;
	if (vn_change_count(c) == 1) {
		snprintf(why, VN_CHANGE_TEXT,
			"worker %u is the only one; to end the service, stop it", w->number);
		return 0;
	}
	begin(c, "drain");
	w->change = c->serial;
	return proceed(c);
}

/* Has nobody who goes with that change still to finish? */
static bool
all_are_gone(const vn_change *c, uint32_t serial)
{
	const vn_broker *b = c->broker;

	for (uint32_t i = 1; i <= b->n_slots; i++)
		if (b->workers[i] && b->workers[i]->change == serial && b->workers[i]->going)
			return false;
	return true;
}

/**
 * vn_change_outcome() - what became of a change
 *
 * Return: NULL while it is under way, or those who go have not finished; a change that is long over is forgotten,
 * and the outcome that comes instead has another serial number.
 */
const vn_outcome *
vn_change_outcome(const vn_change *c, uint32_t serial)
{
	const vn_outcome *o = &c->outcomes[serial % N_OUTCOMES];

	if (c->serial == serial && c->stage != STAGE_NONE)
		return NULL;
	return o->failed || all_are_gone(c, serial) || c->broker->phase >= VN_PHASE_DRAINING ? o
											     : NULL;
}

/**
 * vn_change_on_overdue() - one that goes has not finished in time, and is stopped
 */
void
vn_change_on_overdue(const vn_worker *w)
{
	vn_outcome *o = &w->broker->change->outcomes[w->change % N_OUTCOMES];

	if (w->change && o->serial == w->change)
		o->n_overdue++;
}

/* What signals asked for meanwhile. */
static void
change_next(vn_change *c)
{
	int64_t n = (int64_t)vn_change_count(c) + c->wants_more;
	char why[VN_CHANGE_TEXT] = "";
	uint32_t serial = 1;

	if (c->stage != STAGE_NONE)
		return;
	if (c->wants_reload) {
		c->wants_reload = false;
		serial = vn_change_reload(c, why);
	} else if (c->wants_more) {
		c->wants_more = 0;
		serial = vn_change_scale(c, n > 0 ? (uint32_t)n : 0, why);
	}
	if (serial == 0)
		vn_log(c->broker->hub, LOG_WARNING, "nothing is changed: %s", why);
}

/**
 * vn_change_signal() - the same by signals: SIGHUP reloads, SIGTTIN is one worker more, SIGTTOU one less
 */
void
vn_change_signal(vn_change *c, int signal)
{
	if (signal == SIGHUP)
		c->wants_reload = true;
	else
		c->wants_more += signal == SIGTTIN ? 1 : -1;
	change_next(c);
}

/**
 * vn_change_cancel() - the service ends: everybody leaves anyway
 */
void
vn_change_cancel(vn_change *c)
{
	vn_worker *w;

	c->wants_reload = false;
	c->wants_more = 0;
	if (c->stage == STAGE_NONE)
		return;
	for (uint32_t slot = 0; (w = next_of(c, &slot, true));)
		w->coming = false;
	conclude(c, true, "given up: the service is stopping");
}
