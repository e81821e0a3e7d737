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

uint32_t
node_pools_plan(const struct node_options *options, const int *device_nodes, uint32_t n_devices,
		struct node_pool_size *plan)
{
	uint32_t n = 0, k;

	if (options->pools[0].numa_node != NODE_ANY_NUMA) {
		memcpy(plan, options->pools, options->n_pools * sizeof(*plan));
		return options->n_pools;
	}
	for (uint32_t i = 0; i < n_devices || n == 0; i++) {
		int numa_node = i < n_devices ? device_nodes[i] : -1;

		if (!numa_exists(numa_node))
			numa_node = (int)rte_lcore_to_socket_id(rte_get_main_lcore());
		for (k = 0; k < n && plan[k].numa_node != numa_node; k++)
			;
		if (k == n && n < KVR_MAX_POOLS)
			plan[n++].numa_node = numa_node;
	}
	for (k = 0; k < n; k++)
		plan[k].bytes = options->pools[0].bytes / n;
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
	struct kvr_device_stats devices[KVR_MAX_DEVICES];
	uint32_t n = kvr_stats_devices(node->engine, devices, KVR_MAX_DEVICES);
	struct node_pool_size plan[KVR_MAX_POOLS];
	int device_nodes[KVR_MAX_DEVICES];
	int err = 0;

	for (uint32_t i = 0; i < n; i++)
		device_nodes[i] = devices[i].numa_node;
	n = node_pools_plan(node->options, device_nodes, n, plan);
	for (uint32_t i = 0; err == 0 && i < n; i++) {
		if (!numa_exists(plan[i].numa_node))
			return app_fail(error, -EINVAL,
					"--pool node%d=...: this machine has no such NUMA node",
					plan[i].numa_node);
		err = pool_open(node, plan[i].numa_node, plan[i].bytes, error);
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
