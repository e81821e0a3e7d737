/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What two nodes tell each other before RDMA can flow. Pure functions between structs and JSON;
 * the parsers take any JSON at all and believe nothing of it.
 *
 *     initiator                        target
 *     hello {protocol, devices}   ->
 *                                 <-   hello {protocol, devices, segments}
 *     connect {lanes: qpn, psn}   ->
 *                                 <-   connected {lanes: qpn, psn}
 *     call {body}                 ->
 *                                 <-   reply {status, body}
 *     fence {lanes: places}       ->
 *                                 <-   fenced
 *     reconnect {place, lanes: 1} ->
 *                                 <-   reconnected {lanes: 1}, or {reason}
 *
 * A place is a lane's in the list of connect: QP numbers are each device's own, and may be alike.
 * Every answer carries the "id" of its request; "refused {reason}" may stand for each, and ends the
 * connection.
 */
#ifndef KVR_HANDSHAKE_H
#define KVR_HANDSHAKE_H

#include <stdint.h>

#include <infiniband/verbs.h>
#include <jansson.h>

#include "device.h"
#include "kvr.h"
#include "kvr_limits.h"
#include "peer.h"

#define KVR_MAX_CONNECT_LANES (KVR_MAX_POLLERS * KVR_MAX_LANES)

struct kvr_hello_device {
	char name[KVR_NAME_BYTES];
	union ibv_gid gid;
	uint16_t lid;
	uint8_t link_layer; /* IBV_LINK_LAYER_ */
	uint8_t max_rd_atomic;
	enum ibv_mtu mtu;
};

struct kvr_hello_segment {
	char name[KVR_NAME_BYTES];
	uint64_t address;
	uint64_t size_bytes;
	struct kvr_segment_keys keys[KVR_MAX_DEVICES]; /* one for each of the devices */
};

struct kvr_hello {
	uint32_t protocol;
	char name[KVR_NAME_BYTES];
	char boot_id[37];
	uint32_t n_devices;
	uint32_t n_segments; /* 0 from an initiator */
	struct kvr_hello_device devices[KVR_MAX_DEVICES];
	struct kvr_hello_segment segments[KVR_MAX_SEGMENTS];
};

/* One QP, as its owner describes it. An answer repeats the devices. */
struct kvr_lane_offer {
	uint32_t qpn;
	uint32_t psn;
	uint8_t device;	       /* the initiator's, in its hello */
	uint8_t remote_device; /* the target's, in its hello */
};

/* Builders: a new object, NULL when out of memory. Parsers: 0, or -EPROTO with error saying what is
 * wrong, and the struct undefined. A hello of another protocol has that field alone set. */
json_t *kvr_hello_build(const struct kvr_hello *hello);
int kvr_hello_parse(const json_t *message, struct kvr_hello *hello, struct kvr_error *error);

json_t *kvr_lanes_build(const char *type, const struct kvr_lane_offer *offers, uint32_t n);
/* offers has room for `max`; sets *n. */
int kvr_lanes_parse(const json_t *message, struct kvr_lane_offer *offers, uint32_t max, uint32_t *n,
		    struct kvr_error *error);

/* The place that a reconnect names, below `max`. */
int kvr_place_parse(const json_t *message, uint32_t max, uint32_t *place, struct kvr_error *error);

json_t *kvr_fence_build(const uint32_t *places, uint32_t n);
/* places, all below `max`, has room for as many; sets *n. */
int kvr_fence_parse(const json_t *message, uint32_t *places, uint32_t max, uint32_t *n,
		    struct kvr_error *error);

json_t *kvr_refused_build(const char *reason);

/* The message's type; "" when it has none. */
const char *kvr_message_type(const json_t *message);

#endif
