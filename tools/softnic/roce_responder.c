/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The responder of an RC or UC connection (IBA 9.7.4, 9.8.3).
 *
 * Acknowledgements and NAKs are owed, not sent at once: those of packets that came together become
 * one, and they follow the responses to earlier READs.
 */
#include <infiniband/mlx5dv.h>
#include <endian.h>

#include "async.h"
#include "copy.h"
#include "mr.h"
#include "wire_roce.h"

#define PASS_PACKETS 64 /* responses of a QP in one pass */

/* ---- what is owed ---- */

static void
owe(struct sn_qp *qp, uint8_t syndrome, uint32_t psn)
{
	struct sn_roce_responder *rx = &qp->roce->rx;

	if (!sn_roce_is_reliable(qp))
		return;
	rx->owes = true;
	rx->syndrome = syndrome;
	rx->owed_psn = psn;
}

static uint32_t
expected_psn(const struct sn_qp *qp)
{
	return atomic_load_explicit(&qp->shared->rx_psn, memory_order_relaxed);
}

static void
expect(struct sn_qp *qp, uint32_t psn)
{
	atomic_store_explicit(&qp->shared->rx_psn, psn, memory_order_relaxed);
}

static void
forget_message(struct sn_roce_responder *rx)
{
	rx->part_of = 0;
	rx->got = 0;
}

/* The packet breaks a rule: refuse it, and take nothing more from this requester. UC has nobody to
 * tell, and drops the message. */
static void
refuse(struct sn_qp *qp, const struct sn_roce_packet *p, uint8_t syndrome)
{
	struct sn_roce_responder *rx = &qp->roce->rx;

	SN_LOG("qp %#x: opcode %#x psn %#x raddr %#llx len %u rkey %#x refused: syndrome %#x",
	       qp->qpn, p->opcode, p->psn, (unsigned long long)p->raddr, p->len, p->rkey, syndrome);
	forget_message(rx);
	if (syndrome == SN_AETH_NAK_ACCESS)
		sn_nic_count(qp->device, SN_CNT_RESP_ACCESS_ERRORS, 1);
	if (!sn_roce_is_reliable(qp))
		return;
	owe(qp, syndrome, p->psn);
	rx->is_over = true;
	rx->last_event = syndrome == SN_AETH_NAK_ACCESS	   ? IBV_EVENT_QP_ACCESS_ERR
			 : syndrome == SN_AETH_NAK_INVALID ? IBV_EVENT_QP_REQ_ERR
							   : IBV_EVENT_QP_FATAL;
}

/* ---- memory ---- */

/* @len bytes of the region @rkey, if the requester may reach them so. */
static void *
remote_memory(const struct sn_qp *qp, uint32_t rkey, uint64_t addr, uint64_t len, uint32_t right)
{
	if (!(qp->attr.qp_access_flags & right))
		return NULL;
	return sn_mr_remote(rkey, addr, len, right, qp->pd, qp->qpn);
}

/* ---- SEND ---- */

static uint64_t
receive_room(const struct sn_receive *receive)
{
	uint64_t room = 0;

	for (unsigned int i = 0; i < receive->n_segments; i++) {
		uint32_t bytes = be32toh(receive->segments[i].byte_count);

		if (!bytes || be32toh(receive->segments[i].lkey) == MLX5_INVALID_LKEY)
			break;
		room += bytes;
	}
	return room;
}

/* Take a receive WQE for the message that begins or, with an immediate, ends. False: none is
 * posted. */
static bool
take_receive(struct sn_qp *qp, const struct sn_roce_packet *p)
{
	struct sn_roce_responder *rx = &qp->roce->rx;

	if (rx->has_receive)
		return true;
	if (sn_fault_draw(qp->device, SN_FAULT_BIT(SN_FAULT_RNR)) ||
	    !sn_receive_peek(qp, &rx->receive)) {
		sn_nic_count(qp->device, SN_CNT_OUT_OF_BUFFER, 1);
		owe(qp, (uint8_t)(SN_AETH_RNR | (qp->attr.min_rnr_timer & 0x1f)), p->psn);
		rx->out_of_sequence = true; /* what follows has to come again */
		return false;
	}
	sn_receive_consume(qp);
	rx->has_receive = true;
	return true;
}

