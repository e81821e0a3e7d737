/* SPDX-License-Identifier: BSD-3-Clause */
/* Registration of memory, and memory windows. */
#include <errno.h>
#include <infiniband/verbs.h>

#include "held.h"
#include "mr.h"
#include "nic.h"
#include "window.h"

#define SUPPORTED_ACCESS                                                                           \
	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ |               \
	 IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_MW_BIND | IBV_ACCESS_ZERO_BASED |                   \
	 IBV_ACCESS_HUGETLB)

struct region {
	struct sn_object object;
	struct sn_object *pd;
	uint32_t index;
};

static int
check_access(uint32_t access)
{
	/* Flags of the optional range are hints: unknown ones are ignored. */
	uint32_t required = access & ~(uint32_t)IB_UVERBS_ACCESS_OPTIONAL_RANGE;

	if (required & ~(uint32_t)SUPPORTED_ACCESS)
		return -EOPNOTSUPP; /* on-demand paging */
	if ((access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)) &&
	    !(access & IBV_ACCESS_LOCAL_WRITE))
		return -EINVAL;
	return 0;
}

/* A device that cannot do relaxed ordering ignores the wish for it, as mlx5 does. */
static uint32_t
granted_access(const struct sn_context *context, uint32_t access)
{
	bool relaxed = sn_nic.instance.shm->fabric.device[context->device].relaxed_ordering;

	return relaxed ? access : access & ~(uint32_t)IBV_ACCESS_RELAXED_ORDERING;
}

/* Without the lock: faulting in gigabytes must not stop the NIC. */
static int
pin_and_publish(const struct sn_mr_spec *spec, uint32_t *index)
{
	int err;

	sn_nic_unlock();
	err = sn_mr_pin(spec->start, spec->len, spec->access & IBV_ACCESS_LOCAL_WRITE);
	if (!err)
		err = sn_mr_publish(spec, index);
	sn_nic_lock();
	return err;
}

int
sn_cmd_pin_queue(uint64_t buf_addr, uint64_t bytes, uint64_t db_addr)
{
	int err;

	if (buf_addr % 64 || db_addr % 8)
		return -EINVAL;
	sn_nic_unlock();
	err = sn_mr_pin(buf_addr, bytes, true);
	if (!err)
		err = sn_mr_pin(db_addr, 8, true);
	sn_nic_lock();
	return err;
}

int
sn_cmd_mr_reg(struct sn_cmd *cmd)
{
	const struct ib_uverbs_reg_mr *req = sn_cmd_in(cmd, UVERBS_ATTR_CORE_IN, sizeof(*req));
	struct sn_object *pd = req ? sn_object_find(cmd->context, SN_PD, req->pd_handle) : NULL;
	struct ib_uverbs_reg_mr_resp resp;
	struct region *region;
	int err;

	if (!pd)
		return -EINVAL;
	err = check_access(req->access_flags);
	if (err)
		return err;
	region = sn_object_create(cmd->context, SN_MR, sizeof(*region));
	if (!region)
		return -ENOMEM;
	pd->n_users++;
	region->pd = pd;
	err = pin_and_publish(
		&(struct sn_mr_spec){.start = req->start,
				     .len = req->length,
				     .iova = req->hca_va,
				     .access = granted_access(cmd->context, req->access_flags),
				     .pd = pd->handle,
				     .device = cmd->context->device},
		&region->index);
	if (err) {
		pd->n_users--;
		sn_object_free(region);
		return err;
	}
	const struct sn_shm_mr *mr = &sn_nic.instance.shm->mr[region->index];
	SN_LOG("mlx5_%u: reg_mr %#llx+%llu access %#x%s: key %#x, %s", cmd->context->device,
	       (unsigned long long)mr->start, (unsigned long long)mr->len, mr->access,
	       mr->access & IBV_ACCESS_RELAXED_ORDERING ? " (relaxed ordering)" : "", mr->key,
	       mr->n_extents ? "shareable" : "private");
	resp = (struct ib_uverbs_reg_mr_resp){
		.mr_handle = region->object.handle, .lkey = mr->key, .rkey = mr->key};
	sn_cmd_out(cmd, UVERBS_ATTR_CORE_OUT, &resp, sizeof(resp));
	return 0;
}

void
sn_mr_release(struct sn_object *object)
{
	struct region *region = (struct region *)object;
	uint32_t index = region->index;

	sn_held_push(sn_nic.instance.id, object->context->device);
	region->pd->n_users--;
	sn_object_free(region);
	sn_nic_unlock();
	sn_mr_withdraw(index);
	sn_nic_lock();
}

int
sn_cmd_mr_destroy(struct sn_cmd *cmd)
{
	struct sn_object *object = sn_cmd_object(cmd, UVERBS_ATTR_DESTROY_MR_HANDLE, SN_MR);

	if (!object)
		return -ENOENT;
	sn_mr_release(object);
	return 0;
}

/* ---- memory windows ---- */

int
sn_cmd_mw_alloc(struct sn_cmd *cmd)
{
	const struct ib_uverbs_alloc_mw *req = sn_cmd_in(cmd, UVERBS_ATTR_CORE_IN, sizeof(*req));
	struct sn_object *pd = req ? sn_object_find(cmd->context, SN_PD, req->pd_handle) : NULL;
	struct ib_uverbs_alloc_mw_resp resp;
	struct region *window;
	int err;

	if (!pd || (req->mw_type != IBV_MW_TYPE_1 && req->mw_type != IBV_MW_TYPE_2))
		return -EINVAL;
	if (!sn_nic.wire->has_windows)
		return -EOPNOTSUPP;
	window = sn_object_create(cmd->context, SN_MW, sizeof(*window));
	if (!window)
		return -ENOMEM;
	err = sn_window_create(pd->handle, cmd->context->device, &window->index);
	if (err) {
		sn_object_free(window);
		return err;
	}
	pd->n_users++;
	window->pd = pd;
	resp = (struct ib_uverbs_alloc_mw_resp){
		.mw_handle = window->object.handle,
		.rkey = sn_nic.instance.shm->mr[window->index].key,
	};
	sn_cmd_out(cmd, UVERBS_ATTR_CORE_OUT, &resp, sizeof(resp));
	return 0;
}

int
sn_cmd_mw_destroy(struct sn_cmd *cmd)
{
	struct sn_object *object = sn_cmd_object(cmd, UVERBS_ATTR_DESTROY_MW_HANDLE, SN_MW);

	if (!object)
		return -ENOENT;
	sn_mr_release(object);
	return 0;
}

/* Advice about paging: everything is present already. */
int
sn_cmd_mr_advise(struct sn_cmd *cmd)
{
	(void)cmd;
	return 0;
}
