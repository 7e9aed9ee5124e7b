/* SPDX-License-Identifier: MIT */
/*
 * Intake - what a worker may say of a connection, what kills it, and what still counts when it is dead
 *
 * The broker is made by hand and the test is the worker: it pushes descriptors into a real lane.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/debt.h"
#include "broker/dispatch.h"
#include "broker/intake.h"
#include "broker/settle.h"
#include "broker/socket.h"
#include "shm/bell.h"
#include "tests/unit/suite.h"

#define AREA (1u << 20)

static const vn_geometry geometry = {.n_slots = 64, .area_bytes = AREA};

typedef struct bench {
	vn_broker broker;
	vn_config config;
	vn_worker worker;
	vn_broker_endpoint endpoint;
	vn_lane_tx lane; /* the worker's end */
	vn_record *record;
	int client;
	char said[512];
} bench;

static void
listen_to_log(void *arg, int level, const char *text)
{
	bench *k = arg;

	(void)level;
	snprintf(k->said, sizeof k->said, "%s", text);
}

static void
link_open(bench *k)
{
	vn_link *l = &k->worker.link;

	*l = (vn_link){.geometry = geometry, .bell_in = -1};
	ck_assert_int_eq(vn_segment_create(&l->own, "broker", &geometry, 1), 0);
	ck_assert_int_eq(vn_segment_map(&l->own, true), 0);
	ck_assert_int_eq(vn_segment_claim(&l->own, 1), 0);
	ck_assert_int_eq(vn_segment_create(&l->peer, "worker", &geometry, 1), 0);
	ck_assert_int_eq(vn_segment_map(&l->peer, true), 0);
	ck_assert_int_eq(vn_segment_claim(&l->peer, 1), 0);
	vn_lane_tx_init(&l->tx, &l->own, &l->peer);
	vn_lane_rx_init(&l->rx, &l->own, &l->peer);
	vn_lane_tx_init(&k->lane, &l->peer, &l->own);
	l->blocks = vn_blocks_new(AREA);
	l->bell_out = vn_bell_eventfd();
	k->worker.linked = true;
}

/* A worker that is READY and has one connection, of which it was told ten bytes. */
static bench *
bench_new(void)
{
	bench *k = calloc(1, sizeof *k);
	vn_broker *b = &k->broker;
	vn_worker *w = &k->worker;
	uint32_t block;
	int pair[2];

	ck_assert_ptr_nonnull(k);
	k->config = (vn_config){.window = 262144, .linger_timeout = VN_SEC, .depth = 64};
	b->config = &k->config;
	b->hub = vn_hub_open(&vn_sys_linux);
	vn_log_to(b->hub, listen_to_log, k);
	b->ledger = vn_ledger_new(64, 3, AREA);
	b->phase = VN_PHASE_SERVING;
	b->output_first = b->unreported = VN_NO_RECORD;
	b->waiting = b->closing = (vn_ledger_list){VN_NO_RECORD, VN_NO_RECORD};
	b->workers[1] = w;
	b->n_slots = 1;
	b->endpoints[0] = &k->endpoint;
	b->n_endpoints = 1;
	w->broker = b;
	w->slot = 1;
	w->incarnation = 1;
	w->pidfd = -1;
	w->state = VN_WORKER_READY;
	w->starved = (vn_ledger_list){VN_NO_RECORD, VN_NO_RECORD};
	w->attached = w->debtor_first = w->debtor_last = VN_NO_RECORD;
	link_open(k);
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	k->client = pair[1];
	k->record = vn_record_at(b->ledger, vn_ledger_take(b->ledger));
	k->record->fd = pair[0];
	k->record->flags |= VN_R_RESUMABLE | VN_R_WRITABLE;
	vn_dispatch_attach(b, w, k->record);
	block = vn_block_alloc(w->link.blocks, 0);
	k->record->received = 10;
	vn_chain_push(&k->record->in, b->ledger->in_table, vn_ref(b, 1, block), 10, 10);
	k->record->in.charge = 256;
	vn_debt_push_data(b, w, k->record, block, 0, 10);
	return k;
}

static void
bench_free(bench *k)
{
	if (k->record->fd >= 0)
		close(k->record->fd);
	close(k->client);
	vn_segment_deinit(&k->worker.link.own);
	vn_segment_deinit(&k->worker.link.peer);
	vn_blocks_free(k->worker.link.blocks);
	close(k->worker.link.bell_out);
	vn_ledger_free(k->broker.ledger);
	vn_hub_close(k->broker.hub);
	free(k);
}

