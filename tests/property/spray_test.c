/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The data's way from kvr_submit() to kvr_poll(), with a device that the test plays: one thread,
 * so that a seed replays everything but the lanes' measured speed. poller.c is included for tick();
 * all else is linked.
 */

#include <stdio.h>
#include <string.h>

#include "harness.h"
#include "plan.h"
#include "poller.c"
#include "rig.h"
#include "stops.h"

#define MAX_PLANS 64
#define MAX_TURNS 2000000 /* a batch that has not ended by then never will */
#define REGION	  ((uint64_t)1 << 30)

struct world {
	struct rig rig;
	struct kvr_client *client;
	struct kvr_region *regions[2]; /* they touch */
	bool client_memory;
	struct plan plans[MAX_PLANS];
	uint32_t n_plans, n_submitted, n_ended;
	uint64_t max_bytes;
	uint32_t timeout_ms; /* of batches, 0: very long */
	uint64_t skew_tsc;   /* the pollers' clock is so much ahead */
	uint64_t max_step_ms;
	uint64_t good_bytes[2]; /* of batches that ended well, by enum kvr_op */
};

/* Flights, one behind the other, are the slices in the queue. */
static void
check_flights(const struct kvr_lane *lane)
{
	const struct kvr_sq *sq = lane->sq;
	const struct kvr_flight *flight;
	uint32_t at, i;

	for (at = sq->ci; at != sq->pi; at += flight->n) {
		uint64_t bytes = 0;

		flight = &lane->flights[at & sq->mask];
		CU_ASSERT_FATAL(flight->n != 0 && flight->n <= sq->pi - at);
		for (i = at; i != at + flight->n; i++) {
			CU_ASSERT_EQUAL(rig_op_of(&sq->slices[i & sq->mask]), flight->op);
			bytes += sq->slices[i & sq->mask].length_bytes;
		}
		CU_ASSERT_EQUAL(flight->bytes, bytes);
	}
}

/* A completion is asked for now and then, and of the last slice: none waits for a later burst. */
static void
check_signals(const struct kvr_sq *sq, uint32_t slice_bytes)
{
	uint64_t bytes = 0;
	uint32_t i;

	for (i = sq->posted; i != sq->pi; i++) {
		const struct kvr_slice *slice = &sq->slices[i & sq->mask];

		bytes += slice->length_bytes;
		CU_ASSERT(bytes <
			  KVR_SIGNAL_BYTES + RTE_MAX(slice_bytes, (uint32_t)KVR_QUANTUM_BYTES));
		if (slice->kind & KVR_SLICE_SIGNALED)
			bytes = 0;
	}
	CU_ASSERT_EQUAL(bytes, 0);
}

/* Checks a queue before its slices are told to the device, and keeps them. */
static void
on_post(void *ctx, struct kvr_poller *poller, struct kvr_sq *sq)
{
	struct kvr_lane *lane = sq->lane;
	bool bulk_seen = false;
	uint64_t bytes = 0, payload = 0;
	uint32_t n_payload = 0, i;

	(void)ctx;
	/* One that drains takes nothing more. */
	CU_ASSERT_EQUAL(lane->state, KVR_LANE_ACTIVE);
	CU_ASSERT(sq->posted != sq->pi);
	CU_ASSERT(sq->pi - sq->ci <= sq->mask + 1);
	CU_ASSERT(sq->posted - sq->ci <= sq->pi - sq->ci);
	for (i = sq->ci; i != sq->pi; i++) {
		const struct kvr_slice *slice = &sq->slices[i & sq->mask];

		bytes += slice->length_bytes;
		payload += rig_op_of(slice) == KVR_SLICE_PROOF ? 0 : slice->length_bytes;
		n_payload += rig_op_of(slice) != KVR_SLICE_PROOF;
	}
	CU_ASSERT_EQUAL(lane->inflight_bytes, bytes);
	/* The window, and what one visit may put beyond it. */
	CU_ASSERT(payload <= KVR_LANE_BYTES + KVR_QUANTUM_BYTES || n_payload == 1);
	check_flights(lane);
	check_signals(sq, poller->slice_bytes);
	for (i = sq->posted; i != sq->pi; i++) {
		const struct kvr_slice *slice = &sq->slices[i & sq->mask];
		const struct kvr_part *part = rig_flight_of(lane, i)->part;
		struct plan *plan = part->batch->cookie;

		CU_ASSERT(slice->length_bytes <= poller->slice_bytes);
		CU_ASSERT_FALSE(bulk_seen && plan->priority == KVR_CLASS_LATENCY);
		bulk_seen |= plan->priority == KVR_CLASS_BULK;
		plan_shot(plan, part, slice, lane);
	}
}

