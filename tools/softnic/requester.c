/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The send side of a QP.
 *
 * WRITE and READ are executed here and at once; the responder's thread has no part in it. SEND,
 * WRITE_IMM's second half and some atomics go to the responder and come back as replies. Requests
 * of one QP take effect in order, so a direct one waits until those at the responder are answered.
 *
 * The wire between processes neither loses nor reorders, unless --faults makes it. Otherwise a
 * request is lost only if nobody is at the other end, and that is known at once: the retry timer
 * then runs, and each time it ends the request is tried again for real. So a busy machine cannot
 * exhaust the retries.
 */
#include <stddef.h>
#include <infiniband/mlx5dv.h>

#include "copy.h"
#include "flight.h"
#include "gather.h"
#include "pace.h"
#include "requester.h"
#include "window.h"
#include "wire_local.h"

#define PASS_REQUESTS	 32	      /* a QP's share of a pass ... */
#define PASS_BYTES	 (512u << 10) /* ... and its limit by size */
#define PATIENT_RETRY_NS 1000000      /* timeout 0 means wait for ever; look now and then */

static uint8_t
syndrome_of(enum sn_fate fate)
{
	switch (fate) {
	case SN_NAK_ACCESS:
		return MLX5_CQE_SYNDROME_REMOTE_ACCESS_ERR;
	case SN_NAK_INVALID:
		return MLX5_CQE_SYNDROME_REMOTE_INVAL_REQ_ERR;
	default:
		return MLX5_CQE_SYNDROME_REMOTE_OP_ERR;
	}
}

static bool
is_atomic(uint8_t opcode)
{
	return opcode == MLX5_OPCODE_ATOMIC_CS || opcode == MLX5_OPCODE_ATOMIC_FA;
}

static bool
is_reliable(const struct sn_qp *qp)
{
	return qp->type == IB_UVERBS_QPT_RC;
}

static bool
is_datagram(const struct sn_qp *qp)
{
	return qp->type == IB_UVERBS_QPT_UD;
}

/* ---- how a request ends ---- */

static void
refill_retries(struct sn_qp *qp)
{
	qp->retries_left = qp->attr.retry_cnt;
	qp->rnr_retries_left = qp->attr.rnr_retry;
}

static void
count_request(const struct sn_qp *qp, uint64_t len, bool is_read)
{
	uint32_t packets = sn_psn_count(len, qp->mtu_bytes);

	sn_nic_count(qp->device, is_read ? SN_CNT_RCV_BYTES : SN_CNT_XMIT_BYTES, len);
	sn_nic_count(qp->device, is_read ? SN_CNT_RCV_PACKETS : SN_CNT_XMIT_PACKETS, packets);
}

/* The request at sq_ci is over, or in others' hands. */
static void
move_on(struct sn_qp *qp, const struct sn_request *r)
{
	qp->progress_bytes = 0;
	qp->sq_ci = (uint16_t)(qp->sq_ci + r->n_blocks);
	if (qp->flight)
		sn_flight_next(qp);
}

static void
succeed(struct sn_qp *qp, const struct sn_request *r)
{
	refill_retries(qp);
	if (!sn_is_local(r->opcode))
		count_request(qp, r->len, r->opcode == MLX5_OPCODE_RDMA_READ);
	qp->tx_psn = sn_psn_add(qp->tx_psn, r->n_psn);
	move_on(qp, r);
	if (r->signaled)
		sn_qp_complete_send(qp, r->opcode, r->index, r->len, 0);
}

/* The request at sq_ci failed, and all before it are complete. */
static void
fail(struct sn_qp *qp, const struct sn_request *r, uint8_t syndrome)
{
	SN_LOG("qp %#x wqe %u: opcode %#x raddr %#llx len %llu rkey %#x: syndrome %#x", qp->qpn,
	       r->index, r->opcode, (unsigned long long)r->raddr, (unsigned long long)r->len,
	       r->rkey, syndrome);
	move_on(qp, r);
	if (qp->flight)
		sn_flight_end(qp, true);
	sn_qp_complete_send(qp, r->opcode, r->index, 0, syndrome);
	sn_qp_break(qp, -1);
}

/* How long to wait for an answer: the QP's own time-out. */
static uint64_t
patience_ns(const struct sn_qp *qp)
{
	uint8_t code = qp->attr.timeout & 0x1f;

	return code ? 4096ull << code : PATIENT_RETRY_NS;
}

