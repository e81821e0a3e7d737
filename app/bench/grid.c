/* SPDX-License-Identifier: BSD-3-Clause */
#include "grid.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kvr_limits.h"
#include "app_message.h"
#include "options.h"
#include "size.h"

#define FLAT_CHANGE 0.02
#define FLAT_STEPS  2

static const struct {
	const char *name;
	const char *alias;
	uint64_t max;
} axes[BENCH_N_AXES] = {
	[BENCH_AXIS_BLOCK] = {"block-size", "block_size", BENCH_MAX_SIZE},
	[BENCH_AXIS_THREADS] = {"threads", "threads", KVR_MAX_CLIENTS},
	[BENCH_AXIS_BATCH] = {"batch-size", "batch_size", BENCH_MAX_BATCH},
};

static bool
parse_power_of_two(const char *text, uint64_t max, uint64_t *value)
{
	return app_size_parse(text, value) == 0 && *value != 0 && *value <= max &&
	       (*value & (*value - 1)) == 0;
}

/* "4K..16M" or "4K" for the axis. */
static int
parse_range(enum bench_axis axis, char *text, struct bench_range *range)
{
	char *dots = strstr(text, "..");
	const char *last = text;
	char max[32];

	if (dots != NULL) {
		*dots = '\0';
		last = dots + 2;
	}
	if (!parse_power_of_two(text, axes[axis].max, &range->first) ||
	    !parse_power_of_two(last, axes[axis].max, &range->last)) {
		app_message("--sweep: %s=%s%s%s: not powers of two from 1 to %s", axes[axis].name,
			    text, dots != NULL ? ".." : "", dots != NULL ? last : "",
			    app_size_text(axes[axis].max, max, sizeof(max)));
		return -EINVAL;
	}
	if (range->first > range->last) {
		app_message("--sweep: %s=%s..%s: the first is larger than the last",
			    axes[axis].name, text, last);
		return -EINVAL;
	}
	return 0;
}

/* KEY=RANGE; writes to the word. */
static int
parse_axis(char *word, struct bench_grid *grid)
{
	char *range = strchr(word, '=');
	int axis = 0;

	if (range != NULL)
		*range++ = '\0';
	while (axis < BENCH_N_AXES && strcmp(word, axes[axis].name) != 0 &&
	       strcmp(word, axes[axis].alias) != 0)
		axis++;
	if (range == NULL || axis == BENCH_N_AXES) {
		app_message("--sweep: %s: it is block-size=FROM..TO, batch-size=FROM..TO or "
			    "threads=FROM..TO",
			    word);
		return -EINVAL;
	}
	if (grid->axes[axis].first != 0) {
		app_message("--sweep: %s is given twice", axes[axis].name);
		return -EINVAL;
	}
	return parse_range((enum bench_axis)axis, range, &grid->axes[axis]);
}

int
bench_grid_parse(const char *text, struct bench_grid *grid)
{
	char copy[256];
	char *rest = copy;
	int err = 0;

	*grid = (struct bench_grid){0};
	if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy)) {
		app_message("--sweep: longer than %zu characters", sizeof(copy) - 1);
		return -EINVAL;
	}
	while (err == 0 && rest != NULL)
		err = parse_axis(strsep(&rest, ","), grid);
	return err;
}

static uint32_t
range_size(const struct bench_range *range)
{
	uint32_t n = 1;

	for (uint64_t value = range->first; value <= range->last / 2; value *= 2)
		n++;
	return n;
}

uint32_t
bench_grid_size(const struct bench_grid *grid)
{
	uint32_t n = 1;

	for (int axis = 0; axis < BENCH_N_AXES; axis++)
		n *= range_size(&grid->axes[axis]);
	return n;
}

void
bench_grid_point(const struct bench_grid *grid, uint32_t idx, uint64_t values[BENCH_N_AXES])
{
	for (int axis = BENCH_N_AXES - 1; axis >= 0; axis--) {
		uint32_t n = range_size(&grid->axes[axis]);

		values[axis] = grid->axes[axis].first << (idx % n);
		idx /= n;
	}
}

uint32_t
bench_grid_series(const struct bench_grid *grid)
{
	uint32_t n = 1;

	for (int axis = BENCH_N_AXES - 1; axis >= 0 && n == 1; axis--)
		n = range_size(&grid->axes[axis]);
	return n;
}

bool
bench_plateau_reached(struct bench_plateau *plateau, double rate)
{
	bool flat = plateau->n_rates > 0 &&
		    fabs(rate - plateau->last_rate) < FLAT_CHANGE * plateau->last_rate;

	plateau->n_flat = flat ? plateau->n_flat + 1 : 0;
	plateau->n_rates++;
	plateau->last_rate = rate;
	return plateau->n_flat >= FLAT_STEPS;
}