static void
on_error(void *ctx, const struct kvr_completion *completion)
{
	const struct kvr_sq *sq = completion->sq;
	const struct kvr_part *part = rig_flight_of(sq->lane, completion->idx)->part;
	struct plan *plan = part->batch->cookie;

	(void)ctx;
	/* A lane that drains has a cause already, and so has a part that has failed. */
	if (plan->first_bad == NULL && completion->at_fault && part->status == 0 &&
	    sq->lane->state == KVR_LANE_ACTIVE)
		plan->first_bad = sq->lane;
}

static void
world_open(struct world *world, uint32_t first_idx, uint32_t max_pollers)
{
	uint32_t n_devices = (uint32_t)harness_between(1, KVR_MAX_DEVICES);
	struct kvr_client_config config = {.max_batches = (uint32_t)harness_between(1, 32),
					   .max_transfers = 300};
	uint32_t i;

	memset(world, 0, sizeof(*world));
	world->rig.n_lanes = (uint32_t)harness_between(1, KVR_MAX_LANES);
	world->rig.n_slots = 1u << harness_between(1, 9);
	world->rig.first_idx = first_idx;
	world->rig.on_post = on_post;
	world->rig.on_error = on_error;
	world->rig.ctx = world;
	world->rig.engine.slice_bytes = (uint32_t)harness_magnitude(4096, 4 << 20);
	rig_build(&world->rig, n_devices, (uint32_t)harness_between(1, max_pollers),
		  (uint32_t)harness_between(1, 2));
	for (i = 0; i < 2; i++)
		world->regions[i] =
			rig_region_add(&world->rig, (1ull << 44) + i * REGION, REGION, -1);
	CU_ASSERT_EQUAL_FATAL(kvr_client_open(&world->rig.engine, &config, &world->client), 0);
	/* As if the client had registered them itself. */
	world->client_memory = harness_one_in(2);
	for (i = 0; i < 2; i++)
		world->regions[i]->pool = !world->client_memory;
	world->max_bytes = (uint64_t)harness_magnitude(1, 64 << 20);
}

static void
world_close(struct world *world)
{
	uint32_t i;

	for (i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(world->regions[i]->n_transfers, 0);
		kvr_registry_remove(&world->client->registry, world->regions[i]->start);
	}
	CU_ASSERT_EQUAL(kvr_client_close(world->client), 0);
	rig_free(&world->rig);
	for (i = 0; i < world->n_plans; i++)
		plan_free(&world->plans[i]);
}

/* A batch is as it was after an addition that is refused, also when its first transfer joins the
 * batch's last. */
static void
refuse_one(const struct plan *plan)
{
	struct kvr_transfer transfers[2];

	transfers[0] = plan->transfers[plan->n_transfers - 1];
	transfers[0].local = (uint8_t *)transfers[0].local + transfers[0].length_bytes;
	transfers[0].offset += transfers[0].length_bytes;
	transfers[1] = transfers[0];
	transfers[1].length_bytes = 0;
	CU_ASSERT(kvr_batch_add(plan->batch, transfers, 2) < 0);
}

/* Submits the next plan, if the client has a batch for it and the rings have room. */
static void
submit_one(struct world *world)
{
	struct plan *plan = &world->plans[world->n_submitted];
	struct kvr_batch_options options = {.cookie = plan};
	struct kvr_batch *batch;

	plan_make(plan, &world->rig, world->regions, 2, 300, world->max_bytes);
	options.level = plan->level;
	options.priority = plan->priority;
	options.timeout_ms =
		world->timeout_ms != 0 ? (uint32_t)harness_between(1, world->timeout_ms) : 1000000;
	batch = kvr_batch_get(world->client, &options);
	if (batch != NULL) {
		plan->batch = batch;
		CU_ASSERT_EQUAL(kvr_batch_add(batch, plan->transfers, plan->n_transfers), 0);
		if (harness_one_in(4))
			refuse_one(plan);
		if (kvr_submit(world->client, &batch, 1) == 1) {
			plan_divided(plan, world->rig.engine.slice_bytes,
				     world->rig.engine.n_pollers);
			world->n_submitted++;
			return;
		}
		kvr_batch_put(batch);
	}
	plan_free(plan);
}

