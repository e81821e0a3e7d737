/* SPDX-License-Identifier: BSD-3-Clause */
/* Set-up of send and completion queues: made by rdma-core, then taken over (mlx5dv_init_obj(3)). */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>
#include <rte_cpuflags.h>

#include "sq.h"

int
mlx5dp_cq_create(struct ibv_context *context, uint32_t n_cqes, struct kvr_cq **out)
{
	struct ibv_cq_init_attr_ex attr = {.cqe = n_cqes};
	struct mlx5dv_cq_init_attr dv_attr = {
		.comp_mask = MLX5DV_CQ_INIT_ATTR_MASK_CQE_SIZE,
		.cqe_size = sizeof(struct mlx5_cqe64),
	};
	struct mlx5dv_cq dv = {0};
	struct mlx5dv_obj obj = {.cq.out = &dv};
	struct mlx5dp_cq *cq = calloc(1, sizeof(*cq));
	struct ibv_cq_ex *cq_ex;
	int err = ENOMEM;

	if (cq == NULL)
		return -ENOMEM;
	cq_ex = mlx5dv_create_cq(context, &attr, &dv_attr);
	if (cq_ex == NULL)
		goto fail;
	cq->cq.cq = ibv_cq_ex_to_cq(cq_ex);
	obj.cq.in = cq->cq.cq;
	err = mlx5dv_init_obj(&obj, MLX5DV_OBJ_CQ);
	if (err != 0)
		goto fail;
	cq->n_slots = dv.cqe_cnt;
	cq->cqe_size_log2 = (uint32_t)__builtin_ctz(dv.cqe_size);
	/* A 128-byte CQE keeps what we read in its second half. */
	cq->cqes = (uint8_t *)dv.buf + (dv.cqe_size - sizeof(struct mlx5_cqe64));
	cq->dbrec = dv.dbrec;
	cq->queues = calloc(1, sizeof(*cq->queues));
	if (cq->queues == NULL) {
		err = ENOMEM;
		goto fail;
	}
	*out = &cq->cq;
	return 0;
fail:
	if (cq_ex == NULL)
		err = errno;
	else
		ibv_destroy_cq(ibv_cq_ex_to_cq(cq_ex));
	free(cq);
	return -err;
}

void
mlx5dp_cq_destroy(struct kvr_cq *base)
{
	struct mlx5dp_cq *cq = (struct mlx5dp_cq *)base;

	ibv_destroy_cq(cq->cq.cq);
	free(cq->queues);
	free(cq);
}

/*
 * An RC QP without scatter-to-CQE, so that READ data lands where it was asked for and a CQE never
 * holds any. libmlx5 sizes the ring for the largest WQE that verbs could post (192 bytes), while
 * every WQE of ours is one WQEBB: we ask for few work requests and count WQEBBs.
 */
static struct ibv_qp *
qp_create(struct ibv_context *context, struct kvr_uar *uar, struct ibv_cq *cq, uint32_t n_wrs)
{
	struct ibv_qp_init_attr_ex attr = {
		.send_cq = cq,
		.recv_cq = cq,
		.cap = {.max_send_wr = n_wrs, .max_send_sge = 1},
		.qp_type = IBV_QPT_RC,
		.comp_mask = IBV_QP_INIT_ATTR_PD,
		.pd = uar->pd,
	};
	struct mlx5dv_qp_init_attr dv_attr = {
		.comp_mask = MLX5DV_QP_INIT_ATTR_MASK_QP_CREATE_FLAGS,
		.create_flags = MLX5DV_QP_CREATE_DISABLE_SCATTER_TO_CQE,
	};

	return mlx5dv_create_qp(context, &attr, &dv_attr);
}

/* A QP whose ring holds at least n_slots WQEBBs. */
static int
qp_create_sized(struct ibv_context *context, struct kvr_uar *uar, struct ibv_cq *cq,
		uint32_t n_slots, struct ibv_qp **qp, struct mlx5dv_qp *dv)
{
	struct mlx5dv_obj obj = {.qp.out = dv};
	uint32_t n_wrs;
	int err;

	for (n_wrs = n_slots / 4 + 1;; n_wrs *= 2) {
		*qp = qp_create(context, uar, cq, n_wrs);
		if (*qp == NULL)
			return -errno;
		memset(dv, 0, sizeof(*dv));
		obj.qp.in = *qp;
		err = mlx5dv_init_obj(&obj, MLX5DV_OBJ_QP);
		if (err == 0 && dv->sq.wqe_cnt >= n_slots)
			return 0;
		ibv_destroy_qp(*qp);
		if (err != 0)
			return -err;
	}
}

/* The widest variant that this CPU has. */
static void (*post_choose(void))(struct kvr_sq *)
{
#ifdef RTE_ARCH_X86_64
	if (rte_cpu_get_flag_enabled(RTE_CPUFLAG_AVX512BW) > 0)
		return mlx5dp_post_avx512;
	if (rte_cpu_get_flag_enabled(RTE_CPUFLAG_AVX2) > 0)
		return mlx5dp_post_avx2;
#endif
	return mlx5dp_post;
}

