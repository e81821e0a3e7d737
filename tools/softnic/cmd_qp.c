/* SPDX-License-Identifier: BSD-3-Clause */
/* Queue pairs: create, modify, query, destroy. */
#include <errno.h>
#include <infiniband/mlx5dv.h>
#include <rdma/mlx5-abi.h>
#include <stddef.h>
#include <stdlib.h>

#include "grace.h"
#include "held.h"
#include "qp.h"

/* ---- what a transition needs ---- */

struct attributes {
	uint32_t required, optional;
};

/* The table of the kernel's ib_modify_qp_is_ok(). */
struct transition {
	uint8_t from, to;
	struct attributes rc, uc, ud;
};

#define INIT_REQUIRED (IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS)
#define RTR_REQUIRED  (IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN)
#define RTS_RC                                                                                     \
	(IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC |          \
	 IBV_QP_SQ_PSN)
#define RTR_OPTIONAL (IBV_QP_ALT_PATH | IBV_QP_ACCESS_FLAGS | IBV_QP_PKEY_INDEX)
#define RTS_OPTIONAL                                                                               \
	(IBV_QP_CUR_STATE | IBV_QP_ALT_PATH | IBV_QP_ACCESS_FLAGS | IBV_QP_PATH_MIG_STATE)
#define INIT_UD	    (IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY)
#define OPTIONAL_UD (IBV_QP_CUR_STATE | IBV_QP_QKEY)

static const struct transition transitions[] = {
	{IBV_QPS_RESET, IBV_QPS_INIT, {INIT_REQUIRED, 0}, {INIT_REQUIRED, 0}, {INIT_UD, 0}},
	{IBV_QPS_INIT, IBV_QPS_INIT, {0, INIT_REQUIRED}, {0, INIT_REQUIRED}, {0, INIT_UD}},
	{IBV_QPS_INIT,
	 IBV_QPS_RTR,
	 {RTR_REQUIRED | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER, RTR_OPTIONAL},
	 {RTR_REQUIRED, RTR_OPTIONAL},
	 {0, IBV_QP_PKEY_INDEX | IBV_QP_QKEY}},
	{IBV_QPS_RTR,
	 IBV_QPS_RTS,
	 {RTS_RC, RTS_OPTIONAL | IBV_QP_MIN_RNR_TIMER},
	 {IBV_QP_SQ_PSN, RTS_OPTIONAL},
	 {IBV_QP_SQ_PSN, OPTIONAL_UD}},
	{IBV_QPS_RTS,
	 IBV_QPS_RTS,
	 {0, RTS_OPTIONAL | IBV_QP_MIN_RNR_TIMER},
	 {0, RTS_OPTIONAL},
	 {0, OPTIONAL_UD}},
};

/* What only a path migration sets; it is refused. */
#define UNSUPPORTED (IBV_QP_ALT_PATH | IBV_QP_PATH_MIG_STATE | IBV_QP_RATE_LIMIT)

static const struct attributes *
attributes_of(const struct transition *t, uint8_t type)
{
	return type == IB_UVERBS_QPT_RC ? &t->rc : type == IB_UVERBS_QPT_UC ? &t->uc : &t->ud;
}

static int
check_transition(const struct sn_qp *qp, const struct ib_uverbs_modify_qp *req)
{
	uint32_t given = req->attr_mask & ~(uint32_t)IBV_QP_STATE;
	uint8_t to = given == req->attr_mask ? qp->state : req->qp_state;

	if ((req->attr_mask & IBV_QP_CUR_STATE) && req->cur_qp_state != qp->state)
		return -EINVAL;
	if (to == IBV_QPS_RESET || to == IBV_QPS_ERR)
		return given & ~(uint32_t)IBV_QP_CUR_STATE ? -EINVAL : 0;
	if (to == IBV_QPS_SQD || req->attr_mask & UNSUPPORTED)
		return -EOPNOTSUPP;
	for (size_t i = 0; i < sizeof(transitions) / sizeof(transitions[0]); i++) {
		const struct transition *t = &transitions[i];
		const struct attributes *a = attributes_of(t, qp->type);

		if (t->from == qp->state && t->to == to)
			return (given & a->required) != a->required ||
					       given & ~(a->required | a->optional)
				       ? -EINVAL
				       : 0;
	}
	return -EINVAL;
}

