/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connecting: who says what to whom, and what the program is told (IBA volume 1, 12.9 and 12.11).
 *
 *	active			passive
 *	REQ		  ->	CONNECT_REQUEST
 *	CONNECT_RESPONSE  <-	REP			or REJ: REJECTED
 *	RTU		  ->	ESTABLISHED
 *	DREQ		  ->	DISCONNECTED		either side begins
 *	DISCONNECTED	  <-	DREP
 *	TIMEWAIT_EXIT		TIMEWAIT_EXIT		later
 *
 * For UD, SIDR_REQ finds the QP at a port, SIDR_REP tells its number: ESTABLISHED.
 */
#include <errno.h>
#include <infiniband/verbs.h>
#include <stdlib.h>

#include "cm.h"
#include "nic.h"

/* How long the other end may think about a request while it lives; the kernel's 15 retries take
 * about as long. */
#define ANSWER_NS   60000000000
#define TIMEWAIT_NS 1000000000
#define MAX_BACKLOG 1024

static void
set_deadline(struct sn_cm_id *id, uint64_t ns)
{
	id->deadline_ns = sn_now_ns() + ns;
	sn_cm_carrier_wake();
}

static void
end(struct sn_cm_id *id, enum sn_cm_state state)
{
	id->state = state;
	id->deadline_ns = 0;
	if (state == SN_CM_TIMEWAIT)
		set_deadline(id, TIMEWAIT_NS);
	else
		id->link = NULL;
}

/* ---- sending ---- */

static void
say(struct sn_cm_id *id, enum sn_cm_message_type type, uint32_t status)
{
	struct sn_cm_message message = {
		.type = type, .status = status, .from = id->serial, .to = id->peer};

	if (id->link)
		sn_cm_send(id->link, &message);
}

/* A REQ, REP or their likes, with what the program gave. */
static void
say_with(struct sn_cm_id *id, enum sn_cm_message_type type, const struct rdma_ucm_conn_param *param,
	 const struct rdma_ucm_ece *ece)
{
	struct sn_cm_message message = {
		.type = type,
		.from = id->serial,
		.to = id->peer,
		.src = id->src,
		.dst = id->dst,
		.ece = *ece,
		.psn = id->psn,
		.mtu_code = id->mtu_code,
		.tos = id->tos,
		.space = id->space,
		.param = *param,
	};

	sn_cm_gid((unsigned int)id->device, message.sgid);
	memcpy(message.dgid, id->peer_gid, 16);
	memset(message.param.private_data + param->private_data_len, 0,
	       sizeof(message.param.private_data) - param->private_data_len);
	sn_cm_send(id->link, &message);
}

static void
answer(struct sn_cm_link *link, const struct sn_cm_message *message, enum sn_cm_message_type type,
       uint32_t status)
{
	struct sn_cm_message reply = {
		.type = type, .status = status, .from = message->to, .to = message->from};

	sn_cm_send(link, &reply);
}

/* ---- the active side ---- */

/* Private data that does not fit into its message (IBA 12.6, 12.11). */
static int
check_private(const struct sn_cm_id *id, const struct rdma_ucm_conn_param *param)
{
	bool active = id->state == SN_CM_ROUTE_RESOLVED, ud = id->qp_type == IBV_QPT_UD;
	unsigned int max = active ? (ud ? 180 : 56) : (ud ? 136 : 196);

	return param->private_data_len > max ? -EINVAL : 0;
}

int
sn_cm_connect(struct sn_cm_cmd *cmd)
{
	struct rdma_ucm_connect req;
	uint64_t member, serial;
	int err;

	SN_CM_TAKE(cmd, req);
	struct sn_cm_id *id = sn_cm_cmd_id(cmd, req.id);

	if (!id)
		return -ENOENT;
	if (id->state != SN_CM_ROUTE_RESOLVED || !req.conn_param.valid)
		return -EINVAL;
	err = check_private(id, &req.conn_param);
	if (err)
		return err;
	id->psn = (uint32_t)(id->serial * 2654435761u) & 0xffffff;
	id->responder_resources = req.conn_param.responder_resources;
	id->initiator_depth = req.conn_param.initiator_depth;
	id->retry_count = SN_MIN(req.conn_param.retry_count, 7);
	id->rnr_retry_count = SN_MIN(req.conn_param.rnr_retry_count, 7);
	id->state = SN_CM_CONNECTING;
	if (sn_cm_port_find(id->space, &id->dst, &member, &serial))
		id->link = sn_cm_link_to(member);
	if (id->link) {
		id->peer = serial;
		say_with(id, id->qp_type == IBV_QPT_UD ? SN_CM_SIDR_REQ : SN_CM_REQ,
			 &req.conn_param, &req.ece);
		set_deadline(id, ANSWER_NS);
		return 0;
	}
	/* Nobody there: what the device itself would answer. */
	end(id, SN_CM_ENDED);
	if (id->qp_type == IBV_QPT_UD)
		sn_cm_event_push(id, SN_CM_EVENT_UNREACHABLE, SN_CM_SIDR_UNSUPPORTED, NULL, NULL);
	else
		sn_cm_event_push(id, SN_CM_EVENT_REJECTED, SN_CM_REJ_INVALID_SERVICE, NULL, NULL);
	return 0;
}

