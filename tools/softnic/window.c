/* SPDX-License-Identifier: BSD-3-Clause */
#include <endian.h>
#include <errno.h>
#include <infiniband/mlx5dv.h>

#include "grace.h"
#include "held.h"
#include "mr.h"
#include "window.h"

int
sn_window_create(uint32_t pd, uint32_t device, uint32_t *index)
{
	struct sn_shm_mr *mr = sn_mr_claim(index);

	if (!mr)
		return -ENOMEM;
	mr->is_window = true;
	mr->pd = pd;
	mr->device = device;
	return 0;
}

/* Our window of this index, whatever its key's variant is by now. */
static struct sn_shm_mr *
find(const struct sn_qp *qp, uint32_t rkey)
{
	struct sn_shm_mr *mr = &sn_nic.instance.shm->mr[(rkey >> 8) % SN_MAX_MRS];

	return atomic_load(&mr->owner) == sn_nic.instance.id && mr->is_window && mr->pd == qp->pd &&
			       mr->key >> 8 == rkey >> 8
		       ? mr
		       : NULL;
}

/* Nobody uses the key once this returns. */
static void
unbind(struct sn_shm_mr *window)
{
	sn_held_push(sn_nic.instance.id, window->device);
	atomic_store(&window->serial, 0);
	sn_grace_wait(sn_nic.instance.shm);
}

/* The region to bind to, if it may be. */
static const struct sn_shm_mr *
find_parent(const struct sn_qp *qp, const struct sn_window_bind *bind)
{
	const struct sn_shm_mr *mr = sn_mr_find(bind->lkey);
	bool writes = bind->access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC);

	if (!mr || mr->is_window || atomic_load(&mr->owner) != sn_nic.instance.id ||
	    mr->pd != qp->pd || !(mr->access & IBV_ACCESS_MW_BIND) ||
	    (writes && !(mr->access & IBV_ACCESS_LOCAL_WRITE)) ||
	    !sn_mr_covers(mr, bind->addr, bind->len))
		return NULL;
	return mr;
}

static void
publish(struct sn_shm_mr *window, const struct sn_shm_mr *parent, const struct sn_qp *qp,
	const struct sn_window_bind *bind)
{
	window->key = (window->key & ~0xffu) | bind->variant;
	window->access = bind->access | (parent->access & IBV_ACCESS_RELAXED_ORDERING);
	window->start = bind->addr - parent->iova + parent->start;
	window->iova = bind->iova;
	window->len = bind->len;
	window->qpn = bind->is_of_qp ? qp->qpn : 0;
	window->parent = (uint32_t)(parent - sn_nic.instance.shm->mr);
	window->parent_serial = atomic_load(&parent->serial);
	window->n_extents = parent->n_extents;
	memcpy(window->extent, parent->extent, sizeof(window->extent));
	/* Publishes the fields to the acquire in sn_mr_find(). */
	atomic_store_explicit(&window->serial,
			      atomic_fetch_add(&sn_nic.instance.shm->next_serial, 1),
			      memory_order_release);
}

bool
sn_window_invalidate(const struct sn_qp *qp, uint32_t rkey)
{
	struct sn_shm_mr *window = find(qp, rkey);

	if (!window || !atomic_load(&window->serial) || window->key != rkey ||
	    window->qpn != qp->qpn)
		return false;
	unbind(window);
	return true;
}

uint8_t
sn_window_execute(const struct sn_qp *qp, const struct sn_request *r)
{
	const struct sn_window_bind *bind = &r->bind;
	uint32_t rkey = be32toh(r->imm_be);
	struct sn_shm_mr *window = find(qp, rkey);
	const struct sn_shm_mr *parent = NULL;

	/* Type 2 alone can be invalidated, on its own QP; type 1 is bound to nothing instead. */
	if (bind->len == 0 && bind->is_of_qp)
		return sn_window_invalidate(qp, rkey) ? 0 : MLX5_CQE_SYNDROME_MW_BIND_ERR;
	if (!window || (bind->is_of_qp && atomic_load(&window->serial)))
		return MLX5_CQE_SYNDROME_MW_BIND_ERR;
	if (bind->len) {
		parent = find_parent(qp, bind);
		if (!parent)
			return MLX5_CQE_SYNDROME_MW_BIND_ERR;
	}
	if (atomic_load(&window->serial))
		unbind(window);
	if (parent)
		publish(window, parent, qp, bind);
	else
		window->key = (window->key & ~0xffu) | bind->variant;
	return 0;
}
