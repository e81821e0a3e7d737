/* SPDX-License-Identifier: BSD-3-Clause */
/* Pools, without a device: blocks and runs against a shadow of one byte a block. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>

#include "engine.h"
#include "harness.h"
#include "pool.h"

#define N_BLOCKS    1000 /* no multiple of 64: the last word of the bitmap is partial */
#define BLOCK_BYTES 4096
#define N_STEPS	    20000
#define N_THREADS   4

static struct kvr_engine engine = {.control_lock = PTHREAD_MUTEX_INITIALIZER};

static struct kvr_pool *
pool_make(uint64_t size_bytes, uint64_t block_bytes)
{
	const struct kvr_pool_config config = {
		.size_bytes = size_bytes, .block_bytes = block_bytes, .numa_node = -1};
	struct kvr_error error = {""};
	struct kvr_pool *pool = NULL;

	CU_ASSERT_FATAL(kvr_pool_create(&engine, &config, &pool, &error) == 0);
	return pool;
}

static void
pool_end(struct kvr_pool *pool)
{
	engine.n_pools--;
	kvr_pool_destroy(pool);
}

/* ---- the model ---- */

struct shadow {
	uint8_t used[N_BLOCKS];
	uint32_t n_used;
	struct kvr_block *held[N_BLOCKS];
	uint32_t n_held;
};

/* Nobody had these blocks, and the descriptor says where they are. */
static void
shadow_take(struct shadow *shadow, const struct kvr_pool *pool, struct kvr_block *block, uint32_t n)
{
	uint32_t i;

	CU_ASSERT_FATAL(block->n_blocks == n && block->first_idx + n <= N_BLOCKS);
	CU_ASSERT(block->addr ==
		  (uint8_t *)kvr_pool_base(pool) + (uint64_t)block->first_idx * BLOCK_BYTES);
	for (i = 0; i < n; i++) {
		CU_ASSERT(!shadow->used[block->first_idx + i]);
		shadow->used[block->first_idx + i] = 1;
	}
	shadow->n_used += n;
	shadow->held[shadow->n_held++] = block;
}

static uint32_t
shadow_largest_run(const struct shadow *shadow)
{
	uint32_t i, run = 0, largest = 0;

	for (i = 0; i < N_BLOCKS; i++) {
		run = shadow->used[i] ? 0 : run + 1;
		largest = RTE_MAX(largest, run);
	}
	return largest;
}

static void
step_bulk(struct shadow *shadow, struct kvr_pool *pool)
{
	struct kvr_block *blocks[N_BLOCKS];
	uint32_t i, n = (uint32_t)harness_magnitude(1, N_BLOCKS);
	int ret = kvr_block_alloc_bulk(pool, blocks, n);

	CU_ASSERT(ret == (n <= N_BLOCKS - shadow->n_used ? 0 : -ENOSPC));
	for (i = 0; ret == 0 && i < n; i++)
		shadow_take(shadow, pool, blocks[i], 1);
}

static void
step_run(struct shadow *shadow, struct kvr_pool *pool)
{
	uint32_t n = (uint32_t)harness_magnitude(1, N_BLOCKS);
	struct kvr_block *run;
	int ret = kvr_block_alloc_run(pool, n, &run);

	CU_ASSERT(ret == (n <= shadow_largest_run(shadow) ? 0 : -ENOSPC));
	if (ret == 0)
		shadow_take(shadow, pool, run, n);
}

/* Some of what is held, blocks and runs mixed, in any order. */
static void
step_free(struct shadow *shadow, struct kvr_pool *pool)
{
	struct kvr_block *blocks[N_BLOCKS];
	uint32_t i, n = (uint32_t)harness_between(0, shadow->n_held);

	for (i = 0; i < n; i++) {
		uint32_t at = (uint32_t)harness_between(0, shadow->n_held - 1);

		blocks[i] = shadow->held[at];
		shadow->held[at] = shadow->held[--shadow->n_held];
		memset(shadow->used + blocks[i]->first_idx, 0, blocks[i]->n_blocks);
		shadow->n_used -= blocks[i]->n_blocks;
	}
	kvr_block_free_bulk(pool, blocks, n);
}

