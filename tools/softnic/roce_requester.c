/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The requester of an RC or UC connection (IBA 9.7.2, 9.8).
 *
 * A WQE stays at or behind qp->sq_ci until it is complete, so that it can be decoded again for a
 * retry, and flushed. A READ is asked for in pieces that a socket buffer can take, each a READ of
 * its own for the responder; the sequence numbers of its responses are the request's.
 */
#include <infiniband/mlx5dv.h>

#include "copy.h"
#include "wire_roce.h"

#define PASS_PACKETS 128 /* a QP's share of a pass */
#define MIN_WINDOW   2u
#define FIRST_WINDOW 16u
#define MAX_WINDOW   1024u

/* Two processes on a busy machine take turns; a timer that is shorter than a turn says nothing. */
#define MIN_TIMEOUT_NS 16000000

/* ---- helpers ---- */

static bool
is_read(uint8_t opcode)
{
	return opcode == MLX5_OPCODE_RDMA_READ;
}

static bool
is_atomic(uint8_t opcode)
{
	return opcode == MLX5_OPCODE_ATOMIC_CS || opcode == MLX5_OPCODE_ATOMIC_FA;
}

/* Is it over with its response only? */
static bool
needs_response(uint8_t opcode)
{
	return is_read(opcode) || is_atomic(opcode);
}

static uint32_t
end_of(const struct sn_roce_sent *sent)
{
	return sn_psn_add(sent->psn, sent->n_psn);
}

static struct sn_roce_sent *
sent_at(struct sn_roce_requester *tx, uint32_t i)
{
	return &tx->sent[i % SN_ROCE_MAX_SENT];
}

/* Tell the port how much is under way now. */
static void
count_flight(struct sn_qp *qp)
{
	struct sn_roce_requester *tx = &qp->roce->tx;
	uint32_t now = sn_roce_is_reliable(qp) ? sn_roce_n_in_flight(tx) * qp->mtu_bytes : 0;

	qp->roce->port->flight_bytes += now - tx->flight_bytes;
	tx->flight_bytes = now;
}

static void
start_timer(struct sn_qp *qp)
{
	struct sn_roce_requester *tx = &qp->roce->tx;
	uint8_t code = qp->attr.timeout & 0x1f; /* 0: wait for ever */
	uint64_t ns = 4096ull << code;

	tx->deadline_ns =
		sn_roce_n_in_flight(tx) && code ? sn_nic.now_ns + SN_MAX(ns, MIN_TIMEOUT_NS) : 0;
}

static uint32_t
largest_window(const struct sn_qp *qp)
{
	return SN_MIN(SN_MAX(qp->roce->port->window_bytes / 2 / qp->mtu_bytes, MIN_WINDOW),
		      MAX_WINDOW);
}

/* Its first sequence number is known from RTS on. */
static void
start(struct sn_qp *qp)
{
	struct sn_roce_requester *tx = &qp->roce->tx;

	tx->una_psn = tx->next_psn = qp->tx_psn;
	tx->next_index = qp->sq_ci;
	tx->window = SN_MIN(FIRST_WINDOW, largest_window(qp));
	tx->threshold = largest_window(qp);
	tx->is_started = true;
}

/* ---- how requests end ---- */

static void
complete_head(struct sn_qp *qp)
{
	struct sn_roce_requester *tx = &qp->roce->tx;
	const struct sn_roce_sent *sent = sent_at(tx, tx->head);

	if (tx->cursor == tx->head)
		tx->cursor++;
	tx->head++;
	qp->sq_ci = (uint16_t)(qp->sq_ci + sent->n_blocks);
	if (sent->signaled)
		sn_qp_complete_send(qp, sent->opcode, sent->index, sent->len, 0);
}

