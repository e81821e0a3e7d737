/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "grace.h"
#include "mr.h"
#include "nic.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

#define FIRST_INDEX 2 /* key 0x100 is MLX5_INVALID_LKEY */

/* ---- /proc/self/maps ---- */

struct vma {
	uint64_t start, end, offset, dev, ino;
	bool readable, writable;
	bool shared;
};

static bool
parse_vma(const char *line, struct vma *vma)
{
	unsigned long long start, end, offset, ino;
	unsigned int major, minor;
	char perms[5];

	if (sscanf(line, "%llx-%llx %4s %llx %x:%x %llu", &start, &end, perms, &offset, &major,
		   &minor, &ino) != 7)
		return false;
	*vma = (struct vma){.start = start,
			    .end = end,
			    .offset = offset,
			    .dev = makedev(major, minor),
			    .ino = ino,
			    .readable = perms[0] == 'r',
			    .writable = perms[1] == 'w',
			    .shared = perms[3] == 's' && ino != 0};
	return true;
}

/* ---- pinning ---- */

static int
check_mapped(uint64_t start, uint64_t len, bool writable)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	uint64_t at = start, end = start + len;
	char *line = NULL;
	size_t room = 0;
	struct vma vma;

	while (maps && at < end && getline(&line, &room, maps) > 0) {
		if (!parse_vma(line, &vma) || vma.end <= at)
			continue;
		if (vma.start > at || !vma.readable || (writable && !vma.writable))
			break;
		at = vma.end;
	}
	free(line);
	if (maps)
		fclose(maps);
	return at < end ? -EFAULT : 0;
}

int
sn_mr_pin(uint64_t start, uint64_t len, bool writable)
{
	uint64_t first = start & ~(uint64_t)(SN_PAGE_BYTES - 1);
	uint64_t bytes = (start + len - first + SN_PAGE_BYTES - 1) & ~(uint64_t)(SN_PAGE_BYTES - 1);
	int advice = writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;

	if (start > UINT64_MAX - SN_PAGE_BYTES || len > UINT64_MAX - SN_PAGE_BYTES - start)
		return -EFAULT;
	if (len == 0)
		return 0;
	/* Page-wise faults into the program's memory cannot fail later, and a copy-on-write page is
	 * broken now, not under the NIC. */
	if (madvise((void *)(uintptr_t)first, bytes, advice) == 0)
		return 0;
	/* Kernels before 5.14 and mappings of devices do not know the advice; and memory that may
	 * not be read or written does not take it. */
	return errno == EINVAL ? check_mapped(first, bytes, writable) : -EFAULT;
}

/* ---- where the memory lies ---- */

/* Append @vma to the region's extents, or to the last of them if it goes on in the same file:
 * hugepages are often mapped one by one. */
static bool
add_extent(struct sn_shm_mr *mr, const struct vma *vma)
{
	struct sn_mr_extent *last = mr->n_extents ? &mr->extent[mr->n_extents - 1] : NULL;

	if (last && last->file_dev == vma->dev && last->file_ino == vma->ino &&
	    last->file_offset + last->len == vma->offset) {
		last->len += vma->end - vma->start;
		return true;
	}
	if (mr->n_extents == SN_MR_MAX_EXTENTS)
		return false;
	mr->extent[mr->n_extents++] = (struct sn_mr_extent){
		.addr = vma->start,
		.len = vma->end - vma->start,
		.file_offset = vma->offset,
		.file_dev = vma->dev,
		.file_ino = vma->ino,
		.vma_start = vma->start,
		.vma_end = vma->end,
	};
	return true;
}

/* Extents only if shared file mappings cover the region without a gap; otherwise none. */
static void
find_extents(struct sn_shm_mr *mr)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	uint64_t at = mr->start, end = mr->start + mr->len;
	char *line = NULL;
	size_t room = 0;
	struct vma vma;

	mr->n_extents = 0;
	while (maps && at < end && getline(&line, &room, maps) > 0) {
		if (!parse_vma(line, &vma) || vma.end <= at)
			continue;
		if (vma.start > at || !vma.shared || !add_extent(mr, &vma))
			break;
		at = vma.end;
	}
	if (at < end)
		mr->n_extents = 0;
	free(line);
	if (maps)
		fclose(maps);
}

