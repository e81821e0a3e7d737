/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <rdma/mlx5-abi.h>
#include <rdma/mlx5_user_ioctl_cmds.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fdtable.h"
#include "link.h"
#include "nic.h"
#include "trace.h"

struct sn_context_list sn_contexts = LIST_HEAD_INITIALIZER(sn_contexts);

/* ---- objects and handles ---- */

static struct {
	struct sn_object **slot;
	uint32_t n;    /* slots */
	uint32_t next; /* where the search for a free one starts */
} handles;

static int
grow_handles(void)
{
	uint32_t n = handles.n ? handles.n * 2 : 1024;
	struct sn_object **slot = realloc(handles.slot, n * sizeof(struct sn_object *));

	if (!slot)
		return -ENOMEM;
	memset(slot + handles.n, 0, (n - handles.n) * sizeof(struct sn_object *));
	handles.next = handles.n ? handles.n : 1;
	handles.slot = slot;
	handles.n = n;
	return 0;
}

void *
sn_object_create(struct sn_context *context, enum sn_kind kind, size_t bytes)
{
	struct sn_object *object = calloc(1, bytes);
	uint32_t tries = 0;

	if (!object)
		return NULL;
	while (tries < handles.n && (!handles.next || handles.slot[handles.next])) {
		handles.next = (handles.next + 1) % handles.n;
		tries++;
	}
	if (tries == handles.n && grow_handles()) {
		free(object);
		return NULL;
	}
	object->handle = handles.next;
	object->kind = kind;
	object->context = context;
	handles.slot[handles.next] = object;
	handles.next = (handles.next + 1) % handles.n;
	LIST_INSERT_HEAD(&context->objects, object, link);
	return object;
}

void *
sn_object_find(struct sn_context *context, enum sn_kind kind, uint32_t handle)
{
	struct sn_object *object = handle < handles.n ? handles.slot[handle] : NULL;

	return object && object->kind == kind && object->context == context ? object : NULL;
}

void
sn_object_free(void *object)
{
	struct sn_object *o = object;

	handles.slot[o->handle] = NULL;
	LIST_REMOVE(o, link);
	free(o);
}

void
sn_object_forget_all(void)
{
	memset(&handles, 0, sizeof(handles));
	LIST_INIT(&sn_contexts);
}

/* ---- attributes ---- */

static struct ib_uverbs_attr *
find_attr(const struct sn_cmd *cmd, uint16_t id)
{
	for (uint16_t i = 0; i < cmd->header->num_attrs; i++) {
		if (cmd->header->attrs[i].attr_id == id)
			return &cmd->header->attrs[i];
	}
	return NULL;
}

const void *
sn_cmd_in(const struct sn_cmd *cmd, uint16_t id, size_t min_bytes)
{
	const struct ib_uverbs_attr *attr = find_attr(cmd, id);

	if (!attr || attr->len < min_bytes || (attr->len > sizeof(attr->data) && !attr->data))
		return NULL;
	/* Small inputs are in the attribute itself. */
	return attr->len <= sizeof(attr->data) ? (const void *)&attr->data
					       : (const void *)(uintptr_t)attr->data;
}

uint64_t
sn_cmd_in_scalar(const struct sn_cmd *cmd, uint16_t id, uint64_t fallback)
{
	const struct ib_uverbs_attr *attr = find_attr(cmd, id);
	uint64_t value = 0;

	if (!attr || attr->len > sizeof(value))
		return fallback;
	memcpy(&value, &attr->data, attr->len ? attr->len : sizeof(value));
	return value;
}

bool
sn_cmd_has(const struct sn_cmd *cmd, uint16_t id)
{
	return find_attr(cmd, id);
}

