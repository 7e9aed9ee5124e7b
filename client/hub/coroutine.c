/* SPDX-License-Identifier: MIT */
/*
 * Coroutine - spawning, waiting, waking
 *
 * States: ready (in the queue), running (hub->current), waiting (its clauses stand in queues, and its timer may
 * be armed), dead. Only decide() ends a wait, and only of one who waits: whoever comes later, a deadline or a
 * cancel, finds `waiting` false and does nothing. Who finds that a wait cannot begin (the hub is stopping, the
 * deadline has passed) still lets the others run once before the error returns, so that a loop that takes no
 * notice of errors cannot keep the others from ending.
 */
#include "client/hub/coroutine.h"

#include <assert.h>
#include <errno.h>

#include "client/hub/log.h"
#include "client/hub/place.h"
#include "client/hub/schedule.h"

#define REFUSED_MANY 1000000u

/**
 * vn_waitq_push() - stand at the end of a queue
 * @q: what is waited for
 * @c: in no queue
 */
void
vn_waitq_push(vn_waitq *q, vn_clause *c)
{
	waitq_push(q, c);
}

/**
 * vn_clause_unlink() - leave the queue
 * @c: in a queue or not
 */
void
vn_clause_unlink(vn_clause *c)
{
	clause_unlink(c);
}

static void
co_expire(vn_timer *t)
{
	vn_co_cancel((vn_co *)((char *)t - offsetof(vn_co, timer)), -ETIMEDOUT);
}

/**
 * vn_co_cancel() - end a wait from outside
 * @co:    one who waits, or not: then nothing happens
 * @error: what its wait returns
 */
void
vn_co_cancel(vn_co *co, int error)
{
	if (!co->waiting)
		return;
	vn_co_decide(co, error);
	vn_ready_push(co->hub, co);
}

/**
 * vn_wait_refuse() - a wait cannot begin: leave all queues, let the others run
 * @h:       hub
 * @clauses: as for vn_wait()
 * @n:       how many
 *
 * Return: -ECANCELED or -ETIMEDOUT.
 */
int
vn_wait_refuse(vn_hub *h, vn_clause *clauses, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		clause_unlink(&clauses[i]);
	if (vn_co_must_end(h->current) && ++h->n_refused % REFUSED_MANY == 0)
		vn_log(h, LOG_WARNING,
			"coroutine %llu still waits although it is cancelled or the hub is "
			"stopping: it must return on -ECANCELED",
			(unsigned long long)h->current->id);
	return vn_yield(h) < 0 ? -ECANCELED : -ETIMEDOUT;
}

/**
 * vn_wait() - park the current coroutine until a clause is decided
 * @h:       hub
 * @clauses: each stands in the queue of what it waits for
 * @n:       how many, 0 or more
 * @until:   instant, or VN_NEVER
 *
 * Caller: a coroutine. From a callback of the loop it is a bug of ours.
 *
 * Return: the index of the decided clause, -ETIMEDOUT, -ECANCELED or -EDEADLK; no clause stands in a queue any
 * more.
 */
int
vn_wait(vn_hub *h, vn_clause *clauses, uint32_t n, vn_time until)
{
	return wait_for(h, clauses, n, until);
}

/**
 * vn_wait_shielded() - park the current coroutine although it is cancelled or out of time
 * @h:       hub
 * @clauses: each stands in the queue of what it waits for
 * @n:       how many, 0 or more
 *
 * Return: as vn_wait(), but not -ETIMEDOUT; -ECANCELED for a cancel that came meanwhile, or the hub is stopping.
 */
int
vn_wait_shielded(vn_hub *h, vn_clause *clauses, uint32_t n)
{
	vn_co *co = h->current;
	vn_time deadline = co->deadline;
	int rc;

	co->deadline = VN_NEVER;
	rc = vn_wait(h, clauses, n, VN_NEVER);
	if (co->deadline != VN_CO_CANCELLED)
		co->deadline = deadline;
	return rc;
}

/**
 * vn_wake() - decide a wait
 * @c:      of one who waits
 * @result: what it finds in the clause
 */
void
vn_wake(vn_clause *c, int result)
{
	vn_co *co = c->co;

	c->result = result;
	vn_co_decide(co, (int)(c - co->clauses));
	vn_ready_push(co->hub, co);
}

/**
 * vn_wake_now() - decide a wait and switch to who waited
 * @c:      of one who waits
 * @result: what it finds in the clause
 *
 * The caller goes to the tail of the ready queue. When the turn's budget is spent the loop comes first, and
 * then who waited.
 */
void
vn_wake_now(vn_clause *c, int result)
{
	wake_now(c, result);
}

/**
 * vn_yield() - let the others run first
 * @h: hub
 *
 * It is no wait: a deadline does not matter to it.
 *
 * Return: 0, or -ECANCELED when the hub is stopping or the coroutine's group was cancelled (the others have run
 * all the same).
 */
int
vn_yield(vn_hub *h)
{
	vn_co *to;

	assert(!h->advancing);
	vn_ready_push(h, h->current);
	to = vn_ready_next(h);
	if (to != h->current)
		vn_co_switch(h, to);
	return __builtin_expect(vn_co_must_end(h->current), 0) ? -ECANCELED : 0;
}

/**
 * vn_co_init() - a record as it is before the first run
 * @co:  on its own stack, or the hub's for the main stack
 * @h:   hub
 * @fn:  what it runs; NULL for the main stack and the loop
 * @arg: its argument
 */
