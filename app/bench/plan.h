/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who uses which slot of the pool, decided in trace order before anything moves: so the hits do not
 * depend on how threads happen to run. Each reference becomes a step that says which slot it uses
 * and what must have happened to the slot before.
 */
#ifndef BENCH_PLAN_H
#define BENCH_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "trace.h"

struct bench_step {
	uint32_t slot;
	/* A hit reads, once the slot was written so many times. A miss writes, once so many uses of
	 * the slot belong to requests that have ended. */
	uint32_t after;
	bool hit;
};

struct bench_plan {
	struct bench_step *steps; /* one for each reference */
	uint32_t n_slots;
	uint64_t n_hits;
	uint64_t n_evictions;
};

/* n_slots 0: one for each block. 0, or -errno with one line said: the pool is smaller than the
 * blocks of one request, or there is no memory. */
int bench_plan_make(const struct bench_trace *trace, uint32_t n_slots, struct bench_plan *plan);
void bench_plan_free(struct bench_plan *plan);

#endif
