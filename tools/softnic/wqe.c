/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A send WQE is a run of 16-byte segments in a ring of 64-byte basic blocks; it may wrap.
 *
 *	ctrl | [remote address | [atomic]] | data or inline ...
 *	ctrl | address vector (3 segments) | data or inline ...		of a UD QP
 */
#include <endian.h>
#include <infiniband/mlx5dv.h>
#include <infiniband/verbs.h>

#include "mr.h"
#include "qp.h"
#include "trace.h"

#define SEGMENTS_PER_BLOCK 4
#define PREFETCH_BLOCKS	   24
#define FENCE_MASK	   0xe0 /* of fm_ce_se; the values below FENCE_READS order nothing for us */
#define FENCE_READS	   0x40

struct cursor {
	const struct sn_qp *qp;
	uint32_t at;  /* segment; free-running */
	uint32_t end; /* first segment after the WQE */
};

static void *
segment(const struct sn_qp *qp, uint32_t at)
{
	return qp->sq + (uint64_t)(at & (qp->sq_blocks * SEGMENTS_PER_BLOCK - 1)) * 16;
}

static bool
has_remote_address(uint8_t opcode)
{
	return opcode == MLX5_OPCODE_RDMA_WRITE || opcode == MLX5_OPCODE_RDMA_WRITE_IMM ||
	       opcode == MLX5_OPCODE_RDMA_READ;
}

static bool
is_atomic(uint8_t opcode)
{
	return opcode == MLX5_OPCODE_ATOMIC_CS || opcode == MLX5_OPCODE_ATOMIC_FA;
}

static bool
is_supported(const struct sn_qp *qp, uint8_t opcode)
{
	switch (opcode) {
	case MLX5_OPCODE_NOP:
	case MLX5_OPCODE_SEND:
	case MLX5_OPCODE_SEND_IMM:
		return true;
	case MLX5_OPCODE_RDMA_WRITE:
	case MLX5_OPCODE_RDMA_WRITE_IMM:
		return qp->type != IB_UVERBS_QPT_UD;
	case MLX5_OPCODE_RDMA_READ:
	case MLX5_OPCODE_ATOMIC_CS:
	case MLX5_OPCODE_ATOMIC_FA:
		return qp->type == IB_UVERBS_QPT_RC;
	case MLX5_OPCODE_UMR:
		return sn_nic.wire->has_windows && qp->type != IB_UVERBS_QPT_UD;
	case MLX5_OPCODE_SEND_INVAL:
		return sn_nic.wire->has_windows && qp->type == IB_UVERBS_QPT_RC;
	default:
		return false;
	}
}

bool
sn_is_local(uint8_t opcode)
{
	return opcode == MLX5_OPCODE_NOP || opcode == MLX5_OPCODE_UMR;
}

static uint8_t
add_piece(struct sn_request *r, void *addr, uint64_t len, uint32_t lkey)
{
	if (r->n_sge == SN_MAX_SGE)
		return MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
	r->sge[r->n_sge] = (struct iovec){.iov_base = addr, .iov_len = len};
	r->lkey[r->n_sge++] = lkey;
	r->len += len;
	return 0;
}

/* Inline data stays in the ring: its block is not reused before we complete it. */
static uint8_t
decode_inline(struct cursor *c, struct sn_request *r, uint32_t bytes)
{
	uint8_t *from = (uint8_t *)segment(c->qp, c->at) + sizeof(struct mlx5_wqe_inl_data_seg);
	uint8_t *ring_end = c->qp->sq + (uint64_t)c->qp->sq_blocks * MLX5_SEND_WQE_BB;
	uint32_t n_segments = (bytes + (uint32_t)sizeof(struct mlx5_wqe_inl_data_seg) + 15) / 16;
	uint64_t first = SN_MIN(bytes, (uint64_t)(ring_end - from));
	uint8_t err;

	if (n_segments > c->end - c->at)
		return MLX5_CQE_SYNDROME_LOCAL_LENGTH_ERR;
	c->at += n_segments;
	r->is_inline = true;
	err = first ? add_piece(r, from, first, 0) : 0;
	if (!err && bytes > first)
		err = add_piece(r, c->qp->sq, bytes - first, 0);
	return err;
}

