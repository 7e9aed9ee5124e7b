/* SPDX-License-Identifier: MIT */
/*
 * Hint - words of a segment that its owner sets and the other side may look at
 *
 * They lie in the life area of the header (layout.h): no order with anything else is promised, and nothing is
 * decided with them. A word is written by one store and read by one load.
 */
#ifndef VN_SHM_HINT_H
#define VN_SHM_HINT_H

#include <stdint.h>

#include "shm/segment.h"

#define VN_HINTS 448u

uint64_t *vn_hint_own(const vn_segment *own, uint32_t i);
uint64_t vn_hint_get(const vn_segment *peer, uint32_t i);

/* Sets a hint of one's own segment, or a word that stands for one. */
static inline void
vn_hint_put(uint64_t *hint, uint64_t value)
{
	__atomic_store_n(hint, value, __ATOMIC_RELAXED);
}

/* What it was set to. */
static inline uint64_t
vn_hint_value(const uint64_t *hint)
{
	return __atomic_load_n(hint, __ATOMIC_RELAXED);
}

#endif
