/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The body of mlx5dp_post() in all its variants, which differ in how they write a run of WQEs:
 * slots that follow one another without a wrap, neither of the rings nor of the low byte of the
 * index that each WQE carries.
 */
#ifndef MLX5DP_SQ_H
#define MLX5DP_SQ_H

#include <rte_common.h>

#include "doorbell.h"
#include "mlx5.h"

#define MLX5DP_RUN 256

/* Of a control segment, the word with the index alone. Within a run, the next one's is greater by
 * MLX5DP_NEXT_INDEX, since the index has its low byte in bits 16 to 23 of a little-endian word. */
static inline __be32
mlx5dp_index(uint32_t idx)
{
	return htobe32((idx & 0xffff) << 8);
}
#define MLX5DP_NEXT_INDEX (1 << 16)

/* Writes what the device reads of n WQEs, from slice and index `idx` on. */
typedef void (*mlx5dp_run_writer)(struct mlx5dp_wqe *wqe, const struct kvr_slice *slice, uint32_t n,
				  uint32_t idx, const struct mlx5_wqe_ctrl_seg *heads);

static inline __attribute__((always_inline)) void
mlx5dp_post_with(struct kvr_sq *base, mlx5dp_run_writer write)
{
	struct mlx5dp_sq *sq = (struct mlx5dp_sq *)base;
	uint32_t begin = base->posted, at = begin;
	uint32_t pi = base->pi;

	do {
		uint32_t n = RTE_MIN(pi - at, sq->run_mask + 1 - (at & sq->run_mask));

		write(&sq->wqes[at & sq->wqe_mask], &base->slices[at & base->mask], n, at,
		      sq->heads);
		at += n;
	} while (at != pi);
	base->posted = pi;
	mlx5dp_ring(sq, &sq->wqes[(pi - 1) & sq->wqe_mask], pi, pi - begin);
}

#endif