/* Nobody answers: wait, then try again or give up. */
static void
lose(struct sn_qp *qp)
{
	SN_LOG("qp %#x wqe %u: peer %#x does not answer, %u retries left", qp->qpn, qp->sq_ci,
	       qp->attr.dest_qp_num, qp->retries_left);
	if (qp->flight)
		sn_flight_rewind(qp);
	qp->lost = true;
	qp->wait_until_ns = sn_nic.now_ns + patience_ns(qp);
}

/* Take back what the responder has not answered, to send it again. */
static void
rewind_to_head(struct sn_qp *qp)
{
	const struct sn_outstanding *out = &qp->out[qp->out_head % SN_MAX_OUTSTANDING];

	if (qp->out_head == qp->out_tail)
		return;
	qp->sq_ci = out->index;
	qp->tx_psn = out->psn;
	qp->out_tail = qp->out_head;
	qp->progress_bytes = 0;
	qp->attempt++;
	qp->transit = (struct sn_transit){0};
	if (qp->flight)
		sn_flight_rewind(qp);
}

/* A fault took something of what the responder has: it is sent again when its time is over. */
static void
expect_silence(struct sn_qp *qp)
{
	if (!qp->transit.answer_by_ns)
		qp->transit.answer_by_ns = sn_nic.now_ns + patience_ns(qp);
}

static void
end_silence(struct sn_qp *qp)
{
	if (sn_nic.now_ns < qp->transit.answer_by_ns)
		return;
	rewind_to_head(qp);
	qp->lost = true;
	qp->wait_until_ns = sn_nic.now_ns;
}

/* The wait is over. False: the QP has given up. */
static bool
retry(struct sn_qp *qp)
{
	struct sn_request r;

	qp->wait_until_ns = 0;
	if (!qp->lost)
		return true;
	qp->lost = false;
	sn_nic_count(qp->device, SN_CNT_ACK_TIMEOUTS, 1);
	if ((qp->attr.timeout & 0x1f) == 0)
		return true;
	if (qp->retries_left == 0) {
		sn_wqe_decode(qp, qp->sq_ci, (uint16_t)(qp->sq_pi - qp->sq_ci), &r);
		fail(qp, &r, MLX5_CQE_SYNDROME_TRANSPORT_RETRY_EXC_ERR);
		return false;
	}
	qp->retries_left--;
	return true;
}

/* What the wire said of the request at sq_ci. True: go on with the next. */
static bool
settle(struct sn_qp *qp, const struct sn_request *r, enum sn_fate fate)
{
	if (fate == SN_AGAIN)
		return false;
	if (fate == SN_DONE || !is_reliable(qp)) { /* UC never learns what became of it */
		succeed(qp, r);
		return true;
	}
	if (fate == SN_LOST)
		lose(qp);
	else
		fail(qp, r, syndrome_of(fate));
	return false;
}

/* ---- requests that the responder executes ---- */

static struct sn_outstanding *
remember(struct sn_qp *qp, const struct sn_request *r)
{
	struct sn_outstanding *out = &qp->out[qp->out_tail % SN_MAX_OUTSTANDING];

	*out = (struct sn_outstanding){.len = r->len,
				       .psn = qp->tx_psn,
				       .index = r->index,
				       .opcode = r->opcode,
				       .signaled = r->signaled};
	if (is_atomic(r->opcode) && r->n_sge)
		out->result = r->sge[0];
	qp->out_tail++;
	qp->tx_psn = sn_psn_add(qp->tx_psn, r->n_psn);
	move_on(qp, r);
	return out;
}

static bool
post(struct sn_qp *qp, const struct sn_request *r)
{
	struct sn_packet packet;
	enum sn_fate fate;

	if (qp->out_tail - qp->out_head == SN_MAX_OUTSTANDING)
		return false;
	sn_local_pack(qp, r, &packet);
	fate = sn_local_post(qp, &packet);
	if (fate == SN_LOST && qp->out_head != qp->out_tail)
		return false; /* the loss will show at the first of them */
	if (fate != SN_DONE)
		return settle(qp, r, fate);
	if (qp->transit.is_twice && is_reliable(qp))
		sn_local_post(qp, &packet);
	remember(qp, r);
	return true;
}

