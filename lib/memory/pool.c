/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pools. Set-up: a memzone of EAL's hugepages, touched and registered. Later: blocks and runs of
 * blocks, lowest first, by a bitmap under a lock. The same lock covers the mempool of
 * descriptors, which therefore needs no cache and no multi-producer ring, and may be used by
 * threads that EAL does not know.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>

#include "engine.h"
#include "kvr_numa.h"
#include "pool.h"

#define HUGEPAGE_BYTES ((uint64_t)2 << 20)
#define WORD_BITS      64
#define DESCRIPTOR_FLAGS                                                                           \
	(RTE_MEMPOOL_F_SP_PUT | RTE_MEMPOOL_F_SC_GET | RTE_MEMPOOL_F_NO_CACHE_ALIGN |              \
	 RTE_MEMPOOL_F_NO_SPREAD | RTE_MEMPOOL_F_NO_IOVA_CONTIG)
#define LARGEST_BYTES_2M ((uint64_t)16 << 30) /* EAL's memseg list: 8192 pages */

/* ---- memory ---- */

static uint64_t
read_number(const char *path)
{
	FILE *file = fopen(path, "re");
	uint64_t n = 0;

	if (file == NULL)
		return 0;
	if (fscanf(file, "%" SCNu64, &n) != 1)
		n = 0;
	fclose(file);
	return n;
}

/* Why there is no memory, and the command that helps. */
static int
fail_memory(const char *name, uint64_t bytes, int node, struct kvr_error *error)
{
	static const char sysfs[] = "/sys/kernel/mm/hugepages/hugepages-2048kB";
	uint64_t mib = bytes >> 20, pages = bytes / HUGEPAGE_BYTES + 2; /* ends, and alignment */
	uint64_t reserved, free_pages;
	char dir[96], path[128];

	if (!rte_eal_has_hugepages())
		return kvr_fail(error, -ENOMEM,
				"pool %s: %" PRIu64 " MiB do not fit: with --no-huge, raise EAL's "
				"-m to %" PRIu64 " or more",
				name, mib, mib + mib / 8 + 64);
	/* With more nodes than one, the count of one node is what matters, and what to write. */
	if (rte_socket_count() > 1)
		snprintf(dir, sizeof(dir),
			 "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB", node);
	else
		snprintf(dir, sizeof(dir), "%s", sysfs);
	snprintf(path, sizeof(path), "%s/nr_hugepages", dir);
	reserved = read_number(path);
	snprintf(path, sizeof(path), "%s/free_hugepages", dir);
	free_pages = read_number(path);
	if (free_pages >= pages)
		return kvr_fail(error, -ENOMEM,
				"pool %s: no %" PRIu64 " MiB in one piece: at most %" PRIu64
				" GiB of 2 MiB pages are; take more pools, or 1 GiB pages",
				name, mib, LARGEST_BYTES_2M >> 30);
	return kvr_fail(error, -ENOMEM,
			"pool %s: %" PRIu64 " MiB need %" PRIu64 " pages of 2 MiB, %" PRIu64
			" are free on node %d: echo %" PRIu64 " > %s/nr_hugepages",
			name, mib, pages, free_pages, node, reserved - free_pages + pages, dir);
}

/* EAL has populated its hugepages; without them (--no-huge) nothing is there yet. */
static void
touch(uint8_t *base, uint64_t bytes, uint64_t page_bytes)
{
	volatile uint8_t *p = base;
	uint64_t at;

	for (at = 0; at < bytes; at += page_bytes)
		p[at] = p[at];
}

