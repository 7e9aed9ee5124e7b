/* SPDX-License-Identifier: MIT */
/*
 * Signals - received as items, and with the action that they had when nobody receives them any more
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/coroutines.h"

/* A real clock and a real poll: signals come from the kernel. */
static vn_hub *
hub_open(void)
{
	vn_hub *h = vn_hub_open(&vn_sys_linux);

	ck_assert_ptr_nonnull(h);
	return h;
}

static bool
is_blocked(int signal)
{
	sigset_t now;

	pthread_sigmask(SIG_BLOCK, NULL, &now);
	return sigismember(&now, signal);
}

/* What can be received without waiting, after the hub has looked. */
static int
recv_now(vn_hub *h, vn_rx *rx)
{
	int signal = 0;
	int rc;

	vn_sleep(h, VN_MS);
	rc = vn_select(h, VN_RECV(rx, &signal), VN_AFTER(0));
	ck_assert_int_ge(rc, 0);
	return rc == 0 ? signal : 0;
}

START_TEST(what_the_process_is_sent_is_received)
{
	vn_hub *h = hub_open();
	vn_rx *rx = vn_signals(h, SIGHUP, SIGUSR1);
	int signal = 0;

	ck_assert_ptr_nonnull(rx);
	kill(getpid(), SIGUSR1);
	ck_assert_int_eq(vn_recv(rx, &signal), 0);
	ck_assert_int_eq(signal, SIGUSR1);
	kill(getpid(), SIGHUP);
	ck_assert_int_eq(vn_recv(rx, &signal), 0);
	ck_assert_int_eq(signal, SIGHUP);
	raise(SIGHUP);
	ck_assert_int_eq(vn_recv(rx, &signal), 0);
	ck_assert_int_eq(signal, SIGHUP);
	ck_assert_int_eq(recv_now(h, rx), 0);
	vn_close(rx);
	vn_hub_close(h);
}
END_TEST

START_TEST(what_is_ignored_by_default_is_received_too)
{
	vn_hub *h = hub_open();
	vn_rx *rx = vn_signals(h, SIGCHLD);
	pid_t child = fork();
	int signal = 0;

	if (child == 0)
		_exit(0);
	ck_assert_int_eq(vn_recv(rx, &signal), 0);
	ck_assert_int_eq(signal, SIGCHLD);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	vn_close(rx);
	vn_hub_close(h);
}
END_TEST

static int
send_two(vn_hub *h, void *arg)
{
	(void)arg;
	vn_yield(h);
	kill(getpid(), SIGUSR1);
	vn_sleep(h, VN_MS);
	kill(getpid(), SIGUSR1);
	return 0;
}

START_TEST(who_waits_is_woken)
{
	vn_hub *h = hub_open();
	vn_rx *rx = vn_signals(h, SIGUSR1);
	int signal = 0, rc;

	vn_spawn(h, send_two, NULL);
	ck_assert_int_eq(vn_recv(rx, &signal), 0);
	ck_assert_int_eq(signal, SIGUSR1);
	rc = vn_select(h, VN_AFTER(60 * VN_SEC), VN_RECV(rx, &signal));
	ck_assert_int_eq(rc, 1);
	vn_close(rx);
	vn_hub_close(h);
}
END_TEST

START_TEST(each_end_that_asked_for_it_gets_it)
{
	vn_hub *h = hub_open();
	vn_rx *one = vn_signals(h, SIGUSR1, SIGUSR2), *two = vn_signals(h, SIGUSR1);

	kill(getpid(), SIGUSR1);
	ck_assert_int_eq(recv_now(h, one), SIGUSR1);
	ck_assert_int_eq(recv_now(h, two), SIGUSR1);
	kill(getpid(), SIGUSR2);
	ck_assert_int_eq(recv_now(h, one), SIGUSR2);
	ck_assert_int_eq(recv_now(h, two), 0);
	vn_close(one);
	kill(getpid(), SIGUSR1);
	ck_assert_int_eq(recv_now(h, two), SIGUSR1);
	vn_close(two);
	vn_hub_close(h);
}
END_TEST

