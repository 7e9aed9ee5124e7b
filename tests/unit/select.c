/* SPDX-License-Identifier: MIT */
/*
 * Select - the first case that can go on is done, the others are as if they had not been there
 */
#include <errno.h>
#include <string.h>

#include "client/message/end.h"
#include "tests/unit/coroutines.h"

/* A connection of which the test decides whether it could be read. */
struct vn_conn {
	vn_waitq readers;
	int rc; /* what reading would give */
	int n_tries;
};

__attribute__((weak)) int
vn_conn_try_read(vn_conn *c)
{
	c->n_tries++;
	return c->rc;
}

__attribute__((weak)) vn_waitq *
vn_conn_read_queue(vn_conn *c)
{
	return &c->readers;
}

typedef struct peer {
	vn_tx *tx;
	vn_rx *rx;
	long item;
	int rc;
	bool done;
} peer;

static int
peer_send(vn_hub *h, void *arg)
{
	peer *p = arg;

	(void)h;
	p->rc = vn_send(p->tx, &p->item);
	p->done = true;
	return 0;
}

static int
peer_recv(vn_hub *h, void *arg)
{
	peer *p = arg;

	(void)h;
	p->rc = vn_recv(p->rx, &p->item);
	p->done = true;
	return 0;
}

START_TEST(the_first_in_list_order_wins)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_pipe(h, long), b = vn_pipe(h, long);
	peer x = {.tx = a.tx, .item = 1}, y = {.tx = b.tx, .item = 2};
	long item = 0;

	vn_spawn(h, peer_send, &x);
	vn_spawn(h, peer_send, &y);
	vn_yield(h);
	ck_assert_int_eq(vn_select(h, VN_RECV(b.rx, &item), VN_RECV(a.rx, &item)), 0);
	ck_assert_int_eq(vn_selected(h), 0);
	ck_assert_int_eq(item, 2);
	vn_yield(h);
	ck_assert(y.done && !x.done);
	ck_assert_int_eq(vn_select(h, VN_RECV(b.rx, &item), VN_RECV(a.rx, &item)), 1);
	ck_assert_int_eq(item, 1);
	vn_hub_close(h);
}
END_TEST

START_TEST(whoever_comes_first_decides_a_select_that_waits)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_pipe(h, long), b = vn_pipe(h, long), c = vn_pipe(h, long);
	long item = 0, out = 77;

	for (int k = 0; k < 3; k++) {
		peer x = {.tx = k == 0 ? a.tx : b.tx, .rx = c.rx, .item = 10 + k};

		vn_spawn(h, k == 2 ? peer_recv : peer_send, &x);
		ck_assert_int_eq(vn_select(h, VN_RECV(a.rx, &item), VN_RECV(b.rx, &item),
					 VN_SEND(c.tx, &out), VN_AFTER(VN_SEC)),
			k);
		ck_assert_int_eq(vn_selected(h), 0);
		vn_yield(h);
		ck_assert(x.done);
		ck_assert_int_eq(x.rc, 0);
		ck_assert_int_eq(k == 2 ? x.item : item, k == 2 ? 77 : 10 + k);
		ck_assert(vn_wheel_empty(h->wheel));
	}
	vn_hub_close(h);
}
END_TEST

START_TEST(a_select_leaves_nothing_behind_at_the_ends_it_did_not_choose)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_pipe(h, long), b = vn_pipe(h, long);
	peer x = {.tx = a.tx, .item = 1}, y = {.tx = b.tx, .item = 2};
	long first = 0, second = 0;

	vn_spawn(h, peer_send, &x);
	ck_assert_int_eq(vn_select(h, VN_RECV(a.rx, &first), VN_RECV(b.rx, &second)), 0);
	vn_spawn(h, peer_send, &y);
	vn_yield(h);
	vn_yield(h);
	ck_assert(!y.done);
	ck_assert_int_eq(second, 0);
	ck_assert_int_eq(vn_recv(b.rx, &second), 0);
	ck_assert_int_eq(second, 2);
	vn_hub_close(h);
}
END_TEST

typedef struct chooser {
	vn_rx *a, *b;
	long item;
	int index, result;
} chooser;

