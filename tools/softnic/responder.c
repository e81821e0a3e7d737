/* SPDX-License-Identifier: BSD-3-Clause */
/* The receive side of a QP: what a requester cannot do alone. */
#include <stddef.h>
#include <endian.h>
#include <infiniband/mlx5dv.h>

#include "async.h"
#include "held.h"
#include "datagram.h"
#include "link.h"
#include "mr.h"
#include "receive.h"
#include "responder.h"
#include "window.h"
#include "wire_local.h"

static void
answer(const struct sn_qp *qp, const struct sn_packet *request, enum sn_fate fate, uint64_t value)
{
	struct sn_packet reply;

	memset(&reply, 0, offsetof(struct sn_packet, sge));
	reply.type = SN_PKT_REPLY;
	/* UC has no acknowledgements; what went wrong here stays here. */
	reply.fate = (uint8_t)(qp && qp->type != IB_UVERBS_QPT_RC ? SN_DONE : fate);
	reply.rnr_timer = qp ? qp->attr.min_rnr_timer : 0;
	reply.src_qpn = request->dst_qpn;
	reply.dst_qpn = request->src_qpn;
	reply.psn = request->psn;
	reply.attempt = request->attempt;
	reply.operand[0] = value;
	sn_local_answer(request->src, &reply);
}

/* Refuse the request and break the QP, as the transport demands of class B and C errors. */
static void
refuse(struct sn_qp *qp, const struct sn_packet *request, enum sn_fate fate)
{
	int event = fate == SN_NAK_ACCESS    ? IBV_EVENT_QP_ACCESS_ERR
		    : fate == SN_NAK_INVALID ? IBV_EVENT_QP_REQ_ERR
					     : IBV_EVENT_QP_FATAL;

	SN_LOG("qp %#x: opcode %#x raddr %#llx len %llu rkey %#x refused: fate %d", qp->qpn,
	       request->opcode, (unsigned long long)request->raddr,
	       (unsigned long long)request->len, request->rkey, fate);
	answer(qp, request, fate, 0);
	sn_qp_break(qp, event);
}

/* Is the packet of the connection this QP has now? */
static bool
listens_to(const struct sn_qp *qp, const struct sn_packet *packet)
{
	return (qp->state == IBV_QPS_RTR || qp->state == IBV_QPS_RTS) &&
	       qp->attr.dest_qp_num == packet->src_qpn &&
	       qp->shared->connection == packet->connection;
}

static void
complete_receive(struct sn_qp *qp, const struct sn_packet *request, uint16_t index)
{
	struct sn_completion c = {
		.cqe_opcode = request->opcode == MLX5_OPCODE_RDMA_WRITE_IMM ? MLX5_CQE_RESP_WR_IMM
			      : request->opcode == MLX5_OPCODE_SEND_IMM	    ? MLX5_CQE_RESP_SEND_IMM
			      : request->opcode == MLX5_OPCODE_SEND_INVAL   ? MLX5_CQE_RESP_SEND_INV
									    : MLX5_CQE_RESP_SEND,
		.solicited = request->solicited,
		.wqe_index = index,
		.uidx = qp->uidx,
		.qpn = qp->qpn,
		.src_qpn = request->src_qpn,
		.imm_be = request->imm_be,
		.byte_count = (uint32_t)request->len,
	};

	if (qp->recv_cq)
		sn_cq_push(qp->recv_cq, &c);
}

/* ---- requests ---- */

static void
advance(struct sn_qp *qp, const struct sn_packet *request)
{
	atomic_store_explicit(&qp->shared->rx_psn, sn_psn_add(request->psn, request->n_psn),
			      memory_order_release);
}

static void
receive_message(struct sn_qp *qp, const struct sn_packet *request)
{
	bool is_send = request->opcode != MLX5_OPCODE_RDMA_WRITE_IMM;
	struct sn_receive receive;
	uint8_t syndrome = 0;

	if (sn_fault_draw(qp->device, SN_FAULT_BIT(SN_FAULT_RNR)) ||
	    !sn_receive_peek(qp, &receive)) {
		sn_nic_count(qp->device, SN_CNT_OUT_OF_BUFFER, 1);
		answer(qp, request, SN_RNR, 0);
		return;
	}
	if (is_send)
		syndrome = sn_receive_resolve(qp, &receive, request->len);
	sn_receive_consume(qp);
	if (syndrome) {
		sn_qp_fail_receive(qp, receive.index, syndrome);
		refuse(qp, request,
		       syndrome == MLX5_CQE_SYNDROME_LOCAL_LENGTH_ERR ? SN_NAK_INVALID
								      : SN_NAK_REMOTE);
		return;
	}
	if (is_send && request->len && sn_local_fetch(request, receive.to, receive.n)) {
		/* The sender died, or took its buffer away. */
		sn_qp_fail_receive(qp, receive.index, MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR);
		refuse(qp, request, SN_NAK_REMOTE);
		return;
	}
	if (request->opcode == MLX5_OPCODE_SEND_INVAL &&
	    !sn_window_invalidate(qp, be32toh(request->imm_be))) {
		sn_qp_fail_receive(qp, receive.index, MLX5_CQE_SYNDROME_LOCAL_ACCESS_ERR);
		refuse(qp, request, SN_NAK_ACCESS);
		return;
	}
	if (is_send) {
		sn_nic_count(qp->device, SN_CNT_RCV_BYTES, request->len);
		sn_nic_count(qp->device, SN_CNT_RCV_PACKETS, request->n_psn);
	}
	advance(qp, request);
	complete_receive(qp, request, receive.index);
	answer(qp, request, SN_DONE, 0);
}

