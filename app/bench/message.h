/* SPDX-License-Identifier: BSD-3-Clause */
/* What the program says to its operator: one line to standard error, and the exit status. */
#ifndef BENCH_MESSAGE_H
#define BENCH_MESSAGE_H

enum bench_exit {
	BENCH_OK = 0,
	BENCH_FAILED = 1, /* a transfer failed, or a byte was wrong */
	BENCH_USAGE = 2,  /* bad input; nothing was started */
};

/* "kvrail-bench: ..." and a newline, in one write. Any thread. */
void bench_message(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
