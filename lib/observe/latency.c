/* SPDX-License-Identifier: BSD-3-Clause */
#include "latency.h"

#include "counters.h"

#define SUB	 (1u << KVR_LATENCY_SUB_LOG2)
#define SUB_MASK (SUB - 1)

/*
 * The first 32 buckets hold 0 to 31 ns; from then on each power of two has 32, so that the bucket
 * is the exponent and the five bits below the leading one:
 *
 *     ns = 1 b4 b3 b2 b1 b0 x x x      shift = 3: bucket (3 + 1) * 32 + b
 */
static uint32_t
bucket_of(uint64_t ns)
{
	uint32_t shift;

	if (ns < SUB)
		return (uint32_t)ns;
	shift = 63 - (uint32_t)__builtin_clzll(ns) - KVR_LATENCY_SUB_LOG2;
	return ((shift + 1) << KVR_LATENCY_SUB_LOG2) + ((uint32_t)(ns >> shift) & SUB_MASK);
}

/* The largest value that falls into the bucket; the last one's wraps to UINT64_MAX as it should. */
static uint64_t
bucket_max(uint32_t bucket)
{
	uint32_t shift;

	if (bucket < SUB)
		return bucket;
	shift = (bucket >> KVR_LATENCY_SUB_LOG2) - 1;
	return (((uint64_t)(bucket & SUB_MASK) + SUB + 1) << shift) - 1;
}

void
kvr_latency_add(struct kvr_latency *latency, uint64_t ns)
{
	kvr_count(&latency->buckets[bucket_of(ns)], 1);
	kvr_count(&latency->n, 1);
	if (ns > latency->max_ns)
		__atomic_store_n(&latency->max_ns, ns, __ATOMIC_RELAXED);
}

void
kvr_latency_merge(struct kvr_latency *dst, const struct kvr_latency *src)
{
	uint64_t max_ns = kvr_counter_read(&src->max_ns);

	/* src->n may be ahead of or behind the buckets by now: count what was read */
	for (uint32_t i = 0; i < KVR_LATENCY_BUCKETS; i++) {
		uint64_t n = kvr_counter_read(&src->buckets[i]);

		dst->buckets[i] += n;
		dst->n += n;
	}
	if (max_ns > dst->max_ns)
		dst->max_ns = max_ns;
}

uint64_t
kvr_latency_percentile_ns(const struct kvr_latency *latency, double pct)
{
	double rank = (double)latency->n * pct / 100;
	uint64_t n = 0;

	for (uint32_t i = 0; latency->n != 0 && i < KVR_LATENCY_BUCKETS; i++) {
		n += latency->buckets[i];
		if (n != 0 && (double)n >= rank) {
			uint64_t ns = bucket_max(i);

			return ns < latency->max_ns ? ns : latency->max_ns;
		}
	}
	return 0;
}