static void
pool_agrees_with_shadow_in_any_sequence(void)
{
	struct kvr_pool *pool = pool_make(N_BLOCKS * BLOCK_BYTES, BLOCK_BYTES);
	struct shadow *shadow = calloc(1, sizeof(*shadow));
	uint32_t i, n_free, largest;

	harness_seed();
	for (i = 0; i < N_STEPS && CU_get_number_of_failures() == 0; i++) {
		switch (harness_between(0, 2)) {
		case 0:
			step_bulk(shadow, pool);
			break;
		case 1:
			step_run(shadow, pool);
			break;
		default:
			step_free(shadow, pool);
		}
		kvr_pool_usage(pool, &n_free, &largest);
		CU_ASSERT(n_free == N_BLOCKS - shadow->n_used);
		CU_ASSERT(largest == shadow_largest_run(shadow));
	}
	free(shadow);
	pool_end(pool);
}

/* ---- single cases ---- */

static void
pool_hands_out_adjacent_blocks_lowest_first(void)
{
	struct kvr_pool *pool = pool_make(N_BLOCKS * BLOCK_BYTES, BLOCK_BYTES);
	struct kvr_block *blocks[100], *again[3];
	uint32_t i;

	CU_ASSERT_FATAL(kvr_block_alloc_bulk(pool, blocks, 100) == 0);
	for (i = 0; i < 100; i++)
		CU_ASSERT(blocks[i]->first_idx == i);
	kvr_block_free_bulk(pool, &blocks[40], 2);
	CU_ASSERT_FATAL(kvr_block_alloc_bulk(pool, again, 3) == 0);
	CU_ASSERT(again[0]->first_idx == 40);
	CU_ASSERT(again[1]->first_idx == 41);
	CU_ASSERT(again[2]->first_idx == 100);
	pool_end(pool);
}

static void
pool_ignores_what_is_freed_twice(void)
{
	struct kvr_pool *pool = pool_make(N_BLOCKS * BLOCK_BYTES, BLOCK_BYTES);
	struct kvr_block *twice[2], *all[N_BLOCKS], *more;
	uint32_t n_free, largest;

	CU_ASSERT_FATAL(kvr_block_alloc_run(pool, 7, &twice[0]) == 0);
	twice[1] = twice[0];
	kvr_block_free_bulk(pool, twice, 2);
	kvr_block_free_bulk(pool, twice, 1);
	kvr_pool_usage(pool, &n_free, &largest);
	CU_ASSERT(n_free == N_BLOCKS);
	CU_ASSERT(largest == N_BLOCKS);
	/* Descriptors are as many as before, each once. */
	CU_ASSERT(kvr_block_alloc_bulk(pool, all, N_BLOCKS) == 0);
	CU_ASSERT(kvr_block_alloc_bulk(pool, &more, 1) == -ENOSPC);
	pool_end(pool);
}

/* A freed descriptor stands for nothing, whoever has its blocks by now; nor does a copy of it. */
static void
pool_keeps_blocks_from_their_former_holder(void)
{
	struct kvr_pool *pool = pool_make(N_BLOCKS * BLOCK_BYTES, BLOCK_BYTES);
	struct kvr_block *former, *holder, copy, *of_copy = &copy;
	uint32_t n_free, largest;

	CU_ASSERT_FATAL(kvr_block_alloc_run(pool, 5, &former) == 0);
	copy = *former;
	kvr_block_free_bulk(pool, &former, 1);
	kvr_block_free_bulk(pool, &of_copy, 1);
	kvr_pool_usage(pool, &n_free, &largest);
	CU_ASSERT(n_free == N_BLOCKS);
	CU_ASSERT_FATAL(kvr_block_alloc_run(pool, 5, &holder) == 0);
	CU_ASSERT(holder->first_idx == copy.first_idx && holder != former);
	kvr_block_free_bulk(pool, &former, 1);
	kvr_pool_usage(pool, &n_free, &largest);
	CU_ASSERT(n_free == N_BLOCKS - 5);
	pool_end(pool);
}

