/* SPDX-License-Identifier: MIT */
/*
 * Combine - producers, consumers, maps, triggers and calls
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/coroutines.h"

NO_CONNECTIONS

/* What a function does with its ends, and what it saw. */
typedef struct work {
	int n, rc, result;
	long sum;
	vn_time delay;
	journal *j;
	const char *name;
	vn_tx *tx;
	int n_inside;
} work;

static int
produce(vn_hub *h, vn_tx *tx, void *arg)
{
	work *x = arg;

	(void)h;
	for (long i = 1; i <= x->n && x->rc == 0; i++)
		x->rc = vn_send(tx, &i);
	return x->result;
}

static int
consume(vn_hub *h, vn_rx *rx, void *arg)
{
	work *x = arg;
	long item;

	(void)h;
	while ((x->n == 0 || x->sum < x->n) && (x->rc = vn_recv(rx, &item)) == 0)
		x->sum += item;
	return x->result;
}

static long
recv_all(vn_rx *rx, int *rc)
{
	long sum = 0, item;

	while ((*rc = vn_recv(rx, &item)) == 0)
		sum += item;
	return sum;
}

START_TEST(a_producer_sends_and_its_end_is_closed_for_it)
{
	world w;
	vn_hub *h = world_open(&w);
	work x = {.n = 4};
	vn_rx *rx = vn_producer(h, long, produce, &x);
	int rc;

	ck_assert_int_eq(recv_all(rx, &rc), 10);
	ck_assert_int_eq(rc, -EPIPE);
	ck_assert_int_eq(x.rc, 0);
	vn_close(rx);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_producer_that_fails_leaves_a_dead_end)
{
	world w;
	vn_hub *h = world_open(&w);
	work x = {.n = 4, .result = -EIO};
	vn_rx *rx = vn_producer(h, long, produce, &x);
	int rc;

	ck_assert_int_eq(recv_all(rx, &rc), 10);
	ck_assert_int_eq(rc, -EOWNERDEAD);
	vn_close(rx);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_producer_is_told_when_nobody_wants_more)
{
	world w;
	vn_hub *h = world_open(&w);
	work x = {.n = 4};
	vn_rx *rx = vn_producer(h, long, produce, &x);
	long item;

	ck_assert_int_eq(vn_recv(rx, &item), 0);
	vn_yield(h);
	vn_close(rx);
	vn_yield(h);
	ck_assert_int_eq(x.rc, -EPIPE);
	ck_assert_uint_eq(h->n_coroutines, 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_consumer_receives_and_its_end_is_closed_for_it)
{
	world w;
	vn_hub *h = world_open(&w);
	work x = {.n = 5}, y = {.n = 5, .result = -EIO}, z = {.n = 0};
	vn_tx *tx = vn_consumer(h, long, consume, &x), *died = vn_consumer(h, long, consume, &y);
	long item = 5;

	ck_assert_int_eq(vn_send(tx, &item), 0);
	ck_assert_int_eq(vn_send(tx, &item), -EPIPE);
	ck_assert_int_eq(x.sum, 5);
	vn_close(tx);
	ck_assert_int_eq(vn_send(died, &item), 0);
	ck_assert_int_eq(vn_send(died, &item), -EOWNERDEAD);
	vn_close(died);
	tx = vn_consumer(h, long, consume, &z);
	ck_assert_int_eq(vn_send(tx, &item), 0);
	vn_close(tx);
	vn_yield(h);
	ck_assert_int_eq(z.rc, -EPIPE);
	ck_assert_uint_eq(h->n_coroutines, 0);
	vn_hub_close(h);
}
END_TEST

static int
adopt_and_produce(vn_hub *h, vn_tx *tx, void *arg)
{
	ck_assert_int_eq(vn_adopt(tx), 0);
	return produce(h, tx, arg);
}

START_TEST(an_end_that_a_function_adopted_is_closed_once)
{
	world w;
	vn_hub *h = world_open(&w);
	work x = {.n = 2}, y = {.n = 2, .result = -EIO};
	vn_rx *rx = vn_producer(h, long, adopt_and_produce, &x);
	int rc;

	ck_assert_int_eq(recv_all(rx, &rc), 3);
	ck_assert_int_eq(rc, -EPIPE);
	vn_close(rx);
	rx = vn_producer(h, long, adopt_and_produce, &y);
	ck_assert_int_eq(recv_all(rx, &rc), 3);
	ck_assert_int_eq(rc, -EOWNERDEAD);
	vn_close(rx);
	vn_hub_close(h);
}
END_TEST

static int
pass_twice(vn_hub *h, vn_rx *upstream, vn_tx *downstream, void *arg)
{
	work *x = arg;
	long item;

	(void)h;
	while ((x->rc = vn_recv(upstream, &item)) == 0) {
		x->rc = vn_send(downstream, &item);
		if (x->rc == 0)
			x->rc = vn_send(downstream, &item);
		if (x->rc < 0 || (x->n && --x->n == 0))
			break;
	}
	return x->result;
}

START_TEST(a_function_stands_between_two_ends)
{
	world w;
	vn_hub *h = world_open(&w);
	work x = {.n = 4}, y = {.n = 0};
	vn_rx *rx = vn_pipe_through(vn_producer(h, long, produce, &x), long, pass_twice, &y);
	int rc;

	ck_assert_int_eq(recv_all(rx, &rc), 20);
	ck_assert_int_eq(rc, -EPIPE);
	ck_assert_int_eq(y.rc, -EPIPE);
	vn_close(rx);
	vn_hub_close(h);
}
END_TEST

START_TEST(both_ends_of_a_function_are_closed_when_it_returns)
{
	world w;
	vn_hub *h = world_open(&w);
	work x = {.n = 100}, y = {.n = 1}, dies = {.n = 1, .result = -EIO};
	vn_rx *rx = vn_pipe_through(vn_producer(h, long, produce, &x), long, pass_twice, &y);
	int rc;

	ck_assert_int_eq(recv_all(rx, &rc), 2);
	ck_assert_int_eq(rc, -EPIPE);
	vn_yield(h);
	ck_assert_int_eq(x.rc, -EPIPE);
	vn_close(rx);
	x.rc = 0;
	rx = vn_pipe_through(vn_producer(h, long, produce, &x), long, pass_twice, &dies);
	ck_assert_int_eq(recv_all(rx, &rc), 2);
	ck_assert_int_eq(rc, -EOWNERDEAD);
	vn_yield(h);
	ck_assert_int_eq(x.rc, -EOWNERDEAD);
	vn_close(rx);
	vn_hub_close(h);
}
END_TEST

/* Odd numbers become twice as much, of another size; 4 is an error, the other even ones are nothing. */
static int
double_odd(const void *in, void *out, void *arg)
{
	long item = *(const long *)in;
	int twice = (int)item * 2;

	++*(int *)arg;
	if (item == 4)
		return -EDOM;
	memcpy(out, &twice, sizeof twice);
	return item % 2 ? 0 : 1;
}

START_TEST(a_map_changes_drops_and_fails)
{
	world w;
	vn_hub *h = world_open(&w);
	work x = {.n = 5};
	int n = 0, item = 0;
	vn_rx *rx = vn_map(vn_producer(h, long, produce, &x), int, double_odd, &n);

	ck_assert_int_eq(vn_recv(rx, &item), 0);
	ck_assert_int_eq(item, 2);
	ck_assert_int_eq(vn_recv(rx, &item), 0);
	ck_assert_int_eq(item, 6);
	ck_assert_int_eq(vn_recv(rx, &item), -EDOM);
	ck_assert_int_eq(vn_recv(rx, &item), 0);
	ck_assert_int_eq(item, 10);
	ck_assert_int_eq(vn_recv(rx, &item), -EPIPE);
	ck_assert_int_eq(n, 5);
	vn_close(rx);
	vn_hub_close(h);
}
END_TEST

static int
same(const void *in, void *out, void *arg)
{
	(void)arg;
	memcpy(out, in, sizeof(long));
	return 0;
}

static int
produce_errors(vn_hub *h, vn_tx *tx, void *arg)
{
	long item = 1;

	(void)h;
	(void)arg;
	vn_send_error(tx, -ENOENT);
	vn_send(tx, &item);
	vn_send_error(tx, -EDEADLK);
	vn_send_error(tx, -ETIMEDOUT);
	return -EIO;
}

START_TEST(errors_that_were_sent_pass_a_map)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_rx *rx = vn_map(vn_producer(h, long, produce_errors, NULL), long, same, NULL);
	long item = 0;

	ck_assert_int_eq(vn_recv(rx, &item), -ENOENT);
	ck_assert_int_eq(vn_recv(rx, &item), 0);
	ck_assert_int_eq(item, 1);
	ck_assert_int_eq(vn_recv(rx, &item), -EDEADLK);
	ck_assert_int_eq(vn_recv(rx, &item), -ETIMEDOUT);
	ck_assert_int_eq(vn_recv(rx, &item), -EOWNERDEAD);
	vn_close(rx);
	vn_hub_close(h);
}
END_TEST

