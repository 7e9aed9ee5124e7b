/* SPDX-License-Identifier: MIT */
/*
 * Timer - never early, at most a slot late, in order, whatever the clock does
 */
#include "client/hub/timer.h"

#include <stdlib.h>

#include "tests/unit/coroutines.h"

NO_CONNECTIONS

#define SLOT ((vn_time)1 << 16)

typedef struct probe {
	vn_timer timer;
	vn_wheel *wheel;
	vn_time fired; /* the time of the wheel, -1: not yet */
	int turn;      /* the how-manieth it was */
	int *n_fired;
	vn_time *now;
} probe;

static void
probe_fire(vn_timer *t)
{
	probe *p = (probe *)t;

	suite_assert(!vn_timer_armed(t));
	p->fired = *p->now;
	p->turn = (*p->n_fired)++;
}

static probe
probe_make(vn_wheel *w, int *n_fired, vn_time *now)
{
	return (probe){
		.timer.fire = probe_fire, .wheel = w, .fired = -1, .n_fired = n_fired, .now = now};
}

START_TEST(nothing_armed_nothing_next)
{
	vn_wheel *w = vn_wheel_new(0);

	ck_assert(vn_wheel_empty(w));
	ck_assert_int_eq(vn_wheel_next(w), VN_NEVER);
	vn_wheel_advance(w, 1000 * VN_SEC);
	ck_assert_int_eq(vn_wheel_next(w), VN_NEVER);
	ck_assert_ptr_null(vn_wheel_free(w));
}
END_TEST

START_TEST(a_lone_timer_fires_at_the_instant_that_next_tells_whatever_the_distance)
{
	const vn_time starts[] = {0, 1, 12345678, 1000 * VN_SEC, VN_NEVER / 3};

	for (size_t k = 0; k < SUITE_COUNT(starts); k++)
		for (vn_time delay = 1; delay > 0 && delay < VN_NEVER / 4; delay = delay * 5 + 3) {
			vn_time now = starts[k], at = now + delay, next;
			int n_fired = 0;
			vn_wheel *w = vn_wheel_new(now);
			probe p = probe_make(w, &n_fired, &now);

			vn_wheel_arm(w, &p.timer, at);
			next = vn_wheel_next(w);
			suite_assert(next >= at && next < at + SLOT);
			now = next - 1;
			vn_wheel_advance(w, now);
			suite_assert(n_fired == 0);
			suite_assert(vn_wheel_next(w) == next);
			now = next;
			vn_wheel_advance(w, now);
			suite_assert(n_fired == 1 && vn_wheel_empty(w));
			vn_wheel_free(w);
		}
}
END_TEST

START_TEST(an_instant_in_the_past_fires_at_the_next_advance)
{
	vn_time now = 1000 * VN_SEC;
	int n_fired = 0;
	vn_wheel *w = vn_wheel_new(now);
	probe p = probe_make(w, &n_fired, &now);

	vn_wheel_arm(w, &p.timer, 5);
	ck_assert_int_le(vn_wheel_next(w), now);
	vn_wheel_advance(w, now);
	ck_assert_int_eq(n_fired, 1);
	vn_wheel_arm(w, &p.timer, -5);
	vn_wheel_advance(w, now);
	ck_assert_int_eq(n_fired, 2);
	vn_wheel_free(w);
}
END_TEST

START_TEST(never_never_comes)
{
	vn_time now = 1000 * VN_SEC;
	int n_fired = 0;
	vn_wheel *w = vn_wheel_new(now);
	probe p = probe_make(w, &n_fired, &now);

	vn_wheel_arm(w, &p.timer, VN_NEVER);
	vn_wheel_advance(w, now + 1000000000 * VN_SEC);
	ck_assert_int_eq(n_fired, 0);
	ck_assert_int_gt(vn_wheel_next(w), now + 1000000000 * VN_SEC);
	vn_wheel_disarm(w, &p.timer);
	ck_assert(vn_wheel_empty(w));
	vn_wheel_free(w);
}
END_TEST

START_TEST(timers_of_one_instant_fire_in_the_order_in_which_they_were_armed)
{
	vn_time now = 0;
	int n_fired = 0;
	vn_wheel *w = vn_wheel_new(now);
	probe p[100];

	for (int i = 0; i < 100; i++) {
		p[i] = probe_make(w, &n_fired, &now);
		vn_wheel_arm(w, &p[i].timer, 90 * VN_SEC);
		if (i % 10 == 9) /* later ones start at lower levels */
			vn_wheel_advance(w, now += 8 * VN_SEC);
	}
	now = 91 * VN_SEC;
	vn_wheel_advance(w, now);
	for (int i = 0; i < 100; i++)
		suite_assert(p[i].turn == i);
	vn_wheel_free(w);
}
END_TEST

static void
fire_and_arm(vn_timer *t)
{
	probe *p = (probe *)t;

	probe_fire(t);
	vn_wheel_arm(p->wheel, t, *p->now);
}

START_TEST(a_timer_that_arms_itself_for_now_does_not_keep_the_wheel)
{
	vn_time now = 1000 * SLOT;
	int n_fired = 0;
	vn_wheel *w = vn_wheel_new(now);
	probe p = probe_make(w, &n_fired, &now);

	p.timer.fire = fire_and_arm;
	vn_wheel_arm(w, &p.timer, now);
	for (int i = 1; i < 5; i++) {
		vn_wheel_advance(w, now);
		ck_assert_int_eq(n_fired, i);
		ck_assert_int_le(vn_wheel_next(w), now);
	}
	vn_wheel_free(w);
}
END_TEST

static probe *victim;

static void
fire_and_disarm(vn_timer *t)
{
	probe *p = (probe *)t;

	probe_fire(t);
	vn_wheel_disarm(p->wheel, &victim->timer);
}

