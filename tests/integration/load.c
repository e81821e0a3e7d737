/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "load.h"

#define POLL_US		 20
#define CALL_ONE_IN	 16 /* rounds in which the target's CPU is asked too */
#define LOAD_DEADLINE_MS 10000

/* splitmix64 of the thread's own. */
static uint64_t
draw(struct load_thread *thread)
{
	uint64_t z = thread->random += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* Where the thread's range begins in the segment. */
static uint64_t
range_begin(const struct load_thread *thread)
{
	return (uint64_t)thread->idx * LOAD_BYTES;
}

static void
shuffle(struct load_thread *thread, uint32_t *order, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		order[i] = i;
	for (i = n - 1; i > 0; i--) {
		uint32_t k = (uint32_t)(draw(thread) % (i + 1)), kept = order[i];

		order[i] = order[k];
		order[k] = kept;
	}
}

/* One transfer for each piece of the range, in random order, over LOAD_BATCHES batches. */
static bool
batches_submit(struct load_thread *thread, enum kvr_op op, uint8_t *local)
{
	const struct kvr_batch_options options = {.timeout_ms = LOAD_DEADLINE_MS};
	struct kvr_batch *batches[LOAD_BATCHES];
	uint32_t order[LOAD_BATCHES * LOAD_PIECES];
	uint32_t i, n = 0;

	shuffle(thread, order, LOAD_BATCHES * LOAD_PIECES);
	for (i = 0; i < LOAD_BATCHES; i++)
		batches[i] = kvr_batch_get(thread->client, &options);
	for (i = 0; i < LOAD_BATCHES * LOAD_PIECES; i++) {
		uint64_t at = (uint64_t)order[i] * LOAD_PIECE_BYTES;
		const struct kvr_transfer transfer = {
			.local = local + at,
			.segment = thread->load->segment,
			.offset = range_begin(thread) + at,
			.length_bytes = LOAD_PIECE_BYTES,
			.op = op,
		};

		if (kvr_batch_add(batches[i % LOAD_BATCHES], &transfer, 1) != 0)
			return false;
	}
	while (n < LOAD_BATCHES)
		n += kvr_submit(thread->client, batches + n, LOAD_BATCHES - n);
	return true;
}

/* False: something is wrong, and is noted. */
static bool
batches_wait(struct load_thread *thread, enum kvr_op op)
{
	uint64_t until_ns = kvr_now_ns() + (uint64_t)NODE_PATIENCE_MS * 1000000;
	struct kvr_batch *batches[LOAD_BATCHES];
	uint32_t i, n, n_left = LOAD_BATCHES;

	while (n_left > 0) {
		n = kvr_poll(thread->client, batches, LOAD_BATCHES);
		for (i = 0; i < n; i++) {
			struct load_failure *failure = &thread->failures[thread->n_failures];

			kvr_batch_result(batches[i], &failure->result);
			failure->op = op;
			thread->n_failures += failure->result.status != 0;
			kvr_batch_put(batches[i]);
		}
		n_left -= n;
		if (n == 0 && kvr_now_ns() > until_ns) {
			thread->hung = true;
			return false;
		}
		if (n == 0)
			usleep(POLL_US);
	}
	return thread->n_failures == 0;
}

static bool
batches_run(struct load_thread *thread, enum kvr_op op, uint8_t *local)
{
	return batches_submit(thread, op, local) && batches_wait(thread, op);
}

static bool
round_run(struct load_thread *thread, uint64_t version)
{
	uint64_t *source = thread->source->addr, *sink = thread->sink->addr;
	uint64_t begin = range_begin(thread), i;
	int n;

	for (i = 0; i < LOAD_BYTES; i += 8)
		source[i / 8] = node_pattern(begin + i, version);
	if (!batches_run(thread, KVR_OP_WRITE, thread->source->addr))
		return false;
	if (thread->load->writes_only)
		return true;
	if (draw(thread) % CALL_ONE_IN == 0) {
		n = target_check(thread->load->segment, begin, LOAD_BYTES, version);
		thread->n_wrong_at_target += n != 0;
	}
	memset(sink, 0, LOAD_BYTES);
	if (!batches_run(thread, KVR_OP_READ, thread->sink->addr))
		return false;
	for (i = 0; i < LOAD_BYTES; i++)
		thread->n_wrong_bytes += ((uint8_t *)sink)[i] != ((uint8_t *)source)[i];
	return thread->n_wrong_bytes == 0 && thread->n_wrong_at_target == 0;
}

static void *
load_main(void *arg)
{
	struct load_thread *thread = arg;
	uint64_t version = draw(thread) >> 32;

	if (kvr_client_open(thread->load->engine, NULL, &thread->client) != 0) {
		thread->hung = true;
		return NULL;
	}
	while (!__atomic_load_n(&thread->load->stop, __ATOMIC_RELAXED) &&
	       round_run(thread, version++))
		__atomic_fetch_add(&thread->n_rounds, 1, __ATOMIC_RELAXED);
	if (!thread->hung)
		kvr_client_close(thread->client);
	__atomic_store_n(&thread->done, true, __ATOMIC_RELAXED);
	return NULL;
}

void
load_start(struct load *load, const struct node *node, struct kvr_segment *segment,
	   bool writes_only)
{
	uint32_t i;

	*load = (struct load){
		.engine = node->engine,
		.pool = node->pool,
		.segment = segment,
		.writes_only = writes_only,
	};
	for (i = 0; i < LOAD_THREADS; i++) {
		struct load_thread *thread = &load->threads[i];

		*thread = (struct load_thread){.load = load, .idx = i, .random = harness_random()};
		CU_ASSERT_FATAL(kvr_block_alloc_run(load->pool, LOAD_BYTES / NODE_BLOCK_BYTES,
						    &thread->source) == 0);
		CU_ASSERT_FATAL(kvr_block_alloc_run(load->pool, LOAD_BYTES / NODE_BLOCK_BYTES,
						    &thread->sink) == 0);
		CU_ASSERT_FATAL(pthread_create(&thread->thread, NULL, load_main, thread) == 0);
	}
}

static uint64_t
rounds_of(const struct load_thread *thread)
{
	return __atomic_load_n(&thread->n_rounds, __ATOMIC_RELAXED);
}

uint64_t
load_rounds(const struct load *load)
{
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < LOAD_THREADS; i++)
		n += rounds_of(&load->threads[i]);
	return n;
}

