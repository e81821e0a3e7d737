/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The remote fence, the initiator's side: asks the peer to move the QPs of lanes that went out of
 * use to ERR, and tells the pollers (lane->fence) once no write of them can land there, or that
 * nobody knows. docs/ordering.md says what it proves. Nobody waits: a fence is begun, and ended by
 * the answer, by its deadline, or by the loss of the connection.
 */
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>

#include "control.h"
#include "engine.h"

/* A question on its way. It holds lanes until its end: kvr_lanes_destroy() ends it first. */
struct kvr_fence {
	LIST_ENTRY(kvr_fence) link;
	uint64_t id;
	uint64_t deadline_ns;
	uint32_t n;
	struct kvr_lane *lanes[];
};

/* The first end stays: what is confirmed is not lost later. */
static void
lane_end(struct kvr_lane *lane, enum kvr_lane_fence end)
{
	/* Release: the peer's answer, and all it stands for, came before. Pairs with the acquire
	 * in the poller's drain(). */
	if (__atomic_load_n(&lane->fence, __ATOMIC_RELAXED) == KVR_FENCE_PENDING)
		__atomic_store_n(&lane->fence, end, __ATOMIC_RELEASE);
}

/* Under the connection's lock. */
static void
fence_end(struct kvr_fence *fence, enum kvr_lane_fence end)
{
	uint32_t i;

	for (i = 0; i < fence->n; i++)
		lane_end(fence->lanes[i], end);
	LIST_REMOVE(fence, link);
	free(fence);
}

void
kvr_fence_begin(struct kvr_connection *connection, struct kvr_lane *const *lanes,
		const uint32_t *places, uint32_t n)
{
	struct kvr_fence *fence = malloc(sizeof(*fence) + n * sizeof(fence->lanes[0]));
	json_t *message = kvr_fence_build(places, n);
	uint32_t i;
	int ret;

	if (fence == NULL || message == NULL) {
		for (i = 0; i < n; i++)
			lane_end(lanes[i], KVR_FENCE_LOST);
		json_decref(message);
		free(fence);
		return;
	}
	fence->deadline_ns = kvr_now_ns() + (uint64_t)KVR_FENCE_MS * 1000000;
	fence->n = n;
	memcpy(fence->lanes, lanes, n * sizeof(fence->lanes[0]));
	pthread_mutex_lock(&connection->lock);
	fence->id = ++connection->next_id;
	LIST_INSERT_HEAD(&connection->fences, fence, link);
	pthread_mutex_unlock(&connection->lock);
	json_object_set_new(message, "id", json_integer((json_int_t)fence->id));
	/* The answer is for this thread to read, and so comes later. */
	ret = kvr_connection_send(connection, message);
	if (ret == 0)
		return;
	KVR_LOG(WARNING, "peer %s: cannot be asked for a fence: %s\n", connection->name,
		strerror(-ret));
	pthread_mutex_lock(&connection->lock);
	fence_end(fence, KVR_FENCE_LOST);
	pthread_mutex_unlock(&connection->lock);
}

void
kvr_fence_confirm(struct kvr_connection *connection, const json_t *message)
{
	json_int_t id = json_integer_value(json_object_get(message, "id"));
	struct kvr_fence *fence;

	pthread_mutex_lock(&connection->lock);
	LIST_FOREACH (fence, &connection->fences, link)
		if (fence->id == (uint64_t)id)
			break;
	if (fence != NULL) /* else it came too late */
		fence_end(fence, KVR_FENCE_CONFIRMED);
	pthread_mutex_unlock(&connection->lock);
}

uint64_t
kvr_fences_expire(struct kvr_connection *connection, uint64_t now_ns)
{
	struct kvr_fence *fence, *next;
	uint64_t first_ns = UINT64_MAX;

	pthread_mutex_lock(&connection->lock);
	for (fence = LIST_FIRST(&connection->fences); fence != NULL; fence = next) {
		next = LIST_NEXT(fence, link);
		if (fence->deadline_ns > now_ns) {
			first_ns = RTE_MIN(first_ns, fence->deadline_ns);
			continue;
		}
		KVR_LOG(WARNING,
			"peer %s: has not fenced %u lanes within %d ms: batches that wrote on them "
			"end with their remote ranges undetermined\n",
			connection->name, fence->n, KVR_FENCE_MS);
		fence_end(fence, KVR_FENCE_LOST);
	}
	pthread_mutex_unlock(&connection->lock);
	return first_ns;
}

void
kvr_fences_lose(struct kvr_connection *connection, struct kvr_lane *const *lanes, uint32_t n)
{
	uint32_t i;

	pthread_mutex_lock(&connection->lock);
	while (!LIST_EMPTY(&connection->fences))
		fence_end(LIST_FIRST(&connection->fences), KVR_FENCE_LOST);
	for (i = 0; i < n; i++)
		lane_end(lanes[i], KVR_FENCE_LOST);
	pthread_mutex_unlock(&connection->lock);
}
