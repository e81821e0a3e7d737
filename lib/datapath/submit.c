/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Step 1 of 6: submit.
 * Thread: the client's.
 * In: batches that kvr_batch_add() has checked.
 * Out: each divided in parts, a pointer to each part on the client's ring to a poller.
 * Next: lib/datapath/poller.c, which takes them from there.
 */

#include <errno.h>

#include <rte_common.h>
#include <rte_cycles.h>
#include <rte_ring.h>

#include "batch.h"
#include "engine.h"
#include "peer.h"

/* The pollers that may move this batch: those of its memory's NUMA node. */
static const struct kvr_choice *
choice_of(const struct kvr_client *client, const struct kvr_batch *batch)
{
	int node = batch->xfers[0].region->numa_node;

	return &client->choices[node < 0 || node >= KVR_MAX_NODES ? 0 : node + 1];
}

/* Opens a part at byte `at_bytes` of transfer `at`. */
static struct kvr_part *
part_open(struct kvr_batch *batch, uint32_t at, uint64_t at_bytes)
{
	struct kvr_part *part = &batch->parts[batch->n_parts++];

	part->batch = batch;
	part->segment = batch->xfers[at].segment;
	part->at = at;
	part->at_bytes = at_bytes;
	part->bytes = 0;
	return part;
}

/* Divides a batch in parts, each of one segment, that fill shares of `share` bytes one after the
 * other; turns[i] is the share that part i belongs to. kvr_batch_add() bounds the runs, and the
 * caller the shares, so that there are parts enough. */
static void
divide(struct kvr_batch *batch, uint64_t share, uint8_t *turns)
{
	struct kvr_part *part = NULL;
	uint64_t quota = share;
	uint8_t turn = 0;
	uint32_t i;

	for (i = 0; i < batch->n_xfers; i++) {
		const struct kvr_xfer *xfer = &batch->xfers[i];
		uint64_t at_bytes = 0;

		while (at_bytes < xfer->length_bytes) {
			uint64_t piece = RTE_MIN(xfer->length_bytes - at_bytes, quota);

			if (part == NULL || part->segment != xfer->segment) {
				turns[batch->n_parts] = turn;
				part = part_open(batch, i, at_bytes);
			}
			at_bytes += piece;
			part->end = i + 1;
			part->end_bytes = at_bytes;
			part->end_whole = at_bytes == xfer->length_bytes ? i + 1 : i;
			part->bytes += piece;
			quota -= piece;
			if (quota == 0) {
				part = NULL;
				quota = share;
				turn++;
			}
		}
	}
}

/* The common case of divide(): everything is one part. */
static void
whole(struct kvr_batch *batch, uint8_t *turns)
{
	struct kvr_part *part = part_open(batch, 0, 0);

	part->end = batch->n_xfers;
	part->end_whole = batch->n_xfers;
	part->end_bytes = batch->xfers[batch->n_xfers - 1].length_bytes;
	part->bytes = batch->bytes;
	turns[0] = 0;
}

/* Puts every part on its poller's ring, or none: -EAGAIN. The client is the rings' only producer,
 * so that room seen here stays. */
static int
hand_over(struct kvr_client *client, struct kvr_batch *batch, const struct kvr_choice *choice,
	  const uint8_t *turns)
{
	struct rte_ring *rings[KVR_MAX_PARTS];
	uint32_t n = batch->n_parts;
	uint32_t i;

	for (i = 0; i < n; i++) {
		uint32_t at = (client->next_poller + turns[i]) % choice->n;

		rings[i] = client->ports[choice->pollers[at]].submit;
		/* Several parts may share a ring: ask for room for all of them. */
		if (rte_ring_free_count(rings[i]) < n)
			return -EAGAIN;
	}
	client->next_poller++;
	__atomic_store_n(&batch->parts_left, n, __ATOMIC_RELAXED);
	for (i = 0; i < n; i++)
		__atomic_fetch_add(&batch->parts[i].segment->peer->n_parts, 1, __ATOMIC_RELAXED);
	/* The batch is the pollers' from the first enqueue on; the ring's release store orders all
	 * that was written to it before. */
	for (i = 0; i < n; i++)
		rte_ring_sp_enqueue(rings[i], &batch->parts[i]);
	return 0;
}

static int
batch_submit(struct kvr_client *client, struct kvr_batch *batch, uint64_t now_tsc)
{
	const struct kvr_choice *choice = choice_of(client, batch);
	uint64_t n_shares = RTE_MIN(batch->bytes / KVR_SHARE_BYTES + 1, choice->n);
	uint8_t turns[KVR_MAX_PARTS];

	batch->submit_tsc = now_tsc;
	batch->deadline_tsc = now_tsc + batch->timeout_ms * (rte_get_tsc_hz() / 1000);
	batch->n_parts = 0;
	if (n_shares == 1 && batch->n_runs == 1)
		whole(batch, turns);
	else
		divide(batch, (batch->bytes + n_shares - 1) / n_shares, turns);
	return hand_over(client, batch, choice, turns);
}

uint32_t
kvr_submit(struct kvr_client *client, struct kvr_batch **batches, uint32_t n)
{
	uint64_t now_tsc = rte_rdtsc();
	uint32_t i;

	for (i = 0; i < n; i++) {
		struct kvr_batch *batch = batches[i];

		if (batch->n_xfers == 0) {
			batch->submit_tsc = batch->done_tsc = now_tsc;
			batch->next = client->done;
			client->done = batch;
		} else if (batch_submit(client, batch, now_tsc) != 0) {
			break;
		}
		client->n_inflight++;
	}
	return i;
}

/* The other end of the way: batches that complete.c put on this client's rings. */
uint32_t
kvr_poll(struct kvr_client *client, struct kvr_batch **batches, uint32_t n)
{
	uint32_t done = 0;
	uint32_t i;

	while (client->done != NULL && done < n) {
		batches[done++] = client->done;
		client->done = client->done->next;
	}
	for (i = 0; i < client->n_ports && done < n; i++) {
		struct rte_ring *ring = client->ports[client->next_complete].complete;

		done += rte_ring_sc_dequeue_burst(ring, (void **)&batches[done], n - done, NULL);
		if (++client->next_complete == client->n_ports)
			client->next_complete = 0;
	}
	client->n_inflight -= done;
	return done;
}
