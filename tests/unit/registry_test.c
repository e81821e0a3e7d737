/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions by address, and their registration where there is a device (softnic -- registry_test). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine.h"
#include "harness.h"
#include "registry.h"

#define SPACE	4096 /* addresses of the model, in bytes */
#define N_STEPS 50000

static struct kvr_registry registry;

/* Which region of the model holds each byte of SPACE. */
static struct kvr_region *model[SPACE];

static void
registry_clear(void)
{
	while (registry.n > 0)
		free(kvr_registry_remove(&registry, registry.regions[0]->start));
	memset(model, 0, sizeof(model));
}

static void
step_add(void)
{
	struct kvr_region *region = calloc(1, sizeof(*region));
	uint64_t start = harness_between(1, SPACE - 1), i;
	uint64_t size = harness_magnitude(1, SPACE - start);
	bool overlaps = false;
	int ret;

	region->start = start;
	region->size_bytes = size;
	for (i = start; i < start + size; i++)
		overlaps = overlaps || model[i] != NULL;
	ret = kvr_registry_add(&registry, region);
	CU_ASSERT(ret == (registry.n == KVR_MAX_REGIONS && ret != 0 ? -ENOSPC
			  : overlaps				    ? -EEXIST
								    : 0));
	if (ret != 0) {
		free(region);
		return;
	}
	for (i = start; i < start + size; i++)
		model[i] = region;
}

static void
step_find(void)
{
	uint64_t start = harness_between(0, SPACE - 1), i;
	uint64_t size = harness_magnitude(1, SPACE - start);
	struct kvr_region *expected = model[start];

	for (i = start; i < start + size; i++)
		if (model[i] != expected)
			expected = NULL;
	CU_ASSERT(kvr_registry_find(&registry, start, size) == expected);
}

static void
step_remove(void)
{
	uint64_t start = harness_between(0, SPACE - 1), i;
	struct kvr_region *region = model[start], *removed;

	removed = kvr_registry_remove(&registry, start);
	CU_ASSERT(removed == (region != NULL && region->start == start ? region : NULL));
	if (removed == NULL)
		return;
	for (i = 0; i < SPACE; i++)
		if (model[i] == removed)
			model[i] = NULL;
	free(removed);
}

static void
registry_agrees_with_model_in_any_sequence(void)
{
	uint32_t i;

	harness_seed();
	for (i = 0; i < N_STEPS && CU_get_number_of_failures() == 0; i++) {
		uint64_t dice = harness_between(0, 9);

		if (dice < 2)
			step_add();
		else if (dice < 4)
			step_remove();
		else
			step_find();
	}
	registry_clear();
}

static void
registry_find_survives_sums_beyond_64_bits(void)
{
	struct kvr_region high = {.start = UINTPTR_MAX - 4095, .size_bytes = 4096};
	struct kvr_region low = {.start = 4096, .size_bytes = 4096};

	CU_ASSERT(kvr_registry_add(&registry, &high) == 0);
	CU_ASSERT(kvr_registry_add(&registry, &low) == 0);
	CU_ASSERT(kvr_registry_find(&registry, UINTPTR_MAX, 1) == &high);
	CU_ASSERT(kvr_registry_find(&registry, UINTPTR_MAX, 2) == NULL);
	CU_ASSERT(kvr_registry_find(&registry, 4096, UINT64_MAX) == NULL);
	CU_ASSERT(kvr_registry_find(&registry, 8191, UINT64_MAX) == NULL);
	CU_ASSERT(kvr_registry_find(&registry, 0, 1) == NULL);
	registry.n = 0;
}

static void
registry_is_full_at_its_limit(void)
{
	struct kvr_region one_more = {.start = 1, .size_bytes = 1};
	uint32_t i;

	for (i = 0; i < KVR_MAX_REGIONS; i++) {
		struct kvr_region *region = calloc(1, sizeof(*region));

		region->start = (uintptr_t)4096 * (KVR_MAX_REGIONS - i);
		region->size_bytes = 4096;
		CU_ASSERT(kvr_registry_add(&registry, region) == 0);
	}
	CU_ASSERT(kvr_registry_add(&registry, &one_more) == -ENOSPC);
	registry_clear();
}

/* ---- registration, on every device there is ---- */

static void
region_has_bulk_and_strict_keys_on_every_device(void)
{
	struct kvr_engine *engine = calloc(1, sizeof(*engine));
	static struct kvr_error error; /* a skip's reason outlives the test */
	struct kvr_region *region;
	void *memory;
	uint32_t i;

	if (kvr_devices_open(NULL, engine->devices, &engine->n_devices, &error) != 0) {
		harness_skip(error.text);
		free(engine);
		return;
	}
	memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CU_ASSERT_FATAL(kvr_region_register(engine, memory, 1 << 20, -1, &region) == 0);
	for (i = 0; i < engine->n_devices; i++) {
		const struct kvr_keys *keys = &region->keys[i];

		CU_ASSERT_FATAL(region->bulk[i] != NULL && region->strict[i] != NULL);
		CU_ASSERT(region->bulk[i]->context == engine->devices[i].context);
		CU_ASSERT(keys->bulk_lkey == region->bulk[i]->lkey);
		CU_ASSERT(keys->strict_rkey == region->strict[i]->rkey);
		CU_ASSERT(keys->bulk_rkey != keys->strict_rkey);
	}
	kvr_region_deregister(region);
	munmap(memory, 1 << 20);
	CU_ASSERT(kvr_region_register(engine, memory, 1 << 20, -1, &region) == -EFAULT);
	kvr_devices_close(engine->devices, engine->n_devices);
	free(engine);
}

int
main(void)
{
	harness_eal(1);
	return HARNESS_RUN("registry", TEST(registry_agrees_with_model_in_any_sequence),
			   TEST(registry_find_survives_sums_beyond_64_bits),
			   TEST(registry_is_full_at_its_limit),
			   TEST(region_has_bulk_and_strict_keys_on_every_device));
}