static void
fail_receive(struct sn_qp *qp, const struct sn_roce_packet *p, uint8_t syndrome)
{
	qp->roce->rx.has_receive = false;
	sn_qp_fail_receive(qp, qp->roce->rx.receive.index, syndrome);
	refuse(qp, p,
	       syndrome == MLX5_CQE_SYNDROME_LOCAL_LENGTH_ERR ? SN_AETH_NAK_INVALID
							      : SN_AETH_NAK_OPERATION);
}

/* Put a packet's data where the receive WQE wants them. False: it is refused. */
static bool
receive_data(struct sn_qp *qp, const struct sn_roce_packet *p)
{
	struct sn_roce_responder *rx = &qp->roce->rx;
	uint64_t skip = rx->got, end = rx->got + p->data_bytes;
	const uint8_t *from = p->data;
	uint8_t syndrome;

	rx->receive.n = 0;
	syndrome = end > receive_room(&rx->receive) ? MLX5_CQE_SYNDROME_LOCAL_LENGTH_ERR
						    : sn_receive_resolve(qp, &rx->receive, end);
	if (syndrome) {
		fail_receive(qp, p, syndrome);
		return false;
	}
	for (unsigned int i = 0; i < rx->receive.n; i++) {
		const struct iovec *to = &rx->receive.to[i];

		if (skip >= to->iov_len) {
			skip -= to->iov_len;
			continue;
		}
		sn_copy((uint8_t *)to->iov_base + skip, from, to->iov_len - skip);
		from += to->iov_len - skip;
		skip = 0;
	}
	rx->got = end;
	return true;
}

static void
complete_receive(struct sn_qp *qp, const struct sn_roce_packet *p)
{
	struct sn_roce_responder *rx = &qp->roce->rx;
	struct sn_completion c = {
		.cqe_opcode = p->flags & SN_IS_WRITE  ? MLX5_CQE_RESP_WR_IMM
			      : p->flags & SN_HAS_IMM ? MLX5_CQE_RESP_SEND_IMM
						      : MLX5_CQE_RESP_SEND,
		.solicited = p->solicited,
		.wqe_index = rx->receive.index,
		.uidx = qp->uidx,
		.qpn = qp->qpn,
		.src_qpn = qp->attr.dest_qp_num,
		.imm_be = p->imm_be,
		.byte_count = (uint32_t)rx->got,
	};

	rx->has_receive = false;
	if (qp->recv_cq)
		sn_cq_push(qp->recv_cq, &c);
}

/* ---- SEND and WRITE, packet by packet ---- */

/* Does the packet go on with the message under way, and is it as long as its place demands? */
static bool
is_in_order(const struct sn_qp *qp, const struct sn_roce_packet *p)
{
	const struct sn_roce_responder *rx = &qp->roce->rx;
	uint16_t part_of = p->flags & (SN_IS_SEND | SN_IS_WRITE);

	if (p->flags & SN_IS_FIRST ? rx->part_of != 0 : rx->part_of != part_of)
		return false;
	if (!(p->flags & SN_IS_LAST))
		return p->data_bytes == qp->mtu_bytes;
	return p->data_bytes <= qp->mtu_bytes && (p->flags & SN_IS_FIRST || p->data_bytes);
}

/* A packet of a WRITE. Returns 0 or the syndrome of its refusal. */
static uint8_t
write_data(struct sn_qp *qp, const struct sn_roce_packet *p)
{
	struct sn_roce_responder *rx = &qp->roce->rx;
	void *to;

	if (p->flags & SN_IS_FIRST) {
		if (p->len > SN_MAX_MSG_BYTES)
			return SN_AETH_NAK_INVALID;
		/* An empty one does not look at its key. */
		if (p->len &&
		    !remote_memory(qp, p->rkey, p->raddr, p->len, IBV_ACCESS_REMOTE_WRITE))
			return SN_AETH_NAK_ACCESS;
		rx->rkey = p->rkey;
		rx->at = p->raddr;
		rx->left = p->len;
	}
	if (p->data_bytes > rx->left || (p->flags & SN_IS_LAST && p->data_bytes != rx->left))
		return SN_AETH_NAK_INVALID;
	if (p->data_bytes) {
		to = remote_memory(qp, rx->rkey, rx->at, p->data_bytes, IBV_ACCESS_REMOTE_WRITE);
		if (!to) /* deregistered since */
			return SN_AETH_NAK_ACCESS;
		sn_copy(to, p->data, p->data_bytes);
	}
	rx->at += p->data_bytes;
	rx->left -= p->data_bytes;
	rx->got += p->data_bytes;
	return 0;
}

