/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection of the roce wire: what its two halves and the wire itself share. */
#ifndef SN_WIRE_ROCE_H
#define SN_WIRE_ROCE_H

#include "qp.h"
#include "receive.h"
#include "roce_socket.h"

#define SN_ROCE_MAX_SENT  256 /* requests under way; a power of two */
#define SN_ROCE_RESOURCES 16  /* the most that max_dest_rd_atomic may be */

/* ---- requester ---- */

/* A request under way: its WQE, and the sequence numbers it takes. */
struct sn_roce_sent {
	uint32_t psn;
	uint32_t n_psn;
	uint32_t len;
	uint16_t index;
	uint16_t n_blocks;
	uint8_t opcode; /* MLX5_OPCODE_* */
	bool signaled;
};

/*
 * Sequence numbers, in this order:
 *
 *	una_psn    the oldest that is not acknowledged or, of a READ, has not arrived
 *	next_psn   the next to send; taken back to una_psn when something was lost
 *	qp->tx_psn the first that no request has
 */
struct sn_roce_requester {
	bool is_started; /* the QP is in RTS */
	struct sn_roce_sent sent[SN_ROCE_MAX_SENT];
	uint32_t head, tail; /* of sent[], free-running: incomplete; qp->sq_ci is head's WQE */
	uint32_t cursor;     /* the one that next_psn is of; tail: one to be begun */
	uint16_t next_index; /* the first WQE not begun */
	uint32_t una_psn;
	uint32_t next_psn;
	uint32_t n_reads;      /* READs and atomics on their way */
	uint32_t since_ack;    /* packets sent since one that asked for an acknowledgement */
	uint32_t flight_bytes; /* as counted in the port's */
	bool has_request;
	uint32_t request_of; /* sent[] that request was decoded for */
	struct sn_request request;

	/* ---- congestion and loss ---- */
	uint32_t window;      /* packets that may be unacknowledged */
	uint32_t threshold;   /* above it the window grows slowly */
	uint32_t grown;	      /* acknowledged since the window grew */
	bool recovering;      /* taken back; ends with the next progress */
	uint64_t deadline_ns; /* of the retry timer; 0: nothing is under way */
};

/* ---- responder ---- */

/* A READ or an atomic, kept to be answered again. */
struct sn_roce_resource {
	uint32_t psn;
	uint32_t n_psn;
	uint32_t len;
	uint32_t rkey;
	uint64_t raddr;
	uint64_t old_value;
	bool is_atomic;
};

struct sn_roce_responder {
	uint32_t msn;
	bool out_of_sequence; /* a NAK said so, or an RNR NAK; until the right packet comes */

	/* The message being received. */
	uint16_t part_of; /* SN_IS_SEND, SN_IS_WRITE; 0: none */
	uint32_t rkey;
	uint64_t at;	  /* a WRITE's next address */
	uint64_t left;	  /* and how much it still announced */
	uint64_t got;	  /* bytes of it so far */
	bool has_receive; /* a receive WQE is taken */
	struct sn_receive receive;

	/* READs and atomics: [head, tail) wait to be answered, those before may be asked again. */
	struct sn_roce_resource resource[SN_ROCE_RESOURCES];
	uint32_t head, tail;
	uint32_t answer_psn; /* of head's READ, the next response */
	bool answer_begins;  /* ... and it is the first of its answer */

	/* One acknowledgement is owed at most; it follows what READs are to be answered. */
	bool owes;
	uint8_t syndrome;
	uint32_t owed_psn;
	bool is_over;	/* the last: the QP breaks */
	int last_event; /* IBV_EVENT_* */
};

struct sn_roce {
	struct sn_roce_port *port;
	uint32_t peer_ip_be;
	struct sn_roce_requester tx;
	struct sn_roce_responder rx;
};

static inline bool
sn_roce_is_reliable(const struct sn_qp *qp)
{
	return qp->type == IB_UVERBS_QPT_RC;
}

/* Queue a packet to the peer of @qp. */
static inline void
sn_roce_send_to_peer(const struct sn_qp *qp, const struct sn_roce_packet *packet,
		     const struct iovec *data, unsigned int n)
{
	sn_roce_send(qp->roce->port, qp->qpn, qp->roce->peer_ip_be, packet, data, n);
}

/* The IPv4 address that a GID maps, or 0. */
static inline uint32_t
sn_roce_ip_of_gid(const uint8_t gid[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	uint32_t ip_be;

	memcpy(&ip_be, gid + 12, sizeof(ip_be));
	return memcmp(gid, mapped, sizeof(mapped)) ? 0 : ip_be;
}

/* ---- roce_datagram.c ---- */

/* Send what was posted to a UD QP, as sn_roce_request(). */
bool sn_roce_datagrams(struct sn_qp *qp);

void sn_roce_take_datagram(struct sn_qp *qp, const struct sn_roce_packet *packet);

/* How many packets are sent and not acknowledged. */
static inline uint32_t
sn_roce_n_in_flight(const struct sn_roce_requester *tx)
{
	return (uint32_t)sn_psn_diff(tx->next_psn, tx->una_psn);
}

/* ---- roce_segment.c ---- */

/* Send the packet at next_psn, the @nth of request @r, and move next_psn on; of a READ, the request
 * for the piece that response is in. */
void sn_roce_send_part(struct sn_qp *qp, const struct sn_request *r, uint32_t nth);

/* How many responses a piece of a READ has; pieces are counted from the READ's beginning. */
uint32_t sn_roce_read_piece(const struct sn_qp *qp);

/* The part of the request's data from @offset on. Returns how many pieces. */
unsigned int sn_roce_slice(const struct sn_request *r, uint64_t offset, uint64_t bytes,
			   struct iovec *out);

/* ---- roce_requester.c ---- */

/* Send what may be sent, mind the timer. True if something was done. May break the QP, which ends
 * qp->roce. */
bool sn_roce_request(struct sn_qp *qp);

/* Is there anything left to send or to wait for? */
bool sn_roce_requester_is_idle(const struct sn_qp *qp);

/* What was queued for UC has left: complete it. */
void sn_roce_requester_sent(struct sn_qp *qp);

/* An acknowledgement or a response. */
void sn_roce_response(struct sn_qp *qp, const struct sn_roce_packet *packet);

/* ---- roce_responder.c ---- */

/* A request. */
void sn_roce_execute(struct sn_qp *qp, const struct sn_roce_packet *packet);

/* Send what is owed to the requester. As sn_roce_request(). */
bool sn_roce_answer(struct sn_qp *qp);

bool sn_roce_responder_is_idle(const struct sn_qp *qp);

#endif
