/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parts that cannot go on as they are: late ones, and those that a lane went out of use under. On
 * the poller's tick, off the common way.
 *
 * A part is *held* by each lane that took slices or unproven writes of it down. It waits until all
 * those lanes are DEAD: flushed here, so that no device of ours touches its memory, and fenced at
 * the peer, so that none of its writes can land later. Then it begins again on the lanes that are
 * left or come back, READ and WRITE being idempotent; or it ends with the first cause, when the
 * peer is lost, when it is late, or when the peer cannot say what landed.
 */

#include <errno.h>
#include <string.h>

#include "counters.h"
#include "peer.h"
#include "poller.h"
#include "stops.h"

/* Dead lanes come back (lib/control/revive.c), but not those to a peer that is lost. */
static bool
lanes_hopeless(const struct kvr_part *part, const struct kvr_lane_set *set)
{
	return set->n == 0 || __atomic_load_n(&part->segment->peer->lost, __ATOMIC_ACQUIRE);
}

/* A part that is late takes the lanes out of use that may still move something of it. */
static void
lanes_expire(struct kvr_part *part, const struct kvr_lane_set *set)
{
	uint32_t i;

	for (i = 0; i < part->n_lanes; i++)
		if (part->lanes[i].n_inflight != 0 || part->lanes[i].unproven)
			kvr_lane_drain_owner(set->lanes[i], -ETIMEDOUT, 0, 0);
}

/* Writes that a lane out of use has taken, and that now no proof can follow. */
static void
hold_unproven(struct kvr_part *part, const struct kvr_lane_set *set)
{
	uint32_t i;

	for (i = 0; part->n_unproven != 0 && i < part->n_lanes; i++) {
		struct kvr_part_lane *on = &part->lanes[i];

		if (!on->unproven || set->lanes[i]->state == KVR_LANE_ACTIVE)
			continue;
		on->unproven = false;
		part->n_unproven--;
		part->held |= 1u << i;
	}
}

/* From the start, on what lanes there are, or will be before the deadline. Writes that good lanes
 * have taken stay to be proven. */
static void
part_rewind(struct kvr_poller *poller, struct kvr_part *part)
{
	uint32_t i;

	if (part->runnable)
		TAILQ_REMOVE(&poller->runnable[part->batch->priority], part, run_link);
	part->at = part->begin;
	part->at_bytes = part->begin_bytes;
	part->n_rewinds++;
	for (i = 0; i < part->n_lanes; i++) {
		memset(part->lanes[i].bytes, 0, sizeof(part->lanes[i].bytes));
		memset(part->lanes[i].slices, 0, sizeof(part->lanes[i].slices));
	}
	part->runnable = true;
	TAILQ_INSERT_TAIL(&poller->runnable[part->batch->priority], part, run_link);
	kvr_count(&poller->counters.rewound_parts, 1);
}

/* Goes on with a held part once all that hold it are dead. */
static void
part_recover(struct kvr_poller *poller, struct kvr_part *part, const struct kvr_lane_set *set)
{
	const struct kvr_lane *cause = NULL;
	bool lost = false;
	uint32_t i;

	if (part->n_inflight != 0)
		return;
	for (i = 0; i < part->n_lanes; i++) {
		if ((part->held & 1u << i) == 0)
			continue;
		cause = set->lanes[i];
		if (cause->state != KVR_LANE_DEAD)
			return;
		lost |= __atomic_load_n(&cause->fence, __ATOMIC_ACQUIRE) == KVR_FENCE_LOST;
	}
	part->held = 0;
	part->undetermined |= lost && part->wrote;
	if (part->failed_on == NULL) {
		part->syndrome = cause->syndrome;
		part->vendor_syndrome = cause->vendor_syndrome;
		part->failed_on = cause->device;
	}
	if (part->status == 0 && !part->undetermined && !lanes_hopeless(part, set))
		part_rewind(poller, part);
	else
		kvr_part_fail(poller, part, cause->status, cause->syndrome, cause->vendor_syndrome,
			      cause->device);
}

static void
part_tick(struct kvr_poller *poller, struct kvr_part *part, uint64_t now_tsc)
{
	const struct kvr_lane_set *set = &part->segment->peer->lanes[poller->idx];

	if (now_tsc >= part->batch->deadline_tsc) {
		lanes_expire(part, set);
		/* Lanes still to be flushed or fenced keep it from ending here. */
		if (part->batch->level == KVR_LEVEL_VISIBLE)
			hold_unproven(part, set);
		/* With the first cause, if a lane had to be given up on the way. */
		if (kvr_part_fail(poller, part, -ETIMEDOUT, part->syndrome, part->vendor_syndrome,
				  part->failed_on))
			return;
	} else if (part->batch->level == KVR_LEVEL_VISIBLE) {
		hold_unproven(part, set);
	}
	if (part->held != 0)
		part_recover(poller, part, set);
	else if (part->runnable && lanes_hopeless(part, set))
		kvr_part_fail(poller, part, -ECONNRESET, 0, 0, NULL);
}

void
kvr_parts_tick(struct kvr_poller *poller, uint64_t now_tsc)
{
	struct kvr_part *part, *next;

	for (part = TAILQ_FIRST(&poller->live); part != NULL; part = next) {
		next = TAILQ_NEXT(part, live_link);
		part_tick(poller, part, now_tsc);
	}
}
