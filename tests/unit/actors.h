/* SPDX-License-Identifier: MIT */
/*
 * Actors - coroutines that send and receive, for the tests of ends
 */
#ifndef VN_TESTS_UNIT_ACTORS_H
#define VN_TESTS_UNIT_ACTORS_H

#include "tests/unit/coroutines.h"

#define ACTOR_MOST 64

typedef struct actor {
	vn_tx *tx;
	vn_rx *rx;
	long item; /* what is sent first, or arrived last */
	long n;    /* how many are sent; how many have arrived or were taken */
	long got[ACTOR_MOST];
	int rc;
	int index;       /* of a select */
	vn_time timeout; /* 0: none */
	bool done;
} actor;

static inline void
actor_begin(vn_hub *h, const actor *a)
{
	if (a->timeout)
		vn_timeout(h, a->timeout);
}

static inline int
act_send(vn_hub *h, void *arg)
{
	actor *a = arg;

	actor_begin(h, a);
	a->rc = vn_send(a->tx, &a->item);
	a->done = true;
	return 0;
}

static inline int
act_recv(vn_hub *h, void *arg)
{
	actor *a = arg;

	actor_begin(h, a);
	a->rc = vn_recv(a->rx, &a->item);
	a->done = true;
	return 0;
}

/* item, item + 1, ... and closes the end. */
static inline int
act_send_all(vn_hub *h, void *arg)
{
	actor *a = arg;
	long n = a->n;

	actor_begin(h, a);
	a->n = 0;
	while (a->n < n && (a->rc = vn_send(a->tx, &a->item)) == 0) {
		a->item++;
		a->n++;
	}
	a->done = true;
	return vn_close(a->tx);
}

/* Until there is an error; the end stays open. */
static inline int
act_recv_all(vn_hub *h, void *arg)
{
	actor *a = arg;

	actor_begin(h, a);
	while ((a->rc = vn_recv(a->rx, &a->item)) == 0) {
		suite_assert(a->n < ACTOR_MOST);
		a->got[a->n++] = a->item;
	}
	a->done = true;
	return 0;
}

/* Both ends may be NULL; a timeout is VN_AFTER here. */
static inline int
act_select(vn_hub *h, void *arg)
{
	actor *a = arg;
	vn_case cases[3];
	size_t n = 0;

	if (a->rx)
		cases[n++] = VN_RECV(a->rx, &a->item);
	if (a->tx)
		cases[n++] = VN_SEND(a->tx, &a->item);
	if (a->timeout)
		cases[n++] = VN_AFTER(a->timeout);
	a->index = vn_select_cases(h, cases, n);
	a->rc = vn_selected(h);
	a->done = true;
	return 0;
}

/* All that can run has run. */
static inline void
let_run(vn_hub *h)
{
	for (int i = 0; i < 20; i++)
		vn_yield(h);
}

static inline void
start(vn_hub *h, vn_fn *f, void *arg)
{
	ck_assert_int_eq(vn_spawn(h, f, arg), 0);
	vn_yield(h);
}

#endif
