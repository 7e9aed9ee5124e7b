/* SPDX-License-Identifier: MIT */
/*
 * Thread - functions in threads with hubs of their own, and what goes to and fro
 */
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/actors.h"

static vn_hub *
hub_new(void)
{
	vn_hub *h = vn_hub_new();

	ck_assert_ptr_nonnull(h);
	return h;
}

/* What threads do: a failed assertion of Check is for the thread of the test alone. */
#define IN_THREAD(what)                                                                            \
	do {                                                                                       \
		if (!(what))                                                                       \
			abort();                                                                   \
	} while (0)

static int
increment(vn_hub *h, vn_pair parent, void *arg)
{
	long n;

	(void)h;
	(void)arg;
	while (vn_recv(parent.rx, &n) == 0) {
		n++;
		if (vn_send(parent.tx, &n) < 0)
			return -1;
	}
	return 0;
}

START_TEST(a_thread_answers_and_nobody_sleeps_for_ever)
{
	vn_hub *h = hub_new();
	vn_pair t = vn_thread_spawn(h, long, increment, NULL);

	ck_assert_ptr_nonnull(t.tx);
	for (long n = 0; n < SUITE_TIMES(30000); n++) {
		long item = n;

		suite_assert(vn_send(t.tx, &item) == 0);
		suite_assert(vn_recv(t.rx, &item) == 0);
		suite_assert(item == n + 1);
	}
	ck_assert_int_eq(vn_close(t.tx), 0);
	ck_assert_int_eq(vn_recv(t.rx, &(long){0}), -EPIPE);
	ck_assert_int_eq(vn_close(t.rx), 0);
	vn_hub_free(h);
}
END_TEST

START_TEST(senseless_items_are_refused)
{
	vn_hub *h = hub_new();

	ck_assert_ptr_null(vn_thread_spawn_new(h, 0, increment, NULL).tx);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(vn_thread_spawn_new(h, 65537, increment, NULL).rx);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(vn_thread_call_item(h, NULL, NULL, 1));
	ck_assert_int_eq(errno, EINVAL);
	vn_hub_free(h);
}
END_TEST

/* Sends so many, in runs that a generator chooses, and yields between them. */
typedef struct flow {
	vn_hub *hub;
	size_t size;
	long n;
	uint64_t seed;
	vn_tx *tx;
} flow;

static void
fill(unsigned char *item, size_t size, long n)
{
	for (size_t i = 0; i < size; i++)
		item[i] = (unsigned char)((size_t)n * 31 + i);
}

static int
flow_out(vn_hub *h, void *arg)
{
	flow *f = arg;
	unsigned char *item = malloc(f->size);

	for (long i = 0; i < f->n; i++) {
		fill(item, f->size, i);
		IN_THREAD(i % 97 == 5 ? vn_send_error(f->tx, -(int)(i % 1000) - 100) == 0
				      : vn_send_item(f->tx, item, f->size) == 0);
		if (suite_random(&f->seed) % 7 == 0)
			vn_yield(h);
		if (suite_random(&f->seed) % 1000 == 0)
			vn_sleep(h, 10 * VN_US);
	}
	free(item);
	return vn_close(f->tx);
}

static void
flow_in(flow *f, vn_rx *rx)
{
	unsigned char *item = malloc(f->size), *wanted = malloc(f->size);
	int rc;

	for (long i = 0; i < f->n; i++) {
		memset(item, 0, f->size);
		rc = vn_recv_item(rx, item, f->size);
		fill(wanted, f->size, i);
		IN_THREAD(i % 97 == 5 ? rc == -(int)(i % 1000) - 100
				      : rc == 0 && memcmp(item, wanted, f->size) == 0);
		if (suite_random(&f->seed) % 11 == 0)
			vn_yield(f->hub);
	}
	IN_THREAD(vn_recv_item(rx, item, f->size) == -EPIPE);
	free(item);
	free(wanted);
}

/* One flow each way. */
static void
flow_both(vn_hub *h, vn_pair ends, const flow *from, uint64_t seed)
{
	flow out = *from, in = *from;

	out.seed = seed;
	in.seed = seed + 1;
	out.tx = ends.tx;
	out.hub = in.hub = h;
	IN_THREAD(vn_spawn(h, flow_out, &out) == 0);
	flow_in(&in, ends.rx);
	while (h->n_coroutines > 0)
		vn_yield(h);
	vn_close(ends.rx);
}

