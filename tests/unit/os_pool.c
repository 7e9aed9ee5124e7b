/* SPDX-License-Identifier: MIT */
/*
 * Pool - calls in threads: results, errors, bounds, and callers that do not wait for the end
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/os/pool.h"
#include "tests/unit/coroutines.h"

static vn_hub *
hub_open(void)
{
	vn_hub *h = vn_hub_open(&vn_sys_linux);

	ck_assert_ptr_nonnull(h);
	return h;
}

typedef struct sum {
	int a, b, result;
} sum;

static int
add(void *arg)
{
	sum *s = arg;

	s->result = s->a + s->b;
	return s->result > 100 ? -ERANGE : 1;
}

START_TEST(a_result_comes_back)
{
	vn_hub *h = hub_open();
	vn_pool *p = vn_pool(h, 2);
	sum s = {1, 2, 0};

	ck_assert_int_eq(vn_pool_call(p, add, &s), 1);
	ck_assert_int_eq(s.result, 3);
	vn_close(p);
	vn_hub_close(h);
}
END_TEST

START_TEST(an_error_comes_back_as_an_error)
{
	vn_hub *h = hub_open();
	vn_pool *p = vn_pool(h, 1);
	sum s = {100, 2, 0};

	ck_assert_int_eq(vn_pool_call(p, add, &s), -ERANGE);
	ck_assert_int_eq(s.result, 102);
	ck_assert_int_eq(vn_pool_call(NULL, add, &s), -EBADF);
	vn_close(p);
	vn_hub_close(h);
}
END_TEST

static void
add_drop(void *arg)
{
	suite_assert(arg != NULL);
}

START_TEST(senseless_sizes_are_refused)
{
	vn_hub *h = hub_open();
	vn_pool *p;

	ck_assert_ptr_null(vn_pool_new(h, 0, 1));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(vn_pool_new(h, 5000, 1));
	ck_assert_int_eq(vn_pool_close(NULL), 0);
	p = vn_pool(h, 1);
	ck_assert_int_eq(vn_pool_call_item(p, add, NULL, 1, add_drop), -EINVAL);
	ck_assert_int_eq(vn_pool_close(p), 0);
	vn_hub_close(h);
}
END_TEST

/* Calls that wait until they are let go, and count themselves. */
typedef struct gate {
	int fds[2];
	int n_begun, n_inside, n_most, n_ended, n_dropped;
} gate;

typedef struct visit {
	gate *gate;
} visit;

static gate *
gate_open(void)
{
	gate *g = calloc(1, sizeof *g);

	ck_assert_int_eq(pipe2(g->fds, O_CLOEXEC), 0);
	return g;
}

static void
gate_close(gate *g)
{
	close(g->fds[0]);
	close(g->fds[1]);
	free(g);
}

static void
gate_let(gate *g, int n)
{
	while (n-- > 0)
		suite_assert(write(g->fds[1], "x", 1) == 1);
}

