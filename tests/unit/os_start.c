/* SPDX-License-Identifier: MIT */
/*
 * Start - a parent that is killed at each step of starting a process leaves none
 *
 * A step is a system call, the parent's or that of the child which it starts: before each of them in turn the parent is
 * killed, and the child goes on alone. Whatever is orphaned comes to the test, which waits until nobody is left: one
 * that goes on living is a test that does not end.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/coroutines.h"

#define SYSCALL_STOP (SIGTRAP | 0x80)
#define STEPS_MAX    2000

typedef struct walk {
	int n_steps, n_children;
	bool killed;
} walk;

static int
sleep_long(vn_hub *h, vn_pair parent, void *arg)
{
	(void)parent;
	(void)arg;
	return vn_sleep(h, 3600 * VN_SEC);
}
VN_ENTRY(sleeper, sleep_long)

static void
start_program(vn_hub *h)
{
	const char *const argv[] = {"/bin/sleep", "3600", NULL};
	const vn_exec how = {.own_group = true, .out = VN_NOTHING};

	if (!vn_process_exec(h, argv, &how))
		abort();
}

static void
start_function(vn_hub *h)
{
	if (!vn_process_spawn(h, long, sleeper, &(long){0}))
		abort();
}

static void
be_parent(void (*start)(vn_hub *h))
{
	vn_hub *h = vn_hub_new();

	if (!h || ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		abort();
	raise(SIGSTOP);
	start(h);
	kill(getpid(), SIGKILL);
}

static void
let_go_on(walk *w, pid_t parent, pid_t pid, int status, int step)
{
	int signal = WSTOPSIG(status);

	w->n_children += status >> 16 != 0; /* an event: there is a child */
	if (!w->killed && signal == SYSCALL_STOP && w->n_steps++ == step) {
		w->killed = true;
		kill(parent, SIGKILL);
	}
	if (signal == SYSCALL_STOP || signal == SIGTRAP || signal == SIGSTOP)
		signal = 0;
	ptrace(w->killed ? PTRACE_DETACH : PTRACE_SYSCALL, pid, NULL, signal);
}

/* Until nobody is left. */
static walk
walk_until(void (*start)(vn_hub *h), int step)
{
	const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
			     PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
	walk w = {0};
	pid_t parent = fork(), pid;
	int status;

	if (parent == 0)
		be_parent(start);
	suite_assert(waitpid(parent, &status, 0) == parent && WIFSTOPPED(status));
	suite_assert(ptrace(PTRACE_SETOPTIONS, parent, NULL, options) == 0);
	suite_assert(ptrace(PTRACE_SYSCALL, parent, NULL, NULL) == 0);
	while ((pid = waitpid(-1, &status, __WALL)) > 0)
		if (WIFSTOPPED(status))
			let_go_on(&w, parent, pid, status, step);
		else if (pid == parent)
			suite_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	return w;
}

static void
kill_at_each_step(void (*start)(vn_hub *h))
{
	walk w = {.killed = true};
	int step = 0;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (; w.killed; step++) {
		w = walk_until(start, step);
		suite_assert(step < STEPS_MAX);
	}
	ck_assert_int_eq(w.n_children, 1);
	ck_assert_int_ge(step, 40);
}

START_TEST(a_parent_killed_at_each_step_of_starting_a_program_leaves_no_child)
{
	kill_at_each_step(start_program);
}
END_TEST

START_TEST(a_parent_killed_at_each_step_of_starting_a_function_leaves_no_child)
{
	kill_at_each_step(start_function);
}
END_TEST

int
main(void)
{
	const TTest *tests[] = {
		a_parent_killed_at_each_step_of_starting_a_program_leaves_no_child,
		a_parent_killed_at_each_step_of_starting_a_function_leaves_no_child,
	};

	return suite_run("os start", tests, SUITE_COUNT(tests));
}
