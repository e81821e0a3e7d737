/* SPDX-License-Identifier: BSD-3-Clause */
#include "verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "app_message.h"

/* One call holds the target's control thread: 64 MiB take it some 10 ms. */
#define CALL_BYTES (64ull << 20)

void
bench_verify_report(const struct bench_mismatch *mismatch, uint64_t round)
{
	app_message("verification failed: block %" PRIu64 ", offset %" PRIu64
		    ", expected 0x%02x, seen 0x%02x (round %" PRIu64 ")",
		    mismatch->block, mismatch->offset_bytes, mismatch->expected, mismatch->seen,
		    round);
}

static json_t *
mismatch_pack(const struct bench_mismatch *mismatch)
{
	return json_pack("{s:I, s:I, s:i, s:i}", "block", (json_int_t)mismatch->block, "offset",
			 (json_int_t)mismatch->offset_bytes, "expected", mismatch->expected, "seen",
			 mismatch->seen);
}

static int
mismatch_unpack(json_t *json, struct bench_mismatch *mismatch)
{
	json_int_t block, offset;
	int expected, seen;

	if (json_unpack(json, "{s:I, s:I, s:i, s:i}", "block", &block, "offset", &offset,
			"expected", &expected, "seen", &seen) != 0)
		return -EPROTO;
	mismatch->block = (uint64_t)block;
	mismatch->offset_bytes = (uint64_t)offset;
	mismatch->expected = (uint8_t)expected;
	mismatch->seen = (uint8_t)seen;
	return 0;
}

/* ---- initiator ---- */

/* Sends {"verify": arguments}; takes the reference. *answer is the caller's. */
static int
call(struct bench_worker *worker, json_t *arguments, json_t **answer)
{
	const struct bench_node *node = worker->run->node;
	json_t *request = json_pack("{s:o}", "verify", arguments);
	char *text = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL;
	char *reply = NULL;
	int err = -ENOMEM;

	json_decref(request);
	if (text != NULL)
		err = kvr_segment_call(node->segment, text, node->options->timeout_ms, &reply);
	free(text);
	if (err != 0) {
		if (bench_run_fail(worker->run, err))
			app_message("asking %s to verify: %s", node->options->segment_id,
				    strerror(-err));
		return err;
	}
	*answer = json_loads(reply, 0, NULL);
	free(reply);
	if (*answer != NULL)
		return 0;
	if (bench_run_fail(worker->run, -EPROTO))
		app_message("%s answers a verification with no JSON", node->options->segment_id);
	return -EPROTO;
}

/* One call: {} when all is well, {"mismatch": ...} when a byte was wrong. */
static int
call_range(struct bench_worker *worker, const char *action, const struct bench_verify_range *range)
{
	json_t *answer, *json;
	struct bench_mismatch mismatch;
	int err = call(worker,
		       json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "action", action, "round",
				 (json_int_t)range->round, "first", (json_int_t)range->first,
				 "stride", (json_int_t)range->stride, "n_blocks",
				 (json_int_t)range->n_blocks, "block_bytes",
				 (json_int_t)range->block_bytes),
		       &answer);

	if (err != 0)
		return err;
	json = json_object_get(answer, "mismatch");
	if (json != NULL) {
		err = mismatch_unpack(json, &mismatch);
		if (err == 0) {
			bench_verify_report(&mismatch, range->round);
			err = -EBADMSG;
			bench_run_fail(worker->run, err);
		}
	}
	json_decref(answer);
	return err;
}

static int
call_in_pieces(struct bench_worker *worker, const char *action,
	       const struct bench_verify_range *range)
{
	struct bench_verify_range piece = *range;
	uint64_t left = range->n_blocks;
	uint64_t max = CALL_BYTES / range->block_bytes;
	int err = 0;

	for (; err == 0 && left > 0; left -= piece.n_blocks) {
		piece.n_blocks = max == 0 ? 1 : max < left ? max : left;
		err = call_range(worker, action, &piece);
		piece.first += piece.n_blocks * piece.stride;
	}
	return err;
}

int
bench_verify_fill(struct bench_worker *worker, const struct bench_verify_range *range)
{
	return call_in_pieces(worker, "fill", range);
}

int
bench_verify_check(struct bench_worker *worker, const struct bench_verify_range *range)
{
	return call_in_pieces(worker, "check", range);
}

