/* SPDX-License-Identifier: BSD-3-Clause */
/* A node without an EAL device. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>

#include "harness.h"
#include "kvr_numa.h"
#include "rig.h"

static struct rig *current;

/* The rig looks at every lane in each step, so nobody needs to wake it. */
void __wrap_kvr_control_wake(struct kvr_engine *engine);
void
__wrap_kvr_control_wake(struct kvr_engine *engine)
{
	(void)engine;
}

static void
cqe_put(struct rig_sq *queue, uint32_t idx, uint8_t syndrome)
{
	struct rig_cq *cq = queue->cq;

	cq->cqes[cq->pi % RIG_CQES] = (struct kvr_completion){
		.sq = &queue->sq,
		.idx = idx,
		.error = syndrome != 0,
		/* 5: flushed; 0x15, 0x16: the peer does not answer */
		.at_fault = syndrome != 0 && syndrome != 5 && syndrome < 0x15,
		.syndrome = syndrome,
	};
	/* Threads of a test, not a device: the release pairs with reap()'s acquire. */
	__atomic_store_n(&cq->pi, cq->pi + 1, __ATOMIC_RELEASE);
	queue->reported = idx + 1;
}

static uint32_t
rig_reap(struct kvr_cq *base, struct kvr_completion *completions, uint32_t n)
{
	struct rig_cq *cq = (struct rig_cq *)base;
	uint32_t pi = __atomic_load_n(&cq->pi, __ATOMIC_ACQUIRE);
	uint32_t done = 0;

	for (; done < n && cq->ci != pi; done++) {
		completions[done] = cq->cqes[cq->ci++ % RIG_CQES];
		if (completions[done].error && current->on_error != NULL)
			current->on_error(current->ctx, &completions[done]);
	}
	return done;
}

static void
rig_post(struct kvr_sq *sq)
{
	if (current->on_post != NULL)
		current->on_post(current->ctx, sq->lane->poller, sq);
	sq->posted = sq->pi;
	if (current->instant)
		cqe_put((struct rig_sq *)sq, sq->pi - 1, 0);
}

static int
rig_attach(struct kvr_cq *cq, struct kvr_sq *sq)
{
	((struct rig_sq *)sq)->cq = (struct rig_cq *)cq;
	return 0;
}

static void
rig_detach(struct kvr_cq *cq, struct kvr_sq *sq)
{
	(void)cq;
	(void)sq;
}

static const struct kvr_driver driver = {
	.name = "rig",
	.sq_attach = rig_attach,
	.sq_detach = rig_detach,
	.reap = rig_reap,
};

/* Executes up to and with slice `last`, whose fate is `syndrome`. A CQE may cover many slices; an
 * error always has its own. */
static void
execute(struct rig_sq *queue, uint32_t last, uint8_t syndrome)
{
	if (syndrome != 0 && queue->syndrome == 0)
		queue->syndrome = syndrome;
	queue->error |= syndrome != 0;
	queue->done = last + 1;
	cqe_put(queue, last, syndrome);
}

const struct kvr_flight *
rig_flight_of(const struct kvr_lane *lane, uint32_t idx)
{
	uint32_t at = lane->sq->ci;

	while (idx - at >= lane->flights[at & lane->sq->mask].n)
		at += lane->flights[at & lane->sq->mask].n;
	return &lane->flights[at & lane->sq->mask];
}

void
rig_device_step(struct rig *rig, struct kvr_lane *lane)
{
	struct rig_sq *queue = rig_sq_of(lane);
	uint32_t left = queue->sq.posted - queue->done;
	uint32_t n;

	(void)rig;
	if (left == 0 || queue->stuck || queue->reset)
		return;
	n = (uint32_t)harness_between(0, left < queue->speed ? left : queue->speed);
	if (queue->error) {
		for (; n > 0; n--)
			execute(queue, queue->done, 5);
		return;
	}
	if (n == 0)
		return;
	if (queue->fail_one_in != 0 && harness_one_in(queue->fail_one_in))
		execute(queue, queue->done + n - 1, (uint8_t)harness_between(0x10, 0x16));
	else
		execute(queue, queue->done + n - 1, 0);
}

