/* SPDX-License-Identifier: MIT */
/*
 * Source - events of descriptors and pulses, received as items
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/coroutines.h"

NO_CONNECTIONS

/* What can be received without waiting, after the hub has looked. */
static int
recv_now(vn_hub *h, vn_rx *rx)
{
	int events = 0;
	int rc;

	vn_sleep(h, VN_MS);
	rc = vn_select(h, VN_RECV(rx, &events), VN_AFTER(0));
	ck_assert_int_ge(rc, 0);
	return rc == 0 ? events : 0;
}

static void
put(int fd)
{
	ck_assert_int_eq(write(fd, "x", 1), 1);
}

START_TEST(events_come_edge_by_edge)
{
	world w;
	vn_hub *h = world_open(&w);
	int s[2];
	vn_rx *rx;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s), 0);
	rx = vn_watch_fd(h, s[0], VN_READABLE | VN_WRITABLE | VN_HANGUP);
	ck_assert_ptr_nonnull(rx);
	ck_assert_int_eq(recv_now(h, rx), VN_WRITABLE);
	ck_assert_int_eq(recv_now(h, rx), 0);
	put(s[1]);
	ck_assert_int_ne(recv_now(h, rx) & VN_READABLE, 0);
	ck_assert_int_eq(recv_now(h, rx), 0);
	put(s[1]);
	ck_assert_int_ne(recv_now(h, rx) & VN_READABLE, 0);
	close(s[1]);
	ck_assert_int_ne(recv_now(h, rx) & VN_HANGUP, 0);
	ck_assert_int_eq(recv_now(h, rx), 0);
	vn_close(rx);
	close(s[0]);
	vn_hub_close(h);
}
END_TEST

START_TEST(events_that_nobody_took_are_merged)
{
	world w;
	vn_hub *h = world_open(&w);
	int s[2];
	vn_rx *rx;

	ck_assert_int_eq(pipe2(s, O_NONBLOCK), 0);
	rx = vn_watch_fd(h, s[0], VN_READABLE | VN_HANGUP);
	put(s[1]);
	vn_sleep(h, VN_MS);
	put(s[1]);
	vn_sleep(h, VN_MS);
	close(s[1]);
	ck_assert_int_eq(recv_now(h, rx), VN_READABLE | VN_HANGUP);
	ck_assert_int_eq(recv_now(h, rx), 0);
	vn_close(rx);
	close(s[0]);
	vn_hub_close(h);
}
END_TEST

START_TEST(only_what_was_asked_for_comes_but_for_the_end)
{
	world w;
	vn_hub *h = world_open(&w);
	int s[2];
	vn_rx *rx;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s), 0);
	rx = vn_watch_fd(h, s[0], VN_READABLE);
	ck_assert_int_eq(recv_now(h, rx), 0);
	put(s[1]);
	ck_assert_int_eq(recv_now(h, rx), VN_READABLE);
	close(s[1]);
	ck_assert_int_eq(recv_now(h, rx), VN_READABLE | VN_HANGUP);
	vn_close(rx);
	close(s[0]);
	vn_hub_close(h);
}
END_TEST

typedef struct waiter {
	vn_rx *rx;
	int rc, events, n;
} waiter;

static int
wait_for_event(vn_hub *h, void *arg)
{
	waiter *x = arg;

	(void)h;
	x->rc = vn_recv(x->rx, &x->events);
	x->n++;
	return 0;
}

START_TEST(who_has_waited_longest_gets_it)
{
	world w;
	vn_hub *h = world_open(&w);
	int fd = eventfd(0, EFD_NONBLOCK);
	waiter x = {.rx = vn_watch_fd(h, fd, VN_READABLE)}, y = x;

	vn_spawn(h, wait_for_event, &x);
	vn_spawn(h, wait_for_event, &y);
	eventfd_write(fd, 1);
	vn_sleep(h, VN_MS);
	ck_assert_int_eq(x.n, 1);
	ck_assert_int_eq(x.rc, 0);
	ck_assert_int_eq(x.events, VN_READABLE);
	ck_assert_int_eq(y.n, 0);
	vn_close(x.rx);
	vn_yield(h);
	ck_assert_int_eq(y.rc, -EPIPE);
	close(fd);
	vn_hub_close(h);
}
END_TEST

