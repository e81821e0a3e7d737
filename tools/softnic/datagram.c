/* SPDX-License-Identifier: BSD-3-Clause */
#include <arpa/inet.h>
#include <endian.h>
#include <netinet/in.h>
#include <netinet/ip.h>

#include "datagram.h"

#define NEXT_HEADER_IBA 0x1b /* RoCE v1: a transport header follows */
#define TRANSPORT_BYTES 24   /* BTH and DETH, ICRC */
#define UDP_BYTES	8

/* What a CQE has in the place of a service level: the network header, and if UDP follows (PRM, CQE
 * of a responder over RoCE). */
enum { ROCE_GRH = 0, ROCE_IPV6_UDP = 8 | 1, ROCE_IPV4_UDP = 8 | 2 };

/* ---- the global route header ---- */

static bool
is_ipv4(const uint8_t gid[16])
{
	return IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)(const void *)gid);
}

static uint16_t
ip_checksum(const uint8_t *header)
{
	uint32_t sum = 0;

	for (unsigned int i = 0; i < sizeof(struct iphdr); i += 2)
		sum += (uint32_t)header[i] << 8 | header[i + 1];
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t) ~(sum + (sum >> 16));
}

static void
format_ipv4(uint8_t *at, const struct sn_address *to, const uint8_t sgid[16], uint64_t len)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.tos = to->traffic_class,
		.tot_len = htons((uint16_t)(sizeof(ip) + UDP_BYTES + TRANSPORT_BYTES + len)),
		.frag_off = htons(IP_DF),
		.ttl = to->hop_limit,
		.protocol = IPPROTO_UDP,
	};

	memcpy(&ip.saddr, sgid + 12, sizeof(ip.saddr));
	memcpy(&ip.daddr, to->dgid + 12, sizeof(ip.daddr));
	memcpy(at, &ip, sizeof(ip));
	ip.check = htons(ip_checksum(at));
	memcpy(at, &ip, sizeof(ip));
}

void
sn_grh_format(uint8_t grh[SN_GRH_BYTES], const struct sn_address *to, const uint8_t sgid[16],
	      uint64_t len)
{
	bool is_v2 = to->sgid_index & 1;
	struct ibv_grh ipv6 = {
		.version_tclass_flow =
			htobe32(6u << 28 | (uint32_t)to->traffic_class << 20 | to->flow_label),
		.paylen = htobe16((uint16_t)(TRANSPORT_BYTES + len + (is_v2 ? UDP_BYTES : 0))),
		.next_hdr = is_v2 ? IPPROTO_UDP : NEXT_HEADER_IBA,
		.hop_limit = to->hop_limit,
	};

	if (is_v2 && is_ipv4(to->dgid)) {
		memset(grh, 0, SN_GRH_BYTES);
		format_ipv4(grh + SN_GRH_BYTES - sizeof(struct iphdr), to, sgid, len);
		return;
	}
	memcpy(ipv6.sgid.raw, sgid, sizeof(ipv6.sgid));
	memcpy(ipv6.dgid.raw, to->dgid, sizeof(ipv6.dgid));
	memcpy(grh, &ipv6, SN_GRH_BYTES);
}

static uint8_t
roce_kind(const uint8_t grh[SN_GRH_BYTES])
{
	if (grh[0] >> 4 != 6)
		return ROCE_IPV4_UDP;
	return ((const struct ibv_grh *)(const void *)grh)->next_hdr == NEXT_HEADER_IBA
		       ? ROCE_GRH
		       : ROCE_IPV6_UDP;
}

/* ---- arrival ---- */

/* Write the header at the head of the scatter list, and leave there what comes after it. */
static void
scatter_grh(struct sn_receive *receive, const uint8_t *grh)
{
	size_t left = SN_GRH_BYTES;
	unsigned int used = 0;

	for (unsigned int i = 0; i < receive->n && left; i++) {
		struct iovec *to = &receive->to[i];
		size_t take = SN_MIN(left, to->iov_len);

		memcpy(to->iov_base, grh + SN_GRH_BYTES - left, take);
		to->iov_base = (uint8_t *)to->iov_base + take;
		to->iov_len -= take;
		left -= take;
		used += to->iov_len == 0;
	}
	receive->n -= used;
	memmove(receive->to, receive->to + used, receive->n * sizeof(receive->to[0]));
}

bool
sn_datagram_accept(struct sn_qp *qp, const struct sn_datagram *datagram, struct sn_receive *receive)
{
	if ((qp->state != IBV_QPS_RTR && qp->state != IBV_QPS_RTS) ||
	    datagram->qkey != qp->attr.qkey) {
		SN_LOG("qp %#x: datagram of %#x dropped: state %u, q_key %#x is not %#x", qp->qpn,
		       datagram->src_qpn, qp->state, datagram->qkey, qp->attr.qkey);
		return false;
	}
	if (!sn_receive_peek(qp, receive)) {
		sn_nic_count(qp->device, SN_CNT_OUT_OF_BUFFER, 1);
		return false;
	}
	if (sn_receive_resolve(qp, receive, SN_GRH_BYTES + datagram->len)) {
		SN_LOG("qp %#x: datagram of %#x dropped: %llu bytes and the GRH do not fit",
		       qp->qpn, datagram->src_qpn, (unsigned long long)datagram->len);
		return false;
	}
	sn_receive_consume(qp);
	scatter_grh(receive, datagram->grh);
	return true;
}

void
sn_datagram_complete(struct sn_qp *qp, const struct sn_datagram *datagram,
		     const struct sn_receive *receive)
{
	struct sn_completion c = {
		.cqe_opcode = datagram->has_imm ? MLX5_CQE_RESP_SEND_IMM : MLX5_CQE_RESP_SEND,
		.solicited = datagram->solicited,
		.has_grh = true,
		.roce_kind = roce_kind(datagram->grh),
		.wqe_index = receive->index,
		.uidx = qp->uidx,
		.qpn = qp->qpn,
		.src_qpn = datagram->src_qpn,
		.imm_be = datagram->imm_be,
		.byte_count = (uint32_t)(SN_GRH_BYTES + datagram->len),
	};

	sn_nic_count(qp->device, SN_CNT_RCV_BYTES, datagram->len);
	sn_nic_count(qp->device, SN_CNT_RCV_PACKETS, 1);
	if (qp->recv_cq)
		sn_cq_push(qp->recv_cq, &c);
}
