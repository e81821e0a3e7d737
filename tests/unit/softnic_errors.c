/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every way in which a request can fail, with the status at each side, the events, and what is
 * flushed. Run it as `softnic --devices 2 -- softnic_errors`.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "softnic_rig.h"

static struct rig_end a, b;

static void
set_up(const struct rig_link *link)
{
	rig_create(&a, &(struct rig_options){.device = 0});
	rig_create(&b, &(struct rig_options){.device = 1});
	rig_connect(&a, &b, link);
}

static void
tear_down(void)
{
	rig_destroy(&a);
	rig_destroy(&b);
}

/* A request fails with @status, what follows is flushed, and later posts as well. */
static void
expect_broken(int status)
{
	RIG_EQUAL(rig_status(a.cq), status);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 8), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_WR_FLUSH_ERR);
	RIG_EQUAL(rig_post_recv(&a, 0, 8), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_WR_FLUSH_ERR);
}

static int
state_of(struct rig_end *end)
{
	struct ibv_qp_attr attr;
	struct ibv_qp_init_attr init;

	return ibv_query_qp(end->qp, &attr, IBV_QP_STATE, &init) ? -1 : (int)attr.qp_state;
}

static void
bad_lkey_is_a_local_protection_error(void)
{
	uint32_t lkey;

	set_up(NULL);
	lkey = a.mr->lkey;
	a.mr->lkey ^= 0x10;
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 8), 0);
	a.mr->lkey = lkey;
	expect_broken(IBV_WC_LOC_PROT_ERR);
	RIG_EQUAL(state_of(&b), IBV_QPS_RTS); /* the peer never heard of it */
	tear_down();
}

static void
expect_access_error(void)
{
	expect_broken(IBV_WC_REM_ACCESS_ERR);
	RIG_EQUAL(rig_async(b.context), IBV_EVENT_QP_ACCESS_ERR);
	RIG_EQUAL(state_of(&b), IBV_QPS_ERR);
	RIG_EQUAL(state_of(&a), IBV_QPS_ERR);
	tear_down();
}

static void
bad_rkey_is_a_remote_access_error(void)
{
	set_up(NULL);
	b.mr->rkey ^= 0x10;
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 8), 0);
	b.mr->rkey ^= 0x10;
	expect_access_error();
}

static void
out_of_bounds_is_a_remote_access_error(void)
{
	set_up(NULL);
	b.buf[RIG_BUF_BYTES - 1] = 0x77;
	memset(a.buf, 0, 16);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, RIG_BUF_BYTES - 8, 9), 0);
	expect_broken(IBV_WC_REM_ACCESS_ERR);
	RIG_EQUAL(b.buf[RIG_BUF_BYTES - 1], 0x77);
	RIG_EQUAL(rig_async(b.context), IBV_EVENT_QP_ACCESS_ERR);
	tear_down();
}

static void
missing_right_of_the_qp_is_a_remote_access_error(void)
{
	set_up(&(struct rig_link){.access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE});
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_READ, 0, 0, 8), 0);
	expect_access_error();
}

static void
missing_right_of_the_region_is_a_remote_access_error(void)
{
	struct ibv_mr *whole;

	set_up(NULL);
	whole = b.mr;
	b.mr = ibv_reg_mr(b.pd, b.buf, 4096, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_READ, 0, 0, 8), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 8), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_REM_ACCESS_ERR);
	RIG_EQUAL(ibv_dereg_mr(b.mr), 0);
	b.mr = whole;
	tear_down();
}

static void
a_region_of_another_pd_is_a_remote_access_error(void)
{
	struct ibv_pd *pd;
	struct ibv_mr *own;

	set_up(NULL);
	pd = ibv_alloc_pd(b.context);
	own = b.mr;
	b.mr = ibv_reg_mr(pd, b.buf, 4096, RIG_ALL_ACCESS);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 8), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_REM_ACCESS_ERR);
	RIG_EQUAL(ibv_dereg_mr(b.mr), 0);
	RIG_EQUAL(ibv_dealloc_pd(pd), 0);
	b.mr = own;
	tear_down();
}

