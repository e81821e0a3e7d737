/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Step 6 of 6: complete.
 * Thread: the poller's lcore, until a batch is back on its client's ring.
 * In: completions that the driver reaped.
 * Out: parts whose last slice is done, counted; with the last part, the batch.
 * Next: kvr_poll() in lib/datapath/submit.c, where the client takes it.
 */

#include <errno.h>

#include <rte_cycles.h>
#include <rte_ring.h>

#include "counters.h"
#include "peer.h"
#include "poller.h"
#include "stops.h"

/* Hands a batch back. It may be used again before this returns. */
static void
batch_end(struct kvr_poller *poller, struct kvr_batch *batch)
{
	uint64_t ticks;

	batch->done_tsc = rte_rdtsc();
	kvr_count(&poller->counters.transfers, batch->status == 0 ? batch->n_transfers : 0);
	ticks = batch->done_tsc - batch->submit_tsc;
	kvr_latency_add(&poller->latency,
			(uint64_t)((__uint128_t)ticks * poller->tick_ns_q32 >> 32));
	/* Room is certain: the ring holds all batches the client has. */
	rte_ring_sp_enqueue(batch->client->ports[poller->idx].complete, batch);
}

/* Payload counts when a part has ended well, so that failed transfers are never in it. */
static void
part_count(struct kvr_poller *poller, const struct kvr_part *part)
{
	const struct kvr_lane_set *set = &part->segment->peer->lanes[poller->idx];
	uint32_t i;

	kvr_count(&poller->counters.parts, 1);
	for (i = 0; i < part->n_lanes; i++) {
		struct kvr_device_counters *counters =
			&poller->device_counters[set->lanes[i]->device_idx];
		const struct kvr_part_lane *on = &part->lanes[i];

		if (part->status != 0) {
			kvr_count(&counters->failed_bytes, on->bytes[0] + on->bytes[1]);
			continue;
		}
		kvr_count(&counters->bytes[KVR_OP_READ], on->bytes[KVR_OP_READ]);
		kvr_count(&counters->bytes[KVR_OP_WRITE], on->bytes[KVR_OP_WRITE]);
		kvr_count(&counters->slices[KVR_OP_READ], on->slices[KVR_OP_READ]);
		kvr_count(&counters->slices[KVR_OP_WRITE], on->slices[KVR_OP_WRITE]);
	}
	kvr_count(&poller->counters.failed_parts, part->status != 0);
}

