/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many WQEs a second one QP takes, when nothing is in the way of posting: WRITEs of 64 bytes,
 * one doorbell for a burst and one completion for its last, WQEs written to the ring directly.
 *Under `softnic --wire null` it is what the NIC's own work costs. Prints M WQEs/s.
 *
 *	softnic --wire null -- post_rate [BURST [SECONDS]]
 */
#include <endian.h>
#include <infiniband/mlx5dv.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../unit/softnic_rig.h"

#define DEPTH	    4096u
#define WRITE_BYTES 64u

struct wqe {
	struct mlx5_wqe_ctrl_seg ctrl;
	struct mlx5_wqe_raddr_seg raddr;
	struct mlx5_wqe_data_seg data;
	uint8_t unused[16];
};

/* The send queue, in the ring's own terms. */
struct sender {
	struct mlx5dv_qp qp;
	struct mlx5dv_cq cq;
	uint32_t qpn;
	uint16_t pi;
	uint32_t cq_ci;
};

static double
now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void
open_rings(struct sender *s, struct rig_end *end)
{
	struct mlx5dv_obj obj = {.qp = {.in = end->qp, .out = &s->qp},
				 .cq = {.in = end->cq, .out = &s->cq}};

	if (mlx5dv_init_obj(&obj, MLX5DV_OBJ_QP | MLX5DV_OBJ_CQ)) {
		fprintf(stderr, "post_rate: mlx5dv_init_obj\n");
		exit(1);
	}
	s->qpn = end->qp->qp_num;
}

static void
post_burst(struct sender *s, const struct wqe *template, unsigned int burst)
{
	struct wqe *ring = s->qp.sq.buf, *last = NULL;

	for (unsigned int i = 0; i < burst; i++) {
		last = &ring[s->pi % s->qp.sq.wqe_cnt];
		*last = *template;
		last->ctrl.opmod_idx_opcode =
			htobe32((uint32_t)s->pi++ << 8 | MLX5_OPCODE_RDMA_WRITE);
	}
	last->ctrl.fm_ce_se = MLX5_WQE_CTRL_CQ_UPDATE;
	/* WQEs before their record, and that before the register; TSan knows no C11 fences. */
	atomic_store_explicit((_Atomic uint32_t *)&s->qp.dbrec[MLX5_SND_DBR], htobe32(s->pi),
			      memory_order_release);
	__sync_synchronize();
	*(volatile uint64_t *)s->qp.bf.reg = *(uint64_t *)&last->ctrl;
}

/* True if a burst has completed. */
static bool
reap(struct sender *s)
{
	struct mlx5_cqe64 *cqe =
		(struct mlx5_cqe64 *)((uint8_t *)s->cq.buf +
				      (uint64_t)(s->cq_ci & (s->cq.cqe_cnt - 1)) * s->cq.cqe_size);
	uint8_t op_own =
		atomic_load_explicit((_Atomic uint8_t *)&cqe->op_own, memory_order_acquire);

	if (op_own >> 4 == MLX5_CQE_INVALID || (op_own & 1) != !!(s->cq_ci & s->cq.cqe_cnt))
		return false;
	if (op_own >> 4 != MLX5_CQE_REQ) {
		fprintf(stderr, "post_rate: a WRITE failed, syndrome %#x\n",
			((struct mlx5_err_cqe *)cqe)->syndrome);
		exit(1);
	}
	s->cq_ci++;
	atomic_store_explicit((_Atomic uint32_t *)s->cq.dbrec, htobe32(s->cq_ci & 0xffffff),
			      memory_order_release);
	return true;
}

int
main(int argc, char **argv)
{
	unsigned int burst = argc > 1 ? (unsigned int)atoi(argv[1]) : 64, in_flight = 0;
	double seconds = argc > 2 ? atof(argv[2]) : 2, begin;
	static struct rig_end a, b;
	struct sender sender = {0};
	struct wqe template = {0};
	uint64_t n = 0;

	if (burst == 0 || burst > DEPTH / 2) {
		fprintf(stderr, "post_rate: BURST is 1 to %u\n", DEPTH / 2);
		return 2;
	}
	rig_create(&a, &(struct rig_options){.device = 0, .depth = DEPTH, .max_sge = 1});
	rig_create(&b, &(struct rig_options){.device = 1});
	rig_connect(&a, &b, NULL);
	open_rings(&sender, &a);
	template.ctrl.qpn_ds = htobe32(sender.qpn << 8 | 3);
	template.raddr.raddr = htobe64((uintptr_t)b.buf);
	template.raddr.rkey = htobe32(b.mr->rkey);
	template.data.byte_count = htobe32(WRITE_BYTES);
	template.data.lkey = htobe32(a.mr->lkey);
	template.data.addr = htobe64((uintptr_t)a.buf);
	begin = now_s();
	do {
		while (in_flight + burst <= sender.qp.sq.wqe_cnt) {
			post_burst(&sender, &template, burst);
			in_flight += burst;
		}
		while (reap(&sender)) {
			in_flight -= burst;
			n += burst;
		}
	} while (now_s() - begin < seconds);
	printf("%.2f\n", (double)n / (now_s() - begin) * 1e-6);
	return 0;
}
