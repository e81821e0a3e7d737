/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What --verify writes: 8-byte words that depend on the block, the round and the place in the
 * block, so that a block that is missing, stale, torn, shifted or another's is seen. Little-endian;
 * both ends agree on it.
 */
#ifndef BENCH_PATTERN_H
#define BENCH_PATTERN_H

#include <stddef.h>
#include <stdint.h>

/* The first wrong byte. */
struct bench_mismatch {
	uint64_t block;
	uint64_t offset_bytes; /* in the block */
	uint8_t expected;
	uint8_t seen;
};

void bench_pattern_fill(void *addr, size_t length_bytes, uint64_t block, uint64_t round);
/* 0, or -EBADMSG with *mismatch set. */
int bench_pattern_check(const void *addr, size_t length_bytes, uint64_t block, uint64_t round,
			struct bench_mismatch *mismatch);

#endif