static void
part_end(struct kvr_poller *poller, struct kvr_part *part)
{
	struct kvr_batch *batch = part->batch;
	int none = 0;

	part_count(poller, part);
	TAILQ_REMOVE(&poller->live, part, live_link);
	poller->n_live--;
	/* Several pollers may fail parts of one batch: the first cause is reported. */
	if (part->status != 0 &&
	    __atomic_compare_exchange_n(&batch->status, &none, part->status, false,
					__ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
		batch->syndrome = part->syndrome;
		batch->vendor_syndrome = part->vendor_syndrome;
		batch->failed_on = part->failed_on;
	}
	if (part->undetermined)
		__atomic_store_n(&batch->remote_undetermined, true, __ATOMIC_RELAXED);
	/* Let go of the peer before the batch: its client may close the segment next. */
	__atomic_fetch_sub(&part->segment->peer->n_parts, 1, __ATOMIC_RELEASE);
	/* The last one sees what the others wrote to the batch, and hands it back. */
	if (__atomic_fetch_sub(&batch->parts_left, 1, __ATOMIC_ACQ_REL) == 1)
		batch_end(poller, batch);
}

/* Ends the part when nothing of it is left to place, to complete or to wait for. */
static bool
part_settle(struct kvr_poller *poller, struct kvr_part *part)
{
	if (part->n_inflight != 0 || part->runnable || part->held != 0)
		return false;
	part_end(poller, part);
	return true;
}

static void
part_stop(struct kvr_poller *poller, struct kvr_part *part)
{
	if (part->runnable)
		TAILQ_REMOVE(&poller->runnable[part->batch->priority], part, run_link);
	part->runnable = false;
}

bool
kvr_part_fail(struct kvr_poller *poller, struct kvr_part *part, int status, uint8_t syndrome,
	      uint8_t vendor_syndrome, const struct kvr_device *device)
{
	if (part->status == 0) {
		part->status = status;
		part->syndrome = syndrome;
		part->vendor_syndrome = vendor_syndrome;
		part->failed_on = device;
	}
	part->at = part->end;
	part_stop(poller, part);
	if (part->batch->level != KVR_LEVEL_VISIBLE)
		part->n_unproven = 0;
	/* Its writes on good lanes are proven all the same: memory of a batch that has ended must
	 * not change any more. */
	if (part->n_unproven != 0) {
		part->runnable = true;
		TAILQ_INSERT_TAIL(&poller->runnable[part->batch->priority], part, run_link);
	}
	return part_settle(poller, part);
}

/* The oldest flight has landed, or will never: its slots are free, its part has it no more. */
static inline void
flight_end(struct kvr_lane *lane, const struct kvr_flight *flight)
{
	struct kvr_part *part = flight->part;

	lane->sq->ci += flight->n;
	lane->inflight_bytes -= flight->bytes;
	part->lanes[lane->idx].n_inflight -= flight->n;
	part->n_inflight -= flight->n;
}

/* Cuts the oldest flight in two behind its first n slices. */
static void
flight_cut(struct kvr_lane *lane, uint32_t n)
{
	const struct kvr_sq *sq = lane->sq;
	struct kvr_flight *flight = kvr_lane_flight(lane);
	struct kvr_flight *rest = &lane->flights[(sq->ci + n) & sq->mask];
	uint32_t i;

	*rest = *flight;
	flight->n = n;
	flight->bytes = 0;
	for (i = 0; i < n; i++)
		flight->bytes += sq->slices[(sq->ci + i) & sq->mask].length_bytes;
	rest->n -= n;
	rest->bytes -= flight->bytes;
}

/* Slices before `end` have completed well: whole flights, unless the next one is a bad one. */
static void
slices_done(struct kvr_poller *poller, struct kvr_lane *lane, uint32_t end)
{
	struct kvr_sq *sq = lane->sq;
	uint64_t bytes = 0;

	kvr_count(&lane->n_slices, end - sq->ci);
	while (sq->ci != end) {
		struct kvr_flight *flight = kvr_lane_flight(lane);

		if (flight->n > end - sq->ci)
			flight_cut(lane, end - sq->ci);
		if (flight->op != KVR_SLICE_PROOF) {
			struct kvr_part_lane *on = &flight->part->lanes[lane->idx];

			on->bytes[flight->op] += flight->bytes;
			on->slices[flight->op] += flight->n;
			bytes += flight->bytes;
		}
		flight_end(lane, flight);
		part_settle(poller, flight->part);
	}
	kvr_count(&lane->n_bytes, bytes);
	if (lane->probe_bytes != 0 && (int32_t)(end - lane->probe_end) >= 0)
		kvr_lane_probed(lane, poller->now_tsc);
}

/* The oldest slice will not complete. The lane holds its part from here on; see recover.c. One that
 * is itself at fault would take down the next lane too, so that it fails; others may be sent again.
 */
static void
slice_failed(struct kvr_poller *poller, struct kvr_lane *lane, bool at_fault)
{
	struct kvr_flight *flight = kvr_lane_flight(lane);
	struct kvr_part *part = flight->part;

	if (flight->n > 1)
		flight_cut(lane, 1);
	flight_end(lane, flight);
	if (flight->op != KVR_SLICE_PROOF)
		kvr_count(&poller->device_counters[lane->device_idx].failed_bytes, flight->bytes);
	part->held |= 1u << lane->idx;
	if (at_fault)
		kvr_part_fail(poller, part, lane->status, lane->syndrome, lane->vendor_syndrome,
			      lane->device);
	else if (part->status == 0)
		part_stop(poller, part);
}

static void
completion_bad(struct kvr_poller *poller, struct kvr_lane *lane,
	       const struct kvr_completion *completion)
{
	/* The first bad CQE names the cause; those after it say "flushed". */
	bool first = lane->state == KVR_LANE_ACTIVE;

	kvr_count(&lane->n_errors, 1);
	kvr_count(&poller->device_counters[lane->device_idx].errors, 1);
	kvr_lane_drain_owner(lane, -EIO, completion->syndrome, completion->vendor_syndrome);
	slices_done(poller, lane, completion->idx);
	slice_failed(poller, lane, first && completion->at_fault);
}

void
kvr_lane_flush(struct kvr_poller *poller, struct kvr_lane *lane)
{
	while (lane->sq->ci != lane->sq->posted)
		slice_failed(poller, lane, false);
}

uint32_t
kvr_exhale(struct kvr_poller *poller)
{
	struct kvr_completion completions[KVR_BURST];
	uint32_t total = 0;
	uint32_t i, k, n;

	for (i = 0; i < poller->n_devices; i++) {
		struct kvr_poller_device *on = &poller->devices[i];

		n = on->driver->reap(on->cq, completions, KVR_BURST);
		if (n == 0)
			continue;
		kvr_count(&poller->device_counters[on->device->idx].cqes, n);
		for (k = 0; k < n; k++) {
			const struct kvr_completion *completion = &completions[k];
			struct kvr_lane *lane = completion->sq->lane;

			if (completion->error)
				completion_bad(poller, lane, completion);
			else
				slices_done(poller, lane, completion->idx + 1);
		}
		total += n;
	}
	return total;
}
