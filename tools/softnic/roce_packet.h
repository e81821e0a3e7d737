/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RoCEv2 packets: what follows the UDP header (IBA 9.2, annex A17).
 *
 *	BTH | [DETH] [RETH] [AtomicETH] [AETH] [AtomicAckETH] [ImmDt or IETH] | data, padded to 4 |
 *ICRC
 */
#ifndef SN_ROCE_PACKET_H
#define SN_ROCE_PACKET_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SN_ROCE_PORT	     4791
#define SN_ROCE_PKEY	     0xffff
#define SN_ROCE_HEADER_BYTES 64	 /* room for the headers of any packet */
#define SN_ROCE_OVERHEAD     64u /* IPv4, UDP, BTH, RETH, ImmDt, ICRC: around the data of a packet */

/* ---- as they are sent ---- */

struct sn_bth {
	uint8_t opcode;
	uint8_t flags; /* solicited, migrated, pad count, version */
	uint16_t pkey_be;
	uint32_t dst_qpn_be;
	uint32_t psn_be; /* bit 31: an acknowledgement is wanted */
};
static_assert(sizeof(struct sn_bth) == 12, "IBA 9.2: BTH");

struct sn_reth {
	uint32_t raddr_be[2];
	uint32_t rkey_be;
	uint32_t len_be;
};
static_assert(sizeof(struct sn_reth) == 16, "IBA 9.3.3: RETH");

struct sn_atomic_eth {
	uint32_t raddr_be[2];
	uint32_t rkey_be;
	uint32_t swap_add_be[2];
	uint32_t compare_be[2];
};
static_assert(sizeof(struct sn_atomic_eth) == 28, "IBA 9.3.4: AtomicETH");

struct sn_deth {
	uint32_t qkey_be;
	uint32_t src_qpn_be;
};
static_assert(sizeof(struct sn_deth) == 8, "IBA 9.3.2: DETH");

/* ---- opcodes ---- */

enum sn_roce_class { SN_ROCE_RC = 0x00, SN_ROCE_UC = 0x20, SN_ROCE_UD = 0x60 };
#define SN_ROCE_CLASS(opcode) ((opcode)&0xe0)
#define SN_ROCE_KIND(opcode)  ((opcode)&0x1f)

/* Without the class. */
enum sn_roce_kind {
	SN_SEND_FIRST = 0x00,
	SN_SEND_MIDDLE,
	SN_SEND_LAST,
	SN_SEND_LAST_IMM,
	SN_SEND_ONLY,
	SN_SEND_ONLY_IMM,
	SN_WRITE_FIRST,
	SN_WRITE_MIDDLE,
	SN_WRITE_LAST,
	SN_WRITE_LAST_IMM,
	SN_WRITE_ONLY,
	SN_WRITE_ONLY_IMM,
	SN_READ_REQUEST,
	SN_READ_FIRST,
	SN_READ_MIDDLE,
	SN_READ_LAST,
	SN_READ_ONLY,
	SN_ACKNOWLEDGE,
	SN_ATOMIC_ACKNOWLEDGE,
	SN_COMPARE_SWAP,
	SN_FETCH_ADD,
	SN_SEND_LAST_INVALIDATE = 0x16,
	SN_SEND_ONLY_INVALIDATE,
	SN_N_KINDS
};

/* What a kind of packet is. */
enum sn_roce_flag {
	SN_HAS_RETH = 1 << 0,
	SN_HAS_ATOMIC = 1 << 1,
	SN_HAS_AETH = 1 << 2,
	SN_HAS_OLD_VALUE = 1 << 3,
	SN_HAS_IMM = 1 << 4, /* or the key to invalidate */
	SN_HAS_DATA = 1 << 5,
	SN_IS_FIRST = 1 << 6,
	SN_IS_LAST = 1 << 7, /* an only one is both */
	SN_IS_SEND = 1 << 8,
	SN_IS_WRITE = 1 << 9,
	SN_IS_RESPONSE = 1 << 10, /* for the requester */
	SN_IS_VALID = 1 << 11,
};

extern const uint16_t sn_roce_flags[SN_N_KINDS];

/* ---- the syndrome of an AETH (IBA 9.7.5.1.4) ---- */

#define SN_AETH_ACK	      0x1f /* credits are not limited */
#define SN_AETH_RNR	      0x20 /* and the timer code */
#define SN_AETH_NAK_SEQUENCE  0x60
#define SN_AETH_NAK_INVALID   0x61
#define SN_AETH_NAK_ACCESS    0x62
#define SN_AETH_NAK_OPERATION 0x63

/* ---- decoded ---- */

struct sn_roce_packet {
	uint8_t opcode;
	bool solicited;
	bool wants_ack;
	uint8_t syndrome; /* AETH */
	uint16_t flags;	  /* enum sn_roce_flag */
	uint32_t dst_qpn;
	uint32_t psn;
	uint32_t msn;
	uint32_t imm_be;
	uint32_t rkey;
	uint32_t len;  /* RETH: of the whole message */
	uint32_t qkey; /* DETH */
	uint32_t src_qpn;
	uint64_t raddr;
	uint64_t operand[2]; /* swap or add, compare */
	uint64_t old_value;
	uint32_t src_ip_be;
	uint32_t data_bytes;
	const uint8_t *data;
};

/* Write the headers. Returns how many bytes they are, SN_ROCE_HEADER_BYTES at most. */
size_t sn_roce_encode(const struct sn_roce_packet *packet, uint8_t *header);

/* Take apart a datagram's payload whose ICRC is right. False: it is no packet that we know. */
bool sn_roce_decode(const uint8_t *udp, size_t bytes, struct sn_roce_packet *packet);

/* Whom it is for. @bytes is at least that of a BTH. */
uint32_t sn_roce_dst_qpn(const uint8_t *udp);

/* ---- sequence numbers ---- */

/* How far @a is ahead of @b; negative if behind. */
static inline int32_t
sn_psn_diff(uint32_t a, uint32_t b)
{
	return (int32_t)((a - b) << 8) >> 8;
}

#endif
