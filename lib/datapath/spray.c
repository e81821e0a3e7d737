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

/* n slices of the part, `bytes` in all, are in the lane's queue and wait for post. */
static inline void
lane_charge(struct kvr_poller *poller, struct kvr_lane *lane, struct kvr_part *part, uint32_t n,
	    uint64_t bytes)
{
	lane->sq->pi += n;
	lane->inflight_bytes += bytes;
	part->n_inflight += n;
	part->lanes[lane->idx].n_inflight += n;
	if (!lane->dirty) {
		lane->dirty = true;
		poller->dirty[poller->n_dirty++] = lane;
	}
}

/* The lane's newest write of the part is not proven yet. */
static void
part_wrote(struct kvr_part *part, const struct kvr_lane *lane, uint64_t last_addr)
{
	struct kvr_part_lane *on = &part->lanes[lane->idx];

	part->wrote = true;
	part->n_unproven += !on->unproven;
	on->unproven = true;
	on->proof_addr = last_addr;
}

/* Puts the part's next pieces on a lane: up to `max` of them, one at least, and no more than a
 * quantum of bytes beyond the first. Returns how many. */
static uint32_t
lane_fill(struct kvr_poller *poller, struct kvr_part *part, struct kvr_lane *lane, uint32_t max)
{
	const uint32_t rkey = part->segment->keys[lane->remote_idx].bulk_rkey;
	const struct kvr_xfer *xfer = &part->batch->xfers[part->at];
	const struct kvr_xfer *end = &part->batch->xfers[part->end];
	const struct kvr_sq *sq = lane->sq;
	const uint64_t slice_bytes = poller->slice_bytes;
	uint64_t at_bytes = part->at_bytes;
	uint64_t bytes = 0, written = 0;
	uint32_t n = 0;

	do {
		struct kvr_slice *slice = &sq->slices[(sq->pi + n) & sq->mask];
		uint64_t last = xfer + 1 == end ? part->end_bytes : xfer->length_bytes;
		uint64_t length = RTE_MIN(last - at_bytes, slice_bytes);

		if (n != 0 && bytes + length > KVR_QUANTUM_BYTES)
			break;
		slice->local_addr = xfer->local_addr + at_bytes;
		slice->remote_addr = xfer->remote_addr + at_bytes;
		slice->length_bytes = (uint32_t)length;
		slice->lkey = xfer->region->keys[lane->device_idx].bulk_lkey;
		slice->rkey = rkey;
		slice->op = (uint8_t)xfer->op;
		slice->part = part;
		bytes += length;
		at_bytes += length;
		if (xfer->op == KVR_OP_WRITE)
			written = xfer->remote_addr + at_bytes;
		if (at_bytes == last) {
			xfer++;
			at_bytes = 0;
		}
	} while (++n < max && xfer != end);
	part->at = (uint32_t)(xfer - part->batch->xfers);
	part->at_bytes = at_bytes;
	lane_charge(poller, lane, part, n, bytes);
	if (written != 0)
		part_wrote(part, lane, written - 1);
	return n;
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
		struct kvr_slice *slice;

		if (!on->unproven || lane->state != KVR_LANE_ACTIVE || kvr_sq_room(lane->sq) == 0)
			continue;
		slice = &lane->sq->slices[lane->sq->pi & lane->sq->mask];
		slice->part = part;
		slice->length_bytes = 1;
		slice->local_addr = lane->sink_addr;
		slice->lkey = lane->sink_lkey;
		slice->remote_addr = on->proof_addr;
		slice->rkey = part->segment->keys[lane->remote_idx].strict_rkey;
		slice->op = KVR_SLICE_PROOF;
		lane_charge(poller, lane, part, 1, 1);
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
		lane->sq->post(lane->sq);
		lane->dirty = false;
		kvr_lane_probe(lane, poller->now_tsc);
	}
	poller->n_dirty = 0;
	return n;
}