static int
choose(vn_hub *h, void *arg)
{
	chooser *c = arg;

	c->index = vn_select(h, VN_RECV(c->a, &c->item), VN_RECV(c->b, &c->item));
	c->result = vn_selected(h);
	return 0;
}

START_TEST(a_closed_end_can_go_on_with_its_error)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_pipe(h, long), b = vn_pipe(h, long);
	chooser c = {.a = a.rx, .b = b.rx, .index = -1};
	long item = 0;

	vn_spawn(h, choose, &c);
	vn_yield(h);
	vn_close(b.tx);
	vn_yield(h);
	ck_assert_int_eq(c.index, 1);
	ck_assert_int_eq(c.result, -EPIPE);
	ck_assert_int_eq(vn_select(h, VN_AFTER(VN_SEC), VN_RECV(b.rx, &item)), 1);
	ck_assert_int_eq(vn_selected(h), -EPIPE);
	vn_close(a.rx);
	ck_assert_int_eq(vn_select(h, VN_SEND(a.tx, &item)), 0);
	ck_assert_int_eq(vn_selected(h), -EPIPE);
	vn_hub_close(h);
}
END_TEST

START_TEST(results_belong_to_the_coroutine_that_selected)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_pipe(h, long), b = vn_pipe(h, long);
	chooser c = {.a = a.rx, .b = b.rx};

	vn_close(a.tx);
	ck_assert_int_eq(vn_select(h, VN_AFTER(0)), 0);
	vn_spawn(h, choose, &c);
	vn_yield(h);
	ck_assert_int_eq(c.result, -EPIPE);
	ck_assert_int_eq(vn_selected(h), 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(after_is_a_case_like_any_other)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_pipe(h, long);
	vn_time start = w.now;
	long item = 0;

	ck_assert_int_eq(vn_select(h, VN_RECV(a.rx, &item), VN_AFTER(VN_SEC)), 1);
	ck_assert_int_eq(vn_selected(h), 0);
	ck_assert_int_ge(w.now, start + VN_SEC);
	start = w.now;
	ck_assert_int_eq(vn_select(h, VN_AFTER(3 * VN_SEC), VN_AFTER(VN_SEC), VN_AFTER(VN_SEC)), 1);
	ck_assert_int_ge(w.now, start + VN_SEC);
	ck_assert_int_lt(w.now, start + 2 * VN_SEC);
	vn_hub_close(h);
}
END_TEST

START_TEST(after_nothing_does_not_wait)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_pipe(h, long);
	peer x = {.tx = a.tx, .item = 1};
	long item = 0;

	ck_assert_int_eq(vn_select(h, VN_RECV(a.rx, &item), VN_AFTER(0)), 1);
	vn_spawn(h, peer_send, &x);
	vn_yield(h);
	ck_assert_int_eq(vn_select(h, VN_AFTER(0), VN_RECV(a.rx, &item)), 0);
	ck_assert_int_eq(vn_select(h, VN_AFTER(-1), VN_RECV(a.rx, &item)), 0);
	ck_assert_int_eq(vn_select(h, VN_RECV(a.rx, &item), VN_AFTER(0)), 0);
	ck_assert_int_eq(w.n_polls + w.n_waits, 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_deadline_before_after_decides_no_case)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_pipe(h, long);
	long item = 0;

	vn_deadline(h, w.now + VN_SEC);
	ck_assert_int_eq(vn_select(h, VN_RECV(a.rx, &item), VN_AFTER(2 * VN_SEC)), -ETIMEDOUT);
	ck_assert_int_eq(vn_selected(h), -ETIMEDOUT);
	vn_deadline(h, w.now + 3 * VN_SEC);
	ck_assert_int_eq(vn_select(h, VN_RECV(a.rx, &item), VN_AFTER(2 * VN_SEC)), 1);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_stop_decides_no_case)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_pipe(h, long), b = vn_pipe(h, long);
	chooser c = {.a = a.rx, .b = b.rx};

	vn_spawn(h, choose, &c);
	vn_yield(h);
	vn_stop(h);
	vn_yield(h);
	ck_assert_int_eq(c.index, -ECANCELED);
	ck_assert_int_eq(c.result, -ECANCELED);
	vn_hub_close(h);
}
END_TEST

