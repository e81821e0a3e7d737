/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A poller: the loop on one worker lcore, with its QPs and a CQ on each of its devices. All of it
 * belongs to that lcore; others read the counters, and ask for changes by kvr_poller_call().
 */
#ifndef KVR_POLLER_H
#define KVR_POLLER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_ring.h>

#include "batch.h"
#include "counters.h"
#include "device.h"
#include "driver.h"
#include "lane.h"
#include "latency.h"
#include "kvr_limits.h"

struct kvr_engine;

struct kvr_poller_device {
	struct kvr_device *device; /* NULL: not this poller's */
	struct kvr_cq *cq;
	const struct kvr_driver *driver;
	struct kvr_uar uar;
	uint32_t n_lanes; /* whose CQEs come to cq */
};

struct kvr_poller {
	struct kvr_part_list runnable[2]; /* by enum kvr_class: parts with slices to place */
	struct kvr_lane *dirty[KVR_MAX_POLLER_LANES]; /* lanes with slices to post */
	uint32_t n_dirty;
	uint32_t n_ports;
	uint32_t n_devices;
	uint32_t slice_bytes;
	uint64_t n_live; /* parts in hand */
	uint64_t next_tick_tsc;
	uint64_t now_tsc;				   /* when this turn began */
	uint64_t tick_tsc;				   /* TSC ticks between housekeepings */
	uint64_t us_tsc;				   /* TSC ticks of a microsecond */
	uint64_t tick_ns_q32;				   /* ns of a TSC tick x 2^32 */
	struct kvr_poller_device devices[KVR_MAX_DEVICES]; /* its own, packed: n_devices of them */
	struct kvr_port ports[KVR_MAX_CLIENTS];
	struct kvr_part_list live;
	struct kvr_part sounding; /* what READs on new QPs belong to: lane.c */
	struct rte_ring *calls;	  /* struct kvr_poller_request *, any thread to poller */

	struct kvr_poller_counters counters;
	struct kvr_device_counters
		device_counters[KVR_MAX_DEVICES]; /* by the engine's device index */
	struct kvr_latency latency;		  /* of batches ended here, submit to completion */
	/* ---- cold ---- */
	struct kvr_engine *engine;
	uint32_t idx; /* in the engine's pollers */
	unsigned int lcore;
	int numa_node;
	pthread_mutex_t calls_lock; /* of those that call */
	uint32_t running;	    /* atomic */
	uint32_t stop;		    /* atomic */
	uint32_t n_lanes;
	struct kvr_lane *lanes[KVR_MAX_POLLER_LANES]; /* every attached lane, for the tick */
};

/* Makes the poller of an lcore, with a CQ and doorbell registers of its own on each of its devices:
 * those near its NUMA node, or all when `all_devices`. 0 or -errno. */
int kvr_poller_create(struct kvr_engine *engine, unsigned int lcore, uint32_t idx, bool all_devices,
		      struct kvr_poller **poller);
void kvr_poller_destroy(struct kvr_poller *poller);

/* Launches the loop on its lcore; ends it. 0 or -errno. */
int kvr_poller_start(struct kvr_poller *poller);
void kvr_poller_stop(struct kvr_poller *poller);

/* Runs fn on the poller's lcore, between two turns, and returns what it returned; runs it here
 * when the loop does not run. Any thread but a poller. */
int kvr_poller_call(struct kvr_poller *poller, int (*fn)(struct kvr_poller *, void *), void *arg);

/* The poller's device entry of the engine's device; NULL: not its own. */
struct kvr_poller_device *kvr_poller_device_find(struct kvr_poller *poller,
						 const struct kvr_device *device);

#endif