static int
again_later(const void *in, void *out, void *arg)
{
	(void)in;
	(void)out;
	(void)arg;
	return -EAGAIN;
}

START_TEST(a_map_that_says_what_cannot_be_said_sends_another_error)
{
	world w;
	vn_hub *h = world_open(&w);
	work x = {.n = 1};
	vn_rx *rx = vn_map(vn_producer(h, long, produce, &x), long, again_later, NULL);
	long item = 0;

	ck_assert_int_eq(vn_recv(rx, &item), -EINVAL);
	ck_assert_int_eq(vn_recv(rx, &item), -EPIPE);
	vn_close(rx);
	vn_hub_close(h);
}
END_TEST

START_TEST(closing_behind_a_map_closes_before_it_at_once)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	vn_rx *rx = p.rx;
	long item = 1;

	for (int i = 0; i < 10; i++)
		rx = vn_map(rx, long, same, NULL);
	vn_yield(h);
	vn_close(rx);
	for (int i = 0; i < 10; i++)
		vn_yield(h);
	ck_assert_uint_eq(h->n_coroutines, 0);
	ck_assert_int_eq(vn_send(p.tx, &item), -EPIPE);
	vn_close(p.tx);
	vn_hub_close(h);
}
END_TEST

static int
close_and_say_nothing(const void *in, void *out, void *arg)
{
	vn_rx **rx = arg;

	(void)in;
	(void)out;
	vn_close(*rx);
	return 1;
}