static int
flow_thread(vn_hub *h, vn_pair parent, void *arg)
{
	flow_both(h, parent, arg, 4711);
	return 0;
}

START_TEST(items_of_all_sizes_arrive_in_order_both_ways)
{
	static const size_t sizes[] = {1, 3, 8, 47, 48, 49, 256, 2048, 4097, 65536};
	int n_fds = suite_n_fds();

	for (size_t i = 0; i < SUITE_COUNT(sizes); i++) {
		flow f = {.size = sizes[i], .n = SUITE_TIMES(sizes[i] > 1000 ? 2000 : 20000)};
		vn_hub *h = hub_new();

		flow_both(h, vn_thread_spawn_new(h, sizes[i], flow_thread, &f), &f, 1 + i);
		vn_hub_free(h);
	}
	ck_assert_int_eq(suite_n_fds(), n_fds);
}
END_TEST

static int
say_and_fail(vn_hub *h, vn_pair parent, void *arg)
{
	(void)h;
	for (long i = 0; i < 100; i++)
		IN_THREAD(vn_send(parent.tx, &i) == 0);
	return *(int *)arg;
}

START_TEST(how_it_returned_is_told_when_all_that_it_sent_is_received)
{
	static int results[] = {0, 3, -EIO};

	for (size_t r = 0; r < SUITE_COUNT(results); r++) {
		int ends = results[r] < 0 ? -EOWNERDEAD : -EPIPE;
		vn_hub *h = hub_new();
		vn_pair t = vn_thread_spawn(h, long, say_and_fail, &results[r]);
		long item;

		vn_sleep(h, 5 * VN_MS);
		for (long i = 0; i < 100; i++) {
			suite_assert(vn_recv(t.rx, &item) == 0);
			suite_assert(item == i);
		}
		ck_assert_int_eq(vn_recv(t.rx, &item), ends);
		ck_assert_int_eq(vn_recv(t.rx, &item), ends);
		ck_assert_int_eq(vn_send(t.tx, &item), ends);
		vn_close(t.tx);
		vn_close(t.rx);
		vn_hub_free(h);
	}
}
END_TEST

/* Takes `limit` items when it is let, closes its receiving end, and tells how many there were. */
typedef struct slow {
	long limit;
	int go;
} slow;

static int
take_few(vn_hub *h, vn_pair parent, void *arg)
{
	slow *s = arg;
	long n = 0, item;

	while (!__atomic_load_n(&s->go, __ATOMIC_SEQ_CST))
		vn_sleep(h, VN_MS);
	while (n < s->limit && vn_recv(parent.rx, &item) == 0)
		IN_THREAD(item == n++);
	vn_close(parent.rx);
	IN_THREAD(vn_send(parent.tx, &n) == 0);
	return 0;
}

static long
send_until_full(vn_hub *h, vn_tx *tx)
{
	vn_time outer = vn_timeout(h, 20 * VN_MS);
	long n = 0;
	int rc;

	while ((rc = vn_send(tx, &n)) == 0)
		n++;
	vn_deadline(h, outer);
	ck_assert_int_eq(rc, -ETIMEDOUT);
	return n;
}

START_TEST(who_finds_no_room_waits_and_goes_on_when_there_is_some)
{
	vn_hub *h = hub_new();
	slow s = {.limit = LONG_MAX};
	vn_pair t = vn_thread_spawn(h, long, take_few, &s);
	long n = send_until_full(h, t.tx), item;

	ck_assert_int_ge(n, 64);
	ck_assert_int_le(n, 2048);
	__atomic_store_n(&s.go, 1, __ATOMIC_SEQ_CST);
	for (item = n; item < n + 5000; item++)
		suite_assert(vn_send(t.tx, &item) == 0);
	vn_close(t.tx);
	ck_assert_int_eq(vn_recv(t.rx, &item), 0);
	ck_assert_int_eq(item, n + 5000);
	vn_close(t.rx);
	vn_hub_free(h);
}
END_TEST

typedef struct bulk {
	unsigned char bytes[65536];
} bulk;

enum { FIRST = 10 };

