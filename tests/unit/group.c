/* SPDX-License-Identifier: MIT */
/*
 * Group - coroutines that live and die together, and deadlines that nest
 */
#include <errno.h>
#include <string.h>

#include "client/message/end.h"
#include "tests/unit/coroutines.h"

NO_CONNECTIONS

/* What a child does, and what became of it. */
typedef struct child {
	journal *j;
	const char *name;
	vn_group *group;
	vn_pair pipe;
	vn_time delay;
	int rc, result, n;
	vn_time deadline;
} child;

static int
sleeper(vn_hub *h, void *arg)
{
	child *x = arg;

	x->rc = vn_sleep(h, x->delay);
	x->n++;
	if (x->j)
		note_rc(x->j, x->name, x->rc);
	return x->rc < 0 ? x->rc : x->result;
}

static int
receiver(vn_hub *h, void *arg)
{
	child *x = arg;
	long item;

	(void)h;
	x->rc = vn_recv(x->pipe.rx, &item);
	x->n++;
	return x->rc;
}

START_TEST(wait_returns_when_all_children_are_gone)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	child a = {.j = &j, .name = "a", .delay = 3 * VN_SEC, .result = 7};
	child b = {.j = &j, .name = "b", .delay = VN_SEC};
	vn_group *g = vn_group_new(h);

	ck_assert_int_eq(vn_group_wait(g), 0);
	ck_assert_int_eq(vn_group_spawn(g, sleeper, &a), 0);
	ck_assert_int_eq(vn_group_spawn(g, sleeper, &b), 0);
	ck_assert_int_eq(vn_group_wait(g), 0);
	ck_assert_str_eq(j.text, "b:0 a:0");
	ck_assert_int_eq(vn_group_spawn(g, sleeper, &b), 0);
	ck_assert_int_eq(vn_group_wait(g), 0);
	ck_assert_str_eq(j.text, "b:0 a:0 b:0");
	ck_assert_ptr_null(vn_group_free(g));
	vn_hub_close(h);
}
END_TEST

START_TEST(the_first_failure_cancels_the_others_and_is_the_result)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	child a = {.j = &j, .name = "a", .delay = 3 * VN_SEC};
	child b = {.j = &j, .name = "b", .delay = VN_SEC, .result = -ENOENT};
	child c = {.j = &j, .name = "c", .delay = 2 * VN_SEC, .result = -EACCES};
	vn_group *g = vn_group_new(h);
	int64_t start = w.now;

	vn_group_spawn(g, sleeper, &a);
	vn_group_spawn(g, sleeper, &b);
	vn_group_spawn(g, sleeper, &c);
	ck_assert_int_eq(vn_group_wait(g), -ENOENT);
	ck_assert_int_lt(w.now, start + 2 * VN_SEC);
	ck_assert_str_eq(j.text, "b:0 c:ECANCELED a:ECANCELED");
	ck_assert_int_eq(vn_group_wait(g), -ENOENT);
	ck_assert_int_eq(vn_group_spawn(g, sleeper, &a), -ECANCELED);
	vn_group_free(g);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_child_that_was_cancelled_has_not_failed)
{
	world w;
	vn_hub *h = world_open(&w);
	child a = {.delay = VN_SEC}, b = {.delay = VN_SEC};
	vn_group *g = vn_group_new(h);

	vn_group_spawn(g, sleeper, &a);
	vn_yield(h);
	vn_group_spawn(g, sleeper, &b);
	ck_assert_int_eq(vn_group_cancel(g), 0);
	ck_assert_int_eq(vn_group_spawn(g, sleeper, &a), -ECANCELED);
	ck_assert_int_eq(vn_group_wait(g), 0);
	ck_assert_int_eq(a.rc, -ECANCELED);
	ck_assert_int_eq(b.rc, -ECANCELED);
	ck_assert_int_eq(w.n_waits, 0);
	vn_group_free(g);
	vn_hub_close(h);
}
END_TEST

static int
fails_with_canceled(vn_hub *h, void *arg)
{
	(void)h;
	(void)arg;
	return -ECANCELED;
}

