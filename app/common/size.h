/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers as operators write them, and as they read them. */
#ifndef APP_SIZE_H
#define APP_SIZE_H

#include <stddef.h>
#include <stdint.h>

/* Digits with an optional K, M, G or T (powers of two). 0 or -EINVAL; -ERANGE beyond 64 bits. */
int app_size_parse(const char *text, uint64_t *value);
/* Digits alone, min to max. 0 or -EINVAL. */
int app_number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *value);
/* A decimal number of seconds, 0 to a year, to nanoseconds. 0 or -EINVAL. */
int app_seconds_parse(const char *text, uint64_t *ns);

/* "64K", "1G", "1000": the shortest spelling that app_size_parse() reads back. */
const char *app_size_text(uint64_t value, char *text, size_t n);

#endif
