/* SPDX-License-Identifier: BSD-3-Clause */
/* Request traces, and the plan of who uses which slot of the pool. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "plan.h"
#include "stderr_capture.h"
#include "trace.h"

#define N_REQUESTS  400
#define MAX_BLOCKS  12 /* of a request */
#define N_IDS	    200
#define N_PLANS	    100
#define TRACE_BYTES (1u << 18)

/* A line of a trace. */
#define TIMES(times, ids)  "{" times ", \"output_length\": 3, \"hash_ids\": " ids "}\n"
#define AT(timestamp, ids) TIMES("\"timestamp\": " timestamp ", \"input_length\": 2", ids)
#define LINE(ids)	   AT("1", ids)

static char path[] = "/tmp/kvrail-trace-XXXXXX";
static struct bench_trace trace;
static struct bench_plan plan;

/* Writes the text to a file and loads it. */
static int
load(const char *text, struct stderr_capture *said)
{
	char *name = strdup(path);
	int fd = mkstemp(name);
	size_t n = strlen(text);
	int err;

	CU_ASSERT_FATAL(fd >= 0 && write(fd, text, n) == (ssize_t)n);
	close(fd);
	stderr_capture_begin(said);
	err = bench_trace_load(name, &trace);
	stderr_capture_end(said);
	unlink(name);
	free(name);
	return err;
}

/* Refused with the line's number and `word`. */
static void
refuse(const char *text, const char *word)
{
	struct stderr_capture said;

	CU_ASSERT_EQUAL(load(text, &said), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(said.text, word));
	if (strstr(said.text, word) == NULL)
		printf("      %s", said.text);
}

static void
ids_become_indices_of_the_distinct_ones(void)
{
	struct stderr_capture said;

	CU_ASSERT_EQUAL(load(LINE("[7, -3, 7]") LINE("[]") LINE("[9000000000, -3]"), &said), 0);
	CU_ASSERT_EQUAL(trace.n_requests, 3);
	CU_ASSERT_EQUAL(trace.n_references, 5);
	CU_ASSERT_EQUAL(trace.n_distinct, 3);
	CU_ASSERT_EQUAL(trace.ids[trace.references[0]], 7);
	CU_ASSERT_EQUAL(trace.ids[trace.references[1]], -3);
	CU_ASSERT_EQUAL(trace.references[0], trace.references[2]);
	CU_ASSERT_EQUAL(trace.ids[trace.references[3]], 9000000000);
	CU_ASSERT_EQUAL(trace.references[1], trace.references[4]);
	CU_ASSERT_EQUAL(trace.requests[1].n_blocks, 0);
	CU_ASSERT_EQUAL(trace.requests[2].first, 3);
	bench_trace_free(&trace);
}

static void
bad_lines_are_named_by_number(void)
{
	refuse("", "no block references");
	refuse(LINE("[]"), "no block references");
	refuse(LINE("[1]") "{\"timestamp\": 1", ":2: no JSON");
	refuse(LINE("[1]") "\n", ":2: no JSON");
	refuse("[]\n", ":1: no JSON object");
	refuse(LINE("[1]") LINE("[1, \"2\"]"), ":2: \"hash_ids\"");
	refuse(LINE("7"), ":1: \"hash_ids\"");
	refuse(TIMES("\"input_length\": 2", "[1]"), ":1: \"timestamp\"");
	refuse(AT("-1", "[1]"), ":1: \"timestamp\"");
	refuse(TIMES("\"timestamp\": 1, \"input_length\": 2.5", "[1]"), ":1: \"input_length\"");
	refuse(LINE("[1]") AT("0", "[1]"), ":2: \"timestamp\" is before");
	refuse(AT("5", "[1]") AT("8", "[1]") AT("7", "[1]"), ":3: \"timestamp\" is before");
	refuse(LINE("[1]") LINE("[1]") LINE("[1]") "x\n", ":4:");
}

/* A trace of few ids, some popular. */
static void
load_random(void)
{
	static char text[TRACE_BYTES];
	struct stderr_capture said;
	size_t at = 0;

	for (int i = 0; i < N_REQUESTS; i++) {
		int n = (int)harness_between(0, MAX_BLOCKS);

		at += (size_t)snprintf(text + at, sizeof(text) - at,
				       "{\"timestamp\": %d, \"input_length\": 0, "
				       "\"output_length\": 0, \"hash_ids\": [",
				       i);
		for (int k = 0; k < n; k++)
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%d",
					       k > 0 ? ", " : "",
					       (int)harness_magnitude(0, N_IDS - 1));
		at += (size_t)snprintf(text + at, sizeof(text) - at, "]}\n");
	}
	CU_ASSERT_EQUAL_FATAL(load(text, &said), 0);
}

static void
with_all_blocks_kept_every_later_reference_hits(void)
{
	harness_seed();
	load_random();
	CU_ASSERT_EQUAL(bench_plan_make(&trace, 0, &plan), 0);
	CU_ASSERT_EQUAL(plan.n_slots, trace.n_distinct);
	CU_ASSERT_EQUAL(plan.n_hits, trace.n_references - trace.n_distinct);
	CU_ASSERT_EQUAL(plan.n_evictions, 0);
	bench_plan_free(&plan);
	bench_trace_free(&trace);
}

