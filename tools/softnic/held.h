/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The adversary of --relaxed: cache lines of a WRITE to relaxed-ordered memory that stay behind,
 * as posted PCIe writes may, when the WRITE is acknowledged. They live with the requester's NIC
 * and reach memory when the responder's device does something that pushes them, when older lines
 * of their QP are about to be overwritten, or when their time is up.
 *
 * All but sn_held_init() and sn_held_expire() are called inside the epoch, and each line's QP and
 * region are looked at again as it is delivered: what was taken away since takes it along.
 */
#ifndef SN_HELD_H
#define SN_HELD_H

#include "nic.h"

#define SN_LINE_BYTES 64u

struct sn_held {
	uint32_t one_in; /* of so many WRITEs one holds lines back; 0: off */
	uint32_t n;	 /* lines held now */
};
extern struct sn_held sn_held;

/* Takes the settings from the environment; nothing is held. */
void sn_held_init(void);

/* True for one WRITE in sn_held.one_in. */
bool sn_held_chance(void);

/* How many of a WRITE's @n_lines to hold: at least one, as long as there is room. */
uint32_t sn_held_share(uint64_t n_lines);

/* Below @n, which is not 0. */
uint64_t sn_held_random(uint64_t n);

/* Hold a line of up to SN_LINE_BYTES for @addr in the space of @mr's owner, which @to was sent.
 * Returns where to put its bytes. */
uint8_t *sn_held_add(const struct sn_shm_qp *to, const struct sn_shm_mr *mr, uint64_t addr,
		     uint32_t bytes);

/* Deliver what @to was sent for these bytes: newer ones are coming. */
void sn_held_settle(const struct sn_shm_qp *to, uint64_t addr, uint64_t bytes);

/* Deliver, in random order, what @device has. */
void sn_held_deliver(unsigned int device);

/* Deliver what was due at @now_ns. */
void sn_held_expire(uint64_t now_ns);

/* @device reads, or writes in strict order: nothing of its own stays behind. */
static inline void
sn_held_push(unsigned int device)
{
	if (__builtin_expect(sn_held.n, 0))
		sn_held_deliver(device);
}

#endif