/* Receives some of those that are there, then waits for something else. */
static int
receive_some(vn_hub *h, vn_pair parent, void *arg)
{
	vn_stream *go_on = vn_os_stream(h, *(int *)arg, 0);
	bulk *item = malloc(sizeof *item);

	IN_THREAD(vn_os_read(go_on, item, 1) == 1);
	for (int i = 0; i < FIRST; i++)
		IN_THREAD(vn_recv(parent.rx, item) == 0);
	IN_THREAD(vn_os_read(go_on, item, 1) == 1);
	free(item);
	return 0;
}

START_TEST(room_is_told_by_who_receives_no_more_for_now)
{
	vn_hub *h = hub_new();
	int fds[2];
	vn_pair t;
	bulk *item = calloc(1, sizeof *item);

	ck_assert_int_eq(pipe(fds), 0);
	t = vn_thread_spawn(h, bulk, receive_some, &fds[0]);
	for (int i = 0; i < 64; i++)
		ck_assert_int_eq(vn_send(t.tx, item), 0);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	vn_timeout(h, 30 * VN_SEC);
	for (int i = 0; i < FIRST; i++)
		ck_assert_int_eq(vn_send(t.tx, item), 0);
	vn_deadline(h, vn_now(h) + 10 * VN_MS);
	ck_assert_int_eq(vn_send(t.tx, item), -ETIMEDOUT);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	vn_hub_free(h);
	close(fds[1]);
	free(item);
}
END_TEST

START_TEST(a_receiver_that_closes_is_epipe_to_who_waits_and_to_who_comes)
{
	vn_hub *h = hub_new();
	slow s = {.limit = 3};
	vn_pair t = vn_thread_spawn(h, long, take_few, &s);
	actor a = {.tx = t.tx, .item = send_until_full(h, t.tx)};
	long item;

	start(h, act_send, &a);
	ck_assert(!a.done);
	__atomic_store_n(&s.go, 1, __ATOMIC_SEQ_CST);
	ck_assert_int_eq(vn_recv(t.rx, &item), 0);
	ck_assert_int_eq(item, 3);
	ck_assert_int_eq(vn_send(t.tx, &item), -EPIPE);
	let_run(h);
	ck_assert(a.done);
	vn_close(t.tx);
	vn_close(t.rx);
	vn_hub_free(h);
}
END_TEST

static int
delayed(vn_hub *h, vn_pair parent, void *arg)
{
	long item = 7;

	(void)arg;
	vn_sleep(h, 30 * VN_MS);
	vn_send(parent.tx, &item);
	return vn_recv(parent.rx, &item) == -EPIPE ? 0 : -1;
}

START_TEST(ends_are_like_all_others)
{
	vn_hub *h = hub_new();
	vn_pair t = vn_thread_spawn(h, long, delayed, NULL), p = vn_pipe(h, long);
	vn_time outer = vn_timeout(h, VN_MS);
	actor a = {.rx = t.rx};
	long item = 0;

	ck_assert_int_eq(vn_recv(t.rx, &item), -ETIMEDOUT);
	vn_deadline(h, outer);
	ck_assert_int_eq(vn_select(h, VN_RECV(t.rx, &item), VN_ELSE), 1);
	start(h, act_recv, &a);
	ck_assert_int_eq(vn_recv(t.rx, &item), -EBUSY);
	ck_assert_int_eq(vn_select(h, VN_RECV(p.rx, &item), VN_AFTER(VN_MS)), 1);
	while (!a.done)
		vn_yield(h);
	ck_assert_int_eq(a.rc, 0);
	ck_assert_int_eq(a.item, 7);
	ck_assert_int_eq(vn_recv(t.rx, &(char){0}), -EINVAL);
	ck_assert_int_eq(vn_on_drop(t.rx, NULL, NULL), -EINVAL);
	ck_assert_int_eq(vn_send_error(t.tx, -EAGAIN), -EINVAL);
	vn_close(p.tx);
	vn_close(p.rx);
	vn_close(t.tx);
	ck_assert_int_eq(vn_recv(t.rx, &item), -EPIPE);
	vn_close(t.rx);
	vn_hub_free(h);
}
END_TEST

static void
note_how(void *arg, int how)
{
	*(int *)arg = how;
}

