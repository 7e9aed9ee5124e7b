/* SPDX-License-Identifier: MIT */
/*
 * Datagram - what a worker may say of datagrams, what kills it, and a kernel that has no room
 *
 * The broker is made by hand and the test is the worker: it writes frames into a real lane. The socket is real, too.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/datagram.h"
#include "broker/intake.h"
#include "shm/bell.h"
#include "tests/unit/linked.h"
#include "tests/unit/suite.h"

#define AREA (1u << 20)

static const vn_geometry geometry = {.n_slots = 64, .area_bytes = AREA};

typedef struct bench {
	vn_broker broker;
	vn_config config;
	vn_worker worker;
	vn_broker_endpoint endpoint;
	vn_sys sys; /* the real one, but for sendmmsg */
	int n_failures, failure;
	vn_lane_tx lane; /* the worker's ends */
	vn_lane_rx taken;
	vn_binding *binding;
	int client;
	uint16_t port; /* the client's, in network byte order */
} bench;

static int
failing_sendmmsg(const vn_sys *sys, int fd, struct mmsghdr *msgs, unsigned int n)
{
	bench *k = sys->world;

	if (k->n_failures-- > 0)
		return k->failure;
	return vn_sys_linux.sendmmsg(sys, fd, msgs, n);
}

static void
client_open(bench *k)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof addr;

	k->client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(k->client, (struct sockaddr *)&addr, len), 0);
	ck_assert_int_eq(getsockname(k->client, (struct sockaddr *)&addr, &len), 0);
	k->port = addr.sin_port;
	addr.sin_port = k->endpoint.datagrams->socket.port;
	ck_assert_int_eq(connect(k->client, (struct sockaddr *)&addr, len), 0);
}

/* A worker that is READY and has bound an endpoint, and a client. */
static bench *
bench_new(void)
{
	bench *k = calloc(1, sizeof *k);
	vn_broker *b = &k->broker;
	vn_worker *w = &k->worker;
	char why[256];

	k->config = (vn_config){.window = 262144, .depth = 64};
	b->config = &k->config;
	k->sys = vn_sys_linux;
	k->sys.world = k;
	k->sys.sendmmsg = failing_sendmmsg;
	b->hub = vn_hub_open(&vn_sys_linux);
	b->hub->sys = &k->sys;
	b->ledger = vn_ledger_new(64, 3, AREA);
	b->phase = VN_PHASE_SERVING;
	b->counters = vn_counters_open(NULL, "test");
	b->count = b->counters->broker;
	b->workers[1] = w;
	b->n_slots = 1;
	b->endpoints[0] = &k->endpoint;
	b->n_endpoints = 1;
	w->broker = b;
	w->count = vn_counters_worker(b->counters, 1);
	w->slot = w->number = 1;
	w->incarnation = 1;
	w->pidfd = -1;
	w->state = VN_WORKER_READY;
	w->attached = w->debtor_first = w->debtor_last = VN_NO_RECORD;
	linked_open(&k->worker, &geometry, &k->lane, &k->taken);
	k->endpoint.broker = b;
	k->endpoint.count = vn_counters_listener(b->counters, "test");
	k->endpoint.watch.fd = -1;
	ck_assert_int_eq(
		vn_endpoint_parse_numeric(&k->endpoint.endpoint, "udp://127.0.0.1:0", why), 0);
	k->endpoint.fd = vn_datagrams_open(&k->endpoint, why);
	ck_assert_int_ge(k->endpoint.fd, 0);
	ck_assert_int_eq(vn_binding_new(w, 0, &k->endpoint), 0);
	k->binding = w->listeners[0].binding;
	vn_datagrams_resume(w);
	client_open(k);
	return k;
}

static void
bench_free(bench *k)
{
	vn_watch_remove(k->broker.hub->poller, &k->endpoint.watch);
	vn_datagrams_shut(&k->endpoint);
	close(k->endpoint.fd);
	close(k->client);
	vn_segment_deinit(&k->worker.link.own);
	vn_segment_deinit(&k->worker.link.peer);
	vn_blocks_free(k->worker.link.blocks);
	close(k->worker.link.bell_out);
	vn_counters_close(k->broker.counters);
	vn_ledger_free(k->broker.ledger);
	vn_datagram_batch_free(k->broker.datagram_batch);
	k->broker.hub->sys = &vn_sys_linux;
	vn_hub_close(k->broker.hub);
	free(k);
}

static void
publish(bench *k, vn_desc d)
{
	vn_lane_tx_push(&k->lane, &d);
	vn_lane_tx_flush(&k->lane);
	vn_intake_take(&k->broker, &k->worker);
}

static vn_datagram_head
head_to(const bench *k, uint32_t len)
{
	return (vn_datagram_head){
		.len = len, .family = AF_INET, .port = k->port, .peer = {127, 0, 0, 1}};
}

