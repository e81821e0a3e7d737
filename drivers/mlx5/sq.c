/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Step 4 of 6: post.
 * Thread: the poller's lcore.
 * In: slices that spray filled, [posted, pi) of one send queue.
 * Out: one WQE for each in the device's ring, and one doorbell for all.
 * Next: drivers/mlx5/cq.c, where their CQEs come back.
 */

#include <endian.h>

#include "doorbell.h"
#include "mlx5.h"

static_assert((KVR_SIGNAL_EVERY & (KVR_SIGNAL_EVERY - 1)) == 0, "used as a mask");

/* A proof is a READ like any other to the device. */
static const uint8_t opcodes[] = {
	[KVR_SLICE_READ] = MLX5_OPCODE_RDMA_READ,
	[KVR_SLICE_WRITE] = MLX5_OPCODE_RDMA_WRITE,
	[KVR_SLICE_PROOF] = MLX5_OPCODE_RDMA_READ,
};

/* One signaled WQE completes all before it: every KVR_SIGNAL_EVERYth, and the last of a burst, so
 * that no slice waits for a later burst to be reported. */
static inline uint8_t
signal_of(uint32_t idx, uint32_t pi)
{
	return (idx & (KVR_SIGNAL_EVERY - 1)) == KVR_SIGNAL_EVERY - 1 || idx + 1 == pi
		       ? MLX5_WQE_CTRL_CQ_UPDATE
		       : 0;
}

static inline void
wqe_write(struct mlx5dp_wqe *wqe, const struct kvr_slice *slice, uint32_t idx, __be32 qpn_ds,
	  uint8_t signal)
{
	*wqe = (struct mlx5dp_wqe){
		.ctrl = {.opmod_idx_opcode = htobe32((idx & 0xffff) << 8 | opcodes[slice->op]),
			 .qpn_ds = qpn_ds,
			 .fm_ce_se = signal},
		.raddr = {.raddr = htobe64(slice->remote_addr), .rkey = htobe32(slice->rkey)},
		.data = {.byte_count = htobe32(slice->length_bytes),
			 .lkey = htobe32(slice->lkey),
			 .addr = htobe64(slice->local_addr)},
	};
}

void
mlx5dp_post(struct kvr_sq *base)
{
	struct mlx5dp_sq *sq = (struct mlx5dp_sq *)base;
	uint32_t at = base->posted;
	uint32_t pi = base->pi;
	struct mlx5dp_wqe *wqe;

	do {
		wqe = &sq->wqes[at & sq->wqe_mask];
		wqe_write(wqe, &base->slices[at & base->mask], at, sq->qpn_ds, signal_of(at, pi));
	} while (++at != pi);
	base->posted = pi;
	mlx5dp_ring(sq, wqe, pi);
}
