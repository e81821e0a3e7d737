/* SPDX-License-Identifier: BSD-3-Clause */
/* Queue pairs and shared receive queues, the NIC's side. */
#ifndef SN_QP_H
#define SN_QP_H

#include <infiniband/verbs.h>

#include "cq.h"
#include "transit.h"
#include "wqe.h"

#define SN_MAX_OUTSTANDING 128 /* requests at the responder; a power of two */

struct sn_srq {
	struct sn_object object;
	uint32_t pd;
	uint32_t srqn;
	uint32_t n_wqe;
	uint32_t wqe_shift;
	uint16_t head;	/* the WQEs are a linked list; the next one to use */
	uint16_t ci;	/* how many were used */
	uint16_t limit; /* armed: event when fewer are left */
	uint8_t *buf;
	_Atomic uint32_t *dbrec; /* how many were posted */
	uint64_t user_handle;
	uint32_t n_async_events;
};

/* A request the responder has, waiting for its answer. */
struct sn_outstanding {
	struct iovec result; /* atomics: where the old value goes */
	uint64_t len;
	uint32_t psn;
	uint16_t index;
	uint8_t opcode;
	bool signaled;
	bool answered; /* a datagram: gone, though not yet completed */
	uint64_t peer; /* a datagram: the member that has it */
};

struct sn_qp {
	struct sn_object object;

	/* ---- every request ---- */
	struct sn_shm_qp *shared; /* what peers see of us */
	uint32_t qpn;
	uint32_t uidx;
	uint8_t *sq;
	uint32_t sq_blocks;	 /* a power of two */
	uint16_t sq_pi;		 /* announced by a doorbell */
	uint16_t sq_ci;		 /* next to execute */
	_Atomic uint32_t *dbrec; /* [0] receive, [1] send */
	uint16_t unseen_index;	 /* WQEs before it have been decoded once */
	bool signal_all;
	bool is_active;
	bool has_sent; /* on links that take time, in this pass */
	uint8_t type;  /* enum ib_uverbs_qp_type */
	uint8_t state; /* enum ibv_qp_state */
	uint8_t device;
	int8_t dest_device;
	uint32_t pd;
	uint32_t tx_psn;
	uint32_t mtu_bytes;
	uint64_t progress_bytes; /* of the request at sq_ci */
	uint64_t peer;		 /* the member that has our dest_qpn, for queued requests */
	struct sn_cq *send_cq;
	struct sn_cq *recv_cq;

	/* ---- requests that the responder executes ---- */
	uint32_t attempt;
	uint32_t out_head, out_tail; /* free-running */
	struct sn_outstanding out[SN_MAX_OUTSTANDING];

	struct sn_roce *roce;	  /* of the roce wire, in RTR and RTS */
	struct sn_flight *flight; /* flight.h; NULL: no link has taken time yet */

	/* ---- faults on the local wire: transit.c ---- */
	struct sn_transit transit;

	/* ---- retries ---- */
	uint64_t wait_until_ns; /* 0: not waiting */
	bool lost;		/* waiting because nobody answered */
	uint8_t retries_left;
	uint8_t rnr_retries_left;

	/* ---- receiving ---- */
	uint8_t *rq;
	uint32_t rq_wqes;
	uint32_t rq_shift;
	uint16_t rq_ci;
	bool has_signature; /* of WQEs; those for receiving start with a segment for it */
	struct sn_srq *srq;
	uint32_t last_atomic_psn;
	uint64_t last_atomic_value;

	/* ---- commands only ---- */
	struct sn_uar *uar;
	uint64_t user_handle;
	uint32_t n_async_events;
	uint32_t n_violations; /* strict.h */
	struct ib_uverbs_qp_cap cap;
	struct ib_uverbs_modify_qp attr; /* as set so far */

	TAILQ_ENTRY(sn_qp) uar_link;
	TAILQ_ENTRY(sn_qp) run_link; /* in active or broken */
};

/* Ours, by number; NULL if there is none. */
struct sn_qp *sn_qp_find(uint32_t qpn);

/* Put it on the list of those with work. */
void sn_qp_activate(struct sn_qp *qp);

/* The doorbell rang: take over the producer index. True if it moved. */
bool sn_qp_ring(struct sn_qp *qp);

/* Publish the state and put the QP on the list it belongs to. Does not wait for peers. */
void sn_qp_set_state(struct sn_qp *qp, uint8_t state);

/* To ERR, flushing, with an asynchronous event if @event is not negative. */
void sn_qp_break(struct sn_qp *qp, int event);

/* Those whose completions a CQ had no room for; those of a device that died. */
void sn_qp_break_overrun(void);
void sn_qp_break_device(unsigned int device);

/* Complete with an error everything posted; in ERR only. */
void sn_qp_flush(struct sn_qp *qp);

/* A completion of the send side; @syndrome 0 is success. */
void sn_qp_complete_send(struct sn_qp *qp, uint8_t opcode, uint16_t index, uint64_t len,
			 uint8_t syndrome);

/* A receive-side error completion for the WQE @index. */
void sn_qp_fail_receive(struct sn_qp *qp, uint16_t index, uint8_t syndrome);

/* What the responder's min_rnr_timer @code stands for (IBA table 45). */
uint64_t sn_qp_rnr_ns(uint8_t code);
#define SN_RNR_FOREVER 7 /* a count of retries that never runs out */

static inline uint32_t
sn_psn_add(uint32_t psn, uint32_t n)
{
	return (psn + n) & 0xffffff;
}

/* How many packets a message of @len takes; an empty one takes one. */
static inline uint32_t
sn_psn_count(uint64_t len, uint32_t mtu_bytes)
{
	return len ? (uint32_t)((len + mtu_bytes - 1) / mtu_bytes) : 1;
}

#endif
