/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Grace periods between processes, as in RCU.
 *
 * A NIC thread touches another member's QP and MR entries, and the memory behind them, only
 * between sn_grace_enter() and sn_grace_leave(). Who takes something away (QP to ERR, MR
 * deregistered) first unpublishes it and then calls sn_grace_wait(): when that returns, every
 * access that could have seen the old state is over. This is what makes modify_qp(ERR),
 * destroy_qp and dereg_mr fences: no byte moves after they return.
 */
#ifndef SN_GRACE_H
#define SN_GRACE_H

#include "shared.h"

static inline void
sn_grace_enter(struct sn_shm_port *own)
{
	/* The locked add is a full fence: the epoch is odd for everybody before any entry is read.
	 * Its partner is the fence at the start of sn_grace_wait(). */
	atomic_fetch_add_explicit(&own->epoch, 1, memory_order_seq_cst);
}

static inline void
sn_grace_leave(struct sn_shm_port *own)
{
	/* Release: the last byte is written before the epoch is seen even. */
	atomic_store_explicit(&own->epoch,
			      atomic_load_explicit(&own->epoch, memory_order_relaxed) + 1,
			      memory_order_release);
}

/* Wait until every access under way now, in any process, has ended. Never call it inside one. */
void sn_grace_wait(struct sn_shm *shm);

#endif
