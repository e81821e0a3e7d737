/* SPDX-License-Identifier: BSD-3-Clause */
/* What a batch was asked to do, what was posted for it, and whether the two agree. */

#include <stdlib.h>
#include <string.h>

#include <rte_common.h>

#include "harness.h"
#include "plan.h"

static void *
resize(void *memory, size_t n, size_t size_bytes)
{
	void *new = realloc(memory, n * size_bytes);

	if (new == NULL)
		abort();
	return new;
}

/* Where the next transfer may begin on each side. */
struct bump {
	uintptr_t local;
	uint64_t offset;
	uint32_t region;
	struct kvr_segment *segment;
	enum kvr_op op;
	uint32_t n_runs;
};

static struct kvr_segment *
segment_any(struct rig *rig)
{
	struct kvr_peer *peer = rig->engine.peers[harness_between(0, rig->engine.n_peers - 1)];

	return &peer->segments[harness_between(0, peer->n_segments - 1)];
}

/* Moves on so that the next transfer is adjacent to the last on both sides, on one, or on none. */
static void
bump_next(struct bump *bump, struct rig *rig, struct kvr_region **regions, uint32_t n_regions)
{
	uint64_t gap = harness_magnitude(1, 100000);

	if (harness_one_in(4))
		bump->local += gap;
	if (harness_one_in(4))
		bump->offset += gap;
	if (harness_one_in(6))
		bump->op = bump->op == KVR_OP_READ ? KVR_OP_WRITE : KVR_OP_READ;
	if (bump->n_runs < KVR_MAX_RUNS && harness_one_in(16)) {
		bump->segment = segment_any(rig);
		bump->n_runs++;
	}
	/* Regions may touch: what is adjacent across their border must not be joined. */
	while (bump->local >= regions[bump->region]->start + regions[bump->region]->size_bytes) {
		bump->region = (bump->region + 1) % n_regions;
		bump->local = RTE_MAX(bump->local, regions[bump->region]->start);
	}
}

void
plan_make(struct plan *plan, struct rig *rig, struct kvr_region **regions, uint32_t n_regions,
	  uint32_t max_transfers, uint64_t max_bytes)
{
	uint32_t n = (uint32_t)harness_magnitude(1, max_transfers);
	uint64_t left = max_bytes;
	struct bump bump = {
		/* Often close to the region's end. */
		.local = regions[0]->start + regions[0]->size_bytes - harness_magnitude(1, 1 << 28),
		.offset = harness_magnitude(0, 1 << 20),
		.segment = segment_any(rig),
		.op = harness_one_in(2) ? KVR_OP_READ : KVR_OP_WRITE,
		.n_runs = 1,
	};

	memset(plan, 0, sizeof(*plan));
	plan->level = harness_one_in(3) ? KVR_LEVEL_SENT : KVR_LEVEL_VISIBLE;
	plan->priority = harness_one_in(3) ? KVR_CLASS_LATENCY : KVR_CLASS_BULK;
	plan->transfers = resize(NULL, n, sizeof(*plan->transfers));
	plan->regions = resize(NULL, n, sizeof(*plan->regions));
	while (plan->n_transfers < n && left != 0) {
		struct kvr_region *region = regions[bump.region];
		uint64_t length = harness_magnitude(1, RTE_MIN(left, (uint64_t)8 << 20));

		length = RTE_MIN(length, region->start + region->size_bytes - bump.local);
		plan->regions[plan->n_transfers] = region;
		plan->transfers[plan->n_transfers++] = (struct kvr_transfer){
			.local = (void *)bump.local,
			.segment = bump.segment,
			.offset = bump.offset,
			.length_bytes = length,
			.op = bump.op,
		};
		plan->bytes += length;
		left -= length;
		bump.local += length;
		bump.offset += length;
		bump_next(&bump, rig, regions, n_regions);
	}
}

void
plan_free(struct plan *plan)
{
	free(plan->transfers);
	free(plan->regions);
	free(plan->pieces);
	free(plan->shots);
	memset(plan, 0, sizeof(*plan));
}

static uint64_t
remote_of(const struct kvr_transfer *transfer)
{
	return transfer->segment->remote_addr + transfer->offset;
}

/* May transfers i and i + 1 go in one slice? Both are of one segment. */
static bool
joins(const struct plan *plan, uint32_t i)
{
	const struct kvr_transfer *a = &plan->transfers[i], *b = &plan->transfers[i + 1];

	return (uintptr_t)a->local + a->length_bytes == (uintptr_t)b->local &&
	       remote_of(a) + a->length_bytes == remote_of(b) && a->op == b->op &&
	       plan->regions[i] == plan->regions[i + 1];
}

