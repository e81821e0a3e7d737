/* SPDX-License-Identifier: BSD-3-Clause */
/* What kvrail-ctl may ask: docs/operations.md has the requests and their answers. */
#ifndef NODE_REQUEST_H
#define NODE_REQUEST_H

#include <jansson.h>

#include "node.h"

/* Does what a request asks; file: the descriptor that came with it, -1: none. Returns the answer,
 * {"error": TEXT} among them; the caller's to json_decref(). */
json_t *node_request(struct node *node, const json_t *request, int file);

#endif