START_TEST(a_map_whose_receiver_is_closed_while_it_works_ends)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	vn_rx *rx = NULL;
	long item = 1;

	rx = vn_map(p.rx, long, close_and_say_nothing, &rx);
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	vn_yield(h);
	ck_assert_int_eq(vn_send(p.tx, &item), -EPIPE);
	ck_assert_uint_eq(h->n_coroutines, 0);
	vn_close(p.tx);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_deadlock_is_told_through_a_map_that_lives_on)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	vn_rx *rx = vn_map(vn_map(p.rx, long, same, NULL), long, same, NULL);
	long item = 0;

	ck_assert_int_eq(vn_recv(rx, &item), -EDEADLK);
	ck_assert_int_eq(vn_recv(rx, &item), -EDEADLK);
	item = 3;
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	item = 4;
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	ck_assert_int_eq(vn_send(p.tx, &item), -EDEADLK);
	ck_assert_int_eq(vn_recv(rx, &item), 0);
	ck_assert_int_eq(item, 3);
	ck_assert_int_eq(vn_recv(rx, &item), 0);
	ck_assert_int_eq(item, 4);
	vn_close(rx);
	vn_close(p.tx);
	vn_hub_close(h);
}
END_TEST

static int
nothing(vn_hub *h, void *arg)
{
	(void)h;
	(void)arg;
	return 0;
}

static void
count_drop(void *arg, void *item)
{
	*(long *)arg += *(long *)item;
}

START_TEST(what_a_map_holds_when_its_receiver_leaves_is_dropped)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	vn_rx *rx = vn_map(p.rx, long, same, NULL);
	long item = 7, dropped = 0;

	ck_assert_int_eq(vn_on_drop(rx, count_drop, &dropped), 0);
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	vn_yield(h);
	vn_close(rx);
	vn_yield(h);
	ck_assert_int_eq(dropped, 7);
	vn_close(p.tx);
	vn_hub_close(h);
}
END_TEST

static int
sends_nothing_on(const void *in, void *out, void *arg)
{
	(void)in;
	(void)out;
	++*(long *)arg;
	return 1;
}