START_TEST(ordinary_ones_that_nobody_took_are_one_and_realtime_ones_are_as_many_as_came)
{
	vn_hub *h = hub_open();
	vn_rx *rx = vn_signals(h, SIGUSR1, SIGHUP, SIGRTMIN, SIGRTMIN + 1);

	for (int i = 0; i < 3; i++) {
		kill(getpid(), SIGRTMIN + 1);
		kill(getpid(), SIGUSR1);
		kill(getpid(), SIGRTMIN);
		vn_sleep(h, i % 2 ? VN_MS : 0); /* merged by the kernel, or here */
	}
	kill(getpid(), SIGHUP);
	ck_assert_int_eq(recv_now(h, rx), SIGHUP);
	ck_assert_int_eq(recv_now(h, rx), SIGUSR1);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(recv_now(h, rx), SIGRTMIN);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(recv_now(h, rx), SIGRTMIN + 1);
	ck_assert_int_eq(recv_now(h, rx), 0);
	vn_close(rx);
	vn_hub_close(h);
}
END_TEST

static int n_handled; /* written by a signal handler of this thread */

static void
handler(int signal)
{
	(void)signal;
	__atomic_fetch_add(&n_handled, 1, __ATOMIC_RELAXED);
}

START_TEST(a_signal_has_its_action_again_when_the_last_end_is_closed)
{
	struct sigaction action = {.sa_handler = handler};
	vn_hub *h = hub_open();
	vn_rx *one, *two;

	sigaction(SIGUSR1, &action, NULL);
	kill(getpid(), SIGUSR1);
	ck_assert_int_eq(n_handled, 1);
	one = vn_signals(h, SIGUSR1, SIGUSR2);
	two = vn_signals(h, SIGUSR1);
	kill(getpid(), SIGUSR1);
	ck_assert_int_eq(recv_now(h, one), SIGUSR1);
	vn_close(one);
	ck_assert(is_blocked(SIGUSR1));
	ck_assert(!is_blocked(SIGUSR2));
	kill(getpid(), SIGUSR1);
	ck_assert_int_eq(n_handled, 1);
	vn_close(two);
	ck_assert(!is_blocked(SIGUSR1));
	ck_assert_int_eq(n_handled, 1);
	kill(getpid(), SIGUSR1);
	ck_assert_int_eq(n_handled, 2);
	vn_hub_close(h);
}
END_TEST

START_TEST(the_default_action_is_the_end_of_the_process_again)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		vn_hub *h = hub_open();
		vn_rx *rx = vn_signals(h, SIGUSR1);

		kill(getpid(), SIGUSR1); /* was for us, though nobody took it */
		vn_close(rx);
		if (is_blocked(SIGUSR1))
			_exit(1);
		kill(getpid(), SIGUSR1);
		_exit(2);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGUSR1);
}
END_TEST

START_TEST(what_was_blocked_before_stays_blocked)
{
	vn_hub *h = hub_open();
	sigset_t set;
	vn_rx *rx;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	rx = vn_signals(h, SIGUSR1, SIGUSR2);
	vn_close(rx);
	ck_assert(is_blocked(SIGUSR2));
	ck_assert(!is_blocked(SIGUSR1));
	vn_hub_close(h);
}
END_TEST

START_TEST(hubs_of_one_thread_hand_on_the_duty_to_unblock)
{
	vn_hub *h = hub_open(), *i = hub_open();
	vn_rx *one = vn_signals(h, SIGUSR1), *two = vn_signals(i, SIGUSR1, SIGUSR2);

	vn_close(one);
	ck_assert(is_blocked(SIGUSR1));
	kill(getpid(), SIGUSR1);
	ck_assert_int_eq(recv_now(i, two), SIGUSR1);
	one = vn_signals(h, SIGUSR1);
	kill(getpid(), SIGUSR1);
	ck_assert_int_eq(recv_now(i, two), SIGUSR1);
	ck_assert_int_eq(recv_now(h, one), SIGUSR1);
	vn_close(two);
	ck_assert(is_blocked(SIGUSR1));
	vn_close(one);
	ck_assert(!is_blocked(SIGUSR1));
	ck_assert(!is_blocked(SIGUSR2));
	vn_hub_close(i);
	vn_hub_close(h);
}
END_TEST

