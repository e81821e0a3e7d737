/* SPDX-License-Identifier: BSD-3-Clause */
/* How the local wire carries bytes between our memory and a region, mapped here or not. Inside the
 * epoch. */
#ifndef SN_CARRY_H
#define SN_CARRY_H

#include <sys/uio.h>

#include "nic.h"
#include "wqe.h"

/* The piece of WRITE or READ @r that lies at @addr in the owner's space, in the order that the
 * region's access flags demand. 0 or -errno. */
int sn_carry_piece(struct sn_shm_mr *mr, const struct sn_shm_qp *to, const struct sn_request *r,
		   uint64_t addr, uint64_t bytes);

/* True if the next WRITE to relaxed-ordered memory is one that leaves lines behind; then
 * sn_carry_piece() makes it so. */
bool sn_carry_draws(void);

/* A run of bytes in a list of pieces. */
struct sn_span {
	const struct iovec *iov;
	unsigned int n;
	uint64_t offset; /* in iov[0] */
};

/* Bytes of a message, at @addr in the space of @owner, to where @to goes on; @mr: the region they
 * are in, or NULL. 0 or -errno. */
int sn_carry_fetch(struct sn_shm_mr *mr, uint64_t owner, uint64_t addr, uint64_t bytes,
		   struct sn_span *to);

#endif
