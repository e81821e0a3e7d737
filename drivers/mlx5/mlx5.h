/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mlx5 driver's own structures. Queues are made through rdma-core and then taken over with
 * mlx5dv_init_obj(3), which also keeps libmlx5 from ever touching their CQ again.
 *
 * Layouts: NVIDIA Adapters Programmer's Reference Manual (PRM), "Work Queue Element" and
 * "Completion Queue Element"; names of fields as in <infiniband/mlx5dv.h>.
 */
#ifndef MLX5DP_H
#define MLX5DP_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <infiniband/mlx5dv.h>

#include "driver.h"

#define MLX5DP_WQEBB 64 /* bytes of a WQE basic block; every WQE of ours is one */

/*
 * One RDMA WRITE or READ of one contiguous piece:
 *
 *      0 +--------------------------------+
 *        | opcode, WQE index              |  control segment
 *      4 | QPN, size in 16-byte units (3) |
 *      8 | signature, CE flag             |
 *     12 | immediate (unused)             |
 *     16 +--------------------------------+
 *        | remote address, rkey, 0        |  remote address segment
 *     32 +--------------------------------+
 *        | bytes, lkey, local address     |  data segment
 *     48 +--------------------------------+
 *        | not read by the device         |
 *     64 +--------------------------------+
 */
struct mlx5dp_wqe {
	struct mlx5_wqe_ctrl_seg ctrl;
	struct mlx5_wqe_raddr_seg raddr;
	struct mlx5_wqe_data_seg data;
	uint8_t unused[16];
};
static_assert(sizeof(struct mlx5dp_wqe) == MLX5DP_WQEBB, "one WQE basic block");
static_assert(offsetof(struct mlx5dp_wqe, raddr) == 16, "PRM: remote address segment");
static_assert(offsetof(struct mlx5dp_wqe, data) == 32, "PRM: data segment");
static_assert(offsetof(struct mlx5_wqe_ctrl_seg, fm_ce_se) == 11, "PRM: control segment");
#define MLX5DP_WQE_DS 3 /* 16-byte units that the device reads */

static_assert(sizeof(struct mlx5_cqe64) == 64, "PRM: CQE");
static_assert(offsetof(struct mlx5_cqe64, wqe_counter) == 60, "PRM: CQE");
static_assert(offsetof(struct mlx5_cqe64, op_own) == 63, "PRM: CQE");
static_assert(offsetof(struct mlx5_err_cqe, vendor_err_synd) == 54, "PRM: error CQE");
static_assert(offsetof(struct mlx5_err_cqe, syndrome) == 55, "PRM: error CQE");

struct mlx5dp_sq {
	struct kvr_sq sq; /* first: drivers get this pointer */
	struct mlx5dp_wqe *wqes;
	uint32_t wqe_mask; /* WQEBBs of the ring - 1; the ring may be longer than the slices */
	uint32_t run_mask; /* a run of slots ends where & run_mask is 0; see sq.h */
	uint32_t qpn;
	__be32 *dbrec;	    /* send doorbell record: the device reads it */
	uint8_t *uar;	    /* doorbell register: the first of two BlueFlame buffers */
	uint32_t bf_bytes;  /* of each; 0: the page is not for BlueFlame */
	uint32_t bf_offset; /* of the buffer whose turn it is */
	/* The control segment of each kind of slice, but for the WQE's index. */
	struct mlx5_wqe_ctrl_seg heads[KVR_SLICE_KINDS] __attribute__((aligned(KVR_CACHE_LINE)));
};
static_assert(sizeof(struct mlx5_wqe_ctrl_seg) == 16, "PRM: control segment");

struct mlx5dp_cq {
	struct kvr_cq cq; /* first */
	uint8_t *cqes;	  /* the 64-byte CQE of slot 0 */
	uint32_t ci;	  /* free-running */
	uint32_t n_slots; /* a power of two */
	uint32_t cqe_size_log2;
	__be32 *dbrec;
	/* Queues by QPN: a table large enough that no two of them share a place. */
	struct mlx5dp_sq **queues;
	uint32_t queues_mask;
};

/* The queue a CQE speaks of; NULL: one that has been detached. */
static inline struct mlx5dp_sq *
mlx5dp_cq_queue(const struct mlx5dp_cq *cq, uint32_t qpn)
{
	struct mlx5dp_sq *sq = cq->queues[qpn & cq->queues_mask];

	return sq != NULL && sq->qpn == qpn ? sq : NULL;
}

/* queue.c, set-up path */
int mlx5dp_cq_create(struct ibv_context *context, uint32_t n_cqes, struct kvr_cq **cq);
void mlx5dp_cq_destroy(struct kvr_cq *cq);
int mlx5dp_sq_create(struct ibv_context *context, struct kvr_uar *uar, struct kvr_cq *cq,
		     uint32_t n_slots, struct kvr_sq **sq);
void mlx5dp_sq_destroy(struct kvr_sq *sq);
int mlx5dp_sq_attach(struct kvr_cq *cq, struct kvr_sq *sq);
void mlx5dp_sq_detach(struct kvr_cq *cq, struct kvr_sq *sq);
/* Takes a ring of 1 << n WQEBBs, as many as there are slices or more, for QP number qpn. */
void mlx5dp_sq_take(struct mlx5dp_sq *sq, void *ring, uint32_t n_wqebbs, uint32_t qpn);

/* sq.c, its variants, and cq.c, data path */
void mlx5dp_post(struct kvr_sq *sq);
void mlx5dp_post_avx2(struct kvr_sq *sq);
void mlx5dp_post_avx512(struct kvr_sq *sq);
uint32_t mlx5dp_reap(struct kvr_cq *cq, struct kvr_completion *completions, uint32_t n);

#endif
