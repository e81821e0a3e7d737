/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Step 5 of 6: reap.
 * Thread: the poller's lcore.
 * In: CQEs that the device wrote into the ring of one poller on one device.
 * Out: a struct kvr_completion for each: which queue, up to which slice, well or with a syndrome.
 * Next: lib/datapath/complete.c, where slices and batches end.
 */

#include <endian.h>
#include <stdbool.h>

#include <rte_atomic.h>

#include "mlx5.h"

/* The slice of a 16-bit WQE counter: the first at or after ci with these low bits. Exact, since a
 * queue never holds 2^16 slices. */
static inline uint32_t
slice_idx(const struct kvr_sq *sq, uint16_t wqe_counter)
{
	return sq->ci + (uint16_t)(wqe_counter - (uint16_t)sq->ci);
}

/* Is it the request that is wrong (a key, an address, a length), and not the path or the peer? */
static bool
is_at_fault(uint8_t syndrome)
{
	return syndrome != MLX5_CQE_SYNDROME_WR_FLUSH_ERR &&
	       syndrome != MLX5_CQE_SYNDROME_TRANSPORT_RETRY_EXC_ERR &&
	       syndrome != MLX5_CQE_SYNDROME_RNR_RETRY_EXC_ERR &&
	       syndrome != MLX5_CQE_SYNDROME_REMOTE_ABORTED_ERR;
}

/* 0: the CQE speaks of a queue that is no longer here. */
static inline uint32_t
cqe_read(struct mlx5dp_cq *cq, const struct mlx5_cqe64 *cqe, struct kvr_completion *completion)
{
	struct mlx5dp_sq *sq = mlx5dp_cq_queue(cq, be32toh(cqe->sop_drop_qpn) & 0xffffff);

	if (sq == NULL)
		return 0;
	*completion = (struct kvr_completion){
		.sq = &sq->sq,
		.idx = slice_idx(&sq->sq, be16toh(cqe->wqe_counter)),
	};
	if (cqe->op_own >> 4 != MLX5_CQE_REQ) {
		const struct mlx5_err_cqe *bad = (const void *)cqe;

		completion->error = 1;
		completion->at_fault = is_at_fault(bad->syndrome);
		completion->syndrome = bad->syndrome;
		completion->vendor_syndrome = bad->vendor_err_synd;
	}
	return 1;
}

uint32_t
mlx5dp_reap(struct kvr_cq *base, struct kvr_completion *completions, uint32_t n)
{
	struct mlx5dp_cq *cq = (struct mlx5dp_cq *)base;
	uint32_t begin = cq->ci;
	uint32_t done = 0;

	while (done < n) {
		uint32_t slot = cq->ci & (cq->n_slots - 1);
		const struct mlx5_cqe64 *cqe =
			(const void *)(cq->cqes + ((size_t)slot << cq->cqe_size_log2));
		uint8_t op_own = *(const volatile uint8_t *)&cqe->op_own;

		/* Ours when its owner bit is the lap's parity; invalid when never written. */
		if ((op_own & MLX5_CQE_OWNER_MASK) != !!(cq->ci & cq->n_slots) ||
		    op_own >> 4 == MLX5_CQE_INVALID)
			break;
		/* B4: the owner bit before the rest of the CQE, and before the data it announces.
		 * Partner: the device writes op_own last. */
		rte_io_rmb();
		done += cqe_read(cq, cqe, &completions[done]);
		cq->ci++;
	}
	if (cq->ci != begin) {
		/* B5: CQEs have been read before the device may reuse their slots (a read barrier
		 * orders loads before later stores too). Partner: the device's read of the record.
		 */
		rte_io_rmb();
		*(volatile __be32 *)cq->dbrec = htobe32(cq->ci & 0xffffff);
	}
	return done;
}
