/* SPDX-License-Identifier: MIT */
/*
 * Stream - descriptors of every kind, read, written, waited for and closed
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "client/os/pool.h"
#include "client/os/stream.h"
#include "tests/unit/coroutines.h"

static vn_hub *
hub_open(void)
{
	vn_hub *h = vn_hub_open(&vn_sys_linux);

	ck_assert_ptr_nonnull(h);
	return h;
}

static void
pipe_open(vn_hub *h, vn_stream *ends[2])
{
	ck_assert_int_eq(vn_os_pipe(h, ends), 0);
}

START_TEST(a_pipe_carries_bytes_and_then_its_end)
{
	int n_fds = suite_n_fds();
	vn_hub *h = hub_open();
	vn_stream *ends[2];
	char buf[16];

	pipe_open(h, ends);
	ck_assert_int_eq(vn_os_write(ends[1], "hello", 5), 0);
	ck_assert_int_eq(vn_os_read(ends[0], buf, sizeof buf), 5);
	ck_assert_mem_eq(buf, "hello", 5);
	ck_assert_int_eq(vn_os_write(ends[1], "more", 4), 0);
	ck_assert_int_eq(vn_close(ends[1]), 0);
	ck_assert_int_eq(vn_os_read(ends[0], buf, 3), 3);
	ck_assert_int_eq(vn_os_read(ends[0], buf, 3), 1);
	ck_assert_int_eq(vn_os_read(ends[0], buf, 3), 0);
	ck_assert_int_eq(vn_os_read(ends[0], buf, 3), 0);
	ck_assert_int_eq(vn_close(ends[0]), 0);
	vn_hub_close(h);
	ck_assert_int_eq(suite_n_fds(), n_fds);
}
END_TEST

START_TEST(nobody_who_reads_is_epipe)
{
	vn_hub *h = hub_open();
	vn_stream *ends[2];

	pipe_open(h, ends);
	vn_close(ends[0]);
	ck_assert_int_eq(vn_os_write(ends[1], "x", 1), -EPIPE);
	ck_assert_int_eq(vn_os_write(ends[1], "x", 1), -EPIPE);
	vn_close(ends[1]);
	vn_hub_close(h);
}
END_TEST

START_TEST(null_is_answered)
{
	char byte;

	ck_assert_int_eq(vn_os_read(NULL, &byte, 1), -EBADF);
	ck_assert_int_eq(vn_os_read_n(NULL, &byte, 1), -EBADF);
	ck_assert_int_eq(vn_os_read_until(NULL, &byte, 1, "x"), -EBADF);
	ck_assert_int_eq(vn_os_write(NULL, &byte, 1), -EBADF);
	ck_assert_int_eq(vn_os_shutdown(NULL), -EBADF);
	ck_assert_int_eq(vn_os_seek(NULL, 0), -EBADF);
	ck_assert_int_eq(vn_os_fd(NULL), -EBADF);
	ck_assert_int_eq(vn_os_close(NULL), 0);
	ck_assert_ptr_null(vn_os_readable(NULL));
}
END_TEST

START_TEST(what_is_no_descriptor_is_refused)
{
	vn_hub *h = hub_open();
	vn_stream *ends[2];

	errno = 0;
	ck_assert_ptr_null(vn_os_stream(h, -1, 0));
	ck_assert_int_eq(errno, EBADF);
	ck_assert_ptr_null(vn_os_stream(h, 0, 2));
	ck_assert_int_eq(errno, EINVAL);
	pipe_open(h, ends);
	ck_assert_ptr_null(vn_os_stream(h, vn_os_fd(ends[0]), 0));
	ck_assert_int_eq(errno, EEXIST);
	vn_hub_close(h);
}
END_TEST

/* Writes a piece at a time, so that the reader sees them apart. */
typedef struct pieces {
	vn_stream *to;
	const char *const *pieces;
} pieces;

static int
write_pieces(vn_hub *h, void *arg)
{
	const pieces *p = arg;

	for (size_t i = 0; p->pieces[i]; i++) {
		suite_assert(vn_os_write(p->to, p->pieces[i], strlen(p->pieces[i])) == 0);
		vn_sleep(h, VN_MS);
	}
	vn_close(p->to);
	return 0;
}

