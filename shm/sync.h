/* SPDX-License-Identifier: MIT */
/*
 * Sync - the ordered accesses that lanes are made of
 *
 * Two kinds are enough. An acquire load reads a foreign cursor: what its writer wrote before it is visible
 * after it. An exchange publishes an own word and is sequentially consistent with the load that follows it,
 * which the bell protocol needs at four points (lane.h): "store mine, then look at yours" must not be
 * reordered, and on x86-64 only a locked instruction keeps it.
 *
 * Two more order nothing: vn_sync_hint() stores, vn_sync_fetch() asks for a line that is about to be read, so that
 * it is on its way together with another one.
 *
 * Normal builds use Concurrency Kit. ThreadSanitizer does not see into inline assembly, so its builds use the
 * compiler's atomics, which mean the same.
 */
#ifndef VN_SHM_SYNC_H
#define VN_SHM_SYNC_H

#include <stdint.h>

#include <ck_pr.h>

/* A hint: the line of `at` will be read soon. */
static inline void
vn_sync_fetch(const void *at)
{
	__builtin_prefetch(at);
}

#if defined(__SANITIZE_THREAD__)
#define VN_SYNC_COMPILER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VN_SYNC_COMPILER 1
#endif
#endif

#ifdef VN_SYNC_COMPILER

static inline uint32_t
vn_sync_load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* Store `value`; no later load passes it. */
static inline void
vn_sync_publish(uint32_t *word, uint32_t value)
{
	__atomic_exchange_n(word, value, __ATOMIC_SEQ_CST);
}

/* The load that follows a vn_sync_publish() of the same side. */
static inline uint32_t
vn_sync_look(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

/* Store a hint: nothing is ordered by it. */
static inline void
vn_sync_hint(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

#else

static inline uint32_t
vn_sync_load(const uint32_t *word)
{
	uint32_t value = ck_pr_load_32(word);

	ck_pr_fence_load();
	ck_pr_fence_load_store();
	return value;
}

static inline void
vn_sync_publish(uint32_t *word, uint32_t value)
{
	/* The exchange orders what was written before it on x86; elsewhere the fence does. */
	ck_pr_fence_store_atomic();
	ck_pr_fas_32(word, value);
	ck_pr_fence_atomic_load();
}

static inline uint32_t
vn_sync_look(const uint32_t *word)
{
	uint32_t value = ck_pr_load_32(word);

	ck_pr_fence_load();
	return value;
}

static inline void
vn_sync_hint(uint32_t *word, uint32_t value)
{
	ck_pr_store_32(word, value);
}

#endif
#endif
