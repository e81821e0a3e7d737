/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of lanes: which there are, their QPs' way from RESET to RTS and to ERR, and the passive
 * QPs that serve the lanes of others. What a lane does in between is lib/datapath/lane.c's.
 *
 * Rails: device i is paired with the peer's device i, modulo how many each side has of the same
 * link layer, so that every device of both sides is used, and two nodes built alike talk along
 * their own rail. Indices are the engine's, not the poller's, so that this holds for pollers that
 * have only the devices of their NUMA node.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_common.h>
#include <rte_malloc.h>
#include <rte_random.h>

#include "control.h"
#include "engine.h"

#define ACK_TIMEOUT	14 /* 4.096 us x 2^14 = 67 ms */
#define RETRIES		7
#define RNR_TIMER	12 /* 0.64 ms; the passive side has no receives to wait for */
#define HOP_LIMIT	64
#define PASSIVE_ACCESS	(IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE)
#define PSN_MASK	0xffffff
#define DETACH_RETRY_NS 1000000

/* ---- QP states ---- */

static int
qp_to_init(struct ibv_qp *qp, const struct kvr_device *device, unsigned int access)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = device->port,
		.qp_access_flags = access,
	};

	return -ibv_modify_qp(qp, &attr,
			      IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

static uint8_t
rd_atomic(const struct kvr_device *device, const struct kvr_hello_device *remote)
{
	return device->max_rd_atomic < remote->max_rd_atomic ? device->max_rd_atomic
							     : remote->max_rd_atomic;
}

static int
qp_to_rtr(struct ibv_qp *qp, const struct kvr_device *device, const struct kvr_hello_device *remote,
	  uint32_t remote_qpn, uint32_t remote_psn)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = RTE_MIN(device->mtu, remote->mtu),
		.dest_qp_num = remote_qpn,
		.rq_psn = remote_psn,
		.max_dest_rd_atomic = rd_atomic(device, remote),
		.min_rnr_timer = RNR_TIMER,
		.ah_attr = {.port_num = device->port, .sl = device->sl, .dlid = remote->lid},
	};

	if (device->link_layer == IBV_LINK_LAYER_ETHERNET) {
		attr.ah_attr.is_global = 1;
		attr.ah_attr.grh.dgid = remote->gid;
		attr.ah_attr.grh.sgid_index = device->gid_idx;
		attr.ah_attr.grh.hop_limit = HOP_LIMIT;
		attr.ah_attr.grh.traffic_class = device->traffic_class;
	}
	return -ibv_modify_qp(qp, &attr,
			      IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				      IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
				      IBV_QP_MIN_RNR_TIMER);
}

static int
qp_to_rts(struct ibv_qp *qp, uint32_t psn, uint8_t max_rd_atomic)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTS,
		.sq_psn = psn,
		.timeout = ACK_TIMEOUT,
		.retry_cnt = RETRIES,
		.rnr_retry = RETRIES,
		.max_rd_atomic = max_rd_atomic,
	};

	return -ibv_modify_qp(qp, &attr,
			      IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
				      IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC);
}

int
kvr_passive_qp_create(struct kvr_device *device, const struct kvr_hello_device *remote,
		      const struct kvr_lane_offer *offer, struct ibv_qp **qp_out)
{
	struct ibv_qp_init_attr attr = {
		.send_cq = device->passive_cq,
		.recv_cq = device->passive_cq,
		.cap = {.max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1},
		.qp_type = IBV_QPT_RC,
	};
	struct ibv_qp *qp;
	int ret;

	qp = ibv_create_qp(device->pd, &attr);
	if (qp == NULL)
		return -errno;
	ret = qp_to_init(qp, device, PASSIVE_ACCESS);
	if (ret == 0)
		ret = qp_to_rtr(qp, device, remote, offer->qpn, offer->psn);
	if (ret != 0) {
		ibv_destroy_qp(qp);
		return ret;
	}
	*qp_out = qp;
	return 0;
}

/* ---- lanes made ---- */

static void
lane_free(struct kvr_lane *lane)
{
	if (lane->sq != NULL)
		lane->driver->sq_destroy(lane->sq);
	free(lane->flights);
	rte_free(lane);
}

