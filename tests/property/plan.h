/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a batch was asked to do, what was posted for it, and whether the two agree. The expected
 * pieces are worked out here, from the public API's transfers, without the engine's cursor code.
 */
#ifndef KVR_TESTS_PLAN_H
#define KVR_TESTS_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "rig.h"

/* A slice as it was posted. */
struct shot {
	struct kvr_slice slice;
	const struct kvr_lane *lane;
	uint32_t part;	  /* index in the batch */
	uint32_t attempt; /* how often the part had begun again */
};

/* One slice that the engine must make. */
struct piece {
	uint64_t local, remote;
	uint32_t length_bytes;
	uint32_t part;
	enum kvr_op op;
	const struct kvr_region *region;
	bool seen;
};

/* A part as kvr_submit() made it: bytes [begin, end) of all transfers laid end to end. */
struct share {
	uint64_t begin, end;
	struct kvr_segment *segment;
	uint32_t attempt; /* the last */
};

struct plan {
	struct kvr_transfer *transfers;
	const struct kvr_region **regions; /* of each transfer's local memory */
	uint32_t n_transfers;
	uint64_t bytes;
	enum kvr_level level;
	enum kvr_class priority;
	struct kvr_batch *batch;
	struct share shares[KVR_MAX_PARTS];
	uint32_t n_shares;
	struct piece *pieces;
	uint32_t n_pieces;
	struct shot *shots;
	uint32_t n_shots, max_shots;
	const struct kvr_lane *first_bad; /* where a slice of it was first at fault */
	bool lost;			  /* plan_check(): the peer cannot say if a write landed */
	uint32_t n_ends;		  /* how often kvr_poll() returned it */
};

/* Fills a plan with transfers between the regions and the segments of every peer; ranges of one
 * plan do not overlap. */
void plan_make(struct plan *plan, struct rig *rig, struct kvr_region **regions, uint32_t n_regions,
	       uint32_t max_transfers, uint64_t max_bytes);
void plan_free(struct plan *plan);

/* Copies the parts of the batch just submitted, checks that they divide it, and works out the
 * pieces. */
void plan_divided(struct plan *plan, uint32_t slice_bytes, uint32_t n_pollers);

/* Keeps a slice of the part that is being posted. */
void plan_shot(struct plan *plan, const struct kvr_part *part, const struct kvr_slice *slice,
	       const struct kvr_lane *lane);

/* Every shot is a piece, and none is posted twice. With `whole`, every piece was posted, every
 * byte moved once, and every (lane, part) with writes has its proof. */
void plan_check(struct plan *plan, bool whole, uint32_t n_pollers);

#endif
