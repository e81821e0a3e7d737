/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way back of a lane that has died: a new QP in its place, and another at the peer. Nobody
 * waits: the control thread tries each dead lane when it is due, and again later, with a pause that
 * doubles; the peer's answer comes as a message. A lane is used again only once a READ on its new
 * QP has come back (kvr_lane_attach()), so that a path that is still broken costs no batch
 * anything.
 */
#include <errno.h>
#include <string.h>

#include <rte_common.h>
#include <rte_random.h>

#include "control.h"
#include "engine.h"

#define PAUSE_MS     100		     /* before the first try ... */
#define PAUSE_MAX_MS 1000		     /* ... and before each that follows many */
#define ANSWER_MS    1000		     /* a peer has so long */
#define WELL_NS	     ((uint64_t)10000000000) /* a lane that lived so long starts anew */
#define MS_NS	     ((uint64_t)1000000)

/* Between 3/4 and 5/4 of the pause, so that what died at one moment does not come back at one. */
static void
lane_postpone(struct kvr_lane *lane, uint64_t now_ns)
{
	uint64_t pause_ns = MS_NS * RTE_MIN(PAUSE_MS << RTE_MIN(lane->n_tries, 8u), PAUSE_MAX_MS);

	lane->n_tries++;
	lane->due_ns = now_ns + pause_ns * 3 / 4 + rte_rand_max(pause_ns / 2);
}

static void
lane_give_up(struct kvr_lane *lane, uint64_t now_ns, const char *why)
{
	/* Once for each death, not for each try. */
	if (lane->n_tries == 1)
		KVR_LOG(WARNING, "peer %s: the lane of lcore %u on %s is not back yet: %s\n",
			lane->peer->name, lane->poller->lcore, lane->device->name, why);
	lane->question = 0;
	__atomic_store_n(&lane->state, KVR_LANE_DEAD, __ATOMIC_RELAXED);
	lane_postpone(lane, now_ns);
}

static bool
port_active(const struct kvr_device *device)
{
	struct ibv_port_attr attr;

	return ibv_query_port(device->context, device->port, &attr) == 0 &&
	       attr.state == IBV_PORT_ACTIVE;
}

/* Asks for a QP in place of that of lane `place`. 0 or -errno. */
static int
lane_ask(struct kvr_lane *lane, uint32_t place)
{
	struct kvr_connection *connection = lane->peer->connection;
	const struct kvr_lane_offer offer = {
		.qpn = lane->sq->qp->qp_num,
		.psn = lane->psn,
		.device = lane->device_idx,
		.remote_device = lane->remote_idx,
	};
	json_t *message = kvr_lanes_build("reconnect", &offer, 1);

	pthread_mutex_lock(&connection->lock);
	lane->question = ++connection->next_id;
	pthread_mutex_unlock(&connection->lock);
	json_object_set_new(message, "place", json_integer(place));
	json_object_set_new(message, "id", json_integer((json_int_t)lane->question));
	return kvr_connection_send(connection, message);
}

/* A dead lane is due. */
static void
lane_try(struct kvr_lane *lane, uint32_t place, uint64_t now_ns)
{
	int ret;

	if (!port_active(lane->device)) {
		lane_give_up(lane, now_ns, "its port is down");
		return;
	}
	ret = kvr_lane_detach(lane);
	if (ret == -EBUSY) /* a part has not seen its end yet */
		return;
	__atomic_store_n(&lane->state, KVR_LANE_CONNECTING, __ATOMIC_RELAXED);
	ret = kvr_lane_renew(lane);
	if (ret == 0)
		ret = lane_ask(lane, place);
	if (ret != 0)
		lane_give_up(lane, now_ns, strerror(-ret));
	else
		lane->due_ns = now_ns + ANSWER_MS * MS_NS;
}

