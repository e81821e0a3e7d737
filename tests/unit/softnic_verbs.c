/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An ordinary libibverbs program that holds softnic to what a ConnectX does: data, order,
 * doorbells, events; softnic_errors.c has the errors. Run it as `softnic --devices 2 --
 * softnic_verbs`.
 */
#include <endian.h>
#include <infiniband/mlx5dv.h>
#include <stdlib.h>
#include <string.h>
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

/* ---- data ---- */

static void
check_write(uint64_t local, uint64_t remote, uint32_t len)
{
	rig_fill(a.buf + local, len, len + 1);
	memset(b.buf + remote, 0xee, len + 1);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, local, remote, len), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	RIG_CHECK(memcmp(a.buf + local, b.buf + remote, len) == 0);
	RIG_EQUAL(b.buf[remote + len], 0xee);
}

static void
write_moves_every_length(void)
{
	static const uint32_t lengths[] = {0,	  1,	  3,	  8,	   63,	    64,
					   65,	  255,	  4095,	  4096,	   4097,    65535,
					   65536, 262143, 262145, 1048577, 16 << 20};

	set_up(NULL);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		check_write(0, 0, lengths[i]);
		check_write(1, 4099, lengths[i]);
	}
	tear_down();
}

static void
read_moves_bytes_back(void)
{
	static const uint32_t lengths[] = {0, 1, 7, 4096, 65537, 16 << 20};

	set_up(NULL);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		rig_fill(b.buf + 5, lengths[i], 3);
		memset(a.buf, 0, lengths[i] + 4);
		RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_READ, 3, 5, lengths[i]), 0);
		RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
		RIG_CHECK(memcmp(a.buf + 3, b.buf + 5, lengths[i]) == 0);
	}
	tear_down();
}

static void
send_arrives_with_length_and_immediate(void)
{
	static const uint32_t lengths[] = {0, 1, 31, 256, 257, 5000, 1 << 20};
	struct ibv_wc wc;

	set_up(NULL);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		rig_fill(a.buf, lengths[i], 9);
		RIG_EQUAL(rig_post_recv(&b, 64, 1 << 20), 0);
		RIG_EQUAL(rig_post(&a, NULL, IBV_WR_SEND_WITH_IMM, 0, 0, lengths[i]), 0);
		RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
		RIG_CHECK(rig_wait(b.cq, &wc, 2000));
		RIG_EQUAL(wc.status, IBV_WC_SUCCESS);
		RIG_EQUAL(wc.opcode, IBV_WC_RECV);
		RIG_EQUAL(wc.byte_len, lengths[i]);
		RIG_EQUAL(wc.imm_data, 0x12345678);
		RIG_EQUAL(wc.wr_id, 64);
		RIG_EQUAL(wc.qp_num, b.qp->qp_num);
		RIG_CHECK(wc.wc_flags & IBV_WC_WITH_IMM);
		RIG_CHECK(memcmp(a.buf, b.buf + 64, lengths[i]) == 0);
	}
	tear_down();
}

static void
write_with_immediate_consumes_a_receive(void)
{
	struct ibv_wc wc;

	set_up(NULL);
	rig_fill(a.buf, 100000, 4);
	RIG_EQUAL(rig_post_recv(&b, 0, 0), 0);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE_WITH_IMM, 0, 7, 100000), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	RIG_CHECK(rig_wait(b.cq, &wc, 2000));
	RIG_EQUAL(wc.opcode, IBV_WC_RECV_RDMA_WITH_IMM);
	RIG_EQUAL(wc.byte_len, 100000);
	RIG_EQUAL(wc.imm_data, 0x12345678);
	RIG_CHECK(memcmp(a.buf, b.buf + 7, 100000) == 0);
	tear_down();
}

