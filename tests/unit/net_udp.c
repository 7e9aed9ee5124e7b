/* SPDX-License-Identifier: MIT */
/*
 * Udp - what is about the inside of an endpoint alone: who waits when it is closed, a kernel that has no room, the end
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "client/net/udp.h"
#include "tests/unit/suite.h"

typedef struct bench {
	vn_hub *hub;
	vn_udp *udp, *other; /* who asks, and who answers */
	vn_datagram to;      /* from udp to other */
	vn_sys sys;
	int n_failures, failure;
} bench;

static int
failing_sendmmsg(const vn_sys *sys, int fd, struct mmsghdr *msgs, unsigned int n)
{
	bench *b = sys->world;

	if (b->n_failures-- > 0)
		return b->failure;
	return vn_sys_linux.sendmmsg(sys, fd, msgs, n);
}

static void
bench_open(bench *b)
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&b->to.peer.sa;

	*b = (bench){.hub = vn_hub_new()};
	b->sys = vn_sys_linux;
	b->sys.world = b;
	b->sys.sendmmsg = failing_sendmmsg;
	b->hub->sys = &b->sys;
	b->udp = vn_bind(b->hub, "udp://127.0.0.1:0");
	b->other = vn_bind(b->hub, "udp://127.0.0.1:0");
	ck_assert_ptr_nonnull(b->udp);
	ck_assert_ptr_nonnull(b->other);
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in->sin_port = b->other->port;
	b->to.peer.len = sizeof *in;
}

static void
bench_close(bench *b)
{
	vn_close(b->udp);
	vn_close(b->other);
	vn_hub_free(b->hub);
}

static void
exchange(bench *b, const char *text)
{
	char got[100] = "";

	ck_assert_int_eq(vn_udp_send(b->udp, text, strlen(text), &b->to), 0);
	ck_assert_int_eq(vn_udp_recv(b->other, got, sizeof got, NULL), (ssize_t)strlen(text));
	ck_assert_str_eq(got, text);
}

/* A coroutine that receives once. */
typedef struct receiver {
	vn_udp *udp;
	ssize_t result;
	bool is_done;
} receiver;

static int
receive_once(vn_hub *h, void *arg)
{
	receiver *r = arg;
	char data[100];

	(void)h;
	r->result = vn_udp_recv(r->udp, data, sizeof data, NULL);
	r->is_done = true;
	return 0;
}

START_TEST(who_waits_is_told_of_the_close)
{
	receiver r;
	bench b;

	bench_open(&b);
	r = (receiver){.udp = b.udp};
	vn_spawn(b.hub, receive_once, &r);
	vn_yield(b.hub);
	vn_close(b.udp);
	b.udp = NULL;
	vn_yield(b.hub);
	ck_assert(r.is_done);
	ck_assert_int_eq(r.result, -EPIPE);
	bench_close(&b);
}
END_TEST

START_TEST(closed_between_the_wake_and_the_run)
{
	receiver r;
	bench b;

	bench_open(&b);
	r = (receiver){.udp = b.other};
	vn_spawn(b.hub, receive_once, &r);
	vn_yield(b.hub);
	vn_conn_wake(&b.other->listener.takers); /* as if something had come */
	vn_close(b.other);
	b.other = NULL;
	while (!r.is_done)
		vn_yield(b.hub);
	ck_assert_int_eq(r.result, -EPIPE);
	bench_close(&b);
}
END_TEST

START_TEST(one_receives_at_a_time)
{
	receiver r;
	bench b;
	char data[10];

	bench_open(&b);
	r = (receiver){.udp = b.other};
	vn_spawn(b.hub, receive_once, &r);
	vn_yield(b.hub);
	ck_assert_int_eq(vn_udp_recv(b.other, data, sizeof data, NULL), -EBUSY);
	vn_udp_send(b.udp, "x", 1, &b.to);
	while (!r.is_done)
		vn_sleep(b.hub, VN_MS);
	ck_assert_int_eq(r.result, 1);
	bench_close(&b);
}
END_TEST

START_TEST(deadlines_hold)
{
	char data[10];
	bench b;

	bench_open(&b);
	vn_timeout(b.hub, VN_MS);
	ck_assert_int_eq(vn_udp_recv(b.udp, data, sizeof data, NULL), -ETIMEDOUT);
	bench_close(&b);
}
END_TEST