static void
on_rep(struct sn_cm_id *id, const struct sn_cm_message *message)
{
	if (id->state != SN_CM_CONNECTING)
		return;
	id->state = SN_CM_ANSWERED;
	id->deadline_ns = 0;
	id->peer = message->from;
	id->peer_qpn = message->param.qp_num;
	id->initiator_depth = message->param.responder_resources;
	id->responder_resources = message->param.initiator_depth;
	id->rnr_retry_count = SN_MIN(message->param.rnr_retry_count, 7);
	sn_cm_event_push(id, SN_CM_EVENT_CONNECT_RESPONSE, 0, message, NULL);
}

static void
on_sidr_rep(struct sn_cm_id *id, const struct sn_cm_message *message)
{
	if (id->state != SN_CM_CONNECTING)
		return;
	end(id, message->status ? SN_CM_ENDED : SN_CM_CONNECTED);
	sn_cm_event_push(id, message->status ? SN_CM_EVENT_UNREACHABLE : SN_CM_EVENT_ESTABLISHED,
			 (int)message->status, message, NULL);
}

/* ---- the passive side ---- */

int
sn_cm_listen(struct sn_cm_cmd *cmd)
{
	const struct sockaddr_in any = {.sin_family = AF_INET};
	struct sockaddr_in6 addr = {0};
	struct rdma_ucm_listen req;
	int err = 0;

	SN_CM_TAKE(cmd, req);
	struct sn_cm_id *id = sn_cm_cmd_id(cmd, req.id);

	if (!id)
		return -ENOENT;
	memcpy(&addr, &any, sizeof(any));
	if (id->state == SN_CM_IDLE)
		err = sn_cm_address_bind(id, &addr);
	if (!err && id->state != SN_CM_BOUND)
		err = -EINVAL;
	if (!err)
		err = sn_cm_port_listen(id);
	if (err)
		return err;
	id->backlog = req.backlog > 0 && req.backlog < MAX_BACKLOG ? req.backlog : MAX_BACKLOG;
	id->state = SN_CM_LISTENING;
	return 0;
}

static struct sn_cm_id *
create_requested(const struct sn_cm_id *listener, struct sn_cm_link *link,
		 const struct sn_cm_message *message)
{
	struct sn_cm_id *id =
		sn_cm_id_create(listener->channel, listener->space, listener->qp_type);

	if (!id)
		return NULL;
	id->state = SN_CM_REQUESTED;
	id->device = sn_device_of_gid(&sn_nic.instance.shm->fabric, message->dgid);
	id->src = message->dst;
	id->dst = message->src;
	id->tos = message->tos;
	id->link = link;
	id->peer = message->from;
	memcpy(id->peer_gid, message->sgid, 16);
	id->peer_qpn = message->param.qp_num;
	id->psn = message->psn;
	id->mtu_code = message->mtu_code;
	id->initiator_depth = message->param.responder_resources;
	id->responder_resources = message->param.initiator_depth;
	id->retry_count = SN_MIN(message->param.retry_count, 7);
	id->rnr_retry_count = SN_MIN(message->param.rnr_retry_count, 7);
	id->ack_timeout = listener->ack_timeout;
	return id;
}

static void
on_request(struct sn_cm_link *link, const struct sn_cm_message *message)
{
	bool ud = message->type == SN_CM_SIDR_REQ;
	struct sn_cm_id *listener = sn_cm_id_of_serial(message->to), *id = NULL;

	if (!listener || listener->state != SN_CM_LISTENING || listener->space != message->space ||
	    sn_device_of_gid(&sn_nic.instance.shm->fabric, message->dgid) < 0) {
		answer(link, message, ud ? SN_CM_SIDR_REP : SN_CM_REJ,
		       ud ? SN_CM_SIDR_UNSUPPORTED : SN_CM_REJ_INVALID_SERVICE);
		return;
	}
	if (listener->n_requests < listener->backlog)
		id = create_requested(listener, link, message);
	if (!id) {
		answer(link, message, ud ? SN_CM_SIDR_REP : SN_CM_REJ,
		       ud ? SN_CM_SIDR_REJECT : SN_CM_REJ_CONSUMER);
		return;
	}
	listener->n_requests++;
	sn_cm_event_push(listener, SN_CM_EVENT_CONNECT_REQUEST, 0, message, id);
}