static void
store_atomic_result(const struct iovec *to, uint64_t value)
{
	if (to->iov_len >= sizeof(value))
		memcpy(to->iov_base, &value, sizeof(value));
}

static void
accept_reply(struct sn_qp *qp, const struct sn_packet *reply)
{
	const struct sn_outstanding *out = &qp->out[qp->out_head++ % SN_MAX_OUTSTANDING];

	refill_retries(qp);
	if (qp->transit.answer_by_ns)
		qp->transit.answer_by_ns = sn_nic.now_ns + patience_ns(qp);
	if (is_atomic(out->opcode))
		store_atomic_result(&out->result, reply->operand[0]);
	count_request(qp, out->len, false);
	if (out->signaled)
		sn_qp_complete_send(qp, out->opcode, out->index, out->len, 0);
}

static void
handle_rnr(struct sn_qp *qp, uint8_t timer)
{
	struct sn_request r;

	rewind_to_head(qp);
	if (qp->attr.rnr_retry != SN_RNR_FOREVER && qp->rnr_retries_left-- == 0) {
		sn_wqe_decode(qp, qp->sq_ci, (uint16_t)(qp->sq_pi - qp->sq_ci), &r);
		fail(qp, &r, MLX5_CQE_SYNDROME_RNR_RETRY_EXC_ERR);
		return;
	}
	qp->lost = false;
	qp->wait_until_ns = sn_nic.now_ns + sn_qp_rnr_ns(timer);
}

/* ---- datagrams ---- */

/* One is done with when its receiver has taken or dropped it, in whichever order they answer. It
 * completes after those before it. */
static void
complete_datagrams(struct sn_qp *qp)
{
	while (qp->out_head != qp->out_tail) {
		const struct sn_outstanding *out = &qp->out[qp->out_head % SN_MAX_OUTSTANDING];

		if (!out->answered && sn_member_lives(sn_nic.instance.shm, out->peer))
			return;
		qp->out_head++;
		count_request(qp, out->len, false);
		if (out->signaled)
			sn_qp_complete_send(qp, out->opcode, out->index, out->len, 0);
	}
}

static bool
post_datagram(struct sn_qp *qp, const struct sn_request *r)
{
	struct sn_outstanding *out;
	struct sn_packet packet;
	enum sn_fate fate;

	if (qp->out_tail - qp->out_head == SN_MAX_OUTSTANDING)
		return false;
	sn_local_pack(qp, r, &packet);
	fate = sn_local_post_datagram(qp, &r->to, &packet);
	if (fate == SN_AGAIN)
		return false;
	out = remember(qp, r);
	out->peer = packet.dst;
	out->answered = fate == SN_LOST;
	complete_datagrams(qp);
	return true;
}

static void
accept_datagram_reply(struct sn_qp *qp, const struct sn_packet *reply)
{
	uint32_t first = qp->out[qp->out_head % SN_MAX_OUTSTANDING].psn;
	uint32_t ahead = (reply->psn - first) & 0xffffff; /* each takes one PSN */

	if (ahead < qp->out_tail - qp->out_head)
		qp->out[(qp->out_head + ahead) % SN_MAX_OUTSTANDING].answered = true;
	complete_datagrams(qp);
}

/* ---- answers ---- */

void
sn_requester_reply(const struct sn_packet *reply)
{
	struct sn_qp *qp = sn_qp_find(reply->dst_qpn);
	struct sn_request r;

	if (!qp || qp->state != IBV_QPS_RTS || reply->attempt != qp->attempt ||
	    qp->out_head == qp->out_tail)
		return;
	sn_qp_activate(qp);
	if (is_datagram(qp)) {
		accept_datagram_reply(qp, reply);
		return;
	}
	if (qp->out[qp->out_head % SN_MAX_OUTSTANDING].psn != reply->psn)
		return;
	if (sn_faults.on && is_reliable(qp) && sn_transit_loses_answer(qp)) {
		expect_silence(qp);
		return;
	}
	switch ((enum sn_fate)reply->fate) {
	case SN_DONE:
		accept_reply(qp, reply);
		break;
	case SN_RNR:
		handle_rnr(qp, reply->rnr_timer);
		break;
	case SN_LOST:
		rewind_to_head(qp);
		lose(qp);
		break;
	default:
		rewind_to_head(qp);
		sn_wqe_decode(qp, qp->sq_ci, (uint16_t)(qp->sq_pi - qp->sq_ci), &r);
		fail(qp, &r, syndrome_of(reply->fate));
		break;
	}
}

