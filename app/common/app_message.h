/* SPDX-License-Identifier: BSD-3-Clause */
/* What the program says to its operator: one line to standard error, and the exit status. */
#ifndef APP_MESSAGE_H
#define APP_MESSAGE_H

#include "kvr.h"

enum app_exit {
	APP_OK = 0,
	APP_FAILED = 1, /* what was asked for failed */
	APP_USAGE = 2,	/* bad input; nothing was started */
};

/* Whose messages they are; before the first one. The name is not copied. */
void app_message_program(const char *name);
/* "PROGRAM: ..." and a newline, in one write. Any thread. */
void app_message(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes *error; returns err, so that `return app_fail(error, -EINVAL, "...")` reads well. */
int app_fail(struct kvr_error *error, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