static uint8_t
decode_data(struct cursor *c, struct sn_request *r, uint32_t need_access)
{
	while (c->at != c->end) {
		const struct mlx5_wqe_data_seg *seg = segment(c->qp, c->at);
		uint32_t bytes = be32toh(seg->byte_count), lkey = be32toh(seg->lkey);
		uint64_t addr = be64toh(seg->addr);
		uint8_t err;
		void *here;

		if (bytes & MLX5_INLINE_SEG) {
			err = decode_inline(c, r, bytes & ~MLX5_INLINE_SEG);
			if (err)
				return err;
			continue;
		}
		c->at++;
		if (bytes == 0)
			continue;
		here = sn_mr_local(lkey, addr, bytes, need_access, c->qp->pd);
		if (!here) {
			SN_LOG("qp %#x wqe %u: lkey %#x does not give %#llx+%u", c->qp->qpn,
			       r->index, lkey, (unsigned long long)addr, bytes);
			return MLX5_CQE_SYNDROME_LOCAL_PROT_ERR;
		}
		err = add_piece(r, here, bytes, lkey);
		if (err)
			return err;
	}
	return r->len > SN_MAX_MSG_BYTES ? MLX5_CQE_SYNDROME_LOCAL_LENGTH_ERR : 0;
}

/* The address vector lies in the first basic block, whole. */
static uint8_t
decode_address(struct cursor *c, struct sn_request *r)
{
	const struct mlx5_wqe_av *av = segment(c->qp, c->at);
	uint32_t gid_fl = be32toh(av->grh_gid_fl), qkey = be32toh(av->key.qkey.qkey);

	c->at += sizeof(*av) / 16;
	/* Ethernet needs a GRH, and a GID that this port has. */
	if ((int32_t)(c->end - c->at) < 0 || !(av->dqp_dct & htobe32(MLX5_EXTENDED_UD_AV)) ||
	    (gid_fl >> 20 & 0xff) >= SN_N_GIDS)
		return MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
	memcpy(r->to.dgid, av->rgid, sizeof(r->to.dgid));
	memcpy(r->to.dmac, av->rmac, sizeof(r->to.dmac));
	r->to.sgid_index = (uint8_t)(gid_fl >> 20);
	r->to.traffic_class = av->tclass;
	r->to.hop_limit = av->hop_limit;
	r->to.flow_label = gid_fl & 0xfffff;
	r->to.qpn = be32toh(av->dqp_dct) & 0xffffff;
	/* A controlled Q_Key is the QP's own, whatever the request says (IBA 10.2.5). */
	r->to.qkey = qkey & 0x80000000 ? c->qp->attr.qkey : qkey;
	return 0;
}

static uint32_t
access_of(uint8_t flags)
{
	return (flags & MLX5_WQE_MKEY_CONTEXT_ACCESS_FLAGS_ATOMIC ? IBV_ACCESS_REMOTE_ATOMIC : 0) |
	       (flags & MLX5_WQE_MKEY_CONTEXT_ACCESS_FLAGS_REMOTE_WRITE ? IBV_ACCESS_REMOTE_WRITE
									: 0) |
	       (flags & MLX5_WQE_MKEY_CONTEXT_ACCESS_FLAGS_REMOTE_READ ? IBV_ACCESS_REMOTE_READ
								       : 0);
}

/* As libmlx5 binds and invalidates windows; other uses of UMR are not served. Each of the parts
 * begins in a basic block of its own, but for the control segments. */
static uint8_t
decode_window(struct cursor *c, struct sn_request *r)
{
	const struct mlx5_wqe_umr_ctrl_seg *ctrl = segment(c->qp, c->at);
	const struct mlx5_wqe_mkey_context_seg *key = segment(c->qp, c->at + 3);
	const struct mlx5_wqe_umr_klm_seg *klm = segment(c->qp, c->at + 7);
	unsigned int n = c->end - c->at;

	if (n < 7 || !(ctrl->flags & MLX5_WQE_UMR_CTRL_FLAG_INLINE))
		return MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
	r->bind = (struct sn_window_bind){
		.variant = (uint8_t)be32toh(key->qpn_mkey),
		.is_of_qp = ctrl->flags &
			    (MLX5_WQE_UMR_CTRL_FLAG_CHECK_FREE | MLX5_WQE_UMR_CTRL_FLAG_CHECK_QPN),
	};
	if (key->free & MLX5_WQE_MKEY_CONTEXT_FREE)
		return 0;
	if (n < 8 || !key->len || key->len != htobe64(be32toh(klm->byte_count)))
		return MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
	r->bind.access = access_of(key->access_flags);
	r->bind.iova = be64toh(key->start_addr);
	r->bind.len = be64toh(key->len);
	r->bind.addr = be64toh(klm->address);
	r->bind.lkey = be32toh(klm->mkey);
	return 0;
}

