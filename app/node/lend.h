/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A copy, seen from the node that is copied to. The node that copies asks by kvr_segment_call():
 *
 *     {"reserve": {"object": NAME, "bytes": N}}  ->  {"id": ID, "pool": SEGMENT,
 *                                                     "runs": [[OFFSET, BYTES], ...]}
 *     {"commit": ID}, {"abandon": ID}            ->  {}
 *     any of them                                ->  {"refused": REASON}
 *
 * and writes the bytes between the first and the second. A reservation belongs to the connection
 * it was made on: if that ends first, the blocks are free again, once none of its QPs is left that
 * could write to them.
 */
#ifndef NODE_LEND_H
#define NODE_LEND_H

#include "node.h"

/* Answers peers from now on; before kvr_engine_start(). */
void node_lend_start(struct node *node);

#endif
