/* SPDX-License-Identifier: BSD-3-Clause */
/* The appliance: an engine, what it holds, whom it may copy to, and what operators ask of it. */
#ifndef NODE_H
#define NODE_H

#include "kvr.h"
#include "options.h"
#include "peers.h"
#include "store.h"

struct node {
	const struct node_options *options;
	struct kvr_engine *engine;
	struct node_store store;
	struct node_peers peers;
};

/* Which pools the options ask for; `plan` has room for KVR_MAX_POOLS. A size for all is shared out
 * over the devices' NUMA nodes, where they are unknown or not there over the main lcore's. Returns
 * how many. */
uint32_t node_pools_plan(const struct node_options *options, const int *device_nodes,
			 uint32_t n_devices, struct node_pool_size *plan);

/* Devices, and pools on their NUMA nodes; nothing runs yet. 0, or -errno with one line said. */
int node_open(struct node *node, const struct node_options *options);
/* Undoes it, and stops what runs. */
void node_close(struct node *node);

#endif
