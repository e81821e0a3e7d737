/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes in the rings of two QPs that are connected, any index in their doorbell records. The
 * one that posts gets error completions or none; nothing but memory that keys and rights open is
 * written, on either side.
 *
 * Raw bytes alone would never get past the control segment. So a WQE may ask for parts that are
 * right: its header, keys of real regions, addresses near their edges.
 */
#include <endian.h>
#include <infiniband/mlx5dv.h>
#include <infiniband/verbs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fuzz.h"

#define PAGE	  4096u
#define N_PAGES	  8
#define DEPTH	  16
#define MAX_WQES  24
#define MAX_STEPS 400
#define CANARY	  0xc5
#define ALL_ACCESS                                                                                 \
	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ |               \
	 IBV_ACCESS_REMOTE_ATOMIC)

/*
 * Each side's memory, between pages that are not mapped:
 *
 *	0 canary | 1, 2 open | 3 canary | 4 may be read, not written | 5 another PD's | 6 relaxed |
 *7 canary
 */
enum { OPEN, READ_ONLY, FOREIGN, RELAXED, N_REGIONS };
static const struct {
	unsigned int page, n_pages;
	unsigned int access;
	bool is_written;
} layout[N_REGIONS] = {
	[OPEN] = {1, 2, ALL_ACCESS, true},
	[READ_ONLY] = {4, 1, IBV_ACCESS_REMOTE_READ, false},
	[FOREIGN] = {5, 1, ALL_ACCESS, false},
	[RELAXED] = {6, 1, ALL_ACCESS | IBV_ACCESS_RELAXED_ORDERING, true},
};

struct side {
	struct ibv_context *context;
	struct ibv_pd *pd, *other_pd;
	struct ibv_mr *mr[N_REGIONS];
	uint8_t *memory;
	union ibv_gid gid;
	/* of one input */
	struct ibv_cq *cq;
	struct ibv_srq *srq;
	struct ibv_qp *qp;
	struct mlx5dv_qp ring;
	struct mlx5dv_srq srq_ring;
};
static struct side sides[2];

/* ---- set-up ---- */

