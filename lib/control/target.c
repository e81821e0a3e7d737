/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The target's side of a connection: answers to hello, connect, fence and call. Runs on the control
 * thread. A passive QP is made for each lane that a peer asks for, and lives as long as its
 * connection does, so that a peer that is gone can reach nothing.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_random.h>

#include "control.h"
#include "engine.h"

#define PSN_MASK  0xffffff
#define MAX_ERRNO 4095

/* Sends an answer (consumed) that carries the id of its request. */
static int
answer(struct kvr_connection *connection, const json_t *request, json_t *message)
{
	json_object_set(message, "id", json_object_get(request, "id"));
	return kvr_connection_send(connection, message);
}

/* Says no, and why, to the peer and to the log; the connection ends once that is written. */
static __attribute__((format(printf, 3, 4))) int
refuse(struct kvr_connection *connection, const json_t *request, const char *format, ...)
{
	char reason[256];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	KVR_LOG(WARNING, "peer %s refused: %s\n", connection->name, reason);
	connection->refused = true;
	return answer(connection, request, kvr_refused_build(reason));
}

/* ---- hello ---- */

static void
device_describe(const struct kvr_device *device, struct kvr_hello_device *hello)
{
	memcpy(hello->name, device->name, sizeof(hello->name));
	hello->gid = device->gid;
	hello->lid = device->lid;
	hello->link_layer = device->link_layer;
	hello->max_rd_atomic = device->max_rd_atomic;
	hello->mtu = device->mtu;
}

static void
segment_describe(const struct kvr_engine *engine, const struct kvr_pool *pool,
		 struct kvr_hello_segment *hello)
{
	uint32_t i;

	memcpy(hello->name, pool->name, sizeof(hello->name));
	hello->address = (uintptr_t)pool->base;
	hello->size_bytes = kvr_pool_size_bytes(pool);
	for (i = 0; i < engine->n_devices; i++) {
		hello->keys[i].bulk_rkey = pool->region->keys[i].bulk_rkey;
		hello->keys[i].strict_rkey = pool->region->keys[i].strict_rkey;
	}
}

void
kvr_target_hello(const struct kvr_engine *engine, bool segments, struct kvr_hello *hello)
{
	uint32_t i;

	memset(hello, 0, sizeof(*hello));
	hello->protocol = KVR_PROTOCOL;
	memcpy(hello->name, engine->name, sizeof(hello->name));
	memcpy(hello->boot_id, engine->boot_id, sizeof(hello->boot_id));
	hello->n_devices = engine->n_devices;
	for (i = 0; i < engine->n_devices; i++)
		device_describe(&engine->devices[i], &hello->devices[i]);
	/* Pools are made before the start, so that they do not change under us. */
	hello->n_segments = segments ? engine->n_pools : 0;
	for (i = 0; i < hello->n_segments; i++)
		segment_describe(engine, engine->pools[i], &hello->segments[i]);
}

static bool
shares_link_layer(const struct kvr_engine *engine, const struct kvr_hello *remote)
{
	uint32_t i, k;

	for (i = 0; i < engine->n_devices; i++)
		for (k = 0; k < remote->n_devices; k++)
			if (engine->devices[i].link_layer == remote->devices[k].link_layer)
				return true;
	return false;
}

static int
on_hello(struct kvr_connection *connection, const json_t *message)
{
	struct kvr_hello remote, ours;
	struct kvr_error error = {""};

	if (connection->greeted)
		return refuse(connection, message, "a second hello");
	if (kvr_hello_parse(message, &remote, &error) != 0)
		return refuse(connection, message, "hello: %s", error.text);
	if (remote.protocol != KVR_PROTOCOL)
		return refuse(connection, message,
			      "protocol %u is yours, %u is mine: run the same version of kvrail",
			      remote.protocol, KVR_PROTOCOL);
	if (!shares_link_layer(connection->engine, &remote))
		return refuse(connection, message,
			      "no common transport: one side has RoCE alone, the other InfiniBand");
	memcpy(connection->name, remote.name, sizeof(connection->name));
	memcpy(connection->devices, remote.devices, sizeof(connection->devices));
	connection->n_devices = remote.n_devices;
	/* Release: the name is there for the telemetry. */
	__atomic_store_n(&connection->greeted, true, __ATOMIC_RELEASE);
	kvr_target_hello(connection->engine, true, &ours);
	return answer(connection, message, kvr_hello_build(&ours));
}

