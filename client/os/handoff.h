/* SPDX-License-Identifier: MIT */
/*
 * Handoff - pointers from one thread to others, without a lock
 *
 * A ring with one thread that puts, and one or several that take. Who put what is published with it: all that was
 * written before vn_handoff_put() can be read after vn_handoff_take().
 *
 * To sleep, a side says so in a word of its own, calls vn_handoff_settle(), and looks once more; who has put calls
 * vn_handoff_settle() and looks at that word. So one of the two sees the other, whatever the order: it is the idea of
 * the bell between processes (shm/lane.h).
 *
 * Normal builds use Concurrency Kit. ThreadSanitizer does not see into its inline assembly, so builds for it use
 * the compiler's atomics, which mean the same.
 */
#ifndef VN_OS_HANDOFF_H
#define VN_OS_HANDOFF_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include <ck_ring.h>

#include "client/hub/fiber.h"

#ifdef VN_TSAN

typedef struct vn_handoff {
	uint32_t head, tail, size;
	void **slots;
} vn_handoff;

static inline bool
vn_handoff_put(vn_handoff *r, void *p)
{
	uint32_t tail = __atomic_load_n(&r->tail, __ATOMIC_RELAXED);

	if (tail - __atomic_load_n(&r->head, __ATOMIC_ACQUIRE) == r->size - 1)
		return false;
	__atomic_store_n(&r->slots[tail & (r->size - 1)], p, __ATOMIC_RELAXED);
	__atomic_store_n(&r->tail, tail + 1, __ATOMIC_SEQ_CST);
	return true;
}

static inline void *
vn_handoff_take(vn_handoff *r)
{
	uint32_t head = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);

	while (head != __atomic_load_n(&r->tail, __ATOMIC_SEQ_CST)) {
		void *p = __atomic_load_n(&r->slots[head & (r->size - 1)], __ATOMIC_RELAXED);

		if (__atomic_compare_exchange_n(
			    &r->head, &head, head + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return p;
	}
	return NULL;
}

static inline void
vn_handoff_settle(void)
{
}

#else

typedef struct vn_handoff {
	ck_ring_t ring;
	uint32_t size;
	ck_ring_buffer_t *slots;
} vn_handoff;

/* False: it is full. */
static inline bool
vn_handoff_put(vn_handoff *r, void *p)
{
	return ck_ring_enqueue_spmc(&r->ring, r->slots, p);
}

/* NULL: it is empty. */
static inline void *
vn_handoff_take(vn_handoff *r)
{
	void *p;

	return ck_ring_dequeue_spmc(&r->ring, r->slots, &p) ? p : NULL;
}

/* What this thread has stored can be seen before it looks again: the one full fence that a sleeper needs. */
static inline void
vn_handoff_settle(void)
{
	ck_pr_fence_memory();
}

#endif

/* Room for `n` at least; false without memory. Zero before. */
static inline bool
vn_handoff_init(vn_handoff *r, uint32_t n)
{
	r->size = 2;
	while (r->size <= n)
		r->size *= 2;
	r->slots = calloc(r->size, sizeof *r->slots);
#ifndef VN_TSAN
	ck_ring_init(&r->ring, r->size);
#endif
	return r->slots != NULL;
}

static inline void
vn_handoff_deinit(vn_handoff *r)
{
	free(r->slots);
}

#endif
