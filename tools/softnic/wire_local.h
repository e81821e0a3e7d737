/* SPDX-License-Identifier: BSD-3-Clause */
/* What requester.c and responder.c ask of the local wire. */
#ifndef SN_WIRE_LOCAL_H
#define SN_WIRE_LOCAL_H

#include <sys/uio.h>

#include "qp.h"

/* Bracket a QP's share of a pass: execute, atomic and post are called in between. What was
 * executed is done for everybody when end returns. */
void sn_local_begin(void);
void sn_local_end(void);

/* Execute the next piece of a WRITE or READ, move request->done_bytes on and take what that cost
 * from *@budget; complete when done_bytes reaches request->len. Anything but SN_DONE ends the
 * request. */
enum sn_fate sn_local_execute(struct sn_qp *qp, struct sn_request *request, uint64_t *budget);

/* Let a WRITE to memory that cannot be mapped here wait for others (gather.h). False: execute it.
 */
bool sn_local_gather(const struct sn_qp *qp, const struct sn_request *request);

/* Is the peer's QP there, for a request that it has executed before? */
bool sn_local_is_reached(const struct sn_qp *qp);

/* An atomic, done here and now. SN_AGAIN: this memory needs the responder; use post. */
enum sn_fate sn_local_atomic(struct sn_qp *qp, struct sn_request *request, uint64_t *old_value);

/* The packet of a request that the responder executes, with its payload or where that is. */
void sn_local_pack(const struct sn_qp *qp, const struct sn_request *request,
		   struct sn_packet *packet);

/* Hand a request to the responder. Its fate comes through sn_requester_reply(), in the order of
 * posting. SN_AGAIN: no room; SN_LOST: nobody is there. */
enum sn_fate sn_local_post(struct sn_qp *qp, struct sn_packet *packet);

/* The same for a datagram: SN_LOST, nobody is at that address. */
enum sn_fate sn_local_post_datagram(const struct sn_qp *qp, const struct sn_address *to,
				    struct sn_packet *packet);

/* Send a reply or a fault to member @to. May queue; never fails. */
void sn_local_answer(uint64_t to, struct sn_packet *packet);

/* Copy a request's payload from the sender to our memory. 0 or -errno. */
int sn_local_fetch(const struct sn_packet *request, const struct iovec *to, unsigned int n_to);

#endif
