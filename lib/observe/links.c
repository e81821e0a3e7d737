/* SPDX-License-Identifier: BSD-3-Clause */
/* The endpoints of what lies between nodes: peers, lanes, and what went wrong on them. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <rte_telemetry.h>

#include "control.h"
#include "endpoints.h"
#include "engine.h"
#include "reply.h"

/* Entries of a reply, with the longest names in all of them. */
#define PAGE_LANES	 32 /* of 430 bytes */
#define PAGE_PEERS	 32 /* of 330 bytes */
#define PAGE_ERROR_LANES 24 /* of 380 bytes; devices and lcores take 5 KiB beside them */

static uint32_t
lane_state(const struct kvr_lane *lane)
{
	return __atomic_load_n(&lane->state, __ATOMIC_RELAXED);
}

static const char *
lane_state_text(const struct kvr_lane *lane)
{
	static const char *const texts[] = {
		[KVR_LANE_CONNECTING] = "connecting",
		[KVR_LANE_ACTIVE] = "active",
		[KVR_LANE_DRAINING] = "draining",
		[KVR_LANE_DEAD] = "dead",
	};

	return texts[lane_state(lane)];
}

/* Names the lane. */
static void
add_lane_key(struct rte_tel_data *dict, const struct kvr_lane *lane)
{
	rte_tel_data_add_dict_string(dict, "peer", lane->peer->name);
	rte_tel_data_add_dict_string(dict, "device", lane->device->name);
	rte_tel_data_add_dict_u64(dict, "remote_device", lane->remote_idx);
	rte_tel_data_add_dict_u64(dict, "lcore", lane->poller->lcore);
	rte_tel_data_add_dict_u64(dict, "qpn", lane->sq->qp->qp_num);
	rte_tel_data_add_dict_string(dict, "state", lane_state_text(lane));
}

static void
add_lane(struct kvr_reply_list *list, const struct kvr_lane *lane)
{
	struct rte_tel_data *dict = kvr_reply_list_add(list);

	if (dict == NULL)
		return;
	add_lane_key(dict, lane);
	rte_tel_data_add_dict_u64(dict, "inflight_bytes", kvr_counter_read(&lane->inflight_bytes));
	rte_tel_data_add_dict_u64(dict, "bytes", kvr_counter_read(&lane->n_bytes));
	rte_tel_data_add_dict_u64(dict, "slices", kvr_counter_read(&lane->n_slices));
	rte_tel_data_add_dict_u64(dict, "errors", kvr_counter_read(&lane->n_errors));
	rte_tel_data_add_dict_u64(dict, "renewals", lane->n_renewals);
}

/* Shows every lane to `add`; control_lock is held. peer_name: a name or an address; "": all. */
static void
lanes_visit(const struct kvr_engine *engine, const char *peer_name, struct kvr_reply_list *list,
	    void (*add)(struct kvr_reply_list *list, const struct kvr_lane *lane))
{
	for (uint32_t i = 0; i < engine->n_peers; i++) {
		const struct kvr_peer *peer = engine->peers[i];

		if (peer_name[0] != '\0' && strcmp(peer->name, peer_name) != 0 &&
		    strcmp(peer->address, peer_name) != 0)
			continue;
		for (uint32_t j = 0; j < engine->n_pollers; j++)
			for (uint32_t k = 0; k < peer->lanes[j].n; k++)
				add(list, peer->lanes[j].lanes[k]);
	}
}

/* "PEER", "PEER,OFFSET" or "OFFSET"; PEER is a name or an address. */
int
kvr_answer_lanes(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply)
{
	char peer_name[256] = "";
	struct kvr_reply_list list;
	int err;

	if (params != NULL && params[strspn(params, "0123456789")] != '\0') {
		size_t length = strcspn(params, ",");

		snprintf(peer_name, sizeof(peer_name), "%.*s", (int)length, params);
		params = params[length] == ',' ? params + length + 1 : NULL;
	}
	err = kvr_reply_list_start(&list, reply, "lanes", params, PAGE_LANES);
	if (err != 0)
		return err;
	pthread_mutex_lock(&engine->control_lock);
	lanes_visit(engine, peer_name, &list, add_lane);
	pthread_mutex_unlock(&engine->control_lock);
	kvr_reply_list_end(&list);
	return 0;
}

