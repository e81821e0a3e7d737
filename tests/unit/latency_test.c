/* SPDX-License-Identifier: BSD-3-Clause */
/* The histogram against exact percentiles. */
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "latency.h"

#define N_VALUES 20000

static struct kvr_latency latency, other;

static int
compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void
empty_histogram_answers_zero(void)
{
	memset(&latency, 0, sizeof(latency));
	CU_ASSERT_EQUAL(kvr_latency_percentile_ns(&latency, 50), 0);
	CU_ASSERT_EQUAL(kvr_latency_percentile_ns(&latency, 100), 0);
}

static void
one_value_is_every_percentile(void)
{
	static const uint64_t values[] = {0, 1, 31, 32, 33, 63, 64, 1000, UINT64_MAX};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		memset(&latency, 0, sizeof(latency));
		kvr_latency_add(&latency, values[i]);
		CU_ASSERT_EQUAL(kvr_latency_percentile_ns(&latency, 0.1), values[i]);
		CU_ASSERT_EQUAL(kvr_latency_percentile_ns(&latency, 50), values[i]);
		CU_ASSERT_EQUAL(kvr_latency_percentile_ns(&latency, 100), values[i]);
		CU_ASSERT_EQUAL(latency.max_ns, values[i]);
	}
}

static void
values_below_32_ns_are_exact(void)
{
	memset(&latency, 0, sizeof(latency));
	for (uint64_t ns = 0; ns < 32; ns++)
		kvr_latency_add(&latency, ns);
	for (uint64_t ns = 0; ns < 32; ns++)
		CU_ASSERT_EQUAL(kvr_latency_percentile_ns(&latency, 100.0 * (double)(ns + 1) / 32),
				ns);
}

/* At a power of two the exponent and the five bits change together. */
static void
buckets_are_monotonic_across_powers_of_two(void)
{
	for (unsigned int bit = 5; bit < 64; bit++)
		for (int step = -2; step <= 2; step++) {
			uint64_t ns = ((uint64_t)1 << bit) + (uint64_t)step;
			uint64_t p50;

			memset(&latency, 0, sizeof(latency));
			kvr_latency_add(&latency, ns);
			kvr_latency_add(&latency, UINT64_MAX);
			p50 = kvr_latency_percentile_ns(&latency, 50);
			CU_ASSERT(p50 >= ns);
			CU_ASSERT(p50 - ns <= ns / 32);
		}
}

static void
percentiles_are_at_most_a_32nd_above_the_exact_ones(void)
{
	static const double percentiles[] = {0.1, 1, 25, 50, 90, 99, 99.9, 100};
	static uint64_t values[N_VALUES];

	harness_seed();
	memset(&latency, 0, sizeof(latency));
	for (size_t i = 0; i < N_VALUES; i++) {
		values[i] = harness_magnitude(0, UINT64_MAX / 4);
		kvr_latency_add(&latency, values[i]);
	}
	qsort(values, N_VALUES, sizeof(values[0]), compare);
	for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++) {
		double rank = N_VALUES * percentiles[i] / 100;
		size_t at = (size_t)rank + ((double)(size_t)rank < rank) - 1;
		uint64_t found = kvr_latency_percentile_ns(&latency, percentiles[i]);

		CU_ASSERT(found >= values[at]);
		CU_ASSERT(found - values[at] <= values[at] / 32);
	}
}

static void
merging_is_as_if_one_had_counted_all(void)
{
	static struct kvr_latency all;

	harness_seed();
	memset(&latency, 0, sizeof(latency));
	memset(&other, 0, sizeof(other));
	memset(&all, 0, sizeof(all));
	for (size_t i = 0; i < N_VALUES; i++) {
		uint64_t ns = harness_magnitude(0, UINT64_MAX / 4);

		kvr_latency_add(harness_one_in(3) ? &latency : &other, ns);
		kvr_latency_add(&all, ns);
	}
	kvr_latency_merge(&latency, &other);
	CU_ASSERT_EQUAL(memcmp(&latency, &all, sizeof(all)), 0);
}

int
main(void)
{
	return HARNESS_RUN("latency", TEST(empty_histogram_answers_zero),
			   TEST(one_value_is_every_percentile), TEST(values_below_32_ns_are_exact),
			   TEST(buckets_are_monotonic_across_powers_of_two),
			   TEST(percentiles_are_at_most_a_32nd_above_the_exact_ones),
			   TEST(merging_is_as_if_one_had_counted_all));
}