/* The oldest request fails, and with it the QP. */
static void
fail_head(struct sn_qp *qp, uint8_t syndrome)
{
	struct sn_request *r = &qp->roce->tx.request;

	sn_wqe_decode(qp, qp->sq_ci, (uint16_t)(qp->sq_pi - qp->sq_ci), r);
	SN_LOG("qp %#x wqe %u: opcode %#x raddr %#llx len %llu rkey %#x: syndrome %#x", qp->qpn,
	       r->index, r->opcode, (unsigned long long)r->raddr, (unsigned long long)r->len,
	       r->rkey, syndrome);
	qp->sq_ci = (uint16_t)(qp->sq_ci + r->n_blocks);
	sn_qp_complete_send(qp, r->opcode, r->index, 0, syndrome);
	sn_qp_break(qp, -1);
}

/* Everything before @psn has been acknowledged or has arrived. */
static void
advance(struct sn_qp *qp, uint32_t psn)
{
	struct sn_roce_requester *tx = &qp->roce->tx;
	uint32_t n = (uint32_t)sn_psn_diff(psn, tx->una_psn);

	if (n) {
		tx->recovering = false;
		qp->retries_left = qp->attr.retry_cnt;
		qp->rnr_retries_left = qp->attr.rnr_retry;
	}
	tx->una_psn = psn;
	/* Taken back, and now it turns out that it had arrived. */
	if (sn_psn_diff(tx->next_psn, psn) < 0)
		tx->next_psn = psn;
	while (tx->head != tx->tail && sn_psn_diff(end_of(sent_at(tx, tx->head)), psn) <= 0)
		complete_head(qp);
	while (tx->cursor != tx->tail &&
	       sn_psn_diff(end_of(sent_at(tx, tx->cursor)), tx->next_psn) <= 0)
		tx->cursor++;
	for (tx->grown += n; tx->grown >= (tx->window < tx->threshold ? 1 : tx->window);) {
		tx->grown -= tx->window < tx->threshold ? 1 : tx->window;
		tx->window = SN_MIN(tx->window + 1, largest_window(qp));
	}
	count_flight(qp);
	start_timer(qp);
}

/* ---- going back ---- */

static void
go_back(struct sn_qp *qp)
{
	struct sn_roce_requester *tx = &qp->roce->tx;

	tx->next_psn = tx->una_psn;
	tx->cursor = tx->head;
	tx->n_reads = 0;
	tx->since_ack = 0;
	count_flight(qp);
}

/* Packets were lost, most likely where buffers are full: send less at a time. */
static void
recover(struct sn_qp *qp, uint32_t window)
{
	struct sn_roce_requester *tx = &qp->roce->tx;

	tx->threshold = SN_MAX(tx->window / 2, MIN_WINDOW);
	tx->window = SN_MIN(window, tx->threshold);
	tx->grown = 0;
	tx->recovering = true;
	go_back(qp);
}

/* False: the QP has given up. */
static bool
check_timer(struct sn_qp *qp)
{
	struct sn_roce_requester *tx = &qp->roce->tx;

	if (!tx->deadline_ns || sn_nic.now_ns < tx->deadline_ns)
		return true;
	sn_nic_count(qp->device, SN_CNT_ACK_TIMEOUTS, 1);
	SN_LOG("qp %#x: no answer from %#x to psn %#x, %u retries left", qp->qpn,
	       qp->attr.dest_qp_num, tx->una_psn, qp->retries_left);
	if (qp->retries_left == 0) {
		fail_head(qp, MLX5_CQE_SYNDROME_TRANSPORT_RETRY_EXC_ERR);
		return false;
	}
	qp->retries_left--;
	recover(qp, MIN_WINDOW);
	tx->deadline_ns = 0;
	return true;
}

/* ---- sending ---- */

