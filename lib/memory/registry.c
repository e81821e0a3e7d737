/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory regions: registering them with the devices, and finding one by address. Registering is
 * slow (the kernel pins every page), so that each device has a thread of its own for it; finding is
 * the client's, without a lock.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine.h"
#include "registry.h"

#define BULK_ACCESS   (STRICT_ACCESS | IBV_ACCESS_RELAXED_ORDERING)
#define STRICT_ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE)

/* What one thread does: two MRs on one device. */
struct job {
	struct kvr_device *device;
	struct kvr_region *region;
	pthread_t thread;
	bool threaded;
	int err; /* 0 or -errno */
};

static void
job_run(struct job *job)
{
	struct kvr_region *region = job->region;
	struct kvr_device *device = job->device;
	struct kvr_keys *keys = &region->keys[device->idx];
	struct ibv_mr *bulk, *strict;

	/* The macro ibv_reg_mr() falls back by itself where the kernel does not know relaxed
	 * ordering; the region is then strict altogether, which is slower and never wrong. */
	bulk = ibv_reg_mr(device->pd, (void *)region->start, region->size_bytes, BULK_ACCESS);
	if (bulk == NULL) {
		job->err = -errno;
		return;
	}
	region->bulk[device->idx] = bulk;
	strict = ibv_reg_mr(device->pd, (void *)region->start, region->size_bytes, STRICT_ACCESS);
	if (strict == NULL) {
		job->err = -errno;
		return;
	}
	region->strict[device->idx] = strict;
	*keys = (struct kvr_keys){
		.bulk_lkey = bulk->lkey,
		.bulk_rkey = bulk->rkey,
		.strict_lkey = strict->lkey,
		.strict_rkey = strict->rkey,
	};
}

static void *
job_main(void *arg)
{
	job_run(arg);
	return NULL;
}

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int
kvr_region_register(struct kvr_engine *engine, void *addr, uint64_t size_bytes, int numa_node,
		    struct kvr_region **region_out)
{
	struct job jobs[KVR_MAX_DEVICES];
	struct kvr_region *region;
	uint64_t start_ns = now_ns();
	uint32_t i;
	int ret = 0;

	region = calloc(1, sizeof(*region));
	if (region == NULL)
		return -ENOMEM;
	region->start = (uintptr_t)addr;
	region->size_bytes = size_bytes;
	region->numa_node = numa_node;
	for (i = 0; i < engine->n_devices; i++) {
		jobs[i] = (struct job){.device = &engine->devices[i], .region = region};
		jobs[i].threaded = pthread_create(&jobs[i].thread, NULL, job_main, &jobs[i]) == 0;
		if (!jobs[i].threaded) /* no more threads: slower, not worse */
			job_run(&jobs[i]);
	}
	for (i = 0; i < engine->n_devices; i++) {
		if (jobs[i].threaded)
			pthread_join(jobs[i].thread, NULL);
		if (ret == 0)
			ret = jobs[i].err;
	}
	if (ret != 0) {
		kvr_region_deregister(region);
		return ret;
	}
	region->register_ns = now_ns() - start_ns;
	*region_out = region;
	return 0;
}

void
kvr_region_deregister(struct kvr_region *region)
{
	uint32_t i;

	for (i = 0; i < KVR_MAX_DEVICES; i++) {
		if (region->strict[i] != NULL)
			ibv_dereg_mr(region->strict[i]);
		if (region->bulk[i] != NULL)
			ibv_dereg_mr(region->bulk[i]);
	}
	free(region);
}

/* Where a region that starts at addr is, or would be. */
static uint32_t
lower_bound(const struct kvr_registry *registry, uintptr_t addr)
{
	uint32_t low = 0, high = registry->n;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (registry->regions[mid]->start < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int
kvr_registry_add(struct kvr_registry *registry, struct kvr_region *region)
{
	uint32_t at = lower_bound(registry, region->start);

	if (registry->n == KVR_MAX_REGIONS)
		return -ENOSPC;
	if (at < registry->n && registry->regions[at]->start - region->start < region->size_bytes)
		return -EEXIST;
	if (at > 0) {
		const struct kvr_region *before = registry->regions[at - 1];

		if (region->start - before->start < before->size_bytes)
			return -EEXIST;
	}
	memmove(&registry->regions[at + 1], &registry->regions[at],
		(registry->n - at) * sizeof(registry->regions[0]));
	registry->regions[at] = region;
	registry->n++;
	return 0;
}

struct kvr_region *
kvr_registry_remove(struct kvr_registry *registry, uintptr_t addr)
{
	uint32_t at = lower_bound(registry, addr);
	struct kvr_region *region;

	if (at == registry->n || registry->regions[at]->start != addr)
		return NULL;
	region = registry->regions[at];
	registry->n--;
	memmove(&registry->regions[at], &registry->regions[at + 1],
		(registry->n - at) * sizeof(registry->regions[0]));
	return region;
}

struct kvr_region *
kvr_registry_find(const struct kvr_registry *registry, uintptr_t addr, uint64_t size_bytes)
{
	uint32_t at = lower_bound(registry, addr);

	if (at == registry->n || registry->regions[at]->start != addr) {
		if (at == 0)
			return NULL;
		at--;
	}
	if (!kvr_region_holds(registry->regions[at], addr, size_bytes))
		return NULL;
	return registry->regions[at];
}
