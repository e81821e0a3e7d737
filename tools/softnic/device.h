/* SPDX-License-Identifier: BSD-3-Clause */
/* What mlx5_0..mlx5_7 look like: addresses on the PCI bus, GIDs, port attributes. */
#ifndef SN_DEVICE_H
#define SN_DEVICE_H

#include <stdint.h>

#define SN_PCI_DOMAIN	"5150" /* a PCI domain of our own: never a real device's */
#define SN_N_GIDS	4      /* link-local v1, v2, then IPv4-mapped v1, v2 */
#define SN_FW_VERSION	"28.39.1002"
#define SN_UVERBS_MAJOR 231
#define SN_UVERBS_MINOR 192

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
	SN_N_COUNTERS
};

struct sn_counter_file {
	enum sn_counter counter;
	const char *file;	 /* below ports/1/ */
	unsigned int unit_bytes; /* what one step of the file's value stands for */
};

/* The sysfs files that follow a counter, ending with file == NULL. */
extern const struct sn_counter_file sn_counter_files[];

uint64_t sn_device_guid(unsigned int device);
void sn_device_gid(unsigned int device, unsigned int index, uint8_t gid[16]);
int sn_device_of_gid(const uint8_t gid[16]); /* -1: nobody's */

#endif
