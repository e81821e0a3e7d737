/* SPDX-License-Identifier: BSD-3-Clause */
#include <endian.h>
#include <errno.h>
#include <infiniband/mlx5dv.h>
#include <infiniband/verbs.h>

#include "async.h"
#include "copy.h"
#include "cq.h"
#include "held.h"
#include "trace.h"

#define CI_MASK 0xffffffu

static bool
is_error(const struct sn_completion *c)
{
	return c->cqe_opcode == MLX5_CQE_REQ_ERR || c->cqe_opcode == MLX5_CQE_RESP_ERR;
}

static void
format_cqe(struct mlx5_cqe64 *cqe, const struct sn_completion *c)
{
	memset(cqe, 0, sizeof(*cqe));
	/* CQE version 1: the library finds its QP by the user index. Bits 31..24 of the same word
	 * are the SRQ's on the receive side; libmlx5 knows its SRQ from the QP. */
	cqe->srqn_uidx = htobe32(c->uidx);
	cqe->sop_drop_qpn = htobe32((uint32_t)c->wqe_opcode << 24 | c->qpn);
	cqe->wqe_counter = htobe16(c->wqe_index);
	if (is_error(c)) {
		((struct mlx5_err_cqe *)cqe)->syndrome = c->syndrome;
		return;
	}
	cqe->imm_inval_pkey = c->imm_be;
	cqe->byte_cnt = htobe32(c->byte_count);
	cqe->flags_rqpn = htobe32((uint32_t)c->has_grh << 28 | (uint32_t)c->roce_kind << 24 |
				  (c->src_qpn & 0xffffff));
	cqe->timestamp = htobe64(sn_nic.now_ns);
}

static void
put_cqe(struct sn_cq *cq, const struct sn_completion *completion)
{
	struct mlx5_cqe64 cqe;
	uint8_t *slot, owner;

	format_cqe(&cqe, completion);
	slot = cq->buf + (uint64_t)(cq->pi & (cq->n_cqe - 1)) * cq->cqe_bytes;
	if (cq->cqe_bytes == 128)
		slot += 64;
	sn_held_push(sn_nic.instance.id, cq->object.context->device);
	sn_copy_fence(); /* the payload before the entry */
	memcpy(slot, &cqe, sizeof(cqe) - 1);
	/* The owner bit flips each lap. Written last, released: who sees it sees the entry and the
	 * payload. Partner: the consumer's load of op_own and its fence after that. */
	owner = (uint8_t)(completion->cqe_opcode << 4 | (completion->solicited ? 2 : 0) |
			  !!(cq->pi & cq->n_cqe));
	atomic_store_explicit((_Atomic uint8_t *)(slot + 63), owner, memory_order_release);
	if (__builtin_expect(sn_trace_on, 0))
		sn_trace_cqe(cq, completion);
	cq->pi++;
}

void
sn_cq_push(struct sn_cq *cq, const struct sn_completion *completion)
{
	uint32_t ci = be32toh(atomic_load_explicit(&cq->dbrec[0], memory_order_acquire));

	if (cq->overrun) {
		sn_nic.overran = true;
		return;
	}
	if (((cq->pi - ci) & CI_MASK) >= cq->n_cqe ||
	    sn_fault_draw(cq->object.context->device, SN_FAULT_BIT(SN_FAULT_CQ_OVERRUN))) {
		SN_LOG("cq %#x: overrun, %u entries and the program is at %u of %u", cq->cqn,
		       cq->n_cqe, ci & CI_MASK, cq->pi & CI_MASK);
		cq->overrun = true;
		sn_nic.overran = true;
		cq->n_async_events++;
		sn_async_push(cq->object.context, cq->user_handle, IBV_EVENT_CQ_ERR);
		return;
	}
	put_cqe(cq, completion);
	if (completion->solicited || is_error(completion))
		cq->solicited_pi = cq->pi;
	/* At once, so that the events of CQs that share a channel come in the order of their
	 * completions. */
	if (cq->channel)
		sn_cq_notify(cq);
}

int
sn_cq_resize(struct sn_cq *cq, uint8_t *buf, uint32_t n_cqe)
{
	const struct sn_completion moved = {.cqe_opcode = MLX5_CQE_RESIZE_CQ};
	uint32_t ci = be32toh(atomic_load_explicit(&cq->dbrec[0], memory_order_acquire));
	uint32_t n_unread = (cq->pi - ci) & CI_MASK;

	if (n_unread >= n_cqe)
		return -EINVAL;
	if (cq->overrun || n_unread >= cq->n_cqe)
		return -EBUSY; /* no room to say so */
	/* libmlx5 copies what lies before this entry to the new buffer itself. */
	put_cqe(cq, &moved);
	if (n_unread == 0)
		cq->notified_pi = cq->pi; /* not an entry that the program will see */
	cq->buf = buf;
	cq->n_cqe = n_cqe;
	return 0;
}

/* Of two indices that run free in 24 bits. */
static bool
is_after(uint32_t pi, uint32_t other)
{
	uint32_t ahead = (pi - other) & CI_MASK;

	return ahead != 0 && ahead <= CI_MASK / 2;
}

/*
 * The doorbell register that arms a CQ is shared by all CQs of its page, and polling it would lose
 * writes that follow each other closely. The arm record in the CQ's own doorbell record holds the
 * same (sequence number, solicited bit, consumer index), and the library changes it with each arm,
 * so its value is compared with the one served last. Both start from a sentinel: 0 is a legal
 * first arm.
 *
 * An entry is announced once. A program that arms before it has polled what the last event was
 * about gets no event for the same entries again (the CQ context's last_notified_index in the PRM).
 */
void
sn_cq_notify(struct sn_cq *cq)
{
	uint32_t arm = be32toh(atomic_load_explicit(&cq->dbrec[1], memory_order_acquire));
	bool solicited_only = !!(arm & MLX5_CQ_DB_REQ_NOT_SOL);
	uint32_t newest = solicited_only ? cq->solicited_pi : cq->pi;

	if (arm == cq->served_arm || !is_after(newest, arm) || !is_after(newest, cq->notified_pi))
		return;
	if (!sn_event_queue_push(cq->channel, &cq->user_handle, sizeof(cq->user_handle)))
		return; /* full; the arm stays */
	cq->served_arm = arm;
	cq->notified_pi = cq->pi;
	cq->n_comp_events++;
}