/* No device may touch a batch's memory once its client has it back. */
static void
check_not_in_flight(struct world *world, const struct kvr_batch *batch)
{
	struct kvr_engine *engine = &world->rig.engine;
	uint32_t p, i, at;

	for (p = 0; p < engine->n_pollers; p++) {
		for (i = 0; i < engine->pollers[p]->n_lanes; i++) {
			const struct kvr_lane *lane = engine->pollers[p]->lanes[i];
			const struct rig_sq *queue = rig_sq_of(lane);

			for (at = queue->done; at != queue->sq.pi && !queue->reset; at++)
				CU_ASSERT(rig_flight_of(lane, at)->part->batch != batch);
		}
	}
}

/* The cause of a failure is one that the test made: a device's first syndrome, or lateness. */
static void
check_cause(struct world *world, const struct plan *plan, const struct kvr_result *result)
{
	struct kvr_engine *engine = &world->rig.engine;
	bool found = false;
	uint32_t p, i;

	CU_ASSERT_EQUAL(result->bytes, 0);
	if (result->status != -EIO) {
		CU_ASSERT(result->status == -ETIMEDOUT || result->status == -ECONNRESET);
		/* It may have waited for a lane to come back, in place of one that failed. */
		if (result->syndrome == 0)
			return;
	}
	for (p = 0; p < engine->n_pollers; p++) {
		for (i = 0; i < engine->pollers[p]->n_lanes; i++) {
			const struct kvr_lane *lane = engine->pollers[p]->lanes[i];

			found |= lane->device->name == result->device &&
				 rig_sq_of(lane)->syndrome == result->syndrome;
		}
	}
	CU_ASSERT_TRUE(found);
	/* A batch of one part fails by the first bad CQE that it is itself at fault for. */
	if (result->status == -EIO && plan->n_shares == 1 && plan->first_bad != NULL) {
		CU_ASSERT_PTR_EQUAL(result->device, plan->first_bad->device->name);
		CU_ASSERT_EQUAL(result->syndrome, rig_sq_of(plan->first_bad)->syndrome);
	}
}

static void
end_one(struct world *world, struct kvr_batch *batch)
{
	struct kvr_result result;
	struct plan *plan;
	uint32_t i;

	kvr_batch_result(batch, &result);
	plan = result.cookie;
	CU_ASSERT_EQUAL(plan->batch, batch);
	CU_ASSERT_EQUAL(plan->n_ends++, 0);
	check_not_in_flight(world, batch);
	plan_check(plan, result.status == 0, world->rig.engine.n_pollers);
	CU_ASSERT(!plan->lost || (result.status != 0 && result.remote_undetermined));
	if (result.status == 0) {
		CU_ASSERT_EQUAL(result.bytes, plan->bytes);
		for (i = 0; i < plan->n_transfers; i++)
			world->good_bytes[plan->transfers[i].op] += plan->transfers[i].length_bytes;
	} else {
		check_cause(world, plan, &result);
	}
	kvr_batch_put(batch);
	world->n_ended++;
}

/* One turn of one poller, as poller_loop() makes it. */
static void
poller_turn(struct world *world, struct kvr_poller *poller)
{
	kvr_inhale(poller);
	kvr_exhale(poller);
	kvr_spray(poller);
	if (harness_one_in(4))
		tick(poller, rte_rdtsc() + world->skew_tsc);
}

static void
turn(struct world *world)
{
	struct kvr_engine *engine = &world->rig.engine;
	struct kvr_batch *batches[4];
	uint32_t p, i, n;

	if (world->n_submitted < world->n_plans && harness_one_in(2))
		submit_one(world);
	for (p = 0; p < engine->n_pollers; p++) {
		poller_turn(world, engine->pollers[p]);
		for (i = 0; i < engine->pollers[p]->n_lanes; i++) {
			rig_device_step(&world->rig, engine->pollers[p]->lanes[i]);
			if (harness_one_in(3))
				rig_control_step(engine->pollers[p]->lanes[i]);
		}
	}
	world->skew_tsc += harness_between(0, world->max_step_ms) * (rte_get_tsc_hz() / 1000);
	n = kvr_poll(world->client, batches, 4);
	for (i = 0; i < n; i++)
		end_one(world, batches[i]);
}

