/* SPDX-License-Identifier: MIT */
/*
 * Place - programs that are compiled with VN_DEBUG are told what they left open, and where they made it
 */
#define VN_DEBUG
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client/hub/log.h"
#include "tests/unit/coroutines.h"

enum { MANY = 400 };

/* The lines of this file that were named, how often, and as what. */
typedef struct told {
	int n, n_running, n_open, n_listeners;
	int lines[4 * MANY];
} told;

static void
on_line(void *arg, int level, const char *text)
{
	told *t = arg;
	int line;

	suite_assert(level == LOG_WARNING);
	suite_assert(sscanf(text, __FILE__ ":%d: ", &line) == 1);
	t->n_running += strstr(text, "the coroutine made here still runs") != NULL;
	t->n_open += strstr(text, "what was made here is still open") != NULL;
	t->n_listeners += strstr(text, "the listener made here is still open") != NULL;
	suite_assert(t->n < 4 * MANY);
	t->lines[t->n++] = line;
}

static vn_hub *
hub_open(told *t)
{
	vn_hub *h = vn_hub_new();

	memset(t, 0, sizeof *t);
	ck_assert_ptr_nonnull(h);
	vn_log_to(h, on_line, t);
	return h;
}

static int
times(const told *t, int line)
{
	int n = 0;

	for (int i = 0; i < t->n; i++)
		n += t->lines[i] == line;
	return n;
}

static int
waits(vn_hub *h, void *arg)
{
	(void)arg;
	return vn_sleep(h, 60 * VN_SEC);
}

static int
returns(vn_hub *h, void *arg)
{
	(void)h;
	(void)arg;
	return 0;
}

static int
produces(vn_hub *h, vn_tx *tx, void *arg)
{
	(void)tx;
	return waits(h, arg);
}

START_TEST(what_is_open_or_runs_is_told_with_its_line)
{
	told t;
	vn_hub *h = hub_open(&t);
	vn_pair p;
	int first = __LINE__;

	p = vn_pipe(h, int);
	vn_spawn(h, waits, NULL);
	vn_spawn_later(h, 0, waits, NULL);
	p = vn_queue(h, int, 5);
	vn_sleep(h, VN_MS);
	(void)p;
	vn_hub_free(h);
	ck_assert_int_eq(t.n, 4);
	for (int i = 2; i <= 5; i++)
		ck_assert_int_eq(times(&t, first + i), 1);
	ck_assert_int_eq(t.n_open, 2);
	ck_assert_int_eq(t.n_running, 2);
}
END_TEST

START_TEST(what_was_closed_or_has_returned_is_not_told)
{
	told t;
	vn_hub *h = hub_open(&t);
	vn_alarm *a = vn_alarm_new(h, 60 * VN_SEC, waits, NULL);
	vn_group *g = vn_group_new(h);

	for (int i = 0; i < MANY; i++) {
		vn_pair p = vn_pipe(h, int);

		vn_close(p.rx);
		vn_close(p.tx);
		vn_spawn(h, returns, NULL);
		vn_group_spawn(g, returns, NULL);
	}
	vn_yield(h);
	vn_alarm_cancel(a);
	vn_group_free(g);
	vn_hub_free(h);
	ck_assert_int_eq(t.n, 0);
}
END_TEST

START_TEST(an_end_of_which_one_side_is_closed_is_still_open)
{
	told t;
	vn_hub *h = hub_open(&t);
	int line = __LINE__ + 1;
	vn_pair p = vn_pipe(h, int);

	vn_close(p.tx);
	vn_hub_free(h);
	ck_assert_int_eq(t.n, 1);
	ck_assert_int_eq(times(&t, line), 1);
}
END_TEST

START_TEST(every_kind_of_end_is_told)
{
	told t;
	vn_hub *h = hub_open(&t);
	int item = 0, fd = eventfd(0, 0), first = __LINE__;

	vn_pipe(h, int);
	vn_queue(h, int, 1);
	vn_dealer(h, int);
	vn_router(h, int);
	vn_channel(h, int, 3);
	vn_state(h, int);
	vn_value(h, int);
	vn_broadcast(h, int);
	vn_pulse(h, VN_SEC, &item);
	vn_trigger_new(h, returns, NULL);
	vn_serialize(h, returns);
	vn_signals(h, SIGUSR1);
	vn_watch_fd(h, fd, VN_READABLE);
	vn_listen(h, "tcp://127.0.0.1:0", 0);
	vn_producer(h, int, produces, NULL);
	vn_hub_free(h);
	for (int i = 2; i <= 16; i++)
		ck_assert_int_ge(times(&t, first + i), 1);
	ck_assert_int_eq(t.n_listeners, 1);
	ck_assert_int_eq(
		t.n_running, 3); /* of the trigger, the serialized function and the producer */
	ck_assert_int_eq(t.n_open, 14);
	close(fd);
}
END_TEST

START_TEST(the_coroutines_of_a_group_are_where_it_was_made)
{
	told t;
	vn_hub *h = hub_open(&t);
	int line = __LINE__ + 1;
	vn_group *g = vn_group_new(h);

	vn_group_spawn(g, waits, NULL);
	vn_group_spawn(g, waits, NULL);
	vn_group_spawn(g, returns, NULL);
	vn_sleep(h, VN_MS);
	vn_hub_free(h);
	ck_assert_int_eq(times(&t, line), 3);
	ck_assert_int_eq(t.n, 3);
	ck_assert_int_eq(t.n_running, 2);
}
END_TEST