START_TEST(numbers_that_are_no_signals_of_ours_are_refused)
{
	static const int bad[] = {0, -1, SIGKILL, SIGSTOP, 65, 1000000, INT32_MIN};
	vn_hub *h = hub_open();
	int n_fds = suite_n_fds();

	for (size_t i = 0; i < SUITE_COUNT(bad); i++) {
		errno = 0;
		ck_assert_ptr_null(vn_signals(h, SIGHUP, bad[i]));
		ck_assert_int_eq(errno, EINVAL);
	}
	ck_assert_ptr_null(vn_signals_new(h, bad, 0));
	ck_assert(!is_blocked(SIGHUP));
	ck_assert_int_eq(suite_n_fds(), n_fds);
	vn_hub_close(h);
}
END_TEST

START_TEST(nothing_is_left_of_ends_that_go_with_the_hub)
{
	int n_fds = suite_n_fds();
	vn_hub *h = hub_open();

	ck_assert_ptr_nonnull(vn_signals(h, SIGHUP));
	ck_assert_ptr_nonnull(vn_signals(h, SIGHUP, SIGTERM));
	ck_assert(is_blocked(SIGTERM));
	vn_hub_close(h);
	ck_assert(!is_blocked(SIGTERM));
	ck_assert(!is_blocked(SIGHUP));
	ck_assert_int_eq(suite_n_fds(), n_fds);
}
END_TEST

typedef struct waiter {
	vn_rx *rx;
	int rc, n;
} waiter;

static int
wait_for_signal(vn_hub *h, void *arg)
{
	waiter *x = arg;
	int signal;

	(void)h;
	x->rc = vn_recv(x->rx, &signal);
	x->n++;
	return 0;
}

START_TEST(who_waits_is_told_when_the_end_is_closed)
{
	vn_hub *h = hub_open();
	waiter x = {.rx = vn_signals(h, SIGHUP)}, y = x;

	vn_spawn(h, wait_for_signal, &x);
	vn_spawn(h, wait_for_signal, &y);
	vn_yield(h);
	vn_close(x.rx);
	vn_yield(h);
	ck_assert_int_eq(x.rc, -EPIPE);
	ck_assert_int_eq(y.rc, -EPIPE);
	vn_hub_close(h);
}
END_TEST

static void
hang_up(world *w)
{
	(void)w;
	kill(getpid(), SIGHUP);
}

START_TEST(an_end_is_hope_until_it_is_closed)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_rx *rx = vn_signals(h, SIGHUP);
	int signal = 0;

	w.on_forever = hang_up;
	ck_assert_int_eq(vn_recv(rx, &signal), 0);
	ck_assert_int_eq(signal, SIGHUP);
	vn_close(rx);
	ck_assert_int_eq(vn_wait(h, NULL, 0, VN_NEVER), -EDEADLK);
	ck_assert_uint_eq(h->n_sources, 0);
	vn_hub_close(h);
}
END_TEST

/* Threads, each with a hub and an end. */

enum { THREADS = 3, TIMES = 50 };

typedef struct crowd {
	pthread_barrier_t all;
	int n_received[THREADS];
} crowd;

typedef struct member {
	crowd *crowd;
	int number;
	pthread_t thread;
} member;

static void *
member_run(void *arg)
{
	member *m = arg;
	vn_hub *h = hub_open();
	vn_rx *rx = vn_signals(h, SIGUSR1, SIGUSR2);
	int signal = 0;

	pthread_barrier_wait(&m->crowd->all);
	for (int i = 0; i < TIMES; i++) {
		suite_assert(vn_recv(rx, &signal) == 0);
		suite_assert(signal == SIGUSR1);
		m->crowd->n_received[m->number]++;
		pthread_barrier_wait(&m->crowd->all);
	}
	vn_close(rx);
	suite_assert(is_blocked(SIGUSR1)); /* as it was when the thread began */
	vn_hub_close(h);
	return NULL;
}

