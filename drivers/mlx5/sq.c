/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Step 4 of 6: post.
 * Thread: the poller's lcore.
 * In: slices that spray filled, [posted, pi) of one send queue.
 * Out: one WQE for each in the device's ring, and one doorbell for all.
 * Next: drivers/mlx5/cq.c, where their CQEs come back.
 *
 * The loop over runs is in sq.h. This is the portable variant, and the oracle for tests of the
 * others.
 */

#include <endian.h>

#include "sq.h"

static inline void
run_write(struct mlx5dp_wqe *wqe, const struct kvr_slice *slice, uint32_t n, uint32_t idx,
	  const struct mlx5_wqe_ctrl_seg *heads)
{
	const struct kvr_slice *end = slice + n;

	for (; slice != end; slice++, wqe++, idx++) {
		wqe->ctrl = heads[slice->kind];
		wqe->ctrl.opmod_idx_opcode |= mlx5dp_index(idx);
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
}

void
mlx5dp_post(struct kvr_sq *sq)
{
	mlx5dp_post_with(sq, run_write);
}
