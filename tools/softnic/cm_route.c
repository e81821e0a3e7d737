/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands of rdma_cm that bind to addresses, find the way to others, and tell about it. */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>

#include "cm.h"
#include "nic.h"

#define CM_PKEY		0xffff
#define PACKET_LIFETIME 16 /* the kernel's for RoCE: 4.096 us << 16 */
#define HOP_LIMIT	64

void
sn_cm_path(const struct sn_cm_id *id, const uint8_t gid[16], struct ib_uverbs_ah_attr *ah)
{
	*ah = (struct ib_uverbs_ah_attr){
		.grh = {.sgid_index = SN_CM_GID_INDEX,
			.hop_limit = HOP_LIMIT,
			.traffic_class = id->tos},
		.is_global = 1,
		.port_num = 1,
	};
	memcpy(ah->grh.dgid, gid, 16);
}

/* ---- commands ---- */

static int
bind_address(const struct sn_cm_cmd *cmd, uint32_t handle, const struct sockaddr_in6 *addr)
{
	struct sn_cm_id *id = sn_cm_cmd_id(cmd, handle);

	if (!id)
		return -ENOENT;
	return id->state == SN_CM_IDLE ? sn_cm_address_bind(id, addr) : -EINVAL;
}

int
sn_cm_bind_ip(struct sn_cm_cmd *cmd)
{
	struct rdma_ucm_bind_ip req;

	SN_CM_TAKE(cmd, req);
	return bind_address(cmd, req.id, &req.addr);
}

int
sn_cm_bind(struct sn_cm_cmd *cmd)
{
	struct rdma_ucm_bind req;
	struct sockaddr_in6 addr;

	SN_CM_TAKE(cmd, req);
	memcpy(&addr, &req.addr, sizeof(addr));
	return req.reserved || !req.addr_size ? -EINVAL : bind_address(cmd, req.id, &addr);
}

static bool
is_multicast(const struct sockaddr_in6 *addr)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)addr;

	return addr->sin6_family == AF_INET ? IN_MULTICAST(ntohl(v4->sin_addr.s_addr))
					    : IN6_IS_ADDR_MULTICAST(&addr->sin6_addr);
}

/* The destination must be here. Without a source, it is the destination's own address. */
static int
resolve(struct sn_cm_id *id, const struct sockaddr_in6 *src, const struct sockaddr_in6 *dst)
{
	struct sockaddr_in6 from = src->sin6_family ? *src : *dst;
	int device, err = sn_cm_address_device(dst, &device);

	if (from.sin6_family != dst->sin6_family)
		return -EINVAL;
	if (err == -EADDRNOTAVAIL && is_multicast(dst)) { /* it is joining that is refused */
		device = 0;
		err = 0;
	}
	if (err == -EADDRNOTAVAIL || (!err && device < 0))
		return -EHOSTUNREACH;
	if (!src->sin6_family)
		from.sin6_port = 0;
	if (!err && id->state == SN_CM_IDLE)
		err = sn_cm_address_bind(id, &from);
	if (err)
		return err;
	id->dst = *dst;
	if (id->device < 0) { /* bound to any address: as if not, but for the port */
		uint16_t port = id->src.sin6_port;

		id->src = *dst;
		id->src.sin6_port = port;
		id->device = device;
	}
	sn_cm_gid((unsigned int)device, id->peer_gid);
	return 0;
}

static int
resolve_address(const struct sn_cm_cmd *cmd, uint32_t handle, const struct sockaddr_in6 *src,
		const struct sockaddr_in6 *dst)
{
	struct sn_cm_id *id = sn_cm_cmd_id(cmd, handle);
	int err;

	if (!id)
		return -ENOENT;
	if (id->state != SN_CM_IDLE && id->state != SN_CM_BOUND)
		return -EINVAL;
	err = resolve(id, src, dst);
	if (err == -EHOSTUNREACH) { /* found out later, on hardware */
		sn_cm_event_push(id, SN_CM_EVENT_ADDR_ERROR, err, NULL, NULL);
		return 0;
	}
	if (err)
		return err;
	id->state = SN_CM_ADDR_RESOLVED;
	sn_cm_event_push(id, SN_CM_EVENT_ADDR_RESOLVED, 0, NULL, NULL);
	return 0;
}

