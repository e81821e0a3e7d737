/* SPDX-License-Identifier: BSD-3-Clause */
/* Endpoints that telemetry.c registers and other files answer. It holds its engine lock meanwhile;
 * it is taken before the engine's control lock, never after. Each returns 0 or -errno: null. */
#ifndef KVR_ENDPOINTS_H
#define KVR_ENDPOINTS_H

#include <rte_telemetry.h>

struct kvr_device;
struct kvr_engine;

/* ---- samples.c ---- */

int kvr_answer_throughput(struct kvr_engine *engine, const char *params,
			  struct rte_tel_data *reply);
/* port_tx_bytes and port_rx_bytes: what the device itself has counted, whoever asked for it. */
void kvr_reply_port(struct rte_tel_data *dict, const struct kvr_device *device);

/* ---- links.c ---- */

int kvr_answer_lanes(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply);
int kvr_answer_peers(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply);
int kvr_answer_errors(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply);

#endif
