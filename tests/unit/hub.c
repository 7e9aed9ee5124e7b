/* SPDX-License-Identifier: MIT */
/*
 * Hub - what a turn does and what it does not, hooks, stopping, and the end
 */
#include "client/hub/hub.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "client/hub/log.h"
#include "client/hub/spin.h"
#include "tests/unit/coroutines.h"

NO_CONNECTIONS

static int
nothing(vn_hub *h, void *arg)
{
	(void)h, (void)arg;
	return 0;
}

START_TEST(with_nobody_ready_one_wait_and_no_poll)
{
	world w;
	vn_hub *h = world_open(&w);

	ck_assert_int_eq(vn_sleep(h, VN_SEC), 0);
	ck_assert_int_eq(w.n_waits, 1);
	ck_assert_int_eq(w.n_polls, 0);
	ck_assert_int_eq(vn_sleep(h, VN_MS), 0);
	ck_assert_int_eq(w.n_waits, 2);
	ck_assert_int_eq(w.n_polls, 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(while_somebody_is_ready_a_poll_each_time_the_budget_is_spent)
{
	world w;
	vn_hub *h = world_open(&w);

	for (int i = 0; i < 10 * (VN_TURN + 1); i++)
		ck_assert_int_eq(vn_yield(h), 0);
	ck_assert_int_ge(w.n_polls, 9);
	ck_assert_int_le(w.n_polls, 11);
	ck_assert_int_eq(w.n_waits, 0);
	vn_hub_close(h);
}
END_TEST

typedef struct pingpong {
	vn_waitq queue;
	bool stop;
	long n;
} pingpong;

static int
pong(vn_hub *h, void *arg)
{
	pingpong *p = arg;

	while (!p->stop) {
		vn_clause c;

		vn_waitq_push(&p->queue, &c);
		if (vn_wait(h, &c, 1, VN_NEVER) < 0)
			return 0;
		p->n++;
	}
	return 0;
}

static int
ping(vn_hub *h, void *arg)
{
	pingpong *p = arg;

	while (!p->stop)
		if (p->queue.first)
			vn_wake_now(p->queue.first, 0);
		else
			vn_yield(h);
	return 0;
}

static void
stop_pingpong(vn_watch *w, uint32_t events)
{
	(void)events;
	((pingpong *)(w + 1))->stop = true;
}

START_TEST(a_pair_that_hands_over_without_end_starves_neither_poller_nor_timers)
{
	world w;
	vn_hub *h = world_open(&w);
	struct {
		vn_watch watch;
		pingpong p;
	} x = {.watch.fd = -1};
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(vn_watch_add(h->poller, &x.watch, fds[0], EPOLLIN, stop_pingpong), 0);
	vn_spawn(h, pong, &x.p);
	vn_spawn(h, ping, &x.p);
	vn_yield(h);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	while (!x.p.stop)
		vn_yield(h);
	ck_assert_int_ge(x.p.n, 2);
	ck_assert_int_le(x.p.n, 3 * VN_TURN);
	vn_watch_remove(h->poller, &x.watch);
	vn_hub_close(h);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* A hook that keeps a journal and does as it is told. */
typedef struct probe {
	vn_hook hook;
	journal *journal;
	const char *name;
	vn_hub *hub;
	vn_waitq queue; /* its turn wakes whoever waits here */
	int n_turns, n_arms;
	int n_busy;    /* so many turns it has more to do */
	int n_objects; /* so many times it objects to sleeping */
} probe;

static bool
probe_turn(vn_hook *k)
{
	probe *p = (probe *)k;

	p->n_turns++;
	suite_assert(!p->hub || !vn_hub_can_wait(p->hub));
	if (p->journal)
		note(p->journal, p->name);
	if (p->queue.first)
		vn_wake(p->queue.first, 0);
	return p->n_busy > 0 && p->n_busy--;
}

static bool
probe_arm(vn_hook *k)
{
	probe *p = (probe *)k;

	p->n_arms++;
	return !(p->n_objects > 0 && p->n_objects--);
}

static probe
probe_make(vn_hub *h)
{
	return (probe){.hook = {.turn = probe_turn, .arm = probe_arm}, .hub = h};
}

START_TEST(hooks_work_at_the_end_of_a_turn_in_the_order_in_which_they_came)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	probe a = probe_make(h), b = probe_make(h);

	a.journal = b.journal = &j;
	a.name = "a", b.name = "b";
	vn_hub_hook(h, &a.hook);
	vn_hub_hook(h, &b.hook);
	vn_yield(h);
	ck_assert_str_eq(j.text, "");
	vn_sleep(h, VN_MS);
	ck_assert_str_eq(j.text, "a b");
	ck_assert_int_eq(a.n_arms, 1);
	vn_hub_unhook(h, &a.hook);
	vn_hub_unhook(h, &a.hook);
	vn_sleep(h, VN_MS);
	ck_assert_str_eq(j.text, "a b b");
	vn_hub_unhook(h, &b.hook);
	vn_sleep(h, VN_MS);
	ck_assert_str_eq(j.text, "a b b");
	vn_hub_close(h);
}
END_TEST

static int
await_hook(vn_hub *h, probe *p)
{
	vn_clause c;

	vn_waitq_push(&p->queue, &c);
	return vn_wait(h, &c, 1, VN_NEVER);
}

START_TEST(what_a_hook_makes_ready_runs_without_a_poll)
{
	world w;
	vn_hub *h = world_open(&w);
	probe p = probe_make(h);
	int looks;

	vn_hub_hold(h);
	vn_hub_hook(h, &p.hook);
	looks = w.n_looks;
	ck_assert_int_eq(await_hook(h, &p), 0);
	ck_assert_int_eq(w.n_polls + w.n_waits, 0);
	ck_assert_int_eq(w.n_looks - looks, 1);
	ck_assert_int_eq(p.n_arms, 0);
	for (int i = 0; i < 4 * VN_TURN; i++)
		ck_assert_int_eq(await_hook(h, &p), 0);
	ck_assert_int_ge(w.n_polls, 3); /* however busy the hook is */
	ck_assert_int_eq(w.n_waits, 0);
	vn_hub_unhook(h, &p.hook);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_busy_hook_keeps_the_hub_from_sleeping_and_not_from_polling)
{
	world w;
	vn_hub *h = world_open(&w);
	probe p = probe_make(h);

	p.n_busy = 5;
	vn_hub_hook(h, &p.hook);
	vn_sleep(h, VN_SEC);
	ck_assert_int_eq(w.n_polls, 5);
	ck_assert_int_eq(w.n_waits, 1);
	ck_assert_int_eq(p.n_turns, 6);
	ck_assert_int_eq(p.n_arms, 1);
	vn_hub_unhook(h, &p.hook);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_hook_that_objects_to_sleeping_is_asked_again)
{
	world w;
	vn_hub *h = world_open(&w);
	probe p = probe_make(h);

	p.n_objects = 2;
	vn_hub_hook(h, &p.hook);
	vn_sleep(h, VN_SEC);
	ck_assert_int_eq(w.n_polls, 0); /* it has news: the hooks look, not the poller */
	ck_assert_int_eq(w.n_waits, 1);
	ck_assert_int_eq(p.n_arms, 3);
	ck_assert_int_eq(p.n_turns, 3);
	vn_hub_unhook(h, &p.hook);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_hook_that_always_objects_does_not_keep_the_poller_from_its_turn)
{
	world w;
	vn_hub *h = world_open(&w);
	probe p = probe_make(h);

	p.n_objects = 64;
	vn_hub_hook(h, &p.hook);
	vn_sleep(h, VN_SEC);
	ck_assert_int_ge(w.n_polls, 6);
	ck_assert_int_le(w.n_polls, 10);
	ck_assert_int_eq(w.n_waits, 1);
	vn_hub_unhook(h, &p.hook);
	vn_hub_close(h);
}
END_TEST

static int
pause_and_yield(vn_hub *h, void *arg)
{
	journal *j = arg;

	note(j, "pauses");
	vn_hub_pause(h);
	vn_hub_pause(h);
	note(j, "still");
	vn_yield(h);
	note(j, "again");
	return 0;
}

static int
note_next(vn_hub *h, void *arg)
{
	(void)h;
	note(arg, "next");
	return 0;
}

START_TEST(a_pause_lets_the_hooks_work_before_anybody_else_and_does_not_poll)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	probe p = probe_make(h);
	int looks, budget;

	p.journal = &j;
	p.name = "hook";
	vn_hub_hook(h, &p.hook);
	vn_spawn(h, pause_and_yield, &j);
	vn_spawn(h, note_next, &j);
	looks = w.n_looks;
	budget = h->budget;
	vn_yield(h);
	vn_yield(h);
	ck_assert_str_eq(j.text, "pauses still hook next again");
	ck_assert_int_eq(w.n_polls + w.n_waits, 0);
	ck_assert_int_eq(w.n_looks, looks);
	ck_assert_int_ge(h->budget, budget - 8);
	ck_assert_int_lt(h->budget, budget);
	vn_hub_unhook(h, &p.hook);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_pause_when_nobody_else_is_ready_is_a_turn)
{
	world w;
	vn_hub *h = world_open(&w);
	probe p = probe_make(h);

	vn_hub_hook(h, &p.hook);
	vn_hub_pause(h);
	ck_assert_int_eq(vn_sleep(h, VN_MS), 0);
	ck_assert_int_eq(p.n_turns, 1);
	ck_assert_int_eq(w.n_waits, 1);
	ck_assert_int_eq(w.n_polls, 0);
	vn_hub_unhook(h, &p.hook);
	vn_hub_close(h);
}
END_TEST

START_TEST(the_time_of_a_turn_stands_still_within_it)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_time start = vn_now(h);

	w.now += VN_SEC;
	vn_yield(h);
	ck_assert_int_eq(vn_now(h), start);
	vn_sleep(h, VN_MS);
	ck_assert_int_ge(vn_now(h), start + VN_SEC + VN_MS);
	vn_hub_close(h);
}
END_TEST

