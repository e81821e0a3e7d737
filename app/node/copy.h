/* SPDX-License-Identifier: BSD-3-Clause */
/* A copy of an object to a peer, from the node that holds it. lend.h has what it asks the peer. */
#ifndef NODE_COPY_H
#define NODE_COPY_H

#include <stdint.h>

#include "node.h"

struct node_copied {
	char peer[KVR_NAME_BYTES];
	uint64_t bytes;
	uint64_t ns; /* of the writes */
};

/* Any thread but the control thread; waits until it has ended. 0, or -errno with error. */
int node_copy(struct node *node, const char *name, const char *who, struct node_copied *copied,
	      struct kvr_error *error);

#endif
