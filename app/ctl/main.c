/* SPDX-License-Identifier: BSD-3-Clause */
/* kvrail-ctl [--node NAME | --socket PATH] [--json] COMMAND [ARGUMENT...] */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app_message.h"
#include "ask.h"
#include "table.h"
#include "top.h"
#include "version.h"

static char program_name[] = "kvrail-ctl";

struct context {
	struct ctl_node node;
	bool json; /* answers as they come */
	bool once;
};

static void
help(void)
{
	puts("usage: kvrail-ctl [--node NAME | --socket PATH] COMMAND\n"
	     "\n"
	     "Asks a kvrail-node of this host and user.\n"
	     "\n"
	     "  put FILE NAME      hold the file's bytes as an object of this name\n"
	     "  get NAME FILE      write an object to a file\n"
	     "  copy NAME PEER     write an object to a peer: HOST:PORT or its name\n"
	     "  remove NAME        free an object's blocks\n"
	     "  list               objects\n"
	     "  peers              nodes that objects may be copied to\n"
	     "  lanes              QPs to them\n"
	     "  top [--once]       devices, lcores, pools and lanes, each second\n"
	     "  drain              refuse what is new, wait for what is under way\n"
	     "\n"
	     "  --node NAME        which node (the only one)\n"
	     "  --socket PATH      its control socket\n"
	     "  --json             answers of list, peers, put, get, copy as JSON\n"
	     "  --help, --version\n"
	     "\n"
	     "exit status: 0 done, 1 the node could not or is not there, 2 usage");
}

/* Asks and prints with --json; else the caller prints, and lets go of the answer. */
static int
ask(const struct context *context, json_t *request, int file, json_t **answer,
    struct kvr_error *error)
{
	int err = ctl_ask(&context->node, request, file, answer, error);

	if (err == 0 && context->json) {
		json_dumpf(*answer, stdout, JSON_COMPACT);
		puts("");
	}
	return err;
}

static json_int_t
number(const json_t *answer, const char *key)
{
	return json_integer_value(json_object_get(answer, key));
}

/* ---- commands: 0, or -errno and error ---- */

static int
put(const struct context *context, char **arguments, struct kvr_error *error)
{
	const char *path = arguments[0], *name = arguments[1];
	int file = open(path, O_RDONLY | O_CLOEXEC), err;
	json_t *answer;

	if (file < 0)
		return app_fail(error, -errno, "%s: %s", path, strerror(errno));
	err = ask(context, json_pack("{s:s, s:s}", "request", "put", "name", name), file, &answer,
		  error);
	close(file);
	if (err != 0)
		return err;
	if (!context->json)
		printf("put %s: %lld bytes\n", name, (long long)number(answer, "bytes"));
	json_decref(answer);
	return 0;
}

/* Into a file of its own beside FILE, which is touched only when all of it is there. */
static int
get(const struct context *context, char **arguments, struct kvr_error *error)
{
	const char *name = arguments[0], *path = arguments[1];
	mode_t mask = umask(0);
	char part[4096];
	json_t *answer;
	int file, err;

	umask(mask);
	if (snprintf(part, sizeof(part), "%s.XXXXXX", path) >= (int)sizeof(part))
		return app_fail(error, -ENAMETOOLONG, "%.64s...: %s", path, strerror(ENAMETOOLONG));
	file = mkostemp(part, O_CLOEXEC);
	if (file < 0)
		return app_fail(error, -errno, "%s: %s", path, strerror(errno));
	fchmod(file, 0666 & ~mask);
	err = ask(context, json_pack("{s:s, s:s}", "request", "get", "name", name), file, &answer,
		  error);
	if (close(file) != 0 && err == 0) {
		json_decref(answer);
		err = app_fail(error, -errno, "%s: %s", path, strerror(errno));
	}
	if (err == 0 && rename(part, path) != 0) {
		json_decref(answer);
		err = app_fail(error, -errno, "%s: %s", path, strerror(errno));
	}
	if (err != 0) {
		unlink(part);
		return err;
	}
	if (!context->json)
		printf("got %s: %lld bytes\n", name, (long long)number(answer, "bytes"));
	json_decref(answer);
	return 0;
}

static int
copy(const struct context *context, char **arguments, struct kvr_error *error)
{
	json_t *answer;
	json_int_t bytes, us;
	int err = ask(context,
		      json_pack("{s:s, s:s, s:s}", "request", "copy", "name", arguments[0], "peer",
				arguments[1]),
		      -1, &answer, error);

	if (err != 0)
		return err;
	bytes = number(answer, "bytes");
	us = number(answer, "us");
	if (!context->json)
		printf("copied %s to %s: %lld bytes in %.3f ms, %.2f GB/s\n", arguments[0],
		       json_string_value(json_object_get(answer, "peer")), (long long)bytes,
		       (double)us / 1e3, us > 0 ? (double)bytes / (double)us / 1e3 : 0.0);
	json_decref(answer);
	return 0;
}

