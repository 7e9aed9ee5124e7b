/* SPDX-License-Identifier: MIT */
/*
 * Stack - separate, guarded, reused while warm, and given back
 */
#include "client/hub/stack.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/coroutines.h"

NO_CONNECTIONS

static int
n_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	int n = 0, c;

	ck_assert_ptr_nonnull(f);
	while ((c = getc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

START_TEST(each_stack_can_be_written_from_top_to_bottom_and_is_nobody_elses)
{
	vn_stacks *s = vn_stacks_new();
	char *tops[20];

	for (int i = 0; i < 20; i++) {
		tops[i] = vn_stack_get(s);
		ck_assert_ptr_nonnull(tops[i]);
		ck_assert_uint_eq((uintptr_t)tops[i] % 64, 0);
		memset(vn_stack_bottom(tops[i]), i, (size_t)(tops[i] - vn_stack_bottom(tops[i])));
	}
	for (int i = 0; i < 20; i++)
		for (char *at = vn_stack_bottom(tops[i]); at < tops[i]; at++)
			suite_assert(*at == i);
	ck_assert_ptr_null(vn_stacks_free(s));
}
END_TEST

START_TEST(tops_of_neighbours_lie_in_different_cache_sets_of_one_page)
{
	vn_stacks *s = vn_stacks_new();
	bool seen[64] = {false};
	int n = 0;

	for (int i = 0; i < 8; i++) {
		uintptr_t last = (uintptr_t)vn_stack_get(s) - 1;

		n += !seen[last % 4096 / 64];
		seen[last % 4096 / 64] = true;
		ck_assert_uint_ge(last % 4096, 4096 - 512);
	}
	ck_assert_int_eq(n, 8);
	vn_stacks_free(s);
}
END_TEST

START_TEST(the_last_stack_that_came_back_is_the_next_to_go)
{
	vn_stacks *s = vn_stacks_new();
	void *a = vn_stack_get(s), *b = vn_stack_get(s);

	vn_stack_put(s, a);
	vn_stack_put(s, b);
	ck_assert_ptr_eq(vn_stack_get(s), b);
	ck_assert_ptr_eq(vn_stack_get(s), a);
	vn_stacks_free(s);
}
END_TEST

START_TEST(a_burst_leaves_no_memory_behind)
{
	enum { BURST = 10000 };
	static void *tops[BURST];
	vn_stacks *s = vn_stacks_new();
	long before, during, after;

	for (int i = 0; i < BURST; i++)
		suite_assert((tops[i] = vn_stack_get(s)));
	before = resident_pages();
	for (int i = 0; i < BURST; i++)
		memset((char *)tops[i] - 8, 1, 8);
	during = resident_pages();
	for (int i = 0; i < BURST; i++)
		vn_stack_put(s, tops[i]);
	after = resident_pages();
	ck_assert_int_ge(during - before, BURST * 9 / 10);
	if (!MEMORY_IS_WATCHED)
		ck_assert_int_le(after - before, BURST / 20);
	vn_stacks_free(s);
}
END_TEST

START_TEST(stacks_of_a_burst_are_used_again)
{
	enum { BURST = 500 };
	vn_stacks *s = vn_stacks_new();
	void *tops[BURST], *lowest = NULL, *highest = NULL;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < BURST; i++) {
			tops[i] = vn_stack_get(s);
			suite_assert(tops[i]);
			memset((char *)tops[i] - 8, 1, 8);
			if (round == 0) {
				lowest = !lowest || tops[i] < lowest ? tops[i] : lowest;
				highest = tops[i] > highest ? tops[i] : highest;
			}
			suite_assert(tops[i] >= lowest && tops[i] <= highest);
		}
		for (int i = 0; i < BURST; i++)
			vn_stack_put(s, tops[i]);
	}
	vn_stacks_free(s);
}
END_TEST

/* Does a write there kill the process? */
static bool
is_deadly(char *address)
{
	int status;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		poke(address);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

START_TEST(the_page_below_each_stack_is_a_guard_and_known_as_one)
{
	vn_stacks *s = vn_stacks_new();

	for (int i = 0; i < 10; i++) {
		char *top = vn_stack_get(s);
		char *end = (char *)(((uintptr_t)top + 4095) & ~(uintptr_t)4095);
		char *bottom = end - VN_STACK_BYTES;

		ck_assert(!is_deadly(bottom));
		ck_assert(is_deadly(bottom - 1));
		ck_assert(is_deadly(bottom - 4096));
		ck_assert(!vn_stack_guards(s, bottom));
		ck_assert(!vn_stack_guards(s, top - 1));
		ck_assert(vn_stack_guards(s, bottom - 1));
		ck_assert(vn_stack_guards(s, bottom - 4096));
	}
	ck_assert(!vn_stack_guards(s, NULL));
	ck_assert(!vn_stack_guards(s, &s));
	vn_stacks_free(s);
}
END_TEST

START_TEST(the_guard_outlives_the_memory_of_a_stack_that_is_given_back)
{
	vn_stacks *s = vn_stacks_new();
	char *tops[100];

	for (int i = 0; i < 100; i++)
		tops[i] = vn_stack_get(s);
	for (int i = 0; i < 100; i++)
		vn_stack_put(s, tops[i]);
	for (int i = 60; i < 70; i++)
		ck_assert(is_deadly((char *)(((uintptr_t)tops[i] + 4095) & ~(uintptr_t)4095) -
				    VN_STACK_BYTES - 1));
	vn_stacks_free(s);
}
END_TEST

/* Light guards where there are any (6.13); else each costs mappings, and there is an end to them. */
START_TEST(kernel_guards_leave_most_mappings_to_others)
{
	bool light = madvise(NULL, 0, 102) == 0;
	vn_stacks *s = vn_stacks_new();
	int before = n_mappings(), more;

	for (int i = 0; i < 1000; i++)
		suite_assert(vn_stack_get(s));
	more = n_mappings() - before;
	if (light)
		ck_assert_int_le(more, 16);
	else
		ck_assert_int_le(more, 2100);
	vn_stacks_free(s);
}
END_TEST

START_TEST(where_addresses_are_short_there_are_fewer_stacks_and_then_enomem)
{
	struct rlimit limit;
	vn_stacks *s;
	int n = 0;

	if (MEMORY_IS_WATCHED)
		return;
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = (rlim_t)256 << 20;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
	s = vn_stacks_new();
	ck_assert_ptr_nonnull(s);
	errno = 0;
	while (vn_stack_get(s))
		n++;
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_int_ge(n, 512);
	ck_assert_int_le(n, 4096);
	vn_stacks_free(s);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		each_stack_can_be_written_from_top_to_bottom_and_is_nobody_elses,
		tops_of_neighbours_lie_in_different_cache_sets_of_one_page,
		the_last_stack_that_came_back_is_the_next_to_go,
		a_burst_leaves_no_memory_behind,
		stacks_of_a_burst_are_used_again,
		the_page_below_each_stack_is_a_guard_and_known_as_one,
		the_guard_outlives_the_memory_of_a_stack_that_is_given_back,
		kernel_guards_leave_most_mappings_to_others,
		where_addresses_are_short_there_are_fewer_stacks_and_then_enomem,
	};

	return suite_run("stack", tests, SUITE_COUNT(tests));
}
