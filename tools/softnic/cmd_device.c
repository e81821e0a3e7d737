/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands about the device itself: context, capabilities, port, GIDs, PDs, doorbell pages. */
#include <endian.h>
#include <errno.h>
#include <infiniband/verbs.h>
#include <rdma/mlx5-abi.h>
#include <rdma/mlx5_user_ioctl_cmds.h>

#include "async.h"
#include "fdtable.h"
#include "link.h"
#include "qp.h"
#include "trace.h"

/* ---- context ---- */

int
sn_cmd_get_context(struct sn_cmd *cmd)
{
	const struct mlx5_ib_alloc_ucontext_req_v2 *req =
		sn_cmd_in(cmd, UVERBS_ATTR_UHW_IN, sizeof(struct mlx5_ib_alloc_ucontext_req));
	const bool is_v2 = sn_cmd_in(cmd, UVERBS_ATTR_UHW_IN, sizeof(*req));
	struct mlx5_ib_alloc_ucontext_resp resp = {
		.qp_tab_size = SN_MAX_QPS,
		.bf_reg_size = 512,
		.tot_bfregs = 0, /* doorbell pages are allocated one by one */
		.cache_line_size = 64,
		.max_sq_desc_sz = 1024,
		.max_rq_desc_sz = 512,
		.max_send_wqebb = SN_MAX_QUEUE,
		.max_recv_wr = SN_MAX_QUEUE,
		.max_srq_recv_wr = SN_MAX_QUEUE - 1,
		.num_ports = 1,
		.response_length = sizeof(resp),
		.cqe_version = 1,
		.cmds_supp_uhw =
			MLX5_USER_CMDS_SUPP_UHW_QUERY_DEVICE | MLX5_USER_CMDS_SUPP_UHW_CREATE_AH,
		.eth_min_inline = MLX5_USER_INLINE_MODE_NONE,
		.log_uar_size = 12,
		.num_uars_per_page = 1,
		.num_dyn_bfregs = 512,
	};
	const uint32_t n_comp_vectors = 1;
	/* Without it libibverbs strips RELAXED_ORDERING from every registration. */
	const uint64_t core_support = IB_UVERBS_CORE_SUPPORT_OPTIONAL_MR_ACCESS;

	if (!req)
		return -EINVAL;
	/* DevX is refused as a whole; libmlx5 then asks again without. */
	if (is_v2 && (req->flags & MLX5_IB_ALLOC_UCTX_DEVX))
		return -EOPNOTSUPP;
	sn_cmd_out(cmd, UVERBS_ATTR_GET_CONTEXT_NUM_COMP_VECTORS, &n_comp_vectors,
		   sizeof(n_comp_vectors));
	sn_cmd_out(cmd, UVERBS_ATTR_GET_CONTEXT_CORE_SUPPORT, &core_support, sizeof(core_support));
	sn_cmd_out(cmd, UVERBS_ATTR_UHW_OUT, &resp, sizeof(resp));
	return 0;
}

/* ---- capabilities ---- */

static const struct sn_device_settings *
settings_of(unsigned int device)
{
	return &sn_nic.instance.shm->fabric.device[device];
}

static void
describe_device(unsigned int device, struct ib_uverbs_query_device_resp *resp)
{
	*resp = (struct ib_uverbs_query_device_resp){
		.fw_ver = 28ull << 32 | 39ull << 16 | 1002, /* SN_FW_VERSION */
		.node_guid = htobe64(settings_of(device)->guid),
		.sys_image_guid = htobe64(settings_of(device)->guid),
		.max_mr_size = ~0ull,
		.page_size_cap = ~(uint64_t)(SN_PAGE_BYTES - 1),
		.vendor_id = 0x02c9,
		.vendor_part_id = 4129,
		.max_qp = SN_MAX_QPS,
		.max_qp_wr = SN_MAX_QUEUE,
		.device_cap_flags = IBV_DEVICE_PORT_ACTIVE_EVENT | IBV_DEVICE_SYS_IMAGE_GUID |
				    IBV_DEVICE_RC_RNR_NAK_GEN,
		.max_mw = sn_nic.wire->has_windows ? SN_MAX_MRS : 0,
		.max_sge = 30,
		.max_sge_rd = 30,
		.max_cq = 1 << 20,
		.max_cqe = SN_MAX_CQE - 1,
		.max_mr = SN_MAX_MRS,
		.max_pd = 1 << 20,
		.max_qp_rd_atom = 16,
		.max_res_rd_atom = 1 << 20,
		.max_qp_init_rd_atom = 16,
		.atomic_cap = IBV_ATOMIC_HCA,
		.max_ah = 1 << 20,
		.max_srq = 1 << 16,
		.max_srq_wr = SN_MAX_QUEUE - 1,
		.max_srq_sge = 31,
		.max_pkeys = 1,
		.local_ca_ack_delay = 16,
		.phys_port_cnt = 1,
	};
	if (sn_nic.wire->has_windows)
		resp->device_cap_flags |= IBV_DEVICE_MEM_WINDOW | IBV_DEVICE_MEM_WINDOW_TYPE_2B |
					  IBV_DEVICE_MEM_MGT_EXTENSIONS;
}

