/* SPDX-License-Identifier: MIT */
/*
 * Timer - callbacks at instants, on a hierarchical timing wheel
 *
 * Eight levels of 64 slots, each level 64 times as coarse as the one below; the lowest slot is 2^16 ns (65 us)
 * wide. Arming and cancelling are O(1); a bitmap per level finds the next instant without a scan. A timer never
 * fires early; it fires at most one slot of the lowest level late. (Varghese and Lauck, SOSP 1987.)
 */
#ifndef VN_HUB_TIMER_H
#define VN_HUB_TIMER_H

#include <stdbool.h>
#include <vanilla.h>

typedef struct vn_timer vn_timer;
typedef struct vn_wheel vn_wheel;

struct vn_timer {
	vn_timer *next,
		*link; /* after and before it in its slot; link is NULL while it is not armed */
	vn_time at;
	void (*fire)(vn_timer *t); /* disarmed by then; may arm it again, or free it */
};

vn_wheel *vn_wheel_new(vn_time now);
vn_wheel *vn_wheel_free(vn_wheel *w);                    /* armed timers are forgotten */
void vn_wheel_arm(vn_wheel *w, vn_timer *t, vn_time at); /* armed or not */
void vn_wheel_disarm(vn_wheel *w, vn_timer *t);          /* armed or not */
void vn_wheel_advance(vn_wheel *w, vn_time now);         /* fires what is due */
vn_time vn_wheel_next(const vn_wheel *w); /* when to advance next; VN_NEVER if nothing is armed */
bool vn_wheel_empty(const vn_wheel *w);

static inline bool
vn_timer_armed(const vn_timer *t)
{
	return t->link != NULL;
}

#endif
