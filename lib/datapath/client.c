/* SPDX-License-Identifier: BSD-3-Clause */
/* Client sessions: their rings, batches and memory. Set-up path. */

#include <errno.h>
#include <stdlib.h>

#include <rte_common.h>
#include <rte_cycles.h>

#include "engine.h"
#include "kvr_numa.h"
#include "poller.h"
#include "registry.h"

#define MAX_BATCHES   (1 << 16)
#define MAX_TRANSFERS (1 << 20)

/* Which pollers may move memory of each node: its own, or all when there is none. */
static void
choices_make(struct kvr_client *client)
{
	struct kvr_engine *engine = client->engine;
	int node;
	uint32_t i;

	for (node = -1; node < KVR_MAX_NODES; node++) {
		struct kvr_choice *choice = &client->choices[node + 1];

		for (i = 0; i < engine->n_pollers; i++)
			if (engine->cross_numa ||
			    kvr_numa_local(engine->pollers[i]->numa_node, node))
				choice->pollers[choice->n++] = (uint8_t)i;
		for (i = 0; choice->n == 0 && i < engine->n_pollers; i++)
			choice->pollers[i] = (uint8_t)i;
		if (choice->n == 0)
			choice->n = engine->n_pollers;
	}
}

static int
rings_make(struct kvr_client *client, uint32_t max_batches)
{
	/* Room for all parts of one batch at least; see hand_over() in submit.c. */
	uint32_t n_submit = rte_align32pow2(RTE_MAX(max_batches * 2, KVR_MAX_PARTS) + 1);
	uint32_t n_complete = rte_align32pow2(max_batches + 1);
	uint32_t i;

	for (i = 0; i < client->n_ports; i++) {
		struct kvr_port *port = &client->ports[i];

		port->submit = kvr_ring_create(n_submit, RING_F_SP_ENQ | RING_F_SC_DEQ);
		port->complete = kvr_ring_create(n_complete, RING_F_SP_ENQ | RING_F_SC_DEQ);
		if (port->submit == NULL || port->complete == NULL)
			return -ENOMEM;
	}
	return 0;
}

static struct kvr_region nowhere; /* holds nothing */

/* All batches with their transfers and parts, in one piece of memory each. */
static int
batches_make(struct kvr_client *client, uint32_t max_batches)
{
	size_t batch_bytes = RTE_ALIGN_CEIL(sizeof(struct kvr_batch), KVR_CACHE_LINE);
	size_t part_bytes = sizeof(struct kvr_part) * client->max_parts;
	size_t xfer_bytes = sizeof(struct kvr_xfer) * (client->max_transfers + 1);
	size_t stride = RTE_ALIGN_CEIL(batch_bytes + part_bytes + xfer_bytes, KVR_CACHE_LINE);
	uint32_t i;

	client->memory = aligned_alloc(KVR_CACHE_LINE, stride * max_batches);
	if (client->memory == NULL)
		return -ENOMEM;
	for (i = max_batches; i-- > 0;) {
		uint8_t *at = (uint8_t *)client->memory + stride * i;
		struct kvr_batch *batch = (struct kvr_batch *)at;
		struct kvr_xfer *xfers = (struct kvr_xfer *)(at + batch_bytes + part_bytes);

		xfers[0] = (struct kvr_xfer){.region = &nowhere};
		*batch = (struct kvr_batch){
			.client = client,
			.parts = (struct kvr_part *)(at + batch_bytes),
			.xfers = &xfers[1],
			.next = client->free,
		};
		client->free = batch;
	}
	return 0;
}

static void
client_free(struct kvr_client *client)
{
	uint32_t i;

	for (i = 0; i < client->registry.n; i++)
		if (!client->registry.regions[i]->pool)
			kvr_region_deregister(client->registry.regions[i]);
	for (i = 0; i < client->n_ports; i++) {
		free(client->ports[i].submit);
		free(client->ports[i].complete);
	}
	free(client->memory);
	free(client);
}

