/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sockets of the roce wire, and the queue of what goes out.
 *
 * The processes of an instance share a device's address and UDP port 4791: each has a socket there
 * (SO_REUSEPORT), the kernel gives a datagram to any of them, and who gets one for a QP of another
 * member passes it on through that member's own AF_UNIX socket. So no process is special, and one
 * that is killed takes nothing along but its QPs.
 */
#ifndef SN_ROCE_SOCKET_H
#define SN_ROCE_SOCKET_H

#include <poll.h>
#include <sys/uio.h>

#include "roce_packet.h"
#include "softnic.h"

#define SN_ROCE_FLOWS 4 /* source ports of a device: entropy for what balances by flow */

/* A device's end of the network. */
struct sn_roce_port {
	uint8_t device;
	bool is_open;
	int fd; /* receives */
	uint32_t ip_be;
	uint32_t window_bytes; /* what a peer like us can hold for us */
	uint32_t flight_bytes; /* unacknowledged, of all our QPs */
	struct sn_roce_flow *flow[SN_ROCE_FLOWS];
};

/* The port of @device, opened at its first use. 0 or -errno. */
int sn_roce_port_get(unsigned int device, struct sn_roce_port **port);

/* Open and close what is not a device's; closing closes the ports as well. */
int sn_roce_sockets_open(void);
void sn_roce_sockets_close(void);

/* Queue a packet for @dst_ip_be; its data are at @data and stay there until sn_roce_flush(). */
void sn_roce_send(struct sn_roce_port *port, uint32_t flow, uint32_t dst_ip_be,
		  const struct sn_roce_packet *packet, const struct iovec *data, unsigned int n);

/* Hand all that is queued to the kernel. */
void sn_roce_flush(struct sn_roce_port *port);

/* Called for each packet of one of our QPs that has arrived whole. */
typedef void sn_roce_handler(struct sn_roce_port *port, const struct sn_roce_packet *packet);

/* Receive up to @budget datagrams. Returns how many. */
unsigned int sn_roce_receive(unsigned int budget, sn_roce_handler *handler);

/* Sleep until a datagram comes, @ns at most. */
void sn_roce_sleep(uint64_t ns);

#endif
