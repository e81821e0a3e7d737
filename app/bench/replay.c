/* SPDX-License-Identifier: BSD-3-Clause */
#include "replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "counters.h"
#include "idle.h"
#include "app_message.h"
#include "pattern.h"
#include "verify.h"

#define REQUESTS_PER_THREAD 4 /* in flight */
#define BATCHES_PER_THREAD  4 /* in flight */
#define POISON		    0xa5

/* A slot of the pool while requests run. Any thread adds, with release; any reads. */
struct slot_state {
	uint32_t n_written;
	uint32_t n_used; /* by requests that have ended */
};

struct replay {
	const struct bench_trace *trace;
	const struct bench_plan *plan;
	struct slot_state *slots;
	uint64_t next_request; /* atomic: threads take requests in trace order */
	uint64_t piece_bytes;
	uint32_t n_layers;
	uint32_t n_staging; /* blocks, of all threads */
	uint32_t batch_blocks;
	struct player *players; /* one for each thread */
};

/* A request that a thread plays. */
struct play {
	const struct bench_request *request;
	uint64_t due_ns;
	uint32_t next;	     /* its first reference that is on no batch */
	uint32_t n_inflight; /* references on batches */
	uint32_t n_hits;
};

/* Adjacent references of one request, all hits or all misses, on their way. */
struct flight {
	struct kvr_batch *batch; /* NULL: free */
	struct play *play;
	uint64_t first; /* reference */
	uint32_t n;
	uint32_t *staging; /* n of them in use */
};

/* A thread's replay. */
struct player {
	struct bench_worker *worker;
	struct replay *replay;
	struct play plays[REQUESTS_PER_THREAD];
	struct play *active[REQUESTS_PER_THREAD]; /* in trace order */
	uint32_t n_active;
	struct flight flights[BATCHES_PER_THREAD];
	uint32_t n_flights;
	uint32_t *free_staging; /* a stack */
	uint32_t n_free_staging;
	struct kvr_transfer *transfers;
	bool exhausted; /* no request is left to take */
	int status;
	struct bench_replay_totals totals;
};

static uint32_t
blocks_per_batch(const struct bench_options *options)
{
	return options->batch_size > options->n_layers ? options->batch_size / options->n_layers
						       : 1;
}

uint32_t
bench_replay_staging(const struct bench_options *options)
{
	uint64_t block_bytes = options->kv_bytes_per_token * BENCH_TRACE_TOKENS;
	uint64_t room = options->buffer_bytes / options->n_threads / block_bytes;
	uint32_t wanted = BATCHES_PER_THREAD * blocks_per_batch(options);

	if (room == 0)
		app_message("--buffer-size %" PRIu64 " holds less than one block of %" PRIu64
			    " bytes for each of %u threads",
			    options->buffer_bytes, block_bytes, options->n_threads);
	return room < wanted ? (uint32_t)room : wanted;
}

/* ---- where a block's pieces are ---- */

static uint8_t *
local_piece(const struct player *player, uint32_t staging, uint32_t layer)
{
	const struct replay *replay = player->replay;

	return player->worker->run->node->base +
	       ((uint64_t)layer * replay->n_staging + staging) * replay->piece_bytes;
}

static uint64_t
remote_piece(const struct replay *replay, uint32_t slot, uint32_t layer)
{
	return ((uint64_t)layer * replay->plan->n_slots + slot) * replay->piece_bytes;
}

/* ---- --verify: a block holds a pattern of its id ---- */

static void
prepare_staging(const struct player *player, const struct flight *flight, bool write)
{
	const struct replay *replay = player->replay;

	for (uint32_t i = 0; i < flight->n; i++) {
		uint32_t block = replay->trace->references[flight->first + i];

		for (uint32_t layer = 0; layer < replay->n_layers; layer++) {
			uint8_t *piece = local_piece(player, flight->staging[i], layer);

			if (write)
				bench_pattern_fill(piece, replay->piece_bytes,
						   (uint64_t)replay->trace->ids[block], layer);
			else
				memset(piece, POISON, replay->piece_bytes);
		}
	}
}

