/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <rte_common.h>

#include "counters.h"
#include "eal.h"
#include "idle.h"
#include "app_message.h"
#include "report.h"

#define EXPECT_MIN_NS	 40000
#define EXPECT_MAX_NS	 2000000
#define SIGNAL_TICK_NS	 20000000
#define PROGRESS_TICK_NS 1000000000

bool
bench_signal_wait(uint64_t timeout_ns)
{
	struct timespec timeout = {
		.tv_sec = (time_t)(timeout_ns / 1000000000),
		.tv_nsec = (long)(timeout_ns % 1000000000),
	};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	return sigtimedwait(&set, NULL, &timeout) > 0;
}

bool
bench_run_over(const struct bench_run *run)
{
	return __atomic_load_n(&run->stop, __ATOMIC_RELAXED) ||
	       (run->duration_ns != 0 && bench_now_ns() - run->start_ns >= run->duration_ns);
}

bool
bench_run_fail(struct bench_run *run, int err)
{
	int none = 0;
	bool first = __atomic_compare_exchange_n(&run->status, &none, err, false, __ATOMIC_RELAXED,
						 __ATOMIC_RELAXED);

	__atomic_store_n(&run->stop, true, __ATOMIC_RELAXED);
	return first;
}

void
bench_worker_submit(struct bench_worker *worker, struct kvr_batch *batch)
{
	struct app_idle idle = {0};

	/* a ring is full only while its poller is late */
	while (kvr_submit(worker->client, &batch, 1) == 0)
		app_idle_wait(&idle);
}

/* One line of all that is known. */
static void
report_failure(const struct kvr_result *result)
{
	char device[96] = "", syndrome[64] = "";

	if (result->device != NULL)
		snprintf(device, sizeof(device), ", device %s", result->device);
	if (result->syndrome != 0)
		snprintf(syndrome, sizeof(syndrome), ", CQE syndrome 0x%02x, vendor 0x%02x",
			 result->syndrome, result->vendor_syndrome);
	app_message("a batch failed: %s%s%s%s", strerror(-result->status), device, syndrome,
		    result->remote_undetermined ? ", the target's memory is undetermined" : "");
}

int
bench_worker_account(struct bench_worker *worker, const struct kvr_result *result,
		     uint32_t n_transfers, enum kvr_op op)
{
	if (result->status != 0) {
		if (bench_run_fail(worker->run, result->status))
			report_failure(result);
		return result->status;
	}
	kvr_count(&worker->n_batches, 1);
	kvr_count(&worker->n_transfers, n_transfers);
	kvr_count(&worker->bytes[op], result->bytes);
	kvr_latency_add(&worker->latency, result->latency_ns);
	return 0;
}

/* Sleeps for the better part of what a batch takes, rather than to wake time and again in vain:
 * many threads share few CPUs with the control thread, and with the kernel's and other programs'
 * work. */
static void
expect_sleep(uint64_t expect_ns)
{
	struct timespec sleep = {.tv_nsec =
					 (long)RTE_MIN(expect_ns * 3 / 4, (uint64_t)EXPECT_MAX_NS)};

	if (expect_ns >= EXPECT_MIN_NS)
		nanosleep(&sleep, NULL);
}

int
bench_worker_transfer(struct bench_worker *worker, const struct kvr_transfer *transfers, uint32_t n)
{
	const struct bench_options *options = worker->run->node->options;
	struct kvr_batch_options batch_options = {
		.priority = options->priority,
		.level = options->level,
	};
	struct kvr_batch *batch = kvr_batch_get(worker->client, &batch_options);
	struct app_idle idle = {0};
	struct kvr_result result;
	int err;

	err = kvr_batch_add(batch, transfers, n);
	if (err != 0) {
		app_message("adding transfers to a batch: %s", strerror(-err));
		kvr_batch_put(batch);
		return err;
	}
	bench_worker_submit(worker, batch);
	expect_sleep(worker->expect_ns);
	while (kvr_poll(worker->client, &batch, 1) == 0)
		app_idle_wait(&idle);
	kvr_batch_result(batch, &result);
	worker->expect_ns = (worker->expect_ns * 3 + result.latency_ns) / 4;
	err = bench_worker_account(worker, &result, n, transfers[0].op);
	kvr_batch_put(batch);
	return err;
}

