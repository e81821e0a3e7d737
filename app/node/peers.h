/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The nodes that this one may copy to: those of --peer. A peer is connected to when it is first
 * used, and stays so. A link is one connection; when it breaks, its users end one by one, and the
 * next use makes a new one. Any thread.
 */
#ifndef NODE_PEERS_H
#define NODE_PEERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "kvr.h"
#include "options.h"

struct node_link {
	struct kvr_segment *segment; /* the peer's first, for calls and for its siblings */
	/* under the lock */
	uint32_t n_users;
	bool current; /* what the next user gets; others go with their last user */
};

struct node_peer {
	char *address;
	char name[KVR_NAME_BYTES]; /* "" until it was connected to */
	struct node_link *link;	   /* NULL: none; else current */
	char trouble[256];	   /* the last failure to connect, or to talk; "" */
};

struct node_peers {
	struct kvr_engine *engine;
	uint32_t timeout_ms;
	pthread_mutex_t lock; /* guards what follows; never held while a peer is waited for */
	struct node_peer peers[NODE_MAX_PEERS];
	uint32_t n_peers;
};

void node_peers_init(struct node_peers *peers, struct kvr_engine *engine, uint32_t timeout_ms);
/* Makes the list that of the options: the others' links end with their last user. Returns how many
 * came and went. 0 or -ENOMEM. */
int node_peers_set(struct node_peers *peers, const struct node_options *options, uint32_t *n_new,
		   uint32_t *n_old);
/* Closes all; nobody uses one any more. */
void node_peers_free(struct node_peers *peers);

/* A link to a peer, by address or name; peers whose names are not known yet are asked for them.
 * 0; -ENOENT no such peer; or what kvr_segment_open() says. */
int node_peers_get(struct node_peers *peers, const char *who, struct node_link **link,
		   struct kvr_error *error);
/* Gives it back. trouble: why nobody else shall use it; NULL: it is well. */
void node_peers_put(struct node_peers *peers, struct node_link *link, const char *trouble);

/* An array of {address, name, state, trouble}. */
json_t *node_peers_list(struct node_peers *peers);

#endif