static int
memory_take(struct kvr_pool *pool, uint32_t idx, uint64_t bytes, int node, struct kvr_error *error)
{
	char zone[RTE_MEMZONE_NAMESIZE];
	const struct rte_memzone *mz;

	/* A memzone is one piece by definition, and shows in EAL's telemetry. */
	snprintf(zone, sizeof(zone), "kvr_pool_%u", idx);
	mz = rte_memzone_reserve_aligned(zone, bytes, node, 0, HUGEPAGE_BYTES);
	if (mz == NULL)
		mz = rte_memzone_reserve_aligned(zone, bytes, SOCKET_ID_ANY, 0, HUGEPAGE_BYTES);
	if (mz == NULL)
		return fail_memory(pool->name, bytes, node, error);
	pool->memzone = mz;
	pool->base = mz->addr;
	touch(pool->base, bytes, mz->hugepage_sz);
	pool->numa_node = kvr_numa_node_of(pool->base);
	if (pool->numa_node < 0)
		pool->numa_node = mz->socket_id;
	if (pool->numa_node != node)
		KVR_LOG(WARNING,
			"pool %s: node %d has no room for it, node %d holds it, which is slower: "
			"reserve %" PRIu64 " pages in /sys/devices/system/node/node%d/hugepages/"
			"hugepages-2048kB/nr_hugepages\n",
			pool->name, node, pool->numa_node, bytes / HUGEPAGE_BYTES + 2, node);
	return 0;
}

static int
descriptors_make(struct kvr_pool *pool, uint32_t idx, struct kvr_error *error)
{
	char name[RTE_MEMPOOL_NAMESIZE];
	struct rte_mempool_objsz size;

	snprintf(name, sizeof(name), "kvr_blocks_%u", idx);
	pool->descriptors =
		rte_mempool_create(name, pool->n_blocks, sizeof(struct kvr_block), 0, 0, NULL, NULL,
				   NULL, NULL, pool->numa_node, DESCRIPTOR_FLAGS);
	if (pool->descriptors != NULL)
		return 0;
	if (rte_errno != ENOMEM)
		return kvr_fail(error, -rte_errno, "pool %s: no mempool of %u descriptors: %s",
				pool->name, pool->n_blocks, rte_strerror(rte_errno));
	/* Each has a header, and a slot of the mempool's ring. */
	rte_mempool_calc_obj_size(sizeof(struct kvr_block), DESCRIPTOR_FLAGS, &size);
	return fail_memory(pool->name,
			   ((uint64_t)size.total_size + 2 * sizeof(void *)) * pool->n_blocks,
			   pool->numa_node, error);
}

/* ---- bitmap ---- */

static size_t
n_words(const struct kvr_pool *pool)
{
	return ((size_t)pool->n_blocks + WORD_BITS - 1) / WORD_BITS;
}

/* The first block from `from` on that is free, or is not; n_blocks: there is none. */
static uint32_t
find(const struct kvr_pool *pool, uint32_t from, bool want_free)
{
	uint64_t flip = want_free ? 0 : UINT64_MAX;
	uint64_t bits;
	size_t w;

	if (from >= pool->n_blocks)
		return pool->n_blocks;
	w = from / WORD_BITS;
	bits = (pool->free[w] ^ flip) & (UINT64_MAX << from % WORD_BITS);
	while (bits == 0) {
		if (++w == n_words(pool))
			return pool->n_blocks;
		bits = pool->free[w] ^ flip;
	}
	/* Bits beyond the last block are never free, so that this is at most n_blocks. */
	return (uint32_t)(w * WORD_BITS) + (uint32_t)__builtin_ctzll(bits);
}

static void
mark(struct kvr_pool *pool, uint32_t first, uint32_t n, bool is_free)
{
	while (n > 0) {
		uint32_t bit = first % WORD_BITS;
		uint32_t take = n < WORD_BITS - bit ? n : WORD_BITS - bit;
		uint64_t mask = (take == WORD_BITS ? UINT64_MAX : (1ull << take) - 1) << bit;

		if (is_free)
			pool->free[first / WORD_BITS] |= mask;
		else
			pool->free[first / WORD_BITS] &= ~mask;
		first += take;
		n -= take;
	}
}

/* Takes [first, first + n), which is free, and says so in the descriptor. */
static void
take_run(struct kvr_pool *pool, struct kvr_block *block, uint32_t first, uint32_t n)
{
	mark(pool, first, n, false);
	pool->n_free -= n;
	if (first == pool->hint)
		pool->hint = first + n;
	block->addr = pool->base + (uint64_t)first * pool->block_bytes;
	block->n_blocks = n;
	block->first_idx = first;
}

/* ---- pools ---- */