START_TEST(a_map_that_never_waits_lets_the_others_run_and_can_be_stopped)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair from = vn_state(h, long); /* always has one */
	long n = 0, before;

	ck_assert_int_eq(vn_send(from.tx, &n), 0);
	ck_assert_ptr_nonnull(vn_map(from.rx, long, sends_nothing_on, &n));
	ck_assert_int_eq(vn_yield(h), 0);
	before = n;
	ck_assert_int_gt(before, 0);
	ck_assert_int_eq(vn_yield(h), 0);
	ck_assert_int_gt(n, before);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_long_chain_of_maps_carries_all)
{
	enum { HOPS = 200 };
	world w;
	vn_hub *h = world_open(&w);
	work x = {.n = 100};
	vn_rx *rx = vn_producer(h, long, produce, &x);
	int rc;

	for (int i = 0; i < HOPS; i++)
		rx = vn_map(rx, long, same, NULL);
	ck_assert_int_eq(recv_all(rx, &rc), 5050);
	ck_assert_int_eq(rc, -EPIPE);
	vn_close(rx);
	ck_assert_uint_eq(h->n_coroutines, 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_map_is_piped_on_to_another_end)
{
	world w;
	vn_hub *h = world_open(&w);
	work x = {.n = 10};
	vn_pair p = vn_pipe(h, long);
	int rc;

	ck_assert_int_eq(
		vn_pipe_to(vn_map(vn_producer(h, long, produce, &x), long, same, NULL), p.tx), 0);
	ck_assert_int_eq(recv_all(p.rx, &rc), 55);
	ck_assert_int_eq(rc, -EPIPE);
	vn_close(p.rx);
	for (int i = 0; i < 3; i++)
		vn_yield(h);
	ck_assert_uint_eq(h->n_coroutines, 0);
	x = (work){.n = 10};
	p = vn_pipe(h, long);
	vn_pipe_to(vn_map(vn_producer(h, long, produce, &x), long, same, NULL), p.tx);
	vn_yield(h);
	vn_close(p.rx);
	for (int i = 0; i < 5; i++)
		vn_yield(h);
	ck_assert_int_eq(x.rc, -EPIPE);
	ck_assert_uint_eq(h->n_coroutines, 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(ends_that_were_given_are_closed_though_nothing_comes_of_it)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long), q = vn_pipe(h, long), r = vn_pipe(h, long);
	long item = 1;

	errno = 0;
	ck_assert_ptr_null(vn_map(NULL, long, same, NULL));
	ck_assert_int_eq(errno, EBADF);
	errno = 0;
	ck_assert_ptr_null(vn_pipe_through(NULL, long, pass_twice, NULL));
	ck_assert_int_eq(errno, EBADF);
	errno = 0;
	ck_assert_ptr_null(vn_map_new(r.rx, SIZE_MAX, same, NULL));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(vn_send(r.tx, &item), -EPIPE);
	vn_stop(h);
	ck_assert_ptr_null(vn_map(p.rx, long, same, NULL));
	ck_assert_int_eq(errno, ECANCELED);
	ck_assert_int_eq(vn_send(p.tx, &item), -EPIPE);
	ck_assert_ptr_null(vn_pipe_through(q.rx, long, pass_twice, NULL));
	ck_assert_int_eq(errno, ECANCELED);
	ck_assert_int_eq(vn_send(q.tx, &item), -EPIPE);
	ck_assert_ptr_null(vn_producer(h, long, produce, NULL));
	ck_assert_ptr_null(vn_consumer(h, long, consume, NULL));
	ck_assert_int_eq(errno, ECANCELED);
	ck_assert_ptr_null(vn_trigger_new(h, nothing, NULL));
	ck_assert_ptr_null(vn_serialize(h, nothing));
	ck_assert_int_eq(errno, ECANCELED);
	vn_close(p.tx);
	vn_close(q.tx);
	vn_close(r.tx);
	vn_hub_close(h);
}
END_TEST

START_TEST(all_of_it_goes_with_the_hub)
{
	world w;
	vn_hub *h = world_open(&w);
	work x = {.n = 10}, y = {.n = 0}, z = {.n = 0};
	vn_rx *rx = vn_producer(h, long, produce, &x);

	rx = vn_pipe_through(vn_map(rx, long, same, NULL), long, pass_twice, &y);
	ck_assert_ptr_nonnull(rx);
	ck_assert_ptr_nonnull(vn_consumer(h, long, consume, &z));
	ck_assert_ptr_nonnull(vn_trigger_new(h, nothing, NULL));
	ck_assert_ptr_nonnull(vn_serialize(h, nothing));
	vn_yield(h);
	vn_hub_close(h);
}
END_TEST

/* Triggers and calls */

static int
run_once(vn_hub *h, void *arg)
{
	work *x = arg;

	suite_assert(x->n_inside++ == 0);
	x->n++;
	if (x->delay)
		x->rc = vn_sleep(h, x->delay);
	x->n_inside--;
	return 0;
}

START_TEST(a_trigger_runs_its_function_once_each_time)
{
	world w;
	vn_hub *h = world_open(&w);
	work x = {.delay = VN_SEC};
	vn_tx *t = vn_trigger_new(h, run_once, &x);
	vn_time start = w.now;

	ck_assert_int_eq(x.n, 0);
	for (int i = 1; i <= 3; i++) {
		ck_assert_int_eq(vn_trigger(t), 0);
		vn_yield(h);
		ck_assert_int_eq(x.n, i);
		ck_assert_int_ge(w.now, start + (i - 1) * VN_SEC);
		ck_assert_int_lt(w.now, start + i * VN_SEC);
	}
	vn_close(t);
	vn_sleep(h, 2 * VN_SEC);
	ck_assert_int_eq(x.rc, 0);
	ck_assert_uint_eq(h->n_coroutines, 0);
	vn_hub_close(h);
}
END_TEST

static int
trigger_it(vn_hub *h, void *arg)
{
	work *x = arg;

	(void)h;
	x->rc = vn_trigger(x->tx);
	note_rc(x->j, x->name, x->rc);
	return 0;
}

START_TEST(those_who_trigger_are_served_in_their_order)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	work x = {.delay = VN_SEC};
	vn_tx *t = vn_trigger_new(h, run_once, &x);
	work a = {.tx = t, .j = &j, .name = "a"}, b = {.tx = t, .j = &j, .name = "b"},
	     c = {.tx = t, .j = &j, .name = "c"}, d = {.tx = t, .j = &j, .name = "d"};

	vn_spawn(h, trigger_it, &a);
	vn_spawn(h, trigger_it, &b);
	vn_spawn(h, trigger_it, &c);
	vn_spawn(h, trigger_it, &d);
	vn_sleep(h, 2500 * VN_MS);
	ck_assert_str_eq(j.text, "a:0 b:0 c:0");
	vn_close(t);
	vn_sleep(h, VN_SEC);
	ck_assert_str_eq(j.text, "a:0 b:0 c:0 d:EPIPE");
	ck_assert_int_eq(x.n, 3);
	vn_hub_close(h);
}
END_TEST

