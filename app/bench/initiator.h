/* SPDX-License-Identifier: BSD-3-Clause */
/* --mode initiator: moves blocks for a while, or replays a trace, and reports. */
#ifndef BENCH_INITIATOR_H
#define BENCH_INITIATOR_H

#include "options.h"
#include "plan.h"
#include "trace.h"

/* Both NULL without --trace. */
struct bench_workload {
	struct bench_trace *trace;
	struct bench_plan *plan;
};

/* EAL runs, SIGINT and SIGTERM are blocked; eal_argv is for the JSON report.
 * @return an enum app_exit. */
int bench_initiator_run(const struct bench_options *options, const struct bench_workload *workload,
			int eal_argc, char **eal_argv);

#endif
