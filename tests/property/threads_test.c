/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients, pollers and readers of counters, each a thread of its own, on the real loops; the device
 * completes at once. What this finds is ThreadSanitizer's to say.
 */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "harness.h"
#include "rig.h"

#define N_POLLERS 2
#define N_CLIENTS 3
#define N_BATCHES 3000 /* of each client */
#define REGION	  ((uint64_t)64 << 20)

struct client {
	pthread_t thread;
	struct rig *rig;
	struct kvr_region *region;
	uint64_t random;
	uint64_t bytes; /* that it was told have moved */
	uint32_t n_bad;
	uint32_t n_ended;
};

static uint64_t
client_random(struct client *client, uint64_t max)
{
	client->random = client->random * 6364136223846793005 + 1442695040888963407;
	return (client->random >> 33) % max + 1;
}

static void
batch_fill(struct client *client, struct kvr_batch *batch)
{
	struct kvr_peer *peer = client->rig->engine.peers[0];
	uint64_t n = client_random(client, 8), i;

	for (i = 0; i < n; i++) {
		struct kvr_transfer transfer = {
			.local = (void *)(client->region->start + i * (8 << 20)),
			.segment = &peer->segments[0],
			.offset = i * (8 << 20),
			.length_bytes = client_random(client, 4 << 20),
			.op = i % 2 ? KVR_OP_READ : KVR_OP_WRITE,
		};

		client->n_bad += kvr_batch_add(batch, &transfer, 1) != 0;
	}
}

static void
batches_end(struct client *client, struct kvr_client *session)
{
	struct kvr_batch *batches[8];
	struct kvr_result result;
	uint32_t n = kvr_poll(session, batches, 8), i;

	for (i = 0; i < n; i++) {
		kvr_batch_result(batches[i], &result);
		client->n_bad += result.status != 0;
		client->bytes += result.bytes;
		client->n_ended++;
		kvr_batch_put(batches[i]);
	}
}

static void *
client_run(void *arg)
{
	struct kvr_client_config config = {.max_batches = 8, .max_transfers = 8};
	struct client *client = arg;
	struct kvr_client *session = NULL;
	struct kvr_batch *batch;
	uint32_t n = 0;

	while (client->n_ended < N_BATCHES) {
		/* Sessions come and go while others work. */
		if (session == NULL && kvr_client_open(&client->rig->engine, &config, &session))
			abort();
		batch = n < N_BATCHES ? kvr_batch_get(session, NULL) : NULL;
		if (batch != NULL) {
			batch_fill(client, batch);
			while (kvr_submit(session, &batch, 1) == 0)
				batches_end(client, session);
			n++;
		}
		batches_end(client, session);
		if (client->n_ended == n && n % 100 == 0 && kvr_client_close(session) == 0)
			session = NULL;
	}
	if (session != NULL)
		client->n_bad += kvr_client_close(session) != 0;
	return NULL;
}

static uint64_t
counted(const struct kvr_engine *engine)
{
	struct kvr_device_stats stats[KVR_MAX_DEVICES];
	struct kvr_lcore_stats lcores[KVR_MAX_POLLERS];
	uint32_t n = kvr_stats_devices(engine, stats, KVR_MAX_DEVICES), i;
	uint64_t bytes = 0;

	kvr_stats_lcores(engine, lcores, KVR_MAX_POLLERS);
	for (i = 0; i < n; i++)
		bytes += stats[i].tx_bytes + stats[i].rx_bytes;
	return bytes;
}

static void
clients_and_pollers_share_nothing_unguarded(void)
{
	static struct client clients[N_CLIENTS];
	static struct rig rig;
	uint64_t bytes = 0, last = 0, now;
	uint32_t i;

	rig.n_lanes = 4;
	rig.n_slots = KVR_SQ_SLOTS;
	rig.instant = true;
	rig.engine.slice_bytes = KVR_SLICE_BYTES;
	rig_build(&rig, 2, N_POLLERS, 1);
	for (i = 0; i < N_CLIENTS; i++)
		clients[i] = (struct client){
			.rig = &rig,
			.random = i + 1,
			.region = rig_region_add(&rig, (1ull << 44) + i * REGION, REGION, -1),
		};
	for (i = 0; i < N_POLLERS; i++)
		CU_ASSERT_EQUAL_FATAL(kvr_poller_start(rig.engine.pollers[i]), 0);
	for (i = 0; i < N_CLIENTS; i++)
		pthread_create(&clients[i].thread, NULL, client_run, &clients[i]);
	/* Counters never go back, whoever reads them. */
	for (i = 0; i < N_CLIENTS; i++) {
		while (pthread_tryjoin_np(clients[i].thread, NULL) == EBUSY) {
			now = counted(&rig.engine);
			CU_ASSERT(now >= last);
			last = now;
			usleep(1000);
		}
	}
	for (i = 0; i < N_CLIENTS; i++) {
		CU_ASSERT_EQUAL(clients[i].n_bad, 0);
		CU_ASSERT_EQUAL(clients[i].n_ended, N_BATCHES);
		bytes += clients[i].bytes;
	}
	for (i = 0; i < N_POLLERS; i++)
		kvr_poller_stop(rig.engine.pollers[i]);
	CU_ASSERT_EQUAL(counted(&rig.engine), bytes);
	rig_free(&rig);
}

int
main(void)
{
	harness_eal(N_POLLERS + 1);
	return HARNESS_RUN("threads", TEST(clients_and_pollers_share_nothing_unguarded));
}
