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
#include "broker/quarantine.h"
#include "broker/settle.h"
#include "broker/socket.h"
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
	vn_lane_tx lane; /* the worker's ends */
	vn_lane_rx taken;
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
	k->config = (vn_config){.window = 262144,
		.linger_timeout = VN_SEC,
		.queue_timeout = 30 * VN_SEC,
		.depth = 64,
		.retries = 3,
		.quarantine_bytes = 4096};
	b->config = &k->config;
	b->hub = vn_hub_open(&vn_sys_linux);
	vn_log_to(b->hub, listen_to_log, k);
	b->ledger = vn_ledger_new(64, 3, AREA);
	b->phase = VN_PHASE_SERVING;
	b->counters = vn_counters_open(NULL, "test");
	b->count = b->counters->broker;
	b->output_first = b->unreported = VN_NO_RECORD;
	b->waiting = b->closing = (vn_ledger_list){VN_NO_RECORD, VN_NO_RECORD};
	b->workers[1] = w;
	b->n_slots = 1;
	b->endpoints[0] = &k->endpoint;
	k->endpoint.count = vn_counters_listener(b->counters, "test");
	b->n_endpoints = 1;
	w->broker = b;
	w->count = vn_counters_worker(b->counters, 1);
	w->slot = 1;
	w->incarnation = 1;
	w->pidfd = -1;
	w->state = VN_WORKER_READY;
	w->starved = (vn_ledger_list){VN_NO_RECORD, VN_NO_RECORD};
	w->attached = w->debtor_first = w->debtor_last = VN_NO_RECORD;
	linked_open(&k->worker, &geometry, &k->lane, &k->taken);
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
	vn_counters_close(k->broker.counters);
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
	ck_assert_uint_eq(k->broker.count->n_violations, 0);
	tell(k, (vn_desc){.kind = VN_KIND_CLOSE, .pos = 6});
	ck_assert_uint_eq(k->broker.count->n_violations, 0);
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
		ck_assert_uint_eq(k->broker.count->n_violations, 1);
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

/* Publishes n bytes, in blocks that none of its output lies in, beginning with that one. */
static void
flood(bench *k, uint32_t block, uint64_t n)
{
	while (n) {
		uint32_t len = n < VN_BLOCK_MAX ? (uint32_t)n : VN_BLOCK_MAX;

		tell(k, (vn_desc){.kind = VN_KIND_SEND,
				.len = len,
				.block = block,
				.pos = k->record->queued});
		block += VN_BLOCK_MAX / VN_GRANULE;
		n -= len;
	}
}

