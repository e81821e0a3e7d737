/* SPDX-License-Identifier: BSD-3-Clause */
#include <endian.h>
#include <infiniband/mlx5dv.h>
#include <stdio.h>
#include <stdlib.h>

#include "qp.h"
#include "strict.h"
#include "trace.h"

#define REPORTS_PER_QP	   8
#define SEGMENTS_PER_BLOCK 4
#define SEGMENT_BYTES	   16u
#define HEX_MAX_BYTES	   64u

struct sn_strict sn_strict;

void
sn_strict_init(void)
{
	enum sn_strict_mode mode = sn_settings_own()->strict;

	sn_strict.on = mode != SN_STRICT_OFF;
	sn_strict.is_fatal = mode == SN_STRICT_ABORT;
}

/* ---- saying it ---- */

enum rule {
	RECORD,
	REGISTER,
	BLUEFLAME,
	PAGE,
	STATE,
	ROOM,
	INDEX,
	QPN,
	SIZE,
	RESERVED,
	FLAGS,
	SIGNATURE,
};

static const struct {
	const char *name;
	const char *broken; /* and what to do about it */
} rules[] = {
	[RECORD] = {"record-before-register",
		    "the doorbell record does not announce the WQE that the register names: write "
		    "the record, then a barrier, then the register"},
	[REGISTER] = {"register-is-wqe",
		      "the register was not given the first 8 bytes of the WQE at that index"},
	[BLUEFLAME] = {"blueflame-is-wqe",
		       "what was copied to the BlueFlame buffer is not the WQE in the ring"},
	[PAGE] = {"register-of-qp", "no QP with that number rings on this doorbell page"},
	[STATE] = {"state-may-send", "the QP is not in RTS yet, and hardware ignores its doorbell"},
	[ROOM] = {"ring-has-room",
		  "more is announced than the ring holds: post when completions have made room"},
	[INDEX] = {"wqe-index", "the control segment has another index than its place in the ring"},
	[QPN] = {"wqe-qpn", "the control segment names another QP"},
	[SIZE] = {"wqe-size", "ds and the segments do not fit each other or the opcode"},
	[RESERVED] = {"wqe-reserved", "a reserved field is not zero"},
	[FLAGS] = {"wqe-flags", "fm_ce_se has a reserved bit or no fence mode that exists"},
	[SIGNATURE] = {"wqe-signature", "the bytes of a signed WQE must have an XOR of 0xff"},
};

static void
format_hex(char *text, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		text += sprintf(text, i && i % 4 == 0 ? " %02x" : "%02x", bytes[i]);
}

/* @n_before: how often this QP, or page, was reported. */
static void
report(unsigned int device, uint32_t qpn, uint16_t index, uint32_t n_before, enum rule rule,
       const uint8_t *bytes, size_t n_bytes)
{
	char hex[HEX_MAX_BYTES * 2 + HEX_MAX_BYTES / 4 + 1];

	sn_nic_count(device, SN_CNT_STRICT_VIOLATIONS, 1);
	if (n_before < REPORTS_PER_QP || sn_strict.is_fatal) {
		format_hex(hex, bytes, SN_MIN(n_bytes, HEX_MAX_BYTES));
		sn_log_write("strict: mlx5_%u qp %#x wqe %u: %s: %s: %s%s", device, qpn, index,
			     rules[rule].name, rules[rule].broken, hex,
			     n_before + 1 == REPORTS_PER_QP ? " (more of it is only counted)" : "");
	}
	if (sn_strict.is_fatal) {
		sn_trace_flush();
		abort();
	}
}

static void
report_qp(struct sn_qp *qp, uint16_t index, enum rule rule, const void *bytes, size_t n_bytes)
{
	report(qp->device, qp->qpn, index, qp->n_violations++, rule, bytes, n_bytes);
}

/* ---- WQEs ---- */

static const void *
segment(const struct sn_qp *qp, uint16_t index, unsigned int i)
{
	uint32_t at = (uint32_t)index * SEGMENTS_PER_BLOCK + i;

	return qp->sq + (at & (qp->sq_blocks * SEGMENTS_PER_BLOCK - 1)) * SEGMENT_BYTES;
}

static unsigned int
n_blocks_of(unsigned int n_segments)
{
	return n_segments ? (n_segments + SEGMENTS_PER_BLOCK - 1) / SEGMENTS_PER_BLOCK : 1;
}

static void
report_wqe(struct sn_qp *qp, uint16_t index, unsigned int n_segments, enum rule rule)
{
	uint8_t bytes[HEX_MAX_BYTES];
	unsigned int n = n_segments ? SN_MIN(n_segments, HEX_MAX_BYTES / SEGMENT_BYTES) : 1;

	for (unsigned int i = 0; i < n; i++)
		memcpy(bytes + i * SEGMENT_BYTES, segment(qp, index, i), SEGMENT_BYTES);
	report_qp(qp, index, rule, bytes, n * SEGMENT_BYTES);
}

