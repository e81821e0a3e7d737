/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A request trace: one JSON object a line, {"timestamp": ms, "input_length": tokens,
 * "output_length": tokens, "hash_ids": [one for each block of the prompt]}. Equal ids are equal
 * blocks.
 */
#ifndef BENCH_TRACE_H
#define BENCH_TRACE_H

#include <stdint.h>

#define BENCH_TRACE_TOKENS 512 /* of a block */

struct bench_request {
	uint64_t timestamp_ms; /* not before the one above */
	uint64_t first;	       /* of its references */
	uint32_t n_blocks;
};

struct bench_trace {
	struct bench_request *requests;
	uint64_t n_requests;
	uint32_t *references; /* of every request in order: indices of ids */
	uint64_t n_references;
	int64_t *ids; /* sorted, each once */
	uint32_t n_distinct;
};

/* 0, or -errno with one line said: file, line and what is wrong. */
int bench_trace_load(const char *path, struct bench_trace *trace);
void bench_trace_free(struct bench_trace *trace);

#endif