int
sn_cmd_query_device(struct sn_cmd *cmd)
{
	struct ib_uverbs_query_device_resp resp;

	/* libibverbs probes whether INVOKE_WRITE exists with a request that must fail so; then it
	 * never uses write(2), which we do not see. */
	if (!sn_cmd_has(cmd, UVERBS_ATTR_CORE_IN))
		return -ENOSPC;
	describe_device(cmd->context->device, &resp);
	sn_cmd_out(cmd, UVERBS_ATTR_CORE_OUT, &resp, sizeof(resp));
	return 0;
}

int
sn_cmd_query_device_ex(struct sn_cmd *cmd)
{
	struct ib_uverbs_ex_query_device_resp resp = {
		.response_length = sizeof(resp),
		.timestamp_mask = ~0ull >> 1,
		.hca_core_clock = 1000000, /* kHz: time stamps count nanoseconds */
	};
	const struct mlx5_ib_query_device_resp driver = {
		.response_length = sizeof(driver),
		.flags = MLX5_IB_QUERY_DEV_RESP_FLAGS_CQE_128B_PAD,
	};

	describe_device(cmd->context->device, &resp.base);
	resp.device_cap_flags_ex = resp.base.device_cap_flags;
	sn_cmd_out(cmd, UVERBS_ATTR_CORE_OUT, &resp, sizeof(resp));
	sn_cmd_out(cmd, UVERBS_ATTR_UHW_OUT, &driver, sizeof(driver));
	return 0;
}

/* ---- port and GIDs ---- */

int
sn_cmd_query_port(struct sn_cmd *cmd)
{
	const struct sn_device_settings *settings = settings_of(cmd->context->device);
	const struct sn_link_speed *speed = sn_device_link_speed(settings);
	enum sn_link_state link = sn_link_state(sn_nic.instance.shm, cmd->context->device);
	const struct ib_uverbs_query_port_resp_ex resp = {
		.legacy_resp =
			{
				.port_cap_flags =
					IB_UVERBS_PCF_CM_SUP | IB_UVERBS_PCF_IP_BASED_GIDS,
				.max_msg_sz = (uint32_t)SN_MAX_MSG_BYTES,
				.gid_tbl_len = 255,
				.pkey_tbl_len = 1,
				.state = sn_link_port_state(link),
				.max_mtu = sn_device_mtu_code(settings),
				.active_mtu = sn_device_mtu_code(settings),
				.max_vl_num = 4,
				.active_width = speed->width_code,
				.active_speed = speed->speed_code,
				.phys_state = sn_link_phys_state(link),
				.link_layer = IBV_LINK_LAYER_ETHERNET,
			},
	};

	if ((uint8_t)sn_cmd_in_scalar(cmd, UVERBS_ATTR_QUERY_PORT_PORT_NUM, 0) != 1)
		return -EINVAL;
	sn_cmd_out(cmd, UVERBS_ATTR_QUERY_PORT_RESP, &resp, sizeof(resp));
	return 0;
}

static void
describe_gid(unsigned int device, uint32_t index, struct ib_uverbs_gid_entry *entry)
{
	uint8_t gid[16];

	sn_device_gid(settings_of(device), index, gid);
	memset(entry, 0, sizeof(*entry));
	memcpy(entry->gid, gid, sizeof(gid));
	entry->gid_index = index;
	entry->port_num = 1;
	entry->gid_type = index & 1 ? IB_UVERBS_GID_TYPE_ROCE_V2 : IB_UVERBS_GID_TYPE_ROCE_V1;
}

