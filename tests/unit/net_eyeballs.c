/* SPDX-License-Identifier: MIT */
/*
 * Eyeballs - which address comes next, and when
 */
#include <errno.h>
#include <string.h>

#include "client/net/eyeballs.h"
#include "tests/unit/suite.h"

#define START VN_SEC

static vn_family families[VN_N_FAMILIES];
static vn_eyeballs eyeballs;
static vn_time until;

static void
begin(void)
{
	memset(families, 0, sizeof families);
	vn_eyeballs_init(&eyeballs, families);
}

/* So many addresses of a family; their ports tell them apart. */
static void
know(int family, uint32_t n)
{
	vn_family *f = &families[family];

	for (uint32_t i = 0; i < n; i++) {
		f->addresses[i].family = family == VN_SIX ? AF_INET6 : AF_INET;
		f->addresses[i].in.sin_port = (in_port_t)(i + 1);
	}
	f->n = n;
	f->known = true;
	f->error = n ? 0 : -ENODATA;
}

/* 61 is the first of IPv6, 42 the second of IPv4, 0 that there is none. */
static int
next(vn_time now)
{
	const vn_inet *a = vn_eyeballs_next(&eyeballs, now, &until);

	return !a ? 0 : (a->family == AF_INET6 ? 60 : 40) + a->in.sin_port;
}

START_TEST(nothing_is_tried_before_anything_is_known)
{
	begin();
	ck_assert_int_eq(next(START), 0);
	ck_assert_int_eq(until, VN_NEVER);
	ck_assert(!vn_eyeballs_exhausted(&eyeballs));
}
END_TEST

START_TEST(families_take_turns_and_six_begins)
{
	vn_time at = START;
	static const int order[] = {61, 41, 62, 42, 43};

	begin();
	know(VN_SIX, 2);
	know(VN_FOUR, 3);
	for (size_t i = 0; i < SUITE_COUNT(order); i++) {
		ck_assert(!vn_eyeballs_exhausted(&eyeballs));
		ck_assert_int_eq(next(at), order[i]);
		if (i + 1 < SUITE_COUNT(order)) {
			ck_assert_int_eq(next(at), 0);
			ck_assert_int_eq(until, at + VN_ATTEMPT_DELAY);
			ck_assert_int_eq(next(until - 1), 0);
			at = until;
		}
	}
	ck_assert_int_eq(next(at), 0);
	ck_assert_int_eq(until, VN_NEVER);
	ck_assert(vn_eyeballs_exhausted(&eyeballs));
}
END_TEST

START_TEST(six_is_tried_although_four_is_not_known)
{
	begin();
	know(VN_SIX, 1);
	ck_assert_int_eq(next(START), 61);
	ck_assert_int_eq(next(START + VN_SEC), 0);
	ck_assert_int_eq(until, VN_NEVER);
	ck_assert(!vn_eyeballs_exhausted(&eyeballs));
	know(VN_FOUR, 1);
	ck_assert_int_eq(next(START + VN_SEC), 41);
}
END_TEST

START_TEST(four_gives_six_a_head_start)
{
	vn_time over = START + VN_RESOLUTION_DELAY;

	begin();
	know(VN_FOUR, 2);
	ck_assert_int_eq(next(START), 0);
	ck_assert_int_eq(until, over);
	/* It counts from when IPv4 was known, however often one asks. */
	ck_assert_int_eq(next(over - 1), 0);
	ck_assert_int_eq(until, over);
	ck_assert_int_eq(next(over), 41);
	/* Late, but it takes its turn. */
	know(VN_SIX, 1);
	ck_assert_int_eq(next(over), 0);
	ck_assert_int_eq(until, over + VN_ATTEMPT_DELAY);
	ck_assert_int_eq(next(over + VN_ATTEMPT_DELAY), 61);
	ck_assert_int_eq(next(over + 2 * VN_ATTEMPT_DELAY), 42);
}
END_TEST

START_TEST(the_head_start_ends_when_six_is_known)
{
	begin();
	know(VN_FOUR, 1);
	ck_assert_int_eq(next(START), 0);
	know(VN_SIX, 0);
	ck_assert_int_eq(next(START + 1), 41);
	begin();
	know(VN_FOUR, 1);
	ck_assert_int_eq(next(START), 0);
	know(VN_SIX, 1);
	ck_assert_int_eq(next(START + 1), 61);
}
END_TEST

START_TEST(a_failure_lets_the_next_one_begin)
{
	begin();
	know(VN_SIX, 1);
	know(VN_FOUR, 1);
	ck_assert_int_eq(next(START), 61);
	ck_assert_int_eq(next(START + 1), 0);
	vn_eyeballs_failed(&eyeballs);
	ck_assert_int_eq(next(START + 1), 41);
}
END_TEST

START_TEST(why_there_is_no_address)
{
	static const struct {
		int six, four, error;
	} cases[] = {
		{-ENODATA, -ENODATA, -ENODATA},
		{-ENOENT, -EREMOTEIO, -ENOENT},
		{-EREMOTEIO, -ENOENT, -ENOENT},
		{-ENODATA, -EREMOTEIO, -EREMOTEIO},
		{-ENOMEM, -ENODATA, -ENOMEM},
	};

	for (size_t i = 0; i < SUITE_COUNT(cases); i++) {
		begin();
		know(VN_SIX, 0);
		know(VN_FOUR, 0);
		families[VN_SIX].error = cases[i].six;
		families[VN_FOUR].error = cases[i].four;
		ck_assert(vn_eyeballs_exhausted(&eyeballs));
		ck_assert_int_eq(vn_eyeballs_error(&eyeballs), cases[i].error);
	}
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		nothing_is_tried_before_anything_is_known,
		families_take_turns_and_six_begins,
		six_is_tried_although_four_is_not_known,
		four_gives_six_a_head_start,
		the_head_start_ends_when_six_is_known,
		a_failure_lets_the_next_one_begin,
		why_there_is_no_address,
	};

	return suite_run("net_eyeballs", tests, SUITE_COUNT(tests));
}