/* The passive side's answer, or the active side's word that it has seen it. */
int
sn_cm_accept(struct sn_cm_cmd *cmd)
{
	struct rdma_ucm_accept req;
	int err;

	SN_CM_TAKE(cmd, req);
	struct sn_cm_id *id = sn_cm_cmd_id(cmd, req.id);

	if (!id)
		return -ENOENT;
	if (id->state == SN_CM_ANSWERED) {
		id->state = SN_CM_CONNECTED;
		say(id, SN_CM_RTU, 0);
		return 0;
	}
	if (id->state != SN_CM_REQUESTED)
		return -EINVAL;
	err = check_private(id, &req.conn_param);
	if (err)
		return err;
	id->uid = req.uid;
	if (id->qp_type == IBV_QPT_UD) {
		req.conn_param.qkey = SN_CM_UDP_QKEY;
		say_with(id, SN_CM_SIDR_REP, &req.conn_param, &req.ece);
		end(id, SN_CM_CONNECTED);
		return 0;
	}
	id->responder_resources = req.conn_param.responder_resources;
	id->initiator_depth = req.conn_param.initiator_depth;
	id->state = SN_CM_ACCEPTED;
	say_with(id, SN_CM_REP, &req.conn_param, &req.ece);
	set_deadline(id, ANSWER_NS);
	return 0;
}

static void
establish(struct sn_cm_id *id)
{
	if (id->state != SN_CM_ACCEPTED)
		return;
	id->state = SN_CM_CONNECTED;
	id->deadline_ns = 0;
	sn_cm_event_push(id, SN_CM_EVENT_ESTABLISHED, 0, NULL, NULL);
}

/* The program has received data before the RTU. */
int
sn_cm_notify(struct sn_cm_cmd *cmd)
{
	struct rdma_ucm_notify req;

	SN_CM_TAKE(cmd, req);
	struct sn_cm_id *id = sn_cm_cmd_id(cmd, req.id);

	if (!id)
		return -ENOENT;
	if (req.event == IBV_EVENT_COMM_EST)
		establish(id);
	return 0;
}

/* ---- refusing ---- */

int
sn_cm_reject(struct sn_cm_cmd *cmd)
{
	const uint8_t max = 148;
	struct rdma_ucm_reject req;

	SN_CM_TAKE(cmd, req);
	struct sn_cm_id *id = sn_cm_cmd_id(cmd, req.id);

	if (!id)
		return -ENOENT;
	if ((id->state != SN_CM_REQUESTED && id->state != SN_CM_ANSWERED) ||
	    req.private_data_len > max)
		return -EINVAL;
	struct sn_cm_message message = {.from = id->serial, .to = id->peer};

	message.type = id->qp_type == IBV_QPT_UD ? SN_CM_SIDR_REP : SN_CM_REJ;
	message.status = id->qp_type == IBV_QPT_UD ? SN_CM_SIDR_REJECT
			 : req.reason		   ? req.reason
						   : SN_CM_REJ_CONSUMER;
	memcpy(message.param.private_data, req.private_data, req.private_data_len);
	sn_cm_send(id->link, &message);
	end(id, SN_CM_ENDED);
	return 0;
}

static void
on_rej(struct sn_cm_id *id, const struct sn_cm_message *message)
{
	if (id->state < SN_CM_CONNECTING || id->state > SN_CM_ACCEPTED)
		return;
	end(id, SN_CM_ENDED);
	sn_cm_event_push(id, SN_CM_EVENT_REJECTED, (int)message->status, message, NULL);
}

/* ---- disconnecting ---- */

int
sn_cm_disconnect(struct sn_cm_cmd *cmd)
{
	struct rdma_ucm_disconnect req;

	SN_CM_TAKE(cmd, req);
	struct sn_cm_id *id = sn_cm_cmd_id(cmd, req.id);

	if (!id)
		return -ENOENT;
	if (id->state < SN_CM_CONNECTING)
		return -EINVAL;
	if (id->qp_type == IBV_QPT_UD) /* nothing connects it */
		return 0;
	switch (id->state) {
	case SN_CM_ANSWERED:
	case SN_CM_ACCEPTED:
	case SN_CM_CONNECTED:
		say(id, SN_CM_DREQ, 0);
		id->state = SN_CM_DISCONNECTING;
		set_deadline(id, ANSWER_NS);
		break;
	case SN_CM_CLOSING:
		say(id, SN_CM_DREP, 0);
		end(id, SN_CM_TIMEWAIT);
		break;
	default: /* it is over, or will be without us */
		break;
	}
	return 0;
}

