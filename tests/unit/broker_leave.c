/* SPDX-License-Identifier: MIT */
/*
 * Leave - how a worker is relieved of its connections, and what is recorded of one, without a process
 *
 * The broker is made by hand; workers have links whose other end is this test, which takes what it is told.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/change.h"
#include "broker/debt.h"
#include "broker/dispatch.h"
#include "broker/leave.h"
#include "broker/liveness.h"
#include "broker/recorder.h"
#include "broker/worker.h"
#include "shm/bell.h"
#include "tests/unit/suite.h"

#define AREA (1u << 20)

static const vn_geometry geometry = {.n_slots = 64, .area_bytes = AREA};

typedef struct bench {
	vn_broker broker;
	vn_config config;
	vn_broker_endpoint endpoint;
	vn_worker *worker, *other;
	vn_lane_tx gave; /* the end of `worker` */
	vn_lane_rx got;
} bench;

static void
link_open(vn_worker *w)
{
	vn_link *l = &w->link;

	*l = (vn_link){.geometry = geometry, .bell_in = -1, .hello = -1};
	ck_assert_int_eq(vn_segment_create(&l->own, "broker", &geometry, 1), 0);
	ck_assert_int_eq(vn_segment_map(&l->own, true), 0);
	ck_assert_int_eq(vn_segment_claim(&l->own, 1), 0);
	ck_assert_int_eq(vn_segment_create(&l->peer, "worker", &geometry, 1), 0);
	ck_assert_int_eq(vn_segment_map(&l->peer, true), 0);
	ck_assert_int_eq(vn_segment_claim(&l->peer, 1), 0);
	vn_lane_tx_init(&l->tx, &l->own, &l->peer);
	vn_lane_rx_init(&l->rx, &l->own, &l->peer);
	l->blocks = vn_blocks_new(AREA);
	l->bell_out = vn_bell_eventfd();
	w->linked = true;
}

static vn_worker *
worker_ready(bench *k, uint16_t number)
{
	vn_worker *w = vn_worker_new(&k->broker, number);

	ck_assert_ptr_nonnull(w);
	link_open(w);
	w->incarnation = 7;
	w->listeners[0] =
		(vn_worker_listener){.used = true, .resumable = true, .block = VN_NO_BLOCK};
	w->listener_of[0] = 0;
	vn_worker_serve(w);
	return w;
}

static bench *
bench_new(void)
{
	bench *k = calloc(1, sizeof *k);
	vn_broker *b = &k->broker;

	ck_assert_ptr_nonnull(k);
	k->config = (vn_config){
		.window = 262144, .linger_timeout = VN_SEC, .drain_timeout = VN_SEC, .depth = 64};
	b->config = &k->config;
	b->hub = vn_hub_open(&vn_sys_linux);
	b->ledger = vn_ledger_new(64, 8, AREA);
	b->recorder = vn_recorder_new();
	b->counters = vn_counters_open(NULL, "test");
	b->count = b->counters->broker;
	b->change = vn_change_new(b);
	b->phase = VN_PHASE_SERVING;
	b->output_first = b->unreported = VN_NO_RECORD;
	b->waiting = b->closing = (vn_ledger_list){VN_NO_RECORD, VN_NO_RECORD};
	b->endpoints[0] = &k->endpoint;
	b->n_endpoints = 1;
	k->endpoint.used = k->endpoint.fixed = true;
	k->endpoint.fd = -1;
	k->worker = worker_ready(k, 1);
	k->other = worker_ready(k, 2);
	vn_lane_tx_init(&k->gave, &k->worker->link.peer, &k->worker->link.own);
	vn_lane_rx_init(&k->got, &k->worker->link.peer, &k->worker->link.own);
	return k;
}

