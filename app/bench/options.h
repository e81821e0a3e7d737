/* SPDX-License-Identifier: BSD-3-Clause */
/* The options after `--`: parsed and checked before anything is started. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "grid.h"
#include "kvr.h"

#define BENCH_MAX_SIZE	(1ull << 46)
#define BENCH_MAX_BATCH (64u << 10)

enum bench_mode {
	BENCH_MODE_NONE,
	BENCH_MODE_TARGET,
	BENCH_MODE_INITIATOR,
};

/* What one unit of a reported rate is. */
struct bench_unit {
	const char *name; /* "GB" */
	double bytes;
};

/* Strings point into the command line. */
struct bench_options {
	enum bench_mode mode;
	enum kvr_op operation;
	enum kvr_level level;
	enum kvr_class priority;
	const char *listen;	  /* target: HOST:PORT */
	const char *name;	  /* initiator: the node's name, NULL: the library's choice */
	const char *segment_id;	  /* initiator: HOST:PORT of the target */
	const char *segment_name; /* target: its pool's name; initiator: the segment to open */
	const char *device_names; /* NULL: EAL's allow list, or every device */
	const char *json_path;
	uint64_t buffer_bytes;
	uint64_t block_bytes;
	uint32_t batch_size;
	uint32_t n_threads;
	uint32_t slice_bytes; /* 0: the library's default */
	uint32_t timeout_ms;
	uint64_t duration_ns;
	uint64_t linger_ns;
	bool hot;
	bool verify;
	bool cross_numa;
	const struct bench_unit *unit;
	int precision;

	struct bench_grid grid; /* of --sweep, every axis set; without it all 0 */

	const char *trace_path;
	uint64_t kv_bytes_per_token;
	uint32_t n_layers;
	uint32_t pool_blocks; /* 0: all */
	double speedup;	      /* 0: as fast as it goes */
};

static inline bool
bench_options_sweep(const struct bench_options *options)
{
	return options->grid.axes[0].first != 0;
}

/* Parsed; 1: --help or --version was answered on standard output; -EINVAL: one line said why. */
int bench_options_parse(int argc, char **argv, struct bench_options *options);

void bench_options_help(void);
void bench_options_version(void);

#endif
