/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Peers that this node opens, and their segments. An opener waits for the peer under open_lock
 * alone; control_lock it takes only to publish what is complete, so that two nodes may open each
 * other at the same moment. Until it is published a peer is its opener's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "engine.h"

#define MAX_ERRNO 4095

/* ---- handshake, the initiator's side ---- */

/* Sends a request (consumed) and takes the answer of the type expected. */
static int
ask(struct kvr_peer *peer, json_t *request, const char *expected, uint64_t deadline_ns,
    json_t **answer, struct kvr_error *error)
{
	const char *type;
	int ret;

	ret = kvr_connection_request(peer->connection, request, deadline_ns, answer);
	if (ret != 0)
		return kvr_fail(error, ret, "peer %s: no '%s' from it: %s", peer->address, expected,
				strerror(-ret));
	type = kvr_message_type(*answer);
	if (strcmp(type, expected) == 0)
		return 0;
	if (strcmp(type, "refused") == 0)
		kvr_fail(error, -EPROTO, "peer %s refuses: %.160s", peer->address,
			 json_string_value(json_object_get(*answer, "reason")) != NULL
				 ? json_string_value(json_object_get(*answer, "reason"))
				 : "it does not say why");
	else
		kvr_fail(error, -EPROTO, "peer %s: answers '%.32s' in place of '%s'", peer->address,
			 type, expected);
	json_decref(*answer);
	return -EPROTO;
}

static int
say_hello(struct kvr_engine *engine, struct kvr_peer *peer, uint64_t deadline_ns,
	  struct kvr_hello *remote, struct kvr_error *error)
{
	struct kvr_error why = {""};
	struct kvr_hello ours;
	json_t *answer;
	int ret;

	kvr_target_hello(engine, false, &ours);
	ret = ask(peer, kvr_hello_build(&ours), "hello", deadline_ns, &answer, error);
	if (ret != 0)
		return ret;
	ret = kvr_hello_parse(answer, remote, &why);
	json_decref(answer);
	if (ret != 0)
		return kvr_fail(error, ret, "peer %s: hello: %s", peer->address, why.text);
	if (remote->protocol != KVR_PROTOCOL)
		return kvr_fail(error, -EPROTO, "peer %s: speaks protocol %u, this node %u",
				peer->address, remote->protocol, KVR_PROTOCOL);
	return 0;
}

/* Offers a QP for each lane, and connects the lanes to what the peer made for them. */
static int
connect_lanes(struct kvr_engine *engine, struct kvr_peer *peer, uint64_t deadline_ns,
	      struct kvr_error *error)
{
	struct kvr_lane_offer offers[KVR_MAX_CONNECT_LANES];
	struct kvr_lane *lanes[KVR_MAX_CONNECT_LANES];
	uint32_t i, n, n_answers = 0;
	struct kvr_error why = {""};
	json_t *answer;
	int ret;

	n = kvr_lanes_list(engine, peer, lanes);
	if (n == 0)
		return kvr_fail(error, -EPROTO,
				"peer %s: no common transport: one side has RoCE alone, the other "
				"InfiniBand",
				peer->address);
	for (i = 0; i < n; i++)
		offers[i] = (struct kvr_lane_offer){
			.qpn = lanes[i]->sq->qp->qp_num,
			.psn = lanes[i]->psn,
			.device = lanes[i]->device_idx,
			.remote_device = lanes[i]->remote_idx,
		};
	ret = ask(peer, kvr_lanes_build("connect", offers, n), "connected", deadline_ns, &answer,
		  error);
	if (ret != 0)
		return ret;
	ret = kvr_lanes_parse(answer, offers, n, &n_answers, &why);
	json_decref(answer);
	if (ret != 0 || n_answers != n)
		return kvr_fail(error, -EPROTO, "peer %s: connected: %s", peer->address,
				ret != 0 ? why.text : "not a QP for each lane");
	for (i = 0; i < n; i++) {
		ret = kvr_lane_connect(lanes[i], &peer->devices[lanes[i]->remote_idx],
				       offers[i].qpn, offers[i].psn);
		if (ret != 0)
			return kvr_fail(error, ret, "peer %s: device %s cannot connect a QP: %s",
					peer->address, lanes[i]->device->name, strerror(-ret));
	}
	return 0;
}

static void
segments_fill(struct kvr_peer *peer, const struct kvr_hello *remote)
{
	uint32_t i;

	peer->n_segments = remote->n_segments;
	for (i = 0; i < remote->n_segments; i++) {
		const struct kvr_hello_segment *from = &remote->segments[i];
		struct kvr_segment *segment = &peer->segments[i];

		segment->peer = peer;
		segment->idx = (uint8_t)i;
		segment->remote_addr = from->address;
		segment->size_bytes = from->size_bytes;
		memcpy(segment->keys, from->keys, sizeof(segment->keys));
		memcpy(segment->name, from->name, sizeof(segment->name));
	}
}