/* Whatever its window: a worker can have all of its own lane on its way to one client, and not a byte more. */
START_TEST(output_that_is_not_sent_is_bounded_by_the_lane)
{
	for (int client_reads = 0; client_reads < 2; client_reads++) {
		bench *k = bench_new();
		uint64_t sent = 0;

		k->record->flags &= ~(uint32_t)VN_R_WRITABLE;
		flood(k, 0, AREA);
		ck_assert(!k->worker.broken);
		if (client_reads) { /* what the kernel has taken makes room for as much */
			k->record->flags |= VN_R_WRITABLE;
			vn_socket_want_output(&k->broker, k->record);
			vn_socket_outputs(&k->broker);
			sent = k->record->sent;
			ck_assert(sent > 0 && sent < AREA);
			k->record->flags &= ~(uint32_t)VN_R_WRITABLE;
			flood(k, 1, sent);
			ck_assert_msg(!k->worker.broken, "%s", k->said);
		}
		ck_assert_uint_eq(k->record->queued - k->record->sent, AREA);
		ck_assert_uint_eq(k->broker.count->n_violations, 0);
		flood(k, 2, 1);
		ck_assert(k->worker.broken);
		ck_assert_ptr_nonnull(strstr(k->said, "bad len in SEND"));
		ck_assert_uint_eq(k->broker.count->n_violations, 1);
		ck_assert_uint_eq(k->record->queued, AREA + sent);
		bench_free(k);
	}
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
	ck_assert_uint_eq(k->broker.count->n_stale_messages, 1);
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
	ck_assert_uint_eq(b->count->n_stale_messages, 1);
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
			ck_assert_uint_eq(b->count->n_resets[VN_RESET_BY_HANDLER], 1);
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

START_TEST(a_close_commits_what_was_written_before_it)
{
	bench *k = bench_new();
	char text[32] = "";

	send_text(k, "last words", 0, 0);
	publish(k, &(vn_desc){.kind = VN_KIND_CLOSE, .gen = k->record->gen, .pos = 10});
	k->worker.state = VN_WORKER_NONE;
	vn_settle_worker(&k->broker, &k->worker);
	ck_assert_uint_eq(k->record->committed, 10);
	ck_assert((k->record->flags & (VN_R_CLOSED | VN_R_DOOMED)) == VN_R_CLOSED);
	ck_assert_int_eq(recv(k->client, text, sizeof text, 0), 10);
	ck_assert_str_eq(text, "last words");
	ck_assert_int_eq(recv(k->client, text, sizeof text, 0), 0);
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
	ck_assert(k->record->flags & VN_R_KEPT && k->record->flags & VN_R_WAITING);
	ck_assert_uint_eq(k->record->queued, 0);
	ck_assert_int_eq(recv(k->client, text, sizeof text, 0), -1);
	ck_assert(!k->worker.listeners[0].used);
	ck_assert_uint_eq(k->broker.count->n_resets[VN_RESET_WORKER_DIED], 0);
	bench_free(k);
}
END_TEST

/* What the broker has pushed for the worker, taken as the worker would: at most max, up to its head. */
static uint32_t
worker_takes(bench *k, vn_desc *out, uint32_t max)
{
	int n;

	vn_link_flush(&k->worker.link);
	n = vn_lane_rx_take(&k->taken, out, max);
	ck_assert_int_ge(n, 0);
	vn_lane_rx_release(&k->taken);
	return (uint32_t)n;
}

START_TEST(what_is_given_back_is_delivered_again_elsewhere)
{
	bench *k = bench_new();
	vn_broker *b = &k->broker;
	vn_worker *w = &k->worker;
	vn_record *r = k->record;
	vn_desc got[8];
	char text[16] = "";

	ck_assert_uint_eq(worker_takes(k, got, 8), 1);
	vn_area_write(&w->link.own, got[0].block, 0, "0123456789", 10);
	/* Of ten bytes, six are answered; the answer is not all sent when the worker gives the connection back. */
	r->flags &= ~(uint32_t)VN_R_WRITABLE;
	w->state = VN_WORKER_DRAINING;
	ck_assert(vn_dispatch_release(b, w, r));
	ck_assert(vn_dispatch_release(b, w, r));
	vn_debt_pay(b, w);
	ck_assert_uint_eq(worker_takes(k, got, 8), 1);
	ck_assert_int_eq(got[0].kind, VN_KIND_RELEASE);
	send_text(k, "answer", VN_ACK | VN_COMMIT, 6);
	tell(k, (vn_desc){.kind = VN_KIND_RELEASED, .report = 6});
	ck_assert(!w->broken);
	ck_assert_uint_eq(vn_blocks_available(w->link.blocks), AREA);
	ck_assert_uint_eq(w->n_busy, 0);
	/* Until FINAL it is nobody's, and the worker has nothing to say of it. */
	tell(k, (vn_desc){.kind = VN_KIND_CLOSE, .pos = 6});
	ck_assert_uint_eq(b->count->n_stale_messages, 1);
	r->flags |= VN_R_READABLE;
	vn_socket_input(b, r);
	vn_debt_pay(b, w);
	ck_assert_uint_eq(worker_takes(k, got, 8), 1);
	ck_assert_int_eq(got[0].kind, VN_KIND_FINAL);
	ck_assert((r->flags & (VN_R_ATTACHED | VN_R_WAITING | VN_R_KEPT)) ==
		  (VN_R_WAITING | VN_R_KEPT));
	ck_assert_uint_eq(r->delivered, 6);
	/* Somebody is there again; the answer goes out of the ledger. */
	w->state = VN_WORKER_READY;
	vn_dispatch_waiting(b);
	r->flags |= VN_R_WRITABLE;
	vn_socket_flush(b, r);
	ck_assert_int_eq(recv(k->client, text, sizeof text, 0), 6);
	ck_assert_str_eq(text, "answer");
	ck_assert_uint_eq(worker_takes(k, got, 8), 1);
	ck_assert_int_eq(got[0].kind, VN_KIND_DATA);
	ck_assert_uint_eq(got[0].flags, VN_OPEN | VN_RESUME);
	ck_assert_uint_eq(vn_desc_attempts(&got[0]), 0);
	ck_assert_uint_eq(got[0].pos, 6);
	ck_assert_uint_eq(got[0].report, 6);
	ck_assert_uint_eq(got[0].len, 4);
	vn_area_read(&w->link.own, got[0].block, got[0].offset, text, 4);
	ck_assert_int_eq(memcmp(text, "6789", 4), 0);
	ck_assert(!(r->flags & (VN_R_KEPT | VN_R_RELEASE | VN_R_RELEASED)));
	ck_assert_uint_eq(
		vn_blocks_available(b->ledger->spill_blocks), b->ledger->spill.geometry.area_bytes);
	bench_free(k);
}
END_TEST

START_TEST(nothing_is_given_back_unasked_or_in_the_middle)
{
	for (int i = 0; i < 5; i++) {
		bench *k = bench_new();

		if (i > 0)
			ck_assert(vn_dispatch_release(&k->broker, &k->worker, k->record));
		if (i == 2)
			tell(k, (vn_desc){.kind = VN_KIND_ACK, .report = 5});
		if (i == 3)
			tell(k, (vn_desc){.kind = VN_KIND_SHUTDOWN});
		if (i == 4) /* an answer without the commit of its request */
			send_text(k, "answer", 0, 0);
		tell(k, (vn_desc){.kind = VN_KIND_RELEASED, .report = i == 1 ? 1 : i == 2 ? 5 : 0});
		ck_assert(k->worker.broken);
		ck_assert_ptr_nonnull(
			strstr(k->said, i == 0 || i == 3 ? "bad kind" : "bad report"));
		bench_free(k);
	}
}
END_TEST

static void
say_state(bench *k, uint32_t len, uint16_t part, unsigned char value)
{
	vn_desc d = {.kind = VN_KIND_STATE, .arg = part, .len = len};

	memset(d.bytes, value, sizeof d.bytes);
	tell(k, d);
}

START_TEST(state_counts_from_its_commit_on)
{
	bench *k = bench_new();
	vn_broker *b = &k->broker;
	vn_record *r = k->record;
	vn_desc got[8];
	const unsigned char *state;

	worker_takes(k, got, 8);
	say_state(k, 50, 0, 1);
	say_state(k, 50, 1, 1);
	ck_assert(!(r->flags & VN_R_STATEFUL));
	tell(k, (vn_desc){.kind = VN_KIND_ACK, .flags = VN_COMMIT, .report = 4});
	ck_assert((r->flags & (VN_R_STATEFUL | VN_R_STAGED)) == VN_R_STATEFUL);
	say_state(k, 50, 0, 2);
	say_state(k, 50, 1, 2);
	say_state(k, 50, 0, 3); /* instead of the one before */
	say_state(k, 50, 1, 3);
	tell(k, (vn_desc){.kind = VN_KIND_ACK, .flags = VN_COMMIT, .report = 5});
	say_state(k, 50, 0, 4);
	ck_assert(!k->worker.broken);
	k->worker.state = VN_WORKER_NONE;
	vn_settle_worker(b, &k->worker);
	ck_assert((r->flags & (VN_R_STATEFUL | VN_R_STAGED | VN_R_WAITING)) ==
		  (VN_R_STATEFUL | VN_R_WAITING));
	state = vn_area_at(&b->ledger->spill, r->state, 0);
	ck_assert(r->state_len == 50 && state[0] == 3 && state[49] == 3);
	k->worker.state = VN_WORKER_READY;
	vn_dispatch_waiting(b);
	ck_assert_uint_eq(worker_takes(k, got, 8), 3);
	ck_assert_int_eq(got[0].kind, VN_KIND_RESTORE);
	ck_assert_int_eq(got[1].kind, VN_KIND_RESTORE);
	ck_assert_uint_eq(got[1].gen, got[2].gen);
	ck_assert(got[1].arg == 1 && got[1].bytes[1] == 3 && got[1].len == 50);
	ck_assert_int_eq(got[2].kind, VN_KIND_DATA);
	vn_socket_reset(b, r, VN_RESET_STOPPING);
	ck_assert_uint_eq(
		vn_blocks_available(b->ledger->spill_blocks), b->ledger->spill.geometry.area_bytes);
	say_state(k, 50, 0, 5); /* it does not know yet */
	ck_assert(!k->worker.broken);
	bench_free(k);
}
END_TEST

START_TEST(state_in_pieces_that_do_not_fit_kills)
{
	for (int i = 0; i < 4; i++) {
		bench *k = bench_new();

		if (i == 0)
			say_state(k, 50, 1, 1); /* without the first */
		if (i > 0)
			say_state(k, 100, 0, 1);
		if (i == 1)
			say_state(k, 100, 2, 1);
		if (i == 2)
			say_state(k, 60, 1, 1);
		ck_assert(k->worker.broken == (i < 3));
		tell(k, (vn_desc){.kind = VN_KIND_ACK, .flags = VN_COMMIT, .report = 10});
		ck_assert(k->worker.broken);
		bench_free(k);
	}
}
END_TEST

static void
die(bench *k)
{
	k->worker.state = VN_WORKER_NONE;
	vn_settle_worker(&k->broker, &k->worker);
	k->worker.state = VN_WORKER_READY;
	k->worker.incarnation++;
}

START_TEST(only_what_was_taken_is_an_attempt_and_only_unordered_deaths_are_blamed)
{
	bench *k = bench_new();
	vn_broker *b = &k->broker;
	vn_record *r = k->record;
	vn_desc got[8];

	die(k); /* nothing was published */
	ck_assert_uint_eq(r->n_attempts, 0);
	vn_dispatch_waiting(b);
	vn_link_flush(&k->worker.link);
	die(k); /* published, not taken */
	ck_assert_uint_eq(r->n_attempts, 0);
	vn_dispatch_waiting(b);
	while (worker_takes(k, got, 8))
		;
	k->worker.ordered = true;
	die(k);
	k->worker.ordered = false;
	ck_assert_uint_eq(r->n_attempts, 1);
	ck_assert_uint_eq(r->blame, 0);
	vn_dispatch_waiting(b);
	ck_assert_uint_eq(worker_takes(k, got, 8), 1);
	ck_assert_uint_eq(vn_desc_attempts(&got[0]), 1);
	ck_assert_uint_eq(k->worker.suspect, 0);
	for (uint32_t i = 1; i < 3; i++) {
		die(k);
		ck_assert_uint_eq(r->blame, i);
		ck_assert_uint_eq(r->n_attempts, i + 1);
		vn_dispatch_waiting(b);
		ck_assert_uint_eq(worker_takes(k, got, 8), 1);
		ck_assert_uint_eq(k->worker.suspect, 1);
	}
	die(k);
	ck_assert(r->flags & VN_R_DOOMED);
	ck_assert_uint_eq(b->count->n_resets[VN_RESET_QUARANTINED], 1);
	ck_assert_ptr_nonnull(vn_quarantine_find(b, 1));
	ck_assert_uint_eq(vn_quarantine_find(b, 1)->n_killed, 3);
	ck_assert_uint_eq(vn_quarantine_find(b, 1)->len, 10);
	ck_assert_ptr_null(vn_quarantine_find(b, 2));
	b->quarantine = vn_quarantine_free(b->quarantine);
	bench_free(k);
}
END_TEST

/* One after the other dies before it takes anything: no attempt, and no end either but for that of its patience. */
START_TEST(what_no_worker_takes_waits_no_longer_than_in_line)
{
	bench *k = bench_new();
	vn_broker *b = &k->broker;
	vn_record *r = k->record;
	vn_desc got[8];

	k->config.queue_timeout = 10 * VN_SEC;
	for (int i = 0; i < 9; i++) {
		vn_link_flush(&k->worker.link);
		die(k);
		ck_assert_uint_eq(r->n_attempts, 0);
		ck_assert(!(r->flags & VN_R_DOOMED));
		b->hub->now += VN_SEC;
		vn_dispatch_waiting(b);
	}
	/* What is taken has not waited: it was tried. */
	while (worker_takes(k, got, 8))
		;
	die(k);
	ck_assert_uint_eq(r->n_attempts, 1);
	for (int i = 0; i < 11; i++) {
		ck_assert(!(r->flags & VN_R_DOOMED));
		vn_dispatch_waiting(b);
		die(k);
		b->hub->now += VN_SEC;
	}
	ck_assert(r->flags & VN_R_DOOMED);
	ck_assert_uint_eq(r->blame, 1);
	ck_assert_uint_eq(b->count->n_resets[VN_RESET_QUEUE_TIMEOUT], 1);
	bench_free(k);
}
END_TEST

START_TEST(what_waits_for_another_worker_is_reset_when_there_will_be_none)
{
	bench *k = bench_new();
	vn_broker *b = &k->broker;
	char text[8];

	send_text(k, "answer", VN_ACK | VN_COMMIT, 4);
	k->record->flags &= ~(uint32_t)VN_R_WRITABLE;
	k->worker.state = VN_WORKER_NONE;
	vn_settle_worker(b, &k->worker);
	ck_assert(k->record->flags & VN_R_WAITING);
	b->phase = VN_PHASE_DRAINING;
	vn_broker_stop_record(b, k->record);
	ck_assert((k->record->flags & (VN_R_WAITING | VN_R_KEPT | VN_R_DOOMED)) == VN_R_DOOMED);
	ck_assert_uint_eq(b->count->n_resets[VN_RESET_STOPPING], 1);
	k->record->flags |= VN_R_WRITABLE; /* what was committed is sent first */
	vn_socket_outputs(b);
	ck_assert_int_eq(recv(k->client, text, sizeof text, 0), 6);
	bench_free(k);
}
END_TEST

START_TEST(a_commit_absolves)
{
	bench *k = bench_new();
	vn_record *r = k->record;
	vn_desc got[8];

	worker_takes(k, got, 8);
	die(k);
	vn_dispatch_waiting(&k->broker);
	ck_assert_uint_eq(k->worker.suspect, 1);
	tell(k, (vn_desc){.kind = VN_KIND_ACK, .flags = VN_COMMIT, .report = 10});
	ck_assert_uint_eq(k->worker.suspect, 0);
	ck_assert(!(r->flags & VN_R_TRIED));
	ck_assert_uint_eq(r->blame | r->n_attempts, 0);
	bench_free(k);
}
END_TEST

/* Two connections whose input the worker has taken: the second one is new. */
static vn_record *
second_conn(bench *k)
{
	vn_broker *b = &k->broker;
	vn_record *r = vn_record_at(b->ledger, vn_ledger_take(b->ledger));
	uint32_t block = vn_block_alloc(k->worker.link.blocks, 0);

	r->fd = dup(k->client);
	r->flags |= VN_R_RESUMABLE;
	vn_dispatch_attach(b, &k->worker, r);
	r->received = 5;
	vn_chain_push(&r->in, b->ledger->in_table, vn_ref(b, 1, block), 5, 5);
	vn_debt_push_data(b, &k->worker, r, block, 0, 5);
	return r;
}

START_TEST(a_suspect_clears_the_others_and_bars_the_next)
{
	bench *k = bench_new();
	vn_broker *b = &k->broker;
	vn_record *first = k->record, *second;
	vn_desc got[8];

	worker_takes(k, got, 8);
	die(k);
	vn_dispatch_waiting(b);
	second = second_conn(k);
	worker_takes(k, got, 8);
	die(k);
	ck_assert_uint_eq(first->blame, 2);
	ck_assert_uint_eq(second->blame, 0);
	ck_assert_uint_eq(second->n_attempts, 1);
	second->blame = 1; /* from now on it is suspect as well */
	vn_dispatch_waiting(b);
	ck_assert_uint_eq(k->worker.suspect, 1); /* the oldest first */
	ck_assert((first->flags & (VN_R_ATTACHED | VN_R_WAITING)) == VN_R_ATTACHED);
	ck_assert((second->flags & (VN_R_ATTACHED | VN_R_WAITING)) == VN_R_WAITING);
	tell(k, (vn_desc){.kind = VN_KIND_NEED_INPUT, .report = 10});
	vn_dispatch_waiting(b);
	ck_assert_uint_eq(k->worker.suspect, 2);
	ck_assert((second->flags & (VN_R_ATTACHED | VN_R_WAITING)) == VN_R_ATTACHED);
	worker_takes(k, got, 8);
	die(k);
	ck_assert_uint_eq(first->blame, 2); /* it waited for more, the other one did not */
	ck_assert_uint_eq(second->blame, 2);
	close(second->fd);
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

/* An edge of its socket may come before its turn: who is served waits no more, or it would be reset for that. */
START_TEST(who_is_served_before_its_turn_leaves_the_line)
{
	bench *k = bench_new();
	vn_broker *b = &k->broker;
	vn_record *resting = vn_record_at(b->ledger, vn_ledger_take(b->ledger)),
		  *fixed = vn_record_at(b->ledger, vn_ledger_take(b->ledger));
	int pair[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	resting->fd = fixed->fd = pair[0];
	resting->flags |= VN_R_RESUMABLE | VN_R_READABLE;
	ck_assert_int_eq(write(pair[1], "line\n", 5), 5);
	k->worker.state = VN_WORKER_DRAINING;
	vn_socket_input(b, resting);
	vn_socket_input(b, fixed);
	ck_assert(resting->flags & fixed->flags & VN_R_WAITING);
	k->worker.state = VN_WORKER_READY;
	vn_socket_input(b, resting); /* as when more arrives */
	vn_socket_input(b, fixed);
	ck_assert_uint_eq(resting->delivered, 5);
	ck_assert((resting->flags & (VN_R_ATTACHED | VN_R_WAITING)) == VN_R_ATTACHED);
	ck_assert((fixed->flags & (VN_R_ATTACHED | VN_R_WAITING)) == VN_R_ATTACHED);
	ck_assert_uint_eq(b->waiting.first, VN_NO_RECORD);
	close(pair[0]);
	close(pair[1]);
	bench_free(k);
}
END_TEST

/* Whoever is tried too early keeps its place and its time: else others overtake it, and its queue-timeout comes late. */
START_TEST(who_is_tried_in_vain_keeps_its_place_in_line)
{
	bench *k = bench_new();
	vn_broker *b = &k->broker;
	vn_worker *w = &k->worker;
	vn_record *oldest = vn_record_at(b->ledger, vn_ledger_take(b->ledger)),
		  *barred = vn_record_at(b->ledger, vn_ledger_take(b->ledger));
	uint32_t since;
	int pair[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	oldest->fd = pair[0];
	barred->fd = pair[1];
	oldest->flags |= VN_R_RESUMABLE | VN_R_READABLE;
	barred->flags |= VN_R_RESUMABLE | VN_R_READABLE | VN_R_TRIED;
	barred->blame = 1;
	k->config.queue_timeout = 10 * VN_SEC;
	vn_dispatch_wait(b, oldest);
	since = oldest->wait_since;
	b->hub->now += 5 * VN_SEC;
	vn_dispatch_wait(b, barred);
	w->suspect = vn_record_index(b->ledger, k->record) + 1;
	vn_debt_add(b, w, k->record, VN_D_SENT); /* another debtor comes first: not yet ... */
	while (vn_lane_tx_room(&w->link.tx) >= w->link.tx.mask / 2) /* ... where room is scarce */
		vn_lane_tx_push(&w->link.tx, &(vn_desc){.kind = VN_KIND_PING});
	vn_dispatch_waiting(b);
	ck_assert(oldest->flags & barred->flags & VN_R_WAITING);
	ck_assert_uint_eq(oldest->wait_since, since);
	ck_assert_uint_eq(b->waiting.first, vn_record_index(b->ledger, oldest));
	ck_assert_uint_eq(b->waiting.last, vn_record_index(b->ledger, barred));
	ck_assert_uint_eq(oldest->wait_next, b->waiting.last);
	ck_assert_uint_eq(barred->wait_prev, b->waiting.first);
	ck_assert_uint_eq(oldest->wait_prev & barred->wait_next, VN_NO_RECORD);
	b->hub->now += 6 * VN_SEC;
	vn_dispatch_sweep(b);
	ck_assert_int_eq(oldest->fd, -1);
	ck_assert_uint_eq(b->count->n_resets[VN_RESET_QUEUE_TIMEOUT], 1);
	ck_assert_uint_eq(b->waiting.first, b->waiting.last);
	close(pair[1]);
	bench_free(k);
}
END_TEST

/* There may always be a debtor, as when others send without a pause: that is no reason never to begin with it. */
START_TEST(who_waits_gets_its_turn_among_debtors)
{
	bench *k = bench_new();
	vn_broker *b = &k->broker;
	vn_record *newcomer = vn_record_at(b->ledger, vn_ledger_take(b->ledger));
	int pair[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	newcomer->fd = pair[0];
	newcomer->flags |= VN_R_RESUMABLE | VN_R_READABLE;
	ck_assert_int_eq(write(pair[1], "line\n", 5), 5);
	k->record->flags |= VN_R_READABLE;
	vn_debt_add(b, &k->worker, k->record, VN_D_DATA);
	vn_socket_input(b, newcomer);
	ck_assert_uint_eq(newcomer->delivered, 5);
	ck_assert((newcomer->flags & (VN_R_ATTACHED | VN_R_WAITING)) == VN_R_ATTACHED);
	/* From here on it is one of them. */
	ck_assert_int_eq(write(pair[1], "more\n", 5), 5);
	newcomer->flags |= VN_R_READABLE;
	vn_socket_input(b, newcomer);
	ck_assert_uint_eq(newcomer->delivered, 5);
	ck_assert(newcomer->debts & VN_D_DATA);
	vn_debt_pay(b, &k->worker);
	ck_assert_uint_eq(newcomer->delivered, 10);
	close(pair[0]);
	close(pair[1]);
	bench_free(k);
}
END_TEST

/* All small blocks are out, and so is every span of which there could be more: what is left is a part of a large one. */
START_TEST(who_needs_another_block_takes_what_is_left)
{
	bench *k = bench_new();
	vn_record *r = k->record;
	vn_blocks *blocks = k->worker.link.blocks;

	ck_assert_uint_ne(vn_block_alloc(blocks, 2), VN_NO_BLOCK);
	for (unsigned int c = 0; c < 2; c++)
		while (vn_block_alloc(blocks, c) != VN_NO_BLOCK)
			;
	ck_assert_uint_eq(vn_blocks_available(blocks), 3 * vn_block_class_bytes(2));
	k->broker.ledger->in_table[r->in.last].fill = 250;
	r->flags |= VN_R_READABLE;
	ck_assert_int_eq(write(k->client, "more\n", 5), 5);
	vn_socket_receive(&k->broker, &k->worker, r);
	ck_assert(!(r->flags & VN_R_STARVED));
	ck_assert_uint_eq(r->delivered, 15);
	ck_assert_uint_eq(r->in.charge, 256 + vn_block_class_bytes(2));
	bench_free(k);
}
END_TEST

/*
 * State goes with the descriptor that opens an attachment. When a lane has room for others and not for these, the
 * hub sleeps until the worker has taken some, and is rung then.
 */
START_TEST(a_debt_that_needs_more_slots_than_there_are_is_no_reason_to_turn)
{
	bench *k = bench_new();
	vn_broker *b = &k->broker;
	vn_worker *w = &k->worker;
	vn_record *r = k->record;
	vn_desc got[64];

	vn_broker_turn_init(b);
	b->hook.turn(&b->hook);
	r->state = vn_block_alloc(b->ledger->spill_blocks, 2);
	r->state_len = VN_STATE_MAX;
	r->flags |= VN_R_STATEFUL;
	vn_debt_add(b, w, r, VN_D_OPEN);
	while (vn_lane_tx_room(&w->link.tx) > VN_OWN_SLOTS + 2)
		vn_lane_tx_push(&w->link.tx, &(vn_desc){.kind = VN_KIND_PING});
	b->hook.turn(&b->hook);
	ck_assert_uint_eq(w->debtor_first, 0);
	ck_assert(b->hook.arm(&b->hook));
	ck_assert_int_gt(vn_lane_rx_take(&k->taken, got, 64), 32);
	ck_assert(vn_lane_rx_release(&k->taken));
	vn_worker_heat(w); /* what the bell does */
	b->hook.turn(&b->hook);
	ck_assert_uint_eq(w->debtor_first, VN_NO_RECORD);
	vn_wheel_disarm(b->hub->wheel, &b->sweep);
	vn_hub_unhook(b->hub, &b->hook);
	bench_free(k);
}
END_TEST

/* The clock of request-timeout, of a request that a worker has had for long while its reader waits for more. */
static bench *
bench_with_patience(void)
{
	bench *k = bench_new();

	k->config.request_timeout = 30 * VN_SEC;
	k->config.window = 10;
	k->worker.pidfd = dup(k->worker.link.bell_out); /* not of a process: nobody is killed */
	k->record->since = vn_broker_ms(&k->broker) - 40000;
	return k;
}

static void
bench_impatient_free(bench *k)
{
	close(k->worker.pidfd);
	bench_free(k);
}

START_TEST(a_reader_that_waits_for_more_has_time)
{
	bench *k = bench_with_patience();
	vn_broker *b = &k->broker;
	vn_record *r = k->record;

	tell(k, (vn_desc){.kind = VN_KIND_NEED_INPUT, .report = 10});
	ck_assert(r->flags & VN_R_NEED_INPUT);
	vn_dispatch_sweep(b);
	ck_assert(!k->worker.was_killed);
	/* It is told that no more fits: only from here on it is its turn. */
	b->ledger->in_table[r->in.last].fill = 250;
	r->flags |= VN_R_READABLE;
	vn_socket_receive(b, &k->worker, r);
	ck_assert(r->debts & VN_D_FULL);
	ck_assert(!(r->flags & VN_R_NEED_INPUT));
	vn_dispatch_sweep(b);
	ck_assert(!k->worker.was_killed);
	r->since -= 40000;
	vn_dispatch_sweep(b);
	ck_assert(k->worker.was_killed);
	bench_impatient_free(k);
}
END_TEST

/* The end is something to go on with, as input is. */
START_TEST(who_is_told_the_end_waits_for_no_more)
{
	bench *k = bench_with_patience();
	vn_broker *b = &k->broker;
	vn_record *r = k->record;

	tell(k, (vn_desc){.kind = VN_KIND_NEED_INPUT, .report = 10});
	r->received++;
	r->flags |= VN_R_ENDED;
	vn_debt_add(b, &k->worker, r, VN_D_END);
	vn_debt_pay(b, &k->worker);
	ck_assert(!(r->flags & VN_R_NEED_INPUT));
	vn_dispatch_sweep(b);
	ck_assert(!k->worker.was_killed);
	r->since -= 40000;
	vn_dispatch_sweep(b);
	ck_assert(k->worker.was_killed);
	bench_impatient_free(k);
}
END_TEST

/* It has more than it had when it said so, and asks again if it still waits: its clock does not stand still. */
START_TEST(who_says_that_it_waits_while_more_is_on_its_way_does_not)
{
	bench *k = bench_with_patience();

	tell(k, (vn_desc){.kind = VN_KIND_NEED_INPUT, .report = 9});
	ck_assert(!(k->record->flags & VN_R_NEED_INPUT));
	vn_dispatch_sweep(&k->broker);
	ck_assert(k->worker.was_killed);
	ck_assert(!k->worker.broken);
	tell(k, (vn_desc){.kind = VN_KIND_NEED_INPUT, .report = 11});
	ck_assert(k->worker.broken);
	ck_assert_ptr_nonnull(strstr(k->said, "violated"));
	bench_impatient_free(k);
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
		output_that_is_not_sent_is_bounded_by_the_lane,
		a_generation_that_is_over_is_counted_and_ignored,
		a_late_close_does_not_meet_the_next_connection,
		a_close_that_crosses_its_taking_back_is_honoured,
		what_was_published_before_the_death_counts,
		a_close_commits_what_was_written_before_it,
		a_dead_worker_asks_for_nothing_and_sends_nothing_uncommitted,
		what_is_given_back_is_delivered_again_elsewhere,
		nothing_is_given_back_unasked_or_in_the_middle,
		state_counts_from_its_commit_on,
		state_in_pieces_that_do_not_fit_kills,
		only_what_was_taken_is_an_attempt_and_only_unordered_deaths_are_blamed,
		what_no_worker_takes_waits_no_longer_than_in_line,
		what_waits_for_another_worker_is_reset_when_there_will_be_none,
		a_commit_absolves,
		a_suspect_clears_the_others_and_bars_the_next,
		nothing_staged_is_slept_on,
		who_is_served_before_its_turn_leaves_the_line,
		who_is_tried_in_vain_keeps_its_place_in_line,
		who_waits_gets_its_turn_among_debtors,
		who_needs_another_block_takes_what_is_left,
		a_debt_that_needs_more_slots_than_there_are_is_no_reason_to_turn,
		a_reader_that_waits_for_more_has_time,
		who_is_told_the_end_waits_for_no_more,
		who_says_that_it_waits_while_more_is_on_its_way_does_not,
	};

	return suite_run("broker_intake", tests, SUITE_COUNT(tests));
}