static bool
is_atomic(uint8_t opcode)
{
	return opcode == MLX5_OPCODE_ATOMIC_CS || opcode == MLX5_OPCODE_ATOMIC_FA;
}

/* How many segments come before the data; 0: we do not know such WQEs well enough to judge. */
static unsigned int
n_head_segments(const struct sn_qp *qp, uint8_t opcode)
{
	switch (opcode) {
	case MLX5_OPCODE_RDMA_WRITE:
	case MLX5_OPCODE_RDMA_WRITE_IMM:
	case MLX5_OPCODE_RDMA_READ:
		return 2;
	case MLX5_OPCODE_ATOMIC_CS:
	case MLX5_OPCODE_ATOMIC_FA:
		return 3;
	case MLX5_OPCODE_SEND:
	case MLX5_OPCODE_SEND_IMM:
	case MLX5_OPCODE_SEND_INVAL:
		return qp->type == IB_UVERBS_QPT_UD
			       ? 1 + sizeof(struct mlx5_wqe_datagram_seg) / SEGMENT_BYTES
			       : 1;
	default:
		return 0;
	}
}

/* Do the data segments end where ds says, and are they such as the opcode allows? */
static bool
data_fits(const struct sn_qp *qp, uint16_t index, uint8_t opcode, unsigned int at, unsigned int end)
{
	bool returns_data = opcode == MLX5_OPCODE_RDMA_READ || is_atomic(opcode);
	unsigned int n = 1;

	if (at > end || (is_atomic(opcode) && end - at != 1))
		return false;
	for (; at < end; at += n) {
		const struct mlx5_wqe_data_seg *seg = segment(qp, index, at);
		uint32_t bytes = be32toh(seg->byte_count);

		if (bytes & MLX5_INLINE_SEG)
			n = ((bytes & ~MLX5_INLINE_SEG) + 4 + SEGMENT_BYTES - 1) / SEGMENT_BYTES;
		else
			n = 1;
		/* A length of 0 means 2 GiB to hardware; who has nothing to send has no segment. */
		if (n > end - at || bytes == 0 || (returns_data && bytes & MLX5_INLINE_SEG) ||
		    (is_atomic(opcode) && bytes != 8))
			return false;
	}
	return true;
}

static bool
has_reserved(const struct sn_qp *qp, uint16_t index, const struct mlx5_wqe_ctrl_seg *ctrl)
{
	uint8_t opcode = (uint8_t)be32toh(ctrl->opmod_idx_opcode);
	unsigned int n_head = n_head_segments(qp, opcode);

	if (be32toh(ctrl->qpn_ds) & 0xc0 || ctrl->dci_stream_channel_id ||
	    (ctrl->signature && !qp->has_signature))
		return true;
	if (n_head && be32toh(ctrl->opmod_idx_opcode) >> 24)
		return true;
	if (n_head == 2 || n_head == 3) {
		const struct mlx5_wqe_raddr_seg *raddr = segment(qp, index, 1);

		return raddr->reserved;
	}
	return false;
}

/* Fence modes are 0 to 4; bits 4 and 0 have no meaning. */
static bool
has_bad_flags(uint8_t fm_ce_se)
{
	return fm_ce_se >> 5 > 4 || fm_ce_se & 0x11;
}

static bool
is_signed(const struct sn_qp *qp, uint16_t index, unsigned int n_segments)
{
	const uint8_t *bytes = segment(qp, index, 0);
	uint8_t sum = 0;

	/* libmlx5 signs past the end of the ring what it has written at its beginning. */
	if (bytes + n_segments * SEGMENT_BYTES >
	    qp->sq + (uint64_t)qp->sq_blocks * MLX5_SEND_WQE_BB)
		return true;
	for (unsigned int i = 0; i < n_segments * SEGMENT_BYTES; i++)
		sum ^= bytes[i];
	return sum == 0xff;
}

static void
check_wqe(struct sn_qp *qp, uint16_t index, const struct mlx5_wqe_ctrl_seg *ctrl, unsigned int ds)
{
	uint8_t opcode = (uint8_t)be32toh(ctrl->opmod_idx_opcode);
	unsigned int n_head = n_head_segments(qp, opcode);

	if ((uint16_t)(be32toh(ctrl->opmod_idx_opcode) >> 8) != index)
		report_wqe(qp, index, ds, INDEX);
	if (be32toh(ctrl->qpn_ds) >> 8 != qp->qpn)
		report_wqe(qp, index, ds, QPN);
	if (n_head && !data_fits(qp, index, opcode, n_head, ds))
		report_wqe(qp, index, ds, SIZE);
	if (has_reserved(qp, index, ctrl))
		report_wqe(qp, index, ds, RESERVED);
	if (has_bad_flags(ctrl->fm_ce_se))
		report_wqe(qp, index, ds, FLAGS);
	if (qp->has_signature && !is_signed(qp, index, ds))
		report_wqe(qp, index, ds, SIGNATURE);
}