/* ---- peers ---- */

/* Hands the lanes to their pollers and shows the peer to the control thread, in one step: a
 * connection that is lost after it finds the lanes to fail. */
static int
peer_publish(struct kvr_engine *engine, struct kvr_peer *peer, struct kvr_error *error)
{
	struct kvr_lane *lanes[KVR_MAX_CONNECT_LANES];
	uint32_t i, n = kvr_lanes_list(engine, peer, lanes);
	int ret;

	pthread_mutex_lock(&engine->control_lock);
	ret = kvr_connection_error(peer->connection);
	for (i = 0; ret == 0 && i < n; i++)
		ret = kvr_lane_attach(lanes[i]);
	if (ret == 0) {
		peer->connection->peer = peer;
		engine->peers[engine->n_peers++] = peer;
	}
	pthread_mutex_unlock(&engine->control_lock);
	if (ret != 0)
		return kvr_fail(error, ret, "peer %s: lanes cannot be attached: %s", peer->address,
				strerror(-ret));
	KVR_LOG(INFO, "peer %s (%s): connected, %u lanes\n", peer->name, peer->address, n);
	return 0;
}

/* Takes the peer from the control thread's sight. */
static void
peer_withdraw(struct kvr_engine *engine, struct kvr_peer *peer)
{
	uint32_t i;

	pthread_mutex_lock(&engine->control_lock);
	peer->connection->peer = NULL;
	for (i = 0; i < engine->n_peers; i++) {
		if (engine->peers[i] != peer)
			continue;
		engine->peers[i] = engine->peers[--engine->n_peers];
		break;
	}
	pthread_mutex_unlock(&engine->control_lock);
}

/* A withdrawn peer, or one never published. The lanes go before the connection: while that is
 * there, the QPs at the other ends are. */
static void
peer_free(struct kvr_engine *engine, struct kvr_peer *peer)
{
	kvr_lanes_destroy(engine, peer);
	if (peer->connection != NULL)
		kvr_connection_close(peer->connection);
	free(peer->devices);
	free(peer);
}

static int
peer_create(struct kvr_engine *engine, const char *address, uint64_t deadline_ns,
	    struct kvr_peer **peer_out, struct kvr_error *error)
{
	struct kvr_hello remote;
	struct kvr_peer *peer;
	int ret;

	if (engine->n_peers == KVR_MAX_PEERS || strlen(address) >= sizeof(peer->address))
		return kvr_fail(error, -EINVAL, "peer %.64s: more than %d peers, or too long",
				address, KVR_MAX_PEERS);
	peer = calloc(1, sizeof(*peer));
	if (peer == NULL)
		return kvr_fail(error, -ENOMEM, "out of memory");
	strcpy(peer->address, address);
	peer->devices = calloc(KVR_MAX_DEVICES, sizeof(*peer->devices));
	if (peer->devices == NULL) {
		free(peer);
		return kvr_fail(error, -ENOMEM, "out of memory");
	}
	ret = kvr_connection_open(engine, address, deadline_ns, &peer->connection, error);
	if (ret == 0)
		ret = say_hello(engine, peer, deadline_ns, &remote, error);
	if (ret == 0) {
		memcpy(peer->name, remote.name, sizeof(peer->name));
		memcpy(peer->devices, remote.devices, sizeof(remote.devices));
		segments_fill(peer, &remote);
		ret = kvr_lanes_create(engine, peer, &remote, error);
	}
	if (ret == 0)
		ret = connect_lanes(engine, peer, deadline_ns, error);
	if (ret == 0)
		ret = peer_publish(engine, peer, error);
	if (ret != 0) {
		peer_free(engine, peer);
		return ret;
	}
	*peer_out = peer;
	return 0;
}

/* A peer at this address that is not lost: openers share its connection and lanes. */
static struct kvr_peer *
peer_find(const struct kvr_engine *engine, const char *address)
{
	uint32_t i;

	for (i = 0; i < engine->n_peers; i++)
		if (strcmp(engine->peers[i]->address, address) == 0 &&
		    !__atomic_load_n(&engine->peers[i]->lost, __ATOMIC_ACQUIRE))
			return engine->peers[i];
	return NULL;
}

static uint32_t
peer_n_open(const struct kvr_peer *peer)
{
	uint32_t i, n = 0;

	for (i = 0; i < peer->n_segments; i++)
		n += peer->segments[i].n_open;
	return n;
}

