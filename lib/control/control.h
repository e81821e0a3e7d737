/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control thread: the listener, every control connection, the devices' asynchronous events,
 * lanes that ask for their QP to be moved to ERR, and the telemetry's samples. It sleeps in
 * poll(2), and never waits for a peer. The one thing that can hold it up is the application's
 * kvr_call_handler, which it calls: while that runs, lost peers are not noticed and lanes are not
 * drained, so a handler that needs long hands the work to a thread of its own and answers at once.
 *
 * Locks, in this order: open_lock (one kvr_segment_open() or _close() at a time; held while waiting
 * for a peer, never taken by the control thread), engine->control_lock (short), control->lock, a
 * connection's lock.
 */
#ifndef KVR_CONTROL_H
#define KVR_CONTROL_H

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "connection.h"
#include "handshake.h"
#include "kvr.h"
#include "kvr_limits.h"
#include "peer.h"

struct kvr_control {
	struct kvr_engine *engine;
	pthread_t thread;
	pthread_mutex_t open_lock;
	int wake_fd;   /* eventfd */
	int listen_fd; /* -1: not reachable */
	bool rest;     /* the listener, for one turn: no descriptor is left */
	bool stop;     /* atomic */

	/* What poll(2) waits for: wake-up, listener, devices, connections, in this order. */
	struct pollfd fds[2 + KVR_MAX_DEVICES + KVR_MAX_PEERS];

	pthread_mutex_t lock;
	/* Under the lock: any thread appends, the control thread alone takes out, so that it may
	 * read without. */
	uint32_t n_connections;
	struct kvr_connection *connections[KVR_MAX_PEERS];
};

/* Listens (unless listen is NULL; sets engine->address) and starts the thread. */
int kvr_control_start(struct kvr_engine *engine, const char *listen, struct kvr_error *error);
/* Ends the thread and every connection. */
void kvr_control_stop(struct kvr_engine *engine);
/* Hands a connection to the control thread. 0; -ENOSPC. */
int kvr_control_adopt(struct kvr_engine *engine, struct kvr_connection *connection);

/* ---- target.c: answers to those who connect to us; control thread ---- */

/* Answers one message. 0, or -errno: the connection is over. */
int kvr_target_message(struct kvr_connection *connection, const json_t *message);
/* Destroys the passive QPs: nothing of this peer reaches our memory any more. */
void kvr_target_release(struct kvr_connection *connection);
/* Tells the application, once they are destroyed. */
void kvr_target_gone(struct kvr_connection *connection);
/* What this node says of itself. */
void kvr_target_hello(const struct kvr_engine *engine, bool segments, struct kvr_hello *hello);

/* ---- lane.c: QPs of both sides; set-up path ---- */

/* Makes every poller's lanes to the peer, their QPs in INIT. What it made before a failure,
 * kvr_lanes_destroy() frees. 0; -E2BIG; -ENOMEM; or another -errno of the verbs. */
int kvr_lanes_create(struct kvr_engine *engine, struct kvr_peer *peer,
		     const struct kvr_hello *remote, struct kvr_error *error);
/* Every lane to the peer, always in the same order; lanes has room for KVR_MAX_CONNECT_LANES. */
uint32_t kvr_lanes_list(const struct kvr_engine *engine, const struct kvr_peer *peer,
			struct kvr_lane **lanes);
/* To RTS with what the peer has offered in return. 0 or -errno. */
int kvr_lane_connect(struct kvr_lane *lane, const struct kvr_hello_device *remote,
		     uint32_t remote_qpn, uint32_t remote_psn);
/* The connection is gone, or about to be: takes every lane out of use for `status`. Pollers are
 * told, QPs moved to ERR; no fence is asked for, those asked for are lost. Returns how many. */
uint32_t kvr_lanes_fail(const struct kvr_engine *engine, struct kvr_peer *peer, int status);
/* Does what the pollers ask for draining lanes (enum kvr_lane_request), and begins the fence of
 * those that are now in ERR. One thread at a time. */
void kvr_lanes_drain(const struct kvr_engine *engine, struct kvr_peer *peer);
/* Takes the lanes out of use and from their pollers, and frees them. */
void kvr_lanes_destroy(const struct kvr_engine *engine, struct kvr_peer *peer);

/* A new QP for a lane that its poller has let go, in INIT; the old one goes. 0 or -errno. */
int kvr_lane_renew(struct kvr_lane *lane);

/* ---- revive.c: dead lanes come back; control thread, under control_lock ---- */

/* Tries those that are due. */
void kvr_lanes_revive(struct kvr_engine *engine, struct kvr_peer *peer, uint64_t now_ns);
/* A port went down: its lanes go out of use at once, not when their retries are used up. Or it is
 * back: they are tried now. Takes control_lock itself. */
void kvr_port_changed(struct kvr_engine *engine, const struct kvr_device *device, bool up);
/* The peer's answer: a QP for a lane, or why there is none. Takes control_lock itself. */
void kvr_revive_confirm(struct kvr_connection *connection, const json_t *message);

/* ---- fence.c: the initiator's side; control thread but for kvr_fences_lose() ---- */

/* Asks for a fence of lanes, whose places in the connect message are `places`. */
void kvr_fence_begin(struct kvr_connection *connection, struct kvr_lane *const *lanes,
		     const uint32_t *places, uint32_t n);
/* The peer's answer: these lanes are fenced. */
void kvr_fence_confirm(struct kvr_connection *connection, const json_t *message);
/* Ends those that are late. Returns the deadline of the next, UINT64_MAX: there is none. */
uint64_t kvr_fences_expire(struct kvr_connection *connection, uint64_t now_ns);
/* The peer is not asked any more: the fences there are, and those of these lanes, are lost. */
void kvr_fences_lose(struct kvr_connection *connection, struct kvr_lane *const *lanes, uint32_t n);

/* ---- lane.c, the target's side ---- */

/* A QP that serves a peer's lane, in RTR: it never sends a request. 0 or -errno. */
int kvr_passive_qp_create(struct kvr_device *device, const struct kvr_hello_device *remote,
			  const struct kvr_lane_offer *offer, struct ibv_qp **qp);

#endif