int
sn_cm_resolve_ip(struct sn_cm_cmd *cmd)
{
	struct rdma_ucm_resolve_ip req;

	SN_CM_TAKE(cmd, req);
	return resolve_address(cmd, req.id, &req.src_addr, &req.dst_addr);
}

int
sn_cm_resolve_addr(struct sn_cm_cmd *cmd)
{
	struct rdma_ucm_resolve_addr req;
	struct sockaddr_in6 src, dst;

	SN_CM_TAKE(cmd, req);
	memcpy(&src, &req.src_addr, sizeof(src));
	memcpy(&dst, &req.dst_addr, sizeof(dst));
	if (!req.src_size)
		src.sin6_family = 0;
	return req.reserved || !req.dst_size ? -EINVAL : resolve_address(cmd, req.id, &src, &dst);
}

int
sn_cm_resolve_route(struct sn_cm_cmd *cmd)
{
	struct rdma_ucm_resolve_route req;
	const struct sn_fabric *fabric = &sn_nic.instance.shm->fabric;

	SN_CM_TAKE(cmd, req);
	struct sn_cm_id *id = sn_cm_cmd_id(cmd, req.id);

	if (!id)
		return -ENOENT;
	if (id->state != SN_CM_ADDR_RESOLVED)
		return -EINVAL;
	int peer = sn_device_of_gid(fabric, id->peer_gid);
	id->mtu_code = SN_MIN(sn_device_mtu_code(&fabric->device[id->device]),
			      sn_device_mtu_code(&fabric->device[peer]));
	id->state = SN_CM_ROUTE_RESOLVED;
	sn_cm_event_push(id, SN_CM_EVENT_ROUTE_RESOLVED, 0, NULL, NULL);
	return 0;
}

/* ---- queries ---- */

/* There is a path once the route is resolved, or the other end has told. */
static bool
has_path(const struct sn_cm_id *id)
{
	return id->state >= SN_CM_ROUTE_RESOLVED;
}

static uint64_t
guid_of(const struct sn_cm_id *id)
{
	return id->device < 0 ? 0 : htobe64(sn_nic.instance.shm->fabric.device[id->device].guid);
}

int
sn_cm_query_route(struct sn_cm_cmd *cmd)
{
	struct rdma_ucm_query_route_resp resp = {0};
	struct ib_user_path_rec *path = &resp.ib_route[0];
	struct rdma_ucm_query req;

	SN_CM_TAKE(cmd, req);
	const struct sn_cm_id *id = sn_cm_cmd_id(cmd, req.id);

	if (!id)
		return -ENOENT;
	resp.src_addr = id->src;
	resp.dst_addr = id->dst;
	if (id->device >= 0) {
		resp.node_guid = guid_of(id);
		resp.port_num = 1;
		resp.ibdev_index = (uint32_t)id->device;
		sn_cm_gid((unsigned int)id->device, path->sgid);
		memcpy(path->dgid, id->peer_gid, 16);
		path->pkey = htobe16(CM_PKEY);
	}
	if (has_path(id)) {
		resp.num_paths = 1;
		path->reversible = 1;
		path->numb_path = 1;
		path->mtu_selector = path->rate_selector = path->packet_life_time_selector = 2;
		path->mtu = id->mtu_code;
		path->hop_limit = HOP_LIMIT;
		path->traffic_class = id->tos;
		path->packet_life_time = PACKET_LIFETIME;
	}
	return sn_cm_respond(cmd, req.response, &resp, sizeof(resp),
			     offsetof(struct rdma_ucm_query_route_resp, ibdev_index));
}

static void
describe_addr(const struct sn_cm_id *id, struct rdma_ucm_query_addr_resp *resp)
{
	if (id->device < 0)
		return;
	resp->node_guid = guid_of(id);
	resp->port_num = 1;
	resp->pkey = htobe16(CM_PKEY);
	resp->ibdev_index = (uint32_t)id->device;
}

static uint16_t
size_of(const struct sockaddr_in6 *addr)
{
	return addr->sin6_family == AF_INET6  ? sizeof(struct sockaddr_in6)
	       : addr->sin6_family == AF_INET ? sizeof(struct sockaddr_in)
					      : 0;
}

