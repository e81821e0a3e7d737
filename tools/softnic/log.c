/* SPDX-License-Identifier: BSD-3-Clause */
/* --debug output: one write(2) a line, so that lines of several processes do not mix. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "softnic.h"

bool sn_debug;

void
sn_log_init(void)
{
	const char *value = getenv(SN_ENV_DEBUG);

	sn_debug = value && *value && strcmp(value, "0") != 0;
}

void
sn_log_write(const char *fmt, ...)
{
	char line[512];
	va_list args;
	int n = snprintf(line, sizeof(line), "softnic[%d]: ", (int)getpid());

	va_start(args, fmt);
	n += vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, args);
	va_end(args);
	n = SN_MIN(n, (int)sizeof(line) - 2);
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}