void
vn_co_init(vn_co *co, vn_hub *h, vn_fn *fn, void *arg)
{
	co->hub = h;
	co->deadline = VN_NEVER;
	co->waiting = false;
	co->timed = false;
	co->selected = 0;
	co->timer.link = NULL;
	co->timer.fire = co_expire;
	co->fn = fn;
	co->arg = arg;
	co->id = h->n_spawned;
}

/**
 * vn_co_link() - count a coroutine among those that vn_stop() and a deadlock reach
 * @co: initialised
 */
void
vn_co_link(vn_co *co)
{
	vn_hub *h = co->hub;

	co->all_next = h->all;
	co->all_link = &h->all;
	if (h->all)
		h->all->all_link = &co->all_next;
	h->all = co;
}

static void
co_unlink(vn_co *co)
{
	*co->all_link = co->all_next;
	if (co->all_next)
		co->all_next->all_link = co->all_link;
}

/**
 * vn_co_part() - let somebody know when a coroutine returns
 * @co: has begun to run; for the main stack it never happens
 * @p:  linked to nobody; stays until then, or until it is unlinked
 *
 * Those who came last are told first.
 */
void
vn_co_part(vn_co *co, vn_parting *p)
{
	p->next = co->partings;
	p->link = &co->partings;
	if (p->next)
		p->next->link = &p->next;
	co->partings = p;
}

/**
 * vn_parting_unlink() - nobody wants to know any more
 * @p: linked or not
 */
void
vn_parting_unlink(vn_parting *p)
{
	if (!p->link)
		return;
	*p->link = p->next;
	if (p->next)
		p->next->link = p->link;
	p->link = NULL;
}

static __attribute__((noinline)) void
co_part(vn_co *co)
{
	while (co->partings) {
		vn_parting *p = co->partings;

		vn_parting_unlink(p);
		p->returned(p);
	}
}

/* Runs the coroutine and never returns: a dead one switches away for good. */
static __attribute__((noreturn)) void
co_run(vn_co *co)
{
	vn_hub *h = co->hub;
	vn_co *to;
	void *arg;

	if (h->dead)
		vn_co_bury(h);
	arg = co->arg;
	co->partings = NULL;
	co->fn(h, arg);
	if (__builtin_expect(co->partings != NULL, 0))
		co_part(co);
	co_unlink(co);
	h->n_coroutines--;
	h->dead = co;
	to = vn_ready_next(h);
	h->current = to;
	vn_co_jump(co, to, 1);
	__builtin_trap();
}

VN_FIBER_SWITCH void
co_entry(vn_transfer t)
{
	vn_co *co = ((vn_co *)t.data)->hub->current;

	vn_co_arrive(co, t);
	co_run(co);
}

/**
 * vn_co_bury() - give the stack of the dead coroutine back
 * @h: hub; somebody has died
 */
void
vn_co_bury(vn_hub *h)
{
	vn_co *co = h->dead;

	h->dead = NULL;
	vn_fiber_deinit(&co->fiber);
	vn_stack_put(h->stacks, co + 1);
}

/* NULL without memory. */
static inline __attribute__((always_inline)) vn_co *
co_make(vn_hub *h, vn_fn *fn, void *arg, size_t room)
{
	vn_co *co = vn_stack_get(h->stacks);
	char *bottom;

	if (!co)
		return NULL;
	bottom = vn_stack_bottom(co);
	h->n_spawned++;
	vn_co_init(--co, h, fn, arg);
	vn_fiber_init(&co->fiber, bottom, (size_t)((char *)co - bottom));
	co->context =
		make_fcontext((char *)co - room, (size_t)((char *)co - room - bottom), co_entry);
	vn_co_link(co);
	h->n_coroutines++;
	vn_ready_push(h, co);
	vn_place_note(h, co, co->id);
	return co;
}

/**
 * vn_co_new() - make a coroutine, ready to run, with somebody's record on its stack
 * @h:    hub
 * @fn:   what it runs
 * @arg:  its argument
 * @room: bytes just below the vn_co that the coroutine does not touch; a multiple of 16
 *
 * Return: the coroutine; NULL with errno ENOMEM, or ECANCELED when the hub is stopping.
 */
vn_co *
vn_co_new(vn_hub *h, vn_fn *fn, void *arg, size_t room)
{
	if (!h->stopping)
		return co_make(h, fn, arg, room);
	errno = ECANCELED;
	return NULL;
}

/**
 * vn_co_spawn() - make a coroutine, ready to run
 * @h:   hub
 * @fn:  what it runs
 * @arg: its argument
 *
 * Caller: a coroutine or a callback of the loop.
 *
 * Return: 0, -ENOMEM, or -ECANCELED when the hub is stopping.
 */
int
vn_co_spawn(vn_hub *h, vn_fn *fn, void *arg)
{
	if (h->stopping)
		return -ECANCELED;
	return co_make(h, fn, arg, 0) ? 0 : -ENOMEM;
}

/**
 * vn_spawn() - make a coroutine that runs after those that are ready
 * @h:   hub
 * @f:   what it runs; what it returns is ignored
 * @arg: its argument
 *
 * Return: 0, -ENOMEM, or -ECANCELED when the hub is stopping.
 */
int(vn_spawn)(vn_hub *h, vn_fn *f, void *arg)
{
	return vn_co_spawn(h, f, arg);
}
