/* SPDX-License-Identifier: MIT */
/*
 * Settle - what a dead worker had published is cut at every position, against a model
 *
 * The broker is made by hand: one worker with memory of its own and no process, one connection whose socket takes
 * nothing. The worker's output lies in random blocks, appended to where it would be; what is left of it after the
 * death is read from the ledger and compared with the stream as it was written.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/debt.h"
#include "broker/dispatch.h"
#include "broker/keep.h"
#include "broker/settle.h"
#include "broker/socket.h"
#include "tests/unit/suite.h"

#define AREA      (1u << 20)
#define MAX_BYTES 200000u

static const vn_geometry geometry = {.n_slots = 64, .area_bytes = AREA};

typedef struct bench {
	vn_broker broker;
	vn_config config;
	vn_worker worker;
	vn_broker_endpoint endpoint;
	vn_record *record;
	int client;
	uint64_t random;
	unsigned char stream[MAX_BYTES]; /* what was written, from position 0 */
} bench;

static bench *
bench_new(void)
{
	bench *k = calloc(1, sizeof *k);
	vn_broker *b = &k->broker;
	vn_worker *w = &k->worker;

	ck_assert_ptr_nonnull(k);
	k->random = 1;
	k->config =
		(vn_config){.window = 262144, .linger_timeout = VN_SEC, .depth = 64, .retries = 3};
	b->config = &k->config;
	b->hub = vn_hub_open(&vn_sys_linux);
	b->ledger = vn_ledger_new(64, 2, AREA);
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
	w->starved = (vn_ledger_list){VN_NO_RECORD, VN_NO_RECORD};
	w->attached = w->debtor_first = w->debtor_last = VN_NO_RECORD;
	ck_assert_int_eq(vn_segment_create(&w->link.peer, "worker", &geometry, 1), 0);
	ck_assert_int_eq(vn_segment_map(&w->link.peer, true), 0);
	ck_assert_int_eq(vn_segment_create(&w->link.own, "broker", &geometry, 1), 0);
	ck_assert_int_eq(vn_segment_map(&w->link.own, true), 0);
	w->link.geometry = geometry;
	w->link.blocks = vn_blocks_new(AREA);
	ck_assert_ptr_nonnull(w->link.blocks);
	return k;
}

static void
bench_free(bench *k)
{
	vn_segment_deinit(&k->worker.link.peer);
	vn_segment_deinit(&k->worker.link.own);
	vn_blocks_free(k->worker.link.blocks);
	vn_counters_close(k->broker.counters);
	vn_ledger_free(k->broker.ledger);
	vn_hub_close(k->broker.hub);
	free(k);
}

/* A connection that the worker has, and whose client takes nothing for now. */
static void
conn_begin(bench *k)
{
	vn_broker *b = &k->broker;
	int pair[2];
	vn_record *r;

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	r = k->record = vn_record_at(b->ledger, vn_ledger_take(b->ledger));
	r->fd = pair[0];
	k->client = pair[1];
	r->flags |= VN_R_RESUMABLE;
	vn_dispatch_attach(b, &k->worker, r);
	r->debts = 0;
}

static unsigned char
input_at(uint64_t pos)
{
	return (unsigned char)(pos * 167 + pos / 251);
}

/* That much input lies in the worker's lane, from position `acked` on, in blocks of one size. */
static void
conn_deliver(bench *k, uint64_t to, unsigned int size_class)
{
	vn_record *r = k->record;
	vn_link *l = &k->worker.link;
	uint64_t end = to - !!(r->flags & VN_R_ENDED);

	for (uint64_t at = r->acked; at < end;) {
		uint32_t block = vn_block_alloc(l->blocks, size_class), n = 0;
		static unsigned char text[VN_BLOCK_MAX];

		ck_assert_uint_ne(block, VN_NO_BLOCK);
		while (n < vn_block_class_bytes(size_class) && at + n < end) {
			text[n] = input_at(at + n);
			n++;
		}
		vn_area_write(&l->own, block, 0, text, n);
		at += n;
		vn_chain_push(
			&r->in, k->broker.ledger->in_table, vn_ref(&k->broker, 1, block), n, at);
	}
	r->received = r->delivered = to;
}

