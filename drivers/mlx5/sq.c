/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Step 4 of 6: post.
 * Thread: the poller's lcore.
 * In: slices that spray filled, [posted, pi) of one send queue.
 * Out: one WQE for each in the device's ring, and one doorbell for all.
 * Next: drivers/mlx5/cq.c, where their CQEs come back.
 *
 * The loop is in sq.h. This is the portable variant, and the oracle for tests of the others.
 */

#include <endian.h>

#include "sq.h"

static inline void
wqe_write(struct mlx5dp_wqe *wqe, const struct kvr_slice *slice, uint32_t idx, __be32 qpn_ds,
	  uint8_t signal)
{
	wqe->ctrl = (struct mlx5_wqe_ctrl_seg){
		.opmod_idx_opcode = mlx5dp_opmod_idx_opcode(slice, idx),
		.qpn_ds = qpn_ds,
		.fm_ce_se = signal,
	};
	wqe->raddr = (struct mlx5_wqe_raddr_seg){
		.raddr = htobe64(slice->remote_addr),
		.rkey = htobe32(slice->rkey),
	};
	wqe->data = (struct mlx5_wqe_data_seg){
		.byte_count = htobe32(slice->length_bytes),
		.lkey = htobe32(slice->lkey),
		.addr = htobe64(slice->local_addr),
	};
}

void
mlx5dp_post(struct kvr_sq *sq)
{
	mlx5dp_post_with(sq, wqe_write);
}
