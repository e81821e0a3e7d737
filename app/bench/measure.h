/* SPDX-License-Identifier: BSD-3-Clause */
/* One measurement: batches of the options' blocks, over and over, for the options' time. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdint.h>

#include "node.h"
#include "report.h"

/* Blocks that both sides have: the offsets wrap here. */
uint64_t bench_measure_blocks(const struct bench_node *node);
/* Do the sizes of both ends allow the measurement? 0, or -EINVAL with one line said. */
int bench_measure_check(const struct bench_node *node);
/* Measures on the connected node, and fills the report. 0, or -errno with one line said. */
int bench_measure(struct bench_node *node, struct bench_report *report);

#endif