/* Take up the next WQE. False: there is none, or it has to wait for those before it. */
static bool
begin(struct sn_qp *qp)
{
	struct sn_roce_requester *tx = &qp->roce->tx;
	struct sn_request *r = &tx->request;

	if (tx->next_index == qp->sq_pi || tx->tail - tx->head == SN_ROCE_MAX_SENT)
		return false;
	sn_wqe_decode(qp, tx->next_index, (uint16_t)(qp->sq_pi - tx->next_index), r);
	if (!r->syndrome && needs_response(r->opcode) && qp->attr.max_rd_atomic == 0)
		r->syndrome = MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
	tx->has_request = false;
	if (r->syndrome) {
		if (tx->head == tx->tail)
			fail_head(qp, r->syndrome);
		return false;
	}
	tx->has_request = true;
	tx->request_of = tx->tail;
	*sent_at(tx, tx->tail++) = (struct sn_roce_sent){.psn = qp->tx_psn,
							 .n_psn = r->n_psn,
							 .len = (uint32_t)r->len,
							 .index = r->index,
							 .n_blocks = r->n_blocks,
							 .opcode = r->opcode,
							 .signaled = r->signaled};
	tx->next_index = (uint16_t)(tx->next_index + r->n_blocks);
	qp->tx_psn = sn_psn_add(qp->tx_psn, r->n_psn);
	return true;
}

/* The request at the cursor; decoded again if another was since. */
static const struct sn_request *
current_request(struct sn_qp *qp)
{
	struct sn_roce_requester *tx = &qp->roce->tx;
	uint16_t index = sent_at(tx, tx->cursor)->index;

	if (!tx->has_request || tx->request_of != tx->cursor) {
		sn_wqe_decode(qp, index, (uint16_t)(qp->sq_pi - index), &tx->request);
		tx->has_request = true;
		tx->request_of = tx->cursor;
	}
	return &tx->request;
}

static bool
window_is_full(const struct sn_qp *qp)
{
	const struct sn_roce_requester *tx = &qp->roce->tx;
	uint32_t n = sn_roce_n_in_flight(tx);

	/* One packet may always be under way, or many QPs would starve some. */
	return sn_roce_is_reliable(qp) && n &&
	       (n >= tx->window || qp->roce->port->flight_bytes >= qp->roce->port->window_bytes);
}

/* Send the packet at next_psn. False: not now. */
static bool
send_next(struct sn_qp *qp)
{
	struct sn_roce_requester *tx = &qp->roce->tx;
	const struct sn_roce_sent *sent = sent_at(tx, tx->cursor);
	const struct sn_request *r;

	if (sent->n_psn == 0) { /* a NOP */
		tx->cursor++;
		return true;
	}
	if (window_is_full(qp) ||
	    (needs_response(sent->opcode) && tx->n_reads >= qp->attr.max_rd_atomic))
		return false;
	r = current_request(qp);
	if (r->syndrome) { /* its region is gone since it was begun */
		if (tx->cursor == tx->head)
			fail_head(qp, r->syndrome);
		return false;
	}
	if (r->fenced && tx->n_reads)
		return false;
	uint32_t nth = (uint32_t)sn_psn_diff(tx->next_psn, sent->psn);
	sn_roce_send_part(qp, r, nth);
	if (tx->next_psn == end_of(sent))
		tx->cursor++;
	count_flight(qp);
	return true;
}

/* NOPs have no sequence number to be acknowledged. */
static void
complete_nops(struct sn_qp *qp)
{
	struct sn_roce_requester *tx = &qp->roce->tx;

	while (tx->head != tx->cursor && sent_at(tx, tx->head)->n_psn == 0)
		complete_head(qp);
}

bool
sn_roce_request(struct sn_qp *qp)
{
	struct sn_roce_requester *tx = &qp->roce->tx;
	unsigned int n = 0;

	if (qp->state != IBV_QPS_RTS)
		return false;
	if (!tx->is_started)
		start(qp);
	if (!check_timer(qp))
		return true;
	if (qp->wait_until_ns) { /* the responder was not ready */
		if (sn_nic.now_ns < qp->wait_until_ns)
			return false;
		qp->wait_until_ns = 0;
	}
	while (n < PASS_PACKETS) {
		if (tx->cursor == tx->tail && !begin(qp))
			break;
		if (!send_next(qp))
			break;
		n++;
	}
	if (!qp->roce) /* begin() or send_next() broke it */
		return true;
	complete_nops(qp);
	if (n && !tx->deadline_ns)
		start_timer(qp);
	return n;
}

