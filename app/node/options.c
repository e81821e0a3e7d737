/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app_message.h"
#include "config.h"
#include "connection.h"
#include "help.h"
#include "loopback.h"
#include "size.h"

#define MAX_SIZE (1ull << 46)

static int
set_text(char **text, const char *value)
{
	char *copy = strdup(value);

	if (copy == NULL)
		return -ENOMEM;
	free(*text);
	*text = copy;
	return 0;
}

/* ---- one setter for each key; 0, or -EINVAL and *why is what it must be ---- */

typedef int (*setter)(struct node_options *options, const char *value, struct kvr_error *why);

/* A bad address says by itself what is wrong with it. */
static int
check_address(const char *value, struct kvr_error *why)
{
	char host[256], port[8];

	return kvr_address_split(value, host, sizeof(host), port, sizeof(port), why);
}

static int
set_listen(struct node_options *options, const char *value, struct kvr_error *why)
{
	return check_address(value, why) != 0 ? -EINVAL : set_text(&options->listen, value);
}

static int
set_name(struct node_options *options, const char *value, struct kvr_error *why)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-";

	if (value[0] == '\0' || value[0] == '.' || strlen(value) > NODE_NAME_MAX ||
	    value[strspn(value, allowed)] != '\0')
		return app_fail(why, -EINVAL, "a name is 1 to %d letters, digits, '_', '-' and '.'",
				NODE_NAME_MAX);
	return set_text(&options->name, value);
}

static int
parse_size(const char *value, uint64_t max, uint64_t *size, struct kvr_error *why)
{
	uint64_t parsed;
	char text[32];

	if (app_size_parse(value, &parsed) != 0 || parsed == 0 || parsed > max)
		return app_fail(why, -EINVAL, "not a size from 1 to %s, such as 64K, 1M or 2G",
				app_size_text(max, text, sizeof(text)));
	*size = parsed;
	return 0;
}

/* "node1=32G". */
static int
parse_pool(const char *text, struct node_pool_size *pool, struct kvr_error *why)
{
	char number[8];
	uint64_t node;
	int n = 0;

	if (sscanf(text, "node%7[0-9]=%n", number, &n) != 1 || n == 0 ||
	    app_number_parse(number, 0, KVR_MAX_NODES - 1, &node) != 0)
		return app_fail(why, -EINVAL, "'%.64s' is neither SIZE nor nodeN=SIZE", text);
	pool->numa_node = (int)node;
	return parse_size(text + n, MAX_SIZE, &pool->bytes, why);
}

/* "64G", or "node0=32G,node1=32G". */
static int
set_pool(struct node_options *options, const char *value, struct kvr_error *why)
{
	char *copy = strdup(value), *at = copy, *text;
	int err = copy == NULL ? -ENOMEM : 0;

	options->n_pools = 0;
	if (err == 0 && strncmp(value, "node", 4) != 0) {
		options->n_pools = 1;
		options->pools[0].numa_node = NODE_ANY_NUMA;
		err = parse_size(value, MAX_SIZE, &options->pools[0].bytes, why);
		at = NULL;
	}
	while (err == 0 && (text = strsep(&at, ",")) != NULL) {
		struct node_pool_size pool = {0};

		err = parse_pool(text, &pool, why);
		for (uint32_t i = 0; err == 0 && i < options->n_pools; i++)
			if (options->pools[i].numa_node == pool.numa_node)
				err = app_fail(why, -EINVAL, "node%d is there a second time",
					       pool.numa_node);
		if (err == 0) /* nodes differ and are below KVR_MAX_NODES, so that it fits */
			options->pools[options->n_pools++] = pool;
	}
	free(copy);
	return err;
}
static_assert(KVR_MAX_NODES <= KVR_MAX_POOLS, "a pool for each node");

static int
set_block(struct node_options *options, const char *value, struct kvr_error *why)
{
	return parse_size(value, 1ull << 30, &options->block_bytes, why);
}

static int
set_slice_size(struct node_options *options, const char *value, struct kvr_error *why)
{
	return parse_size(value, 1ull << 30, &options->slice_bytes, why);
}

static int
set_peer(struct node_options *options, const char *value, struct kvr_error *why)
{
	if (check_address(value, why) != 0)
		return -EINVAL;
	for (uint32_t i = 0; i < options->n_peers; i++)
		if (strcmp(options->peers[i], value) == 0)
			return app_fail(why, -EINVAL, "it is there a second time");
	if (options->n_peers == NODE_MAX_PEERS)
		return app_fail(why, -EINVAL, "more than %d peers", NODE_MAX_PEERS);
	return set_text(&options->peers[options->n_peers++], value);
}