static uint8_t
decode_segments(struct cursor *c, struct sn_request *r)
{
	uint32_t need_access = 0;
	uint8_t err;

	if (r->opcode == MLX5_OPCODE_UMR)
		return decode_window(c, r);
	if (c->qp->type == IB_UVERBS_QPT_UD) {
		err = decode_address(c, r);
		if (!err)
			err = decode_data(c, r, 0);
		return !err && r->len > c->qp->mtu_bytes ? MLX5_CQE_SYNDROME_LOCAL_LENGTH_ERR : err;
	}
	if (has_remote_address(r->opcode) || is_atomic(r->opcode)) {
		const struct mlx5_wqe_raddr_seg *seg = segment(c->qp, c->at++);

		r->raddr = be64toh(seg->raddr);
		r->rkey = be32toh(seg->rkey);
	}
	if (is_atomic(r->opcode)) {
		const struct mlx5_wqe_atomic_seg *seg = segment(c->qp, c->at++);

		r->operand[0] = be64toh(seg->swap_add);
		r->operand[1] = be64toh(seg->compare);
	}
	if ((int32_t)(c->end - c->at) < 0)
		return MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
	if (r->opcode == MLX5_OPCODE_RDMA_READ || is_atomic(r->opcode))
		need_access = IBV_ACCESS_LOCAL_WRITE;
	return decode_data(c, r, need_access);
}

static void
decode(const struct sn_qp *qp, uint16_t index, uint16_t n_announced, struct sn_request *r)
{
	uint32_t first = (uint32_t)index * SEGMENTS_PER_BLOCK;
	const struct mlx5_wqe_ctrl_seg *ctrl = segment(qp, first);
	uint32_t word = be32toh(ctrl->opmod_idx_opcode), qpn_ds = be32toh(ctrl->qpn_ds);
	uint32_t n_segments = qpn_ds & 0x3f;
	struct cursor cursor = {.qp = qp, .at = first + 1, .end = first + n_segments};

	/* The line was last written by another core, and is on its way while the WQEs before it are
	 * executed. */
	__builtin_prefetch(segment(qp, first + PREFETCH_BLOCKS * SEGMENTS_PER_BLOCK));
	r->opcode = (uint8_t)word;
	r->syndrome = 0;
	r->index = index;
	r->n_blocks = (uint16_t)((n_segments + SEGMENTS_PER_BLOCK - 1) / SEGMENTS_PER_BLOCK);
	r->signaled = qp->signal_all || (ctrl->fm_ce_se & MLX5_WQE_CTRL_CQ_UPDATE);
	r->solicited = ctrl->fm_ce_se & MLX5_WQE_CTRL_SOLICITED;
	r->fenced = (ctrl->fm_ce_se & FENCE_MASK) >= FENCE_READS;
	r->imm_be = ctrl->imm;
	r->is_inline = false;
	r->len = 0;
	r->n_sge = 0;
	r->rkey = 0;
	r->raddr = 0;
	r->here_bytes = 0;
	r->done_bytes = 0;
	/* The NIC checks what it reads: a wrong index or QPN means the program's ring is broken. */
	if ((uint16_t)(word >> 8) != index || qpn_ds >> 8 != qp->qpn || n_segments == 0 ||
	    r->n_blocks > n_announced || !is_supported(qp, r->opcode)) {
		SN_LOG("qp %#x wqe %u: bad control segment: opcode %#x index %u qpn %#x segments "
		       "%u "
		       "of %u blocks announced",
		       qp->qpn, index, r->opcode, (uint16_t)(word >> 8), qpn_ds >> 8, n_segments,
		       n_announced);
		r->n_blocks = r->n_blocks ? SN_MIN(r->n_blocks, n_announced) : 1;
		r->syndrome = MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
		return;
	}
	if (r->opcode != MLX5_OPCODE_NOP)
		r->syndrome = decode_segments(&cursor, r);
	r->here_bytes = r->len;
	r->n_psn = sn_is_local(r->opcode) ? 0 : sn_psn_count(r->len, qp->mtu_bytes);
}

void
sn_wqe_decode(struct sn_qp *qp, uint16_t index, uint16_t n_announced, struct sn_request *r)
{
	/* Else it is a retry, or the next piece of a long one. */
	bool is_new = (int16_t)(index - qp->unseen_index) >= 0;

	if (sn_strict.on && is_new)
		sn_strict_wqe(qp, index, n_announced);
	decode(qp, index, n_announced, r);
	if (!is_new)
		return;
	qp->unseen_index = (uint16_t)(index + r->n_blocks);
	if (__builtin_expect(sn_trace_on, 0))
		sn_trace_wqe(qp, r);
}

uint16_t
sn_wqe_size(const struct sn_qp *qp, uint16_t index, uint8_t *opcode)
{
	const struct mlx5_wqe_ctrl_seg *ctrl = segment(qp, (uint32_t)index * SEGMENTS_PER_BLOCK);
	uint32_t n_segments = be32toh(ctrl->qpn_ds) & 0x3f;

	*opcode = (uint8_t)be32toh(ctrl->opmod_idx_opcode);
	return n_segments ? (uint16_t)((n_segments + SEGMENTS_PER_BLOCK - 1) / SEGMENTS_PER_BLOCK)
			  : 1;
}
