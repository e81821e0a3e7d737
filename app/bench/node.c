/* SPDX-License-Identifier: BSD-3-Clause */
#include "node.h"

#include <string.h>

#include "app_message.h"

int
bench_node_open(struct bench_node *node, const struct bench_options *options, uint64_t pool_bytes,
		uint64_t block_bytes)
{
	struct kvr_engine_config engine_config = {
		.name = options->name,
		.listen = options->listen,
		.device_names = options->device_names,
		.timeout_ms = options->timeout_ms,
		.slice_bytes = options->slice_bytes,
		.cross_numa = options->cross_numa,
	};
	struct kvr_pool_config pool_config = {
		.name = options->mode == BENCH_MODE_TARGET ? options->segment_name : NULL,
		.size_bytes = pool_bytes,
		.block_bytes = block_bytes,
		.numa_node = -1,
	};
	struct kvr_error error = {""};
	int err;

	*node = (struct bench_node){.options = options};
	err = kvr_engine_create(&engine_config, &node->engine, &error);
	if (err == 0)
		err = kvr_pool_create(node->engine, &pool_config, &node->pool, &error);
	if (err != 0) {
		app_message("%s", error.text[0] != '\0' ? error.text : strerror(-err));
		bench_node_close(node);
		return err;
	}
	node->base = kvr_pool_base(node->pool);
	node->pool_bytes = kvr_pool_size_bytes(node->pool);
	err = kvr_block_alloc_run(node->pool, (uint32_t)(node->pool_bytes / block_bytes),
				  &node->run);
	if (err != 0) {
		app_message("allocating the pool's blocks: %s", strerror(-err));
		bench_node_close(node);
	}
	return err;
}

int
bench_node_start(struct bench_node *node)
{
	struct kvr_error error = {""};
	int err = kvr_engine_start(node->engine, &error);

	if (err != 0)
		app_message("%s", error.text[0] != '\0' ? error.text : strerror(-err));
	return err;
}

int
bench_node_connect(struct bench_node *node)
{
	const struct bench_options *options = node->options;
	struct kvr_error error = {""};
	int err = kvr_segment_open(node->engine, options->segment_id, options->segment_name,
				   options->timeout_ms, &node->segment, &error);

	if (err != 0)
		app_message("%s", error.text[0] != '\0' ? error.text : strerror(-err));
	return err;
}

void
bench_node_close(struct bench_node *node)
{
	if (node->segment != NULL)
		kvr_segment_close(node->segment);
	if (node->run != NULL)
		kvr_block_free_bulk(node->pool, &node->run, 1);
	if (node->engine != NULL) {
		kvr_engine_stop(node->engine);
		kvr_engine_destroy(node->engine);
	}
	*node = (struct bench_node){.options = node->options};
}