START_TEST(what_cannot_be_watched_is_refused)
{
	world w;
	vn_hub *h = world_open(&w);
	int file = open("/proc/self/exe", O_RDONLY), fd = eventfd(0, 0);
	vn_rx *rx = vn_watch_fd(h, fd, VN_READABLE);

	ck_assert_ptr_null(vn_watch_fd(h, file, VN_READABLE));
	ck_assert_int_eq(errno, EPERM);
	ck_assert_ptr_null(vn_watch_fd(h, fd, VN_READABLE));
	ck_assert_int_eq(errno, EEXIST);
	ck_assert_ptr_null(vn_watch_fd(h, -1, VN_READABLE));
	ck_assert_int_eq(errno, EBADF);
	ck_assert_ptr_null(vn_watch_fd(h, 1000000, VN_READABLE));
	ck_assert_int_eq(errno, EBADF);
	ck_assert_ptr_null(vn_watch_fd(h, fd, 0));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(vn_watch_fd(h, fd, 8));
	ck_assert_int_eq(errno, EINVAL);
	vn_close(rx);
	rx = vn_watch_fd(h, fd, VN_READABLE);
	ck_assert_ptr_nonnull(rx);
	vn_close(rx);
	close(fd);
	close(file);
	vn_hub_close(h);
}
END_TEST

static int the_eventfd;

static void
ring(world *w)
{
	(void)w;
	eventfd_write(the_eventfd, 1);
}

START_TEST(a_watched_descriptor_is_hope_until_its_end_is_closed)
{
	world w;
	vn_hub *h = world_open(&w);
	int events = 0;
	vn_rx *rx;

	w.on_forever = ring;
	the_eventfd = eventfd(0, EFD_NONBLOCK);
	rx = vn_watch_fd(h, the_eventfd, VN_READABLE);
	ck_assert_int_eq(vn_recv(rx, &events), 0);
	ck_assert_int_eq(events, VN_READABLE);
	vn_close(rx);
	ck_assert_int_eq(vn_wait(h, NULL, 0, VN_NEVER), -EDEADLK);
	ck_assert_ptr_nonnull(vn_watch_fd(h, the_eventfd, VN_READABLE));
	vn_hub_close(h); /* the end goes with it, the descriptor stays */
	ck_assert_int_eq(eventfd_write(the_eventfd, 1), 0);
	close(the_eventfd);
}
END_TEST

/* Descriptors in a select */

START_TEST(select_finds_a_descriptor_that_is_ready_without_asking_to_be_told)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, int);
	int s[2], item = 0, rc;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s), 0);
	rc = vn_select(h, VN_RECV(p.rx, &item), VN_FD(s[0], VN_READABLE), VN_FD(s[0], VN_WRITABLE));
	ck_assert_int_eq(rc, 2);
	ck_assert_int_eq(vn_selected(h), 0);
	rc = vn_select(h, VN_FD(s[0], VN_READABLE), VN_ELSE);
	ck_assert_int_eq(rc, 1);
	put(s[1]);
	rc = vn_select(h, VN_FD(s[0], VN_READABLE), VN_FD(s[0], VN_WRITABLE));
	ck_assert_int_eq(rc, 0);
	rc = vn_select(h, VN_FD(s[0], VN_HANGUP), VN_AFTER(0));
	ck_assert_int_eq(rc, 1);
	close(s[1]);
	rc = vn_select(h, VN_FD(s[0], VN_HANGUP), VN_AFTER(0));
	ck_assert_int_eq(rc, 0);
	ck_assert_uint_eq(h->n_sources, 0);
	ck_assert_int_eq(w.n_polls + w.n_waits, 0);
	close(s[0]);
	vn_hub_close(h);
}
END_TEST