int
sn_cmd_query_gid_entry(struct sn_cmd *cmd)
{
	uint32_t index =
		(uint32_t)sn_cmd_in_scalar(cmd, UVERBS_ATTR_QUERY_GID_ENTRY_GID_INDEX, ~0u);
	struct ib_uverbs_gid_entry entry;

	if (index >= 255)
		return -EINVAL;
	if (index >= SN_N_GIDS)
		return -ENODATA;
	describe_gid(cmd->context->device, index, &entry);
	sn_cmd_out(cmd, UVERBS_ATTR_QUERY_GID_ENTRY_RESP_ENTRY, &entry, sizeof(entry));
	return 0;
}

int
sn_cmd_query_gid_table(struct sn_cmd *cmd)
{
	uint64_t entry_bytes = sn_cmd_in_scalar(cmd, UVERBS_ATTR_QUERY_GID_TABLE_ENTRY_SIZE, 0);
	const uint64_t n = SN_N_GIDS;
	struct ib_uverbs_gid_entry table[SN_N_GIDS];

	if (entry_bytes != sizeof(table[0]))
		return -EOPNOTSUPP;
	for (uint32_t i = 0; i < n; i++)
		describe_gid(cmd->context->device, i, &table[i]);
	sn_cmd_out(cmd, UVERBS_ATTR_QUERY_GID_TABLE_RESP_ENTRIES, table, sizeof(table));
	sn_cmd_out(cmd, UVERBS_ATTR_QUERY_GID_TABLE_RESP_NUM_ENTRIES, &n, sizeof(n));
	return 0;
}

/* ---- events ---- */

int
sn_cmd_async_alloc(struct sn_cmd *cmd)
{
	struct sn_event_queue *queue;
	int err;

	if (cmd->context->async)
		return -EBUSY;
	err = sn_event_queue_create(&queue);
	if (err)
		return err;
	queue->n_users = 1;
	cmd->context->async = queue;
	sn_cmd_out_handle(cmd, UVERBS_ATTR_ASYNC_EVENT_ALLOC_FD_HANDLE, (uint32_t)queue->read_fd);
	return 0;
}

void
sn_async_push_all(unsigned int device, uint32_t type)
{
	const uint64_t port = 1; /* the element of an event that no object has */
	struct sn_context *context;

	LIST_FOREACH (context, &sn_contexts, link) {
		if (context->device == device)
			sn_async_push(context, port, type);
	}
}

void
sn_async_push(struct sn_context *context, uint64_t user_handle, uint32_t type)
{
	const struct ib_uverbs_async_event_desc event = {.element = user_handle,
							 .event_type = type};

	if (__builtin_expect(sn_trace_on, 0))
		sn_trace_event(context->device, type);
	SN_LOG("mlx5_%u: async event %u for object %#llx", context->device, type,
	       (unsigned long long)user_handle);
	if (context->async)
		sn_event_queue_push(context->async, &event, sizeof(event));
}

int
sn_cmd_channel_create(struct sn_cmd *cmd)
{
	struct ib_uverbs_create_comp_channel_resp resp;
	struct sn_event_queue *queue;
	int err = sn_event_queue_create(&queue);

	if (err)
		return err;
	resp.fd = (uint32_t)queue->read_fd;
	sn_cmd_out(cmd, UVERBS_ATTR_CORE_OUT, &resp, sizeof(resp));
	return 0;
}

/* ---- protection domains, address handles ---- */

int
sn_cmd_pd_alloc(struct sn_cmd *cmd)
{
	struct sn_pd *pd = sn_object_create(cmd->context, SN_PD, sizeof(*pd));
	struct ib_uverbs_alloc_pd_resp resp;
	struct mlx5_ib_alloc_pd_resp driver;

	if (!pd)
		return -ENOMEM;
	resp.pd_handle = pd->object.handle;
	driver.pdn = pd->object.handle;
	sn_cmd_out(cmd, UVERBS_ATTR_CORE_OUT, &resp, sizeof(resp));
	sn_cmd_out(cmd, UVERBS_ATTR_UHW_OUT, &driver, sizeof(driver));
	return 0;
}

int
sn_cmd_pd_destroy(struct sn_cmd *cmd)
{
	struct sn_pd *pd = sn_cmd_object(cmd, UVERBS_ATTR_DESTROY_PD_HANDLE, SN_PD);

	if (!pd)
		return -ENOENT;
	if (pd->object.n_users)
		return -EBUSY;
	sn_object_free(pd);
	return 0;
}

