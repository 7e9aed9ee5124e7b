/* SPDX-License-Identifier: MIT */
/*
 * Coroutine - who runs when, what ends a wait, and what a stack is good for
 *
 * Tests whose name begins with fcontext_ or kernel_ show no code of ours: they pin what the design relies on.
 */
#include "client/hub/coroutine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/coroutines.h"

NO_CONNECTIONS

static vn_transfer seen_first;

static void
fcontext_body(vn_transfer t)
{
	seen_first = t;
	t = jump_fcontext(t.context, (void *)1);
	jump_fcontext(t.context, (char *)t.data + 1);
	abort();
}

START_TEST(fcontext_hands_context_and_data_over_in_registers)
{
	static char stack[65536] __attribute__((aligned(16)));
	vn_context c = make_fcontext(stack + sizeof stack, sizeof stack, fcontext_body);
	vn_transfer t;

	if (SUITE_SANITIZED) /* which must be told of each switch */
		return;
	t = jump_fcontext(c, (void *)7);
	ck_assert_ptr_eq(seen_first.data, (void *)7);
	ck_assert_ptr_nonnull(seen_first.context);
	ck_assert_ptr_eq(t.data, (void *)1);
	t = jump_fcontext(t.context, (void *)41);
	ck_assert_ptr_eq(t.data, (void *)42);
}
END_TEST

/* Returning from the entry ends the process with 0 and without a word: a coroutine must never do it. */
static void
fcontext_returns(vn_transfer t)
{
	(void)t;
}

