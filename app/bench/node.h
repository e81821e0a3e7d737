/* SPDX-License-Identifier: BSD-3-Clause */
/* This process as a node: engine, one pool, and for an initiator the target's segment. */
#ifndef BENCH_NODE_H
#define BENCH_NODE_H

#include <stdint.h>

#include "kvr.h"
#include "options.h"

struct bench_node {
	const struct bench_options *options;
	struct kvr_engine *engine;
	struct kvr_pool *pool;
	struct kvr_block *run; /* all of the pool */
	uint8_t *base;
	uint64_t pool_bytes;
	struct kvr_segment *segment; /* NULL until connected */
};

/* Opens devices and a pool, all of it allocated. 0, or -errno with one line said. */
int bench_node_open(struct bench_node *node, const struct bench_options *options,
		    uint64_t pool_bytes, uint64_t block_bytes);
/* Starts the pollers and the listener. 0, or -errno with one line said. */
int bench_node_start(struct bench_node *node);
/* Opens the target's segment. 0, or -errno with one line said. */
int bench_node_connect(struct bench_node *node);
/* Undoes whatever was done. */
void bench_node_close(struct bench_node *node);

#endif
