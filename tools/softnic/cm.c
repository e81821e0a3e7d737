/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <infiniband/verbs.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cm.h"
#include "fdtable.h"
#include "nic.h"

/* ---- ids ---- */

static struct sn_cm_id *ids[SN_CM_MAX_IDS];
static uint32_t n_ids; /* no handle at or above it was ever given */
static uint64_t last_serial;

struct sn_cm_id *
sn_cm_id_create(struct sn_cm_channel *channel, uint16_t space, uint8_t qp_type)
{
	struct sn_cm_id *id = calloc(1, sizeof(*id));
	uint32_t handle = 0;

	while (handle < SN_CM_MAX_IDS && ids[handle])
		handle++;
	if (!id || handle == SN_CM_MAX_IDS) {
		free(id);
		return NULL;
	}
	n_ids = SN_MAX(n_ids, handle + 1);
	ids[handle] = id;
	id->channel = channel;
	id->handle = handle;
	id->serial = ++last_serial * SN_CM_MAX_IDS + handle;
	id->space = space;
	id->qp_type = qp_type;
	id->device = -1;
	return id;
}

void
sn_cm_id_destroy(struct sn_cm_id *id)
{
	sn_cm_farewell(id);
	sn_cm_event_purge(id);
	sn_cm_port_release(id);
	ids[id->handle] = NULL;
	free(id);
}

struct sn_cm_id *
sn_cm_id_of_serial(uint64_t serial)
{
	struct sn_cm_id *id = ids[serial % SN_CM_MAX_IDS];

	return id && id->serial == serial ? id : NULL;
}

struct sn_cm_id *
sn_cm_id_next(uint32_t handle)
{
	while (handle < n_ids && !ids[handle])
		handle++;
	return handle < n_ids ? ids[handle] : NULL;
}

void
sn_cm_forget_all(void)
{
	memset(ids, 0, sizeof(ids));
	n_ids = 0;
	sn_cm_carrier_forget();
}

/* ---- commands ---- */

int
sn_cm_respond(const struct sn_cm_cmd *cmd, uint64_t response, const void *data, size_t bytes,
	      size_t min_bytes)
{
	if (cmd->out_bytes < min_bytes)
		return -ENOSPC;
	if (!response)
		return -EFAULT;
	memcpy((void *)(uintptr_t)response, data, SN_MIN(bytes, cmd->out_bytes));
	return 0;
}

struct sn_cm_id *
sn_cm_cmd_id(const struct sn_cm_cmd *cmd, uint32_t handle)
{
	struct sn_cm_id *id = handle < SN_CM_MAX_IDS ? ids[handle] : NULL;

	return id && id->channel == cmd->channel ? id : NULL;
}

static int
create_id(struct sn_cm_cmd *cmd)
{
	struct rdma_ucm_create_id req;
	struct sn_cm_id *id;

	SN_CM_TAKE(cmd, req);
	switch (req.ps) {
	case RDMA_PS_TCP:
		req.qp_type = IBV_QPT_RC;
		break;
	case RDMA_PS_UDP:
	case RDMA_PS_IPOIB:
		req.qp_type = IBV_QPT_UD;
		break;
	case RDMA_PS_IB:
		break;
	default:
		return -EINVAL;
	}
	if (cmd->out_bytes < sizeof(struct rdma_ucm_create_id_resp))
		return -ENOSPC;
	id = sn_cm_id_create(cmd->channel, req.ps, req.qp_type);
	if (!id)
		return -ENOMEM;
	id->uid = req.uid;
	const struct rdma_ucm_create_id_resp resp = {.id = id->handle};
	return sn_cm_respond(cmd, req.response, &resp, sizeof(resp), sizeof(resp));
}