/* Everything from the last commit on is kept, in the ledger. */
static void
check_kept(bench *k)
{
	vn_ledger *l = k->broker.ledger;
	vn_record *r = k->record;
	uint64_t at = r->delivered, end = r->received - !!(r->flags & VN_R_ENDED);

	suite_assert(at == r->committed && at == r->acked);
	for (uint32_t ref = r->kept.first; ref != VN_NO_BLOCK; ref = l->in_table[ref].next) {
		const vn_chain_link *link = &l->in_table[ref];

		suite_assert(ref < l->n_spill && link->end > at);
		for (; at < link->end; at++) {
			const unsigned char *c =
				vn_area_at(&l->spill, ref, vn_chain_offset(link, at));

			suite_assert(*c == input_at(at));
		}
	}
	suite_assert(at == end);
	suite_assert(vn_blocks_available(k->worker.link.blocks) == AREA);
}

/* The next part of the stream, published as the intake would chain it. */
static void
conn_publish(bench *k, uint32_t block, uint32_t offset, uint32_t len)
{
	vn_record *r = k->record;
	vn_chain_link *table = k->broker.ledger->out_table;
	uint32_t ref = vn_ref(&k->broker, 1, block);

	for (uint32_t i = 0; i < len; i++)
		k->stream[r->queued + i] = (unsigned char)suite_random(&k->random);
	vn_area_write(&k->worker.link.peer, block, offset, k->stream + r->queued, len);
	r->queued += len;
	if (table[ref].fill)
		vn_chain_extend(&r->out, table, len);
	else
		vn_chain_push(&r->out, table, ref, offset + len, r->queued);
}

/* The kernel took that much. */
static void
conn_sent(bench *k, uint64_t to)
{
	vn_chain_link *table = k->broker.ledger->out_table;
	uint32_t ref;

	k->record->sent = to;
	while ((ref = vn_chain_pop(&k->record->out, table, to)) != VN_NO_BLOCK)
		table[ref].fill = 0;
}

/* What is left to be sent is the stream from `sent` on, and all of it lies in the ledger. */
static void
check_left(bench *k)
{
	vn_ledger *l = k->broker.ledger;
	vn_record *r = k->record;
	uint64_t at = r->sent;

	for (uint32_t ref = r->out.first; ref != VN_NO_BLOCK; ref = l->out_table[ref].next) {
		const vn_chain_link *link = &l->out_table[ref];
		uint32_t len = (uint32_t)(link->end - at);

		suite_assert(ref < l->n_spill && link->end > at);
		suite_assert(memcmp(vn_area_at(&l->spill, ref, vn_chain_offset(link, at)),
				     k->stream + at, len) == 0);
		at = link->end;
	}
	suite_assert(at == r->queued);
	for (uint32_t i = l->n_spill; i < l->n_spill + l->n_granules; i++)
		suite_assert(l->out_table[i].fill == 0);
}

static void
conn_end(bench *k)
{
	vn_broker *b = &k->broker;

	close(k->client);
	vn_socket_reset(b, k->record, VN_RESET_STOPPING);
	vn_socket_outputs(b);
	ck_assert_uint_eq(b->ledger->n_used, 0);
	ck_assert_uint_eq(
		vn_blocks_available(b->ledger->spill_blocks), b->ledger->spill.geometry.area_bytes);
	ck_assert_uint_eq(b->closing.first, VN_NO_RECORD);
	ck_assert_uint_eq(k->worker.n_attached, 0);
}

/* Some pieces: small ones that share a block, and new blocks, as an honest worker's writes make them. */
static void
conn_publish_some(bench *k, uint32_t n_pieces, uint32_t max)
{
	uint32_t block = 0, offset = 0;

	for (uint32_t i = 0; i < n_pieces; i++) {
		uint32_t len = 1 + (uint32_t)(suite_random(&k->random) % max);

		if (i == 0 || offset + len > 2048 || suite_random(&k->random) % 3 == 0) {
			block = (i + 1) * 16;
			offset = 0;
		}
		conn_publish(k, block, offset, len);
		offset += len;
	}
}

START_TEST(output_is_withdrawn_at_every_position)
{
	bench *k = bench_new();

	for (uint64_t committed = 0, total = 1; committed <= total; committed++) {
		for (uint64_t part = 0; part < 4; part++) {
			uint64_t sent, limit;

			k->random = 7;
			conn_begin(k);
			conn_publish_some(k, 9, 120);
			total = k->record->queued;
			sent = total * part / 4;
			conn_sent(k, sent);
			k->record->queued_c = committed;
			limit = sent > committed ? sent : committed;
			vn_settle_worker(&k->broker, &k->worker);
			suite_assert(k->record->queued == limit && k->record->sent == sent);
			suite_assert(!(k->record->flags & VN_R_ATTACHED));
			/* At rest it goes on, unless more was sent than committed. */
			suite_assert(!(k->record->flags & VN_R_DOOMED) == (sent <= committed));
			check_left(k);
			conn_end(k);
		}
	}
	bench_free(k);
}
END_TEST

