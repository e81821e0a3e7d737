/* SPDX-License-Identifier: BSD-3-Clause */
#include "app_message.h"

#include <stdarg.h>
#include <stdio.h>

static const char *program = "kvrail";

void
app_message_program(const char *name)
{
	program = name;
}

void
app_message(const char *format, ...)
{
	char line[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	fprintf(stderr, "%s: %s\n", program, line);
}

int
app_fail(struct kvr_error *error, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return err;
}