static int
count_and_note_time(vn_hub *h, void *arg)
{
	vn_time *at = arg;

	*at = vn_now(h);
	return 0;
}

START_TEST(what_is_spawned_later_runs_then)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_time start = w.now, ran[3] = {0};

	ck_assert_int_eq(vn_spawn_later(h, 3 * VN_SEC, count_and_note_time, &ran[0]), 0);
	ck_assert_int_eq(vn_spawn_later(h, VN_SEC, count_and_note_time, &ran[1]), 0);
	ck_assert_int_eq(vn_spawn_later(h, 0, count_and_note_time, &ran[2]), 0);
	ck_assert_int_eq(ran[2], 0);
	ck_assert_int_eq(vn_sleep(h, 5 * VN_SEC), 0);
	ck_assert_int_ge(ran[0], start + 3 * VN_SEC);
	ck_assert_int_ge(ran[1], start + VN_SEC);
	ck_assert_int_lt(ran[1], start + 2 * VN_SEC);
	ck_assert_int_lt(ran[2], start + VN_SEC);
	ck_assert_int_ne(ran[2], 0);
	ck_assert(vn_wheel_empty(h->wheel));
	vn_hub_close(h);
}
END_TEST

typedef struct waiter {
	journal *journal;
	const char *name;
} waiter;

