/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SN_REQUESTER_H
#define SN_REQUESTER_H

#include "qp.h"

/* Work on a QP's send queue for its share of a pass. True if something was done. Takes the QP off
 * the active list when nothing is left. */
bool sn_requester_run(struct sn_qp *qp);

/* The answer to a request handed to the wire's post. */
void sn_requester_reply(const struct sn_packet *reply);

#endif
