/* SPDX-License-Identifier: BSD-3-Clause */
/* Receive queues: the WQE that a message lands in, its own or a shared one. */
#ifndef SN_RECEIVE_H
#define SN_RECEIVE_H

#include <infiniband/mlx5dv.h>

#include "qp.h"

/* A receive WQE being used. */
struct sn_receive {
	uint16_t index;
	unsigned int n_segments;
	const struct mlx5_wqe_data_seg *segments;
	unsigned int n; /* of to[] */
	struct iovec to[SN_MAX_SGE];
};

/* The next WQE, left where it is. False: none is posted. */
bool sn_receive_peek(struct sn_qp *qp, struct sn_receive *receive);

/* Fill in where @len bytes go. Returns 0 or the syndrome of the receive's completion. */
uint8_t sn_receive_resolve(const struct sn_qp *qp, struct sn_receive *receive, uint64_t len);

/* Warn once that fewer WQEs are left than the program has set for this. */
void sn_srq_check_limit(struct sn_srq *srq);

/* It is used up; a shared queue may fall below its limit. */
void sn_receive_consume(struct sn_qp *qp);

#endif