void
sn_strict_wqe(struct sn_qp *qp, uint16_t index, uint16_t n_announced)
{
	const struct mlx5_wqe_ctrl_seg *ctrl = segment(qp, index, 0);
	unsigned int ds = be32toh(ctrl->qpn_ds) & 0x3f;

	if (ds == 0 || n_blocks_of(ds) > n_announced)
		report_wqe(qp, index, ds, SIZE);
	else
		check_wqe(qp, index, ctrl, ds);
}

/* ---- doorbells ---- */

static void
learn_buffer(const struct sn_uar *uar, unsigned int which, struct sn_strict_bf *bf)
{
	const _Atomic uint64_t *buffer = sn_uar_register(uar, which);

	for (unsigned int i = 1; i < SN_BF_WORDS; i++)
		bf->seen[i] = atomic_load_explicit(&buffer[i], memory_order_relaxed);
}

/* Is each word that has changed one of the WQE, or one of the WQE before? */
static bool
buffer_is_wqe(const struct sn_uar *uar, unsigned int which, const struct sn_strict_bf *bf,
	      const uint64_t *wqe, unsigned int n_words)
{
	const _Atomic uint64_t *buffer = sn_uar_register(uar, which);

	for (unsigned int i = 1; i < n_words; i++) {
		uint64_t word = atomic_load_explicit(&buffer[i], memory_order_relaxed);

		if (word != bf->seen[i] && word != wqe[i] && (i >= bf->n_wqe || word != bf->wqe[i]))
			return false;
	}
	return true;
}

/* The doorbell announced this WQE alone: if it was copied, then this one. */
static void
check_buffer(struct sn_qp *qp, unsigned int which, uint16_t index, unsigned int n_segments)
{
	struct sn_uar *uar = qp->uar;
	struct sn_strict_bf *bf = &uar->bf[which];
	unsigned int n_words = SN_MIN(n_segments * 2, SN_BF_WORDS);
	uint64_t wqe[SN_BF_WORDS];
	bool fine;

	for (unsigned int i = 0; i < n_words; i += 2)
		memcpy(&wqe[i], segment(qp, index, i / 2), SEGMENT_BYTES);
	fine = bf->unknown || buffer_is_wqe(uar, which, bf, wqe, n_words);
	/* Not if the program is at its next doorbell: what we saw may have been that one's. */
	if (!fine && atomic_load_explicit(sn_uar_register(uar, which), memory_order_acquire) == 0)
		report_qp(qp, index, BLUEFLAME, (const void *)sn_uar_register(uar, which),
			  n_words * sizeof(wqe[0]));
	learn_buffer(uar, which, bf);
	memcpy(bf->wqe, wqe, n_words * sizeof(wqe[0]));
	bf->n_wqe = n_words;
	bf->unknown = false;
}

/* Doorbells may have been overwritten by others before we looked. */
static void
forget_buffers(struct sn_uar *uar)
{
	for (unsigned int i = 0; i < SN_N_REGISTERS; i++)
		uar->bf[i].unknown = true;
}

/* The oldest block that the NIC may still read. */
static uint16_t
oldest_index(const struct sn_qp *qp)
{
	return qp->out_head == qp->out_tail ? qp->sq_ci
					    : qp->out[qp->out_head % SN_MAX_OUTSTANDING].index;
}

void
sn_strict_doorbell(struct sn_qp *qp, unsigned int which, uint64_t value, uint16_t pi_before)
{
	unsigned int ds = be32toh((uint32_t)(value >> 32)) & 0x3f;
	uint16_t index = (uint16_t)(be32toh((uint32_t)value) >> 8);
	uint16_t end = (uint16_t)(index + n_blocks_of(ds));
	bool is_new = (uint16_t)(index - pi_before) < (uint16_t)(qp->sq_pi - pi_before);

	if (qp->state != IBV_QPS_RTS && qp->state != IBV_QPS_ERR) {
		report_qp(qp, index, STATE, &value, sizeof(value));
	} else if ((uint16_t)(qp->sq_pi - oldest_index(qp)) > qp->sq_blocks) {
		report_qp(qp, index, ROOM, &value, sizeof(value));
	} else if ((int16_t)(qp->sq_pi - end) < 0) {
		report_qp(qp, index, RECORD, &value, sizeof(value));
	} else if (is_new && qp->state == IBV_QPS_RTS) {
		/* So it is still in the ring as it was announced. */
		if (memcmp(segment(qp, index, 0), &value, sizeof(value)) != 0) {
			report_qp(qp, index, REGISTER, &value, sizeof(value));
		} else if (index == pi_before && end == qp->sq_pi && qp->uar->object.n_users == 1) {
			check_buffer(qp, which, index, ds);
			return;
		}
	}
	forget_buffers(qp->uar);
}

void
sn_strict_stray(struct sn_uar *uar, uint64_t value)
{
	report(uar->object.context->device, be32toh((uint32_t)(value >> 32)) >> 8,
	       (uint16_t)(be32toh((uint32_t)value) >> 8), uar->n_violations++, PAGE,
	       (const uint8_t *)&value, sizeof(value));
}
