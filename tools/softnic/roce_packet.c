/* SPDX-License-Identifier: BSD-3-Clause */
#include <arpa/inet.h>
#include <string.h>

#include "icrc.h"
#include "roce_packet.h"

#define FLAG_SOLICITED 0x80
#define PAD_SHIFT      4
#define ACK_REQUEST    0x80000000u

#define FIRST (SN_IS_VALID | SN_IS_FIRST)
#define LAST  (SN_IS_VALID | SN_IS_LAST)
#define ONLY  (FIRST | LAST)

const uint16_t sn_roce_flags[SN_N_KINDS] = {
	[SN_SEND_FIRST] = FIRST | SN_IS_SEND | SN_HAS_DATA,
	[SN_SEND_MIDDLE] = SN_IS_VALID | SN_IS_SEND | SN_HAS_DATA,
	[SN_SEND_LAST] = LAST | SN_IS_SEND | SN_HAS_DATA,
	[SN_SEND_LAST_IMM] = LAST | SN_IS_SEND | SN_HAS_DATA | SN_HAS_IMM,
	[SN_SEND_ONLY] = ONLY | SN_IS_SEND | SN_HAS_DATA,
	[SN_SEND_ONLY_IMM] = ONLY | SN_IS_SEND | SN_HAS_DATA | SN_HAS_IMM,
	[SN_WRITE_FIRST] = FIRST | SN_IS_WRITE | SN_HAS_DATA | SN_HAS_RETH,
	[SN_WRITE_MIDDLE] = SN_IS_VALID | SN_IS_WRITE | SN_HAS_DATA,
	[SN_WRITE_LAST] = LAST | SN_IS_WRITE | SN_HAS_DATA,
	[SN_WRITE_LAST_IMM] = LAST | SN_IS_WRITE | SN_HAS_DATA | SN_HAS_IMM,
	[SN_WRITE_ONLY] = ONLY | SN_IS_WRITE | SN_HAS_DATA | SN_HAS_RETH,
	[SN_WRITE_ONLY_IMM] = ONLY | SN_IS_WRITE | SN_HAS_DATA | SN_HAS_RETH | SN_HAS_IMM,
	[SN_READ_REQUEST] = ONLY | SN_HAS_RETH,
	[SN_READ_FIRST] = FIRST | SN_IS_RESPONSE | SN_HAS_AETH | SN_HAS_DATA,
	[SN_READ_MIDDLE] = SN_IS_VALID | SN_IS_RESPONSE | SN_HAS_DATA,
	[SN_READ_LAST] = LAST | SN_IS_RESPONSE | SN_HAS_AETH | SN_HAS_DATA,
	[SN_READ_ONLY] = ONLY | SN_IS_RESPONSE | SN_HAS_AETH | SN_HAS_DATA,
	[SN_ACKNOWLEDGE] = ONLY | SN_IS_RESPONSE | SN_HAS_AETH,
	[SN_ATOMIC_ACKNOWLEDGE] = ONLY | SN_IS_RESPONSE | SN_HAS_AETH | SN_HAS_OLD_VALUE,
	[SN_COMPARE_SWAP] = ONLY | SN_HAS_ATOMIC,
	[SN_FETCH_ADD] = ONLY | SN_HAS_ATOMIC,
	[SN_SEND_LAST_INVALIDATE] = LAST | SN_IS_SEND | SN_HAS_DATA | SN_HAS_IMM,
	[SN_SEND_ONLY_INVALIDATE] = ONLY | SN_IS_SEND | SN_HAS_DATA | SN_HAS_IMM,
};

/* ---- fields, at any alignment ---- */

static uint8_t *
put32(uint8_t *at, uint32_t value)
{
	uint32_t be = htonl(value);

	memcpy(at, &be, sizeof(be));
	return at + sizeof(be);
}

static uint8_t *
put64(uint8_t *at, uint64_t value)
{
	return put32(put32(at, (uint32_t)(value >> 32)), (uint32_t)value);
}

static uint32_t
get32(const uint8_t **at)
{
	uint32_t be;

	memcpy(&be, *at, sizeof(be));
	*at += sizeof(be);
	return ntohl(be);
}

static uint64_t
get64(const uint8_t **at)
{
	uint64_t high = get32(at);

	return high << 32 | get32(at);
}

/* ---- packets ---- */

static size_t
header_bytes(uint8_t opcode, uint16_t flags)
{
	return sizeof(struct sn_bth) +
	       (SN_ROCE_CLASS(opcode) == SN_ROCE_UD ? sizeof(struct sn_deth) : 0) +
	       (flags & SN_HAS_RETH ? sizeof(struct sn_reth) : 0) +
	       (flags & SN_HAS_ATOMIC ? sizeof(struct sn_atomic_eth) : 0) +
	       (flags & SN_HAS_AETH ? 4 : 0) + (flags & SN_HAS_OLD_VALUE ? 8 : 0) +
	       (flags & SN_HAS_IMM ? 4 : 0);
}

