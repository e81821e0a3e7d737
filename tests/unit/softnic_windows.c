/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory windows under softnic: who may use them, and until when. Run it as
 * `softnic --devices 2 -- softnic_windows`.
 */
#include <string.h>

#include "softnic_rig.h"

#define BYTES 4096u

static struct rig_end a, b; /* b has the memory and the windows */
static struct ibv_mr *region;
static struct ibv_mw *window;
static uint32_t key; /* of a window of type 2: the program makes it up */

static void
set_up(enum ibv_mw_type type)
{
	rig_create(&a, &(struct rig_options){.device = 0});
	rig_create(&b, &(struct rig_options){.device = 1});
	rig_connect(&a, &b, NULL);
	region = ibv_reg_mr(b.pd, b.buf, 1 << 20, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND);
	window = ibv_alloc_mw(b.pd, type);
	RIG_CHECK(region && window);
	key = window ? window->rkey : 0;
}

static void
tear_down(void)
{
	RIG_EQUAL(ibv_dealloc_mw(window), 0);
	RIG_EQUAL(ibv_dereg_mr(region), 0);
	rig_destroy(&a);
	rig_destroy(&b);
}

static struct ibv_mw_bind_info
first_bytes(struct ibv_mr *mr, int access)
{
	return (struct ibv_mw_bind_info){.mr = mr,
					 .addr = (uintptr_t)b.buf,
					 .length = BYTES,
					 .mw_access_flags = (unsigned int)access};
}

static int
bind_on(struct rig_end *end, struct ibv_mr *mr, int access)
{
	struct ibv_send_wr wr = {.opcode = IBV_WR_BIND_MW, .send_flags = IBV_SEND_SIGNALED}, *bad;
	struct ibv_wc wc;

	wr.bind_mw.mw = window;
	wr.bind_mw.rkey = ibv_inc_rkey(key);
	wr.bind_mw.bind_info = first_bytes(mr, access);
	if (ibv_post_send(end->qp, &wr, &bad) || !rig_wait(end->cq, &wc, 2000))
		return -1;
	if (wc.status == IBV_WC_SUCCESS) {
		RIG_EQUAL(wc.opcode, IBV_WC_BIND_MW);
		key = window->rkey = wr.bind_mw.rkey;
	}
	return (int)wc.status;
}

static int
invalidate(void)
{
	struct ibv_send_wr wr = {.opcode = IBV_WR_LOCAL_INV,
				 .send_flags = IBV_SEND_SIGNALED,
				 .invalidate_rkey = key},
			   *bad;
	struct ibv_wc wc;

	if (ibv_post_send(b.qp, &wr, &bad) || !rig_wait(b.cq, &wc, 2000))
		return -1;
	if (wc.status == IBV_WC_SUCCESS)
		RIG_EQUAL(wc.opcode, IBV_WC_LOCAL_INV);
	return (int)wc.status;
}

static int
access_by_key(struct rig_end *from, enum ibv_wr_opcode opcode, uint64_t offset, uint32_t len)
{
	struct ibv_sge sge = {(uintptr_t)from->buf, len, from->mr->lkey};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = opcode,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad;

	wr.wr.rdma.remote_addr = (uintptr_t)b.buf + offset;
	wr.wr.rdma.rkey = key;
	return ibv_post_send(from->qp, &wr, &bad) ? -1 : rig_status(from->cq);
}

