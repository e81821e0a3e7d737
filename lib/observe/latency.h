/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Latency histogram in fixed memory: log-linear, 32 buckets to each power of two of nanoseconds,
 * so a percentile is at most 3.2 % off. One writer; others may read and merge.
 */
#ifndef KVR_LATENCY_H
#define KVR_LATENCY_H

#include <stdint.h>

#define KVR_LATENCY_SUB_LOG2 5
#define KVR_LATENCY_BUCKETS  ((64 - KVR_LATENCY_SUB_LOG2 + 1) << KVR_LATENCY_SUB_LOG2)

struct kvr_latency {
	uint64_t n;
	uint64_t max_ns;
	uint64_t buckets[KVR_LATENCY_BUCKETS];
};

void kvr_latency_add(struct kvr_latency *latency, uint64_t ns);
/* dst += src; src may be in use by its writer. */
void kvr_latency_merge(struct kvr_latency *dst, const struct kvr_latency *src);
/* Upper bound of the bucket of the pct-th percentile (0 < pct <= 100), and at most the largest
 * value seen, in ns; 0 when empty. */
uint64_t kvr_latency_percentile_ns(const struct kvr_latency *latency, double pct);

#endif