static int
query_addr(const struct sn_cm_cmd *cmd, const struct sn_cm_id *id, uint64_t response)
{
	struct rdma_ucm_query_addr_resp resp = {.src_size = size_of(&id->src),
						.dst_size = size_of(&id->dst)};

	describe_addr(id, &resp);
	memcpy(&resp.src_addr, &id->src, resp.src_size);
	memcpy(&resp.dst_addr, &id->dst, resp.dst_size);
	return sn_cm_respond(cmd, response, &resp, sizeof(resp),
			     offsetof(struct rdma_ucm_query_addr_resp, ibdev_index));
}

/* struct sockaddr_ib of linux: rdma/ib.h, which is the kernel's alone. */
struct address_ib {
	uint16_t family;
	uint16_t pkey_be;
	uint32_t flowinfo_be;
	uint8_t gid[16];
	uint64_t service_be, service_mask_be, scope;
};

static void
describe_gid(const struct sn_cm_id *id, const uint8_t gid[16], const struct sockaddr_in6 *addr,
	     struct __kernel_sockaddr_storage *out)
{
	struct address_ib ib = {
		.family = AF_IB,
		.pkey_be = htobe16(CM_PKEY),
		.service_be = htobe64((uint64_t)id->space << 16 | ntohs(addr->sin6_port)),
		.service_mask_be = ~0ull,
	};

	memcpy(ib.gid, gid, 16);
	memcpy(out, &ib, sizeof(ib));
}

static int
query_gid(const struct sn_cm_cmd *cmd, const struct sn_cm_id *id, uint64_t response)
{
	struct rdma_ucm_query_addr_resp resp = {.src_size = sizeof(struct address_ib),
						.dst_size = sizeof(struct address_ib)};
	uint8_t gid[16] = {0};

	describe_addr(id, &resp);
	if (id->device >= 0)
		sn_cm_gid((unsigned int)id->device, gid);
	describe_gid(id, gid, &id->src, &resp.src_addr);
	describe_gid(id, id->peer_gid, &id->dst, &resp.dst_addr);
	return sn_cm_respond(cmd, response, &resp, sizeof(resp),
			     offsetof(struct rdma_ucm_query_addr_resp, ibdev_index));
}

/* One path, as the record that a subnet manager would give (IBA 15.2.5.16). */
static int
query_path(const struct sn_cm_cmd *cmd, const struct sn_cm_id *id, uint64_t response)
{
	_Alignas(struct rdma_ucm_query_path_resp)
		uint8_t room[sizeof(struct rdma_ucm_query_path_resp) +
			     sizeof(struct ib_path_rec_data)] = {0};
	struct rdma_ucm_query_path_resp *resp = (void *)room;
	uint8_t *record = (uint8_t *)resp->path_data[0].path_rec;
	size_t bytes;

	resp->num_paths = has_path(id);
	bytes = resp->num_paths ? sizeof(room) : sizeof(*resp);
	resp->path_data[0].flags = IB_PATH_GMP | IB_PATH_PRIMARY | IB_PATH_BIDIRECTIONAL;
	memcpy(record + 8, id->peer_gid, 16);
	if (id->device >= 0)
		sn_cm_gid((unsigned int)id->device, record + 24);
	record[47] = HOP_LIMIT;
	record[48] = id->tos;
	record[49] = 0x81; /* reversible, one path */
	record[50] = record[51] = 0xff;
	record[54] = 2 << 6 | id->mtu_code;
	record[55] = 2 << 6;
	record[56] = 2 << 6 | PACKET_LIFETIME;
	return sn_cm_respond(cmd, response, resp, bytes, bytes);
}

int
sn_cm_query(struct sn_cm_cmd *cmd)
{
	struct rdma_ucm_query req;

	SN_CM_TAKE(cmd, req);
	const struct sn_cm_id *id = sn_cm_cmd_id(cmd, req.id);

	if (!id)
		return -ENOENT;
	switch (req.option) {
	case RDMA_USER_CM_QUERY_ADDR:
		return query_addr(cmd, id, req.response);
	case RDMA_USER_CM_QUERY_PATH:
		return query_path(cmd, id, req.response);
	case RDMA_USER_CM_QUERY_GID:
		return query_gid(cmd, id, req.response);
	default:
		return -ENOSYS;
	}
}