START_TEST(select_waits_for_a_descriptor_among_others)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, int);
	int item = 0, n_fds, rc;

	the_eventfd = eventfd(0, EFD_NONBLOCK);
	n_fds = suite_n_fds();
	w.on_forever = ring;
	rc = vn_select(h, VN_RECV(p.rx, &item), VN_FD(the_eventfd, VN_READABLE));
	ck_assert_int_eq(rc, 1);
	ck_assert_int_eq(vn_selected(h), 0);
	ck_assert_int_eq(w.n_forever, 1);
	eventfd_read(the_eventfd, &(eventfd_t){0});
	rc = vn_select(h, VN_FD(the_eventfd, VN_READABLE), VN_AFTER(VN_SEC));
	ck_assert_int_eq(rc, 1);
	vn_timeout(h, VN_SEC);
	rc = vn_select(h, VN_FD(the_eventfd, VN_READABLE));
	ck_assert_int_eq(rc, -ETIMEDOUT);
	vn_deadline(h, VN_NEVER);
	ck_assert_uint_eq(h->n_sources, 0);
	ck_assert_int_eq(suite_n_fds(), n_fds);
	rc = vn_select(h, VN_RECV(p.rx, &item));
	ck_assert_int_eq(rc, -EDEADLK);
	close(the_eventfd);
	vn_hub_close(h);
}
END_TEST

typedef struct chooser {
	int fd, n, rc, result;
} chooser;

static int
choose(vn_hub *h, void *arg)
{
	chooser *x = arg;

	x->rc = vn_select(h, VN_FD(x->fd, VN_READABLE), VN_AFTER(60 * VN_SEC));
	x->result = vn_selected(h);
	x->n++;
	return 0;
}

START_TEST(several_select_one_descriptor_that_is_watched_as_well)
{
	world w;
	vn_hub *h = world_open(&w);
	int fd = eventfd(0, EFD_NONBLOCK), n_fds = suite_n_fds();
	vn_rx *rx = vn_watch_fd(h, fd, VN_READABLE);
	chooser x[5];

	for (size_t i = 0; i < SUITE_COUNT(x); i++) {
		x[i] = (chooser){.fd = fd, .rc = -1};
		vn_spawn(h, choose, &x[i]);
	}
	vn_sleep(h, VN_MS);
	eventfd_write(fd, 1);
	vn_sleep(h, VN_MS);
	for (size_t i = 0; i < SUITE_COUNT(x); i++) {
		ck_assert_int_eq(x[i].n, 1);
		ck_assert_int_eq(x[i].rc, 0);
		ck_assert_int_eq(x[i].result, 0);
	}
	ck_assert_int_eq(recv_now(h, rx), VN_READABLE);
	vn_close(rx);
	ck_assert_int_eq(suite_n_fds(), n_fds);
	close(fd);
	vn_hub_close(h);
}
END_TEST

START_TEST(what_is_no_descriptor_is_ready_with_its_error)
{
	world w;
	vn_hub *h = world_open(&w);
	int fd = eventfd(0, EFD_NONBLOCK), file = open("/proc/self/exe", O_RDONLY), rc;

	rc = vn_select(h, VN_FD(fd, VN_READABLE), VN_FD(-1, VN_READABLE));
	ck_assert_int_eq(rc, 1);
	ck_assert_int_eq(vn_selected(h), -EBADF);
	rc = vn_select(h, VN_FD(1000000, VN_READABLE));
	ck_assert_int_eq(rc, 0);
	ck_assert_int_eq(vn_selected(h), -EBADF);
	rc = vn_select(h, VN_FD(fd, 0));
	ck_assert_int_eq(rc, 0);
	ck_assert_int_eq(vn_selected(h), -EINVAL);
	rc = vn_select(h, VN_FD(fd, 16));
	ck_assert_int_eq(vn_selected(h), -EINVAL);
	rc = vn_select(h, VN_FD(file, VN_READABLE));
	ck_assert_int_eq(rc, 0);
	ck_assert_int_eq(vn_selected(h), 0);
	close(fd);
	close(file);
	vn_hub_close(h);
}
END_TEST

START_TEST(as_many_descriptors_as_cases_are_waited_for)
{
	enum { CASES = 64 };
	world w;
	vn_hub *h = world_open(&w);
	int fds[CASES], n_fds = suite_n_fds();
	vn_case cases[CASES];

	for (int i = 0; i < CASES; i++) {
		fds[i] = eventfd(0, EFD_NONBLOCK);
		cases[i] = VN_FD(fds[i], VN_READABLE);
	}
	the_eventfd = fds[40];
	w.on_forever = ring;
	ck_assert_int_eq(vn_select_cases(h, cases, CASES), 40);
	eventfd_read(the_eventfd, &(eventfd_t){0});
	ck_assert_int_eq(vn_select_cases(h, cases, CASES - 1), 40);
	ck_assert_int_eq(vn_select_random_cases(h, cases, CASES), 40);
	for (int i = 0; i < CASES; i++)
		close(fds[i]);
	ck_assert_int_eq(suite_n_fds(), n_fds);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_stop_ends_a_select_of_descriptors)
{
	world w;
	vn_hub *h = world_open(&w);
	int fd = eventfd(0, EFD_NONBLOCK);
	chooser x = {.fd = fd};

	vn_spawn(h, choose, &x);
	vn_yield(h);
	vn_hub_close(h);
	ck_assert_int_eq(x.rc, -ECANCELED);
	close(fd);
}
END_TEST

