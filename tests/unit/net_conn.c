/* SPDX-License-Identifier: MIT */
/*
 * Conn - what is about the inside of a connection alone: races that no client can bring about, and memory
 *
 * Main yields without ever waiting, so whoever is woken meanwhile stands behind it in the ready queue: main sees a
 * coroutine that has been woken and has not run, and does its worst.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "client/net/net.h"
#include "tests/unit/suite.h"

#define CONN_MAX 400 /* bytes of a record: with a page of stack, 4.6 KiB for one that waits */

static_assert(sizeof(vn_conn) <= CONN_MAX, "memory of an idle connection");

typedef struct bench {
	vn_hub *hub;
	vn_rx *listener;
	vn_conn *conn;
	int client;
} bench;

static int
client_connect(vn_rx *listener)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	to.sin_port = htons((uint16_t)atoi(strrchr(vn_url(listener), ':') + 1));
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)(const void *)&to, sizeof to), 0);
	return fd;
}

static void
bench_open(bench *b)
{
	b->hub = vn_hub_new();
	ck_assert_ptr_nonnull(b->hub);
	b->listener = vn_listen(b->hub, "tcp://127.0.0.1:0", 0);
	ck_assert_ptr_nonnull(b->listener);
	b->client = client_connect(b->listener);
	ck_assert_int_eq(vn_recv(b->listener, &b->conn), 0);
}

static void
bench_close(bench *b)
{
	close(b->client);
	vn_close(b->listener);
	vn_hub_free(b->hub);
}

/* One call in a coroutine of its own. */
typedef struct caller {
	vn_conn *conn;
	int (*call)(vn_hub *h, vn_conn *c);
	int result;
	bool is_done;
} caller;

static int
caller_run(vn_hub *h, void *arg)
{
	caller *k = arg;

	k->result = k->call(h, k->conn);
	k->is_done = true;
	return 0;
}

static int
call_read(vn_hub *h, vn_conn *c)
{
	char data[16];

	(void)h;
	return (int)vn_read(c, data, sizeof data);
}

static int
call_read_n(vn_hub *h, vn_conn *c)
{
	char data[16];

	(void)h;
	return (int)vn_read_n(c, data, sizeof data);
}

static int
call_read_until(vn_hub *h, vn_conn *c)
{
	char data[16];

	(void)h;
	return (int)vn_read_until(c, data, sizeof data, "\n");
}

static int
call_peek(vn_hub *h, vn_conn *c)
{
	const void *data;

	(void)h;
	return (int)vn_peek(c, &data, 1);
}

static int
call_take(vn_hub *h, vn_conn *c)
{
	vn_view v;

	(void)h;
	return vn_take(c, &v);
}

static int
call_select(vn_hub *h, vn_conn *c)
{
	int which = vn_select(h, VN_READ(c), VN_AFTER(VN_SEC * 1000));

	return which == 0 ? vn_selected(h) : -which;
}

static int
call_write(vn_hub *h, vn_conn *c)
{
	static char data[32 << 20];

	(void)h;
	return vn_write(c, data, sizeof data);
}

static int
call_publish(vn_hub *h, vn_conn *c)
{
	int rc = 0;

	(void)h;
	for (int i = 0; i < 1000 && rc == 0; i++) {
		vn_loan l;

		rc = vn_borrow(c, 65536, &l);
		if (rc < 0)
			break;
		memset(l.data, 'x', l.cap);
		l.len = l.cap;
		rc = vn_publish(c, &l);
	}
	return rc;
}

static int (*const read_calls[])(vn_hub *h, vn_conn *c) = {
	call_read, call_read_n, call_read_until, call_peek, call_take, call_select};
static int (*const write_calls[])(vn_hub *h, vn_conn *c) = {call_write, call_publish};

/* Until the caller waits. */
static void
caller_start(bench *b, caller *k, vn_waitq *q)
{
	ck_assert_int_eq(vn_spawn(b->hub, caller_run, k), 0);
	while (!q->first)
		vn_yield(b->hub);
}

/* Until the caller has been woken; it runs after us. */
static void
caller_woken(bench *b, const caller *k, const vn_waitq *q)
{
	while (q->first)
		vn_yield(b->hub);
	ck_assert(!k->is_done);
}

static void
caller_end(bench *b, const caller *k)
{
	while (!k->is_done)
		vn_yield(b->hub);
}