static int
check_values(const struct sn_qp *qp, const struct ib_uverbs_modify_qp *req)
{
	const struct sn_device_settings *settings = &sn_nic.instance.shm->fabric.device[qp->device];
	uint32_t mask = req->attr_mask;

	if ((mask & IBV_QP_PORT && req->port_num != 1) ||
	    (mask & IBV_QP_PKEY_INDEX && req->pkey_index != 0) ||
	    (mask & IBV_QP_PATH_MTU &&
	     (req->path_mtu < IBV_MTU_256 || req->path_mtu > sn_device_mtu_code(settings))) ||
	    (mask & IBV_QP_MAX_QP_RD_ATOMIC && req->max_rd_atomic > 16) ||
	    (mask & IBV_QP_MAX_DEST_RD_ATOMIC && req->max_dest_rd_atomic > 16))
		return -EINVAL;
	/* Ethernet needs a GRH, and a GID that this port has. */
	if (mask & IBV_QP_AV && (!req->dest.is_global || req->dest.sgid_index >= SN_N_GIDS))
		return -EINVAL;
	return 0;
}

/* ---- modify ---- */

static void
take_attributes(struct sn_qp *qp, const struct ib_uverbs_modify_qp *req)
{
	struct ib_uverbs_modify_qp *attr = &qp->attr;
	uint32_t mask = req->attr_mask;

#define TAKE(flag, field)                                                                          \
	do {                                                                                       \
		if (mask & (flag))                                                                 \
			attr->field = req->field;                                                  \
	} while (0)
	TAKE(IBV_QP_ACCESS_FLAGS, qp_access_flags);
	TAKE(IBV_QP_PKEY_INDEX, pkey_index);
	TAKE(IBV_QP_PORT, port_num);
	TAKE(IBV_QP_AV, dest);
	TAKE(IBV_QP_QKEY, qkey);
	TAKE(IBV_QP_PATH_MTU, path_mtu);
	TAKE(IBV_QP_TIMEOUT, timeout);
	TAKE(IBV_QP_RETRY_CNT, retry_cnt);
	TAKE(IBV_QP_RNR_RETRY, rnr_retry);
	TAKE(IBV_QP_RQ_PSN, rq_psn);
	TAKE(IBV_QP_SQ_PSN, sq_psn);
	TAKE(IBV_QP_MAX_QP_RD_ATOMIC, max_rd_atomic);
	TAKE(IBV_QP_MAX_DEST_RD_ATOMIC, max_dest_rd_atomic);
	TAKE(IBV_QP_MIN_RNR_TIMER, min_rnr_timer);
	TAKE(IBV_QP_DEST_QPN, dest_qp_num);
#undef TAKE
}

/* What peers see; before the state that lets them look. */
static int
share_attributes(struct sn_qp *qp, uint8_t to)
{
	struct sn_shm_qp *shared = qp->shared;

	atomic_store(&shared->access, qp->attr.qp_access_flags);
	if (to != IBV_QPS_RTR)
		return 0;
	if (qp->type == IB_UVERBS_QPT_UD)
		return sn_nic.wire->connect(qp);
	shared->connection++;
	shared->dest_qpn = qp->attr.dest_qp_num;
	shared->mtu_log2 = (uint8_t)(7 + qp->attr.path_mtu);
	shared->max_dest_rd_atomic = qp->attr.max_dest_rd_atomic;
	atomic_store(&shared->rx_psn, qp->attr.rq_psn & 0xffffff);
	qp->mtu_bytes = 1u << shared->mtu_log2;
	return sn_nic.wire->connect(qp);
}

