/* SPDX-License-Identifier: MIT */
/*
 * Select - wait for several things, do the first that can go on
 *
 * All cases are tried in list order; if each would wait, a clause goes into each queue and whoever decides one
 * takes all of them out again. What each look costs is paid for each case: so an end can say in one call (`poll`)
 * that it would wait and where, and the clauses are filled in by the way. Ends do the work when they decide; a
 * connection only says "look again": then it is tried first, and all the others once more if that was in vain.
 *
 * Descriptors are looked at with poll(2), and the kernel is asked to tell only when nothing is ready. Where the look
 * at the cases comes upon the first of them, it begins again with an end in place of each: see descriptor.c.
 */
#include <stdlib.h>

#include "client/hub/schedule.h"
#include "client/message/descriptor.h"
#include "client/message/end.h"

#define CASES_MAX  64
#define CASES_SOME 16
#define CASES_FEW  4

#define MET_FD INT32_MIN /* no result, and no errno */

enum { RECV = 1, SEND = 2, READ = 3, AFTER = 4, ELSE = 5, FD = 6 };

typedef struct choice {
	const vn_case *cases;
	size_t n;
	vn_time until; /* of the first case that is the earliest VN_AFTER */
	size_t after;
	size_t otherwise; /* the first VN_ELSE */
	bool again;       /* it has looked before */
	size_t in_vain;   /* the case that was looked at a moment ago */
} choice;

/*
 * A look at a case: the queue where it waits; or NULL with *result: 0 or an error is how the case ended, -EAGAIN
 * says that it waits for nobody.
 */
static __attribute__((noinline)) vn_waitq *
try_look(const vn_end_ops *ops, void *end, void *item, int *result)
{
	*result = ops->try(end, item);
	return *result == -EAGAIN ? ops->queue(end) : NULL;
}

static inline __attribute__((always_inline)) vn_waitq *
end_look(const vn_end_ops *ops, void *end, void *item, int *result)
{
	if (__builtin_expect(!ops->poll, 0))
		return try_look(ops, end, item, result);
	return ops->poll(end, item, result);
}

static vn_waitq *
no_look(int error, int *result)
{
	*result = error;
	return NULL;
}

static inline __attribute__((always_inline)) vn_waitq *
recv_look(const vn_case *c, int *result)
{
	vn_rx *rx = c->end;

	if (!rx || c->size != rx->item_size)
		return no_look(rx ? -EINVAL : -EBADF, result);
	return end_look(rx->ops, rx, c->item, result);
}

static inline __attribute__((always_inline)) vn_waitq *
send_look(const vn_case *c, int *result)
{
	vn_tx *tx = c->end;

	if (!tx || c->size != tx->item_size)
		return no_look(tx ? -EINVAL : -EBADF, result);
	return end_look(tx->ops, tx, c->item, result);
}

static vn_waitq *
read_look(const choice *s, const vn_case *c, int *result)
{
	vn_conn *conn = c->end;

	if (!conn)
		return no_look(-EBADF, result);
	*result = (size_t)(c - s->cases) == s->in_vain ? -EAGAIN : vn_conn_try_read(conn);
	return *result == -EAGAIN ? vn_conn_read_queue(conn) : NULL;
}

/* The delay counts from the first look. */
static int
after_look(vn_hub *h, choice *s, size_t i)
{
	vn_time delay = s->cases[i].delay, at;

	if (s->again)
		return i == s->after && s->until <= h->now ? 0 : -EAGAIN;
	if (delay <= 0)
		return 0;
	at = vn_hub_after(h, delay);
	if (s->after == s->n || at < s->until) {
		s->until = at;
		s->after = i;
	}
	return -EAGAIN;
}

static vn_waitq *
else_look(choice *s, size_t i, int *result)
{
	if (i < s->otherwise)
		s->otherwise = i;
	return no_look(-EAGAIN, result);
}

static inline __attribute__((always_inline)) vn_waitq *
case_look(vn_hub *h, choice *s, const vn_case *c, int *result)
{
	/* most are, and this is found sooner than a place in a table */
	if (__builtin_expect(c->kind == RECV, 1))
		return recv_look(c, result);
	switch (c->kind) {
	case SEND:
		return send_look(c, result);
	case READ:
		return read_look(s, c, result);
	case AFTER:
		return no_look(after_look(h, s, (size_t)(c - s->cases)), result);
	case ELSE:
		return else_look(s, (size_t)(c - s->cases), result);
	case FD:
		return no_look(MET_FD, result);
	default:
		return no_look(-EINVAL, result);
	}
}