static void
pool_rounds_its_size_up_to_whole_blocks(void)
{
	struct kvr_pool *pool = pool_make(10001, 1000);

	CU_ASSERT(kvr_pool_size_bytes(pool) == 11000);
	CU_ASSERT((uintptr_t)kvr_pool_base(pool) % (2 << 20) == 0);
	pool_end(pool);
}

static void
pool_refuses_what_cannot_be(void)
{
	const struct {
		uint64_t size_bytes, block_bytes;
		int ret;
	} cases[] = {
		{0, 1, -EINVAL},
		{1, 0, -EINVAL},
		{UINT64_MAX, 1, -EINVAL},
		{(uint64_t)1 << 32, 1, -EINVAL},
		{(uint64_t)1 << 40, 1 << 20, -ENOMEM},
	};
	struct kvr_pool *pool;
	size_t i;

	for (i = 0; i < RTE_DIM(cases); i++) {
		const struct kvr_pool_config config = {.size_bytes = cases[i].size_bytes,
						       .block_bytes = cases[i].block_bytes,
						       .numa_node = -1};
		struct kvr_error error = {""};

		CU_ASSERT(kvr_pool_create(&engine, &config, &pool, &error) == cases[i].ret);
		CU_ASSERT(error.text[0] != '\0');
	}
}

static void
pool_of_a_running_engine_is_refused(void)
{
	const struct kvr_pool_config config = {.size_bytes = 4096, .block_bytes = 4096};
	struct kvr_pool *pool;

	engine.running = true;
	CU_ASSERT(kvr_pool_create(&engine, &config, &pool, NULL) == -EBUSY);
	engine.running = false;
}

/* ---- threads that EAL does not know ---- */

static void *
churn(void *arg)
{
	struct kvr_pool *pool = arg;
	struct kvr_block *blocks[16];
	uint32_t i, k;

	for (i = 0; i < N_STEPS; i++) {
		if (kvr_block_alloc_bulk(pool, blocks, 16) != 0)
			return (void *)1;
		for (k = 0; k < 16; k++)
			memcpy(blocks[k]->addr, &blocks[k], sizeof(blocks[k]));
		for (k = 0; k < 16; k++)
			if (memcmp(blocks[k]->addr, &blocks[k], sizeof(blocks[k])) != 0)
				return (void *)2;
		kvr_block_free_bulk(pool, blocks, 16);
	}
	return NULL;
}

static void
pool_serves_threads_that_eal_does_not_know(void)
{
	struct kvr_pool *pool = pool_make(N_BLOCKS * BLOCK_BYTES, BLOCK_BYTES);
	pthread_t threads[N_THREADS];
	uint32_t i, n_free, largest;
	void *result;

	for (i = 0; i < N_THREADS; i++)
		pthread_create(&threads[i], NULL, churn, pool);
	for (i = 0; i < N_THREADS; i++) {
		pthread_join(threads[i], &result);
		CU_ASSERT(result == NULL);
	}
	kvr_pool_usage(pool, &n_free, &largest);
	CU_ASSERT(n_free == N_BLOCKS);
	pool_end(pool);
}

int
main(void)
{
	harness_eal(1);
	return HARNESS_RUN("pool", TEST(pool_agrees_with_shadow_in_any_sequence),
			   TEST(pool_hands_out_adjacent_blocks_lowest_first),
			   TEST(pool_ignores_what_is_freed_twice),
			   TEST(pool_keeps_blocks_from_their_former_holder),
			   TEST(pool_rounds_its_size_up_to_whole_blocks),
			   TEST(pool_refuses_what_cannot_be),
			   TEST(pool_of_a_running_engine_is_refused),
			   TEST(pool_serves_threads_that_eal_does_not_know));
}
