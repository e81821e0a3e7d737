/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory regions: the owner's side (publish, withdraw, local keys). */
#ifndef SN_MR_H
#define SN_MR_H

#include "shared.h"

struct sn_mr_spec {
	uint64_t start;
	uint64_t len;
	uint64_t iova;
	uint32_t access;
	uint32_t pd;
	uint32_t device;
};

/*
 * Make the memory present, as pinning would: -EFAULT if it is not mapped or not writable though it
 * must be. May take long; called without the NIC's lock.
 */
int sn_mr_pin(uint64_t start, uint64_t len, bool writable);

/* Publish a region; *@index is its place in the shared table. 0 or -ENOMEM. */
int sn_mr_publish(const struct sn_mr_spec *spec, uint32_t *index);

/* A free entry of the shared table, ours from now on but not published, with a key nobody had
 * lately. NULL: there is none. */
struct sn_shm_mr *sn_mr_claim(uint32_t *index);

/* Withdraw it: when this returns nobody will touch the memory by this key any more.
 * Called without the NIC's lock. */
void sn_mr_withdraw(uint32_t index);

/* Our own memory by lkey: its address, or NULL if the key does not cover it or lacks rights. */
void *sn_mr_local(uint32_t lkey, uint64_t addr, uint64_t len, uint32_t need_access, uint32_t pd);

/* Our own memory by the rkey of a request to the QP @qpn: as sn_mr_local(). */
void *sn_mr_remote(uint32_t rkey, uint64_t addr, uint64_t len, uint32_t need_access, uint32_t pd,
		   uint32_t qpn);

/* May requests to the QP @qpn use it? A window may be another QP's, or its region gone. Inside the
 * epoch. */
static inline bool
sn_mr_serves(const struct sn_shm *shm, const struct sn_shm_mr *mr, uint32_t qpn)
{
	return !mr->is_window || ((!mr->qpn || mr->qpn == qpn) &&
				  atomic_load(&shm->mr[mr->parent].serial) == mr->parent_serial);
}

/* The published entry of @key, or NULL. The caller is inside its epoch. */
struct sn_shm_mr *sn_mr_find(uint32_t key);

/* Does it cover these bytes? */
static inline bool
sn_mr_covers(const struct sn_shm_mr *mr, uint64_t addr, uint64_t len)
{
	return addr >= mr->iova && len <= mr->len && addr - mr->iova <= mr->len - len;
}

#endif