void
rig_control_step(struct kvr_lane *lane)
{
	struct rig_sq *queue = rig_sq_of(lane);
	uint32_t request = __atomic_load_n(&lane->want_error, __ATOMIC_ACQUIRE);

	if (request == KVR_LANE_WANT_ERROR) {
		queue->error = true;
		__atomic_store_n(&lane->want_error, KVR_LANE_IS_ERROR, __ATOMIC_RELEASE);
	} else if (request == KVR_LANE_WANT_RESET) {
		queue->reset = true;
		queue->done = queue->sq.posted;
		__atomic_store_n(&lane->want_error, KVR_LANE_IS_RESET, __ATOMIC_RELEASE);
	}
	if (request != KVR_LANE_NO_REQUEST && lane->fence == KVR_FENCE_PENDING && harness_one_in(8))
		__atomic_store_n(&lane->fence,
				 harness_one_in(4) ? KVR_FENCE_LOST : KVR_FENCE_CONFIRMED,
				 __ATOMIC_RELEASE);
}

static void *
zalloc(size_t size_bytes)
{
	void *memory = aligned_alloc(KVR_CACHE_LINE, RTE_ALIGN_CEIL(size_bytes, KVR_CACHE_LINE));

	if (memory == NULL)
		abort();
	return memset(memory, 0, size_bytes);
}

static void
device_build(struct kvr_device *device, uint32_t idx)
{
	snprintf(device->name, sizeof(device->name), "rig_%u", idx);
	device->idx = (uint8_t)idx;
	device->numa_node = -1;
	device->driver = &driver;
	device->rate_bps = harness_between(1, 400) * 1000000000;
	device->sink = (void *)(uintptr_t)(0x5000 + idx * KVR_CACHE_LINE);
	device->sink_lkey = 0x51000000 + idx;
}

static struct kvr_poller *
poller_build(struct kvr_engine *engine, uint32_t idx)
{
	struct kvr_poller *poller = zalloc(sizeof(*poller));
	uint32_t i;

	poller->engine = engine;
	poller->idx = idx;
	poller->lcore = idx + 1;
	poller->numa_node = -1;
	poller->slice_bytes = engine->slice_bytes;
	poller->us_tsc = rte_get_tsc_hz() / 1000000;
	poller->tick_ns_q32 = (1000000000ull << 32) / rte_get_tsc_hz();
	poller->tick_tsc = poller->us_tsc * KVR_TICK_US;
	TAILQ_INIT(&poller->runnable[KVR_CLASS_BULK]);
	TAILQ_INIT(&poller->runnable[KVR_CLASS_LATENCY]);
	TAILQ_INIT(&poller->live);
	pthread_mutex_init(&poller->calls_lock, NULL);
	poller->calls = kvr_ring_create(64, RING_F_SP_ENQ | RING_F_SC_DEQ);
	for (i = 0; i < engine->n_devices; i++)
		poller->devices[poller->n_devices++] = (struct kvr_poller_device){
			.device = &engine->devices[i],
			.driver = &driver,
			.cq = &((struct rig_cq *)zalloc(sizeof(struct rig_cq)))->cq,
		};
	return poller;
}

static struct kvr_lane *
lane_build(struct rig *rig, struct kvr_peer *peer, uint32_t poller, uint32_t idx)
{
	struct kvr_device *device = &rig->engine.devices[idx % rig->engine.n_devices];
	struct kvr_lane *lane = zalloc(sizeof(*lane));
	struct rig_sq *queue = zalloc(sizeof(*queue));

	queue->sq.slices = zalloc(rig->n_slots * sizeof(struct kvr_slice));
	queue->sq.mask = rig->n_slots - 1;
	lane->flights = zalloc(rig->n_slots * sizeof(*lane->flights));
	queue->sq.post = rig_post;
	queue->sq.pi = queue->sq.posted = queue->sq.ci = rig->first_idx;
	queue->done = queue->reported = rig->first_idx;
	queue->speed = (uint32_t)harness_magnitude(1, rig->n_slots);
	lane->sq = &queue->sq;
	lane->driver = &driver;
	lane->idx = (uint8_t)idx;
	lane->device = device;
	lane->device_idx = device->idx;
	lane->remote_idx = (uint8_t)harness_between(0, KVR_MAX_DEVICES - 1);
	lane->poller = rig->engine.pollers[poller];
	lane->peer = peer;
	if (kvr_lane_attach(lane) != 0)
		abort();
	return lane;
}

