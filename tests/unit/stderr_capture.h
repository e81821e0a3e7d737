/* SPDX-License-Identifier: BSD-3-Clause */
/* What a function says to standard error. */
#ifndef KVR_TESTS_STDERR_CAPTURE_H
#define KVR_TESTS_STDERR_CAPTURE_H

#include <stdio.h>
#include <unistd.h>

struct stderr_capture {
	char text[2048];
	FILE *file;
	int saved;
};

static inline void
stderr_capture_begin(struct stderr_capture *capture)
{
	capture->file = tmpfile();
	capture->saved = dup(STDERR_FILENO);
	dup2(fileno(capture->file), STDERR_FILENO);
}

static inline void
stderr_capture_end(struct stderr_capture *capture)
{
	size_t n;

	dup2(capture->saved, STDERR_FILENO);
	close(capture->saved);
	rewind(capture->file);
	n = fread(capture->text, 1, sizeof(capture->text) - 1, capture->file);
	capture->text[n] = '\0';
	fclose(capture->file);
}

#endif