START_TEST(fcontext_whose_entry_returns_ends_the_process_silently)
{
	int status;
	pid_t child;

	if (SUITE_SANITIZED)
		return;
	child = fork();
	if (child == 0) {
		char *stack = malloc(65536);

		jump_fcontext(make_fcontext(stack + 65536, 65536, fcontext_returns), NULL);
		_exit(3);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
END_TEST

typedef struct runner {
	journal *journal;
	const char *name;
	int n;
} runner;

static int
run_and_yield(vn_hub *h, void *arg)
{
	runner *r = arg;

	for (int i = 0; i < r->n; i++) {
		note(r->journal, r->name);
		vn_yield(h);
	}
	return 0;
}

START_TEST(spawned_ones_run_in_order_and_after_those_that_are_ready)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	runner a = {&j, "a", 2}, b = {&j, "b", 1}, c = {&j, "c", 3};

	ck_assert_int_eq(vn_spawn(h, run_and_yield, &a), 0);
	ck_assert_int_eq(vn_spawn(h, run_and_yield, &b), 0);
	note(&j, "main");
	ck_assert_int_eq(vn_yield(h), 0);
	note(&j, "main");
	ck_assert_int_eq(vn_spawn(h, run_and_yield, &c), 0);
	for (int i = 0; i < 5; i++)
		vn_yield(h);
	ck_assert_str_eq(j.text, "main a b main a c c c");
	ck_assert_ptr_null(vn_hub_close(h));
}
END_TEST

START_TEST(yield_alone_returns_at_once_and_costs_no_system_call)
{
	world w;
	vn_hub *h = world_open(&w);

	for (int i = 0; i < VN_TURN - 1; i++)
		ck_assert_int_eq(vn_yield(h), 0);
	ck_assert_int_eq(w.n_polls + w.n_waits, 0);
	vn_hub_close(h);
}
END_TEST

static int
keep_numbers(vn_hub *h, void *arg)
{
	long base = (long)arg;
	double f = (double)base / 3;
	long a = base + 1, b = base + 2, c = base + 3, d = base + 4;

	for (int i = 0; i < 100; i++) {
		vn_yield(h);
		a += 1, b += 2, c += 3, d += 4, f += 0.5;
	}
	suite_assert(a == base + 101 && b == base + 202 && c == base + 303 && d == base + 404);
	suite_assert(f == (double)base / 3 + 50);
	return 0;
}

START_TEST(registers_survive_switches)
{
	world w;
	vn_hub *h = world_open(&w);

	for (long i = 0; i < 50; i++)
		vn_spawn(h, keep_numbers, (void *)(i * 1000));
	while (h->n_coroutines)
		vn_yield(h);
	vn_hub_close(h);
}
END_TEST

static int
set_errno(vn_hub *h, void *arg)
{
	(void)h, (void)arg;
	errno = EXDEV;
	return 0;
}

START_TEST(errno_belongs_to_the_thread_and_not_to_the_coroutine)
{
	world w;
	vn_hub *h = world_open(&w);

	vn_spawn(h, set_errno, NULL);
	errno = 0;
	vn_yield(h);
	ck_assert_int_eq(errno, EXDEV);
	vn_hub_close(h);
}
END_TEST

/* One thing that can be waited for, and what its waiter found. */
typedef struct thing {
	vn_waitq queue;
	journal journal;
	vn_time until;
	int n_found;
} thing;

static int
await(vn_hub *h, void *arg)
{
	thing *t = arg;
	vn_clause c = {0};
	int rc;

	vn_waitq_push(&t->queue, &c);
	rc = vn_wait(h, &c, 1, t->until);
	suite_assert(c.queue == NULL);
	note_rc(&t->journal, "wait", rc);
	if (rc >= 0)
		note_rc(&t->journal, "result", c.result);
	t->n_found++;
	return 0;
}

static thing
thing_make(vn_time until)
{
	return (thing){.until = until};
}

START_TEST(waiters_are_woken_in_the_order_in_which_they_came)
{
	world w;
	vn_hub *h = world_open(&w);
	thing t = thing_make(VN_NEVER);
	vn_clause *second;

	for (int i = 0; i < 3; i++)
		vn_spawn(h, await, &t);
	vn_yield(h);
	second = t.queue.first->next;
	vn_wake(t.queue.first, -EXDEV);
	ck_assert_ptr_eq(t.queue.first, second);
	vn_wake(t.queue.last, -ENOENT);
	ck_assert_ptr_eq(t.queue.last, second);
	vn_wake(second, 0);
	ck_assert_ptr_null(t.queue.first);
	ck_assert_ptr_null(t.queue.last);
	vn_yield(h);
	ck_assert_str_eq(
		t.journal.text, "wait:0 result:EXDEV wait:0 result:ENOENT wait:0 result:0");
	vn_hub_close(h);
}
END_TEST

START_TEST(wake_now_runs_the_waiter_before_anybody_else)
{
	world w;
	vn_hub *h = world_open(&w);
	thing t = thing_make(VN_NEVER);
	runner r = {&t.journal, "other", 1};
	int budget;

	vn_spawn(h, await, &t);
	vn_yield(h);
	vn_spawn(h, run_and_yield, &r);
	budget = h->budget;
	vn_wake_now(t.queue.first, 0);
	note(&t.journal, "main");
	ck_assert_str_eq(t.journal.text, "wait:0 result:0 other main");
	ck_assert_int_eq(h->budget, budget - 3); /* to the waiter, to the other, to main */
	vn_hub_close(h);
}
END_TEST

START_TEST(wake_now_with_the_budget_spent_lets_the_loop_turn_and_keeps_the_order)
{
	world w;
	vn_hub *h = world_open(&w);
	thing t = thing_make(VN_NEVER);
	runner r = {&t.journal, "other", 1};

	vn_spawn(h, await, &t);
	vn_yield(h);
	vn_spawn(h, run_and_yield, &r);
	h->budget = 0;
	vn_wake_now(t.queue.first, 0);
	note(&t.journal, "main");
	ck_assert_str_eq(t.journal.text, "wait:0 result:0 other main");
	ck_assert_int_eq(w.n_polls, 1);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_decided_wait_stands_when_its_deadline_passes_before_it_runs)
{
	world w;
	vn_hub *h = world_open(&w);
	thing t = thing_make(h->now + VN_MS);

	vn_spawn(h, await, &t);
	vn_yield(h);
	vn_wake(t.queue.first, 0);
	w.now += VN_SEC;
	vn_wheel_advance(h->wheel, w.now);
	ck_assert(vn_wheel_empty(h->wheel));
	vn_yield(h);
	ck_assert_str_eq(t.journal.text, "wait:0 result:0");
	vn_hub_close(h);
}
END_TEST

START_TEST(a_decided_wait_stands_when_the_hub_is_stopped_before_it_runs)
{
	world w;
	vn_hub *h = world_open(&w);
	thing t = thing_make(VN_NEVER);

	vn_spawn(h, await, &t);
	vn_yield(h);
	vn_wake(t.queue.first, 0);
	vn_stop(h);
	vn_yield(h);
	ck_assert_str_eq(t.journal.text, "wait:0 result:0");
	vn_hub_close(h);
}
END_TEST

START_TEST(a_wait_that_timed_out_is_in_no_queue_and_a_cancel_does_not_change_it)
{
	world w;
	vn_hub *h = world_open(&w);
	thing t = thing_make(h->now + VN_MS);

	vn_spawn(h, await, &t);
	vn_yield(h);
	w.now += VN_SEC;
	vn_wheel_advance(h->wheel, w.now);
	ck_assert_ptr_null(t.queue.first);
	vn_stop(h);
	vn_yield(h);
	ck_assert_str_eq(t.journal.text, "wait:ETIMEDOUT");
	vn_hub_close(h);
}
END_TEST

typedef struct three {
	vn_waitq q[3];
	int decided, result;
} three;

static int
await_three(vn_hub *h, void *arg)
{
	three *t = arg;
	vn_clause c[3];

	for (int i = 0; i < 3; i++)
		vn_waitq_push(&t->q[i], &c[i]);
	t->decided = vn_wait(h, c, 3, h->now + VN_SEC);
	t->result = c[t->decided].result;
	return 0;
}

START_TEST(the_first_of_several_clauses_decides_and_all_are_out)
{
	world w;
	vn_hub *h = world_open(&w);
	three t = {.decided = -1};

	for (int k = 0; k < 3; k++) {
		vn_spawn(h, await_three, &t);
		vn_yield(h);
		vn_wake(t.q[k].first, -EXDEV);
		for (int i = 0; i < 3; i++)
			ck_assert_ptr_null(t.q[i].first);
		ck_assert(vn_wheel_empty(h->wheel));
		vn_yield(h);
		ck_assert_int_eq(t.decided, k);
		ck_assert_int_eq(t.result, -EXDEV);
	}
	vn_hub_close(h);
}
END_TEST

START_TEST(a_deadline_ends_waits_of_its_coroutine_alone)
{
	world w;
	vn_hub *h = world_open(&w);
	thing t = thing_make(VN_NEVER);
	vn_time start = w.now, at = start + 5 * VN_MS;

	vn_spawn(h, await, &t);
	ck_assert_int_eq(vn_deadline(h, at), VN_NEVER);
	ck_assert_int_eq(vn_wait(h, NULL, 0, VN_NEVER), -ETIMEDOUT);
	ck_assert_int_ge(w.now, at);
	ck_assert_int_lt(w.now, at + VN_MS);
	ck_assert_int_eq(t.n_found, 0);
	ck_assert_int_eq(vn_deadline(h, VN_NEVER), at);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_deadline_that_has_passed_refuses_a_wait_and_lets_the_others_run)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	runner r = {&j, "other", 1};
	vn_waitq q = {0};
	vn_clause c = {0};

	vn_spawn(h, run_and_yield, &r);
	vn_deadline(h, h->now);
	vn_waitq_push(&q, &c);
	ck_assert_int_eq(vn_wait(h, &c, 1, VN_NEVER), -ETIMEDOUT);
	ck_assert_ptr_null(q.first);
	ck_assert_str_eq(j.text, "other");
	ck_assert_int_eq(vn_yield(h), 0);
	ck_assert_int_eq(w.n_polls + w.n_waits, 0);
	vn_hub_close(h);
}
END_TEST

