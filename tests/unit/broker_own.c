/* SPDX-License-Identifier: MIT */
/*
 * Own - what workers count is added up, and what they get wrong harms nobody
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/own.h"
#include "client/hub/log.h"
#include "shm/hint.h"
#include "tests/unit/suite.h"

#define AREA (1u << 20)

static const vn_geometry geometry = {.n_slots = 64, .area_bytes = AREA};

typedef struct bench {
	vn_broker broker;
	vn_worker one, two;
	int n_said;
} bench;

static void
listen_to_log(void *arg, int level, const char *text)
{
	bench *k = arg;

	(void)level, (void)text;
	k->n_said++;
}

/* Its segment can be written here, as if this were the worker. */
static void
worker_open(bench *k, vn_worker *w, uint16_t number)
{
	w->broker = &k->broker;
	w->number = number;
	w->incarnation = 1;
	w->linked = true;
	ck_assert_int_eq(vn_segment_create(&w->link.peer, "worker", &geometry, 1), 0);
	ck_assert_int_eq(vn_segment_map(&w->link.peer, true), 0);
}

static bench *
bench_new(void)
{
	bench *k = calloc(1, sizeof *k);

	k->broker.hub = vn_hub_open(&vn_sys_linux);
	vn_log_to(k->broker.hub, listen_to_log, k);
	k->broker.counters = vn_counters_open(NULL, "shop");
	worker_open(k, &k->one, 1);
	worker_open(k, &k->two, 2);
	return k;
}

static void
bench_free(bench *k)
{
	vn_segment_deinit(&k->one.link.peer);
	vn_segment_deinit(&k->two.link.peer);
	vn_counters_close(k->broker.counters);
	vn_hub_close(k->broker.hub);
	free(k);
}

static const char *
ask(bench *k, vn_worker *w, uint16_t hint, uint8_t flags, const char *text, size_t len)
{
	vn_desc d = {.kind = VN_KIND_METRIC, .flags = flags, .arg = hint, .len = (uint32_t)len};

	vn_area_write(&w->link.peer, 0, 0, text, (uint32_t)len);
	return vn_own_ask(&k->broker, w, &d);
}

#define ASK(k, w, hint, flags, text) ask(k, w, hint, flags, text, sizeof(text) - 1)

static void
store(vn_worker *w, uint32_t hint, uint64_t value)
{
	vn_hint_put(vn_hint_own(&w->link.peer, hint), value);
}

static void
store_real(vn_worker *w, uint32_t hint, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof bits);
	store(w, hint, bits);
}

START_TEST(counters_of_all_workers_are_one_and_survive_them)
{
	bench *k = bench_new();
	const vn_own_counters *own = &k->broker.counters->own[0];

	ck_assert_ptr_null(ASK(k, &k->one, 3, 0, "jobs\0Jobs done"));
	ck_assert_ptr_null(ASK(k, &k->two, 0, 0, "jobs\0Jobs done"));
	ck_assert_str_eq(own->row.label, "vanilla_app_jobs");
	ck_assert_str_eq(own->help, "Jobs done");
	ck_assert_uint_eq(k->broker.counters->n_taken[3], 1);
	store(&k->one, 3, 5);
	store(&k->two, 0, 7);
	vn_own_collect(&k->one);
	vn_own_collect(&k->two);
	vn_own_collect(&k->two);
	ck_assert_uint_eq(own->values[0], 12);
	store(&k->one, 3, 6);
	vn_own_forget(&k->one); /* it is dead */
	ck_assert_uint_eq(own->values[0], 13);
	ck_assert_ptr_null(ASK(k, &k->one, 1, 0, "jobs\0Jobs done")); /* its successor */
	store(&k->one, 1, 2);
	vn_own_collect(&k->one);
	ck_assert_uint_eq(own->values[0], 15);
	bench_free(k);
}
END_TEST

