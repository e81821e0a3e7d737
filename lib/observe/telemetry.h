/* SPDX-License-Identifier: BSD-3-Clause */
/* The /kvrail endpoints of rte_telemetry, and the samples behind their rates. */
#ifndef KVR_TELEMETRY_H
#define KVR_TELEMETRY_H

#include <stdint.h>

#include "kvr_limits.h"

struct kvr_engine;

#define KVR_SAMPLES 61 /* one a second: 60 s and the one to subtract */

/* Totals of every device at a moment. */
struct kvr_sample {
	uint64_t at_ns; /* CLOCK_MONOTONIC */
	uint64_t bytes[KVR_MAX_DEVICES][2];
};

struct kvr_samples {
	uint32_t n; /* taken so far; slot n % KVR_SAMPLES is the next */
	struct kvr_sample ring[KVR_SAMPLES];
};

/* Registers the endpoints; they answer for this engine until kvr_telemetry_stop(). */
int kvr_telemetry_start(struct kvr_engine *engine);
void kvr_telemetry_stop(struct kvr_engine *engine);
/* Takes a sample when the last one is a second old; the control thread calls it often. */
void kvr_telemetry_sample(struct kvr_engine *engine);

#endif