static int
set_device_name(struct node_options *options, const char *value, struct kvr_error *why)
{
	(void)why; /* the library knows the devices, and says which there are */
	return set_text(&options->device_names, value);
}

static int
set_config(struct node_options *options, const char *value, struct kvr_error *why)
{
	(void)why;
	return set_text(&options->config_path, value);
}

static int
parse_ms(const char *value, uint64_t *ms, struct kvr_error *why)
{
	uint64_t ns;

	if (app_seconds_parse(value, &ns) != 0 || ns < 1000000 || ns > 3600000000000)
		return app_fail(why, -EINVAL, "not a number of seconds from 0.001 to 3600");
	*ms = ns / 1000000;
	return 0;
}

static int
set_timeout(struct node_options *options, const char *value, struct kvr_error *why)
{
	return parse_ms(value, &options->timeout_ms, why);
}

static int
set_drain_timeout(struct node_options *options, const char *value, struct kvr_error *why)
{
	return parse_ms(value, &options->drain_ms, why);
}

/* A switch has no value on the command line. */
static int
parse_switch(const char *value, bool *on, struct kvr_error *why)
{
	*on = value == NULL || strcmp(value, "yes") == 0;
	if (*on || strcmp(value, "no") == 0)
		return 0;
	return app_fail(why, -EINVAL, "it is yes or no");
}

static int
set_cross_numa(struct node_options *options, const char *value, struct kvr_error *why)
{
	return parse_switch(value, &options->cross_numa, why);
}

static int
set_insecure(struct node_options *options, const char *value, struct kvr_error *why)
{
	return parse_switch(value, &options->insecure, why);
}

/* ---- keys ---- */

static const struct key {
	const char *name;
	setter set;
	bool is_switch;
	bool repeats;
	bool command_line_only;
} keys[] = {
	{"listen", set_listen, false, false, false},
	{"name", set_name, false, false, false},
	{"pool", set_pool, false, false, false},
	{"block", set_block, false, false, false},
	{"peer", set_peer, false, true, false},
	{"device-name", set_device_name, false, false, false},
	{"timeout", set_timeout, false, false, false},
	{"drain-timeout", set_drain_timeout, false, false, false},
	{"slice-size", set_slice_size, false, false, false},
	{"cross-numa", set_cross_numa, true, false, false},
	{"insecure", set_insecure, true, false, false},
	{"config", set_config, false, false, true},
};
#define N_KEYS (sizeof(keys) / sizeof(keys[0]))

enum {
	OPT_CHECK = N_KEYS, /* ids below it are indices of keys[] */
	OPT_HELP,
	OPT_VERSION,
};

static int
key_set(struct node_options *options, const struct key *key, const char *where, const char *value)
{
	struct kvr_error why = {""};
	int err = key->set(options, value, &why);

	if (err == 0)
		return 0;
	app_message("%s%s %s: %s", where, key->name, value != NULL ? value : "",
		    why.text[0] != '\0' ? why.text : strerror(-err));
	return -EINVAL;
}

int
node_options_set(struct node_options *options, const char *where, const char *key,
		 const char *value)
{
	for (size_t i = 0; i < N_KEYS; i++)
		if (!keys[i].command_line_only && strcmp(keys[i].name, key) == 0)
			return key_set(options, &keys[i], where, value);
	return -ENOENT;
}

bool
node_options_repeats(const char *key)
{
	for (size_t i = 0; i < N_KEYS; i++)
		if (strcmp(keys[i].name, key) == 0)
			return keys[i].repeats;
	return false;
}

/* ---- command line ---- */

static void
forget_peers(struct node_options *options)
{
	while (options->n_peers > 0) {
		free(options->peers[--options->n_peers]);
		options->peers[options->n_peers] = NULL;
	}
}

/* Takes what getopt has found. The first --peer takes the place of the file's. */
static int
take_option(int id, struct node_options *options, bool *own_peers)
{
	switch (id) {
	case OPT_CHECK:
		options->check = true;
		return 0;
	case OPT_HELP:
		node_help();
		return 1;
	case OPT_VERSION:
		node_version();
		return 1;
	default:
		if (id < 0 || id >= OPT_CHECK)
			return -EINVAL; /* '?': getopt has said it */
		if (keys[id].repeats && !*own_peers) {
			*own_peers = true;
			forget_peers(options);
		}
		return key_set(options, &keys[id], "--", optarg);
	}
}