/* A lane with its QP in INIT. */
static int
lane_create(struct kvr_poller *poller, struct kvr_poller_device *on, struct kvr_peer *peer,
	    uint32_t remote_idx, struct kvr_error *error)
{
	struct kvr_lane_set *set = &peer->lanes[poller->idx];
	struct kvr_device *device = on->device;
	struct kvr_lane *lane;
	int ret;

	if (set->n == KVR_MAX_LANES)
		return kvr_fail(error, -E2BIG,
				"peer %s: lcore %u would have more than %d lanes to it: give fewer "
				"with -a BDF,lanes=N",
				peer->address, poller->lcore, KVR_MAX_LANES);
	lane = rte_zmalloc_socket("kvr_lane", sizeof(*lane), KVR_CACHE_LINE, poller->numa_node);
	if (lane == NULL)
		return kvr_fail(error, -ENOMEM, "peer %s: out of memory", peer->address);
	lane->flights = aligned_alloc(KVR_CACHE_LINE, KVR_SQ_SLOTS * sizeof(*lane->flights));
	lane->driver = on->driver;
	lane->state = KVR_LANE_CONNECTING;
	lane->idx = (uint8_t)set->n;
	lane->device_idx = device->idx;
	lane->remote_idx = (uint8_t)remote_idx;
	lane->poller = poller;
	lane->peer = peer;
	lane->device = device;
	lane->psn = (uint32_t)rte_rand() & PSN_MASK;
	ret = lane->flights == NULL ? -ENOMEM
				    : on->driver->sq_create(device->context, &on->uar, on->cq,
							    KVR_SQ_SLOTS, &lane->sq);
	if (ret == 0)
		ret = qp_to_init(lane->sq->qp, device, 0);
	if (ret != 0) {
		lane_free(lane);
		return kvr_fail(error, ret, "peer %s: device %s cannot make a QP: %s",
				peer->address, device->name, strerror(-ret));
	}
	set->lanes[set->n++] = lane;
	return 0;
}

/* The lanes of all pollers along one rail. */
static int
rail_create(struct kvr_engine *engine, struct kvr_peer *peer, struct kvr_device *device,
	    uint32_t remote_idx, struct kvr_error *error)
{
	uint32_t i, k;
	int ret = 0;

	for (i = 0; i < engine->n_pollers; i++) {
		struct kvr_poller_device *on = kvr_poller_device_find(engine->pollers[i], device);

		for (k = 0; ret == 0 && on != NULL && k < device->n_lanes; k++)
			ret = lane_create(engine->pollers[i], on, peer, remote_idx, error);
	}
	return ret;
}

static int
rails_create(struct kvr_engine *engine, struct kvr_peer *peer, const struct kvr_hello *remote,
	     uint8_t link_layer, struct kvr_error *error)
{
	uint32_t ours[KVR_MAX_DEVICES], theirs[KVR_MAX_DEVICES];
	uint32_t n_ours = 0, n_theirs = 0, i;
	int ret = 0;

	for (i = 0; i < engine->n_devices; i++)
		if (engine->devices[i].link_layer == link_layer)
			ours[n_ours++] = i;
	for (i = 0; i < remote->n_devices; i++)
		if (remote->devices[i].link_layer == link_layer)
			theirs[n_theirs++] = i;
	if (n_ours == 0 || n_theirs == 0)
		return 0;
	for (i = 0; ret == 0 && i < RTE_MAX(n_ours, n_theirs); i++)
		ret = rail_create(engine, peer, &engine->devices[ours[i % n_ours]],
				  theirs[i % n_theirs], error);
	return ret;
}

int
kvr_lanes_create(struct kvr_engine *engine, struct kvr_peer *peer, const struct kvr_hello *remote,
		 struct kvr_error *error)
{
	int ret;

	ret = rails_create(engine, peer, remote, IBV_LINK_LAYER_ETHERNET, error);
	if (ret == 0)
		ret = rails_create(engine, peer, remote, IBV_LINK_LAYER_INFINIBAND, error);
	return ret;
}

/* A new QP, in INIT, in place of one that its poller has let go. */
int
kvr_lane_renew(struct kvr_lane *lane)
{
	struct kvr_poller_device *on = kvr_poller_device_find(lane->poller, lane->device);
	struct kvr_sq *sq;
	int ret;

	ret = on->driver->sq_create(lane->device->context, &on->uar, on->cq, KVR_SQ_SLOTS, &sq);
	if (ret != 0)
		return ret;
	ret = qp_to_init(sq->qp, lane->device, 0);
	if (ret != 0) {
		on->driver->sq_destroy(sq);
		return ret;
	}
	lane->driver->sq_destroy(lane->sq);
	lane->sq = sq;
	lane->psn = (uint32_t)rte_rand() & PSN_MASK;
	lane->inflight_bytes = 0;
	lane->probe_bytes = 0;
	lane->status = 0;
	lane->syndrome = 0;
	lane->vendor_syndrome = 0;
	lane->want_error = KVR_LANE_NO_REQUEST;
	lane->fence = KVR_FENCE_PENDING;
	lane->n_renewals++;
	return 0;
}