static void
several_sges_are_gathered_and_scattered(void)
{
	struct ibv_sge from[4], to[3];
	struct ibv_send_wr wr = {.sg_list = from,
				 .num_sge = 4,
				 .opcode = IBV_WR_SEND,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad;
	struct ibv_recv_wr rwr = {.sg_list = to, .num_sge = 3}, *rbad;
	uint8_t flat[1000], got[1000];

	set_up(NULL);
	rig_fill(a.buf, 4096, 5);
	for (unsigned int i = 0, n = 0; i < 4; n += from[i++].length) {
		from[i] = (struct ibv_sge){(uintptr_t)a.buf + i * 777, 100 + i * 100, a.mr->lkey};
		memcpy(flat + n, (void *)from[i].addr, from[i].length);
	}
	to[0] = (struct ibv_sge){(uintptr_t)b.buf + 1, 333, b.mr->lkey};
	to[1] = (struct ibv_sge){(uintptr_t)b.buf + 2000, 1, b.mr->lkey};
	to[2] = (struct ibv_sge){(uintptr_t)b.buf + 3001, 2000, b.mr->lkey};
	RIG_EQUAL(ibv_post_recv(b.qp, &rwr, &rbad), 0);
	RIG_EQUAL(ibv_post_send(a.qp, &wr, &bad), 0);
	RIG_EQUAL(rig_status(b.cq), IBV_WC_SUCCESS);
	memcpy(got, b.buf + 1, 333);
	got[333] = b.buf[2000];
	memcpy(got + 334, b.buf + 3001, 666);
	RIG_CHECK(memcmp(flat, got, sizeof(flat)) == 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);

	/* The same pieces, written, and read back in reverse. */
	wr.opcode = IBV_WR_RDMA_WRITE;
	wr.wr.rdma.remote_addr = (uintptr_t)b.buf + 50001;
	wr.wr.rdma.rkey = b.mr->rkey;
	RIG_EQUAL(ibv_post_send(a.qp, &wr, &bad), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	RIG_CHECK(memcmp(flat, b.buf + 50001, sizeof(flat)) == 0);
	for (unsigned int i = 0; i < 4; i++)
		memset((void *)from[i].addr, 0, from[i].length);
	wr.opcode = IBV_WR_RDMA_READ;
	RIG_EQUAL(ibv_post_send(a.qp, &wr, &bad), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	for (unsigned int i = 0, n = 0; i < 4; n += from[i++].length)
		RIG_CHECK(memcmp(flat + n, (void *)from[i].addr, from[i].length) == 0);
	tear_down();
}

/* Inline requests of many sizes, so that they take 1 to 6 blocks and wrap at every offset. */
static void
inline_wraps_at_the_rings_end(void)
{
	struct ibv_sge sge = {0};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_RDMA_WRITE,
				 .send_flags = IBV_SEND_SIGNALED | IBV_SEND_INLINE},
			   *bad;

	rig_create(&a, &(struct rig_options){.device = 0, .depth = 8, .inline_bytes = 300});
	rig_create(&b, &(struct rig_options){.device = 1});
	rig_connect(&a, &b, NULL);
	wr.wr.rdma.rkey = b.mr->rkey;
	for (unsigned int i = 0; i < 1000; i++) {
		uint32_t len = (i * 37) % 301;
		uint8_t data[301];

		rig_fill(data, len, i);
		sge = (struct ibv_sge){(uintptr_t)data, len, 0};
		wr.wr.rdma.remote_addr = (uintptr_t)b.buf + i;
		if (ibv_post_send(a.qp, &wr, &bad) || rig_status(a.cq) != IBV_WC_SUCCESS ||
		    memcmp(b.buf + i, data, len) != 0) {
			RIG_EQUAL(i, -1);
			break;
		}
	}
	tear_down();
}

static void
completions_survive_many_laps(unsigned int cqe_bytes)
{
	uint64_t next = 0;
	struct ibv_wc wc;

	rig_create(&a, &(struct rig_options){.device = 0, .cqe_bytes = cqe_bytes});
	rig_create(&b, &(struct rig_options){.device = 1, .cqe_bytes = cqe_bytes});
	rig_connect(&a, &b, NULL);
	for (uint64_t i = 0; i < 70000; i++) { /* past the 16-bit WQE index */
		if (i - next == 60) {
			if (!rig_wait(a.cq, &wc, 2000) || wc.status || wc.wr_id != next % 1000)
				break;
			next++;
		}
		if (rig_post(&a, &b, IBV_WR_RDMA_WRITE, i % 1000, i % 1000, 8))
			break;
	}
	while (next < 70000 && rig_wait(a.cq, &wc, 1000) && !wc.status && wc.wr_id == next % 1000)
		next++;
	RIG_EQUAL(next, 70000);
	tear_down();
}

static void
completions_of_64_bytes(void)
{
	completions_survive_many_laps(64);
}

static void
completions_of_128_bytes(void)
{
	completions_survive_many_laps(128);
}

static void
atomics_return_the_old_value(void)
{
	struct ibv_sge sge;
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_ATOMIC_FETCH_AND_ADD,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad;
	uint64_t *local, *remote;

	set_up(NULL);
	local = (uint64_t *)a.buf;
	remote = (uint64_t *)b.buf;
	*remote = 1000;
	sge = (struct ibv_sge){(uintptr_t)local, 8, a.mr->lkey};
	wr.wr.atomic.remote_addr = (uintptr_t)remote;
	wr.wr.atomic.rkey = b.mr->rkey;
	wr.wr.atomic.compare_add = 7;
	for (unsigned int i = 0; i < 10; i++) {
		RIG_EQUAL(ibv_post_send(a.qp, &wr, &bad), 0);
		RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
		RIG_EQUAL(*local, 1000 + 7 * i);
	}
	RIG_EQUAL(*remote, 1070);
	wr.opcode = IBV_WR_ATOMIC_CMP_AND_SWP;
	wr.wr.atomic.compare_add = 1;
	wr.wr.atomic.swap = 5;
	RIG_EQUAL(ibv_post_send(a.qp, &wr, &bad), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	RIG_EQUAL(*remote, 1070);
	wr.wr.atomic.compare_add = 1070;
	RIG_EQUAL(ibv_post_send(a.qp, &wr, &bad), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	RIG_EQUAL(*local, 1070);
	RIG_EQUAL(*remote, 5);
	tear_down();
}

static void
requests_of_a_qp_take_effect_in_order(void)
{
	struct ibv_wc wc;

	set_up(NULL);
	/* SEND, then WRITE over the same place, then READ of it: 500 rounds. */
	for (unsigned int i = 0; i < 500 && !rig_test_failed; i++) {
		a.buf[0] = 1;
		a.buf[1] = (uint8_t)i;
		RIG_EQUAL(rig_post_recv(&b, 0, 1), 0);
		RIG_EQUAL(rig_post(&a, NULL, IBV_WR_SEND, 0, 0, 1), 0);
		RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 1, 0, 1), 0);
		RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_READ, 2, 0, 1), 0);
		for (unsigned int k = 0; k < 3; k++) {
			RIG_CHECK(rig_wait(a.cq, &wc, 2000));
			RIG_EQUAL(wc.status, IBV_WC_SUCCESS);
			RIG_EQUAL(wc.wr_id, k);
		}
		RIG_EQUAL(rig_status(b.cq), IBV_WC_SUCCESS);
		RIG_EQUAL(a.buf[2], (uint8_t)i);
	}
	tear_down();
}