START_TEST(reader_that_was_woken_and_not_run_when_it_is_closed)
{
	for (size_t i = 0; i < SUITE_COUNT(read_calls); i++) {
		bench b;
		caller k = {.call = read_calls[i]};

		bench_open(&b);
		k.conn = b.conn;
		caller_start(&b, &k, &b.conn->readers);
		ck_assert_int_eq(write(b.client, "x", 1), 1);
		caller_woken(&b, &k, &b.conn->readers);
		vn_close(b.conn);
		caller_end(&b, &k);
		ck_assert_int_eq(k.result, -EPIPE);
		vn_sleep(b.hub, VN_MS);
		ck_assert_ptr_null(b.hub->net->graves);
		bench_close(&b);
	}
}
END_TEST

/* The same by a reset: then nothing keeps the record once it is closed but those who have not run. */
START_TEST(reader_that_was_woken_by_a_reset_and_not_run_when_it_is_closed)
{
	for (size_t i = 0; i < SUITE_COUNT(read_calls); i++) {
		struct linger now = {.l_onoff = 1};
		bench b;
		caller k = {.call = read_calls[i]};

		bench_open(&b);
		k.conn = b.conn;
		caller_start(&b, &k, &b.conn->readers);
		setsockopt(b.client, SOL_SOCKET, SO_LINGER, &now, sizeof now);
		close(b.client);
		caller_woken(&b, &k, &b.conn->readers);
		vn_close(b.conn);
		caller_end(&b, &k);
		ck_assert_int_eq(k.result, -EPIPE);
		vn_sleep(b.hub, VN_MS);
		ck_assert_ptr_null(b.hub->net->graves);
		b.client = dup(0);
		bench_close(&b);
	}
}
END_TEST

START_TEST(writer_that_was_woken_and_not_run_when_it_is_closed)
{
	for (size_t i = 0; i < SUITE_COUNT(write_calls); i++) {
		static char waste[16 << 20];
		bench b;
		caller k = {.call = write_calls[i]};

		bench_open(&b);
		k.conn = b.conn;
		caller_start(&b, &k, &b.conn->writers);
		while (b.conn->writers.first) {
			recv(b.client, waste, sizeof waste, MSG_DONTWAIT);
			vn_yield(b.hub);
		}
		ck_assert(!k.is_done);
		vn_close(b.conn);
		caller_end(&b, &k);
		ck_assert_int_eq(k.result, -EPIPE);
		ck_assert_int_eq(fcntl(b.client, F_SETFL, O_NONBLOCK), 0);
		while (recv(b.client, waste, sizeof waste, 0) != 0)
			vn_sleep(b.hub, VN_MS);
		bench_close(&b);
	}
}
END_TEST

START_TEST(reader_that_was_cancelled_and_not_run_when_it_is_closed)
{
	for (size_t i = 0; i < SUITE_COUNT(read_calls); i++) {
		bench b;
		caller k = {.call = read_calls[i]};

		bench_open(&b);
		k.conn = b.conn;
		caller_start(&b, &k, &b.conn->readers);
		vn_stop(b.hub);
		ck_assert_ptr_null(b.conn->readers.first);
		vn_close(b.conn);
		caller_end(&b, &k);
		ck_assert_int_eq(k.result, k.call == call_select ? ECANCELED : -ECANCELED);
		bench_close(&b);
	}
}
END_TEST

/* A reset that arrives while the handle is still there, then the close, in all orders with what is to be sent. */
START_TEST(reset_and_close_in_one_turn)
{
	for (int i = 0; i < 4; i++) {
		bench b;
		struct linger now = {.l_onoff = 1};
		uint32_t n;

		bench_open(&b);
		n = b.hub->n_sources;
		if (i & 1)
			ck_assert_int_eq(vn_write(b.conn, "x", 1), 0);
		setsockopt(b.client, SOL_SOCKET, SO_LINGER, &now, sizeof now);
		close(b.client);
		if (i & 2) {
			while (!(b.conn->flags & VN_CONN_RESET))
				vn_yield(b.hub);
			ck_assert_int_eq(vn_write(b.conn, "x", 1), -ECONNRESET);
		}
		vn_close(b.conn);
		while (b.hub->n_sources == n)
			vn_yield(b.hub);
		ck_assert_int_eq(b.hub->n_sources, n - 1);
		b.client = dup(0);
		bench_close(&b);
	}
}
END_TEST

static void
keep_line(void *arg, int level, const char *text)
{
	(void)level;
	snprintf(arg, 256, "%s", text);
}

