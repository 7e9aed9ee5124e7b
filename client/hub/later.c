/* SPDX-License-Identifier: MIT */
/*
 * Later - what has to do with time: sleeping, deadlines, and coroutines that are spawned later
 *
 * A delay counts from the clock, not from vn_now(), which may lie a long run behind.
 */
#include "client/hub/later.h"

#include <errno.h>
#include <stdlib.h>

#include "client/hub/hub.h"
#include "client/hub/log.h"

typedef struct vn_later vn_later;
struct vn_later {
	vn_timer timer;
	vn_later *next, **link;
	vn_hub *hub;
	vn_fn *fn;
	void *arg;
};

static void
later_free(vn_later *l)
{
	vn_wheel_disarm(l->hub->wheel, &l->timer);
	*l->link = l->next;
	if (l->next)
		l->next->link = l->link;
	free(l);
}

static void
later_fire(vn_timer *t)
{
	vn_later *l = (vn_later *)((char *)t - offsetof(vn_later, timer));
	int rc = vn_co_spawn(l->hub, l->fn, l->arg);

	if (rc < 0)
		vn_log(l->hub, LOG_ERR, "cannot run what was to be spawned later: %s",
			vn_strerror(rc));
	later_free(l);
}

/**
 * vn_later_cancel_all() - forget what was to be spawned later
 * @h: hub
 */
void
vn_later_cancel_all(vn_hub *h)
{
	while (h->later)
		later_free(h->later);
}

/**
 * vn_hub_after() - the instant that is `delay` away
 * @h:     hub
 * @delay: nanoseconds
 *
 * Return: an instant; VN_NEVER if it is too far away to be one.
 */
vn_time
vn_hub_after(vn_hub *h, vn_time delay)
{
	vn_time at;

	return __builtin_add_overflow(h->sys->now(h->sys), delay, &at) ? VN_NEVER : at;
}

/**
 * vn_spawn_later() - make a coroutine that runs after a delay
 * @h:     hub
 * @delay: nanoseconds
 * @f:     what it runs
 * @arg:   its argument
 *
 * When the hub is stopped first, it never runs.
 *
 * Return: 0, -ENOMEM, or -ECANCELED when the hub is stopping.
 */
int
vn_spawn_later(vn_hub *h, vn_time delay, vn_fn *f, void *arg)
{
	vn_later *l;

	if (h->stopping)
		return -ECANCELED;
	l = calloc(1, sizeof *l);
	if (!l)
		return -ENOMEM;
	l->hub = h;
	l->fn = f;
	l->arg = arg;
	l->timer.fire = later_fire;
	l->next = h->later;
	l->link = &h->later;
	if (l->next)
		l->next->link = &l->next;
	h->later = l;
	vn_wheel_arm(h->wheel, &l->timer, vn_hub_after(h, delay));
	return 0;
}

/**
 * vn_sleep() - wait for some time
 * @h:     hub
 * @delay: nanoseconds; 0 or less is vn_yield()
 *
 * Return: 0 when it has passed, -ETIMEDOUT when the coroutine's deadline came first, -ECANCELED.
 */
int
vn_sleep(vn_hub *h, vn_time delay)
{
	vn_time until;
	int rc;

	if (delay <= 0)
		return vn_yield(h);
	until = vn_hub_after(h, delay);
	rc = vn_wait(h, NULL, 0, until);
	return rc == -ETIMEDOUT && until <= h->current->deadline ? 0 : rc;
}

/**
 * vn_now() - the time of this turn
 * @h: hub
 *
 * Return: CLOCK_MONOTONIC in nanoseconds, as it was when the hub last looked.
 */
vn_time
vn_now(vn_hub *h)
{
	return h->now;
}

/**
 * vn_deadline() - set the instant after which waits of this coroutine return -ETIMEDOUT
 * @h:  hub
 * @at: instant, or VN_NEVER
 *
 * Return: what it was before.
 */
vn_time
vn_deadline(vn_hub *h, vn_time at)
{
	vn_time before = h->current->deadline;

	h->current->deadline = at;
	return before;
}