/* False: it was refused, or is to come again. */
static bool
take_data(struct sn_qp *qp, const struct sn_roce_packet *p)
{
	uint8_t syndrome;

	if (p->flags & SN_IS_SEND) {
		if (p->flags & SN_IS_FIRST && !take_receive(qp, p))
			return false;
		return receive_data(qp, p);
	}
	/* First the receive, if it needs one: a packet is taken as a whole or not at all. */
	if (p->flags & SN_HAS_IMM && !take_receive(qp, p))
		return false;
	syndrome = write_data(qp, p);
	if (syndrome)
		refuse(qp, p, syndrome);
	return !syndrome;
}

static void
execute_message(struct sn_qp *qp, const struct sn_roce_packet *p)
{
	struct sn_roce_responder *rx = &qp->roce->rx;
	uint8_t kind = SN_ROCE_KIND(p->opcode);

	if (!is_in_order(qp, p) || kind == SN_SEND_LAST_INVALIDATE ||
	    kind == SN_SEND_ONLY_INVALIDATE) {
		refuse(qp, p, SN_AETH_NAK_INVALID);
		return;
	}
	if (p->flags & SN_IS_FIRST)
		rx->got = 0;
	if (!take_data(qp, p))
		return;
	expect(qp, sn_psn_add(p->psn, 1));
	rx->part_of = p->flags & (SN_IS_SEND | SN_IS_WRITE);
	if (p->flags & SN_IS_LAST) {
		rx->msn = sn_psn_add(rx->msn, 1);
		if (p->flags & SN_IS_WRITE)
			sn_nic_count(qp->device, SN_CNT_RX_WRITES, 1);
		if (p->flags & SN_IS_SEND || p->flags & SN_HAS_IMM)
			complete_receive(qp, p);
		forget_message(rx);
	}
	/* What is owed already grows with it. */
	if (p->wants_ack || rx->owes)
		owe(qp, SN_AETH_ACK, p->psn);
}

/* ---- READ and atomics ---- */

static struct sn_roce_resource *
resource_at(struct sn_roce_responder *rx, uint32_t i)
{
	return &rx->resource[i % SN_ROCE_RESOURCES];
}

/* The next to be answered. */
static void
answer_from(struct sn_roce_responder *rx, uint32_t i, uint32_t psn)
{
	rx->head = i;
	rx->answer_psn = psn;
	rx->answer_begins = true;
}

static uint8_t
check_read(const struct sn_qp *qp, const struct sn_roce_packet *p)
{
	if (p->len > SN_MAX_MSG_BYTES)
		return SN_AETH_NAK_INVALID;
	return p->len == 0 || remote_memory(qp, p->rkey, p->raddr, p->len, IBV_ACCESS_REMOTE_READ)
		       ? 0
		       : SN_AETH_NAK_ACCESS;
}

static uint8_t
do_atomic(const struct sn_qp *qp, const struct sn_roce_packet *p, uint64_t *old_value)
{
	_Atomic uint64_t *at =
		remote_memory(qp, p->rkey, p->raddr, sizeof(*at), IBV_ACCESS_REMOTE_ATOMIC);

	if (p->raddr & 7)
		return SN_AETH_NAK_INVALID;
	if (!at)
		return SN_AETH_NAK_ACCESS;
	*old_value = p->operand[1];
	if (SN_ROCE_KIND(p->opcode) == SN_FETCH_ADD)
		*old_value = atomic_fetch_add(at, p->operand[0]);
	else
		atomic_compare_exchange_strong(at, old_value, p->operand[0]);
	return 0;
}

