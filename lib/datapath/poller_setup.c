/* SPDX-License-Identifier: BSD-3-Clause */
/* Pollers made and freed: a CQ and doorbell registers on each of their devices. Set-up path. */

#include <errno.h>
#include <stdlib.h>

#include <rte_cycles.h>
#include <rte_lcore.h>

#include "engine.h"
#include "kvr_numa.h"
#include "poller.h"

#define CALLS 64 /* calls of other threads in wait; more of them wait in line */

struct kvr_poller_device *
kvr_poller_device_find(struct kvr_poller *poller, const struct kvr_device *device)
{
	uint32_t i;

	for (i = 0; i < poller->n_devices; i++)
		if (poller->devices[i].device == device)
			return &poller->devices[i];
	return NULL;
}

static int
device_add(struct kvr_poller *poller, struct kvr_device *device)
{
	struct kvr_poller_device *on = &poller->devices[poller->n_devices];
	int err;

	on->device = device;
	on->driver = device->driver;
	err = kvr_uar_alloc(device, &on->uar);
	if (err != 0)
		return err;
	err = on->driver->cq_create(device->context, KVR_CQ_SLOTS, &on->cq);
	if (err != 0) {
		kvr_uar_free(&on->uar);
		return err;
	}
	poller->n_devices++;
	return 0;
}

/* A ring that lives with its owner, not in a memzone: rings come and go with clients. */
struct rte_ring *
kvr_ring_create(uint32_t n_slots, unsigned int flags)
{
	ssize_t size_bytes = rte_ring_get_memsize(n_slots);
	struct rte_ring *ring;

	if (size_bytes < 0)
		return NULL;
	ring = aligned_alloc(KVR_CACHE_LINE, RTE_ALIGN_CEIL((size_t)size_bytes, KVR_CACHE_LINE));
	if (ring != NULL && rte_ring_init(ring, "kvrail", n_slots, flags) != 0) {
		free(ring);
		return NULL;
	}
	return ring;
}

int
kvr_poller_create(struct kvr_engine *engine, unsigned int lcore, uint32_t idx, bool all_devices,
		  struct kvr_poller **out)
{
	struct kvr_poller *poller = aligned_alloc(KVR_CACHE_LINE, sizeof(*poller));
	uint32_t i;
	int err = 0;

	if (poller == NULL)
		return -ENOMEM;
	*poller = (struct kvr_poller){
		.engine = engine,
		.idx = idx,
		.lcore = lcore,
		.numa_node = (int)rte_lcore_to_socket_id(lcore),
		.slice_bytes = engine->slice_bytes,
		.us_tsc = rte_get_tsc_hz() / 1000000,
		.tick_ns_q32 = (1000000000ull << 32) / rte_get_tsc_hz(),
	};
	poller->tick_tsc = poller->us_tsc * KVR_TICK_US;
	TAILQ_INIT(&poller->runnable[KVR_CLASS_BULK]);
	TAILQ_INIT(&poller->runnable[KVR_CLASS_LATENCY]);
	TAILQ_INIT(&poller->live);
	poller->sounding.runnable = true;     /* so that it is never settled, ... */
	poller->sounding.status = -ECANCELED; /* ... and is failed already */
	pthread_mutex_init(&poller->calls_lock, NULL);
	poller->calls = kvr_ring_create(CALLS, RING_F_SP_ENQ | RING_F_SC_DEQ);
	if (poller->calls == NULL)
		err = -ENOMEM;
	for (i = 0; i < engine->n_devices && err == 0; i++)
		if (all_devices || kvr_numa_local(poller->numa_node, engine->devices[i].numa_node))
			err = device_add(poller, &engine->devices[i]);
	if (err != 0) {
		kvr_poller_destroy(poller);
		return err;
	}
	*out = poller;
	return 0;
}

void
kvr_poller_destroy(struct kvr_poller *poller)
{
	while (poller->n_devices > 0) {
		struct kvr_poller_device *on = &poller->devices[--poller->n_devices];

		on->driver->cq_destroy(on->cq);
		kvr_uar_free(&on->uar);
	}
	free(poller->calls);
	pthread_mutex_destroy(&poller->calls_lock);
	free(poller);
}