START_TEST(gauges_have_a_value_for_each_worker_and_go_with_it)
{
	bench *k = bench_new();
	const vn_own_counters *own = &k->broker.counters->own[0];
	double value;

	ck_assert_ptr_null(ASK(k, &k->one, 0, VN_GAUGE, "heat\0"));
	ck_assert_ptr_null(ASK(k, &k->two, 0, VN_GAUGE, "heat\0"));
	store_real(&k->one, 0, -1.5);
	store_real(&k->two, 0, 2.5);
	vn_own_collect(&k->one);
	vn_own_collect(&k->two);
	memcpy(&value, &own->values[1], sizeof value);
	ck_assert_double_eq(value, -1.5);
	memcpy(&value, &own->values[2], sizeof value);
	ck_assert_double_eq(value, 2.5);
	vn_own_forget(&k->one);
	ck_assert_uint_eq(own->values[1], VN_NO_REAL);
	ck_assert_uint_ne(own->values[2], VN_NO_REAL);
	bench_free(k);
}
END_TEST

START_TEST(a_counter_never_goes_back)
{
	bench *k = bench_new();
	const vn_own_counters *own = &k->broker.counters->own[0];

	ck_assert_ptr_null(ASK(k, &k->one, 0, 0, "jobs\0"));
	store(&k->one, 0, 100);
	vn_own_collect(&k->one);
	store(&k->one, 0, 10);
	vn_own_collect(&k->one);
	ck_assert_uint_eq(own->values[0], 100);
	store(&k->one, 0, 11);
	vn_own_collect(&k->one);
	ck_assert_uint_eq(own->values[0], 101);
	bench_free(k);
}
END_TEST

START_TEST(what_no_honest_worker_says_is_a_violation)
{
	bench *k = bench_new();
	char text[VN_METRIC_NAME + VN_METRIC_HELP + 2];

	memset(text, 'x', sizeof text);
	text[VN_METRIC_NAME] = '\0';
	ck_assert_str_eq(ASK(k, &k->one, VN_METRICS, 0, "jobs\0Jobs"), "arg");
	ck_assert_str_eq(ask(k, &k->one, 0, 0, text, sizeof text), "len");
	ck_assert_str_eq(ASK(k, &k->one, 0, 0, "jobs"), "name");
	ck_assert_str_eq(ASK(k, &k->one, 0, 0, "\0Jobs"), "name");
	ck_assert_str_eq(ASK(k, &k->one, 0, 0, "Jobs\0Jobs"), "name");
	ck_assert_str_eq(ASK(k, &k->one, 0, 0, "jobs_total\0Jobs"), "name");
	ck_assert_str_eq(ASK(k, &k->one, 0, 0, "total\0Jobs"), "name");
	ck_assert_str_eq(ASK(k, &k->one, 0, 0, "j{\"}\0Jobs"), "name");
	ck_assert_uint_eq(k->broker.counters->n_taken[3], 0);
	ck_assert_ptr_null(ask(k, &k->one, 0, 0, text, sizeof text - 1));
	ck_assert_str_eq(ASK(k, &k->one, 0, 0, "jobs\0Jobs"), "arg");
	bench_free(k);
}
END_TEST

START_TEST(what_cannot_be_had_is_said_and_does_no_harm)
{
	bench *k = bench_new();
	char text[32];
	int n;

	ck_assert_ptr_null(ASK(k, &k->one, 0, 0, "jobs\0Jobs"));
	ck_assert_int_eq(k->n_said, 0);
	ck_assert_ptr_null(ASK(k, &k->two, 0, VN_GAUGE, "jobs\0Jobs")); /* another program */
	ck_assert_int_eq(k->n_said, 1);
	for (uint16_t i = 1; i < VN_METRICS; i++) {
		n = snprintf(text, sizeof text, "n%u", (unsigned)i);
		ck_assert_ptr_null(ask(k, &k->one, i, 0, text, (size_t)n + 1));
	}
	ck_assert_int_eq(k->n_said, 1);
	ck_assert_ptr_null(ASK(k, &k->two, 1, 0, "more\0"));
	ck_assert_int_eq(k->n_said, 2);
	store(&k->two, 0, 3);
	store(&k->two, 1, 3);
	vn_own_collect(&k->two);
	vn_own_forget(&k->two);
	for (uint32_t i = 0; i < VN_COUNTERS_OWN; i++)
		ck_assert_uint_eq(k->broker.counters->own[i].values[0], 0);
	bench_free(k);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		counters_of_all_workers_are_one_and_survive_them,
		gauges_have_a_value_for_each_worker_and_go_with_it,
		a_counter_never_goes_back,
		what_no_honest_worker_says_is_a_violation,
		what_cannot_be_had_is_said_and_does_no_harm,
	};

	return suite_run("broker_own", tests, SUITE_COUNT(tests));
}
