/* SPDX-License-Identifier: BSD-3-Clause */
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "settings.h"

void
sn_settings_init(struct sn_settings *settings)
{
	*settings = (struct sn_settings){
		.fabric = {.n_devices = SN_DEFAULT_DEVICES, .wire = SN_WIRE_LOCAL},
		.relaxed_one_in = SN_DEFAULT_RELAXED,
		.ro_window_us = SN_DEFAULT_RO_WINDOW_US,
	};
	for (unsigned int device = 0; device < SN_MAX_DEVICES; device++)
		sn_device_settings_init(&settings->fabric.device[device], device);
}

/* ---- values ---- */

struct where {
	const char *key;
	const char *value;
	char *error;
	size_t error_bytes;
};

static int
parse_number(const struct where *at, unsigned long min, unsigned long max, unsigned long *number)
{
	char *end;

	errno = 0;
	unsigned long n = strtoul(at->value, &end, 10);
	if (!isdigit((unsigned char)*at->value) || *end || errno || n < min || n > max) {
		snprintf(at->error, at->error_bytes, "--%s %s: give a number from %lu to %lu",
			 at->key, at->value, min, max);
		return -EINVAL;
	}
	*number = n;
	return 0;
}

/* The place of the value in @names, which ends with NULL. */
static int
parse_choice(const struct where *at, const char *const *names, unsigned int *choice)
{
	char list[128] = "";

	for (unsigned int i = 0; names[i]; i++) {
		if (strcmp(at->value, names[i]) == 0) {
			*choice = i;
			return 0;
		}
		strncat(list, i ? ", " : "", sizeof(list) - strlen(list) - 1);
		strncat(list, names[i], sizeof(list) - strlen(list) - 1);
	}
	snprintf(at->error, at->error_bytes, "--%s %s: give one of %s", at->key, at->value, list);
	return -EINVAL;
}

/* ---- keys ---- */

static const char *const wire_names[] = {"local", "null", "roce", NULL};
static const char *const strict_names[] = {"report", "abort", "off", NULL};

static int
set_devices(const struct where *at, struct sn_settings *settings)
{
	unsigned long n;
	int err = parse_number(at, 1, SN_MAX_DEVICES, &n);

	if (!err)
		settings->fabric.n_devices = (uint32_t)n;
	return err;
}

static int
set_wire(const struct where *at, struct sn_settings *settings)
{
	unsigned int choice;
	int err = parse_choice(at, wire_names, &choice);

	if (!err)
		settings->fabric.wire = choice;
	return err;
}

/* mlx5_N:key=value[,key=value...] */
static int
set_device(const struct where *at, struct sn_settings *settings)
{
	unsigned int device;
	char error[160];
	int n = 0;

	if (sscanf(at->value, "mlx5_%1u:%n", &device, &n) != 1 || !n || device >= SN_MAX_DEVICES) {
		snprintf(at->error, at->error_bytes,
			 "--%s %s: give mlx5_N:key=value[,key=value...], N from 0 to %u", at->key,
			 at->value, SN_MAX_DEVICES - 1);
		return -EINVAL;
	}
	settings->devices_named |= 1u << device;
	if (sn_device_settings_set(&settings->fabric.device[device], at->value + n, error,
				   sizeof(error)) == 0)
		return 0;
	snprintf(at->error, at->error_bytes, "--%s mlx5_%u: %s", at->key, device, error);
	return -EINVAL;
}

/* VALUE for all devices not named otherwise, or mlx5_N=VALUE for one. */
static int
parse_for_devices(const struct where *at, double max, const char *unit, uint32_t *named,
		  double *value, uint32_t *devices)
{
	const char *number = at->value;
	unsigned int device;
	char *end;
	int n = 0;

	*devices = ~*named;
	if (sscanf(at->value, "mlx5_%1u=%n", &device, &n) == 1 && n && device < SN_MAX_DEVICES) {
		number = at->value + n;
		*devices = 1u << device;
		*named |= *devices;
	}
	*value = strtod(number, &end);
	if (isdigit((unsigned char)*number) && !*end && *value <= max)
		return 0;
	snprintf(at->error, at->error_bytes,
		 "--%s %s: give a number of %s up to %.0f, for all devices or as mlx5_N=NUMBER",
		 at->key, at->value, unit, max);
	return -EINVAL;
}

static int
set_rate(const struct where *at, struct sn_settings *settings)
{
	uint32_t devices;
	double gbps;
	int err = parse_for_devices(at, 10000, "Gbit/s", &settings->rates_named, &gbps, &devices);

	for (unsigned int i = 0; i < SN_MAX_DEVICES && !err; i++) {
		if (devices & 1u << i)
			settings->fabric.pace[i].bytes_per_s = (uint64_t)(gbps * 125e6 + 0.5);
	}
	return err;
}

