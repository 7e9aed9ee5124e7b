/* SPDX-License-Identifier: MIT */
/*
 * Alarm - coroutines that start later, unless they are called off
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/coroutines.h"

NO_CONNECTIONS

static int
count(vn_hub *h, void *arg)
{
	(void)h;
	++*(int *)arg;
	return 0;
}

START_TEST(one_that_is_called_off_never_runs)
{
	world w;
	vn_hub *h = world_open(&w);
	int n = 0;
	vn_alarm *a = vn_alarm_new(h, VN_SEC, count, &n);

	ck_assert_ptr_nonnull(a);
	vn_sleep(h, 900 * VN_MS);
	ck_assert_int_eq(vn_alarm_cancel(a), 0);
	vn_sleep(h, VN_SEC);
	ck_assert_int_eq(n, 0);
	ck_assert_int_eq(vn_alarm_cancel(NULL), -EBADF);
	vn_hub_close(h);
}
END_TEST

START_TEST(one_that_was_started_cannot_be_called_off)
{
	world w;
	vn_hub *h = world_open(&w);
	int n = 0;
	vn_alarm *a = vn_alarm_new(h, VN_SEC, count, &n);

	vn_sleep(h, 900 * VN_MS);
	ck_assert_int_eq(n, 0);
	vn_sleep(h, 200 * VN_MS);
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(vn_alarm_cancel(a), -EALREADY);
	vn_sleep(h, 5 * VN_SEC);
	ck_assert_int_eq(n, 1);
	vn_hub_close(h);
}
END_TEST

START_TEST(one_that_is_ready_was_started_though_it_has_not_run)
{
	world w;
	vn_hub *h = world_open(&w);
	int n = 0;
	vn_alarm *a = vn_alarm_new(h, VN_SEC, count, &n);

	vn_sleep(h, VN_MS);
	vn_wheel_advance(h->wheel, w.now + 2 * VN_SEC);
	ck_assert_int_eq(n, 0);
	ck_assert_int_eq(vn_alarm_cancel(a), -EALREADY);
	vn_yield(h);
	ck_assert_int_eq(n, 1);
	vn_hub_close(h);
}
END_TEST

typedef struct killer {
	vn_timer timer;
	vn_alarm *victim;
	int rc;
} killer;

static void
kill_victim(vn_timer *t)
{
	killer *k = (killer *)(void *)t;

	k->rc = vn_alarm_cancel(k->victim);
}

START_TEST(one_that_is_called_off_by_a_timer_of_the_same_instant_never_runs)
{
	world w;
	vn_hub *h = world_open(&w);
	killer k = {.timer.fire = kill_victim, .rc = 1};
	int n = 0;

	vn_wheel_arm(h->wheel, &k.timer, w.now + VN_SEC);
	k.victim = vn_alarm_new(h, VN_SEC, count, &n);
	vn_sleep(h, 2 * VN_SEC);
	ck_assert_int_eq(k.rc, 0);
	ck_assert_int_eq(n, 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(one_that_is_called_off_before_its_turn_ends_never_runs)
{
	world w;
	vn_hub *h = world_open(&w);
	int n = 0, m = 0;

	for (int i = 0; i < 100; i++) {
		vn_alarm *a = vn_alarm_new(h, 0, count, &n);

		ck_assert_int_eq(vn_spawn_later(h, 0, count, &m), 0);
		ck_assert_int_eq(vn_alarm_cancel(a), 0);
	}
	vn_sleep(h, VN_MS);
	ck_assert_int_eq(n, 0);
	ck_assert_int_eq(m, 100);
	vn_hub_close(h);
}
END_TEST

START_TEST(none_runs_once_the_hub_is_stopped)
{
	enum { MANY = 500 };
	world w;
	vn_hub *h = world_open(&w);
	vn_alarm *a[MANY];
	int n = 0;

	for (int i = 0; i < MANY; i++) {
		a[i] = vn_alarm_new(h, VN_SEC + i, count, &n);
		ck_assert_int_eq(vn_spawn_later(h, VN_SEC + i, count, &n), 0);
		if (i == MANY / 2)
			vn_sleep(h, VN_MS);
	}
	ck_assert(!vn_wheel_empty(h->wheel));
	vn_stop(h);
	vn_stop(h);
	ck_assert(vn_wheel_empty(h->wheel));
	for (int i = 0; i < MANY; i += 2)
		ck_assert_int_eq(vn_alarm_cancel(a[i]), 0);
	vn_stop(h);
	errno = 0;
	ck_assert_ptr_null(vn_alarm_new(h, VN_SEC, count, &n));
	ck_assert_int_eq(errno, ECANCELED);
	ck_assert_int_eq(vn_spawn_later(h, VN_SEC, count, &n), -ECANCELED);
	w.now += 10 * VN_SEC;
	vn_yield(h);
	vn_hub_close(h);
	ck_assert_int_eq(n, 0);
}
END_TEST

START_TEST(one_that_had_run_before_the_stop_says_so)
{
	world w;
	vn_hub *h = world_open(&w);
	int n = 0;
	vn_alarm *a = vn_alarm_new(h, VN_MS, count, &n), *b = vn_alarm_new(h, VN_SEC, count, &n);

	vn_sleep(h, 2 * VN_MS);
	vn_stop(h);
	ck_assert_int_eq(vn_alarm_cancel(a), -EALREADY);
	ck_assert_int_eq(vn_alarm_cancel(b), 0);
	vn_hub_close(h);
	ck_assert_int_eq(n, 1);
}
END_TEST

START_TEST(handles_that_nobody_gives_back_go_with_the_hub)
{
	world w;
	vn_hub *h = world_open(&w);
	int n = 0;

	for (int i = 0; i < 1000; i++)
		ck_assert_ptr_nonnull(vn_alarm_new(h, i * VN_MS, count, &n));
	vn_sleep(h, 500 * VN_MS + VN_US);
	ck_assert_int_ge(n, 500);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_delay_that_is_no_delay_is_over_at_once)
{
	world w;
	vn_hub *h = world_open(&w);
	int n = 0;
	vn_alarm *a = vn_alarm_new(h, 0, count, &n), *b = vn_alarm_new(h, -VN_SEC, count, &n),
		 *c = vn_alarm_new(h, INT64_MAX, count, &n);

	vn_sleep(h, VN_MS);
	ck_assert_int_eq(n, 2);
	ck_assert_int_eq(vn_alarm_cancel(a), -EALREADY);
	ck_assert_int_eq(vn_alarm_cancel(b), -EALREADY);
	ck_assert_int_eq(vn_alarm_cancel(c), 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(an_alarm_is_hope_until_it_is_called_off)
{
	world w;
	vn_hub *h = world_open(&w);
	int n = 0;
	vn_alarm *a = vn_alarm_new(h, VN_SEC, count, &n);

	vn_alarm_cancel(a);
	ck_assert_int_eq(vn_wait(h, NULL, 0, VN_NEVER), -EDEADLK);
	ck_assert_int_eq(w.n_waits, 0);
	vn_spawn_later(h, VN_SEC, count, &n);
	ck_assert_int_eq(vn_wait(h, NULL, 0, VN_NEVER), -EDEADLK);
	ck_assert_int_eq(w.n_waits, 1);
	ck_assert_int_eq(n, 1);
	vn_hub_close(h);
}
END_TEST

/* Each is in one of these states; what ran is what the model says. */
typedef struct model {
	vn_alarm *alarm;
	vn_time at;
	int n_ran;
	bool is_armed;
} model;