/* ---- faults ---- */

/* It does not arrive. True: go on with the next. */
static bool
drop(struct sn_qp *qp, const struct sn_request *r)
{
	if (is_datagram(qp)) {
		if (qp->out_tail - qp->out_head == SN_MAX_OUTSTANDING)
			return false;
		remember(qp, r)->answered = true;
		complete_datagrams(qp);
		return true;
	}
	/* Behind others, it shows when those are answered and it is not. */
	if (sn_is_send(r->opcode) && qp->out_head != qp->out_tail &&
	    qp->out_tail - qp->out_head < SN_MAX_OUTSTANDING && is_reliable(qp)) {
		remember(qp, r);
		expect_silence(qp);
		return true;
	}
	return settle(qp, r, SN_LOST);
}

/* True if a fault keeps the request at sq_ci from its peer; *@goes_on: whether the next may go. */
static bool
is_hindered(struct sn_qp *qp, const struct sn_request *r, bool *goes_on)
{
	const struct sn_fabric *fabric = &sn_nic.instance.shm->fabric;
	int to = is_datagram(qp) ? sn_device_of_gid(fabric, r->to.dgid) : qp->dest_device;

	*goes_on = false;
	switch (sn_transit_send(qp, to, r->opcode == MLX5_OPCODE_RDMA_READ)) {
	case SN_FAULT_DROP:
	case SN_FAULT_CORRUPT:
		*goes_on = drop(qp, r);
		return true;
	case SN_FAULT_DELAY:
		qp->wait_until_ns = sn_nic.now_ns + sn_fault_delay_ns((unsigned int)to);
		return true;
	case SN_FAULT_QP_ERROR:
		sn_qp_break(qp, IBV_EVENT_QP_FATAL);
		return true;
	default:
		return false;
	}
}

/* The request was executed here; its answer may be lost. True: go on with the next. */
static bool
conclude(struct sn_qp *qp, const struct sn_request *r)
{
	struct sn_transit *transit = &qp->transit;

	transit->is_executed = sn_faults.on && is_reliable(qp) &&
			       r->opcode != MLX5_OPCODE_RDMA_READ && sn_transit_loses_answer(qp);
	if (transit->is_executed) {
		transit->is_drawn = false;
		return settle(qp, r, SN_LOST);
	}
	if (is_atomic(r->opcode) && r->n_sge)
		store_atomic_result(&r->sge[0], transit->result);
	return settle(qp, r, SN_DONE);
}

/* ---- requests executed here ---- */

/* The next piece of a WRITE or READ. True: the request is complete, go on with the next. */
static bool
execute(struct sn_qp *qp, struct sn_request *r, uint64_t *budget)
{
	enum sn_fate fate = SN_DONE;

	r->done_bytes = qp->progress_bytes;
	do {
		fate = sn_local_execute(qp, r, budget);
	} while (fate == SN_DONE && r->done_bytes < r->here_bytes && *budget);
	qp->progress_bytes = r->done_bytes;
	if (fate == SN_DONE && r->done_bytes < r->len)
		return false; /* its share is used up */
	if (fate == SN_DONE && r->opcode == MLX5_OPCODE_RDMA_WRITE_IMM)
		return post(qp, r);
	if (fate != SN_DONE)
		qp->progress_bytes = 0;
	return fate == SN_DONE ? conclude(qp, r) : settle(qp, r, fate);
}

static bool
execute_atomic(struct sn_qp *qp, struct sn_request *r)
{
	enum sn_fate fate = sn_local_atomic(qp, r, &qp->transit.result);

	if (fate == SN_AGAIN)
		return post(qp, r);
	return fate == SN_DONE ? conclude(qp, r) : settle(qp, r, fate);
}

/* Is there something to do for the request at sq_ci? */
static bool
has_arrived(struct sn_qp *qp, struct sn_request *r)
{
	if (!sn_flight_arrived(qp, r, &r->here_bytes))
		return false;
	if (r->here_bytes == r->len)
		return true;
	/* A part of a WRITE or READ has its effect; nothing else is done by halves. */
	return !r->syndrome && !sn_is_send(r->opcode) && r->here_bytes > qp->progress_bytes;
}

