/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator.h"

#include <errno.h>
#include <inttypes.h>

#include "json.h"
#include "measure.h"
#include "app_message.h"
#include "node.h"
#include "replay.h"
#include "report.h"
#include "size.h"
#include "sweep.h"
#include "worker.h"

static int
check_pool(const struct bench_node *node, const struct bench_plan *plan)
{
	uint64_t block_bytes = node->options->kv_bytes_per_token * BENCH_TRACE_TOKENS;
	uint64_t need_bytes = plan->n_slots * block_bytes;
	uint64_t have_bytes = kvr_segment_size_bytes(node->segment);
	char need[32], have[32];

	if (need_bytes <= have_bytes)
		return 0;
	app_message("%u blocks need %s, the target's segment has %s: start the target with "
		    "--buffer-size %" PRIu64 ", or keep fewer with --pool-blocks %" PRIu64,
		    plan->n_slots, app_size_text(need_bytes, need, sizeof(need)),
		    app_size_text(have_bytes, have, sizeof(have)), need_bytes,
		    have_bytes / block_bytes);
	return -EINVAL;
}

/* Replays the trace; *totals is what the report points to. 0, or -errno with one line said. */
static int
replay(struct bench_node *node, const struct bench_workload *workload, struct bench_report *report,
       struct bench_replay_totals *totals)
{
	struct bench_run run = {.node = node};
	struct bench_counters before;
	int err;

	bench_counters_read(node->engine, &before);
	err = bench_replay(node, workload->trace, workload->plan, &run, totals);
	bench_report_gather(report, &run, &before);
	report->status = err;
	report->replay = totals;
	bench_run_free(&run);
	return err;
}

/* Runs what was asked for, and reports it. @return an enum app_exit; APP_USAGE: the run did not
 * begin. */
static int
run_and_report(struct bench_node *node, const struct bench_workload *workload, int eal_argc,
	       char **eal_argv, bool *interrupted)
{
	const struct bench_options *options = node->options;
	struct bench_replay_totals totals = {0};
	struct bench_report report;
	int err;

	if ((workload->plan != NULL ? check_pool(node, workload->plan)
				    : bench_measure_check(node)) != 0)
		return APP_USAGE;
	if (bench_options_sweep(options))
		return bench_sweep_run(node, eal_argc, eal_argv, interrupted);
	err = workload->plan != NULL ? replay(node, workload, &report, &totals)
				     : bench_measure(node, &report);
	*interrupted = report.interrupted;
	if (options->json_path != NULL) {
		int json_err = bench_json_write(&report, eal_argc, eal_argv);

		err = err != 0 ? err : json_err;
	}
	bench_report_print(&report);
	return err == 0 ? APP_OK : APP_FAILED;
}

static int
open_node(struct bench_node *node, const struct bench_options *options)
{
	uint64_t pool_bytes = options->buffer_bytes;
	uint64_t block_bytes = options->block_bytes;

	if (options->trace_path != NULL) {
		block_bytes = options->kv_bytes_per_token * BENCH_TRACE_TOKENS;
		pool_bytes =
			(uint64_t)bench_replay_staging(options) * options->n_threads * block_bytes;
	}
	if (bench_node_open(node, options, pool_bytes, block_bytes) != 0)
		return -1;
	if (bench_node_start(node) == 0 && bench_node_connect(node) == 0)
		return 0;
	bench_node_close(node);
	return -1;
}

int
bench_initiator_run(const struct bench_options *options, const struct bench_workload *workload,
		    int eal_argc, char **eal_argv)
{
	bool interrupted = false;
	struct bench_node node;
	int status;

	if (open_node(&node, options) != 0)
		return APP_USAGE;
	status = run_and_report(&node, workload, eal_argc, eal_argv, &interrupted);
	if (status != APP_USAGE && !interrupted)
		bench_signal_wait(options->linger_ns);
	bench_node_close(&node);
	return status;
}