static void
a_bound_window_gives_what_it_says(void)
{
	set_up(IBV_MW_TYPE_2);
	RIG_EQUAL(bind_on(&b, region, IBV_ACCESS_REMOTE_WRITE), IBV_WC_SUCCESS);
	rig_fill(a.buf, BYTES, 7);
	RIG_EQUAL(access_by_key(&a, IBV_WR_RDMA_WRITE, 0, BYTES), IBV_WC_SUCCESS);
	RIG_CHECK(memcmp(a.buf, b.buf, BYTES) == 0);
	RIG_EQUAL(access_by_key(&a, IBV_WR_RDMA_WRITE, 1, BYTES), IBV_WC_REM_ACCESS_ERR);
	tear_down();
	set_up(IBV_MW_TYPE_2); /* it was bound for writing alone */
	RIG_EQUAL(bind_on(&b, region, IBV_ACCESS_REMOTE_WRITE), IBV_WC_SUCCESS);
	RIG_EQUAL(access_by_key(&a, IBV_WR_RDMA_READ, 0, 8), IBV_WC_REM_ACCESS_ERR);
	tear_down();
	set_up(IBV_MW_TYPE_2); /* and is no key for one's own buffers */
	RIG_EQUAL(bind_on(&b, region, IBV_ACCESS_REMOTE_WRITE), IBV_WC_SUCCESS);
	struct ibv_mr fake = *b.mr, *own = b.mr;
	fake.lkey = key;
	b.mr = &fake;
	RIG_EQUAL(rig_post(&b, &a, IBV_WR_RDMA_WRITE, 0, 0, 8), 0);
	b.mr = own;
	RIG_EQUAL(rig_status(b.cq), IBV_WC_LOC_PROT_ERR);
	tear_down();
}

static void
an_invalidated_window_is_closed_and_can_be_bound_again(void)
{
	uint32_t old;

	set_up(IBV_MW_TYPE_2);
	RIG_EQUAL(bind_on(&b, region, IBV_ACCESS_REMOTE_READ), IBV_WC_SUCCESS);
	old = key;
	RIG_EQUAL(invalidate(), IBV_WC_SUCCESS);
	RIG_EQUAL(bind_on(&b, region, IBV_ACCESS_REMOTE_READ), IBV_WC_SUCCESS);
	RIG_CHECK(key != old);
	RIG_EQUAL(access_by_key(&a, IBV_WR_RDMA_READ, 0, 8), IBV_WC_SUCCESS);
	key = old; /* of before */
	RIG_EQUAL(access_by_key(&a, IBV_WR_RDMA_READ, 0, 8), IBV_WC_REM_ACCESS_ERR);
	tear_down();
}