uint32_t
kvr_lanes_list(const struct kvr_engine *engine, const struct kvr_peer *peer,
	       struct kvr_lane **lanes)
{
	uint32_t i, k, n = 0;

	for (i = 0; i < engine->n_pollers; i++)
		for (k = 0; k < peer->lanes[i].n; k++)
			lanes[n++] = peer->lanes[i].lanes[k];
	return n;
}

int
kvr_lane_connect(struct kvr_lane *lane, const struct kvr_hello_device *remote, uint32_t remote_qpn,
		 uint32_t remote_psn)
{
	int ret;

	lane->remote_qpn = remote_qpn;
	lane->remote_psn = remote_psn;
	ret = qp_to_rtr(lane->sq->qp, lane->device, remote, remote_qpn, remote_psn);
	if (ret == 0)
		ret = qp_to_rts(lane->sq->qp, lane->psn, rd_atomic(lane->device, remote));
	return ret;
}

/* ---- lanes ended ---- */

/* Moves a draining lane's QP to where its poller wants it. */
static void
lane_drain(struct kvr_lane *lane, uint32_t request)
{
	bool to_error = request == KVR_LANE_WANT_ERROR;
	struct ibv_qp_attr attr = {.qp_state = to_error ? IBV_QPS_ERR : IBV_QPS_RESET};
	int ret;

	ret = ibv_modify_qp(lane->sq->qp, &attr, IBV_QP_STATE);
	if (ret != 0)
		KVR_LOG(ERR, "device %s: QP %u to peer %s cannot be moved to %s: %s\n",
			lane->device->name, lane->sq->qp->qp_num, lane->peer->name,
			to_error ? "ERR" : "RESET", strerror(ret));
	/* The answer's release pairs with the acquire in the poller's drain(). */
	__atomic_store_n(&lane->want_error, request + 1, __ATOMIC_RELEASE);
}
static_assert(KVR_LANE_IS_ERROR == KVR_LANE_WANT_ERROR + 1 &&
		      KVR_LANE_IS_RESET == KVR_LANE_WANT_RESET + 1,
	      "an answer follows its request");

void
kvr_lanes_drain(const struct kvr_engine *engine, struct kvr_peer *peer)
{
	struct kvr_lane *lanes[KVR_MAX_CONNECT_LANES], *unfenced[KVR_MAX_CONNECT_LANES];
	uint32_t i, n = kvr_lanes_list(engine, peer, lanes), n_unfenced = 0;
	uint32_t places[KVR_MAX_CONNECT_LANES];

	for (i = 0; i < n; i++) {
		uint32_t request = __atomic_load_n(&lanes[i]->want_error, __ATOMIC_ACQUIRE);

		if (request != KVR_LANE_WANT_ERROR && request != KVR_LANE_WANT_RESET)
			continue;
		lane_drain(lanes[i], request);
		if (request == KVR_LANE_WANT_ERROR &&
		    __atomic_load_n(&lanes[i]->fence, __ATOMIC_RELAXED) == KVR_FENCE_PENDING) {
			unfenced[n_unfenced] = lanes[i];
			places[n_unfenced++] = i;
		}
	}
	if (n_unfenced > 0)
		kvr_fence_begin(peer->connection, unfenced, places, n_unfenced);
}

uint32_t
kvr_lanes_fail(const struct kvr_engine *engine, struct kvr_peer *peer, int status)
{
	struct kvr_lane *lanes[KVR_MAX_CONNECT_LANES];
	uint32_t i, n = kvr_lanes_list(engine, peer, lanes);

	if (n == 0)
		return 0;
	/* First, so that nothing waits for a peer while the lanes are taken down one by one. */
	kvr_fences_lose(peer->connection, lanes, n);
	for (i = 0; i < n; i++)
		kvr_lane_fail(lanes[i], status);
	kvr_lanes_drain(engine, peer);
	return n;
}

void
kvr_lanes_destroy(const struct kvr_engine *engine, struct kvr_peer *peer)
{
	const struct timespec retry = {.tv_nsec = DETACH_RETRY_NS};
	struct kvr_lane *lanes[KVR_MAX_CONNECT_LANES];
	uint32_t i, n = kvr_lanes_list(engine, peer, lanes);

	kvr_lanes_fail(engine, peer, -ECONNRESET);
	for (i = 0; i < n; i++) {
		/* The flush of what is in flight, or after KVR_FLUSH_MS the reset, frees it. */
		while (kvr_lane_detach(lanes[i]) == -EBUSY) {
			kvr_lanes_drain(engine, peer);
			nanosleep(&retry, NULL);
		}
		lane_free(lanes[i]);
	}
	memset(peer->lanes, 0, sizeof(peer->lanes));
}
