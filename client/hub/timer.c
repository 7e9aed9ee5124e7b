/* SPDX-License-Identifier: MIT */
/*
 * Timer - the wheel
 *
 * Time is counted in ticks of 2^16 ns. A timer stands at the level of the highest group of six bits in which
 * its tick differs from the wheel's, in the slot that this group names. So everything at one level comes
 * before everything at the next, and the first bit that is set in the lowest level with any names the slot
 * that is due first. When the wheel reaches a slot of a higher level its timers move down.
 *
 * A slot is four rings, the oldest timer first; a timer's ring is named by the last two bits of its tick. So
 * the timers of one tick stand in one ring at every level, and fire in the order in which they were armed;
 * and a slot of a higher level, whose timers lie all over the memory, moves down four at a time: a walk along
 * one ring would wait for the memory at each of them. When a slot moves down all levels below it are empty, so
 * appending keeps the order. The head of a ring is set up
 * when a timer comes into it; `used` tells whether there is one.
 *
 * What is due is collected first and fires then, so a timer that arms itself again for an instant that has
 * passed waits for the next call and cannot keep the wheel for itself.
 */
#include "client/hub/timer.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TICK_BITS  16
#define TICK_NS    ((vn_time)1 << TICK_BITS)
#define LEVEL_BITS 6
#define LEVELS     8
#define SLOTS      64
#define RINGS      4
#define CACHE_LINE 64
#define LOOK       16 /* timers of a slot that vn_wheel_next() looks at, to be exact */

/* Head of a ring: the first fields of a timer, and used as one. */
typedef struct ring {
	vn_timer *next, *link;
} ring;

struct vn_wheel {
	ring slots[LEVELS * SLOTS][RINGS]; /* first, so that a slot is one cache line */
	ring due;
	uint64_t tick;
	unsigned int levels;          /* a bit per level: is there any timer? */
	uint64_t used[LEVELS][RINGS]; /* a bit per slot: is there a timer in this ring of it? */
};

_Static_assert(offsetof(ring, link) == offsetof(vn_timer, link), "a head begins as a timer does");

static inline vn_timer *
ring_head(ring *r)
{
	return (vn_timer *)(void *)r;
}

static inline void
ring_init(ring *r)
{
	r->next = r->link = ring_head(r);
}

static inline bool
ring_empty(ring *r)
{
	return r->next == ring_head(r);
}

static inline void
ring_append(ring *r, vn_timer *t)
{
	vn_timer *last = r->link;

	t->next = ring_head(r);
	t->link = last;
	last->next = t;
	r->link = t;
}

/* Moves all of a ring, which is not empty, to the end of another. */
static void
ring_splice(ring *to, ring *from)
{
	from->next->link = to->link;
	from->link->next = ring_head(to);
	to->link->next = from->next;
	to->link = from->link;
}

/* The first tick that is not before the instant. */
static uint64_t
tick_after(vn_time at)
{
	if (at <= 0)
		return 0;
	if (at > VN_NEVER - TICK_NS)
		at = VN_NEVER - TICK_NS;
	return ((uint64_t)at + TICK_NS - 1) >> TICK_BITS;
}

static void
slot_push(vn_wheel *w, vn_timer *t, uint64_t tick)
{
	uint64_t differs, bit, *used;
	unsigned int level, slot;
	ring *r;

	if (tick < w->tick)
		tick = w->tick;
	differs = tick ^ w->tick;
	level = differs ? (63 - (unsigned int)__builtin_clzll(differs)) / LEVEL_BITS : 0;
	slot = (tick >> (level * LEVEL_BITS)) % SLOTS;
	r = &w->slots[level * SLOTS + slot][tick % RINGS];
	used = &w->used[level][tick % RINGS];
	bit = (uint64_t)1 << slot;
	if (!(*used & bit)) {
		*used |= bit;
		w->levels |= 1u << level;
		ring_init(r);
	}
	ring_append(r, t);
}

/**
 * vn_wheel_new() - a wheel with no timer
 * @now: instant at which it starts
 *
 * Return: the wheel, or NULL with errno set.
 */