/* Nobody's GID is reached through a router. */
static void
find_mac(const uint8_t gid[16], uint8_t mac[6])
{
	static const uint8_t router[6] = {0x0e, 0x42, 0xa1, 0x77, 0, 0};
	int device = sn_device_of_gid(&sn_nic.instance.shm->fabric, gid);

	if (device < 0)
		memcpy(mac, router, sizeof(router));
	else
		sn_device_mac(settings_of((unsigned int)device), mac);
}

/* libmlx5 builds the address vector itself, and asks only for what the kernel's neighbour tables
 * know: the MAC address behind a GID. */
int
sn_cmd_ah_create(struct sn_cmd *cmd)
{
	const struct ib_uverbs_create_ah *req = sn_cmd_in(cmd, UVERBS_ATTR_CORE_IN, sizeof(*req));
	struct mlx5_ib_create_ah_resp driver = {.response_length = sizeof(driver)};
	struct ib_uverbs_create_ah_resp resp = {0};
	struct sn_object *ah;

	if (!req || req->attr.port_num != 1 || !req->attr.is_global ||
	    req->attr.grh.sgid_index >= SN_N_GIDS)
		return -EINVAL;
	ah = sn_object_create(cmd->context, SN_AH, sizeof(*ah));
	if (!ah)
		return -ENOMEM;
	find_mac(req->attr.grh.dgid, driver.dmac);
	resp.ah_handle = ah->handle;
	sn_cmd_out(cmd, UVERBS_ATTR_CORE_OUT, &resp, sizeof(resp));
	sn_cmd_out(cmd, UVERBS_ATTR_UHW_OUT, &driver, sizeof(driver));
	return 0;
}

int
sn_cmd_ah_destroy(struct sn_cmd *cmd)
{
	struct sn_object *ah = sn_cmd_object(cmd, UVERBS_ATTR_DESTROY_AH_HANDLE, SN_AH);

	if (!ah)
		return -ENOENT;
	sn_object_free(ah);
	return 0;
}

/* ---- doorbell pages ---- */

int
sn_cmd_uar_alloc(struct sn_cmd *cmd)
{
	struct sn_context *context = cmd->context;
	const uint32_t len = SN_PAGE_BYTES;
	struct sn_uar *uar;
	uint64_t offset;
	uint32_t index = 0;

	while (index < SN_MAX_UARS && context->uar[index])
		index++;
	if (index == SN_MAX_UARS)
		return -ENOSPC;
	uar = sn_object_create(context, SN_UAR, sizeof(*uar));
	if (!uar)
		return -ENOMEM;
	uar->index = index;
	uar->page = (_Atomic uint64_t *)(context->uar_map + (uint64_t)index * SN_PAGE_BYTES);
	memset((void *)uar->page, 0, SN_PAGE_BYTES);
	TAILQ_INIT(&uar->qps);
	context->uar[index] = uar;
	offset = SN_UAR_FILE_OFFSET + (uint64_t)index * SN_PAGE_BYTES;
	sn_cmd_out(cmd, MLX5_IB_ATTR_UAR_OBJ_ALLOC_MMAP_OFFSET, &offset, sizeof(offset));
	sn_cmd_out(cmd, MLX5_IB_ATTR_UAR_OBJ_ALLOC_MMAP_LENGTH, &len, sizeof(len));
	sn_cmd_out(cmd, MLX5_IB_ATTR_UAR_OBJ_ALLOC_PAGE_ID, &index, sizeof(index));
	sn_cmd_out_handle(cmd, MLX5_IB_ATTR_UAR_OBJ_ALLOC_HANDLE, uar->object.handle);
	return 0;
}

void
sn_uar_release(struct sn_object *object)
{
	struct sn_uar *uar = (struct sn_uar *)object;

	object->context->uar[uar->index] = NULL;
	sn_object_free(uar);
}

int
sn_cmd_uar_destroy(struct sn_cmd *cmd)
{
	struct sn_uar *uar = sn_cmd_object(cmd, MLX5_IB_ATTR_UAR_OBJ_DESTROY_HANDLE, SN_UAR);

	if (!uar)
		return -ENOENT;
	if (uar->object.n_users)
		return -EBUSY;
	sn_uar_release(&uar->object);
	return 0;
}