START_TEST(what_was_not_begun_in_time_is_never_begun)
{
	world w;
	vn_hub *h = world_open(&w);
	work x = {.delay = 5 * VN_SEC};
	vn_tx *t = vn_trigger_new(h, run_once, &x);
	vn_time outer;

	ck_assert_int_eq(vn_trigger(t), 0);
	outer = vn_timeout(h, VN_SEC);
	ck_assert_int_eq(vn_trigger(t), -ETIMEDOUT);
	vn_deadline(h, outer);
	vn_sleep(h, 20 * VN_SEC);
	ck_assert_int_eq(x.n, 1);
	ck_assert_int_eq(vn_trigger(t), 0);
	vn_yield(h);
	ck_assert_int_eq(x.n, 2);
	vn_close(t);
	vn_hub_close(h);
}
END_TEST

static int
square(vn_hub *h, void *arg)
{
	work *x = arg;

	suite_assert(x->n_inside == 0);
	if (x->delay)
		x->rc = vn_sleep(h, x->delay);
	x->n++;
	return x->result;
}

typedef struct caller {
	work w;
	journal *j;
	const char *name;
	vn_tx *tx;
	vn_time timeout;
} caller;

static int
call_it(vn_hub *h, void *arg)
{
	caller *x = arg;

	if (x->timeout)
		vn_timeout(h, x->timeout);
	note_rc(x->j, x->name, vn_call(x->tx, &x->w));
	return 0;
}

