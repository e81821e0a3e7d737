/* SPDX-License-Identifier: BSD-3-Clause */
/* What mlx5_0..mlx5_7 look like: addresses on the PCI bus, settings, GIDs, counters. */
#ifndef SN_DEVICE_H
#define SN_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SN_PCI_DOMAIN	 "5150" /* a PCI domain of our own: never a real device's */
#define SN_N_GIDS	 4	/* link-local v1, v2, then IPv4-mapped v1, v2 */
#define SN_FW_VERSION	 "28.39.1002"
#define SN_UVERBS_MAJOR	 231
#define SN_UVERBS_MINOR	 192
#define SN_NETDEV_PREFIX "sn" /* sn0 is mlx5_0's network interface, by name only */
#define SN_CM_MAJOR	 10
#define SN_CM_MINOR	 58

enum sn_counter {
	SN_CNT_XMIT_BYTES,
	SN_CNT_RCV_BYTES,
	SN_CNT_XMIT_PACKETS,
	SN_CNT_RCV_PACKETS,
	SN_CNT_RX_WRITES,
	SN_CNT_RX_READS,
	SN_CNT_RX_ATOMICS,
	SN_CNT_OUT_OF_BUFFER,
	SN_CNT_ACK_TIMEOUTS,
	SN_CNT_PSN_ERRORS,
	SN_CNT_REQ_CQE_ERRORS,
	SN_CNT_RESP_CQE_ERRORS,
	SN_CNT_REQ_ACCESS_ERRORS,
	SN_CNT_RESP_ACCESS_ERRORS,
	SN_CNT_STRICT_VIOLATIONS,
	SN_CNT_INJECTED_FAULTS,
	SN_CNT_OUT_OF_SEQUENCE,
	SN_CNT_DUPLICATE_REQUESTS,
	SN_CNT_IMPLIED_NAKS,
	SN_CNT_RNR_RETRY_ERRORS,
	SN_CNT_ICRC_ERRORS,
	SN_N_COUNTERS
};

struct sn_counter_file {
	enum sn_counter counter;
	const char *file;	 /* below ports/1/ */
	unsigned int unit_bytes; /* what one step of the file's value stands for */
};

/* The sysfs files that follow a counter, ending with file == NULL. */
extern const struct sn_counter_file sn_counter_files[];

/* What `--device` sets. */
struct sn_device_settings {
	uint64_t guid;
	uint32_t ip_be;	     /* of the port: its IPv4-mapped GID */
	uint32_t mtu_bytes;  /* active and maximal */
	uint32_t speed_gbps; /* as shown; nothing is slowed down by it */
	int32_t numa_node;   /* as shown; -1: none */
	bool relaxed_ordering;
};

struct sn_fabric; /* settings.h */

void sn_device_settings_init(struct sn_device_settings *settings, unsigned int device);

/* Set the properties in @text, `key=value[,key=value...]`. 0, or -EINVAL and what is wrong with
 * which of them, in @error. */
int sn_device_settings_set(struct sn_device_settings *settings, const char *text, char *error,
			   size_t error_bytes);

bool sn_device_settings_equal(const struct sn_device_settings *a,
			      const struct sn_device_settings *b);

/* The properties that are not those of sn_device_settings_init(), as sn_device_settings_set() takes
 * them; empty if there are none. */
void sn_device_settings_format(const struct sn_device_settings *settings, unsigned int device,
			       char *text, size_t bytes);

/* A speed as InfiniBand counts it: lanes and the rate of one. */
struct sn_link_speed {
	uint32_t gbps;
	uint8_t width_code; /* active_width: 1 is 1X, 2 is 4X, 16 is 2X */
	uint8_t speed_code; /* active_speed: 4 QDR, 32 EDR, 64 HDR, 128 NDR */
	const char *rate;   /* the text of sysfs */
};

const struct sn_link_speed *sn_device_link_speed(const struct sn_device_settings *settings);

/* enum ibv_mtu of mtu_bytes. */
uint8_t sn_device_mtu_code(const struct sn_device_settings *settings);

void sn_device_mac(const struct sn_device_settings *settings, uint8_t mac[6]);

/* GID 0 and 1 are the link-local address, 2 and 3 the IPv4 address; the odd ones RoCE v2. */
void sn_device_gid(const struct sn_device_settings *settings, unsigned int index, uint8_t gid[16]);

/* The device of @fabric that has the GID, or -1. */
int sn_device_of_gid(const struct sn_fabric *fabric, const uint8_t gid[16]);

#endif
