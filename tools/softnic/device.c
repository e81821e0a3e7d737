/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "device.h"
#include "softnic.h"

const struct sn_counter_file sn_counter_files[] = {
	/* The kernel counts port data in units of four bytes (IBA PortCounters). */
	{SN_CNT_XMIT_BYTES, "counters/port_xmit_data", 4},
	{SN_CNT_RCV_BYTES, "counters/port_rcv_data", 4},
	{SN_CNT_XMIT_PACKETS, "counters/port_xmit_packets", 1},
	{SN_CNT_RCV_PACKETS, "counters/port_rcv_packets", 1},
	{SN_CNT_XMIT_PACKETS, "counters/unicast_xmit_packets", 1},
	{SN_CNT_RCV_PACKETS, "counters/unicast_rcv_packets", 1},
	{SN_CNT_RX_WRITES, "hw_counters/rx_write_requests", 1},
	{SN_CNT_RX_READS, "hw_counters/rx_read_requests", 1},
	{SN_CNT_RX_ATOMICS, "hw_counters/rx_atomic_requests", 1},
	{SN_CNT_OUT_OF_BUFFER, "hw_counters/out_of_buffer", 1},
	{SN_CNT_ACK_TIMEOUTS, "hw_counters/local_ack_timeout_err", 1},
	{SN_CNT_PSN_ERRORS, "hw_counters/packet_seq_err", 1},
	{SN_CNT_REQ_CQE_ERRORS, "hw_counters/req_cqe_error", 1},
	{SN_CNT_RESP_CQE_ERRORS, "hw_counters/resp_cqe_error", 1},
	{SN_CNT_REQ_ACCESS_ERRORS, "hw_counters/req_remote_access_errors", 1},
	{SN_CNT_RESP_ACCESS_ERRORS, "hw_counters/resp_remote_access_errors", 1},
	{SN_N_COUNTERS, NULL, 0},
};

uint64_t
sn_device_guid(unsigned int device)
{
	return 0x0c42a10300770000u + device + 1;
}

void
sn_device_gid(unsigned int device, unsigned int index, uint8_t gid[16])
{
	/* EUI-64 of the MAC 0e:42:a1:77:00:0N, and 192.0.2.N (RFC 5737). */
	const uint8_t link_local[16] = {0xfe, 0x80, [8] = 0x0c, 0x42, 0xa1,
					0xff, 0xfe, 0x77,	0x00, (uint8_t)(device + 1)};
	const uint8_t ipv4[16] = {[10] = 0xff, 0xff, 192, 0, 2, (uint8_t)(device + 1)};

	memcpy(gid, index < 2 ? link_local : ipv4, 16);
}

int
sn_device_of_gid(const uint8_t gid[16])
{
	uint8_t own[16];

	for (unsigned int device = 0; device < SN_MAX_DEVICES; device++) {
		for (unsigned int index = 0; index < SN_N_GIDS; index += 2) {
			sn_device_gid(device, index, own);
			if (memcmp(own, gid, 16) == 0)
				return (int)device;
		}
	}
	return -1;
}