static int
adopt_and_return(vn_hub *h, void *arg)
{
	(void)h;
	return vn_adopt((vn_tx *)arg);
}

static int
tell_end(vn_hub *h, vn_pair parent, void *arg)
{
	long item;

	(void)h;
	__atomic_store_n((int *)arg, vn_recv(parent.rx, &item), __ATOMIC_SEQ_CST);
	return 0;
}

START_TEST(an_end_that_was_adopted_dies_with_its_coroutine)
{
	vn_hub *h = hub_new();
	int seen = 0, how = 1;
	vn_pair t = vn_thread_spawn(h, long, tell_end, &seen);

	ck_assert_int_eq(vn_on_close(t.tx, note_how, &how), 0);
	start(h, adopt_and_return, t.tx);
	ck_assert_int_eq(how, -EOWNERDEAD);
	ck_assert_int_eq(vn_recv(t.rx, &(long){0}), -EPIPE);
	vn_close(t.rx);
	vn_hub_free(h);
	ck_assert_int_eq(seen, -EOWNERDEAD);
}
END_TEST

START_TEST(joined_to_other_ends_they_carry_on)
{
	vn_hub *h = hub_new();
	vn_pair t = vn_thread_spawn(h, long, increment, NULL);
	vn_pair u = vn_thread_spawn(h, long, increment, NULL);
	long item;

	ck_assert_int_eq(vn_pipe_to(t.rx, u.tx), 0);
	for (long n = 0; n < 300; n++) {
		ck_assert_int_eq(vn_send(t.tx, &n), 0);
		ck_assert_int_eq(vn_recv(u.rx, &item), 0);
		ck_assert_int_eq(item, n + 2);
	}
	vn_close(t.tx);
	ck_assert_int_eq(vn_recv(u.rx, &item), -EPIPE);
	vn_close(u.rx);
	vn_hub_free(h);
}
END_TEST

/* What is put into one turn is one chunk, and one bell: the other hub wakes once for it. */
static int
count_turns(vn_hub *h, vn_pair parent, void *arg)
{
	uint64_t before = h->n_turns;
	long item;

	while (vn_recv(parent.rx, &item) == 0)
		if (item % 32 == 31)
			IN_THREAD(vn_send(parent.tx, &item) == 0);
	*(long *)arg = (long)(h->n_turns - before);
	return 0;
}

START_TEST(a_batch_costs_one_wake_up)
{
	vn_hub *h = hub_new();
	long n_turns = 0, item;
	vn_pair t = vn_thread_spawn(h, long, count_turns, &n_turns);

	for (long n = 0; n < 320; n++) {
		ck_assert_int_eq(vn_send(t.tx, &n), 0);
		if (n % 32 == 31)
			ck_assert_int_eq(vn_recv(t.rx, &item), 0);
	}
	vn_close(t.tx);
	ck_assert_int_eq(vn_recv(t.rx, &item), -EPIPE);
	vn_close(t.rx);
	vn_hub_free(h);
	ck_assert_int_ge(n_turns, 1);
	ck_assert_int_le(
		n_turns, 3 * 11 + 3); /* a spurious one, and looking again, cost a turn each */
}
END_TEST

/* Stopping */

static int
wait_for_stop(vn_hub *h, vn_pair parent, void *arg)
{
	vn_close(parent.tx);
	vn_close(parent.rx);
	*(int *)arg = vn_sleep(h, 3600 * VN_SEC);
	return 0;
}

START_TEST(a_hub_that_is_freed_stops_its_threads_whatever_they_wait_for)
{
	vn_hub *h = hub_new();
	int n_fds = suite_n_fds(), slept[20] = {0}, got[20] = {0};

	for (int i = 0; i < 20; i++) {
		vn_pair t = vn_thread_spawn(h, long, wait_for_stop, &slept[i]);

		ck_assert_ptr_nonnull(t.tx);
		if (i % 2)
			vn_sleep(h, VN_MS);
		vn_thread_spawn(h, long, tell_end, &got[i]);
	}
	vn_hub_free(h);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(slept[i], -ECANCELED);
		ck_assert(got[i] == -ECANCELED || got[i] == -EOWNERDEAD);
	}
	ck_assert_int_lt(suite_n_fds(), n_fds);
}
END_TEST