static int
set_delay(const struct where *at, struct sn_settings *settings)
{
	uint32_t devices;
	double us;
	int err =
		parse_for_devices(at, 10e6, "microseconds", &settings->delays_named, &us, &devices);

	for (unsigned int i = 0; i < SN_MAX_DEVICES && !err; i++) {
		if (devices & 1u << i)
			settings->fabric.pace[i].delay_ns = (uint64_t)(us * 1e3 + 0.5);
	}
	return err;
}

static int
set_step(const struct where *at, struct sn_settings *settings)
{
	unsigned long ns = SN_DEFAULT_STEP_NS;
	int err = *at->value ? parse_number(at, 1, 1000000000, &ns) : 0;

	if (!err)
		settings->fabric.step_ns = (uint32_t)ns;
	return err;
}

static int
set_strict(const struct where *at, struct sn_settings *settings)
{
	unsigned int choice = SN_STRICT_REPORT;
	int err = *at->value ? parse_choice(at, strict_names, &choice) : 0;

	if (!err)
		settings->strict = choice;
	return err;
}

static int
set_trace_file(const struct where *at, struct sn_settings *settings)
{
	if (*at->value != '/' || strchr(at->value, '\n') ||
	    strlen(at->value) >= sizeof(settings->trace_file)) {
		snprintf(at->error, at->error_bytes,
			 "--%s %s: give a path of at most %zu characters, in one line", at->key,
			 at->value, sizeof(settings->trace_file) - 1);
		return -EINVAL;
	}
	strcpy(settings->trace_file, at->value);
	return 0;
}

static int
set_relaxed(const struct where *at, struct sn_settings *settings)
{
	unsigned long n;
	int err = parse_number(at, 0, UINT32_MAX, &n);

	if (!err)
		settings->relaxed_one_in = (uint32_t)n;
	return err;
}

static int
set_ro_window(const struct where *at, struct sn_settings *settings)
{
	unsigned long n;
	int err = parse_number(at, 1, UINT32_MAX, &n);

	if (!err)
		settings->ro_window_us = n;
	return err;
}

static int
set_seed(const struct where *at, struct sn_settings *settings)
{
	unsigned long n;
	int err = parse_number(at, 0, UINT64_MAX, &n);

	if (!err) {
		settings->seed = n;
		settings->seeded = true;
	}
	return err;
}

/* One a line. */
/* clang-format off */
static const struct {
	const char *key;
	int (*set)(const struct where *at, struct sn_settings *settings);
} keys[] = {
	{"devices", set_devices},
	{"device", set_device},
	{"wire", set_wire},
	{"rate", set_rate},
	{"delay-us", set_delay},
	{"step", set_step},
	{"strict", set_strict},
	{"trace-file", set_trace_file},
	{"relaxed", set_relaxed},
	{"ro-window-us", set_ro_window},
	{"seed", set_seed},
};
/* clang-format on */

int
sn_settings_set(struct sn_settings *settings, const char *key, const char *value, char *error,
		size_t error_bytes)
{
	struct where at = {.key = key, .value = value, .error = error, .error_bytes = error_bytes};

	if (!sn_is_printable(value)) {
		snprintf(error, error_bytes, "--%s: give a value without control characters", key);
		return -EINVAL;
	}
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (strcmp(key, keys[i].key) == 0)
			return keys[i].set(&at, settings);
	}
	snprintf(error, error_bytes, "%s: there is no such setting", key);
	return -EINVAL;
}

int
sn_settings_parse(struct sn_settings *settings, const char *text, char *error, size_t error_bytes)
{
	char *copy = strdup(text), *rest = copy, *line;
	int err = copy ? 0 : -ENOMEM;

	while (!err && (line = strsep(&rest, "\n"))) {
		char *value = strchr(line, '=');

		if (!*line)
			continue;
		if (value)
			*value++ = '\0';
		err = sn_settings_set(settings, line, value ? value : "", error, error_bytes);
	}
	free(copy);
	return err;
}

/* Two devices are told apart by their addresses. */
static int
check_addresses(const struct sn_fabric *fabric, uint32_t device, char *error, size_t error_bytes)
{
	uint8_t gid[16];

	for (unsigned int index = 0; index < SN_N_GIDS; index += 2) {
		sn_device_gid(&fabric->device[device], index, gid);
		uint32_t first = (uint32_t)sn_device_of_gid(fabric, gid);
		if (first == device)
			continue;
		snprintf(error, error_bytes,
			 "--device mlx5_%u: mlx5_%u has the same %s: give each its own", device,
			 first, index ? "ip" : "guid (its bytes 3 and 4 do not count)");
		return -EINVAL;
	}
	return 0;
}