/* True if it is a WRITE that waits for others. */
static bool
gather(struct sn_qp *qp, struct sn_request *r, uint64_t *budget)
{
	if (r->opcode != MLX5_OPCODE_RDMA_WRITE || r->syndrome || r->len == 0 ||
	    r->len > SN_GATHER_MAX_BYTES || qp->flight || sn_faults.on ||
	    qp->out_head != qp->out_tail || !sn_local_gather(qp, r))
		return false;
	*budget -= SN_MIN(*budget, r->len);
	r->signaled = false; /* gather.c completes it */
	succeed(qp, r);
	return true;
}

/* Everything before it is complete. What it takes away, peers may be using. */
static bool
execute_window(struct sn_qp *qp, const struct sn_request *r)
{
	uint8_t syndrome;

	sn_local_end();
	syndrome = sn_window_execute(qp, r);
	sn_local_begin();
	if (syndrome) {
		fail(qp, r, syndrome);
		return false;
	}
	succeed(qp, r);
	return true;
}

/* One request. True: go on with the next. */
static bool
step(struct sn_qp *qp, uint64_t *budget)
{
	struct sn_request r;
	bool goes_on;

	sn_wqe_decode(qp, qp->sq_ci, (uint16_t)(qp->sq_pi - qp->sq_ci), &r);
	if (gather(qp, &r, budget) || !sn_gather_flush(qp))
		return true;
	if (qp->flight && !has_arrived(qp, &r))
		return false;
	if (sn_faults.on && !r.syndrome && sn_is_send(r.opcode) && is_hindered(qp, &r, &goes_on))
		return goes_on;
	if (!r.syndrome && sn_is_send(r.opcode))
		return is_datagram(qp) ? post_datagram(qp, &r) : post(qp, &r);
	if (qp->out_head != qp->out_tail)
		return false;
	if (!r.syndrome && (r.opcode == MLX5_OPCODE_RDMA_READ || is_atomic(r.opcode)) &&
	    qp->attr.max_rd_atomic == 0)
		r.syndrome = MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
	if (r.syndrome) {
		fail(qp, &r, r.syndrome);
		return false;
	}
	if (r.opcode == MLX5_OPCODE_UMR)
		return execute_window(qp, &r);
	if (r.opcode == MLX5_OPCODE_NOP) {
		succeed(qp, &r);
		return true;
	}
	if (sn_faults.on && is_hindered(qp, &r, &goes_on))
		return goes_on;
	if (qp->transit.is_executed)
		return sn_local_is_reached(qp) ? conclude(qp, &r) : settle(qp, &r, SN_LOST);
	return is_atomic(r.opcode) ? execute_atomic(qp, &r) : execute(qp, &r, budget);
}

bool
sn_requester_run(struct sn_qp *qp)
{
	uint64_t budget = PASS_BYTES;
	unsigned int n = 0;
	uint16_t before = qp->sq_ci;
	uint64_t progress = qp->progress_bytes;
	bool flew = false;

	if (!qp->flight && sn_pace_any_shaped())
		qp->flight = sn_flight_create(qp);
	if (qp->flight)
		flew = sn_flight_run(qp);
	if (is_datagram(qp)) {
		complete_datagrams(qp);
	} else if (qp->out_head != qp->out_tail &&
		   !sn_member_lives(sn_nic.instance.shm, qp->peer)) {
		rewind_to_head(qp);
		lose(qp);
	}
	if (qp->transit.answer_by_ns)
		end_silence(qp);
	if (qp->wait_until_ns) {
		sn_nic_wake_at(qp->wait_until_ns);
		if (sn_nic.now_ns < qp->wait_until_ns || !retry(qp))
			return flew;
	}
	sn_local_begin();
	while (qp->state == IBV_QPS_RTS && !qp->wait_until_ns && qp->sq_ci != qp->sq_pi &&
	       n++ < PASS_REQUESTS && budget && step(qp, &budget))
		;
	sn_gather_flush(qp);
	sn_local_end();
	if (qp->is_active && qp->sq_ci == qp->sq_pi && qp->out_head == qp->out_tail &&
	    !qp->wait_until_ns && !(qp->flight && sn_flight_holds(qp))) {
		TAILQ_REMOVE(&sn_nic.active, qp, run_link);
		qp->is_active = false;
	}
	return flew || qp->sq_ci != before || qp->progress_bytes != progress;
}