static void
publish(bench *k, const vn_desc *d)
{
	ck_assert(vn_lane_tx_has(&k->lane, 1));
	vn_lane_tx_push(&k->lane, d);
	vn_lane_tx_flush(&k->lane);
}

/* The same of our connection, taken by the broker. */
static void
tell(bench *k, vn_desc d)
{
	d.gen = k->record->gen;
	publish(k, &d);
	vn_intake_take(&k->broker, &k->worker);
}

static void
send_text(bench *k, const char *text, uint8_t flags, uint64_t report)
{
	uint32_t len = (uint32_t)strlen(text);
	uint64_t pos = k->record->queued;

	vn_area_write(&k->worker.link.peer, 8, 0, text, len);
	publish(k, &(vn_desc){.kind = VN_KIND_SEND,
			   .flags = flags,
			   .gen = k->record->gen,
			   .pos = pos,
			   .block = 8,
			   .len = len,
			   .report = report});
}

START_TEST(an_honest_exchange_is_none_of_these)
{
	bench *k = bench_new();
	char text[16] = "";

	ck_assert_uint_eq(k->worker.n_busy, 1);
	send_text(k, "answer", VN_ACK | VN_COMMIT, 10);
	ck_assert(!vn_intake_take(&k->broker, &k->worker));
	vn_socket_outputs(&k->broker);
	ck_assert_int_eq(recv(k->client, text, sizeof text, 0), 6);
	ck_assert_str_eq(text, "answer");
	ck_assert_uint_eq(k->worker.n_busy, 0);
	ck_assert_uint_eq(vn_blocks_available(k->worker.link.blocks), AREA);
	ck_assert(vn_record_at_rest(k->record));
	ck_assert_uint_eq(k->broker.n_violations, 0);
	tell(k, (vn_desc){.kind = VN_KIND_CLOSE, .pos = 6});
	ck_assert_uint_eq(k->broker.n_violations, 0);
	bench_free(k);
}
END_TEST

START_TEST(what_cannot_be_kills_and_changes_nothing_else)
{
	static const struct {
		vn_desc d;
		const char *field;
	} cases[] = {
		{{.kind = VN_KIND_ACK, .report = 11}, "report"},
		{{.kind = VN_KIND_ACK, .report = UINT64_MAX}, "report"},
		{{.kind = VN_KIND_SEND, .pos = 1, .len = 1}, "pos"},
		{{.kind = VN_KIND_SEND, .len = 1, .flags = VN_ACK, .report = 11}, "report"},
		{{.kind = VN_KIND_SEND, .len = 1, .block = AREA / VN_GRANULE}, "block"},
		{{.kind = VN_KIND_SEND, .len = 257, .block = AREA / VN_GRANULE - 1}, "block"},
		{{.kind = VN_KIND_SEND, .len = 65536, .offset = 1}, "offset"},
		{{.kind = VN_KIND_SEND}, "len"},
		{{.kind = VN_KIND_SHUTDOWN, .pos = 1}, "pos"},
		{{.kind = VN_KIND_CLOSE, .pos = 1}, "pos"},
		{{.kind = VN_KIND_RELEASED}, "kind"},
		{{.kind = VN_KIND_DATA, .len = 1}, "kind"},
		{{.kind = VN_KIND_ACK, .conn = 1}, "conn"},
		{{.kind = VN_KIND_ACK, .conn = UINT32_MAX}, "conn"},
		{{.kind = VN_N_KINDS}, "kind"},
		{{.kind = VN_KIND_UNLISTEN, .arg = 1}, "arg"},
		{{.kind = VN_KIND_LISTEN, .len = 65536}, "len"},
	};

	for (size_t i = 0; i < SUITE_COUNT(cases); i++) {
		bench *k = bench_new();
		vn_desc d = cases[i].d;
		char wanted[32];

		if (d.kind != VN_KIND_UNLISTEN && d.kind != VN_KIND_LISTEN && d.kind < VN_N_KINDS)
			d.gen = k->record->gen;
		publish(k, &d);
		publish(k, &(vn_desc){.kind = VN_KIND_ACK, .gen = k->record->gen, .report = 10});
		vn_intake_take(&k->broker, &k->worker);
		snprintf(wanted, sizeof wanted, "bad %s in", cases[i].field);
		ck_assert_msg(
			k->worker.broken && strstr(k->said, wanted), "case %zu: '%s'", i, k->said);
		ck_assert_uint_eq(k->broker.n_violations, 1);
		ck_assert_msg(k->record->acked == 0, "case %zu: read on after a lie", i);
		bench_free(k);
	}
}
END_TEST