static void
disconnected(struct sn_cm_id *id, enum sn_cm_state state, int status)
{
	end(id, state);
	sn_cm_event_push(id, SN_CM_EVENT_DISCONNECTED, status, NULL, NULL);
}

static void
on_dreq(struct sn_cm_link *link, struct sn_cm_id *id, const struct sn_cm_message *message)
{
	if (id && (id->state == SN_CM_ANSWERED || id->state == SN_CM_ACCEPTED ||
		   id->state == SN_CM_CONNECTED)) {
		id->state = SN_CM_CLOSING;
		id->deadline_ns = 0;
		sn_cm_event_push(id, SN_CM_EVENT_DISCONNECTED, 0, NULL, NULL);
		return;
	}
	answer(link, message, SN_CM_DREP, 0);
	if (id && id->state == SN_CM_DISCONNECTING) /* both at once */
		disconnected(id, SN_CM_TIMEWAIT, 0);
}

static void
on_drep(struct sn_cm_id *id)
{
	if (id->state == SN_CM_DISCONNECTING)
		disconnected(id, SN_CM_TIMEWAIT, 0);
}

/* The program is done with the id. */
void
sn_cm_farewell(struct sn_cm_id *id)
{
	bool ud = id->qp_type == IBV_QPT_UD;

	switch (id->state) {
	case SN_CM_CONNECTING:
		if (!ud)
			say(id, SN_CM_REJ, SN_CM_REJ_TIMEOUT);
		break;
	case SN_CM_REQUESTED:
		say(id, ud ? SN_CM_SIDR_REP : SN_CM_REJ,
		    ud ? SN_CM_SIDR_REJECT : SN_CM_REJ_CONSUMER);
		break;
	case SN_CM_ANSWERED:
	case SN_CM_ACCEPTED:
		say(id, SN_CM_REJ, SN_CM_REJ_CONSUMER);
		break;
	case SN_CM_CONNECTED:
		say(id, SN_CM_DREQ, 0);
		break;
	case SN_CM_CLOSING:
		say(id, SN_CM_DREP, 0);
		break;
	default:
		break;
	}
}

/* ---- receiving ---- */

void
sn_cm_receive(struct sn_cm_link *link, const struct sn_cm_message *message)
{
	struct sn_cm_id *id = sn_cm_id_of_serial(message->to);

	if (message->type == SN_CM_REQ || message->type == SN_CM_SIDR_REQ) {
		on_request(link, message);
		return;
	}
	if (message->type == SN_CM_DREQ) {
		on_dreq(link, id, message);
		return;
	}
	if (!id)
		return; /* destroyed meanwhile, which it has told */
	switch (message->type) {
	case SN_CM_REP:
		on_rep(id, message);
		break;
	case SN_CM_RTU:
		establish(id);
		break;
	case SN_CM_REJ:
		on_rej(id, message);
		break;
	case SN_CM_DREP:
		on_drep(id);
		break;
	case SN_CM_SIDR_REP:
		on_sidr_rep(id, message);
		break;
	}
}

/* Nobody will answer any more. */
static void
give_up(struct sn_cm_id *id)
{
	switch (id->state) {
	case SN_CM_CONNECTING:
	case SN_CM_ACCEPTED:
		end(id, SN_CM_ENDED);
		sn_cm_event_push(id, SN_CM_EVENT_UNREACHABLE, -ETIMEDOUT, NULL, NULL);
		break;
	case SN_CM_REQUESTED:
		end(id, SN_CM_ENDED);
		break;
	case SN_CM_ANSWERED:
	case SN_CM_CONNECTED:
		disconnected(id, SN_CM_TIMEWAIT, 0);
		break;
	case SN_CM_DISCONNECTING:
		disconnected(id, SN_CM_TIMEWAIT, -ETIMEDOUT);
		break;
	default:
		break;
	}
}

void
sn_cm_link_lost(struct sn_cm_link *link)
{
	struct sn_cm_id *id;

	for (uint32_t handle = 0; (id = sn_cm_id_next(handle));) {
		handle = id->handle + 1;
		if (id->link != link)
			continue;
		give_up(id);
		id->link = NULL;
	}
}

void
sn_cm_expire(struct sn_cm_id *id)
{
	if (id->state != SN_CM_TIMEWAIT) {
		give_up(id);
		return;
	}
	end(id, SN_CM_ENDED);
	sn_cm_event_push(id, SN_CM_EVENT_TIMEWAIT_EXIT, 0, NULL, NULL);
}
