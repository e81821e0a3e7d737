/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that write to a target and read back, without a pause, and believe nothing: each round
 * writes a new version over the same ranges, so that a write that lands late is found by the next
 * round.
 */
#ifndef KVR_TESTS_LOAD_H
#define KVR_TESTS_LOAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "kvr.h"
#include "target_process.h"

#define LOAD_THREADS	 4
#define LOAD_BATCHES	 4  /* of a thread in flight */
#define LOAD_PIECES	 16 /* transfers of a batch, in random order */
#define LOAD_PIECE_BYTES (16 << 10)
#define LOAD_BYTES	 (LOAD_BATCHES * LOAD_PIECES * LOAD_PIECE_BYTES) /* of a thread */

/* How one batch ended that did not end well. */
struct load_failure {
	struct kvr_result result;
	enum kvr_op op;
};

struct load_thread {
	struct load *load;
	uint32_t idx;
	pthread_t thread;
	uint64_t random;
	struct kvr_client *client;
	struct kvr_block *source, *sink;
	uint64_t n_rounds; /* atomic: done well */
	bool done;	   /* atomic: has ended */
	/* after load_stop() */
	uint32_t n_wrong_bytes, n_wrong_at_target;
	uint32_t n_failures; /* a thread ends with the round that has one */
	struct load_failure failures[LOAD_BATCHES];
	bool hung; /* a batch has not ended in time */
};

struct load {
	struct kvr_engine *engine;
	struct kvr_pool *pool;
	struct kvr_segment *segment;
	bool writes_only; /* and never a call to the target: for one that is about to die */
	bool stop;	  /* atomic */
	struct load_thread threads[LOAD_THREADS];
};

void load_start(struct load *load, const struct node *node, struct kvr_segment *segment,
		bool writes_only);
/* Rounds done so far, of all threads. */
uint64_t load_rounds(const struct load *load);
/* Waits until every thread has done n more rounds. False: one has ended, or has not done them in
 * NODE_PATIENCE_MS. */
bool load_advances(const struct load *load, uint64_t n);
/* Waits for every thread to end by itself, by a failure. */
void load_join(struct load *load);
void load_stop(struct load *load);
/* Everything ended well, and every byte was right. Says what was not. */
bool load_clean(const struct load *load);

#endif
