/* SPDX-License-Identifier: BSD-3-Clause */
/* Completion queues, the NIC's side. */
#ifndef SN_CQ_H
#define SN_CQ_H

#include "nic.h"

struct sn_cq {
	struct sn_object object;
	uint32_t cqn;
	uint32_t n_cqe; /* a power of two */
	uint32_t cqe_bytes;
	uint32_t pi;	       /* free-running */
	uint32_t solicited_pi; /* pi after the last completion that wakes solicited-only waiters */
	bool overrun;
	uint8_t *buf;
	_Atomic uint32_t *dbrec; /* [0] the program's consumer index, [1] the arm record */
	uint32_t notified_pi;	 /* pi at the last event */
	uint32_t served_arm;	 /* the arm record's value that an event has answered */
	uint64_t user_handle;
	struct sn_event_queue *channel; /* NULL: polled only */
	uint32_t n_comp_events;
	uint32_t n_async_events;
	TAILQ_ENTRY(sn_cq) link; /* in sn_nic.notifying if it has a channel */
};

/* A completion, whichever side it is of. */
struct sn_completion {
	uint8_t cqe_opcode; /* MLX5_CQE_REQ, ... */
	uint8_t syndrome;   /* for error opcodes */
	uint8_t wqe_opcode;
	bool solicited;
	bool has_grh; /* of a datagram, as roce_kind: 4 bits */
	uint8_t roce_kind;
	uint16_t wqe_index;
	uint32_t uidx;
	uint32_t qpn;
	uint32_t src_qpn;
	uint32_t srqn;
	uint32_t imm_be;
	uint32_t byte_count;
};

/* The arm record of a CQ never armed: no program writes it, for its top bits are not a counter
 * libmlx5 uses together with an all-ones index. */
#define SN_ARM_NEVER 0xffffffffu

void sn_cq_push(struct sn_cq *cq, const struct sn_completion *completion);

/* Go on in another buffer, which libmlx5 has prepared. -EINVAL: what is unread does not fit.
 * -EBUSY: the old one is full. */
int sn_cq_resize(struct sn_cq *cq, uint8_t *buf, uint32_t n_cqe);

/* Fire the completion event if the program armed the CQ and there is something new. */
void sn_cq_notify(struct sn_cq *cq);

#endif