static void
too_long_a_send_is_an_invalid_request(void)
{
	struct ibv_wc wc;

	set_up(NULL);
	RIG_EQUAL(rig_post_recv(&b, 0, 100), 0);
	RIG_EQUAL(rig_post(&a, NULL, IBV_WR_SEND, 0, 0, 101), 0);
	expect_broken(IBV_WC_REM_INV_REQ_ERR);
	RIG_CHECK(rig_wait(b.cq, &wc, 1000));
	RIG_EQUAL(wc.status, IBV_WC_LOC_LEN_ERR);
	RIG_EQUAL(rig_async(b.context), IBV_EVENT_QP_REQ_ERR);
	tear_down();
}

static void
bad_receive_buffer_is_a_remote_operation_error(void)
{
	set_up(NULL);
	b.mr->lkey ^= 0x10;
	RIG_EQUAL(rig_post_recv(&b, 0, 100), 0);
	b.mr->lkey ^= 0x10;
	RIG_EQUAL(rig_post(&a, NULL, IBV_WR_SEND, 0, 0, 10), 0);
	expect_broken(IBV_WC_REM_OP_ERR);
	RIG_EQUAL(rig_status(b.cq), IBV_WC_LOC_PROT_ERR);
	tear_down();
}

static void
no_receive_is_rnr_until_the_retries_end(void)
{
	uint64_t start;

	set_up(&(struct rig_link){.rnr_retry = 3, .min_rnr_timer = 14}); /* 4 tries, 1 ms apart */
	start = rig_now_us();
	RIG_EQUAL(rig_post(&a, NULL, IBV_WR_SEND, 0, 0, 10), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_RNR_RETRY_EXC_ERR);
	RIG_CHECK(rig_now_us() - start >= 3000);
	tear_down();
}

static void
rnr_retry_7_waits_for_ever(void)
{
	struct ibv_wc wc;

	set_up(&(struct rig_link){.rnr_retry = 7, .min_rnr_timer = 14});
	RIG_EQUAL(rig_post(&a, NULL, IBV_WR_SEND, 0, 0, 10), 0);
	RIG_CHECK(!rig_wait(a.cq, &wc, 100));
	RIG_EQUAL(rig_post_recv(&b, 0, 100), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	RIG_EQUAL(rig_status(b.cq), IBV_WC_SUCCESS);
	tear_down();
}

static void
peer_in_error_exceeds_the_retries(void)
{
	uint64_t start, took;

	set_up(&(struct rig_link){.timeout = 12, .retry_cnt = 3}); /* 4 x 16.8 ms */
	RIG_EQUAL(rig_to_error(&b), 0);
	start = rig_now_us();
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 8), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_RETRY_EXC_ERR);
	took = rig_now_us() - start;
	RIG_CHECK(took >= 67000 && took < 400000);
	tear_down();
}

static void
mismatched_psn_exceeds_the_retries(void)
{
	set_up(&(struct rig_link){.sq_psn_skew = 5});
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 8), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_RETRY_EXC_ERR);
	tear_down();
}

static void
modify_to_error_flushes_both_queues(void)
{
	set_up(&(struct rig_link){.rnr_retry = 7, .min_rnr_timer = 20});
	for (unsigned int i = 0; i < 5; i++) {
		RIG_EQUAL(rig_post(&a, NULL, IBV_WR_SEND, 0, 0, 8), 0);
		RIG_EQUAL(rig_post_recv(&a, 0, 8), 0);
	}
	usleep(2000);
	RIG_EQUAL(rig_to_error(&a), 0);
	for (unsigned int i = 0; i < 10; i++)
		RIG_EQUAL(rig_status(a.cq), IBV_WC_WR_FLUSH_ERR);
	tear_down();
}

static void
wrong_transitions_are_refused(void)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS};

	rig_create(&a, &(struct rig_options){.device = 0});
	RIG_CHECK(ibv_modify_qp(a.qp, &attr, IBV_QP_STATE) != 0);
	attr.qp_state = IBV_QPS_INIT;
	attr.port_num = 1;
	RIG_CHECK(ibv_modify_qp(a.qp, &attr, IBV_QP_STATE | IBV_QP_PORT) != 0);
	RIG_EQUAL(state_of(&a), IBV_QPS_RESET);
	rig_destroy(&a);
}

