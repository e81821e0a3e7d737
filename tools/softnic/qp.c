/* SPDX-License-Identifier: BSD-3-Clause */
#include <endian.h>
#include <infiniband/mlx5dv.h>

#include "async.h"
#include "flight.h"
#include "qp.h"
#include "trace.h"

/* IBA table 45, in units of 10 us. */
static const uint16_t rnr_10us[32] = {
	65536 - 1, 1,	 2,    3,    4,	   6,	  8,	 12,	16,    24,    32,
	48,	   64,	 96,   128,  192,  256,	  384,	 512,	768,   1024,  1536,
	2048,	   3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152,
};

uint64_t
sn_qp_rnr_ns(uint8_t code)
{
	return rnr_10us[code & 0x1f] * 10000ull;
}

struct sn_qp *
sn_qp_find(uint32_t qpn)
{
	struct sn_qp *qp = sn_nic.qp[qpn % SN_MAX_QPS];

	return qp && qp->qpn == qpn ? qp : NULL;
}

void
sn_qp_activate(struct sn_qp *qp)
{
	if (qp->is_active || qp->state == IBV_QPS_ERR)
		return;
	qp->is_active = true;
	TAILQ_INSERT_TAIL(&sn_nic.active, qp, run_link);
}

bool
sn_qp_ring(struct sn_qp *qp)
{
	/* Acquire: the WQEs below the index are written before it. Partner: the program's barrier
	 * between its WQE and its doorbell record. */
	uint16_t pi = (uint16_t)be32toh(atomic_load_explicit(&qp->dbrec[1], memory_order_acquire));

	if (pi == qp->sq_pi)
		return false;
	SN_TRACE("doorbell", qp->device, "qp %#x index %u to %u", qp->qpn, qp->sq_pi,
		 (uint16_t)(pi - 1));
	qp->sq_pi = pi;
	if (qp->state == IBV_QPS_ERR)
		sn_qp_flush(qp);
	else
		sn_qp_activate(qp);
	return true;
}

void
sn_qp_set_state(struct sn_qp *qp, uint8_t state)
{
	bool was_active = qp->is_active;

	if (qp->state == IBV_QPS_ERR)
		TAILQ_REMOVE(&sn_nic.broken, qp, run_link);
	else if (qp->is_active)
		TAILQ_REMOVE(&sn_nic.active, qp, run_link);
	qp->is_active = false;
	if (qp->flight && state != IBV_QPS_RTS)
		sn_flight_end(qp, state != IBV_QPS_RESET);
	if (sn_nic.wire->disconnect && state != IBV_QPS_RTR && state != IBV_QPS_RTS &&
	    (qp->state == IBV_QPS_RTR || qp->state == IBV_QPS_RTS))
		sn_nic.wire->disconnect(qp);
	qp->state = state;
	atomic_store_explicit(&qp->shared->state, state, memory_order_release);
	if (state == IBV_QPS_ERR)
		TAILQ_INSERT_TAIL(&sn_nic.broken, qp, run_link);
	else if (state == IBV_QPS_RTS && (was_active || qp->sq_pi != qp->sq_ci))
		sn_qp_activate(qp);
}

void
sn_qp_complete_send(struct sn_qp *qp, uint8_t opcode, uint16_t index, uint64_t len,
		    uint8_t syndrome)
{
	struct sn_completion c = {
		.cqe_opcode = syndrome ? MLX5_CQE_REQ_ERR : MLX5_CQE_REQ,
		.syndrome = syndrome,
		.wqe_opcode = opcode,
		.wqe_index = index,
		.uidx = qp->uidx,
		.qpn = qp->qpn,
		.byte_count = (uint32_t)len,
	};

	if (syndrome)
		sn_nic_count(qp->device, SN_CNT_REQ_CQE_ERRORS, 1);
	if (!qp->send_cq || (qp->flight && !syndrome && sn_flight_hold(qp, &c)))
		return;
	sn_cq_push(qp->send_cq, &c);
}

void
sn_qp_fail_receive(struct sn_qp *qp, uint16_t index, uint8_t syndrome)
{
	struct sn_completion c = {
		.cqe_opcode = MLX5_CQE_RESP_ERR,
		.syndrome = syndrome,
		.wqe_index = index,
		.uidx = qp->uidx,
		.qpn = qp->qpn,
	};

	sn_nic_count(qp->device, SN_CNT_RESP_CQE_ERRORS, 1);
	if (qp->recv_cq)
		sn_cq_push(qp->recv_cq, &c);
}

static void
flush_send(struct sn_qp *qp)
{
	while (qp->out_head != qp->out_tail) {
		struct sn_outstanding *out = &qp->out[qp->out_head++ % SN_MAX_OUTSTANDING];

		sn_qp_complete_send(qp, out->opcode, out->index, 0, MLX5_CQE_SYNDROME_WR_FLUSH_ERR);
	}
	qp->progress_bytes = 0;
	while (qp->sq_blocks && qp->sq_ci != qp->sq_pi) {
		uint8_t opcode;
		uint16_t left = (uint16_t)(qp->sq_pi - qp->sq_ci);
		uint16_t n = sn_wqe_size(qp, qp->sq_ci, &opcode);

		sn_qp_complete_send(qp, opcode, qp->sq_ci, 0, MLX5_CQE_SYNDROME_WR_FLUSH_ERR);
		qp->sq_ci = (uint16_t)(qp->sq_ci + SN_MIN(n, left));
	}
}

void
sn_qp_flush(struct sn_qp *qp)
{
	uint16_t rq_pi;

	flush_send(qp);
	if (qp->srq || !qp->rq_wqes)
		return;
	/* Receives have no doorbell register: their record alone announces them. */
	rq_pi = (uint16_t)be32toh(atomic_load_explicit(&qp->dbrec[0], memory_order_acquire));
	while (qp->rq_ci != rq_pi)
		sn_qp_fail_receive(qp, qp->rq_ci++, MLX5_CQE_SYNDROME_WR_FLUSH_ERR);
}

void
sn_qp_break(struct sn_qp *qp, int event)
{
	if (qp->state == IBV_QPS_ERR || qp->state == IBV_QPS_RESET)
		return;
	sn_qp_set_state(qp, IBV_QPS_ERR);
	qp->attempt++; /* answers still on their way concern nobody */
	qp->wait_until_ns = 0;
	if (event >= 0) {
		qp->n_async_events++;
		sn_async_push(qp->object.context, qp->user_handle, (uint32_t)event);
	}
	sn_qp_flush(qp);
	if (qp->srq) {
		qp->n_async_events++;
		sn_async_push(qp->object.context, qp->user_handle, IBV_EVENT_QP_LAST_WQE_REACHED);
	}
}

void
sn_qp_break_overrun(void)
{
	struct sn_uar *uar;
	struct sn_qp *qp;

	sn_nic.overran = false;
	TAILQ_FOREACH (uar, &sn_nic.uars, link) {
		TAILQ_FOREACH (qp, &uar->qps, uar_link) {
			if ((qp->send_cq && qp->send_cq->overrun) ||
			    (qp->recv_cq && qp->recv_cq->overrun))
				sn_qp_break(qp, IBV_EVENT_QP_FATAL);
		}
	}
}

void
sn_qp_break_device(unsigned int device)
{
	struct sn_uar *uar;
	struct sn_qp *qp;

	TAILQ_FOREACH (uar, &sn_nic.uars, link) {
		TAILQ_FOREACH (qp, &uar->qps, uar_link) {
			if (qp->device == device)
				sn_qp_break(qp, -1);
		}
	}
}
