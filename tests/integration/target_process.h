/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A target in a process of its own, for tests that break or kill it. The test's program runs again
 * as the target; it takes commands by two pipes, and calls by kvr_segment_call().
 */
#ifndef KVR_TESTS_TARGET_PROCESS_H
#define KVR_TESTS_TARGET_PROCESS_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "control.h"
#include "kvr.h"

#define TARGET_ARGUMENT	 "as-target" /* argv[1] of the target */
#define NODE_POOL_BYTES	 (16 << 20)
#define NODE_BLOCK_BYTES (64 << 10)
#define NODE_POLLERS	 2
#define NODE_PATIENCE_MS 20000 /* nothing that these tests wait for takes so long */

/* A node with a pool, started; the same on both sides. Prints why and exits 1 on failure. */
struct node {
	struct kvr_engine *engine;
	struct kvr_pool *pool;
};
void node_start(struct node *node, const char *name);
void node_stop(struct node *node);

/* What is at `offset` of the target's pool in a version. offset is a multiple of 8. */
static inline uint64_t
node_pattern(uint64_t offset, uint64_t version)
{
	return (offset / 8 + 1) * 0x9e3779b97f4a7c15 ^ version * 0xbf58476d1ce4e5b9;
}

struct target {
	pid_t pid;
	char address[256];
	FILE *commands, *replies;
};

/* The target's main(). */
int target_main(void);

/* The test's side. Aborts the test when the process does not come up. */
void target_start(struct target *target);
/* Ends it, and frees what is ours; one that was killed before too. Returns its wait status. */
int target_stop(struct target *target);
/* Has it open, or close, the first segment of a node; target_result() gives the outcome. */
void target_command(struct target *target, const char *command, const char *argument);
int target_result(struct target *target);

/* Moves the QP that serves lane `place` of the connect message to ERR. */
int target_break(struct kvr_segment *segment, uint32_t place);
/* The state of every QP that serves this node; states has room for KVR_MAX_CONNECT_LANES. Returns
 * how many there are, or -errno. */
int target_states(struct kvr_segment *segment, enum ibv_qp_state *states);
/* How many words of [offset, offset + length) the target's CPU sees not to be of the version. */
int target_check(struct kvr_segment *segment, uint64_t offset, uint64_t length, uint64_t version);

#endif