START_TEST(lines_are_found_wherever_they_are_cut)
{
	static const char *const cut[] = {
		"one\r", "\ntwo\r\nthree", "\r", "\n", "\r\nrest\r", NULL};
	vn_hub *h = hub_open();
	vn_stream *ends[2];
	pieces p;
	char buf[64];

	pipe_open(h, ends);
	p = (pieces){ends[1], cut};
	vn_spawn(h, write_pieces, &p);
	ck_assert_int_eq(vn_os_read_until(ends[0], buf, sizeof buf, "\r\n"), 5);
	ck_assert_mem_eq(buf, "one\r\n", 5);
	ck_assert_int_eq(vn_os_read_until(ends[0], buf, sizeof buf, "\r\n"), 5);
	ck_assert_mem_eq(buf, "two\r\n", 5);
	ck_assert_int_eq(vn_os_read_until(ends[0], buf, sizeof buf, "\r\n"), 7);
	ck_assert_mem_eq(buf, "three\r\n", 7);
	ck_assert_int_eq(vn_os_read_until(ends[0], buf, sizeof buf, "\r\n"), 2);
	ck_assert_int_eq(vn_os_read_until(ends[0], buf, sizeof buf, "\r\n"), 5);
	ck_assert_mem_eq(buf, "rest\r", 5);
	ck_assert_int_eq(vn_os_read_until(ends[0], buf, sizeof buf, "\r\n"), 0);
	ck_assert_int_eq(vn_os_read_until(ends[0], buf, sizeof buf, ""), -EINVAL);
	vn_close(ends[0]);
	vn_hub_close(h);
}
END_TEST

START_TEST(what_is_left_over_is_read_next)
{
	vn_hub *h = hub_open();
	vn_stream *ends[2];
	char buf[64];

	pipe_open(h, ends);
	vn_os_write(ends[1], "key\nvalue-of-it", 15);
	ck_assert_int_eq(vn_os_read_until(ends[0], buf, sizeof buf, "\n"), 4);
	ck_assert_int_eq(vn_os_read(ends[0], buf, 3), 3);
	ck_assert_mem_eq(buf, "val", 3);
	vn_os_write(ends[1], "+more", 5);
	ck_assert_int_eq(vn_os_read_n(ends[0], buf, 13), 13);
	ck_assert_mem_eq(buf, "ue-of-it+more", 13);
	vn_close(ends[1]);
	ck_assert_int_eq(vn_os_read_n(ends[0], buf, 5), 0);
	vn_close(ends[0]);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_line_that_is_too_long_is_not_taken)
{
	vn_hub *h = hub_open();
	vn_stream *ends[2];
	char buf[64];

	pipe_open(h, ends);
	vn_os_write(ends[1], "0123456789\n", 11);
	ck_assert_int_eq(vn_os_read_until(ends[0], buf, 10, "\n"), -EMSGSIZE);
	ck_assert_int_eq(vn_os_read_until(ends[0], buf, 5, "\n"), -EMSGSIZE);
	ck_assert_int_eq(vn_os_read_until(ends[0], buf, 11, "\n"), 11);
	vn_close(ends[1]);
	vn_close(ends[0]);
	vn_hub_close(h);
}
END_TEST

static int
write_later(vn_hub *h, void *arg)
{
	vn_sleep(h, 5 * VN_MS);
	return vn_os_write(arg, "end\n", 4);
}

START_TEST(long_lines_are_read_as_far_as_asked)
{
	enum { LEN = 50000 };
	vn_hub *h = hub_open();
	vn_stream *ends[2];
	char *text = malloc(LEN), *buf = malloc(LEN + 10);

	pipe_open(h, ends);
	memset(text, 'x', LEN);
	vn_os_write(ends[1], text, LEN);
	vn_spawn(h, write_later, ends[1]);
	ck_assert_int_eq(vn_os_read_until(ends[0], buf, LEN + 10, "\n"), LEN + 4);
	ck_assert_mem_eq(buf, text, LEN);
	ck_assert_mem_eq(buf + LEN, "end\n", 4);
	vn_close(ends[1]);
	vn_close(ends[0]);
	vn_hub_close(h);
	free(text);
	free(buf);
}
END_TEST

START_TEST(a_read_that_fails_has_taken_nothing)
{
	vn_hub *h = hub_open();
	vn_stream *ends[2];
	char buf[64];
	vn_time outer;

	pipe_open(h, ends);
	vn_os_write(ends[1], "a\nbcd", 5);
	ck_assert_int_eq(vn_os_read_until(ends[0], buf, sizeof buf, "\n"), 2);
	outer = vn_timeout(h, 2 * VN_MS);
	ck_assert_int_eq(vn_os_read_n(ends[0], buf, 10), -ETIMEDOUT);
	vn_deadline(h, outer);
	outer = vn_timeout(h, 2 * VN_MS);
	ck_assert_int_eq(vn_os_read_until(ends[0], buf, 10, "\n"), -ETIMEDOUT);
	vn_deadline(h, outer);
	vn_os_write(ends[1], "efg\n", 4);
	ck_assert_int_eq(vn_os_read_n(ends[0], buf, 7), 7);
	ck_assert_mem_eq(buf, "bcdefg\n", 7);
	vn_hub_close(h);
}
END_TEST

