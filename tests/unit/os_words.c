/* SPDX-License-Identifier: MIT */
/*
 * Words - what Python's Vanilla has for descriptors, processes and threads, row by row, said here
 *
 * With the public header alone. Each test is named after its row; what can go wrong with each is in the other os_ tests.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vanilla.h>

#include "tests/unit/suite.h"

static vn_hub *
hub_new(void)
{
	vn_hub *h = vn_hub_new();

	ck_assert_ptr_nonnull(h);
	return h;
}

/* Descriptors */

START_TEST(register_fd_masks)
{
	vn_hub *h = hub_new();
	int fds[2], events = 0;
	vn_rx *readable;

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(vn_select(h, VN_FD(fds[0], VN_READABLE), VN_ELSE), 1);
	readable = vn_watch_fd(h, fds[0], VN_READABLE);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(vn_recv(readable, &events), 0);
	ck_assert_int_eq(events, VN_READABLE);
	ck_assert_int_eq(vn_select(h, VN_FD(fds[0], VN_READABLE), VN_ELSE), 0);
	vn_close(readable);
	vn_hub_free(h);
}
END_TEST

START_TEST(io_fd_in_and_fd_out)
{
	vn_hub *h = hub_new();
	int fds[2];
	vn_stream *in, *out;
	char text[8];

	ck_assert_int_eq(pipe(fds), 0);
	in = vn_os_stream(h, fds[0], 0);
	out = vn_os_stream(h, fds[1], 0);
	ck_assert_int_eq(vn_os_write(out, "hello", 5), 0);
	ck_assert_int_eq(vn_os_read(in, text, sizeof text), 5);
	ck_assert_int_eq(vn_close(out), 0);
	ck_assert_int_eq(vn_os_read(in, text, sizeof text), 0);
	vn_hub_free(h);
}
END_TEST

typedef struct writer {
	vn_stream *to;
	char letter;
} writer;

#define MUCH 200000 /* more than a pipe holds */

static int
write_much(vn_hub *h, void *arg)
{
	writer *w = arg;
	char *text = malloc(MUCH);
	int rc;

	(void)h;
	memset(text, w->letter, MUCH);
	rc = vn_os_write(w->to, text, MUCH);
	free(text);
	return rc;
}

START_TEST(io_pipe_writes_are_serialised_and_complete)
{
	vn_hub *h = hub_new();
	vn_group *g = vn_group_new(h);
	writer a, b;
	vn_stream *ends[2];
	char *text = malloc(MUCH);

	ck_assert_int_eq(vn_os_pipe(h, ends), 0);
	a = (writer){ends[1], 'a'};
	b = (writer){ends[1], 'b'};
	vn_group_spawn(g, write_much, &a);
	vn_group_spawn(g, write_much, &b);
	for (const char *letter = "ab"; *letter; letter++) {
		ck_assert_int_eq(vn_os_read_n(ends[0], text, MUCH), MUCH);
		for (size_t i = 0; i < MUCH; i++)
			suite_assert(text[i] == *letter);
	}
	ck_assert_int_eq(vn_group_wait(g), 0);
	vn_group_free(g);
	vn_hub_free(h);
	free(text);
}
END_TEST

START_TEST(io_socket)
{
	vn_hub *h = hub_new();
	int fds[2];
	vn_stream *ours, *theirs;
	char text[8];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ours = vn_os_stream(h, fds[0], 0);
	theirs = vn_os_stream(h, fds[1], 0);
	ck_assert_int_eq(vn_os_write(ours, "ping", 4), 0);
	ck_assert_int_eq(vn_os_shutdown(ours), 0);
	ck_assert_int_eq(vn_os_read(theirs, text, sizeof text), 4);
	ck_assert_int_eq(vn_os_read(theirs, text, sizeof text), 0);
	ck_assert_int_eq(vn_os_write(theirs, "pong", 4), 0);
	ck_assert_int_eq(vn_os_read(ours, text, sizeof text), 4);
	vn_hub_free(h);
}
END_TEST