/* ---- connect ---- */

/* Makes the passive QP of one offer and turns the offer into its answer. */
static int
serve_lane(struct kvr_connection *connection, struct kvr_lane_offer *offer, struct ibv_qp **qp,
	   struct kvr_error *error)
{
	struct kvr_engine *engine = connection->engine;
	struct kvr_device *device;
	int ret;

	if (offer->device >= connection->n_devices || offer->remote_device >= engine->n_devices)
		return kvr_fail(error, -EPROTO, "there is no device %u on your side or %u on mine",
				offer->device, offer->remote_device);
	device = &engine->devices[offer->remote_device];
	if (device->link_layer != connection->devices[offer->device].link_layer)
		return kvr_fail(error, -EPROTO, "device %s is of another link layer than %s",
				device->name, connection->devices[offer->device].name);
	ret = kvr_passive_qp_create(device, &connection->devices[offer->device], offer, qp);
	if (ret != 0)
		return kvr_fail(error, ret, "device %s cannot make a QP: %s", device->name,
				strerror(-ret));
	offer->qpn = (*qp)->qp_num;
	offer->psn = (uint32_t)rte_rand() & PSN_MASK; /* of requests that it never sends */
	return 0;
}

static int
on_connect(struct kvr_connection *connection, const json_t *message)
{
	struct kvr_lane_offer offers[KVR_MAX_CONNECT_LANES];
	struct kvr_error error = {""};
	uint32_t i, n = 0;
	int ret;

	if (!connection->greeted || connection->qps != NULL)
		return refuse(connection, message, "connect comes once, after hello");
	ret = kvr_lanes_parse(message, offers, KVR_MAX_CONNECT_LANES, &n, &error);
	if (ret != 0)
		return refuse(connection, message, "connect: %s", error.text);
	connection->qps = calloc(n, sizeof(*connection->qps));
	if (connection->qps == NULL)
		return refuse(connection, message, "out of memory");
	for (i = 0; ret == 0 && i < n; i++) {
		ret = serve_lane(connection, &offers[i], &connection->qps[i], &error);
		connection->n_qps += ret == 0;
	}
	if (ret != 0) {
		kvr_target_release(connection);
		return refuse(connection, message, "connect: %s", error.text);
	}
	KVR_LOG(INFO, "peer %s connected: %u lanes\n", connection->name, n);
	return answer(connection, message, kvr_lanes_build("connected", offers, n));
}

/* A QP in place of one whose lane has died. That this cannot be had now ends nothing: the initiator
 * asks again. */
static int
on_reconnect(struct kvr_connection *connection, const json_t *message)
{
	struct kvr_lane_offer offer;
	struct kvr_error error = {""};
	uint32_t n, place = 0;
	struct ibv_qp *qp;
	int ret;

	if (connection->n_qps == 0)
		return refuse(connection, message, "reconnect needs a connect before it");
	ret = kvr_place_parse(message, connection->n_qps, &place, &error);
	if (ret == 0)
		ret = kvr_lanes_parse(message, &offer, 1, &n, &error);
	if (ret != 0)
		return refuse(connection, message, "reconnect: %s", error.text);
	ret = serve_lane(connection, &offer, &qp, &error);
	if (ret != 0)
		return answer(connection, message,
			      json_pack("{s:s, s:s}", "type", "reconnected", "reason", error.text));
	ibv_destroy_qp(connection->qps[place]);
	connection->qps[place] = qp;
	KVR_LOG(INFO, "peer %s: lane %u of %u is made anew\n", connection->name, place,
		connection->n_qps);
	return answer(connection, message, kvr_lanes_build("reconnected", &offer, 1));
}