/* Writers, one after the other. */
enum { BULK = 300000 };

typedef struct bulk {
	vn_stream *to;
	char letter;
	int rc;
} bulk;

static int
write_bulk(vn_hub *h, void *arg)
{
	bulk *b = arg;
	char *text = malloc(BULK);

	(void)h;
	memset(text, b->letter, BULK);
	b->rc = vn_os_write(b->to, text, BULK);
	free(text);
	return 0;
}

START_TEST(writers_go_one_after_the_other)
{
	vn_hub *h = hub_open();
	vn_stream *ends[2];
	bulk writers[3];
	char *text = malloc(BULK);

	pipe_open(h, ends);
	for (int i = 0; i < 3; i++) {
		writers[i] = (bulk){ends[1], (char)('a' + i), 1};
		vn_spawn(h, write_bulk, &writers[i]);
	}
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(vn_os_read_n(ends[0], text, BULK), BULK);
		for (int k = 0; k < BULK; k++)
			suite_assert(text[k] == 'a' + i);
	}
	vn_yield(h);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(writers[i].rc, 0);
	vn_hub_close(h);
	free(text);
}
END_TEST

static int
write_bulk_limited(vn_hub *h, void *arg)
{
	vn_timeout(h, 5 * VN_MS);
	return write_bulk(h, arg);
}

START_TEST(a_writer_who_leaves_gives_the_turn_on)
{
	vn_hub *h = hub_open();
	vn_stream *ends[2];
	bulk first, second;
	char *text = malloc(BULK);
	ssize_t n;

	pipe_open(h, ends);
	first = (bulk){ends[1], 'a', 1};
	second = (bulk){ends[1], 'b', 1};
	vn_spawn(h, write_bulk_limited, &first);
	vn_spawn(h, write_bulk, &second);
	vn_sleep(h, 20 * VN_MS);
	ck_assert_int_eq(first.rc, -ETIMEDOUT);
	n = vn_os_read(ends[0], text, BULK);
	while (n > 0 && text[n - 1] == 'a')
		n = vn_os_read(ends[0], text, BULK);
	ck_assert_int_gt(n, 0);
	while (second.rc == 1)
		ck_assert_int_gt(vn_os_read(ends[0], text, BULK), 0);
	ck_assert_int_eq(second.rc, 0);
	vn_hub_close(h);
	free(text);
}
END_TEST

typedef struct reading {
	vn_stream *from;
	ssize_t rc;
} reading;

static int
read_one(vn_hub *h, void *arg)
{
	reading *r = arg;
	char byte;

	(void)h;
	r->rc = vn_os_read(r->from, &byte, 1);
	return 0;
}

START_TEST(one_reads_at_a_time)
{
	vn_hub *h = hub_open();
	vn_stream *ends[2];
	reading r;
	char byte;

	pipe_open(h, ends);
	r = (reading){ends[0], 99};
	vn_spawn(h, read_one, &r);
	vn_yield(h);
	ck_assert_int_eq(vn_os_read(ends[0], &byte, 1), -EBUSY);
	ck_assert_int_eq(vn_select(h, VN_OS_READ(ends[0])), -EBUSY);
	vn_os_write(ends[1], "x", 1);
	vn_sleep(h, VN_MS);
	ck_assert_int_eq(r.rc, 1);
	vn_hub_close(h);
}
END_TEST

static int
select_both(vn_hub *h, void *arg)
{
	reading *r = arg;
	int rc = vn_select(h, VN_OS_READ(r->from));

	r->rc = rc < 0 ? rc : vn_selected(h);
	return 0;
}

START_TEST(closing_wakes_who_waits)
{
	int n_fds = suite_n_fds();
	vn_hub *h = hub_open();
	vn_stream *ends[2], *others[2];
	reading r, s;
	bulk first, second;

	pipe_open(h, ends);
	pipe_open(h, others);
	r = (reading){ends[0], 99};
	s = (reading){others[0], 99};
	first = (bulk){others[1], 'a', 1};
	second = (bulk){others[1], 'b', 1};
	vn_spawn(h, read_one, &r);
	vn_spawn(h, write_bulk, &first);
	vn_spawn(h, write_bulk, &second);
	vn_sleep(h, VN_MS);
	vn_close(ends[0]);
	vn_close(others[1]);
	vn_sleep(h, VN_MS);
	ck_assert_int_eq(r.rc, -EPIPE);
	ck_assert_int_eq(first.rc, -EPIPE);
	ck_assert_int_eq(second.rc, -EPIPE);
	vn_close(others[0]);
	vn_close(ends[1]);
	pipe_open(h, others);
	s.from = others[0];
	vn_spawn(h, select_both, &s);
	vn_sleep(h, VN_MS);
	vn_close(others[0]);
	vn_yield(h);
	ck_assert_int_eq(s.rc, -EPIPE);
	vn_close(others[1]);
	vn_hub_close(h);
	ck_assert_int_eq(suite_n_fds(), n_fds);
}
END_TEST

