/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RoCEv2 over UDP sockets: the wire between machines, containers and network namespaces.
 *
 * A NIC thread cannot promise hardware's latencies, and a socket buffer is no lossless fabric. So
 * an acknowledgement covers as much as arrived together, a window bounds what is under way, and
 * what was lost is sent again from the first missing packet on.
 */
#include <errno.h>
#include <stdlib.h>

#include "copy.h"
#include "grace.h"
#include "icrc.h"
#include "trace.h"
#include "wire_roce.h"

static int
roce_open(void)
{
	int err;

	sn_icrc_init();
	err = sn_roce_sockets_open();
	if (err)
		sn_roce_sockets_close();
	return err;
}

static void
roce_close(void)
{
	sn_roce_sockets_close();
}

static int
roce_connect(struct sn_qp *qp)
{
	bool is_datagram = qp->type == IB_UVERBS_QPT_UD;
	uint32_t peer_ip_be = is_datagram ? 0 : sn_roce_ip_of_gid(qp->attr.dest.dgid);
	struct sn_roce_port *port;
	int err;

	if (!peer_ip_be && !is_datagram) {
		SN_LOG("qp %#x: the peer's GID maps no IPv4 address; use GID index 2 or 3",
		       qp->qpn);
		return -EINVAL;
	}
	err = sn_roce_port_get(qp->device, &port);
	if (err)
		return err;
	qp->roce = calloc(1, sizeof(*qp->roce));
	if (!qp->roce)
		return -ENOMEM;
	qp->roce->port = port;
	qp->roce->peer_ip_be = peer_ip_be;
	return 0;
}

static void
roce_disconnect(struct sn_qp *qp)
{
	qp->roce->port->flight_bytes -= qp->roce->tx.flight_bytes;
	free(qp->roce);
	qp->roce = NULL;
}

static uint8_t
class_of(const struct sn_qp *qp)
{
	return qp->type == IB_UVERBS_QPT_RC   ? SN_ROCE_RC
	       : qp->type == IB_UVERBS_QPT_UC ? SN_ROCE_UC
					      : SN_ROCE_UD;
}

static void
handle_packet(struct sn_roce_port *port, const struct sn_roce_packet *packet)
{
	struct sn_qp *qp = sn_qp_find(packet->dst_qpn);

	if (!qp || !qp->roce || qp->roce->port != port ||
	    SN_ROCE_CLASS(packet->opcode) != class_of(qp))
		return;
	if (qp->type == IB_UVERBS_QPT_UD) {
		sn_roce_take_datagram(qp, packet);
		return;
	}
	if (packet->src_ip_be != qp->roce->peer_ip_be)
		return;
	sn_nic_count(port->device, SN_CNT_RCV_PACKETS, 1);
	sn_nic_count(port->device, SN_CNT_RCV_BYTES, packet->data_bytes);
	if (packet->flags & SN_IS_RESPONSE)
		sn_roce_response(qp, packet);
	else
		sn_roce_execute(qp, packet);
	sn_qp_activate(qp); /* it may send now, or owe an answer */
}

/* ---- faults ---- */

/* A packet that arrives late: behind those that were sent after it. */
struct late {
	TAILQ_ENTRY(late) link;
	uint64_t due_ns;
	struct sn_roce_port *port;
	struct sn_roce_packet packet;
	uint8_t data[];
};
static TAILQ_HEAD(, late) late_packets = TAILQ_HEAD_INITIALIZER(late_packets);

static void
put_off(struct sn_roce_port *port, const struct sn_roce_packet *packet)
{
	struct late *late = malloc(sizeof(*late) + packet->data_bytes);

	if (!late)
		return;
	*late = (struct late){.due_ns = sn_nic.now_ns + sn_fault_delay_ns(port->device),
			      .port = port,
			      .packet = *packet};
	if (packet->data_bytes)
		memcpy(late->data, packet->data, packet->data_bytes);
	late->packet.data = late->data;
	TAILQ_INSERT_TAIL(&late_packets, late, link);
}

static void
handle_late(void)
{
	struct late *late, *next;

	for (late = TAILQ_FIRST(&late_packets); late; late = next) {
		next = TAILQ_NEXT(late, link);
		if (sn_nic.now_ns < late->due_ns)
			continue;
		TAILQ_REMOVE(&late_packets, late, link);
		handle_packet(late->port, &late->packet);
		free(late);
	}
}

static void
receive_packet(struct sn_roce_port *port, const struct sn_roce_packet *packet)
{
	if (sn_fault_is_stalled(port->device))
		return;
	if (__builtin_expect(sn_trace_on, 0))
		sn_trace_roce("rx", port->device, packet);
	switch (sn_fault_draw(port->device, SN_FAULTS_PACKET)) {
	case SN_FAULT_DROP:
		return;
	case SN_FAULT_CORRUPT:
		sn_nic_count(port->device, SN_CNT_ICRC_ERRORS, 1);
		return;
	case SN_FAULT_DELAY:
		put_off(port, packet);
		return;
	case SN_FAULT_DUPLICATE:
		handle_packet(port, packet);
		break;
	default:
		break;
	}
	handle_packet(port, packet);
}

static unsigned int
roce_poll(unsigned int budget)
{
	unsigned int n;

	sn_grace_enter(sn_nic.port);
	n = sn_roce_receive(budget, receive_packet);
	handle_late();
	sn_copy_fence(); /* who polls memory sees it in time */
	sn_grace_leave(sn_nic.port);
	return n;
}

static bool
is_idle(const struct sn_qp *qp)
{
	if (qp->type == IB_UVERBS_QPT_UD)
		return qp->sq_ci == qp->sq_pi;
	return sn_roce_responder_is_idle(qp) && sn_roce_requester_is_idle(qp);
}

/* RC and UC. */
static bool
run_connection(struct sn_qp *qp)
{
	struct sn_roce_port *port = qp->roce->port;
	bool progress = sn_roce_answer(qp);

	if (qp->roce) /* else that broke it */
		progress |= sn_roce_request(qp);
	sn_roce_flush(port);
	if (qp->roce && !sn_roce_is_reliable(qp))
		sn_roce_requester_sent(qp);
	return progress;
}

static bool
roce_run(struct sn_qp *qp)
{
	bool progress;

	if (qp->sq_ci != qp->sq_pi && sn_fault_draw(qp->device, SN_FAULT_BIT(SN_FAULT_QP_ERROR))) {
		sn_qp_break(qp, IBV_EVENT_QP_FATAL);
		return true;
	}
	sn_grace_enter(sn_nic.port);
	progress = qp->type == IB_UVERBS_QPT_UD ? sn_roce_datagrams(qp) : run_connection(qp);
	sn_grace_leave(sn_nic.port);
	if (qp->roce && qp->is_active && is_idle(qp)) {
		TAILQ_REMOVE(&sn_nic.active, qp, run_link);
		qp->is_active = false;
	}
	return progress;
}

const struct sn_wire sn_wire_roce = {
	.name = "roce",
	.open = roce_open,
	.close = roce_close,
	.connect = roce_connect,
	.disconnect = roce_disconnect,
	.run = roce_run,
	.poll = roce_poll,
	.sleep = sn_roce_sleep,
};
