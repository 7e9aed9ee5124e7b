/* SPDX-License-Identifier: MIT */
/*
 * Stages - what is counted of requests, whatever a worker says of them
 *
 * The broker is made by hand, its clock stands still unless a test puts it forward, and there is no worker.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/dispatch.h"
#include "broker/latency.h"
#include "broker/socket.h"
#include "broker/stages.h"
#include "tests/unit/coroutines.h"

#define MS ((uint32_t)(VN_MS / VN_TICK_NS))

typedef struct bench {
	world world;
	vn_broker broker;
	vn_worker worker;
	vn_broker_endpoint endpoint;
	vn_record *record;
} bench;

static vn_record *
bench_record(bench *k)
{
	vn_record *r = vn_record_at(k->broker.ledger, vn_ledger_take(k->broker.ledger));

	r->fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(r->fd, 0);
	r->worker = 1;
	r->incarnation = 7;
	r->flags |= VN_R_ATTACHED;
	return r;
}

static bench *
bench_new(void)
{
	bench *k = calloc(1, sizeof *k);
	vn_broker *b = &k->broker;

	ck_assert_ptr_nonnull(k);
	b->hub = world_open(&k->world);
	b->ledger = vn_ledger_new(64, 3, 1u << 20);
	b->counters = vn_counters_open(NULL, "test");
	b->count = b->counters->broker;
	b->workers[1] = &k->worker;
	b->n_slots = 1;
	b->endpoints[0] = &k->endpoint;
	b->n_endpoints = 1;
	k->worker.number = 3;
	k->worker.count = vn_counters_worker(b->counters, 3);
	k->endpoint.used = true;
	k->endpoint.asked = (char *)(uintptr_t) "tcp://127.0.0.1:1";
	k->endpoint.count = vn_counters_listener(b->counters, "test");
	k->record = bench_record(k);
	return k;
}

static void
bench_free(bench *k)
{
	for (uint32_t i = 0; i < k->broker.ledger->high; i++)
		close(vn_record_at(k->broker.ledger, i)->fd);
	vn_counters_close(k->broker.counters);
	vn_ledger_free(k->broker.ledger);
	vn_hub_close(k->broker.hub);
	free(k);
}

static uint32_t
now(const bench *k)
{
	return vn_ticks(k->world.now);
}

static void
pass(bench *k, uint32_t ticks)
{
	k->world.now += (vn_time)vn_ticks_ns(ticks);
	k->broker.hub->now = k->world.now;
	k->broker.taking_at = now(k);
}

static void
arrive(bench *k, vn_record *r)
{
	r->arrived = now(k);
}

/* A request that arrives now, is taken after `wait` and done with after `run` more; found finished `late` after that. */
static void
request(bench *k, vn_record *r, uint32_t wait, uint32_t run, uint32_t late)
{
	vn_desc_times times = {now(k) + wait, now(k) + wait + run};

	arrive(k, r);
	pass(k, wait + run + late);
	vn_stages_finished(&k->broker, &k->worker, r, times);
}

static void
counts_are(const vn_histogram *h, uint64_t n, uint64_t ticks)
{
	ck_assert_uint_eq(vn_histogram_count(h), n);
	ck_assert_uint_eq(h->sum_ns, ticks * VN_TICK_NS);
}

/* Both histograms of each stage. */
static void
wait_is(const bench *k, uint64_t n, uint64_t ticks)
{
	counts_are(&k->worker.count->wait, n, ticks);
	counts_are(&k->endpoint.count->wait, n, ticks);
}

static void
run_is(const bench *k, uint64_t n, uint64_t ticks)
{
	counts_are(&k->worker.count->run, n, ticks);
	counts_are(&k->endpoint.count->run, n, ticks);
}

static void
write_is(const bench *k, uint64_t n, uint64_t ticks)
{
	counts_are(&k->worker.count->write, n, ticks);
	counts_are(&k->endpoint.count->write, n, ticks);
}

START_TEST(a_request_is_counted_once_in_each_stage)
{
	bench *k = bench_new();

	request(k, k->record, 3 * MS, 20 * MS, MS);
	wait_is(k, 1, 3 * MS);
	run_is(k, 1, 20 * MS);
	write_is(k, 1, 0); /* it has no answer */
	request(k, k->record, 0, 0, 0);
	wait_is(k, 2, 3 * MS);
	run_is(k, 2, 20 * MS);
	write_is(k, 2, 0);
	bench_free(k);
}
END_TEST

