/* SPDX-License-Identifier: MIT */
/*
 * Serialize - one coroutine that does what others ask for, one after another
 *
 * Who asks stands in `callers`. When its turn comes, a trigger has returned; a call moves to `begun`, and is given
 * the result there. So who stops waiting, for whatever reason, is in neither queue any more: what has not begun never
 * begins, and the result of what has begun is nobody's.
 *
 * The end takes part in everything that ends have in common but for sending: its items have no size, so vn_send() and
 * VN_SEND are refused.
 */
#include <stdlib.h>

#include "client/hub/place.h"
#include "client/hub/schedule.h"
#include "client/message/life.h"

typedef struct service {
	vn_tx tx;
	vn_waitq callers, begun;
	vn_waitq idle; /* the coroutine, when it has nothing to do */
	vn_fn *fn;
	void *arg; /* of a trigger */
	bool is_open, is_running;
	vn_owned owned;
} service;

static const vn_end_ops trigger_ops;

static void
service_free(vn_owned *o)
{
	service *s = (service *)(void *)((char *)o - offsetof(service, owned));

	vn_life_deinit(&s->tx.life);
	free(s);
}

static void
service_over(service *s)
{
	if (s->is_open || s->is_running)
		return;
	vn_hub_disown(&s->owned);
	free(s);
}

/* False when it is to end. What it is told of a deadlock is for those who wait for it. */
static bool
service_rest(vn_hub *h, service *s)
{
	vn_clause clause = {.end = s};

	if (!s->is_open)
		return false;
	waitq_push(&s->idle, &clause);
	return vn_wait(h, &clause, 1, VN_NEVER) != -ECANCELED;
}

static void
service_begin(vn_hub *h, service *s, vn_clause *caller)
{
	int rc;

	if (s->tx.ops == &trigger_ops) {
		vn_wake(caller, 0);
		s->fn(h, s->arg);
		return;
	}
	clause_unlink(caller);
	waitq_push(&s->begun, caller);
	rc = s->fn(h, caller->item);
	if (s->begun.first)
		vn_wake(s->begun.first, rc);
}

static int
service_run(vn_hub *h, void *arg)
{
	service *s = arg;
	bool go_on = true;

	while (go_on)
		if (s->callers.first)
			service_begin(h, s, s->callers.first);
		else
			go_on = service_rest(h, s);
	s->is_running = false;
	service_over(s);
	return 0;
}

static int
service_ask(service *s, void *item)
{
	vn_clause clause = {.end = s, .item = item};
	int rc;

	waitq_push(&s->callers, &clause);
	if (s->idle.first)
		vn_wake(s->idle.first, 0);
	rc = vn_wait(s->tx.hub, &clause, 1, VN_NEVER);
	return rc < 0 ? rc : clause.result;
}

static int
service_try(void *end, void *item)
{
	(void)end;
	(void)item;
	return -EINVAL;
}

static int
service_try_error(void *end, int error)
{
	(void)end;
	(void)error;
	return -EINVAL;
}

static vn_waitq *
service_queue(void *end)
{
	return &((service *)end)->callers;
}

static int
service_close(void *end)
{
	service *s = end;

	s->is_open = false;
	vn_end_wake(&s->callers, NULL, -EPIPE);
	vn_end_wake(&s->idle, NULL, 0);
	service_over(s);
	return 0;
}

#define SERVICE_OPS                                                                                \
	{                                                                                          \
		.try = service_try, .try_error = service_try_error, .queue = service_queue,        \
		.close = service_close,                                                            \
	}

static const vn_end_ops trigger_ops = SERVICE_OPS;
static const vn_end_ops call_ops = SERVICE_OPS;

static vn_tx *
service_new(vn_hub *h, const vn_end_ops *ops, vn_fn *f, void *arg)
{
	service *s = calloc(1, sizeof *s);
	const char *file = vn_place_given(h);
	int line = h->here_line, rc;

	if (!s)
		return NULL;
	*s = (service){.tx = {.ops = ops, .hub = h}, .fn = f, .arg = arg, .is_open = true};
	rc = vn_co_spawn(h, service_run, s);
	if (rc < 0) {
		free(s);
		errno = -rc;
		return NULL;
	}
	s->is_running = true;
	if (file)
		vn_here(h, file, line);
	vn_hub_own(h, &s->owned, service_free);
	return &s->tx;
}

/**
 * vn_trigger_new() - an end whose triggering runs a function, once each time
 * @h:   hub
 * @f:   runs in a coroutine of its own, one run after another
 * @arg: its argument
 *
 * Return: the end; NULL with errno ENOMEM, or ECANCELED when the hub is stopping.
 */
vn_tx *(vn_trigger_new)(vn_hub *h, vn_fn *f, void *arg)
{
	return service_new(h, &trigger_ops, f, arg);
}

/**
 * vn_trigger() - let it run once, when those before have been served
 * @trigger: from vn_trigger_new(), or NULL
 *
 * Return: 0 when it begins; -EPIPE when the end is closed first; -ETIMEDOUT, -ECANCELED or -EDEADLK when this wait
 * ends first, then it never begins; -EBADF for NULL, -EINVAL for another end.
 */
int
vn_trigger(vn_tx *trigger)
{
	if (!trigger)
		return -EBADF;
	return trigger->ops == &trigger_ops ? service_ask((service *)(void *)trigger, NULL)
					    : -EINVAL;
}

/**
 * vn_serialize() - an end through which a function is called, one call after another
 * @h: hub
 * @f: runs in a coroutine of its own
 *
 * Return: the end; NULL with errno ENOMEM, or ECANCELED when the hub is stopping.
 */
vn_tx *(vn_serialize)(vn_hub *h, vn_fn *f)
{
	return service_new(h, &call_ops, f, NULL);
}

/**
 * vn_call() - call it, when those before have been served
 * @serialized: from vn_serialize(), or NULL
 * @arg:        argument of the function; it may be used until that returns, whatever this returns
 *
 * Return: what the function returned; -EPIPE when the end is closed before it begins; -ETIMEDOUT, -ECANCELED or
 * -EDEADLK when this wait ends first; -EBADF for NULL, -EINVAL for another end.
 */
int
vn_call(vn_tx *serialized, void *arg)
{
	if (!serialized)
		return -EBADF;
	return serialized->ops == &call_ops ? service_ask((service *)(void *)serialized, arg)
					    : -EINVAL;
}
