/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a transfer costs its CPU. Each round fills and hands over a batch, makes one turn of the
 * poller, lets the device work, and takes the batch before back: no turn is empty, nothing is
 * coalesced. tests/bench/instructions counts what each stop executes; run alone it prints TSC
 * cycles.
 *
 *     softnic --devices 1 --step -- cost REPEATS
 */

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>

#include "cost.h"
#include "harness.h"
#include "stops.h"

#define N_BLOCKS  (2 * COST_ROUNDS * COST_BATCH)
#define N_WARM_UP 2

static enum kvr_level level;
static int (*device_step)(void);

void
cost_die(const char *what, int err)
{
	fprintf(stderr, "cost: %s: %s\n", what, strerror(err));
	exit(1);
}

void
cost_device_run(void)
{
	while (device_step() > 0)
		;
}

/* ---- kvrail ---- */

static void
kvrail_batch_end(struct kvr_batch *batch)
{
	struct kvr_result result;

	kvr_batch_result(batch, &result);
	if (result.status != 0)
		cost_die("a batch failed", -result.status);
	kvr_batch_put(batch);
}

static void
kvrail_round(struct cost_node *node, uint32_t i, uint64_t tsc[COST_PHASES])
{
	struct kvr_batch_options options = {.level = level};
	uint64_t at[COST_PHASES + 1];
	struct kvr_batch *batch, *ended;

	at[COST_FILL] = rte_rdtsc();
	batch = kvr_batch_get(node->client, &options);
	if (kvr_batch_add(batch, node->transfers[i], COST_BATCH) != 0)
		cost_die("kvr_batch_add", EINVAL);
	at[COST_HAND] = rte_rdtsc();
	if (kvr_submit(node->client, &batch, 1) != 1)
		cost_die("kvr_submit", EAGAIN);
	at[COST_TURN] = rte_rdtsc();
	kvr_inhale(node->poller);
	kvr_exhale(node->poller);
	kvr_spray(node->poller);
	at[COST_POLL] = rte_rdtsc();
	if (kvr_poll(node->client, &ended, 1) == 1)
		kvrail_batch_end(ended);
	at[COST_PHASES] = rte_rdtsc();
	for (i = 0; i < COST_PHASES; i++)
		tsc[i] += at[i + 1] - at[i];
	cost_device_run();
}

static void
kvrail_open(struct cost_node *node)
{
	struct kvr_client_config config = {.max_batches = 4, .max_transfers = COST_BATCH};
	int err = kvr_client_open(node->engine, &config, &node->client);

	if (err != 0)
		cost_die("kvr_client_open", -err);
}

static void
kvrail_open_visible(struct cost_node *node)
{
	level = KVR_LEVEL_VISIBLE;
	kvrail_open(node);
}

static void
kvrail_open_sent(struct cost_node *node)
{
	level = KVR_LEVEL_SENT;
	kvrail_open(node);
}

static void
kvrail_open_read(struct cost_node *node)
{
	uint32_t i, k;

	for (i = 0; i < COST_ROUNDS; i++)
		for (k = 0; k < COST_BATCH; k++)
			node->transfers[i][k].op = KVR_OP_READ;
	kvrail_open(node);
}

/* Ends the last batch. */
static void
kvrail_close(struct cost_node *node)
{
	struct kvr_batch *ended;
	uint32_t i, k;

	kvr_exhale(node->poller);
	if (kvr_poll(node->client, &ended, 1) != 1)
		cost_die("the last batch has not ended", ETIMEDOUT);
	kvrail_batch_end(ended);
	if (kvr_client_close(node->client) != 0)
		cost_die("kvr_client_close", EBUSY);
	for (i = 0; i < COST_ROUNDS; i++)
		for (k = 0; k < COST_BATCH; k++)
			node->transfers[i][k].op = KVR_OP_WRITE;
}

/* ---- all ways ---- */

static const struct cost_way *const ways[] = {
	&(const struct cost_way){"kvrail-write", kvrail_open_visible, kvrail_round, kvrail_close},
	&(const struct cost_way){"kvrail-write-sent", kvrail_open_sent, kvrail_round, kvrail_close},
	&(const struct cost_way){"kvrail-read", kvrail_open_read, kvrail_round, kvrail_close},
	&cost_verbs_single,
	&cost_verbs_list,
	&cost_verbs_wr,
};
#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

/* A random order of every second block, so that no two are adjacent. */
static void
blocks_shuffle(uint32_t *blocks, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		uint32_t k = (uint32_t)harness_between(0, i);

		blocks[i] = blocks[k];
		blocks[k] = 2 * i;
	}
}