size_t
sn_roce_encode(const struct sn_roce_packet *p, uint8_t *header)
{
	uint16_t flags = sn_roce_flags[SN_ROCE_KIND(p->opcode)];
	uint8_t *at = header + sizeof(struct sn_bth);
	const struct sn_bth bth = {
		.opcode = p->opcode,
		.flags = (uint8_t)((p->solicited ? FLAG_SOLICITED : 0) | (-p->data_bytes & 3)
										 << PAD_SHIFT),
		.pkey_be = htons(SN_ROCE_PKEY),
		.dst_qpn_be = htonl(p->dst_qpn),
		.psn_be = htonl(p->psn | (p->wants_ack ? ACK_REQUEST : 0)),
	};

	memcpy(header, &bth, sizeof(bth));
	if (SN_ROCE_CLASS(p->opcode) == SN_ROCE_UD)
		at = put32(put32(at, p->qkey), p->src_qpn);
	if (flags & SN_HAS_RETH)
		at = put32(put32(put64(at, p->raddr), p->rkey), p->len);
	if (flags & SN_HAS_ATOMIC)
		at = put64(put64(put32(put64(at, p->raddr), p->rkey), p->operand[0]),
			   p->operand[1]);
	if (flags & SN_HAS_AETH)
		at = put32(at, (uint32_t)p->syndrome << 24 | p->msn);
	if (flags & SN_HAS_OLD_VALUE)
		at = put64(at, p->old_value);
	if (flags & SN_HAS_IMM) {
		memcpy(at, &p->imm_be, sizeof(p->imm_be));
		at += sizeof(p->imm_be);
	}
	return (size_t)(at - header);
}

/* Does our side of the protocol know this opcode? */
static bool
is_known(uint8_t opcode)
{
	uint8_t kind = SN_ROCE_KIND(opcode);

	if (kind >= SN_N_KINDS || !(sn_roce_flags[kind] & SN_IS_VALID))
		return false;
	switch (SN_ROCE_CLASS(opcode)) {
	case SN_ROCE_RC:
		return true;
	case SN_ROCE_UC:
		return kind <= SN_WRITE_ONLY_IMM;
	case SN_ROCE_UD:
		return kind == SN_SEND_ONLY || kind == SN_SEND_ONLY_IMM;
	default:
		return false;
	}
}

bool
sn_roce_decode(const uint8_t *udp, size_t bytes, struct sn_roce_packet *p)
{
	const uint8_t *at = udp + sizeof(struct sn_bth);
	size_t pad, headers;
	struct sn_bth bth;

	memcpy(&bth, udp, sizeof(bth));
	if (!is_known(bth.opcode) || bth.flags & 0x0f)
		return false;
	p->opcode = bth.opcode;
	p->flags = sn_roce_flags[SN_ROCE_KIND(bth.opcode)];
	p->solicited = bth.flags & FLAG_SOLICITED;
	p->dst_qpn = ntohl(bth.dst_qpn_be) & 0xffffff;
	p->wants_ack = ntohl(bth.psn_be) & ACK_REQUEST;
	p->psn = ntohl(bth.psn_be) & 0xffffff;
	pad = bth.flags >> PAD_SHIFT & 3;
	headers = header_bytes(bth.opcode, p->flags);
	if (bytes < headers + pad + SN_ICRC_BYTES)
		return false;
	if (SN_ROCE_CLASS(p->opcode) == SN_ROCE_UD) {
		p->qkey = get32(&at);
		p->src_qpn = get32(&at) & 0xffffff;
	}
	if (p->flags & (SN_HAS_RETH | SN_HAS_ATOMIC)) {
		p->raddr = get64(&at);
		p->rkey = get32(&at);
	}
	if (p->flags & SN_HAS_RETH)
		p->len = get32(&at);
	if (p->flags & SN_HAS_ATOMIC) {
		p->operand[0] = get64(&at);
		p->operand[1] = get64(&at);
	}
	if (p->flags & SN_HAS_AETH) {
		uint32_t aeth = get32(&at);

		p->syndrome = (uint8_t)(aeth >> 24);
		p->msn = aeth & 0xffffff;
	}
	if (p->flags & SN_HAS_OLD_VALUE)
		p->old_value = get64(&at);
	if (p->flags & SN_HAS_IMM) {
		memcpy(&p->imm_be, at, sizeof(p->imm_be));
		at += sizeof(p->imm_be);
	}
	p->data = at;
	p->data_bytes = (uint32_t)(bytes - headers - pad - SN_ICRC_BYTES);
	return p->flags & SN_HAS_DATA || p->data_bytes == 0;
}

uint32_t
sn_roce_dst_qpn(const uint8_t *udp)
{
	struct sn_bth bth;

	memcpy(&bth, udp, sizeof(bth));
	return ntohl(bth.dst_qpn_be) & 0xffffff;
}