static void
a_send_invalidates_it_at_the_other_end(void)
{
	struct ibv_sge sge;
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_SEND_WITH_INV,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad;
	struct ibv_wc wc;

	set_up(IBV_MW_TYPE_2);
	RIG_EQUAL(bind_on(&b, region, IBV_ACCESS_REMOTE_WRITE), IBV_WC_SUCCESS);
	sge = (struct ibv_sge){(uintptr_t)a.buf, 16, a.mr->lkey};
	wr.invalidate_rkey = key;
	RIG_EQUAL(rig_post_recv(&b, 8192, 64), 0);
	RIG_EQUAL(ibv_post_send(a.qp, &wr, &bad), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	RIG_CHECK(rig_wait(b.cq, &wc, 2000));
	RIG_EQUAL(wc.status, IBV_WC_SUCCESS);
	RIG_EQUAL(wc.wc_flags, IBV_WC_WITH_INV);
	RIG_EQUAL(wc.invalidated_rkey, key);
	RIG_EQUAL(wc.byte_len, 16);
	/* What is not bound cannot be invalidated; the receive tells. */
	RIG_EQUAL(rig_post_recv(&b, 8192, 64), 0);
	RIG_EQUAL(ibv_post_send(a.qp, &wr, &bad), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_REM_ACCESS_ERR);
	RIG_CHECK(rig_status(b.cq) > 0);
	tear_down();
}

static void
wrong_binds_are_refused(void)
{
	struct ibv_mr *closed;

	set_up(IBV_MW_TYPE_2);
	closed = ibv_reg_mr(b.pd, b.buf, BYTES, IBV_ACCESS_LOCAL_WRITE);
	RIG_EQUAL(bind_on(&b, closed, IBV_ACCESS_REMOTE_READ), IBV_WC_MW_BIND_ERR);
	RIG_EQUAL(ibv_dereg_mr(closed), 0);
	tear_down();
	set_up(IBV_MW_TYPE_2); /* bound already */
	RIG_EQUAL(bind_on(&b, region, IBV_ACCESS_REMOTE_READ), IBV_WC_SUCCESS);
	RIG_EQUAL(bind_on(&b, region, IBV_ACCESS_REMOTE_READ), IBV_WC_MW_BIND_ERR);
	tear_down();
	set_up(IBV_MW_TYPE_2); /* not bound */
	RIG_EQUAL(invalidate(), IBV_WC_MW_BIND_ERR);
	tear_down();
}

static void
a_window_ends_with_its_region(void)
{
	struct ibv_mr *dying;

	set_up(IBV_MW_TYPE_2);
	dying = ibv_reg_mr(b.pd, b.buf, BYTES, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND);
	RIG_EQUAL(bind_on(&b, dying, IBV_ACCESS_REMOTE_WRITE), IBV_WC_SUCCESS);
	RIG_EQUAL(access_by_key(&a, IBV_WR_RDMA_WRITE, 0, 8), IBV_WC_SUCCESS);
	RIG_EQUAL(ibv_dereg_mr(dying), 0);
	RIG_EQUAL(access_by_key(&a, IBV_WR_RDMA_WRITE, 0, 8), IBV_WC_REM_ACCESS_ERR);
	tear_down();
}

/* Type 2 is its QP's; type 1 is open to all of the PD, and is bound anew without more ado. */
static void
other_qps_use_type_1_alone(void)
{
	for (int type = IBV_MW_TYPE_1; type <= IBV_MW_TYPE_2; type++) {
		struct ibv_qp_init_attr init = {.qp_type = IBV_QPT_RC,
						.cap = {.max_send_wr = 4, .max_send_sge = 1}};
		struct ibv_mw_bind bind = {.send_flags = IBV_SEND_SIGNALED};
		struct rig_end c, d;

		set_up((enum ibv_mw_type)type);
		rig_create(&c, &(struct rig_options){.device = 0});
		d = b;
		init.send_cq = init.recv_cq = b.cq;
		d.qp = ibv_create_qp(b.pd, &init);
		RIG_CHECK(d.qp);
		rig_connect(&c, &d, NULL);
		if (type == IBV_MW_TYPE_1) {
			for (unsigned int i = 0; i < 2; i++) {
				bind.bind_info = first_bytes(region, IBV_ACCESS_REMOTE_WRITE);
				RIG_EQUAL(ibv_bind_mw(b.qp, window, &bind), 0);
				RIG_EQUAL(rig_status(b.cq), IBV_WC_SUCCESS);
			}
			key = window->rkey;
		} else {
			RIG_EQUAL(bind_on(&b, region, IBV_ACCESS_REMOTE_WRITE), IBV_WC_SUCCESS);
		}
		RIG_EQUAL(access_by_key(&c, IBV_WR_RDMA_WRITE, 0, 8),
			  type == IBV_MW_TYPE_1 ? IBV_WC_SUCCESS : IBV_WC_REM_ACCESS_ERR);
		if (type == IBV_MW_TYPE_1) {
			bind.bind_info.length = 0;
			RIG_EQUAL(ibv_bind_mw(b.qp, window, &bind), 0);
			RIG_EQUAL(rig_status(b.cq), IBV_WC_SUCCESS);
			RIG_EQUAL(access_by_key(&c, IBV_WR_RDMA_WRITE, 0, 8),
				  IBV_WC_REM_ACCESS_ERR);
		}
		RIG_EQUAL(ibv_destroy_qp(d.qp), 0);
		rig_destroy(&c);
		tear_down();
	}
}

int
main(void)
{
#define RUN(test) rig_run(#test, test)
	RUN(a_bound_window_gives_what_it_says);
	RUN(an_invalidated_window_is_closed_and_can_be_bound_again);
	RUN(a_send_invalidates_it_at_the_other_end);
	RUN(wrong_binds_are_refused);
	RUN(a_window_ends_with_its_region);
	RUN(other_qps_use_type_1_alone);
	return rig_finish();
}
