/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The grid of --sweep: three axes of doublings. The batch size is the innermost, so that a series
 * is one block size and number of threads with growing batches: there a rate levels off soonest.
 */
#ifndef BENCH_GRID_H
#define BENCH_GRID_H

#include <stdbool.h>
#include <stdint.h>

/* From the outermost loop to the innermost. */
enum bench_axis {
	BENCH_AXIS_BLOCK,
	BENCH_AXIS_THREADS,
	BENCH_AXIS_BATCH,
	BENCH_N_AXES,
};

/* first, 2 * first, ... up to last. */
struct bench_range {
	uint64_t first; /* 0: not in the sweep */
	uint64_t last;
};

struct bench_grid {
	struct bench_range axes[BENCH_N_AXES];
};

/* "block-size=4K..16M,batch-size=1..256,threads=4": any of the keys; powers of two. 0, or -EINVAL
 * with one line said. */
int bench_grid_parse(const char *text, struct bench_grid *grid);

/* ---- of a grid with a range on every axis ---- */

/* Points, in the order they are walked. */
uint32_t bench_grid_size(const struct bench_grid *grid);
void bench_grid_point(const struct bench_grid *grid, uint32_t idx, uint64_t values[BENCH_N_AXES]);
/* Points of a series: of the innermost axis with more than one value. */
uint32_t bench_grid_series(const struct bench_grid *grid);

/* A series that has levelled off: twice in a row a doubling changed its rate by less than 2 %. */
struct bench_plateau {
	double last_rate;
	uint32_t n_rates;
	uint32_t n_flat; /* in a row */
};

/* Takes the next rate of the series. @return whether the rest of it is not worth the time. */
bool bench_plateau_reached(struct bench_plateau *plateau, double rate);

#endif