void
kvr_target_release(struct kvr_connection *connection)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
	uint32_t i;

	/* All to ERR before the first is destroyed, which may take longer. */
	for (i = 0; i < connection->n_qps; i++)
		ibv_modify_qp(connection->qps[i], &attr, IBV_QP_STATE);
	for (i = 0; i < connection->n_qps; i++)
		ibv_destroy_qp(connection->qps[i]);
	free(connection->qps);
	connection->qps = NULL;
	connection->n_qps = 0;
}

void
kvr_target_gone(struct kvr_connection *connection)
{
	const struct kvr_engine *engine = connection->engine;
	const struct kvr_caller caller = {connection->name, connection->id};

	if (connection->greeted && engine->gone_handler != NULL)
		engine->gone_handler(engine->gone_ctx, &caller);
}

/* ---- fence ---- */

/* In ERR a QP's device drops what comes for it; that modify_qp has returned says that it has begun
 * to (docs/ordering.md). A QP that is in ERR already stays there. One that cannot be moved is not
 * answered for: the initiator takes silence for "not fenced". */
static int
on_fence(struct kvr_connection *connection, const json_t *message)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
	uint32_t places[KVR_MAX_CONNECT_LANES];
	struct kvr_error error = {""};
	uint32_t i, n = 0;
	int ret;

	if (connection->n_qps == 0)
		return refuse(connection, message, "fence needs a connect before it");
	ret = kvr_fence_parse(message, places, connection->n_qps, &n, &error);
	if (ret != 0)
		return refuse(connection, message, "fence: %s", error.text);
	for (i = 0; i < n; i++) {
		struct ibv_qp *qp = connection->qps[places[i]];

		ret = ibv_modify_qp(qp, &attr, IBV_QP_STATE);
		if (ret != 0) {
			KVR_LOG(ERR, "peer %s: QP %u of device %s cannot be moved to ERR: %s\n",
				connection->name, qp->qp_num,
				ibv_get_device_name(qp->context->device), strerror(ret));
			return 0;
		}
	}
	KVR_LOG(INFO, "peer %s: %u of its %u lanes fenced\n", connection->name, n,
		connection->n_qps);
	return answer(connection, message, json_pack("{s:s}", "type", "fenced"));
}

/* ---- call ---- */

static int
on_call(struct kvr_connection *connection, const json_t *message)
{
	struct kvr_engine *engine = connection->engine;
	const struct kvr_caller caller = {connection->name, connection->id};
	const char *body = json_string_value(json_object_get(message, "body"));
	char *reply = NULL;
	json_t *out;
	int status;

	if (!connection->greeted || body == NULL)
		return refuse(connection, message, "call needs a hello before it, and a body");
	status = engine->call_handler == NULL
			 ? -EOPNOTSUPP
			 : engine->call_handler(engine->call_ctx, &caller, body, &reply);
	if (status > 0 || status < -MAX_ERRNO)
		status = -EPROTO;
	if (status != 0)
		out = json_pack("{s:s, s:i}", "type", "reply", "status", status);
	else
		out = json_pack("{s:s, s:i, s:s}", "type", "reply", "status", status, "body",
				reply != NULL ? reply : "null");
	free(reply);
	return answer(connection, message, out);
}

int
kvr_target_message(struct kvr_connection *connection, const json_t *message)
{
	const char *type = kvr_message_type(message);

	if (connection->refused)
		return 0;
	if (strcmp(type, "hello") == 0)
		return on_hello(connection, message);
	if (strcmp(type, "connect") == 0)
		return on_connect(connection, message);
	if (strcmp(type, "fence") == 0)
		return on_fence(connection, message);
	if (strcmp(type, "reconnect") == 0)
		return on_reconnect(connection, message);
	if (strcmp(type, "call") == 0)
		return on_call(connection, message);
	return refuse(connection, message, "unknown message '%.32s'", type);
}
