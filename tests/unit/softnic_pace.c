/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `--rate` and `--delay-us`, by the clock of `--step`: no figure here depends on the machine. Run
 * it as `softnic --step --devices 3 --rate 8 --rate mlx5_2=0.8 --delay-us mlx5_1=30 --
 * softnic_pace`.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "softnic_rig.h"
#include "softnic_step.h"

#define STEP_NS	    1000u
#define NS_PER_BYTE 1u	/* --rate 8 */
#define SLOW_FACTOR 10u /* of mlx5_2 */
#define DELAY_NS    30000u
#define DEPTH	    64u
#define MOST_STEPS  1000000u
#define MAX_FLOWS   8

static int (*nic_step)(void);

/* A pair of QPs that keeps DEPTH requests of one sort under way. */
struct flow {
	struct rig_end a, b;
	enum ibv_wr_opcode opcode;
	uint32_t len;
	unsigned int n_posted, n_done;
};

static void
flow_open(struct flow *flow, unsigned int from, unsigned int to, enum ibv_wr_opcode opcode,
	  uint32_t len)
{
	memset(flow, 0, sizeof(*flow));
	flow->opcode = opcode;
	flow->len = len;
	rig_create(&flow->a, &(struct rig_options){.device = from, .depth = DEPTH});
	rig_create(&flow->b, &(struct rig_options){.device = to, .depth = DEPTH});
	rig_connect(&flow->a, &flow->b, &(struct rig_link){.rnr_retry = 7});
}

static void
flow_close(struct flow *flow)
{
	rig_destroy(&flow->a);
	rig_destroy(&flow->b);
}

static void
flow_post(struct flow *flow)
{
	if (flow->opcode == IBV_WR_SEND)
		rig_post_recv(&flow->b, 0, flow->len);
	RIG_EQUAL(rig_post(&flow->a, &flow->b, flow->opcode, 0, 0, flow->len), 0);
	flow->n_posted++;
}

static void
flow_reap(struct flow *flow)
{
	struct ibv_wc wc;

	while (ibv_poll_cq(flow->a.cq, 1, &wc) == 1) {
		RIG_EQUAL(wc.status, IBV_WC_SUCCESS);
		flow->n_done++;
	}
	while (ibv_poll_cq(flow->b.cq, 1, &wc) == 1)
		RIG_EQUAL(wc.status, IBV_WC_SUCCESS);
}

/* Nanoseconds until the flows have moved @total bytes, each always with DEPTH / 2 requests under
 * way.
 */
static uint64_t
time_to_move(struct flow *flow, unsigned int n_flows, uint64_t total)
{
	uint64_t moved = 0;
	unsigned int steps = 0;

	while (moved < total && steps < MOST_STEPS) {
		for (unsigned int i = 0; i < n_flows; i++) {
			while (flow[i].n_posted - flow[i].n_done < DEPTH / 2)
				flow_post(&flow[i]);
		}
		nic_step();
		steps++;
		moved = 0;
		for (unsigned int i = 0; i < n_flows; i++) {
			flow_reap(&flow[i]);
			moved += (uint64_t)flow[i].n_done * flow[i].len;
		}
	}
	return (uint64_t)steps * STEP_NS;
}

static void
check_within_percent(uint64_t got, uint64_t want, unsigned int percent)
{
	RIG_CHECK(got * 100 >= want * (100 - percent));
	RIG_CHECK(got * 100 <= want * (100 + percent));
	if (rig_test_failed)
		printf("  %llu, not %llu within %u %%\n", (unsigned long long)got,
		       (unsigned long long)want, percent);
}

/* ---- rates ---- */

#define TOTAL (32u << 20)

static void
check_rate(unsigned int n_flows, enum ibv_wr_opcode opcode, uint32_t len)
{
	struct flow flow[MAX_FLOWS];

	for (unsigned int i = 0; i < n_flows; i++)
		flow_open(&flow[i], 0, 1, opcode, len);
	check_within_percent(time_to_move(flow, n_flows, TOTAL), TOTAL * NS_PER_BYTE, 2);
	for (unsigned int i = 0; i < n_flows; i++)
		flow_close(&flow[i]);
}

static void
one_qp_gets_the_rate(void)
{
	static const enum ibv_wr_opcode opcodes[] = {IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ,
						     IBV_WR_SEND};

	for (unsigned int i = 0; i < 3; i++) {
		check_rate(1, opcodes[i], 65536);
		check_rate(1, opcodes[i], 1 << 20);
	}
}

static void
many_qps_share_the_rate(void)
{
	check_rate(MAX_FLOWS, IBV_WR_RDMA_WRITE, 65536);
	check_rate(MAX_FLOWS, IBV_WR_RDMA_READ, 65536);
}

static void
each_direction_has_the_rate(void)
{
	struct flow flow[2];

	flow_open(&flow[0], 0, 1, IBV_WR_RDMA_WRITE, 65536);
	flow_open(&flow[1], 1, 0, IBV_WR_RDMA_WRITE, 65536);
	check_within_percent(time_to_move(flow, 2, TOTAL), TOTAL * NS_PER_BYTE / 2, 2);
	flow_close(&flow[0]);
	flow_close(&flow[1]);
}

