/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The invariant CRC of RoCEv2 (IBA annex A17.3.3): Ethernet's CRC-32 over the IPv4 and UDP headers
 * and all that follows, with the fields that routers may change set to ones.
 */
#ifndef SN_ICRC_H
#define SN_ICRC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SN_ICRC_BYTES 4

/* What a packet's IPv4 and UDP headers say beyond what all our packets have in common. */
struct sn_icrc_path {
	uint32_t src_ip_be;
	uint32_t dst_ip_be;
	uint16_t src_port;
	uint16_t udp_bytes; /* the datagram's payload: transport headers, data, padding, ICRC */
	uint16_t ip_id;
};

void sn_icrc_init(void);

/* The CRC register after the headers, @bth (12 bytes) being the last of them. */
uint32_t sn_icrc_begin(const struct sn_icrc_path *path, const void *bth);

/* ... and after more bytes. */
uint32_t sn_icrc_add(uint32_t state, const void *data, size_t bytes);

/* The value as it is sent, least significant byte first. */
static inline uint32_t
sn_icrc_end(uint32_t state)
{
	return ~state;
}

/*
 * Is @received right for a whole datagram @udp, whose sender gave it the IP identification
 * path->ip_id or any other? A UDP socket does not show that field. The CRC is linear, so what the
 * field would have to be follows from the two values; a wrong packet passes with a chance of
 * 2^-16 instead of 2^-32.
 */
bool sn_icrc_matches(const struct sn_icrc_path *path, const uint8_t *udp);

#endif