/* A run of adjacent bytes, cut in pieces of slice_bytes and a rest. */
static void
run_cut(struct plan *plan, uint32_t part, uint32_t first, uint64_t skip, uint64_t bytes,
	uint32_t slice_bytes)
{
	const struct kvr_transfer *transfer = &plan->transfers[first];
	uint64_t at;

	plan->pieces = resize(plan->pieces, plan->n_pieces + bytes / slice_bytes + 1,
			      sizeof(*plan->pieces));
	for (at = 0; at < bytes; at += slice_bytes)
		plan->pieces[plan->n_pieces++] = (struct piece){
			.local = (uintptr_t)transfer->local + skip + at,
			.remote = remote_of(transfer) + skip + at,
			.length_bytes = (uint32_t)RTE_MIN(bytes - at, slice_bytes),
			.part = part,
			.op = transfer->op,
			.region = plan->regions[first],
		};
}

static void
share_cut(struct plan *plan, uint32_t part, uint32_t slice_bytes)
{
	const struct share *share = &plan->shares[part];
	uint64_t start = 0, skip = 0, bytes = 0;
	uint32_t first = 0, i;

	/* Transfer i is bytes [start, start + length) of all. */
	for (i = 0; i < plan->n_transfers; start += plan->transfers[i++].length_bytes) {
		uint64_t end = start + plan->transfers[i].length_bytes;
		uint64_t from = RTE_MAX(start, share->begin), to = RTE_MIN(end, share->end);

		if (from >= to)
			continue;
		CU_ASSERT_PTR_EQUAL(plan->transfers[i].segment, share->segment);
		if (bytes == 0) {
			first = i;
			skip = from - start;
		}
		bytes += to - from;
		if (end < share->end && joins(plan, i))
			continue;
		run_cut(plan, part, first, skip, bytes, slice_bytes);
		bytes = 0;
	}
}

/* Where byte `bytes` of the engine's transfer `at` is, of all transfers laid end to end. */
static uint64_t
position(const struct kvr_batch *batch, uint32_t at, uint64_t bytes)
{
	while (at-- > 0)
		bytes += batch->xfers[at].length_bytes;
	return bytes;
}

void
plan_divided(struct plan *plan, uint32_t slice_bytes, uint32_t n_pollers)
{
	uint64_t at = 0;
	uint32_t i;

	plan->n_shares = plan->batch->n_parts;
	CU_ASSERT(plan->n_shares <= KVR_MAX_RUNS + n_pollers - 1);
	for (i = 0; i < plan->n_shares; i++) {
		const struct kvr_part *part = &plan->batch->parts[i];
		struct share *share = &plan->shares[i];

		share->begin = position(plan->batch, part->at, part->at_bytes);
		share->end = position(plan->batch, part->end - 1, part->end_bytes);
		share->segment = part->segment;
		/* Each begins where the one before ended, and none is empty. */
		CU_ASSERT_EQUAL(share->begin, at);
		CU_ASSERT(share->end > share->begin);
		at = share->end;
		share_cut(plan, i, slice_bytes);
	}
	CU_ASSERT_EQUAL(at, plan->bytes);
}

void
plan_shot(struct plan *plan, const struct kvr_part *part, const struct kvr_slice *slice,
	  const struct kvr_lane *lane)
{
	if (plan->n_shots == plan->max_shots) {
		plan->max_shots = plan->max_shots * 2 + 64;
		plan->shots = resize(plan->shots, plan->max_shots, sizeof(*plan->shots));
	}
	plan->shots[plan->n_shots++] = (struct shot){
		.slice = *slice,
		.lane = lane,
		.part = (uint32_t)(part - plan->batch->parts),
		.attempt = part->n_rewinds,
	};
	plan->shares[part - plan->batch->parts].attempt = part->n_rewinds;
}

static int
by_remote(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return x->remote < y->remote ? -1 : x->remote > y->remote;
}

static void
shot_check(struct plan *plan, const struct shot *shot)
{
	const struct kvr_slice *slice = &shot->slice;
	struct piece key = {.remote = slice->remote_addr};
	struct piece *piece;

	piece = bsearch(&key, plan->pieces, plan->n_pieces, sizeof(key), by_remote);
	CU_ASSERT_PTR_NOT_NULL(piece);
	if (piece == NULL)
		return;
	if (shot->attempt == plan->shares[shot->part].attempt) {
		CU_ASSERT_FALSE(piece->seen);
		piece->seen = true;
	}
	CU_ASSERT_EQUAL(slice->local_addr, piece->local);
	CU_ASSERT_EQUAL(slice->length_bytes, piece->length_bytes);
	CU_ASSERT_EQUAL(shot->part, piece->part);
	CU_ASSERT_EQUAL(rig_op_of(slice),
			piece->op == KVR_OP_WRITE ? KVR_SLICE_WRITE : KVR_SLICE_READ);
	CU_ASSERT_EQUAL(slice->lkey, piece->region->keys[shot->lane->device_idx].bulk_lkey);
	CU_ASSERT_EQUAL(slice->rkey,
			plan->shares[shot->part].segment->keys[shot->lane->remote_idx].bulk_rkey);
}

