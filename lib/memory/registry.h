/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registered memory. A region is one contiguous range with two MRs on each device: bulk, with
 * IBV_ACCESS_RELAXED_ORDERING, and strict, for proofs. A client's table of regions is its own:
 * filled from the pools when the session opens, changed by its thread alone, so that looking an
 * address up takes no lock.
 */
#ifndef KVR_REGISTRY_H
#define KVR_REGISTRY_H

#include <stdint.h>

#include <infiniband/verbs.h>

#include "kvr_limits.h"

struct kvr_engine;

struct kvr_keys {
	uint32_t bulk_lkey, bulk_rkey;
	uint32_t strict_lkey, strict_rkey;
};

struct kvr_region {
	uintptr_t start;
	uint64_t size_bytes;
	struct kvr_keys keys[KVR_MAX_DEVICES]; /* by the engine's device index */
	int numa_node;
	uint32_t n_transfers; /* in batches of the owning client that refer to it; 0 for pools */
	/* cold */
	bool pool; /* belongs to a pool, not to a client */
	struct ibv_mr *bulk[KVR_MAX_DEVICES];
	struct ibv_mr *strict[KVR_MAX_DEVICES];
	uint64_t register_ns; /* what registering took */
};

/* Registers on every device, each device in a thread of its own. 0 or -errno, nothing kept. */
int kvr_region_register(struct kvr_engine *engine, void *addr, uint64_t size_bytes, int numa_node,
			struct kvr_region **region);
void kvr_region_deregister(struct kvr_region *region);

/* Written without start + size, which may be 2^64; an addr below start wraps to beyond the size. */
static inline bool
kvr_region_holds(const struct kvr_region *region, uintptr_t addr, uint64_t size_bytes)
{
	uint64_t offset = addr - region->start;

	return offset <= region->size_bytes && size_bytes <= region->size_bytes - offset;
}

/* Regions by address, sorted, not overlapping. */
struct kvr_registry {
	uint32_t n;
	struct kvr_region *regions[KVR_MAX_REGIONS];
};

/* 0, -EEXIST on overlap, -ENOSPC. */
int kvr_registry_add(struct kvr_registry *registry, struct kvr_region *region);
/* The region, taken out; NULL: none starts at addr. */
struct kvr_region *kvr_registry_remove(struct kvr_registry *registry, uintptr_t addr);
/* The region that holds [addr, addr + size_bytes); NULL: none does. */
struct kvr_region *kvr_registry_find(const struct kvr_registry *registry, uintptr_t addr,
				     uint64_t size_bytes);

#endif
