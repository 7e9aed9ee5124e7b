/* SPDX-License-Identifier: MIT */
/*
 * Stamp - saves looks at the clock, and whatever it says nothing is ever early
 */
#include "client/hub/stamp.h"

#include "tests/unit/coroutines.h"

NO_CONNECTIONS

/* A world with a stamp. Time passes, and it counts, only when a test says so. */
typedef struct counted {
	world world;
	uint64_t stamp;
} counted;

static uint64_t
counted_stamp(const vn_sys *sys)
{
	return ((counted *)sys->world)->stamp;
}

static bool
counted_has_stamp(const vn_sys *sys)
{
	(void)sys;
	return true;
}

static vn_hub *
counted_open(counted *c)
{
	vn_hub *h = world_open(&c->world);

	c->stamp = 123456789;
	c->world.sys.stamp = counted_stamp;
	c->world.sys.has_stamp = counted_has_stamp;
	vn_stamp_init(&h->stamp, &c->world.sys);
	return h;
}

static void
pass(counted *c, vn_time ns, int64_t counts)
{
	c->world.now += ns;
	c->stamp += (uint64_t)counts;
}

/* What a delay of some time from now comes to is never early, and hardly late. */
static vn_time
armed(vn_hub *h, counted *c)
{
	vn_time at = vn_hub_after(h, VN_MS);

	suite_assert(at >= c->world.now + VN_MS);
	suite_assert(at <= c->world.now + VN_MS + VN_STAMP_LATE);
	return at;
}

/* Three counts in a nanosecond, until it is believed. */
static void
earn_belief(vn_hub *h, counted *c)
{
	armed(h, c);
	pass(c, VN_STAMP_LATE, 3 * VN_STAMP_LATE);
	armed(h, c);
	ck_assert(h->stamp.is_believed);
}

static int
looks(vn_hub *h, counted *c)
{
	int before = c->world.n_looks;

	armed(h, c);
	return c->world.n_looks - before;
}

START_TEST(without_a_stamp_each_delay_counts_from_a_look_at_the_clock)
{
	world w;
	vn_hub *h = world_open(&w);

	for (int i = 1; i <= 100; i++) {
		int before = w.n_looks;

		w.now += i;
		ck_assert_int_eq(vn_hub_after(h, VN_SEC), w.now + VN_SEC);
		ck_assert_int_eq(w.n_looks, before + 1);
	}
	vn_hub_close(h);
}
END_TEST

START_TEST(with_one_a_look_serves_for_all_that_comes_soon_after_it)
{
	counted c;
	vn_hub *h = counted_open(&c);

	earn_belief(h, &c);
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(looks(h, &c), 0);
		pass(&c, 100, 300);
	}
	pass(&c, 400, 1200);
	ck_assert_int_eq(looks(h, &c), 1);
	ck_assert_int_eq(looks(h, &c), 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(what_was_armed_first_comes_first)
{
	counted c;
	vn_hub *h = counted_open(&c);
	uint64_t seed = 88172645463325252;
	vn_time last = 0;

	earn_belief(h, &c);
	for (int i = 0; i < SUITE_TIMES(100000); i++) {
		vn_time ns = (vn_time)(suite_random(&seed) % 1000), at = armed(h, &c);

		suite_assert(at >= last);
		last = at;
		pass(&c, ns, 3 * ns);
	}
	vn_hub_close(h);
}
END_TEST

/* What is said of when something was is never after it, and hardly before it. */
static void
about(vn_hub *h, counted *c, vn_time rough)
{
	vn_time at = vn_stamp_about(&h->stamp, h->sys, h->now);

	suite_assert(at <= c->world.now);
	suite_assert(c->world.now - at < rough);
}

START_TEST(a_look_serves_for_much_that_is_said_of_when_it_was)
{
	counted c;
	vn_hub *h = counted_open(&c);
	int before;

	earn_belief(h, &c);
	before = c.world.n_looks;
	for (int i = 0; i < 10; i++) {
		pass(&c, 1000, 3000);
		about(h, &c, VN_STAMP_ROUGH / 3);
	}
	ck_assert_int_eq(c.world.n_looks, before);
	pass(&c, 20 * VN_MS, 60 * VN_MS); /* one that was long */
	about(h, &c, 1);
	ck_assert_int_eq(c.world.n_looks, before + 1);
	vn_hub_close(h);
}
END_TEST

START_TEST(without_a_stamp_it_is_said_exactly)
{
	world w;
	vn_hub *h = world_open(&w);

	for (int i = 1; i <= 100; i++) {
		w.now += i;
		ck_assert_int_eq(vn_stamp_about(&h->stamp, h->sys, h->now), w.now);
	}
	vn_hub_close(h);
}
END_TEST

START_TEST(of_a_stamp_that_stops_the_turn_says_more)
{
	counted c;
	vn_hub *h = counted_open(&c);

	earn_belief(h, &c);
	pass(&c, VN_SEC, 0);
	vn_yield(h);
	about(h, &c, VN_SEC + VN_MS); /* deceived, but not beyond the turn */
	h->now = c.world.now;         /* as the loop reads it */
	about(h, &c, 1);
	vn_hub_close(h);
}
END_TEST

START_TEST(it_is_not_believed_before_it_was_seen_to_go)
{
	counted c;
	vn_hub *h = counted_open(&c);

	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(looks(h, &c), 1);
		pass(&c, VN_STAMP_LATE / 10, 3 * VN_STAMP_LATE / 10);
	}
	ck_assert(!h->stamp.is_believed);
	pass(&c, VN_STAMP_LATE, 3 * VN_STAMP_LATE);
	armed(h, &c);
	ck_assert(h->stamp.is_believed);
	vn_hub_close(h);
}
END_TEST

