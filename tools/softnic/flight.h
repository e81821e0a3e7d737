/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a QP has under way on links that take time (pace.h): pieces of requests that have not
 * arrived yet, and completions whose acknowledgements are not back.
 *
 * A request is sent here, piece by piece, as soon as it is announced, and has its effects, in
 * requester.c, when it arrives. So many can be under way, and who reads the memory sees no byte
 * sooner than a wire would have brought it.
 */
#ifndef SN_FLIGHT_H
#define SN_FLIGHT_H

#include <stdbool.h>
#include <stdint.h>

struct sn_qp;
struct sn_request;
struct sn_completion;
struct sn_flight;

/* What a QP in RTS needs from now on; NULL if there is no memory. Ends with free(3). */
struct sn_flight *sn_flight_create(const struct sn_qp *qp);

/* Deliver the completions that are due, and send what the links accept. True if something was done.
 */
bool sn_flight_run(struct sn_qp *qp);

/* How much of @request, the one at sq_ci, has arrived. False: nothing. */
bool sn_flight_arrived(struct sn_qp *qp, const struct sn_request *request, uint64_t *bytes);

/* The request that was at sq_ci is over. */
void sn_flight_next(struct sn_qp *qp);

/* All from sq_ci on is to be sent again. */
void sn_flight_rewind(struct sn_qp *qp);

/* Keep a completion of the send side until its acknowledgement is back. False: it is due now. */
bool sn_flight_hold(struct sn_qp *qp, const struct sn_completion *completion);

/* Are completions still to come? */
bool sn_flight_holds(const struct sn_qp *qp);

/* The QP is about to leave RTS: nothing is under way any more. What was acknowledged is delivered,
 * or dropped with the whole queue. */
void sn_flight_end(struct sn_qp *qp, bool all_delivered);

#endif
