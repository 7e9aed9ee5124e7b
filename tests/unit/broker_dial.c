/* SPDX-License-Identifier: MIT */
/*
 * Dial - the broker's half: each request has one answer, whatever becomes of it
 *
 * The broker is made by hand, the test is the worker, and both ends of what is dialled are on loopback.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/debt.h"
#include "broker/dial.h"
#include "broker/intake.h"
#include "broker/settle.h"
#include "broker/socket.h"
#include "shm/bell.h"
#include "tests/unit/linked.h"
#include "tests/unit/suite.h"

#define AREA    (1u << 20)
#define RECORDS 4u

static const vn_geometry geometry = {.n_slots = 64, .area_bytes = AREA};

typedef struct bench {
	vn_broker broker;
	vn_config config;
	vn_worker worker;
	vn_lane_tx lane; /* the worker's ends */
	vn_lane_rx taken;
	int listener;
	char url[64];
	vn_desc got;
} bench;

static void
silent(void *arg, int level, const char *text)
{
	(void)arg;
	(void)level;
	(void)text;
}

static void
listen_open(bench *k)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof in;

	k->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(k->listener, (struct sockaddr *)(void *)&in, len), 0);
	ck_assert_int_eq(listen(k->listener, 64), 0);
	ck_assert_int_eq(getsockname(k->listener, (struct sockaddr *)(void *)&in, &len), 0);
	snprintf(k->url, sizeof k->url, "tcp://127.0.0.1:%d", ntohs(in.sin_port));
}

static bench *
bench_new(void)
{
	bench *k = calloc(1, sizeof *k);
	vn_broker *b = &k->broker;
	vn_worker *w = &k->worker;

	ck_assert_ptr_nonnull(k);
	k->config = (vn_config){.window = 262144, .linger_timeout = VN_SEC, .depth = 64};
	b->config = &k->config;
	b->hub = vn_hub_open(&vn_sys_linux);
	vn_log_to(b->hub, silent, NULL);
	b->counters = vn_counters_open(NULL, "test");
	b->count = b->counters->broker;
	b->ledger = vn_ledger_new(RECORDS, 3, AREA);
	b->phase = VN_PHASE_SERVING;
	b->conn_class = vn_poller_class(b->hub->poller, vn_socket_on_event, b);
	b->output_first = b->unreported = VN_NO_RECORD;
	b->waiting = b->closing = (vn_ledger_list){VN_NO_RECORD, VN_NO_RECORD};
	b->workers[1] = w;
	b->n_slots = 1;
	ck_assert_int_eq(vn_dials_init(b), 0);
	w->broker = b;
	w->slot = 1;
	w->incarnation = 1;
	w->pidfd = -1;
	w->state = VN_WORKER_READY;
	w->count = vn_counters_worker(b->counters, 1);
	w->starved = (vn_ledger_list){VN_NO_RECORD, VN_NO_RECORD};
	w->attached = w->debtor_first = w->debtor_last = VN_NO_RECORD;
	linked_open(&k->worker, &geometry, &k->lane, &k->taken);
	listen_open(k);
	return k;
}

static void
bench_free(bench *k)
{
	vn_broker *b = &k->broker;

	vn_dials_forget(&k->worker);
	ck_assert_uint_eq(k->worker.n_dials, 0);
	for (uint32_t i = 0; i < b->ledger->high; i++)
		vn_socket_abandon(vn_record_at(b->ledger, i));
	close(k->listener);
	vn_segment_deinit(&k->worker.link.own);
	vn_segment_deinit(&k->worker.link.peer);
	vn_blocks_free(k->worker.link.blocks);
	close(k->worker.link.bell_out);
	vn_dials_deinit(b);
	vn_counters_close(b->counters);
	vn_ledger_free(b->ledger);
	vn_hub_close(b->hub);
	free(k);
}

/* The worker says it, the broker takes it. */
static void
say(bench *k, vn_desc d)
{
	vn_lane_tx_push(&k->lane, &d);
	vn_lane_tx_flush(&k->lane);
	vn_intake_take(&k->broker, &k->worker);
}

static void
ask(bench *k, uint16_t id, const char *url)
{
	vn_area_write(&k->worker.link.peer, 8, 0, url, (uint32_t)strlen(url));
	say(k, (vn_desc){.kind = VN_KIND_CONNECT,
		       .arg = id,
		       .block = 8,
		       .len = (uint32_t)strlen(url)});
}

