/* SPDX-License-Identifier: BSD-3-Clause */
/* Completion queues and shared receive queues. */
#include <endian.h>
#include <errno.h>
#include <infiniband/verbs.h>
#include <rdma/mlx5-abi.h>
#include <stddef.h>

#include "fdtable.h"
#include "receive.h"

#define FIRST_CQN 0x400

/* ---- completion queues ---- */

static struct sn_event_queue *
channel_of(const struct sn_cmd *cmd, int *err)
{
	struct sn_event_queue *channel = NULL;

	*err = 0;
	if (sn_cmd_has(cmd, UVERBS_ATTR_CREATE_CQ_COMP_CHANNEL)) {
		channel = sn_fd_queue(
			(int)sn_cmd_in_scalar(cmd, UVERBS_ATTR_CREATE_CQ_COMP_CHANNEL, ~0ull));
		*err = channel ? 0 : -EBADF;
	}
	return channel;
}

/* libmlx5 asks for one less than the entries it has allocated, a power of two. */
static bool
is_ring_size(uint32_t cqe)
{
	return cqe < SN_MAX_CQE && (cqe & (cqe + 1)) == 0;
}

int
sn_cmd_cq_create(struct sn_cmd *cmd)
{
	const struct mlx5_ib_create_cq *req = sn_cmd_in(
		cmd, UVERBS_ATTR_UHW_IN, offsetof(struct mlx5_ib_create_cq, uar_page_index));
	uint32_t cqe = (uint32_t)sn_cmd_in_scalar(cmd, UVERBS_ATTR_CREATE_CQ_CQE, 0);
	static uint32_t next_cqn = FIRST_CQN;
	struct sn_event_queue *channel;
	struct mlx5_ib_create_cq_resp driver = {0};
	struct sn_cq *cq;
	int err;

	if (!req || !is_ring_size(cqe) || (req->cqe_size != 64 && req->cqe_size != 128))
		return -EINVAL;
	if (req->cqe_comp_en)
		return -EOPNOTSUPP;
	err = sn_cmd_pin_queue(req->buf_addr, (cqe + 1ull) * req->cqe_size, req->db_addr);
	if (err)
		return err;
	channel = channel_of(cmd, &err);
	if (err)
		return err;
	cq = sn_object_create(cmd->context, SN_CQ, sizeof(*cq));
	if (!cq)
		return -ENOMEM;
	cq->cqn = next_cqn++ & 0xffffff;
	cq->n_cqe = cqe + 1;
	cq->cqe_bytes = req->cqe_size;
	cq->buf = (uint8_t *)(uintptr_t)req->buf_addr;
	cq->dbrec = (_Atomic uint32_t *)(uintptr_t)req->db_addr;
	cq->user_handle = sn_cmd_in_scalar(cmd, UVERBS_ATTR_CREATE_CQ_USER_HANDLE, 0);
	cq->channel = channel;
	cq->served_arm = SN_ARM_NEVER;
	atomic_store(&cq->dbrec[1], htobe32(SN_ARM_NEVER));
	if (channel) {
		channel->n_users++;
		TAILQ_INSERT_TAIL(&sn_nic.notifying, cq, link);
	}
	driver.cqn = cq->cqn;
	sn_cmd_out(cmd, UVERBS_ATTR_CREATE_CQ_RESP_CQE, &cqe, sizeof(cqe));
	sn_cmd_out_handle(cmd, UVERBS_ATTR_CREATE_CQ_HANDLE, cq->object.handle);
	sn_cmd_out(cmd, UVERBS_ATTR_UHW_OUT, &driver, sizeof(driver));
	return 0;
}

void
sn_cq_release(struct sn_object *object)
{
	struct sn_cq *cq = (struct sn_cq *)object;

	if (cq->channel) {
		TAILQ_REMOVE(&sn_nic.notifying, cq, link);
		sn_event_queue_put(cq->channel);
	}
	sn_object_free(cq);
}