static void
a_reset_qp_can_be_connected_again(void)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RESET};

	set_up(NULL);
	for (unsigned int i = 0; i < 20 && !rig_test_failed; i++) {
		check_write(0, 0, 100);
		check_write(1, 1, 200);
		RIG_EQUAL(ibv_modify_qp(a.qp, &attr, IBV_QP_STATE), 0);
		RIG_EQUAL(ibv_modify_qp(b.qp, &attr, IBV_QP_STATE), 0);
		rig_connect(&a, &b, NULL);
	}
	tear_down();
}

/* ---- doorbells, events, scale ---- */

static void
a_record_without_a_doorbell_is_not_executed(void)
{
	struct mlx5dv_qp dv = {.comp_mask = 0};
	struct mlx5dv_obj obj;
	struct mlx5_wqe_ctrl_seg *ctrl;
	struct ibv_wc wc;

	set_up(NULL);
	obj.qp.in = a.qp;
	obj.qp.out = &dv;
	RIG_EQUAL(mlx5dv_init_obj(&obj, MLX5DV_OBJ_QP), 0);
	rig_fill(a.buf, 64, 8);
	memset(b.buf, 0, 64);
	ctrl = dv.sq.buf;
	mlx5dv_set_ctrl_seg(ctrl, 0, MLX5_OPCODE_RDMA_WRITE, 0, a.qp->qp_num,
			    MLX5_WQE_CTRL_CQ_UPDATE, 3, 0, 0);
	struct mlx5_wqe_raddr_seg *raddr = (void *)(ctrl + 1);
	raddr->raddr = htobe64((uintptr_t)b.buf);
	raddr->rkey = htobe32(b.mr->rkey);
	mlx5dv_set_data_seg((void *)(raddr + 1), 64, a.mr->lkey, (uintptr_t)a.buf);
	__atomic_store_n(&dv.dbrec[MLX5_SND_DBR], htobe32(1), __ATOMIC_RELEASE);
	usleep(50000);
	RIG_EQUAL(ibv_poll_cq(a.cq, 1, &wc), 0);
	RIG_EQUAL(b.buf[1], 0);
	__atomic_store_n((uint64_t *)dv.bf.reg, *(uint64_t *)(void *)ctrl, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < 1000 && memcmp(a.buf, b.buf, 64) != 0; i++)
		usleep(1000);
	RIG_CHECK(memcmp(a.buf, b.buf, 64) == 0);
	tear_down();
}

