/* SPDX-License-Identifier: MIT */
/*
 * Suite - what every unit test program needs: one suite, each test in a process of its own
 */
#ifndef VN_TESTS_UNIT_SUITE_H
#define VN_TESTS_UNIT_SUITE_H

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>

#include <check.h>

#define SUITE_SECONDS 180 /* a hang, not a slow machine */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SUITE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SUITE_SANITIZED 1
#endif
#endif
#ifndef SUITE_SANITIZED
#define SUITE_SANITIZED 0
#endif

/* Sanitizers see the same with a tenth of the repetitions. */
#define SUITE_TIMES(n) (SUITE_SANITIZED ? (n) / 10 : (n))

/* For loops: Check's own assertions write a file at each pass. */
#define suite_assert(what)                                                                         \
	do {                                                                                       \
		if (!(what))                                                                       \
			ck_abort_msg("%s", #what);                                                 \
	} while (0)

#define SUITE_COUNT(array) (sizeof(array) / sizeof *(array))

static inline int
suite_run(const char *name, const TTest *const *tests, size_t n)
{
	Suite *suite = suite_create(name);
	TCase *all = tcase_create(name);
	SRunner *runner = srunner_create(suite);
	int n_failed;

	tcase_set_timeout(all, SUITE_SECONDS);
	for (size_t i = 0; i < n; i++)
		tcase_add_test(all, tests[i]);
	suite_add_tcase(suite, all);
	srunner_run_all(runner, CK_NORMAL);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed != 0;
}

/* The same numbers in every run: xorshift64. */
static inline uint64_t
suite_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Descriptors that this process has open, to see that nothing was left behind. */
static inline int
suite_n_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = -3; /* two dots and the directory itself */

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

#endif