static int
check_staging(const struct player *player, const struct flight *flight)
{
	const struct replay *replay = player->replay;

	for (uint32_t i = 0; i < flight->n; i++) {
		uint32_t block = replay->trace->references[flight->first + i];

		for (uint32_t layer = 0; layer < replay->n_layers; layer++) {
			struct bench_mismatch mismatch;

			if (bench_pattern_check(local_piece(player, flight->staging[i], layer),
						replay->piece_bytes,
						(uint64_t)replay->trace->ids[block], layer,
						&mismatch) == 0)
				continue;
			mismatch.offset_bytes += layer * replay->piece_bytes;
			bench_verify_mismatch(player->worker, &mismatch, layer);
			return -EBADMSG;
		}
	}
	return 0;
}

/* ---- starting ---- */

/* May the reference start? Acquire: pairs with the release in finish_flight() and finish_play(), so
 * that what another thread did to the slot is done. */
static bool
step_ready(const struct replay *replay, const struct bench_step *step)
{
	const struct slot_state *slot = &replay->slots[step->slot];

	if (step->hit)
		return __atomic_load_n(&slot->n_written, __ATOMIC_ACQUIRE) == step->after;
	return __atomic_load_n(&slot->n_used, __ATOMIC_ACQUIRE) == step->after;
}

/* How many references from the play's next on can go in one batch now. */
static uint32_t
startable(const struct player *player, const struct play *play)
{
	const struct replay *replay = player->replay;
	const struct bench_step *steps = &replay->plan->steps[play->request->first + play->next];
	uint32_t max = play->request->n_blocks - play->next;
	uint32_t n = 0;

	if (max > replay->batch_blocks)
		max = replay->batch_blocks;
	if (max > player->n_free_staging)
		max = player->n_free_staging;
	while (n < max && steps[n].hit == steps[0].hit && step_ready(replay, &steps[n]))
		n++;
	return n;
}

/* Layer by layer: neighbours in the pool stay neighbours in the batch, and are joined. */
static uint32_t
fill_transfers(struct player *player, const struct flight *flight)
{
	const struct replay *replay = player->replay;
	const struct bench_step *steps = &replay->plan->steps[flight->first];
	struct kvr_transfer *transfer = player->transfers;

	for (uint32_t layer = 0; layer < replay->n_layers; layer++)
		for (uint32_t i = 0; i < flight->n; i++)
			*transfer++ = (struct kvr_transfer){
				.local = local_piece(player, flight->staging[i], layer),
				.segment = player->worker->run->node->segment,
				.offset = remote_piece(replay, steps[i].slot, layer),
				.length_bytes = replay->piece_bytes,
				.op = steps[0].hit ? KVR_OP_READ : KVR_OP_WRITE,
			};
	return (uint32_t)(transfer - player->transfers);
}

static struct flight *
free_flight(struct player *player)
{
	for (uint32_t i = 0; i < BATCHES_PER_THREAD; i++)
		if (player->flights[i].batch == NULL)
			return &player->flights[i];
	return NULL;
}

/* Puts what can start on one batch. @return whether there was anything; errors go to status. */
static bool
start_flight(struct player *player, struct play *play)
{
	struct bench_worker *worker = player->worker;
	const struct bench_options *options = worker->run->node->options;
	struct flight *flight = free_flight(player);
	struct kvr_batch_options batch_options = {
		.priority = options->priority,
		.level = options->level,
		.cookie = flight,
	};
	uint32_t n = flight != NULL ? startable(player, play) : 0;

	if (n == 0)
		return false;
	flight->play = play;
	flight->first = play->request->first + play->next;
	flight->n = n;
	for (uint32_t i = 0; i < n; i++)
		flight->staging[i] = player->free_staging[--player->n_free_staging];
	if (options->verify)
		prepare_staging(player, flight, !player->replay->plan->steps[flight->first].hit);
	flight->batch = kvr_batch_get(worker->client, &batch_options);
	player->status =
		kvr_batch_add(flight->batch, player->transfers, fill_transfers(player, flight));
	if (player->status != 0) {
		app_message("adding transfers to a batch: %s", strerror(-player->status));
		kvr_batch_put(flight->batch);
		flight->batch = NULL;
		return false;
	}
	play->next += n;
	play->n_inflight += n;
	player->n_flights++;
	bench_worker_submit(worker, flight->batch);
	return true;
}

