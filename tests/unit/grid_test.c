/* SPDX-License-Identifier: BSD-3-Clause */
/* --sweep: its specification, the order of its points, and when a series is left. */
#include <errno.h>
#include <string.h>

#include "grid.h"
#include "harness.h"
#include "stderr_capture.h"

/* A grid of the text, axes that it lacks at one value. */
static struct bench_grid
grid_of(const char *text)
{
	struct bench_grid grid;

	CU_ASSERT_EQUAL(bench_grid_parse(text, &grid), 0);
	for (int axis = 0; axis < BENCH_N_AXES; axis++)
		if (grid.axes[axis].first == 0)
			grid.axes[axis] = (struct bench_range){3, 3};
	return grid;
}

static void
refuse(const char *text, const char *word)
{
	struct stderr_capture said;
	struct bench_grid grid;
	const char *newline;
	int err;

	stderr_capture_begin(&said);
	err = bench_grid_parse(text, &grid);
	stderr_capture_end(&said);
	newline = strchr(said.text, '\n');
	CU_ASSERT_EQUAL(err, -EINVAL);
	CU_ASSERT(strstr(said.text, word) != NULL);
	CU_ASSERT(newline != NULL && newline[1] == '\0');
	if (err == 0 || strstr(said.text, word) == NULL)
		printf("      %s: %s\n", text, said.text);
}

static void
any_subset_of_the_keys_is_a_grid(void)
{
	struct bench_grid grid;

	CU_ASSERT_EQUAL(
		bench_grid_parse("block-size=4K..16M,batch-size=1..256,threads=1..8", &grid), 0);
	CU_ASSERT_EQUAL(grid.axes[BENCH_AXIS_BLOCK].first, 4 << 10);
	CU_ASSERT_EQUAL(grid.axes[BENCH_AXIS_BLOCK].last, 16 << 20);
	CU_ASSERT_EQUAL(grid.axes[BENCH_AXIS_BATCH].last, 256);
	CU_ASSERT_EQUAL(grid.axes[BENCH_AXIS_THREADS].last, 8);
	CU_ASSERT_EQUAL(bench_grid_size(&grid), 13 * 9 * 4);
	CU_ASSERT_EQUAL(bench_grid_series(&grid), 9);

	CU_ASSERT_EQUAL(bench_grid_parse("threads=4", &grid), 0);
	CU_ASSERT_EQUAL(grid.axes[BENCH_AXIS_THREADS].first, 4);
	CU_ASSERT_EQUAL(grid.axes[BENCH_AXIS_THREADS].last, 4);
	CU_ASSERT_EQUAL(grid.axes[BENCH_AXIS_BLOCK].first, 0);
	CU_ASSERT_EQUAL(grid.axes[BENCH_AXIS_BATCH].first, 0);
	CU_ASSERT_EQUAL(bench_grid_parse("batch_size=2..4,block_size=1M", &grid), 0);
}

static void
bad_specifications_are_refused_in_one_line(void)
{
	refuse("", "--sweep");
	refuse("threads", "threads");
	refuse("threads=", "powers of two");
	refuse("lanes=1..2", "lanes");
	refuse("threads=1..8,", "--sweep");
	refuse("threads=3", "threads=3");
	refuse("threads=1..6", "threads=1..6");
	refuse("threads=0..8", "threads=0..8");
	refuse("threads=1..512", "1 to 256");
	refuse("batch-size=1..128K", "1 to 64K");
	refuse("threads=8..1", "larger");
	refuse("threads=1-8", "threads=1-8");
	refuse("threads=1..2..4", "threads=1..2..4");
	refuse("threads=1..", "threads=1..");
	refuse("block-size=4K..16X", "16X");
	refuse("threads=1..2,threads=4", "twice");
	refuse("threads=1..2 batch-size=4", "powers of two");
}

static void
points_go_batch_first_and_each_is_visited_once(void)
{
	struct bench_grid grid = grid_of("block-size=1K..4K,threads=2..4,batch-size=1..8");
	uint64_t values[BENCH_N_AXES];
	uint32_t idx = 0;

	CU_ASSERT_EQUAL(bench_grid_size(&grid), 3 * 2 * 4);
	for (uint64_t block = 1024; block <= 4096; block *= 2)
		for (uint64_t threads = 2; threads <= 4; threads *= 2)
			for (uint64_t batch = 1; batch <= 8; batch *= 2) {
				bench_grid_point(&grid, idx++, values);
				CU_ASSERT_EQUAL(values[BENCH_AXIS_BLOCK], block);
				CU_ASSERT_EQUAL(values[BENCH_AXIS_THREADS], threads);
				CU_ASSERT_EQUAL(values[BENCH_AXIS_BATCH], batch);
			}
}

static void
a_series_is_the_innermost_axis_that_has_one(void)
{
	struct bench_grid grid = grid_of("block-size=1K..8K,threads=1..2");
	uint64_t values[BENCH_N_AXES];

	CU_ASSERT_EQUAL(bench_grid_series(&grid), 2);
	bench_grid_point(&grid, 7, values);
	CU_ASSERT_EQUAL(values[BENCH_AXIS_BATCH], 3);
	grid = grid_of("block-size=1K..8K");
	CU_ASSERT_EQUAL(bench_grid_series(&grid), 4);
	grid = grid_of("threads=4");
	CU_ASSERT_EQUAL(bench_grid_series(&grid), 1);
}

/* After which of the rates a series is left; n: after none. */
static size_t
plateau_after(const double *rates, size_t n)
{
	struct bench_plateau plateau = {0};

	for (size_t i = 0; i < n; i++)
		if (bench_plateau_reached(&plateau, rates[i]))
			return i;
	return n;
}

static void
a_series_is_left_after_two_flat_doublings_in_a_row(void)
{
	CU_ASSERT_EQUAL(plateau_after((double[]){1, 2, 4, 8}, 4), 4);
	CU_ASSERT_EQUAL(plateau_after((double[]){1, 2, 2.01, 2.02, 9}, 5), 3);
	CU_ASSERT_EQUAL(plateau_after((double[]){1, 1, 1}, 3), 2);
	/* one flat step alone is noise */
	CU_ASSERT_EQUAL(plateau_after((double[]){1, 1, 2, 2, 4, 4}, 6), 6);
	/* 2 % is a change, down as well as up */
	CU_ASSERT_EQUAL(plateau_after((double[]){100, 102, 104.1, 106.3}, 4), 4);
	CU_ASSERT_EQUAL(plateau_after((double[]){100, 97, 94, 90}, 4), 4);
	CU_ASSERT_EQUAL(plateau_after((double[]){100, 99, 98.1}, 3), 2);
	CU_ASSERT_EQUAL(plateau_after((double[]){0, 0, 0}, 3), 3);
}

int
main(void)
{
	return HARNESS_RUN("grid", TEST(any_subset_of_the_keys_is_a_grid),
			   TEST(bad_specifications_are_refused_in_one_line),
			   TEST(points_go_batch_first_and_each_is_visited_once),
			   TEST(a_series_is_the_innermost_axis_that_has_one),
			   TEST(a_series_is_left_after_two_flat_doublings_in_a_row));
}