void
sn_cmd_out(struct sn_cmd *cmd, uint16_t id, const void *data, size_t bytes)
{
	struct ib_uverbs_attr *attr = find_attr(cmd, id);

	if (!attr)
		return;
	uint8_t *to = (uint8_t *)(uintptr_t)attr->data;
	size_t n = SN_MIN(bytes, attr->len);

	if (!to) {
		cmd->faulted = true;
		return;
	}

	memcpy(to, data, n);
	memset(to + n, 0, attr->len - n);
	attr->flags |= UVERBS_ATTR_F_VALID_OUTPUT;
}

void
sn_cmd_out_handle(const struct sn_cmd *cmd, uint16_t id, uint32_t handle)
{
	struct ib_uverbs_attr *attr = find_attr(cmd, id);

	if (attr)
		attr->data = handle;
}

void *
sn_cmd_object(const struct sn_cmd *cmd, uint16_t id, enum sn_kind kind)
{
	const struct ib_uverbs_attr *attr = find_attr(cmd, id);

	return attr ? sn_object_find(cmd->context, kind, (uint32_t)attr->data) : NULL;
}

/* ---- dispatch ---- */

/* Commands that the kernel once took by write(2), and that libibverbs wraps. */
static const struct {
	uint32_t number;
	const char *name;
	sn_cmd_fn *run;
} write_commands[] = {
	{IB_USER_VERBS_CMD_QUERY_DEVICE, "QUERY_DEVICE", sn_cmd_query_device},
	{IB_USER_VERBS_EX_CMD_QUERY_DEVICE | IB_USER_VERBS_CMD_FLAG_EXTENDED, "EX_QUERY_DEVICE",
	 sn_cmd_query_device_ex},
	{IB_USER_VERBS_CMD_ALLOC_PD, "ALLOC_PD", sn_cmd_pd_alloc},
	{IB_USER_VERBS_CMD_CREATE_AH, "CREATE_AH", sn_cmd_ah_create},
	{IB_USER_VERBS_CMD_REG_MR, "REG_MR", sn_cmd_mr_reg},
	{IB_USER_VERBS_CMD_ALLOC_MW, "ALLOC_MW", sn_cmd_mw_alloc},
	{IB_USER_VERBS_CMD_CREATE_COMP_CHANNEL, "CREATE_COMP_CHANNEL", sn_cmd_channel_create},
	{IB_USER_VERBS_CMD_RESIZE_CQ, "RESIZE_CQ", sn_cmd_cq_resize},
	{IB_USER_VERBS_EX_CMD_MODIFY_CQ | IB_USER_VERBS_CMD_FLAG_EXTENDED, "EX_MODIFY_CQ",
	 sn_cmd_cq_modify},
	{IB_USER_VERBS_CMD_QUERY_QP, "QUERY_QP", sn_cmd_qp_query},
	{IB_USER_VERBS_CMD_MODIFY_QP, "MODIFY_QP", sn_cmd_qp_modify},
	{IB_USER_VERBS_EX_CMD_MODIFY_QP | IB_USER_VERBS_CMD_FLAG_EXTENDED, "EX_MODIFY_QP",
	 sn_cmd_qp_modify},
	{IB_USER_VERBS_CMD_MODIFY_SRQ, "MODIFY_SRQ", sn_cmd_srq_modify},
	{IB_USER_VERBS_CMD_QUERY_SRQ, "QUERY_SRQ", sn_cmd_srq_query},
};

static void
report(const struct sn_cmd *cmd, const char *name, int err)
{
	SN_LOG("mlx5_%u: %s: %s", cmd->context->device, name, err ? strerror(-err) : "ok");
	SN_TRACE("command", cmd->context->device, "%s %s", name,
		 err ? strerrorname_np(-err) : "ok");
}

static int
invoke_write(struct sn_cmd *cmd)
{
	uint32_t number = (uint32_t)sn_cmd_in_scalar(cmd, UVERBS_ATTR_WRITE_CMD, ~0u);

	for (size_t i = 0; i < sizeof(write_commands) / sizeof(write_commands[0]); i++) {
		if (write_commands[i].number != number)
			continue;
		int err = write_commands[i].run(cmd);
		report(cmd, write_commands[i].name, err);
		return err;
	}
	SN_LOG("mlx5_%u: write command %#x is not supported", cmd->context->device, number);
	return -EOPNOTSUPP;
}