static void
bench_free(bench *k)
{
	vn_broker *b = &k->broker;

	for (uint32_t i = 0; i < b->ledger->high; i++)
		if (vn_record_at(b->ledger, i)->fd >= 0)
			close(vn_record_at(b->ledger, i)->fd);
	vn_leave_deinit(b);
	for (uint32_t i = 1; i <= b->n_slots; i++)
		vn_worker_free(b->workers[i]);
	b->change = vn_change_free(b->change);
	b->recorder = vn_recorder_free(b->recorder);
	vn_counters_close(b->counters);
	vn_ledger_free(b->ledger);
	vn_hub_close(b->hub);
	free(k);
}

/* A connection that the worker has; its peer is of no interest. */
static vn_record *
conn_new(bench *k, uint32_t flags)
{
	vn_broker *b = &k->broker;
	vn_record *r = vn_record_at(b->ledger, vn_ledger_take(b->ledger));
	int pair[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	close(pair[1]);
	r->fd = pair[0];
	r->flags |= VN_R_WRITABLE | flags;
	vn_dispatch_attach(b, k->worker, r);
	return r;
}

/* Its worker is given this input. */
static void
conn_deliver(bench *k, vn_record *r, const char *text)
{
	vn_broker *b = &k->broker;
	vn_worker *w = k->worker;
	uint32_t len = (uint32_t)strlen(text), block = vn_block_alloc(w->link.blocks, 1);

	vn_area_write(&w->link.own, block, 0, text, len);
	r->received += len;
	vn_chain_push(&r->in, b->ledger->in_table, vn_ref(b, w->slot, block), len, r->received);
	r->in.charge += vn_block_size(w->link.blocks, block);
	vn_debt_push_data(b, w, r, block, 0, len);
}

/* The worker said that it has used this much up. */
static void
conn_acked(bench *k, vn_record *r, uint64_t to)
{
	vn_worker *w = k->worker;
	uint32_t ref;

	while ((ref = vn_chain_pop(&r->in, k->broker.ledger->in_table, to)) != VN_NO_BLOCK)
		vn_block_free(w->link.blocks, ref - vn_ref(&k->broker, w->slot, 0));
	r->acked = r->committed = to;
	if (to == r->delivered)
		vn_dispatch_calm(&k->broker, w, r);
}

/* Kinds of what the worker was told and has not taken yet. */
static uint32_t
told(bench *k, vn_kind *kinds)
{
	vn_desc batch[64];
	int n;

	vn_link_flush(&k->worker->link);
	n = vn_lane_rx_take(&k->got, batch, 64);
	for (int i = 0; i < n; i++)
		kinds[i] = batch[i].kind;
	vn_lane_rx_release(&k->got);
	return (uint32_t)n;
}

static void
turn(bench *k)
{
	vn_sleep(k->broker.hub, 20 * VN_MS);
}

START_TEST(connections_at_rest_are_taken_back_and_others_are_not)
{
	bench *k = bench_new();
	vn_record *rest = conn_new(k, VN_R_RESUMABLE), *fixed = conn_new(k, 0),
		  *shut = conn_new(k, VN_R_RESUMABLE | VN_R_SHUT);
	vn_kind kinds[64];

	rest->debts = fixed->debts = shut->debts = 0;
	vn_leave_begin(k->worker);
	ck_assert_int_eq(k->worker->state, VN_WORKER_DRAINING);
	ck_assert_uint_eq(k->broker.n_ready, 1);
	turn(k);
	ck_assert(!(rest->flags & VN_R_ATTACHED));
	ck_assert(fixed->flags & VN_R_ATTACHED);
	ck_assert(shut->flags & VN_R_ATTACHED);
	ck_assert_uint_eq(told(k, kinds), 1);
	ck_assert_int_eq(kinds[0], VN_KIND_REVOKED);
	ck_assert_ptr_eq(vn_dispatch_choose(&k->broker, rest), k->other);
	bench_free(k);
}
END_TEST

START_TEST(who_comes_back_gets_work_again)
{
	bench *k = bench_new();

	vn_leave_begin(k->other);
	vn_leave_begin(k->worker);
	ck_assert_uint_eq(k->broker.n_ready, 0);
	ck_assert_uint_eq(k->broker.n_idle, 0);
	vn_leave_return(k->worker);
	ck_assert_int_eq(k->worker->state, VN_WORKER_READY);
	ck_assert_uint_eq(k->broker.n_ready, 1);
	ck_assert_uint_eq(k->broker.n_idle, 1);
	ck_assert_ptr_eq(vn_dispatch_choose(&k->broker, conn_new(k, VN_R_RESUMABLE)), k->worker);
	bench_free(k);
}
END_TEST

START_TEST(drain_is_told_once_and_not_before_every_connection_is_opened)
{
	bench *k = bench_new();
	vn_record *r = conn_new(k, 0);
	vn_kind kinds[64];

	vn_debt_add(&k->broker, k->worker, r, VN_D_OPEN);
	vn_leave_for_good(k->worker);
	ck_assert(k->worker->going);
	ck_assert(k->worker->ordered);
	vn_leave_tell(&k->broker);
	ck_assert(!k->worker->owes_drain);
	vn_debt_pay(&k->broker, k->worker);
	vn_leave_tell(&k->broker);
	ck_assert(k->worker->owes_drain);
	vn_debt_pay(&k->broker, k->worker);
	vn_leave_tell(&k->broker);
	ck_assert(!k->worker->owes_drain);
	ck_assert_uint_eq(told(k, kinds), 2);
	ck_assert_int_eq(kinds[0], VN_KIND_OPEN);
	ck_assert_int_eq(kinds[1], VN_KIND_DRAIN);
	bench_free(k);
}
END_TEST

START_TEST(who_has_not_finished_in_time_is_stopped)
{
	bench *k = bench_new();
	vn_record *r = conn_new(k, 0);

	r->debts = 0;
	vn_leave_for_good(k->worker);
	turn(k);
	ck_assert(!k->worker->was_stopped);
	k->worker->leave_until = k->broker.hub->now;
	turn(k);
	ck_assert(k->worker->was_stopped);
	ck_assert(k->worker->owes_stop);
	bench_free(k);
}
END_TEST

START_TEST(number_and_incarnation_and_slot_and_incarnation_are_unique)
{
	bench *k = bench_new();
	vn_broker *b = &k->broker;
	vn_worker *w;

	ck_assert_uint_eq(k->worker->slot, 1);
	ck_assert_uint_eq(k->other->slot, 2);
	b->slot_incarnations[3] = 9; /* somebody was there */
	b->incarnations[3] = 8;
	w = vn_worker_new(b, 3);
	ck_assert_uint_eq(w->slot, 4);
	vn_worker_free(w);
	b->incarnations[3] = 9;
	w = vn_worker_new(b, 3);
	ck_assert_uint_eq(w->slot, 3);
	vn_worker_free(w);
	for (int i = 3; i <= VN_MAX_SLOTS; i++)
		b->slot_incarnations[i] = 100;
	w = vn_worker_new(b, 3);
	ck_assert_uint_eq(w->slot, 3);
	while (vn_worker_new(b, 3))
		;
	ck_assert_int_eq(errno, EUSERS);
	ck_assert_uint_eq(b->n_slots, VN_MAX_SLOTS);
	ck_assert_ptr_eq(vn_worker_find(b, 1), k->worker);
	k->worker->coming = true;
	ck_assert_ptr_null(vn_worker_find(b, 1));
	bench_free(k);
}
END_TEST

START_TEST(workers_of_one_number_count_together)
{
	bench *k = bench_new();
	vn_worker *heir = worker_ready(k, 1);

	k->worker->count->n_requests = 5;
	k->worker->state = VN_WORKER_NONE;
	k->worker->going = true;
	vn_worker_heat(k->worker);
	vn_worker_heat(heir);
	vn_worker_retire(k->worker);
	ck_assert_ptr_eq(k->broker.hot, heir);
	ck_assert_ptr_null(heir->hot_next);
	ck_assert_uint_eq(heir->count->n_requests, 5);
	ck_assert_int_eq(heir->count->row.state, VN_ROW_USED);
	ck_assert_ptr_null(k->broker.workers[1]);
	heir->state = VN_WORKER_NONE;
	heir->going = true;
	vn_worker_retire(heir);
	ck_assert_int_eq(k->broker.counters->workers[0].row.state, VN_ROW_GONE);
	ck_assert_uint_eq(k->broker.counters->workers[0].n_requests, 5);
	bench_free(k);
}
END_TEST

START_TEST(recording_has_the_input_that_was_not_acknowledged)
{
	bench *k = bench_new();
	vn_record *first = conn_new(k, VN_R_RESUMABLE), *held = conn_new(k, VN_R_RESUMABLE),
		  *large = conn_new(k, VN_R_RESUMABLE);
	char text[1025];
	vn_recording *r;

	conn_deliver(k, first, "all of this is done");
	conn_acked(k, first, 19);
	conn_deliver(k, held, "done, not done, ");
	conn_acked(k, held, 6);
	conn_deliver(k, held, "in two blocks");
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	conn_deliver(k, large, text);
	vn_link_flush(&k->worker->link);
	vn_recorder_keep(
		&k->broker, k->worker, &(siginfo_t){.si_code = CLD_DUMPED, .si_status = SIGSEGV});
	k->worker->state = VN_WORKER_NONE;
	r = vn_recorder_look(&k->broker, 1, -1);
	ck_assert_ptr_nonnull(r);
	ck_assert(r->is_dead && r->dumped_core);
	ck_assert_int_eq(r->signal, SIGSEGV);
	ck_assert_int_eq(r->exit_code, -1);
	ck_assert_uint_eq(r->n_attached, 3);
	ck_assert_uint_eq(r->n_unacked, 2);
	ck_assert_uint_eq(r->n_conns, 3);
	ck_assert_uint_eq(r->conns[0].id, large->id);
	ck_assert_uint_eq(r->conns[0].n_input, VN_RECORDED_INPUT);
	ck_assert_uint_eq(r->conns[1].id, held->id);
	ck_assert_uint_eq(r->conns[1].n_input, 23);
	ck_assert_mem_eq(r->conns[1].input, "not done, in two blocks", 23);
	ck_assert_uint_eq(r->conns[2].id, first->id);
	ck_assert_uint_eq(r->conns[2].n_input, 0);
	ck_assert_uint_eq(r->n_got, 4);
	ck_assert_uint_eq(r->n_untaken, 4);
	ck_assert_uint_eq(r->got[0].len, 1024);
	ck_assert_uint_eq(r->got[3].len, 19);
	ck_assert_uint_eq(r->n_gave, 0);
	free(r);
	bench_free(k);
}
END_TEST

START_TEST(recording_has_the_last_messages_and_which_were_taken)
{
	bench *k = bench_new();
	vn_desc d;
	vn_recording *r;

	for (uint32_t i = 0; i < 200; i++) {
		vn_lane_tx_push(&k->worker->link.tx, &(vn_desc){.kind = VN_KIND_PING, .conn = i});
		vn_lane_tx_flush(&k->worker->link.tx);
		if (i < 197) {
			vn_lane_rx_take(&k->got, &d, 1);
			vn_lane_rx_release(&k->got);
		}
		vn_lane_tx_push(&k->gave, &(vn_desc){.kind = VN_KIND_NEED, .conn = i});
		vn_lane_tx_flush(&k->gave);
		vn_lane_rx_take(&k->worker->link.rx, &d, 1);
		vn_lane_rx_release(&k->worker->link.rx);
		vn_lane_tx_refresh(&k->gave);
		vn_lane_tx_refresh(&k->worker->link.tx);
	}
	r = vn_recorder_look(&k->broker, 1, 7);
	ck_assert_ptr_nonnull(r);
	ck_assert(!r->is_dead);
	ck_assert_uint_eq(r->n_got, 64); /* as many as there are slots */
	ck_assert_uint_eq(r->n_gave, 64);
	ck_assert_uint_eq(r->n_untaken, 3);
	for (uint32_t i = 0; i < 64; i++) {
		ck_assert_uint_eq(r->got[i].conn, 199 - i);
		ck_assert_uint_eq(r->gave[i].conn, 199 - i);
	}
	free(r);
	ck_assert_ptr_null(vn_recorder_look(&k->broker, 1, 6));
	ck_assert_int_eq(errno, ENOENT);
	bench_free(k);
}
END_TEST

START_TEST(recordings_of_crashes_outlive_those_of_orders)
{
	bench *k = bench_new();
	const siginfo_t crash = {.si_code = CLD_KILLED, .si_status = SIGSEGV},
			ended = {.si_code = CLD_EXITED, .si_status = 0};
	vn_worker *w = k->worker;
	vn_recording *r;

	w->state = VN_WORKER_NONE; /* else it would be looked at itself */
	w->incarnation = 1;
	vn_recorder_keep(&k->broker, w, &crash);
	w->ordered = true;
	for (w->incarnation = 2; w->incarnation <= 30; w->incarnation++)
		vn_recorder_keep(&k->broker, w, &ended);
	for (uint32_t i = 1; i <= 30; i++) {
		r = vn_recorder_look(&k->broker, 1, i);
		ck_assert_msg((i == 1 || i > 15) == (r != NULL), "incarnation %u", i);
		free(r);
	}
	w->ordered = false;
	for (w->incarnation = 31; w->incarnation <= 45; w->incarnation++)
		vn_recorder_keep(&k->broker, w, &crash);
	for (uint32_t i = 1; i <= 46; i++) {
		r = vn_recorder_look(&k->broker, 1, i);
		ck_assert_msg((i == 1 || (i > 30 && i < 46)) == (r != NULL), "incarnation %u", i);
		free(r);
	}
	bench_free(k);
}
END_TEST

/* Its slot, and with it the clock, is that of its predecessor, which may have moved long ago. */
START_TEST(the_clock_of_a_new_incarnation_starts_when_it_is_ready)
{
	bench *k = bench_new();
	vn_broker *b = &k->broker;
	vn_worker *w = k->worker;

	k->config.stall_timeout = VN_SEC;
	w->pidfd = dup(w->link.bell_out); /* not of a process: nobody is killed */
	w->head_seen = w->link.tx.taken;
	w->moved_at = b->hub->now - 2 * VN_SEC;
	vn_worker_on_ready(w);
	vn_lane_tx_push(&w->link.tx, &(vn_desc){.kind = VN_KIND_DRAIN});
	vn_link_flush(&w->link);
	b->swept_at = b->hub->now;
	vn_liveness_sweep(b);
	ck_assert(!w->was_killed);
	w->moved_at = b->hub->now - 2 * VN_SEC;
	vn_liveness_sweep(b);
	ck_assert(w->was_killed);
	bench_free(k);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		connections_at_rest_are_taken_back_and_others_are_not,
		who_comes_back_gets_work_again,
		drain_is_told_once_and_not_before_every_connection_is_opened,
		who_has_not_finished_in_time_is_stopped,
		number_and_incarnation_and_slot_and_incarnation_are_unique,
		workers_of_one_number_count_together,
		recording_has_the_input_that_was_not_acknowledged,
		recording_has_the_last_messages_and_which_were_taken,
		recordings_of_crashes_outlive_those_of_orders,
		the_clock_of_a_new_incarnation_starts_when_it_is_ready,
	};

	return suite_run("broker_leave", tests, SUITE_COUNT(tests));
}