static void
execute_with_response(struct sn_qp *qp, const struct sn_roce_packet *p)
{
	struct sn_roce_responder *rx = &qp->roce->rx;
	struct sn_roce_resource *resource = resource_at(rx, rx->tail);
	bool is_atomic = p->flags & SN_HAS_ATOMIC;
	uint64_t old_value = 0;
	uint8_t syndrome;

	if (rx->part_of || rx->tail - rx->head >= qp->attr.max_dest_rd_atomic)
		syndrome = SN_AETH_NAK_INVALID;
	else
		syndrome = is_atomic ? do_atomic(qp, p, &old_value) : check_read(qp, p);
	if (syndrome) {
		refuse(qp, p, syndrome);
		return;
	}
	sn_nic_count(qp->device, is_atomic ? SN_CNT_RX_ATOMICS : SN_CNT_RX_READS, 1);
	*resource = (struct sn_roce_resource){
		.psn = p->psn,
		.n_psn = is_atomic ? 1 : sn_psn_count(p->len, qp->mtu_bytes),
		.len = p->len,
		.rkey = p->rkey,
		.raddr = p->raddr,
		.old_value = old_value,
		.is_atomic = is_atomic,
	};
	if (rx->head == rx->tail++)
		answer_from(rx, rx->head, p->psn);
	rx->msn = sn_psn_add(rx->msn, 1);
	expect(qp, sn_psn_add(p->psn, resource->n_psn));
	rx->owes = false; /* its response acknowledges what was before it */
}

/* A duplicate: what it asked for is answered again, from there on and in order. */
static void
repeat(struct sn_qp *qp, const struct sn_roce_packet *p)
{
	struct sn_roce_responder *rx = &qp->roce->rx;
	uint32_t kept = SN_MIN(rx->tail, qp->attr.max_dest_rd_atomic);

	for (uint32_t i = rx->tail; i != rx->tail - kept; i--) {
		const struct sn_roce_resource *r = resource_at(rx, i - 1);
		uint64_t skipped = (uint64_t)(uint32_t)sn_psn_diff(p->psn, r->psn) * qp->mtu_bytes;

		if (sn_psn_diff(p->psn, r->psn) < 0 ||
		    sn_psn_diff(p->psn, sn_psn_add(r->psn, r->n_psn)) >= 0)
			continue;
		/* It asks for the rest of the same bytes, or it is no duplicate of ours. */
		if (r->is_atomic != !!(p->flags & SN_HAS_ATOMIC) || r->rkey != p->rkey ||
		    (!r->is_atomic &&
		     (p->raddr != r->raddr + skipped || p->len != r->len - skipped)))
			return;
		/* Not if the answer is still to come. */
		if (rx->head == rx->tail || sn_psn_diff(p->psn, rx->answer_psn) < 0)
			answer_from(rx, i - 1, p->psn);
		return;
	}
}

/* ---- answering ---- */

static void
send_ack(struct sn_qp *qp, uint8_t syndrome, uint32_t psn)
{
	const struct sn_roce_packet p = {
		.opcode = SN_ROCE_RC + SN_ACKNOWLEDGE,
		.dst_qpn = qp->attr.dest_qp_num,
		.psn = psn,
		.syndrome = syndrome,
		.msn = qp->roce->rx.msn,
	};

	sn_roce_send_to_peer(qp, &p, NULL, 0);
	sn_nic_count(qp->device, SN_CNT_XMIT_PACKETS, 1);
}

static uint8_t
read_kind(bool first, bool last)
{
	return first && last ? SN_READ_ONLY
	       : first	     ? SN_READ_FIRST
	       : last	     ? SN_READ_LAST
			     : SN_READ_MIDDLE;
}