static void
open_side(struct side *side, struct ibv_device *device)
{
	uint8_t *reserved =
		mmap(NULL, (N_PAGES + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	FUZZ_MUST(reserved != MAP_FAILED);
	side->memory = reserved + PAGE;
	FUZZ_MUST(mprotect(side->memory, N_PAGES * PAGE, PROT_READ | PROT_WRITE) == 0);
	memset(side->memory, CANARY, N_PAGES * PAGE);
	side->context = ibv_open_device(device);
	FUZZ_MUST(side->context);
	side->pd = ibv_alloc_pd(side->context);
	side->other_pd = ibv_alloc_pd(side->context);
	for (unsigned int i = 0; i < N_REGIONS; i++) {
		side->mr[i] = ibv_reg_mr(i == FOREIGN ? side->other_pd : side->pd,
					 side->memory + layout[i].page * PAGE,
					 layout[i].n_pages * PAGE, layout[i].access);
		FUZZ_MUST(side->mr[i]);
	}
	FUZZ_MUST(ibv_query_gid(side->context, 1, 3, &side->gid) == 0);
}

/* Built for each wire: FUZZ_WIRE. */
const char fuzz_settings[] = "devices=2\nstep=100000\nwire=" FUZZ_WIRE "\n"
			     "device=mlx5_0:ip=127.0.0.2\ndevice=mlx5_1:ip=127.0.0.3\n";

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct ibv_device **list;
	int n;

	(void)argc;
	(void)argv;
	list = ibv_get_device_list(&n);
	FUZZ_MUST(list && n == 2);
	open_side(&sides[0], list[0]);
	open_side(&sides[1], list[1]);
	ibv_free_device_list(list);
	return 0;
}

/* False: softnic does not have this kind. */
static bool
create_queues(struct side *side, enum ibv_qp_type type, bool shared)
{
	struct ibv_srq_init_attr srq_attr = {.attr = {.max_wr = DEPTH, .max_sge = 2}};
	struct mlx5dv_obj obj;

	side->cq = ibv_create_cq(side->context, 4 * DEPTH, NULL, NULL, 0);
	FUZZ_MUST(side->cq);
	side->srq = shared ? ibv_create_srq(side->pd, &srq_attr) : NULL;
	struct ibv_qp_init_attr attr = {
		.send_cq = side->cq,
		.recv_cq = side->cq,
		.srq = side->srq,
		.qp_type = type,
		.cap = {.max_send_wr = DEPTH,
			.max_recv_wr = DEPTH,
			.max_send_sge = 4,
			.max_recv_sge = 2},
	};
	side->qp = ibv_create_qp(side->pd, &attr);
	if (!side->qp)
		return false;
	obj.qp.in = side->qp;
	obj.qp.out = &side->ring;
	side->ring.comp_mask = 0;
	FUZZ_MUST(mlx5dv_init_obj(&obj, MLX5DV_OBJ_QP) == 0);
	if (shared) {
		obj.srq.in = side->srq;
		obj.srq.out = &side->srq_ring;
		side->srq_ring.comp_mask = 0;
		FUZZ_MUST(mlx5dv_init_obj(&obj, MLX5DV_OBJ_SRQ) == 0);
	}
	return true;
}

static void
destroy_queues(struct side *side)
{
	if (side->qp)
		FUZZ_MUST(ibv_destroy_qp(side->qp) == 0);
	if (side->srq)
		FUZZ_MUST(ibv_destroy_srq(side->srq) == 0);
	FUZZ_MUST(ibv_destroy_cq(side->cq) == 0);
	side->qp = NULL;
}

/* ---- what an input says ---- */

/* A key and an address, at or near a region's edge. */
static void
choose_place(struct fuzz_input *in, const struct side *side, __be32 *key_be, __be64 *addr_be)
{
	uint8_t which = fuzz_u8(in);
	int16_t offset = (int16_t)fuzz_u16(in);
	const struct ibv_mr *mr = side->mr[which % N_REGIONS];
	uint64_t base = (uintptr_t)mr->addr + (which & 0x80 ? mr->length : 0);

	*key_be = htobe32(mr->rkey + (which >> 4 & 1)); /* sometimes one that is nobody's */
	*addr_be = htobe64(base + (uint64_t)offset);
}

static void
put_data(struct fuzz_input *in, const struct side *side, struct mlx5_wqe_data_seg *seg)
{
	choose_place(in, side, &seg->lkey, &seg->addr);
	seg->byte_count = htobe32(fuzz_u8(in) & 1 ? fuzz_u32(in) : fuzz_u16(in) % (3 * PAGE));
}

/* One WQE into the ring at block @pi; returns how many blocks it says it takes. */
static unsigned int
put_wqe(struct fuzz_input *in, const struct side *from, const struct side *to, unsigned int pi)
{
	static const uint8_t opcodes[] = {
		MLX5_OPCODE_NOP,	 MLX5_OPCODE_RDMA_WRITE, MLX5_OPCODE_RDMA_WRITE_IMM,
		MLX5_OPCODE_SEND,	 MLX5_OPCODE_SEND_IMM,	 MLX5_OPCODE_RDMA_READ,
		MLX5_OPCODE_ATOMIC_CS,	 MLX5_OPCODE_ATOMIC_FA,	 MLX5_OPCODE_SEND_INVAL,
		MLX5_OPCODE_LOCAL_INVAL, MLX5_OPCODE_UMR,	 MLX5_OPCODE_TSO,
	};
	union {
		uint8_t bytes[64 * 16];
		struct mlx5_wqe_ctrl_seg ctrl;
		struct mlx5_wqe_data_seg segment[64];
	} wqe;
	uint8_t how = fuzz_u8(in), opcode = fuzz_u8(in), ds = fuzz_u8(in) & 0x3f;
	unsigned int n_blocks, i = 1;

	memset(&wqe, 0, sizeof(wqe));
	if (how & 1) { /* raw */
		fuzz_take(in, wqe.bytes, ds * 16u + 16);
	} else {
		if (opcode < 0x80)
			opcode = opcodes[opcode % sizeof(opcodes)];
		if (how & 2) { /* a sane size */
			ds = 1 + ds % 6;
		}
		wqe.ctrl.opmod_idx_opcode = htobe32(pi << 8 | opcode);
		wqe.ctrl.qpn_ds = htobe32(from->qp->qp_num << 8 | ds);
		wqe.ctrl.fm_ce_se = fuzz_u8(in);
		wqe.ctrl.imm = fuzz_u32(in);
		if (from->qp->qp_type == IBV_QPT_UD && how & 4)
			i += 3; /* an address vector of the input's own */
		if (opcode != MLX5_OPCODE_SEND && opcode != MLX5_OPCODE_SEND_IMM && i < ds) {
			struct mlx5_wqe_raddr_seg *raddr = (void *)&wqe.segment[i++];

			choose_place(in, to, &raddr->rkey, &raddr->raddr);
		}
		for (; i < ds; i++) {
			uint8_t kind = fuzz_u8(in);

			if (kind & 1)
				fuzz_take(in, &wqe.segment[i], 16);
			else if (kind & 2)
				wqe.segment[i].byte_count =
					htobe32(MLX5_INLINE_SEG | fuzz_u16(in) % 256);
			else
				put_data(in, from, &wqe.segment[i]);
		}
		if (from->qp->qp_type == IBV_QPT_UD && how & 4)
			fuzz_take(in, &wqe.segment[1], 48);
	}
	n_blocks = ds ? (ds + 3u) / 4 : 1;
	for (unsigned int block = 0; block < n_blocks; block++)
		memcpy((uint8_t *)from->ring.sq.buf +
			       ((pi + block) & (from->ring.sq.wqe_cnt - 1)) * 64,
		       wqe.bytes + block * 64, 64);
	return n_blocks;
}

static void
put_receives(struct fuzz_input *in, const struct side *side)
{
	uint8_t how = fuzz_u8(in), n = fuzz_u8(in) % (DEPTH + 1);
	uint8_t *buf = side->srq ? side->srq_ring.buf : side->ring.rq.buf;
	uint32_t stride = side->srq ? side->srq_ring.stride : side->ring.rq.stride;
	uint32_t wqe_cnt = side->srq ? DEPTH : side->ring.rq.wqe_cnt;
	volatile __be32 *record = side->srq ? side->srq_ring.dbrec : side->ring.dbrec;

	for (unsigned int i = 0; i < n && i < wqe_cnt; i++) {
		uint8_t *wqe = buf + i * stride;

		if (how & 1) {
			fuzz_take(in, wqe, stride);
			continue;
		}
		for (uint32_t at = side->srq ? 16 : 0; at + 16 <= stride; at += 16)
			put_data(in, side, (void *)(wqe + at));
		if (side->srq && how & 2)
			fuzz_take(in, wqe + 2, 2); /* the link */
	}
	record[0] = htobe32(how & 4 ? fuzz_u16(in) : n);
}

static void
post(struct fuzz_input *in, struct side *from, struct side *to)
{
	uint8_t n = fuzz_u8(in) % MAX_WQES, how = fuzz_u8(in);
	unsigned int pi = 0;

	for (unsigned int i = 0; i < n && in->left; i++)
		pi += put_wqe(in, from, to, pi);
	from->ring.dbrec[1] = htobe32(how & 1 ? fuzz_u16(in) : pi & 0xffff);
	*(volatile uint64_t *)from->ring.bf.reg =
		how & 2 ? fuzz_u32(in) : *(uint64_t *)from->ring.sq.buf | 1;
}

/* ---- what must hold ---- */

static void
drain(struct side *side)
{
	struct ibv_wc wc;

	while (ibv_poll_cq(side->cq, 1, &wc) > 0)
		FUZZ_MUST(wc.qp_num == side->qp->qp_num);
}

static void
check_memory(const struct side *side)
{
	static uint8_t pattern[PAGE];
	bool is_written[N_PAGES] = {false};

	memset(pattern, CANARY, PAGE);
	for (unsigned int i = 0; i < N_REGIONS; i++) {
		for (unsigned int page = 0; page < layout[i].n_pages; page++)
			is_written[layout[i].page + page] = layout[i].is_written;
	}
	for (unsigned int page = 0; page < N_PAGES; page++)
		FUZZ_MUST(is_written[page] ||
			  memcmp(side->memory + page * PAGE, pattern, PAGE) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static const enum ibv_qp_type types[] = {IBV_QPT_RC, IBV_QPT_UC, IBV_QPT_UD};
	struct fuzz_input in = {.at = data, .left = bytes};
	uint8_t kind = fuzz_u8(&in);
	enum ibv_qp_type type = types[kind % 3];
	bool made = create_queues(&sides[0], type, false);

	made = create_queues(&sides[1], type, kind & 0x80) && made;
	if (made) {
		fuzz_connect(sides[0].qp, sides[1].qp, &sides[1].gid);
		fuzz_connect(sides[1].qp, sides[0].qp, &sides[0].gid);
		put_receives(&in, &sides[1]);
		for (unsigned int round = 0; round < 3 && in.left; round++) {
			post(&in, &sides[round & 1], &sides[~round & 1]);
			fuzz_run_nic(MAX_STEPS);
			drain(&sides[0]);
			drain(&sides[1]);
		}
	}
	destroy_queues(&sides[0]);
	destroy_queues(&sides[1]);
	check_memory(&sides[0]);
	check_memory(&sides[1]);
	return 0;
}
