/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the node holds: named objects, each in blocks of one of its pools. An object is *reserved*
 * while it is written, by this node from a file or by a peer, and seen by its name once it is
 * committed. Any thread; nothing here blocks but node_store_wait().
 */
#ifndef NODE_STORE_H
#define NODE_STORE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <jansson.h>

#include "kvr.h"
#include "kvr_limits.h"

#define NODE_OBJECT_NAME_MAX 255
#define NODE_MAX_RUNS	     4096 /* of one object: its pool is in pieces */
#define NODE_OWN	     0	  /* no connection's id: reserved by this node */

struct node_pool {
	struct kvr_pool *pool;
	char name[KVR_NAME_BYTES];
	uint64_t block_bytes;
};

/* While it is reserved or taken, `runs` and `bytes` do not change and may be read without a lock.
 */
struct node_object {
	LIST_ENTRY(node_object) link;
	char name[NODE_OBJECT_NAME_MAX + 1];
	uint64_t bytes;
	const struct node_pool *pool;
	struct kvr_block **runs; /* together as many blocks as the bytes need */
	uint32_t n_runs;
	uint64_t slack_bytes; /* of the last block */
	/* the store's */
	bool committed;
	uint32_t n_takers;
	uint64_t id;	 /* of the reservation */
	uint64_t caller; /* the connection that writes it, or NODE_OWN */
};

struct node_store {
	/* set up once */
	struct node_pool pools[KVR_MAX_POOLS];
	uint32_t n_pools;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t ended; /* something that was under way */
	LIST_HEAD(, node_object) objects;
	uint64_t last_id;
	uint32_t n_under_way; /* reservations, and takers */
	bool draining;
};

void node_store_init(struct node_store *store);
/* Frees every object; nothing is under way any more. */
void node_store_free(struct node_store *store);

/* Reserves a name and blocks. 0; -EINVAL bad name; -EEXIST; -ENOSPC; -ESHUTDOWN draining; -ENOMEM.
 */
int node_store_reserve(struct node_store *store, const char *name, uint64_t bytes, uint64_t caller,
		       struct node_object **object, struct kvr_error *error);
/* A caller's reservation by its id; NULL: it has none. */
struct node_object *node_store_reserved(struct node_store *store, uint64_t caller, uint64_t id);
/* Ends a reservation: it is an object, or it was never there. */
void node_store_commit(struct node_store *store, struct node_object *object);
void node_store_abandon(struct node_store *store, struct node_object *object);
/* Abandons all reservations of a connection that is gone. Returns how many. */
uint32_t node_store_abandon_all(struct node_store *store, uint64_t caller);

/* A committed object, which stays until it is released. moves: it is refused while the node drains.
 * 0; -ENOENT; -ESHUTDOWN. */
int node_store_take(struct node_store *store, const char *name, bool moves,
		    struct node_object **object, struct kvr_error *error);
void node_store_release(struct node_store *store, struct node_object *object);

/* Frees an object. 0; -ENOENT; -EBUSY it is being written or taken. */
int node_store_remove(struct node_store *store, const char *name, struct kvr_error *error);

/* An array of {name, bytes, pool, blocks, runs, state}, in the order they were reserved. */
json_t *node_store_list(struct node_store *store);

/* From now on nothing new is begun. */
void node_store_drain(struct node_store *store);
/* Waits until nothing is under way. 0 or -ETIMEDOUT. */
int node_store_wait(struct node_store *store, uint64_t timeout_ms);
/* How much is under way. */
uint32_t node_store_under_way(struct node_store *store);

/* The bytes of run i: where, and how many belong to the object. */
uint64_t node_object_run(const struct node_object *object, uint32_t i, uint8_t **addr);

#endif
