/* SPDX-License-Identifier: MIT */
/*
 * Histogram - bounds, counts and quantiles
 */
#include "broker/histogram.h"

/**
 * vn_histogram_bound() - the longest duration that a bucket counts
 *
 * Return: nanoseconds; UINT64_MAX for the last bucket.
 */
uint64_t
vn_histogram_bound(uint32_t bucket)
{
	uint32_t power = (bucket + VN_HISTOGRAM_PARTS - 1) / VN_HISTOGRAM_PARTS;
	uint32_t part = bucket - (power ? power - 1 : 0) * VN_HISTOGRAM_PARTS;

	if (bucket == 0)
		return 1ull << VN_HISTOGRAM_FIRST;
	if (bucket >= VN_HISTOGRAM_BUCKETS - 1)
		return UINT64_MAX;
	power += VN_HISTOGRAM_FIRST - 1;
	return (1ull << power) + ((uint64_t)part << (power - 2));
}

/**
 * vn_histogram_count() - how many durations it has
 */
uint64_t
vn_histogram_count(const vn_histogram *h)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < VN_HISTOGRAM_BUCKETS; i++)
		n += __atomic_load_n(&h->counts[i], __ATOMIC_RELAXED);
	return n;
}

/* As far into its bucket as the rank is into the bucket's count. */
static uint64_t
within(uint32_t bucket, double share)
{
	uint64_t low = bucket ? vn_histogram_bound(bucket - 1) : 0, high;

	if (bucket == VN_HISTOGRAM_BUCKETS - 1)
		return low; /* longer than this; by how much, nobody knows */
	high = vn_histogram_bound(bucket);
	return low + (uint64_t)((double)(high - low) * share);
}

/**
 * vn_histogram_quantile() - a duration that this share of all was not longer than
 * @h:        nobody writes it meanwhile, or it is a copy
 * @quantile: 0.5 is the median
 *
 * Return: nanoseconds, at most a quarter off; 0 if it is empty.
 */
uint64_t
vn_histogram_quantile(const vn_histogram *h, double quantile)
{
	double rank = quantile * (double)vn_histogram_count(h), before = 0;
	uint32_t last = 0;

	for (uint32_t i = 0; i < VN_HISTOGRAM_BUCKETS; i++) {
		double n = (double)h->counts[i];

		if (n > 0 && before + n >= rank)
			return within(i, (rank - before) / n);
		before += n;
		last = n > 0 ? i : last;
	}
	return before > 0 ? within(last, 1) : 0;
}
