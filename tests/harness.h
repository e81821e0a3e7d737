/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The main of every CUnit program: one program, one suite, one EAL at most. Prints a line for each
 * test and ends with `N passed, N failed, N skipped`, which tools/test.sh adds up.
 *
 *     int main(void) { return HARNESS_RUN("sq", TEST(sq_post_wraps_at_last_wqebb), ...); }
 */
#ifndef KVR_TESTS_HARNESS_H
#define KVR_TESTS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <CUnit/CUnit.h>

struct harness_test {
	const char *name;
	void (*run)(void);
};

#define TEST(fn)                                                                                   \
	{                                                                                          \
		.name = #fn, .run = (fn)                                                           \
	}
#define HARNESS_RUN(suite, ...)                                                                    \
	harness_run(suite, (const struct harness_test[]){__VA_ARGS__},                             \
		    sizeof((const struct harness_test[]){__VA_ARGS__}) /                           \
			    sizeof(struct harness_test))

/* Runs the tests in order; KVR_TEST=NAME runs one. 0, or 1 when any failed. */
int harness_run(const char *suite, const struct harness_test *tests, size_t n);

/* The running test is skipped, and says why; it then returns. */
void harness_skip(const char *why);

/* Has the running test failed already? A long one stops. */
bool harness_failed(void);

/* A small EAL: no hugepages, no PCI, no telemetry; lcores 0 to n_lcores - 1 float over all CPUs.
 * Exits 1 when it fails. */
void harness_eal(unsigned int n_lcores);

/* For property tests: KVR_SEED, or a new one; printed, so that a failure can be replayed. Also
 * seeds harness_random(). */
uint64_t harness_seed(void);
void harness_reseed(uint64_t seed);

/* How many rounds of `n` a property test makes: a tenth with KVR_SHORT=1, for slow builds. */
uint32_t harness_rounds(uint32_t n);

/* splitmix64. */
uint64_t harness_random(void);
/* From lo to hi, both included. */
uint64_t harness_between(uint64_t lo, uint64_t hi);
/* True once in n times. */
int harness_one_in(uint32_t n);
/* As harness_between(), but small and large numbers are alike in frequency. */
uint64_t harness_magnitude(uint64_t lo, uint64_t hi);

#endif