START_TEST(a_child_that_nobody_cancelled_can_fail_with_that_error)
{
	world w;
	vn_hub *h = world_open(&w);
	child a = {.delay = VN_SEC};
	vn_group *g = vn_group_new(h);

	vn_group_spawn(g, sleeper, &a);
	vn_group_spawn(g, fails_with_canceled, NULL);
	ck_assert_int_eq(vn_group_wait(g), -ECANCELED);
	ck_assert_int_eq(a.rc, -ECANCELED);
	vn_group_free(g);
	vn_hub_close(h);
}
END_TEST

static int
tries_everything(vn_hub *h, void *arg)
{
	child *x = arg;
	long item = 0;

	ck_assert_int_eq(vn_recv(x->pipe.rx, &item), -ECANCELED);
	ck_assert_int_eq(vn_recv(x->pipe.rx, &item), -ECANCELED);
	ck_assert_int_eq(vn_send(x->pipe.tx, &item), -ECANCELED);
	ck_assert_int_eq(vn_sleep(h, VN_SEC), -ECANCELED);
	ck_assert_int_eq(vn_sleep(h, 0), -ECANCELED);
	ck_assert_int_eq(vn_yield(h), -ECANCELED);
	ck_assert_int_eq(vn_select(h, VN_RECV(x->pipe.rx, &item), VN_AFTER(VN_SEC)), -ECANCELED);
	vn_deadline(h, VN_NEVER);
	ck_assert_int_eq(vn_recv(x->pipe.rx, &item), -ECANCELED);
	vn_deadline(h, vn_timeout(h, VN_SEC));
	ck_assert_int_eq(vn_sleep(h, VN_MS), -ECANCELED);
	ck_assert_int_eq(vn_wait(h, NULL, 0, VN_NEVER), -ECANCELED);
	x->n++;
	return 0;
}

START_TEST(every_wait_after_a_cancel_is_refused)
{
	world w;
	vn_hub *h = world_open(&w);
	child x = {.pipe = vn_pipe(h, long)};
	vn_group *g = vn_group_new(h);

	vn_group_spawn(g, tries_everything, &x);
	vn_yield(h);
	vn_group_free(g);
	ck_assert_int_eq(x.n, 1);
	ck_assert_int_eq(w.n_waits, 0);
	vn_hub_close(h);
}
END_TEST

static int
takes_what_was_decided(vn_hub *h, void *arg)
{
	child *x = arg;
	long item = 0;

	x->rc = vn_recv(x->pipe.rx, &item);
	ck_assert_int_eq(item, 5);
	ck_assert_int_eq(vn_sleep(h, VN_SEC), -ECANCELED);
	x->n++;
	return 0;
}

static int
sends_five(vn_hub *h, void *arg)
{
	long five = 5;

	(void)h;
	return vn_send((vn_tx *)arg, &five);
}

START_TEST(a_wait_that_was_decided_stays_decided)
{
	world w;
	vn_hub *h = world_open(&w);
	child x = {.pipe = vn_pipe(h, long), .rc = 1};
	vn_group *g = vn_group_new(h);
	vn_clause *receives;
	long five = 5;

	vn_group_spawn(g, takes_what_was_decided, &x);
	vn_yield(h);
	receives = x.pipe.rx->ops->queue(x.pipe.rx)->first;
	memcpy(receives->item, &five, sizeof five);
	vn_wake(receives, 0);
	vn_group_free(g);
	ck_assert_int_eq(x.rc, 0);
	ck_assert_int_eq(x.n, 1);
	vn_hub_close(h);
}
END_TEST

static int
says_that_it_began(vn_hub *h, void *arg)
{
	child *x = arg;

	x->n++;
	return x->rc = vn_sleep(h, VN_SEC);
}

START_TEST(a_child_that_is_cancelled_before_it_runs_runs_and_finds_its_waits_refused)
{
	world w;
	vn_hub *h = world_open(&w);
	child x = {.rc = 1};
	vn_group *g = vn_group_new(h);

	vn_group_spawn(g, says_that_it_began, &x);
	vn_group_free(g);
	ck_assert_int_eq(x.n, 1);
	ck_assert_int_eq(x.rc, -ECANCELED);
	vn_hub_close(h);
}
END_TEST

static int
ends_slowly(vn_hub *h, void *arg)
{
	child *x = arg;

	vn_sleep(h, VN_SEC);
	for (int i = 0; i < 10; i++)
		vn_yield(h);
	x->n++;
	return 0;
}

