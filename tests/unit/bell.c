/* SPDX-License-Identifier: MIT */
/*
 * Bell - each ring is an edge, a full bell is rung, and nobody who rings ever blocks
 *
 * Tests whose name begins with kernel_ show no code of ours: they pin what the design relies on.
 */
#include "shm/bell.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/suite.h"

static int
watch(int fd, uint32_t events)
{
	struct epoll_event event = {.events = events};
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	ck_assert_int_ge(epoll, 0);
	ck_assert_int_eq(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
	return epoll;
}

/* What is there now; 0 if nothing is. */
static uint32_t
look(int epoll)
{
	struct epoll_event event;
	int n = epoll_wait(epoll, &event, 1, 0);

	suite_assert(n >= 0);
	return n ? event.events : 0;
}

START_TEST(each_ring_of_a_pipe_that_is_not_empty_is_an_edge)
{
	int fds[2], epoll;

	ck_assert_int_eq(vn_bell_pipe(fds), 0);
	epoll = watch(fds[0], EPOLLIN | EPOLLET);
	for (int i = 0; i < 65536; i++) {
		suite_assert(vn_bell_ring(fds[1]) == 0);
		suite_assert(look(epoll) & EPOLLIN);
		suite_assert(look(epoll) == 0);
		if (i % 1000 == 999)
			suite_assert(vn_bell_drain(fds[0]) == 0);
	}
	close(epoll);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(each_ring_of_an_eventfd_that_nobody_reads_is_an_edge)
{
	int fd = vn_bell_eventfd(), epoll = watch(fd, EPOLLIN | EPOLLET);

	for (int i = 0; i < 65536; i++) {
		suite_assert(vn_bell_ring(fd) == 0);
		suite_assert(look(epoll) & EPOLLIN);
		suite_assert(look(epoll) == 0);
	}
	close(epoll);
	close(fd);
}
END_TEST

START_TEST(rings_before_the_look_are_one_edge)
{
	int fds[2], epoll;

	ck_assert_int_eq(vn_bell_pipe(fds), 0);
	epoll = watch(fds[0], EPOLLIN | EPOLLET);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(vn_bell_ring(fds[1]), 0);
	ck_assert(look(epoll) & EPOLLIN);
	ck_assert_uint_eq(look(epoll), 0);
	close(epoll);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(a_full_pipe_is_rung)
{
	int fds[2], epoll;

	ck_assert_int_eq(vn_bell_pipe(fds), 0);
	for (int i = 0; i < 100000; i++)
		suite_assert(vn_bell_ring(fds[1]) == 0);
	ck_assert_int_eq(write(fds[1], "x", 1), -1);
	ck_assert_int_eq(errno, EAGAIN);
	epoll = watch(fds[0], EPOLLIN | EPOLLET);
	ck_assert(look(epoll) & EPOLLIN);
	ck_assert_int_eq(vn_bell_drain(fds[0]), 0);
	ck_assert_int_eq(vn_bell_ring(fds[1]), 0);
	ck_assert(look(epoll) & EPOLLIN);
	close(epoll);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(a_saturated_eventfd_is_rung)
{
	uint64_t most = UINT64_MAX - 1;
	int fd = vn_bell_eventfd();

	ck_assert_int_eq(write(fd, &most, sizeof most), sizeof most);
	ck_assert_int_eq(vn_bell_ring(fd), 0);
	close(fd);
}
END_TEST

START_TEST(draining_empties_and_is_no_error_when_empty)
{
	char byte;
	int fds[2];

	ck_assert_int_eq(vn_bell_pipe(fds), 0);
	ck_assert_int_eq(vn_bell_drain(fds[0]), 0);
	for (int i = 0; i < 100000; i++)
		suite_assert(vn_bell_ring(fds[1]) == 0);
	ck_assert_int_eq(vn_bell_drain(fds[0]), 0);
	ck_assert_int_eq(read(fds[0], &byte, 1), -1);
	ck_assert_int_eq(errno, EAGAIN);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(ringing_where_nobody_waits_is_an_error_and_no_signal)
{
	int fds[2];

	signal(SIGPIPE, SIG_IGN); /* as the hub does */
	ck_assert_int_eq(vn_bell_pipe(fds), 0);
	close(fds[0]);
	ck_assert_int_eq(vn_bell_ring(fds[1]), -EPIPE);
	close(fds[1]);
}
END_TEST

START_TEST(the_end_of_the_one_who_rings_is_seen)
{
	int fds[2], epoll;

	ck_assert_int_eq(vn_bell_pipe(fds), 0);
	epoll = watch(fds[0], EPOLLIN | EPOLLET);
	vn_bell_ring(fds[1]);
	ck_assert_uint_eq(look(epoll), EPOLLIN);
	close(fds[1]);
	ck_assert(look(epoll) & EPOLLHUP);
	ck_assert_int_eq(vn_bell_drain(fds[0]), -EPIPE);
	close(epoll);
	close(fds[0]);
}
END_TEST

START_TEST(bells_are_close_on_exec_and_never_block)
{
	int fds[3];

	ck_assert_int_eq(vn_bell_pipe(fds), 0);
	fds[2] = vn_bell_eventfd();
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
		ck_assert(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
		close(fds[i]);
	}
}
END_TEST

START_TEST(a_bad_descriptor_is_an_error)
{
	ck_assert_int_eq(vn_bell_ring(-1), -EBADF);
	ck_assert_int_eq(vn_bell_drain(-1), -EBADF);
}
END_TEST

/* Why the broker writes no eventfd that a worker has: the child makes it block for both. */
START_TEST(kernel_a_shared_open_file_can_be_made_to_block_by_the_other)
{
	int fd = vn_bell_eventfd(), status;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0)
		_exit(fcntl(fd, F_SETFL, 0) == 0 ? 0 : 1);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	close(fd);
}
END_TEST

/* Why a pipe is safe: its two ends are two open files. */
START_TEST(kernel_the_reader_of_a_pipe_cannot_make_the_writer_block)
{
	int fds[2], status;
	pid_t child;

	ck_assert_int_eq(vn_bell_pipe(fds), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		close(fds[1]);
		_exit(fcntl(fds[0], F_SETFL, 0) == 0 ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert(fcntl(fds[1], F_GETFL) & O_NONBLOCK);
	for (int i = 0; i < 100000; i++) /* would hang here if it could */
		suite_assert(vn_bell_ring(fds[1]) == 0);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* Why EPOLL_CTL_DEL comes before close: what a grandchild holds stays registered. */
START_TEST(kernel_a_bell_that_somebody_else_holds_stays_in_epoll_after_close)
{
	int fd = vn_bell_eventfd(), epoll = watch(fd, EPOLLIN | EPOLLET), other = dup(fd);

	close(fd);
	vn_bell_ring(other);
	ck_assert(look(epoll) & EPOLLIN);
	close(other);
	close(epoll);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		each_ring_of_a_pipe_that_is_not_empty_is_an_edge,
		each_ring_of_an_eventfd_that_nobody_reads_is_an_edge,
		rings_before_the_look_are_one_edge,
		a_full_pipe_is_rung,
		a_saturated_eventfd_is_rung,
		draining_empties_and_is_no_error_when_empty,
		ringing_where_nobody_waits_is_an_error_and_no_signal,
		the_end_of_the_one_who_rings_is_seen,
		bells_are_close_on_exec_and_never_block,
		a_bad_descriptor_is_an_error,
		kernel_a_shared_open_file_can_be_made_to_block_by_the_other,
		kernel_the_reader_of_a_pipe_cannot_make_the_writer_block,
		kernel_a_bell_that_somebody_else_holds_stays_in_epoll_after_close,
	};

	return suite_run("bell", tests, SUITE_COUNT(tests));
}