bool
sn_roce_requester_is_idle(const struct sn_qp *qp)
{
	const struct sn_roce_requester *tx = &qp->roce->tx;

	return qp->state != IBV_QPS_RTS ||
	       (tx->is_started && tx->head == tx->tail && tx->next_index == qp->sq_pi);
}

void
sn_roce_requester_sent(struct sn_qp *qp)
{
	if (qp->roce->tx.is_started)
		advance(qp, qp->roce->tx.next_psn);
}

/* ---- what comes back ---- */

/* The request that has sequence number @psn; NULL: none under way. */
static struct sn_roce_sent *
find_sent(struct sn_roce_requester *tx, uint32_t psn)
{
	for (uint32_t i = tx->head; i != tx->tail; i++) {
		struct sn_roce_sent *sent = sent_at(tx, i);

		if (sn_psn_diff(psn, sent->psn) >= 0 && sn_psn_diff(psn, end_of(sent)) < 0)
			return sent;
	}
	return NULL;
}

/*
 * All before @psn was acknowledged. That does not replace the response to a READ or an atomic: if
 * one is missing it was lost, and is asked for again. False: so it was.
 */
static bool
acknowledge(struct sn_qp *qp, uint32_t psn)
{
	struct sn_roce_requester *tx = &qp->roce->tx;

	if (sn_psn_diff(psn, tx->una_psn) <= 0)
		return true;
	for (uint32_t i = tx->head; i != tx->tail; i++) {
		const struct sn_roce_sent *sent = sent_at(tx, i);

		if (sn_psn_diff(sent->psn, psn) >= 0)
			break;
		if (!needs_response(sent->opcode))
			continue;
		if (sn_psn_diff(sent->psn, tx->una_psn) > 0)
			advance(qp, sent->psn);
		if (!tx->recovering) {
			sn_nic_count(qp->device, SN_CNT_IMPLIED_NAKS, 1);
			recover(qp, tx->window / 2);
		}
		return false;
	}
	advance(qp, psn);
	return true;
}

static void
not_ready(struct sn_qp *qp, uint8_t timer)
{
	go_back(qp);
	qp->roce->tx.deadline_ns = 0;
	if (qp->attr.rnr_retry != SN_RNR_FOREVER && qp->rnr_retries_left-- == 0) {
		sn_nic_count(qp->device, SN_CNT_RNR_RETRY_ERRORS, 1);
		fail_head(qp, MLX5_CQE_SYNDROME_RNR_RETRY_EXC_ERR);
		return;
	}
	qp->wait_until_ns = sn_nic.now_ns + sn_qp_rnr_ns(timer);
}

static void
refused(struct sn_qp *qp, uint8_t syndrome)
{
	switch (syndrome) {
	case SN_AETH_NAK_SEQUENCE:
		sn_nic_count(qp->device, SN_CNT_PSN_ERRORS, 1);
		recover(qp, qp->roce->tx.window / 2);
		break;
	case SN_AETH_NAK_ACCESS:
		sn_nic_count(qp->device, SN_CNT_REQ_ACCESS_ERRORS, 1);
		fail_head(qp, MLX5_CQE_SYNDROME_REMOTE_ACCESS_ERR);
		break;
	case SN_AETH_NAK_INVALID:
		fail_head(qp, MLX5_CQE_SYNDROME_REMOTE_INVAL_REQ_ERR);
		break;
	case SN_AETH_NAK_OPERATION:
		fail_head(qp, MLX5_CQE_SYNDROME_REMOTE_OP_ERR);
		break;
	}
}

