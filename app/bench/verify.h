/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * --verify over the control connection: the target fills or checks blocks of its pool in place,
 * with its CPU. A block is written again only after the verdict on it has come back.
 */
#ifndef BENCH_VERIFY_H
#define BENCH_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "node.h"
#include "pattern.h"
#include "worker.h"

/* Blocks first, first + stride, ... of one round. */
struct bench_verify_range {
	uint64_t round;
	uint64_t first;
	uint64_t stride;
	uint64_t n_blocks;
	uint64_t block_bytes;
};

/* What the operator is told. */
void bench_verify_report(const struct bench_mismatch *mismatch, uint64_t round);

/* ---- initiator: 0, or -errno with one line said; -EBADMSG: a byte was wrong ---- */

/* The target writes the round's pattern into its blocks. */
int bench_verify_fill(struct bench_worker *worker, const struct bench_verify_range *range);
/* The target checks its blocks. */
int bench_verify_check(struct bench_worker *worker, const struct bench_verify_range *range);
/* The initiator saw a wrong byte: both ends say so. */
void bench_verify_mismatch(struct bench_worker *worker, const struct bench_mismatch *mismatch,
			   uint64_t round);

/* ---- target ---- */

struct bench_verify_target {
	struct bench_node *node;
	bool failed; /* atomic: a byte was wrong */
};

/* A kvr_call_handler; ctx is a struct bench_verify_target. */
int bench_verify_answer(void *ctx, const struct kvr_caller *caller, const char *request,
			char **reply);

#endif
