/* SPDX-License-Identifier: BSD-3-Clause */
/* UD over the roce wire: a message is a packet, and nobody answers. */
#include <infiniband/mlx5dv.h>

#include "copy.h"
#include "datagram.h"
#include "wire_roce.h"

#define PASS_PACKETS 64 /* a QP's share of a pass */
#define HOP_LIMIT    64 /* what our sockets send */

/* ---- sending ---- */

static void
send_datagram(struct sn_qp *qp, const struct sn_request *r)
{
	const struct sn_roce_packet p = {
		.opcode =
			(uint8_t)(SN_ROCE_UD + (r->opcode == MLX5_OPCODE_SEND_IMM ? SN_SEND_ONLY_IMM
										  : SN_SEND_ONLY)),
		.solicited = r->solicited,
		.dst_qpn = r->to.qpn,
		.psn = qp->tx_psn,
		.imm_be = r->imm_be,
		.qkey = r->to.qkey,
		.src_qpn = qp->qpn,
		.data_bytes = (uint32_t)r->len,
	};
	uint32_t ip_be = sn_roce_ip_of_gid(r->to.dgid);

	qp->tx_psn = sn_psn_add(qp->tx_psn, 1);
	if (!ip_be) /* as if it were lost on the way */
		return;
	sn_roce_send(qp->roce->port, qp->qpn, ip_be, &p, r->sge, r->n_sge);
	sn_nic_count(qp->device, SN_CNT_XMIT_PACKETS, 1);
	sn_nic_count(qp->device, SN_CNT_XMIT_BYTES, r->len);
}

/* What has been sent up to WQE @end is complete. */
static void
complete_until(struct sn_qp *qp, uint16_t end)
{
	struct sn_request r;

	for (; qp->sq_ci != end; qp->sq_ci = (uint16_t)(qp->sq_ci + r.n_blocks)) {
		sn_wqe_decode(qp, qp->sq_ci, (uint16_t)(qp->sq_pi - qp->sq_ci), &r);
		if (r.signaled)
			sn_qp_complete_send(qp, r.opcode, r.index, r.len, 0);
	}
}

bool
sn_roce_datagrams(struct sn_qp *qp)
{
	uint16_t at = qp->sq_ci;
	struct sn_request r;
	unsigned int n = 0;

	if (qp->state != IBV_QPS_RTS)
		return false;
	for (; at != qp->sq_pi && n < PASS_PACKETS; n++) {
		sn_wqe_decode(qp, at, (uint16_t)(qp->sq_pi - at), &r);
		if (r.syndrome)
			break;
		if (r.opcode != MLX5_OPCODE_NOP)
			send_datagram(qp, &r);
		at = (uint16_t)(at + r.n_blocks);
	}
	sn_roce_flush(qp->roce->port);
	complete_until(qp, at);
	if (at == qp->sq_pi || n == PASS_PACKETS)
		return n;
	qp->sq_ci = (uint16_t)(at + r.n_blocks);
	sn_qp_complete_send(qp, r.opcode, r.index, 0, r.syndrome);
	sn_qp_break(qp, -1);
	return true;
}

/* ---- receiving ---- */

static void
format_grh(const struct sn_qp *qp, const struct sn_roce_packet *p, uint8_t grh[SN_GRH_BYTES])
{
	struct sn_address to = {.sgid_index = 3, .hop_limit = HOP_LIMIT};
	uint8_t sgid[16] = {[10] = 0xff, [11] = 0xff};

	memcpy(to.dgid, sgid, sizeof(sgid));
	memcpy(to.dgid + 12, &qp->roce->port->ip_be, 4);
	memcpy(sgid + 12, &p->src_ip_be, 4);
	sn_grh_format(grh, &to, sgid, p->data_bytes);
}

void
sn_roce_take_datagram(struct sn_qp *qp, const struct sn_roce_packet *p)
{
	struct sn_datagram datagram = {
		.qkey = p->qkey,
		.src_qpn = p->src_qpn,
		.imm_be = p->imm_be,
		.len = p->data_bytes,
		.solicited = p->solicited,
		.has_imm = p->flags & SN_HAS_IMM,
	};
	struct sn_receive receive;
	const uint8_t *from = p->data;

	format_grh(qp, p, datagram.grh);
	if (!sn_datagram_accept(qp, &datagram, &receive))
		return;
	for (unsigned int i = 0; i < receive.n; i++) {
		sn_copy(receive.to[i].iov_base, from, receive.to[i].iov_len);
		from += receive.to[i].iov_len;
	}
	sn_datagram_complete(qp, &datagram, &receive);
}
