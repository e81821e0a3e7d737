/* SPDX-License-Identifier: BSD-3-Clause */
/* The packets of a request. */
#include <infiniband/mlx5dv.h>

#include "wire_roce.h"

#define READ_PIECE_BYTES (64u << 10)
#define ACK_EVERY	 16

uint32_t
sn_roce_read_piece(const struct sn_qp *qp)
{
	return SN_MAX(SN_MIN(READ_PIECE_BYTES, qp->roce->port->window_bytes / 2) / qp->mtu_bytes,
		      1);
}

static uint8_t
kind_of(const struct sn_request *r, bool first, bool last)
{
	bool is_send = r->opcode == MLX5_OPCODE_SEND || r->opcode == MLX5_OPCODE_SEND_IMM;
	bool imm = r->opcode == MLX5_OPCODE_SEND_IMM || r->opcode == MLX5_OPCODE_RDMA_WRITE_IMM;
	uint8_t kind = is_send ? SN_SEND_FIRST : SN_WRITE_FIRST;

	if (first && last)
		return (uint8_t)(kind + SN_SEND_ONLY + imm);
	if (last)
		return (uint8_t)(kind + SN_SEND_LAST + imm);
	return (uint8_t)(kind + (first ? SN_SEND_FIRST : SN_SEND_MIDDLE));
}

unsigned int
sn_roce_slice(const struct sn_request *r, uint64_t offset, uint64_t bytes, struct iovec *out)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < r->n_sge && bytes; i++) {
		uint64_t len = r->sge[i].iov_len, take;

		if (offset >= len) {
			offset -= len;
			continue;
		}
		take = SN_MIN(len - offset, bytes);
		out[n++] = (struct iovec){(uint8_t *)r->sge[i].iov_base + offset, take};
		bytes -= take;
		offset = 0;
	}
	return n;
}

/* Should the responder answer to this packet at once? To the last of a message, to one among so
 * many, and to the one that fills the window. */
static bool
wants_ack(struct sn_qp *qp, bool is_last)
{
	struct sn_roce_requester *tx = &qp->roce->tx;

	if (!sn_roce_is_reliable(qp))
		return false;
	if (!is_last && ++tx->since_ack < ACK_EVERY && sn_roce_n_in_flight(tx) + 1 < tx->window)
		return false;
	tx->since_ack = 0;
	return true;
}

static void
send_data(struct sn_qp *qp, const struct sn_request *r, uint32_t nth)
{
	struct sn_roce_requester *tx = &qp->roce->tx;
	uint64_t offset = (uint64_t)nth * qp->mtu_bytes;
	bool first = nth == 0, last = nth + 1 == r->n_psn;
	struct iovec data[SN_MAX_SGE];
	struct sn_roce_packet p = {
		.opcode = (uint8_t)((sn_roce_is_reliable(qp) ? SN_ROCE_RC : SN_ROCE_UC) +
				    kind_of(r, first, last)),
		.solicited = last && r->solicited,
		.wants_ack = wants_ack(qp, last),
		.dst_qpn = qp->attr.dest_qp_num,
		.psn = tx->next_psn,
		.imm_be = r->imm_be,
		.raddr = r->raddr,
		.rkey = r->rkey,
		.len = (uint32_t)r->len,
		.data_bytes = (uint32_t)SN_MIN(r->len - offset, qp->mtu_bytes),
	};

	sn_roce_send_to_peer(qp, &p, data, sn_roce_slice(r, offset, p.data_bytes, data));
	sn_nic_count(qp->device, SN_CNT_XMIT_PACKETS, 1);
	sn_nic_count(qp->device, SN_CNT_XMIT_BYTES, p.data_bytes);
	tx->next_psn = sn_psn_add(tx->next_psn, 1);
}

/* A piece of a READ, from response @nth on to the end of that piece. */
static void
send_read(struct sn_qp *qp, const struct sn_request *r, uint32_t nth)
{
	struct sn_roce_requester *tx = &qp->roce->tx;
	uint32_t piece = sn_roce_read_piece(qp), end = SN_MIN((nth / piece + 1) * piece, r->n_psn);
	uint64_t offset = (uint64_t)nth * qp->mtu_bytes;
	uint64_t end_offset = SN_MIN((uint64_t)end * qp->mtu_bytes, r->len);
	const struct sn_roce_packet p = {
		.opcode = SN_ROCE_RC + SN_READ_REQUEST,
		.wants_ack = true,
		.dst_qpn = qp->attr.dest_qp_num,
		.psn = tx->next_psn,
		.raddr = r->raddr + offset,
		.rkey = r->rkey,
		.len = (uint32_t)(end_offset - offset),
	};

	sn_roce_send_to_peer(qp, &p, NULL, 0);
	sn_nic_count(qp->device, SN_CNT_XMIT_PACKETS, 1);
	tx->next_psn = sn_psn_add(tx->next_psn, end - nth);
	tx->n_reads++;
	tx->since_ack = 0;
}

static void
send_atomic(struct sn_qp *qp, const struct sn_request *r)
{
	struct sn_roce_requester *tx = &qp->roce->tx;
	const struct sn_roce_packet p = {
		.opcode = SN_ROCE_RC +
			  (r->opcode == MLX5_OPCODE_ATOMIC_CS ? SN_COMPARE_SWAP : SN_FETCH_ADD),
		.wants_ack = true,
		.dst_qpn = qp->attr.dest_qp_num,
		.psn = tx->next_psn,
		.raddr = r->raddr,
		.rkey = r->rkey,
		.operand = {r->operand[0], r->operand[1]},
	};

	sn_roce_send_to_peer(qp, &p, NULL, 0);
	sn_nic_count(qp->device, SN_CNT_XMIT_PACKETS, 1);
	tx->next_psn = sn_psn_add(tx->next_psn, 1);
	tx->n_reads++;
	tx->since_ack = 0;
}

void
sn_roce_send_part(struct sn_qp *qp, const struct sn_request *r, uint32_t nth)
{
	switch (r->opcode) {
	case MLX5_OPCODE_RDMA_READ:
		send_read(qp, r, nth);
		break;
	case MLX5_OPCODE_ATOMIC_CS:
	case MLX5_OPCODE_ATOMIC_FA:
		send_atomic(qp, r);
		break;
	default:
		send_data(qp, r, nth);
		break;
	}
}
