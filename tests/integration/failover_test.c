/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What batches come to when lanes, peers and the control plane fail under load. The engine is the
 * real one, on four software devices; the target is a process of its own (target_process.h), and
 * the load checks every byte (load.h).
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rte_common.h>

#include "attack.h"
#include "control.h"
#include "counters.h"
#include "engine.h"
#include "harness.h"
#include "load.h"
#include "target_process.h"

#define N_DEVICES      4
#define N_LANES	       (N_DEVICES * NODE_POLLERS)
#define ROUNDS_BETWEEN 3    /* of every thread, before the next thing breaks */
#define LOST_MS	       2000 /* a killed peer's batches have ended by then */
#define N_MEETINGS     50

static struct node node;

/* A test's target, its segment open and the load on it. */
struct scene {
	struct target target;
	struct kvr_segment *segment;
	struct kvr_lane *lanes[KVR_MAX_CONNECT_LANES];
	uint32_t n_lanes;
	struct load load;
};

static void
scene_open(struct scene *scene)
{
	struct kvr_error error = {""};
	int ret;

	harness_seed();
	target_start(&scene->target);
	ret = kvr_segment_open(node.engine, scene->target.address, NULL, NODE_PATIENCE_MS,
			       &scene->segment, &error);
	if (ret != 0)
		printf("      %s\n", error.text);
	CU_ASSERT_FATAL(ret == 0);
	scene->n_lanes = kvr_lanes_list(node.engine, scene->segment->peer, scene->lanes);
	CU_ASSERT_FATAL(scene->n_lanes == N_LANES);
}

static void
scene_begin(struct scene *scene, bool writes_only)
{
	scene_open(scene);
	load_start(&scene->load, &node, scene->segment, writes_only);
}

/* The load has ended. */
static void
scene_end(struct scene *scene)
{
	CU_ASSERT(kvr_segment_close(scene->segment) == 0);
	target_stop(&scene->target);
}

static uint32_t
lane_state(const struct kvr_lane *lane)
{
	return __atomic_load_n(&lane->state, __ATOMIC_RELAXED);
}

static enum kvr_lane_fence
lane_fence(const struct kvr_lane *lane)
{
	return (enum kvr_lane_fence)__atomic_load_n(&lane->fence, __ATOMIC_ACQUIRE);
}

static bool
lane_dies(const struct kvr_lane *lane)
{
	uint64_t until_ns = kvr_now_ns() + (uint64_t)NODE_PATIENCE_MS * 1000000;

	while (lane_state(lane) != KVR_LANE_DEAD) {
		if (kvr_now_ns() > until_ns)
			return false;
		usleep(1000);
	}
	return true;
}

/* Until it has a new QP, and a READ has come back on it. */
static bool
lane_returns(const struct kvr_lane *lane, uint32_t n_renewals)
{
	uint64_t until_ns = kvr_now_ns() + (uint64_t)NODE_PATIENCE_MS * 1000000;

	while (__atomic_load_n(&lane->n_renewals, __ATOMIC_RELAXED) == n_renewals ||
	       lane_state(lane) != KVR_LANE_ACTIVE) {
		if (kvr_now_ns() > until_ns)
			return false;
		usleep(1000);
	}
	return true;
}

/* Every lane is in use, here and at the target. */
static void
check_lanes(const struct scene *scene)
{
	enum ibv_qp_state states[KVR_MAX_CONNECT_LANES];
	int n = target_states(scene->segment, states);
	uint32_t i;

	CU_ASSERT_FATAL(n == N_LANES);
	for (i = 0; i < N_LANES; i++) {
		CU_ASSERT(lane_state(scene->lanes[i]) == KVR_LANE_ACTIVE);
		CU_ASSERT(lane_fence(scene->lanes[i]) == KVR_FENCE_PENDING);
		CU_ASSERT(states[i] == IBV_QPS_RTR);
	}
}