/* Takes the next request of the trace, when there is room for it. */
static bool
take_request(struct player *player)
{
	struct replay *replay = player->replay;
	const struct bench_run *run = player->worker->run;
	double speedup = run->node->options->speedup;
	struct play *play = player->plays;
	uint64_t idx;

	if (player->exhausted || player->n_active == REQUESTS_PER_THREAD)
		return false;
	idx = __atomic_fetch_add(&replay->next_request, 1, __ATOMIC_RELAXED);
	if (idx >= replay->trace->n_requests) {
		player->exhausted = true;
		return false;
	}
	while (play->request != NULL)
		play++;
	play->request = &replay->trace->requests[idx];
	play->due_ns = speedup == 0
			       ? bench_now_ns()
			       : run->start_ns + (uint64_t)((double)play->request->timestamp_ms *
							    1e6 / speedup);
	player->active[player->n_active++] = play;
	return true;
}

/* ---- ending ---- */

static void
finish_play(struct player *player, uint32_t at)
{
	struct replay *replay = player->replay;
	struct play *play = player->active[at];
	const struct bench_request *request = play->request;

	for (uint64_t i = request->first; i < request->first + request->n_blocks; i++)
		__atomic_add_fetch(&replay->slots[replay->plan->steps[i].slot].n_used, 1,
				   __ATOMIC_RELEASE);
	player->totals.n_requests++;
	player->totals.n_references += request->n_blocks;
	player->totals.n_hits += play->n_hits;
	kvr_latency_add(&player->totals.latency, bench_now_ns() - play->due_ns);
	player->n_active--;
	memmove(&player->active[at], &player->active[at + 1],
		(player->n_active - at) * sizeof(player->active[0]));
	*play = (struct play){0};
}

/* A batch has ended: its blocks may be read by others, its staging memory is free. */
static void
finish_flight(struct player *player, struct kvr_batch *batch)
{
	struct replay *replay = player->replay;
	struct kvr_result result;
	struct flight *flight;
	bool hit;
	int err;

	kvr_batch_result(batch, &result);
	flight = result.cookie;
	hit = replay->plan->steps[flight->first].hit;
	err = bench_worker_account(player->worker, &result, flight->n * replay->n_layers,
				   hit ? KVR_OP_READ : KVR_OP_WRITE);
	kvr_batch_put(batch);
	if (err == 0 && hit && player->worker->run->node->options->verify)
		err = check_staging(player, flight);
	for (uint32_t i = 0; err == 0 && !hit && i < flight->n; i++)
		__atomic_add_fetch(
			&replay->slots[replay->plan->steps[flight->first + i].slot].n_written, 1,
			__ATOMIC_RELEASE);
	for (uint32_t i = flight->n; i-- > 0;) /* the next to take them finds them in order */
		player->free_staging[player->n_free_staging++] = flight->staging[i];
	flight->play->n_inflight -= flight->n;
	if (hit)
		flight->play->n_hits += flight->n;
	flight->batch = NULL;
	player->n_flights--;
	if (err != 0 && player->status == 0)
		player->status = err;
}

/* One turn over the thread's requests, the oldest first. @return whether anything moved. */
static bool
play_turn(struct player *player)
{
	bool moved = take_request(player);

	for (uint32_t i = 0; player->status == 0 && i < player->n_active;) {
		struct play *play = player->active[i];

		if (play->next == play->request->n_blocks && play->n_inflight == 0) {
			finish_play(player, i);
			moved = true;
			continue;
		}
		if (play->next < play->request->n_blocks && bench_now_ns() >= play->due_ns)
			while (player->status == 0 && start_flight(player, play))
				moved = true;
		i++;
	}
	return moved;
}