static int
wait_twice(vn_hub *h, void *arg)
{
	waiter *x = arg;

	note_rc(x->journal, x->name, vn_wait(h, NULL, 0, VN_NEVER));
	note_rc(x->journal, x->name, vn_sleep(h, VN_SEC));
	return 0;
}

START_TEST(stop_ends_every_wait_present_and_future_and_forgets_what_was_for_later)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	waiter a = {&j, "a"}, b = {&j, "b"};
	vn_time ran = 0;

	vn_spawn(h, wait_twice, &a);
	vn_spawn(h, wait_twice, &b);
	vn_spawn_later(h, VN_MS, count_and_note_time, &ran);
	vn_yield(h);
	vn_stop(h);
	vn_stop(h);
	ck_assert(vn_wheel_empty(h->wheel));
	ck_assert_int_eq(vn_sleep(h, VN_SEC), -ECANCELED);
	ck_assert_int_eq(vn_wait(h, NULL, 0, VN_NEVER), -ECANCELED);
	ck_assert_int_eq(vn_yield(h), -ECANCELED);
	ck_assert_int_eq(vn_spawn(h, nothing, NULL), -ECANCELED);
	ck_assert_int_eq(vn_spawn_later(h, VN_MS, nothing, NULL), -ECANCELED);
	vn_stop(h);
	vn_hub_close(h);
	ck_assert_int_eq(ran, 0);
	ck_assert_int_eq(w.n_waits, 0);
	ck_assert(strstr(j.text, "a:ECANCELED") < strstr(j.text, "b:ECANCELED") ||
		  strstr(j.text, "b:ECANCELED"));
	ck_assert_uint_eq(strlen(j.text), 4 * strlen("a:ECANCELED") + 3);
}
END_TEST

