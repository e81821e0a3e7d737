/* SPDX-License-Identifier: BSD-3-Clause */
/* What a QP needs for each step of a connection: the attributes that rdma_cm hands out. */
#include <errno.h>
#include <infiniband/verbs.h>

#include "cm.h"
#include "nic.h"

/* 4.096 us << 18, what the kernel makes of the packet lifetime and the device's delay. */
#define ACK_TIMEOUT 18

/* Before the other end is known. */
static void
describe_init(const struct sn_cm_id *id, struct ib_uverbs_qp_attr *attr)
{
	attr->qp_attr_mask = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT;
	attr->port_num = 1;
	if (id->qp_type == IBV_QPT_UD) {
		attr->qp_attr_mask |= IBV_QP_QKEY;
		attr->qkey = SN_CM_UDP_QKEY;
		return;
	}
	attr->qp_attr_mask |= IBV_QP_ACCESS_FLAGS;
	if (id->state < SN_CM_CONNECTING)
		return;
	attr->qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
	if (id->responder_resources)
		attr->qp_access_flags |= IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC;
}

static void
describe_rtr(const struct sn_cm_id *id, struct ib_uverbs_qp_attr *attr)
{
	attr->qp_attr_mask =
		IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN;
	sn_cm_path(id, id->peer_gid, &attr->ah_attr);
	attr->path_mtu = id->mtu_code;
	attr->dest_qp_num = id->peer_qpn;
	attr->rq_psn = id->psn;
	if (id->qp_type != IBV_QPT_RC)
		return;
	attr->qp_attr_mask |= IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
	attr->max_dest_rd_atomic = id->responder_resources;
	attr->min_rnr_timer = 0; /* 655 ms, as the kernel has it */
}

static void
describe_rts(const struct sn_cm_id *id, struct ib_uverbs_qp_attr *attr)
{
	attr->qp_attr_mask = IBV_QP_STATE | IBV_QP_SQ_PSN;
	attr->sq_psn = id->psn;
	if (id->qp_type != IBV_QPT_RC)
		return;
	attr->qp_attr_mask |=
		IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC;
	attr->timeout = id->ack_timeout ? id->ack_timeout : ACK_TIMEOUT;
	attr->retry_cnt = id->retry_count;
	attr->rnr_retry = id->rnr_retry_count;
	attr->max_rd_atomic = id->initiator_depth;
}

int
sn_cm_init_qp_attr(struct sn_cm_cmd *cmd)
{
	struct ib_uverbs_qp_attr attr = {0};
	struct rdma_ucm_init_qp_attr req;

	SN_CM_TAKE(cmd, req);
	const struct sn_cm_id *id = sn_cm_cmd_id(cmd, req.id);
	bool connected;

	if (!id)
		return -ENOENT;
	connected = id->state >= SN_CM_ANSWERED && id->qp_type != IBV_QPT_UD;
	attr.qp_state = req.qp_state;
	if (req.qp_state == IBV_QPS_INIT && id->device >= 0)
		describe_init(id, &attr);
	else if (req.qp_state == IBV_QPS_RTR && connected)
		describe_rtr(id, &attr);
	else if (req.qp_state == IBV_QPS_RTS && connected)
		describe_rts(id, &attr);
	else
		return -EINVAL;
	return sn_cm_respond(cmd, req.response, &attr, sizeof(attr), sizeof(attr));
}