static int
spin(vn_hub *h, void *arg)
{
	(void)arg;
	while (vn_sleep(h, VN_MS) == 0)
		;
	return 0;
}

static int
leave_others(vn_hub *h, vn_pair parent, void *arg)
{
	(void)arg;
	(void)parent;
	IN_THREAD(vn_spawn(h, spin, NULL) == 0);
	return 0;
}

START_TEST(closing_both_ends_lets_the_thread_finish)
{
	vn_hub *h = hub_new();
	int seen = 0;
	vn_pair t = vn_thread_spawn(h, long, tell_end, &seen);

	vn_close(t.tx);
	vn_close(t.rx);
	while (__atomic_load_n(&seen, __ATOMIC_SEQ_CST) == 0)
		vn_sleep(h, VN_MS);
	ck_assert_int_eq(seen, -EPIPE);
	t = vn_thread_spawn(h, long, leave_others, NULL);
	ck_assert_int_eq(vn_recv(t.rx, &(long){0}), -EPIPE);
	vn_hub_free(h);
}
END_TEST

static int
stop_own_hub(vn_hub *h, vn_pair parent, void *arg)
{
	(void)arg;
	vn_stop(h);
	return vn_recv(parent.rx, &(long){0}) == -ECANCELED ? -ECANCELED : 0;
}

START_TEST(a_thread_that_stops_its_hub_stops_no_other)
{
	vn_hub *h = hub_new();
	vn_pair t = vn_thread_spawn(h, long, stop_own_hub, NULL);

	ck_assert_int_eq(vn_recv(t.rx, &(long){0}), -EOWNERDEAD);
	ck_assert_int_eq(vn_sleep(h, VN_MS), 0);
	vn_close(t.tx);
	vn_close(t.rx);
	vn_hub_free(h);
}
END_TEST

START_TEST(a_stopped_hub_can_still_free_its_threads)
{
	vn_hub *h = hub_new();
	vn_pair t = vn_thread_spawn(h, long, increment, NULL);

	vn_stop(h);
	ck_assert_int_eq(vn_recv(t.rx, &(long){0}), -ECANCELED);
	vn_hub_free(h);
}
END_TEST

/* Each has a thread below it, and passes on what goes up and down. */
static int
relay(vn_hub *h, vn_pair parent, void *arg)
{
	long depth = (long)(intptr_t)arg, item;
	vn_pair below = {NULL, NULL};

	if (depth > 0)
		below = vn_thread_spawn(h, long, relay, (void *)(intptr_t)(depth - 1));
	while (vn_recv(parent.rx, &item) == 0) {
		item += 1;
		IN_THREAD(depth == 0 ||
			  (vn_send(below.tx, &item) == 0 && vn_recv(below.rx, &item) == 0));
		IN_THREAD(vn_send(parent.tx, &item) == 0);
	}
	return 0;
}

START_TEST(threads_have_threads)
{
	vn_hub *h = hub_new();
	vn_pair t = vn_thread_spawn(h, long, relay, (void *)4);
	long item;

	for (long n = 0; n < 100; n++) {
		ck_assert_int_eq(vn_send(t.tx, &n), 0);
		ck_assert_int_eq(vn_recv(t.rx, &item), 0);
		ck_assert_int_eq(item, n + 5);
	}
	vn_hub_free(h);
}
END_TEST

START_TEST(hundreds_come_and_go)
{
	vn_hub *h = hub_new();
	int n_fds = suite_n_fds();
	long item = 0;

	for (int i = 0; i < SUITE_TIMES(500); i++) {
		vn_pair t = vn_thread_spawn(h, long, increment, NULL);

		suite_assert(vn_send(t.tx, &item) == 0);
		if (i % 3)
			suite_assert(vn_recv(t.rx, &item) == 0);
		vn_close(t.rx);
		vn_close(t.tx);
		while (i % 10 == 0 && h->n_sources > 0)
			vn_yield(h);
	}
	while (suite_n_fds() > n_fds)
		vn_sleep(h, VN_MS);
	vn_hub_free(h);
}
END_TEST

static int
look_at_signals(vn_hub *h, vn_pair parent, void *arg)
{
	sigset_t now;

	(void)h;
	(void)parent;
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	*(bool *)arg = sigismember(&now, SIGTERM) && sigismember(&now, SIGCHLD) &&
		       !sigismember(&now, SIGSEGV);
	return 0;
}