/* Turns until that many are done. */
static void
wait_done(bench *k, uint32_t n)
{
	for (int i = 0; i < 2000 && k->worker.n_dials_done < n; i++)
		vn_sleep(k->broker.hub, VN_MS);
	ck_assert_uint_eq(k->worker.n_dials_done, n);
}

/* What it is told next; false if nothing. */
static bool
hear(bench *k)
{
	vn_debt_pay(&k->broker, &k->worker);
	vn_lane_tx_flush(&k->worker.link.tx);
	if (vn_lane_rx_take(&k->taken, &k->got, 1) != 1)
		return false;
	vn_lane_rx_release(&k->taken);
	ck_assert_ptr_null(vn_desc_check(&k->got, false, AREA));
	return true;
}

static int
accept_one(bench *k)
{
	int fd = accept(k->listener, NULL, NULL);
	struct timeval patience = {.tv_sec = 20};

	ck_assert_int_ge(fd, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	return fd;
}

/* The other end reads: how it ends, 0 or a reset. */
static int
end_of(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, 0);
	int error = n < 0 ? errno : 0;

	ck_assert_int_le(n, 0);
	close(fd);
	return error;
}

START_TEST(a_connection_is_handed_over)
{
	bench *k = bench_new();
	const vn_record *r;
	int fd;

	ask(k, 5, k->url);
	wait_done(k, 1);
	ck_assert(vn_debt_owes(&k->worker));
	ck_assert(hear(k));
	ck_assert_int_eq(k->got.kind, VN_KIND_CONNECTED);
	ck_assert_uint_eq(k->got.arg, 5);
	ck_assert_uint_eq(k->got.report, 0);
	ck_assert_uint_eq(k->got.peer.family, AF_INET);
	r = vn_record_at(k->broker.ledger, k->got.conn);
	ck_assert_uint_eq(r->gen, k->got.gen);
	ck_assert(r->flags & VN_R_DIALLED);
	ck_assert_uint_eq(k->broker.count->n_dialled, 1);
	ck_assert_uint_eq(k->broker.n_open, 1);
	fd = accept_one(k);
	say(k, (vn_desc){.kind = VN_KIND_CLOSE, .conn = k->got.conn, .gen = k->got.gen});
	vn_socket_outputs(&k->broker);
	ck_assert_int_eq(end_of(fd), 0);
	ck_assert_uint_eq(k->broker.count->n_violations, 0);
	bench_free(k);
}
END_TEST

START_TEST(what_cannot_be_is_an_answer)
{
	static const struct {
		const char *url;
		int error;
	} cases[] = {
		{"tcp://a.name:80", EINVAL}, /* a worker has resolved it */
		{"tcp://127.0.0.1:0", EINVAL},
		{"nonsense", EINVAL},
		{"unix:/nobody/is/there", ENOENT},
		{"udp://127.0.0.1:53", EINVAL},
		{"tcp://127.0.0.1:80?backlog=7", EINVAL},
	};
	bench *k = bench_new();

	for (uint16_t i = 0; i < SUITE_COUNT(cases); i++) {
		ask(k, i, cases[i].url);
		ck_assert(hear(k));
		ck_assert_uint_eq(k->got.arg, i);
		ck_assert_uint_eq(k->got.report, (uint64_t)cases[i].error);
	}
	ck_assert(!hear(k));
	ck_assert_uint_eq(k->broker.count->n_dials_failed, SUITE_COUNT(cases));
	ck_assert_uint_eq(k->broker.count->n_violations, 0);
	bench_free(k);
}
END_TEST

START_TEST(a_number_that_is_in_use_is_a_violation)
{
	bench *k = bench_new();

	ask(k, 5, k->url);
	ask(k, 5, k->url);
	ck_assert_uint_eq(k->broker.count->n_violations, 1);
	bench_free(k);
}
END_TEST