static void
completion_events_wake_a_sleeper(void)
{
	struct ibv_comp_channel *channel = ibv_create_comp_channel(rig_open(0));
	struct ibv_cq *cq;
	void *context;
	struct ibv_wc wc;

	rig_create(&a, &(struct rig_options){.channel = channel});
	rig_create(&b, &(struct rig_options){.device = 1});
	rig_connect(&a, &b, NULL);
	for (unsigned int i = 0; i < 100 && !rig_test_failed; i++) {
		RIG_EQUAL(ibv_req_notify_cq(a.cq, 0), 0);
		RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 8), 0);
		RIG_EQUAL(ibv_get_cq_event(channel, &cq, &context), 0);
		RIG_CHECK(cq == a.cq);
		ibv_ack_cq_events(cq, 1);
		RIG_EQUAL(ibv_poll_cq(a.cq, 1, &wc), 1);
	}
	/* One event is left unread: destroying must not wait for it. */
	RIG_EQUAL(ibv_req_notify_cq(a.cq, 0), 0);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 8), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	usleep(5000);
	tear_down();
}

static void
an_overrun_cq_reports_and_breaks_its_qps(void)
{
	struct ibv_cq *small;
	struct ibv_qp_attr attr;
	struct ibv_async_event event;

	rig_create(&a, &(struct rig_options){.device = 0});
	rig_create(&b, &(struct rig_options){.device = 1});
	small = ibv_create_cq(a.context, 4, NULL, NULL, 0);
	RIG_EQUAL(ibv_destroy_qp(a.qp), 0);
	struct ibv_qp_init_attr init = {.send_cq = small,
					.recv_cq = small,
					.qp_type = IBV_QPT_RC,
					.cap = {.max_send_wr = 64, .max_send_sge = 1}};
	a.qp = ibv_create_qp(a.pd, &init);
	rig_connect(&a, &b, NULL);
	for (unsigned int i = 0; i < 32; i++)
		RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 8), 0);
	RIG_EQUAL(ibv_get_async_event(a.context, &event), 0);
	RIG_EQUAL(event.event_type, IBV_EVENT_CQ_ERR);
	RIG_CHECK(event.element.cq == small);
	ibv_ack_async_event(&event);
	RIG_EQUAL(rig_async(a.context), IBV_EVENT_QP_FATAL);
	RIG_EQUAL(ibv_query_qp(a.qp, &attr, IBV_QP_STATE, &init), 0);
	RIG_EQUAL(attr.qp_state, IBV_QPS_ERR);
	RIG_EQUAL(ibv_destroy_qp(a.qp), 0);
	RIG_EQUAL(ibv_destroy_cq(small), 0);
	init.send_cq = init.recv_cq = a.cq; /* for tear_down */
	a.qp = ibv_create_qp(a.pd, &init);
	tear_down();
}

