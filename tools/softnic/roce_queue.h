/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets that wait to be sent from one source port. Neighbours that go to the same address and
 * have the same length are one buffer for the kernel, which cuts it up (UDP_SEGMENT): the lower
 * layers are passed once for all of them. Data are not copied before the kernel does, unless they
 * are few.
 */
#ifndef SN_ROCE_QUEUE_H
#define SN_ROCE_QUEUE_H

#include <sys/uio.h>

#include "roce_packet.h"

struct sn_roce_flow;

/* @fd is the flow's from now on. 0 or -ENOMEM. */
int sn_roce_flow_create(int fd, uint32_t ip_be, uint16_t port, struct sn_roce_flow **flow);
void sn_roce_flow_destroy(struct sn_roce_flow *flow);

void sn_roce_flow_add(struct sn_roce_flow *flow, uint32_t dst_ip_be,
		      const struct sn_roce_packet *packet, const struct iovec *data,
		      unsigned int n);
void sn_roce_flow_flush(struct sn_roce_flow *flow);

#endif