/* Both queues are empty again. */
static void
reset_queues(struct sn_qp *qp)
{
	qp->sq_pi = qp->sq_ci = qp->rq_ci = 0;
	qp->unseen_index = 0;
	qp->progress_bytes = 0;
	qp->out_head = qp->out_tail = 0;
	qp->attempt++;
	qp->wait_until_ns = 0;
	qp->lost = false;
	qp->transit = (struct sn_transit){0};
}

static void
change_state(struct sn_qp *qp, uint8_t to)
{
	SN_LOG("qp %#x: state %u to %u, dest %#x", qp->qpn, qp->state, to, qp->attr.dest_qp_num);
	switch (to) {
	case IBV_QPS_ERR:
		if (qp->state == IBV_QPS_RESET)
			sn_qp_set_state(qp, to);
		else
			sn_qp_break(qp, -1);
		return;
	case IBV_QPS_RESET:
		sn_nic_collect_doorbells(qp->uar);
		sn_qp_set_state(qp, to);
		reset_queues(qp);
		return;
	case IBV_QPS_RTS:
		if (qp->state == IBV_QPS_RTR) {
			qp->tx_psn = qp->attr.sq_psn & 0xffffff;
			qp->retries_left = qp->attr.retry_cnt;
			qp->rnr_retries_left = qp->attr.rnr_retry;
		}
		break;
	}
	if (to != qp->state)
		sn_qp_set_state(qp, to);
}

/* Without the lock: waits for what peers have under way with the old state. What they left behind
 * lands now, and no more after that. */
static void
fence(unsigned int device)
{
	sn_nic_unlock();
	sn_grace_wait(sn_nic.instance.shm);
	sn_nic_lock();
	sn_held_push(sn_nic.instance.id, device);
}

static int
modify(struct sn_qp *qp, const struct ib_uverbs_modify_qp *req)
{
	uint8_t to = req->attr_mask & IBV_QP_STATE ? req->qp_state : qp->state;
	unsigned int device = qp->device;
	int err = check_transition(qp, req);

	if (!err)
		err = check_values(qp, req);
	if (err) {
		SN_LOG("qp %#x: state %u to %u with attributes %#x refused", qp->qpn, qp->state, to,
		       req->attr_mask);
		return err;
	}
	take_attributes(qp, req);
	err = share_attributes(qp, to);
	if (err)
		return err;
	change_state(qp, to);
	fence(device);
	return 0;
}

int
sn_cmd_qp_modify(struct sn_cmd *cmd)
{
	/* The extended command begins with the plain one. */
	const struct ib_uverbs_modify_qp *req = sn_cmd_in(cmd, UVERBS_ATTR_CORE_IN, sizeof(*req));
	struct sn_qp *qp = req ? sn_object_find(cmd->context, SN_QP, req->qp_handle) : NULL;
	const struct ib_uverbs_ex_modify_qp_resp resp = {.response_length = sizeof(resp)};
	const struct mlx5_ib_modify_qp_resp driver = {.response_length = sizeof(driver)};
	int err;

	if (!qp)
		return -EINVAL;
	err = modify(qp, req);
	if (err)
		return err;
	sn_cmd_out(cmd, UVERBS_ATTR_CORE_OUT, &resp, sizeof(resp));
	sn_cmd_out(cmd, UVERBS_ATTR_UHW_OUT, &driver, sizeof(driver));
	return 0;
}

/* ---- create ---- */