static int
config_check(const struct kvr_engine *engine, const struct kvr_pool_config *config,
	     uint64_t *n_blocks, struct kvr_error *error)
{
	uint64_t size = config->size_bytes, block = config->block_bytes;
	uint32_t i;

	if (engine->running)
		return kvr_fail(error, -EBUSY, "pools are made before the engine starts");
	if (engine->n_pools == KVR_MAX_POOLS)
		return kvr_fail(error, -EINVAL, "more than %d pools", KVR_MAX_POOLS);
	if (size == 0 || block == 0 || size > INT64_MAX || block > INT64_MAX)
		return kvr_fail(error, -EINVAL,
				"pool of %" PRIu64 " bytes in blocks of %" PRIu64
				": both must be from 1 to 2^63 - 1",
				size, block);
	*n_blocks = (size + block - 1) / block;
	if (*n_blocks >= UINT32_MAX)
		return kvr_fail(error, -EINVAL,
				"%" PRIu64 " blocks of %" PRIu64 " bytes are too many: fewer than "
				"2^32 - 1, so use larger ones",
				*n_blocks, block);
	if (config->name != NULL && strlen(config->name) >= KVR_NAME_BYTES)
		return kvr_fail(error, -EINVAL, "pool name '%s' is longer than %d", config->name,
				KVR_NAME_BYTES - 1);
	for (i = 0; config->name != NULL && i < engine->n_pools; i++)
		if (strcmp(engine->pools[i]->name, config->name) == 0)
			return kvr_fail(error, -EINVAL, "there is a pool '%s' already",
					config->name);
	return 0;
}

static int
node_choose(const struct kvr_engine *engine, const struct kvr_pool_config *config)
{
	if (config->numa_node >= 0)
		return config->numa_node;
	if (engine->n_devices > 0 && engine->devices[0].numa_node >= 0)
		return engine->devices[0].numa_node;
	return (int)rte_lcore_to_socket_id(rte_get_main_lcore());
}

static int
pool_fill(struct kvr_pool *pool, uint32_t idx, int node, struct kvr_error *error)
{
	uint64_t bytes = kvr_pool_size_bytes(pool);
	int ret;

	ret = memory_take(pool, idx, bytes, node, error);
	if (ret == 0)
		ret = descriptors_make(pool, idx, error);
	if (ret != 0)
		return ret;
	pool->free = calloc(n_words(pool), sizeof(*pool->free));
	if (pool->free == NULL)
		return kvr_fail(error, -ENOMEM, "pool %s: out of memory", pool->name);
	mark(pool, 0, pool->n_blocks, true);
	pool->n_free = pool->n_blocks;
	ret = kvr_region_register(pool->engine, pool->base, bytes, pool->numa_node, &pool->region);
	if (ret != 0)
		return kvr_fail(error, ret, "pool %s: cannot be registered: %s (see `ulimit -l`)",
				pool->name, strerror(-ret));
	pool->region->pool = true;
	return 0;
}

int
kvr_pool_create(struct kvr_engine *engine, const struct kvr_pool_config *config,
		struct kvr_pool **pool_out, struct kvr_error *error)
{
	struct kvr_pool *pool = NULL;
	uint64_t n_blocks = 0;
	int ret;

	pthread_mutex_lock(&engine->control_lock);
	ret = config_check(engine, config, &n_blocks, error);
	if (ret != 0)
		goto out;
	pool = calloc(1, sizeof(*pool));
	if (pool == NULL) {
		ret = kvr_fail(error, -ENOMEM, "out of memory");
		goto out;
	}
	pool->engine = engine;
	pool->block_bytes = config->block_bytes;
	pool->n_blocks = (uint32_t)n_blocks;
	pthread_mutex_init(&pool->lock, NULL);
	if (config->name != NULL)
		snprintf(pool->name, sizeof(pool->name), "%s", config->name);
	else
		snprintf(pool->name, sizeof(pool->name), "pool%u", engine->n_pools);
	ret = pool_fill(pool, engine->n_pools, node_choose(engine, config), error);
	if (ret != 0) {
		kvr_pool_destroy(pool);
		goto out;
	}
	KVR_LOG(INFO, "pool %s: registered %.3f GiB on %u devices in %.0f ms\n", pool->name,
		(double)kvr_pool_size_bytes(pool) / (double)(1 << 30), engine->n_devices,
		(double)pool->region->register_ns / 1e6);
	engine->pools[engine->n_pools++] = pool;
	*pool_out = pool;
out:
	pthread_mutex_unlock(&engine->control_lock);
	return ret;
}