int
sn_cmd_cq_destroy(struct sn_cmd *cmd)
{
	struct sn_cq *cq = sn_cmd_object(cmd, UVERBS_ATTR_DESTROY_CQ_HANDLE, SN_CQ);
	struct ib_uverbs_destroy_cq_resp resp;

	if (!cq)
		return -ENOENT;
	if (cq->object.n_users)
		return -EBUSY;
	resp.comp_events_reported =
		sn_event_queue_given(cq->channel, cq->user_handle, cq->n_comp_events);
	resp.async_events_reported =
		sn_event_queue_given(cmd->context->async, cq->user_handle, cq->n_async_events);
	sn_cmd_out(cmd, UVERBS_ATTR_DESTROY_CQ_RESP, &resp, sizeof(resp));
	sn_cq_release(&cq->object);
	return 0;
}

int
sn_cmd_cq_resize(struct sn_cmd *cmd)
{
	const struct ib_uverbs_resize_cq *req = sn_cmd_in(cmd, UVERBS_ATTR_CORE_IN, sizeof(*req));
	const struct mlx5_ib_resize_cq *driver =
		sn_cmd_in(cmd, UVERBS_ATTR_UHW_IN, sizeof(*driver));
	struct sn_cq *cq = req ? sn_object_find(cmd->context, SN_CQ, req->cq_handle) : NULL;
	struct ib_uverbs_resize_cq_resp resp = {0};
	int err;

	if (!cq || !driver || driver->cqe_size != cq->cqe_bytes || !is_ring_size(req->cqe))
		return -EINVAL;
	err = sn_cmd_pin_queue(driver->buf_addr, (req->cqe + 1ull) * driver->cqe_size,
			       (uintptr_t)cq->dbrec);
	cq = sn_object_find(cmd->context, SN_CQ, req->cq_handle);
	if (err || !cq)
		return err ? err : -EINVAL;
	err = sn_cq_resize(cq, (uint8_t *)(uintptr_t)driver->buf_addr, req->cqe + 1);
	if (err)
		return err;
	resp.cqe = req->cqe;
	sn_cmd_out(cmd, UVERBS_ATTR_CORE_OUT, &resp, sizeof(resp));
	return 0;
}

/* Moderation: our completions are never delayed, which every setting allows. */
int
sn_cmd_cq_modify(struct sn_cmd *cmd)
{
	(void)cmd;
	return 0;
}

/* ---- shared receive queues ---- */

int
sn_cmd_srq_create(struct sn_cmd *cmd)
{
	const struct mlx5_ib_create_srq *req =
		sn_cmd_in(cmd, UVERBS_ATTR_UHW_IN, offsetof(struct mlx5_ib_create_srq, flags));
	uint32_t max_wr = (uint32_t)sn_cmd_in_scalar(cmd, UVERBS_ATTR_CREATE_SRQ_MAX_WR, 0);
	uint32_t max_sge = (uint32_t)sn_cmd_in_scalar(cmd, UVERBS_ATTR_CREATE_SRQ_MAX_SGE, 0);
	uint32_t type = (uint32_t)sn_cmd_in_scalar(cmd, UVERBS_ATTR_CREATE_SRQ_TYPE, 0);
	static uint32_t next_srqn = 1;
	struct mlx5_ib_create_srq_resp driver = {0};
	uint32_t n_wqe = 1, wqe_shift = 5;
	struct sn_object *pd;
	struct sn_srq *srq;
	int err;

	if (!req || max_wr >= SN_MAX_QUEUE || max_sge > 31)
		return -EINVAL;
	if (type != IB_UVERBS_SRQT_BASIC)
		return -EOPNOTSUPP;
	/* As libmlx5 lays it out: a link and the scatter list, rounded up; one WQE spare. */
	while (1u << wqe_shift < 16 + max_sge * 16)
		wqe_shift++;
	while (n_wqe < max_wr + 1)
		n_wqe *= 2;
	err = sn_cmd_pin_queue(req->buf_addr, (uint64_t)n_wqe << wqe_shift, req->db_addr);
	pd = sn_cmd_object(cmd, UVERBS_ATTR_CREATE_SRQ_PD_HANDLE, SN_PD);
	if (err || !pd)
		return err ? err : -EINVAL;
	srq = sn_object_create(cmd->context, SN_SRQ, sizeof(*srq));
	if (!srq)
		return -ENOMEM;
	srq->n_wqe = n_wqe;
	srq->wqe_shift = wqe_shift;
	srq->buf = (uint8_t *)(uintptr_t)req->buf_addr;
	srq->dbrec = (_Atomic uint32_t *)(uintptr_t)req->db_addr;
	srq->user_handle = sn_cmd_in_scalar(cmd, UVERBS_ATTR_CREATE_SRQ_USER_HANDLE, 0);
	srq->pd = pd->handle;
	pd->n_users++;
	srq->srqn = next_srqn++ & 0xffffff;
	max_wr = srq->n_wqe - 1;
	max_sge = (1u << (srq->wqe_shift - 4)) - 1;
	driver.srqn = srq->srqn;
	sn_cmd_out_handle(cmd, UVERBS_ATTR_CREATE_SRQ_HANDLE, srq->object.handle);
	sn_cmd_out(cmd, UVERBS_ATTR_CREATE_SRQ_RESP_MAX_WR, &max_wr, sizeof(max_wr));
	sn_cmd_out(cmd, UVERBS_ATTR_CREATE_SRQ_RESP_MAX_SGE, &max_sge, sizeof(max_sge));
	sn_cmd_out(cmd, UVERBS_ATTR_CREATE_SRQ_RESP_SRQ_NUM, &srq->srqn, sizeof(srq->srqn));
	sn_cmd_out(cmd, UVERBS_ATTR_UHW_OUT, &driver, sizeof(driver));
	return 0;
}

