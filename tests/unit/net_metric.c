/* SPDX-License-Identifier: MIT */
/*
 * Metric - what a program may count, and that it costs nothing to get it wrong
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <vanilla.h>

#include "client/net/metric.h"
#include "tests/unit/suite.h"

static double
value_of(const vn_metric *m)
{
	double value;

	memcpy(&value, m->value, sizeof value);
	return value;
}

START_TEST(what_is_counted_is_there)
{
	vn_hub *h = vn_hub_new();
	vn_counter *jobs = vn_counter_new(h, "jobs", "Jobs done");
	vn_gauge *heat = vn_gauge_new(h, "_heat_2_celsius", "How hot it is");

	ck_assert_ptr_nonnull(jobs);
	ck_assert_ptr_nonnull(heat);
	vn_counter_add(jobs, 5);
	vn_counter_add(jobs, UINT64_C(1) << 40);
	ck_assert_uint_eq(*((vn_metric *)(void *)jobs)->value, (UINT64_C(1) << 40) + 5);
	vn_gauge_set(heat, 1.5);
	vn_gauge_add(heat, -2.75);
	ck_assert_double_eq(value_of((vn_metric *)(void *)heat), -1.25);
	vn_hub_free(h);
}
END_TEST

START_TEST(a_name_is_one_thing)
{
	vn_hub *h = vn_hub_new();
	vn_counter *jobs = vn_counter_new(h, "jobs", "Jobs done");

	ck_assert_ptr_eq(vn_counter_new(h, "jobs", "Whatever"), jobs);
	ck_assert_ptr_null(vn_gauge_new(h, "jobs", "Jobs done"));
	ck_assert_int_eq(errno, EINVAL);
	vn_hub_free(h);
}
END_TEST

START_TEST(bad_names_and_sentences_are_refused)
{
	static const char *const bad[] = {"", "Jobs", "jobs-done", "1job", "jobs_total", "total",
		"j\303\266bs", "jobs done", "a1234567890123456789012345678901234567890", NULL};
	char help[VN_METRIC_HELP + 2];
	vn_hub *h = vn_hub_new();

	for (size_t i = 0; i < SUITE_COUNT(bad); i++) {
		errno = 0;
		ck_assert_ptr_null(vn_counter_new(h, bad[i], "Jobs done"));
		ck_assert_int_eq(errno, EINVAL);
		ck_assert_ptr_null(vn_gauge_new(h, bad[i], "Jobs done"));
	}
	memset(help, 'x', sizeof help - 1);
	help[sizeof help - 1] = '\0';
	ck_assert_ptr_null(vn_counter_new(h, "jobs", help));
	ck_assert_ptr_null(vn_counter_new(h, "jobs", NULL));
	help[sizeof help - 2] = '\0';
	ck_assert_ptr_nonnull(vn_counter_new(h, "jobs", help));
	ck_assert_ptr_nonnull(vn_counter_new(h, "a123456789012345678901234567890123456789", ""));
	vn_hub_free(h);
}
END_TEST

START_TEST(there_are_so_many_and_no_more)
{
	vn_hub *h = vn_hub_new();
	char name[16];

	for (uint32_t i = 0; i < VN_METRICS; i++) {
		snprintf(name, sizeof name, "n%u", (unsigned)i);
		ck_assert_ptr_nonnull(vn_counter_new(h, name, "One of many"));
	}
	ck_assert_ptr_null(vn_counter_new(h, "more", "One too many"));
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_ptr_nonnull(vn_counter_new(h, "n0", "One of many"));
	vn_hub_free(h);
}
END_TEST

START_TEST(nothing_can_be_counted_too)
{
	vn_counter_add(NULL, 1);
	vn_gauge_set(NULL, 1);
	vn_gauge_add(NULL, 1);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		what_is_counted_is_there,
		a_name_is_one_thing,
		bad_names_and_sentences_are_refused,
		there_are_so_many_and_no_more,
		nothing_can_be_counted_too,
	};

	return suite_run("net_metric", tests, SUITE_COUNT(tests));
}