START_TEST(a_connection_of_somebody_else_is_not_to_be_named)
{
	bench *k = bench_new();

	k->record->worker = 2;
	tell(k, (vn_desc){.kind = VN_KIND_ACK, .report = 10});
	ck_assert(k->worker.broken);
	k->record->worker = 1;
	bench_free(k);
	k = bench_new();
	publish(k, &(vn_desc){.kind = VN_KIND_ACK, .gen = k->record->gen + 1, .report = 10});
	vn_intake_take(&k->broker, &k->worker);
	ck_assert(k->worker.broken);
	bench_free(k);
}
END_TEST

START_TEST(nothing_comes_after_the_end)
{
	static const uint8_t ends[][2] = {{VN_KIND_CLOSE, VN_KIND_CLOSE},
		{VN_KIND_CLOSE, VN_KIND_SHUTDOWN}, {VN_KIND_SHUTDOWN, VN_KIND_SHUTDOWN},
		{VN_KIND_CLOSE, VN_KIND_SEND}, {VN_KIND_SHUTDOWN, VN_KIND_SEND}};

	for (size_t i = 0; i < SUITE_COUNT(ends); i++) {
		bench *k = bench_new();

		tell(k, (vn_desc){.kind = ends[i][0]});
		ck_assert(!k->worker.broken);
		tell(k, (vn_desc){.kind = ends[i][1], .len = ends[i][1] == VN_KIND_SEND});
		ck_assert_msg(k->worker.broken && strstr(k->said, "bad kind"), "case %zu: %s", i,
			k->said);
		bench_free(k);
	}
}
END_TEST

START_TEST(a_block_that_is_still_being_sent_is_not_to_be_written)
{
	bench *k = bench_new();

	k->record->flags &= ~(uint32_t)VN_R_WRITABLE;
	tell(k, (vn_desc){.kind = VN_KIND_SEND, .len = 100, .block = 8});
	tell(k, (vn_desc){.kind = VN_KIND_SEND, .len = 50, .block = 8, .offset = 100, .pos = 100});
	ck_assert(!k->worker.broken);
	tell(k, (vn_desc){.kind = VN_KIND_SEND, .len = 50, .block = 8, .offset = 10, .pos = 150});
	ck_assert(k->worker.broken);
	bench_free(k);
}
END_TEST

START_TEST(a_generation_that_is_over_is_counted_and_ignored)
{
	bench *k = bench_new();
	vn_desc d = {.kind = VN_KIND_SEND, .gen = k->record->gen, .len = 5, .block = 8, .pos = 99};

	k->record->gen++;
	publish(k, &d);
	vn_intake_take(&k->broker, &k->worker);
	ck_assert(!k->worker.broken);
	ck_assert_uint_eq(k->broker.n_stale_messages, 1);
	ck_assert_uint_eq(k->record->queued, 0);
	bench_free(k);
}
END_TEST

/* An honest worker closes what was taken back from it at that moment, and the record has a new owner already. */
START_TEST(a_late_close_does_not_meet_the_next_connection)
{
	bench *k = bench_new();
	vn_broker *b = &k->broker;
	uint32_t gen = k->record->gen;

	tell(k, (vn_desc){.kind = VN_KIND_ACK, .flags = VN_COMMIT, .report = 10});
	ck_assert(vn_dispatch_revoke(b, &k->worker, k->record));
	vn_socket_reset(b, k->record, VN_RESET_STOPPING);
	ck_assert_uint_eq(b->ledger->n_used, 0);
	ck_assert_uint_eq(vn_ledger_take(b->ledger), 0);
	publish(k, &(vn_desc){.kind = VN_KIND_CLOSE, .gen = gen});
	vn_intake_take(b, &k->worker);
	ck_assert(!k->worker.broken);
	ck_assert_uint_eq(b->n_stale_messages, 1);
	ck_assert(!(k->record->flags & VN_R_CLOSED));
	bench_free(k);
}
END_TEST

