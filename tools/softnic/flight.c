/* SPDX-License-Identifier: BSD-3-Clause */
#include <infiniband/mlx5dv.h>
#include <stdlib.h>

#include "flight.h"
#include "pace.h"
#include "qp.h"

#define PIECE_BYTES 65536u
#define N_PIECES    4096u  /* a power of two */
#define ANSWER_NS   200000 /* what is posted so soon after a completion is posted because of it */

struct piece {
	uint64_t due_ns;
	uint32_t bytes;
	bool is_last; /* of its request */
};

struct ack {
	uint64_t due_ns;
	struct sn_completion completion;
};

struct sn_flight {
	uint32_t piece_head, piece_tail; /* free-running */
	uint32_t ack_head, ack_tail;
	uint16_t sq_sent;    /* next request to send */
	uint64_t sent_bytes; /* of it */
	uint64_t ready_ns; /* since when there was always something to send; 0: there is nothing */
	uint64_t last_due_ns;

	/* ---- the request at sq_ci ---- */
	uint64_t arrived_bytes;
	uint64_t arrived_ns; /* when the last of them did */
	bool arrived;	     /* all of it */

	/* ---- the completion delivered last ---- */
	uint64_t delivered_ns;
	uint64_t late_ns;

	struct piece piece[N_PIECES];
	struct ack ack[]; /* sq_blocks of them: each completes an entry that nobody reuses yet */
};

struct sn_flight *
sn_flight_create(const struct sn_qp *qp)
{
	struct sn_flight *f = calloc(1, sizeof(*f) + qp->sq_blocks * sizeof(f->ack[0]));

	if (f)
		f->sq_sent = qp->sq_ci;
	return f;
}

/* ---- on the way there ---- */

/* Whom the request is for; -1: nobody. */
static int
destination(const struct sn_qp *qp, const struct sn_request *r)
{
	return qp->type == IB_UVERBS_QPT_UD
		       ? sn_device_of_gid(&sn_nic.instance.shm->fabric, r->to.dgid)
		       : qp->dest_device;
}

/* When the next @bytes of @r arrive, or, if a link does not take them yet, when to ask again. */
static bool
send_piece(const struct sn_qp *qp, const struct sn_request *r, uint64_t bytes, uint64_t *at_ns)
{
	int to = destination(qp, r);
	unsigned int peer = (unsigned int)to;

	*at_ns = sn_nic.now_ns;
	if (to < 0)
		return true;
	if (r->opcode != MLX5_OPCODE_RDMA_READ)
		return sn_pace_send(qp->device, peer, bytes, qp->flight->ready_ns, at_ns);
	if (!sn_pace_send(peer, qp->device, bytes, qp->flight->ready_ns, at_ns))
		return false;
	*at_ns += sn_pace_delay_ns(qp->device); /* the request's own way */
	return true;
}

/* All of a request, or the rest of it. False: no more now. */
static bool
send_request(struct sn_qp *qp, const struct sn_request *r)
{
	struct sn_flight *f = qp->flight;
	uint64_t len = r->syndrome ? 0 : r->len, bytes, at_ns;

	do {
		bytes = SN_MIN(len - f->sent_bytes, PIECE_BYTES);
		if (f->piece_tail - f->piece_head == N_PIECES)
			return false;
		if (!send_piece(qp, r, bytes, &at_ns)) {
			sn_nic_wake_at(at_ns);
			return false;
		}
		f->sent_bytes += bytes;
		/* In order: a READ is longer under way than a WRITE behind it. */
		f->last_due_ns = SN_MAX(f->last_due_ns, at_ns);
		f->piece[f->piece_tail++ % N_PIECES] =
			(struct piece){.due_ns = f->last_due_ns,
				       .bytes = (uint32_t)bytes,
				       .is_last = f->sent_bytes == len};
	} while (f->sent_bytes < len);
	f->sq_sent = (uint16_t)(f->sq_sent + r->n_blocks);
	f->sent_bytes = 0;
	return true;
}

/* A thread that is late must not slow its links: what a program posts on seeing a late completion
 * counts as posted when that was due. */
static uint64_t
ready_since(const struct sn_flight *f)
{
	uint64_t now_ns = sn_nic.now_ns;

	return now_ns - f->delivered_ns < ANSWER_NS ? now_ns - f->late_ns : now_ns;
}

static bool
send_announced(struct sn_qp *qp)
{
	struct sn_flight *f = qp->flight;
	uint32_t before = f->piece_tail;
	struct sn_request r;

	if (f->sq_sent != qp->sq_pi && !f->ready_ns)
		f->ready_ns = ready_since(f);
	while (f->sq_sent != qp->sq_pi) {
		sn_wqe_decode(qp, f->sq_sent, (uint16_t)(qp->sq_pi - f->sq_sent), &r);
		if (!send_request(qp, &r))
			break;
	}
	if (f->sq_sent == qp->sq_pi)
		f->ready_ns = 0;
	qp->has_sent = f->piece_tail != before;
	return qp->has_sent;
}