static int
linger(vn_hub *h, void *arg)
{
	while (vn_sleep(h, VN_SEC) == 0)
		;
	for (int i = 0; i < 1000; i++)
		vn_yield(h);
	++*(int *)arg;
	return 0;
}

START_TEST(close_waits_until_all_coroutines_are_gone)
{
	world w;
	vn_hub *h = world_open(&w);
	int n_gone = 0;

	for (int i = 0; i < 10; i++)
		vn_spawn(h, linger, &n_gone);
	vn_hub_close(h);
	ck_assert_int_eq(n_gone, 10);
	ck_assert_ptr_null(vn_hub_close(NULL));
}
END_TEST

static int
stubborn(vn_hub *h, void *arg)
{
	while (!*(bool *)arg)
		vn_wait(h, NULL, 0, VN_NEVER);
	return 0;
}

static void
on_line(void *arg, int level, const char *text)
{
	suite_assert(level == LOG_WARNING);
	suite_assert(strncmp(text, "coroutine 1 still waits", 23) == 0);
	*(bool *)arg = true;
}

START_TEST(one_that_takes_no_notice_of_a_stop_does_so_in_the_log)
{
	world w;
	vn_hub *h = world_open(&w);
	bool said = false;

	vn_log_to(h, on_line, &said);
	vn_spawn(h, stubborn, &said);
	vn_yield(h);
	vn_hub_close(h);
	ck_assert(said);
}
END_TEST

typedef struct keepsake {
	vn_owned owned;
	int *n_freed;
} keepsake;

static void
keepsake_free(vn_owned *o)
{
	++*((keepsake *)o)->n_freed;
}

START_TEST(close_frees_what_the_hub_owns)
{
	world w;
	vn_hub *h = world_open(&w);
	int n_freed = 0;
	keepsake k[3] = {{.n_freed = &n_freed}, {.n_freed = &n_freed}, {.n_freed = &n_freed}};

	for (int i = 0; i < 3; i++)
		vn_hub_own(h, &k[i].owned, keepsake_free);
	vn_hub_disown(&k[1].owned);
	vn_hub_close(h);
	ck_assert_int_eq(n_freed, 2);
}
END_TEST

START_TEST(a_hub_leaves_no_descriptor_and_no_memory_behind)
{
	world w;
	int fds = suite_n_fds();
	long before = 0;

	for (int i = 0; i < 200; i++) {
		vn_hub *h = world_open(&w);
		vn_pair p = vn_pipe(h, int);

		vn_close(p.tx);
		vn_spawn(h, nothing, NULL);
		vn_sleep(h, VN_MS);
		vn_hub_close(h);
		if (i == 100)
			before = resident_pages();
	}
	ck_assert_int_eq(suite_n_fds(), fds);
	if (!MEMORY_IS_WATCHED)
		ck_assert_int_le(resident_pages() - before, 20);
}
END_TEST

