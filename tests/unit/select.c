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
		looking_again_does_not_put_the_timeout_off,
		a_connection_with_an_error_can_go_on_with_it,
		no_end_and_wrong_sizes_are_results_and_no_case_is_an_error,
		sixty_four_cases_are_enough_and_one_more_is_too_many,
	};

	return suite_run("select", tests, SUITE_COUNT(tests));
}
