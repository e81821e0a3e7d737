/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A lane: one QP, (poller, local device, remote device). Its poller owns it: only that lcore
 * changes a field above the line, so nothing here is atomic but what is said to be.
 */
#ifndef KVR_LANE_H
#define KVR_LANE_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "driver.h"
#include "kvr_limits.h"

struct kvr_part;
struct kvr_poller;
struct kvr_peer;

enum kvr_lane_state {
	KVR_LANE_CONNECTING, /* has a QP; no poller looks at it yet, or its first READ is out */
	KVR_LANE_ACTIVE,
	KVR_LANE_DRAINING, /* takes no more slices; waits for the local flush and the remote fence
			    */
	KVR_LANE_DEAD,	   /* nothing in flight, and no NIC touches memory for it again */
};

/* What a poller asks of the control thread for a draining lane, and the answers. Pollers never
 * call the kernel, and modify_qp does. */
enum kvr_lane_request {
	KVR_LANE_NO_REQUEST,
	KVR_LANE_WANT_ERROR, /* move the QP to ERR: the device flushes it */
	KVR_LANE_IS_ERROR,
	KVR_LANE_WANT_RESET, /* no flush came: move it to RESET, after which no CQE comes */
	KVR_LANE_IS_RESET,
};

/* Can writes of a draining lane still land at the peer? The control thread asks it. */
enum kvr_lane_fence {
	KVR_FENCE_PENDING,
	KVR_FENCE_CONFIRMED, /* its QP is in ERR: no */
	KVR_FENCE_LOST,	     /* it cannot be asked, or did not answer in time: nobody knows */
};

/* Slices of one part and one op, next to each other on a lane: what is kept in mind of them until
 * their completion. */
struct kvr_flight {
	struct kvr_part *part;
	uint64_t bytes;
	uint32_t n;  /* slices */
	uint32_t op; /* enum kvr_slice_op */
	uint64_t reserved;
};
static_assert(sizeof(struct kvr_flight) == 32, "two in a cache line");

struct kvr_lane {
	struct kvr_sq *sq;
	struct kvr_flight *flights; /* as many as slices; each is at its first slice's slot */
	const struct kvr_driver *driver;
	uint64_t inflight_bytes;
	uint64_t unsignaled_bytes; /* of the newest slices, which no completion is asked for yet */
	uint64_t byte_cost; /* TSC ticks a byte x 2^16, moving average of its own completions */
	uint32_t state;	    /* enum kvr_lane_state; others read it with a relaxed load */
	uint8_t idx;	    /* in its lane set */
	uint8_t device_idx; /* local, in the engine's devices */
	uint8_t remote_idx; /* in the peer's devices */
	bool dirty;	    /* has slices that are not posted */
	uint64_t sink_addr; /* where its proofs land */
	uint32_t sink_lkey;
	int status; /* why it drains; the first cause */
	uint8_t syndrome;
	uint8_t vendor_syndrome;
	/* A probe: when slice probe_end - 1 is done, probe_bytes have gone since probe_tsc. */
	uint32_t probe_end;
	uint64_t probe_bytes; /* 0: none is under way */
	uint64_t probe_tsc;
	uint64_t drain_tsc; /* when it began to drain */
	uint64_t n_slices;  /* monotonic: completed well */
	uint64_t n_bytes;
	uint64_t n_errors;
	/* ---- set up once, or the control thread's ---- */
	struct kvr_poller *poller;
	struct kvr_peer *peer;
	struct kvr_device *device;
	uint32_t want_error; /* atomic: enum kvr_lane_request */
	uint32_t fence;	     /* atomic: enum kvr_lane_fence, set by the control thread */
	uint32_t remote_qpn;
	uint32_t psn, remote_psn;
	/* ---- the control thread's, under control_lock: revive.c ---- */
	uint64_t due_ns;     /* when to try, or when the peer is late; 0: nothing is due */
	uint64_t question;   /* the id of what the peer was asked; 0: nothing */
	uint64_t revived_ns; /* when its QP was last made anew */
	uint32_t n_tries;    /* since it last lived long */
	uint32_t n_renewals; /* of its QP, well or not */
};

/* The oldest flight in the air. */
static inline struct kvr_flight *
kvr_lane_flight(const struct kvr_lane *lane)
{
	return &lane->flights[lane->sq->ci & lane->sq->mask];
}

/* Gives the lane to its poller. Waits for that; set-up path. ACTIVE at once; one whose QP was made
 * anew only when a READ has come back on it. 0 or -errno. */
int kvr_lane_attach(struct kvr_lane *lane);
/* Takes it back. -EBUSY while something is in flight, or a part waits for its end: fail it first,
 * and try again. */
int kvr_lane_detach(struct kvr_lane *lane);
/* Takes the lane out of use: the poller fails what is on it with `status` (-ECONNRESET ...) once
 * the flush is in. The caller moves the QP to ERR, before or after. Set-up path. 0 or -errno. */
int kvr_lane_fail(struct kvr_lane *lane, int status);

/* The poller's own: begins to drain the lane, because of a CQE's syndrome or of `status`. */
void kvr_lane_drain_owner(struct kvr_lane *lane, int status, uint8_t syndrome, uint8_t vendor);

#endif