static int
ask_deadline(vn_hub *h, void *arg)
{
	*(vn_time *)arg = vn_deadline(h, VN_NEVER);
	return 0;
}

START_TEST(a_deadline_is_not_inherited)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_time theirs = 0;

	vn_deadline(h, 77 * VN_SEC);
	vn_spawn(h, ask_deadline, &theirs);
	vn_yield(h);
	ck_assert_int_eq(theirs, VN_NEVER);
	vn_hub_close(h);
}
END_TEST

static int
sleep_and_note(vn_hub *h, void *arg)
{
	runner *r = arg;
	vn_time start = h->sys->now(h->sys);

	note_rc(r->journal, r->name, vn_sleep(h, r->n * VN_MS));
	suite_assert(h->sys->now(h->sys) >= start + r->n * VN_MS);
	return 0;
}

START_TEST(sleepers_wake_in_the_order_of_their_instants)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	runner a = {&j, "30", 30}, b = {&j, "10", 10}, c = {&j, "20", 20}, d = {&j, "10b", 10};

	vn_spawn(h, sleep_and_note, &a);
	vn_spawn(h, sleep_and_note, &b);
	vn_spawn(h, sleep_and_note, &c);
	vn_spawn(h, sleep_and_note, &d);
	ck_assert_int_eq(vn_sleep(h, VN_SEC), 0);
	ck_assert_str_eq(j.text, "10:0 10b:0 20:0 30:0");
	ck_assert_int_le(w.n_waits, 4);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_sleep_counts_from_the_clock_and_not_from_the_turn)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_time start;

	w.now += 10 * VN_SEC; /* a long run */
	start = w.now;
	ck_assert_int_eq(vn_sleep(h, VN_SEC), 0);
	ck_assert_int_ge(w.now, start + VN_SEC);
	ck_assert_int_eq(vn_now(h), w.now);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_sleep_ends_at_the_deadline_if_that_comes_first)
{
	world w;
	vn_hub *h = world_open(&w);

	vn_deadline(h, w.now + VN_SEC);
	ck_assert_int_eq(vn_sleep(h, VN_MS), 0);
	ck_assert_int_eq(vn_sleep(h, 2 * VN_SEC), -ETIMEDOUT);
	ck_assert_int_eq(vn_sleep(h, 0), 0);
	vn_deadline(h, VN_NEVER);
	ck_assert_int_eq(vn_sleep(h, VN_MS), 0);
	vn_hub_close(h);
}
END_TEST

