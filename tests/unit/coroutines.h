/* SPDX-License-Identifier: MIT */
/*
 * Coroutines - what the tests of hub and message share: a world in which time is a number
 *
 * A `world` is a system whose clock stands still but for waits, which are counted and make it jump. Everything
 * else is the real thing.
 */
#ifndef VN_TESTS_UNIT_COROUTINES_H
#define VN_TESTS_UNIT_COROUTINES_H

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/hub/hub.h"
#include "client/hub/watched.h"
#include "client/message/end.h"
#include "tests/unit/suite.h"

typedef struct world {
	vn_sys sys;
	int64_t now;
	int n_looks;                         /* at the clock */
	int n_polls;                         /* waits with timeout 0 */
	int n_waits;                         /* with another timeout */
	int n_forever;                       /* of these without an end */
	void (*on_forever)(struct world *w); /* what comes from outside then */
} world;

static inline int64_t
world_now(const vn_sys *sys)
{
	world *w = sys->world;

	w->n_looks++;
	return w->now;
}

static inline int
world_wait(const vn_sys *sys, int epoll_fd, struct epoll_event *events, int max, int64_t timeout_ns)
{
	world *w = sys->world;

	if (timeout_ns == 0) {
		w->n_polls++;
	} else {
		w->n_waits++;
		w->n_forever += timeout_ns < 0;
	}
	if (timeout_ns > 0)
		w->now += timeout_ns;
	if (timeout_ns < 0 && w->on_forever)
		w->on_forever(w);
	return vn_sys_linux.wait(&vn_sys_linux, epoll_fd, events, max, 0);
}

static inline vn_hub *
world_open(world *w)
{
	vn_hub *h;

	memset(w, 0, sizeof *w);
	w->now = 1000 * VN_SEC;
	w->sys = vn_sys_linux;
	w->sys.world = w;
	w->sys.now = world_now;
	w->sys.has_stamp = NULL;
	w->sys.wait = world_wait;
	h = vn_hub_open(&w->sys);
	ck_assert_ptr_nonnull(h);
	h->spin.limit = 0; /* how many processors there are must not matter */
	return h;
}

/* A journal of what ran, in order. */
typedef struct journal {
	char text[512];
} journal;

static inline void
note(journal *j, const char *what)
{
	size_t len = strlen(j->text);

	suite_assert(len + strlen(what) + 2 < sizeof j->text);
	snprintf(j->text + len, sizeof j->text - len, "%s%s", len ? " " : "", what);
}

static inline void
note_rc(journal *j, const char *what, int rc)
{
	char text[64];

	snprintf(text, sizeof text, "%s:%s", what, rc < 0 ? strerrorname_np(-rc) : rc ? "n" : "0");
	note(j, text);
}

/* Tools that keep books about memory have more of it, and need all the addresses there are. */
#define MEMORY_IS_WATCHED (SUITE_SANITIZED || RUNNING_ON_VALGRIND)

/* Memory of this process that is there, in pages; without the text of programs, which is mapped as it is used. */
static inline long
resident_pages(void)
{
	long pages = 0, files = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%*s %ld %ld", &pages, &files), 2);
	fclose(f);
	return pages - files;
}

/* A write that no compiler leaves out, wherever it goes. */
static inline void
poke(char *address)
{
	__asm__("" : "+r"(address));
	__atomic_store_n(address, 1, __ATOMIC_RELAXED);
}

/* Waiting for a connection is client/net's; tests of select bring their own. */
#define NO_CONNECTIONS                                                                             \
	__attribute__((weak)) int vn_conn_try_read(vn_conn *c)                                     \
	{                                                                                          \
		(void)c;                                                                           \
		return -EBADF;                                                                     \
	}                                                                                          \
	__attribute__((weak)) vn_waitq *vn_conn_read_queue(vn_conn *c)                             \
	{                                                                                          \
		(void)c;                                                                           \
		return NULL;                                                                       \
	}

#endif
