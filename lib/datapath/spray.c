/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Step 3 of 6: spray.
 * Thread: the poller's lcore.
 * In: runnable parts: transfers that are not yet on any lane.
 * Out: slices on the lanes that will be done with them first, and proofs behind the last writes.
 * Next: drivers/mlx5/sq.c, which posts them; one call for each lane that got some.
 */

#include "counters.h"
#include "peer.h"
#include "poller.h"
#include "stops.h"

static_assert((int)KVR_SLICE_READ == (int)KVR_OP_READ && (int)KVR_SLICE_WRITE == (int)KVR_OP_WRITE,
	      "a slice's op is its transfer's");

/* Bytes of transfer i, from its first one on, that belong to the part. */
static inline uint64_t
xfer_end(const struct kvr_part *part, uint32_t i)
{
	return i + 1 == part->end ? part->end_bytes : part->batch->xfers[i].length_bytes;
}

/* The lane that will be done first with `length` bytes more; NULL: none has room. A lane's window
 * is bounded, so that what comes later with a higher class does not wait behind it. */
static struct kvr_lane *
lane_pick(const struct kvr_lane_set *set, uint32_t length)
{
	struct kvr_lane *best = NULL;
	uint64_t best_cost = UINT64_MAX;
	uint32_t i;

	for (i = 0; i < set->n; i++) {
		struct kvr_lane *lane = set->lanes[i];
		uint64_t bytes = lane->inflight_bytes + length;
		uint64_t cost = bytes * lane->byte_cost;

		if (lane->state != KVR_LANE_ACTIVE || kvr_sq_room(lane->sq) == 0 ||
		    (lane->inflight_bytes != 0 && bytes > KVR_LANE_BYTES))
			continue;
		if (cost < best_cost) {
			best_cost = cost;
			best = lane;
		}
	}
	return best;
}

/* Where the lane's next slice goes, and the flight that begins with it. */
static inline struct kvr_slice *
lane_slice(const struct kvr_lane *lane)
{
	return &lane->sq->slices[lane->sq->pi & lane->sq->mask];
}

static inline struct kvr_flight *
lane_flight(const struct kvr_lane *lane)
{
	return &lane->flights[lane->sq->pi & lane->sq->mask];
}

/* The slice before. */
static inline struct kvr_slice *
lane_newest(const struct kvr_lane *lane)
{
	return &lane->sq->slices[(lane->sq->pi - 1) & lane->sq->mask];
}

/* Asks for the completion of all that is in the lane's queue. */
static inline void
lane_signal(struct kvr_lane *lane)
{
	lane_newest(lane)->kind |= KVR_SLICE_SIGNALED;
	lane->unsignaled_bytes = 0;
}

/* The flight's slices are in the lane's queue and wait for post. */
static inline void
flight_begin(struct kvr_poller *poller, struct kvr_lane *lane, const struct kvr_flight *flight)
{
	struct kvr_part *part = flight->part;

	lane->sq->pi += flight->n;
	lane->inflight_bytes += flight->bytes;
	part->n_inflight += flight->n;
	part->lanes[lane->idx].n_inflight += flight->n;
	lane->unsignaled_bytes += flight->bytes;
	if (lane->unsignaled_bytes >= KVR_SIGNAL_BYTES)
		lane_signal(lane);
	if (!lane->dirty) {
		lane->dirty = true;
		poller->dirty[poller->n_dirty++] = lane;
	}
}

/* The lane's newest slice is a write of the part, not proven yet. */
static void
part_wrote(struct kvr_part *part, const struct kvr_lane *lane)
{
	const struct kvr_slice *last = lane_newest(lane);
	struct kvr_part_lane *on = &part->lanes[lane->idx];

	part->wrote = true;
	part->n_unproven += !on->unproven;
	on->unproven = true;
	on->proof_addr = last->remote_addr + last->length_bytes - 1;
}

/* Transfers from the cursor on, whole ones of one op, each in a slice of its own: up to `max` of
 * them, and no more than a quantum of bytes. */
static inline void
run_fill(const struct kvr_part *part, const struct kvr_lane *lane, uint32_t max, uint64_t quantum,
	 struct kvr_flight *flight)
{
	const uint32_t rkey = part->segment->keys[lane->remote_idx].bulk_rkey;
	const struct kvr_xfer *xfer = &part->batch->xfers[part->at];
	const uint32_t op = flight->op, device_idx = lane->device_idx;
	struct kvr_slice *begin = lane_slice(lane), *slice;
	uint64_t bytes = 0;

	for (slice = begin; slice != begin + max; slice++, xfer++) {
		uint64_t with = bytes + xfer->length_bytes;

		if (with > quantum || xfer->op != op)
			break;
		bytes = with;
		*slice = (struct kvr_slice){
			.remote_addr = xfer->remote_addr,
			.rkey = rkey,
			.kind = op,
			.length_bytes = (uint32_t)xfer->length_bytes,
			.lkey = xfer->region->keys[device_idx].bulk_lkey,
			.local_addr = xfer->local_addr,
		};
	}
	flight->n = (uint32_t)(slice - begin);
	flight->bytes = bytes;
}

/* `length` bytes of a transfer that does not go whole. */
static void
piece_fill(const struct kvr_part *part, const struct kvr_lane *lane, uint64_t length,
	   struct kvr_flight *flight)
{
	const struct kvr_xfer *xfer = &part->batch->xfers[part->at];

	*lane_slice(lane) = (struct kvr_slice){
		.remote_addr = xfer->remote_addr + part->at_bytes,
		.rkey = part->segment->keys[lane->remote_idx].bulk_rkey,
		.kind = xfer->op,
		.length_bytes = (uint32_t)length,
		.lkey = xfer->region->keys[lane->device_idx].bulk_lkey,
		.local_addr = xfer->local_addr + part->at_bytes,
	};
	flight->n = 1;
	flight->bytes = length;
}