/* ---- segments ---- */

static int
segment_find(struct kvr_peer *peer, const char *name, struct kvr_segment **segment,
	     struct kvr_error *error)
{
	uint32_t i;

	for (i = 0; i < peer->n_segments; i++) {
		if (name != NULL && strcmp(peer->segments[i].name, name) != 0)
			continue;
		peer->segments[i].n_open++;
		*segment = &peer->segments[i];
		return 0;
	}
	return kvr_fail(error, -ENOENT, "peer %s: no segment '%s' among its %u", peer->address,
			name != NULL ? name : "", peer->n_segments);
}

int
kvr_segment_open(struct kvr_engine *engine, const char *address, const char *name,
		 uint32_t timeout_ms, struct kvr_segment **segment, struct kvr_error *error)
{
	uint64_t timeout_ns = (uint64_t)(timeout_ms != 0 ? timeout_ms : KVR_TIMEOUT_MS) * 1000000;
	uint64_t deadline_ns = kvr_now_ns() + timeout_ns;
	struct kvr_peer *peer;
	int ret = 0;

	if (!engine->running)
		return kvr_fail(error, -EINVAL, "peer %s: the engine is not started", address);
	pthread_mutex_lock(&engine->control->open_lock);
	peer = peer_find(engine, address);
	if (peer == NULL)
		ret = peer_create(engine, address, deadline_ns, &peer, error);
	if (ret == 0) {
		ret = segment_find(peer, name, segment, error);
		if (ret != 0 && peer_n_open(peer) == 0) {
			peer_withdraw(engine, peer);
			peer_free(engine, peer);
		}
	}
	pthread_mutex_unlock(&engine->control->open_lock);
	return ret;
}

int
kvr_segment_close(struct kvr_segment *segment)
{
	struct kvr_peer *peer = segment->peer;
	struct kvr_engine *engine = peer->connection->engine;
	int ret = 0;

	pthread_mutex_lock(&engine->control->open_lock);
	if (peer_n_open(peer) > 1) {
		segment->n_open--;
	} else if (__atomic_load_n(&peer->n_parts, __ATOMIC_ACQUIRE) != 0) {
		ret = -EBUSY;
	} else {
		peer_withdraw(engine, peer);
		peer_free(engine, peer);
	}
	pthread_mutex_unlock(&engine->control->open_lock);
	return ret;
}

int
kvr_segment_sibling(struct kvr_segment *segment, const char *name, struct kvr_segment **sibling,
		    struct kvr_error *error)
{
	struct kvr_engine *engine = segment->peer->connection->engine;
	int ret;

	pthread_mutex_lock(&engine->control->open_lock);
	ret = segment_find(segment->peer, name, sibling, error);
	pthread_mutex_unlock(&engine->control->open_lock);
	return ret;
}

uint64_t
kvr_segment_size_bytes(const struct kvr_segment *segment)
{
	return segment->size_bytes;
}

const char *
kvr_segment_name(const struct kvr_segment *segment)
{
	return segment->name;
}

const char *
kvr_segment_peer(const struct kvr_segment *segment)
{
	return segment->peer->name;
}

bool
kvr_segment_lost(const struct kvr_segment *segment)
{
	return __atomic_load_n(&segment->peer->lost, __ATOMIC_ACQUIRE);
}

/* What a reply says: the handler's status, or its text. */
static int
reply_take(const json_t *answer, char **reply)
{
	const json_t *status = json_object_get(answer, "status");
	const char *body = json_string_value(json_object_get(answer, "body"));
	json_int_t value = json_integer_value(status);

	if (strcmp(kvr_message_type(answer), "reply") != 0 || !json_is_integer(status) ||
	    value > 0 || value < -MAX_ERRNO)
		return -EPROTO;
	if (value != 0)
		return (int)value;
	if (body == NULL)
		return -EPROTO;
	*reply = strdup(body);
	return *reply != NULL ? 0 : -ENOMEM;
}

int
kvr_segment_call(struct kvr_segment *segment, const char *request, uint32_t timeout_ms,
		 char **reply)
{
	uint64_t timeout_ns = (uint64_t)(timeout_ms != 0 ? timeout_ms : KVR_TIMEOUT_MS) * 1000000;
	json_t *message, *answer;
	int ret;

	message = json_pack("{s:s, s:s}", "type", "call", "body", request);
	if (message == NULL)
		return -EINVAL; /* not UTF-8 */
	ret = kvr_connection_request(segment->peer->connection, message, kvr_now_ns() + timeout_ns,
				     &answer);
	if (ret != 0)
		return ret;
	ret = reply_take(answer, reply);
	json_decref(answer);
	return ret;
}