/* Each level looks at the frame of the one above, so that no compiler makes a loop of it. */
static __attribute__((noinline)) int
deep(int levels, const char *above)
{
	char frame[1000];

	memset(frame, above[0], sizeof frame);
	__asm__("" : : "r"(frame) : "memory");
	return (levels == 0 ? 0 : deep(levels - 1, frame)) + frame[999] - above[0];
}

static int
go_deep(vn_hub *h, void *arg)
{
	(void)h;
	*(int *)arg = deep(SUITE_SANITIZED ? 10 : 55, "seven");
	return 0;
}

START_TEST(a_stack_has_room_for_sixty_kilobytes)
{
	world w;
	vn_hub *h = world_open(&w);
	int result = -1;

	vn_spawn(h, go_deep, &result);
	vn_yield(h);
	ck_assert_int_eq(result, 0);
	vn_hub_close(h);
}
END_TEST

static __attribute__((noinline)) int
three_calls_deep(vn_hub *h, char *buffer, int level)
{
	int rc =
		level == 0 ? vn_wait(h, NULL, 0, VN_NEVER) : three_calls_deep(h, buffer, level - 1);

	return rc + buffer[0];
}

static int
park_with_a_buffer(vn_hub *h, void *arg)
{
	char buffer[2048];

	(void)arg;
	memset(buffer, 0, sizeof buffer);
	return three_calls_deep(h, buffer, 3);
}

