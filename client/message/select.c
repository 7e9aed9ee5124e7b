/* SPDX-License-Identifier: MIT */
/*
 * Select - wait for several things, do the first that can go on
 *
 * All cases are tried in list order; if each would wait, a clause goes into each queue and whoever decides one
 * takes all of them out again. Pipes do the work when they decide; a connection only says "look again", and
 * then all is tried once more.
 */
#include <errno.h>

#include "client/hub/schedule.h"
#include "client/message/end.h"

#define CASES_MAX 64
#define CASES_FEW 4

enum { RECV = 1, SEND = 2, READ = 3, AFTER = 4 };

typedef struct choice {
	const vn_case *cases;
	size_t n;
	vn_time until; /* of the first case that is the earliest VN_AFTER */
	size_t after;
} choice;

static int
recv_try(vn_rx *rx, const vn_case *c)
{
	if (!rx)
		return -EBADF;
	return c->size == rx->item_size ? rx->ops->try(rx, c->item) : -EINVAL;
}

static int
send_try(vn_tx *tx, const vn_case *c)
{
	if (!tx)
		return -EBADF;
	return c->size == tx->item_size ? tx->ops->try(tx, c->item) : -EINVAL;
}

/* 0 or an error: this is how the case ends; -EAGAIN: it would wait. */
static int
case_try(vn_hub *h, const choice *s, size_t i)
{
	const vn_case *c = &s->cases[i];

	switch (c->kind) {
	case RECV:
		return recv_try(c->end, c);
	case SEND:
		return send_try(c->end, c);
	case READ:
		return c->end ? vn_conn_try_read(c->end) : -EBADF;
	case AFTER:
		return i == s->after && s->until <= h->now ? 0 : -EAGAIN;
	default:
		return -EINVAL;
	}
}

/* Where a case waits; NULL: nowhere. *one: nobody else may wait there. */
static vn_waitq *
case_queue(const vn_case *c, bool *one)
{
	vn_rx *rx = c->end;
	vn_tx *tx = c->end;

	switch (c->kind) {
	case RECV:
		*one = rx->ops->one;
		return rx->ops->queue(rx);
	case SEND:
		*one = tx->ops->one;
		return tx->ops->queue(tx);
	case READ:
		*one = true;
		return vn_conn_read_queue(c->end);
	default:
		return NULL;
	}
}

static int
choice_busy(const choice *s)
{
	for (size_t i = 0; i < s->n; i++) {
		bool one = false;
		vn_waitq *q = case_queue(&s->cases[i], &one);

		if (q && one && q->first)
			return -EBUSY;
	}
	return 0;
}

static void
choice_stand(const choice *s, vn_clause *clauses)
{
	for (size_t i = 0; i < s->n; i++) {
		bool one;
		vn_waitq *q = case_queue(&s->cases[i], &one);

		clauses[i].queue = NULL;
		clauses[i].item = s->cases[i].item;
		clauses[i].size = s->cases[i].size;
		if (q)
			waitq_push(q, &clauses[i]);
	}
}

static int
selected(vn_hub *h, int index, int result)
{
	h->current->selected = result;
	return index;
}

/* Tries all in order: the index of the one that was done, or -EAGAIN. */
static int
choice_try(vn_hub *h, const choice *s)
{
	for (size_t i = 0; i < s->n; i++) {
		int rc = case_try(h, s, i);

		if (rc != -EAGAIN)
			return selected(h, (int)i, rc);
	}
	return -EAGAIN;
}

/* Waits once: the index of the case that was decided, an error, or -EAGAIN to look again. */
static inline __attribute__((always_inline)) int
choice_wait(vn_hub *h, const choice *s, vn_clause *clauses)
{
	int rc = choice_busy(s);

	if (rc < 0)
		return rc;
	choice_stand(s, clauses);
	rc = wait_for(h, clauses, (uint32_t)s->n, s->until);
	if (rc >= 0)
		return s->cases[rc].kind == READ ? -EAGAIN : selected(h, rc, clauses[rc].result);
	if (rc == -ETIMEDOUT && s->until <= h->current->deadline)
		return selected(h, (int)s->after, 0);
	return rc;
}

static inline __attribute__((always_inline)) int
choice_run(vn_hub *h, const choice *s, vn_clause *clauses)
{
	int rc;

	do {
		rc = choice_wait(h, s, clauses);
		if (rc == -EAGAIN)
			rc = choice_try(h, s);
	} while (rc == -EAGAIN);
	return rc < 0 ? selected(h, rc, rc) : rc;
}

/* The clauses lie on the stack of who waits: few need little. */
static __attribute__((noinline)) int
run_many(vn_hub *h, const choice *s)
{
	vn_clause clauses[CASES_MAX];

	return choice_run(h, s, clauses);
}

static void
choice_init(vn_hub *h, choice *s)
{
	for (size_t i = 0; i < s->n; i++) {
		vn_time at;

		if (s->cases[i].kind != AFTER)
			continue;
		at = s->cases[i].delay <= 0 ? h->now : vn_hub_after(h, s->cases[i].delay);
		if (s->after == s->n || at < s->until) {
			s->until = at;
			s->after = i;
		}
	}
}

/**
 * vn_select_cases() - wait until one of the cases can go on, and do it
 * @h:       hub
 * @cases:   1 to 64 of VN_RECV, VN_SEND, VN_READ, VN_AFTER
 * @n_cases: how many
 *
 * The first in list order wins. A closed end, a NULL end (-EBADF) and one of another item size (-EINVAL) can go
 * on: vn_selected() tells how the case ended.
 *
 * Return: the index of the case; or -ETIMEDOUT, -ECANCELED, -EDEADLK, -EBUSY, and no case was decided; -EINVAL
 * if there is none or there are too many.
 */
int
vn_select_cases(vn_hub *h, const vn_case *cases, size_t n_cases)
{
	vn_clause clauses[CASES_FEW];
	choice s = {.cases = cases, .n = n_cases, .until = VN_NEVER, .after = n_cases};
	int rc;

	if (n_cases == 0 || n_cases > CASES_MAX)
		return selected(h, -EINVAL, -EINVAL);
	choice_init(h, &s);
	rc = choice_try(h, &s);
	if (rc != -EAGAIN)
		return rc;
	return n_cases <= CASES_FEW ? choice_run(h, &s, clauses) : run_many(h, &s);
}

/**
 * vn_selected() - how the case that vn_select() returned ended
 * @h: hub
 *
 * Return: 0 or its error; if no case was decided, what vn_select() returned.
 */
int
vn_selected(vn_hub *h)
{
	return h->current->selected;
}