static void
a_receiver_divides_its_rate_among_senders(void)
{
	const uint64_t total = 8u << 20;
	struct flow flow[2];

	flow_open(&flow[0], 0, 2, IBV_WR_RDMA_WRITE, 65536);
	flow_open(&flow[1], 1, 2, IBV_WR_RDMA_WRITE, 65536);
	check_within_percent(time_to_move(flow, 2, total), total * NS_PER_BYTE * SLOW_FACTOR, 2);
	check_within_percent(flow[0].n_done, flow[1].n_done, 10);
	flow_close(&flow[0]);
	flow_close(&flow[1]);
}

static void
a_slow_responder_slows_reads(void)
{
	const uint64_t total = 4u << 20;
	struct flow flow;

	flow_open(&flow, 0, 2, IBV_WR_RDMA_READ, 1 << 20);
	check_within_percent(time_to_move(&flow, 1, total), total * NS_PER_BYTE * SLOW_FACTOR, 2);
	flow_close(&flow);
}

/* ---- delay ---- */

/* The step in which a request that is posted now takes effect in @watched, and that of its
 * completion. */
static void
measure_one(struct flow *flow, const volatile uint8_t *watched, unsigned int *effect,
	    unsigned int *completion)
{
	*effect = 0;
	flow_post(flow);
	for (unsigned int step = 1; step < 1000; step++) {
		nic_step();
		if (!*effect && *watched)
			*effect = step;
		flow_reap(flow);
		if (flow->n_done) {
			*completion = step;
			return;
		}
	}
	*completion = 0;
}

/* From the first step at or after a time; the doorbell is seen in step 1. */
#define STEP_OF(ns) (1 + ((ns) + STEP_NS - 1) / STEP_NS)

static void
bytes_and_completions_come_when_a_wire_would_bring_them(void)
{
	const uint32_t len = 65536, wire_ns = 65536 * NS_PER_BYTE;
	unsigned int effect, completion;
	struct flow flow;

	flow_open(&flow, 0, 1, IBV_WR_RDMA_WRITE, len);
	flow.a.buf[len - 1] = 1;
	measure_one(&flow, &flow.b.buf[len - 1], &effect, &completion);
	RIG_EQUAL(effect, STEP_OF(wire_ns));
	RIG_EQUAL(completion, STEP_OF(wire_ns + DELAY_NS)); /* the acknowledgement's */
	flow_close(&flow);

	flow_open(&flow, 1, 0, IBV_WR_RDMA_WRITE, len);
	flow.a.buf[len - 1] = 1;
	measure_one(&flow, &flow.b.buf[len - 1], &effect, &completion);
	RIG_EQUAL(effect, STEP_OF(wire_ns + DELAY_NS));
	RIG_EQUAL(completion, effect);
	flow_close(&flow);

	flow_open(&flow, 0, 1, IBV_WR_RDMA_READ, len);
	flow.b.buf[len - 1] = 1;
	measure_one(&flow, &flow.a.buf[len - 1], &effect, &completion);
	RIG_EQUAL(effect, STEP_OF(wire_ns + DELAY_NS));
	RIG_EQUAL(completion, effect);
	flow_close(&flow);
}

static void
what_is_under_way_ends_with_its_qp(void)
{
	struct ibv_wc wc;
	struct flow flow;
	unsigned int n = 0;

	flow_open(&flow, 0, 1, IBV_WR_RDMA_WRITE, 65536);
	flow.a.buf[0] = 1;
	for (int i = 0; i < 5; i++)
		flow_post(&flow);
	for (int i = 0; i < 20; i++)
		nic_step();
	RIG_EQUAL(rig_to_error(&flow.a), 0);
	for (int i = 0; i < 1000; i++)
		nic_step();
	while (ibv_poll_cq(flow.a.cq, 1, &wc) == 1) {
		RIG_EQUAL(wc.status, IBV_WC_WR_FLUSH_ERR);
		n++;
	}
	RIG_EQUAL(n, 5);
	RIG_EQUAL(flow.b.buf[0], 0);
	flow_close(&flow);
}

int
main(void)
{
	*(void **)&nic_step = dlsym(RTLD_DEFAULT, "softnic_step");
	if (!nic_step) {
		printf("set-up failed: softnic_step is not there (run me under softnic --step)\n");
		return 1;
	}
	rig_run("one_qp_gets_the_rate", one_qp_gets_the_rate);
	rig_run("many_qps_share_the_rate", many_qps_share_the_rate);
	rig_run("each_direction_has_the_rate", each_direction_has_the_rate);
	rig_run("a_receiver_divides_its_rate_among_senders",
		a_receiver_divides_its_rate_among_senders);
	rig_run("a_slow_responder_slows_reads", a_slow_responder_slows_reads);
	rig_run("bytes_and_completions_come_when_a_wire_would_bring_them",
		bytes_and_completions_come_when_a_wire_would_bring_them);
	rig_run("what_is_under_way_ends_with_its_qp", what_is_under_way_ends_with_its_qp);
	return rig_finish();
}