START_TEST(free_waits_until_the_last_child_has_returned)
{
	world w;
	vn_hub *h = world_open(&w);
	child x = {.n = 0};
	vn_group *g = vn_group_new(h);

	for (int i = 0; i < 100; i++)
		vn_group_spawn(g, ends_slowly, &x);
	ck_assert_int_eq(x.n, 0);
	ck_assert_ptr_null(vn_group_free(g));
	ck_assert_int_eq(x.n, 100);
	ck_assert_uint_eq(h->n_coroutines, 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(free_waits_though_the_time_of_its_caller_is_up)
{
	world w;
	vn_hub *h = world_open(&w);
	child x = {.n = 0};
	vn_group *g = vn_group_new(h);
	vn_time early = w.now - VN_SEC;

	vn_group_spawn(g, ends_slowly, &x);
	vn_yield(h);
	vn_deadline(h, early);
	vn_group_free(g);
	ck_assert_int_eq(x.n, 1);
	ck_assert_int_eq(vn_deadline(h, VN_NEVER), early);
	vn_hub_close(h);
}
END_TEST

static int
frees_a_group(vn_hub *h, void *arg)
{
	child *x = arg, inner = {.n = 0};
	vn_group *g = vn_group_new(h);

	vn_group_spawn(g, ends_slowly, &inner);
	vn_group_spawn(g, ends_slowly, &inner);
	x->rc = vn_group_wait(g);
	note(x->j, "wait");
	vn_group_free(g);
	note(x->j, inner.n == 2 ? "inner gone" : "inner runs");
	x->result = vn_sleep(h, VN_SEC);
	x->n++;
	return 0;
}

START_TEST(groups_that_are_nested_end_from_the_inside)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	child x = {.j = &j};
	vn_group *g = vn_group_new(h);

	vn_group_spawn(g, frees_a_group, &x);
	vn_yield(h);
	vn_group_free(g);
	ck_assert_int_eq(x.n, 1);
	ck_assert_int_eq(x.rc, -ECANCELED);
	ck_assert_str_eq(j.text, "wait inner gone");
	vn_hub_close(h);
}
END_TEST

static int
frees_at_once(vn_hub *h, void *arg)
{
	child *x = arg, inner = {.n = 0};
	vn_group *g = vn_group_new(h);

	vn_group_spawn(g, ends_slowly, &inner);
	vn_yield(h);
	vn_group_free(g);
	ck_assert_int_eq(inner.n, 1);
	x->rc = vn_sleep(h, VN_SEC);
	x->n++;
	return 0;
}

START_TEST(a_cancel_that_comes_while_its_caller_frees_is_kept)
{
	world w;
	vn_hub *h = world_open(&w);
	child x = {.rc = 1};
	vn_group *g = vn_group_new(h);

	vn_group_spawn(g, frees_at_once, &x);
	vn_yield(h);
	vn_yield(h);
	vn_yield(h); /* it is inside of vn_group_free() */
	vn_group_cancel(g);
	vn_group_free(g);
	ck_assert_int_eq(x.n, 1);
	ck_assert_int_eq(x.rc, -ECANCELED);
	vn_hub_close(h);
}
END_TEST

static int
stops_the_hub(vn_hub *h, void *arg)
{
	(void)arg;
	vn_stop(h);
	return 0;
}

START_TEST(free_waits_though_the_hub_is_stopping)
{
	world w;
	vn_hub *h = world_open(&w);
	child x = {.n = 0}, y = {.delay = VN_SEC, .rc = 1};
	vn_group *g = vn_group_new(h);

	vn_group_spawn(g, ends_slowly, &x);
	vn_group_spawn(g, sleeper, &y);
	vn_yield(h);
	vn_spawn(h, stops_the_hub, NULL);
	ck_assert_int_eq(vn_group_wait(g), -ECANCELED);
	ck_assert_int_eq(vn_group_spawn(g, sleeper, &y), -ECANCELED);
	vn_group_free(g);
	ck_assert_int_eq(x.n, 1);
	ck_assert_int_eq(y.n, 1);
	ck_assert_int_eq(y.rc, -ECANCELED);
	vn_stop(h);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_group_is_freed_after_the_hub_was_stopped)
{
	world w;
	vn_hub *h = world_open(&w);
	child x = {.n = 0};
	vn_group *g = vn_group_new(h);

	vn_group_spawn(g, ends_slowly, &x);
	vn_stop(h);
	vn_group_free(g);
	ck_assert_int_eq(x.n, 1);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_group_that_nobody_frees_goes_with_the_hub)
{
	world w;
	vn_hub *h = world_open(&w);
	child x = {.n = 0};
	vn_group *g = vn_group_new(h);

	vn_group_spawn(g, ends_slowly, &x);
	vn_yield(h);
	vn_hub_close(h);
	ck_assert_int_eq(x.n, 1);
}
END_TEST

static int
asks_its_deadline(vn_hub *h, void *arg)
{
	child *x = arg;

	x->deadline = vn_deadline(h, VN_NEVER);
	vn_deadline(h, x->deadline);
	x->rc = vn_sleep(h, x->delay);
	return 0;
}

START_TEST(a_child_has_the_deadline_of_who_spawned_it)
{
	world w;
	vn_hub *h = world_open(&w);
	child x = {.delay = 5 * VN_SEC}, y = {.delay = 5 * VN_SEC};
	vn_group *g = vn_group_new(h);
	vn_time at = w.now + VN_SEC;

	vn_deadline(h, at);
	vn_group_spawn(g, asks_its_deadline, &x);
	vn_deadline(h, VN_NEVER);
	vn_group_spawn(g, asks_its_deadline, &y);
	ck_assert_int_eq(vn_group_wait(g), 0);
	ck_assert_int_eq(x.deadline, at);
	ck_assert_int_eq(x.rc, -ETIMEDOUT);
	ck_assert_int_eq(y.deadline, VN_NEVER);
	ck_assert_int_eq(y.rc, 0);
	vn_group_free(g);
	vn_hub_close(h);
}
END_TEST

START_TEST(who_cannot_wait_any_longer_leaves_the_children_alone)
{
	world w;
	vn_hub *h = world_open(&w);
	child x = {.delay = 5 * VN_SEC};
	vn_group *g = vn_group_new(h);
	vn_time outer;

	vn_group_spawn(g, sleeper, &x);
	outer = vn_timeout(h, VN_SEC);
	ck_assert_int_eq(vn_group_wait(g), -ETIMEDOUT);
	vn_deadline(h, outer);
	ck_assert_int_eq(x.n, 0);
	ck_assert_int_eq(vn_group_wait(g), 0);
	ck_assert_int_eq(x.n, 1);
	ck_assert_int_eq(x.rc, 0);
	vn_group_free(g);
	vn_hub_close(h);
}
END_TEST

static int
waits_for_group(vn_hub *h, void *arg)
{
	child *x = arg;

	(void)h;
	x->rc = vn_group_wait(x->group);
	x->n++;
	return 0;
}

START_TEST(several_wait_for_one_group)
{
	world w;
	vn_hub *h = world_open(&w);
	child x = {.delay = VN_SEC, .result = -EIO};
	vn_group *g = vn_group_new(h);
	child a = {.group = g}, b = {.group = g};

	vn_group_spawn(g, sleeper, &x);
	vn_spawn(h, waits_for_group, &a);
	vn_spawn(h, waits_for_group, &b);
	vn_yield(h);
	ck_assert_int_eq(vn_group_wait(g), -EIO);
	vn_group_free(g);
	vn_yield(h);
	ck_assert_int_eq(a.n + b.n, 2);
	ck_assert_int_eq(a.rc, -EIO);
	ck_assert_int_eq(b.rc, -EIO);
	vn_hub_close(h);
}
END_TEST

static int
cancels_its_group(vn_hub *h, void *arg)
{
	child *x = arg;

	vn_group_cancel(x->group);
	x->rc = vn_sleep(h, VN_SEC);
	return -EIO;
}

START_TEST(a_child_can_cancel_its_group)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_group *g = vn_group_new(h);
	child a = {.delay = VN_SEC}, b = {.group = g};

	vn_group_spawn(g, sleeper, &a);
	vn_group_spawn(g, cancels_its_group, &b);
	ck_assert_int_eq(vn_group_wait(g), -EIO);
	ck_assert_int_eq(a.rc, -ECANCELED);
	ck_assert_int_eq(b.rc, -ECANCELED);
	vn_group_free(g);
	vn_hub_close(h);
}
END_TEST

