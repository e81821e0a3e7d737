/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SN_RESPONDER_H
#define SN_RESPONDER_H

#include "qp.h"

/* A request that needs us: SEND, the receive of a WRITE_IMM, an atomic on memory not shared. */
void sn_responder_request(const struct sn_packet *request);

/* A peer's direct request broke a rule of one of our QPs. */
void sn_responder_fault(const struct sn_packet *fault);

#endif
