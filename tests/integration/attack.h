/* SPDX-License-Identifier: BSD-3-Clause */
/* What a hostile or broken program may do to a node's control port. */
#ifndef KVR_TESTS_ATTACK_H
#define KVR_TESTS_ATTACK_H

#include <stdbool.h>

#include "kvr.h"

/* Each kind once. Returns how many were not answered as they should be; prints which. */
unsigned int attack_run(struct kvr_engine *engine, const char *address);

#endif