/* ---- the shared table ---- */

static bool
claim(struct sn_shm_mr *mr)
{
	struct sn_shm *shm = sn_nic.instance.shm;
	uint64_t owner = atomic_load(&mr->owner);

	if (owner && sn_member_lives(shm, owner))
		return false;
	if (!atomic_compare_exchange_strong(&mr->owner, &owner, sn_nic.instance.id))
		return false;
	if (owner) { /* left by the dead: somebody may still be looking at it */
		atomic_store(&mr->serial, 0);
		sn_grace_wait(shm);
	}
	return true;
}

struct sn_shm_mr *
sn_mr_claim(uint32_t *index)
{
	struct sn_shm *shm = sn_nic.instance.shm;

	for (uint32_t tries = 0; tries < SN_MAX_MRS; tries++) {
		uint32_t i = atomic_fetch_add(&shm->mr_hint, 1) % SN_MAX_MRS;
		struct sn_shm_mr *mr = &shm->mr[i];

		if (i < FIRST_INDEX || !claim(mr))
			continue;
		uint64_t serial = atomic_fetch_add(&shm->next_serial, 1);
		mr->key = (uint32_t)(serial >> 8 & 0xff) << 24 | i << 8 | (uint32_t)(serial & 0xff);
		*index = i;
		return mr;
	}
	return NULL;
}

int
sn_mr_publish(const struct sn_mr_spec *spec, uint32_t *index)
{
	struct sn_shm_mr *mr = sn_mr_claim(index);

	if (!mr)
		return -ENOMEM;
	mr->is_window = false;
	mr->start = spec->start;
	mr->len = spec->len;
	mr->iova = spec->iova;
	mr->access = spec->access;
	mr->pd = spec->pd;
	mr->device = spec->device;
	find_extents(mr);
	/* Publishes the fields to the acquire in sn_mr_find(). */
	atomic_store_explicit(&mr->serial, atomic_fetch_add(&sn_nic.instance.shm->next_serial, 1),
			      memory_order_release);
	return 0;
}

void
sn_mr_withdraw(uint32_t index)
{
	struct sn_shm_mr *mr = &sn_nic.instance.shm->mr[index];

	atomic_store(&mr->serial, 0);
	sn_grace_wait(sn_nic.instance.shm);
	atomic_store(&mr->owner, 0);
}

struct sn_shm_mr *
sn_mr_find(uint32_t key)
{
	struct sn_shm_mr *mr = &sn_nic.instance.shm->mr[(key >> 8) % SN_MAX_MRS];

	if (!atomic_load_explicit(&mr->serial, memory_order_acquire) || mr->key != key)
		return NULL;
	return mr;
}

/* The entry of @key, if it is ours and gives these rights on these bytes. */
static const struct sn_shm_mr *
find_own(uint32_t key, uint64_t addr, uint64_t len, uint32_t need_access, uint32_t pd)
{
	const struct sn_shm_mr *mr = sn_mr_find(key);

	if (!mr || atomic_load_explicit(&mr->owner, memory_order_relaxed) != sn_nic.instance.id)
		return NULL;
	if (mr->pd != pd || (mr->access & need_access) != need_access ||
	    !sn_mr_covers(mr, addr, len))
		return NULL;
	return mr;
}

static void *
memory_at(const struct sn_shm_mr *mr, uint64_t addr)
{
	return (void *)(uintptr_t)(addr - mr->iova + mr->start);
}

void *
sn_mr_local(uint32_t lkey, uint64_t addr, uint64_t len, uint32_t need_access, uint32_t pd)
{
	const struct sn_shm_mr *mr = find_own(lkey, addr, len, need_access, pd);

	return mr && !mr->is_window ? memory_at(mr, addr) : NULL;
}

void *
sn_mr_remote(uint32_t rkey, uint64_t addr, uint64_t len, uint32_t need_access, uint32_t pd,
	     uint32_t qpn)
{
	const struct sn_shm_mr *mr = find_own(rkey, addr, len, need_access, pd);

	return mr && sn_mr_serves(sn_nic.instance.shm, mr, qpn) ? memory_at(mr, addr) : NULL;
}