START_TEST(subscribers_are_where_their_broadcast_was_made)
{
	told t;
	vn_hub *h = hub_open(&t);
	int line = __LINE__ + 1;
	vn_tx *b = vn_broadcast(h, int);
	vn_rx *first = vn_subscribe(b);

	ck_assert_ptr_nonnull(vn_subscribe_with(b, VN_DROP_OLDEST, 3));
	vn_close(first);
	vn_hub_free(h);
	ck_assert_int_eq(times(&t, line), 2);
	ck_assert_int_eq(t.n, 2);
}
END_TEST

/* As a library would that was compiled without VN_DEBUG. */
static int
spawn_elsewhere(vn_hub *h)
{
	return (vn_spawn)(h, waits, NULL);
}

START_TEST(a_place_is_for_one_thing_and_does_not_outlive_it)
{
	told t;
	vn_hub *h = hub_open(&t);
	vn_pair p = vn_pipe(h, int);

	spawn_elsewhere(h);
	for (int i = 0; i < 100; i++) {
		vn_spawn(h, returns, NULL);
		vn_yield(h);
		vn_close(p.tx);
		vn_close(p.rx);
		p = vn_pipe_new(h, sizeof(int));
		ck_assert_ptr_nonnull(p.tx);
	}
	for (int i = 0; i < 5; i++) /* in memory of those that had a place */
		spawn_elsewhere(h);
	vn_sleep(h, VN_MS);
	vn_hub_free(h);
	ck_assert_int_eq(t.n, 0);
}
END_TEST

static int
copies(const void *in, void *out, void *arg)
{
	(void)arg;
	memcpy(out, in, sizeof(int));
	return 0;
}

static int
filters(vn_hub *h, vn_rx *upstream, vn_tx *downstream, void *arg)
{
	(void)upstream;
	(void)downstream;
	return waits(h, arg);
}

static int
waits_with_parent(vn_hub *h, vn_pair parent, void *arg)
{
	(void)parent;
	return waits(h, arg);
}

static int
calls(void *arg)
{
	(void)arg;
	return 0;
}

START_TEST(what_is_behind_an_end_or_in_a_thread_is_told)
{
	told t;
	vn_hub *h = hub_open(&t);
	vn_pair p = vn_pipe_new(h, sizeof(int)), q = vn_pipe_new(h, sizeof(int));
	int item = 0, first = __LINE__;

	vn_map(p.rx, int, copies, NULL);
	vn_pipe_through(q.rx, int, filters, NULL);
	vn_thread_spawn(h, int, waits_with_parent, NULL);
	vn_thread_call(h, calls, &item);
	vn_hub_free(h);
	for (int i = 2; i <= 5; i++)
		ck_assert_int_ge(times(&t, first + i), 1);
}
END_TEST

static int
makes_nothing(vn_hub *h, void *arg)
{
	(void)arg;
	ck_assert_ptr_null(vn_queue(h, int, SIZE_MAX).tx);
	return 0;
}

START_TEST(a_place_of_what_was_not_made_is_nobodys)
{
	told t;
	vn_hub *h = hub_open(&t);

	(vn_spawn)(h, makes_nothing, NULL);
	vn_yield(h);
	vn_pipe_new(h, sizeof(int));
	ck_assert_ptr_null(vn_queue(h, int, SIZE_MAX).tx);
	vn_sleep(h, VN_MS);
	vn_pipe_new(h, sizeof(int));
	vn_hub_free(h);
	ck_assert_int_eq(t.n, 0);
}
END_TEST

START_TEST(many_places_are_kept)
{
	told t;
	vn_hub *h = hub_open(&t);
	int line = __LINE__ + 3;

	for (int i = 0; i < MANY; i++) {
		vn_spawn(h, waits, NULL), vn_pipe(h, int), vn_spawn_later(h, 0, waits, NULL);
	}
	vn_sleep(h, VN_MS);
	vn_hub_free(h);
	ck_assert_int_eq(times(&t, line), 3 * MANY);
	ck_assert_int_eq(t.n, 3 * MANY);
	ck_assert_int_eq(t.n_open, MANY);
}
END_TEST

START_TEST(a_hub_that_is_not_there_has_no_place)
{
	ck_assert_ptr_null(VN_HERE(NULL));
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		what_is_open_or_runs_is_told_with_its_line,
		what_was_closed_or_has_returned_is_not_told,
		an_end_of_which_one_side_is_closed_is_still_open,
		every_kind_of_end_is_told,
		the_coroutines_of_a_group_are_where_it_was_made,
		subscribers_are_where_their_broadcast_was_made,
		a_place_is_for_one_thing_and_does_not_outlive_it,
		what_is_behind_an_end_or_in_a_thread_is_told,
		a_place_of_what_was_not_made_is_nobodys,
		many_places_are_kept,
		a_hub_that_is_not_there_has_no_place,
	};

	return suite_run("place", tests, SUITE_COUNT(tests));
}