/* Breaks the lanes one after the other, under load. Each is fenced, comes back and is used. */
static void
break_lanes(struct scene *scene, int (*break_lane)(struct scene *scene, uint32_t place))
{
	uint32_t i;

	for (i = 0; i < N_LANES && !harness_failed(); i++) {
		struct kvr_lane *lane = scene->lanes[i];
		uint64_t n_bytes;

		if (!load_advances(&scene->load, ROUNDS_BETWEEN))
			break;
		CU_ASSERT(break_lane(scene, i) == 0);
		CU_ASSERT(lane_dies(lane));
		CU_ASSERT(lane_fence(lane) == KVR_FENCE_CONFIRMED);
		CU_ASSERT(kvr_counter_read(&lane->n_errors) > 0);
		n_bytes = kvr_counter_read(&lane->n_bytes);
		CU_ASSERT(lane_returns(lane, 0));
		CU_ASSERT(load_advances(&scene->load, ROUNDS_BETWEEN));
		CU_ASSERT(kvr_counter_read(&lane->n_bytes) > n_bytes);
		check_lanes(scene);
	}
	load_stop(&scene->load);
	CU_ASSERT(load_clean(&scene->load));
}

/* As when the port at our end dies. */
static int
break_here(struct scene *scene, uint32_t place)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

	return -ibv_modify_qp(scene->lanes[place]->sq->qp, &attr, IBV_QP_STATE);
}

static int
break_there(struct scene *scene, uint32_t place)
{
	return target_break(scene->segment, place);
}

static void
lanes_that_die_here_are_survived(void)
{
	struct scene scene;

	scene_begin(&scene, false);
	break_lanes(&scene, break_here);
	scene_end(&scene);
}

static void
lanes_that_die_there_are_survived(void)
{
	struct scene scene;

	scene_begin(&scene, false);
	break_lanes(&scene, break_there);
	scene_end(&scene);
}

/* With no lane left, batches wait for one to come back. */
static void
batches_outlive_all_their_lanes(void)
{
	struct scene scene;
	uint32_t i, round;

	scene_begin(&scene, false);
	for (round = 0; round < 2 && !harness_failed(); round++) {
		CU_ASSERT(load_advances(&scene.load, ROUNDS_BETWEEN));
		for (i = 0; i < N_LANES; i++)
			CU_ASSERT(break_here(&scene, i) == 0);
		for (i = 0; i < N_LANES; i++)
			CU_ASSERT(lane_returns(scene.lanes[i], round));
	}
	CU_ASSERT(load_advances(&scene.load, ROUNDS_BETWEEN));
	load_stop(&scene.load);
	CU_ASSERT(load_clean(&scene.load));
	check_lanes(&scene);
	scene_end(&scene);
}

/* ---- targets that refuse, are silent, are gone ---- */

/* What failed has a cause; returns how many of the writes are undetermined. */
static uint32_t
check_failures(const struct load *load)
{
	uint32_t i, k, n_undetermined = 0;

	for (i = 0; i < LOAD_THREADS; i++) {
		const struct load_thread *thread = &load->threads[i];

		CU_ASSERT(!thread->hung);
		for (k = 0; k < thread->n_failures; k++) {
			const struct load_failure *failure = &thread->failures[k];

			CU_ASSERT(failure->result.status == -ECONNRESET ||
				  failure->result.status == -EIO);
			n_undetermined += failure->result.remote_undetermined;
		}
	}
	return n_undetermined;
}

static void
batches_to_a_killed_target_end_undetermined(void)
{
	struct scene scene;
	uint64_t killed_ns;
	int status;

	scene_begin(&scene, true);
	CU_ASSERT(load_advances(&scene.load, ROUNDS_BETWEEN));
	kill(scene.target.pid, SIGKILL);
	killed_ns = kvr_now_ns();
	load_join(&scene.load); /* every thread ends by a failure */
	CU_ASSERT(kvr_now_ns() - killed_ns < (uint64_t)LOST_MS * 1000000);
	/* Those in flight at that moment; a batch submitted later has written nothing. */
	CU_ASSERT(check_failures(&scene.load) > 0);
	CU_ASSERT(kvr_segment_close(scene.segment) == 0);
	status = target_stop(&scene.target);
	CU_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

	/* The node is none the worse for it. */
	scene_begin(&scene, false);
	CU_ASSERT(load_advances(&scene.load, ROUNDS_BETWEEN));
	load_stop(&scene.load);
	CU_ASSERT(load_clean(&scene.load));
	scene_end(&scene);
}