START_TEST(a_request_behind_another_begins_when_that_is_finished)
{
	bench *k = bench_new();
	vn_record *r = k->record;
	uint32_t start = now(k);

	request(k, r, MS, 2 * MS, 10 * MS);
	ck_assert_uint_eq(r->arrived, start + 3 * MS);
	vn_stages_finished(
		&k->broker, &k->worker, r, (vn_desc_times){start + 4 * MS, start + 8 * MS});
	wait_is(k, 2, 2 * MS);
	run_is(k, 2, 6 * MS);
	bench_free(k);
}
END_TEST

START_TEST(what_was_never_taken_has_only_waited)
{
	bench *k = bench_new();

	arrive(k, k->record);
	pass(k, 5 * MS);
	vn_stages_finished(&k->broker, &k->worker, k->record, (vn_desc_times){0, 0});
	wait_is(k, 1, 5 * MS);
	run_is(k, 1, 0);
	arrive(k, k->record);
	pass(k, 5 * MS); /* closed after 4 ms, unread */
	vn_stages_finished(&k->broker, &k->worker, k->record, (vn_desc_times){0, now(k) - MS});
	wait_is(k, 2, 9 * MS);
	run_is(k, 2, 0);
	bench_free(k);
}
END_TEST

/* The ends of what can be said, and whatever a liar says. */
START_TEST(times_are_cut_to_what_can_be)
{
	static const struct {
		int32_t taken, done; /* after the arrival, of 10 ms */
		uint32_t wait, run;
	} cases[] = {
		{-1, 4, 0, 4},
		{-1, -1, 0, 0},
		{4, 3, 3, 0},
		{4, 11, 4, 6},
		{11, 4, 4, 0},
		{11, 12, 10, 0},
		{INT32_MAX / (int32_t)MS, INT32_MAX / (int32_t)MS, 10, 0},
		{INT32_MIN / (int32_t)MS, INT32_MAX / (int32_t)MS, 0, 10},
	};

	for (size_t i = 0; i < SUITE_COUNT(cases); i++) {
		bench *k = bench_new();
		uint32_t start = now(k);

		arrive(k, k->record);
		pass(k, 10 * MS);
		vn_stages_finished(&k->broker, &k->worker, k->record,
			(vn_desc_times){start + (uint32_t)(cases[i].taken * (int32_t)MS),
				start + (uint32_t)(cases[i].done * (int32_t)MS)});
		wait_is(k, 1, cases[i].wait * MS);
		run_is(k, 1, cases[i].run * MS);
		bench_free(k);
	}
}
END_TEST

START_TEST(no_lie_makes_more_of_the_time_than_there_was)
{
	bench *k = bench_new();
	uint64_t seed = 88172645463325252;
	uint64_t passed = 0;

	arrive(k, k->record);
	for (int i = 0; i < SUITE_TIMES(200000); i++) {
		uint32_t ticks = (uint32_t)suite_random(&seed) % (2 * MS);
		vn_desc_times lie = {(uint32_t)suite_random(&seed), (uint32_t)suite_random(&seed)};

		passed += ticks;
		pass(k, ticks);
		vn_stages_finished(&k->broker, &k->worker, k->record, lie);
		suite_assert((int32_t)(k->record->arrived - now(k)) <= 0);
	}
	ck_assert_uint_le(
		k->worker.count->wait.sum_ns + k->worker.count->run.sum_ns, passed * VN_TICK_NS);
	bench_free(k);
}
END_TEST

START_TEST(answers_count_when_they_have_left)
{
	bench *k = bench_new();
	vn_record *r = k->record;

	r->queued = r->queued_c = 10;
	request(k, r, 0, MS, 0);
	write_is(k, 0, 0);
	pass(k, 5 * MS);
	r->queued = r->queued_c = 20;
	vn_stages_finished(&k->broker, &k->worker, r, (vn_desc_times){now(k), now(k)});
	write_is(k, 0, 0);
	pass(k, 2 * MS);
	r->sent = 20;
	vn_stages_written(&k->broker, r);
	write_is(k, 2, 2 * 7 * MS); /* together, from when the first was finished */
	ck_assert_uint_eq(r->out.charge, 0);
	r->queued = r->queued_c = 30;
	request(k, r, 0, MS, MS);
	vn_socket_drop_output(&k->broker, r); /* the client is gone */
	ck_assert_uint_eq(r->out.charge, 0);
	write_is(k, 2, 2 * 7 * MS);
	wait_is(k, 3, 5 * MS);
	bench_free(k);
}
END_TEST

