/* SPDX-License-Identifier: BSD-3-Clause */
/* --sweep: one measurement for each point of a grid, against one target. */
#ifndef BENCH_SWEEP_H
#define BENCH_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "grid.h"
#include "node.h"
#include "report.h"

struct bench_point {
	uint64_t block_bytes;
	uint32_t batch_size;
	uint32_t n_threads;
	uint64_t duration_ns;
	uint64_t n_batches;
	uint64_t bytes;
	double bytes_per_sec;
	uint64_t p50_ns; /* of batches */
	uint64_t p99_ns;
	bool overlaps; /* the buffer is smaller than block x batch x threads */
};

enum bench_best {
	BENCH_BEST_BANDWIDTH,
	BENCH_BEST_P50,
	BENCH_BEST_P99,
	BENCH_N_BESTS,
};

/* A sweep under way, and its result. */
struct bench_sweep {
	const struct bench_options *options;
	struct bench_point *points;
	uint32_t n_points;
	uint32_t n_skipped;		/* of series that had levelled off */
	uint32_t best[BENCH_N_BESTS];	/* indices of points, when there is one */
	int status;			/* 0 or -errno */
	bool interrupted;		/* by a signal */
	struct bench_counters counters; /* of the whole sweep */
};

/* Sweeps on the connected node and reports; *interrupted: by a signal. @return an enum
 * app_exit. */
int bench_sweep_run(struct bench_node *node, int eal_argc, char **eal_argv, bool *interrupted);

#endif
