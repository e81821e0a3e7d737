/* SPDX-License-Identifier: BSD-3-Clause */
/* What the poller's loop calls in the other files of the data's way. All on the poller's lcore. */
#ifndef KVR_STOPS_H
#define KVR_STOPS_H

#include <stdint.h>

struct kvr_device;
struct kvr_lane;
struct kvr_part;
struct kvr_poller;
struct rte_ring;

/* spray.c: places slices of runnable parts on lanes and posts them. Returns how many. */
uint32_t kvr_spray(struct kvr_poller *poller);

/* complete.c: reaps every CQ and ends what is complete. Returns how many CQEs there were. */
uint32_t kvr_exhale(struct kvr_poller *poller);

/* complete.c: the part places nothing more, and ends with `status` once nothing of it is in flight,
 * which may be now: the caller must not touch it again. The first cause stays. */
void kvr_part_fail(struct kvr_poller *poller, struct kvr_part *part, int status, uint8_t syndrome,
		   uint8_t vendor_syndrome, const struct kvr_device *device);

/* complete.c: fails every slice in flight on a lane whose QP no longer touches memory. */
void kvr_lane_flush(struct kvr_poller *poller, struct kvr_lane *lane);

/* lane.c: the lane has been posted to; begins a probe of how long a byte takes, when it has none.
 */
void kvr_lane_probe(struct kvr_lane *lane, uint64_t now_tsc);
/* lane.c: the lane's probe is done. */
void kvr_lane_probed(struct kvr_lane *lane, uint64_t now_tsc);

/* lane.c: measures the lanes, and sees draining ones to their end. */
void kvr_lanes_tick(struct kvr_poller *poller, uint64_t now_tsc);

#endif