static int
spawns_though_cancelled(vn_hub *h, void *arg)
{
	child *x = arg;
	vn_group *g = vn_group_new(h);

	vn_sleep(h, VN_SEC);
	x->rc = vn_group_spawn(g, sleeper, x);
	vn_group_free(g);
	return 0;
}

START_TEST(who_is_cancelled_spawns_no_children)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_group *g = vn_group_new(h);
	child x = {.rc = 1};

	vn_group_spawn(g, spawns_though_cancelled, &x);
	vn_yield(h);
	vn_group_free(g);
	ck_assert_int_eq(x.rc, -ECANCELED);
	ck_assert_int_eq(x.n, 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_deadlock_inside_of_a_group_is_told_to_all_of_it)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_group *g = vn_group_new(h);
	child a = {.pipe = vn_pipe(h, long)}, b = {.pipe = vn_pipe(h, long)};

	vn_group_spawn(g, receiver, &a);
	vn_group_spawn(g, receiver, &b);
	ck_assert_int_eq(vn_group_wait(g), -EDEADLK);
	ck_assert_int_eq(vn_group_wait(g), -EDEADLK);
	ck_assert_int_eq(a.rc, -EDEADLK);
	ck_assert_int_eq(b.rc, -EDEADLK);
	ck_assert_int_eq(a.n + b.n, 2);
	vn_group_free(g);
	vn_hub_close(h);
}
END_TEST

