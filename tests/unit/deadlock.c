/* SPDX-License-Identifier: MIT */
/*
 * Deadlock - when nothing can ever wake those who wait, they are told; and only then
 */
#include <errno.h>
#include <string.h>

#include "client/message/end.h"
#include "tests/unit/coroutines.h"

NO_CONNECTIONS

typedef struct waiter {
	vn_rx *rx;
	vn_tx *tx;
	int rc, n;
} waiter;

static int
wait_to_recv(vn_hub *h, void *arg)
{
	waiter *x = arg;
	long item;

	(void)h;
	x->rc = vn_recv(x->rx, &item);
	x->n++;
	return 0;
}

static int
wait_to_send(vn_hub *h, void *arg)
{
	waiter *x = arg;
	long item = 1;

	(void)h;
	x->rc = vn_send(x->tx, &item);
	x->n++;
	return 0;
}

START_TEST(main_alone_that_waits_for_ever_is_told)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	long item = 0;

	ck_assert_int_eq(vn_recv(p.rx, &item), -EDEADLK);
	ck_assert_int_eq(vn_send(p.tx, &item), -EDEADLK);
	ck_assert_int_eq(vn_wait(h, NULL, 0, VN_NEVER), -EDEADLK);
	ck_assert_int_eq(vn_select(h, VN_RECV(p.rx, &item), VN_SEND(p.tx, &item)), -EDEADLK);
	ck_assert_int_eq(w.n_polls + w.n_waits, 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(everybody_in_a_circle_is_told_once)
{
	enum { CIRCLE = 10 };
	world w;
	vn_hub *h = world_open(&w);
	waiter x[CIRCLE] = {{0}};
	vn_pair p[CIRCLE];
	long item;

	for (int i = 0; i < CIRCLE; i++) {
		p[i] = vn_pipe(h, long);
		x[i].rx = p[i].rx;
		x[i].tx = p[i].tx;
		vn_spawn(h, i % 2 ? wait_to_recv : wait_to_send, &x[i]);
	}
	ck_assert_int_eq(vn_recv(p[1].rx, &item), -EDEADLK);
	for (int i = 0; i < CIRCLE; i++) {
		if (i == 1)
			continue;
		ck_assert_int_eq(x[i].rc, -EDEADLK);
		ck_assert_int_eq(x[i].n, 1);
	}
	vn_hub_close(h);
}
END_TEST

static int
wait_for_ever(vn_hub *h, void *arg)
{
	waiter *x = arg;

	while ((x->rc = vn_wait(h, NULL, 0, VN_NEVER)) == -EDEADLK)
		if (++x->n == 3)
			break;
	return 0;
}

START_TEST(who_waits_again_is_told_again)
{
	world w;
	vn_hub *h = world_open(&w);
	waiter x = {0};

	vn_spawn(h, wait_for_ever, &x);
	for (int i = 1; i <= 3; i++) {
		ck_assert_int_eq(vn_wait(h, NULL, 0, VN_NEVER), -EDEADLK);
		vn_yield(h);
		ck_assert_int_eq(x.n, i);
	}
	ck_assert_uint_eq(h->n_coroutines, 0);
	vn_hub_close(h);
}
END_TEST

static int
send_late(vn_hub *h, void *arg)
{
	long item = 1;

	vn_sleep(h, VN_SEC);
	return vn_send((vn_tx *)arg, &item);
}

START_TEST(a_timer_of_anybody_is_hope)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	waiter x = {.tx = p.tx};
	long item;

	vn_spawn(h, send_late, p.tx);
	ck_assert_int_eq(vn_recv(p.rx, &item), 0);
	vn_spawn_later(h, VN_SEC, wait_to_send, &x);
	ck_assert_int_eq(vn_recv(p.rx, &item), 0);
	vn_deadline(h, w.now + VN_SEC);
	ck_assert_int_eq(vn_recv(p.rx, &item), -ETIMEDOUT);
	vn_deadline(h, VN_NEVER);
	ck_assert_int_eq(vn_recv(p.rx, &item), -EDEADLK);
	vn_hub_close(h);
}
END_TEST

static vn_waitq news;

static void
news_come(world *w)
{
	(void)w;
	vn_wake(news.first, 0);
}

START_TEST(a_source_is_hope_until_it_is_released)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_clause c;

	w.on_forever = news_come;
	vn_hub_hold(h);
	vn_waitq_push(&news, &c);
	ck_assert_int_eq(vn_wait(h, &c, 1, VN_NEVER), 0);
	ck_assert_int_eq(w.n_forever, 1);
	vn_hub_unhold(h);
	vn_waitq_push(&news, &c);
	ck_assert_int_eq(vn_wait(h, &c, 1, VN_NEVER), -EDEADLK);
	ck_assert_int_eq(w.n_forever, 1);
	ck_assert_ptr_null(news.first);
	vn_hub_close(h);
}
END_TEST

static int
yield_a_lot(vn_hub *h, void *arg)
{
	for (int i = 0; i < 10 * VN_TURN; i++)
		vn_yield(h);
	return wait_to_send(h, arg);
}

START_TEST(one_who_runs_is_hope)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	waiter x = {.tx = p.tx};
	long item;

	vn_spawn(h, yield_a_lot, &x);
	ck_assert_int_eq(vn_recv(p.rx, &item), 0);
	vn_hub_close(h);
}
END_TEST

