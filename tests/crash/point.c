/* SPDX-License-Identifier: MIT */
/*
 * Point - see point.h; what shm/crash.h asks for
 *
 * A process knows its lanes by the words that it maps: one that was published beyond what was taken is not empty,
 * whoever of the two is late.
 */
#ifndef VN_CRASH_POINTS
#define VN_CRASH_POINTS
#endif
#include "tests/crash/point.h"

#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/crash.h"

#define MAX_LANES 64

typedef struct crash_words {
	const uint32_t *tail, *head;
} crash_words;

static crash_page *crash;
static uint32_t crash_role;
static bool crash_looked;
static crash_words lanes[MAX_LANES];

void
crash_point_use(crash_page *page, uint32_t role)
{
	crash = page;
	crash_role = role;
	crash_looked = true;
	memset(lanes, 0, sizeof lanes);
}

static void
look_for_page(void)
{
	const char *path = getenv("VANILLA_CRASH");
	int fd;

	crash_looked = true;
	if (!path)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	crash = fd < 0 ? MAP_FAILED
		       : mmap(NULL, sizeof *crash, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (crash == MAP_FAILED)
		err(1, "%s", path);
	close(fd);
	crash_role = getenv("VANILLA_WORKER") ? CRASH_WORKER : CRASH_BROKER;
}

static bool
is_busy(void)
{
	for (int i = 0; i < MAX_LANES; i++)
		if (lanes[i].tail && __atomic_load_n(lanes[i].tail, __ATOMIC_ACQUIRE) !=
					     __atomic_load_n(lanes[i].head, __ATOMIC_ACQUIRE))
			return true;
	return false;
}

void
vn_crash_point(const char *name)
{
	if (!crash_looked)
		look_for_page();
	if (!crash || __atomic_load_n(&crash->state, __ATOMIC_ACQUIRE) != CRASH_ARMED)
		return;
	if (crash->role != crash_role || strcmp(crash->point, name) != 0)
		return;
	if (crash->busy && !is_busy())
		return;
	if (__atomic_sub_fetch(&crash->countdown, 1, __ATOMIC_SEQ_CST) != 0)
		return;
	crash->pid = (uint32_t)getpid();
	__atomic_store_n(&crash->state, CRASH_DONE, __ATOMIC_SEQ_CST);
	for (;;)
		raise(SIGKILL);
}

void
vn_crash_lane(const uint32_t *tail, const uint32_t *head)
{
	for (int i = 0; i < MAX_LANES; i++)
		if (!lanes[i].tail) {
			lanes[i] = (crash_words){tail, head};
			return;
		}
	errx(1, "more than %d lanes", MAX_LANES);
}

void
vn_crash_unmap(const void *base, size_t size)
{
	for (int i = 0; i < MAX_LANES; i++)
		if ((uintptr_t)lanes[i].tail - (uintptr_t)base < size ||
			(uintptr_t)lanes[i].head - (uintptr_t)base < size)
			lanes[i] = (crash_words){0};
}

void
vn_crash_check(bool holds, const char *what)
{
	if (holds)
		return;
	warnx("this must hold and does not: %s", what);
	abort();
}