START_TEST(without_descriptors_there_is_no_hub_and_errno_says_why)
{
	struct rlimit before, none;

	getrlimit(RLIMIT_NOFILE, &before);
	none = (struct rlimit){0, before.rlim_max};
	setrlimit(RLIMIT_NOFILE, &none);
	errno = 0;
	ck_assert_ptr_null(vn_hub_open(&vn_sys_linux));
	ck_assert_int_eq(errno, EMFILE);
	setrlimit(RLIMIT_NOFILE, &before); /* for the sanitizers at the end */
}
END_TEST

START_TEST(the_pipe_signal_is_ignored_unless_somebody_decided)
{
	world w;
	struct sigaction action;
	int fds[2];

	vn_hub_close(world_open(&w));
	sigaction(SIGPIPE, NULL, &action);
	ck_assert(action.sa_handler == SIG_IGN);
	ck_assert_int_eq(pipe(fds), 0);
	close(fds[0]);
	ck_assert_int_lt(write(fds[1], "x", 1), 0);
	close(fds[1]);
	signal(SIGPIPE, exit);
	vn_hub_close(world_open(&w));
	sigaction(SIGPIPE, NULL, &action);
	ck_assert(action.sa_handler == exit);
}
END_TEST

static void
keep_line(void *arg, int level, const char *text)
{
	snprintf(arg, 2048, "%d %s", level, text);
}

START_TEST(log_lines_go_to_the_callback_or_to_standard_error)
{
	world w;
	vn_hub *h = world_open(&w);
	char text[2048], longest[3000];
	int fds[2], before = dup(STDERR_FILENO);
	ssize_t n;

	vn_log_to(h, keep_line, text);
	vn_log(h, LOG_ERR, "%s: %d", "what", 7);
	ck_assert_str_eq(text, "3 what: 7");
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	vn_log(h, LOG_INFO, "%s", longest);
	ck_assert_uint_ge(strlen(text), 1000);
	ck_assert_uint_le(strlen(text), 1026);
	vn_log_to(h, NULL, NULL);
	ck_assert_int_eq(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	errno = EXDEV;
	vn_log(h, LOG_ERR, "one line");
	ck_assert_int_eq(errno, EXDEV);
	n = read(fds[0], text, sizeof text);
	vn_log(h, LOG_ERR, "%s", longest);
	ck_assert_int_eq(n, 18);
	ck_assert_int_eq(memcmp(text, "vanilla: one line\n", 18), 0);
	n = read(fds[0], text, sizeof text);
	ck_assert_int_gt(n, 1000);
	ck_assert_int_eq(text[n - 1], '\n');
	dup2(before, STDERR_FILENO);
	vn_hub_close(h);
}
END_TEST

START_TEST(every_result_has_words)
{
	ck_assert_str_eq(vn_strerror(-EPIPE), "closed by the other end");
	ck_assert_str_eq(vn_strerror(-EADDRINUSE), "Address already in use");
	ck_assert_str_eq(
		vn_strerror(-ENOBUFS), "too slow: it was disconnected when it had no room left");
	ck_assert_str_eq(vn_strerror(-EALREADY), "it has happened already");
	ck_assert_str_eq(vn_strerror(-EEXIST), "it is watched already");
	ck_assert_str_eq(vn_strerror(-EPERM), "not allowed here, or for such a file");
	ck_assert_str_eq(vn_strerror(0), "success");
	ck_assert_str_eq(vn_strerror(12), "success");
	ck_assert_str_eq(vn_strerror(-4000), "unknown error");
	ck_assert_str_eq(vn_strerror(INT32_MIN), "unknown error");
	for (int rc = -200; rc <= 0; rc++)
		ck_assert_uint_gt(strlen(vn_strerror(rc)), 0);
}
END_TEST

static int
sleep_a_little(vn_hub *h, void *arg)
{
	for (int i = 0; i < 20; i++) {
		suite_assert(vn_sleep(h, VN_MS / 4) == 0);
		++*(int *)arg;
	}
	return 0;
}

static void *
thread_with_a_hub(void *arg)
{
	vn_hub *h = vn_hub_open(&vn_sys_linux);

	(void)arg;
	for (int round = 0; round < 5; round++) {
		int n = 0;

		for (int i = 0; i < 20; i++)
			suite_assert(vn_spawn(h, sleep_a_little, &n) == 0);
		while (n < 400)
			suite_assert(vn_sleep(h, VN_MS) == 0);
	}
	vn_hub_close(h);
	return NULL;
}

START_TEST(each_thread_can_have_a_hub)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, thread_with_a_hub, NULL), 0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}
END_TEST