START_TEST(one_that_stands_still_is_never_believed)
{
	counted c;
	vn_hub *h = counted_open(&c);

	for (vn_time ns = 1; ns < VN_SEC; ns = ns * 3 / 2 + 1) {
		ck_assert_int_eq(looks(h, &c), 1);
		pass(&c, ns, 0);
	}
	vn_hub_close(h);
}
END_TEST

START_TEST(one_that_goes_too_slowly_is_never_believed)
{
	counted c;
	vn_hub *h = counted_open(&c);

	for (vn_time ns = 1; ns < VN_SEC; ns = ns * 3 / 2 + 1) {
		ck_assert_int_eq(looks(h, &c), 1);
		pass(&c, ns, ns * 9 / 10);
	}
	vn_hub_close(h);
}
END_TEST

START_TEST(one_that_stops_is_found_out_in_the_next_turn)
{
	counted c;
	vn_hub *h = counted_open(&c);

	for (vn_time ns = VN_STAMP_LATE + 1; ns < VN_SEC; ns *= 3) {
		earn_belief(h, &c);
		pass(&c, ns, 0);
		h->budget = 0;
		ck_assert_int_eq(vn_yield(h), 0);
		ck_assert_int_eq(h->now, c.world.now);
		ck_assert_int_eq(looks(h, &c), 1);
		ck_assert(!h->stamp.is_believed);
		pass(&c, ns, 0);
		ck_assert_int_eq(looks(h, &c), 1);
	}
	vn_hub_close(h);
}
END_TEST