/* A thread reports that its client is open and waits for the start. */
static void
gate_wait(struct bench_run *run)
{
	pthread_mutex_lock(&run->lock);
	run->n_ready++;
	pthread_cond_broadcast(&run->changed);
	while (!run->started)
		pthread_cond_wait(&run->changed, &run->lock);
	pthread_mutex_unlock(&run->lock);
}

/* Starts the clock and the threads once all of them are ready. */
static void
gate_open(struct bench_run *run, uint32_t n_threads)
{
	pthread_mutex_lock(&run->lock);
	while (run->n_ready < n_threads)
		pthread_cond_wait(&run->changed, &run->lock);
	run->start_ns = bench_now_ns();
	run->end_ns = run->start_ns;
	run->started = true;
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->lock);
}

static void *
worker_main(void *arg)
{
	struct bench_worker *worker = arg;
	struct bench_run *run = worker->run;
	struct kvr_client_config config = {
		.max_batches = run->max_batches,
		.max_transfers = run->max_transfers,
	};
	cpu_set_t cpus;
	int err;

	app_eal_spare_cpus(&cpus);
	pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
	prctl(PR_SET_TIMERSLACK, 1000); /* 50 us by default: as long as the sleeps */
	err = kvr_client_open(run->node->engine, &config, &worker->client);
	if (err != 0) {
		app_message("opening client %u: %s", worker->idx, strerror(-err));
		bench_run_fail(run, err);
	}
	gate_wait(run);
	if (worker->client != NULL) {
		err = run->work(worker);
		if (err != 0)
			bench_run_fail(run, err);
		worker->end_ns = bench_now_ns();
		kvr_client_close(worker->client);
	}
	__atomic_sub_fetch(&run->n_running, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* Waits for the threads; stops them on a signal. */
static void
run_watch(struct bench_run *run)
{
	uint64_t next_ns = run->start_ns + PROGRESS_TICK_NS;
	struct bench_progress progress = {0};

	while (__atomic_load_n(&run->n_running, __ATOMIC_ACQUIRE) != 0) {
		if (bench_signal_wait(SIGNAL_TICK_NS)) {
			run->interrupted = true;
			__atomic_store_n(&run->stop, true, __ATOMIC_RELAXED);
		}
		if (bench_now_ns() >= next_ns) {
			bench_report_progress(run, &progress);
			next_ns += PROGRESS_TICK_NS;
		}
	}
}

/* @return how many threads run; fewer than n_workers is a failure of the run. */
static uint32_t
run_spawn(struct bench_run *run)
{
	uint32_t i;

	for (i = 0; i < run->n_workers; i++) {
		struct bench_worker *worker = &run->workers[i];
		int err;

		worker->run = run;
		worker->idx = i;
		__atomic_add_fetch(&run->n_running, 1, __ATOMIC_RELAXED);
		err = pthread_create(&worker->thread, NULL, worker_main, worker);
		if (err != 0) {
			app_message("creating thread %u of %u: %s", i, run->n_workers,
				    strerror(err));
			__atomic_sub_fetch(&run->n_running, 1, __ATOMIC_RELAXED);
			bench_run_fail(run, -err);
			break;
		}
	}
	return i;
}

int
bench_run_execute(struct bench_run *run, uint32_t n_workers)
{
	uint32_t n_threads;

	run->workers = aligned_alloc(KVR_CACHE_LINE, n_workers * sizeof(*run->workers));
	if (run->workers == NULL) {
		app_message("no memory for %u threads", n_workers);
		return -ENOMEM;
	}
	memset(run->workers, 0, n_workers * sizeof(*run->workers));
	run->n_workers = n_workers;
	pthread_mutex_init(&run->lock, NULL);
	pthread_cond_init(&run->changed, NULL);
	n_threads = run_spawn(run);
	gate_open(run, n_threads);
	run_watch(run);
	for (uint32_t i = 0; i < n_threads; i++) {
		pthread_join(run->workers[i].thread, NULL);
		if (run->workers[i].end_ns > run->end_ns)
			run->end_ns = run->workers[i].end_ns;
	}
	pthread_cond_destroy(&run->changed);
	pthread_mutex_destroy(&run->lock);
	return run->status;
}

void
bench_run_free(struct bench_run *run)
{
	free(run->workers);
	run->workers = NULL;
}
