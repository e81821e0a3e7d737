/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The body of mlx5dp_post() in all its variants, which differ in how a WQE's bytes are written.
 */
#ifndef MLX5DP_SQ_H
#define MLX5DP_SQ_H

#include "doorbell.h"
#include "mlx5.h"

static_assert((KVR_SIGNAL_EVERY & (KVR_SIGNAL_EVERY - 1)) == 0, "used as a mask");

/* A proof is a READ like any other to the device. */
static const uint8_t mlx5dp_opcodes[] = {
	[KVR_SLICE_READ] = MLX5_OPCODE_RDMA_READ,
	[KVR_SLICE_WRITE] = MLX5_OPCODE_RDMA_WRITE,
	[KVR_SLICE_PROOF] = MLX5_OPCODE_RDMA_READ,
};

/* First word of a control segment: WQE index, opcode. */
static inline __be32
mlx5dp_opmod_idx_opcode(const struct kvr_slice *slice, uint32_t idx)
{
	return htobe32((idx & 0xffff) << 8 | mlx5dp_opcodes[slice->op]);
}

/* One signaled WQE completes all before it: every KVR_SIGNAL_EVERYth, and the last of a burst, so
 * that no slice waits for a later burst to be reported. */
static inline uint8_t
mlx5dp_signal_of(uint32_t idx, uint32_t pi)
{
	return (idx & (KVR_SIGNAL_EVERY - 1)) == KVR_SIGNAL_EVERY - 1 || idx + 1 == pi
		       ? MLX5_WQE_CTRL_CQ_UPDATE
		       : 0;
}

/* Writes the 48 bytes of one WQE that the device reads. */
typedef void (*mlx5dp_wqe_writer)(struct mlx5dp_wqe *wqe, const struct kvr_slice *slice,
				  uint32_t idx, __be32 qpn_ds, uint8_t signal);

static inline __attribute__((always_inline)) void
mlx5dp_post_with(struct kvr_sq *base, mlx5dp_wqe_writer write)
{
	struct mlx5dp_sq *sq = (struct mlx5dp_sq *)base;
	const __be32 qpn_ds = sq->qpn_ds;
	uint32_t at = base->posted;
	uint32_t pi = base->pi;
	struct mlx5dp_wqe *wqe;

	do {
		wqe = &sq->wqes[at & sq->wqe_mask];
		write(wqe, &base->slices[at & base->mask], at, qpn_ds, mlx5dp_signal_of(at, pi));
	} while (++at != pi);
	base->posted = pi;
	mlx5dp_ring(sq, wqe, pi);
}

#endif
