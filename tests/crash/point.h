/* SPDX-License-Identifier: MIT */
/*
 * Point - which process dies where
 *
 * A page that all processes of a test share says it: the side, the name of a point, the how manieth passage of it,
 * and whether it counts only while a lane of that process has something in it. At most one process dies each time
 * that the page is armed, so a successor lives. VANILLA_CRASH names the file; without it nobody dies.
 */
#ifndef VN_TESTS_CRASH_POINT_H
#define VN_TESTS_CRASH_POINT_H

#include <stdint.h>

enum { CRASH_IDLE, CRASH_ARMED, CRASH_DONE };
enum { CRASH_BROKER = 1, CRASH_WORKER };

/* tests/crash/page.py has the same. */
typedef struct crash_page {
	uint32_t state;
	uint32_t role;
	int32_t countdown;
	uint32_t busy; /* a passage counts only while a lane is not empty */
	uint32_t pid;  /* who died */
	char point[44];
} crash_page;

/* For processes that fork without exec: a page and a side of their own choice. */
void crash_point_use(crash_page *page, uint32_t role);

#endif
