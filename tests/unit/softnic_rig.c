/* SPDX-License-Identifier: BSD-3-Clause */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "softnic_rig.h"

unsigned int rig_n_passed, rig_n_failed, rig_n_skipped;
bool rig_test_failed;

static void __attribute__((noreturn)) give_up(const char *what)
{
	printf("set-up failed: %s\n", what);
	exit(1);
}

struct ibv_context *
rig_open(unsigned int device)
{
	int n;
	struct ibv_device **list = ibv_get_device_list(&n);
	struct ibv_context *context = NULL;
	char name[16];

	snprintf(name, sizeof(name), "mlx5_%u", device);
	for (int i = 0; list && i < n; i++) {
		if (strcmp(ibv_get_device_name(list[i]), name) == 0)
			context = ibv_open_device(list[i]);
	}
	if (!context)
		give_up("ibv_open_device (run me under softnic)");
	ibv_free_device_list(list);
	return context;
}

static struct ibv_cq *
create_cq(struct rig_end *end, const struct rig_options *o, int n)
{
	/* CQEs of 128 bytes: MLX5_CQE_SIZE must be set before the device is opened. */
	return ibv_create_cq(end->context, n, NULL, o->channel, 0);
}

static void *
allocate(bool shared, size_t bytes)
{
	void *buf;
	int fd;

	if (!shared)
		return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			    0);
	fd = memfd_create("rig", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)bytes))
		give_up("memfd");
	buf = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return buf;
}

void
rig_create(struct rig_end *end, const struct rig_options *o)
{
	unsigned int depth = o->depth ? o->depth : 64;
	size_t bytes = o->buf_bytes ? o->buf_bytes : RIG_BUF_BYTES;
	char size[16];

	snprintf(size, sizeof(size), "%u", o->cqe_bytes ? o->cqe_bytes : 64);
	setenv("MLX5_CQE_SIZE", size, 1);
	end->context = o->channel ? o->channel->context
		       : o->srq	  ? o->srq->context
				  : rig_open(o->device);
	end->pd = o->srq ? o->srq->pd : ibv_alloc_pd(end->context);
	end->cq = create_cq(end, o, (int)depth * 4);
	if (!end->pd || !end->cq)
		give_up("PD or CQ");
	struct ibv_qp_init_attr init = {
		.send_cq = end->cq,
		.recv_cq = end->cq,
		.srq = o->srq,
		.qp_type = o->type ? o->type : IBV_QPT_RC,
		.cap = {.max_send_wr = depth,
			.max_recv_wr = depth,
			.max_send_sge = o->max_sge ? o->max_sge : 4,
			.max_recv_sge = o->max_sge ? o->max_sge : 4,
			.max_inline_data = o->inline_bytes},
	};
	end->qp = ibv_create_qp(end->pd, &init);
	end->buf = allocate(o->shared, bytes);
	if (!end->qp || end->buf == MAP_FAILED)
		give_up("QP or memory");
	end->mr = ibv_reg_mr(end->pd, end->buf, bytes, RIG_ALL_ACCESS);
	if (!end->mr || ibv_query_gid(end->context, 1, 3, &end->gid))
		give_up("MR or GID");
}

void
rig_destroy(struct rig_end *end)
{
	struct ibv_comp_channel *channel = end->cq->channel;
	bool shared_pd = end->qp->srq;
	size_t bytes = end->mr->length;

	RIG_EQUAL(ibv_destroy_qp(end->qp), 0);
	RIG_EQUAL(ibv_dereg_mr(end->mr), 0);
	RIG_EQUAL(ibv_destroy_cq(end->cq), 0);
	munmap(end->buf, bytes);
	if (shared_pd)
		return; /* the SRQ's owner closes */
	RIG_EQUAL(ibv_dealloc_pd(end->pd), 0);
	if (channel)
		RIG_EQUAL(ibv_destroy_comp_channel(channel), 0);
	RIG_EQUAL(ibv_close_device(end->context), 0);
}

struct rig_address
rig_address_of(const struct rig_end *end)
{
	return (struct rig_address){.qpn = end->qp->qp_num,
				    .rkey = end->mr->rkey,
				    .addr = (uintptr_t)end->buf,
				    .gid = end->gid};
}