/* Frames are larger under a sanitizer; what is shown here is a matter of the plain build. */
START_TEST(a_parked_handler_with_a_buffer_of_2_kib_takes_one_page)
{
	enum { PARKED = 2000 };
	world w;
	vn_hub *h = world_open(&w);
	long before = 0;

	if (MEMORY_IS_WATCHED)
		return;
	vn_hub_hold(h);
	for (int i = 0; i < PARKED; i++) {
		if (i == PARKED / 2)
			before = resident_pages();
		suite_assert(vn_spawn(h, park_with_a_buffer, NULL) == 0);
		vn_yield(h);
	}
	ck_assert_int_le(resident_pages() - before, PARKED / 2 + PARKED / 2 / 20);
	ck_assert_uint_eq(h->n_coroutines, PARKED);
	vn_hub_unhold(h);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_burst_of_coroutines_gives_its_memory_back)
{
	enum { BURST = SUITE_TIMES(10000) };
	world w;
	vn_hub *h = world_open(&w);
	long before = resident_pages(), during;

	for (int i = 0; i < BURST; i++)
		suite_assert(vn_spawn(h, park_with_a_buffer, NULL) == 0);
	vn_yield(h);
	during = resident_pages();
	vn_stop(h);
	while (h->n_coroutines)
		vn_yield(h);
	ck_assert_int_ge(during - before, BURST);
	/* what stays: 64 warm stacks, a few bytes for each of the others, page tables do not count */
	if (!MEMORY_IS_WATCHED)
		ck_assert_int_le(resident_pages() - before, BURST / 20);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_record_is_two_cache_lines)
{
	if (!SUITE_SANITIZED)
		ck_assert_uint_eq(sizeof(vn_co), 128);
}
END_TEST

static int
nothing(vn_hub *h, void *arg)
{
	(void)h, (void)arg;
	return 0;
}

START_TEST(no_stack_no_coroutine)
{
	world w;
	vn_hub *h;
	struct rlimit limit;
	int rc;

	if (MEMORY_IS_WATCHED)
		return;
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = (rlim_t)128 << 20;
	setrlimit(RLIMIT_AS, &limit);
	h = world_open(&w);
	do
		rc = vn_spawn(h, nothing, NULL);
	while (rc == 0);
	ck_assert_int_eq(rc, -ENOMEM);
	while (h->n_coroutines)
		vn_yield(h);
	ck_assert_int_eq(vn_spawn(h, nothing, NULL), 0);
	vn_hub_close(h);
}
END_TEST

/* Runs it in a process of its own; returns its status, and what it said on standard error. */
static int
said_by(void (*run)(void), char *text, size_t n)
{
	int fds[2], status;
	pid_t child;
	size_t len = 0;
	ssize_t got;

	ck_assert_int_eq(pipe(fds), 0);
	child = fork();
	if (child == 0) {
		struct rlimit no_core = {0, 0};

		setrlimit(RLIMIT_CORE, &no_core);
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		run();
		_exit(0);
	}
	close(fds[1]);
	while (len < n - 1 && (got = read(fds[0], text + len, n - 1 - len)) > 0)
		len += (size_t)got;
	text[len] = '\0';
	close(fds[0]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return status;
}

static int
planted_overflow(vn_hub *h, void *arg)
{
	(void)h;
	*(int *)arg = deep(1000, "seven");
	return 0;
}

static void
overflow(void)
{
	world w;
	vn_hub *h = world_open(&w);
	int result;

	vn_spawn(h, nothing, NULL);
	vn_spawn(h, planted_overflow, &result);
	vn_yield(h);
}

START_TEST(a_coroutine_that_overflows_its_stack_is_named)
{
	char text[4096];
	int status = said_by(overflow, text, sizeof text);

	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
	ck_assert_str_eq(text,
		"vanilla: coroutine 2 (planted_overflow) ran over the end of its stack of 64 KiB: "
		"keep large buffers off the stack, or recurse less\n");
}
END_TEST

static void
on_fault(int signal)
{
	(void)signal;
	_exit(write(STDERR_FILENO, "mine", 4) == 4 ? 5 : 6);
}

static void
other_fault(void)
{
	world w;
	struct sigaction action = {.sa_handler = on_fault};

	sigaction(SIGSEGV, &action, NULL);
	world_open(&w);
	poke((char *)16);
}

START_TEST(another_fault_goes_to_the_handler_that_was_there_before)
{
	char text[4096];
	int status = said_by(other_fault, text, sizeof text);

	ck_assert_str_eq(text, "mine");
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 5);
}
END_TEST