START_TEST(a_thread_takes_no_signals_but_its_own_faults)
{
	vn_hub *h = hub_new();
	bool right = false;
	vn_pair t = vn_thread_spawn(h, long, look_at_signals, &right);

	ck_assert_int_eq(vn_recv(t.rx, &(long){0}), -EPIPE);
	vn_hub_free(h);
	ck_assert(right);
}
END_TEST

START_TEST(a_thread_is_no_deadlock_and_its_end_is_one)
{
	vn_hub *h = hub_new();
	vn_pair t = vn_thread_spawn(h, long, delayed, NULL), p = vn_pipe(h, long);
	long item;

	ck_assert_int_eq(vn_recv(t.rx, &item), 0);
	vn_close(t.tx);
	ck_assert_int_eq(vn_recv(t.rx, &item), -EPIPE);
	ck_assert_int_eq(vn_recv(p.rx, &item), -EDEADLK);
	vn_hub_free(h);
}
END_TEST

/* Calls */

typedef struct sum {
	int a, b, result;
} sum;

static int
add(sum *s)
{
	s->result = s->a + s->b;
	return s->result > 100 ? -ERANGE : 1;
}

static int
add_any(void *arg)
{
	return add(arg);
}

static int
refuse(int *with)
{
	return *with;
}

static int
refuse_any(void *arg)
{
	return refuse(arg);
}

START_TEST(a_call_gives_its_result_to_a_receiver)
{
	vn_hub *h = hub_new();
	sum s = {1, 2, 0}, got;
	vn_rx *rx = vn_thread_call(h, add_any, &s);

	s.a = 50; /* it has its copy */
	ck_assert_int_eq(vn_recv(rx, &got), 0);
	ck_assert_int_eq(got.result, 3);
	ck_assert_int_eq(vn_recv(rx, &got), -EPIPE);
	vn_close(rx);
	vn_hub_free(h);
}
END_TEST

START_TEST(an_error_of_a_call_is_an_error_of_the_receiver)
{
	static const int errors[][2] = {{-ERANGE, -ERANGE}, {-EPERM, -EPERM}, {-EAGAIN, -EBUSY}};
	vn_hub *h = hub_new();

	for (size_t i = 0; i < SUITE_COUNT(errors); i++) {
		vn_rx *rx = vn_thread_call(h, refuse_any, &errors[i][0]);
		int got;

		ck_assert_int_eq(vn_recv(rx, &got), errors[i][1]);
		ck_assert_int_eq(vn_recv(rx, &got), -EPIPE);
		vn_close(rx);
	}
	vn_hub_free(h);
}
END_TEST

/* Two calls that wait for each other, through a pipe of each. */
typedef struct meeting {
	int in, out, n_ended;
} meeting;

static int
meet(void *arg)
{
	meeting *m = *(meeting **)arg;
	char byte = 1;

	IN_THREAD(write(m->out, &byte, 1) == 1 && read(m->in, &byte, 1) == 1);
	__atomic_add_fetch(&m->n_ended, 1, __ATOMIC_SEQ_CST);
	return 0;
}

START_TEST(calls_run_beside_each_other)
{
	vn_hub *h = hub_new();
	int a[2], b[2];
	meeting x, y, *first = &x, *second = &y;
	vn_rx *one, *other;

	ck_assert_int_eq(pipe(a), 0);
	ck_assert_int_eq(pipe(b), 0);
	x = (meeting){a[0], b[1], 0};
	y = (meeting){b[0], a[1], 0};
	one = vn_thread_call(h, meet, &first);
	other = vn_thread_call(h, meet, &second);
	ck_assert_int_eq(vn_recv(one, &first), 0);
	ck_assert_int_eq(vn_recv(other, &second), 0);
	vn_hub_free(h);
}
END_TEST