/* A place in the shared table, with a number nobody had lately. */
static struct sn_shm_qp *
claim_shared(uint32_t *qpn)
{
	struct sn_shm *shm = sn_nic.instance.shm;

	for (uint32_t tries = 0; tries < SN_MAX_QPS; tries++) {
		uint32_t i = atomic_fetch_add(&shm->qp_hint, 1) % SN_MAX_QPS;
		struct sn_shm_qp *shared = &shm->qp[i];
		uint64_t owner = atomic_load(&shared->owner);

		if (i == 0 || (owner && sn_member_lives(shm, owner)) ||
		    !atomic_compare_exchange_strong(&shared->owner, &owner, sn_nic.instance.id))
			continue;
		if (owner) { /* left by the dead: somebody may still be looking at it */
			atomic_store(&shared->qpn, 0);
			sn_grace_wait(shm);
		}
		shared->generation++;
		*qpn = (shared->generation & 0xff) << 16 | i;
		return shared;
	}
	return NULL;
}

static void
attach(struct sn_qp *qp)
{
	sn_nic.qp[qp->qpn % SN_MAX_QPS] = qp;
	if (qp->send_cq)
		qp->send_cq->object.n_users++;
	if (qp->recv_cq)
		qp->recv_cq->object.n_users++;
	if (qp->srq)
		qp->srq->object.n_users++;
	if (qp->uar) {
		if (TAILQ_EMPTY(&qp->uar->qps))
			TAILQ_INSERT_TAIL(&sn_nic.uars, qp->uar, link);
		TAILQ_INSERT_TAIL(&qp->uar->qps, qp, uar_link);
		qp->uar->object.n_users++;
	}
}

static void
detach(struct sn_qp *qp)
{
	sn_nic.qp[qp->qpn % SN_MAX_QPS] = NULL;
	if (qp->send_cq)
		qp->send_cq->object.n_users--;
	if (qp->recv_cq)
		qp->recv_cq->object.n_users--;
	if (qp->srq)
		qp->srq->object.n_users--;
	if (qp->uar) {
		TAILQ_REMOVE(&qp->uar->qps, qp, uar_link);
		if (TAILQ_EMPTY(&qp->uar->qps))
			TAILQ_REMOVE(&sn_nic.uars, qp->uar, link);
		qp->uar->object.n_users--;
		qp->uar->n_to_scan = SN_MIN(qp->uar->n_to_scan, qp->uar->object.n_users);
	}
}

static void
set_queues(struct sn_qp *qp, const struct mlx5_ib_create_qp *req)
{
	uint64_t rq_bytes = (uint64_t)req->rq_wqe_count << req->rq_wqe_shift;

	qp->rq = (uint8_t *)(uintptr_t)req->buf_addr;
	qp->rq_wqes = req->rq_wqe_count;
	qp->rq_shift = req->rq_wqe_shift;
	qp->sq = (uint8_t *)(uintptr_t)(req->buf_addr + rq_bytes);
	qp->sq_blocks = req->sq_wqe_count;
	qp->dbrec = (_Atomic uint32_t *)(uintptr_t)req->db_addr;
	qp->uidx = req->uidx;
	qp->has_signature = req->flags & MLX5_QP_FLAG_SIGNATURE;
}

/* 0, or a power of two within the device's limit. */
static bool
is_queue_size(uint32_t n)
{
	return !(n & (n - 1)) && n <= SN_MAX_QUEUE;
}

static uint64_t
queue_bytes(const struct mlx5_ib_create_qp *req)
{
	return ((uint64_t)req->rq_wqe_count << req->rq_wqe_shift) +
	       (uint64_t)req->sq_wqe_count * MLX5_SEND_WQE_BB;
}

static int
check_create(const struct mlx5_ib_create_qp *req, uint32_t type)
{
	if (!req || !is_queue_size(req->sq_wqe_count) || !is_queue_size(req->rq_wqe_count) ||
	    req->rq_wqe_shift > 16 || (req->rq_wqe_count && req->rq_wqe_shift < 4))
		return -EINVAL;
	if (type != IB_UVERBS_QPT_RC && type != IB_UVERBS_QPT_UC && type != IB_UVERBS_QPT_UD) {
		SN_LOG("qp type %u is not supported", type);
		return -EOPNOTSUPP;
	}
	return 0;
}