/* Waits again whatever it is told, until it is cancelled. */
static int
deaf(vn_hub *h, void *arg)
{
	child *x = arg;

	while ((x->rc = vn_wait(h, NULL, 0, VN_NEVER)) != -ECANCELED)
		x->n++;
	return 0;
}

START_TEST(a_group_is_freed_in_spite_of_a_deadlock)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_group *g = vn_group_new(h);
	child x = {.n = 0};

	vn_group_spawn(g, deaf, &x);
	ck_assert_int_eq(vn_group_wait(g), -EDEADLK);
	vn_group_free(g);
	ck_assert_int_eq(x.n, 1);
	ck_assert_int_eq(x.rc, -ECANCELED);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_child_that_works_on_keeps_its_parent_from_a_deadlock)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_group *g = vn_group_new(h);
	child x = {.pipe = vn_pipe(h, long)};

	vn_group_spawn(g, receiver, &x);
	vn_group_spawn(g, sends_five, x.pipe.tx);
	ck_assert_int_eq(vn_group_wait(g), 0);
	ck_assert_int_eq(x.rc, 0);
	vn_group_free(g);
	vn_hub_close(h);
}
END_TEST

START_TEST(timeouts_nest_by_minimum)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_time start = w.now, outer = vn_timeout(h, 2 * VN_SEC), inner;

	ck_assert_int_eq(outer, VN_NEVER);
	inner = vn_timeout(h, 10 * VN_SEC);
	ck_assert_int_eq(inner, start + 2 * VN_SEC);
	ck_assert_int_eq(vn_sleep(h, 5 * VN_SEC), -ETIMEDOUT);
	ck_assert_int_lt(w.now, start + 3 * VN_SEC);
	vn_deadline(h, inner);
	ck_assert_int_eq(vn_sleep(h, VN_MS), -ETIMEDOUT);
	vn_deadline(h, outer);
	ck_assert_int_eq(vn_sleep(h, VN_MS), 0);

	start = w.now;
	outer = vn_timeout(h, 10 * VN_SEC);
	inner = vn_timeout(h, VN_SEC);
	ck_assert_int_eq(vn_sleep(h, 5 * VN_SEC), -ETIMEDOUT);
	ck_assert_int_lt(w.now, start + 2 * VN_SEC);
	vn_deadline(h, inner);
	ck_assert_int_eq(vn_sleep(h, 5 * VN_SEC), 0);
	vn_deadline(h, outer);
	ck_assert_int_eq(vn_timeout(h, INT64_MAX), VN_NEVER);
	ck_assert_int_eq(vn_deadline(h, VN_NEVER), VN_NEVER);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_deadline_however_long_ago_is_no_cancel)
{
	world w;
	vn_hub *h = world_open(&w);

	vn_deadline(h, INT64_MIN);
	ck_assert_int_eq(vn_sleep(h, VN_SEC), -ETIMEDOUT);
	ck_assert_int_eq(vn_yield(h), 0);
	vn_deadline(h, VN_NEVER);
	ck_assert_int_eq(vn_timeout(h, INT64_MIN), VN_NEVER);
	ck_assert_int_eq(vn_sleep(h, VN_SEC), -ETIMEDOUT);
	vn_deadline(h, VN_NEVER);
	ck_assert_int_eq(vn_sleep(h, VN_SEC), 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(no_group_is_fine)
{
	ck_assert_ptr_null(vn_group_free(NULL));
	ck_assert_int_eq(vn_group_wait(NULL), -EBADF);
	ck_assert_int_eq(vn_group_cancel(NULL), -EBADF);
	ck_assert_int_eq(vn_group_spawn(NULL, sleeper, NULL), -EBADF);
}
END_TEST

/* A tree in which each node sleeps, fails or waits for what is below; random, the same in every run. */
typedef struct tree {
	uint64_t random;
	int n_alive, n_made;
} tree;

static int
node(vn_hub *h, void *arg)
{
	tree *t = arg;
	uint64_t dice = suite_random(&t->random);
	vn_group *g = vn_group_new(h);
	int rc;

	t->n_alive++;
	for (unsigned int i = 0; i < dice % 4 && t->n_made < 400; i++, t->n_made++)
		vn_group_spawn(g, node, t);
	rc = vn_sleep(h, (vn_time)(suite_random(&t->random) % 50) * VN_MS);
	if (dice / 4 % 8 == 0)
		rc = vn_group_wait(g);
	if (dice / 32 % 16 == 0)
		rc = -EIO;
	vn_group_free(g);
	t->n_alive--;
	return rc;
}

START_TEST(random_trees_of_groups_are_gone_when_their_root_is_freed)
{
	for (uint64_t seed = 1; seed <= (uint64_t)SUITE_TIMES(200); seed++) {
		world w;
		vn_hub *h = world_open(&w);
		tree t = {.random = seed * UINT64_C(0x9e3779b97f4a7c15)};
		vn_group *g = vn_group_new(h);

		for (int i = 0; i < 5; i++)
			vn_group_spawn(g, node, &t);
		vn_sleep(h, (vn_time)(suite_random(&t.random) % 60) * VN_MS);
		if (seed % 3 == 0)
			vn_stop(h);
		vn_group_free(g);
		suite_assert(t.n_alive == 0);
		suite_assert(h->n_coroutines == 0);
		vn_hub_close(h);
	}
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		wait_returns_when_all_children_are_gone,
		the_first_failure_cancels_the_others_and_is_the_result,
		a_child_that_was_cancelled_has_not_failed,
		a_child_that_nobody_cancelled_can_fail_with_that_error,
		every_wait_after_a_cancel_is_refused,
		a_wait_that_was_decided_stays_decided,
		a_child_that_is_cancelled_before_it_runs_runs_and_finds_its_waits_refused,
		free_waits_until_the_last_child_has_returned,
		free_waits_though_the_time_of_its_caller_is_up,
		groups_that_are_nested_end_from_the_inside,
		a_cancel_that_comes_while_its_caller_frees_is_kept,
		free_waits_though_the_hub_is_stopping,
		a_group_is_freed_after_the_hub_was_stopped,
		a_group_that_nobody_frees_goes_with_the_hub,
		a_child_has_the_deadline_of_who_spawned_it,
		who_cannot_wait_any_longer_leaves_the_children_alone,
		several_wait_for_one_group,
		a_child_can_cancel_its_group,
		who_is_cancelled_spawns_no_children,
		a_deadlock_inside_of_a_group_is_told_to_all_of_it,
		a_group_is_freed_in_spite_of_a_deadlock,
		a_child_that_works_on_keeps_its_parent_from_a_deadlock,
		timeouts_nest_by_minimum,
		a_deadline_however_long_ago_is_no_cancel,
		no_group_is_fine,
		random_trees_of_groups_are_gone_when_their_root_is_freed,
	};

	return suite_run("group", tests, SUITE_COUNT(tests));
}