static void
plain_fault(void)
{
	world w;

	signal(SIGSEGV, SIG_DFL);
	world_open(&w);
	poke((char *)16);
}

START_TEST(another_fault_without_a_handler_kills_as_ever)
{
	char text[4096];
	int status = said_by(plain_fault, text, sizeof text);

	ck_assert_str_eq(text, "");
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
}
END_TEST

START_TEST(the_handlers_that_were_there_come_back_when_the_hub_is_closed)
{
	world w;
	struct sigaction action = {.sa_handler = on_fault}, now;
	stack_t before, after;

	sigaction(SIGSEGV, &action, NULL);
	sigaltstack(NULL, &before);
	vn_hub_close(world_open(&w));
	sigaction(SIGSEGV, NULL, &now);
	ck_assert(now.sa_handler == on_fault);
	sigaltstack(NULL, &after);
	ck_assert_int_eq(after.ss_flags, before.ss_flags);
	if (!(before.ss_flags & SS_DISABLE))
		ck_assert_ptr_eq(after.ss_sp, before.ss_sp);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		fcontext_hands_context_and_data_over_in_registers,
		fcontext_whose_entry_returns_ends_the_process_silently,
		spawned_ones_run_in_order_and_after_those_that_are_ready,
		yield_alone_returns_at_once_and_costs_no_system_call,
		registers_survive_switches,
		errno_belongs_to_the_thread_and_not_to_the_coroutine,
		waiters_are_woken_in_the_order_in_which_they_came,
		wake_now_runs_the_waiter_before_anybody_else,
		wake_now_with_the_budget_spent_lets_the_loop_turn_and_keeps_the_order,
		a_decided_wait_stands_when_its_deadline_passes_before_it_runs,
		a_decided_wait_stands_when_the_hub_is_stopped_before_it_runs,
		a_wait_that_timed_out_is_in_no_queue_and_a_cancel_does_not_change_it,
		the_first_of_several_clauses_decides_and_all_are_out,
		a_deadline_ends_waits_of_its_coroutine_alone,
		a_deadline_that_has_passed_refuses_a_wait_and_lets_the_others_run,
		a_deadline_is_not_inherited,
		sleepers_wake_in_the_order_of_their_instants,
		a_sleep_counts_from_the_clock_and_not_from_the_turn,
		a_sleep_ends_at_the_deadline_if_that_comes_first,
		a_stack_has_room_for_sixty_kilobytes,
		a_parked_handler_with_a_buffer_of_2_kib_takes_one_page,
		a_burst_of_coroutines_gives_its_memory_back,
		a_record_is_two_cache_lines,
		no_stack_no_coroutine,
		a_coroutine_that_overflows_its_stack_is_named,
		another_fault_goes_to_the_handler_that_was_there_before,
		another_fault_without_a_handler_kills_as_ever,
		the_handlers_that_were_there_come_back_when_the_hub_is_closed,
	};

	return suite_run("coroutine", tests, SUITE_COUNT(tests));
}
