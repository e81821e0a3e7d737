/* SPDX-License-Identifier: BSD-3-Clause */
#include "size.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char units[] = "KMGT";

int
app_size_parse(const char *text, uint64_t *value)
{
	char *end;
	uint64_t number;
	unsigned int shift = 0;

	if (!isdigit((unsigned char)*text))
		return -EINVAL; /* strtoull would take a sign or a space */
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno != 0)
		return -ERANGE;
	if (*end != '\0') {
		const char *unit = strchr(units, toupper((unsigned char)*end));

		if (unit == NULL || end[1] != '\0')
			return -EINVAL;
		shift = 10 * (unsigned int)(unit - units + 1);
	}
	if (number > UINT64_MAX >> shift)
		return -ERANGE;
	*value = number << shift;
	return 0;
}

int
app_number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	char *end;
	uint64_t number;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno != 0 || *end != '\0' || number < min || number > max)
		return -EINVAL;
	*value = number;
	return 0;
}

int
app_seconds_parse(const char *text, uint64_t *ns)
{
	char *end;
	double seconds;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	seconds = strtod(text, &end);
	if (*end != '\0' || !(seconds <= 366.0 * 86400))
		return -EINVAL;
	*ns = (uint64_t)llround(seconds * 1e9);
	return 0;
}

const char *
app_size_text(uint64_t value, char *text, size_t n)
{
	unsigned int i = 0;

	while (i < sizeof(units) - 1 && value != 0 && value % 1024 == 0) {
		value /= 1024;
		i++;
	}
	if (i == 0)
		snprintf(text, n, "%" PRIu64, value);
	else
		snprintf(text, n, "%" PRIu64 "%c", value, units[i - 1]);
	return text;
}