static void
check_credits(struct world *world)
{
	struct kvr_engine *engine = &world->rig.engine;
	uint32_t p, i;

	for (p = 0; p < engine->n_pollers; p++) {
		struct kvr_poller *poller = engine->pollers[p];

		CU_ASSERT_EQUAL(poller->n_live, 0);
		CU_ASSERT_PTR_NULL(TAILQ_FIRST(&poller->live));
		CU_ASSERT_PTR_NULL(TAILQ_FIRST(&poller->runnable[0]));
		CU_ASSERT_PTR_NULL(TAILQ_FIRST(&poller->runnable[1]));
		for (i = 0; i < poller->n_lanes; i++) {
			const struct kvr_lane *lane = poller->lanes[i];

			CU_ASSERT_EQUAL(lane->sq->ci, lane->sq->pi);
			CU_ASSERT_EQUAL(lane->sq->posted, lane->sq->pi);
			CU_ASSERT_EQUAL(lane->inflight_bytes, 0);
		}
	}
	for (i = 0; i < engine->n_peers; i++)
		CU_ASSERT_EQUAL(engine->peers[i]->n_parts, 0);
}

/* What the counters say of a device, summed over pollers. */
static uint64_t
counted(const struct world *world, enum kvr_op op)
{
	const struct kvr_engine *engine = &world->rig.engine;
	uint64_t bytes = 0;
	uint32_t p, i;

	for (p = 0; p < engine->n_pollers; p++)
		for (i = 0; i < engine->n_devices; i++)
			bytes += engine->pollers[p]->device_counters[i].bytes[op];
	return bytes;
}

static void
world_run(struct world *world, uint32_t n_plans)
{
	uint32_t turns = 0;

	world->n_plans = n_plans;
	while (world->n_ended < n_plans && turns++ < MAX_TURNS && !harness_failed())
		turn(world);
	CU_ASSERT_EQUAL_FATAL(world->n_ended, n_plans);
	check_credits(world);
}

/* Makes lanes' queues fail or hang. */
static void
faults_plant(struct world *world)
{
	struct kvr_engine *engine = &world->rig.engine;
	uint32_t p, i;

	for (p = 0; p < engine->n_pollers; p++) {
		for (i = 0; i < engine->pollers[p]->n_lanes; i++) {
			struct rig_sq *queue = rig_sq_of(engine->pollers[p]->lanes[i]);

			if (harness_one_in(3))
				queue->fail_one_in = (uint32_t)harness_magnitude(1, 1000);
			queue->stuck = harness_one_in(12);
		}
	}
}

static void
every_byte_is_posted_once_in_slices_as_large_as_allowed(void)
{
	static struct world world;
	static const uint32_t firsts[] = {0, 65536 - 50, UINT32_MAX - 100};
	uint32_t i;

	harness_seed();
	for (i = 0; i < harness_rounds(200) && !harness_failed(); i++) {
		world_open(&world, firsts[i % 3], 8);
		world_run(&world, (uint32_t)harness_between(1, MAX_PLANS));
		CU_ASSERT_EQUAL(counted(&world, KVR_OP_READ), world.good_bytes[KVR_OP_READ]);
		CU_ASSERT_EQUAL(counted(&world, KVR_OP_WRITE), world.good_bytes[KVR_OP_WRITE]);
		world_close(&world);
	}
}

static void
failed_lanes_end_every_batch_once_with_the_first_cause(void)
{
	static struct world world;
	uint32_t i;

	harness_seed();
	for (i = 0; i < harness_rounds(200) && !harness_failed(); i++) {
		world_open(&world, UINT32_MAX - 100, 4);
		world.timeout_ms = 20000;
		world.max_step_ms = 1 << harness_between(0, 8);
		faults_plant(&world);
		world_run(&world, (uint32_t)harness_between(1, MAX_PLANS));
		CU_ASSERT(counted(&world, KVR_OP_READ) >= world.good_bytes[KVR_OP_READ]);
		CU_ASSERT(counted(&world, KVR_OP_WRITE) >= world.good_bytes[KVR_OP_WRITE]);
		world_close(&world);
	}
}

static void
late_batches_end_once_no_device_can_touch_them(void)
{
	static struct world world;
	uint32_t i;

	harness_seed();
	for (i = 0; i < harness_rounds(200) && !harness_failed(); i++) {
		world_open(&world, 65536 - 50, 4);
		/* Most batches are late, some are in time. */
		world.timeout_ms = 2000;
		world.max_step_ms = 100;
		world_run(&world, (uint32_t)harness_between(1, MAX_PLANS));
		world_close(&world);
	}
}

int
main(void)
{
	harness_eal(1);
	return HARNESS_RUN("spray", TEST(every_byte_is_posted_once_in_slices_as_large_as_allowed),
			   TEST(failed_lanes_end_every_batch_once_with_the_first_cause),
			   TEST(late_batches_end_once_no_device_can_touch_them));
}
