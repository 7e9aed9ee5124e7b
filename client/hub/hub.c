/* SPDX-License-Identifier: MIT */
/*
 * Hub - the loop, and the hub's beginning and end
 *
 * The loop runs when a coroutine parks and nobody is ready, when the turn's budget is spent, and when a hook
 * asked for a pause. What it does depends on why:
 *
 *	pause            the hooks only, then the turn goes on
 *	budget spent     hooks, a poll that does not wait, clock, timers
 *	nobody ready     hooks. If these made anybody ready: clock, timers, and the turn goes on without a poll.
 *	                 If one was busy but nobody is ready: a poll that does not wait, clock, timers.
 *	                 Otherwise the hooks are armed, and one poll waits until the next timer; clock, timers.
 *	                 One that objects has news: the hooks are next, at the price of a part of the budget.
 *
 * So a pass has at most one system call for polling and one look at the clock, and a second look only where a
 * poll is going to wait for a timer. The budget is filled by a poll: however busy the hooks are, every VN_TURN
 * switches the poller has its turn.
 */
#include "client/hub/hub.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/hub/alarm.h"
#include "client/hub/overflow.h"
#include "client/hub/place.h"
#include "client/hub/schedule.h"
#include "client/hub/watched.h"

#define LOOP_STACK_BYTES 262144u
#define LOOP_GUARD_BYTES 65536u /* a whole page, however large pages are */

/**
 * vn_hooks_turn() - the end of a turn, or a pause: all hooks work
 * @h: hub
 *
 * Return: true if one of them may have more to do at once.
 */
bool
vn_hooks_turn(vn_hub *h)
{
	bool busy = false;

	for (vn_hook *k = h->hooks; k; k = h->next_hook) {
		h->next_hook = k->next;
		busy |= k->turn(k);
	}
	return busy;
}

static bool
hooks_arm(vn_hub *h)
{
	for (vn_hook *k = h->hooks; k; k = h->next_hook) {
		h->next_hook = k->next;
		if (!k->arm(k))
			return false;
	}
	return true;
}

static int
poll_for(vn_hub *h, vn_time timeout)
{
	h->budget = VN_TURN;
	return vn_poller_poll(h->poller, timeout);
}

/* Nothing can ever wake those who wait. */
static void
deadlock(vn_hub *h)
{
	assert(h->all);
	for (vn_co *co = h->all; co; co = co->all_next)
		vn_co_cancel(co, -EDEADLK);
}

static void
sleep_until(vn_hub *h, vn_time at)
{
	vn_time timeout = -1, before = h->now;
	int n;

	if (at != VN_NEVER || h->spin.limit) {
		before = h->sys->now(h->sys);
		timeout = at == VN_NEVER ? -1 : at > before ? at - before : 0;
	}
	if (timeout != 0 && !hooks_arm(h)) {
		h->budget -= VN_TURN / 8;
		if (h->budget > 0)
			return; /* there is news: the hooks look first, the poller's turn comes when the budget is spent */
		timeout = 0;
	}
	n = poll_for(h, timeout);
	if (h->spin.limit && n > 0)
		vn_spin_learn(&h->spin, h->sys->now(h->sys) - before);
}

static void
rest(vn_hub *h)
{
	vn_time at = vn_wheel_next(h->wheel);

	if (at == VN_NEVER && h->n_sources == 0)
		deadlock(h);
	else if (!vn_spin_run(&h->spin, h))
		sleep_until(h, at);
}

static void
turn(vn_hub *h)
{
	bool busy = vn_hooks_turn(h);

	h->n_turns++;
	if (h->has_alarms_to_do)
		vn_alarms_turn(h);
	if (!h->ready_first && !busy)
		rest(h);
	else if (!h->ready_first || h->budget <= 0)
		poll_for(h, 0);
	h->now = h->sys->now(h->sys);
	vn_wheel_advance(h->wheel, h->now);
}

