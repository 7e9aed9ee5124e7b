/* SPDX-License-Identifier: MIT */
/*
 * Group - coroutines that live and die together
 *
 * A child runs inside of child_run(), which hands its result to the group. Its record lies on its own stack, next
 * to its vn_co, so a child costs no memory and is cancelled by address arithmetic.
 *
 * Cancelling a coroutine gives it the deadline VN_CO_CANCELLED and ends the wait that it is in. From then on each
 * wait of it finds that its deadline has passed, which is looked at anyway, and only there one thing more is asked:
 * which deadline it was. What was decided stays decided: such a wait returns what it has got, the next one does not
 * begin. Nobody is ever un-cancelled; vn_deadline() leaves such a deadline alone.
 *
 * Whoever frees a group waits for its children although it may be cancelled itself, or out of time, or in a
 * deadlock: its deadline is set aside meanwhile, and a cancel that comes then is kept for afterwards. So groups that
 * are nested end from the inside, and no child outlives what it points to on the stack of who made it.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "client/hub/place.h"
#include "client/hub/schedule.h"

typedef struct child child;
struct child {
	vn_group *group;
	child *next, **link;
	vn_fn *fn;
	void *arg;
};

#define CHILD_ROOM ((sizeof(child) + 15) & ~(size_t)15)

struct vn_group {
	vn_hub *hub;
	child *children;
	vn_waitq waiters; /* each is told `failure` when the last child is gone */
	int failure;
	bool cancelled;
	vn_owned owned;
};

static vn_co *
child_co(child *c)
{
	return (vn_co *)(void *)((char *)c + CHILD_ROOM);
}

static void
group_free(vn_owned *o)
{
	free((char *)o - offsetof(vn_group, owned));
}

static void
group_cancel(vn_group *g)
{
	g->cancelled = true;
	for (child *c = g->children; c; c = c->next) {
		child_co(c)->deadline = VN_CO_CANCELLED;
		vn_co_cancel(child_co(c), -ECANCELED);
	}
}

static void
child_unlink(child *c)
{
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
}

static void
child_over(child *c, int rc)
{
	vn_group *g = c->group;
	bool told = rc == -ECANCELED && vn_co_must_end(child_co(c));

	child_unlink(c);
	if (rc < 0 && !told && g->failure == 0) {
		g->failure = rc;
		group_cancel(g);
	}
	while (!g->children && g->waiters.first)
		vn_wake(g->waiters.first, g->failure);
}

static int
child_run(vn_hub *h, void *arg)
{
	child *c = arg;

	child_over(c, c->fn(h, c->arg));
	return 0;
}

/**
 * vn_group_new() - a group without children
 * @h: hub
 *
 * Ownership: the caller's, until vn_group_free(); what is left goes with the hub, after its children.
 *
 * Return: the group, or NULL with errno ENOMEM.
 */
vn_group *(vn_group_new)(vn_hub *h)
{
	vn_group *g = calloc(1, sizeof *g);

	if (!g)
		return NULL;
	g->hub = h;
	vn_hub_own(h, &g->owned, group_free);
	return g;
}

/**
 * vn_group_spawn() - a child that runs after those that are ready
 * @g:   group, or NULL
 * @f:   what it runs; a negative result is a failure of the group
 * @arg: its argument
 *
 * It starts with the caller's deadline.
 *
 * Return: 0, -ENOMEM; -ECANCELED once the group was cancelled or has failed, the caller was cancelled, or the hub is
 * stopping; -EBADF for NULL.
 */
int
vn_group_spawn(vn_group *g, vn_fn *f, void *arg)
{
	vn_hub *h;
	vn_co *co;
	child *c;

	if (!g)
		return -EBADF;
	h = g->hub;
	if (g->cancelled || (!h->advancing && vn_co_must_end(h->current)))
		return -ECANCELED;
	vn_place_recall(h, &g->owned, 0);
	co = vn_co_new(h, child_run, NULL, CHILD_ROOM);
	if (!co)
		return -errno;
	c = (child *)(void *)((char *)co - CHILD_ROOM);
	*c = (child){.group = g, .next = g->children, .link = &g->children, .fn = f, .arg = arg};
	if (c->next)
		c->next->link = &c->next;
	g->children = c;
	co->arg = c;
	if (!h->advancing)
		co->deadline = h->current->deadline;
	return 0;
}

/**
 * vn_group_wait() - until all children are gone
 * @g: group, or NULL
 *
 * Caller: a coroutine that is no child of it; several may wait.
 *
 * Return: 0, or the first failure; -ETIMEDOUT, -ECANCELED or -EDEADLK if the caller's own wait ended first, then the
 * children go on; -EBADF for NULL.
 */
int
vn_group_wait(vn_group *g)
{
	vn_clause clause = {0};
	int rc;

	if (!g)
		return -EBADF;
	if (!g->children)
		return g->failure;
	vn_waitq_push(&g->waiters, &clause);
	rc = vn_wait(g->hub, &clause, 1, VN_NEVER);
	return rc < 0 ? rc : clause.result;
}

/**
 * vn_group_cancel() - every wait of its children, present and future, returns -ECANCELED
 * @g: group, or NULL
 *
 * Return: 0; -EBADF for NULL.
 */
int
vn_group_cancel(vn_group *g)
{
	if (!g)
		return -EBADF;
	group_cancel(g);
	return 0;
}

/* Whatever happens to the caller: see the essay. */
static void
group_join(vn_group *g)
{
	while (g->children) {
		vn_clause clause = {0};

		vn_waitq_push(&g->waiters, &clause);
		vn_wait_shielded(g->hub, &clause, 1);
	}
}

/**
 * vn_group_free() - cancel what still runs, wait for it, free
 * @g: group or NULL
 *
 * Caller: a coroutine that is no child of it.
 *
 * Return: NULL.
 */
vn_group *
vn_group_free(vn_group *g)
{
	if (!g)
		return NULL;
	group_cancel(g);
	group_join(g);
	assert(!g->waiters.first);
	vn_hub_disown(&g->owned);
	free(g);
	return NULL;
}
