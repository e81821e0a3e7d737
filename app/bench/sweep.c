/* SPDX-License-Identifier: BSD-3-Clause */
#include "sweep.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "measure.h"
#include "app_message.h"
#include "size.h"

#define BAR_WIDTH 30

/* ---- the progress bar, on standard error when that is a terminal ---- */

static void
bar_clear(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

/* `at` of `n` points are done or skipped; each of the n_measured ones took its share of the time
 * since start_ns, and so will those that are left. */
static void
bar_draw(uint32_t at, uint32_t n, uint32_t n_measured, uint64_t start_ns)
{
	char bar[BAR_WIDTH + 1];
	uint32_t full = (uint32_t)((uint64_t)at * BAR_WIDTH / n);

	if (!isatty(STDERR_FILENO))
		return;
	memset(bar, '.', BAR_WIDTH);
	memset(bar, '#', full);
	bar[BAR_WIDTH] = '\0';
	fprintf(stderr, "\r\033[K[%s] %u of %u", bar, at, n);
	if (n_measured > 0) {
		uint64_t left_s = (bench_now_ns() - start_ns) / n_measured * (n - at) / 1000000000u;

		fprintf(stderr, ", at most %" PRIu64 ":%02" PRIu64 " left", left_s / 60,
			left_s % 60);
	}
	fflush(stderr);
}

/* ---- what is said of a point ---- */

static double
in_unit(const struct bench_options *options, double bytes_per_sec)
{
	return bytes_per_sec / options->unit->bytes;
}

static void
print_header(const struct bench_options *options)
{
	char rate[16];

	snprintf(rate, sizeof(rate), "%s/s", options->unit->name);
	printf("%10s %8s %10s %10s %12s %12s\n", "block", "threads", "batch", rate, "p50 us",
	       "p99 us");
}

static void
print_point(const struct bench_options *options, const struct bench_point *point)
{
	char block[32];

	printf("%10s %8u %10u %10.*f %12.1f %12.1f\n",
	       app_size_text(point->block_bytes, block, sizeof(block)), point->n_threads,
	       point->batch_size, options->precision, in_unit(options, point->bytes_per_sec),
	       (double)point->p50_ns / 1e3, (double)point->p99_ns / 1e3);
	fflush(stdout);
}

/* A word as a shell reads it back. */
static void
print_word(const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-_=+,./:@%";

	putchar(' ');
	if (*word != '\0' && word[strspn(word, plain)] == '\0') {
		fputs(word, stdout);
		return;
	}
	putchar('\'');
	for (; *word != '\0'; word++)
		fputs(*word == '\'' ? "'\\''" : (char[]){*word, '\0'}, stdout);
	putchar('\'');
}

static void
print_option(const char *name, const char *value)
{
	char word[512];

	snprintf(word, sizeof(word), "--%s=%s", name, value);
	print_word(word);
}

static void
print_size_option(const char *name, uint64_t value)
{
	char text[32];

	print_option(name, app_size_text(value, text, sizeof(text)));
}

static void
print_number_option(const char *name, uint32_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%u", value);
	print_option(name, text);
}

/* The command that measures the point alone, at full length. */
static void
print_command(const struct bench_options *options, const struct bench_point *point, int eal_argc,
	      char **eal_argv)
{
	char seconds[32];

	putchar(' ');
	print_word(program_invocation_name);
	for (int i = 1; i < eal_argc; i++)
		print_word(eal_argv[i]);
	fputs(" -- --mode=initiator", stdout);
	print_option("segment-id", options->segment_id);
	if (options->segment_name != NULL)
		print_option("segment-name", options->segment_name);
	if (options->device_names != NULL)
		print_option("device-name", options->device_names);
	print_option("operation", options->operation == KVR_OP_READ ? "read" : "write");
	print_size_option("block-size", point->block_bytes);
	print_number_option("batch-size", point->batch_size);
	print_number_option("threads", point->n_threads);
	print_size_option("buffer-size", options->buffer_bytes);
	if (options->hot)
		print_word("--hot");
	if (options->level == KVR_LEVEL_SENT)
		print_option("level", "sent");
	if (options->priority == KVR_CLASS_LATENCY)
		print_option("priority", "latency");
	if (options->slice_bytes != 0)
		print_size_option("slice-size", options->slice_bytes);
	if (options->timeout_ms != KVR_TIMEOUT_MS) {
		snprintf(seconds, sizeof(seconds), "%g", options->timeout_ms / 1e3);
		print_option("timeout", seconds);
	}
	if (options->cross_numa)
		print_word("--cross-numa");
	putchar('\n');
}

static void
print_best(const struct bench_sweep *sweep, int eal_argc, char **eal_argv)
{
	static const char *const titles[BENCH_N_BESTS] = {
		[BENCH_BEST_BANDWIDTH] = "highest bandwidth",
		[BENCH_BEST_P50] = "lowest median latency of a batch",
		[BENCH_BEST_P99] = "lowest p99 latency of a batch",
	};

	for (int i = 0; i < BENCH_N_BESTS; i++) {
		const struct bench_point *point = &sweep->points[sweep->best[i]];

		printf("%s: %.*f %s/s, p50 %.1f us, p99 %.1f us\n", titles[i],
		       sweep->options->precision, in_unit(sweep->options, point->bytes_per_sec),
		       sweep->options->unit->name, (double)point->p50_ns / 1e3,
		       (double)point->p99_ns / 1e3);
		print_command(sweep->options, point, eal_argc, eal_argv);
	}
}

static void
report(const struct bench_sweep *sweep, int eal_argc, char **eal_argv)
{
	const struct bench_point none = {0}, *point = &none;

	if (sweep->n_points > 0) {
		point = &sweep->points[sweep->best[BENCH_BEST_BANDWIDTH]];
		printf("%u points measured, %u left out: doublings before them changed less than "
		       "2 %% twice in a row\n",
		       sweep->n_points, sweep->n_skipped);
		print_best(sweep, eal_argc, eal_argv);
	}
	bench_report_completed(sweep->options, point->duration_ns, point->n_batches, point->bytes);
}

/* ---- the walk ---- */

static void
point_take(const struct bench_node *node, const struct bench_report *measured,
	   struct bench_point *point)
{
	const struct bench_options *options = node->options;
	uint64_t n_used = (uint64_t)options->batch_size * options->n_threads;
	uint64_t bytes = measured->bytes[KVR_OP_READ] + measured->bytes[KVR_OP_WRITE];

	*point = (struct bench_point){
		.block_bytes = options->block_bytes,
		.batch_size = options->batch_size,
		.n_threads = options->n_threads,
		.duration_ns = measured->duration_ns,
		.n_batches = measured->n_batches,
		.bytes = bytes,
		.bytes_per_sec = (double)bytes * 1e9 / (double)measured->duration_ns,
		.p50_ns = kvr_latency_percentile_ns(&measured->latency, 50),
		.p99_ns = kvr_latency_percentile_ns(&measured->latency, 99),
		.overlaps = !options->hot && bench_measure_blocks(node) < n_used,
	};
}

/* The point just taken may be the best of its kind; the first of equals stays. */
static void
best_update(struct bench_sweep *sweep)
{
	uint32_t idx = sweep->n_points - 1;
	const struct bench_point *points = sweep->points;
	uint32_t *best = sweep->best;

	if (points[idx].bytes_per_sec > points[best[BENCH_BEST_BANDWIDTH]].bytes_per_sec)
		best[BENCH_BEST_BANDWIDTH] = idx;
	if (points[idx].p50_ns < points[best[BENCH_BEST_P50]].p50_ns)
		best[BENCH_BEST_P50] = idx;
	if (points[idx].p99_ns < points[best[BENCH_BEST_P99]].p99_ns)
		best[BENCH_BEST_P99] = idx;
}

/* Measures point `idx` of the grid. @return whether it counts: it did not fail, was not cut short,
 * and has ended a batch. */
static bool
measure_point(struct bench_node *node, struct bench_sweep *sweep, uint32_t idx)
{
	struct bench_options options = *sweep->options;
	uint64_t values[BENCH_N_AXES];
	struct bench_report measured;

	bench_grid_point(&options.grid, idx, values);
	options.block_bytes = values[BENCH_AXIS_BLOCK];
	options.batch_size = (uint32_t)values[BENCH_AXIS_BATCH];
	options.n_threads = (uint32_t)values[BENCH_AXIS_THREADS];
	node->options = &options;
	sweep->status = bench_measure(node, &measured);
	sweep->interrupted = measured.interrupted;
	if (sweep->status == 0 && !sweep->interrupted && measured.n_batches > 0) {
		point_take(node, &measured, &sweep->points[sweep->n_points++]);
		best_update(sweep);
	}
	node->options = sweep->options;
	return sweep->status == 0 && !sweep->interrupted;
}

static void
walk(struct bench_node *node, struct bench_sweep *sweep)
{
	const struct bench_grid *grid = &sweep->options->grid;
	uint32_t n = bench_grid_size(grid), n_series = bench_grid_series(grid);
	struct bench_plateau plateau = {0};
	uint64_t start_ns = bench_now_ns();
	uint32_t at = 0;

	print_header(sweep->options);
	while (at < n) {
		const struct bench_point *point = &sweep->points[sweep->n_points];

		bar_draw(at, n, sweep->n_points, start_ns);
		if (at % n_series == 0)
			plateau = (struct bench_plateau){0};
		if (!measure_point(node, sweep, at))
			break;
		at++;
		bar_clear();
		if (point == &sweep->points[sweep->n_points])
			continue; /* not one batch has ended in time */
		print_point(sweep->options, point);
		if (bench_plateau_reached(&plateau, point->bytes_per_sec) && at % n_series != 0) {
			sweep->n_skipped += n_series - at % n_series;
			at += n_series - at % n_series;
		}
	}
	bar_clear();
}

int
bench_sweep_run(struct bench_node *node, int eal_argc, char **eal_argv, bool *interrupted)
{
	struct bench_sweep sweep = {.options = node->options};
	struct bench_counters before;
	int err = 0;

	sweep.points = calloc(bench_grid_size(&node->options->grid), sizeof(*sweep.points));
	if (sweep.points == NULL) {
		app_message("no memory for the sweep");
		return APP_USAGE;
	}
	bench_counters_read(node->engine, &before);
	walk(node, &sweep);
	bench_counters_since(node->engine, &before, &sweep.counters);
	if (node->options->json_path != NULL)
		err = bench_json_write_sweep(&sweep, eal_argc, eal_argv);
	report(&sweep, eal_argc, eal_argv);
	free(sweep.points);
	*interrupted = sweep.interrupted;
	return sweep.status == 0 && err == 0 ? APP_OK : APP_FAILED;
}