void
kvr_lanes_revive(struct kvr_engine *engine, struct kvr_peer *peer, uint64_t now_ns)
{
	struct kvr_lane *lanes[KVR_MAX_CONNECT_LANES];
	uint32_t i, n = kvr_lanes_list(engine, peer, lanes);

	if (__atomic_load_n(&peer->lost, __ATOMIC_ACQUIRE))
		return;
	for (i = 0; i < n; i++) {
		struct kvr_lane *lane = lanes[i];

		if (__atomic_load_n(&lane->state, __ATOMIC_RELAXED) == KVR_LANE_DEAD) {
			if (lane->due_ns == 0) {
				if (now_ns - lane->revived_ns > WELL_NS)
					lane->n_tries = 0;
				lane_postpone(lane, now_ns);
			} else if (now_ns >= lane->due_ns) {
				lane_try(lane, i, now_ns);
			}
		} else if (lane->question != 0 && now_ns >= lane->due_ns) {
			lane_give_up(lane, now_ns, "the peer does not answer");
		}
	}
}

void
kvr_port_changed(struct kvr_engine *engine, const struct kvr_device *device, bool up)
{
	struct kvr_lane *lanes[KVR_MAX_CONNECT_LANES];
	uint32_t i, k, n;

	pthread_mutex_lock(&engine->control_lock);
	for (i = 0; i < engine->n_peers; i++) {
		n = kvr_lanes_list(engine, engine->peers[i], lanes);
		for (k = 0; k < n; k++) {
			if (lanes[k]->device != device)
				continue;
			if (!up)
				kvr_lane_fail(lanes[k], -ENETDOWN);
			else if (lanes[k]->due_ns != 0 && lanes[k]->question == 0)
				lanes[k]->due_ns = kvr_now_ns();
		}
	}
	pthread_mutex_unlock(&engine->control_lock);
}

/* ---- the answer ---- */

static struct kvr_lane *
lane_asked(const struct kvr_engine *engine, const struct kvr_peer *peer, uint64_t question)
{
	struct kvr_lane *lanes[KVR_MAX_CONNECT_LANES];
	uint32_t i, n = kvr_lanes_list(engine, peer, lanes);

	for (i = 0; question != 0 && i < n; i++)
		if (lanes[i]->question == question)
			return lanes[i];
	return NULL;
}

/* 0 or -errno. */
static int
lane_reconnect(struct kvr_lane *lane, const json_t *message, struct kvr_error *why)
{
	const char *reason = json_string_value(json_object_get(message, "reason"));
	struct kvr_lane_offer offer;
	uint32_t n = 0;
	int ret;

	if (reason != NULL)
		return kvr_fail(why, -EPROTO, "the peer: %.160s", reason);
	ret = kvr_lanes_parse(message, &offer, 1, &n, why);
	if (ret == 0) {
		ret = kvr_lane_connect(lane, &lane->peer->devices[lane->remote_idx], offer.qpn,
				       offer.psn);
		if (ret == 0)
			ret = kvr_lane_attach(lane);
		if (ret != 0)
			kvr_fail(why, ret, "%s", strerror(-ret));
	}
	return ret;
}

void
kvr_revive_confirm(struct kvr_connection *connection, const json_t *message)
{
	uint64_t now_ns = kvr_now_ns();
	struct kvr_engine *engine = connection->engine;
	json_int_t id = json_integer_value(json_object_get(message, "id"));
	struct kvr_error why = {""};
	struct kvr_lane *lane = NULL;

	pthread_mutex_lock(&engine->control_lock);
	if (connection->peer != NULL)
		lane = lane_asked(engine, connection->peer, (uint64_t)id);
	if (lane != NULL) { /* else it came too late */
		if (lane_reconnect(lane, message, &why) == 0) {
			lane->question = 0;
			lane->due_ns = 0;
			lane->revived_ns = now_ns;
			KVR_LOG(INFO, "peer %s: the lane of lcore %u on %s has a new QP\n",
				lane->peer->name, lane->poller->lcore, lane->device->name);
		} else {
			lane_give_up(lane, now_ns, why.text);
		}
	}
	pthread_mutex_unlock(&engine->control_lock);
}