START_TEST(stream_recv_recv_n_recv_partition_recv_line)
{
	vn_hub *h = hub_new();
	vn_stream *ends[2];
	char text[16];
	vn_time outer;

	ck_assert_int_eq(vn_os_pipe(h, ends), 0);
	ck_assert_int_eq(vn_os_write(ends[1], "a line\nkey: value; abcdefg", 26), 0);
	ck_assert_int_eq(vn_os_read_until(ends[0], text, sizeof text, "\n"), 7);
	ck_assert_int_eq(vn_os_read_until(ends[0], text, sizeof text, ": "), 5);
	ck_assert_int_eq(vn_os_read_until(ends[0], text, 3, ";"), -EMSGSIZE); /* a maximum */
	ck_assert_int_eq(vn_os_read_until(ends[0], text, sizeof text, "; "), 7);
	ck_assert_int_eq(vn_os_read_n(ends[0], text, 3), 3);
	ck_assert_mem_eq(text, "abc", 3);
	ck_assert_int_eq(vn_os_read(ends[0], text, 2), 2);
	outer = vn_timeout(h, VN_MS); /* a deadline for all of it */
	ck_assert_int_eq(vn_os_read_n(ends[0], text, 5), -ETIMEDOUT);
	vn_deadline(h, outer);
	ck_assert_int_eq(vn_os_read(ends[0], text, 5), 2); /* left over */
	ck_assert_mem_eq(text, "fg", 2);
	vn_hub_free(h);
}
END_TEST

/* Processes */

static vn_process *
shell(vn_hub *h, const char *command, const vn_exec *how)
{
	const char *const argv[] = {"sh", "-c", command, NULL};
	vn_process *p = vn_process_exec(h, argv, how);

	ck_assert_ptr_nonnull(p);
	return p;
}

START_TEST(process_execv_args_env)
{
	const char *const env[] = {"GREETING=hello", NULL};
	vn_hub *h = hub_new();
	vn_process *p =
		shell(h, "read x; echo $GREETING $x; echo bad >&2; exit 3", &(vn_exec){.env = env});
	vn_exit end;
	char text[32];

	ck_assert_int_eq(vn_os_write(vn_process_stdin(p), "you\n", 4), 0);
	ck_assert_int_eq(vn_os_read_until(vn_process_stdout(p), text, sizeof text, "\n"), 10);
	ck_assert_mem_eq(text, "hello you\n", 10);
	ck_assert_int_eq(vn_os_read_until(vn_process_stderr(p), text, sizeof text, "\n"), 4);
	ck_assert_int_eq(vn_recv(vn_process_done(p), &end), 0); /* a state */
	ck_assert_int_eq(vn_recv(vn_process_done(p), &end), 0);
	ck_assert_int_eq(end.code, 3);
	vn_close(p);
	vn_hub_free(h);
}
END_TEST

START_TEST(process_execv_stderrtoout)
{
	vn_hub *h = hub_new();
	vn_process *p = shell(h, "echo out; echo err >&2", &(vn_exec){.err = VN_MERGED});
	char text[32];

	ck_assert_ptr_null(vn_process_stderr(p));
	ck_assert_int_eq(vn_os_read_n(vn_process_stdout(p), text, sizeof text), 8);
	ck_assert_mem_eq(text, "out\nerr\n", 8);
	vn_hub_free(h);
}
END_TEST

START_TEST(process_terminate_signal_exitsignal)
{
	vn_hub *h = hub_new();
	vn_process *p = shell(h, "exec sleep 1000", NULL), *q = shell(h, "exec sleep 1000", NULL);
	vn_exit end;

	ck_assert_int_eq(vn_process_terminate(p), 0);
	ck_assert_int_eq(vn_process_signal(q, SIGUSR1), 0);
	ck_assert_int_eq(vn_process_wait(p, &end), 0);
	ck_assert_int_eq(end.signal, SIGTERM);
	ck_assert_int_eq(vn_process_wait(q, &end), 0);
	ck_assert_int_eq(end.signal, SIGUSR1);
	vn_hub_free(h);
}
END_TEST

START_TEST(process_127_not_found_126_not_executable)
{
	vn_hub *h = hub_new();
	const char *const none[] = {"/no/such/program", NULL}, *const no[] = {"/dev/null", NULL};
	vn_process *p = vn_process_exec(h, none, NULL), *q = vn_process_exec(h, no, NULL);
	vn_exit end;

	ck_assert_int_eq(vn_process_wait(p, &end), 0);
	ck_assert_int_eq(end.code, 127);
	ck_assert_int_eq(vn_process_wait(q, &end), 0);
	ck_assert_int_eq(end.code, 126);
	vn_hub_free(h);
}
END_TEST