START_TEST(two_cases_may_name_the_same_end)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_pipe(h, long);
	peer x = {.tx = a.tx, .item = 5};
	long first = 0, second = 0;

	vn_spawn(h, peer_send, &x);
	ck_assert_int_eq(vn_select(h, VN_RECV(a.rx, &first), VN_RECV(a.rx, &second)), 0);
	ck_assert_int_eq(first, 5);
	ck_assert_int_eq(second, 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(both_ends_of_one_pipe_do_not_meet_in_one_select)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_pipe(h, long);
	peer x = {.rx = a.rx};
	long in = 0, out = 9;

	ck_assert_int_eq(vn_select(h, VN_RECV(a.rx, &in), VN_SEND(a.tx, &out), VN_AFTER(VN_MS)), 2);
	ck_assert_int_eq(in, 0);
	vn_spawn(h, peer_recv, &x);
	ck_assert_int_eq(vn_select(h, VN_SEND(a.tx, &out), VN_AFTER(VN_MS)), 0);
	ck_assert_int_eq(x.item, 9);
	vn_hub_close(h);
}
END_TEST

START_TEST(an_end_at_which_another_waits_is_busy)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_pipe(h, long), b = vn_pipe(h, long);
	peer x = {.rx = a.rx}, y = {.tx = b.tx, .item = 3};
	long item = 0;

	vn_spawn(h, peer_recv, &x);
	vn_yield(h);
	ck_assert_int_eq(vn_select(h, VN_RECV(b.rx, &item), VN_RECV(a.rx, &item)), -EBUSY);
	ck_assert_int_eq(vn_selected(h), -EBUSY);
	vn_spawn(h, peer_send, &y); /* and at b nothing was left standing */
	vn_yield(h);
	ck_assert(!y.done);
	vn_hub_close(h);
}
END_TEST

static int
wake_reader(vn_hub *h, void *arg)
{
	vn_conn *c = arg;

	(void)h;
	for (int i = 0; i < 3; i++) {
		if (i == 2)
			c->rc = 0;
		if (c->readers.first)
			vn_wake(c->readers.first, 0);
		vn_yield(h);
	}
	return 0;
}

START_TEST(a_connection_is_looked_at_again_until_it_can_be_read)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_pipe(h, long);
	vn_conn c = {.rc = -EAGAIN};
	long item = 0;

	vn_spawn(h, wake_reader, &c);
	ck_assert_int_eq(vn_select(h, VN_RECV(a.rx, &item), VN_READ(&c), VN_AFTER(VN_SEC)), 1);
	ck_assert_int_eq(vn_selected(h), 0);
	ck_assert_int_eq(c.n_tries, 4);
	ck_assert_ptr_null(c.readers.first);
	vn_hub_close(h);
}
END_TEST

typedef struct closing {
	vn_conn conn;
	int result; /* what who waits for the connection is told */
	vn_pair ends;
} closing;

static int
wake_reader_and_close(vn_hub *h, void *arg)
{
	closing *c = arg;

	(void)h;
	c->conn.rc = c->result == 0 ? 0 : -EAGAIN;
	vn_wake(c->conn.readers.first, c->result);
	vn_close(c->ends.tx);
	return vn_close(c->ends.rx);
}

START_TEST(who_was_woken_by_a_connection_does_not_look_at_ends_that_were_closed_since)
{
	const int results[] = {0, -EPIPE};

	for (size_t i = 0; i < SUITE_COUNT(results); i++) {
		world w;
		vn_hub *h = world_open(&w);
		closing c = {{.rc = -EAGAIN}, results[i], vn_pipe(h, long)};
		long item;

		vn_spawn(h, wake_reader_and_close, &c);
		ck_assert_int_eq(vn_select(h, VN_RECV(c.ends.rx, &item), VN_READ(&c.conn)), 1);
		ck_assert_int_eq(vn_selected(h), results[i]);
		ck_assert_ptr_null(h->owned);
		vn_hub_close(h);
	}
}
END_TEST

static int
wake_in_vain(vn_hub *h, void *arg)
{
	vn_conn *c = arg;

	while (c->readers.first) {
		vn_wake(c->readers.first, 0);
		if (vn_sleep(h, 300 * VN_MS) < 0)
			break;
	}
	return 0;
}