static int
port_add_owner(struct kvr_poller *poller, void *arg)
{
	const struct kvr_client *client = arg;

	poller->ports[poller->n_ports++] = client->ports[poller->idx];
	return 0;
}

static int
port_remove_owner(struct kvr_poller *poller, void *arg)
{
	const struct kvr_client *client = arg;
	uint32_t i;

	for (i = 0; i < poller->n_ports; i++) {
		if (poller->ports[i].submit != client->ports[poller->idx].submit)
			continue;
		poller->ports[i] = poller->ports[--poller->n_ports];
		break;
	}
	return 0;
}

/* Takes one of the engine's places for clients. */
static int
client_enlist(struct kvr_client *client)
{
	struct kvr_engine *engine = client->engine;
	uint32_t i;
	int err = -ENOSPC;

	pthread_mutex_lock(&engine->control_lock);
	for (i = 0; i < KVR_MAX_CLIENTS && err != 0; i++) {
		if (engine->clients[i] != NULL)
			continue;
		engine->clients[i] = client;
		client->idx = i;
		err = 0;
	}
	pthread_mutex_unlock(&engine->control_lock);
	return err;
}

int
kvr_client_open(struct kvr_engine *engine, const struct kvr_client_config *config,
		struct kvr_client **out)
{
	uint32_t max_batches = config != NULL && config->max_batches ? config->max_batches : 64;
	struct kvr_client *client;
	uint32_t i;
	int err = 0;

	if (!engine->running || max_batches > MAX_BATCHES ||
	    (config != NULL && config->max_transfers > MAX_TRANSFERS))
		return -EINVAL;
	client = calloc(1, sizeof(*client));
	if (client == NULL)
		return -ENOMEM;
	client->engine = engine;
	client->max_transfers =
		config != NULL && config->max_transfers ? config->max_transfers : 1024;
	client->n_ports = engine->n_pollers;
	client->max_parts = KVR_MAX_RUNS + client->n_ports;
	choices_make(client);
	for (i = 0; i < engine->n_pools && err == 0; i++)
		err = kvr_registry_add(&client->registry, engine->pools[i]->region);
	if (err == 0)
		err = rings_make(client, max_batches);
	if (err == 0)
		err = batches_make(client, max_batches);
	if (err == 0)
		err = client_enlist(client);
	if (err != 0) {
		client_free(client);
		return err;
	}
	/* Clients do not all begin with the same poller. */
	client->next_poller = client->idx;
	for (i = 0; i < client->n_ports; i++)
		kvr_poller_call(engine->pollers[i], port_add_owner, client);
	*out = client;
	return 0;
}

int
kvr_client_close(struct kvr_client *client)
{
	struct kvr_engine *engine = client->engine;
	uint32_t i;

	if (client->n_inflight != 0)
		return -EBUSY;
	for (i = 0; i < client->n_ports; i++)
		kvr_poller_call(engine->pollers[i], port_remove_owner, client);
	pthread_mutex_lock(&engine->control_lock);
	engine->clients[client->idx] = NULL;
	pthread_mutex_unlock(&engine->control_lock);
	client_free(client);
	return 0;
}

int
kvr_memory_register(struct kvr_client *client, void *addr, size_t length_bytes)
{
	struct kvr_region *region;
	int err;

	if (length_bytes == 0)
		return -EINVAL;
	err = kvr_region_register(client->engine, addr, length_bytes, kvr_numa_node_of(addr),
				  &region);
	if (err != 0)
		return err;
	err = kvr_registry_add(&client->registry, region);
	if (err != 0)
		kvr_region_deregister(region);
	return err;
}

int
kvr_memory_deregister(struct kvr_client *client, void *addr)
{
	struct kvr_region *region = kvr_registry_find(&client->registry, (uintptr_t)addr, 1);

	if (region == NULL || region->pool || region->start != (uintptr_t)addr)
		return -ENOENT;
	if (region->n_transfers != 0)
		return -EBUSY;
	kvr_registry_remove(&client->registry, (uintptr_t)addr);
	kvr_region_deregister(region);
	return 0;
}