/* A frame at the start of a block of the worker's lane, published as so many bytes. */
static void
send_frame(bench *k, uint32_t block, const vn_datagram_head *h, const char *text, uint32_t len)
{
	vn_area_write(&k->worker.link.peer, block, 0, h, sizeof *h);
	vn_area_write(&k->worker.link.peer, block, sizeof *h, text, (uint32_t)strlen(text) + 1);
	publish(k, (vn_desc){.kind = VN_KIND_SENDTO,
			   .pos = k->binding->queued,
			   .block = block,
			   .len = len});
}

static void
expect_text(const bench *k, const char *text)
{
	char got[100] = "";

	ck_assert_int_eq(recv(k->client, got, sizeof got - 1, 0), (ssize_t)strlen(text));
	ck_assert_str_eq(got, text);
}

/* The client has sent n datagrams, and the broker has received them. */
static void
receive(bench *k, int n)
{
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(send(k->client, "question", 8, 0), 8);
	while (k->endpoint.datagrams->socket.n_received < (uint64_t)n)
		vn_poller_poll(k->broker.hub->poller, VN_SEC);
}

START_TEST(an_honest_exchange)
{
	bench *k = bench_new();
	vn_datagram_head h = head_to(k, 6);
	vn_desc d;

	receive(k, 3);
	vn_lane_tx_flush(&k->worker.link.tx);
	ck_assert_int_ge(vn_lane_rx_take(&k->taken, &d, 1), 1);
	ck_assert_uint_eq(d.kind, VN_KIND_DATAGRAMS);
	ck_assert_uint_eq(vn_binding_in_hand(k->binding), 3);
	send_frame(k, 0, &h, "answer", VN_FRAME_HEAD + 6);
	publish(k, (vn_desc){.kind = VN_KIND_RECEIVED, .report = k->binding->delivered});
	vn_datagrams_outputs(&k->broker);
	expect_text(k, "answer");
	ck_assert_uint_eq(k->endpoint.count->n_datagrams_done, 3);
	ck_assert_uint_eq(vn_blocks_available(k->worker.link.blocks), AREA);
	ck_assert_uint_eq(k->broker.count->n_violations, 0);
	ck_assert_uint_eq(k->binding->sending.at, k->binding->queued);
	bench_free(k);
}
END_TEST

START_TEST(part_of_a_run_can_be_done)
{
	bench *k = bench_new();
	uint64_t start;

	receive(k, 3); /* one batch or more: what is acknowledged is the first of all */
	start = VN_FRAME_HEAD;
	publish(k, (vn_desc){.kind = VN_KIND_RECEIVED, .report = start + 8});
	ck_assert_uint_eq(k->endpoint.count->n_datagrams_done, 1);
	ck_assert_uint_eq(vn_binding_in_hand(k->binding), 2);
	bench_free(k);
}
END_TEST

START_TEST(what_cannot_be_kills)
{
	static const vn_desc cases[] = {
		{.kind = VN_KIND_RECEIVED, .report = VN_FRAME_HEAD + 9},
		{.kind = VN_KIND_RECEIVED, .report = VN_FRAME_HEAD},
		{.kind = VN_KIND_RECEIVED, .report = 5},
		{.kind = VN_KIND_RECEIVED, .report = UINT64_MAX},
		{.kind = VN_KIND_RECEIVED, .arg = 1},
		{.kind = VN_KIND_NEED_ROOM, .arg = 255},
		{.kind = VN_KIND_SENDTO, .pos = 1, .len = 60},
		{.kind = VN_KIND_SENDTO, .flags = VN_ACK, .len = 60, .report = 5},
		{.kind = VN_KIND_JOIN, .peer = {.family = AF_INET6, .addr = {0xff, 1}}},
		{.kind = VN_KIND_JOIN,
			.peer = {.family = AF_INET, .port = 1, .addr = {239, 1, 1, 1}}},
		{.kind = VN_KIND_DATAGRAMS, .len = 60},
	};

	for (size_t i = 0; i < SUITE_COUNT(cases); i++) {
		bench *k = bench_new();

		receive(k, 2);
		publish(k, cases[i]);
		ck_assert_msg(k->worker.broken, "case %zu was believed", i);
		bench_free(k);
	}
}
END_TEST

START_TEST(a_block_is_published_once)
{
	bench *k = bench_new();
	vn_datagram_head h = head_to(k, 1);

	send_frame(k, 0, &h, "a", VN_FRAME_HEAD + 1);
	ck_assert(!k->worker.broken);
	send_frame(k, 0, &h, "b", VN_FRAME_HEAD + 1);
	ck_assert(k->worker.broken);
	bench_free(k);
}
END_TEST

START_TEST(frames_that_lie_kill)
{
	bench *k = bench_new();
	vn_datagram_head good = head_to(k, 10), bad[9];

	bench_free(k);
	for (size_t i = 0; i < SUITE_COUNT(bad); i++)
		bad[i] = good;
	bad[0].len = 11;
	bad[1].len = UINT32_MAX;
	bad[2].family = AF_INET6;
	bad[3].family = AF_UNIX;
	bad[4].family = 0;
	bad[5].flags = VN_DATAGRAM_GROUP;
	bad[6].zero = 1;
	bad[7].segment = 10;
	bad[8].segment = UINT16_MAX;
	for (size_t i = 0; i < SUITE_COUNT(bad); i++) {
		k = bench_new();
		send_frame(k, 0, &bad[i], "0123456789", VN_FRAME_HEAD + 10);
		vn_datagrams_outputs(&k->broker);
		ck_assert_msg(k->worker.broken, "head %zu was believed", i);
		bench_free(k);
	}
}
END_TEST