START_TEST(looking_again_does_not_put_the_timeout_off)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_conn c = {.rc = -EAGAIN};
	vn_time start = w.now;

	vn_spawn(h, wake_in_vain, &c);
	ck_assert_int_eq(vn_select(h, VN_READ(&c), VN_AFTER(VN_SEC)), 1);
	ck_assert_int_ge(w.now, start + VN_SEC);
	ck_assert_int_lt(w.now, start + VN_SEC + 100 * VN_MS);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_connection_with_an_error_can_go_on_with_it)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_conn c = {.rc = -ECONNRESET};

	ck_assert_int_eq(vn_select(h, VN_AFTER(VN_SEC), VN_READ(&c)), 1);
	ck_assert_int_eq(vn_selected(h), -ECONNRESET);
	vn_hub_close(h);
}
END_TEST

START_TEST(no_end_and_wrong_sizes_are_results_and_no_case_is_an_error)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_pipe(h, long);
	long item = 0;
	char small = 0;

	ck_assert_int_eq(vn_select(h, VN_RECV((vn_rx *)NULL, &item)), 0);
	ck_assert_int_eq(vn_selected(h), -EBADF);
	ck_assert_int_eq(vn_select(h, VN_AFTER(VN_SEC), VN_SEND((vn_tx *)NULL, &item)), 1);
	ck_assert_int_eq(vn_selected(h), -EBADF);
	ck_assert_int_eq(vn_select(h, VN_READ((vn_conn *)NULL)), 0);
	ck_assert_int_eq(vn_selected(h), -EBADF);
	ck_assert_int_eq(vn_select(h, VN_RECV(a.rx, &small)), 0);
	ck_assert_int_eq(vn_selected(h), -EINVAL);
	ck_assert_int_eq(vn_select_cases(h, NULL, 0), -EINVAL);
	vn_hub_close(h);
}
END_TEST

START_TEST(sixty_four_cases_are_enough_and_one_more_is_too_many)
{
	enum { MOST = 64 };
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p[MOST + 1];
	vn_case cases[MOST + 1];
	long item = 0;

	for (int i = 0; i <= MOST; i++) {
		p[i] = vn_pipe(h, long);
		cases[i] = VN_RECV(p[i].rx, &item);
	}
	for (int i = 0; i < MOST; i++) {
		peer x = {.tx = p[i].tx, .item = i};

		vn_spawn(h, peer_send, &x);
		ck_assert_int_eq(vn_select_cases(h, cases, MOST), i);
		ck_assert_int_eq(item, i);
		vn_yield(h);
	}
	ck_assert_int_eq(vn_select_cases(h, cases, MOST + 1), -EINVAL);
	vn_hub_close(h);
}
END_TEST

START_TEST(otherwise_is_what_happens_when_nothing_else_can_go_on)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_pipe(h, long), q = vn_queue(h, long, 1);
	peer x = {.rx = a.rx}, y = {.tx = q.tx, .item = 4};
	long item = 3;

	ck_assert_int_eq(vn_select(h, VN_ELSE, VN_RECV(a.rx, &item), VN_ELSE), 0);
	ck_assert_int_eq(vn_selected(h), 0);
	ck_assert_int_eq(vn_select(h, VN_RECV(q.rx, &item), VN_AFTER(VN_SEC), VN_ELSE), 2);
	ck_assert_int_eq(vn_select(h, VN_ELSE, VN_AFTER(0)), 1);
	ck_assert_int_eq(vn_select(h, VN_ELSE, VN_SEND(q.tx, &item)), 1);
	ck_assert_int_eq(vn_select(h, VN_ELSE, VN_SEND(q.tx, &item)), 0);
	vn_spawn(h, peer_recv, &x);
	vn_spawn(h, peer_send, &y);
	vn_yield(h);
	/* where another waits already this one would only look */
	ck_assert_int_eq(vn_select(h, VN_RECV(a.rx, &item), VN_SEND(q.tx, &item), VN_ELSE), 2);
	ck_assert_int_eq(vn_select(h, VN_ELSE, VN_SEND(a.tx, &item)), 1);
	ck_assert_int_eq(w.n_polls + w.n_waits, 0);
	vn_stop(h);
	ck_assert_int_eq(vn_select(h, VN_RECV(a.rx, &item), VN_ELSE), 1);
	vn_hub_close(h);
}
END_TEST