static void
transfers_make(struct cost_node *node)
{
	static uint32_t local[N_BLOCKS / 2], remote[N_BLOCKS / 2];
	uint8_t *base = kvr_pool_base(node->pool);
	uint32_t i;

	harness_reseed(1);
	blocks_shuffle(local, N_BLOCKS / 2);
	blocks_shuffle(remote, N_BLOCKS / 2);
	for (i = 0; i < N_BLOCKS / 2; i++)
		node->transfers[i / COST_BATCH][i % COST_BATCH] = (struct kvr_transfer){
			.local = base + (uint64_t)local[i] * COST_BYTES,
			.segment = node->segment,
			.offset = (uint64_t)N_BLOCKS * COST_BYTES + remote[i] * COST_BYTES,
			.length_bytes = COST_BYTES,
			.op = KVR_OP_WRITE,
		};
}

/* A node that is its own peer. Its poller runs until the lanes are attached, and then no more. */
static void
node_open(struct cost_node *node)
{
	struct kvr_engine_config config = {.name = "cost", .listen = "127.0.0.1:0"};
	struct kvr_pool_config pool = {.size_bytes = (uint64_t)2 * N_BLOCKS * COST_BYTES,
				       .block_bytes = COST_BYTES,
				       .numa_node = -1};
	struct kvr_error error = {""};
	int err = kvr_engine_create(&config, &node->engine, &error);

	if (err == 0)
		err = kvr_pool_create(node->engine, &pool, &node->pool, &error);
	if (err == 0)
		err = kvr_engine_start(node->engine, &error);
	if (err == 0)
		err = kvr_segment_open(node->engine, kvr_engine_address(node->engine), NULL, 0,
				       &node->segment, &error);
	if (err != 0)
		cost_die(error.text, -err);
	node->poller = node->engine->pollers[0];
	kvr_poller_stop(node->poller);
	transfers_make(node);
}

static void
node_close(struct cost_node *node)
{
	kvr_segment_close(node->segment);
	kvr_engine_stop(node->engine);
	kvr_engine_destroy(node->engine);
}

static void
rounds(struct cost_node *node, const struct cost_way *way, uint64_t tsc[COST_PHASES])
{
	uint32_t i;

	for (i = 0; i < COST_ROUNDS; i++)
		way->round(node, i, tsc);
}

/* Where tests/bench/instructions begins and ends to count. */
void cost_measured(struct cost_node *node, const struct cost_way *way, uint64_t tsc[COST_PHASES]);
void __attribute__((noinline))
cost_measured(struct cost_node *node, const struct cost_way *way, uint64_t tsc[COST_PHASES])
{
	rounds(node, way, tsc);
}

static void
way_run(struct cost_node *node, const struct cost_way *way, uint32_t n_repeats)
{
	static const double n = COST_ROUNDS * COST_BATCH;
	uint64_t tsc[COST_PHASES], best[COST_PHASES];
	uint32_t i, k;

	way->open(node);
	memset(best, 0xff, sizeof(best));
	for (i = 0; i < N_WARM_UP + n_repeats; i++) {
		memset(tsc, 0, sizeof(tsc));
		if (i < N_WARM_UP)
			rounds(node, way, tsc);
		else
			cost_measured(node, way, tsc);
		for (k = 0; k < COST_PHASES; k++)
			best[k] = RTE_MIN(best[k], tsc[k]);
	}
	way->close(node);
	printf("%-18s %6.1f %6.1f %6.1f %6.1f  %8.2f\n", way->name, (double)best[COST_FILL] / n,
	       (double)best[COST_HAND] / n, (double)best[COST_TURN] / n,
	       (double)best[COST_POLL] / n,
	       (double)rte_get_tsc_hz() * n / 1e6 / (double)(best[COST_TURN]));
}

int
main(int argc, char **argv)
{
	static struct cost_node node;
	uint32_t n_repeats = argc == 2 ? (uint32_t)atoi(argv[1]) : 0;
	uint32_t i;

	device_step = (int (*)(void))dlsym(RTLD_DEFAULT, "softnic_step");
	if (device_step == NULL || n_repeats == 0)
		cost_die("usage: softnic --devices 1 --step -- cost REPEATS", EINVAL);
	harness_eal(2);
	node_open(&node);
	printf("TSC cycles of a transfer, %d of %d bytes a batch\n", COST_BATCH, COST_BYTES);
	printf("%-18s %6s %6s %6s %6s  %s\n", "", "fill", "hand", "turn", "poll",
	       "M/s of the turn");
	for (i = 0; i < N_WAYS; i++)
		way_run(&node, ways[i], n_repeats);
	node_close(&node);
	return 0;
}