static int
multiply(vn_hub *h, vn_pair parent, void *arg)
{
	long n;

	(void)h;
	while (vn_recv(parent.rx, &n) == 0) {
		n *= *(long *)arg;
		if (vn_send(parent.tx, &n) < 0)
			break;
	}
	return (int)getpid() & 0x7f;
}
VN_ENTRY(multiplier, multiply)

START_TEST(process_spawn)
{
	vn_hub *h = hub_new();
	long by = 7, n = 6;
	vn_process *p = vn_process_spawn(h, long, multiplier, &by);
	vn_exit end;

	ck_assert_int_eq(vn_send(vn_process_ends(p).tx, &n), 0);
	ck_assert_int_eq(vn_recv(vn_process_ends(p).rx, &n), 0);
	ck_assert_int_eq(n, 42);
	vn_close(vn_process_ends(p).tx);
	ck_assert_int_eq(vn_process_wait(p, &end), 0);
	ck_assert_int_eq(end.code, vn_process_pid(p) & 0x7f);
	ck_assert_int_ne(vn_process_pid(p), getpid());
	vn_close(p);
	vn_hub_free(h);
}
END_TEST

/* Threads */

START_TEST(thread_spawn)
{
	vn_hub *h = hub_new();
	long by = 3, n = 14;
	vn_pair t = vn_thread_spawn(h, long, multiply, &by);

	ck_assert_int_eq(vn_send(t.tx, &n), 0);
	ck_assert_int_eq(vn_recv(t.rx, &n), 0);
	ck_assert_int_eq(n, 42);
	vn_close(t.tx);
	ck_assert_int_eq(vn_recv(t.rx, &n), -EPIPE);
	vn_close(t.rx);
	vn_hub_free(h);
}
END_TEST

static int
square(long *n)
{
	*n *= *n;
	return *n > 1000 ? -ERANGE : 0;
}

static int
square_any(void *n)
{
	return square(n);
}

START_TEST(thread_call)
{
	vn_hub *h = hub_new();
	long n = 9, got;
	vn_rx *answer = vn_thread_call(h, square_any, &n), *error;

	n = 90;
	error = vn_thread_call(h, square_any, &n);
	ck_assert_int_eq(vn_recv(error, &got), -ERANGE);
	ck_assert_int_eq(vn_recv(answer, &got), 0);
	ck_assert_int_eq(got, 81);
	vn_hub_free(h);
}
END_TEST

START_TEST(thread_pool_n_call)
{
	vn_hub *h = hub_new();
	vn_pool *pool = vn_pool(h, 2);
	long n = 9;

	ck_assert_int_eq(vn_pool_call(pool, square_any, &n), 0);
	ck_assert_int_eq(n, 81);
	ck_assert_int_eq(vn_pool_call(pool, square_any, &n), -ERANGE); /* and not for ever */
	vn_close(pool);
	vn_hub_free(h);
}
END_TEST

#define SQUARES(X) X(square, long)
VN_WRAP(SQUARES)

START_TEST(thread_pool_wrap)
{
	vn_hub *h = hub_new();
	vn_pool *pool = vn_pool(h, 2);
	long n = 9;

	ck_assert_int_eq(square_in(pool, &n), 0);
	ck_assert_int_eq(n, 81);
	ck_assert_int_eq(square_in(pool, &n), -ERANGE);
	vn_close(pool);
	vn_hub_free(h);
}
END_TEST

int
main(void)
{
	const TTest *tests[] = {
		register_fd_masks,
		io_fd_in_and_fd_out,
		io_pipe_writes_are_serialised_and_complete,
		io_socket,
		stream_recv_recv_n_recv_partition_recv_line,
		process_execv_args_env,
		process_execv_stderrtoout,
		process_terminate_signal_exitsignal,
		process_127_not_found_126_not_executable,
		process_spawn,
		thread_spawn,
		thread_call,
		thread_pool_n_call,
		thread_pool_wrap,
	};

	return suite_run("os words", tests, SUITE_COUNT(tests));
}
