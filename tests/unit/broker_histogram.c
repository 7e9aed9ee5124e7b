/* SPDX-License-Identifier: MIT */
/*
 * Histogram - each duration is in one bucket, and quantiles are as near as that says
 */
#include <stdlib.h>
#include <string.h>

#include "broker/histogram.h"
#include "tests/unit/suite.h"

#define N_DURATIONS 10001

START_TEST(a_bucket_ends_with_its_bound)
{
	for (uint32_t i = 0; i < VN_HISTOGRAM_BUCKETS - 1; i++) {
		uint64_t bound = vn_histogram_bound(i);

		ck_assert_uint_eq(vn_histogram_bucket(bound), i);
		ck_assert_uint_eq(vn_histogram_bucket(bound + 1), i + 1);
	}
	ck_assert_uint_eq(vn_histogram_bucket(0), 0);
	ck_assert_uint_eq(vn_histogram_bucket(UINT64_MAX), VN_HISTOGRAM_BUCKETS - 1);
	ck_assert_uint_eq(vn_histogram_bound(0), 1024);
	ck_assert_uint_eq(vn_histogram_bound(VN_HISTOGRAM_BUCKETS - 2), 1ull << 36);
	ck_assert_uint_eq(vn_histogram_bound(VN_HISTOGRAM_BUCKETS - 1), UINT64_MAX);
}
END_TEST

START_TEST(a_bucket_is_at_most_a_quarter_wide)
{
	for (uint32_t i = 1; i < VN_HISTOGRAM_BUCKETS - 1; i++) {
		uint64_t low = vn_histogram_bound(i - 1), high = vn_histogram_bound(i);

		ck_assert_uint_gt(high, low);
		ck_assert_uint_le(4 * (high - low), low);
	}
}
END_TEST

static int
compare(const void *a, const void *other)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)other;

	return x < y ? -1 : x > y;
}

START_TEST(quantiles_are_at_most_a_quarter_off)
{
	static uint64_t all[N_DURATIONS];
	vn_histogram h;
	uint64_t random = 7, sum = 0;

	memset(&h, 0, sizeof h);
	for (int i = 0; i < N_DURATIONS; i++) {
		all[i] =
			2000 + (suite_random(&random) & ((2ull << suite_random(&random) % 34) - 1));
		vn_histogram_add(&h, all[i]);
		sum += all[i];
	}
	qsort(all, N_DURATIONS, sizeof *all, compare);
	ck_assert_uint_eq(vn_histogram_count(&h), N_DURATIONS);
	ck_assert_uint_eq(h.sum_ns, sum);
	for (int percent = 1; percent < 100; percent++) {
		double exact = (double)all[percent * (N_DURATIONS - 1) / 100];
		double found = (double)vn_histogram_quantile(&h, percent / 100.0);

		ck_assert_double_le(found, exact * 1.25);
		ck_assert_double_ge(found, exact / 1.25);
	}
}
END_TEST

START_TEST(extremes_have_quantiles_too)
{
	vn_histogram h;

	memset(&h, 0, sizeof h);
	ck_assert_uint_eq(vn_histogram_quantile(&h, 0.5), 0);
	vn_histogram_add(&h, UINT64_MAX / 2);
	ck_assert_uint_eq(vn_histogram_quantile(&h, 0.5), 1ull << 36);
	memset(&h, 0, sizeof h);
	vn_histogram_add(&h, 1);
	ck_assert_uint_le(vn_histogram_quantile(&h, 1), 1024);
	ck_assert_uint_eq(vn_histogram_quantile(&h, 2), 1024);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_bucket_ends_with_its_bound,
		a_bucket_is_at_most_a_quarter_wide,
		quantiles_are_at_most_a_quarter_off,
		extremes_have_quantiles_too,
	};

	return suite_run("broker_histogram", tests, SUITE_COUNT(tests));
}