/* The next response of head. False: the memory is no longer there. */
static bool
send_response(struct sn_qp *qp)
{
	struct sn_roce_responder *rx = &qp->roce->rx;
	const struct sn_roce_resource *r = resource_at(rx, rx->head);
	uint32_t nth = (uint32_t)sn_psn_diff(rx->answer_psn, r->psn);
	uint64_t offset = (uint64_t)nth * qp->mtu_bytes;
	bool is_last = nth + 1 == r->n_psn;
	struct iovec data = {.iov_len = SN_MIN(r->len - offset, qp->mtu_bytes)};
	struct sn_roce_packet p = {
		.opcode = (uint8_t)(SN_ROCE_RC + (r->is_atomic
							  ? SN_ATOMIC_ACKNOWLEDGE
							  : read_kind(rx->answer_begins, is_last))),
		.dst_qpn = qp->attr.dest_qp_num,
		.psn = rx->answer_psn,
		.syndrome = SN_AETH_ACK,
		.msn = rx->msn,
		.old_value = r->old_value,
		.data_bytes = r->is_atomic ? 0 : (uint32_t)data.iov_len,
	};

	if (p.data_bytes) {
		data.iov_base = remote_memory(qp, r->rkey, r->raddr + offset, p.data_bytes,
					      IBV_ACCESS_REMOTE_READ);
		if (!data.iov_base)
			return false;
	}
	sn_roce_send_to_peer(qp, &p, &data, p.data_bytes ? 1 : 0);
	sn_nic_count(qp->device, SN_CNT_XMIT_PACKETS, 1);
	sn_nic_count(qp->device, SN_CNT_XMIT_BYTES, p.data_bytes);
	rx->answer_begins = false;
	rx->answer_psn = sn_psn_add(rx->answer_psn, 1);
	if (is_last) {
		rx->head++;
		answer_from(rx, rx->head, resource_at(rx, rx->head)->psn);
	}
	return true;
}

bool
sn_roce_answer(struct sn_qp *qp)
{
	struct sn_roce_responder *rx = &qp->roce->rx;
	unsigned int n = 0;

	for (; rx->head != rx->tail && n < PASS_PACKETS; n++) {
		if (send_response(qp))
			continue;
		owe(qp, SN_AETH_NAK_ACCESS, rx->answer_psn);
		rx->is_over = true;
		rx->last_event = IBV_EVENT_QP_ACCESS_ERR;
		rx->tail = rx->head;
	}
	if (!rx->owes || rx->head != rx->tail)
		return n;
	rx->owes = false;
	send_ack(qp, rx->syndrome, rx->owed_psn);
	if (rx->is_over)
		sn_qp_break(qp, rx->last_event);
	return true;
}

bool
sn_roce_responder_is_idle(const struct sn_qp *qp)
{
	const struct sn_roce_responder *rx = &qp->roce->rx;

	return !rx->owes && rx->head == rx->tail;
}

/* ---- what arrives ---- */

static void
execute_next(struct sn_qp *qp, const struct sn_roce_packet *p)
{
	if (p->flags & (SN_IS_SEND | SN_IS_WRITE))
		execute_message(qp, p);
	else
		execute_with_response(qp, p);
}

/* UC: a gap ends the message that it is in, and the next one is taken as it comes. */
static void
execute_unreliable(struct sn_qp *qp, const struct sn_roce_packet *p)
{
	struct sn_roce_responder *rx = &qp->roce->rx;

	if (p->psn != expected_psn(qp) || p->flags & SN_IS_FIRST)
		forget_message(rx);
	expect(qp, sn_psn_add(p->psn, 1));
	if (p->flags & SN_IS_FIRST || rx->part_of)
		execute_next(qp, p);
}

void
sn_roce_execute(struct sn_qp *qp, const struct sn_roce_packet *p)
{
	struct sn_roce_responder *rx = &qp->roce->rx;
	int32_t ahead = sn_psn_diff(p->psn, expected_psn(qp));

	if (rx->is_over)
		return;
	if (!sn_roce_is_reliable(qp)) {
		execute_unreliable(qp, p);
	} else if (ahead == 0) {
		rx->out_of_sequence = false;
		execute_next(qp, p);
	} else if (ahead > 0) {
		if (rx->out_of_sequence)
			return; /* said once */
		sn_nic_count(qp->device, SN_CNT_OUT_OF_SEQUENCE, 1);
		rx->out_of_sequence = true;
		owe(qp, SN_AETH_NAK_SEQUENCE, expected_psn(qp));
	} else {
		sn_nic_count(qp->device, SN_CNT_DUPLICATE_REQUESTS, 1);
		if (!(p->flags & (SN_IS_SEND | SN_IS_WRITE)))
			repeat(qp, p);
		else if (!rx->owes)
			owe(qp, SN_AETH_ACK, sn_psn_add(expected_psn(qp), 0xffffff));
	}
}