static const struct {
	uint16_t object, method;
	const char *name;
	sn_cmd_fn *run;
	bool ends; /* something: a dead device allows that alone, so that programs can leave */
} methods[] = {
	{UVERBS_OBJECT_DEVICE, UVERBS_METHOD_INVOKE_WRITE, NULL, invoke_write, false},
	{UVERBS_OBJECT_DEVICE, UVERBS_METHOD_GET_CONTEXT, "GET_CONTEXT", sn_cmd_get_context, false},
	{UVERBS_OBJECT_DEVICE, UVERBS_METHOD_QUERY_PORT, "QUERY_PORT", sn_cmd_query_port, false},
	{UVERBS_OBJECT_DEVICE, UVERBS_METHOD_QUERY_GID_TABLE, "QUERY_GID_TABLE",
	 sn_cmd_query_gid_table, false},
	{UVERBS_OBJECT_DEVICE, UVERBS_METHOD_QUERY_GID_ENTRY, "QUERY_GID_ENTRY",
	 sn_cmd_query_gid_entry, false},
	{UVERBS_OBJECT_ASYNC_EVENT, UVERBS_METHOD_ASYNC_EVENT_ALLOC, "ASYNC_EVENT_ALLOC",
	 sn_cmd_async_alloc, false},
	{UVERBS_OBJECT_PD, UVERBS_METHOD_PD_DESTROY, "PD_DESTROY", sn_cmd_pd_destroy, true},
	{UVERBS_OBJECT_AH, UVERBS_METHOD_AH_DESTROY, "AH_DESTROY", sn_cmd_ah_destroy, true},
	{UVERBS_OBJECT_MR, UVERBS_METHOD_MR_DESTROY, "MR_DESTROY", sn_cmd_mr_destroy, true},
	{UVERBS_OBJECT_MW, UVERBS_METHOD_MW_DESTROY, "MW_DESTROY", sn_cmd_mw_destroy, true},
	{UVERBS_OBJECT_MR, UVERBS_METHOD_ADVISE_MR, "ADVISE_MR", sn_cmd_mr_advise, false},
	{UVERBS_OBJECT_CQ, UVERBS_METHOD_CQ_CREATE, "CQ_CREATE", sn_cmd_cq_create, false},
	{UVERBS_OBJECT_CQ, UVERBS_METHOD_CQ_DESTROY, "CQ_DESTROY", sn_cmd_cq_destroy, true},
	{UVERBS_OBJECT_SRQ, UVERBS_METHOD_SRQ_CREATE, "SRQ_CREATE", sn_cmd_srq_create, false},
	{UVERBS_OBJECT_SRQ, UVERBS_METHOD_SRQ_DESTROY, "SRQ_DESTROY", sn_cmd_srq_destroy, true},
	{UVERBS_OBJECT_QP, UVERBS_METHOD_QP_CREATE, "QP_CREATE", sn_cmd_qp_create, false},
	{UVERBS_OBJECT_QP, UVERBS_METHOD_QP_DESTROY, "QP_DESTROY", sn_cmd_qp_destroy, true},
	{MLX5_IB_OBJECT_UAR, MLX5_IB_METHOD_UAR_OBJ_ALLOC, "UAR_ALLOC", sn_cmd_uar_alloc, false},
	{MLX5_IB_OBJECT_UAR, MLX5_IB_METHOD_UAR_OBJ_DESTROY, "UAR_DESTROY", sn_cmd_uar_destroy,
	 true},
};

