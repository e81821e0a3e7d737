/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One control connection. The control thread reads it, writes what is left of the outbox, and
 * notices its end; other threads make requests on it and wait for their answers. It is the same
 * for both sides: the initiator makes requests, the target answers them.
 */
#ifndef KVR_CONNECTION_H
#define KVR_CONNECTION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <infiniband/verbs.h>
#include <jansson.h>

#include "handshake.h"
#include "kvr.h"
#include "kvr_limits.h"
#include "message.h"

struct addrinfo;
struct kvr_engine;
struct kvr_fence;
struct kvr_peer;

/* A question that waits for its answer; on the stack of the thread that waits. */
struct kvr_request {
	LIST_ENTRY(kvr_request) link;
	uint64_t id;
	json_t *answer;
};

struct kvr_connection {
	struct kvr_engine *engine;
	struct kvr_stream stream;
	uint64_t id; /* of all that the engine ever had; from 1 */
	bool initiator;
	char name[KVR_NAME_BYTES]; /* of the peer; its address until it has said hello */
	char address[KVR_NAME_BYTES];
	struct kvr_peer *peer; /* initiator's, under control_lock; NULL: not published */

	pthread_mutex_t lock; /* guards the paragraph */
	pthread_cond_t cond;
	struct kvr_outbox outbox;
	uint64_t stalled_since_ns; /* when the outbox last got shorter; 0: it is empty */
	LIST_HEAD(, kvr_request) requests;
	LIST_HEAD(, kvr_fence) fences; /* initiator's, not answered yet */
	uint64_t next_id;	       /* of requests and fences */
	int err;		       /* -errno of the loss; 0: open */
	bool want_close;	       /* its owner lets it go */
	bool closed;		       /* the control thread has let it go: its last touch */

	/* the control thread's */
	struct kvr_inbox inbox;
	bool refused; /* to be closed once the refusal is written */

	/* target's, the control thread's */
	uint64_t opened_ns;
	bool greeted; /* atomic: the telemetry reads it, and then the name and n_qps */
	struct kvr_hello_device devices[KVR_MAX_DEVICES]; /* the initiator's */
	uint32_t n_devices;
	struct ibv_qp **qps; /* passive, each serving one lane of the initiator */
	uint32_t n_qps;
};

/* HOST:PORT or [V6]:PORT, taken apart in a copy. 0, or -EINVAL with error. */
int kvr_address_split(const char *address, char *host, size_t host_size, char *port,
		      size_t port_size, struct kvr_error *error);

/* getaddrinfo(3), its errors too, with `flags` of its hints. Only what is no numeric address is
 * looked up as a name, which no deadline bounds but the resolver's own (resolv.conf(5)). */
int kvr_address_resolve(const char *host, const char *port, int flags, struct addrinfo **list);

/* Takes over the socket. NULL: out of memory, and the socket is closed. */
struct kvr_connection *kvr_connection_create(struct kvr_engine *engine, int fd, bool initiator,
					     const char *name);
void kvr_connection_destroy(struct kvr_connection *connection);

/* Connects until the deadline and hands the connection to the control thread. 0; -EINVAL;
 * -ECONNREFUSED, -EHOSTUNREACH, -ETIMEDOUT ...; -ENOMEM. */
int kvr_connection_open(struct kvr_engine *engine, const char *address, uint64_t deadline_ns,
			struct kvr_connection **connection, struct kvr_error *error);
/* Closes it, waits for the control thread to let go, and frees it. Not under control_lock. */
void kvr_connection_close(struct kvr_connection *connection);

/* Sends a message (its reference is consumed) without waiting for the socket. Any thread. */
int kvr_connection_send(struct kvr_connection *connection, json_t *message);
/* Sends a request (consumed) and waits for its answer, the caller's to json_decref(). 0;
 * -ETIMEDOUT; -ECONNRESET; or what kvr_message_put() says. Any thread but the control thread. */
int kvr_connection_request(struct kvr_connection *connection, json_t *message, uint64_t deadline_ns,
			   json_t **answer);
/* Hands an answer to the thread that waits for it; one without an id (refused before any request
 * was read) to any that waits. Consumes it: JSON is not shared by threads. */
void kvr_connection_answer(struct kvr_connection *connection, json_t *answer);
/* Says that the connection is lost and wakes all that wait. The first cause stays. */
void kvr_connection_fail(struct kvr_connection *connection, int err);
/* 0, or the -errno of its loss. */
int kvr_connection_error(struct kvr_connection *connection);

/* CLOCK_MONOTONIC. */
uint64_t kvr_now_ns(void);
/* Milliseconds to a deadline for poll(2), rounded up; INT_MAX at most. */
int kvr_ms_until(uint64_t deadline_ns);

#endif