static int
check_handles(const struct sn_cmd *cmd, const struct mlx5_ib_create_qp *req)
{
	if (sn_cmd_has(cmd, UVERBS_ATTR_CREATE_QP_SRQ_HANDLE) &&
	    !sn_cmd_object(cmd, UVERBS_ATTR_CREATE_QP_SRQ_HANDLE, SN_SRQ))
		return -EINVAL;
	if (!(req->flags & MLX5_QP_FLAG_UAR_PAGE_INDEX) || req->bfreg_index >= SN_MAX_UARS ||
	    !cmd->context->uar[req->bfreg_index])
		return -EINVAL;
	return 0;
}

int
sn_cmd_qp_create(struct sn_cmd *cmd)
{
	const struct mlx5_ib_create_qp *req =
		sn_cmd_in(cmd, UVERBS_ATTR_UHW_IN, offsetof(struct mlx5_ib_create_qp, sq_buf_addr));
	const struct ib_uverbs_qp_cap *cap =
		sn_cmd_in(cmd, UVERBS_ATTR_CREATE_QP_CAP, sizeof(*cap));
	uint32_t type = (uint32_t)sn_cmd_in_scalar(cmd, UVERBS_ATTR_CREATE_QP_TYPE, 0);
	uint32_t flags = (uint32_t)sn_cmd_in_scalar(cmd, UVERBS_ATTR_CREATE_QP_FLAGS, 0);
	struct mlx5_ib_create_qp_resp driver = {0};
	int err = check_create(req, type);
	struct sn_object *pd;
	struct sn_qp *qp;

	if (!err)
		err = sn_cmd_pin_queue(req->buf_addr, queue_bytes(req), req->db_addr);
	if (!err)
		err = check_handles(cmd, req);
	pd = sn_cmd_object(cmd, UVERBS_ATTR_CREATE_QP_PD_HANDLE, SN_PD);
	if (err || !cap || !pd)
		return err ? err : -EINVAL;
	qp = sn_object_create(cmd->context, SN_QP, sizeof(*qp));
	if (!qp)
		return -ENOMEM;
	qp->shared = claim_shared(&qp->qpn);
	if (!qp->shared) {
		sn_object_free(qp);
		return -ENOMEM;
	}
	set_queues(qp, req);
	qp->type = (uint8_t)type;
	qp->device = (uint8_t)cmd->context->device;
	qp->dest_device = -1;
	qp->mtu_bytes = sn_nic.instance.shm->fabric.device[qp->device].mtu_bytes;
	qp->signal_all = flags & IB_UVERBS_QP_CREATE_SQ_SIG_ALL;
	qp->pd = pd->handle;
	qp->cap = *cap;
	qp->user_handle = sn_cmd_in_scalar(cmd, UVERBS_ATTR_CREATE_QP_USER_HANDLE, 0);
	qp->send_cq = sn_cmd_object(cmd, UVERBS_ATTR_CREATE_QP_SEND_CQ_HANDLE, SN_CQ);
	qp->recv_cq = sn_cmd_object(cmd, UVERBS_ATTR_CREATE_QP_RECV_CQ_HANDLE, SN_CQ);
	qp->srq = sn_cmd_object(cmd, UVERBS_ATTR_CREATE_QP_SRQ_HANDLE, SN_SRQ);
	/* Who cannot send has no doorbell. */
	qp->uar = req->sq_wqe_count ? cmd->context->uar[req->bfreg_index] : NULL;
	pd->n_users++;
	attach(qp);

	qp->shared->type = qp->type;
	qp->shared->device = qp->device;
	qp->shared->pd = qp->pd;
	qp->shared->dest_qpn = 0;
	atomic_store(&qp->shared->state, IBV_QPS_RESET);
	atomic_store(&qp->shared->qpn, qp->qpn);

	driver.bfreg_index = req->bfreg_index;
	sn_cmd_out_handle(cmd, UVERBS_ATTR_CREATE_QP_HANDLE, qp->object.handle);
	sn_cmd_out(cmd, UVERBS_ATTR_CREATE_QP_RESP_CAP, cap, sizeof(*cap));
	sn_cmd_out(cmd, UVERBS_ATTR_CREATE_QP_RESP_QP_NUM, &qp->qpn, sizeof(qp->qpn));
	sn_cmd_out(cmd, UVERBS_ATTR_UHW_OUT, &driver, sizeof(driver));
	return 0;
}

