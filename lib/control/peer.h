/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Peers and their segments. A peer has one control connection and, on the side that opened it,
 * lanes from every poller. Everything here is under engine->control_lock, except what submit and
 * spray read: segments and lane sets do not change while a segment of the peer is open.
 */
#ifndef KVR_PEER_H
#define KVR_PEER_H

#include <stdint.h>

#include "batch.h"
#include "kvr.h"
#include "lane.h"
#include "kvr_limits.h"

struct kvr_segment_keys {
	uint32_t bulk_rkey, strict_rkey;
};

struct kvr_segment {
	struct kvr_peer *peer;
	uint64_t remote_addr;
	uint64_t size_bytes;
	uint8_t idx;				       /* in the peer's segments */
	struct kvr_segment_keys keys[KVR_MAX_DEVICES]; /* by the peer's device index */
	/* cold */
	char name[KVR_NAME_BYTES];
	uint32_t n_open;
};

/* The lanes of one poller to one peer. */
struct kvr_lane_set {
	uint32_t n;
	struct kvr_lane *lanes[KVR_MAX_LANES];
};

struct kvr_hello_device;

struct kvr_peer {
	struct kvr_lane_set lanes[KVR_MAX_POLLERS]; /* by poller index */
	struct kvr_segment segments[KVR_MAX_SEGMENTS];
	uint32_t n_segments;
	/* Set by the control thread when the connection is gone; pollers fail what is left. */
	uint32_t lost;
	/* parts handed to pollers and not ended; clients add, pollers subtract (atomic) */
	uint64_t n_parts;
	/* cold: the control side's */
	char name[KVR_NAME_BYTES];
	char address[256];
	struct kvr_hello_device *devices; /* as its hello has them */
	struct kvr_connection *connection;
};

#endif
