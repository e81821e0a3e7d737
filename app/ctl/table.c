/* SPDX-License-Identifier: BSD-3-Clause */
#include "table.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define MAX_COLUMNS 16
#define CELL_BYTES  128

static void
print_scaled(double value, double step, const char *const *units, const char *format, char *cell)
{
	size_t i = 0;

	while (value >= step && units[i + 1] != NULL) {
		value /= step;
		i++;
	}
	snprintf(cell, CELL_BYTES, i == 0 ? "%.0f%s" : format, value, units[i]);
}

static void
cell_fill(const struct ctl_column *column, const json_t *entry, char *cell)
{
	static const char *const sizes[] = {"", "K", "M", "G", "T", "P", NULL};
	static const char *const rates[] = {" B/s", " kB/s", " MB/s", " GB/s", NULL};
	const json_t *value = json_object_get(entry, column->key);

	if (value == NULL)
		snprintf(cell, CELL_BYTES, "-");
	else if (column->kind == CTL_TEXT)
		snprintf(cell, CELL_BYTES, "%s",
			 json_is_string(value) && json_string_length(value) > 0
				 ? json_string_value(value)
				 : "-");
	else if (column->kind == CTL_NUMBER)
		snprintf(cell, CELL_BYTES, "%lld", (long long)json_integer_value(value));
	else if (column->kind == CTL_BYTES)
		print_scaled((double)json_integer_value(value), 1024, sizes, "%.1f%s", cell);
	else
		print_scaled((double)json_integer_value(value), 1000, rates, "%.2f%s", cell);
}

/* Takes `use` of every entry, in order. */
static void
visit(json_t *entries, void (*use)(const json_t *entry, void *ctx), void *ctx)
{
	const char *key;
	json_t *entry;
	size_t i;

	json_array_foreach (entries, i, entry)
		use(entry, ctx);
	/* jansson keeps the order of insertion. */
	json_object_foreach (entries, key, entry)
		use(entry, ctx);
}

struct table {
	const struct ctl_column *columns;
	size_t n;
	int widths[MAX_COLUMNS];
};

static void
measure(const json_t *entry, void *ctx)
{
	struct table *table = ctx;
	char cell[CELL_BYTES];

	for (size_t i = 0; i < table->n; i++) {
		cell_fill(&table->columns[i], entry, cell);
		if ((int)strlen(cell) > table->widths[i])
			table->widths[i] = (int)strlen(cell);
	}
}

/* Text to the left, numbers to the right; no blanks at the end. */
static void
print_cell(const struct table *table, size_t i, const char *cell)
{
	bool last = i + 1 == table->n;

	if (table->columns[i].kind != CTL_TEXT)
		printf("%*s%s", table->widths[i], cell, last ? "\n" : "  ");
	else if (last)
		printf("%s\n", cell);
	else
		printf("%-*s  ", table->widths[i], cell);
}

static void
print_row(const json_t *entry, void *ctx)
{
	const struct table *table = ctx;
	char cell[CELL_BYTES];

	for (size_t i = 0; i < table->n; i++) {
		cell_fill(&table->columns[i], entry, cell);
		print_cell(table, i, cell);
	}
}

void
ctl_table_print(const struct ctl_column *columns, size_t n, json_t *entries)
{
	struct table table = {.columns = columns, .n = n};

	for (size_t i = 0; i < n; i++)
		table.widths[i] = (int)strlen(columns[i].title);
	visit(entries, measure, &table);
	for (size_t i = 0; i < n; i++)
		print_cell(&table, i, columns[i].title);
	visit(entries, print_row, &table);
}
