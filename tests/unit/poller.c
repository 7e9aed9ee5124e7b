/* SPDX-License-Identifier: MIT */
/*
 * Poller - events reach whom they concern, and nobody else
 */
#include "client/hub/poller.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/unit/coroutines.h"

NO_CONNECTIONS

typedef struct seen {
	int n;
	uint32_t index, gen, events;
} seen;

static void
see(void *arg, uint32_t index, uint32_t gen, uint32_t events)
{
	seen *s = arg;

	s->n++;
	s->index = index;
	s->gen = gen;
	s->events = events;
}

static int
event_fd(int count)
{
	int fd = eventfd((unsigned int)count, EFD_NONBLOCK | EFD_CLOEXEC);

	suite_assert(fd >= 0);
	return fd;
}

START_TEST(class_index_and_generation_come_back)
{
	vn_poller *p = vn_poller_new(&vn_sys_linux);
	seen a = {0}, b = {0};
	int class_a = vn_poller_class(p, see, &a), class_b = vn_poller_class(p, see, &b);
	int x = event_fd(1), y = event_fd(1);

	ck_assert_int_eq(
		vn_poller_add(p, x, class_a, 0xfedcba98, 0xff123456, EPOLLIN | EPOLLET), 0);
	ck_assert_int_eq(vn_poller_add(p, y, class_b, 7, 8, EPOLLIN | EPOLLET), 0);
	ck_assert_int_eq(vn_poller_poll(p, 0), 2);
	ck_assert_uint_eq(a.index, 0xfedcba98);
	ck_assert_uint_eq(a.gen, 0x123456);
	ck_assert_uint_eq(a.events, EPOLLIN);
	ck_assert_uint_eq(b.index, 7);
	ck_assert_int_eq(vn_poller_poll(p, 0), 0);
	ck_assert_int_eq(a.n + b.n, 2);
	ck_assert_int_eq(vn_poller_modify(p, y, class_b, 7, 9, EPOLLIN), 0);
	ck_assert_int_eq(vn_poller_poll(p, -1), 1);
	ck_assert_uint_eq(b.gen, 9);
	ck_assert_int_eq(vn_poller_remove(p, y), 0);
	ck_assert_int_eq(vn_poller_poll(p, 0), 0);
	ck_assert_ptr_null(vn_poller_free(p));
	close(x);
	close(y);
}
END_TEST

START_TEST(what_the_system_refuses_is_an_error)
{
	vn_poller *p = vn_poller_new(&vn_sys_linux);
	seen a = {0};
	int class = vn_poller_class(p, see, &a), fd = event_fd(0);
	vn_watch w = {.fd = -1};

	ck_assert_int_eq(vn_poller_add(p, 9999, class, 0, 0, EPOLLIN), -EBADF);
	ck_assert_int_eq(vn_poller_remove(p, fd), -ENOENT);
	ck_assert_int_eq(vn_poller_modify(p, fd, class, 0, 0, EPOLLIN), -ENOENT);
	ck_assert_int_eq(vn_watch_add(p, &w, 9999, EPOLLIN, NULL), -EBADF);
	ck_assert_int_eq(w.fd, -1);
	vn_watch_remove(p, &w);
	while (class >= 0)
		class = vn_poller_class(p, see, &a);
	ck_assert_int_eq(class, -ENOSPC);
	vn_poller_free(p);
	close(fd);
}
END_TEST

START_TEST(more_events_than_a_batch_holds_come_in_several)
{
	enum { FDS = 300 };
	vn_poller *p = vn_poller_new(&vn_sys_linux);
	seen a = {0};
	int class = vn_poller_class(p, see, &a), fds[FDS], n;

	for (int i = 0; i < FDS; i++) {
		fds[i] = event_fd(1);
		suite_assert(
			vn_poller_add(p, fds[i], class, (uint32_t)i, 0, EPOLLIN | EPOLLET) == 0);
	}
	for (n = 0; n < FDS;) {
		int got = vn_poller_poll(p, 0);

		suite_assert(got > 0 && got <= 128);
		n += got;
	}
	ck_assert_int_eq(vn_poller_poll(p, 0), 0);
	ck_assert_int_eq(a.n, FDS);
	vn_poller_free(p);
	for (int i = 0; i < FDS; i++)
		close(fds[i]);
}
END_TEST

typedef struct pair {
	vn_watch watch;
	vn_poller *poller;
	struct pair *other, *stranger;
	int n, fd;
} pair;

static void
count(vn_watch *w, uint32_t events)
{
	ck_assert_uint_ne(events, 0);
	((pair *)w)->n++;
}

static void
remove_the_other(vn_watch *w, uint32_t events)
{
	pair *p = (pair *)w;

	(void)events;
	p->n++;
	vn_watch_remove(p->poller, &p->other->watch);
	/* its place in the table is taken at once */
	vn_watch_add(p->poller, &p->stranger->watch, p->stranger->fd, EPOLLIN, count);
}

