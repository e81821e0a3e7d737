/* SPDX-License-Identifier: BSD-3-Clause */
#include "plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "app_message.h"

#define ABSENT UINT32_MAX

struct slot {
	TAILQ_ENTRY(slot) link;
	uint32_t block;
	uint32_t n_writes;
	uint32_t n_uses;
};
TAILQ_HEAD(slot_list, slot);

/* The pool, as it is after the references so far. */
struct pool {
	struct slot *slots;
	uint32_t n_slots;
	uint32_t n_used;
	uint32_t *slot_of;	 /* by block; ABSENT */
	uint64_t *last_in;	 /* by block: 1 + the last request that named it */
	struct slot_list recent; /* least recently used first */
};

/* A slot for a block that has none: a fresh one, or the least recently used. */
static struct slot *
pool_take(struct pool *pool, uint64_t *n_evictions)
{
	struct slot *slot;

	if (pool->n_used < pool->n_slots) {
		slot = &pool->slots[pool->n_used++];
		TAILQ_INSERT_TAIL(&pool->recent, slot, link);
		return slot;
	}
	slot = TAILQ_FIRST(&pool->recent);
	pool->slot_of[slot->block] = ABSENT;
	(*n_evictions)++;
	return slot;
}

static void
plan_step(struct bench_plan *plan, struct pool *pool, uint32_t block, struct bench_step *step)
{
	struct slot *slot;

	step->hit = pool->slot_of[block] != ABSENT;
	if (step->hit) {
		slot = &pool->slots[pool->slot_of[block]];
		step->after = slot->n_writes;
		plan->n_hits++;
	} else {
		slot = pool_take(pool, &plan->n_evictions);
		step->after = slot->n_uses;
		slot->block = block;
		slot->n_writes++;
		pool->slot_of[block] = (uint32_t)(slot - pool->slots);
	}
	step->slot = (uint32_t)(slot - pool->slots);
	slot->n_uses++;
	TAILQ_REMOVE(&pool->recent, slot, link);
	TAILQ_INSERT_TAIL(&pool->recent, slot, link);
}

/* A running request keeps its blocks, so the pool must hold those of any one. */
static int
plan_request(const struct bench_trace *trace, uint64_t idx, struct bench_plan *plan,
	     struct pool *pool)
{
	const struct bench_request *request = &trace->requests[idx];
	uint32_t n_distinct = 0;

	for (uint64_t i = request->first; i < request->first + request->n_blocks; i++) {
		uint32_t block = trace->references[i];

		if (pool->last_in[block] != idx + 1) {
			pool->last_in[block] = idx + 1;
			n_distinct++;
		}
		plan_step(plan, pool, block, &plan->steps[i]);
	}
	if (n_distinct <= pool->n_slots)
		return 0;
	app_message("--pool-blocks %u: request %" PRIu64 " of the trace has more blocks than that",
		    pool->n_slots, idx + 1);
	return -EINVAL;
}

int
bench_plan_make(const struct bench_trace *trace, uint32_t n_slots, struct bench_plan *plan)
{
	struct pool pool = {
		.n_slots =
			n_slots != 0 && n_slots < trace->n_distinct ? n_slots : trace->n_distinct,
		.recent = TAILQ_HEAD_INITIALIZER(pool.recent),
	};
	int err = 0;

	*plan = (struct bench_plan){.n_slots = pool.n_slots};
	plan->steps = calloc(trace->n_references, sizeof(*plan->steps));
	pool.slots = calloc(pool.n_slots, sizeof(*pool.slots));
	pool.slot_of = malloc(trace->n_distinct * sizeof(*pool.slot_of));
	pool.last_in = calloc(trace->n_distinct, sizeof(*pool.last_in));
	if (plan->steps == NULL || pool.slots == NULL || pool.slot_of == NULL ||
	    pool.last_in == NULL) {
		app_message("no memory to plan %" PRIu64 " block references", trace->n_references);
		err = -ENOMEM;
	}
	for (uint32_t block = 0; err == 0 && block < trace->n_distinct; block++)
		pool.slot_of[block] = ABSENT;
	for (uint64_t i = 0; err == 0 && i < trace->n_requests; i++)
		err = plan_request(trace, i, plan, &pool);
	free(pool.slots);
	free(pool.slot_of);
	free(pool.last_in);
	if (err != 0)
		bench_plan_free(plan);
	return err;
}

void
bench_plan_free(struct bench_plan *plan)
{
	free(plan->steps);
	*plan = (struct bench_plan){0};
}
