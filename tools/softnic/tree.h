/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing the files and links of the tree that stands for /sys. */
#ifndef SN_TREE_H
#define SN_TREE_H

#include <stddef.h>

#include "device.h"

struct sn_tree {
	const char *sys;			   /* .../sys */
	const struct sn_device_settings *settings; /* of the device being written */
	char fn[96];				   /* its PCI function: devices/.../<BDF> */
	int err;				   /* the first error; later calls do nothing */
};

/* Write @value and a newline to the file named by the format, below the tree's root. */
void sn_tree_put(struct sn_tree *tree, const char *value, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Write @bytes as they are. */
void sn_tree_put_bytes(struct sn_tree *tree, const void *data, size_t bytes, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* A link to @target at the place named by the format. */
void sn_tree_put_link(struct sn_tree *tree, const char *target, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
