/* SPDX-License-Identifier: BSD-3-Clause */
/* The unreliable datagram service: what a message carries besides its bytes, and its arrival. */
#ifndef SN_DATAGRAM_H
#define SN_DATAGRAM_H

#include "receive.h"
#include "shared.h"

/* A message as it arrives, without its payload. */
struct sn_datagram {
	uint8_t grh[SN_GRH_BYTES]; /* as it will lie before the payload */
	uint32_t qkey;
	uint32_t src_qpn;
	uint32_t imm_be;
	uint64_t len; /* of the payload */
	bool solicited;
	bool has_imm;
};

/* The GRH of a message of @len bytes from @sgid: an IPv6 header, or for RoCE v2 between IPv4
 * addresses an IPv4 header in the last 20 bytes (IBA annex A17.4.5.2). */
void sn_grh_format(uint8_t grh[SN_GRH_BYTES], const struct sn_address *to, const uint8_t sgid[16],
		   uint64_t len);

/*
 * Take a receive WQE of @qp for the message, write the GRH, and leave in receive->to where the
 * payload goes. False: dropped, because the QP does not listen, has another Q_Key, no receive or
 * too small a one. Nobody learns of it (IBA 9.8.3).
 */
bool sn_datagram_accept(struct sn_qp *qp, const struct sn_datagram *datagram,
			struct sn_receive *receive);

/* The payload is in place: complete the receive. */
void sn_datagram_complete(struct sn_qp *qp, const struct sn_datagram *datagram,
			  const struct sn_receive *receive);

#endif