START_TEST(what_is_given_up_is_reset_and_answered)
{
	bench *k = bench_new();
	int fd;

	ask(k, 5, k->url);
	wait_done(k, 1);
	fd = accept_one(k);
	say(k, (vn_desc){.kind = VN_KIND_GIVE_UP, .arg = 5});
	ck_assert_int_eq(end_of(fd), ECONNRESET);
	ck_assert(hear(k));
	ck_assert_uint_eq(k->got.report, ECANCELED);
	ck_assert(!hear(k));
	/* That crossed the answer. */
	say(k, (vn_desc){.kind = VN_KIND_GIVE_UP, .arg = 5});
	ck_assert_uint_eq(k->broker.count->n_stale_messages, 1);
	ck_assert_uint_eq(k->broker.count->n_violations, 0);
	ck_assert_uint_eq(k->broker.count->n_dials_given_up, 1);
	bench_free(k);
}
END_TEST

START_TEST(a_death_gives_up_all)
{
	bench *k = bench_new();
	int fds[3];

	for (uint16_t i = 0; i < 3; i++)
		ask(k, i, k->url);
	wait_done(k, 3);
	for (int i = 0; i < 3; i++)
		fds[i] = accept_one(k);
	vn_dials_forget(&k->worker);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(end_of(fds[i]), ECONNRESET);
	ck_assert(!vn_debt_owes(&k->worker));
	ck_assert_uint_eq(k->broker.n_open, 0);
	bench_free(k);
}
END_TEST

START_TEST(a_full_ledger_is_an_answer)
{
	bench *k = bench_new();

	for (uint16_t i = 0; i <= RECORDS; i++)
		ask(k, i, k->url);
	wait_done(k, RECORDS + 1);
	for (uint16_t i = 0; i <= RECORDS; i++) {
		ck_assert(hear(k));
		ck_assert_uint_eq(k->got.report, i < RECORDS ? 0 : ENFILE);
	}
	ck_assert_uint_eq(k->broker.n_open, RECORDS);
	bench_free(k);
}
END_TEST

/* Answers wait for slots, beyond those that are for the worker's own debts. */
START_TEST(answers_wait_for_room)
{
	bench *k = bench_new();
	uint32_t n = 0;

	while (vn_lane_tx_has(&k->worker.link.tx, VN_OWN_SLOTS + 1)) {
		vn_lane_tx_push(&k->worker.link.tx, &(vn_desc){.kind = VN_KIND_PING});
		n++;
	}
	ask(k, 5, "nonsense");
	vn_debt_pay(&k->broker, &k->worker);
	ck_assert_uint_eq(k->worker.n_dials_done, 1);
	while (n--)
		ck_assert(hear(k) && k->got.kind == VN_KIND_PING);
	ck_assert(hear(k));
	ck_assert_int_eq(k->got.kind, VN_KIND_CONNECTED);
	bench_free(k);
}
END_TEST

/* What was published leaves although nothing was committed, and then comes the reset. */
START_TEST(its_output_is_not_withdrawn)
{
	bench *k = bench_new();
	char text[16] = "";
	int fd;

	ask(k, 5, k->url);
	wait_done(k, 1);
	ck_assert(hear(k));
	fd = accept_one(k);
	vn_area_write(&k->worker.link.peer, 16, 0, "published", 9);
	vn_lane_tx_push(&k->lane, &(vn_desc){.kind = VN_KIND_SEND,
					  .conn = k->got.conn,
					  .gen = k->got.gen,
					  .block = 16,
					  .len = 9});
	vn_lane_tx_flush(&k->lane);
	vn_settle_worker(&k->broker, &k->worker);
	ck_assert_int_eq(recv(fd, text, sizeof text, 0), 9);
	ck_assert_str_eq(text, "published");
	for (int i = 0; i < 1000 && k->broker.n_open; i++) {
		vn_sleep(k->broker.hub, VN_MS);
		vn_socket_linger_sweep(&k->broker);
	}
	ck_assert_int_eq(end_of(fd), ECONNRESET);
	ck_assert_uint_eq(k->broker.count->n_resets[VN_RESET_DIALLER_DIED], 1);
	bench_free(k);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_connection_is_handed_over,
		what_cannot_be_is_an_answer,
		a_number_that_is_in_use_is_a_violation,
		what_is_given_up_is_reset_and_answered,
		a_death_gives_up_all,
		a_full_ledger_is_an_answer,
		answers_wait_for_room,
		its_output_is_not_withdrawn,
	};

	return suite_run("broker_dial", tests, SUITE_COUNT(tests));
}