/* The lanes to one device, which refuses even a READ, are tried and not used. */
static void
refused_lanes_stay_out_of_use(struct scene *scene)
{
	struct kvr_segment_keys *keys = &scene->segment->keys[N_DEVICES - 1];
	uint32_t i;

	keys->strict_rkey ^= 0xffffff00;
	for (i = 0; i < N_LANES; i++) {
		struct kvr_lane *lane = scene->lanes[i];
		uint64_t until_ns = kvr_now_ns() + (uint64_t)NODE_PATIENCE_MS * 1000000;

		while (lane->remote_idx == N_DEVICES - 1 && kvr_now_ns() < until_ns &&
		       __atomic_load_n(&lane->n_renewals, __ATOMIC_RELAXED) < 3) {
			CU_ASSERT(lane_state(lane) != KVR_LANE_ACTIVE);
			usleep(1000);
		}
	}
	CU_ASSERT(load_advances(&scene->load, ROUNDS_BETWEEN));
	keys->strict_rkey ^= 0xffffff00;
}

/* The target's device refuses a key, and its QPs end with an event there. The batches fail for it;
 * of the lanes only those end, and the connection stays. */
static void
lanes_that_are_refused_die_alone(void)
{
	struct scene scene;
	uint32_t i;

	scene_open(&scene);
	scene.segment->keys[N_DEVICES - 1].bulk_rkey ^= 0xffffff00;
	load_start(&scene.load, &node, scene.segment, true);
	for (i = 0; i < N_LANES; i++) {
		if (scene.lanes[i]->remote_idx != N_DEVICES - 1)
			continue;
		CU_ASSERT(lane_dies(scene.lanes[i]));
	}
	load_stop(&scene.load);
	/* A fence that is confirmed leaves nothing undetermined. */
	CU_ASSERT(check_failures(&scene.load) == 0);
	scene.segment->keys[N_DEVICES - 1].bulk_rkey ^= 0xffffff00;
	load_start(&scene.load, &node, scene.segment, false);
	refused_lanes_stay_out_of_use(&scene);
	for (i = 0; i < N_LANES; i++)
		if (scene.lanes[i]->remote_idx == N_DEVICES - 1)
			CU_ASSERT(lane_returns(scene.lanes[i], 0));
	CU_ASSERT(load_advances(&scene.load, ROUNDS_BETWEEN));
	load_stop(&scene.load);
	CU_ASSERT(load_clean(&scene.load));
	check_lanes(&scene);
	scene_end(&scene);
}

/* From here on the target's memory and devices work, its threads do not. */
static void
target_freeze(const struct target *target)
{
	int status = 0;

	kill(target->pid, SIGSTOP);
	CU_ASSERT(waitpid(target->pid, &status, WUNTRACED) == target->pid && WIFSTOPPED(status));
}

/* Nobody can say whether the lane is fenced. Returns how long that took to be found. */
static uint64_t
fence_unanswered(void)
{
	uint64_t begin_ns, ns = 0;
	struct scene scene;

	scene_begin(&scene, true);
	CU_ASSERT(load_advances(&scene.load, ROUNDS_BETWEEN));
	target_freeze(&scene.target);
	begin_ns = kvr_now_ns();
	CU_ASSERT(break_here(&scene, 0) == 0);
	while (lane_fence(scene.lanes[0]) == KVR_FENCE_PENDING &&
	       ns < (uint64_t)NODE_PATIENCE_MS * 1000000) {
		usleep(1000);
		ns = kvr_now_ns() - begin_ns;
	}
	kill(scene.target.pid, SIGCONT);
	CU_ASSERT(lane_fence(scene.lanes[0]) == KVR_FENCE_LOST);
	CU_ASSERT(lane_dies(scene.lanes[0]));
	load_stop(&scene.load);
	/* At least the write whose error told of the lane's end. */
	CU_ASSERT(check_failures(&scene.load) > 0);
	scene_end(&scene);
	return ns;
}