START_TEST(no_descriptor_for_a_new_connection)
{
	bench b;
	char line[256] = "";
	struct rlimit limit, none;
	vn_conn *c;
	int client;

	bench_open(&b);
	vn_log_to(b.hub, keep_line, line);
	client = client_connect(b.listener);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){0, limit.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	while (!line[0])
		vn_yield(b.hub);
	ck_assert_ptr_nonnull(strstr(line, vn_url(b.listener)));
	ck_assert_ptr_nonnull(strstr(line, "ulimit -n"));
	ck_assert_int_eq(vn_write(b.conn, "on", 2), 0); /* the others go on */
	vn_sleep(b.hub, VN_MS);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(vn_recv(b.listener, &c), 0);
	vn_close(c);
	vn_close(b.conn);
	close(client);
	bench_close(&b);
}
END_TEST

START_TEST(listener_that_is_closed_while_it_pauses)
{
	bench b;
	char line[256] = "";
	struct rlimit limit, none;
	int client;

	bench_open(&b);
	vn_log_to(b.hub, keep_line, line);
	client = client_connect(b.listener);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){0, limit.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	while (!line[0])
		vn_yield(b.hub);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	vn_close(b.listener);
	b.listener = NULL;
	vn_sleep(b.hub, 200 * VN_MS);
	vn_close(b.conn);
	close(client);
	bench_close(&b);
}
END_TEST

/* What was written is sent when the hub goes, also by those who did not give their handle back. */
START_TEST(hub_that_is_freed_with_open_connections)
{
	static char text[100000], got[sizeof text + 1];
	vn_conn *other;
	bench b;
	int client;
	size_t n = 0;

	bench_open(&b);
	client = client_connect(b.listener);
	ck_assert_int_eq(vn_recv(b.listener, &other), 0);
	memset(text, 'x', sizeof text);
	ck_assert_int_eq(vn_write(b.conn, text, sizeof text), 0);
	ck_assert_int_eq(vn_write(other, "short", 5), 0);
	vn_hub_free(b.hub);
	for (ssize_t k; (k = recv(b.client, got + n, sizeof got - n, 0)) > 0;)
		n += (size_t)k;
	ck_assert_uint_eq(n, sizeof text);
	ck_assert_mem_eq(got, text, n);
	ck_assert_int_eq(recv(client, got, sizeof got, MSG_WAITALL), 5);
	close(client);
	close(b.client);
}
END_TEST

START_TEST(descriptors_and_connections_come_home)
{
	bench b;
	int n_fds = suite_n_fds();
	uint32_t n;

	bench_open(&b);
	n = b.hub->n_sources - 1;
	for (int i = 0; i < 200; i++) {
		vn_conn *c;
		int client = client_connect(b.listener);

		ck_assert_int_eq(write(client, "in", 2), 2);
		ck_assert_int_eq(vn_recv(b.listener, &c), 0);
		if (i % 2)
			ck_assert_int_eq(vn_write(c, "out", 3), 0);
		if (i % 3 == 0)
			vn_abort(c);
		vn_close(c);
		close(client);
	}
	vn_close(b.conn);
	close(b.client);
	while (b.hub->n_sources > n)
		vn_sleep(b.hub, VN_MS);
	b.client = dup(0);
	bench_close(&b);
	ck_assert_int_eq(suite_n_fds(), n_fds);
}
END_TEST

static int
term_run(vn_hub *h, void *arg)
{
	*(int *)arg = vn_stop_on_term(h);
	return 0;
}

START_TEST(second_coroutine_in_stop_on_term)
{
	bench b;
	int first = 1, second = 1;

	bench_open(&b);
	ck_assert_int_eq(vn_spawn(b.hub, term_run, &first), 0);
	ck_assert_int_eq(vn_spawn(b.hub, term_run, &second), 0);
	while (second == 1)
		vn_yield(b.hub);
	ck_assert_int_eq(second, -EBUSY);
	ck_assert_int_eq(first, 1);
	vn_close(b.conn);
	kill(getpid(), SIGTERM); /* the first still has the signals */
	while (first == 1)
		vn_sleep(b.hub, VN_MS);
	ck_assert_int_eq(first, 0);
	bench_close(&b);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		reader_that_was_woken_and_not_run_when_it_is_closed,
		reader_that_was_woken_by_a_reset_and_not_run_when_it_is_closed,
		writer_that_was_woken_and_not_run_when_it_is_closed,
		reader_that_was_cancelled_and_not_run_when_it_is_closed,
		reset_and_close_in_one_turn,
		no_descriptor_for_a_new_connection,
		listener_that_is_closed_while_it_pauses,
		hub_that_is_freed_with_open_connections,
		descriptors_and_connections_come_home,
		second_coroutine_in_stop_on_term,
	};

	return suite_run("conn", tests, SUITE_COUNT(tests));
}
