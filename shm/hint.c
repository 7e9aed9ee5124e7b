/* SPDX-License-Identifier: MIT */
/*
 * Hint - where they are
 */
#include "shm/hint.h"

#include "shm/layout.h"

static_assert(sizeof((vn_segment_layout *)0)->life == VN_HINTS * sizeof(uint64_t), "layout");

/**
 * vn_hint_own() - a hint of one's own segment, for vn_hint_put()
 * @own: mapped writable
 * @i:   less than VN_HINTS
 */
uint64_t *
vn_hint_own(const vn_segment *own, uint32_t i)
{
	return &((vn_segment_layout *)(void *)own->base)->life[i];
}

/**
 * vn_hint_get() - what the other side says; anything at all
 */
uint64_t
vn_hint_get(const vn_segment *peer, uint32_t i)
{
	const vn_segment_layout *layout = (const void *)peer->base;

	return __atomic_load_n(&layout->life[i], __ATOMIC_RELAXED);
}
