/* SPDX-License-Identifier: BSD-3-Clause */
/* What a node's telemetry says, as tables. */
#ifndef CTL_TOP_H
#define CTL_TOP_H

#include <stdbool.h>

#include "ask.h"

/* Devices, lcores, pools and lanes; again each second until SIGINT, unless it is `once`. 0, or
 * -errno with error. */
int ctl_top(const struct ctl_node *node, bool once, struct kvr_error *error);
/* The lanes alone. */
int ctl_lanes(const struct ctl_node *node, struct kvr_error *error);

#endif