void
rig_connect_to(struct rig_end *end, const struct rig_address *peer, const struct rig_link *l,
	       uint32_t sq_psn)
{
	bool rc = end->qp->qp_type == IBV_QPT_RC;
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qp_access_flags = (unsigned int)(l->access ? l->access : RIG_ALL_ACCESS) &
				   (rc ? ~0u : IBV_ACCESS_REMOTE_WRITE),
	};

	if (ibv_modify_qp(end->qp, &attr,
			  IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS))
		give_up("modify to INIT");
	attr = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTR,
		.path_mtu = l->mtu ? l->mtu : IBV_MTU_4096,
		.dest_qp_num = peer->qpn,
		.rq_psn = 100,
		.max_dest_rd_atomic = 4,
		.min_rnr_timer = l->min_rnr_timer ? l->min_rnr_timer : 1,
		.ah_attr = {.is_global = 1,
			    .port_num = 1,
			    .grh = {.dgid = peer->gid, .sgid_index = 3, .hop_limit = 1}},
	};
	if (ibv_modify_qp(end->qp, &attr,
			  IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				  IBV_QP_RQ_PSN |
				  (rc ? IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER : 0)))
		give_up("modify to RTR");
	attr = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTS,
		.timeout = l->timeout ? l->timeout : 8,
		.retry_cnt = l->retry_cnt ? l->retry_cnt : 2,
		.rnr_retry = l->rnr_retry,
		.sq_psn = sq_psn,
		.max_rd_atomic = 4,
	};
	if (ibv_modify_qp(end->qp, &attr,
			  IBV_QP_STATE | IBV_QP_SQ_PSN |
				  (rc ? IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
						   IBV_QP_MAX_QP_RD_ATOMIC
				      : 0)))
		give_up("modify to RTS");
}

void
rig_connect(struct rig_end *a, struct rig_end *b, const struct rig_link *l)
{
	static const struct rig_link plain;
	struct rig_address address_a = rig_address_of(a), address_b = rig_address_of(b);

	if (!l)
		l = &plain;
	rig_connect_to(a, &address_b, l, 100 + l->sq_psn_skew);
	rig_connect_to(b, &address_a, l, 100);
}

int
rig_to_error(struct rig_end *end)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

	return ibv_modify_qp(end->qp, &attr, IBV_QP_STATE);
}

int
rig_post(struct rig_end *from, const struct rig_end *to, enum ibv_wr_opcode opcode, uint64_t local,
	 uint64_t remote, uint32_t len)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)from->buf + local, .length = len, .lkey = from->mr->lkey};
	struct ibv_send_wr wr = {.wr_id = local,
				 .sg_list = &sge,
				 .num_sge = 1,
				 .opcode = opcode,
				 .send_flags = IBV_SEND_SIGNALED,
				 .imm_data = 0x12345678};
	struct ibv_send_wr *bad;

	if (to) {
		wr.wr.rdma.remote_addr = (uintptr_t)to->buf + remote;
		wr.wr.rdma.rkey = to->mr->rkey;
	}
	return ibv_post_send(from->qp, &wr, &bad);
}

int
rig_post_recv(struct rig_end *end, uint64_t offset, uint32_t len)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)end->buf + offset, .length = len, .lkey = end->mr->lkey};
	struct ibv_recv_wr wr = {.wr_id = offset, .sg_list = &sge, .num_sge = 1}, *bad;

	return ibv_post_recv(end->qp, &wr, &bad);
}

uint64_t
rig_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

bool
rig_wait(struct ibv_cq *cq, struct ibv_wc *wc, unsigned int ms)
{
	uint64_t end = rig_now_us() + ms * 1000ull;

	do {
		if (ibv_poll_cq(cq, 1, wc) > 0)
			return true;
	} while (rig_now_us() < end);
	return false;
}

int
rig_status(struct ibv_cq *cq)
{
	struct ibv_wc wc;

	return rig_wait(cq, &wc, 2000) ? (int)wc.status : -1;
}

int
rig_async(struct ibv_context *context)
{
	struct pollfd pfd = {.fd = context->async_fd, .events = POLLIN};
	struct ibv_async_event event;

	if (poll(&pfd, 1, 1000) <= 0 || ibv_get_async_event(context, &event))
		return -1;
	ibv_ack_async_event(&event);
	return (int)event.event_type;
}

void
rig_fill(uint8_t *buf, size_t len, unsigned int seed)
{
	uint32_t x = seed * 2654435761u + 1;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		buf[i] = (uint8_t)x;
	}
}

void
rig_run(const char *name, void (*test)(void))
{
	rig_test_failed = false;
	test();
	printf("%s %s\n", rig_test_failed ? "FAIL" : "ok  ", name);
	fflush(stdout);
	if (rig_test_failed)
		rig_n_failed++;
	else
		rig_n_passed++;
}

int
rig_finish(void)
{
	printf("%u passed, %u failed, %u skipped\n", rig_n_passed, rig_n_failed, rig_n_skipped);
	return rig_n_failed ? 1 : 0;
}
