/* SPDX-License-Identifier: BSD-3-Clause */
/* --verify's pattern: every wrong byte is seen, and named. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "pattern.h"

#define MAX_BYTES (40u << 10) /* several of the chunks that are compared at once */
#define GUARD	  0x5c
#define N_DAMAGES 2000

static uint8_t buffer[MAX_BYTES + 64];
static struct bench_mismatch mismatch;

static void
what_is_filled_is_found_right_at_every_length_and_alignment(void)
{
	for (size_t length = 1; length < 300; length++)
		for (size_t shift = 0; shift < 9; shift++) {
			memset(buffer, GUARD, sizeof(buffer));
			bench_pattern_fill(buffer + shift, length, 7, length);
			CU_ASSERT_EQUAL(
				bench_pattern_check(buffer + shift, length, 7, length, &mismatch),
				0);
			CU_ASSERT_EQUAL(buffer[shift + length], GUARD);
			CU_ASSERT(shift == 0 || buffer[shift - 1] == GUARD);
		}
}

static void
what_is_filled_is_found_right_in_long_blocks(void)
{
	harness_seed();
	for (int i = 0; i < N_DAMAGES; i++) {
		size_t length = harness_magnitude(1, MAX_BYTES);
		uint64_t block = harness_random(), round = harness_random();

		bench_pattern_fill(buffer, length, block, round);
		CU_ASSERT_EQUAL(bench_pattern_check(buffer, length, block, round, &mismatch), 0);
	}
}

static void
any_single_wrong_byte_is_named(void)
{
	harness_seed();
	for (int i = 0; i < N_DAMAGES; i++) {
		size_t length = harness_magnitude(1, MAX_BYTES);
		size_t at = harness_between(0, length - 1);
		uint8_t damage = (uint8_t)harness_between(1, 255);
		uint64_t block = harness_random(), round = harness_random();

		bench_pattern_fill(buffer, length, block, round);
		buffer[at] ^= damage;
		CU_ASSERT_EQUAL(bench_pattern_check(buffer, length, block, round, &mismatch),
				-EBADMSG);
		CU_ASSERT_EQUAL(mismatch.block, block);
		CU_ASSERT_EQUAL(mismatch.offset_bytes, at);
		CU_ASSERT_EQUAL(mismatch.seen, buffer[at]);
		CU_ASSERT_EQUAL(mismatch.expected, buffer[at] ^ damage);
	}
}

static void
the_first_of_several_wrong_bytes_is_named(void)
{
	bench_pattern_fill(buffer, MAX_BYTES, 1, 1);
	buffer[MAX_BYTES - 1] ^= 1;
	buffer[9001] ^= 1;
	buffer[9000] ^= 1;
	CU_ASSERT_EQUAL(bench_pattern_check(buffer, MAX_BYTES, 1, 1, &mismatch), -EBADMSG);
	CU_ASSERT_EQUAL(mismatch.offset_bytes, 9000);
}

static void
another_block_and_another_round_are_wrong_in_the_first_word(void)
{
	bench_pattern_fill(buffer, MAX_BYTES, 5, 9);
	CU_ASSERT_EQUAL(bench_pattern_check(buffer, MAX_BYTES, 6, 9, &mismatch), -EBADMSG);
	CU_ASSERT(mismatch.offset_bytes < 8);
	CU_ASSERT_EQUAL(bench_pattern_check(buffer, MAX_BYTES, 5, 10, &mismatch), -EBADMSG);
	CU_ASSERT(mismatch.offset_bytes < 8);
	CU_ASSERT_EQUAL(bench_pattern_check(buffer, MAX_BYTES, 9, 5, &mismatch), -EBADMSG);
	CU_ASSERT(mismatch.offset_bytes < 8);
}

/* Data that lands some words off. */
static void
shifted_data_is_wrong_by_any_number_of_words(void)
{
	bench_pattern_fill(buffer, MAX_BYTES, 5, 9);
	for (size_t words = 1; words < MAX_BYTES / 16; words++)
		CU_ASSERT_EQUAL(
			bench_pattern_check(buffer + words * 8, MAX_BYTES / 2, 5, 9, &mismatch),
			-EBADMSG);
}

/* A cache line that was not written keeps the round before. */
static void
one_stale_line_is_seen(void)
{
	static uint8_t old[MAX_BYTES];

	bench_pattern_fill(old, MAX_BYTES, 3, 1);
	for (size_t line = 0; line < MAX_BYTES; line += 64) {
		bench_pattern_fill(buffer, MAX_BYTES, 3, 2);
		memcpy(buffer + line, old + line, 64);
		CU_ASSERT_EQUAL(bench_pattern_check(buffer, MAX_BYTES, 3, 2, &mismatch), -EBADMSG);
		CU_ASSERT_EQUAL(mismatch.offset_bytes / 64, line / 64);
	}
}

int
main(void)
{
	return HARNESS_RUN(
		"pattern", TEST(what_is_filled_is_found_right_at_every_length_and_alignment),
		TEST(what_is_filled_is_found_right_in_long_blocks),
		TEST(any_single_wrong_byte_is_named),
		TEST(the_first_of_several_wrong_bytes_is_named),
		TEST(another_block_and_another_round_are_wrong_in_the_first_word),
		TEST(shifted_data_is_wrong_by_any_number_of_words), TEST(one_stale_line_is_seen));
}