#define N_QPS 300

static void
three_hundred_qps_work_at_once(void)
{
	static struct rig_end many[N_QPS];
	unsigned int n_done = 0;
	struct ibv_wc wc;

	set_up(NULL);
	for (unsigned int i = 0; i < N_QPS; i++) {
		struct ibv_qp_init_attr init = {.send_cq = i & 1 ? a.cq : b.cq,
						.recv_cq = i & 1 ? a.cq : b.cq,
						.qp_type = IBV_QPT_RC,
						.cap = {.max_send_wr = 4,
							.max_recv_wr = 4,
							.max_send_sge = 1,
							.max_recv_sge = 1}};
		many[i] = i & 1 ? a : b;
		many[i].qp = ibv_create_qp(many[i].pd, &init);
		RIG_CHECK(many[i].qp != NULL);
		if (many[i].qp && i & 1)
			rig_connect(&many[i], &many[i - 1], NULL);
	}
	rig_fill(a.buf, 4096, 3);
	for (unsigned int i = 1; i < N_QPS; i += 2)
		RIG_EQUAL(rig_post(&many[i], &b, IBV_WR_RDMA_WRITE, 0, i * 4096ull, 4096), 0);
	while (n_done < N_QPS / 2 && rig_wait(a.cq, &wc, 2000) && !wc.status)
		n_done++;
	RIG_EQUAL(n_done, N_QPS / 2);
	for (unsigned int i = 1; i < N_QPS; i += 2)
		RIG_CHECK(memcmp(a.buf, b.buf + i * 4096ull, 4096) == 0);
	for (unsigned int i = 0; i < N_QPS; i++)
		RIG_EQUAL(ibv_destroy_qp(many[i].qp), 0);
	tear_down();
}

static void
a_shared_receive_queue_serves_and_warns(void)
{
	struct ibv_context *context = rig_open(0);
	struct ibv_pd *pd = ibv_alloc_pd(context);
	struct ibv_srq_init_attr init = {.attr = {.max_wr = 16, .max_sge = 1}};
	struct ibv_srq *srq = ibv_create_srq(pd, &init);
	struct ibv_srq_attr limit = {.srq_limit = 3};
	struct ibv_recv_wr wr = {.num_sge = 1}, *bad;
	struct ibv_sge sge;

	rig_create(&b, &(struct rig_options){.srq = srq});
	rig_create(&a, &(struct rig_options){.device = 1});
	rig_connect(&a, &b, NULL);
	wr.sg_list = &sge;
	for (unsigned int i = 0; i < 5; i++) {
		sge = (struct ibv_sge){(uintptr_t)b.buf + i * 100, 100, b.mr->lkey};
		wr.wr_id = i;
		RIG_EQUAL(ibv_post_srq_recv(srq, &wr, &bad), 0);
	}
	RIG_EQUAL(ibv_modify_srq(srq, &limit, IBV_SRQ_LIMIT), 0);
	for (unsigned int i = 0; i < 3; i++) {
		struct ibv_wc wc;

		rig_fill(a.buf, 100, i);
		RIG_EQUAL(rig_post(&a, NULL, IBV_WR_SEND, 0, 0, 100), 0);
		RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
		RIG_CHECK(rig_wait(b.cq, &wc, 1000));
		RIG_EQUAL(wc.wr_id, i);
		RIG_CHECK(memcmp(a.buf, b.buf + i * 100, 100) == 0);
	}
	RIG_EQUAL(rig_async(context), IBV_EVENT_SRQ_LIMIT_REACHED);
	rig_destroy(&a);
	rig_destroy(&b);
	RIG_EQUAL(ibv_destroy_srq(srq), 0);
	RIG_EQUAL(ibv_dealloc_pd(pd), 0);
	RIG_EQUAL(ibv_close_device(context), 0);
}

