/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The same batches through libibverbs, on a QP that is its own peer. As kvrail does, every 32nd
 * work request and the last of a batch ask for a completion.
 */

#include <errno.h>

#include <rte_cycles.h>

#include "cost.h"

#define SIGNAL_EVERY 32
#define N_CQES	     (COST_BATCH / SIGNAL_EVERY)
#define SQ_WRS	     256

static struct {
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	struct ibv_qp_ex *qp_ex;
	uint32_t lkey, rkey;
	uint64_t remote_addr;
	struct ibv_send_wr wrs[COST_BATCH];
	struct ibv_sge sges[COST_BATCH];
	bool begun; /* a batch is under way */
} verbs;

/* ---- set-up ---- */

static int
qp_connect(struct ibv_qp *qp, const struct kvr_device *device)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = device->port,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE,
		.path_mtu = device->mtu,
		.dest_qp_num = qp->qp_num,
		.ah_attr = {.port_num = device->port,
			    .is_global = 1,
			    .grh = {.dgid = device->gid,
				    .sgid_index = device->gid_idx,
				    .hop_limit = 1}},
		.timeout = 14,
		.retry_cnt = 7,
		.rnr_retry = 7,
	};
	int err = ibv_modify_qp(
		qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);

	attr.qp_state = IBV_QPS_RTR;
	if (err == 0)
		err = ibv_modify_qp(qp, &attr,
				    IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
					    IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
					    IBV_QP_MIN_RNR_TIMER);
	attr.qp_state = IBV_QPS_RTS;
	if (err == 0)
		err = ibv_modify_qp(qp, &attr,
				    IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT |
					    IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
					    IBV_QP_MAX_QP_RD_ATOMIC);
	return err;
}

/* What is the same in every batch is written once. */
static void
wrs_make(void)
{
	uint32_t i;

	for (i = 0; i < COST_BATCH; i++) {
		verbs.sges[i] = (struct ibv_sge){.lkey = verbs.lkey};
		verbs.wrs[i] = (struct ibv_send_wr){
			.wr_id = i,
			.sg_list = &verbs.sges[i],
			.num_sge = 1,
			.opcode = IBV_WR_RDMA_WRITE,
			.send_flags = i % SIGNAL_EVERY == SIGNAL_EVERY - 1 ? IBV_SEND_SIGNALED : 0,
			.wr.rdma.rkey = verbs.rkey,
		};
	}
}

static void
verbs_open(struct cost_node *node)
{
	const struct kvr_device *device = &node->engine->devices[0];
	const struct kvr_keys *keys = &node->engine->pools[0]->region->keys[device->idx];
	struct ibv_qp_init_attr_ex attr = {
		.cap = {.max_send_wr = SQ_WRS, .max_send_sge = 1},
		.qp_type = IBV_QPT_RC,
		.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.pd = device->pd,
		.send_ops_flags = IBV_QP_EX_WITH_RDMA_WRITE,
	};

	verbs.cq = ibv_create_cq(device->context, SQ_WRS, NULL, NULL, 0);
	if (verbs.cq == NULL)
		cost_die("ibv_create_cq", errno);
	attr.send_cq = attr.recv_cq = verbs.cq;
	verbs.qp = ibv_create_qp_ex(device->context, &attr);
	if (verbs.qp == NULL)
		cost_die("ibv_create_qp_ex", errno);
	if (qp_connect(verbs.qp, device) != 0)
		cost_die("ibv_modify_qp", errno);
	verbs.qp_ex = ibv_qp_to_qp_ex(verbs.qp);
	verbs.lkey = keys->bulk_lkey;
	verbs.rkey = keys->bulk_rkey;
	verbs.remote_addr = node->segment->remote_addr;
	verbs.begun = false;
	wrs_make();
}

static void
verbs_close(struct cost_node *node)
{
	(void)node;
	ibv_destroy_qp(verbs.qp);
	ibv_destroy_cq(verbs.cq);
}

/* ---- a batch ---- */

/* What differs from one batch to the next. */
void cost_verbs_fill(const struct kvr_transfer *transfers, bool linked);
void __attribute__((noinline)) cost_verbs_fill(const struct kvr_transfer *transfers, bool linked)
{
	uint32_t i;

	for (i = 0; i < COST_BATCH; i++) {
		verbs.sges[i].addr = (uintptr_t)transfers[i].local;
		verbs.sges[i].length = (uint32_t)transfers[i].length_bytes;
		verbs.wrs[i].wr.rdma.remote_addr = verbs.remote_addr + transfers[i].offset;
		verbs.wrs[i].next = linked && i + 1 < COST_BATCH ? &verbs.wrs[i + 1] : NULL;
	}
}