/* librdmacm then waits until the program has acknowledged as many events as it was given. */
static int
destroy_id(struct sn_cm_cmd *cmd)
{
	struct rdma_ucm_destroy_id req;

	SN_CM_TAKE(cmd, req);
	struct sn_cm_id *id = sn_cm_cmd_id(cmd, req.id);

	if (!id)
		return -ENOENT;
	if (cmd->out_bytes < sizeof(struct rdma_ucm_destroy_id_resp))
		return -ENOSPC;
	const struct rdma_ucm_destroy_id_resp resp = {.events_reported = id->n_events_given};
	sn_cm_id_destroy(id);
	return sn_cm_respond(cmd, req.response, &resp, sizeof(resp), sizeof(resp));
}

static int
set_id_option(struct sn_cm_id *id, const struct rdma_ucm_set_option *req)
{
	const void *value = (const void *)(uintptr_t)req->optval;
	uint8_t byte = 0;
	int number = 0;

	if (!value)
		return -EFAULT;
	if (req->optname == RDMA_OPTION_ID_TOS || req->optname == RDMA_OPTION_ID_ACK_TIMEOUT) {
		if (req->optlen != sizeof(byte))
			return -EINVAL;
		memcpy(&byte, value, sizeof(byte));
	} else {
		if (req->optlen != sizeof(number))
			return -EINVAL;
		memcpy(&number, value, sizeof(number));
	}
	switch (req->optname) {
	case RDMA_OPTION_ID_TOS:
		id->tos = byte;
		return 0;
	case RDMA_OPTION_ID_ACK_TIMEOUT:
		if (id->qp_type != IBV_QPT_RC && id->qp_type != IBV_QPT_XRC_SEND)
			return -EINVAL;
		id->ack_timeout = byte & 31;
		return 0;
	case RDMA_OPTION_ID_REUSEADDR:
	case RDMA_OPTION_ID_AFONLY:
		/* Both say which port is free: too late once there is one. */
		if (id->state != SN_CM_IDLE)
			return -EINVAL;
		if (req->optname == RDMA_OPTION_ID_REUSEADDR)
			id->reuse_address = number;
		else
			id->v6_only = number;
		return 0;
	default:
		return -ENOSYS;
	}
}

static int
set_option(struct sn_cm_cmd *cmd)
{
	struct rdma_ucm_set_option req;

	SN_CM_TAKE(cmd, req);
	struct sn_cm_id *id = sn_cm_cmd_id(cmd, req.id);

	if (!id)
		return -ENOENT;
	/* RDMA_OPTION_IB sets paths, of which Ethernet has none. */
	return req.level == RDMA_OPTION_ID ? set_id_option(id, &req) : -ENOSYS;
}

static int
refuse(struct sn_cm_cmd *cmd)
{
	(void)cmd;
	return -EOPNOTSUPP;
}

static const struct {
	const char *name;
	sn_cm_cmd_fn *run;
} commands[] = {
	[RDMA_USER_CM_CMD_CREATE_ID] = {"CREATE_ID", create_id},
	[RDMA_USER_CM_CMD_DESTROY_ID] = {"DESTROY_ID", destroy_id},
	[RDMA_USER_CM_CMD_BIND_IP] = {"BIND_IP", sn_cm_bind_ip},
	[RDMA_USER_CM_CMD_RESOLVE_IP] = {"RESOLVE_IP", sn_cm_resolve_ip},
	[RDMA_USER_CM_CMD_RESOLVE_ROUTE] = {"RESOLVE_ROUTE", sn_cm_resolve_route},
	[RDMA_USER_CM_CMD_QUERY_ROUTE] = {"QUERY_ROUTE", sn_cm_query_route},
	[RDMA_USER_CM_CMD_CONNECT] = {"CONNECT", sn_cm_connect},
	[RDMA_USER_CM_CMD_LISTEN] = {"LISTEN", sn_cm_listen},
	[RDMA_USER_CM_CMD_ACCEPT] = {"ACCEPT", sn_cm_accept},
	[RDMA_USER_CM_CMD_REJECT] = {"REJECT", sn_cm_reject},
	[RDMA_USER_CM_CMD_DISCONNECT] = {"DISCONNECT", sn_cm_disconnect},
	[RDMA_USER_CM_CMD_INIT_QP_ATTR] = {"INIT_QP_ATTR", sn_cm_init_qp_attr},
	[RDMA_USER_CM_CMD_GET_EVENT] = {"GET_EVENT", sn_cm_get_event},
	[RDMA_USER_CM_CMD_SET_OPTION] = {"SET_OPTION", set_option},
	[RDMA_USER_CM_CMD_NOTIFY] = {"NOTIFY", sn_cm_notify},
	[RDMA_USER_CM_CMD_JOIN_IP_MCAST] = {"JOIN_IP_MCAST", refuse},
	[RDMA_USER_CM_CMD_LEAVE_MCAST] = {"LEAVE_MCAST", refuse},
	[RDMA_USER_CM_CMD_MIGRATE_ID] = {"MIGRATE_ID", sn_cm_migrate},
	[RDMA_USER_CM_CMD_QUERY] = {"QUERY", sn_cm_query},
	[RDMA_USER_CM_CMD_BIND] = {"BIND", sn_cm_bind},
	[RDMA_USER_CM_CMD_RESOLVE_ADDR] = {"RESOLVE_ADDR", sn_cm_resolve_addr},
	[RDMA_USER_CM_CMD_JOIN_MCAST] = {"JOIN_MCAST", refuse},
};

