/* SPDX-License-Identifier: MIT */
/*
 * History - each sample has what happened since the one before
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "broker/history.h"
#include "broker/recent.h"
#include "tests/unit/suite.h"

static vn_broker broker;
static vn_worker worker;

static void
setup(void)
{
	memset(&broker, 0, sizeof broker);
	memset(&worker, 0, sizeof worker);
	broker.hub = vn_hub_new();
	broker.counters = vn_counters_open(NULL, "test");
	ck_assert_ptr_nonnull(broker.counters);
	broker.count = broker.counters->broker;
	broker.history = vn_history_new(&broker);
	ck_assert_ptr_nonnull(broker.history);
	broker.recent = vn_recent_new();
	ck_assert_ptr_nonnull(broker.recent);
	worker = (vn_worker){.broker = &broker, .number = 3, .incarnation = 1};
	worker.count = vn_counters_worker(broker.counters, 3);
	worker.state = VN_WORKER_READY;
	broker.workers[1] = &worker;
	broker.n_slots = 1;
}

static void
teardown(void)
{
	vn_history_free(broker.history);
	vn_recent_free(broker.recent);
	vn_counters_close(broker.counters);
	vn_hub_free(broker.hub);
}

static json_t *
after(uint64_t id)
{
	json_t *samples = json_array();
	char *text;

	ck_assert_ptr_null(vn_history_sample(&broker, 0));
	ck_assert_ptr_null(vn_history_sample(&broker, vn_history_last(&broker) + 1));
	while (id < vn_history_last(&broker))
		if ((text = vn_history_sample(&broker, ++id))) {
			json_array_append_new(samples, json_loads(text, 0, NULL));
			free(text);
		}
	return json_pack("{s:o}", "samples", samples);
}

static json_int_t
number_of(const json_t *all, size_t i, const char *name)
{
	return json_integer_value(
		json_object_get(json_array_get(json_object_get(all, "samples"), i), name));
}

static size_t
samples_of(const json_t *all)
{
	return json_array_size(json_object_get(all, "samples"));
}

START_TEST(samples_are_differences)
{
	json_t *all;

	setup();
	vn_count(&broker.count->n_requests, 5);
	vn_history_take(broker.history);
	vn_count(&broker.count->n_requests, 7);
	vn_count(&broker.count->bytes_in, 70);
	broker.n_open = 2;
	vn_history_take(broker.history);
	vn_history_take(broker.history);
	all = after(0);
	ck_assert_uint_eq(samples_of(all), 3);
	ck_assert_int_eq(number_of(all, 0, "requests"), 5);
	ck_assert_int_eq(number_of(all, 1, "requests"), 7);
	ck_assert_int_eq(number_of(all, 1, "bytes_in"), 70);
	ck_assert_int_eq(number_of(all, 1, "conns"), 2);
	ck_assert_int_eq(number_of(all, 2, "requests"), 0);
	json_decref(all);
	all = after(2);
	ck_assert_uint_eq(samples_of(all), 1);
	ck_assert_int_eq(number_of(all, 0, "id"), 3);
	json_decref(all);
	ck_assert_ptr_null(vn_history_sample(&broker, UINT64_MAX)); /* of another broker */
	ck_assert_uint_eq(vn_history_last(&broker), 3);
	teardown();
}
END_TEST

START_TEST(quantiles_are_of_that_second_alone)
{
	vn_listener_counters *l, *other;
	const json_t *samples;
	json_t *all;

	setup();
	l = vn_counters_listener(broker.counters, "one");
	other = vn_counters_listener(broker.counters, "other");
	vn_histogram_add(&l->run, 40 * VN_MS);
	vn_history_take(broker.history);
	vn_histogram_add(&l->run, 2 * VN_MS);
	vn_histogram_add(&other->run, 2 * VN_MS);
	vn_history_take(broker.history);
	vn_history_take(broker.history);
	all = after(0);
	samples = json_object_get(all, "samples");
	ck_assert_double_eq_tol(
		json_number_value(json_object_get(json_array_get(samples, 0), "run_p99_seconds")),
		0.040, 0.010);
	ck_assert_double_eq_tol(
		json_number_value(json_object_get(json_array_get(samples, 1), "run_p99_seconds")),
		0.002, 0.0005);
	ck_assert(json_is_null(json_object_get(json_array_get(samples, 2), "run_p99_seconds")));
	json_decref(all);
	teardown();
}
END_TEST

static json_t *
stay_of(const json_t *all, size_t i)
{
	return json_object_get(
		json_object_get(json_array_get(json_object_get(all, "samples"), i), "workers"),
		"3");
}

