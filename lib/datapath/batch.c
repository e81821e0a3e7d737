/* SPDX-License-Identifier: BSD-3-Clause */
/* Batches in their client's hands: taken, filled and checked, given back. Client thread only. */

#include <errno.h>

#include <rte_cycles.h>

#include "batch.h"
#include "engine.h"
#include "peer.h"
#include "registry.h"

struct kvr_batch *
kvr_batch_get(struct kvr_client *client, const struct kvr_batch_options *options)
{
	static const struct kvr_batch_options defaults = {0};
	struct kvr_batch *batch = client->free;

	if (options == NULL)
		options = &defaults;
	if (batch == NULL)
		return NULL;
	client->free = batch->next;
	batch->n_xfers = 0;
	batch->n_transfers = 0;
	batch->n_parts = 0;
	batch->bytes = 0;
	batch->n_runs = 0;
	batch->client_memory = false;
	batch->priority =
		options->priority == KVR_CLASS_LATENCY ? KVR_CLASS_LATENCY : KVR_CLASS_BULK;
	batch->level = options->level == KVR_LEVEL_SENT ? KVR_LEVEL_SENT : KVR_LEVEL_VISIBLE;
	batch->timeout_ms =
		options->timeout_ms != 0 ? options->timeout_ms : client->engine->timeout_ms;
	batch->cookie = options->cookie;
	batch->status = 0;
	batch->syndrome = 0;
	batch->vendor_syndrome = 0;
	batch->remote_undetermined = false;
	batch->failed_on = NULL;
	return batch;
}

/* Checks a transfer. *region is where the one before it was, and where this one is then: mostly the
 * same. */
static inline int
transfer_check(struct kvr_batch *batch, const struct kvr_transfer *transfer,
	       struct kvr_region **region)
{
	const struct kvr_segment *segment = transfer->segment;
	uint64_t length = transfer->length_bytes;
	uintptr_t local = (uintptr_t)transfer->local;

	if (segment == NULL || length == 0 || (uint32_t)transfer->op > KVR_OP_WRITE)
		return -EINVAL;
	if (transfer->offset > segment->size_bytes ||
	    length > segment->size_bytes - transfer->offset)
		return -ERANGE;
	if (kvr_region_holds(*region, local, length))
		return 0;
	*region = kvr_registry_find(&batch->client->registry, local, length);
	if (*region == NULL)
		return -EFAULT;
	/* A pool's region is every client's: nobody counts who uses it. */
	batch->client_memory |= !(*region)->pool;
	return 0;
}

static inline void
xfer_set(struct kvr_xfer *xfer, const struct kvr_transfer *transfer, struct kvr_region *region)
{
	*xfer = (struct kvr_xfer){
		.local_addr = (uintptr_t)transfer->local,
		.remote_addr = transfer->segment->remote_addr + transfer->offset,
		.length_bytes = transfer->length_bytes,
		.region = region,
		.segment = transfer->segment,
		.op = transfer->op,
	};
}

/* b goes on where a ends, on both sides: one piece for the wire. */
static inline bool
adjacent(const struct kvr_xfer *a, const struct kvr_xfer *b)
{
	return a->local_addr + a->length_bytes == b->local_addr &&
	       a->remote_addr + a->length_bytes == b->remote_addr && a->op == b->op &&
	       a->region == b->region && a->segment == b->segment;
}

/* Batches that refer to the client's own memory keep it from being deregistered. */
static void
regions_hold(const struct kvr_batch *batch, uint32_t first)
{
	uint32_t i;

	for (i = first; i < batch->n_xfers; i++)
		if (!batch->xfers[i].region->pool)
			batch->xfers[i].region->n_transfers++;
}

int
kvr_batch_add(struct kvr_batch *batch, const struct kvr_transfer *transfers, uint32_t n)
{
	struct kvr_xfer *first = &batch->xfers[batch->n_xfers], *next = first;
	struct kvr_region *region = first[-1].region;
	uint64_t before = first[-1].length_bytes;
	uint32_t n_runs = batch->n_runs;
	uint64_t bytes = 0;
	uint32_t i;
	int err = 0;

	if (n > batch->client->max_transfers - batch->n_transfers)
		return -E2BIG;
	for (i = 0; i < n; i++) {
		err = transfer_check(batch, &transfers[i], &region);
		if (err != 0)
			break;
		xfer_set(next, &transfers[i], region);
		bytes += next->length_bytes;
		if (adjacent(&next[-1], next)) {
			next[-1].length_bytes += next->length_bytes;
			continue;
		}
		n_runs += next[-1].segment != next->segment;
		next++;
	}
	if (n_runs > KVR_MAX_RUNS)
		err = -E2BIG;
	if (err != 0) {
		first[-1].length_bytes = before;
		return err;
	}
	i = batch->n_xfers;
	batch->n_xfers = (uint32_t)(next - batch->xfers);
	batch->n_transfers += n;
	batch->n_runs = n_runs;
	batch->bytes += bytes;
	if (batch->client_memory)
		regions_hold(batch, i);
	return 0;
}

void
kvr_batch_put(struct kvr_batch *batch)
{
	uint32_t i;

	if (batch->client_memory)
		for (i = 0; i < batch->n_xfers; i++)
			if (!batch->xfers[i].region->pool)
				batch->xfers[i].region->n_transfers--;
	batch->next = batch->client->free;
	batch->client->free = batch;
}

void
kvr_batch_result(const struct kvr_batch *batch, struct kvr_result *result)
{
	uint64_t hz = rte_get_tsc_hz();
	uint64_t ticks = batch->done_tsc - batch->submit_tsc;

	*result = (struct kvr_result){
		.status = batch->status,
		.syndrome = batch->syndrome,
		.vendor_syndrome = batch->vendor_syndrome,
		.remote_undetermined = batch->remote_undetermined,
		.device = batch->failed_on != NULL ? batch->failed_on->name : NULL,
		.bytes = batch->status == 0 ? batch->bytes : 0,
		.latency_ns = ticks / hz * 1000000000 + ticks % hz * 1000000000 / hz,
		.cookie = batch->cookie,
	};
}