static void
add_peer(struct rte_tel_data *dict, const struct kvr_engine *engine, const struct kvr_peer *peer)
{
	uint32_t n_lanes = 0, n_active = 0;

	for (uint32_t i = 0; i < engine->n_pollers; i++)
		for (uint32_t j = 0; j < peer->lanes[i].n; j++) {
			n_lanes++;
			n_active += lane_state(peer->lanes[i].lanes[j]) == KVR_LANE_ACTIVE;
		}
	rte_tel_data_add_dict_string(dict, "name", peer->name);
	rte_tel_data_add_dict_string(dict, "address", peer->address);
	rte_tel_data_add_dict_string(
		dict, "state", __atomic_load_n(&peer->lost, __ATOMIC_RELAXED) ? "lost" : "up");
	rte_tel_data_add_dict_string(dict, "direction", "initiator");
	rte_tel_data_add_dict_u64(dict, "lanes", n_lanes);
	rte_tel_data_add_dict_u64(dict, "active_lanes", n_active);
	rte_tel_data_add_dict_u64(dict, "segments", peer->n_segments);
}

/* One that connected to this node: its lanes end here, in QPs that only serve. */
static void
add_initiator(struct rte_tel_data *dict, const struct kvr_connection *connection)
{
	uint32_t n_qps = __atomic_load_n(&connection->n_qps, __ATOMIC_RELAXED);

	rte_tel_data_add_dict_string(dict, "name", connection->name);
	rte_tel_data_add_dict_string(dict, "address", connection->address);
	rte_tel_data_add_dict_string(dict, "state", "up");
	rte_tel_data_add_dict_string(dict, "direction", "target");
	rte_tel_data_add_dict_u64(dict, "lanes", n_qps);
}

static void
add_initiators(struct kvr_reply_list *list, struct kvr_control *control)
{
	pthread_mutex_lock(&control->lock);
	for (uint32_t i = 0; i < control->n_connections; i++) {
		const struct kvr_connection *connection = control->connections[i];
		struct rte_tel_data *dict;

		if (connection->initiator ||
		    !__atomic_load_n(&connection->greeted, __ATOMIC_ACQUIRE))
			continue;
		dict = kvr_reply_list_add(list);
		if (dict != NULL)
			add_initiator(dict, connection);
	}
	pthread_mutex_unlock(&control->lock);
}

int
kvr_answer_peers(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply)
{
	struct kvr_reply_list list;
	int err = kvr_reply_list_start(&list, reply, "peers", params, PAGE_PEERS);

	if (err != 0)
		return err;
	pthread_mutex_lock(&engine->control_lock);
	for (uint32_t i = 0; i < engine->n_peers; i++) {
		struct rte_tel_data *dict = kvr_reply_list_add(&list);

		if (dict != NULL)
			add_peer(dict, engine, engine->peers[i]);
	}
	if (engine->control != NULL)
		add_initiators(&list, engine->control);
	pthread_mutex_unlock(&engine->control_lock);
	kvr_reply_list_end(&list);
	return 0;
}

/* A CQE's syndrome (PRM, CQE with Error). */
static const char *
syndrome_text(uint8_t syndrome)
{
	static const char *const texts[] = {
		[0x01] = "local length error",
		[0x02] = "local QP operation error",
		[0x04] = "local protection error",
		[0x05] = "work request flushed",
		[0x06] = "memory window bind error",
		[0x10] = "bad response",
		[0x11] = "local access error",
		[0x12] = "remote invalid request",
		[0x13] = "remote access error",
		[0x14] = "remote operation error",
		[0x15] = "transport retry counter exceeded",
		[0x16] = "receiver-not-ready retry counter exceeded",
		[0x22] = "remote aborted",
	};

	if (syndrome >= sizeof(texts) / sizeof(texts[0]) || texts[syndrome] == NULL)
		return "unknown syndrome";
	return texts[syndrome];
}

