/* SPDX-License-Identifier: MIT */
/*
 * Stamp - the look at the clock, and the judgement
 */
#include "client/hub/stamp.h"

/**
 * vn_stamp_init() - not believed yet
 * @s:   to initialise
 * @sys: the system; may have none
 */
void
vn_stamp_init(vn_stamp *s, const vn_sys *sys)
{
	*s = (vn_stamp){.is_there = sys->has_stamp && sys->has_stamp(sys),
		.is_native = sys->stamp == vn_sys_linux.stamp};
	if (!s->is_there)
		return;
	s->at = sys->stamp(sys);
	s->time = sys->now(sys);
}

/* It went on by at least so many counts; one that went back has a negative number of them. */
static void
stamp_judge(vn_stamp *s, int64_t counts, vn_time passed)
{
	if (counts < passed)
		s->is_believed = false;
	else if (passed >= VN_STAMP_LATE)
		s->is_believed = true;
}

/**
 * vn_stamp_look() - read the clock, and what goes with it
 * @s:   initialised
 * @sys: the same
 *
 * The stamp is read before the clock for what comes next, and after it for what went before: to the stamp's
 * disadvantage in the one case, so that nothing is early, and to its advantage in the other, so that a thread that is
 * kept from running just here does not call an honest one slow.
 *
 * Return: an instant that is not before now.
 */
vn_time
vn_stamp_look(vn_stamp *s, const vn_sys *sys)
{
	uint64_t at;
	vn_time now;

	if (!s->is_there)
		return s->time = sys->now(sys);
	at = sys->stamp(sys);
	now = sys->now(sys);
	stamp_judge(s, (int64_t)(sys->stamp(sys) - s->at), now - s->time);
	s->at = at;
	s->time = now;
	s->latest = now + VN_STAMP_LATE;
	return s->is_believed ? s->latest : now;
}