START_TEST(each_that_can_go_on_is_as_likely_in_random_order)
{
	enum { N = 5, TIMES = 5000 };
	world w;
	vn_hub *h = world_open(&w);
	vn_pair ready[N], none = vn_pipe(h, long);
	int counts[N] = {0};
	long item = 0;

	for (int i = 0; i < N; i++) {
		ready[i] = vn_state(h, long);
		vn_send(ready[i].tx, &(long){i});
	}
	for (int i = 0; i < TIMES; i++) {
		int rc = vn_select_random(h, VN_RECV(ready[0].rx, &item),
			VN_RECV(ready[1].rx, &item), VN_RECV(none.rx, &item), VN_ELSE,
			VN_RECV(ready[2].rx, &item), VN_RECV(ready[3].rx, &item),
			VN_RECV(ready[4].rx, &item));

		suite_assert(rc >= 0 && rc != 2 && rc != 3);
		suite_assert(item == (rc > 3 ? rc - 2 : rc));
		counts[item]++;
	}
	for (int i = 0; i < N; i++)
		ck_assert(counts[i] > TIMES / N * 9 / 10 && counts[i] < TIMES / N * 11 / 10);
	ck_assert_int_eq(vn_select_random(h, VN_RECV(none.rx, &item), VN_ELSE), 1);
	ck_assert_int_eq(vn_select_random(h, VN_RECV(none.rx, &item), VN_AFTER(VN_SEC)), 1);
	ck_assert_int_eq(vn_select_random(h, VN_RECV(none.rx, &item)), -EDEADLK);
	ck_assert_int_eq(vn_select_random_cases(h, NULL, 0), -EINVAL);
	ck_assert_int_eq(vn_select_random_cases(h, &(vn_case){0}, 65), -EINVAL);
	vn_hub_close(h);
}
END_TEST

START_TEST(random_order_is_the_same_in_every_run)
{
	long picked[2][20];

	for (int run = 0; run < 2; run++) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair a = vn_state(h, long), b = vn_state(h, long);
		long item = 1;

		vn_send(a.tx, &item);
		vn_send(b.tx, &item);
		for (int i = 0; i < 20; i++)
			picked[run][i] =
				vn_select_random(h, VN_RECV(a.rx, &item), VN_RECV(b.rx, &item));
		vn_hub_close(h);
	}
	ck_assert(memcmp(picked[0], picked[1], sizeof picked[0]) == 0);
}
END_TEST

typedef struct both {
	vn_pair p;
	long in, out;
	int index;
} both;

static int
select_both(vn_hub *h, void *arg)
{
	both *x = arg;

	x->index = vn_select(h, VN_SEND(x->p.tx, &x->out), VN_RECV(x->p.rx, &x->in));
	return 0;
}

START_TEST(two_that_stand_at_both_ends_of_a_channel_meet_each_other)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_channel(h, long, 0);
	both x = {p, 0, 1, -1}, y = {p, 0, 2, -1}, z = {p, 0, 3, -1};
	long item = 4;

	vn_spawn(h, select_both, &x);
	vn_yield(h);
	vn_yield(h);
	ck_assert_int_eq(x.index, -1); /* not itself */
	vn_spawn(h, select_both, &y);
	vn_yield(h);
	vn_yield(h);
	ck_assert_int_eq(y.index, 0);
	ck_assert_int_eq(x.index, 1);
	ck_assert_int_eq(x.in, 2);
	vn_spawn(h, select_both, &z);
	vn_yield(h);
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	vn_yield(h);
	ck_assert_int_eq(z.index, 1);
	ck_assert_int_eq(z.in, 4);
	ck_assert_int_eq(vn_select(h, VN_RECV(p.rx, &item), VN_ELSE), 1);
	vn_hub_close(h);
}
END_TEST