int
sn_cmd_srq_modify(struct sn_cmd *cmd)
{
	const struct ib_uverbs_modify_srq *req = sn_cmd_in(cmd, UVERBS_ATTR_CORE_IN, sizeof(*req));
	struct sn_srq *srq = req ? sn_object_find(cmd->context, SN_SRQ, req->srq_handle) : NULL;

	if (!srq)
		return -EINVAL;
	if (req->attr_mask & IBV_SRQ_MAX_WR)
		return -EOPNOTSUPP;
	if (req->attr_mask & IBV_SRQ_LIMIT) {
		if (req->srq_limit >= srq->n_wqe)
			return -EINVAL;
		srq->limit = (uint16_t)req->srq_limit;
		sn_srq_check_limit(srq);
	}
	return 0;
}

int
sn_cmd_srq_query(struct sn_cmd *cmd)
{
	const struct ib_uverbs_query_srq *req = sn_cmd_in(cmd, UVERBS_ATTR_CORE_IN, sizeof(*req));
	struct sn_srq *srq = req ? sn_object_find(cmd->context, SN_SRQ, req->srq_handle) : NULL;
	struct ib_uverbs_query_srq_resp resp = {0};

	if (!srq)
		return -EINVAL;
	resp.max_wr = srq->n_wqe - 1;
	resp.max_sge = (1u << (srq->wqe_shift - 4)) - 1;
	resp.srq_limit = srq->limit;
	sn_cmd_out(cmd, UVERBS_ATTR_CORE_OUT, &resp, sizeof(resp));
	return 0;
}

void
sn_srq_release(struct sn_object *object)
{
	struct sn_object *pd =
		sn_object_find(object->context, SN_PD, ((struct sn_srq *)object)->pd);

	if (pd)
		pd->n_users--;
	sn_object_free(object);
}

int
sn_cmd_srq_destroy(struct sn_cmd *cmd)
{
	struct sn_srq *srq = sn_cmd_object(cmd, UVERBS_ATTR_DESTROY_SRQ_HANDLE, SN_SRQ);
	struct ib_uverbs_destroy_srq_resp resp;

	if (!srq)
		return -ENOENT;
	if (srq->object.n_users)
		return -EBUSY;
	resp.events_reported =
		sn_event_queue_given(cmd->context->async, srq->user_handle, srq->n_async_events);
	sn_cmd_out(cmd, UVERBS_ATTR_DESTROY_SRQ_RESP, &resp, sizeof(resp));
	sn_srq_release(&srq->object);
	return 0;
}
