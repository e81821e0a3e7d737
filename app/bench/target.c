/* SPDX-License-Identifier: BSD-3-Clause */
#include "target.h"

#include <stdio.h>

#include "app_message.h"
#include "node.h"
#include "verify.h"
#include "worker.h"

#define TICK_NS 50000000

int
bench_target_run(const struct bench_options *options)
{
	struct bench_node node;
	struct bench_verify_target target = {.node = &node};

	if (bench_node_open(&node, options, options->buffer_bytes, options->block_bytes) != 0)
		return APP_USAGE;
	kvr_engine_on_call(node.engine, bench_verify_answer, &target);
	if (bench_node_start(&node) != 0) {
		bench_node_close(&node);
		return APP_USAGE;
	}
	printf("listening on %s\n", kvr_engine_address(node.engine));
	fflush(stdout);
	while (!bench_signal_wait(TICK_NS) && !__atomic_load_n(&target.failed, __ATOMIC_ACQUIRE))
		;
	/* stops the control thread, whose last verdict has been sent by then */
	bench_node_close(&node);
	return target.failed ? APP_FAILED : APP_OK;
}