void
mlx5dp_sq_take(struct mlx5dp_sq *sq, void *ring, uint32_t n_wqebbs, uint32_t qpn)
{
	static const uint8_t opcodes[KVR_SLICE_OPS] = {
		[KVR_SLICE_READ] = MLX5_OPCODE_RDMA_READ,
		[KVR_SLICE_WRITE] = MLX5_OPCODE_RDMA_WRITE,
		/* To the device, a READ like any other. */
		[KVR_SLICE_PROOF] = MLX5_OPCODE_RDMA_READ,
	};
	uint32_t op;

	sq->wqes = ring;
	sq->wqe_mask = n_wqebbs - 1;
	sq->run_mask = RTE_MIN(sq->sq.mask, (uint32_t)MLX5DP_RUN - 1);
	sq->qpn = qpn;
	for (op = 0; op < KVR_SLICE_OPS; op++) {
		sq->heads[op] = (struct mlx5_wqe_ctrl_seg){
			.opmod_idx_opcode = htobe32(opcodes[op]),
			.qpn_ds = htobe32(qpn << 8 | MLX5DP_WQE_DS),
		};
		sq->heads[op | KVR_SLICE_SIGNALED] = sq->heads[op];
		sq->heads[op | KVR_SLICE_SIGNALED].fm_ce_se = MLX5_WQE_CTRL_CQ_UPDATE;
	}
}

int
mlx5dp_sq_create(struct ibv_context *context, struct kvr_uar *uar, struct kvr_cq *cq,
		 uint32_t n_slots, struct kvr_sq **out)
{
	struct mlx5dp_sq *sq = aligned_alloc(KVR_CACHE_LINE, sizeof(*sq));
	struct mlx5dv_qp dv;
	int err;

	if (sq == NULL)
		return -ENOMEM;
	memset(sq, 0, sizeof(*sq));
	sq->sq.slices = aligned_alloc(KVR_CACHE_LINE, n_slots * sizeof(*sq->sq.slices));
	if (sq->sq.slices == NULL) {
		free(sq);
		return -ENOMEM;
	}
	err = qp_create_sized(context, uar, cq->cq, n_slots, &sq->sq.qp, &dv);
	if (err != 0) {
		free(sq->sq.slices);
		free(sq);
		return err;
	}
	sq->sq.post = post_choose();
	sq->sq.mask = n_slots - 1;
	mlx5dp_sq_take(sq, dv.sq.buf, dv.sq.wqe_cnt, sq->sq.qp->qp_num);
	sq->dbrec = &dv.dbrec[MLX5_SND_DBR];
	sq->uar = dv.bf.reg;
	sq->bf_bytes = dv.bf.size;
	*out = &sq->sq;
	return 0;
}

void
mlx5dp_sq_destroy(struct kvr_sq *base)
{
	struct mlx5dp_sq *sq = (struct mlx5dp_sq *)base;

	ibv_destroy_qp(sq->sq.qp);
	free(sq->sq.slices);
	free(sq);
}

/* Fills a table of `mask + 1` places from the old one and `sq`; -EEXIST when two want one place. */
static int
queues_place(struct mlx5dp_sq **table, uint32_t mask, const struct mlx5dp_cq *cq,
	     struct mlx5dp_sq *sq)
{
	uint32_t i;

	table[sq->qpn & mask] = sq;
	for (i = 0; i <= cq->queues_mask; i++) {
		struct mlx5dp_sq *old = cq->queues[i];

		if (old == NULL)
			continue;
		if (table[old->qpn & mask] != NULL)
			return -EEXIST;
		table[old->qpn & mask] = old;
	}
	return 0;
}

/* QPNs are given out in sequence, so a table little larger than their number has no two on one
 * place; it grows until that is so. */
int
mlx5dp_sq_attach(struct kvr_cq *base, struct kvr_sq *sq)
{
	struct mlx5dp_cq *cq = (struct mlx5dp_cq *)base;
	struct mlx5dp_sq **table;
	uint32_t mask;

	for (mask = cq->queues_mask; mask < 1 << 24; mask = mask * 2 + 1) {
		table = calloc((size_t)mask + 1, sizeof(*table));
		if (table == NULL)
			return -ENOMEM;
		if (queues_place(table, mask, cq, (struct mlx5dp_sq *)sq) == 0) {
			free(cq->queues);
			cq->queues = table;
			cq->queues_mask = mask;
			return 0;
		}
		free(table);
	}
	return -EEXIST;
}

void
mlx5dp_sq_detach(struct kvr_cq *base, struct kvr_sq *sq)
{
	struct mlx5dp_cq *cq = (struct mlx5dp_cq *)base;

	struct mlx5dp_sq **place = &cq->queues[((struct mlx5dp_sq *)sq)->qpn & cq->queues_mask];

	if (*place == (struct mlx5dp_sq *)sq)
		*place = NULL;
}