START_TEST(an_event_of_a_watch_removed_in_the_same_batch_reaches_nobody)
{
	vn_poller *p = vn_poller_new(&vn_sys_linux);
	pair x = {.poller = p}, y = {.poller = p}, s = {.fd = event_fd(0)};
	int a = event_fd(1), b = event_fd(1);

	x.other = &y;
	y.other = &x;
	x.stranger = y.stranger = &s;
	ck_assert_int_eq(vn_watch_add(p, &x.watch, a, EPOLLIN, remove_the_other), 0);
	ck_assert_int_eq(vn_watch_add(p, &y.watch, b, EPOLLIN, remove_the_other), 0);
	ck_assert_int_eq(vn_poller_poll(p, 0), 2);
	ck_assert_int_eq(x.n + y.n, 1);
	ck_assert_int_eq(s.n, 0);
	ck_assert_int_ge(s.watch.fd, 0);
	vn_poller_free(p);
	close(a);
	close(b);
	close(s.fd);
}
END_TEST

static void
remove_itself(vn_watch *w, uint32_t events)
{
	pair *p = (pair *)w;

	(void)events;
	p->n++;
	vn_watch_remove(p->poller, w);
}

START_TEST(a_watch_may_remove_itself_and_be_added_again)
{
	vn_poller *p = vn_poller_new(&vn_sys_linux);
	pair x = {.poller = p};
	int fd = event_fd(1);

	for (int i = 1; i < 4; i++) {
		ck_assert_int_eq(vn_watch_add(p, &x.watch, fd, EPOLLIN, remove_itself), 0);
		ck_assert_int_eq(vn_poller_poll(p, 0), 1);
		ck_assert_int_eq(vn_poller_poll(p, 0), 0);
		ck_assert_int_eq(x.n, i);
	}
	vn_watch_remove(p, &x.watch);
	vn_poller_free(p);
	close(fd);
}
END_TEST

START_TEST(the_table_of_watches_grows)
{
	enum { WATCHES = 500 };
	static pair x[WATCHES];
	vn_poller *p = vn_poller_new(&vn_sys_linux);
	int n = 0;

	for (int i = 0; i < WATCHES; i++)
		suite_assert(
			vn_watch_add(p, &x[i].watch, event_fd(1), EPOLLIN | EPOLLET, count) == 0);
	while (n < WATCHES)
		n += vn_poller_poll(p, 0);
	for (int i = 0; i < WATCHES; i++) {
		int fd = x[i].watch.fd;

		suite_assert(x[i].n == 1);
		vn_watch_remove(p, &x[i].watch);
		suite_assert(x[i].watch.fd == -1);
		close(fd);
	}
	vn_poller_free(p);
}
END_TEST

static void
on_alarm(int signal)
{
	(void)signal;
}

START_TEST(a_wait_that_a_signal_interrupts_has_no_events)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct itimerval soon = {.it_value.tv_usec = 20000, .it_interval.tv_usec = 20000};
	vn_poller *p = vn_poller_new(&vn_sys_linux);

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	ck_assert_int_eq(vn_poller_poll(p, -1), 0);
	ck_assert_int_eq(vn_poller_poll(p, 3600 * VN_SEC), 0);
	vn_poller_free(p);
}
END_TEST

START_TEST(a_wait_with_a_timeout_lasts_that_long)
{
	vn_poller *p = vn_poller_new(&vn_sys_linux);
	const int64_t timeouts[] = {1, 300000, 3 * VN_MS + 1};

	for (size_t i = 0; i < SUITE_COUNT(timeouts); i++) {
		int64_t start = vn_sys_linux.now(&vn_sys_linux);

		ck_assert_int_eq(vn_poller_poll(p, timeouts[i]), 0);
		ck_assert_int_ge(vn_sys_linux.now(&vn_sys_linux) - start, timeouts[i]);
	}
	vn_poller_free(p);
}
END_TEST

START_TEST(no_descriptor_no_poller)
{
	struct rlimit before, none;
	int n = suite_n_fds();
	vn_poller *p = vn_poller_new(&vn_sys_linux);

	vn_poller_free(p);
	ck_assert_int_eq(suite_n_fds(), n);
	getrlimit(RLIMIT_NOFILE, &before);
	none = (struct rlimit){0, before.rlim_max};
	setrlimit(RLIMIT_NOFILE, &none);
	errno = 0;
	ck_assert_ptr_null(vn_poller_new(&vn_sys_linux));
	ck_assert_int_eq(errno, EMFILE);
	setrlimit(RLIMIT_NOFILE, &before); /* for the sanitizers at the end */
	ck_assert_ptr_null(vn_poller_free(NULL));
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		class_index_and_generation_come_back,
		what_the_system_refuses_is_an_error,
		more_events_than_a_batch_holds_come_in_several,
		an_event_of_a_watch_removed_in_the_same_batch_reaches_nobody,
		a_watch_may_remove_itself_and_be_added_again,
		the_table_of_watches_grows,
		a_wait_that_a_signal_interrupts_has_no_events,
		a_wait_with_a_timeout_lasts_that_long,
		no_descriptor_no_poller,
	};

	return suite_run("poller", tests, SUITE_COUNT(tests));
}