START_TEST(of_a_connection_that_is_gone_the_worker_counts)
{
	bench *k = bench_new();

	close(k->record->fd);
	k->record->fd = -1;
	request(k, k->record, MS, MS, 0);
	counts_are(&k->worker.count->run, 1, MS);
	counts_are(&k->endpoint.count->run, 0, 0); /* it may be another's by now */
	bench_free(k);
}
END_TEST

START_TEST(what_is_very_old_stays_at_half_an_hour)
{
	bench *k = bench_new();
	uint64_t half = 1800 * (uint64_t)VN_SEC / VN_TICK_NS;
	uint32_t start = now(k);

	arrive(k, k->record);
	k->record->out.charge = 1;
	k->record->finished = now(k);
	for (int i = 0; i < 100; i++) { /* 100 minutes: the ticks have wrapped */
		pass(k, 60000 * MS);
		vn_stages_age(&k->broker, k->record);
	}
	vn_stages_finished(&k->broker, &k->worker, k->record, (vn_desc_times){start, now(k)});
	wait_is(k, 1, 0);
	run_is(k, 1, half);
	vn_stages_written(&k->broker, k->record);
	ck_assert_uint_eq(k->worker.count->write.sum_ns, half * VN_TICK_NS);
	bench_free(k);
}
END_TEST

START_TEST(the_age_of_input_is_that_of_the_request_in_hand)
{
	bench *k = bench_new();
	vn_record *r = k->record;

	ck_assert_uint_eq(vn_stages_input_ns(&k->broker, r), 0);
	arrive(k, r);
	r->received = 5;
	pass(k, 3 * MS);
	ck_assert_uint_eq(vn_stages_input_ns(&k->broker, r), vn_ticks_ns(3 * MS));
	r->committed = 5;
	ck_assert_uint_eq(vn_stages_input_ns(&k->broker, r), 0);
	r->received = 6; /* the end of file is no request */
	r->flags |= VN_R_ENDED;
	ck_assert_uint_eq(vn_stages_input_ns(&k->broker, r), 0);
	r->flags = (r->flags & ~(uint32_t)VN_R_ENDED) | VN_R_WAITING;
	r->received = 5; /* its bytes are still the kernel's */
	ck_assert_uint_eq(vn_stages_input_ns(&k->broker, r), vn_ticks_ns(3 * MS));
	bench_free(k);
}
END_TEST

/* Slow */

/* Who is shown, in order, by the milliseconds that they took. */
static const char *
shown(bench *k)
{
	static char text[512];
	vn_query q = {.broker = &k->broker};
	vn_row row;
	size_t len = 0;

	text[0] = '\0';
	for (;;) {
		vn_row_clear(&row);
		if (vn_slow_next(&q, &row) == VN_QUERY_END)
			return text;
		ck_assert_uint_eq(row.n, vn_slow_columns.n);
		ck_assert_str_eq(row.values[1].text, "tcp://127.0.0.1:1");
		ck_assert_str_eq(row.values[2].text, "3.7");
		len += (size_t)snprintf(text + len, sizeof text - len, "%s%llu", len ? " " : "",
			(unsigned long long)((row.values[5].number + VN_MS / 2) / VN_MS));
	}
}

START_TEST(the_slowest_of_a_minute_are_kept)
{
	bench *k = bench_new();

	ck_assert_str_eq(shown(k), "");
	for (uint32_t i = 1; i <= 40; i++) /* in no order */
		request(k, k->record, (i * 7 % 41) * MS, (i * 7 % 41) * MS, 0);
	ck_assert_str_eq(shown(k), "80 78 76 74 72 70 68 66 64 62 60 58 56 54 52 50");
	ck_assert_uint_gt(k->broker.slow.least, 49 * MS);
	pass(k, 50000 * MS);
	vn_slow_sweep(&k->broker);
	request(k, k->record, 0, 55 * MS, 0);
	ck_assert_str_eq(shown(k), "80 78 76 74 72 70 68 66 64 62 60 58 56 55 54 52");
	pass(k, 10000 * MS);
	vn_slow_sweep(&k->broker);
	ck_assert_str_eq(shown(k), "55");
	ck_assert_uint_eq(k->broker.slow.least, 0);
	request(k, k->record, 0, 2 * MS, 0);
	ck_assert_str_eq(shown(k), "55 2");
	bench_free(k);
}
END_TEST