START_TEST(a_shutdown_is_seen_by_the_other_side)
{
	vn_hub *h = hub_open();
	vn_stream *a, *b, *ends[2], *event;
	int fds[2];
	char buf[8];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	a = vn_os_stream(h, fds[0], 0);
	b = vn_os_stream(h, fds[1], 0);
	vn_os_write(a, "bye", 3);
	ck_assert_int_eq(vn_os_shutdown(a), 0);
	ck_assert_int_eq(vn_os_write(a, "x", 1), -EPIPE);
	ck_assert_int_eq(vn_os_read_n(b, buf, 8), 3);
	ck_assert_int_eq(vn_os_read(b, buf, 8), 0);
	vn_os_write(b, "still", 5);
	ck_assert_int_eq(vn_os_read_n(a, buf, 5), 5);
	vn_close(a);
	vn_close(b);
	pipe_open(h, ends);
	vn_os_write(ends[1], "bye", 3);
	ck_assert_int_eq(vn_os_shutdown(ends[1]), 0);
	ck_assert_int_eq(vn_os_shutdown(ends[1]), 0);
	ck_assert_int_eq(vn_os_fd(ends[1]), -EBADF);
	ck_assert_int_eq(vn_os_write(ends[1], "x", 1), -EPIPE);
	ck_assert_int_eq(vn_os_read(ends[1], buf, 1), -EBADF);
	ck_assert_int_eq(vn_os_read_n(ends[0], buf, 8), 3);
	ck_assert_int_eq(vn_os_shutdown(ends[0]), -EOPNOTSUPP);
	vn_close(ends[0]);
	vn_close(ends[1]);
	event = vn_os_stream(h, eventfd(0, EFD_CLOEXEC), 0);
	ck_assert_int_eq(vn_os_shutdown(event), -EOPNOTSUPP);
	vn_close(event);
	vn_hub_close(h);
}
END_TEST

static int
shut_down(vn_hub *h, void *arg)
{
	(void)h;
	return vn_os_shutdown(arg);
}

START_TEST(a_shutdown_comes_after_what_is_being_written)
{
	vn_hub *h = hub_open();
	vn_stream *ends[2];
	bulk b;
	char *text = malloc(BULK + 1);

	pipe_open(h, ends);
	b = (bulk){ends[1], 'a', 1};
	vn_spawn(h, write_bulk, &b);
	vn_spawn(h, shut_down, ends[1]);
	ck_assert_int_eq(vn_os_read_n(ends[0], text, BULK + 1), BULK);
	ck_assert_int_eq(b.rc, 0);
	vn_hub_close(h);
	free(text);
}
END_TEST

