/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pool: one hugepage region (an rte_memzone), a bitmap of free blocks, and an rte_mempool of the
 * descriptors that stand for allocated runs. The bitmap is a plain one: rte_bitmap scans onward
 * from where it last stopped, so that it can neither find the lowest free block nor a run.
 */
#ifndef KVR_POOL_H
#define KVR_POOL_H

#include <pthread.h>
#include <stdint.h>

#include <rte_mempool.h>
#include <rte_memzone.h>

#include "kvr.h"
#include "kvr_limits.h"

struct kvr_pool {
	struct kvr_engine *engine;
	char name[KVR_NAME_BYTES];
	uint8_t *base;
	uint64_t block_bytes;
	uint32_t n_blocks;
	int numa_node; /* where the memory really is */
	struct kvr_region *region;

	/* Guards all below. A mutex: any thread may be preempted while it holds it. */
	pthread_mutex_t lock;
	uint32_t n_free;
	uint32_t hint;	/* no block below it is free */
	uint64_t *free; /* a bit for each block, 1: free */
	struct rte_mempool *descriptors;
	const struct rte_memzone *memzone;
};

void kvr_pool_destroy(struct kvr_pool *pool);
/* Free blocks, and the largest run of adjacent ones. Takes the lock; for telemetry. */
void kvr_pool_usage(struct kvr_pool *pool, uint32_t *n_free, uint32_t *largest_run);

#endif
