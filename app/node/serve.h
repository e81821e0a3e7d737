/* SPDX-License-Identifier: BSD-3-Clause */
/* The node at work, from its start to its last signal; tells systemd (sd_notify(3)) of both. */
#ifndef NODE_SERVE_H
#define NODE_SERVE_H

#include "options.h"

/* The command line after `--`, for SIGHUP to read the configuration anew. */
struct node_command_line {
	int argc;
	char **argv;
};

/* EAL runs, the signals of node_serve_block() are blocked. @return an enum app_exit. */
int node_serve(const struct node_options *options, const struct node_command_line *line);
/* Blocks SIGINT, SIGTERM and SIGHUP, for every thread made later too. */
void node_serve_block(void);

#endif
