/* SPDX-License-Identifier: BSD-3-Clause */
#include "pattern.h"

#include <errno.h>
#include <string.h>

#include <rte_byteorder.h>

#define STEP	    0x9e3779b97f4a7c15u /* odd: consecutive words never repeat */
#define CHUNK_WORDS 512			/* compared before anything is looked at */

/* splitmix64's finalizer. */
static uint64_t
mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static uint64_t
block_seed(uint64_t block, uint64_t round)
{
	return mix(mix(block + STEP) ^ round);
}

/* Adds and shifts alone: gcc turns a loop of these into vector code. `weyl` is the seed plus the
 * word's number times STEP. */
static inline uint64_t
word_at(uint64_t weyl)
{
	return rte_cpu_to_le_64(weyl ^ (weyl >> 29));
}

void
bench_pattern_fill(void *addr, size_t length_bytes, uint64_t block, uint64_t round)
{
	uint64_t weyl = block_seed(block, round);
	size_t n_words = length_bytes / sizeof(uint64_t);
	uint8_t *out = addr;
	uint64_t word;

	for (size_t i = 0; i < n_words; i++) {
		word = word_at(weyl + i * STEP);
		memcpy(out + i * sizeof(word), &word, sizeof(word));
	}
	word = word_at(weyl + n_words * STEP);
	memcpy(out + n_words * sizeof(word), &word, length_bytes % sizeof(word));
}

/* Which byte of [from, length_bytes) is the first wrong one; there is one. */
static void
find_mismatch(const uint8_t *seen, size_t from, size_t length_bytes, uint64_t weyl,
	      struct bench_mismatch *mismatch)
{
	for (size_t i = from; i < length_bytes; i++) {
		uint64_t word = word_at(weyl + i / sizeof(word) * STEP);
		uint8_t expected;

		memcpy(&expected, (const uint8_t *)&word + i % sizeof(word), 1);
		if (seen[i] != expected) {
			mismatch->offset_bytes = i;
			mismatch->expected = expected;
			mismatch->seen = seen[i];
			return;
		}
	}
}

/* Bits in which n words differ from the pattern that starts at `weyl`. */
static uint64_t
compare_words(const uint8_t *seen, size_t n, uint64_t weyl)
{
	uint64_t difference = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t word;

		memcpy(&word, seen + i * sizeof(word), sizeof(word));
		difference |= word ^ word_at(weyl + i * STEP);
	}
	return difference;
}

int
bench_pattern_check(const void *addr, size_t length_bytes, uint64_t block, uint64_t round,
		    struct bench_mismatch *mismatch)
{
	const uint8_t *seen = addr;
	uint64_t weyl = block_seed(block, round);
	size_t n_words = length_bytes / sizeof(uint64_t);
	size_t tail_bytes = length_bytes % sizeof(uint64_t);
	uint64_t word = word_at(weyl + n_words * STEP);
	size_t i = 0;

	for (size_t n; i < n_words; i += n) {
		n = n_words - i < CHUNK_WORDS ? n_words - i : CHUNK_WORDS;
		if (compare_words(seen + i * sizeof(word), n, weyl + i * STEP) != 0)
			break;
	}
	if (i == n_words && memcmp(seen + i * sizeof(word), &word, tail_bytes) == 0)
		return 0;
	mismatch->block = block;
	find_mismatch(seen, i * sizeof(word), length_bytes, weyl, mismatch);
	return -EBADMSG;
}