static void
what_is_not_supported_is_refused(void)
{
	struct ibv_qp_init_attr raw = {.qp_type = IBV_QPT_RAW_PACKET, .cap = {.max_send_wr = 1}};

	rig_create(&a, &(struct rig_options){.device = 0});
	raw.send_cq = raw.recv_cq = a.cq;
	RIG_CHECK(ibv_create_qp(a.pd, &raw) == NULL);
	RIG_CHECK(ibv_reg_mr(a.pd, a.buf, 4096, IBV_ACCESS_REMOTE_WRITE) == NULL);
	RIG_CHECK(ibv_reg_mr(a.pd, (void *)0x1000, 4096, IBV_ACCESS_LOCAL_WRITE) == NULL);
	RIG_CHECK(ibv_reg_mr(a.pd, a.buf, 4096, IBV_ACCESS_ON_DEMAND) == NULL);
	RIG_CHECK(ibv_rereg_mr(a.mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0, 0) != 0);
	rig_destroy(&a);
}

static int
errno_of_reg_mr(void *addr, size_t len)
{
	struct ibv_mr *mr;

	errno = 0;
	mr = ibv_reg_mr(a.pd, addr, len, IBV_ACCESS_LOCAL_WRITE);
	if (mr)
		ibv_dereg_mr(mr);
	return errno;
}

static void
memory_that_may_not_be_touched_is_not_registered(void)
{
	uint8_t *page = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	set_up(NULL);
	RIG_EQUAL(errno_of_reg_mr(page, 4096), EFAULT);
	RIG_EQUAL(mprotect(page, 8192, PROT_NONE), 0);
	RIG_EQUAL(errno_of_reg_mr(page, 4096), EFAULT);
	RIG_EQUAL(mprotect(page, 4096, PROT_READ | PROT_WRITE), 0);
	RIG_EQUAL(errno_of_reg_mr(page, 4097), EFAULT);
	RIG_EQUAL(errno_of_reg_mr(page, 4096), 0);
	RIG_EQUAL(errno_of_reg_mr(NULL, SIZE_MAX), EFAULT);
	munmap(page, 8192);
	tear_down();
}

/* Though it asks for no old value, so that its scatter list has no length. */
static void
an_atomic_at_the_end_touches_nothing_behind_it(void)
{
	struct ibv_send_wr wr = {.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD,
				 .send_flags = IBV_SEND_SIGNALED,
				 .wr.atomic = {.compare_add = 1}},
			   *bad;
	struct ibv_mr *mr;

	set_up(NULL);
	mr = ibv_reg_mr(b.pd, b.buf, 4096, RIG_ALL_ACCESS);
	wr.wr.atomic.remote_addr = (uintptr_t)b.buf + 4096;
	wr.wr.atomic.rkey = mr->rkey;
	RIG_EQUAL(ibv_post_send(a.qp, &wr, &bad), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_REM_ACCESS_ERR);
	RIG_EQUAL(b.buf[4096], 0);
	RIG_EQUAL(ibv_dereg_mr(mr), 0);
	tear_down();
}

int
main(void)
{
#define RUN(test) rig_run(#test, test)
	RUN(memory_that_may_not_be_touched_is_not_registered);
	RUN(an_atomic_at_the_end_touches_nothing_behind_it);
	RUN(bad_lkey_is_a_local_protection_error);
	RUN(bad_rkey_is_a_remote_access_error);
	RUN(out_of_bounds_is_a_remote_access_error);
	RUN(missing_right_of_the_qp_is_a_remote_access_error);
	RUN(missing_right_of_the_region_is_a_remote_access_error);
	RUN(a_region_of_another_pd_is_a_remote_access_error);
	RUN(too_long_a_send_is_an_invalid_request);
	RUN(bad_receive_buffer_is_a_remote_operation_error);
	RUN(no_receive_is_rnr_until_the_retries_end);
	RUN(rnr_retry_7_waits_for_ever);
	RUN(peer_in_error_exceeds_the_retries);
	RUN(mismatched_psn_exceeds_the_retries);
	RUN(modify_to_error_flushes_both_queues);
	RUN(wrong_transitions_are_refused);
	RUN(what_is_not_supported_is_refused);
	return rig_finish();
}
