/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Batches of scattered 4 KiB blocks on one thread, through the six stops and through libibverbs:
 * the same blocks in the same order, on the same device, which the program moves itself.
 */
#ifndef KVR_BENCH_COST_H
#define KVR_BENCH_COST_H

#include <stdint.h>

#include "engine.h"

#define COST_BATCH  64	 /* transfers */
#define COST_BYTES  4096 /* of one */
#define COST_ROUNDS 32	 /* different batches */

/* A node that is its own peer, and whose poller the program's thread drives. */
struct cost_node {
	struct kvr_engine *engine;
	struct kvr_pool *pool;
	struct kvr_segment *segment;
	struct kvr_client *client;
	struct kvr_poller *poller;
	struct kvr_transfer transfers[COST_ROUNDS][COST_BATCH]; /* no two are adjacent */
};

/* Where a round's time goes. */
enum cost_phase {
	COST_FILL, /* describing the batch: kvr_batch_add(), work requests */
	COST_HAND, /* handing it over: kvr_submit(), ibv_post_send() */
	COST_TURN, /* the poller's turn */
	COST_POLL, /* taking completions */
	COST_PHASES,
};

/* A way to move batches. A round begins batch `i` and ends the one before. */
struct cost_way {
	const char *name;
	void (*open)(struct cost_node *node);
	void (*round)(struct cost_node *node, uint32_t i, uint64_t tsc[COST_PHASES]);
	void (*close)(struct cost_node *node);
};

/* Lets the device do all that it has been told. */
void cost_device_run(void);

/* One line on stderr, and exit 1. */
void cost_die(const char *what, int err) __attribute__((noreturn));

/* cost_verbs.c: work requests posted one by one, in lists, and by ibv_wr_*. */
extern const struct cost_way cost_verbs_single, cost_verbs_list, cost_verbs_wr;

#endif