START_TEST(their_write_is_added_when_it_is_known)
{
	bench *k = bench_new();
	vn_record *r = k->record, *other = bench_record(k);
	const vn_slow_request *s = k->broker.slow.top;

	r->queued = r->queued_c = 10;
	request(k, r, MS, MS, 0);
	ck_assert(!s->is_written);
	ck_assert_uint_eq(k->broker.slow.n_unwritten, 1);
	other->queued = other->queued_c = 10;
	other->out.charge = 1;
	other->finished = now(k);
	pass(k, 5 * MS);
	vn_stages_written(&k->broker, other); /* too fast to be of interest by itself */
	ck_assert_uint_eq(k->broker.slow.n, 1);
	ck_assert(!s->is_written);
	r->sent = 10;
	vn_stages_written(&k->broker, r);
	ck_assert(s->is_written);
	ck_assert_uint_eq(s->write, 5 * MS);
	ck_assert_uint_eq(k->broker.slow.n_unwritten, 0);
	ck_assert_str_eq(shown(k), "7");
	bench_free(k);
}
END_TEST

START_TEST(an_answer_that_is_slow_to_leave_is_kept_for_that)
{
	bench *k = bench_new();
	vn_record *r = k->record;

	r->out.charge = 1;
	r->finished = now(k);
	pass(k, 500 * MS);
	vn_stages_written(&k->broker, r);
	ck_assert_str_eq(shown(k), "500");
	ck_assert(!k->broker.slow.top[0].is_known);
	bench_free(k);
}
END_TEST

START_TEST(the_time_in_line_is_a_part_of_the_wait)
{
	bench *k = bench_new();
	vn_record *r = k->record;
	uint32_t start;

	k->broker.waiting = (vn_ledger_list){VN_NO_RECORD, VN_NO_RECORD};
	pass(k, 1000 * MS);
	start = now(k);
	arrive(k, r);
	vn_dispatch_wait(&k->broker, r);
	pass(k, 30 * MS);
	vn_dispatch_unwait(&k->broker, r);
	pass(k, 20 * MS);
	vn_stages_finished(
		&k->broker, &k->worker, r, (vn_desc_times){start + 40 * MS, start + 50 * MS});
	ck_assert_uint_eq(k->broker.slow.top[0].wait, 40 * MS);
	ck_assert_uint_ge(k->broker.slow.top[0].queue, 29 * MS);
	ck_assert_uint_le(k->broker.slow.top[0].queue, 31 * MS);
	pass(k, 100 * MS);
	request(k, r, 60 * MS, 0, 0); /* the next one has not been in line */
	ck_assert_uint_eq(k->broker.slow.top[1].queue, 0);
	bench_free(k);
}
END_TEST

/* Quantiles as they are shown */

static void
stages_show(const vn_worker_counters *c, vn_row *row)
{
	const vn_stage_set all = {c->wait, c->run, c->write};

	vn_row_stages(row, &all);
}

START_TEST(quantiles_are_none_or_near)
{
	bench *k = bench_new();
	vn_worker_counters *c = k->worker.count;
	vn_row row;

	vn_row_clear(&row);
	stages_show(c, &row);
	ck_assert_uint_eq(row.n, 6);
	for (uint32_t i = 0; i < row.n; i++)
		ck_assert_int_eq(row.values[i].kind, VN_VALUE_NONE);
	for (int i = 0; i < 100; i++)
		request(k, k->record, i < 98 ? MS : 100 * MS, 8 * MS, 0);
	vn_row_clear(&row);
	stages_show(c, &row);
	for (uint32_t i = 0; i < row.n; i++) {
		static const uint64_t ms[] = {1, 100, 8, 8, 0, 0};
		uint64_t ns = row.values[i].number, wanted = ms[i] * (uint64_t)VN_MS;

		ck_assert_int_eq(row.values[i].kind, VN_VALUE_SECONDS);
		ck_assert_uint_le(ns, wanted + wanted / 4 + VN_TICK_NS);
		ck_assert_uint_ge(ns + ns / 4, wanted - wanted / 16);
	}
	bench_free(k);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_request_is_counted_once_in_each_stage,
		a_request_behind_another_begins_when_that_is_finished,
		what_was_never_taken_has_only_waited,
		times_are_cut_to_what_can_be,
		no_lie_makes_more_of_the_time_than_there_was,
		answers_count_when_they_have_left,
		of_a_connection_that_is_gone_the_worker_counts,
		what_is_very_old_stays_at_half_an_hour,
		the_age_of_input_is_that_of_the_request_in_hand,
		the_slowest_of_a_minute_are_kept,
		their_write_is_added_when_it_is_known,
		an_answer_that_is_slow_to_leave_is_kept_for_that,
		the_time_in_line_is_a_part_of_the_wait,
		quantiles_are_none_or_near,
	};

	return suite_run("stages", tests, SUITE_COUNT(tests));
}
