/* SPDX-License-Identifier: BSD-3-Clause */
/* --help and --version, to standard output. */
#ifndef NODE_HELP_H
#define NODE_HELP_H

void node_help(void);
void node_version(void);

#endif
