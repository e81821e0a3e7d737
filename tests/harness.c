/* SPDX-License-Identifier: BSD-3-Clause */
/* The main of every CUnit program. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <CUnit/TestRun.h>

#include <rte_eal.h>

#include "harness.h"

#define MAX_FAILURES 5 /* printed of one test */

static const char *skipped_why;
static uint64_t random_state;
static uint64_t seed;
static unsigned int failures_before; /* of asserts, in earlier tests */
static unsigned int n_passed, n_failed, n_skipped;

void
harness_skip(const char *why)
{
	skipped_why = why;
}

bool
harness_failed(void)
{
	return CU_get_number_of_failures() != failures_before;
}

static void
test_begin(const CU_pTest test, const CU_pSuite suite)
{
	(void)test;
	(void)suite;
	skipped_why = NULL;
	seed = 0;
	failures_before = CU_get_number_of_failures();
}

static void
test_end(const CU_pTest test, const CU_pSuite suite, const CU_pFailureRecord first)
{
	CU_pFailureRecord failure = first;
	int i;

	(void)suite;
	if (failure != NULL) {
		n_failed++;
		printf("FAIL  %s\n", test->pName);
	} else if (skipped_why != NULL) {
		n_skipped++;
		printf("skip  %s: %s\n", test->pName, skipped_why);
	} else {
		n_passed++;
		printf("ok    %s\n", test->pName);
	}
	for (i = 0; failure != NULL && i < MAX_FAILURES; i++, failure = failure->pNext)
		printf("      %s:%u: %s\n", failure->strFileName, failure->uiLineNumber,
		       failure->strCondition);
	if (first != NULL && seed != 0)
		printf("      replay: KVR_SEED=%llu KVR_TEST=%s\n", (unsigned long long)seed,
		       test->pName);
	fflush(stdout);
}

int
harness_run(const char *suite_name, const struct harness_test *tests, size_t n)
{
	const char *only = getenv("KVR_TEST");
	CU_pSuite suite;
	size_t i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	suite = CU_add_suite(suite_name, NULL, NULL);
	for (i = 0; suite != NULL && i < n; i++)
		if (only == NULL || strcmp(only, tests[i].name) == 0)
			CU_add_test(suite, tests[i].name, tests[i].run);
	if (CU_get_error() != CUE_SUCCESS) {
		fprintf(stderr, "%s: %s\n", suite_name, CU_get_error_msg());
		return 1;
	}
	CU_set_test_start_handler(test_begin);
	CU_set_test_complete_handler(test_end);
	CU_run_all_tests();
	CU_cleanup_registry();
	printf("%u passed, %u failed, %u skipped\n", n_passed, n_failed, n_skipped);
	return n_failed != 0;
}

void
harness_eal(unsigned int n_lcores)
{
	char prefix[64], lcores[64];
	char *argv[] = {"test",	       "--lcores", lcores,	    "--no-huge", "-m",
			"64",	       "--no-pci", "--file-prefix", prefix,	 "--no-telemetry",
			"--log-level", "error"};
	long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);

	snprintf(prefix, sizeof(prefix), "kvrail-test-%d", getpid());
	snprintf(lcores, sizeof(lcores), "(0-%u)@(0-%ld)", n_lcores - 1, n_cpus - 1);
	if (rte_eal_init(sizeof(argv) / sizeof(argv[0]), argv) < 0) {
		fprintf(stderr, "EAL does not start with --lcores=%s --no-huge -m 64\n", lcores);
		exit(1);
	}
}

void
harness_reseed(uint64_t new_seed)
{
	random_state = new_seed;
}

uint64_t
harness_seed(void)
{
	const char *text = getenv("KVR_SEED");
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = text != NULL ? strtoull(text, NULL, 0)
			    : (uint64_t)now.tv_nsec * 1000003 + (uint64_t)getpid() + 1;
	printf("      seed %llu\n", (unsigned long long)seed);
	harness_reseed(seed);
	return seed;
}

uint32_t
harness_rounds(uint32_t n)
{
	return getenv("KVR_SHORT") != NULL ? (n + 9) / 10 : n;
}

uint64_t
harness_random(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

uint64_t
harness_between(uint64_t lo, uint64_t hi)
{
	return lo + harness_random() % (hi - lo + 1);
}

int
harness_one_in(uint32_t n)
{
	return harness_random() % n == 0;
}

uint64_t
harness_magnitude(uint64_t lo, uint64_t hi)
{
	unsigned int bits = 64 - (unsigned int)__builtin_clzll(hi - lo + 1);
	uint64_t span = (uint64_t)1 << harness_between(0, bits);
	uint64_t value = lo + harness_random() % span;

	return value > hi ? hi : value;
}