START_TEST(a_timer_that_is_due_can_be_disarmed_by_one_that_fires_before_it)
{
	vn_time now = 0;
	int n_fired = 0;
	vn_wheel *w = vn_wheel_new(now);
	probe p[3];

	for (int v = 1; v < 3; v++) {
		for (int i = 0; i < 3; i++)
			p[i] = probe_make(w, &n_fired, &now);
		p[0].timer.fire = fire_and_disarm;
		victim = &p[v];
		n_fired = 0;
		for (int i = 0; i < 3; i++)
			vn_wheel_arm(w, &p[i].timer, now + VN_SEC);
		now += 2 * VN_SEC;
		vn_wheel_advance(w, now);
		ck_assert_int_eq(n_fired, 2);
		ck_assert_int_eq(p[v].fired, -1);
		ck_assert(vn_wheel_empty(w));
	}
	vn_wheel_free(w);
}
END_TEST

START_TEST(arming_again_moves_a_timer)
{
	vn_time now = 0;
	int n_fired = 0;
	vn_wheel *w = vn_wheel_new(now);
	probe p = probe_make(w, &n_fired, &now);

	vn_wheel_arm(w, &p.timer, VN_SEC);
	vn_wheel_arm(w, &p.timer, 3 * VN_SEC);
	vn_wheel_advance(w, now = 2 * VN_SEC);
	ck_assert_int_eq(n_fired, 0);
	vn_wheel_arm(w, &p.timer, now + VN_MS);
	vn_wheel_advance(w, now += 2 * VN_MS);
	ck_assert_int_eq(n_fired, 1);
	vn_wheel_advance(w, now = 10 * VN_SEC);
	ck_assert_int_eq(n_fired, 1);
	vn_wheel_free(w);
}
END_TEST

START_TEST(a_clock_that_goes_back_or_leaps_forward_harms_nothing)
{
	vn_time now = 1000 * VN_SEC;
	int n_fired = 0;
	vn_wheel *w = vn_wheel_new(now);
	probe p[2] = {probe_make(w, &n_fired, &now), probe_make(w, &n_fired, &now)};

	vn_wheel_arm(w, &p[0].timer, now + VN_SEC);
	vn_wheel_advance(w, now - 500 * VN_SEC);
	ck_assert_int_eq(n_fired, 0);
	vn_wheel_arm(w, &p[1].timer, now + 3600 * VN_SEC);
	now += 400 * 86400 * VN_SEC;
	vn_wheel_advance(w, now);
	ck_assert_int_eq(n_fired, 2);
	ck_assert_int_lt(p[0].turn, p[1].turn);
	vn_wheel_free(w);
}
END_TEST

#define N 300

/* Beside a model that looks at every timer: who must have fired has, who must not has not. */
static void
random_run(uint64_t seed)
{
	uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
	vn_time now = (vn_time)(suite_random(&state) >> (2 + suite_random(&state) % 50));
	static probe p[N];
	bool armed[N] = {false};
	int n_fired = 0;
	vn_wheel *w = vn_wheel_new(now);

	for (int i = 0; i < N; i++)
		p[i] = probe_make(w, &n_fired, &now);
	for (int step = 0; step < 2000; step++) {
		int i = (int)(suite_random(&state) % N);
		vn_time delay = (vn_time)(suite_random(&state) >> (22 + suite_random(&state) % 42));
		vn_time earliest = VN_NEVER, next;

		switch (suite_random(&state) % 4) {
		case 0:
		case 1:
			vn_wheel_arm(w, &p[i].timer, now + delay);
			p[i].fired = -1;
			armed[i] = true;
			break;
		case 2:
			vn_wheel_disarm(w, &p[i].timer);
			armed[i] = false;
			break;
		default:
			next = vn_wheel_next(w);
			now = suite_random(&state) % 2 && next != VN_NEVER ? next > now ? next : now
									   : now + delay;
			vn_wheel_advance(w, now);
		}
		for (int k = 0; k < N; k++) {
			if (!armed[k])
				continue;
			if (p[k].fired >= 0) {
				suite_assert(p[k].fired >= p[k].timer.at);
				suite_assert(!vn_timer_armed(&p[k].timer));
				armed[k] = false;
				continue;
			}
			suite_assert(vn_timer_armed(&p[k].timer));
			suite_assert(now < p[k].timer.at + SLOT);
			earliest = p[k].timer.at < earliest ? p[k].timer.at : earliest;
		}
		next = vn_wheel_next(w);
		suite_assert(vn_wheel_empty(w) == (earliest == VN_NEVER));
		suite_assert(next == VN_NEVER ? earliest == VN_NEVER : next < earliest + SLOT);
	}
	for (int k = 0; k < N; k++)
		vn_wheel_disarm(w, &p[k].timer);
	suite_assert(vn_wheel_empty(w));
	vn_wheel_free(w);
}

START_TEST(random_timers_beside_a_model)
{
	for (uint64_t seed = 1; seed <= (uint64_t)SUITE_TIMES(100); seed++)
		random_run(seed);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		nothing_armed_nothing_next,
		a_lone_timer_fires_at_the_instant_that_next_tells_whatever_the_distance,
		an_instant_in_the_past_fires_at_the_next_advance,
		never_never_comes,
		timers_of_one_instant_fire_in_the_order_in_which_they_were_armed,
		a_timer_that_arms_itself_for_now_does_not_keep_the_wheel,
		a_timer_that_is_due_can_be_disarmed_by_one_that_fires_before_it,
		arming_again_moves_a_timer,
		a_clock_that_goes_back_or_leaps_forward_harms_nothing,
		random_timers_beside_a_model,
	};

	return suite_run("timer", tests, SUITE_COUNT(tests));
}
