/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Events of rdma_cm. The program polls the channel's descriptor, an eventfd that counts what is
 * queued, and takes an event with GET_EVENT.
 */
#include <errno.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "cm.h"
#include "fdtable.h"
#include "nic.h"

static const char *const names[] = {
	[SN_CM_EVENT_ADDR_RESOLVED] = "ADDR_RESOLVED",
	[SN_CM_EVENT_ADDR_ERROR] = "ADDR_ERROR",
	[SN_CM_EVENT_ROUTE_RESOLVED] = "ROUTE_RESOLVED",
	[SN_CM_EVENT_ROUTE_ERROR] = "ROUTE_ERROR",
	[SN_CM_EVENT_CONNECT_REQUEST] = "CONNECT_REQUEST",
	[SN_CM_EVENT_CONNECT_RESPONSE] = "CONNECT_RESPONSE",
	[SN_CM_EVENT_CONNECT_ERROR] = "CONNECT_ERROR",
	[SN_CM_EVENT_UNREACHABLE] = "UNREACHABLE",
	[SN_CM_EVENT_REJECTED] = "REJECTED",
	[SN_CM_EVENT_ESTABLISHED] = "ESTABLISHED",
	[SN_CM_EVENT_DISCONNECTED] = "DISCONNECTED",
	[SN_CM_EVENT_TIMEWAIT_EXIT] = "TIMEWAIT_EXIT",
};

struct sn_cm_event {
	TAILQ_ENTRY(sn_cm_event) link;
	struct sn_cm_id *id;
	struct sn_cm_id *child; /* of a CONNECT_REQUEST */
	struct rdma_ucm_event_resp resp;
};

/* How many bytes of private data each message carries for the program, whatever it gave: IBA
 * 12.6.5 to 12.6.8 and 12.11, less the 36 of the header that annex A11 puts before it. */
static uint8_t
private_bytes(uint32_t message_type)
{
	switch (message_type) {
	case SN_CM_REQ:
		return 56;
	case SN_CM_REP:
		return 196;
	case SN_CM_REJ:
		return 148;
	case SN_CM_SIDR_REQ:
		return 180;
	case SN_CM_SIDR_REP:
		return 136;
	default:
		return 0;
	}
}

static void
describe_ud(struct rdma_ucm_ud_param *ud, const struct sn_cm_id *id,
	    const struct sn_cm_message *message)
{
	memcpy(ud->private_data, message->param.private_data, sizeof(ud->private_data));
	ud->private_data_len = private_bytes(message->type);
	if (message->type != SN_CM_SIDR_REP || message->status)
		return;
	ud->qp_num = message->param.qp_num;
	ud->qkey = message->param.qkey;
	sn_cm_path(id, message->sgid, &ud->ah_attr);
}

static void
describe_connection(struct rdma_ucm_conn_param *conn, const struct sn_cm_message *message)
{
	*conn = message->param;
	conn->private_data_len = private_bytes(message->type);
	/* What one side initiates, the other responds to. */
	conn->responder_resources = message->param.initiator_depth;
	conn->initiator_depth = message->param.responder_resources;
	conn->qkey = 0;
	conn->valid = 0;
}

void
sn_cm_event_push(struct sn_cm_id *id, enum sn_cm_event_type type, int status,
		 const struct sn_cm_message *message, struct sn_cm_id *child)
{
	struct sn_cm_event *event = id->uid || child ? calloc(1, sizeof(*event)) : NULL;

	SN_LOG("rdma_cm: id %u: %s, status %d", id->handle, names[type], status);
	if (!event) /* the program does not know the id yet, and will see it when it accepts */
		return;
	event->id = id;
	event->child = child;
	event->resp.uid = id->uid;
	event->resp.id = child ? child->handle : id->handle;
	event->resp.event = type;
	event->resp.status = (uint32_t)status;
	if (message && id->qp_type == IBV_QPT_UD)
		describe_ud(&event->resp.param.ud, id, message);
	else if (message)
		describe_connection(&event->resp.param.conn, message);
	if (message)
		event->resp.ece = message->ece;
	TAILQ_INSERT_TAIL(&id->channel->events, event, link);
	eventfd_write(id->channel->fd, 1);
}

/* Take it off the channel's queue, and its count off the descriptor. */
static void
unqueue(struct sn_cm_channel *channel, struct sn_cm_event *event)
{
	eventfd_t one;

	TAILQ_REMOVE(&channel->events, event, link);
	eventfd_read(channel->fd, &one);
	if (event->child)
		event->id->n_requests--;
}

void
sn_cm_event_purge(struct sn_cm_id *id)
{
	struct sn_cm_event *event, *next;

	for (event = TAILQ_FIRST(&id->channel->events); event; event = next) {
		next = TAILQ_NEXT(event, link);
		if (event->id != id)
			continue;
		unqueue(id->channel, event);
		if (event->child)
			sn_cm_id_destroy(event->child);
		free(event);
	}
}

/* Without the lock: until there is an event. */
static int
await_event(struct sn_cm_channel *channel)
{
	struct pollfd pollfd = {.fd = channel->fd, .events = POLLIN};
	int err;

	if (fcntl(pollfd.fd, F_GETFL) & O_NONBLOCK)
		return -EAGAIN;
	sn_nic_unlock();
	err = poll(&pollfd, 1, -1) < 0 ? -errno : 0;
	sn_nic_lock();
	return sn_fd_cm(pollfd.fd) == channel ? err : -ESTALE; /* closed meanwhile */
}

int
sn_cm_get_event(struct sn_cm_cmd *cmd)
{
	const size_t min_bytes = offsetof(struct rdma_ucm_event_resp, reserved);
	struct rdma_ucm_get_event req;
	struct sn_cm_event *event;
	int err = 0;

	SN_CM_TAKE(cmd, req);
	if (cmd->out_bytes < min_bytes)
		return -ENOSPC;
	while (!err && TAILQ_EMPTY(&cmd->channel->events))
		err = await_event(cmd->channel);
	if (err)
		return err;
	event = TAILQ_FIRST(&cmd->channel->events);
	unqueue(cmd->channel, event);
	event->id->n_events_given++;
	if (event->child)
		event->child->channel = cmd->channel; /* the listener may have moved meanwhile */
	err = sn_cm_respond(cmd, req.response, &event->resp, sizeof(event->resp), min_bytes);
	free(event);
	return err;
}

/* The id, and what is queued about it, goes from another channel to this one. */
int
sn_cm_migrate(struct sn_cm_cmd *cmd)
{
	struct rdma_ucm_migrate_id req;
	struct sn_cm_event *event, *next;

	SN_CM_TAKE(cmd, req);
	struct sn_cm_channel *from = sn_fd_cm((int)req.fd);
	struct sn_cm_cmd there = {.channel = from};
	struct sn_cm_id *id = from ? sn_cm_cmd_id(&there, req.id) : NULL;

	if (!id)
		return from ? -ENOENT : -EINVAL;
	for (event = TAILQ_FIRST(&from->events); event; event = next) {
		next = TAILQ_NEXT(event, link);
		if (event->id != id || from == cmd->channel)
			continue;
		eventfd_t one;
		TAILQ_REMOVE(&from->events, event, link);
		eventfd_read(from->fd, &one);
		TAILQ_INSERT_TAIL(&cmd->channel->events, event, link);
		eventfd_write(cmd->channel->fd, 1);
	}
	id->channel = cmd->channel;
	const struct rdma_ucm_migrate_resp resp = {.events_reported = id->n_events_given};
	return sn_cm_respond(cmd, req.response, &resp, sizeof(resp), sizeof(resp));
}
