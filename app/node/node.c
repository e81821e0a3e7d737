/* SPDX-License-Identifier: BSD-3-Clause */
#include "node.h"

#include <errno.h>
#include <string.h>

#include <rte_lcore.h>

#include "app_message.h"

/* ---- pools ---- */

static bool
numa_exists(int numa_node)
{
	for (unsigned int i = 0; i < rte_socket_count(); i++)
		if (rte_socket_id_by_idx(i) == numa_node)
			return true;
	return false;
}

/* The NUMA nodes of the devices, each once. Where they are unknown, or not there, the main lcore's.
 * Returns how many. */
static uint32_t
device_numa_nodes(const struct kvr_engine *engine, int *nodes)
{
	struct kvr_device_stats devices[KVR_MAX_DEVICES];
	uint32_t n_devices = kvr_stats_devices(engine, devices, KVR_MAX_DEVICES);
	uint32_t n = 0, k;

	for (uint32_t i = 0; i < n_devices; i++) {
		int numa_node = devices[i].numa_node;

		if (!numa_exists(numa_node))
			numa_node = (int)rte_lcore_to_socket_id(rte_get_main_lcore());
		for (k = 0; k < n && nodes[k] != numa_node; k++)
			;
		if (k == n && n < KVR_MAX_NODES)
			nodes[n++] = numa_node;
	}
	return n;
}

/* A pool is named for its NUMA node. */
static int
pool_open(struct node *node, int numa_node, uint64_t bytes, struct kvr_error *error)
{
	struct node_pool *pool = &node->store.pools[node->store.n_pools];
	struct kvr_pool_config config = {
		.name = pool->name,
		.size_bytes = bytes,
		.block_bytes = node->options->block_bytes,
		.numa_node = numa_node,
	};
	int err;

	snprintf(pool->name, sizeof(pool->name), "pool%d", numa_node);
	pool->block_bytes = config.block_bytes;
	err = kvr_pool_create(node->engine, &config, &pool->pool, error);
	if (err == 0)
		node->store.n_pools++;
	return err;
}

static int
pools_open(struct node *node, struct kvr_error *error)
{
	const struct node_options *options = node->options;
	int nodes[KVR_MAX_NODES];
	uint32_t n;
	int err = 0;

	if (options->pools[0].numa_node == NODE_ANY_NUMA) {
		n = device_numa_nodes(node->engine, nodes);
		for (uint32_t i = 0; err == 0 && i < n; i++)
			err = pool_open(node, nodes[i], options->pools[0].bytes / n, error);
		return err;
	}
	for (uint32_t i = 0; err == 0 && i < options->n_pools; i++) {
		if (!numa_exists(options->pools[i].numa_node))
			return app_fail(error, -EINVAL,
					"--pool node%d=...: this machine has no such NUMA node",
					options->pools[i].numa_node);
		err = pool_open(node, options->pools[i].numa_node, options->pools[i].bytes, error);
	}
	return err;
}

/* ---- all of it ---- */

int
node_open(struct node *node, const struct node_options *options)
{
	struct kvr_engine_config config = {
		.name = options->name,
		.listen = options->listen,
		.device_names = options->device_names,
		.timeout_ms = (uint32_t)options->timeout_ms,
		.slice_bytes = (uint32_t)options->slice_bytes,
		.cross_numa = options->cross_numa,
	};
	struct kvr_error error = {""};
	uint32_t n_new, n_old;
	int err;

	*node = (struct node){.options = options};
	err = kvr_engine_create(&config, &node->engine, &error);
	if (err != 0) {
		app_message("%s", error.text[0] != '\0' ? error.text : strerror(-err));
		return err;
	}
	node_store_init(&node->store);
	node_peers_init(&node->peers, node->engine, config.timeout_ms);
	err = node_peers_set(&node->peers, options, &n_new, &n_old);
	if (err == 0)
		err = pools_open(node, &error);
	if (err != 0) {
		app_message("%s", error.text[0] != '\0' ? error.text : strerror(-err));
		node_close(node);
	}
	return err;
}

void
node_close(struct node *node)
{
	node_peers_free(&node->peers);
	/* Ends the connections of peers, whose reservations go with them. */
	kvr_engine_stop(node->engine);
	node_store_free(&node->store);
	kvr_engine_destroy(node->engine);
}