START_TEST(spinning_is_for_those_with_processors_to_spare)
{
	vn_spin s;
	world w;
	vn_hub *h = world_open(&w);

	ck_assert(vn_spin_processors() > 0);
	vn_spin_init(&s, 2);
	vn_spin_learn(&s, 1);
	ck_assert_int_eq(s.budget, 0);
	vn_spin_init(&s, 1.5);
	ck_assert_int_eq(s.limit, 0);
	vn_spin_init(&s, 8);
	ck_assert_int_eq(s.budget, 0);
	ck_assert(!vn_spin_run(&s, h));
	vn_hub_close(h);
}
END_TEST

static int64_t
world_ticks(const vn_sys *sys)
{
	world *w = sys->world;

	return w->now += 100;
}

START_TEST(the_spin_budget_grows_with_prompt_messages_and_shrinks_when_it_is_in_vain)
{
	vn_spin s;
	world w;
	vn_hub *h = world_open(&w);
	probe p = probe_make(NULL);
	vn_time before;

	vn_spin_init(&s, 8);
	for (int i = 0; i < 10; i++)
		vn_spin_learn(&s, 5 * VN_US);
	ck_assert_int_eq(s.budget, 20 * VN_US);
	vn_spin_learn(&s, VN_SEC);
	ck_assert_int_eq(s.budget, 20 * VN_US);
	w.sys.now = world_ticks;
	p.n_busy = 1;
	vn_hub_hook(h, &p.hook);
	ck_assert(vn_spin_run(&s, h));
	ck_assert_int_eq(p.n_turns, 1);
	before = w.now;
	ck_assert(!vn_spin_run(&s, h));
	ck_assert_int_ge(w.now - before, 20 * VN_US);
	ck_assert_int_le(w.now - before, 21 * VN_US);
	ck_assert_int_gt(p.n_turns, 100);
	ck_assert_int_le(s.budget, 10 * VN_US);
	for (int i = 0; i < 10; i++)
		vn_spin_run(&s, h);
	ck_assert_int_eq(s.budget, 0);
	vn_hub_unhook(h, &p.hook);
	vn_hub_close(h);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		with_nobody_ready_one_wait_and_no_poll,
		while_somebody_is_ready_a_poll_each_time_the_budget_is_spent,
		a_pair_that_hands_over_without_end_starves_neither_poller_nor_timers,
		hooks_work_at_the_end_of_a_turn_in_the_order_in_which_they_came,
		what_a_hook_makes_ready_runs_without_a_poll,
		a_busy_hook_keeps_the_hub_from_sleeping_and_not_from_polling,
		a_hook_that_objects_to_sleeping_is_asked_again,
		a_hook_that_always_objects_does_not_keep_the_poller_from_its_turn,
		a_pause_lets_the_hooks_work_before_anybody_else_and_does_not_poll,
		a_pause_when_nobody_else_is_ready_is_a_turn,
		the_time_of_a_turn_stands_still_within_it,
		what_is_spawned_later_runs_then,
		stop_ends_every_wait_present_and_future_and_forgets_what_was_for_later,
		close_waits_until_all_coroutines_are_gone,
		one_that_takes_no_notice_of_a_stop_does_so_in_the_log,
		close_frees_what_the_hub_owns,
		a_hub_leaves_no_descriptor_and_no_memory_behind,
		without_descriptors_there_is_no_hub_and_errno_says_why,
		the_pipe_signal_is_ignored_unless_somebody_decided,
		log_lines_go_to_the_callback_or_to_standard_error,
		every_result_has_words,
		each_thread_can_have_a_hub,
		spinning_is_for_those_with_processors_to_spare,
		the_spin_budget_grows_with_prompt_messages_and_shrinks_when_it_is_in_vain,
	};

	return suite_run("hub", tests, SUITE_COUNT(tests));
}