/* Puts the part's next slices on a lane, up to `max`: a run of whole transfers, or else a piece of
 * one. Returns how many. */
static uint32_t
lane_fill(struct kvr_poller *poller, struct kvr_part *part, struct kvr_lane *lane, uint32_t max)
{
	uint64_t left = xfer_end(part, part->at) - part->at_bytes;
	struct kvr_flight *flight = lane_flight(lane);

	*flight = (struct kvr_flight){.part = part, .op = part->batch->xfers[part->at].op};
	/* Up to the queue's wrap, and of the part's transfers those that are its to their end. */
	max = RTE_MIN(max, lane->sq->mask + 1 - (lane->sq->pi & lane->sq->mask));
	if (part->at_bytes == 0)
		run_fill(part, lane, RTE_MIN(max, part->end_whole - part->at),
			 RTE_MIN(poller->slice_bytes, (uint32_t)KVR_QUANTUM_BYTES), flight);
	part->at += flight->n;
	if (flight->n == 0) {
		piece_fill(part, lane, RTE_MIN(left, poller->slice_bytes), flight);
		part->at_bytes += flight->bytes;
		if (flight->bytes == left) {
			part->at++;
			part->at_bytes = 0;
		}
	}
	flight_begin(poller, lane, flight);
	if (flight->op == KVR_SLICE_WRITE)
		part_wrote(part, lane);
	return flight->n;
}

/* Behind the last write of each lane, a READ of the last byte written, through the segment's
 * strictly ordered MR and on the same QP: once it returns, the writes before it are visible at the
 * peer (docs/ordering.md). Returns how many were placed; lanes without room keep theirs, and the
 * tick ends a part whose lane is gone. */
static uint32_t
proofs_place(struct kvr_poller *poller, struct kvr_part *part, const struct kvr_lane_set *set)
{
	uint32_t n = 0;
	uint32_t i;

	for (i = 0; i < set->n && part->n_unproven != 0; i++) {
		struct kvr_lane *lane = set->lanes[i];
		struct kvr_part_lane *on = &part->lanes[i];
		struct kvr_flight *flight = lane_flight(lane);

		if (!on->unproven || lane->state != KVR_LANE_ACTIVE || kvr_sq_room(lane->sq) == 0)
			continue;
		*lane_slice(lane) = (struct kvr_slice){
			.remote_addr = on->proof_addr,
			.rkey = part->segment->keys[lane->remote_idx].strict_rkey,
			.kind = KVR_SLICE_PROOF,
			.length_bytes = 1,
			.lkey = lane->sink_lkey,
			.local_addr = lane->sink_addr,
		};
		*flight = (struct kvr_flight){
			.part = part, .bytes = 1, .n = 1, .op = KVR_SLICE_PROOF};
		flight_begin(poller, lane, flight);
		on->unproven = false;
		part->n_unproven--;
		kvr_count(&poller->device_counters[lane->device_idx].proofs, 1);
		n++;
	}
	return n;
}

/* Places up to `budget` slices of the part. Returns how many. */
static uint32_t
part_place(struct kvr_poller *poller, struct kvr_part *part, uint32_t budget)
{
	const struct kvr_lane_set *set = &part->segment->peer->lanes[poller->idx];
	uint32_t n = 0;

	while (n < budget && part->at != part->end) {
		struct kvr_lane *lane =
			lane_pick(set, (uint32_t)RTE_MIN(xfer_end(part, part->at) - part->at_bytes,
							 poller->slice_bytes));

		if (lane == NULL)
			return n;
		n += lane_fill(poller, part, lane, RTE_MIN(budget - n, kvr_sq_room(lane->sq)));
	}
	if (part->at != part->end)
		return n;
	if (part->batch->level == KVR_LEVEL_VISIBLE)
		n += proofs_place(poller, part, set);
	else
		part->n_unproven = 0;
	return n;
}

/* Visits parts of one class in turn; those that are not done go to the list's end. */
static uint32_t
class_place(struct kvr_poller *poller, struct kvr_part_list *list, uint32_t budget)
{
	struct kvr_part *part;
	uint32_t n = 0, visits;

	for (visits = 0; visits < KVR_VISITS && n < budget; visits++) {
		part = TAILQ_FIRST(list);
		if (part == NULL)
			break;
		TAILQ_REMOVE(list, part, run_link);
		n += part_place(poller, part, RTE_MIN(budget - n, (uint32_t)KVR_VISIT_SLICES));
		part->runnable = part->at != part->end || part->n_unproven != 0;
		if (part->runnable)
			TAILQ_INSERT_TAIL(list, part, run_link);
	}
	return n;
}

uint32_t
kvr_spray(struct kvr_poller *poller)
{
	uint32_t n, i;

	n = class_place(poller, &poller->runnable[KVR_CLASS_LATENCY], KVR_BURST);
	if (n < KVR_BURST)
		n += class_place(poller, &poller->runnable[KVR_CLASS_BULK], KVR_BURST - n);
	for (i = 0; i < poller->n_dirty; i++) {
		struct kvr_lane *lane = poller->dirty[i];
		struct kvr_device_counters *counters = &poller->device_counters[lane->device_idx];

		kvr_count(&counters->wqes, lane->sq->pi - lane->sq->posted);
		kvr_count(&counters->doorbells, 1);
		/* So that no slice waits for a later burst to be reported. */
		lane_signal(lane);
		lane->sq->post(lane->sq);
		lane->dirty = false;
		kvr_lane_probe(lane, poller->now_tsc);
	}
	poller->n_dirty = 0;
	return n;
}