START_TEST(a_call_returns_what_the_function_returned)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *s = vn_serialize(h, square);
	work x = {.result = 42}, y = {.result = -EIO}, z = {.delay = VN_SEC};

	ck_assert_int_eq(vn_call(s, &x), 42);
	ck_assert_int_eq(vn_call(s, &y), -EIO);
	ck_assert_int_eq(vn_call(s, &z), 0);
	ck_assert_int_eq(x.n + y.n + z.n, 3);
	vn_close(s);
	vn_yield(h);
	ck_assert_uint_eq(h->n_coroutines, 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(calls_run_one_after_another_first_come_first_served)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	vn_tx *s = vn_serialize(h, square);
	caller a = {.w = {.delay = 3 * VN_SEC}, .j = &j, .name = "a", .tx = s},
	       b = {.w = {.delay = VN_SEC, .result = -EIO}, .j = &j, .name = "b", .tx = s},
	       c = {.w = {.result = 5}, .j = &j, .name = "c", .tx = s};
	vn_time start = w.now;

	vn_spawn(h, call_it, &a);
	vn_spawn(h, call_it, &b);
	vn_spawn(h, call_it, &c);
	vn_yield(h);
	vn_sleep(h, 3500 * VN_MS);
	ck_assert_str_eq(j.text, "a:0");
	vn_sleep(h, VN_SEC);
	ck_assert_str_eq(j.text, "a:0 b:EIO c:n");
	ck_assert_int_lt(w.now, start + 5 * VN_SEC);
	vn_close(s);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_call_that_has_begun_is_finished_and_one_that_has_not_never_begins)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	vn_tx *s = vn_serialize(h, square);
	caller a = {.w = {.delay = 3 * VN_SEC}, .j = &j, .name = "a", .tx = s, .timeout = VN_SEC},
	       b = {.j = &j, .name = "b", .tx = s, .timeout = 2 * VN_SEC},
	       c = {.j = &j, .name = "c", .tx = s};

	vn_spawn(h, call_it, &a);
	vn_spawn(h, call_it, &b);
	vn_spawn(h, call_it, &c);
	vn_sleep(h, 10 * VN_SEC);
	ck_assert_str_eq(j.text, "a:ETIMEDOUT b:ETIMEDOUT c:0");
	ck_assert_int_eq(a.w.n, 1);
	ck_assert_int_eq(a.w.rc, 0);
	ck_assert_int_eq(b.w.n, 0);
	ck_assert_int_eq(c.w.n, 1);
	vn_close(s);
	vn_hub_close(h);
}
END_TEST

START_TEST(closing_serves_who_has_begun_and_refuses_the_others)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	vn_tx *s = vn_serialize(h, square);
	caller a = {.w = {.delay = 3 * VN_SEC, .result = 1}, .j = &j, .name = "a", .tx = s},
	       b = {.j = &j, .name = "b", .tx = s};

	vn_spawn(h, call_it, &a);
	vn_spawn(h, call_it, &b);
	vn_sleep(h, VN_SEC);
	vn_close(s);
	vn_sleep(h, 10 * VN_SEC);
	ck_assert_str_eq(j.text, "b:EPIPE a:n");
	ck_assert_int_eq(b.w.n, 0);
	ck_assert_uint_eq(h->n_coroutines, 0);
	vn_hub_close(h);
}
END_TEST

static int
call_again(vn_hub *h, void *arg)
{
	caller *x = arg;

	(void)h;
	return x->w.n++ ? 0 : vn_call(x->tx, x);
}

START_TEST(a_call_out_of_itself_is_a_deadlock)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *s = vn_serialize(h, call_again);
	caller x = {.tx = s}, y = {.tx = s, .w = {.n = 1}};

	ck_assert_int_eq(vn_call(s, &x), -EDEADLK);
	ck_assert_int_eq(x.w.n, 1);
	ck_assert_int_eq(vn_call(s, &y), 0);
	vn_close(s);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_stop_ends_the_calls)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	vn_tx *s = vn_serialize(h, square);
	caller a = {.w = {.delay = 3 * VN_SEC}, .j = &j, .name = "a", .tx = s},
	       b = {.j = &j, .name = "b", .tx = s};

	vn_spawn(h, call_it, &a);
	vn_spawn(h, call_it, &b);
	vn_sleep(h, VN_SEC);
	vn_stop(h);
	vn_hub_close(h);
	ck_assert(strstr(j.text, "a:ECANCELED"));
	ck_assert(strstr(j.text, "b:ECANCELED"));
	ck_assert_int_eq(a.w.rc, -ECANCELED);
	ck_assert_int_eq(b.w.n, 0);
}
END_TEST