static bool
busy_turn(vn_hook *k)
{
	int *n = (int *)(k + 1);

	if (*n > 0 && --*n == 0)
		vn_wake(news.first, 0);
	return *n > 0;
}

static bool
busy_arm(vn_hook *k)
{
	(void)k;
	return true;
}

START_TEST(a_busy_hook_is_hope_and_an_idle_one_is_not)
{
	world w;
	vn_hub *h = world_open(&w);
	struct {
		vn_hook hook;
		int n;
	} k = {{.turn = busy_turn, .arm = busy_arm}, 5};
	vn_clause c;

	vn_hub_hook(h, &k.hook);
	vn_waitq_push(&news, &c);
	ck_assert_int_eq(vn_wait(h, &c, 1, VN_NEVER), 0);
	vn_waitq_push(&news, &c);
	ck_assert_int_eq(vn_wait(h, &c, 1, VN_NEVER), -EDEADLK);
	vn_hub_unhook(h, &k.hook);
	vn_hub_close(h);
}
END_TEST

/* Each of these can wait for ever in a way of its own. */

static void
shape_recv(vn_hub *h, waiter *x, int kind)
{
	vn_pair p = kind == 0   ? vn_dealer(h, long)
		    : kind == 1 ? vn_router(h, long)
		    : kind == 2 ? vn_queue(h, long, 2)
		    : kind == 3 ? vn_channel(h, long, 0)
		    : kind == 4 ? vn_state(h, long)
				: vn_value(h, long);

	x->rx = p.rx;
	vn_spawn(h, wait_to_recv, x);
}

static void
shape_send(vn_hub *h, waiter *x, int kind)
{
	vn_pair p = kind == 0   ? vn_dealer(h, long)
		    : kind == 1 ? vn_router(h, long)
				: vn_queue(h, long, 1);
	long item = 0;

	if (kind == 2)
		ck_assert_int_eq(vn_send(p.tx, &item), 0);
	x->tx = p.tx;
	vn_spawn(h, wait_to_send, x);
}

static void
shape_broadcast(vn_hub *h, waiter *x, int kind)
{
	vn_tx *tx = vn_broadcast(h, long);

	x->tx = tx;
	x->rx = vn_subscribe_with(tx, VN_BLOCK, kind ? 4 : 0);
	vn_spawn(h, kind ? wait_to_recv : wait_to_send, x);
}

/* The far end of a chain; a carrier in its middle is no hope. */
static void
shape_chain(vn_hub *h, waiter *x, int kind)
{
	vn_pair p = kind ? vn_queue(h, long, 1) : vn_pipe(h, long);
	vn_pair q = kind ? vn_queue(h, long, 1) : vn_pipe(h, long);

	ck_assert_int_eq(vn_pipe_to(p.rx, q.tx), 0);
	x->rx = q.rx;
	vn_spawn(h, wait_to_recv, x);
}

static int
wait_in_select(vn_hub *h, void *arg)
{
	waiter *x = arg;
	vn_pair p = vn_pipe(h, long), q = vn_state(h, long);
	long item = 1;

	x->rc = vn_select_random(
		h, VN_RECV(p.rx, &item), VN_SEND(p.tx, &item), VN_RECV(q.rx, &item));
	x->n++;
	return 0;
}

static int
wait_for_child(vn_hub *h, void *arg)
{
	waiter *x = arg;
	waiter child = {.rx = vn_pipe(h, long).rx};
	vn_group *g = vn_group_new(h);

	vn_group_spawn(g, wait_to_recv, &child);
	x->rc = vn_group_wait(g);
	x->n++;
	vn_group_free(g);
	return 0;
}

START_TEST(every_way_to_wait_in_vain_is_told_once)
{
	enum { WAYS = 6 + 3 + 2 + 2 + 2 };
	world w;
	vn_hub *h = world_open(&w);
	waiter x[WAYS] = {{0}}, *next = x;
	long item;

	for (int i = 0; i < 6; i++)
		shape_recv(h, next++, i);
	for (int i = 0; i < 3; i++)
		shape_send(h, next++, i);
	for (int i = 0; i < 2; i++)
		shape_broadcast(h, next++, i);
	for (int i = 0; i < 2; i++)
		shape_chain(h, next++, i);
	vn_spawn(h, wait_in_select, next++);
	vn_spawn(h, wait_for_child, next++);
	ck_assert_int_eq(vn_recv(vn_pipe(h, long).rx, &item), -EDEADLK);
	for (int i = 0; i < 5; i++)
		vn_yield(h);
	for (int i = 0; i < WAYS; i++) {
		ck_assert_msg(x[i].rc == -EDEADLK, "way %d: %d", i, x[i].rc);
		ck_assert_int_eq(x[i].n, 1);
	}
	ck_assert_int_eq(w.n_polls + w.n_waits, 0);
	vn_hub_close(h);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		main_alone_that_waits_for_ever_is_told,
		everybody_in_a_circle_is_told_once,
		who_waits_again_is_told_again,
		a_timer_of_anybody_is_hope,
		a_source_is_hope_until_it_is_released,
		one_who_runs_is_hope,
		a_busy_hook_is_hope_and_an_idle_one_is_not,
		every_way_to_wait_in_vain_is_told_once,
	};

	return suite_run("deadlock", tests, SUITE_COUNT(tests));
}