START_TEST(each_hub_of_each_thread_gets_it)
{
	crowd c = {.n_received = {0}};
	member members[THREADS];
	vn_hub *h = hub_open();
	vn_rx *rx = vn_signals(h, SIGUSR1, SIGUSR2);
	int signal;

	pthread_barrier_init(&c.all, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++) {
		members[i] = (member){.crowd = &c, .number = i};
		pthread_create(&members[i].thread, NULL, member_run, &members[i]);
	}
	pthread_barrier_wait(&c.all);
	for (int i = 0; i < TIMES; i++) {
		kill(getpid(), SIGUSR1);
		ck_assert_int_eq(vn_recv(rx, &signal), 0);
		pthread_barrier_wait(&c.all);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(members[i].thread, NULL);
		ck_assert_int_eq(c.n_received[i], TIMES);
	}
	vn_close(rx);
	ck_assert(!is_blocked(SIGUSR1));
	vn_hub_close(h);
	pthread_barrier_destroy(&c.all);
}
END_TEST

/* Beside vn_stop_on_term(), which takes signals as well. */

static int
send_term(vn_hub *h, void *arg)
{
	vn_rx **late = arg;

	*late = vn_signals(h, SIGUSR1);
	return kill(getpid(), SIGTERM);
}

START_TEST(stop_on_term_and_an_end_both_get_it)
{
	vn_hub *h = vn_hub_new();
	vn_rx *rx = vn_signals(h, SIGTERM), *late = NULL;

	ck_assert_ptr_nonnull(h);
	vn_spawn(h, send_term, &late);
	ck_assert_int_eq(vn_stop_on_term(h), 0);
	ck_assert_int_eq(recv_now(h, rx), SIGTERM);
	ck_assert(!is_blocked(SIGINT));
	ck_assert(is_blocked(SIGTERM));
	ck_assert(is_blocked(SIGUSR1));
	kill(getpid(), SIGUSR1);
	ck_assert_int_eq(recv_now(h, late), SIGUSR1);
	vn_close(rx);
	vn_close(late);
	ck_assert(!is_blocked(SIGTERM));
	ck_assert(!is_blocked(SIGUSR1));
	vn_hub_free(h);
}
END_TEST

static int
close_and_send_term(vn_hub *h, void *arg)
{
	(void)h;
	vn_close((vn_rx *)arg);
	return kill(getpid(), SIGTERM);
}

START_TEST(an_end_that_is_closed_meanwhile_leaves_stop_on_term_alone)
{
	vn_hub *h = vn_hub_new();

	vn_spawn(h, close_and_send_term, vn_signals(h, SIGTERM, SIGINT));
	ck_assert_int_eq(vn_stop_on_term(h), 0);
	ck_assert(!is_blocked(SIGTERM));
	ck_assert(!is_blocked(SIGINT));
	vn_hub_free(h);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		what_the_process_is_sent_is_received,
		what_is_ignored_by_default_is_received_too,
		who_waits_is_woken,
		each_end_that_asked_for_it_gets_it,
		ordinary_ones_that_nobody_took_are_one_and_realtime_ones_are_as_many_as_came,
		a_signal_has_its_action_again_when_the_last_end_is_closed,
		the_default_action_is_the_end_of_the_process_again,
		what_was_blocked_before_stays_blocked,
		hubs_of_one_thread_hand_on_the_duty_to_unblock,
		numbers_that_are_no_signals_of_ours_are_refused,
		nothing_is_left_of_ends_that_go_with_the_hub,
		who_waits_is_told_when_the_end_is_closed,
		an_end_is_hope_until_it_is_closed,
		each_hub_of_each_thread_gets_it,
		stop_on_term_and_an_end_both_get_it,
		an_end_that_is_closed_meanwhile_leaves_stop_on_term_alone,
	};

	return suite_run("signals", tests, SUITE_COUNT(tests));
}