START_TEST(blocking_descriptors_stay_what_they_are)
{
	vn_hub *h = hub_open();
	vn_stream *in, *out;
	int fds[2];
	char byte;
	vn_time outer;

	ck_assert_int_eq(pipe(fds), 0);
	in = vn_os_stream(h, fds[0], VN_KEEP);
	out = vn_os_stream(h, fds[1], VN_KEEP);
	outer = vn_timeout(h, VN_MS);
	ck_assert_int_eq(vn_os_read(in, &byte, 1), -ETIMEDOUT);
	vn_deadline(h, outer);
	ck_assert_int_eq(vn_os_write(out, "x", 1), 0);
	ck_assert_int_eq(vn_os_read(in, &byte, 1), 1);
	ck_assert_int_eq(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0);
	vn_close(in);
	vn_close(out);
	ck_assert_int_eq(close(fds[0]), 0);
	ck_assert_int_eq(close(fds[1]), 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_tty_is_given_back_as_it_was)
{
	vn_hub *h = hub_open();
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	vn_stream *tty;
	char buf[16];
	vn_time outer;

	ck_assert_int_ge(master, 0);
	ck_assert_int_eq(grantpt(master) | unlockpt(master), 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	ck_assert_int_ge(slave, 0);
	tty = vn_os_stream(h, slave, VN_KEEP);
	ck_assert_ptr_nonnull(tty);
	outer = vn_timeout(h, VN_MS);
	ck_assert_int_eq(vn_os_read(tty, buf, sizeof buf), -ETIMEDOUT);
	vn_deadline(h, outer);
	ck_assert_int_eq(write(master, "line\n", 5), 5);
	ck_assert_int_eq(vn_os_read_until(tty, buf, sizeof buf, "\n"), 5);
	ck_assert_int_eq(vn_os_write(tty, "ok", 2), 0);
	vn_close(tty);
	ck_assert_int_eq(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
	close(slave);
	close(master);
	vn_hub_close(h);
}
END_TEST

START_TEST(descriptors_of_events_are_read_event_by_event)
{
	vn_hub *h = hub_open();
	char path[] = "/tmp/vanilla-os-XXXXXX", events[4096];
	int fd = mkstemp(path);
	vn_stream *count = vn_os_stream(h, eventfd(0, EFD_CLOEXEC), 0),
		  *timer = vn_os_stream(h, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), 0),
		  *notify = vn_os_stream(h, inotify_init1(IN_CLOEXEC), 0);
	struct itimerspec soon = {.it_value.tv_nsec = 2000000};
	uint64_t n = 7;

	ck_assert_int_eq(vn_os_write(count, &n, sizeof n), 0);
	n = 0;
	ck_assert_int_eq(vn_os_read(count, &n, sizeof n), 8);
	ck_assert_uint_eq(n, 7);
	ck_assert_int_eq(vn_os_read(count, &n, 4), -EINVAL);
	timerfd_settime(vn_os_fd(timer), 0, &soon, NULL);
	ck_assert_int_eq(vn_os_read(timer, &n, sizeof n), 8);
	ck_assert_uint_eq(n, 1);
	ck_assert_int_ge(inotify_add_watch(vn_os_fd(notify), path, IN_DELETE_SELF), 0);
	close(fd);
	unlink(path);
	ck_assert_int_ge(
		vn_os_read(notify, events, sizeof events), (int)sizeof(struct inotify_event));
	vn_hub_close(h);
}
END_TEST

START_TEST(datagrams_stay_apart)
{
	vn_hub *h = hub_open();
	vn_stream *a, *b;
	int fds[2];
	char buf[16];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
	a = vn_os_stream(h, fds[0], 0);
	b = vn_os_stream(h, fds[1], 0);
	vn_os_write(a, "one", 3);
	vn_os_write(a, "three", 5);
	ck_assert_int_eq(vn_os_read(b, buf, sizeof buf), 3);
	ck_assert_int_eq(vn_os_read(b, buf, sizeof buf), 5);
	vn_hub_close(h);
}
END_TEST

static int
write_x(vn_hub *h, void *arg)
{
	vn_sleep(h, VN_MS);
	return vn_os_write(arg, "x\ny", 3);
}

START_TEST(a_select_sees_what_can_be_read)
{
	vn_hub *h = hub_open();
	vn_stream *ends[2];
	char buf[8];

	pipe_open(h, ends);
	ck_assert_int_eq(vn_select(h, VN_OS_READ(ends[0]), VN_ELSE), 1);
	vn_spawn(h, write_x, ends[1]);
	ck_assert_int_eq(vn_select(h, VN_AFTER(60 * VN_SEC), VN_OS_READ(ends[0])), 1);
	ck_assert_int_eq(vn_selected(h), 0);
	ck_assert_int_eq(vn_os_read_until(ends[0], buf, 8, "\n"), 2);
	ck_assert_int_eq(vn_select(h, VN_OS_READ(ends[0]), VN_ELSE), 0);
	ck_assert_int_eq(vn_os_read(ends[0], buf, 8), 1);
	ck_assert_int_eq(vn_select(h, VN_OS_READ(ends[0]), VN_ELSE), 1);
	vn_close(ends[1]);
	ck_assert_int_eq(vn_select(h, VN_OS_READ(ends[0]), VN_ELSE), 0);
	ck_assert_int_eq(vn_os_read(ends[0], buf, 8), 0);
	ck_assert_int_eq(vn_select(h, VN_OS_READ(NULL)), 0);
	ck_assert_int_eq(vn_selected(h), -EBADF);
	vn_hub_close(h);
}
END_TEST

static int
read_all(vn_hub *h, void *arg)
{
	static const int many = 1 << 20;
	char *text = malloc((size_t)many);

	vn_sleep(h, 2 * VN_MS);
	while (vn_os_read(arg, text, (size_t)many) > 0)
		;
	free(text);
	return 0;
}

START_TEST(a_select_sees_what_can_be_written)
{
	vn_hub *h = hub_open();
	vn_stream *ends[2];
	bulk b;

	pipe_open(h, ends);
	ck_assert_int_eq(vn_select(h, VN_OS_WRITE(ends[1]), VN_ELSE), 0);
	b = (bulk){ends[1], 'a', 1};
	vn_spawn(h, write_bulk, &b);
	vn_yield(h);
	ck_assert_int_eq(vn_select(h, VN_OS_WRITE(ends[1]), VN_ELSE), 1);
	vn_spawn(h, read_all, ends[0]);
	ck_assert_int_eq(vn_select(h, VN_AFTER(60 * VN_SEC), VN_OS_WRITE(ends[1])), 1);
	ck_assert_int_eq(vn_selected(h), 0);
	ck_assert_int_eq(b.rc, 0);
	vn_os_shutdown(ends[1]);
	ck_assert_int_eq(vn_select(h, VN_OS_WRITE(ends[1])), 0);
	ck_assert_int_eq(vn_selected(h), -EPIPE);
	vn_hub_close(h);
}
END_TEST

static int
note_that_it_ran(vn_hub *h, void *arg)
{
	(void)h;
	*(bool *)arg = true;
	return 0;
}

START_TEST(what_is_always_ready_lets_others_run)
{
	vn_hub *h = hub_open();
	vn_stream *ends[2];
	bool ran = false;
	int n = 0;
	char byte;

	pipe_open(h, ends);
	vn_spawn(h, note_that_it_ran, &ran);
	while (!ran && n++ < 1000) {
		ck_assert_int_eq(vn_os_write(ends[1], "x", 1), 0);
		ck_assert_int_eq(vn_os_read(ends[0], &byte, 1), 1);
	}
	ck_assert(ran);
	vn_hub_close(h);
}
END_TEST

/* Regular files */

static int
file_make(char *path)
{
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	unlink(path);
	return fd;
}

START_TEST(a_file_is_written_and_read_like_everything_else)
{
	enum { LEN = 1000000 };
	vn_hub *h = hub_open();
	char path[] = "/tmp/vanilla-os-XXXXXX", *text = malloc(LEN), *back = malloc(LEN + 1);
	vn_stream *s;

	close(mkstemp(path));
	s = vn_os_open(h, path, O_RDWR | O_TRUNC, 0);
	ck_assert_ptr_nonnull(s);
	ck_assert_int_ne(fcntl(vn_os_fd(s), F_GETFD) & FD_CLOEXEC, 0);
	for (int i = 0; i < LEN; i++)
		text[i] = (char)('a' + i % 26);
	text[LEN - 1] = '\n';
	ck_assert_int_eq(vn_os_write(s, text, LEN), 0);
	ck_assert_int_eq(vn_os_seek(s, 0), 0);
	ck_assert_int_eq(vn_os_read_n(s, back, LEN + 1), LEN);
	ck_assert_mem_eq(back, text, LEN);
	ck_assert_int_eq(vn_os_read(s, back, 1), 0);
	ck_assert_int_eq(vn_os_seek(s, LEN - 5), 0);
	ck_assert_int_eq(vn_os_read_until(s, back, 100, "\n"), 5);
	ck_assert_int_eq(vn_os_seek(s, -1), -EINVAL);
	ck_assert_int_eq(vn_os_shutdown(s), -EOPNOTSUPP);
	ck_assert_int_eq(vn_select(h, VN_OS_READ(s), VN_ELSE), 0);
	ck_assert_int_eq(vn_select(h, VN_OS_WRITE(s), VN_ELSE), 0);
	ck_assert_int_eq(vn_close(s), 0);
	unlink(path);
	vn_hub_close(h);
	free(text);
	free(back);
}
END_TEST

START_TEST(a_file_that_cannot_be_opened_says_why)
{
	vn_hub *h = hub_open();

	ck_assert_ptr_null(vn_os_open(h, "/nowhere/at/all", O_RDONLY, 0));
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_ptr_null(vn_os_open(h, "/tmp", O_WRONLY, 0));
	ck_assert_int_eq(errno, EISDIR);
	vn_hub_close(h);
}
END_TEST

static void
count_line(void *arg, int level, const char *text)
{
	(void)level;
	*(int *)arg += strstr(text, "here.c:7") != NULL;
}

START_TEST(what_stays_open_is_told_with_its_place)
{
	vn_hub *h = hub_open();
	int n = 0;

	vn_log_to(h, count_line, &n);
	ck_assert_ptr_nonnull(vn_os_open(vn_here(h, "here.c", 7), "/dev/null", O_RDONLY, 0));
	ck_assert_ptr_nonnull(vn_os_open(h, "/dev/null", O_RDONLY, 0));
	vn_hub_close(h);
	ck_assert_int_eq(n, 1);
}
END_TEST

START_TEST(errors_of_files_come_back)
{
	vn_hub *h = hub_open();
	vn_stream *folder = vn_os_open(h, "/tmp", O_RDONLY, 0),
		  *full = vn_os_open(h, "/dev/full", O_WRONLY, 0);
	char buf[8] = "unused";

	ck_assert_int_eq(vn_os_read(folder, buf, 8), -EISDIR);
	ck_assert_int_eq(vn_os_write(folder, buf, 8), -EBADF);
	ck_assert_int_eq(vn_os_write(full, buf, 8), -ENOSPC);
	vn_hub_close(h);
}
END_TEST

START_TEST(devices_that_cannot_be_waited_for_are_files_too)
{
	vn_hub *h = hub_open();
	vn_stream *nothing = vn_os_open(h, "/dev/null", O_RDWR, 0),
		  *zero = vn_os_open(h, "/dev/zero", O_RDONLY, 0);
	char buf[8] = "xxxxxxx";

	ck_assert_int_eq(vn_os_write(nothing, "x", 1), 0);
	ck_assert_int_eq(vn_os_read(nothing, buf, 8), 0);
	ck_assert_int_eq(vn_os_read_n(zero, buf, 8), 8);
	ck_assert_mem_eq(buf, "\0\0\0\0\0\0\0\0", 8);
	vn_hub_close(h);
}
END_TEST

START_TEST(the_position_is_handed_over_and_back)
{
	vn_hub *h = hub_open();
	char path[] = "/tmp/vanilla-os-XXXXXX", buf[16];
	int fd = file_make(path);
	vn_stream *s;

	ck_assert_int_eq(write(fd, "head\nbody\ntail\n", 15), 15);
	lseek(fd, 5, SEEK_SET);
	s = vn_os_stream(h, fd, VN_KEEP);
	ck_assert_int_eq(vn_os_read_until(s, buf, sizeof buf, "\n"), 5);
	ck_assert_mem_eq(buf, "body\n", 5);
	ck_assert_int_eq(vn_os_write(s, "TAIL", 4), 0);
	vn_close(s);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 14);
	ck_assert_int_eq(pread(fd, buf, 16, 0), 15);
	ck_assert_mem_eq(buf, "head\nbody\nTAIL\n", 15);
	close(fd);
	vn_hub_close(h);
}
END_TEST

START_TEST(what_appends_appends)
{
	vn_hub *h = hub_open();
	char path[] = "/tmp/vanilla-os-XXXXXX", buf[16];
	vn_stream *s;

	close(mkstemp(path));
	s = vn_os_open(h, path, O_RDWR | O_APPEND, 0);
	vn_os_write(s, "one", 3);
	vn_os_write(s, "two", 3);
	ck_assert_int_eq(vn_os_read(s, buf, sizeof buf), 6);
	ck_assert_mem_eq(buf, "onetwo", 6);
	unlink(path);
	vn_hub_close(h);
}
END_TEST

/* All threads for files are busy until they are let go. */
enum { FILE_THREADS = 4 };

typedef struct jam {
	int fds[2];
	vn_hub *hub;
} jam;

static int
jam_thread(void *arg)
{
	char byte;

	return (int)read(*(int *)arg, &byte, 1);
}

static int
jam_one(vn_hub *h, void *arg)
{
	jam *j = arg;

	return vn_pool_call(vn_pool_of_files(h), jam_thread, &j->fds[0]);
}

static void
jam_begin(jam *j, vn_hub *h)
{
	ck_assert_int_eq(pipe2(j->fds, O_CLOEXEC), 0);
	for (int i = 0; i < FILE_THREADS; i++)
		vn_spawn(h, jam_one, j);
	vn_sleep(h, VN_MS);
}

static void
jam_end(jam *j)
{
	ck_assert_int_eq(write(j->fds[1], "xxxx", FILE_THREADS), FILE_THREADS);
}

static void
jam_close(jam *j)
{
	close(j->fds[0]);
	close(j->fds[1]);
}

START_TEST(a_reader_who_leaves_takes_nothing)
{
	enum { LEN = 100000 };
	vn_hub *h = hub_open();
	char path[] = "/tmp/vanilla-os-XXXXXX", *text = malloc(LEN);
	int fd = file_make(path);
	vn_stream *s = vn_os_stream(h, fd, 0);
	vn_time outer;
	jam j;

	memset(text, 'x', LEN);
	memcpy(text, "begin", 5);
	ck_assert_int_eq(pwrite(fd, text, LEN, 0), LEN);
	memset(text, 0, LEN);
	jam_begin(&j, h);
	outer = vn_timeout(h, VN_MS);
	ck_assert_int_eq(vn_os_read(s, text, LEN), -ETIMEDOUT);
	vn_deadline(h, outer);
	jam_end(&j);
	vn_sleep(h, 5 * VN_MS);
	ck_assert_int_eq(text[0], 0);
	ck_assert_int_eq(vn_os_read_n(s, text, LEN), LEN);
	ck_assert_mem_eq(text, "begin", 5);
	vn_hub_close(h);
	jam_close(&j);
	free(text);
}
END_TEST

START_TEST(a_write_whose_caller_has_left_is_finished_before_the_next)
{
	vn_hub *h = hub_open();
	char path[] = "/tmp/vanilla-os-XXXXXX", buf[16];
	vn_stream *s = vn_os_stream(h, file_make(path), 0);
	vn_time outer;
	jam j;

	jam_begin(&j, h);
	outer = vn_timeout(h, VN_MS);
	ck_assert_int_eq(vn_os_write(s, "first-", 6), -ETIMEDOUT);
	ck_assert_int_eq(vn_select(h, VN_OS_WRITE(s), VN_ELSE), 1);
	ck_assert_int_eq(vn_os_write(s, "never-", 6), -ETIMEDOUT);
	ck_assert_int_eq(vn_os_seek(s, 0), -EBUSY);
	vn_deadline(h, outer);
	jam_end(&j);
	ck_assert_int_eq(vn_os_write(s, "second", 6), 0);
	vn_os_seek(s, 0);
	ck_assert_int_eq(vn_os_read(s, buf, sizeof buf), 12);
	ck_assert_mem_eq(buf, "first-second", 12);
	vn_hub_close(h);
	jam_close(&j);
}
END_TEST

START_TEST(a_descriptor_stays_open_while_a_thread_works_on_it)
{
	int n_fds;
	vn_hub *h = hub_open();
	char path[] = "/tmp/vanilla-os-XXXXXX", back[8] = "";
	int fd = file_make(path), copy = dup(fd);
	vn_stream *s = vn_os_stream(h, fd, 0);
	vn_time outer;
	jam j;

	jam_begin(&j, h);
	outer = vn_timeout(h, VN_MS);
	ck_assert_int_eq(vn_os_write(s, "late", 4), -ETIMEDOUT);
	vn_deadline(h, outer);
	n_fds = suite_n_fds();
	vn_close(s);
	ck_assert_int_eq(suite_n_fds(), n_fds);
	jam_end(&j);
	while (suite_n_fds() == n_fds)
		vn_sleep(h, VN_MS);
	ck_assert_int_eq(pread(copy, back, 8, 0), 4);
	close(copy);
	vn_hub_close(h);
	jam_close(&j);
}
END_TEST

START_TEST(a_hub_ends_with_streams_and_calls_in_flight)
{
	int n_fds = suite_n_fds();
	vn_hub *h = hub_open();
	char path[] = "/tmp/vanilla-os-XXXXXX";
	vn_stream *before = vn_os_stream(h, file_make(path), 0), *after, *ends[2];
	char late[] = "/tmp/vanilla-os-XXXXXX";
	vn_time outer;
	reading r;
	jam j;

	jam_begin(&j, h);
	after = vn_os_stream(h, file_make(late), 0);
	pipe_open(h, ends);
	r = (reading){ends[0], 99};
	vn_spawn(h, read_one, &r);
	outer = vn_timeout(h, VN_MS);
	ck_assert_int_eq(vn_os_write(before, "x", 1), -ETIMEDOUT);
	ck_assert_int_eq(vn_os_write(after, "x", 1), -ETIMEDOUT);
	vn_deadline(h, outer);
	jam_end(&j);
	vn_hub_close(h);
	ck_assert_int_eq(r.rc, -ECANCELED);
	jam_close(&j);
	ck_assert_int_eq(suite_n_fds(), n_fds);
}
END_TEST

int
main(void)
{
	const TTest *tests[] = {a_pipe_carries_bytes_and_then_its_end, nobody_who_reads_is_epipe,
		null_is_answered, what_is_no_descriptor_is_refused,
		lines_are_found_wherever_they_are_cut, what_is_left_over_is_read_next,
		a_line_that_is_too_long_is_not_taken, long_lines_are_read_as_far_as_asked,
		a_read_that_fails_has_taken_nothing, writers_go_one_after_the_other,
		a_writer_who_leaves_gives_the_turn_on, one_reads_at_a_time, closing_wakes_who_waits,
		a_shutdown_is_seen_by_the_other_side, a_shutdown_comes_after_what_is_being_written,
		blocking_descriptors_stay_what_they_are, a_tty_is_given_back_as_it_was,
		descriptors_of_events_are_read_event_by_event, datagrams_stay_apart,
		a_select_sees_what_can_be_read, a_select_sees_what_can_be_written,
		what_is_always_ready_lets_others_run,
		a_file_is_written_and_read_like_everything_else,
		a_file_that_cannot_be_opened_says_why, what_stays_open_is_told_with_its_place,
		errors_of_files_come_back, devices_that_cannot_be_waited_for_are_files_too,
		the_position_is_handed_over_and_back, what_appends_appends,
		a_reader_who_leaves_takes_nothing,
		a_write_whose_caller_has_left_is_finished_before_the_next,
		a_descriptor_stays_open_while_a_thread_works_on_it,
		a_hub_ends_with_streams_and_calls_in_flight};

	return suite_run("os_stream", tests, SUITE_COUNT(tests));
}
