/* SPDX-License-Identifier: BSD-3-Clause */
#include <endian.h>

#include "async.h"
#include "mr.h"
#include "receive.h"

bool
sn_receive_peek(struct sn_qp *qp, struct sn_receive *receive)
{
	const uint8_t *wqe;

	if (qp->srq) {
		struct sn_srq *srq = qp->srq;

		if (srq->ci ==
		    (uint16_t)be32toh(atomic_load_explicit(srq->dbrec, memory_order_acquire)))
			return false;
		wqe = srq->buf + ((uint64_t)srq->head << srq->wqe_shift);
		receive->index = srq->head;
		receive->n_segments = (1u << (srq->wqe_shift - 4)) - 1; /* after the link */
		wqe += sizeof(struct mlx5_wqe_srq_next_seg);
	} else {
		if (!qp->rq_wqes || qp->rq_ci == (uint16_t)be32toh(atomic_load_explicit(
							 &qp->dbrec[0], memory_order_acquire)))
			return false;
		wqe = qp->rq + ((uint64_t)(qp->rq_ci & (qp->rq_wqes - 1)) << qp->rq_shift);
		receive->index = qp->rq_ci;
		receive->n_segments = 1u << (qp->rq_shift - 4);
		if (qp->has_signature) {
			wqe += 16;
			receive->n_segments--;
		}
	}
	receive->segments = (const struct mlx5_wqe_data_seg *)wqe;
	receive->n = 0;
	return true;
}

void
sn_srq_check_limit(struct sn_srq *srq)
{
	uint16_t posted = (uint16_t)be32toh(atomic_load_explicit(srq->dbrec, memory_order_relaxed));

	if (!srq->limit || (uint16_t)(posted - srq->ci) >= srq->limit)
		return;
	srq->limit = 0; /* one event per arming */
	srq->n_async_events++;
	sn_async_push(srq->object.context, srq->user_handle, IBV_EVENT_SRQ_LIMIT_REACHED);
}

void
sn_receive_consume(struct sn_qp *qp)
{
	struct sn_srq *srq = qp->srq;

	if (!srq) {
		qp->rq_ci++;
		return;
	}
	const struct mlx5_wqe_srq_next_seg *link =
		(const void *)(srq->buf + ((uint64_t)srq->head << srq->wqe_shift));
	srq->head = (uint16_t)(be16toh(link->next_wqe_index) & (srq->n_wqe - 1));
	srq->ci++;
	sn_srq_check_limit(srq);
}

uint8_t
sn_receive_resolve(const struct sn_qp *qp, struct sn_receive *receive, uint64_t len)
{
	uint32_t pd = qp->srq ? qp->srq->pd : qp->pd;

	for (unsigned int i = 0; i < receive->n_segments && len && receive->n < SN_MAX_SGE; i++) {
		const struct mlx5_wqe_data_seg *seg = &receive->segments[i];
		uint32_t lkey = be32toh(seg->lkey), bytes = be32toh(seg->byte_count);
		uint64_t take = SN_MIN(bytes, len);
		void *here;

		if (!bytes || lkey == MLX5_INVALID_LKEY)
			break;
		here = sn_mr_local(lkey, be64toh(seg->addr), take, IBV_ACCESS_LOCAL_WRITE, pd);
		if (!here)
			return MLX5_CQE_SYNDROME_LOCAL_PROT_ERR;
		receive->to[receive->n++] = (struct iovec){.iov_base = here, .iov_len = take};
		len -= take;
	}
	return len ? MLX5_CQE_SYNDROME_LOCAL_LENGTH_ERR : 0;
}