void
bench_verify_mismatch(struct bench_worker *worker, const struct bench_mismatch *mismatch,
		      uint64_t round)
{
	json_t *answer;

	bench_run_fail(worker->run, -EBADMSG);
	bench_verify_report(mismatch, round);
	if (call(worker,
		 json_pack("{s:s, s:I, s:o}", "action", "mismatch", "round", (json_int_t)round,
			   "mismatch", mismatch_pack(mismatch)),
		 &answer) == 0)
		json_decref(answer);
}

/* ---- target ---- */

/* The range, when all of it lies in the pool. */
static int
range_unpack(const struct bench_node *node, json_t *json, struct bench_verify_range *range)
{
	json_int_t round, first, stride, n_blocks, block_bytes;
	uint64_t last;

	if (json_unpack(json, "{s:I, s:I, s:I, s:I, s:I}", "round", &round, "first", &first,
			"stride", &stride, "n_blocks", &n_blocks, "block_bytes", &block_bytes) != 0)
		return -EINVAL;
	if (first < 0 || stride < 1 || n_blocks < 1 || block_bytes < 1)
		return -EINVAL;
	range->round = (uint64_t)round;
	range->first = (uint64_t)first;
	range->stride = (uint64_t)stride;
	range->n_blocks = (uint64_t)n_blocks;
	range->block_bytes = (uint64_t)block_bytes;
	if (__builtin_mul_overflow(range->n_blocks - 1, range->stride, &last) ||
	    __builtin_add_overflow(last, range->first, &last) ||
	    last >= node->pool_bytes / range->block_bytes)
		return -ERANGE;
	return 0;
}

static int
check_blocks(const struct bench_node *node, const struct bench_verify_range *range,
	     struct bench_mismatch *mismatch)
{
	uint64_t block = range->first;

	for (uint64_t i = 0; i < range->n_blocks; i++, block += range->stride) {
		int err = bench_pattern_check(node->base + block * range->block_bytes,
					      range->block_bytes, block, range->round, mismatch);

		if (err != 0)
			return err;
	}
	return 0;
}

static void
fill_blocks(const struct bench_node *node, const struct bench_verify_range *range)
{
	uint64_t block = range->first;

	for (uint64_t i = 0; i < range->n_blocks; i++, block += range->stride)
		bench_pattern_fill(node->base + block * range->block_bytes, range->block_bytes,
				   block, range->round);
}

static void
fail(struct bench_verify_target *target, const struct bench_mismatch *mismatch, uint64_t round)
{
	bench_verify_report(mismatch, round);
	__atomic_store_n(&target->failed, true, __ATOMIC_RELEASE);
}

/* Does what was asked; *answer is what goes back. */
static int
act(struct bench_verify_target *target, json_t *arguments, json_t **answer)
{
	const char *action = json_string_value(json_object_get(arguments, "action"));
	struct bench_verify_range range;
	struct bench_mismatch mismatch;
	json_int_t round;
	int err;

	if (action == NULL)
		return -EINVAL;
	*answer = json_object();
	if (strcmp(action, "mismatch") == 0) {
		if (json_unpack(arguments, "{s:I}", "round", &round) != 0 ||
		    mismatch_unpack(json_object_get(arguments, "mismatch"), &mismatch) != 0)
			return -EINVAL;
		fail(target, &mismatch, (uint64_t)round);
		return 0;
	}
	err = range_unpack(target->node, arguments, &range);
	if (err != 0)
		return err;
	if (strcmp(action, "fill") == 0) {
		fill_blocks(target->node, &range);
		return 0;
	}
	if (strcmp(action, "check") != 0)
		return -EINVAL;
	if (check_blocks(target->node, &range, &mismatch) != 0) {
		fail(target, &mismatch, range.round);
		json_object_set_new(*answer, "mismatch", mismatch_pack(&mismatch));
	}
	return 0;
}

int
bench_verify_answer(void *ctx, const struct kvr_caller *caller, const char *request, char **reply)
{
	json_t *json = json_loads(request, 0, NULL);
	json_t *answer = NULL;
	int err;

	(void)caller;
	err = act(ctx, json_object_get(json, "verify"), &answer);
	if (err == 0) {
		*reply = json_dumps(answer, JSON_COMPACT);
		if (*reply == NULL)
			err = -ENOMEM;
	}
	json_decref(answer);
	json_decref(json);
	return err;
}