START_TEST(a_kernel_without_room_is_asked_again)
{
	static const int failures[] = {-ENOBUFS, -ENOMEM, -EAGAIN};
	bench b;

	for (size_t i = 0; i < SUITE_COUNT(failures); i++) {
		bench_open(&b);
		b.failure = failures[i];
		b.n_failures = 3;
		exchange(&b, "late");
		ck_assert_uint_eq(b.udp->socket.n_parked, 3);
		bench_close(&b);
	}
}
END_TEST

START_TEST(what_is_refused_is_counted_and_passed_by)
{
	vn_udp_counts c;
	bench b;

	bench_open(&b);
	b.failure = -EPERM;
	b.n_failures = 1;
	ck_assert_int_eq(vn_udp_send(b.udp, "refused", 7, &b.to), 0);
	vn_sleep(b.hub, VN_MS);
	exchange(&b, "fine");
	ck_assert_int_eq(vn_udp_count(b.udp, &c), 0);
	ck_assert_uint_eq(c.refused, 1);
	ck_assert_uint_eq(c.sent, 2);
	bench_close(&b);
}
END_TEST

START_TEST(what_was_sent_leaves_before_the_close)
{
	char got[10] = "";
	bench b;

	bench_open(&b);
	b.failure = -ENOBUFS;
	b.n_failures = 2;
	vn_udp_send(b.udp, "last", 4, &b.to);
	vn_close(b.udp);
	b.udp = NULL;
	ck_assert_int_eq(vn_udp_recv(b.other, got, sizeof got, NULL), 4);
	ck_assert_str_eq(got, "last");
	bench_close(&b);
}
END_TEST

START_TEST(a_window_of_output_makes_senders_wait)
{
	char *data = calloc(1, 60000);
	bench b;
	int n = 0;

	bench_open(&b);
	b.failure = -ENOBUFS;
	b.n_failures = 20;
	vn_timeout(b.hub, VN_SEC / 100);
	while (vn_udp_send(b.udp, data, 60000, &b.to) == 0 && n < 100)
		n++;
	ck_assert_int_le(n, 5);
	ck_assert_int_ge(n, 3);
	vn_deadline(b.hub, VN_NEVER);
	ck_assert_int_eq(vn_udp_send(b.udp, data, 60000, &b.to), 0); /* once there is room */
	free(data);
	bench_close(&b);
}
END_TEST

START_TEST(what_no_datagram_can_be_is_refused_at_once)
{
	static char data[65536];
	vn_datagram nobody = {0}, six;
	bench b;

	bench_open(&b);
	ck_assert_int_eq(vn_udp_send(b.udp, data, 65508, &b.to), -EMSGSIZE);
	ck_assert_int_eq(vn_udp_send(b.udp, data, 1, NULL), -EDESTADDRREQ);
	ck_assert_int_eq(vn_udp_send(b.udp, data, 1, &nobody), -EDESTADDRREQ);
	six = b.to;
	six.peer.sa.ss_family = AF_INET6;
	ck_assert_int_eq(vn_udp_send(b.udp, data, 1, &six), -EAFNOSUPPORT);
	((struct sockaddr_in *)(void *)&b.to.peer.sa)->sin_port = 0;
	ck_assert_int_eq(vn_udp_send(b.udp, data, 1, &b.to), -EINVAL);
	ck_assert_int_eq(vn_udp_send(NULL, data, 1, &b.to), -EBADF);
	ck_assert_int_eq(vn_udp_recv(NULL, data, 1, NULL), -EBADF);
	ck_assert_ptr_null(vn_bind(b.hub, "tcp://127.0.0.1:0"));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(vn_bind(b.hub, vn_udp_url(b.udp)));
	ck_assert_int_eq(errno, EADDRINUSE);
	bench_close(&b);
}
END_TEST

START_TEST(nothing_is_left_behind)
{
	int n_fds = suite_n_fds();
	bench b;

	bench_open(&b);
	for (int i = 0; i < 300; i++)
		exchange(&b, "hello");
	vn_udp_send(b.udp, "not received", 12, &b.to);
	vn_sleep(b.hub, VN_MS);
	ck_assert_uint_eq(b.udp->out.chain.charge, 0);
	bench_close(&b);
	ck_assert_int_eq(suite_n_fds(), n_fds);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		who_waits_is_told_of_the_close,
		closed_between_the_wake_and_the_run,
		one_receives_at_a_time,
		deadlines_hold,
		a_kernel_without_room_is_asked_again,
		what_is_refused_is_counted_and_passed_by,
		what_was_sent_leaves_before_the_close,
		a_window_of_output_makes_senders_wait,
		what_no_datagram_can_be_is_refused_at_once,
		nothing_is_left_behind,
	};

	return suite_run("udp", tests, SUITE_COUNT(tests));
}
