/* SPDX-License-Identifier: BSD-3-Clause */
#include "measure.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "app_message.h"
#include "pattern.h"
#include "size.h"
#include "verify.h"
#include "worker.h"

#define POISON 0xa5

uint64_t
bench_measure_blocks(const struct bench_node *node)
{
	uint64_t remote_bytes = kvr_segment_size_bytes(node->segment);
	uint64_t bytes = node->options->buffer_bytes;

	return (bytes < remote_bytes ? bytes : remote_bytes) / node->options->block_bytes;
}

static struct kvr_transfer
block_transfer(const struct bench_node *node, uint64_t block)
{
	uint64_t offset = block * node->options->block_bytes;

	return (struct kvr_transfer){
		.local = node->base + offset,
		.segment = node->segment,
		.offset = offset,
		.length_bytes = node->options->block_bytes,
		.op = node->options->operation,
	};
}

/* The same batch again and again, at transfer_engine_bench's addresses: block i * threads + thread,
 * wrapped at the end of the buffer. */
static int
work_plain(struct bench_worker *worker)
{
	const struct bench_node *node = worker->run->node;
	const struct bench_options *options = node->options;
	uint64_t n_blocks = bench_measure_blocks(node);
	struct kvr_transfer *transfers = calloc(options->batch_size, sizeof(*transfers));
	int err = 0;

	if (transfers == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < options->batch_size; i++)
		transfers[i] = block_transfer(
			node,
			options->hot ? 0
				     : ((uint64_t)i * options->n_threads + worker->idx) % n_blocks);
	while (err == 0 && !bench_run_over(worker->run))
		err = bench_worker_transfer(worker, transfers, options->batch_size);
	free(transfers);
	return err;
}

static int
verify_write(struct bench_worker *worker, const struct bench_verify_range *range,
	     const struct kvr_transfer *transfers)
{
	int err;

	for (uint64_t i = 0; i < range->n_blocks; i++)
		bench_pattern_fill(transfers[i].local, range->block_bytes,
				   range->first + i * range->stride, range->round);
	err = bench_worker_transfer(worker, transfers, (uint32_t)range->n_blocks);
	return err != 0 ? err : bench_verify_check(worker, range);
}

static int
verify_read(struct bench_worker *worker, const struct bench_verify_range *range,
	    const struct kvr_transfer *transfers)
{
	struct bench_mismatch mismatch;
	int err = bench_verify_fill(worker, range);

	if (err != 0)
		return err;
	for (uint64_t i = 0; i < range->n_blocks; i++)
		memset(transfers[i].local, POISON, range->block_bytes);
	err = bench_worker_transfer(worker, transfers, (uint32_t)range->n_blocks);
	for (uint64_t i = 0; err == 0 && i < range->n_blocks; i++) {
		err = bench_pattern_check(transfers[i].local, range->block_bytes,
					  range->first + i * range->stride, range->round,
					  &mismatch);
		if (err != 0)
			bench_verify_mismatch(worker, &mismatch, range->round);
	}
	return err;
}

/* Each thread owns every n_threads-th block, and goes over them batch by batch, a new round each
 * time: no block is in two threads' hands, and none is left out. */
static int
work_verify(struct bench_worker *worker)
{
	const struct bench_node *node = worker->run->node;
	const struct bench_options *options = node->options;
	uint64_t n_own = (bench_measure_blocks(node) - worker->idx + options->n_threads - 1) /
			 options->n_threads;
	struct kvr_transfer *transfers = calloc(options->batch_size, sizeof(*transfers));
	struct bench_verify_range range = {
		.stride = options->n_threads,
		.block_bytes = options->block_bytes,
	};
	uint64_t at = 0;
	int err = 0;

	if (transfers == NULL)
		return -ENOMEM;
	while (err == 0 && !bench_run_over(worker->run)) {
		uint64_t left = n_own - at;

		range.round++;
		range.first = at * options->n_threads + worker->idx;
		range.n_blocks = options->batch_size < left ? options->batch_size : left;
		for (uint64_t i = 0; i < range.n_blocks; i++)
			transfers[i] = block_transfer(node, range.first + i * range.stride);
		err = options->operation == KVR_OP_WRITE ? verify_write(worker, &range, transfers)
							 : verify_read(worker, &range, transfers);
		at = (at + range.n_blocks) % n_own;
	}
	free(transfers);
	return err;
}

int
bench_measure_check(const struct bench_node *node)
{
	const struct bench_options *options = node->options;
	uint64_t n_blocks = bench_measure_blocks(node);
	uint64_t n_used = (uint64_t)options->batch_size * options->n_threads;
	char block[32], segment[32];

	if (n_blocks == 0) {
		app_message("--block-size %s is larger than the target's segment of %s",
			    app_size_text(options->block_bytes, block, sizeof(block)),
			    app_size_text(kvr_segment_size_bytes(node->segment), segment,
					  sizeof(segment)));
		return -EINVAL;
	}
	if (options->verify && n_blocks < options->n_threads) {
		app_message(
			"--verify gives each of %u threads blocks of its own; there are %" PRIu64
			": use fewer threads or a smaller --block-size",
			options->n_threads, n_blocks);
		return -EINVAL;
	}
	if (!options->hot && n_blocks < n_used && !bench_options_sweep(options))
		app_message("warning: block x batch x threads needs %" PRIu64
			    " blocks, the smaller buffer holds %" PRIu64 ": transfers overlap",
			    n_used, n_blocks);
	return 0;
}

int
bench_measure(struct bench_node *node, struct bench_report *report)
{
	const struct bench_options *options = node->options;
	struct bench_counters before;
	struct bench_run run = {
		.node = node,
		.work = options->verify ? work_verify : work_plain,
		.duration_ns = options->duration_ns,
		.max_batches = 1,
		.max_transfers = options->batch_size,
	};
	int err;

	bench_counters_read(node->engine, &before);
	err = bench_run_execute(&run, options->n_threads);
	bench_report_gather(report, &run, &before);
	report->status = err;
	bench_run_free(&run);
	return err;
}