static struct kvr_peer *
peer_build(struct rig *rig, uint32_t idx)
{
	struct kvr_peer *peer = zalloc(sizeof(*peer));
	uint32_t i, k;

	peer->n_segments = (uint32_t)harness_between(1, 3);
	for (i = 0; i < peer->n_segments; i++) {
		struct kvr_segment *segment = &peer->segments[i];

		segment->peer = peer;
		segment->idx = (uint8_t)i;
		segment->remote_addr = (uint64_t)(idx * 16 + i + 1) << 40;
		segment->size_bytes = 1 << 30;
		for (k = 0; k < KVR_MAX_DEVICES; k++)
			segment->keys[k] = (struct kvr_segment_keys){
				.bulk_rkey = (uint32_t)harness_random() | 1,
				.strict_rkey = (uint32_t)harness_random() & ~1u,
			};
	}
	for (i = 0; i < rig->engine.n_pollers; i++)
		while (peer->lanes[i].n < rig->n_lanes) {
			k = peer->lanes[i].n++;
			peer->lanes[i].lanes[k] = lane_build(rig, peer, i, k);
		}
	return peer;
}

void
rig_build(struct rig *rig, uint32_t n_devices, uint32_t n_pollers, uint32_t n_peers)
{
	struct kvr_engine *engine = &rig->engine;
	uint32_t i;

	current = rig;
	pthread_mutex_init(&engine->control_lock, NULL);
	engine->running = true;
	engine->timeout_ms = KVR_TIMEOUT_MS;
	engine->n_devices = n_devices;
	engine->n_pollers = n_pollers;
	engine->n_peers = n_peers;
	for (i = 0; i < n_devices; i++)
		device_build(&engine->devices[i], i);
	for (i = 0; i < n_pollers; i++)
		engine->pollers[i] = poller_build(engine, i);
	for (i = 0; i < n_peers; i++)
		engine->peers[i] = peer_build(rig, i);
}

static void
peer_free(struct rig *rig, struct kvr_peer *peer)
{
	uint32_t i, k;

	for (i = 0; i < rig->engine.n_pollers; i++) {
		for (k = 0; k < peer->lanes[i].n; k++) {
			free(peer->lanes[i].lanes[k]->sq->slices);
			free(peer->lanes[i].lanes[k]->sq);
			free(peer->lanes[i].lanes[k]->flights);
			free(peer->lanes[i].lanes[k]);
		}
	}
	free(peer);
}

void
rig_free(struct rig *rig)
{
	struct kvr_engine *engine = &rig->engine;
	uint32_t i, k;

	for (i = 0; i < engine->n_peers; i++)
		peer_free(rig, engine->peers[i]);
	for (i = 0; i < engine->n_pollers; i++) {
		for (k = 0; k < engine->pollers[i]->n_devices; k++)
			free(engine->pollers[i]->devices[k].cq);
		free(engine->pollers[i]->calls);
		pthread_mutex_destroy(&engine->pollers[i]->calls_lock);
		free(engine->pollers[i]);
	}
	for (i = 0; i < engine->n_pools; i++) {
		free(engine->pools[i]->region);
		free(engine->pools[i]);
	}
	pthread_mutex_destroy(&engine->control_lock);
}

struct kvr_region *
rig_region_add(struct rig *rig, uintptr_t start, uint64_t size_bytes, int numa_node)
{
	struct kvr_pool *pool = zalloc(sizeof(*pool));
	struct kvr_region *region = zalloc(sizeof(*region));
	uint32_t i;

	region->start = start;
	region->size_bytes = size_bytes;
	region->numa_node = numa_node;
	region->pool = true;
	for (i = 0; i < KVR_MAX_DEVICES; i++)
		region->keys[i] = (struct kvr_keys){.bulk_lkey = (uint32_t)harness_random()};
	pool->region = region;
	rig->engine.pools[rig->engine.n_pools++] = pool;
	return region;
}
