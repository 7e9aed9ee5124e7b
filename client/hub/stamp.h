/* SPDX-License-Identifier: MIT */
/*
 * Stamp - how late it may be by now, without a look at the clock
 *
 * Whoever arms a timer must know the time, and a look at the clock costs as much as five switches. A stamp is a count
 * that goes on by itself and is read in a third of that: so one look serves for all that is armed within the
 * microseconds after it.
 *
 *	the clock was read, just after the stamp `at`: `time`, and `latest` is VN_STAMP_LATE later
 *	fewer than VN_STAMP_WINDOW counts after `at`:  it is not later than `latest`, and that is the answer
 *	else:                                          the clock is read again
 *
 * Never early. If there is at least one count in a nanosecond, fewer than 4096 ns passed since the clock was read when
 * fewer than 4096 counts did; `latest` allows for twice that, since the processor may read the stamp somewhat before
 * its turn in the program, and a clock that is adjusted may run faster for a while. It does not matter how long the
 * thread is kept from running in between: after the look, the stamp shows it; between stamp and look, it makes the
 * window shorter. The price is that a timer may be VN_STAMP_LATE late, an eighth of the wheel's tick; all are, so
 * those that were armed first still come first.
 *
 * Why to believe it. On Linux there is a stamp only where the kernel makes its clock of the same counter (the
 * clocksource is "tsc"): so it has found that it goes at a constant rate, in sleep too, and is the same on all
 * processors; and where the counter lies, the clock itself does. All the same each look at the clock judges how the
 * stamp went since the last one: who went slower than one count in a nanosecond, stood still or went back is not
 * believed until it was seen to go well for VN_STAMP_LATE; nor is it in the beginning. While it is not believed each
 * look is one at the clock. One that goes back behind `at`, or leaps forward, leaves the window: the difference has no
 * sign. And when the turn's own time has come after `latest`, the clock is read again: so even one that stops for good
 * cannot deceive longer than for one turn.
 *
 * Whoever only wants to say when something was asks vn_stamp_about(): not after now, and as much before it as fewer than
 * VN_STAMP_ROUGH counts can be. So a clock is read once while many handlers run for a microsecond each, and in between
 * where one of them took long. There, too, the turn's own time counts when it has come after the look.
 */
#ifndef VN_HUB_STAMP_H
#define VN_HUB_STAMP_H

#include <stdbool.h>
#include <stdint.h>
#include <vanilla.h>

#include "client/hub/sys.h"

#define VN_STAMP_WINDOW 4096u  /* counts */
#define VN_STAMP_LATE   8192   /* nanoseconds */
#define VN_STAMP_ROUGH  32768u /* counts: 33 us at most, as a rule 8 to 16 */

typedef struct vn_stamp {
	bool is_there, is_believed;
	bool is_native; /* the processor's own: no call is needed */
	uint64_t at;
	vn_time time, latest;
} vn_stamp;

void vn_stamp_init(vn_stamp *s, const vn_sys *sys);
vn_time vn_stamp_look(vn_stamp *s, const vn_sys *sys); /* at the clock */

static inline uint64_t
vn_stamp_count(const vn_stamp *s, const vn_sys *sys)
{
#if defined(__x86_64__)
	if (s->is_native)
		return __builtin_ia32_rdtsc();
#else
	(void)s;
#endif
	return sys->stamp(sys);
}

/* An instant that is not before now, and VN_STAMP_LATE after it at most. @turn: the clock was read then, too. */
static inline vn_time
vn_stamp_now(vn_stamp *s, const vn_sys *sys, vn_time turn)
{
	if (s->is_believed && turn <= s->latest && vn_stamp_count(s, sys) - s->at < VN_STAMP_WINDOW)
		return s->latest;
	return vn_stamp_look(s, sys);
}

/* An instant that is not after now, and seldom more than 16 us before it. @turn: the clock was read then, too. */
static inline vn_time
vn_stamp_about(vn_stamp *s, const vn_sys *sys, vn_time turn)
{
	if (!s->is_believed || vn_stamp_count(s, sys) - s->at >= VN_STAMP_ROUGH)
		vn_stamp_look(s, sys);
	return s->time > turn ? s->time : turn;
}

#endif