bool
sn_flight_arrived(struct sn_qp *qp, const struct sn_request *r, uint64_t *bytes)
{
	struct sn_flight *f = qp->flight;

	while (!f->arrived && f->piece_head != f->piece_tail) {
		const struct piece *piece = &f->piece[f->piece_head % N_PIECES];

		if (piece->due_ns > sn_nic.now_ns) {
			sn_nic_wake_at(piece->due_ns);
			break;
		}
		f->piece_head++;
		f->arrived_bytes += piece->bytes;
		f->arrived_ns = piece->due_ns;
		f->arrived = piece->is_last;
	}
	*bytes = f->arrived ? r->len : f->arrived_bytes;
	return f->arrived || f->arrived_bytes;
}

void
sn_flight_next(struct sn_qp *qp)
{
	struct sn_flight *f = qp->flight;

	/* What ends before all of it has arrived takes along what is still under way ... */
	while (!f->arrived && f->piece_head != f->piece_tail)
		f->arrived = f->piece[f->piece_head++ % N_PIECES].is_last;
	/* ... and what has not been sent. */
	if (!f->arrived) {
		f->sq_sent = qp->sq_ci;
		f->sent_bytes = 0;
	}
	f->arrived_bytes = 0;
	f->arrived = false;
}

void
sn_flight_rewind(struct sn_qp *qp)
{
	struct sn_flight *f = qp->flight;

	f->piece_head = f->piece_tail;
	f->ready_ns = 0;
	f->arrived = false;
	sn_flight_next(qp);
}

/* ---- on the way back ---- */

/* Note that a completion is delivered now. */
static void
note_delivery(struct sn_flight *f, uint64_t due_ns)
{
	f->delivered_ns = sn_nic.now_ns;
	f->late_ns = sn_nic.now_ns - SN_MIN(due_ns, sn_nic.now_ns);
}

bool
sn_flight_hold(struct sn_qp *qp, const struct sn_completion *completion)
{
	struct sn_flight *f = qp->flight;
	struct ack *last = &f->ack[(f->ack_tail - 1) % qp->sq_blocks];
	uint64_t due_ns = f->arrived_ns;

	/* Nothing comes back for what is unreliable, and a READ's data was the answer. */
	if (qp->type == IB_UVERBS_QPT_RC && qp->dest_device >= 0 &&
	    completion->wqe_opcode != MLX5_OPCODE_RDMA_READ)
		due_ns += sn_pace_delay_ns((unsigned int)qp->dest_device);
	if (f->ack_head == f->ack_tail && due_ns <= sn_nic.now_ns) {
		note_delivery(f, due_ns);
		return false;
	}
	if (f->ack_head != f->ack_tail)
		due_ns = SN_MAX(due_ns, last->due_ns);
	f->ack[f->ack_tail++ % qp->sq_blocks] =
		(struct ack){.due_ns = due_ns, .completion = *completion};
	return true;
}

static bool
deliver(struct sn_qp *qp, uint64_t until_ns)
{
	struct sn_flight *f = qp->flight;
	uint32_t before = f->ack_head;

	while (f->ack_head != f->ack_tail) {
		const struct ack *ack = &f->ack[f->ack_head % qp->sq_blocks];

		if (ack->due_ns > until_ns)
			break;
		sn_cq_push(qp->send_cq, &ack->completion);
		note_delivery(f, ack->due_ns);
		f->ack_head++;
	}
	return f->ack_head != before;
}

bool
sn_flight_holds(const struct sn_qp *qp)
{
	const struct sn_flight *f = qp->flight;

	if (f->ack_head == f->ack_tail)
		return false;
	sn_nic_wake_at(f->ack[f->ack_head % qp->sq_blocks].due_ns);
	return true;
}

void
sn_flight_end(struct sn_qp *qp, bool all_delivered)
{
	if (all_delivered)
		deliver(qp, UINT64_MAX);
	qp->flight->ack_head = qp->flight->ack_tail;
	sn_flight_rewind(qp);
}

/* ---- a share of a pass ---- */

bool
sn_flight_run(struct sn_qp *qp)
{
	bool moved = deliver(qp, sn_nic.now_ns);

	/* A QP that waits for a retry timer has nothing under way. */
	return (!qp->wait_until_ns && qp->state == IBV_QPS_RTS && send_announced(qp)) || moved;
}
