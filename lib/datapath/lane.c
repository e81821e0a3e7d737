/* SPDX-License-Identifier: BSD-3-Clause */
/* A lane's life in its poller's hands. The QP's own life is lib/control/lane.c's. */

#include <errno.h>

#include <rte_cycles.h>

#include "engine.h"
#include "lane.h"
#include "poller.h"
#include "stops.h"

/* A lane that completes nothing costs at most so many times what its port's rate says: it gets
 * probes, no more. */
#define COST_MAX_SHIFT 10

/* TSC ticks for a byte at the port's rate, x 2^16. */
static uint64_t
byte_cost_of(const struct kvr_device *device)
{
	uint64_t bytes_per_sec = device->rate_bps / 8;

	return bytes_per_sec == 0 ? 1 << 16 : (rte_get_tsc_hz() << 16) / bytes_per_sec + 1;
}

/* On a QP made anew, a READ first: a path that is still broken is to cost nobody anything. It is
 * the poller's own part's, which never ends. */
static void
lane_sound(struct kvr_poller *poller, struct kvr_lane *lane)
{
	const struct kvr_segment *segment = &lane->peer->segments[0];
	struct kvr_sq *sq = lane->sq;

	sq->slices[sq->pi & sq->mask] = (struct kvr_slice){
		.remote_addr = segment->remote_addr,
		.rkey = segment->keys[lane->remote_idx].strict_rkey,
		.kind = KVR_SLICE_PROOF | KVR_SLICE_SIGNALED,
		.length_bytes = 1,
		.lkey = lane->sink_lkey,
		.local_addr = lane->sink_addr,
	};
	lane->flights[sq->pi & sq->mask] = (struct kvr_flight){
		.part = &poller->sounding,
		.bytes = 1,
		.n = 1,
		.op = KVR_SLICE_PROOF,
	};
	sq->pi++;
	lane->inflight_bytes = 1;
	poller->sounding.n_inflight++;
	poller->sounding.lanes[lane->idx].n_inflight++;
	sq->post(sq);
}

static int
attach_owner(struct kvr_poller *poller, void *arg)
{
	struct kvr_lane *lane = arg;
	struct kvr_poller_device *on = kvr_poller_device_find(poller, lane->device);
	int err;

	/* The CQ must hold the worst: every slice of every lane flushed. */
	if (poller->n_lanes == KVR_MAX_POLLER_LANES || on->n_lanes == KVR_CQ_SLOTS / KVR_SQ_SLOTS)
		return -ENOSPC;
	err = lane->driver->sq_attach(on->cq, lane->sq);
	if (err != 0)
		return err;
	lane->sq->lane = lane;
	lane->sink_addr = (uintptr_t)lane->device->sink;
	lane->sink_lkey = lane->device->sink_lkey;
	lane->byte_cost = byte_cost_of(lane->device);
	on->n_lanes++;
	poller->lanes[poller->n_lanes++] = lane;
	if (lane->n_renewals != 0 && lane->peer->n_segments != 0)
		lane_sound(poller, lane);
	else
		__atomic_store_n(&lane->state, KVR_LANE_ACTIVE, __ATOMIC_RELAXED);
	return 0;
}

int
kvr_lane_attach(struct kvr_lane *lane)
{
	return kvr_poller_call(lane->poller, attach_owner, lane);
}

/* Does a part wait for the lane to be dead, or has yet to see that it is? */
static bool
lane_holds(const struct kvr_poller *poller, const struct kvr_lane *lane)
{
	const struct kvr_part *part;

	TAILQ_FOREACH (part, &poller->live, live_link)
		if (part->segment->peer == lane->peer &&
		    ((part->held & 1u << lane->idx) != 0 || part->lanes[lane->idx].unproven))
			return true;
	return false;
}

static int
detach_owner(struct kvr_poller *poller, void *arg)
{
	struct kvr_lane *lane = arg;
	struct kvr_poller_device *on = kvr_poller_device_find(poller, lane->device);
	uint32_t i;

	if (lane->sq->ci != lane->sq->pi || lane_holds(poller, lane))
		return -EBUSY;
	for (i = 0; i < poller->n_lanes; i++) {
		if (poller->lanes[i] != lane)
			continue;
		poller->lanes[i] = poller->lanes[--poller->n_lanes];
		on->n_lanes--;
		lane->driver->sq_detach(on->cq, lane->sq);
		break;
	}
	__atomic_store_n(&lane->state, KVR_LANE_DEAD, __ATOMIC_RELAXED);
	return 0;
}

int
kvr_lane_detach(struct kvr_lane *lane)
{
	return kvr_poller_call(lane->poller, detach_owner, lane);
}