/* A lane that is on its way out, and why. The device's own word comes before ours. */
static void
add_error_lane(struct kvr_reply_list *list, const struct kvr_lane *lane)
{
	uint32_t state = lane_state(lane);
	struct rte_tel_data *dict;
	uint8_t syndrome = lane->syndrome;
	const char *status;

	if (state != KVR_LANE_DRAINING && state != KVR_LANE_DEAD)
		return;
	dict = kvr_reply_list_add(list);
	if (dict == NULL)
		return;
	status = strerrordesc_np(-lane->status);
	add_lane_key(dict, lane);
	rte_tel_data_add_dict_string(dict, "cause",
				     syndrome != 0    ? syndrome_text(syndrome)
				     : status != NULL ? status
						      : "unknown");
	rte_tel_data_add_dict_u64(dict, "syndrome", syndrome);
	rte_tel_data_add_dict_u64(dict, "vendor_syndrome", lane->vendor_syndrome);
}

/* Errors of each device, and their sums. */
static int
add_device_errors(const struct kvr_engine *engine, struct rte_tel_data *reply)
{
	struct kvr_device_stats stats[KVR_MAX_DEVICES];
	uint32_t n = kvr_stats_devices(engine, stats, KVR_MAX_DEVICES);
	struct rte_tel_data *devices = kvr_reply_dict(reply, "devices");
	uint64_t errors = 0, failed_bytes = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct rte_tel_data *dict = devices != NULL ? kvr_reply_entry(devices, i) : NULL;

		if (dict == NULL)
			return -ENOMEM;
		rte_tel_data_add_dict_string(dict, "name", stats[i].name);
		rte_tel_data_add_dict_u64(dict, "errors", stats[i].errors);
		rte_tel_data_add_dict_u64(dict, "failed_bytes", stats[i].failed_bytes);
		errors += stats[i].errors;
		failed_bytes += stats[i].failed_bytes;
	}
	rte_tel_data_add_dict_u64(reply, "errors", errors);
	rte_tel_data_add_dict_u64(reply, "failed_bytes", failed_bytes);
	return 0;
}

/* Parts of batches that failed, or that were sent again, by lcore, and their sums. */
static int
add_lcore_errors(const struct kvr_engine *engine, struct rte_tel_data *reply)
{
	struct rte_tel_data *lcores = kvr_reply_dict(reply, "lcores");
	uint64_t all_failed = 0, all_rewound = 0;

	for (uint32_t i = 0; i < engine->n_pollers; i++) {
		const struct kvr_poller *poller = engine->pollers[i];
		uint64_t failed = kvr_counter_read(&poller->counters.failed_parts);
		uint64_t rewound = kvr_counter_read(&poller->counters.rewound_parts);
		struct rte_tel_data *dict = lcores != NULL ? kvr_reply_entry(lcores, i) : NULL;

		if (dict == NULL)
			return -ENOMEM;
		rte_tel_data_add_dict_u64(dict, "lcore", poller->lcore);
		rte_tel_data_add_dict_u64(dict, "failed_parts", failed);
		rte_tel_data_add_dict_u64(dict, "rewound_parts", rewound);
		all_failed += failed;
		all_rewound += rewound;
	}
	rte_tel_data_add_dict_u64(reply, "failed_parts", all_failed);
	rte_tel_data_add_dict_u64(reply, "rewound_parts", all_rewound);
	return 0;
}

int
kvr_answer_errors(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply)
{
	struct kvr_reply_list list;
	int err = kvr_reply_list_start(&list, reply, "lanes", params, PAGE_ERROR_LANES);

	if (err == 0)
		err = add_device_errors(engine, reply);
	if (err == 0)
		err = add_lcore_errors(engine, reply);
	if (err != 0)
		return err;
	pthread_mutex_lock(&engine->control_lock);
	lanes_visit(engine, "", &list, add_error_lane);
	pthread_mutex_unlock(&engine->control_lock);
	kvr_reply_list_end(&list);
	return 0;
}
