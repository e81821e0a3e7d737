/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The node's log: rte_log's lines on standard error alone. EAL's own stream doubles them in syslog;
 * and where standard error is the journal, each line begins with its priority (sd-daemon(3)).
 */
#ifndef NODE_LOG_H
#define NODE_LOG_H

#include <rte_log.h>

extern int node_logtype;

#define NODE_LOG(level, ...) rte_log(RTE_LOG_##level, node_logtype, "kvrail: " __VA_ARGS__)

/* After rte_eal_init(). 0 or -errno. */
int node_log_open(void);

#endif