START_TEST(a_pulse_keeps_its_rhythm)
{
	world w;
	vn_hub *h = world_open(&w);
	long item = 7, got;
	vn_time start = w.now;
	vn_rx *rx = vn_pulse(h, VN_SEC, &item);

	item = 8;
	for (int i = 1; i <= 100; i++) {
		got = 0;
		ck_assert_int_eq(vn_recv(rx, &got), 0);
		ck_assert_int_eq(got, 7);
		ck_assert_int_ge(w.now, start + i * VN_SEC);
		ck_assert_int_lt(w.now, start + i * VN_SEC + VN_MS);
		vn_sleep(h, 300 * VN_MS);
	}
	vn_close(rx);
	vn_hub_close(h);
}
END_TEST

START_TEST(who_is_slow_gets_the_next_pulse_a_period_after_it_took_the_last)
{
	world w;
	vn_hub *h = world_open(&w);
	char item = 1;
	vn_rx *rx = vn_pulse(h, VN_SEC, &item);
	vn_time took;

	vn_sleep(h, 10 * VN_SEC);
	ck_assert(vn_wheel_empty(h->wheel));
	took = w.now;
	ck_assert_int_eq(vn_recv(rx, &item), 0);
	ck_assert_int_eq(w.now, took);
	ck_assert_int_eq(vn_recv(rx, &item), 0);
	ck_assert_int_ge(w.now, took + VN_SEC);
	ck_assert_int_lt(w.now, took + VN_SEC + VN_MS);
	vn_close(rx);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_pulse_is_hope_until_it_is_closed)
{
	world w;
	vn_hub *h = world_open(&w);
	int item = 5;
	waiter x = {.rx = vn_pulse(h, VN_SEC, &item)};

	vn_spawn(h, wait_for_event, &x);
	ck_assert_int_eq(vn_sleep(h, 1500 * VN_MS), 0);
	ck_assert_int_eq(x.events, 5);
	vn_spawn(h, wait_for_event, &x);
	vn_yield(h);
	vn_close(x.rx);
	ck_assert_int_eq(vn_wait(h, NULL, 0, VN_NEVER), -EDEADLK);
	ck_assert_int_eq(x.rc, -EPIPE);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_pulse_without_a_period_is_refused)
{
	world w;
	vn_hub *h = world_open(&w);
	int item = 0;

	ck_assert_ptr_null(vn_pulse(h, 0, &item));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(vn_pulse(h, -VN_SEC, &item));
	ck_assert_ptr_null(vn_pulse_new(h, VN_SEC, &item, SIZE_MAX));
	ck_assert_ptr_nonnull(vn_pulse(h, VN_NEVER, &item));
	vn_stop(h);
	ck_assert_ptr_null(vn_pulse(h, VN_SEC, &item));
	ck_assert_int_eq(errno, ECANCELED);
	vn_hub_close(h);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		events_come_edge_by_edge,
		events_that_nobody_took_are_merged,
		only_what_was_asked_for_comes_but_for_the_end,
		who_has_waited_longest_gets_it,
		what_cannot_be_watched_is_refused,
		a_watched_descriptor_is_hope_until_its_end_is_closed,
		select_finds_a_descriptor_that_is_ready_without_asking_to_be_told,
		select_waits_for_a_descriptor_among_others,
		several_select_one_descriptor_that_is_watched_as_well,
		what_is_no_descriptor_is_ready_with_its_error,
		as_many_descriptors_as_cases_are_waited_for,
		a_stop_ends_a_select_of_descriptors,
		a_pulse_keeps_its_rhythm,
		who_is_slow_gets_the_next_pulse_a_period_after_it_took_the_last,
		a_pulse_is_hope_until_it_is_closed,
		a_pulse_without_a_period_is_refused,
	};

	return suite_run("source", tests, SUITE_COUNT(tests));
}