vn_wheel *
vn_wheel_new(vn_time now)
{
	vn_wheel *w =
		aligned_alloc(CACHE_LINE, (sizeof *w + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);

	if (!w)
		return NULL;
	w->tick = (uint64_t)now >> TICK_BITS;
	w->levels = 0;
	memset(w->used, 0, sizeof w->used);
	ring_init(&w->due);
	return w;
}

/**
 * vn_wheel_free() - free a wheel; armed timers are forgotten
 * @w: wheel or NULL
 *
 * Return: NULL.
 */
vn_wheel *
vn_wheel_free(vn_wheel *w)
{
	free(w);
	return NULL;
}

/**
 * vn_wheel_arm() - let a timer fire at an instant
 * @w:  wheel
 * @t:  armed or not
 * @at: when; in the past means at the next vn_wheel_advance()
 */
void
vn_wheel_arm(vn_wheel *w, vn_timer *t, vn_time at)
{
	if (vn_timer_armed(t))
		vn_wheel_disarm(w, t);
	t->at = at;
	slot_push(w, t, tick_after(at));
}

/* A bit for each slot of a level that has any timer. */
static inline uint64_t
level_used(const vn_wheel *w, size_t level)
{
	const uint64_t *used = w->used[level];

	return used[0] | used[1] | used[2] | used[3];
}

_Static_assert(RINGS == 4, "level_used() names each");

/* There is no timer in a ring any more. */
static void
ring_unuse(vn_wheel *w, size_t level, size_t slot, size_t number)
{
	w->used[level][number] &= ~((uint64_t)1 << slot);
	if (!level_used(w, level))
		w->levels &= ~(1u << level);
}

/**
 * vn_wheel_disarm() - let a timer not fire
 * @w: wheel
 * @t: armed or not
 */
void
vn_wheel_disarm(vn_wheel *w, vn_timer *t)
{
	vn_timer *before = t->link, *after = t->next;
	size_t index;

	if (!before)
		return;
	before->next = after;
	after->link = before;
	t->link = NULL;
	if (before != after)
		return;
	/* the head is left: of a slot's ring, or of those that are due */
	index = ((uintptr_t)after - (uintptr_t)w->slots) / sizeof(ring);
	if (index < LEVELS * SLOTS * RINGS)
		ring_unuse(w, index / RINGS / SLOTS, index / RINGS % SLOTS, index % RINGS);
}

/* The lowest level with any timer, or LEVELS; which of its slots comes first, and at which tick it begins. */
static unsigned int
slot_first(const vn_wheel *w, unsigned int *slot, uint64_t *tick)
{
	unsigned int level, bits;

	if (!w->levels)
		return LEVELS;
	level = (unsigned int)__builtin_ctz(w->levels);
	bits = level * LEVEL_BITS;
	*slot = (unsigned int)__builtin_ctzll(level_used(w, level));
	*tick = (w->tick >> bits >> LEVEL_BITS << LEVEL_BITS | *slot) << bits;
	return level;
}

/* A ring of a slot, which is no longer in use; NULL if it was not. */
static ring *
slot_take(vn_wheel *w, unsigned int level, unsigned int slot, unsigned int number)
{
	if (!(w->used[level][number] >> slot & 1))
		return NULL;
	ring_unuse(w, level, slot, number);
	return &w->slots[level * SLOTS + slot][number];
}

/* Moves the timers of a slot to lower levels, one of each ring in turn. */
static void
slot_lower(vn_wheel *w, unsigned int level, unsigned int slot)
{
	struct {
		vn_timer *next, *head;
	} walks[RINGS];
	unsigned int n = 0;

	for (unsigned int i = 0; i < RINGS; i++) {
		ring *r = slot_take(w, level, slot, i);

		if (!r)
			continue;
		walks[n].next = r->next;
		walks[n++].head = ring_head(r);
	}
	while (n > 0)
		for (unsigned int i = 0; i < n; i++) {
			vn_timer *t = walks[i].next;

			walks[i].next = t->next;
			if (t->next == walks[i].head)
				walks[i] = walks[--n];
			slot_push(w, t, tick_after(t->at));
		}
}

static void
collect(vn_wheel *w, uint64_t until)
{
	unsigned int level, slot;
	uint64_t tick;

	while ((level = slot_first(w, &slot, &tick)) < LEVELS && tick <= until) {
		w->tick = tick;
		if (level == 0)
			ring_splice(&w->due, slot_take(w, level, slot, tick % RINGS));
		else
			slot_lower(w, level, slot);
	}
	w->tick = until;
}

/**
 * vn_wheel_advance() - fire what is due
 * @w:   wheel
 * @now: instant; one that lies before an earlier one counts as that
 *
 * A timer may arm and disarm others, and itself, while it fires.
 */
void
vn_wheel_advance(vn_wheel *w, vn_time now)
{
	uint64_t until = (uint64_t)now >> TICK_BITS;

	collect(w, until > w->tick ? until : w->tick);
	while (!ring_empty(&w->due)) {
		vn_timer *t = w->due.next;

		vn_wheel_disarm(w, t);
		t->fire(t);
	}
}

/**
 * vn_wheel_next() - when to advance next
 * @w: wheel
 *
 * Exact unless many timers stand in the slot that comes first; then it may be earlier than the first of them.
 *
 * Return: an instant, which may have passed; VN_NEVER if nothing is armed.
 */
vn_time
vn_wheel_next(const vn_wheel *w)
{
	uint64_t tick = 0, first = UINT64_MAX;
	unsigned int level, slot, n = 0;

	level = slot_first(w, &slot, &tick);
	if (level == LEVELS)
		return VN_NEVER;
	if (level == 0)
		return (vn_time)(tick << TICK_BITS);
	for (int i = 0; i < RINGS; i++) {
		const ring *r = &w->slots[level * SLOTS + slot][i];

		if (!(w->used[level][i] >> slot & 1))
			continue;
		for (const vn_timer *t = r->next; (const void *)t != r; t = t->next) {
			uint64_t at = tick_after(t->at);

			if (n++ == LOOK)
				return (vn_time)(tick << TICK_BITS);
			first = at < first ? at : first;
		}
	}
	return (vn_time)(first << TICK_BITS);
}

/**
 * vn_wheel_empty() - is nothing armed?
 * @w: wheel
 */
bool
vn_wheel_empty(const vn_wheel *w)
{
	return !w->levels;
}
