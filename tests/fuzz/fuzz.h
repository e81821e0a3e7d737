/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the fuzzers share. Each is one program that holds all of softnic, as if preloaded, and runs
 * it in steps: no NIC thread, no clock, so an input always does the same.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <infiniband/verbs.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The input, eaten from the front; past its end it is zeros. */
struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

void fuzz_take(struct fuzz_input *in, void *to, size_t bytes);
uint8_t fuzz_u8(struct fuzz_input *in);
uint16_t fuzz_u16(struct fuzz_input *in);
uint32_t fuzz_u32(struct fuzz_input *in);

/* What the launcher would hand on (settings.h); each fuzzer defines it. */
extern const char fuzz_settings[];

/* Let the NIC work until it has nothing to do, but no longer than @max_steps. */
void fuzz_run_nic(unsigned int max_steps);

/* From RESET to RTS, with short timers; @gid is that of @peer's device. */
void fuzz_connect(struct ibv_qp *qp, const struct ibv_qp *peer, const union ibv_gid *gid);

#define FUZZ_MUST(condition)                                                                       \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "not true: %s\n", #condition);                             \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#endif