void cost_verbs_post_single(const struct kvr_transfer *transfers);
void __attribute__((noinline)) cost_verbs_post_single(const struct kvr_transfer *transfers)
{
	struct ibv_send_wr *bad;
	uint32_t i;

	(void)transfers;
	for (i = 0; i < COST_BATCH; i++)
		if (ibv_post_send(verbs.qp, &verbs.wrs[i], &bad) != 0)
			cost_die("ibv_post_send", errno);
}

void cost_verbs_post_list(const struct kvr_transfer *transfers);
void __attribute__((noinline)) cost_verbs_post_list(const struct kvr_transfer *transfers)
{
	struct ibv_send_wr *bad;

	(void)transfers;
	if (ibv_post_send(verbs.qp, verbs.wrs, &bad) != 0)
		cost_die("ibv_post_send", errno);
}

/* This interface takes addresses as they are: nothing is to be filled. */
void cost_verbs_post_wr(const struct kvr_transfer *transfers);
void __attribute__((noinline)) cost_verbs_post_wr(const struct kvr_transfer *transfers)
{
	struct ibv_qp_ex *qp = verbs.qp_ex;
	uint32_t i;

	ibv_wr_start(qp);
	for (i = 0; i < COST_BATCH; i++) {
		qp->wr_id = i;
		qp->wr_flags = i % SIGNAL_EVERY == SIGNAL_EVERY - 1 ? IBV_SEND_SIGNALED : 0;
		ibv_wr_rdma_write(qp, verbs.rkey, verbs.remote_addr + transfers[i].offset);
		ibv_wr_set_sge(qp, verbs.lkey, (uintptr_t)transfers[i].local,
			       (uint32_t)transfers[i].length_bytes);
	}
	if (ibv_wr_complete(qp) != 0)
		cost_die("ibv_wr_complete", errno);
}

/* All completions of the batch before. */
void cost_verbs_poll(void);
void __attribute__((noinline)) cost_verbs_poll(void)
{
	struct ibv_wc wcs[N_CQES];
	int i;

	if (ibv_poll_cq(verbs.cq, N_CQES, wcs) != N_CQES)
		cost_die("ibv_poll_cq: a batch has not ended", ETIMEDOUT);
	for (i = 0; i < N_CQES; i++)
		if (wcs[i].status != IBV_WC_SUCCESS)
			cost_die(ibv_wc_status_str(wcs[i].status), EIO);
}

static inline void
verbs_round(const struct kvr_transfer *transfers, bool fills, bool linked,
	    void (*post)(const struct kvr_transfer *), uint64_t tsc[COST_PHASES])
{
	uint64_t at[COST_PHASES + 1];
	uint32_t i;

	at[COST_FILL] = rte_rdtsc();
	if (fills)
		cost_verbs_fill(transfers, linked);
	at[COST_HAND] = rte_rdtsc();
	post(transfers);
	at[COST_TURN] = at[COST_POLL] = rte_rdtsc();
	if (verbs.begun)
		cost_verbs_poll();
	at[COST_PHASES] = rte_rdtsc();
	for (i = 0; i < COST_PHASES; i++)
		tsc[i] += at[i + 1] - at[i];
	verbs.begun = true;
	cost_device_run();
}

static void
single_round(struct cost_node *node, uint32_t i, uint64_t tsc[COST_PHASES])
{
	verbs_round(node->transfers[i], true, false, cost_verbs_post_single, tsc);
}

static void
list_round(struct cost_node *node, uint32_t i, uint64_t tsc[COST_PHASES])
{
	verbs_round(node->transfers[i], true, true, cost_verbs_post_list, tsc);
}

static void
wr_round(struct cost_node *node, uint32_t i, uint64_t tsc[COST_PHASES])
{
	verbs_round(node->transfers[i], false, false, cost_verbs_post_wr, tsc);
}

const struct cost_way cost_verbs_single = {"ibv_post_send", verbs_open, single_round, verbs_close};
const struct cost_way cost_verbs_list = {"ibv_post_send-list", verbs_open, list_round, verbs_close};
const struct cost_way cost_verbs_wr = {"ibv_wr", verbs_open, wr_round, verbs_close};