static int
pass_gate(void *arg)
{
	gate *g = ((visit *)arg)->gate;
	int inside = __atomic_add_fetch(&g->n_inside, 1, __ATOMIC_SEQ_CST), most;
	char byte;

	__atomic_add_fetch(&g->n_begun, 1, __ATOMIC_SEQ_CST);
	most = __atomic_load_n(&g->n_most, __ATOMIC_SEQ_CST);
	while (most < inside && !__atomic_compare_exchange_n(&g->n_most, &most, inside, false,
					__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	suite_assert(read(g->fds[0], &byte, 1) == 1);
	__atomic_sub_fetch(&g->n_inside, 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&g->n_ended, 1, __ATOMIC_SEQ_CST);
	return 7;
}

static void
visit_drop(void *arg)
{
	((visit *)arg)->gate->n_dropped++;
}

typedef struct caller {
	vn_pool *pool;
	gate *gate;
	vn_time timeout;
	int rc;
} caller;

static int
call(vn_hub *h, void *arg)
{
	caller *c = arg;
	visit v = {c->gate};

	if (c->timeout)
		vn_timeout(h, c->timeout);
	c->rc = vn_pool_call_or_drop(c->pool, pass_gate, &v, visit_drop);
	return 0;
}

static void
callers_spawn(vn_hub *h, caller *callers, int n, vn_pool *p, gate *g)
{
	for (int i = 0; i < n; i++) {
		callers[i] = (caller){p, g, 0, 1000};
		vn_spawn(h, call, &callers[i]);
	}
}

static int
begun(const gate *g)
{
	return __atomic_load_n(&g->n_begun, __ATOMIC_SEQ_CST);
}

/* Until so many have begun, and for a while longer. */
static void
settle(vn_hub *h, const gate *g, int n)
{
	while (begun(g) < n)
		vn_sleep(h, VN_MS);
	vn_sleep(h, 5 * VN_MS);
}

START_TEST(as_many_run_at_a_time_as_there_are_threads)
{
	vn_hub *h = hub_open();
	vn_pool *p = vn_pool_new(h, 3, 2);
	gate *g = gate_open();
	caller callers[10];

	callers_spawn(h, callers, 10, p, g);
	settle(h, g, 3);
	ck_assert_int_eq(begun(g), 3);
	gate_let(g, 4);
	settle(h, g, 7);
	ck_assert_int_eq(begun(g), 7);
	gate_let(g, 6);
	settle(h, g, 10);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(callers[i].rc, 7);
	ck_assert_int_eq(g->n_most, 3);
	ck_assert_int_eq(g->n_dropped, 0);
	vn_close(p);
	vn_hub_close(h);
	gate_close(g);
}
END_TEST

START_TEST(who_leaves_before_there_is_room_is_never_begun)
{
	vn_hub *h = hub_open();
	vn_pool *p = vn_pool_new(h, 1, 1);
	gate *g = gate_open();
	caller callers[3];

	callers_spawn(h, callers, 3, p, g);
	callers[2].timeout = 2 * VN_MS;
	settle(h, g, 1);
	ck_assert_int_eq(callers[2].rc, -ETIMEDOUT);
	ck_assert_int_eq(g->n_dropped, 1);
	gate_let(g, 3);
	settle(h, g, 2);
	ck_assert_int_eq(begun(g), 2);
	ck_assert_int_eq(callers[1].rc, 7);
	vn_close(p);
	vn_hub_close(h);
	gate_close(g);
}
END_TEST

START_TEST(who_leaves_later_leaves_a_call_that_is_finished)
{
	vn_hub *h = hub_open();
	vn_pool *p = vn_pool_new(h, 1, 1);
	gate *g = gate_open();
	caller callers[2];

	callers_spawn(h, callers, 2, p, g);
	callers[0].timeout = callers[1].timeout = 2 * VN_MS;
	settle(h, g, 1);
	ck_assert_int_eq(callers[0].rc, -ETIMEDOUT);
	ck_assert_int_eq(callers[1].rc, -ETIMEDOUT);
	ck_assert_int_eq(g->n_dropped, 0);
	gate_let(g, 2);
	settle(h, g, 2);
	while (g->n_dropped < 2)
		vn_sleep(h, VN_MS);
	ck_assert_int_eq(g->n_ended, 2);
	vn_close(p);
	vn_hub_close(h);
	gate_close(g);
}
END_TEST

START_TEST(a_group_that_is_cancelled_leaves_calls_that_are_finished)
{
	vn_hub *h = hub_open();
	vn_pool *p = vn_pool_new(h, 2, 3);
	vn_group *all = vn_group_new(h);
	gate *g = gate_open();
	caller callers[8];

	for (int i = 0; i < 8; i++) {
		callers[i] = (caller){p, g, 0, 1000};
		ck_assert_int_eq(vn_group_spawn(all, call, &callers[i]), 0);
	}
	settle(h, g, 2);
	vn_group_cancel(all);
	ck_assert_int_eq(vn_group_wait(all), 0);
	vn_group_free(all);
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(callers[i].rc, -ECANCELED);
	ck_assert_int_eq(g->n_dropped, 3); /* those that were not accepted */
	gate_let(g, 5);
	settle(h, g, 5);
	while (g->n_dropped < 8)
		vn_sleep(h, VN_MS);
	ck_assert_int_eq(begun(g), 5);
	vn_close(p);
	vn_hub_close(h);
	gate_close(g);
}
END_TEST

START_TEST(what_is_not_waited_for_is_not_begun)
{
	vn_hub *h = hub_open();
	vn_pool *p = vn_pool(h, 1);
	gate *g = gate_open();
	visit v = {g};

	vn_deadline(h, 0);
	ck_assert_int_eq(vn_pool_call_or_drop(p, pass_gate, &v, visit_drop), -ETIMEDOUT);
	ck_assert_int_eq(g->n_dropped, 1);
	vn_deadline(h, VN_NEVER);
	vn_close(p);
	vn_hub_close(h);
	ck_assert_int_eq(begun(g), 0);
	gate_close(g);
}
END_TEST

START_TEST(closing_finishes_what_was_accepted)
{
	int n_fds = suite_n_fds();
	vn_hub *h = hub_open();
	vn_pool *p = vn_pool_new(h, 1, 2);
	gate *g = gate_open();
	caller callers[5];

	callers_spawn(h, callers, 5, p, g);
	settle(h, g, 1);
	vn_close(p);
	vn_yield(h);
	ck_assert_int_eq(callers[3].rc, -EPIPE);
	ck_assert_int_eq(callers[4].rc, -EPIPE);
	ck_assert_int_eq(g->n_dropped, 2);
	gate_let(g, 3);
	settle(h, g, 3);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(callers[i].rc, 7);
	gate_close(g);
	vn_hub_close(h);
	ck_assert_int_eq(suite_n_fds(), n_fds);
}
END_TEST

static int
let_later(vn_hub *h, void *arg)
{
	vn_sleep(h, VN_SEC); /* until the hub stops */
	gate_let(arg, 4);
	return 0;
}

START_TEST(a_hub_stops_with_calls_in_flight)
{
	vn_hub *h = hub_open();
	vn_pool *p = vn_pool_new(h, 2, 2);
	gate *g = gate_open();
	caller callers[6];
	visit v = {g};

	callers_spawn(h, callers, 6, p, g);
	settle(h, g, 2);
	vn_spawn(h, let_later, g);
	vn_yield(h);
	vn_stop(h);
	ck_assert_int_eq(vn_pool_call_or_drop(p, pass_gate, &v, visit_drop), -ECANCELED);
	vn_yield(h);
	for (int i = 0; i < 6; i++)
		ck_assert_int_eq(callers[i].rc, -ECANCELED);
	vn_hub_close(h);
	ck_assert_int_eq(g->n_ended, 4);
	ck_assert_int_eq(g->n_dropped, 7);
	gate_close(g);
}
END_TEST

START_TEST(closed_and_freed_with_calls_in_flight)
{
	vn_hub *h = hub_open();
	vn_pool *p = vn_pool_new(h, 2, 2);
	gate *g = gate_open();
	caller callers[3];

	callers_spawn(h, callers, 3, p, g);
	settle(h, g, 2);
	vn_close(p);
	gate_let(g, 3);
	vn_hub_close(h);
	ck_assert_int_eq(g->n_ended, 3);
	gate_close(g);
}
END_TEST

/* An argument that others are told by, if it does not come back. */
typedef struct duty {
	gate *gate;
	vn_pool *pool, *other;
	vn_tx *tx;
	vn_stream *stream;
	bool has_left;
} duty;

static void
duty_drop(void *arg)
{
	duty *d = arg;

	d->gate->n_dropped++;
	vn_close(d->tx);
	vn_close(d->stream);
	vn_close(d->other);
}

static int
call_with_duty(vn_hub *h, void *arg)
{
	duty *d = arg;

	vn_timeout(h, 10 * VN_MS);
	ck_assert_int_lt(vn_pool_call_or_drop(d->pool, pass_gate, d, duty_drop), 0);
	d->has_left = true;
	return 0;
}

START_TEST(an_argument_that_is_dropped_may_close_what_it_has)
{
	for (int ends = 0; ends < 2; ends++) { /* while the hub runs, or with it */
		int n_fds = suite_n_fds();
		vn_hub *h = hub_open();
		gate *g = gate_open();
		duty d = {.gate = g, .pool = vn_pool(h, 1), .other = vn_pool(h, 1)};
		vn_pair pair = vn_queue(h, int, 1);
		vn_stream *streams[2];

		ck_assert_int_eq(vn_os_pipe(h, streams), 0);
		d.tx = pair.tx;
		d.stream = streams[0];
		vn_spawn(h, call_with_duty, &d);
		while (!d.has_left)
			vn_sleep(h, VN_MS);
		gate_let(g, 1);
		if (!ends)
			ck_assert_int_eq(vn_recv(pair.rx, &(int){0}), -EPIPE);
		vn_hub_close(h);
		ck_assert_int_eq(g->n_dropped, 1);
		gate_close(g);
		ck_assert_int_eq(suite_n_fds(), n_fds);
	}
}
END_TEST

static int
signals_of_thread(void *arg)
{
	sigset_t now;

	(void)arg;
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	return sigismember(&now, SIGTERM) && sigismember(&now, SIGUSR1) &&
	       sigismember(&now, SIGINT);
}

START_TEST(threads_take_no_signals)
{
	vn_hub *h = hub_open();
	vn_pool *p = vn_pool(h, 1);
	char unused = 0;
	sigset_t now;

	ck_assert_int_eq(vn_pool_call(p, signals_of_thread, &unused), 1);
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	ck_assert_int_eq(sigismember(&now, SIGTERM), 0);
	vn_close(p);
	vn_hub_close(h);
}
END_TEST

/* Many callers, each with a number of calls of its own; sums tell whether any was lost or mixed up. */
enum { CALLERS = 50 };

typedef struct crowd {
	vn_pool *pool;
	int n_calls, n_left;
} crowd;

static int
square(void *arg)
{
	uint64_t *n = arg;

	*n *= *n;
	return 0;
}

static int
call_often(vn_hub *h, void *arg)
{
	crowd *c = arg;

	(void)h;
	for (int i = 0; i < c->n_calls; i++) {
		uint64_t n = (uint64_t)i;

		suite_assert(vn_pool_call(c->pool, square, &n) == 0);
		suite_assert(n == (uint64_t)i * (uint64_t)i);
	}
	c->n_left--;
	return 0;
}

static void
crowd_run(vn_hub *h, unsigned n_threads, unsigned n_waiting, int n_calls)
{
	crowd c = {vn_pool_new(h, n_threads, n_waiting), n_calls, CALLERS};

	for (int i = 0; i < CALLERS; i++)
		vn_spawn(h, call_often, &c);
	while (c.n_left > 0)
		vn_sleep(h, VN_MS);
	vn_close(c.pool);
}

START_TEST(no_call_is_lost_or_mixed_up)
{
	vn_hub *h = hub_open();

	crowd_run(h, 1, 0, SUITE_TIMES(200));
	crowd_run(h, 4, 0, SUITE_TIMES(200));
	crowd_run(h, 4, 256, SUITE_TIMES(500));
	crowd_run(h, 3, 7, SUITE_TIMES(200));
	vn_hub_close(h);
}
END_TEST

static int
call_alone(vn_hub *h, void *arg)
{
	crowd c = {vn_pool(h, 2), SUITE_TIMES(20000), 1};

	(void)arg;
	call_often(h, &c);
	vn_close(c.pool);
	return 0;
}

START_TEST(one_after_another_nobody_sleeps_for_ever)
{
	vn_hub *h = hub_open();

	call_alone(h, NULL);
	vn_hub_close(h);
}
END_TEST

/*
 * Calls that take about as long as it takes the hub to fall asleep, or a thread: what is put just then must not be
 * missed. Whoever misses it is found by a deadline that nothing else comes near to.
 */
static int
spin(void *arg)
{
	for (uint64_t n = *(uint64_t *)arg; n > 0; n--)
		__asm__("");
	return 0;
}

static void
call_closely(vn_hub *h, unsigned n_threads)
{
	vn_pool *p = vn_pool(h, n_threads);
	uint64_t seed = 1;

	for (int i = 0; i < SUITE_TIMES(60000); i++) {
		uint64_t n = suite_random(&seed) % 4000;

		vn_timeout(h, 20 * VN_SEC);
		suite_assert(vn_pool_call(p, spin, &n) == 0);
		vn_deadline(h, VN_NEVER);
	}
	vn_close(p);
}

static int
yield_for_ever(vn_hub *h, void *arg)
{
	(void)arg;
	while (vn_yield(h) == 0)
		;
	return 0;
}

START_TEST(a_hub_that_falls_asleep_misses_nothing)
{
	vn_hub *h = hub_open();

	call_closely(h, 1);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_thread_that_falls_asleep_misses_nothing)
{
	vn_hub *h = hub_open();

	vn_spawn(h, yield_for_ever, NULL);
	call_closely(h, 1);
	vn_hub_close(h);
}
END_TEST

/* A thousand callers that leave at any moment. */
static int
call_impatiently(vn_hub *h, void *arg)
{
	crowd *c = arg;
	uint64_t seed = (uint64_t)c->n_left + 1;

	for (int i = 0; i < c->n_calls; i++) {
		uint64_t n = 3;
		vn_time outer = vn_timeout(h, (vn_time)(suite_random(&seed) % 300) * VN_US);
		int rc = vn_pool_call(c->pool, square, &n);

		vn_deadline(h, outer);
		suite_assert(rc == 0 ? n == 9 : rc == -ETIMEDOUT && n == 3);
	}
	c->n_left--;
	return 0;
}

START_TEST(impatient_callers_get_their_own_result_or_none)
{
	vn_hub *h = hub_open();
	crowd c = {vn_pool_new(h, 2, 3), SUITE_TIMES(100), CALLERS};

	for (int i = 0; i < CALLERS; i++)
		vn_spawn(h, call_impatiently, &c);
	while (c.n_left > 0)
		vn_sleep(h, VN_MS);
	vn_close(c.pool);
	vn_hub_close(h);
}
END_TEST

static int
wait_for_nothing(vn_hub *h, void *arg)
{
	vn_pair pair = vn_pipe(h, int);
	int item;

	*(int *)arg = vn_recv(pair.rx, &item);
	return 0;
}

START_TEST(a_call_in_flight_is_no_deadlock_and_none_is)
{
	vn_hub *h = hub_open();
	vn_pool *p = vn_pool(h, 1);
	gate *g = gate_open();
	caller c;
	int rc = 1;

	callers_spawn(h, &c, 1, p, g);
	vn_spawn(h, wait_for_nothing, &rc);
	vn_yield(h);
	gate_let(g, 1);
	vn_sleep(h, 5 * VN_MS);
	while (c.rc == 1000)
		vn_yield(h);
	ck_assert_int_eq(c.rc, 7);
	ck_assert_int_eq(rc, 1);
	wait_for_nothing(h, &c.rc);
	ck_assert_int_eq(c.rc, -EDEADLK);
	vn_close(p);
	vn_hub_close(h);
	gate_close(g);
}
END_TEST

int
main(void)
{
	const TTest *tests[] = {a_result_comes_back, an_error_comes_back_as_an_error,
		senseless_sizes_are_refused, as_many_run_at_a_time_as_there_are_threads,
		who_leaves_before_there_is_room_is_never_begun,
		who_leaves_later_leaves_a_call_that_is_finished,
		a_group_that_is_cancelled_leaves_calls_that_are_finished,
		what_is_not_waited_for_is_not_begun, closing_finishes_what_was_accepted,
		a_hub_stops_with_calls_in_flight, closed_and_freed_with_calls_in_flight,
		an_argument_that_is_dropped_may_close_what_it_has, threads_take_no_signals,
		no_call_is_lost_or_mixed_up, one_after_another_nobody_sleeps_for_ever,
		a_hub_that_falls_asleep_misses_nothing, a_thread_that_falls_asleep_misses_nothing,
		impatient_callers_get_their_own_result_or_none,
		a_call_in_flight_is_no_deadlock_and_none_is};

	return suite_run("os_pool", tests, SUITE_COUNT(tests));
}
