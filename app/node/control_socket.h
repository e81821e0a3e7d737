/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The socket that kvrail-ctl asks at: kvrail-NAME.sock beside the telemetry socket, for the node's
 * user alone. A connection is one request and one answer, each a line of JSON; the file of a put or
 * a get comes with the request as an open descriptor, so that the node opens no path of others.
 * Each request has a thread.
 */
#ifndef NODE_CONTROL_SOCKET_H
#define NODE_CONTROL_SOCKET_H

#include <pthread.h>
#include <sys/un.h>

#include "node.h"

#define NODE_MAX_REQUESTS 16 /* at one time */

struct node_control_socket;

struct node_request_slot {
	struct node_control_socket *socket;
	int fd; /* -1: free */
};

struct node_control_socket {
	struct node *node;
	int listen_fd;
	struct sockaddr_un address;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t ended;
	struct node_request_slot slots[NODE_MAX_REQUESTS];
	uint32_t n_running;
};

/* 0, or -errno with one line said: -EADDRINUSE when a node of the name runs already. */
int node_control_socket_open(struct node_control_socket *socket, struct node *node);
/* Takes one connection; listen_fd is readable. */
void node_control_socket_accept(struct node_control_socket *socket);
/* Waits for the requests under way. */
void node_control_socket_close(struct node_control_socket *socket);

#endif