ssize_t
sn_cm_write(int fd, const void *buf, size_t bytes)
{
	struct rdma_ucm_cmd_hdr header;
	int err;

	if (bytes < sizeof(header))
		return -EINVAL;
	memcpy(&header, buf, sizeof(header));
	if (header.in + sizeof(header) > bytes ||
	    header.cmd >= sizeof(commands) / sizeof(commands[0]))
		return -EINVAL;
	if (!commands[header.cmd].run)
		return -ENOSYS;
	struct sn_cm_cmd cmd = {.in = (const uint8_t *)buf + sizeof(header),
				.in_bytes = header.in,
				.out_bytes = header.out};
	sn_nic_lock();
	cmd.channel = sn_fd_cm(fd);
	err = cmd.channel ? commands[header.cmd].run(&cmd) : -ESTALE;
	sn_nic_unlock();
	SN_LOG("rdma_cm: %s: %s", commands[header.cmd].name, err ? strerror(-err) : "ok");
	if (err == -ESTALE && header.cmd == RDMA_USER_CM_CMD_GET_EVENT) {
		/* Another thread closed the channel since this one came in. The kernel would keep
		 * the file, and nothing would ever happen to it: wait for ever, but for signals. */
		pause();
		err = -EINTR;
	}
	return err == -ESTALE ? -EBADF : err ? err : (ssize_t)bytes;
}

/* ---- channels ---- */

int
sn_cm_open(void)
{
	struct sn_cm_channel *channel;
	int err = sn_nic_start();

	if (!err)
		err = sn_cm_carrier_start();
	channel = err ? NULL : calloc(1, sizeof(*channel));
	if (!channel) {
		errno = err ? -err : ENOMEM;
		return -1;
	}
	TAILQ_INIT(&channel->events);
	channel->fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
	err = channel->fd < 0 ? -errno : sn_fd_set_cm(channel->fd, channel);
	if (err) {
		if (channel->fd >= 0)
			sn_fd_close_raw(channel->fd);
		free(channel);
		errno = -err;
		return -1;
	}
	return channel->fd;
}

/* Requests nobody has read go with their listener: listeners first. */
static void
destroy_ids(struct sn_cm_channel *channel, bool listening)
{
	struct sn_cm_id *id;

	for (uint32_t handle = 0; (id = sn_cm_id_next(handle));) {
		handle = id->handle + 1;
		if (id->channel == channel && (id->state == SN_CM_LISTENING) == listening)
			sn_cm_id_destroy(id);
	}
}

void
sn_cm_close(struct sn_cm_channel *channel)
{
	sn_nic_lock();
	sn_fd_set_cm(channel->fd, NULL);
	destroy_ids(channel, true);
	destroy_ids(channel, false);
	sn_nic_unlock();
	free(channel);
}