bool
load_advances(const struct load *load, uint64_t n)
{
	uint64_t until_ns = kvr_now_ns() + (uint64_t)NODE_PATIENCE_MS * 1000000;
	uint64_t goals[LOAD_THREADS];
	uint32_t i;

	for (i = 0; i < LOAD_THREADS; i++)
		goals[i] = rounds_of(&load->threads[i]) + n;
	for (i = 0; i < LOAD_THREADS; i++)
		while (rounds_of(&load->threads[i]) < goals[i]) {
			if (kvr_now_ns() > until_ns ||
			    __atomic_load_n(&load->threads[i].done, __ATOMIC_RELAXED))
				return false;
			usleep(1000);
		}
	return true;
}

void
load_join(struct load *load)
{
	uint32_t i;

	for (i = 0; i < LOAD_THREADS; i++) {
		struct load_thread *thread = &load->threads[i];

		pthread_join(thread->thread, NULL);
		kvr_block_free_bulk(load->pool, &thread->source, 1);
		kvr_block_free_bulk(load->pool, &thread->sink, 1);
	}
}

void
load_stop(struct load *load)
{
	__atomic_store_n(&load->stop, true, __ATOMIC_RELAXED);
	load_join(load);
}

bool
load_clean(const struct load *load)
{
	bool clean = true;
	uint32_t i, k;

	for (i = 0; i < LOAD_THREADS; i++) {
		const struct load_thread *thread = &load->threads[i];

		if (!thread->hung && thread->n_failures == 0 && thread->n_wrong_bytes == 0 &&
		    thread->n_wrong_at_target == 0)
			continue;
		clean = false;
		printf("      thread %u, round %llu: %u bytes wrong, %u times wrong at the "
		       "target%s\n",
		       i, (unsigned long long)thread->n_rounds, thread->n_wrong_bytes,
		       thread->n_wrong_at_target, thread->hung ? ", hung" : "");
		for (k = 0; k < thread->n_failures; k++)
			printf("      %s: %s, syndrome 0x%x/0x%x, device %s%s\n",
			       thread->failures[k].op == KVR_OP_READ ? "read" : "write",
			       strerror(-thread->failures[k].result.status),
			       thread->failures[k].result.syndrome,
			       thread->failures[k].result.vendor_syndrome,
			       thread->failures[k].result.device != NULL
				       ? thread->failures[k].result.device
				       : "none",
			       thread->failures[k].result.remote_undetermined ? ", undetermined"
									      : "");
	}
	return clean;
}