static void
assert_stay(
	const json_t *all, size_t i, const char *state, json_int_t incarnation, json_int_t requests)
{
	const json_t *s = stay_of(all, i);

	ck_assert_str_eq(json_string_value(json_array_get(s, 0)), state);
	ck_assert_int_eq(json_integer_value(json_array_get(s, 1)), incarnation);
	ck_assert_int_eq(json_integer_value(json_array_get(s, 2)), requests);
}

START_TEST(lanes_follow_a_number_over_its_incarnations)
{
	static vn_worker other;
	json_t *all;

	setup();
	other = worker;
	vn_count(&worker.count->n_requests, 4);
	vn_history_take(broker.history);
	worker.state = VN_WORKER_NONE;
	vn_history_take(broker.history);
	worker.state = VN_WORKER_DRAINING; /* beside the one that serves by now */
	other.state = VN_WORKER_READY;
	other.incarnation = 2;
	broker.workers[2] = &other;
	broker.n_slots = 2;
	vn_count(&worker.count->n_requests, 6);
	vn_history_take(broker.history);
	broker.workers[1] = broker.workers[2] = NULL;
	vn_history_take(broker.history);
	all = after(0);
	assert_stay(all, 0, "r", 1, 4);
	assert_stay(all, 1, "n", 1, 0);
	assert_stay(all, 2, "r", 2, 6);
	ck_assert_ptr_null(stay_of(all, 3));
	json_decref(all);
	teardown();
}
END_TEST

START_TEST(the_ring_forgets_the_oldest)
{
	json_t *all;

	setup();
	for (int i = 0; i < VN_HISTORY + 10; i++) {
		vn_count(&broker.count->n_requests, (uint64_t)i);
		vn_history_take(broker.history);
	}
	all = after(0);
	ck_assert_uint_eq(samples_of(all), VN_HISTORY);
	ck_assert_int_eq(number_of(all, 0, "id"), 11);
	ck_assert_int_eq(number_of(all, 0, "requests"), 10);
	ck_assert_int_eq(number_of(all, VN_HISTORY - 1, "requests"), VN_HISTORY + 9);
	json_decref(all);
	teardown();
}
END_TEST

START_TEST(samples_come_by_themselves)
{
	json_t *all;

	setup();
	ck_assert_int_eq(vn_sleep(broker.hub, 1200 * VN_MS), 0);
	all = after(0);
	ck_assert_uint_ge(samples_of(all), 1);
	json_decref(all);
	teardown();
}
END_TEST

START_TEST(what_is_shown_is_of_late)
{
	vn_listener_counters *l;
	vn_stage_set worker_stages, listener_stages;

	setup();
	l = vn_counters_listener(broker.counters, "one");
	vn_histogram_add(&worker.count->run, 40 * VN_MS);
	vn_histogram_add(&l->wait, 40 * VN_MS);
	vn_recent_worker(&broker, worker.count, &worker_stages);
	ck_assert_uint_eq(vn_histogram_count(&worker_stages.run), 1);
	vn_recent_turn(&broker); /* is it the last half minute */
	vn_histogram_add(&worker.count->run, 2 * VN_MS);
	vn_recent_worker(&broker, worker.count, &worker_stages);
	ck_assert_uint_eq(vn_histogram_count(&worker_stages.run), 2);
	vn_recent_turn(&broker);
	vn_recent_worker(&broker, worker.count, &worker_stages);
	vn_recent_listener(&broker, l, &listener_stages);
	ck_assert_uint_eq(vn_histogram_count(&worker_stages.run), 1);
	ck_assert_uint_lt(vn_histogram_quantile(&worker_stages.run, 0.99), 3 * VN_MS);
	ck_assert_uint_eq(vn_histogram_count(&listener_stages.wait), 0);
	vn_recent_turn(&broker);
	vn_recent_worker(&broker, worker.count, &worker_stages);
	ck_assert_uint_eq(vn_histogram_count(&worker_stages.run), 0);
	vn_recent_worker(&broker, &broker.counters->no_worker, &worker_stages);
	ck_assert_uint_eq(vn_histogram_count(&worker_stages.run), 0);
	teardown();
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		samples_are_differences,
		quantiles_are_of_that_second_alone,
		lanes_follow_a_number_over_its_incarnations,
		the_ring_forgets_the_oldest,
		samples_come_by_themselves,
		what_is_shown_is_of_late,
	};

	return suite_run("broker_history", tests, SUITE_COUNT(tests));
}
