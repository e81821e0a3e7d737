/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a launch asks for. The launcher checks its options here and hands them on, as text, in one
 * environment variable; the library of each process parses that text again.
 *
 * Two sorts: those of the instance, which all its processes agree on and which live in its shared
 * state, and those of one process.
 */
#ifndef SN_SETTINGS_H
#define SN_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device.h"
#include "softnic.h"

enum sn_wire_kind { SN_WIRE_LOCAL, SN_WIRE_NULL, SN_WIRE_ROCE };
enum sn_strict_mode { SN_STRICT_REPORT, SN_STRICT_ABORT, SN_STRICT_OFF };

/* How fast a device sends, and receives, and how long what it sends is under way. */
struct sn_pace_settings {
	uint64_t bytes_per_s; /* 0: no limit */
	uint64_t delay_ns;
};

/* Of the instance. */
struct sn_fabric {
	uint32_t n_devices;
	enum sn_wire_kind wire;
	uint32_t step_ns; /* 0: NICs have threads; else softnic_step() moves them and the clock */
	struct sn_device_settings device[SN_MAX_DEVICES];
	struct sn_pace_settings pace[SN_MAX_DEVICES]; /* at first */
};

/* Of a process. */
struct sn_settings {
	struct sn_fabric fabric;
	uint32_t devices_named; /* a bit for each `--device` */
	uint32_t rates_named;	/* ... `--rate mlx5_N=...`, which others leave alone */
	uint32_t delays_named;	/* ... `--delay-us mlx5_N=...` */
	enum sn_strict_mode strict;
	char trace_file[256];	 /* "": none; an absolute path, a %p in it stands for the pid */
	uint32_t relaxed_one_in; /* 0: relaxed memory is never late */
	uint64_t ro_window_us;
	uint64_t seed;
	bool seeded; /* else by the clock */
};

/* The settings of a launch without options. */
void sn_settings_init(struct sn_settings *settings);

/* Set @key (an option's name without dashes) to @value. 0, or -EINVAL and what is wrong, with the
 * remedy, in @error. */
int sn_settings_set(struct sn_settings *settings, const char *key, const char *value, char *error,
		    size_t error_bytes);

/* Parse `key=value` lines, the later overriding the earlier. As sn_settings_set(). */
int sn_settings_parse(struct sn_settings *settings, const char *text, char *error,
		      size_t error_bytes);

/* Whether the settings, each right by itself, fit together. As sn_settings_set(). */
int sn_settings_check(const struct sn_settings *settings, char *error, size_t error_bytes);

/* What the environment asks for, parsed once; NULL if softnic did not launch this process, or if
 * somebody spoiled the text. */
const struct sn_settings *sn_settings_own(void);

/* The option whose values differ, or NULL if two fabrics are the same. */
const char *sn_fabric_difference(const struct sn_fabric *a, const struct sn_fabric *b);

/* The option @key of @fabric, as it would be given. */
void sn_fabric_format(const struct sn_fabric *fabric, const char *key, char *text, size_t bytes);

#endif
