/* SPDX-License-Identifier: MIT */
/*
 * Histogram - how long things took, in log-linear buckets
 *
 * Four buckets for each power of two from 1.024 us to 68.7 s, one for what is shorter and one for what is longer:
 * a quantile is at most a quarter off, whatever it is. A bucket holds what is longer than the bound of the one
 * before and not longer than its own, as Prometheus has it. Adding is two stores; the count is the sum of the
 * buckets, so it can never disagree with them. Durations are nanoseconds.
 *
 * It lies in the counters file (counters.h): one writer, readers at any time.
 */
#ifndef VN_BROKER_HISTOGRAM_H
#define VN_BROKER_HISTOGRAM_H

#include <stdint.h>

#define VN_HISTOGRAM_FIRST   10 /* 2^10 ns: the bound of the first bucket */
#define VN_HISTOGRAM_LAST    36 /* 2^36 ns: that of the last but one */
#define VN_HISTOGRAM_PARTS   4  /* of a power of two */
#define VN_HISTOGRAM_BUCKETS ((VN_HISTOGRAM_LAST - VN_HISTOGRAM_FIRST) * VN_HISTOGRAM_PARTS + 2)

typedef struct vn_histogram {
	uint64_t sum_ns;
	uint64_t counts[VN_HISTOGRAM_BUCKETS];
} __attribute__((aligned(64))) vn_histogram;

/*
 * A counter that others read while we write: never torn, and no more than that. There is no C for "add to memory, by one
 * instruction, without a lock".
 */
static inline void
vn_count(uint64_t *counter, uint64_t n)
{
#if defined(__x86_64__)
	__asm__("addq %1, %0" : "+m"(*counter) : "er"(n) : "cc");
#else
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
#endif
}

/* A gauge, likewise. */
static inline void
vn_gauge_put(uint64_t *gauge, uint64_t value)
{
	__atomic_store_n(gauge, value, __ATOMIC_RELAXED);
}

/* Which bucket counts a duration. */
static inline uint32_t
vn_histogram_bucket(uint64_t ns)
{
	uint64_t below = ns - 1; /* a bound belongs to the bucket that it ends */
	uint32_t power;

	if (ns <= 1u << VN_HISTOGRAM_FIRST)
		return 0;
	power = 63u ^ (uint32_t)__builtin_clzll(below); /* one instruction, where 63 - n is three */
	if (power >= VN_HISTOGRAM_LAST)
		return VN_HISTOGRAM_BUCKETS - 1;
	return 1 + (power - VN_HISTOGRAM_FIRST) * VN_HISTOGRAM_PARTS +
	       (uint32_t)(below >> (power - 2)) - VN_HISTOGRAM_PARTS;
}

/* One duration more. */
static inline void
vn_histogram_add(vn_histogram *h, uint64_t ns)
{
	vn_count(&h->counts[vn_histogram_bucket(ns)], 1);
	vn_count(&h->sum_ns, ns);
}

uint64_t vn_histogram_bound(uint32_t bucket); /* UINT64_MAX for the last one */
uint64_t vn_histogram_count(const vn_histogram *h);
uint64_t vn_histogram_quantile(const vn_histogram *h, double quantile);

#endif