START_TEST(output_of_several_dead_workers_stays_in_order)
{
	bench *k = bench_new();

	for (int round = 0; round < SUITE_TIMES(300); round++) {
		uint64_t before = 0;

		k->random = (uint64_t)round + 1;
		conn_begin(k);
		for (int death = 0; death < 4; death++) {
			uint64_t n;

			conn_publish_some(k, 5, 500);
			n = k->record->queued - before;
			k->record->queued_c = before + suite_random(&k->random) % (n + 1);
			vn_settle_worker(&k->broker, &k->worker);
			suite_assert(k->record->queued == k->record->queued_c);
			check_left(k);
			conn_sent(k, k->record->sent); /* nothing */
			before = k->record->queued;
			vn_dispatch_attach(&k->broker, &k->worker, k->record);
		}
		vn_settle_worker(&k->broker, &k->worker);
		check_left(k);
		conn_end(k);
	}
	bench_free(k);
}
END_TEST

/* What a worker's whole area holds fits into an empty spill area, however it is cut. */
START_TEST(a_full_area_fits_into_the_spill)
{
	bench *k = bench_new();

	conn_begin(k);
	for (uint32_t i = 0; i < 3; i++)
		conn_publish(k, i * 256, 0, 60000);
	k->record->queued_c = k->record->queued;
	vn_settle_worker(&k->broker, &k->worker);
	check_left(k);
	ck_assert_uint_eq(k->record->queued, 180000);
	conn_end(k);
	bench_free(k);
}
END_TEST

/* The worker gets some of what was kept: one block after the other, as input.c would. */
static void
conn_again(bench *k, uint32_t n_blocks)
{
	vn_record *r = k->record;
	vn_link *l = &k->worker.link;
	const void *data;
	uint32_t n;

	while (n_blocks-- > 0 && (n = vn_keep_next(&k->broker, r, &data)) > 0) {
		uint32_t block = vn_block_alloc(l->blocks, vn_block_class(n));

		suite_assert(block != VN_NO_BLOCK);
		vn_area_write(&l->own, block, 0, data, n);
		r->delivered += n;
		vn_chain_push(&r->in, k->broker.ledger->in_table, vn_ref(&k->broker, 1, block), n,
			r->delivered);
		vn_keep_given(&k->broker, r);
	}
}

/* What the worker commits, in the middle of a block or not: its blocks before that come home. */
static void
conn_commit(bench *k, uint64_t to)
{
	vn_record *r = k->record;
	uint32_t ref;

	r->acked = r->committed = to;
	while ((ref = vn_chain_pop(&r->in, k->broker.ledger->in_table, to)) != VN_NO_BLOCK)
		vn_block_free(k->worker.link.blocks, ref - vn_ref(&k->broker, 1, 0));
}

START_TEST(input_is_kept_whatever_was_committed_and_delivered)
{
	bench *k = bench_new();
	vn_record *r;

	for (int round = 0; round < SUITE_TIMES(300); round++) {
		k->random = (uint64_t)round + 1;
		conn_begin(k);
		r = k->record;
		k->worker.ordered = true; /* nobody is to blame */
		conn_deliver(k, 1 + suite_random(&k->random) % 30000, (unsigned int)round % 3);
		for (int death = 0; death < 5 && r->committed < r->received; death++) {
			uint64_t n = r->delivered - r->committed;

			conn_commit(k, r->committed + suite_random(&k->random) % (n + 1));
			vn_settle_worker(&k->broker, &k->worker);
			check_kept(k);
			vn_dispatch_unwait(&k->broker, r);
			vn_dispatch_attach(&k->broker, &k->worker, r);
			r->debts = 0;
			conn_again(k, (uint32_t)(suite_random(&k->random) % 8));
		}
		vn_settle_worker(&k->broker, &k->worker);
		check_kept(k);
		conn_end(k);
	}
	vn_keep_trim(k->broker.ledger);
	suite_assert(!k->broker.ledger->is_spilled);
	bench_free(k);
}
END_TEST