static int
remove_object(const struct context *context, char **arguments, struct kvr_error *error)
{
	json_t *answer;
	int err = ask(context, json_pack("{s:s, s:s}", "request", "remove", "name", arguments[0]),
		      -1, &answer, error);

	if (err == 0)
		json_decref(answer);
	return err;
}

static int
drain(const struct context *context, char **arguments, struct kvr_error *error)
{
	json_t *answer;
	int err = ask(context, json_pack("{s:s}", "request", "drain"), -1, &answer, error);

	(void)arguments;
	if (err != 0)
		return err;
	if (!context->json)
		printf("node %s has drained: it takes and sends nothing new until it is started "
		       "again\n",
		       context->node.name);
	json_decref(answer);
	return 0;
}

static int
list(const struct context *context, char **arguments, struct kvr_error *error)
{
	static const struct ctl_column columns[] = {
		{"NAME", "name", CTL_TEXT},   {"BYTES", "bytes", CTL_NUMBER},
		{"POOL", "pool", CTL_TEXT},   {"BLOCKS", "blocks", CTL_NUMBER},
		{"RUNS", "runs", CTL_NUMBER}, {"STATE", "state", CTL_TEXT},
	};
	json_t *answer;
	int err = ask(context, json_pack("{s:s}", "request", "list"), -1, &answer, error);

	(void)arguments;
	if (err != 0)
		return err;
	if (!context->json)
		ctl_table_print(columns, sizeof(columns) / sizeof(columns[0]),
				json_object_get(answer, "objects"));
	json_decref(answer);
	return 0;
}

static int
peers(const struct context *context, char **arguments, struct kvr_error *error)
{
	static const struct ctl_column columns[] = {
		{"ADDRESS", "address", CTL_TEXT},
		{"NAME", "name", CTL_TEXT},
		{"STATE", "state", CTL_TEXT},
		{"TROUBLE", "trouble", CTL_TEXT},
	};
	json_t *answer;
	int err = ask(context, json_pack("{s:s}", "request", "peers"), -1, &answer, error);

	(void)arguments;
	if (err != 0)
		return err;
	if (!context->json)
		ctl_table_print(columns, sizeof(columns) / sizeof(columns[0]),
				json_object_get(answer, "peers"));
	json_decref(answer);
	return 0;
}

static int
lanes(const struct context *context, char **arguments, struct kvr_error *error)
{
	(void)arguments;
	return ctl_lanes(&context->node, error);
}

static int
top(const struct context *context, char **arguments, struct kvr_error *error)
{
	(void)arguments;
	return ctl_top(&context->node, context->once, error);
}

static const struct command {
	const char *name;
	int n_arguments;
	int (*run)(const struct context *context, char **arguments, struct kvr_error *error);
	const char *usage;
} commands[] = {
	{"put", 2, put, "put FILE NAME"},    {"get", 2, get, "get NAME FILE"},
	{"copy", 2, copy, "copy NAME PEER"}, {"remove", 1, remove_object, "remove NAME"},
	{"list", 0, list, "list"},	     {"peers", 0, peers, "peers"},
	{"lanes", 0, lanes, "lanes"},	     {"top", 0, top, "top [--once]"},
	{"drain", 0, drain, "drain"},
};

/* ---- command line ---- */

static const struct command *
command_find(int argc, char **argv)
{
	if (optind == argc) {
		app_message("no command; kvrail-ctl --help lists them");
		return NULL;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, argv[optind]) != 0)
			continue;
		if (argc - optind - 1 == commands[i].n_arguments)
			return &commands[i];
		app_message("usage: kvrail-ctl %s", commands[i].usage);
		return NULL;
	}
	app_message("%s: no command; kvrail-ctl --help lists them", argv[optind]);
	return NULL;
}

static int
run(int argc, char **argv, struct context *context, const char *name, const char *path)
{
	const struct command *command = command_find(argc, argv);
	struct kvr_error error = {""};
	int err;

	if (command == NULL)
		return APP_USAGE;
	err = path != NULL ? ctl_node_at(path, &context->node, &error)
			   : ctl_node_find(name, &context->node, &error);
	if (err == 0)
		err = command->run(context, argv + optind + 1, &error);
	if (err == 0)
		return APP_OK;
	app_message("%s", error.text);
	return APP_FAILED;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"node", required_argument, NULL, 'n'},
		{"socket", required_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'},
		{"once", no_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{NULL, 0, NULL, 0},
	};
	struct context context = {.json = false};
	const char *name = NULL, *path = NULL;
	int option;

	app_message_program(program_name);
	argv[0] = program_name; /* getopt's messages begin with it */
	while ((option = getopt_long(argc, argv, "n:s:h", options, NULL)) != -1) {
		switch (option) {
		case 'n':
			name = optarg;
			break;
		case 's':
			path = optarg;
			break;
		case 'j':
			context.json = true;
			break;
		case 'o':
			context.once = true;
			break;
		case 'h':
			help();
			return APP_OK;
		case 'v':
			printf("kvrail-ctl %s (%s)\n", KVRAIL_VERSION, KVRAIL_GIT);
			return APP_OK;
		default:
			return APP_USAGE;
		}
	}
	return run(argc, argv, &context, name, path);
}
