/* SPDX-License-Identifier: BSD-3-Clause */
/* Decoding of send work queue entries. */
#ifndef SN_WQE_H
#define SN_WQE_H

#include <infiniband/mlx5dv.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define SN_MAX_SGE	 32
#define SN_MAX_MSG_BYTES (1ull << 30)

struct sn_qp;

/* Where a datagram goes: the address vector of its WQE. */
struct sn_address {
	uint8_t dgid[16];
	uint8_t dmac[6];
	uint8_t sgid_index;
	uint8_t traffic_class;
	uint8_t hop_limit;
	uint32_t flow_label;
	uint32_t qpn;
	uint32_t qkey; /* what the receiver is to compare with its own */
};

/* What a memory window is bound to, or nothing. */
struct sn_window_bind {
	uint64_t addr; /* in the region of lkey */
	uint64_t len;  /* 0: bound to nothing */
	uint64_t iova; /* how requests will name addr */
	uint32_t lkey;
	uint32_t access;
	uint8_t variant; /* of the key from now on: its low byte */
	bool is_of_qp;	 /* type 2 */
};

/* A WQE with its addresses checked and resolved to our own memory. */
struct sn_request {
	uint8_t opcode;	  /* MLX5_OPCODE_* */
	uint8_t syndrome; /* not 0: refused by a local check, with this */
	bool signaled;
	bool solicited;
	bool is_inline;
	bool fenced;	/* not before the READs and atomics ahead of it are complete */
	uint16_t index; /* of its first basic block; what the CQE reports */
	uint16_t n_blocks;
	uint32_t imm_be;
	uint32_t rkey;
	uint32_t n_psn;
	uint64_t raddr;
	uint64_t operand[2]; /* swap or add, compare */
	uint64_t len;
	uint64_t here_bytes; /* how much has arrived where it goes: all, if links take no time */
	uint64_t done_bytes;
	unsigned int n_sge;
	struct iovec sge[SN_MAX_SGE];
	uint32_t lkey[SN_MAX_SGE];
	struct sn_address to; /* of a UD QP */
	struct sn_window_bind bind;
};

/* Does the request concern this NIC alone? */
bool sn_is_local(uint8_t opcode);

/* Decode the entry at block @index of the send queue, of which @n_announced blocks are valid. */
void sn_wqe_decode(struct sn_qp *qp, uint16_t index, uint16_t n_announced,
		   struct sn_request *request);

/* For flushing: index and size only. Returns how many blocks it takes, at least 1. */
uint16_t sn_wqe_size(const struct sn_qp *qp, uint16_t index, uint8_t *opcode);

/* Does it deliver a message? */
static inline bool
sn_is_send(uint8_t opcode)
{
	return opcode == MLX5_OPCODE_SEND || opcode == MLX5_OPCODE_SEND_IMM ||
	       opcode == MLX5_OPCODE_SEND_INVAL;
}

#endif
