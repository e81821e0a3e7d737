/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Telling the device of new WQEs: three stores, and the barriers between them. PRM, "Posting a Work
 * Request"; each barrier has its paragraph in docs/ordering.md.
 */
#ifndef MLX5DP_DOORBELL_H
#define MLX5DP_DOORBELL_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include <rte_atomic.h>
#include <rte_io.h>

#include "mlx5.h"

/* BlueFlame: the device is given the WQE itself, and need not fetch it. Buffers take turns, first
 * word first. PRM, "BlueFlame". */
static inline void
mlx5dp_blueflame(struct mlx5dp_sq *sq, const struct mlx5dp_wqe *wqe)
{
	uint8_t *buffer = sq->uar + sq->bf_offset;
	uint64_t words[MLX5DP_WQEBB / 8];
	uint32_t i;

	memcpy(words, wqe, sizeof(words));
	for (i = 0; i < MLX5DP_WQEBB / 8; i++)
		rte_write64_relaxed(words[i], buffer + i * 8);
	sq->bf_offset ^= sq->bf_bytes;
}

/* Rings for the n WQEs before `pi`; `last` is the newest of them. */
static inline void
mlx5dp_ring(struct mlx5dp_sq *sq, const struct mlx5dp_wqe *last, uint32_t pi, uint32_t n)
{
	uint64_t head;

	/* B1: WQE bytes before the doorbell record, since the device may fetch WQEs as soon as it
	 * reads the record. Partner: the device's own read of the record. */
	rte_io_wmb();
	*(volatile __be32 *)sq->dbrec = htobe32(pi & 0xffff);
	/* B2: the record, in memory, before the register, in write-combining MMIO, which x86 does
	 * not keep in order with it. Partner: the device's read of the record after the write
	 * lands. */
	rte_wmb();
	if (n == 1 && sq->bf_bytes != 0) {
		mlx5dp_blueflame(sq, last);
	} else {
		memcpy(&head, &last->ctrl, sizeof(head));
		rte_write64_relaxed(head, sq->uar);
	}
	/* B3: out of the write-combining buffer now; and not merged with the next ring of another
	 * queue that shares this register. */
	rte_wmb();
}

#endif