START_TEST(a_run_is_no_longer_than_the_kernel_takes)
{
	bench *k = bench_new();
	vn_datagram_head h = head_to(k, VN_RUN_DATAGRAMS + 1);

	h.segment = 1;
	send_frame(k, 0, &h, "x", VN_FRAME_HEAD + VN_RUN_DATAGRAMS + 1);
	vn_datagrams_outputs(&k->broker);
	ck_assert(k->worker.broken);
	bench_free(k);
}
END_TEST

START_TEST(a_run_leaves_as_its_datagrams)
{
	bench *k = bench_new();
	vn_datagram_head h = head_to(k, 5);

	h.segment = 2;
	send_frame(k, 0, &h, "aabbc", VN_FRAME_HEAD + 5);
	vn_datagrams_outputs(&k->broker);
	expect_text(k, "aa");
	expect_text(k, "bb");
	expect_text(k, "c");
	bench_free(k);
}
END_TEST

START_TEST(a_kernel_without_memory_is_asked_again)
{
	bench *k = bench_new();
	vn_datagram_head h = head_to(k, 4);
	vn_datagrams *d = k->endpoint.datagrams;

	k->failure = -ENOBUFS;
	k->n_failures = 2;
	send_frame(k, 0, &h, "late", VN_FRAME_HEAD + 4);
	vn_datagrams_outputs(&k->broker);
	for (int i = 0; i < 2; i++) {
		ck_assert(vn_timer_armed(&d->again));
		ck_assert_uint_eq(k->binding->sending.at, 0);
		vn_wheel_disarm(k->broker.hub->wheel, &d->again);
		d->again.fire(&d->again);
		vn_datagrams_outputs(&k->broker);
	}
	expect_text(k, "late");
	ck_assert_uint_eq(d->socket.n_parked, 2);
	ck_assert_uint_eq(d->socket.n_sent, 1);
	bench_free(k);
}
END_TEST

START_TEST(a_full_socket_tells_when_it_has_room)
{
	bench *k = bench_new();
	vn_datagram_head h = head_to(k, 4);
	vn_datagrams *d = k->endpoint.datagrams;

	k->failure = -EAGAIN;
	k->n_failures = 1;
	send_frame(k, 0, &h, "late", VN_FRAME_HEAD + 4);
	vn_datagrams_outputs(&k->broker);
	ck_assert(d->is_parked);
	while (d->is_parked)
		vn_poller_poll(k->broker.hub->poller, VN_SEC);
	vn_datagrams_outputs(&k->broker);
	expect_text(k, "late");
	bench_free(k);
}
END_TEST

START_TEST(a_run_that_is_refused_leaves_one_by_one)
{
	bench *k = bench_new();
	vn_datagram_head h = head_to(k, 4);

	k->failure = -EINVAL;
	k->n_failures = 1;
	h.segment = 2;
	send_frame(k, 0, &h, "aabb", VN_FRAME_HEAD + 4);
	vn_datagrams_outputs(&k->broker);
	expect_text(k, "aa");
	expect_text(k, "bb");
	ck_assert_uint_eq(k->endpoint.datagrams->socket.n_refused, 0);
	bench_free(k);
}
END_TEST

START_TEST(what_is_refused_is_counted_and_passed_by)
{
	bench *k = bench_new();
	vn_datagram_head h = head_to(k, 3);

	k->failure = -EMSGSIZE;
	k->n_failures = 1;
	send_frame(k, 0, &h, "bad", VN_FRAME_HEAD + 3);
	h.len = 4;
	send_frame(k, 1, &h, "good", VN_FRAME_HEAD + 4);
	vn_datagrams_outputs(&k->broker);
	expect_text(k, "good");
	ck_assert_uint_eq(k->endpoint.datagrams->socket.n_refused, 1);
	ck_assert_int_eq(k->endpoint.datagrams->socket.refused_with, -EMSGSIZE);
	ck_assert_uint_eq(k->endpoint.datagrams->socket.n_sent, 1);
	bench_free(k);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		an_honest_exchange,
		part_of_a_run_can_be_done,
		what_cannot_be_kills,
		a_block_is_published_once,
		frames_that_lie_kill,
		a_run_is_no_longer_than_the_kernel_takes,
		a_run_leaves_as_its_datagrams,
		a_kernel_without_memory_is_asked_again,
		a_full_socket_tells_when_it_has_room,
		a_run_that_is_refused_leaves_one_by_one,
		what_is_refused_is_counted_and_passed_by,
	};

	return suite_run("datagrams of the broker", tests, SUITE_COUNT(tests));
}
