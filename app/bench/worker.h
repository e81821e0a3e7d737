/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client threads of a run. Each has a kvr client of its own, counts for itself, and stops at
 * the run's end, at the first failure of any, or when asked. The main thread waits for them,
 * answers signals and shows the progress.
 */
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "kvr.h"
#include "latency.h"
#include "kvr_limits.h"
#include "node.h"

struct bench_run;

struct bench_worker {
	/* its thread's, with kvr_count(); the main thread reads them for the progress line */
	uint64_t n_batches;
	uint64_t n_transfers;
	uint64_t bytes[2];	    /* by enum kvr_op */
	struct kvr_latency latency; /* of batches */
	uint64_t end_ns;
	uint64_t expect_ns; /* what a batch has taken lately */
	/* ---- set up once ---- */
	struct bench_run *run;
	struct kvr_client *client;
	uint32_t idx;
	pthread_t thread;
} __attribute__((aligned(KVR_CACHE_LINE)));

struct bench_run {
	struct bench_node *node;
	/* A thread's work, until bench_run_over(); 0, or -errno with one line said. */
	int (*work)(struct bench_worker *worker);
	void *ctx;		/* the work's */
	uint64_t duration_ns;	/* 0: until the work is done */
	uint32_t max_batches;	/* a client's, in hand at once */
	uint32_t max_transfers; /* of one batch */
	/* ---- the run's ---- */
	struct bench_worker *workers;
	uint32_t n_workers;
	uint32_t n_running; /* atomic */
	bool stop;	    /* atomic: a signal, or a failure */
	bool interrupted;   /* by a signal */
	int status;	    /* atomic: the first failure */
	uint64_t start_ns;
	uint64_t end_ns; /* when the last thread was done */
	/* guards what follows: the threads' common start */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t n_ready;
	bool started;
};

static inline uint64_t
bench_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Runs the work on n_workers threads; SIGINT and SIGTERM must be blocked in the caller. Fills the
 * run's results. 0, or -errno with one line said. The caller frees with bench_run_free(). */
int bench_run_execute(struct bench_run *run, uint32_t n_workers);
void bench_run_free(struct bench_run *run);
bool bench_run_over(const struct bench_run *run);
/* Stops every thread. true: this is the first failure, which the caller reports; those after it
 * mostly have the same cause. */
bool bench_run_fail(struct bench_run *run, int err);

/* Hands a filled batch over. */
void bench_worker_submit(struct bench_worker *worker, struct kvr_batch *batch);
/* Counts an ended batch; says one line when it failed. 0 or -errno. */
int bench_worker_account(struct bench_worker *worker, const struct kvr_result *result,
			 uint32_t n_transfers, enum kvr_op op);
/* One batch, begin to end. 0, or -errno with one line said. */
int bench_worker_transfer(struct bench_worker *worker, const struct kvr_transfer *transfers,
			  uint32_t n);

/* Waits for SIGINT or SIGTERM. true: it came; false: the time is over. */
bool bench_signal_wait(uint64_t timeout_ns);

#endif