/* Runs on a stack of its own, whenever a coroutine switches to it, and never ends. */
static void
loop_run(vn_hub *h)
{
	for (;;) {
		bool paused = h->paused;

		if (paused) {
			h->paused = false;
			h->budget += VN_TURN;
		}
		h->advancing = true;
		if (paused && h->ready_first && h->budget > 0)
			vn_hooks_turn(h);
		else
			turn(h);
		h->advancing = false;
		if (h->ready_first) {
			h->budget--;
			vn_co_switch(h, vn_ready_pop(h));
		}
	}
}

VN_FIBER_SWITCH void
loop_entry(vn_transfer t)
{
	vn_hub *h = ((vn_co *)t.data)->hub;

	vn_co_arrive(h->loop, t);
	if (h->dead)
		vn_co_bury(h);
	loop_run(h);
	__builtin_trap();
}

/* Valgrind knows the stack of the main thread alone. */
static unsigned int
thread_watch(void)
{
	pthread_attr_t attributes;
	void *bottom;
	size_t size;

	if (!RUNNING_ON_VALGRIND || gettid() == getpid() ||
		pthread_getattr_np(pthread_self(), &attributes) != 0)
		return 0;
	pthread_attr_getstack(&attributes, &bottom, &size);
	pthread_attr_destroy(&attributes);
	return VALGRIND_STACK_REGISTER(bottom, (char *)bottom + size);
}