static int
dispatch(struct sn_cmd *cmd)
{
	uint16_t object = cmd->header->object_id, method = cmd->header->method_id;
	bool is_dead = sn_link_state(sn_nic.instance.shm, cmd->context->device) == SN_LINK_DEAD;

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		if (methods[i].object != object || methods[i].method != method)
			continue;
		int err = is_dead && !methods[i].ends ? -EIO : methods[i].run(cmd);
		if (methods[i].name)
			report(cmd, methods[i].name, err);
		return err;
	}
	SN_LOG("mlx5_%u: object %#x method %#x is not supported", cmd->context->device, object,
	       method);
	/* The kernel says EPROTONOSUPPORT for a method it does not have, and libibverbs then falls
	 * back to an older way; the driver's own objects have none. */
	return object & UVERBS_UDATA_DRIVER_DATA_FLAG ? -EOPNOTSUPP : -EPROTONOSUPPORT;
}

int
sn_uverbs_ioctl(struct sn_context *context, struct ib_uverbs_ioctl_hdr *header)
{
	struct sn_cmd cmd = {.context = context, .header = header};
	int err;

	if (header->length != sizeof(*header) + header->num_attrs * sizeof(header->attrs[0]))
		return -EINVAL;
	sn_nic_lock();
	err = dispatch(&cmd);
	sn_nic_unlock();
	return err || !cmd.faulted ? err : -EFAULT;
}

/* ---- contexts ---- */

static int
map_uars(struct sn_context *context)
{
	size_t bytes = (size_t)SN_MAX_UARS * SN_PAGE_BYTES;

	if (ftruncate(context->fd, (off_t)(SN_UAR_FILE_OFFSET + bytes)))
		return -errno;
	context->uar_map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, context->fd,
				(off_t)SN_UAR_FILE_OFFSET);
	return context->uar_map == MAP_FAILED ? -errno : 0;
}

int
sn_context_open(unsigned int device)
{
	struct sn_context *context;
	int err = sn_nic_start();

	context = err ? NULL : calloc(1, sizeof(*context));
	if (!context) {
		errno = err ? -err : ENOMEM;
		return -1;
	}
	LIST_INIT(&context->objects);
	context->device = device;
	/* A memfd: the program maps its doorbell pages from it without our help. */
	context->fd = memfd_create("uverbs", MFD_CLOEXEC);
	err = context->fd < 0 ? -errno : map_uars(context);
	if (!err)
		err = sn_fd_set_context(context->fd, context);
	if (err) {
		if (context->fd >= 0)
			sn_fd_close_raw(context->fd);
		free(context);
		errno = -err;
		return -1;
	}
	sn_nic_lock();
	LIST_INSERT_HEAD(&sn_contexts, context, link);
	sn_nic_unlock();
	return context->fd;
}

static void
release_kind(struct sn_context *context, enum sn_kind kind, void (*release)(struct sn_object *))
{
	struct sn_object *object, *next;

	for (object = LIST_FIRST(&context->objects); object; object = next) {
		next = LIST_NEXT(object, link);
		if (object->kind == kind)
			release(object);
	}
}

static void
release_plain(struct sn_object *object)
{
	sn_object_free(object);
}

void
sn_context_close(struct sn_context *context)
{
	sn_fd_set_context(context->fd, NULL);
	sn_nic_lock();
	LIST_REMOVE(context, link);
	/* Users before what they use. */
	release_kind(context, SN_QP, sn_qp_release);
	release_kind(context, SN_SRQ, sn_srq_release);
	release_kind(context, SN_CQ, sn_cq_release);
	release_kind(context, SN_MW, sn_mr_release);
	release_kind(context, SN_MR, sn_mr_release);
	release_kind(context, SN_UAR, sn_uar_release);
	release_kind(context, SN_AH, release_plain);
	release_kind(context, SN_PD, release_plain);
	if (context->async)
		sn_event_queue_put(context->async);
	sn_nic_unlock();
	munmap(context->uar_map, (size_t)SN_MAX_UARS * SN_PAGE_BYTES);
	free(context);
}