/* Deaths and output of the dead, input of the dead: it fits, or the connection is reset; nothing leaks. */
START_TEST(a_full_ledger_resets_and_leaks_nothing)
{
	bench *k = bench_new();
	vn_ledger *l = k->broker.ledger;
	uint32_t n = 0;

	while (vn_blocks_available(l->spill_blocks) > 5000)
		if (vn_block_alloc(l->spill_blocks, 3) == VN_NO_BLOCK &&
			vn_block_alloc(l->spill_blocks, 1) == VN_NO_BLOCK)
			break;
	conn_begin(k);
	conn_deliver(k, 30000, 1);
	vn_settle_worker(&k->broker, &k->worker);
	ck_assert_int_lt(k->record->fd, 0);
	ck_assert_uint_eq(k->broker.count->n_resets[VN_RESET_NO_BLOCKS], 1);
	ck_assert_uint_eq(vn_blocks_available(k->worker.link.blocks), AREA);
	ck_assert_uint_eq(k->broker.ledger->n_used, 0);
	for (uint32_t i = 0; i < l->n_spill; i++)
		n += vn_block_is_out(l->spill_blocks, i);
	ck_assert_uint_gt(n, 0);
	close(k->client);
	bench_free(k);
}
END_TEST

START_TEST(each_state_has_its_end)
{
	static const struct {
		uint64_t received, acked, committed, queued, queued_c, sent;
		uint32_t flags;
		bool doomed, closed, waits;
	} cases[] = {
		{10, 10, 10, 5, 5, 5, 0, false, false, false}, /* at rest */
		{10, 10, 10, 5, 5, 2, 0, false, false, false}, /* at rest, not all sent yet */
		{10, 10, 10, 5, 3, 5, 0, true, true, false},   /* part of an answer was sent */
		{10, 5, 5, 5, 5, 5, 0, false, false, true},    /* a request in hand */
		{10, 5, 5, 8, 5, 2, 0, false, false, true},    /* and output that nobody has seen */
		{10, 5, 5, 8, 5, 6, 0, true, true, false},     /* and a byte of it was sent */
		{10, 10, 5, 5, 5, 5, 0, true, true, false},    /* acknowledged, not committed */
		{11, 10, 10, 5, 5, 5, VN_R_ENDED, false, true,
			false}, /* nothing but the end of file is left */
		{11, 10, 10, 5, 3, 5, VN_R_ENDED, true, true, false}, /* the same, dirty */
		{10, 5, 5, 5, 5, 5, VN_R_SHUT, false, true, false},   /* its output was complete */
		{10, 10, 10, 5, 5, 2, VN_R_CLOSED, false, true,
			false}, /* its handler was done with it */
	};
	bench *k = bench_new();

	for (size_t i = 0; i < SUITE_COUNT(cases); i++) {
		conn_begin(k);
		k->record->flags |= cases[i].flags;
		k->record->acked = cases[i].acked;
		k->record->committed = cases[i].committed;
		conn_deliver(k, cases[i].received, 0);
		conn_publish(k, 0, 0, (uint32_t)cases[i].queued);
		k->record->queued_c = cases[i].queued_c;
		conn_sent(k, cases[i].sent);
		vn_settle_worker(&k->broker, &k->worker);
		ck_assert_msg(!(k->record->flags & VN_R_DOOMED) == !cases[i].doomed, "case %zu", i);
		ck_assert_msg(
			(k->record->fd < 0 || k->record->flags & VN_R_CLOSED) == cases[i].closed,
			"case %zu", i);
		ck_assert_msg(!(k->record->flags & VN_R_WAITING) == !cases[i].waits, "case %zu", i);
		if (cases[i].waits)
			check_kept(k);
		ck_assert_uint_eq(vn_blocks_available(k->worker.link.blocks), AREA);
		if (k->record->fd >= 0)
			conn_end(k);
		else
			close(k->client);
		ck_assert_uint_eq(k->broker.ledger->n_used, 0);
	}
	bench_free(k);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		output_is_withdrawn_at_every_position,
		output_of_several_dead_workers_stays_in_order,
		a_full_area_fits_into_the_spill,
		input_is_kept_whatever_was_committed_and_delivered,
		a_full_ledger_resets_and_leaks_nothing,
		each_state_has_its_end,
	};

	return suite_run("broker_settle", tests, SUITE_COUNT(tests));
}