static int
selected(vn_hub *h, int index, int result)
{
	h->current->selected = result;
	return index;
}

/*
 * Somebody waits in the queue of a case; may nobody else? Ends may have been joined to others; connections are not,
 * and their own calls stand without a name.
 */
static __attribute__((noinline)) bool
case_is_taken(const vn_waitq *q, const vn_case *c)
{
	switch (c->kind) {
	case RECV:
		return ((vn_rx *)c->end)->ops->one && vn_end_stands(q, c->end);
	case SEND:
		return ((vn_tx *)c->end)->ops->one && vn_end_stands(q, c->end);
	default:
		return true;
	}
}

/* Tries all in order: the index of the one that was done, or -EAGAIN, and each clause knows its queue. */
static inline __attribute__((always_inline)) int
choice_look(vn_hub *h, choice *s, vn_clause *clauses)
{
	const vn_case *c = s->cases, *end = c + s->n;
	bool busy = false; /* somebody else waits where nobody else may */

	for (vn_clause *clause = clauses; c != end; c++, clause++) {
		int result;
		vn_waitq *q = case_look(h, s, c, &result);

		if (!q && result != -EAGAIN)
			return result == MET_FD ? MET_FD : selected(h, (int)(c - s->cases), result);
		if (q && __builtin_expect(q->first != NULL, 0))
			busy |= case_is_taken(q, c);
		clause->next = clause->prev = NULL;
		clause->queue = q;
		clause->end = c->end;
		clause->item = c->item;
		clause->result = 0;
	}
	s->again = true;
	if (s->otherwise < s->n)
		return selected(h, (int)s->otherwise, 0);
	return busy ? selected(h, -EBUSY, -EBUSY) : -EAGAIN;
}

static inline __attribute__((always_inline)) void
choice_stand(const choice *s, vn_clause *clauses, vn_co *co)
{
	for (vn_clause *c = clauses, *end = c + s->n; c != end; c++) {
		c->co = co;
		if (c->queue)
			waitq_push_new(c->queue, c);
	}
}

/* Other ends may have been closed since, and their waits went by: they are not looked at if need not be. */
static __attribute__((noinline)) int
read_woken(vn_hub *h, choice *s, int i, int result)
{
	if (result == 0)
		result = vn_conn_try_read(s->cases[i].end);
	if (result != -EAGAIN)
		return selected(h, i, result);
	s->in_vain = (size_t)i;
	return -EAGAIN;
}

/* Waits once: the index of the case that was decided, an error, or -EAGAIN to look again. */
static inline __attribute__((always_inline)) int
choice_wait(vn_hub *h, choice *s, vn_clause *clauses)
{
	vn_time deadline = h->current->deadline; /* a cancel may change it before this one runs */
	int rc;

	choice_stand(s, clauses, h->current);
	rc = wait_known(h, clauses, (uint32_t)s->n, s->until);
	if (rc >= 0)
		return s->cases[rc].kind == READ ? read_woken(h, s, rc, clauses[rc].result)
						 : selected(h, rc, clauses[rc].result);
	if (rc == -ETIMEDOUT && s->until <= deadline)
		return selected(h, (int)s->after, 0);
	return selected(h, rc, rc);
}

static inline __attribute__((always_inline)) int
choice_run(vn_hub *h, choice *s, vn_clause *clauses)
{
	int rc;

	do {
		rc = choice_look(h, s, clauses);
		if (rc != -EAGAIN)
			return rc;
		rc = choice_wait(h, s, clauses);
	} while (rc == -EAGAIN);
	return rc;
}

/* The clauses lie on the stack of who waits: few need little. */
static __attribute__((noinline)) int
run_many(vn_hub *h, choice *s)
{
	vn_clause clauses[CASES_MAX];

	return choice_run(h, s, clauses);
}

static __attribute__((noinline)) int
run_some(vn_hub *h, choice *s)
{
	vn_clause clauses[CASES_SOME];

	return choice_run(h, s, clauses);
}