static void
take_ack(struct sn_qp *qp, const struct sn_roce_packet *p)
{
	struct sn_roce_requester *tx = &qp->roce->tx;

	if (p->syndrome < SN_AETH_RNR) {
		acknowledge(qp, sn_psn_add(p->psn, 1));
		return;
	}
	/* A NAK says that all before it was taken. One of a time before we went back is void. */
	if (!acknowledge(qp, p->psn) || p->psn != tx->una_psn || sn_roce_n_in_flight(tx) == 0)
		return;
	if ((p->syndrome & 0xe0) == SN_AETH_RNR)
		not_ready(qp, p->syndrome & 0x1f);
	else
		refused(qp, p->syndrome);
}

/* Put the data of response @nth where the request wants them. */
static void
store(const struct sn_request *r, uint64_t offset, const struct sn_roce_packet *p)
{
	struct iovec to[SN_MAX_SGE];
	unsigned int n = sn_roce_slice(r, offset, p->data_bytes, to);
	const uint8_t *from = p->data;

	for (unsigned int i = 0; i < n; i++) {
		sn_copy(to[i].iov_base, from, to[i].iov_len);
		from += to[i].iov_len;
	}
}

/* What the head, a READ or an atomic, was waiting for. */
static void
take_response(struct sn_qp *qp, const struct sn_roce_packet *p)
{
	struct sn_roce_requester *tx = &qp->roce->tx;
	const struct sn_roce_sent *head = sent_at(tx, tx->head);
	uint32_t nth = (uint32_t)sn_psn_diff(p->psn, head->psn), next = sn_psn_add(p->psn, 1);
	uint64_t offset = (uint64_t)nth * qp->mtu_bytes;
	bool fits = is_read(head->opcode)
			    ? !(p->flags & SN_HAS_OLD_VALUE) &&
				      p->data_bytes == SN_MIN(head->len - offset, qp->mtu_bytes)
			    : p->flags & SN_HAS_OLD_VALUE;
	struct sn_request r;

	if (!fits) {
		fail_head(qp, MLX5_CQE_SYNDROME_BAD_RESP_ERR);
		return;
	}
	sn_wqe_decode(qp, head->index, (uint16_t)(qp->sq_pi - head->index), &r);
	if (r.syndrome) {
		fail_head(qp, r.syndrome);
		return;
	}
	if (is_read(head->opcode))
		store(&r, offset, p);
	else if (r.n_sge && r.sge[0].iov_len >= sizeof(p->old_value))
		memcpy(r.sge[0].iov_base, &p->old_value, sizeof(p->old_value));
	if (tx->n_reads && (next == end_of(head) || (nth + 1) % sn_roce_read_piece(qp) == 0))
		tx->n_reads--;
	advance(qp, next);
}

void
sn_roce_response(struct sn_qp *qp, const struct sn_roce_packet *p)
{
	struct sn_roce_requester *tx = &qp->roce->tx;
	const struct sn_roce_sent *sent = find_sent(tx, p->psn);

	if (!tx->is_started)
		return;
	if (SN_ROCE_KIND(p->opcode) == SN_ACKNOWLEDGE) {
		/* Never of what has not been sent. */
		if (sn_psn_diff(p->psn, qp->tx_psn) < 0)
			take_ack(qp, p);
		return;
	}
	if (!sent || !needs_response(sent->opcode) || sn_psn_diff(p->psn, tx->una_psn) < 0)
		return; /* a duplicate */
	/* It acknowledges what was sent before it. */
	uint32_t before = sn_psn_diff(sent->psn, tx->una_psn) > 0 ? sent->psn : tx->una_psn;
	if (!acknowledge(qp, before))
		return;
	if (p->psn == tx->una_psn) {
		take_response(qp, p);
	} else if (!tx->recovering) { /* one before it was lost */
		sn_nic_count(qp->device, SN_CNT_IMPLIED_NAKS, 1);
		recover(qp, tx->window / 2);
	}
}
