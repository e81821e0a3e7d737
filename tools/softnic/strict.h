/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What --strict looks at: whether a program tells its NIC of work as the PRM demands. Hardware
 * takes most of these offences without a word, or hangs days later; here each is named on standard
 * error and counted. Nothing is executed otherwise than without the check.
 *
 * All of it runs on the NIC thread, with sn_nic.lock held: later than the post it is about.
 */
#ifndef SN_STRICT_H
#define SN_STRICT_H

#include <stdbool.h>
#include <stdint.h>

struct sn_qp;
struct sn_uar;

#define SN_N_REGISTERS 4  /* doorbell registers of a page: two, of two alternating halves */
#define SN_BF_WORDS    32 /* of 8 bytes, in one half */

struct sn_strict {
	bool on;
	bool is_fatal;
};
extern struct sn_strict sn_strict;

/*
 * A BlueFlame buffer as the last doorbell left it. A program writes its first word first, so the
 * rest may arrive after we have looked, and only what has changed since belongs to a doorbell.
 */
struct sn_strict_bf {
	uint64_t seen[SN_BF_WORDS];
	uint64_t wqe[SN_BF_WORDS]; /* of that doorbell; its bytes may still arrive */
	unsigned int n_wqe;	   /* words of it */
	bool unknown;		   /* a doorbell was missed: whose bytes these are cannot be said */
};

/* Takes the settings from the environment. */
void sn_strict_init(void);

/* Register @which of the QP's page held @value, and announced the WQEs from @pi_before on. */
void sn_strict_doorbell(struct sn_qp *qp, unsigned int which, uint64_t value, uint16_t pi_before);

/* A register of @uar held @value, which names no QP of it. */
void sn_strict_stray(struct sn_uar *uar, uint64_t value);

/* The WQE at @index, of @n_announced blocks, is looked at for the first time. */
void sn_strict_wqe(struct sn_qp *qp, uint16_t index, uint16_t n_announced);

#endif