START_TEST(ends_of_every_kind_can_stand_in_one_select)
{
	enum { KINDS = 7 };

	for (int k = 0; k < KINDS; k++) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p[] = {vn_pipe(h, long), vn_queue(h, long, 1), vn_dealer(h, long),
			vn_router(h, long), vn_channel(h, long, 2), vn_state(h, long),
			vn_value(h, long)};
		vn_tx *tx = vn_broadcast(h, long);
		vn_rx *sub = vn_subscribe(tx);
		peer x = {.tx = p[k].tx, .item = k}, y = {.tx = tx, .item = 77};
		long item = -1;

		for (int round = 0; round < 2; round++) {
			vn_spawn(h, peer_send, round ? &y : &x);
			ck_assert_int_eq(vn_select(h, VN_RECV(sub, &item), VN_RECV(p[0].rx, &item),
						 VN_RECV(p[1].rx, &item), VN_RECV(p[2].rx, &item),
						 VN_RECV(p[3].rx, &item), VN_RECV(p[4].rx, &item),
						 VN_RECV(p[5].rx, &item), VN_RECV(p[6].rx, &item)),
				round ? 0 : k + 1);
			ck_assert_int_eq(vn_selected(h), 0);
			ck_assert_int_eq(item, round ? 77 : k);
			vn_yield(h);
			if (k >= 5)
				break; /* it would be given again */
		}
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(one_who_selects_does_not_overtake_those_who_wait)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_channel(h, long, 0);
	peer first = {.tx = p.tx, .item = 1}, third = {.tx = p.tx, .item = 3};
	both second = {p, 0, 2, -1};
	long item = 0;

	vn_spawn(h, peer_send, &first);
	vn_yield(h);
	/* it takes from the first: it is the one who receives, not a sender behind it */
	vn_spawn(h, select_both, &second);
	vn_yield(h);
	ck_assert_int_eq(second.index, 1);
	ck_assert_int_eq(second.in, 1);
	second.index = -1;
	vn_spawn(h, peer_send, &third);
	vn_yield(h);
	ck_assert_int_eq(vn_select(h, VN_RECV(p.rx, &item)), 0);
	ck_assert_int_eq(item, 3);
	vn_hub_close(h);
}
END_TEST

START_TEST(an_error_that_was_sent_is_how_the_case_ended)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_queue(h, long, 2), b = vn_pipe(h, long);
	chooser c = {.a = a.rx, .b = b.rx, .index = -1};
	long item = 5;

	vn_spawn(h, choose, &c);
	vn_yield(h);
	ck_assert_int_eq(vn_send_error(b.tx, -EIO), 0);
	vn_yield(h);
	ck_assert_int_eq(c.index, 1);
	ck_assert_int_eq(c.result, -EIO);
	ck_assert_int_eq(vn_send_error(a.tx, -EDOM), 0);
	ck_assert_int_eq(vn_select(h, VN_AFTER(VN_SEC), VN_RECV(a.rx, &item)), 1);
	ck_assert_int_eq(vn_selected(h), -EDOM);
	ck_assert_int_eq(item, 5);
	vn_hub_close(h);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		the_first_in_list_order_wins,
		whoever_comes_first_decides_a_select_that_waits,
		a_select_leaves_nothing_behind_at_the_ends_it_did_not_choose,
		a_closed_end_can_go_on_with_its_error,
		results_belong_to_the_coroutine_that_selected,
		after_is_a_case_like_any_other,
		after_nothing_does_not_wait,
		a_deadline_before_after_decides_no_case,
		a_stop_decides_no_case,
		two_cases_may_name_the_same_end,
		both_ends_of_one_pipe_do_not_meet_in_one_select,
		an_end_at_which_another_waits_is_busy,
		a_connection_is_looked_at_again_until_it_can_be_read,
		who_was_woken_by_a_connection_does_not_look_at_ends_that_were_closed_since,
		looking_again_does_not_put_the_timeout_off,
		a_connection_with_an_error_can_go_on_with_it,
		no_end_and_wrong_sizes_are_results_and_no_case_is_an_error,
		sixty_four_cases_are_enough_and_one_more_is_too_many,
		otherwise_is_what_happens_when_nothing_else_can_go_on,
		each_that_can_go_on_is_as_likely_in_random_order,
		random_order_is_the_same_in_every_run,
		two_that_stand_at_both_ends_of_a_channel_meet_each_other,
		ends_of_every_kind_can_stand_in_one_select,
		one_who_selects_does_not_overtake_those_who_wait,
		an_error_that_was_sent_is_how_the_case_ended,
	};

	return suite_run("select", tests, SUITE_COUNT(tests));
}
