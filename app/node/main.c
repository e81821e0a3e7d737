/* SPDX-License-Identifier: BSD-3-Clause */
/* kvrail-node [EAL options] -- [options] */
#include <stdbool.h>
#include <string.h>

#include <rte_eal.h>

#include "app_message.h"
#include "check.h"
#include "eal.h"
#include "help.h"
#include "log.h"
#include "options.h"
#include "serve.h"

static char program_name[] = "kvrail-node";

/* --help and --version work on either side of `--`. @return whether one was there. */
static bool
answer_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			node_help();
			return true;
		}
		if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-v") == 0) {
			node_version();
			return true;
		}
	}
	return false;
}

/* Needs the lcores and the allow list from EAL, and none of the memory. */
static int
run_check(int eal_argc, char **eal_argv, const struct node_options *options)
{
	int status;

	if (app_eal_check(eal_argc, eal_argv) != 0 || app_eal_init_lcores(eal_argc, eal_argv) != 0)
		return APP_USAGE;
	status = node_check(options);
	rte_eal_cleanup();
	return status;
}

static int
run(int eal_argc, char **eal_argv, const struct node_options *options,
    const struct node_command_line *line)
{
	int status;

	if (app_eal_check(eal_argc, eal_argv) != 0 ||
	    app_eal_check_hugepages(eal_argc, eal_argv, node_options_pool_bytes(options)) != 0)
		return APP_USAGE;
	node_serve_block();
	if (app_eal_init(eal_argc, eal_argv) != 0 || node_log_open() != 0)
		return APP_USAGE;
	status = node_serve(options, line);
	rte_eal_cleanup();
	return status;
}

int
main(int argc, char **argv)
{
	int separator = app_eal_separator(argc, argv);
	const struct node_command_line line = {argc - separator, argv + separator};
	struct node_options options;
	int err, status;

	app_message_program(program_name);
	argv[0] = program_name; /* getopt's messages begin with it */
	if (answer_help(separator, argv))
		return APP_OK;
	if (separator == argc) {
		app_message("no -- found; usage: kvrail-node [EAL options] -- --listen HOST:PORT "
			    "--pool SIZE [options] (--help)");
		return APP_USAGE;
	}
	argv[separator] = program_name; /* argv[0] of the right half */
	err = node_options_parse(line.argc, line.argv, &options);
	if (err != 0)
		return err < 0 ? APP_USAGE : APP_OK;
	status = options.check ? run_check(separator, argv, &options)
			       : run(separator, argv, &options, &line);
	node_options_free(&options);
	return status;
}