/* The pieces, laid end to end, are the transfers: the reference itself is whole. */
static void
pieces_check(const struct plan *plan)
{
	uint64_t bytes = 0;
	uint32_t i;

	for (i = 0; i < plan->n_pieces; i++) {
		const struct piece *piece = &plan->pieces[i];

		bytes += piece->length_bytes;
		CU_ASSERT_TRUE(piece->seen);
		if (i + 1 < plan->n_pieces)
			CU_ASSERT(piece->remote + piece->length_bytes <= piece[1].remote);
	}
	CU_ASSERT_EQUAL(bytes, plan->bytes);
}

/* What one part did on one lane. */
struct track {
	const struct kvr_lane *lane;
	bool unproven; /* holds writes that no proof follows */
	uint32_t attempt;
	uint32_t n_proofs;   /* in this attempt */
	uint64_t last_write; /* remote address of its last byte */
	uint64_t last_local; /* position of the last slice, to see the order */
};

static void
track_shot(const struct plan *plan, const struct shot *shot, struct track *track)
{
	const struct kvr_slice *slice = &shot->slice;
	const struct kvr_segment *segment = plan->shares[shot->part].segment;

	track->lane = shot->lane;
	if (shot->attempt != track->attempt) {
		track->attempt = shot->attempt;
		track->n_proofs = 0;
		track->last_local = 0;
	}
	if (rig_op_of(slice) != KVR_SLICE_PROOF) {
		CU_ASSERT_EQUAL(track->n_proofs, 0);
		/* A plan's local addresses grow, so a part's cursor does too. */
		CU_ASSERT(slice->local_addr > track->last_local);
		track->last_local = slice->local_addr;
		if (rig_op_of(slice) == KVR_SLICE_WRITE) {
			track->unproven = true;
			track->last_write = slice->remote_addr + slice->length_bytes - 1;
		}
		return;
	}
	track->n_proofs++;
	CU_ASSERT_TRUE(track->unproven);
	track->unproven = false;
	CU_ASSERT_EQUAL(plan->level, KVR_LEVEL_VISIBLE);
	CU_ASSERT_EQUAL(slice->length_bytes, 1);
	CU_ASSERT_EQUAL(slice->remote_addr, track->last_write);
	CU_ASSERT_EQUAL(slice->rkey, segment->keys[shot->lane->remote_idx].strict_rkey);
	CU_ASSERT_EQUAL(slice->local_addr, (uintptr_t)shot->lane->device->sink);
	CU_ASSERT_EQUAL(slice->lkey, shot->lane->device->sink_lkey);
}

/* No poller moved more than its even share, down to the size below which a batch stays whole. */
static void
pollers_check(const struct plan *plan, uint32_t n_pollers)
{
	uint64_t n = RTE_MIN(plan->bytes / KVR_SHARE_BYTES + 1, n_pollers);
	uint64_t bytes[KVR_MAX_POLLERS] = {0};
	uint32_t i;

	for (i = 0; i < plan->n_shots; i++)
		if (rig_op_of(&plan->shots[i].slice) != KVR_SLICE_PROOF &&
		    plan->shots[i].attempt == plan->shares[plan->shots[i].part].attempt)
			bytes[plan->shots[i].lane->poller->idx] +=
				plan->shots[i].slice.length_bytes;
	for (i = 0; i < n_pollers; i++)
		CU_ASSERT(bytes[i] <= (plan->bytes + n - 1) / n);
}

/* Whatever the batch's end, no write of it can land any more: it is proven, or its lane is dead on
 * both sides, or the peer cannot say so and the batch will not hide it. */
static void
unproven_check(struct plan *plan, const struct track *track)
{
	if (!track->unproven)
		return;
	CU_ASSERT_EQUAL(track->lane->state, KVR_LANE_DEAD);
	CU_ASSERT_NOT_EQUAL(track->lane->fence, KVR_FENCE_PENDING);
	plan->lost |= track->lane->fence == KVR_FENCE_LOST;
}

void
plan_check(struct plan *plan, bool whole, uint32_t n_pollers)
{
	struct track(*tracks)[KVR_MAX_LANES] = calloc(plan->n_shares, sizeof(*tracks));
	uint32_t i, k;

	qsort(plan->pieces, plan->n_pieces, sizeof(*plan->pieces), by_remote);
	for (i = 0; i < plan->n_shots; i++) {
		const struct shot *shot = &plan->shots[i];

		if (rig_op_of(&shot->slice) != KVR_SLICE_PROOF)
			shot_check(plan, shot);
		track_shot(plan, shot, &tracks[shot->part][shot->lane->idx]);
	}
	for (i = 0; plan->level == KVR_LEVEL_VISIBLE && i < plan->n_shares; i++)
		for (k = 0; k < KVR_MAX_LANES; k++)
			unproven_check(plan, &tracks[i][k]);
	if (whole) {
		pieces_check(plan);
		pollers_check(plan, n_pollers);
	}
	free(tracks);
}
