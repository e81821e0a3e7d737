/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A node without an EAL device: an engine, its pollers, peers and lanes, made in memory around a
 * driver of the test's own. The rig is also the control thread: it moves queues to ERR and RESET
 * when a lane asks for it.
 *
 * The driver's device: post() hands it slices, rig_device_step() completes some of them, in order,
 * well or with a syndrome, and reap() gives the CQEs to the engine.
 */
#ifndef KVR_TESTS_RIG_H
#define KVR_TESTS_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "peer.h"
#include "poller.h"

#define RIG_CQES 65536 /* of one CQ; a power of two, more than ever are in flight */

struct rig_sq {
	struct kvr_sq sq; /* first */
	struct rig_cq *cq;
	uint32_t done;	      /* the device has executed the slices before it */
	uint32_t reported;    /* the CQ says so of the slices before it */
	bool error;	      /* the queue is in ERR: what is in it is flushed */
	bool reset;	      /* the queue is in RESET: nothing comes of it */
	bool stuck;	      /* executes and flushes nothing */
	uint32_t speed;	      /* slices executed a step, at most */
	uint8_t syndrome;     /* of its first error, 0: none */
	uint32_t fail_one_in; /* slices, 0: never */
};

struct rig_cq {
	struct kvr_cq cq; /* first */
	uint32_t pi, ci;
	struct kvr_completion cqes[RIG_CQES];
};

/* Called when slices [sq->posted, sq->pi) are posted. */
typedef void (*rig_on_post)(void *ctx, struct kvr_poller *poller, struct kvr_sq *sq);

/* Called when a bad CQE is taken from its CQ. */
typedef void (*rig_on_error)(void *ctx, const struct kvr_completion *completion);

struct rig {
	struct kvr_engine engine;
	uint32_t n_lanes; /* of each poller to each peer */
	uint32_t n_slots;
	uint32_t first_idx; /* where the queues' indices begin */
	bool instant;	    /* the device completes what it is told at once */
	rig_on_post on_post;
	rig_on_error on_error;
	void *ctx;
};

/* Everything, connected and idle, from harness_random(). Counts and first_idx are set before. */
void rig_build(struct rig *rig, uint32_t n_devices, uint32_t n_pollers, uint32_t n_peers);
void rig_free(struct rig *rig);

/* Adds a pool's region, as the registry would know it. */
struct kvr_region *rig_region_add(struct rig *rig, uintptr_t start, uint64_t size_bytes,
				  int numa_node);

static inline struct rig_sq *
rig_sq_of(const struct kvr_lane *lane)
{
	return (struct rig_sq *)lane->sq;
}

static inline uint32_t
rig_op_of(const struct kvr_slice *slice)
{
	return slice->kind & ~(uint32_t)KVR_SLICE_SIGNALED;
}

/* The flight of a slice that is in the lane's queue. */
const struct kvr_flight *rig_flight_of(const struct kvr_lane *lane, uint32_t idx);

/* The device executes and reports something, or nothing, of a lane's queue. */
void rig_device_step(struct rig *rig, struct kvr_lane *lane);
/* The control thread answers what the lane asks for. */
void rig_control_step(struct kvr_lane *lane);

#endif
