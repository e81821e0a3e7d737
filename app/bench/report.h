/* SPDX-License-Identifier: BSD-3-Clause */
/* What a run has moved and how fast: gathered once, shown as text here and as JSON in json.c. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "kvr.h"
#include "latency.h"
#include "kvr_limits.h"
#include "options.h"
#include "worker.h"

/* The engine's counters at one moment, or the difference of two. */
struct bench_counters {
	struct kvr_device_stats devices[KVR_MAX_DEVICES];
	uint32_t n_devices;
	struct kvr_lcore_stats lcores[KVR_MAX_POLLERS];
	uint32_t n_lcores;
};

/* Of a trace replay. */
struct bench_replay_totals {
	uint64_t n_requests;   /* ended */
	uint64_t n_references; /* to blocks, by those requests */
	uint64_t n_hits;
	uint64_t n_distinct; /* blocks in the trace */
	uint64_t n_evictions;
	uint64_t block_bytes;
	uint32_t pool_blocks;
	struct kvr_latency latency; /* of requests */
};

struct bench_report {
	const struct bench_options *options;
	int status;	  /* 0 or -errno */
	bool interrupted; /* by a signal */
	uint64_t duration_ns;
	uint64_t n_batches;
	uint64_t n_transfers;
	uint64_t bytes[2]; /* by enum kvr_op */
	struct kvr_latency latency;
	struct bench_counters counters;
	const struct bench_replay_totals *replay; /* NULL: no trace */
};

/* What the last progress line saw. */
struct bench_progress {
	uint64_t at_ns;
	uint64_t bytes;
	uint64_t n_batches;
};

/* One line on a terminal, nothing elsewhere; nothing in a sweep, which has a bar. */
void bench_report_progress(const struct bench_run *run, struct bench_progress *progress);

void bench_counters_read(const struct kvr_engine *engine, struct bench_counters *counters);
/* What was counted since `before`. */
void bench_counters_since(const struct kvr_engine *engine, const struct bench_counters *before,
			  struct bench_counters *counters);
/* The run's totals, and the engine's counters since `before`. */
void bench_report_gather(struct bench_report *report, const struct bench_run *run,
			 const struct bench_counters *before);
double bench_report_busy_pct(const struct kvr_lcore_stats *lcore);
/* Per second, in the unit asked for. */
double bench_report_rate(const struct bench_report *report, uint64_t bytes);

/* The line that ends standard output. */
void bench_report_completed(const struct bench_options *options, uint64_t duration_ns,
			    uint64_t n_batches, uint64_t bytes);
/* Tables, latencies and the `Test completed` line, which ends it. */
void bench_report_print(const struct bench_report *report);

#endif