static int
replay_work(struct bench_worker *worker)
{
	struct replay *replay = worker->run->ctx;
	struct player *player = &replay->players[worker->idx];
	struct app_idle idle = {0};
	struct kvr_batch *batch;

	player->worker = worker;
	for (;;) {
		bool over = player->status != 0 || bench_run_over(worker->run);
		bool moved = !over && play_turn(player);

		while (kvr_poll(worker->client, &batch, 1) == 1) {
			finish_flight(player, batch);
			moved = true;
		}
		if (player->n_flights == 0 &&
		    (over || (player->exhausted && player->n_active == 0)))
			return player->status;
		if (moved)
			idle.n = 0;
		else
			app_idle_wait(&idle);
	}
}

/* ---- set-up ---- */

static int
player_init(struct player *player, struct replay *replay, uint32_t idx, uint32_t n_staging)
{
	player->replay = replay;
	player->transfers =
		calloc((size_t)replay->batch_blocks * replay->n_layers, sizeof(*player->transfers));
	player->free_staging = calloc(n_staging, sizeof(*player->free_staging));
	if (player->transfers == NULL || player->free_staging == NULL)
		return -ENOMEM;
	while (player->n_free_staging < n_staging) {
		uint32_t left = n_staging - player->n_free_staging;

		player->free_staging[player->n_free_staging++] = idx * n_staging + left - 1;
	}
	for (uint32_t i = 0; i < BATCHES_PER_THREAD; i++) {
		struct flight *flight = &player->flights[i];

		flight->staging = calloc(replay->batch_blocks, sizeof(*flight->staging));
		if (flight->staging == NULL)
			return -ENOMEM;
	}
	return 0;
}

static void
player_fini(struct player *player)
{
	free(player->transfers);
	free(player->free_staging);
	for (uint32_t i = 0; i < BATCHES_PER_THREAD; i++)
		free(player->flights[i].staging);
}

static int
replay_init(struct replay *replay, const struct bench_options *options)
{
	uint32_t n_staging = bench_replay_staging(options);
	int err = 0;

	replay->n_layers = options->n_layers;
	replay->piece_bytes = options->kv_bytes_per_token * BENCH_TRACE_TOKENS / options->n_layers;
	replay->n_staging = n_staging * options->n_threads;
	replay->batch_blocks = blocks_per_batch(options);
	replay->slots = calloc(replay->plan->n_slots, sizeof(*replay->slots));
	replay->players = calloc(options->n_threads, sizeof(*replay->players));
	if (replay->slots == NULL || replay->players == NULL)
		err = -ENOMEM;
	for (uint32_t i = 0; err == 0 && i < options->n_threads; i++)
		err = player_init(&replay->players[i], replay, i, n_staging);
	if (err != 0)
		app_message("no memory for the replay");
	return err;
}

static void
replay_totals(const struct replay *replay, uint32_t n_players, struct bench_replay_totals *totals)
{
	*totals = (struct bench_replay_totals){
		.n_distinct = replay->trace->n_distinct,
		.n_evictions = replay->plan->n_evictions,
		.block_bytes = replay->piece_bytes * replay->n_layers,
		.pool_blocks = replay->plan->n_slots,
	};
	for (uint32_t i = 0; i < n_players; i++) {
		const struct bench_replay_totals *player = &replay->players[i].totals;

		totals->n_requests += player->n_requests;
		totals->n_references += player->n_references;
		totals->n_hits += player->n_hits;
		kvr_latency_merge(&totals->latency, &player->latency);
	}
}

int
bench_replay(struct bench_node *node, const struct bench_trace *trace,
	     const struct bench_plan *plan, struct bench_run *run,
	     struct bench_replay_totals *totals)
{
	uint32_t n_threads = node->options->n_threads;
	struct replay replay = {.trace = trace, .plan = plan};
	int err = replay_init(&replay, node->options);

	if (err == 0) {
		*run = (struct bench_run){
			.node = node,
			.work = replay_work,
			.ctx = &replay,
			.max_batches = BATCHES_PER_THREAD,
			.max_transfers = replay.batch_blocks * replay.n_layers,
		};
		err = bench_run_execute(run, n_threads);
		replay_totals(&replay, n_threads, totals);
	}
	for (uint32_t i = 0; replay.players != NULL && i < n_threads; i++)
		player_fini(&replay.players[i]);
	free(replay.players);
	free(replay.slots);
	return err;
}
