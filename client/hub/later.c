/* SPDX-License-Identifier: MIT */
/*
 * Later - what has to do with time: sleeping, and deadlines
 *
 * A delay counts from the clock, not from vn_now(), which may lie a long run behind.
 */
#include <errno.h>

#include "client/hub/hub.h"

/**
 * vn_hub_after() - the instant that is `delay` away
 * @h:     hub
 * @delay: nanoseconds
 *
 * Return: an instant, VN_STAMP_LATE too late at most; VN_NEVER if it is too far away to be one.
 */
vn_time
vn_hub_after(vn_hub *h, vn_time delay)
{
	vn_time now = vn_stamp_now(&h->stamp, h->sys, h->now), at;

	return __builtin_add_overflow(now, delay, &at) ? VN_NEVER : at;
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
	vn_time until,
		deadline = h->current->deadline; /* a cancel may change it before this one runs */
	int rc;

	if (delay <= 0)
		return vn_yield(h);
	until = vn_hub_after(h, delay);
	rc = vn_wait(h, NULL, 0, until);
	return rc == -ETIMEDOUT && until <= deadline ? 0 : rc;
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
 * One that is cancelled stays so.
 *
 * Return: what it was before.
 */
vn_time
vn_deadline(vn_hub *h, vn_time at)
{
	vn_time before = h->current->deadline;

	if (before != VN_CO_CANCELLED)
		h->current->deadline = at > VN_CO_CANCELLED ? at : VN_CO_CANCELLED + 1;
	return before;
}

/**
 * vn_timeout() - bring the deadline forward, never back
 * @h:     hub
 * @delay: nanoseconds from now
 *
 * Return: what it was before, for vn_deadline().
 */
vn_time
vn_timeout(vn_hub *h, vn_time delay)
{
	vn_time before = h->current->deadline, at = vn_hub_after(h, delay);

	return vn_deadline(h, at < before ? at : before);
}
