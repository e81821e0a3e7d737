/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters: plain u64 words of one lcore, on cache lines of its own, read by others with relaxed
 * loads. x86 and ARM64 load and store an aligned u64 whole, so a reader sees an old or a new value,
 * never a torn one.
 */
#ifndef KVR_COUNTERS_H
#define KVR_COUNTERS_H

#include <stdint.h>

#include "kvr_limits.h"

/* One poller on one device. Bytes are added when a part ends, whole, so that failed transfers are
 * never in them. */
struct kvr_device_counters {
	uint64_t bytes[2]; /* by enum kvr_op: [0] rx (READ), [1] tx (WRITE) */
	uint64_t slices[2];
	uint64_t failed_bytes;
	uint64_t proofs;
	uint64_t wqes;
	uint64_t doorbells;
	uint64_t cqes;
	uint64_t errors;
} __attribute__((aligned(KVR_CACHE_LINE)));

/* One poller. */
struct kvr_poller_counters {
	uint64_t polls;
	uint64_t empty_polls;
	uint64_t busy_tsc;
	uint64_t idle_tsc;
	uint64_t parts;
	uint64_t transfers;
	uint64_t failed_parts;
	uint64_t rewound_parts; /* sent again after a lane went out of use */
} __attribute__((aligned(KVR_CACHE_LINE)));

/* Owner's side: a single relaxed store, so that a reader's load is whole. */
static inline void
kvr_count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* Reader's side. */
static inline uint64_t
kvr_counter_read(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

#endif
