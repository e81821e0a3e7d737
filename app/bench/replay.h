/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Plays a planned trace: the initiator is an inference worker, the target's pool its KV cache. A
 * block is stored as n_layers pieces, one region of the pool for each layer.
 */
#ifndef BENCH_REPLAY_H
#define BENCH_REPLAY_H

#include <stdint.h>

#include "options.h"
#include "plan.h"
#include "report.h"
#include "trace.h"
#include "worker.h"

/* Blocks of local memory each thread stages transfers in, 1 or more; 0 with one line said when
 * --buffer-size holds less than one a thread. */
uint32_t bench_replay_staging(const struct bench_options *options);

/* Replays all of it on the connected node, on options->n_threads threads. Fills *run, which the
 * caller frees, and *totals. 0, or -errno with one line said. */
int bench_replay(struct bench_node *node, const struct bench_trace *trace,
		 const struct bench_plan *plan, struct bench_run *run,
		 struct bench_replay_totals *totals);

#endif
