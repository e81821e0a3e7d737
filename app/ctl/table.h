/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables on standard output: columns as wide as what is in them. */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include <stddef.h>

#include <jansson.h>

enum ctl_column_kind {
	CTL_TEXT,
	CTL_NUMBER,
	CTL_BYTES, /* 1.5G: powers of two */
	CTL_RATE,  /* bytes a second, as powers of ten: 1.50 GB/s */
};

struct ctl_column {
	const char *title;
	const char *key; /* of an entry */
	enum ctl_column_kind kind;
};

/* Entries are an array, or an object of which they are the values (telemetry's lists). */
void ctl_table_print(const struct ctl_column *columns, size_t n, json_t *entries);

#endif
