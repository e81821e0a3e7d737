/* SPDX-License-Identifier: BSD-3-Clause */
/* Other processes' memory, as the NIC thread reaches it. */
#ifndef SN_PEER_H
#define SN_PEER_H

#include <stddef.h>
#include <sys/uio.h>

#include "shared.h"

/*
 * Where byte @addr (an address in the owner's space) of @mr lies in our own address space, and how
 * many of the @len bytes from there are contiguous. NULL: it cannot be mapped here. The caller is
 * inside its epoch and keeps the pointer no longer than that.
 */
void *sn_peer_map(struct sn_shm_mr *mr, uint64_t addr, uint64_t len, uint64_t *contiguous);

/* The way for memory that cannot be mapped. 0 or -errno: -ESRCH the peer is gone, -EFAULT one of
 * the sides is not there. */
int sn_peer_write(uint64_t owner, uint64_t addr, const struct iovec *local, size_t n, uint64_t len);
int sn_peer_read(uint64_t owner, uint64_t addr, const struct iovec *local, size_t n, uint64_t len);

/* Several ranges at once. Returns how many bytes were moved, of the first ranges first. */
uint64_t sn_peer_write_many(uint64_t owner, const struct iovec *local, size_t n_local,
			    const struct iovec *remote, size_t n_remote);

/* Drop mappings whose region is gone. Called now and then, outside the epoch. */
void sn_peer_sweep(void);
void sn_peer_unmap_all(void);

#endif
