/* SPDX-License-Identifier: MIT */
/*
 * Schedule - the few instructions between one coroutine and the next
 *
 * For client/hub, and for ends that hand over from one coroutine to another: a switch makes the processor's
 * prediction of returns wrong for each frame between it and the coroutine's own code, so a call fewer there
 * saves more than the call. Everybody else calls vn_wait() and vn_wake_now().
 *
 * A switch spends one unit of the turn's budget; who finds it spent, or nobody ready, goes to the loop.
 */
#ifndef VN_HUB_SCHEDULE_H
#define VN_HUB_SCHEDULE_H

#include <assert.h>

#include "client/hub/hub.h"

/* Its stack was left for good: gives it back to the pool. */
void vn_co_bury(vn_hub *h);
/* Ends the wait of one who waits, and makes it ready. */
void vn_co_cancel(vn_co *co, int error);
/* Makes one that is ready, with room for somebody's record just below its own; NULL with errno. */
vn_co *vn_co_new(vn_hub *h, vn_fn *fn, void *arg, size_t room);
void vn_co_init(vn_co *co, vn_hub *h, vn_fn *fn, void *arg);
void vn_co_link(vn_co *co);
int vn_wait_refuse(vn_hub *h, vn_clause *clauses, uint32_t n);
bool vn_hooks_turn(vn_hub *h);

/* Are all its waits refused? */
static inline bool
vn_co_must_end(const vn_co *co)
{
	return co->hub->stopping || co->deadline == VN_CO_CANCELLED;
}

static inline void
vn_ready_push(vn_hub *h, vn_co *co)
{
	co->next = NULL;
	if (h->ready_first)
		h->ready_last->next = co;
	else
		h->ready_first = co;
	h->ready_last = co;
}

static inline void
vn_ready_push_front(vn_hub *h, vn_co *co)
{
	co->next = h->ready_first;
	if (!h->ready_first)
		h->ready_last = co;
	h->ready_first = co;
}

static inline vn_co *
vn_ready_pop(vn_hub *h)
{
	vn_co *co = h->ready_first;

	h->ready_first = co->next;
	return co;
}

/* Who runs when the current one stops running. */
static inline vn_co *
vn_ready_next(vn_hub *h)
{
	if (__builtin_expect(!h->ready_first || --h->budget < 0, 0))
		return h->loop;
	return vn_ready_pop(h);
}

/* What comes after a jump, on the stack of `self`. */
static inline __attribute__((always_inline)) void
vn_co_arrive(vn_co *self, vn_transfer t)
{
	vn_co *from = t.data;

	from->context = t.context;
	vn_fiber_enter(&self->fiber, &from->fiber);
}

VN_FIBER_SWITCH void
vn_co_jump(vn_co *from, vn_co *to, int for_good)
{
	vn_fiber_leave(&from->fiber, &to->fiber, for_good);
	vn_co_arrive(from, jump_fcontext(to->context, from));
}

/* Leaves the current coroutine, which is in the ready queue or waits, and returns when it runs again. */
static inline void
vn_co_switch(vn_hub *h, vn_co *to)
{
	vn_co *from = h->current;

	h->current = to;
	vn_co_jump(from, to, 0);
	if (__builtin_expect(h->dead != NULL, 0))
		vn_co_bury(h);
}

/* vn_waitq_push(), for one that knows its queue and has NULL for neighbours. Mostly it will have none. */
static inline void
waitq_push_new(vn_waitq *q, vn_clause *c)
{
	vn_clause *last = q->last;

	q->last = c;
	if (__builtin_expect(!last, 1)) {
		q->first = c;
		return;
	}
	c->prev = last;
	last->next = c;
}

static inline void
waitq_push(vn_waitq *q, vn_clause *c)
{
	c->queue = q;
	c->next = c->prev = NULL;
	waitq_push_new(q, c);
}

static inline void
clause_unlink(vn_clause *c)
{
	vn_waitq *q = c->queue;

	if (!q)
		return;
	c->queue = NULL;
	if (__builtin_expect(!c->prev && !c->next, 1)) {
		q->first = q->last = NULL;
		return;
	}
	if (c->prev)
		c->prev->next = c->next;
	else
		q->first = c->next;
	if (c->next)
		c->next->prev = c->prev;
	else
		q->last = c->prev;
}

/* Ends a wait; the one place that does. */
static inline void
vn_co_decide(vn_co *co, int decided)
{
	assert(co->waiting);
	for (uint32_t i = 0; i < co->n_clauses; i++)
		clause_unlink(&co->clauses[i]);
	if (__builtin_expect(co->timed, 0)) {
		co->timed = false;
		vn_wheel_disarm(co->hub->wheel, &co->timer);
	}
	co->decided = decided;
	co->waiting = false;
}

/* vn_wait(), when each clause knows its coroutine */
static inline __attribute__((always_inline)) int
wait_known(vn_hub *h, vn_clause *clauses, uint32_t n, vn_time until)
{
	vn_co *co = h->current;

	assert(!h->advancing);
	if (co->deadline < until)
		until = co->deadline;
	if (__builtin_expect(h->stopping || until <= h->now, 0))
		return vn_wait_refuse(h, clauses, n);
	co->clauses = clauses;
	co->n_clauses = n;
	co->waiting = true;
	if (__builtin_expect(until != VN_NEVER, 0)) {
		co->timed = true;
		vn_wheel_arm(h->wheel, &co->timer, until);
	}
	vn_co_switch(h, vn_ready_next(h));
	return co->decided;
}

/* vn_wait() */
static inline __attribute__((always_inline)) int
wait_for(vn_hub *h, vn_clause *clauses, uint32_t n, vn_time until)
{
	for (uint32_t i = 0; i < n; i++)
		clauses[i].co = h->current;
	return wait_known(h, clauses, n, until);
}

/* vn_wake_now() */
static inline __attribute__((always_inline)) void
wake_now(vn_clause *c, int result)
{
	vn_co *co = c->co;
	vn_hub *h = co->hub;

	assert(!h->advancing);
	c->result = result;
	vn_co_decide(co, (int)(c - co->clauses));
	vn_ready_push(h, h->current);
	if (__builtin_expect(--h->budget < 0, 0)) {
		vn_ready_push_front(h, co);
		co = h->loop;
	}
	vn_co_switch(h, co);
}

#endif
