/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding a node of this host, and asking it: at its control socket, and at its telemetry's. */
#ifndef CTL_ASK_H
#define CTL_ASK_H

#include <sys/un.h>

#include <jansson.h>

#include "kvr.h"

struct ctl_node {
	struct sockaddr_un address;
	char name[64];
};

/* The node of this name, or, without one, the only one there is. 0; -ENOENT, -EINVAL with error
 * that names those there are. */
int ctl_node_find(const char *name, struct ctl_node *node, struct kvr_error *error);
/* The node at this path. */
int ctl_node_at(const char *path, struct ctl_node *node, struct kvr_error *error);

/* Sends the request (consumed), with an open file or -1, and waits for the answer, the caller's.
 * 0; -ECONNREFUSED; -ECONNRESET; -EREMOTEIO what the node says is wrong, in error. */
int ctl_ask(const struct ctl_node *node, json_t *request, int file, json_t **answer,
	    struct kvr_error *error);

/* The node's telemetry socket, connected; its process is known by `pid`. A descriptor, or -errno
 * with error. */
int ctl_telemetry_open(const struct ctl_node *node, int pid, struct kvr_error *error);
/* What /kvrail/... answers, the caller's; NULL when it does not. Lists are followed to their end
 * (`list`: the list's key; NULL: it is no list). */
json_t *ctl_telemetry_ask(int fd, const char *path, const char *list);

#endif