static int
loop_open(vn_hub *h)
{
	char *stack = mmap(NULL, LOOP_STACK_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	char *bottom = stack + LOOP_GUARD_BYTES;

	if (stack == MAP_FAILED)
		return -errno;
	h->loop_stack = stack;
	madvise(stack, LOOP_STACK_BYTES, MADV_NOHUGEPAGE);
	mprotect(stack, LOOP_GUARD_BYTES, PROT_NONE);
	h->watched[0] = VALGRIND_STACK_REGISTER(bottom, stack + LOOP_STACK_BYTES);
	h->watched[1] = thread_watch();
	h->loop = (vn_co *)(stack + LOOP_STACK_BYTES) - 1;
	vn_co_init(h->loop, h, NULL, NULL);
	vn_fiber_init(&h->loop->fiber, bottom, (size_t)((char *)h->loop - bottom));
	h->loop->context = make_fcontext(h->loop, (size_t)((char *)h->loop - bottom), loop_entry);
	return 0;
}

static void
loop_close(vn_hub *h)
{
	if (!h->loop_stack)
		return;
	vn_fiber_deinit(&h->loop->fiber);
	VALGRIND_STACK_DEREGISTER(h->watched[0]);
	VALGRIND_STACK_DEREGISTER(h->watched[1]);
	munmap(h->loop_stack, LOOP_STACK_BYTES);
}

/* A write to a closed socket or pipe is an error, not the end of the process; unless somebody decided. */
static void
pipe_signal_ignore(void)
{
	struct sigaction action;

	if (sigaction(SIGPIPE, NULL, &action) < 0 || action.sa_flags & SA_SIGINFO ||
		action.sa_handler != SIG_DFL)
		return;
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
}

static void
owned_free(vn_owned **list)
{
	while (*list) {
		vn_owned *o = *list;

		vn_hub_disown(o);
		o->free(o);
	}
}

/**
 * vn_hub_tell() - tell the witnesses that the hub ends
 * @h: hub; no coroutine is left
 *
 * vn_hub_close() does; whoever frees something before that which witnesses may still want to use, calls it first.
 */
void
vn_hub_tell(vn_hub *h)
{
	owned_free(&h->witnesses);
}

static vn_hub *
hub_free(vn_hub *h)
{
	int error = errno;

	vn_hub_tell(h);
	owned_free(&h->owned);
	vn_places_free(h);
	vn_overflow_close(h->overflow);
	loop_close(h);
	vn_wheel_free(h->wheel);
	vn_poller_free(h->poller);
	vn_stacks_free(h->stacks);
	free(h->main);
	free(h);
	errno = error;
	return NULL;
}

/**
 * vn_hub_open() - make a hub; the caller's stack becomes its main coroutine
 * @sys: the system; lives longer
 *
 * Ignores SIGPIPE if that had its default action.
 *
 * Return: the hub, or NULL with errno set.
 */
vn_hub *
vn_hub_open(const vn_sys *sys)
{
	vn_hub *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->sys = sys;
	h->now = sys->now(sys);
	vn_stamp_init(&h->stamp, sys);
	h->budget = VN_TURN;
	h->main = calloc(1, sizeof *h->main);
	h->wheel = vn_wheel_new(h->now);
	h->poller = vn_poller_new(sys);
	h->stacks = vn_stacks_new();
	h->overflow = vn_overflow_open(h);
	if (!h->main || !h->wheel || !h->poller || !h->stacks || !h->overflow || loop_open(h) < 0)
		return hub_free(h);
	vn_co_init(h->main, h, NULL, NULL);
	vn_fiber_init(&h->main->fiber, NULL, 0);
	vn_co_link(h->main);
	h->current = h->main;
	vn_spin_open(&h->spin);
	pipe_signal_ignore();
	return h;
}

/**
 * vn_hub_close() - stop, wait until all coroutines are gone, free
 * @h: hub or NULL
 *
 * A coroutine that takes no notice of -ECANCELED and never returns keeps this from returning; each million of
 * its waits is logged.
 *
 * Caller: the main coroutine.
 *
 * Return: NULL.
 */
vn_hub *
vn_hub_close(vn_hub *h)
{
	if (!h)
		return NULL;
	assert(h->current == h->main && !h->advancing);
	vn_places_tell(h);
	vn_stop(h);
	while (h->n_coroutines > 0)
		vn_yield(h);
	return hub_free(h);
}

/**
 * vn_stop() - let every wait, present and future, return -ECANCELED
 * @h: hub
 *
 * What was to be spawned later never runs. A wait that is decided stays decided.
 *
 * Caller: a coroutine or a callback of the loop; twice does no harm.
 */
void
vn_stop(vn_hub *h)
{
	h->stopping = true;
	vn_alarms_stop(h);
	for (vn_co *co = h->all; co; co = co->all_next)
		vn_co_cancel(co, -ECANCELED);
}

/**
 * vn_hub_hook() - let somebody work at the end of each turn
 * @h: hub
 * @k: both functions set; lives until it is unhooked
 */
void
vn_hub_hook(vn_hub *h, vn_hook *k)
{
	vn_hook **last = &h->hooks;

	while (*last)
		last = &(*last)->next;
	k->next = NULL;
	*last = k;
}

/**
 * vn_hub_unhook() - no longer
 * @h: hub
 * @k: hooked or not
 *
 * Caller: anybody, also what a hook calls in its turn.
 */
void
vn_hub_unhook(vn_hub *h, vn_hook *k)
{
	if (h->next_hook == k)
		h->next_hook = k->next;
	for (vn_hook **link = &h->hooks; *link; link = &(*link)->next)
		if (*link == k) {
			*link = k->next;
			return;
		}
}

static void
owned_push(vn_owned **list, vn_owned *o, void (*free)(vn_owned *o))
{
	o->free = free;
	o->next = *list;
	o->link = list;
	if (o->next)
		o->next->link = &o->next;
	*list = o;
}

/**
 * vn_hub_own() - let vn_hub_close() free something
 * @h:    hub
 * @o:    embedded in it
 * @free: called when no coroutine is left
 */
void
vn_hub_own(vn_hub *h, vn_owned *o, void (*free)(vn_owned *o))
{
	owned_push(&h->owned, o, free);
	vn_place_note(h, o, 0);
}

/**
 * vn_hub_witness() - be told that the hub ends, before anything that it owns is freed
 * @h:    hub
 * @o:    in no list
 * @tell: called when no coroutine is left; @o is in no list by then
 */
void
vn_hub_witness(vn_hub *h, vn_owned *o, void (*tell)(vn_owned *o))
{
	owned_push(&h->witnesses, o, tell);
}

/**
 * vn_hub_disown() - its owner frees it, or has lost interest
 * @o: owned, a witness, or neither any more
 */
void
vn_hub_disown(vn_owned *o)
{
	if (!o->link)
		return;
	*o->link = o->next;
	if (o->next)
		o->next->link = o->link;
	o->link = NULL;
}
