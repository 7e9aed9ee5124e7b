/* SPDX-License-Identifier: MIT */
/*
 * Crash - places at which a process can be killed, in a build that is made for it (tests/crash)
 *
 * A point stands before and after each step of the protocols of this folder: a slot, a cursor, a bell, a block, a
 * message or a seal of the handshake; and in broker/ and client/ where a process or a connection changes hands. Its name begins with "broker." or "worker." where only that side comes by;
 * tests/crash reads the names from the source and insists that each is hit. In every other build all of this is
 * nothing.
 */
#ifndef VN_SHM_CRASH_H
#define VN_SHM_CRASH_H

#ifdef VN_CRASH_POINTS

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void vn_crash_point(const char *name);
void vn_crash_lane(const uint32_t *tail, const uint32_t *head);
void vn_crash_unmap(const void *base, size_t size);
void vn_crash_check(bool holds, const char *what);

#define VN_CRASH_POINT(name) vn_crash_point(name)
#define VN_CRASH_LANE(tail, head)                                                                  \
	vn_crash_lane(tail, head) /* one that may be full or empty from here on */
#define VN_CRASH_UNMAP(base, size) vn_crash_unmap(base, size)
#define VN_CRASH_CHECK(what)       vn_crash_check(what, #what)

#else

#define VN_CRASH_POINT(name)       ((void)0)
#define VN_CRASH_LANE(tail, head)  ((void)0)
#define VN_CRASH_UNMAP(base, size) ((void)0)
#define VN_CRASH_CHECK(what)       ((void)0)

#endif
#endif
