/* SPDX-License-Identifier: BSD-3-Clause */
/* What the poller's loop calls in the other files of the data's way. All on the poller's lcore. */
#ifndef KVR_STOPS_H
#define KVR_STOPS_H

#include <stdbool.h>
#include <stdint.h>

struct kvr_device;
struct kvr_lane;
struct kvr_part;
struct kvr_poller;
struct rte_ring;

/* poller.c: takes new parts from every client. Returns how many. */
uint32_t kvr_inhale(struct kvr_poller *poller);

/* spray.c: places slices of runnable parts on lanes and posts them. Returns how many. */
uint32_t kvr_spray(struct kvr_poller *poller);

/* complete.c: reaps every CQ and ends what is complete. Returns how many CQEs there were. */
uint32_t kvr_exhale(struct kvr_poller *poller);

/* complete.c: the part places no more of its transfers, and ends with `status` (the first cause
 * stays) once its writes are proven, nothing of it is in flight, and no lane holds it. That may be
 * now: true means that it has ended and is not to be touched. */
bool kvr_part_fail(struct kvr_poller *poller, struct kvr_part *part, int status, uint8_t syndrome,
		   uint8_t vendor_syndrome, const struct kvr_device *device);

/* recover.c: ends what is late, goes on with what dead lanes held. */
void kvr_parts_tick(struct kvr_poller *poller, uint64_t now_tsc);

/* complete.c: flushes every slice in flight of a lane whose QP no longer touches memory. */
void kvr_lane_flush(struct kvr_poller *poller, struct kvr_lane *lane);

/* lane.c: the lane has been posted to; begins a probe of how long a byte takes, when it has none.
 */
void kvr_lane_probe(struct kvr_lane *lane, uint64_t now_tsc);
/* lane.c: the lane's probe is done. */
void kvr_lane_probed(struct kvr_lane *lane, uint64_t now_tsc);

/* lane.c: measures the lanes, and sees draining ones to their end. */
void kvr_lanes_tick(struct kvr_poller *poller, uint64_t now_tsc);

#endif
