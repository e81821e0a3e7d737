/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the engine sees of a device driver. A send queue (struct kvr_sq) is a ring of slices that
 * both sides share: the engine fills slots at `pi`, the driver turns [posted, pi) into work
 * requests with one doorbell, and completions move `ci`. All three run free; a slot is
 * idx & mask. Only the owning lcore touches a queue once it is connected.
 */
#ifndef KVR_DRIVER_H
#define KVR_DRIVER_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <infiniband/verbs.h>

#include "kvr_limits.h"

struct kvr_part;
struct kvr_lane;
struct kvr_device;

enum kvr_slice_op {
	KVR_SLICE_READ,
	KVR_SLICE_WRITE,
	KVR_SLICE_PROOF, /* a READ that proves the writes before it: docs/ordering.md */
	KVR_SLICE_OPS,
};
#define KVR_SLICE_SIGNALED 4 /* beside the op: its completion is to be reported */
#define KVR_SLICE_KINDS	   (KVR_SLICE_SIGNALED + KVR_SLICE_OPS)
static_assert((KVR_SLICE_OPS & KVR_SLICE_SIGNALED) == 0, "a bit that no op has");

/* What one WQE moves. The order is that of mlx5's remote address and data segments, so that a
 * shuffle makes the one of the other. */
struct kvr_slice {
	uint64_t remote_addr;
	uint32_t rkey;
	uint32_t kind; /* enum kvr_slice_op, and KVR_SLICE_SIGNALED */
	uint32_t length_bytes;
	uint32_t lkey;
	uint64_t local_addr;
} __attribute__((aligned(32)));
static_assert(sizeof(struct kvr_slice) == 32, "read whole by mlx5dp_post_avx2()");
static_assert(offsetof(struct kvr_slice, rkey) == 8, "see mlx5dp_post_avx2()");
static_assert(offsetof(struct kvr_slice, length_bytes) == 16, "see mlx5dp_post_avx2()");
static_assert(offsetof(struct kvr_slice, local_addr) == 24, "see mlx5dp_post_avx2()");

/* A send queue. A driver embeds it as the first member of its own. */
struct kvr_sq {
	/* Data path, owner's lcore. Makes WQEs of [posted, pi), at least one, and rings once. The
	 * last of them is signaled, and completes all before it. The driver chooses the variant for
	 * this CPU when it makes the queue. */
	void (*post)(struct kvr_sq *sq);
	struct kvr_slice *slices;
	uint32_t mask;	 /* slots - 1 */
	uint32_t pi;	 /* filled by the engine */
	uint32_t posted; /* told to the device */
	uint32_t ci;	 /* completed */
	struct kvr_lane *lane;
	/* set up once */
	struct ibv_qp *qp;
};

/* A completion queue of one poller on one device. */
struct kvr_cq {
	struct ibv_cq *cq;
};

/* One CQE. A good one completes every slice of its queue up to and with `idx`; a bad one completes
 * those before `idx` well and `idx` with its syndrome. After a bad one every posted slice gets a
 * bad one of its own. */
struct kvr_completion {
	struct kvr_sq *sq;
	uint32_t idx;	  /* free-running, as pi */
	uint8_t error;	  /* 0 or 1 */
	uint8_t at_fault; /* a bad one: the request is wrong, so that another queue would fail too
			   */
	uint8_t syndrome; /* IBTA/PRM CQE syndrome; 5: flushed */
	uint8_t vendor_syndrome;
};

static inline uint32_t
kvr_sq_room(const struct kvr_sq *sq)
{
	return sq->mask + 1 - (sq->pi - sq->ci);
}

/* A poller's own doorbell registers on one device: a thread domain, and the parent domain that
 * brings its QPs and CQs there (ibv_alloc_td(3)). */
struct kvr_uar {
	struct ibv_td *td;
	struct ibv_pd *pd; /* the parent domain */
};

/* All mandatory. The set-up ones return 0 or -errno and may block. */
struct kvr_driver {
	const char *name;
	/* Does this driver run the device? */
	int (*match)(struct ibv_context *context);

	/* A CQ of at least n_cqes. It is polled, never armed. */
	int (*cq_create)(struct ibv_context *context, uint32_t n_cqes, struct kvr_cq **cq);
	void (*cq_destroy)(struct kvr_cq *cq);

	/* An RC QP in RESET with n_slots (a power of two) slices, no receive queue to speak of. */
	int (*sq_create)(struct ibv_context *context, struct kvr_uar *uar, struct kvr_cq *cq,
			 uint32_t n_slots, struct kvr_sq **sq);
	void (*sq_destroy)(struct kvr_sq *sq);

	/* Let the CQ's owner find the queue by its CQEs; owner's lcore. 0 or -ENOMEM. Detached, its
	 * CQEs are skipped; detaching twice is harmless. */
	int (*sq_attach)(struct kvr_cq *cq, struct kvr_sq *sq);
	void (*sq_detach)(struct kvr_cq *cq, struct kvr_sq *sq);

	/* Data path, owner's lcore. Takes up to n CQEs. Does not move any ci. Returns how many. */
	uint32_t (*reap)(struct kvr_cq *cq, struct kvr_completion *completions, uint32_t n);
};

extern const struct kvr_driver kvr_driver_mlx5;

#endif
