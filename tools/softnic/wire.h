/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What carries requests to the QP at the other end. The requester knows only this; today there is
 * one wire, `local`, between processes of one machine. A wire over UDP would send packets here.
 */
#ifndef SN_WIRE_H
#define SN_WIRE_H

#include "shared.h"
#include "wqe.h"

struct sn_qp;

struct sn_wire {
	const char *name;

	/* The QP got its peer (RTR) or lost it. */
	void (*connect)(struct sn_qp *qp);

	/* Bracket a QP's share of a pass: execute, atomic and post are called in between. What was
	 * executed is done for everybody when end returns. */
	void (*begin)(void);
	void (*end)(void);

	/*
	 * Execute the next piece of a WRITE or READ and move request->done_bytes on; complete when
	 * that reaches request->len. Anything but SN_DONE ends the request.
	 */
	enum sn_fate (*execute)(struct sn_qp *qp, struct sn_request *request);

	/* An atomic, done here and now. SN_AGAIN: this memory needs the responder; use post. */
	enum sn_fate (*atomic)(struct sn_qp *qp, struct sn_request *request, uint64_t *old_value);

	/* Hand a request to the responder. Its fate comes through sn_requester_reply(), in the
	 * order of posting. SN_AGAIN: no room; SN_LOST: nobody is there. */
	enum sn_fate (*post)(struct sn_qp *qp, struct sn_packet *packet);

	/* Send a reply or a fault to member @to. May queue; never fails. */
	void (*answer)(uint64_t to, struct sn_packet *packet);

	/* Copy a request's payload from the sender to our memory. 0 or -errno. */
	int (*fetch)(const struct sn_packet *request, const struct iovec *to, unsigned int n_to);

	/* Deliver what has arrived to sn_responder_*() and sn_requester_reply(). Returns how many.
	 */
	unsigned int (*poll)(unsigned int budget);
};

extern const struct sn_wire sn_wire_local;

#endif