/* ---- query, destroy ---- */

int
sn_cmd_qp_query(struct sn_cmd *cmd)
{
	const struct ib_uverbs_query_qp *req = sn_cmd_in(cmd, UVERBS_ATTR_CORE_IN, sizeof(*req));
	const struct sn_qp *qp = req ? sn_object_find(cmd->context, SN_QP, req->qp_handle) : NULL;
	struct ib_uverbs_query_qp_resp resp = {0};

	if (!qp)
		return -EINVAL;
	resp.dest = qp->attr.dest;
	resp.max_send_wr = qp->cap.max_send_wr;
	resp.max_recv_wr = qp->cap.max_recv_wr;
	resp.max_send_sge = qp->cap.max_send_sge;
	resp.max_recv_sge = qp->cap.max_recv_sge;
	resp.max_inline_data = qp->cap.max_inline_data;
	resp.rq_psn = atomic_load(&qp->shared->rx_psn);
	resp.sq_psn = qp->tx_psn;
	resp.dest_qp_num = qp->attr.dest_qp_num;
	resp.qkey = qp->attr.qkey;
	resp.qp_access_flags = qp->attr.qp_access_flags;
	resp.pkey_index = qp->attr.pkey_index;
	resp.qp_state = qp->state;
	resp.cur_qp_state = qp->state;
	resp.path_mtu = qp->attr.path_mtu;
	resp.max_rd_atomic = qp->attr.max_rd_atomic;
	resp.max_dest_rd_atomic = qp->attr.max_dest_rd_atomic;
	resp.min_rnr_timer = qp->attr.min_rnr_timer;
	resp.port_num = qp->attr.port_num;
	resp.timeout = qp->attr.timeout;
	resp.retry_cnt = qp->attr.retry_cnt;
	resp.rnr_retry = qp->attr.rnr_retry;
	resp.sq_sig_all = qp->signal_all;
	sn_cmd_out(cmd, UVERBS_ATTR_CORE_OUT, &resp, sizeof(resp));
	return 0;
}

void
sn_qp_release(struct sn_object *object)
{
	struct sn_qp *qp = (struct sn_qp *)object;
	struct sn_object *pd = sn_object_find(object->context, SN_PD, qp->pd);
	struct sn_shm_qp *shared = qp->shared;
	unsigned int device = qp->device;

	sn_nic_collect_doorbells(qp->uar);
	sn_qp_set_state(qp, IBV_QPS_RESET);
	atomic_store(&shared->qpn, 0);
	detach(qp);
	free(qp->flight);
	if (pd)
		pd->n_users--;
	sn_object_free(qp);
	fence(device);
	atomic_store(&shared->owner, 0);
}

int
sn_cmd_qp_destroy(struct sn_cmd *cmd)
{
	struct sn_qp *qp = sn_cmd_object(cmd, UVERBS_ATTR_DESTROY_QP_HANDLE, SN_QP);
	struct ib_uverbs_destroy_qp_resp resp = {0};

	if (!qp)
		return -ENOENT;
	resp.events_reported =
		sn_event_queue_given(cmd->context->async, qp->user_handle, qp->n_async_events);
	sn_cmd_out(cmd, UVERBS_ATTR_DESTROY_QP_RESP, &resp, sizeof(resp));
	sn_qp_release(&qp->object);
	return 0;
}
