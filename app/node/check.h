/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * --check: how fit this machine is to be a node. One line for each thing looked at: ok; warn, the
 * node works, but slower or less evenly than the hardware can; fail, it would not start. The last
 * two end with what mends it.
 */
#ifndef NODE_CHECK_H
#define NODE_CHECK_H

#include <stdint.h>

#include "device.h"
#include "options.h"

/* Exit status of --check: that of the worst line. Usage errors exit 2. */
enum node_check_exit {
	NODE_CHECK_OK = 0,
	NODE_CHECK_FAIL = 1,
	NODE_CHECK_WARN = 3,
};

enum node_check_level {
	NODE_OK,
	NODE_WARN,
	NODE_FAIL,
};

struct node_check {
	const struct node_options *options;
	const char *sysfs; /* "/sys", but in tests */
	struct kvr_device devices[KVR_MAX_DEVICES];
	uint32_t n_devices;
	uint32_t n_lines[3]; /* by enum node_check_level */
};

/* EAL knows the lcores and the allow list. @return an enum node_check_exit. */
int node_check(const struct node_options *options);

/* ---- check_device.c, check_host.c ---- */

void node_check_device(struct node_check *check, const struct kvr_device *device);
void node_check_host(struct node_check *check);

/* One line: "LEVEL  SUBJECT: TEXT". */
void node_check_say(struct node_check *check, enum node_check_level level, const char *subject,
		    const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The first line of a file below sysfs, without its newline. False: it is not there, or empty. */
bool node_check_read(const struct node_check *check, char *text, size_t size, const char *format,
		     ...) __attribute__((format(printf, 4, 5)));

#endif
