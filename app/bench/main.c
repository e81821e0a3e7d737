/* SPDX-License-Identifier: BSD-3-Clause */
/* kvrail-bench [EAL options] -- [options] */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>

#include "eal.h"
#include "initiator.h"
#include "app_message.h"
#include "options.h"
#include "plan.h"
#include "replay.h"
#include "target.h"
#include "trace.h"

static char program_name[] = "kvrail-bench";

/* --help and --version work on either side of `--`. @return whether one was there. */
static bool
answer_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			bench_options_help();
			return true;
		}
		if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-v") == 0) {
			bench_options_version();
			return true;
		}
	}
	return false;
}

/* All that can be wrong before anything is started. @return an enum app_exit. */
static int
prepare(int eal_argc, char **eal_argv, const struct bench_options *options,
	struct bench_workload *workload, struct bench_trace *trace, struct bench_plan *plan)
{
	uint64_t bytes = options->buffer_bytes;

	if (app_eal_check(eal_argc, eal_argv) != 0)
		return APP_USAGE;
	if (options->json_path != NULL) {
		int fd = open(options->json_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

		if (fd < 0) {
			app_message("--json %s: %s", options->json_path, strerror(errno));
			return APP_USAGE;
		}
		close(fd);
	}
	if (options->trace_path != NULL) {
		uint32_t n_staging = bench_replay_staging(options);

		if (n_staging == 0 || bench_trace_load(options->trace_path, trace) != 0)
			return APP_USAGE;
		workload->trace = trace;
		if (bench_plan_make(trace, options->pool_blocks, plan) != 0)
			return APP_USAGE;
		workload->plan = plan;
		bytes = options->kv_bytes_per_token * BENCH_TRACE_TOKENS * n_staging *
			options->n_threads;
	}
	return app_eal_check_hugepages(eal_argc, eal_argv, bytes) == 0 ? APP_OK : APP_USAGE;
}

/* Signals are taken by the main thread's sigtimedwait(); every other thread inherits the mask. */
static void
block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static int
run(int eal_argc, char **eal_argv, const struct bench_options *options)
{
	struct bench_workload workload = {NULL, NULL};
	struct bench_trace trace = {0};
	struct bench_plan plan = {0};
	int status = prepare(eal_argc, eal_argv, options, &workload, &trace, &plan);

	if (status == APP_OK) {
		block_signals();
		status = app_eal_init(eal_argc, eal_argv) == 0 ? APP_OK : APP_USAGE;
	}
	if (status == APP_OK) {
		status = options->mode == BENCH_MODE_TARGET
				 ? bench_target_run(options)
				 : bench_initiator_run(options, &workload, eal_argc, eal_argv);
		rte_eal_cleanup();
	}
	bench_plan_free(&plan);
	bench_trace_free(&trace);
	return status;
}

int
main(int argc, char **argv)
{
	int separator = app_eal_separator(argc, argv);
	struct bench_options options;
	int err;

	app_message_program(program_name);
	argv[0] = program_name; /* getopt's messages begin with it */
	if (answer_help(separator, argv))
		return APP_OK;
	if (separator == argc) {
		app_message("no -- found; usage: kvrail-bench [EAL options] -- --mode "
			    "target|initiator [options] (--help)");
		return APP_USAGE;
	}
	argv[separator] = program_name; /* argv[0] of the right half */
	err = bench_options_parse(argc - separator, argv + separator, &options);
	if (err != 0)
		return err < 0 ? APP_USAGE : APP_OK;
	argv[separator] = NULL;
	return run(separator, argv, &options);
}
