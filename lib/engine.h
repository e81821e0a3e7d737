/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine: what all rooms of lib/ hang from. */
#ifndef KVR_ENGINE_H
#define KVR_ENGINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_log.h>

#include "batch.h"
#include "device.h"
#include "kvr.h"
#include "kvr_limits.h"
#include "peer.h"
#include "poller.h"
#include "pool.h"
#include "telemetry.h"

struct kvr_engine {
	struct kvr_device devices[KVR_MAX_DEVICES];
	uint32_t n_devices;
	struct kvr_poller *pollers[KVR_MAX_POLLERS];
	uint32_t n_pollers;
	struct kvr_pool *pools[KVR_MAX_POOLS];
	uint32_t n_pools;
	char name[KVR_NAME_BYTES];
	char boot_id[37];  /* a UUID made at start: a restarted node is another one */
	char address[256]; /* "" until it listens */
	char *listen;	   /* as configured; NULL: not reachable */
	uint32_t timeout_ms;
	uint32_t slice_bytes;
	bool cross_numa;
	bool running;

	/* Guards peers, segments, lanes' life, pools, clients: all of the set-up path. */
	pthread_mutex_t control_lock;
	struct kvr_peer *peers[KVR_MAX_PEERS]; /* that this node opened */
	uint32_t n_peers;
	struct kvr_client *clients[KVR_MAX_CLIENTS];
	struct kvr_control *control; /* control thread, listener, connections */
	kvr_call_handler call_handler;
	void *call_ctx;
	kvr_gone_handler gone_handler;
	void *gone_ctx;
	uint64_t last_connection; /* atomic: its id */
	struct kvr_samples samples;
};

/* One line into *error, when there is one; returns err, so that `return kvr_fail(error, -EINVAL,
 * "...")` reads well. */
int kvr_fail(struct kvr_error *error, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Wakes the control thread: a lane wants its QP in ERR. Cold, but any thread, pollers too. */
void kvr_control_wake(struct kvr_engine *engine);

extern int kvr_logtype;
#define KVR_LOG(level, ...) rte_log(RTE_LOG_##level, kvr_logtype, "kvrail: " __VA_ARGS__)

#endif