static void
relaxed_ordering_reaches_the_device(void)
{
	struct ibv_mr *relaxed;
	char line[512], key[32];
	bool seen_relaxed = false, seen_strict = false;
	FILE *list;

	rig_create(&a, &(struct rig_options){.device = 0});
	relaxed = ibv_reg_mr(a.pd, a.buf, 4096, RIG_ALL_ACCESS | IBV_ACCESS_RELAXED_ORDERING);
	RIG_CHECK(relaxed != NULL);
	list = popen("\"${SOFTNIC:-softnic}\" list", "r");
	snprintf(key, sizeof(key), "key=0x%x ", relaxed->lkey);
	while (list && fgets(line, sizeof(line), list)) {
		if (strstr(line, key))
			seen_relaxed = strstr(line, "RELAXED_ORDERING");
		else if (strstr(line, " mr key="))
			seen_strict |= !strstr(line, "RELAXED_ORDERING");
	}
	RIG_EQUAL(list ? pclose(list) : -1, 0);
	RIG_CHECK(seen_relaxed);
	RIG_CHECK(seen_strict);
	RIG_EQUAL(ibv_dereg_mr(relaxed), 0);
	rig_destroy(&a);
}

static unsigned long long
read_counter(const char *device, const char *name)
{
	char path[128];
	unsigned long long value = ~0ull;

	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/counters/%s", device, name);
	FILE *f = fopen(path, "r");
	if (!f || fscanf(f, "%llu", &value) != 1)
		value = ~0ull;
	if (f)
		fclose(f);
	return value;
}

static void
port_counters_are_current(void)
{
	unsigned long long tx, rx;

	set_up(NULL);
	tx = read_counter("mlx5_0", "port_xmit_data");
	rx = read_counter("mlx5_1", "port_rcv_data");
	check_write(0, 0, 1 << 20);
	usleep(1000); /* the NIC publishes at the end of its pass */
	RIG_EQUAL(read_counter("mlx5_0", "port_xmit_data") - tx, (1 << 20) / 4);
	RIG_EQUAL(read_counter("mlx5_1", "port_rcv_data") - rx, (1 << 20) / 4);
	tear_down();
}

int
main(void)
{
#define RUN(test) rig_run(#test, test)
	RUN(write_moves_every_length);
	RUN(read_moves_bytes_back);
	RUN(send_arrives_with_length_and_immediate);
	RUN(write_with_immediate_consumes_a_receive);
	RUN(several_sges_are_gathered_and_scattered);
	RUN(inline_wraps_at_the_rings_end);
	RUN(completions_of_64_bytes);
	RUN(completions_of_128_bytes);
	RUN(atomics_return_the_old_value);
	RUN(requests_of_a_qp_take_effect_in_order);
	RUN(a_reset_qp_can_be_connected_again);
	RUN(a_record_without_a_doorbell_is_not_executed);
	RUN(completion_events_wake_a_sleeper);
	RUN(an_overrun_cq_reports_and_breaks_its_qps);
	RUN(three_hundred_qps_work_at_once);
	RUN(a_shared_receive_queue_serves_and_warns);
	RUN(relaxed_ordering_reaches_the_device);
	RUN(port_counters_are_current);
	return rig_finish();
}