static void
a_fence_that_a_silent_target_does_not_answer_is_lost(void)
{
	const uint64_t fence_ns = (uint64_t)KVR_FENCE_MS * 1000000;
	uint64_t ns, best_ns = UINT64_MAX;
	uint32_t i;

	/* The control thread wakes up for it; a busy machine may delay that once, not each time. */
	for (i = 0; i < 3 && best_ns >= 2 * fence_ns; i++) {
		ns = fence_unanswered();
		CU_ASSERT(ns >= fence_ns);
		best_ns = RTE_MIN(best_ns, ns);
	}
	CU_ASSERT(best_ns < 2 * fence_ns);
}

static void
a_fence_that_a_dying_target_was_asked_is_lost(void)
{
	struct scene scene;

	scene_begin(&scene, true);
	CU_ASSERT(load_advances(&scene.load, ROUNDS_BETWEEN));
	target_freeze(&scene.target);
	CU_ASSERT(break_here(&scene, 0) == 0);
	while (__atomic_load_n(&scene.lanes[0]->want_error, __ATOMIC_ACQUIRE) < KVR_LANE_IS_ERROR)
		usleep(100);
	kill(scene.target.pid, SIGKILL);
	load_join(&scene.load);
	CU_ASSERT(lane_fence(scene.lanes[0]) == KVR_FENCE_LOST);
	CU_ASSERT(check_failures(&scene.load) > 0);
	scene_end(&scene);
}

/* ---- the control plane ---- */

static void
attacks_on_the_control_port_leave_batches_alone(void)
{
	struct scene scene;
	uint64_t rounds;

	scene_begin(&scene, false);
	CU_ASSERT(load_advances(&scene.load, ROUNDS_BETWEEN));
	rounds = load_rounds(&scene.load);
	CU_ASSERT(attack_run(node.engine, scene.target.address) == 0);
	CU_ASSERT(load_rounds(&scene.load) > rounds);
	CU_ASSERT(load_advances(&scene.load, ROUNDS_BETWEEN));
	load_stop(&scene.load);
	CU_ASSERT(load_clean(&scene.load));
	check_lanes(&scene);
	scene_end(&scene);
}

static void
two_nodes_may_open_each_other_at_once(void)
{
	struct kvr_error error = {""};
	struct kvr_segment *segment;
	struct target target;
	uint32_t i;
	int ret;

	target_start(&target);
	for (i = 0; i < N_MEETINGS && !harness_failed(); i++) {
		target_command(&target, "open", kvr_engine_address(node.engine));
		ret = kvr_segment_open(node.engine, target.address, NULL, NODE_PATIENCE_MS,
				       &segment, &error);
		CU_ASSERT(ret == 0);
		if (ret != 0) {
			printf("      %s\n", error.text);
			break;
		}
		CU_ASSERT(target_result(&target) == 0);
		target_command(&target, "close", "");
		CU_ASSERT(kvr_segment_close(segment) == 0);
		CU_ASSERT(target_result(&target) == 0);
	}
	target_stop(&target);
}

int
main(int argc, char **argv)
{
	int ret;

	if (argc > 1 && strcmp(argv[1], TARGET_ARGUMENT) == 0)
		return target_main();
	harness_eal(1 + NODE_POLLERS);
	node_start(&node, "initiator");
	ret = HARNESS_RUN(
		"failover", TEST(two_nodes_may_open_each_other_at_once),
		TEST(attacks_on_the_control_port_leave_batches_alone),
		TEST(lanes_that_die_here_are_survived), TEST(lanes_that_die_there_are_survived),
		TEST(batches_outlive_all_their_lanes), TEST(lanes_that_are_refused_die_alone),
		TEST(a_fence_that_a_silent_target_does_not_answer_is_lost),
		TEST(a_fence_that_a_dying_target_was_asked_is_lost),
		TEST(batches_to_a_killed_target_end_undetermined));
	node_stop(&node);
	return ret;
}
