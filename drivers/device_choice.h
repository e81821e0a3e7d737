/* SPDX-License-Identifier: BSD-3-Clause */
/* Which devices the operator asks for, by EAL's allow list or by name. Set-up path. */
#ifndef KVR_DEVICE_CHOICE_H
#define KVR_DEVICE_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <infiniband/verbs.h>

#include "kvr.h"
#include "kvr_limits.h"

#define KVR_MAX_DEVICE_LANES 8 /* lanes= of one device */

/* Options of -a BDF,key=value; -1: not given. */
struct kvr_device_options {
	int port, gid, sl, tc, lanes, mtu;
};

struct kvr_device_choice {
	struct ibv_device *ibv;
	char bdf[16];
	struct kvr_device_options options;
	bool explicit; /* named by the operator: not usable is an error then, not a reason to skip
			*/
};

/*
 * Fills `choices` (room for KVR_MAX_DEVICES) from what there is. Names ("a,b") or NULL; with an
 * allow list too, names pick from it. 0; -ENODEV an unknown device; -EINVAL bad devargs, a device
 * given twice, one that the allow list lacks; -ENOMEM.
 */
int kvr_device_choose(struct ibv_device *const *known, uint32_t n_known, const char *names,
		      struct kvr_device_choice *choices, uint32_t *n, struct kvr_error *error);

/* PCI address of a device; "" when it has none. */
void kvr_device_bdf(const struct ibv_device *ibv, char *bdf, size_t size);

#endif
