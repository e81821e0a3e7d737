/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small WRITEs to memory that only the kernel reaches: those of a QP's share of a pass are
 * collected and executed by one system call, which otherwise is most of what each costs. They count
 * as executed at once; their completions wait for the call. If it fails, the QP goes back to the
 * one that failed, which then is tried alone.
 */
#ifndef SN_GATHER_H
#define SN_GATHER_H

#include <stdbool.h>
#include <stdint.h>

#define SN_GATHER_MAX_BYTES 16384u /* of one WRITE; for larger ones the call does not matter */

struct sn_qp;
struct sn_request;

extern unsigned int sn_gather_n; /* WRITEs collected */

/* The WRITE at qp->sq_ci, for @addr in the space of member @owner. False: not together with the
 * others. */
bool sn_gather_add(const struct sn_qp *qp, const struct sn_request *request, uint64_t owner,
		   uint64_t addr);

/* Execute what has been collected, before anything else of the QP. False: qp->sq_ci went back. */
bool sn_gather_execute(struct sn_qp *qp);

static inline bool
sn_gather_flush(struct sn_qp *qp)
{
	return sn_gather_n == 0 || sn_gather_execute(qp);
}

#endif