START_TEST(a_result_that_nobody_wants_is_dropped_and_the_call_is_finished)
{
	vn_hub *h = hub_new();
	int a[2], b[2];
	meeting x, *first = &x;
	vn_rx *rx;

	ck_assert_int_eq(pipe(a), 0);
	ck_assert_int_eq(pipe(b), 0);
	x = (meeting){a[0], b[1], 0};
	rx = vn_thread_call(h, meet, &first);
	ck_assert_int_eq(read(b[0], &(char){0}, 0), 0);
	vn_sleep(h, VN_MS);
	vn_close(rx);
	ck_assert_int_eq(x.n_ended, 0);
	ck_assert_int_eq(write(a[1], "x", 1), 1);
	while (__atomic_load_n(&x.n_ended, __ATOMIC_SEQ_CST) == 0)
		vn_sleep(h, VN_MS);
	vn_hub_free(h);
}
END_TEST

START_TEST(a_hub_stops_with_calls_and_threads_in_flight)
{
	vn_hub *h = hub_new();
	int a[2], b[2];
	meeting x, *first = &x;
	vn_rx *rx;

	ck_assert_int_eq(pipe(a), 0);
	ck_assert_int_eq(pipe(b), 0);
	x = (meeting){a[0], b[1], 0};
	rx = vn_thread_call(h, meet, &first);
	vn_sleep(h, VN_MS);
	vn_stop(h);
	ck_assert_int_eq(vn_recv(rx, &first), -ECANCELED);
	ck_assert_int_eq(write(a[1], "x", 1), 1);
	vn_hub_free(h);
	ck_assert_int_eq(x.n_ended, 1);
}
END_TEST

START_TEST(hundreds_of_calls_all_come_back)
{
	enum { N = 900 };
	vn_hub *h = hub_new();
	vn_rx *answers[N];

	for (int i = 0; i < N; i++) {
		sum s = {i % 50, i % 40, 0};

		answers[i] = vn_thread_call(h, add_any, &s);
		suite_assert(answers[i] != NULL);
	}
	for (int i = 0; i < N; i++) {
		sum s;

		suite_assert(vn_recv(answers[i], &s) == 0);
		suite_assert(s.result == i % 50 + i % 40);
		vn_close(answers[i]);
	}
	vn_hub_free(h);
}
END_TEST

#define SET(X) X(add, sum) X(refuse, int)
VN_WRAP(SET)

START_TEST(a_set_of_functions_is_wrapped_at_once)
{
	vn_hub *h = hub_new();
	vn_pool *p = vn_pool(h, 2);
	sum s = {1, 2, 0}, large = {99, 2, 0};
	int error = -ENOTTY;

	ck_assert_int_eq(add_in(p, &s), 1);
	ck_assert_int_eq(s.result, 3);
	ck_assert_int_eq(add_in(p, &large), -ERANGE);
	ck_assert_int_eq(refuse_in(p, &error), -ENOTTY);
	ck_assert_int_eq(refuse_in(NULL, &error), -EBADF);
	vn_close(p);
	vn_hub_free(h);
}
END_TEST

int
main(void)
{
	const TTest *tests[] = {
		a_thread_answers_and_nobody_sleeps_for_ever,
		senseless_items_are_refused,
		items_of_all_sizes_arrive_in_order_both_ways,
		how_it_returned_is_told_when_all_that_it_sent_is_received,
		who_finds_no_room_waits_and_goes_on_when_there_is_some,
		room_is_told_by_who_receives_no_more_for_now,
		a_receiver_that_closes_is_epipe_to_who_waits_and_to_who_comes,
		ends_are_like_all_others,
		an_end_that_was_adopted_dies_with_its_coroutine,
		joined_to_other_ends_they_carry_on,
		a_batch_costs_one_wake_up,
		a_hub_that_is_freed_stops_its_threads_whatever_they_wait_for,
		closing_both_ends_lets_the_thread_finish,
		a_thread_that_stops_its_hub_stops_no_other,
		a_stopped_hub_can_still_free_its_threads,
		threads_have_threads,
		hundreds_come_and_go,
		a_thread_takes_no_signals_but_its_own_faults,
		a_thread_is_no_deadlock_and_its_end_is_one,
		a_call_gives_its_result_to_a_receiver,
		an_error_of_a_call_is_an_error_of_the_receiver,
		calls_run_beside_each_other,
		a_result_that_nobody_wants_is_dropped_and_the_call_is_finished,
		a_hub_stops_with_calls_and_threads_in_flight,
		hundreds_of_calls_all_come_back,
		a_set_of_functions_is_wrapped_at_once,
	};

	return suite_run("os thread", tests, SUITE_COUNT(tests));
}
