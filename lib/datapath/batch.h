/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Batches, and the parts of them that pollers work on.
 *
 * Ownership goes one way: client -> (ring) -> poller -> (ring) -> client. A batch is divided in
 * parts, one or more for each poller that takes a share; a part is its poller's alone. The poller
 * that ends the last part hands the batch back.
 */
#ifndef KVR_BATCH_H
#define KVR_BATCH_H

#include <assert.h>
#include <stdint.h>
#include <sys/queue.h>

#include <rte_ring.h>

#include "kvr.h"
#include "kvr_limits.h"
#include "registry.h"

struct kvr_batch;
struct kvr_device;
struct kvr_segment;

/* Transfers that are adjacent on both sides, checked, resolved, and joined to one. */
struct kvr_xfer {
	uint64_t local_addr;
	uint64_t remote_addr;
	uint64_t length_bytes;
	struct kvr_region *region;
	struct kvr_segment *segment;
	uint32_t op; /* enum kvr_op */
};

/* What a part has on one lane. */
struct kvr_part_lane {
	uint64_t bytes[2]; /* completed well, by enum kvr_op */
	uint32_t slices[2];
	uint32_t n_inflight; /* slices and proofs */
	bool unproven;	     /* holds writes that no proof follows yet */
	uint64_t proof_addr; /* the last byte written */
};

/* A share of a batch: one poller, one segment. */
struct kvr_part {
	TAILQ_ENTRY(kvr_part) run_link; /* in the poller's runnable list */
	struct kvr_batch *batch;
	struct kvr_segment *segment;
	/* Cursor: transfer `at` from byte `at_bytes` on, up to byte `end_bytes` of transfer `end -
	 * 1`. */
	uint32_t at;
	uint32_t end;
	uint64_t at_bytes;
	uint64_t end_bytes;
	uint32_t end_whole;  /* transfers before it are the part's to their end */
	uint32_t n_inflight; /* slices and proofs, all lanes */
	uint32_t n_unproven; /* lanes with unproven writes */
	uint32_t n_lanes;
	uint32_t held;	   /* bit l: lane l went out of use under it (recover.c) */
	int status;	   /* the first cause */
	bool runnable;	   /* is in the runnable list */
	bool wrote;	   /* has placed a write */
	bool undetermined; /* writes were lost sight of: nobody knows what landed */
	uint8_t syndrome;
	uint8_t vendor_syndrome;
	const struct kvr_device *failed_on;
	uint64_t bytes; /* of the whole part */
	uint32_t begin; /* where the cursor began */
	uint32_t n_rewinds;
	uint64_t begin_bytes;
	TAILQ_ENTRY(kvr_part) live_link; /* in the poller's live list, for deadlines */
	struct kvr_part_lane lanes[KVR_MAX_LANES];
};
TAILQ_HEAD(kvr_part_list, kvr_part);

struct kvr_batch {
	struct kvr_client *client;
	struct kvr_xfer *xfers; /* behind one that is nowhere, so that each has one before it */
	struct kvr_part *parts;
	uint32_t n_xfers;
	uint32_t n_transfers; /* as the client added them */
	uint32_t n_runs;      /* of transfers to one segment */
	uint32_t n_parts;
	uint64_t bytes;
	uint64_t deadline_tsc;
	uint64_t submit_tsc;
	uint8_t priority;   /* enum kvr_class */
	uint8_t level;	    /* enum kvr_level */
	bool client_memory; /* some transfer is of memory the client registered */
	/* ---- the pollers' ---- */
	uint32_t parts_left __attribute__((aligned(KVR_CACHE_LINE))); /* atomic */
	int status; /* atomic: the first cause wins */
	uint8_t syndrome;
	uint8_t vendor_syndrome;
	bool remote_undetermined;
	const struct kvr_device *failed_on;
	uint64_t done_tsc;
	/* ---- cold ---- */
	uint32_t timeout_ms;
	void *cookie;
	struct kvr_batch *next; /* in the client's free or done list */
};

/* A ring of n_slots (a power of two) to be free()d; NULL: no memory. Flags as rte_ring_init(). */
struct rte_ring *kvr_ring_create(uint32_t n_slots, unsigned int flags);

/* A client's pair of rings to one poller. Both SPSC. */
struct kvr_port {
	struct rte_ring *submit;   /* struct kvr_part *, client to poller */
	struct rte_ring *complete; /* struct kvr_batch *, poller to client */
};

/* The pollers that may move memory of one NUMA node. */
struct kvr_choice {
	uint32_t n;
	uint8_t pollers[KVR_MAX_POLLERS];
};

struct kvr_client {
	struct kvr_engine *engine;
	struct kvr_batch *free;
	struct kvr_batch *done; /* ended without a poller */
	uint32_t n_inflight;	/* submitted, not yet polled */
	uint32_t next_poller;	/* where the next batch begins */
	uint32_t next_complete; /* where kvr_poll() begins */
	uint32_t max_transfers;
	uint32_t max_parts;
	uint32_t n_ports;
	struct kvr_port ports[KVR_MAX_POLLERS];	      /* by poller index */
	struct kvr_choice choices[KVR_MAX_NODES + 1]; /* by NUMA node + 1; [0]: node unknown */
	struct kvr_registry registry;
	/* ---- cold ---- */
	uint32_t idx; /* in the engine's clients */
	void *memory;
};

#endif