static int
model_ran(vn_hub *h, void *arg)
{
	model *m = arg;

	suite_assert(m->is_armed);
	suite_assert(h->now >= m->at);
	m->n_ran++;
	return 0;
}

static void
model_cancel(model *m)
{
	suite_assert(vn_alarm_cancel(m->alarm) == (m->n_ran ? -EALREADY : 0));
	*m = (model){NULL, 0, 0, false};
}

START_TEST(in_random_order_exactly_those_run_that_nobody_called_off)
{
	enum { MANY = 3000 };
	const int steps = SUITE_TIMES(200000);
	model *models = calloc(MANY, sizeof *models);
	uint64_t random = 42;
	world w;
	vn_hub *h = world_open(&w);

	for (int step = 0; step < steps; step++) {
		uint64_t dice = suite_random(&random);
		model *m = &models[dice % MANY];
		vn_time delay = (vn_time)(dice >> 20 & 0xffffff) * 1000;

		if (m->alarm) {
			model_cancel(m);
		} else {
			m->at = w.now + delay;
			m->is_armed = true;
			m->alarm = vn_alarm_new(h, delay, model_ran, m);
			suite_assert(m->alarm);
		}
		if (step % 64 == 0)
			vn_sleep(h, (vn_time)(dice >> 44 & 0xfff) * VN_US);
	}
	vn_sleep(h, 20 * VN_SEC);
	for (int i = 0; i < MANY; i++) {
		suite_assert(!models[i].alarm || models[i].n_ran == 1);
		if (models[i].alarm)
			model_cancel(&models[i]);
	}
	ck_assert(vn_wheel_empty(h->wheel));
	vn_hub_close(h);
	free(models);
}
END_TEST

START_TEST(a_record_is_used_again)
{
	world w;
	vn_hub *h = world_open(&w);
	int n = 0;
	long before;

	for (int i = 0; i < 1000; i++)
		vn_alarm_cancel(vn_alarm_new(h, VN_SEC, count, &n));
	before = resident_pages();
	for (int i = 0; i < SUITE_TIMES(1000000); i++)
		vn_alarm_cancel(vn_alarm_new(h, VN_SEC, count, &n));
	if (!MEMORY_IS_WATCHED)
		ck_assert_int_lt(resident_pages() - before, 64);
	for (int i = 0; i < 1000; i++)
		vn_spawn_later(h, VN_MS, count, &n);
	vn_sleep(h, 2 * VN_MS);
	ck_assert_int_eq(n, 1000);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_hundred_thousand_are_armed_at_once)
{
	const int many = SUITE_TIMES(100000);
	vn_alarm **a = calloc((size_t)many, sizeof *a);
	world w;
	vn_hub *h = world_open(&w);
	int n = 0;

	for (int i = 0; i < many; i++)
		suite_assert((a[i] = vn_alarm_new(h, VN_SEC + i * VN_US, count, &n)));
	for (int i = 0; i < many; i += 2)
		suite_assert(vn_alarm_cancel(a[i]) == 0);
	vn_sleep(h, VN_SEC + many * VN_US + VN_MS);
	ck_assert_int_eq(n, many / 2);
	vn_hub_close(h);
	free(a);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		one_that_is_called_off_never_runs,
		one_that_was_started_cannot_be_called_off,
		one_that_is_ready_was_started_though_it_has_not_run,
		one_that_is_called_off_by_a_timer_of_the_same_instant_never_runs,
		one_that_is_called_off_before_its_turn_ends_never_runs,
		none_runs_once_the_hub_is_stopped,
		one_that_had_run_before_the_stop_says_so,
		handles_that_nobody_gives_back_go_with_the_hub,
		a_delay_that_is_no_delay_is_over_at_once,
		an_alarm_is_hope_until_it_is_called_off,
		in_random_order_exactly_those_run_that_nobody_called_off,
		a_record_is_used_again,
		a_hundred_thousand_are_armed_at_once,
	};

	return suite_run("alarm", tests, SUITE_COUNT(tests));
}