static int
check_paces(const struct sn_settings *settings, char *error, size_t error_bytes)
{
	const struct sn_fabric *fabric = &settings->fabric;
	uint32_t named = settings->rates_named | settings->delays_named;

	if (named >> fabric->n_devices) {
		snprintf(error, error_bytes,
			 "--rate or --delay-us mlx5_%d: there is no such device: --devices is %u",
			 31 - __builtin_clz(named), fabric->n_devices);
		return -EINVAL;
	}
	for (uint32_t device = 0; device < fabric->n_devices; device++) {
		if (fabric->wire == SN_WIRE_ROCE &&
		    (fabric->pace[device].bytes_per_s || fabric->pace[device].delay_ns)) {
			snprintf(error, error_bytes,
				 "--rate and --delay-us are for --wire local and null: for roce, "
				 "give its interfaces a tc-netem(8) qdisc");
			return -EINVAL;
		}
	}
	return 0;
}

int
sn_settings_check(const struct sn_settings *settings, char *error, size_t error_bytes)
{
	const struct sn_fabric *fabric = &settings->fabric;
	int err;

	err = check_paces(settings, error, error_bytes);
	if (err)
		return err;
	if (settings->devices_named >> fabric->n_devices) {
		snprintf(error, error_bytes,
			 "--device mlx5_%d: there is no such device: --devices is %u",
			 31 - __builtin_clz(settings->devices_named), fabric->n_devices);
		return -EINVAL;
	}
	for (uint32_t device = 0; device < fabric->n_devices && !err; device++)
		err = check_addresses(fabric, device, error, error_bytes);
	return err;
}

static struct sn_settings own;
static bool own_valid;

static void
parse_own(void)
{
	const char *text = getenv(SN_ENV_SETTINGS);
	char error[256];

	sn_settings_init(&own);
	own_valid = text && sn_settings_parse(&own, text, error, sizeof(error)) == 0;
}

const struct sn_settings *
sn_settings_own(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, parse_own);
	return own_valid ? &own : NULL;
}

const char *
sn_fabric_difference(const struct sn_fabric *a, const struct sn_fabric *b)
{
	if (a->n_devices != b->n_devices)
		return "devices";
	if (a->wire != b->wire)
		return "wire";
	if (a->step_ns != b->step_ns)
		return "step";
	for (uint32_t device = 0; device < a->n_devices; device++) {
		if (!sn_device_settings_equal(&a->device[device], &b->device[device]))
			return "device";
		if (a->pace[device].bytes_per_s != b->pace[device].bytes_per_s)
			return "rate";
		if (a->pace[device].delay_ns != b->pace[device].delay_ns)
			return "delay-us";
	}
	return NULL;
}

static void
format_devices(const struct sn_fabric *fabric, char *text, size_t bytes)
{
	size_t used = 0;
	char properties[160];

	snprintf(text, bytes, "no --device");
	for (uint32_t device = 0; device < fabric->n_devices && used < bytes; device++) {
		sn_device_settings_format(&fabric->device[device], device, properties,
					  sizeof(properties));
		if (properties[0])
			used += (size_t)snprintf(text + used, bytes - used, "%s--device mlx5_%u:%s",
						 used ? " " : "", device, properties);
	}
}

static void
format_paces(const struct sn_fabric *fabric, bool rates, char *text, size_t bytes)
{
	const char *key = rates ? "rate" : "delay-us";
	size_t used = 0;

	for (uint32_t device = 0; device < fabric->n_devices && used < bytes; device++) {
		const struct sn_pace_settings *pace = &fabric->pace[device];
		double value =
			rates ? (double)pace->bytes_per_s / 125e6 : (double)pace->delay_ns / 1e3;

		used += (size_t)snprintf(text + used, bytes - used, "%s--%s mlx5_%u=%g",
					 used ? " " : "", key, device, value);
	}
}

void
sn_fabric_format(const struct sn_fabric *fabric, const char *key, char *text, size_t bytes)
{
	if (strcmp(key, "wire") == 0)
		snprintf(text, bytes, "--wire %s", wire_names[fabric->wire]);
	else if (strcmp(key, "step") == 0)
		snprintf(text, bytes, fabric->step_ns ? "--step=%u" : "no --step", fabric->step_ns);
	else if (strcmp(key, "rate") == 0 || strcmp(key, "delay-us") == 0)
		format_paces(fabric, strcmp(key, "rate") == 0, text, bytes);
	else if (strcmp(key, "device") == 0)
		format_devices(fabric, text, bytes);
	else
		snprintf(text, bytes, "--devices %u", fabric->n_devices);
}