START_TEST(a_close_that_crosses_its_taking_back_is_honoured)
{
	for (int aborts = 0; aborts < 2; aborts++) {
		bench *k = bench_new();
		vn_broker *b = &k->broker;
		uint32_t gen = k->record->gen;

		tell(k, (vn_desc){.kind = VN_KIND_ACK, .flags = VN_COMMIT, .report = 10});
		ck_assert(vn_dispatch_revoke(b, &k->worker, k->record));
		publish(k,
			&(vn_desc){
				.kind = VN_KIND_CLOSE, .flags = aborts ? VN_ABORT : 0, .gen = gen});
		vn_intake_take(b, &k->worker);
		ck_assert(!k->worker.broken);
		if (aborts)
			ck_assert_uint_eq(b->n_resets[VN_RESET_BY_HANDLER], 1);
		else
			ck_assert(k->record->flags & VN_R_CLOSED);
		bench_free(k);
	}
}
END_TEST

START_TEST(what_was_published_before_the_death_counts)
{
	bench *k = bench_new();
	char text[32] = "";

	send_text(k, "last words", VN_ACK | VN_COMMIT, 10);
	k->worker.state = VN_WORKER_NONE;
	vn_settle_worker(&k->broker, &k->worker);
	ck_assert_uint_eq(k->record->committed, 10);
	ck_assert(!(k->record->flags & (VN_R_ATTACHED | VN_R_DOOMED | VN_R_CLOSED)));
	ck_assert_int_eq(recv(k->client, text, sizeof text, 0), 10);
	ck_assert_str_eq(text, "last words");
	bench_free(k);
}
END_TEST

START_TEST(a_dead_worker_asks_for_nothing_and_sends_nothing_uncommitted)
{
	bench *k = bench_new();
	char text[32];

	send_text(k, "half", 0, 0);
	publish(k, &(vn_desc){.kind = VN_KIND_LISTEN, .len = 5});
	k->worker.state = VN_WORKER_NONE;
	vn_settle_worker(&k->broker, &k->worker);
	ck_assert(k->record->flags & VN_R_DOOMED);
	ck_assert_uint_eq(k->record->queued, 0);
	ck_assert_int_eq(recv(k->client, text, sizeof text, 0), -1);
	ck_assert(!k->worker.listeners[0].used);
	ck_assert_uint_eq(k->broker.n_resets[VN_RESET_WORKER_DIED], 1);
	bench_free(k);
}
END_TEST

/* What is pushed after the worker's turn, as when another one's connection moves to it, goes out before the hub sleeps. */
START_TEST(nothing_staged_is_slept_on)
{
	bench *k = bench_new();
	vn_broker *b = &k->broker;
	vn_worker *w = &k->worker;
	vn_lane_rx rx;
	vn_desc d;

	vn_broker_turn_init(b);
	vn_lane_rx_init(&rx, &w->link.peer, &w->link.own);
	b->hook.turn(&b->hook);
	ck_assert_int_eq(vn_lane_rx_take(&rx, &d, 1), 1);
	ck_assert_uint_eq(d.kind, VN_KIND_DATA);
	vn_lane_tx_push(&w->link.tx, &(vn_desc){.kind = VN_KIND_DRAIN});
	ck_assert(!b->hook.arm(&b->hook));
	b->hook.turn(&b->hook);
	ck_assert_int_eq(vn_lane_rx_take(&rx, &d, 1), 1);
	ck_assert_uint_eq(d.kind, VN_KIND_DRAIN);
	ck_assert(b->hook.arm(&b->hook));
	vn_wheel_disarm(b->hub->wheel, &b->sweep);
	vn_hub_unhook(b->hub, &b->hook);
	bench_free(k);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		an_honest_exchange_is_none_of_these,
		what_cannot_be_kills_and_changes_nothing_else,
		a_connection_of_somebody_else_is_not_to_be_named,
		nothing_comes_after_the_end,
		a_block_that_is_still_being_sent_is_not_to_be_written,
		a_generation_that_is_over_is_counted_and_ignored,
		a_late_close_does_not_meet_the_next_connection,
		a_close_that_crosses_its_taking_back_is_honoured,
		what_was_published_before_the_death_counts,
		a_dead_worker_asks_for_nothing_and_sends_nothing_uncommitted,
		nothing_staged_is_slept_on,
	};

	return suite_run("broker_intake", tests, SUITE_COUNT(tests));
}