START_TEST(one_that_goes_back_leads_to_a_look)
{
	const int64_t steps[] = {1, 2, 1000, VN_STAMP_WINDOW, 1 << 20, INT64_C(1) << 40, INT64_MAX};

	for (size_t i = 0; i < SUITE_COUNT(steps); i++) {
		counted c;
		vn_hub *h = counted_open(&c);

		earn_belief(h, &c);
		pass(&c, 1, -steps[i]);
		ck_assert_int_eq(looks(h, &c), 1);
		ck_assert(!h->stamp.is_believed);
		pass(&c, VN_SEC, -steps[i]);
		ck_assert_int_eq(looks(h, &c), 1);
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(one_that_leaps_forward_leads_to_a_look)
{
	counted c;
	vn_hub *h = counted_open(&c);

	earn_belief(h, &c);
	for (int bit = 12; bit < 64; bit++) {
		pass(&c, 1, (int64_t)(UINT64_C(1) << bit));
		ck_assert_int_eq(looks(h, &c), 1);
	}
	vn_hub_close(h);
}
END_TEST

/* All of them in turn, and mostly it is honest. */
START_TEST(whatever_it_says_nothing_is_early)
{
	counted c;
	vn_hub *h = counted_open(&c);
	uint64_t seed = 88172645463325252;
	int n_looks;

	armed(h, &c);
	n_looks = c.world.n_looks;
	for (int i = 0; i < SUITE_TIMES(100000); i++) {
		vn_time ns = (vn_time)(suite_random(&seed) % (1u << suite_random(&seed) % 20));

		switch (suite_random(&seed) % 64) {
		case 0:
			pass(&c, ns, -VN_SEC - (int64_t)(suite_random(&seed) >> 1));
			break;
		case 1:
			pass(&c, ns, (int64_t)(suite_random(&seed) >> 1) + VN_STAMP_WINDOW);
			break;
		case 2: /* it stands, for longer than a window: only a turn tells */
			pass(&c, ns + VN_STAMP_LATE + 1, 0);
			h->budget = 0;
			vn_yield(h);
			break;
		default:
			pass(&c, ns, ns + (int64_t)(suite_random(&seed) % 4) * ns);
		}
		armed(h, &c);
	}
	ck_assert_int_lt(c.world.n_looks - n_looks, SUITE_TIMES(100000)); /* it was believed, too */
	vn_hub_close(h);
}
END_TEST

/* The thread is kept from running as soon as it has read the clock. */
static int64_t
now_and_a_pause(const vn_sys *sys)
{
	counted *c = sys->world;
	vn_time now = c->world.now;

	pass(c, VN_MS, 3 * VN_MS);
	return now;
}

START_TEST(time_that_passes_just_after_a_look_counts)
{
	counted c;
	vn_hub *h = counted_open(&c);

	earn_belief(h, &c);
	c.world.sys.now = now_and_a_pause;
	pass(&c, VN_MS, 3 * VN_MS);
	for (int i = 0; i < 10; i++) {
		vn_time before = c.world.now;

		ck_assert_int_ge(vn_hub_after(h, VN_SEC), before + VN_SEC);
		ck_assert(h->stamp.is_believed);
	}
	c.world.sys.now = world_now;
	vn_hub_close(h);
}
END_TEST

START_TEST(who_sleeps_sleeps_long_enough)
{
	counted c;
	vn_hub *h = counted_open(&c);

	earn_belief(h, &c);
	for (vn_time delay = 1; delay < VN_SEC; delay = delay * 3 / 2 + 1) {
		vn_time start;

		pass(&c, 100, 300);
		start = c.world.now;
		ck_assert_int_eq(vn_sleep(h, delay), 0);
		ck_assert_int_ge(c.world.now - start, delay);
		ck_assert_int_le(c.world.now - start, delay + VN_STAMP_LATE + (1 << 16));
	}
	vn_hub_close(h);
}
END_TEST

/* The kernel's counter, if the clock is made of it, goes on with the clock. */
START_TEST(the_real_one_goes_with_the_clock)
{
	const vn_sys *sys = &vn_sys_linux;
	vn_hub *h = vn_hub_open(sys);
	vn_time start = sys->now(sys), at, now;

	ck_assert_ptr_nonnull(h);
	do {
		now = sys->now(sys);
		at = vn_hub_after(h, VN_SEC);
		suite_assert(at >= now + VN_SEC);
		suite_assert(at <= sys->now(sys) + VN_SEC + VN_STAMP_LATE);
	} while (now < start + 20 * VN_MS);
	vn_hub_close(h);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		without_a_stamp_each_delay_counts_from_a_look_at_the_clock,
		with_one_a_look_serves_for_all_that_comes_soon_after_it,
		what_was_armed_first_comes_first,
		a_look_serves_for_much_that_is_said_of_when_it_was,
		without_a_stamp_it_is_said_exactly,
		of_a_stamp_that_stops_the_turn_says_more,
		it_is_not_believed_before_it_was_seen_to_go,
		one_that_stands_still_is_never_believed,
		one_that_goes_too_slowly_is_never_believed,
		one_that_stops_is_found_out_in_the_next_turn,
		one_that_goes_back_leads_to_a_look,
		one_that_leaps_forward_leads_to_a_look,
		whatever_it_says_nothing_is_early,
		time_that_passes_just_after_a_look_counts,
		who_sleeps_sleeps_long_enough,
		the_real_one_goes_with_the_clock,
	};

	return suite_run("stamp", tests, SUITE_COUNT(tests));
}