void
kvr_lane_drain_owner(struct kvr_lane *lane, int status, uint8_t syndrome, uint8_t vendor)
{
	if (lane->state != KVR_LANE_ACTIVE && lane->state != KVR_LANE_CONNECTING)
		return;
	lane->status = status;
	lane->syndrome = syndrome;
	lane->vendor_syndrome = vendor;
	lane->drain_tsc = rte_rdtsc();
	__atomic_store_n(&lane->state, KVR_LANE_DRAINING, __ATOMIC_RELAXED);
	__atomic_store_n(&lane->want_error, KVR_LANE_WANT_ERROR, __ATOMIC_RELEASE);
	kvr_control_wake(lane->poller->engine);
}

struct fail {
	struct kvr_lane *lane;
	int status;
};

static int
fail_owner(struct kvr_poller *poller, void *arg)
{
	struct fail *fail = arg;

	(void)poller;
	kvr_lane_drain_owner(fail->lane, fail->status, 0, 0);
	return 0;
}

int
kvr_lane_fail(struct kvr_lane *lane, int status)
{
	struct fail fail = {lane, status};

	return kvr_poller_call(lane->poller, fail_owner, &fail);
}

/* The cost that a probe shows: time over the bytes that were in flight when it began, its own and
 * those before it. That is right for lanes that share a port or a NIC too, where bytes completed in
 * a while would say how much a lane was given, and the poor get poorer. */
static void
byte_cost_update(struct kvr_lane *lane, uint64_t now_tsc)
{
	uint64_t max = byte_cost_of(lane->device) << COST_MAX_SHIFT;
	uint64_t sample = ((now_tsc - lane->probe_tsc) << 16) / lane->probe_bytes;

	lane->byte_cost = RTE_MIN((lane->byte_cost * 3 + sample) / 4 + 1, max);
}

void
kvr_lane_probe(struct kvr_lane *lane, uint64_t now_tsc)
{
	/* With less in flight the latency of the way there and back is what would be measured. */
	if (lane->probe_bytes != 0 || lane->inflight_bytes < KVR_PROBE_BYTES)
		return;
	lane->probe_end = lane->sq->pi;
	lane->probe_bytes = lane->inflight_bytes;
	lane->probe_tsc = now_tsc;
}

void
kvr_lane_probed(struct kvr_lane *lane, uint64_t now_tsc)
{
	byte_cost_update(lane, now_tsc);
	lane->probe_bytes = 0;
}

/* A lane that is late with its probe costs what it has cost so far; one without a probe is forgiven
 * bit by bit, until it is tried again. */
static void
byte_cost_tick(struct kvr_lane *lane, uint64_t now_tsc)
{
	uint64_t least = byte_cost_of(lane->device);

	if (lane->probe_bytes == 0)
		lane->byte_cost -= lane->byte_cost > least ? (lane->byte_cost - least) / 16 : 0;
	else if ((now_tsc - lane->probe_tsc) << 16 > lane->byte_cost * lane->probe_bytes)
		byte_cost_update(lane, now_tsc);
}

/* A draining lane is dead once its flush is in and the peer is fenced; when no flush comes, its QP
 * is reset first. */
static void
drain(struct kvr_poller *poller, struct kvr_lane *lane, uint64_t now_tsc)
{
	uint32_t request = __atomic_load_n(&lane->want_error, __ATOMIC_ACQUIRE);

	if (request == KVR_LANE_IS_RESET) {
		/* What the device still had to say of it is in the CQ; nothing follows. */
		while (kvr_exhale(poller) != 0)
			;
		lane->driver->sq_detach(kvr_poller_device_find(poller, lane->device)->cq, lane->sq);
		kvr_lane_flush(poller, lane);
	} else if (request == KVR_LANE_IS_ERROR &&
		   now_tsc - lane->drain_tsc > poller->us_tsc * 1000 * KVR_FLUSH_MS) {
		__atomic_store_n(&lane->want_error, KVR_LANE_WANT_RESET, __ATOMIC_RELEASE);
		kvr_control_wake(poller->engine);
	}
	if (lane->sq->ci == lane->sq->pi &&
	    __atomic_load_n(&lane->fence, __ATOMIC_ACQUIRE) != KVR_FENCE_PENDING)
		__atomic_store_n(&lane->state, KVR_LANE_DEAD, __ATOMIC_RELAXED);
}

void
kvr_lanes_tick(struct kvr_poller *poller, uint64_t now_tsc)
{
	uint32_t i;

	for (i = 0; i < poller->n_lanes; i++) {
		struct kvr_lane *lane = poller->lanes[i];

		if (lane->state == KVR_LANE_ACTIVE)
			byte_cost_tick(lane, now_tsc);
		else if (lane->state == KVR_LANE_DRAINING)
			drain(poller, lane, now_tsc);
		else if (lane->state == KVR_LANE_CONNECTING && lane->sq->ci == lane->sq->pi)
			__atomic_store_n(&lane->state, KVR_LANE_ACTIVE, __ATOMIC_RELAXED);
	}
}
