/* SPDX-License-Identifier: MIT */
/*
 * Slab - records that are separate, empty, found again, and leave nothing behind
 */
#include "client/net/slab.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "tests/unit/coroutines.h"

NO_CONNECTIONS

enum { SIZE = 300, BURST = 10000 };

static unsigned char *records[BURST];

static bool
is_all(const unsigned char *record, int byte)
{
	for (int i = 0; i < SIZE; i++)
		if (record[i] != byte)
			return false;
	return true;
}

static void
take_all(vn_slab *s)
{
	for (int i = 0; i < BURST; i++) {
		records[i] = vn_slab_get(s);
		suite_assert(records[i]);
	}
}

static void
give_all(vn_slab *s)
{
	for (int i = 0; i < BURST; i++)
		vn_slab_put(s, records[i]);
}

START_TEST(a_record_is_empty_and_nobody_elses)
{
	vn_slab s;

	vn_slab_init(&s, SIZE);
	for (int round = 0; round < 2; round++) {
		take_all(&s);
		for (int i = 0; i < BURST; i++) {
			suite_assert(is_all(records[i], 0));
			memset(records[i], i % 255 + 1, SIZE);
		}
		for (int i = 0; i < BURST; i++)
			suite_assert(is_all(records[i], i % 255 + 1));
		give_all(&s);
	}
	vn_slab_deinit(&s);
}
END_TEST

START_TEST(the_lowest_free_place_is_taken_first)
{
	vn_slab s;

	if (MEMORY_IS_WATCHED)
		return;
	vn_slab_init(&s, SIZE);
	take_all(&s);
	for (int i = 1; i < BURST; i++)
		suite_assert(records[i] > records[i - 1]);
	for (int i = 9000; i > 0; i -= 1000)
		vn_slab_put(&s, records[i]);
	for (int i = 1000; i <= 9000; i += 1000)
		ck_assert_ptr_eq(vn_slab_get(&s), records[i]);
	ck_assert((unsigned char *)vn_slab_get(&s) > records[BURST - 1]);
	vn_slab_deinit(&s);
}
END_TEST

/* Pages of records that are there. */
static int
n_resident(const vn_slab *s)
{
	unsigned char *there = malloc(s->n_pages);
	int n = 0;

	ck_assert_int_eq(mincore(s->base, s->n_pages * s->page, there), 0);
	for (uint32_t i = 0; i < s->n_pages; i++)
		n += there[i] & 1;
	free(there);
	return n;
}

START_TEST(a_burst_leaves_no_memory_behind_although_some_records_stay)
{
	vn_slab s;

	if (MEMORY_IS_WATCHED)
		return;
	vn_slab_init(&s, SIZE);
	ck_assert_int_eq(n_resident(&s), 0);
	take_all(&s);
	ck_assert_int_ge(n_resident(&s), BURST * SIZE / 4096);
	for (int i = 0; i < BURST; i++)
		if (i % 1000 != 999)
			vn_slab_put(&s, records[i]);
	ck_assert_int_le(n_resident(&s), 16 + BURST / 1000);
	vn_slab_deinit(&s);
}
END_TEST

START_TEST(records_that_stay_keep_what_is_in_them)
{
	vn_slab s;

	vn_slab_init(&s, SIZE);
	take_all(&s);
	for (int i = 0; i < BURST; i++)
		memset(records[i], i % 255 + 1, SIZE);
	for (int i = 0; i < BURST; i++)
		if (i % 7)
			vn_slab_put(&s, records[i]);
	for (int i = 0; i < BURST; i += 7) {
		suite_assert(is_all(records[i], i % 255 + 1));
		vn_slab_put(&s, records[i]);
	}
	vn_slab_deinit(&s);
}
END_TEST

START_TEST(what_a_short_reservation_has_no_place_for_comes_from_malloc)
{
	struct rlimit limit, low = {0};
	const unsigned char *end;
	int n = 0, n_outside = 0;
	vn_slab s;

	if (MEMORY_IS_WATCHED)
		return;
	getrlimit(RLIMIT_AS, &limit);
	low.rlim_cur = (rlim_t)16 << 20;
	low.rlim_max = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &low), 0);
	vn_slab_init(&s, 2000); /* two in a page */
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
	ck_assert_uint_gt(s.n_pages, 0);
	ck_assert_uint_lt(s.n_pages, BURST / 2);
	end = (unsigned char *)s.base + s.n_pages * s.page;
	for (; n < BURST; n++) {
		records[n] = vn_slab_get(&s);
		suite_assert(records[n] && is_all(records[n], 0));
		memset(records[n], 1, 2000);
		n_outside += records[n] >= end || records[n] < (unsigned char *)s.base;
	}
	ck_assert_int_eq(n_outside, BURST - 2 * (int)s.n_pages);
	give_all(&s);
	ck_assert_ptr_eq(vn_slab_get(&s), records[0]);
	vn_slab_deinit(&s);
}
END_TEST

START_TEST(without_a_reservation_records_come_from_malloc)
{
	vn_slab s;

	vn_slab_init(&s, SIZE);
	vn_slab_deinit(&s);
	take_all(&s);
	for (int i = 0; i < BURST; i++)
		suite_assert(is_all(records[i], 0));
	give_all(&s);
	vn_slab_put(&s, NULL);
	vn_slab_deinit(&s);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_record_is_empty_and_nobody_elses,
		the_lowest_free_place_is_taken_first,
		a_burst_leaves_no_memory_behind_although_some_records_stay,
		records_that_stay_keep_what_is_in_them,
		what_a_short_reservation_has_no_place_for_comes_from_malloc,
		without_a_reservation_records_come_from_malloc,
	};

	return suite_run("slab", tests, SUITE_COUNT(tests));
}
