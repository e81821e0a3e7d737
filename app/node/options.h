/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kvrail-node's options: on the command line after `--`, or as `key = value` in the file that
 * --config names, where the command line wins. Parsed and checked before anything is started.
 */
#ifndef NODE_OPTIONS_H
#define NODE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "kvr_limits.h"

#define NODE_NAME_MAX	 32 /* a part of the control socket's path, which is short */
#define NODE_MAX_PEERS	 64
#define NODE_ANY_NUMA	 (-1)
#define NODE_BLOCK_BYTES (64 << 10)
#define NODE_DRAIN_MS	 30000

struct node_pool_size {
	int numa_node; /* NODE_ANY_NUMA: shared out over the nodes of the devices */
	uint64_t bytes;
};

/* Strings are the options' own. */
struct node_options {
	char *listen;
	char *name;
	char *config_path;
	char *device_names;
	char *peers[NODE_MAX_PEERS];
	uint32_t n_peers;
	struct node_pool_size pools[KVR_MAX_POOLS];
	uint32_t n_pools;
	uint64_t block_bytes;
	uint64_t slice_bytes; /* 0: the library's default */
	uint64_t timeout_ms;  /* 0: the library's default */
	uint64_t drain_ms;
	bool cross_numa;
	bool insecure;
	bool check;
};

/* Parses the command line and the file it names. 0; 1: --help or --version was answered on standard
 * output; -EINVAL: one line said why. May be called again with the same command line, to read the
 * file anew. */
int node_options_parse(int argc, char **argv, struct node_options *options);
void node_options_free(struct node_options *options);

/* Of all pools. */
uint64_t node_options_pool_bytes(const struct node_options *options);

/* ---- a key and its value, from either source; for config.c ---- */

/* `where` begins the message: "--" or "FILE:LINE: ". 0; -ENOENT no such key; -EINVAL, said. */
int node_options_set(struct node_options *options, const char *where, const char *key,
		     const char *value);
/* May the key be there more than once? */
bool node_options_repeats(const char *key);

#endif