static int
run(vn_hub *h, const vn_case *cases, size_t n)
{
	vn_clause clauses[CASES_FEW];
	choice s = {.cases = cases,
		.n = n,
		.until = VN_NEVER,
		.after = n,
		.otherwise = n,
		.in_vain = n};

	if (n <= CASES_FEW)
		return choice_run(h, &s, clauses);
	return n <= CASES_SOME ? run_some(h, &s) : run_many(h, &s);
}

/* Looks, and waits if nothing can go on at once. */
static int
fds_run(vn_hub *h, vn_case *cases, size_t n, vn_descriptor_wait *waits)
{
	size_t n_looks = n < CASES_MAX ? n + 1 : n;
	int rc;

	cases[n].kind = ELSE;
	rc = n_looks > n ? run(h, cases, n_looks) : (int)n;
	if (rc != (int)n)
		return rc;
	for (size_t i = 0; i < n; i++)
		waits[i].may_watch = true;
	return run(h, cases, n);
}

/* With an end in place of each descriptor. */
static __attribute__((noinline)) int
run_fds(vn_hub *h, const vn_case *cases, size_t n)
{
	vn_descriptor_wait *waits = calloc(n, sizeof *waits);
	vn_case ends[CASES_MAX + 1];
	int rc;

	if (!waits)
		return selected(h, -ENOMEM, -ENOMEM);
	for (size_t i = 0; i < n; i++) {
		bool is_fd = cases[i].kind == FD;

		vn_descriptor_wait_init(&waits[i], h, is_fd ? (int)cases[i].size : -1,
			is_fd ? (int)cases[i].delay : 0);
		ends[i] = is_fd ? (vn_case){.kind = RECV, .end = &waits[i]} : cases[i];
	}
	rc = fds_run(h, ends, n, waits);
	for (size_t i = 0; i < n; i++)
		vn_descriptor_wait_deinit(&waits[i]);
	free(waits);
	return rc;
}

/**
 * vn_select_cases() - wait until one of the cases can go on, and do it
 * @h:       hub
 * @cases:   1 to 64 of VN_RECV, VN_SEND, VN_READ, VN_AFTER, VN_ELSE, VN_FD
 * @n_cases: how many
 *
 * The first in list order wins. A closed end, a NULL end (-EBADF) and one of another item size (-EINVAL) can go
 * on: vn_selected() tells how the case ended.
 *
 * Return: the index of the case; or -ETIMEDOUT, -ECANCELED, -EDEADLK, -EBUSY, and no case was decided; -EINVAL
 * if there is none or there are too many; -ENOMEM, with a VN_FD.
 */
int
vn_select_cases(vn_hub *h, const vn_case *cases, size_t n_cases)
{
	int rc;

	if (n_cases == 0 || n_cases > CASES_MAX)
		return selected(h, -EINVAL, -EINVAL);
	rc = run(h, cases, n_cases);
	return rc == MET_FD ? run_fds(h, cases, n_cases) : rc;
}

/* The same numbers in every run that sees the same clock: xorshift64*. */
static uint64_t
random_next(vn_hub *h)
{
	uint64_t x = h->random ? h->random : (uint64_t)h->now | 1;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	h->random = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

/**
 * vn_select_random_cases() - as vn_select_cases(), but any that can go on wins, each as likely
 * @h:       hub
 * @cases:   1 to 64
 * @n_cases: how many
 *
 * The cases are shuffled, then the first wins. (Fisher and Yates, as Durstenfeld has it, CACM 1964.)
 *
 * Return: as vn_select_cases().
 */
int
vn_select_random_cases(vn_hub *h, const vn_case *cases, size_t n_cases)
{
	vn_case shuffled[CASES_MAX];
	uint8_t place[CASES_MAX] = {0};
	int rc;

	if (n_cases == 0 || n_cases > CASES_MAX)
		return selected(h, -EINVAL, -EINVAL);
	for (size_t i = 0; i < n_cases; i++) {
		size_t k = (random_next(h) >> 32) * (i + 1) >> 32;

		place[i] = place[k];
		place[k] = (uint8_t)i;
	}
	for (size_t i = 0; i < n_cases; i++)
		shuffled[i] = cases[place[i]];
	rc = vn_select_cases(h, shuffled, n_cases);
	return rc < 0 ? rc : place[rc];
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
