/* SPDX-License-Identifier: BSD-3-Clause */
/* kvr_stats_devices() and kvr_stats_lcores(): sums over the pollers' counters, at any time. */
#include <stdio.h>
#include <string.h>

#include <rte_cycles.h>

#include "counters.h"
#include "engine.h"
#include "kvr.h"

/* Exact, without overflow: a TSC that ran for a century stays in 64 bits. */
static uint64_t
tsc_to_ns(uint64_t tsc)
{
	uint64_t hz = rte_get_tsc_hz();

	return tsc / hz * NS_PER_S + tsc % hz * NS_PER_S / hz;
}

static void
add_device(struct kvr_device_stats *stats, const struct kvr_device_counters *counters)
{
	stats->tx_bytes += kvr_counter_read(&counters->bytes[KVR_OP_WRITE]);
	stats->rx_bytes += kvr_counter_read(&counters->bytes[KVR_OP_READ]);
	stats->tx_slices += kvr_counter_read(&counters->slices[KVR_OP_WRITE]);
	stats->rx_slices += kvr_counter_read(&counters->slices[KVR_OP_READ]);
	stats->failed_bytes += kvr_counter_read(&counters->failed_bytes);
	stats->proofs += kvr_counter_read(&counters->proofs);
	stats->wqes += kvr_counter_read(&counters->wqes);
	stats->doorbells += kvr_counter_read(&counters->doorbells);
	stats->cqes += kvr_counter_read(&counters->cqes);
	stats->errors += kvr_counter_read(&counters->errors);
}

uint32_t
kvr_stats_devices(const struct kvr_engine *engine, struct kvr_device_stats *stats, uint32_t n)
{
	for (uint32_t i = 0; i < engine->n_devices && i < n; i++) {
		const struct kvr_device *device = &engine->devices[i];

		memset(&stats[i], 0, sizeof(stats[i]));
		snprintf(stats[i].name, sizeof(stats[i].name), "%s", device->name);
		snprintf(stats[i].bdf, sizeof(stats[i].bdf), "%s", device->bdf);
		stats[i].numa_node = device->numa_node;
		for (uint32_t j = 0; j < engine->n_pollers; j++)
			add_device(&stats[i], &engine->pollers[j]->device_counters[device->idx]);
	}
	return engine->n_devices;
}

uint32_t
kvr_stats_lcores(const struct kvr_engine *engine, struct kvr_lcore_stats *stats, uint32_t n)
{
	for (uint32_t i = 0; i < engine->n_pollers && i < n; i++) {
		const struct kvr_poller *poller = engine->pollers[i];
		const struct kvr_poller_counters *counters = &poller->counters;

		stats[i] = (struct kvr_lcore_stats){
			.lcore = poller->lcore,
			.numa_node = poller->numa_node,
			.polls = kvr_counter_read(&counters->polls),
			.empty_polls = kvr_counter_read(&counters->empty_polls),
			.busy_ns = tsc_to_ns(kvr_counter_read(&counters->busy_tsc)),
			.idle_ns = tsc_to_ns(kvr_counter_read(&counters->idle_tsc)),
			.batches = kvr_counter_read(&counters->parts),
			.transfers = kvr_counter_read(&counters->transfers),
		};
	}
	return engine->n_pollers;
}