/* All of the command line, on top of what is set. */
static int
scan(int argc, char **argv, struct node_options *options)
{
	struct option long_options[OPT_VERSION + 2] = {0};
	bool own_peers = false;
	int err = 0, id;

	for (size_t i = 0; i < N_KEYS; i++)
		long_options[i] = (struct option){
			keys[i].name, keys[i].is_switch ? no_argument : required_argument, NULL,
			(int)i};
	long_options[OPT_CHECK] = (struct option){"check", no_argument, NULL, OPT_CHECK};
	long_options[OPT_HELP] = (struct option){"help", no_argument, NULL, OPT_HELP};
	long_options[OPT_VERSION] = (struct option){"version", no_argument, NULL, OPT_VERSION};
	optind = 0; /* glibc: scan anew; EAL uses getopt too */
	while (err == 0 && (id = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		err = take_option(id == '?' ? -1 : id, options, &own_peers);
	if (err == 0 && optind < argc) {
		app_message("%s: not an option", argv[optind]);
		err = -EINVAL;
	}
	return err;
}
static_assert(OPT_VERSION < '?', "ids and getopt's '?' differ");

/* "--block_size=1M" to "--block-size=1M"; the value is left alone. */
static void
normalise_name(char *arg)
{
	if (strncmp(arg, "--", 2) != 0)
		return;
	for (; *arg != '\0' && *arg != '='; arg++)
		if (*arg == '_')
			*arg = '-';
}

/* ---- all of it together ---- */

static int
default_name(struct node_options *options)
{
	struct kvr_error why;
	char host[NODE_NAME_MAX + 1];

	if (options->name != NULL)
		return 0;
	if (gethostname(host, sizeof(host)) != 0)
		host[0] = '\0';
	host[sizeof(host) - 1] = '\0';
	if (set_name(options, host, &why) == 0)
		return 0;
	app_message("--name is missing, and the host's name '%s' cannot stand for it", host);
	return -EINVAL;
}

static int
check(struct node_options *options)
{
	char block[32], pool[32];

	if (options->n_pools == 0) {
		app_message("--pool SIZE is missing, such as --pool 64G or node0=32G,node1=32G");
		return -EINVAL;
	}
	for (uint32_t i = 0; i < options->n_pools; i++)
		if (options->pools[i].bytes < options->block_bytes) {
			app_message("--pool %s is smaller than a block of %s",
				    app_size_text(options->pools[i].bytes, pool, sizeof(pool)),
				    app_size_text(options->block_bytes, block, sizeof(block)));
			return -EINVAL;
		}
	if (options->check)
		return default_name(options);
	if (options->listen == NULL) {
		app_message("--listen HOST:PORT is missing; port 0 takes a free one");
		return -EINVAL;
	}
	if (!options->insecure && !node_is_loopback(options->listen)) {
		app_message("--listen %s: peers are neither authenticated nor encrypted, so "
			    "that a node listens on loopback (127.0.0.1, ::1) alone; on a network "
			    "you trust, say --insecure",
			    options->listen);
		return -EINVAL;
	}
	return default_name(options);
}

int
node_options_parse(int argc, char **argv, struct node_options *options)
{
	static const struct node_options defaults = {
		.block_bytes = NODE_BLOCK_BYTES,
		.drain_ms = NODE_DRAIN_MS,
	};
	char *config_path;
	int err;

	for (int i = 1; i < argc; i++)
		normalise_name(argv[i]);
	/* The first scan finds --config and what is wrong by itself; its values go again. */
	*options = defaults;
	err = scan(argc, argv, options);
	config_path = options->config_path;
	if (err == 0 && config_path != NULL) {
		options->config_path = NULL;
		node_options_free(options);
		*options = defaults;
		err = node_config_load(config_path, options);
		free(config_path);
		if (err == 0)
			err = scan(argc, argv, options);
	}
	if (err == 0)
		err = check(options);
	if (err != 0)
		node_options_free(options);
	return err;
}

void
node_options_free(struct node_options *options)
{
	forget_peers(options);
	free(options->listen);
	free(options->name);
	free(options->config_path);
	free(options->device_names);
	*options = (struct node_options){0};
}

uint64_t
node_options_pool_bytes(const struct node_options *options)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < options->n_pools; i++)
		bytes += options->pools[i].bytes;
	return bytes;
}