START_TEST(only_their_own_calls_work_on_triggers_and_on_serialized_functions)
{
	world w;
	vn_hub *h = world_open(&w);
	work x = {.n = 0};
	vn_tx *t = vn_trigger_new(h, run_once, &x), *s = vn_serialize(h, square);
	vn_pair p = vn_pipe(h, void *);
	void *item = NULL;
	int rc;

	ck_assert_int_eq(vn_trigger(NULL), -EBADF);
	ck_assert_int_eq(vn_call(NULL, NULL), -EBADF);
	ck_assert_int_eq(vn_trigger(s), -EINVAL);
	ck_assert_int_eq(vn_trigger(p.tx), -EINVAL);
	ck_assert_int_eq(vn_call(t, NULL), -EINVAL);
	ck_assert_int_eq(vn_call(p.tx, NULL), -EINVAL);
	ck_assert_int_eq(vn_send(t, &item), -EINVAL);
	ck_assert_int_eq(vn_send_error(s, -EIO), -EINVAL);
	rc = vn_select(h, VN_SEND(s, &item));
	ck_assert_int_eq(rc, 0);
	ck_assert_int_eq(vn_selected(h), -EINVAL);
	ck_assert_int_eq(vn_pipe_to(p.rx, vn_dup(s)), -EINVAL);
	vn_close(t);
	vn_close(s);
	vn_close(p.tx);
	vn_hub_close(h);
}
END_TEST

static void
note_close(void *arg, int how)
{
	note_rc((journal *)arg, "closed", how);
}

static int
call_and_leave(vn_hub *h, void *arg)
{
	caller *x = arg;

	(void)h;
	vn_adopt(x->tx);
	vn_call(x->tx, &x->w);
	return 0;
}

START_TEST(a_serialized_function_has_the_life_of_an_end)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	vn_tx *s = vn_serialize(h, square);
	caller x = {.tx = s};

	vn_on_close(s, note_close, &j);
	vn_dup(s);
	vn_close(s);
	ck_assert_str_eq(j.text, "");
	vn_spawn(h, call_and_leave, &x);
	vn_sleep(h, VN_SEC);
	ck_assert_str_eq(j.text, "closed:EOWNERDEAD");
	ck_assert_int_eq(x.w.n, 1);
	ck_assert_uint_eq(h->n_coroutines, 0);
	vn_hub_close(h);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_producer_sends_and_its_end_is_closed_for_it,
		a_producer_that_fails_leaves_a_dead_end,
		a_producer_is_told_when_nobody_wants_more,
		a_consumer_receives_and_its_end_is_closed_for_it,
		an_end_that_a_function_adopted_is_closed_once,
		a_function_stands_between_two_ends,
		both_ends_of_a_function_are_closed_when_it_returns,
		a_map_changes_drops_and_fails,
		errors_that_were_sent_pass_a_map,
		a_map_that_says_what_cannot_be_said_sends_another_error,
		closing_behind_a_map_closes_before_it_at_once,
		a_map_whose_receiver_is_closed_while_it_works_ends,
		a_deadlock_is_told_through_a_map_that_lives_on,
		what_a_map_holds_when_its_receiver_leaves_is_dropped,
		a_map_that_never_waits_lets_the_others_run_and_can_be_stopped,
		a_long_chain_of_maps_carries_all,
		a_map_is_piped_on_to_another_end,
		ends_that_were_given_are_closed_though_nothing_comes_of_it,
		all_of_it_goes_with_the_hub,
		a_trigger_runs_its_function_once_each_time,
		those_who_trigger_are_served_in_their_order,
		what_was_not_begun_in_time_is_never_begun,
		a_call_returns_what_the_function_returned,
		calls_run_one_after_another_first_come_first_served,
		a_call_that_has_begun_is_finished_and_one_that_has_not_never_begins,
		closing_serves_who_has_begun_and_refuses_the_others,
		a_call_out_of_itself_is_a_deadlock,
		a_stop_ends_the_calls,
		only_their_own_calls_work_on_triggers_and_on_serialized_functions,
		a_serialized_function_has_the_life_of_an_end,
	};

	return suite_run("combine", tests, SUITE_COUNT(tests));
}