void
kvr_pool_destroy(struct kvr_pool *pool)
{
	if (pool->region != NULL)
		kvr_region_deregister(pool->region);
	rte_mempool_free(pool->descriptors);
	if (pool->memzone != NULL)
		rte_memzone_free(pool->memzone);
	pthread_mutex_destroy(&pool->lock);
	free(pool->free);
	free(pool);
}

void *
kvr_pool_base(const struct kvr_pool *pool)
{
	return pool->base;
}

uint64_t
kvr_pool_size_bytes(const struct kvr_pool *pool)
{
	return pool->n_blocks * pool->block_bytes;
}

void
kvr_pool_usage(struct kvr_pool *pool, uint32_t *n_free, uint32_t *largest_run)
{
	uint32_t from, end;

	*largest_run = 0;
	pthread_mutex_lock(&pool->lock);
	*n_free = pool->n_free;
	for (from = find(pool, pool->hint, true); from < pool->n_blocks;
	     from = find(pool, end, true)) {
		end = find(pool, from, false);
		if (end - from > *largest_run)
			*largest_run = end - from;
	}
	pthread_mutex_unlock(&pool->lock);
}

/* ---- blocks ---- */

int
kvr_block_alloc_bulk(struct kvr_pool *pool, struct kvr_block **blocks, uint32_t n)
{
	uint32_t i;
	int ret = -ENOSPC;

	pthread_mutex_lock(&pool->lock);
	if (n <= pool->n_free && rte_mempool_get_bulk(pool->descriptors, (void **)blocks, n) == 0) {
		for (i = 0; i < n; i++) {
			pool->hint = find(pool, pool->hint, true);
			take_run(pool, blocks[i], pool->hint, 1);
		}
		ret = 0;
	}
	pthread_mutex_unlock(&pool->lock);
	return ret;
}

int
kvr_block_alloc_run(struct kvr_pool *pool, uint32_t n_blocks, struct kvr_block **run)
{
	uint32_t from, end;
	int ret = -ENOSPC;

	if (n_blocks == 0)
		return -EINVAL;
	pthread_mutex_lock(&pool->lock);
	if (n_blocks > pool->n_free)
		goto out;
	for (from = find(pool, pool->hint, true); from < pool->n_blocks;
	     from = find(pool, end, true)) {
		end = find(pool, from, false);
		if (end - from < n_blocks)
			continue;
		if (rte_mempool_get(pool->descriptors, (void **)run) == 0) {
			take_run(pool, *run, from, n_blocks);
			ret = 0;
		}
		break;
	}
out:
	pthread_mutex_unlock(&pool->lock);
	return ret;
}

/* Does the descriptor stand for blocks that are allocated? One that was freed says 0 blocks until
 * it is handed out again, even when its blocks are another holder's by now. */
static bool
is_allocated(const struct kvr_pool *pool, const struct kvr_block *block)
{
	uint32_t first = block->first_idx, n = block->n_blocks;

	return n > 0 && first < pool->n_blocks && n <= pool->n_blocks - first &&
	       block->addr == pool->base + (uint64_t)first * pool->block_bytes &&
	       find(pool, first, true) >= first + n;
}

void
kvr_block_free_bulk(struct kvr_pool *pool, struct kvr_block **blocks, uint32_t n)
{
	uint32_t i, n_bad = 0, bad_idx = 0;

	pthread_mutex_lock(&pool->lock);
	for (i = 0; i < n; i++) {
		struct kvr_block *block = blocks[i];

		if (!is_allocated(pool, block)) {
			bad_idx = block->first_idx;
			n_bad++;
			continue;
		}
		mark(pool, block->first_idx, block->n_blocks, true);
		pool->n_free += block->n_blocks;
		if (block->first_idx < pool->hint)
			pool->hint = block->first_idx;
		block->n_blocks = 0;
		rte_mempool_put(pool->descriptors, block);
	}
	pthread_mutex_unlock(&pool->lock);
	if (n_bad > 0)
		KVR_LOG(ERR, "pool %s: %u of %u blocks freed are not allocated (one is block %u)\n",
			pool->name, n_bad, n, bad_idx);
}