/* The textbook: a reference hits when fewer than n_slots distinct others came since the last. */
static uint64_t
lru_hits(uint32_t n_slots)
{
	uint64_t n_hits = 0;

	for (uint64_t i = 0; i < trace.n_references; i++) {
		uint8_t seen[N_IDS] = {0};
		uint32_t n_others = 0;
		uint64_t k = i;

		while (k-- > 0 && trace.references[k] != trace.references[i])
			if (!seen[trace.references[k]]) {
				seen[trace.references[k]] = 1;
				n_others++;
			}
		if (k != UINT64_MAX && n_others < n_slots)
			n_hits++;
	}
	return n_hits;
}

static void
hits_are_those_of_the_least_recently_used_rule(void)
{
	harness_seed();
	for (int i = 0; i < 10; i++) {
		uint32_t n_slots = (uint32_t)harness_between(MAX_BLOCKS, N_IDS);

		load_random();
		CU_ASSERT_EQUAL(bench_plan_make(&trace, n_slots, &plan), 0);
		CU_ASSERT_EQUAL(plan.n_hits, lru_hits(n_slots));
		bench_plan_free(&plan);
		bench_trace_free(&trace);
	}
}

/* The pool as threads play the plan. */
static struct {
	uint32_t content, n_written, n_used, n_users;
} slots[N_IDS];
static uint32_t next_reference[N_REQUESTS]; /* ENDED: the request has */
#define ENDED UINT32_MAX

static void
play_end(const struct bench_request *request)
{
	for (uint64_t i = request->first; i < request->first + request->n_blocks; i++) {
		slots[plan.steps[i].slot].n_used++;
		slots[plan.steps[i].slot].n_users--;
	}
}

/* One reference, when its condition holds. @return whether it did. */
static bool
play_reference(uint64_t reference)
{
	const struct bench_step *step = &plan.steps[reference];
	uint32_t slot = step->slot;

	if (step->after != (step->hit ? slots[slot].n_written : slots[slot].n_used))
		return false;
	if (step->hit) {
		CU_ASSERT_EQUAL(slots[slot].content, trace.references[reference]);
	} else {
		CU_ASSERT_EQUAL(slots[slot].n_users, 0);
		slots[slot].content = trace.references[reference];
		slots[slot].n_written++;
	}
	slots[slot].n_users++;
	return true;
}

/* One turn of request r. @return whether anything moved. */
static bool
play_turn(uint64_t r)
{
	const struct bench_request *request = &trace.requests[r];

	if (next_reference[r] == ENDED)
		return false;
	if (next_reference[r] == request->n_blocks) {
		play_end(request);
		next_reference[r] = ENDED;
		return true;
	}
	if (!play_reference(request->first + next_reference[r]))
		return false;
	next_reference[r]++;
	return true;
}

/*
 * Plays the plan as threads might: up to 32 requests run, and turns come in random order. A slot
 * holds the block that a hit expects, none is overwritten while a running request uses it, and the
 * oldest request can always move.
 */
static void
any_order_that_the_steps_allow_reads_what_was_written(void)
{
	harness_seed();
	for (int i = 0; i < N_PLANS; i++) {
		uint64_t oldest = 0;

		load_random();
		CU_ASSERT_EQUAL(bench_plan_make(&trace,
						(uint32_t)harness_between(MAX_BLOCKS, N_IDS),
						&plan),
				0);
		memset(slots, 0, sizeof(slots));
		memset(next_reference, 0, sizeof(next_reference));
		while (oldest < trace.n_requests) {
			uint64_t r = harness_between(oldest, oldest + 31);
			bool moved = r < trace.n_requests && play_turn(r);

			CU_ASSERT_FATAL(moved || r != oldest);
			while (oldest < trace.n_requests && next_reference[oldest] == ENDED)
				oldest++;
		}
		bench_plan_free(&plan);
		bench_trace_free(&trace);
	}
}

static void
a_pool_smaller_than_one_request_is_refused(void)
{
	struct stderr_capture said;

	CU_ASSERT_EQUAL(load(LINE("[1]") LINE("[1, 2, 2, 3]"), &said), 0);
	CU_ASSERT_EQUAL(bench_plan_make(&trace, 3, &plan), 0);
	bench_plan_free(&plan);
	stderr_capture_begin(&said);
	CU_ASSERT_EQUAL(bench_plan_make(&trace, 2, &plan), -EINVAL);
	stderr_capture_end(&said);
	CU_ASSERT_PTR_NOT_NULL(strstr(said.text, "--pool-blocks 2: request 2"));
	bench_trace_free(&trace);
}

int
main(void)
{
	return HARNESS_RUN("trace", TEST(ids_become_indices_of_the_distinct_ones),
			   TEST(bad_lines_are_named_by_number),
			   TEST(with_all_blocks_kept_every_later_reference_hits),
			   TEST(hits_are_those_of_the_least_recently_used_rule),
			   TEST(any_order_that_the_steps_allow_reads_what_was_written),
			   TEST(a_pool_smaller_than_one_request_is_refused));
}
