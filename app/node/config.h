/* SPDX-License-Identifier: BSD-3-Clause */
/* --config: one `key = value` a line, the keys those of the command line; # begins a comment. */
#ifndef NODE_CONFIG_H
#define NODE_CONFIG_H

#include "options.h"

/* 0, or -EINVAL with one line said that has the file's name and the number of the line. */
int node_config_load(const char *path, struct node_options *options);

#endif