static void
execute_atomic(struct sn_qp *qp, const struct sn_packet *request)
{
	const uint32_t right = IBV_ACCESS_REMOTE_ATOMIC;
	uint64_t old_value = request->operand[1];
	_Atomic uint64_t *at;

	at = qp->attr.qp_access_flags & right ? sn_mr_remote(request->rkey, request->raddr,
							     sizeof(*at), right, qp->pd, qp->qpn)
					      : NULL;
	if (!at || request->raddr & 7) {
		refuse(qp, request, at ? SN_NAK_INVALID : SN_NAK_ACCESS);
		return;
	}
	sn_held_push(sn_nic.instance.id, qp->device);
	if (request->opcode == MLX5_OPCODE_ATOMIC_FA)
		old_value = atomic_fetch_add(at, request->operand[0]);
	else
		atomic_compare_exchange_strong(at, &old_value, request->operand[0]);
	sn_nic_count(qp->device, SN_CNT_RX_ATOMICS, 1);
	qp->last_atomic_psn = request->psn;
	qp->last_atomic_value = old_value;
	advance(qp, request);
	answer(qp, request, SN_DONE, old_value);
}

static void
receive_datagram(struct sn_qp *qp, const struct sn_packet *request)
{
	struct sn_datagram datagram = {
		.qkey = request->qkey,
		.src_qpn = request->src_qpn,
		.imm_be = request->imm_be,
		.len = request->len,
		.solicited = request->solicited,
		.has_imm = request->opcode == MLX5_OPCODE_SEND_IMM,
	};
	struct sn_receive receive;

	memcpy(datagram.grh, request->grh, SN_GRH_BYTES);
	if (sn_datagram_accept(qp, &datagram, &receive)) {
		/* If the sender died or took its buffer away, nobody can say what it sent. */
		if (request->len)
			(void)sn_local_fetch(request, receive.to, receive.n);
		sn_datagram_complete(qp, &datagram, &receive);
	}
	answer(qp, request, SN_DONE, 0);
}

void
sn_responder_request(const struct sn_packet *request)
{
	struct sn_qp *qp = sn_qp_find(request->dst_qpn);
	uint32_t gap;

	if (qp && qp->type == IB_UVERBS_QPT_UD) {
		receive_datagram(qp, request);
		return;
	}
	if (!qp || !listens_to(qp, request) || !sn_link_is_up(sn_nic.instance.shm, qp->device)) {
		SN_LOG("request for qp %#x from %#x: no such connection", request->dst_qpn,
		       request->src_qpn);
		answer(NULL, request, SN_LOST, 0);
		return;
	}
	gap = (request->psn - atomic_load(&qp->shared->rx_psn)) & 0xffffff;
	if (qp->type == IB_UVERBS_QPT_RC && gap & 0x800000) {
		/* A duplicate: answered again, never executed again. */
		answer(qp, request, SN_DONE,
		       request->psn == qp->last_atomic_psn ? qp->last_atomic_value : 0);
	} else if (qp->type == IB_UVERBS_QPT_RC && gap) {
		SN_LOG("qp %#x: request with psn %#x is %u ahead", qp->qpn, request->psn, gap);
		sn_nic_count(qp->device, SN_CNT_PSN_ERRORS, 1);
		answer(qp, request, SN_LOST, 0);
	} else if (request->opcode == MLX5_OPCODE_ATOMIC_CS ||
		   request->opcode == MLX5_OPCODE_ATOMIC_FA) {
		execute_atomic(qp, request);
	} else {
		receive_message(qp, request);
	}
}

void
sn_responder_fault(const struct sn_packet *fault)
{
	struct sn_qp *qp = sn_qp_find(fault->dst_qpn);

	if (!qp || !listens_to(qp, fault))
		return;
	SN_LOG("qp %#x: request of peer %#x refused: fate %u raddr %#llx len %llu rkey %#x",
	       qp->qpn, fault->src_qpn, fault->fate, (unsigned long long)fault->raddr,
	       (unsigned long long)fault->len, fault->rkey);
	if (fault->fate == SN_NAK_ACCESS)
		sn_nic_count(qp->device, SN_CNT_RESP_ACCESS_ERRORS, 1);
	sn_qp_break(qp, fault->fate == SN_NAK_ACCESS	? IBV_EVENT_QP_ACCESS_ERR
			: fault->fate == SN_NAK_INVALID ? IBV_EVENT_QP_REQ_ERR
							: IBV_EVENT_QP_FATAL);
}
