/* SPDX-License-Identifier: MIT */
/*
 * Timer - the wheel
 *
 * Time is counted in ticks of 2^16 ns. A timer stands at the level of the highest group of six bits in which
 * its tick differs from the wheel's, in the slot that this group names. So everything at one level comes
 * before everything at the next, and the first bit that is set in the lowest level with any names the slot
 * that is due first. When the wheel reaches a slot of a higher level its timers move down.
 *
 * A slot is a list with the newest first; it is turned round when it is emptied, so timers of one tick fire in
 * the order in which they were armed. What is due is collected first and fires then, so a timer that arms
 * itself again for an instant that has passed waits for the next call and cannot keep the wheel for itself.
 */
#include "client/hub/timer.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define TICK_BITS  16
#define TICK_NS    ((vn_time)1 << TICK_BITS)
#define LEVEL_BITS 6
#define LEVELS     8
#define SLOTS      64
#define LOOK       16 /* timers of a slot that vn_wheel_next() looks at, to be exact */

struct vn_wheel {
	uint64_t tick;
	uint64_t used[LEVELS]; /* a bit per slot */
	vn_timer *slots[LEVELS * SLOTS];
	vn_timer *due;
};

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
list_push(vn_timer **head, vn_timer *t)
{
	t->next = *head;
	t->link = head;
	if (t->next)
		t->next->link = &t->next;
	*head = t;
}

static void
slot_push(vn_wheel *w, vn_timer *t, uint64_t tick)
{
	uint64_t differs;
	unsigned int level, slot;

	if (tick < w->tick)
		tick = w->tick;
	differs = tick ^ w->tick;
	level = differs ? (63 - (unsigned int)__builtin_clzll(differs)) / LEVEL_BITS : 0;
	slot = (tick >> (level * LEVEL_BITS)) % SLOTS;
	w->used[level] |= (uint64_t)1 << slot;
	list_push(&w->slots[level * SLOTS + slot], t);
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
	vn_wheel *w = calloc(1, sizeof *w);

	if (w)
		w->tick = (uint64_t)now >> TICK_BITS;
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

/**
 * vn_wheel_disarm() - let a timer not fire
 * @w: wheel
 * @t: armed or not
 */
void
vn_wheel_disarm(vn_wheel *w, vn_timer *t)
{
	vn_timer **link = t->link;
	size_t index;

	if (!link)
		return;
	*link = t->next;
	t->link = NULL;
	if (t->next) {
		t->next->link = link;
		return;
	}
	/* the last of its list: if it was the first as well, the slot is empty now */
	index = ((uintptr_t)link - (uintptr_t)w->slots) / sizeof *link;
	if (index < LEVELS * SLOTS)
		w->used[index / SLOTS] &= ~((uint64_t)1 << index % SLOTS);
}

/* Takes all timers out of a slot, the oldest first. */
static vn_timer *
slot_take(vn_wheel *w, unsigned int level, unsigned int slot)
{
	vn_timer *t = w->slots[level * SLOTS + slot], *next, *oldest = NULL;

	w->slots[level * SLOTS + slot] = NULL;
	w->used[level] &= ~((uint64_t)1 << slot);
	for (; t; t = next) {
		next = t->next;
		t->next = oldest;
		oldest = t;
	}
	return oldest;
}

/* The lowest level with any timer, or LEVELS; which of its slots comes first, and at which tick it begins. */
static unsigned int
slot_first(const vn_wheel *w, unsigned int *slot, uint64_t *tick)
{
	for (unsigned int level = 0; level < LEVELS; level++) {
		unsigned int bits = level * LEVEL_BITS;

		if (!w->used[level])
			continue;
		*slot = (unsigned int)__builtin_ctzll(w->used[level]);
		*tick = (w->tick >> bits >> LEVEL_BITS << LEVEL_BITS | *slot) << bits;
		return level;
	}
	return LEVELS;
}

/* Appends the timers of a slot to the due ones; returns where the next ones go. */
static vn_timer **
due_append(vn_timer **tail, vn_timer *t)
{
	for (*tail = t; *tail; tail = &(*tail)->next)
		(*tail)->link = tail;
	return tail;
}

static void
collect(vn_wheel *w, uint64_t until)
{
	vn_timer **tail = &w->due;
	unsigned int level, slot;
	uint64_t tick;

	while ((level = slot_first(w, &slot, &tick)) < LEVELS && tick <= until) {
		vn_timer *t = slot_take(w, level, slot), *next;

		w->tick = tick;
		if (level == 0) {
			tail = due_append(tail, t);
			continue;
		}
		for (; t; t = next) {
			next = t->next;
			slot_push(w, t, tick_after(t->at));
		}
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
	while (w->due) {
		vn_timer *t = w->due;

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
	const vn_timer *t;

	level = slot_first(w, &slot, &tick);
	if (level == LEVELS)
		return VN_NEVER;
	if (level == 0)
		return (vn_time)(tick << TICK_BITS);
	for (t = w->slots[level * SLOTS + slot]; t && n < LOOK; t = t->next, n++) {
		uint64_t at = tick_after(t->at);

		first = at < first ? at : first;
	}
	return (vn_time)((t ? tick : first) << TICK_BITS);
}

/**
 * vn_wheel_empty() - is nothing armed?
 * @w: wheel
 */
bool
vn_wheel_empty(const vn_wheel *w)
{
	for (unsigned int level = 0; level < LEVELS; level++)
		if (w->used[level])
			return false;
	return true;
}
