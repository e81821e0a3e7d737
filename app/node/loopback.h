/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether an address can be reached from this host alone. */
#ifndef NODE_LOOPBACK_H
#define NODE_LOOPBACK_H

#include <stdbool.h>

/* HOST:PORT; a name counts if all of its addresses do. */
bool node_is_loopback(const char *address);

#endif
