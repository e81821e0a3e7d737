/* SPDX-License-Identifier: BSD-3-Clause */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "settings.h"

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
	{SN_CNT_OUT_OF_SEQUENCE, "hw_counters/out_of_sequence", 1},
	{SN_CNT_DUPLICATE_REQUESTS, "hw_counters/duplicate_request", 1},
	{SN_CNT_IMPLIED_NAKS, "hw_counters/implied_nak_seq_err", 1},
	{SN_CNT_RNR_RETRY_ERRORS, "hw_counters/rnr_nak_retry_err", 1},
	{SN_CNT_ICRC_ERRORS, "hw_counters/rx_icrc_encapsulated", 1},
	{SN_N_COUNTERS, NULL, 0},
};

/* ---- settings ---- */

static const struct sn_link_speed link_speeds[] = {
	{10, 1, 8, "10 Gb/sec (1X FDR10)"},   {25, 1, 32, "25 Gb/sec (1X EDR)"},
	{40, 2, 4, "40 Gb/sec (4X QDR)"},     {50, 1, 64, "50 Gb/sec (1X HDR)"},
	{100, 2, 32, "100 Gb/sec (4X EDR)"},  {200, 2, 64, "200 Gb/sec (4X HDR)"},
	{400, 2, 128, "400 Gb/sec (4X NDR)"},
};
#define N_LINK_SPEEDS (sizeof(link_speeds) / sizeof(link_speeds[0]))

void
sn_device_settings_init(struct sn_device_settings *settings, unsigned int device)
{
	*settings = (struct sn_device_settings){
		.guid = 0x0c42a10300770000u + device + 1,
		.ip_be = htonl(0xc0000200u + device + 1), /* 192.0.2.N (RFC 5737) */
		.mtu_bytes = 4096,
		.speed_gbps = 400,
		.numa_node = 0,
		.relaxed_ordering = true,
	};
}

/* Each takes one property's value; what it wants to see is in the table below. */

static int
set_numa(struct sn_device_settings *settings, const char *value)
{
	char *end;
	long node = strtol(value, &end, 10);

	if (end == value || *end || node < -1 || node > 1023)
		return -EINVAL;
	settings->numa_node = (int32_t)node;
	return 0;
}

static int
set_relaxed_ordering(struct sn_device_settings *settings, const char *value)
{
	settings->relaxed_ordering = strcmp(value, "on") == 0;
	return settings->relaxed_ordering || strcmp(value, "off") == 0 ? 0 : -EINVAL;
}

static int
set_mtu(struct sn_device_settings *settings, const char *value)
{
	char *end;
	unsigned long mtu = strtoul(value, &end, 10);

	if (*end || mtu < 256 || mtu > 4096 || (mtu & (mtu - 1)))
		return -EINVAL;
	settings->mtu_bytes = (uint32_t)mtu;
	return 0;
}

static int
set_speed(struct sn_device_settings *settings, const char *value)
{
	char *end;
	unsigned long gbps = strtoul(value, &end, 10);

	if (end == value || *end)
		return -EINVAL;
	for (size_t i = 0; i < N_LINK_SPEEDS; i++) {
		if (link_speeds[i].gbps == gbps) {
			settings->speed_gbps = link_speeds[i].gbps;
			return 0;
		}
	}
	return -EINVAL;
}

static int
set_ip(struct sn_device_settings *settings, const char *value)
{
	struct in_addr addr;

	if (inet_pton(AF_INET, value, &addr) != 1)
		return -EINVAL;
	uint32_t first = ntohl(addr.s_addr) >> 24;
	settings->ip_be = addr.s_addr;
	return first == 0 || first >= 224 ? -EINVAL : 0; /* any, multicast, broadcast */
}

/* 0x0c42a10300770001 or, as ibv_devinfo(1) prints it, 0c42:a103:0077:0001. */
static int
set_guid(struct sn_device_settings *settings, const char *value)
{
	char digits[24];
	size_t n = 0;

	if (strncmp(value, "0x", 2) == 0)
		value += 2;
	for (; *value && n < sizeof(digits) - 1; value++) {
		if (isxdigit((unsigned char)*value))
			digits[n++] = *value;
		else if (*value != ':')
			return -EINVAL;
	}
	digits[n] = '\0';
	settings->guid = strtoull(digits, NULL, 16);
	return n > 0 && n <= 16 && settings->guid ? 0 : -EINVAL;
}

static int
set_link(struct sn_device_settings *settings, const char *value)
{
	(void)settings;
	return strcmp(value, "eth") == 0 ? 0 : -EINVAL;
}

static const struct {
	const char *key;
	int (*set)(struct sn_device_settings *settings, const char *value);
	const char *wanted;
} properties[] = {
	{"numa", set_numa, "a node from 0 to 1023, or -1 for none"},
	{"ro", set_relaxed_ordering, "on or off"},
	{"mtu", set_mtu, "256, 512, 1024, 2048 or 4096"},
	{"speed", set_speed, "10, 25, 40, 50, 100, 200 or 400 (Gbit/s)"},
	{"ip", set_ip, "the IPv4 address of one host"},
	{"guid", set_guid, "up to 16 hexadecimal digits, not all 0"},
	{"link", set_link, "eth (there is no InfiniBand link layer)"},
};
#define N_PROPERTIES (sizeof(properties) / sizeof(properties[0]))

static int
set_property(struct sn_device_settings *settings, const char *key, const char *value, char *error,
	     size_t error_bytes)
{
	char list[64] = "";

	for (size_t i = 0; i < N_PROPERTIES; i++) {
		if (strcmp(key, properties[i].key) == 0) {
			if (value && properties[i].set(settings, value) == 0)
				return 0;
			snprintf(error, error_bytes, "%s=%s: give %s", key, value ? value : "",
				 properties[i].wanted);
			return -EINVAL;
		}
		strcat(list, i ? ", " : "");
		strcat(list, properties[i].key);
	}
	snprintf(error, error_bytes, "'%s' is not a property; these are: %s", key, list);
	return -EINVAL;
}

int
sn_device_settings_set(struct sn_device_settings *settings, const char *text, char *error,
		       size_t error_bytes)
{
	char *copy = strdup(text), *rest = copy, *key;
	int err = copy ? 0 : -ENOMEM;

	if (err)
		snprintf(error, error_bytes, "out of memory");
	while (!err && (key = strsep(&rest, ","))) {
		char *value = strchr(key, '=');

		if (value)
			*value++ = '\0';
		err = set_property(settings, key, value, error, error_bytes);
	}
	free(copy);
	return err;
}

bool
sn_device_settings_equal(const struct sn_device_settings *a, const struct sn_device_settings *b)
{
	return a->guid == b->guid && a->ip_be == b->ip_be && a->mtu_bytes == b->mtu_bytes &&
	       a->speed_gbps == b->speed_gbps && a->numa_node == b->numa_node &&
	       a->relaxed_ordering == b->relaxed_ordering;
}

static void __attribute__((format(printf, 3, 4)))
append(char *text, size_t bytes, const char *fmt, ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, fmt);
	vsnprintf(text + used, bytes - used, fmt, args);
	va_end(args);
}

void
sn_device_settings_format(const struct sn_device_settings *settings, unsigned int device,
			  char *text, size_t bytes)
{
	struct sn_device_settings plain;
	char ip[INET_ADDRSTRLEN];

	sn_device_settings_init(&plain, device);
	text[0] = '\0';
	if (settings->numa_node != plain.numa_node)
		append(text, bytes, ",numa=%d", settings->numa_node);
	if (settings->relaxed_ordering != plain.relaxed_ordering)
		append(text, bytes, ",ro=%s", settings->relaxed_ordering ? "on" : "off");
	if (settings->mtu_bytes != plain.mtu_bytes)
		append(text, bytes, ",mtu=%u", settings->mtu_bytes);
	if (settings->speed_gbps != plain.speed_gbps)
		append(text, bytes, ",speed=%u", settings->speed_gbps);
	if (settings->ip_be != plain.ip_be)
		append(text, bytes, ",ip=%s", inet_ntop(AF_INET, &settings->ip_be, ip, sizeof(ip)));
	if (settings->guid != plain.guid)
		append(text, bytes, ",guid=%016llx", (unsigned long long)settings->guid);
	if (text[0])
		memmove(text, text + 1, strlen(text));
}

/* ---- what follows from them ---- */

const struct sn_link_speed *
sn_device_link_speed(const struct sn_device_settings *settings)
{
	size_t i = 0;

	while (i < N_LINK_SPEEDS - 1 && link_speeds[i].gbps != settings->speed_gbps)
		i++;
	return &link_speeds[i];
}

uint8_t
sn_device_mtu_code(const struct sn_device_settings *settings)
{
	return (uint8_t)(__builtin_ctz(settings->mtu_bytes) - 7);
}

void
sn_device_mac(const struct sn_device_settings *settings, uint8_t mac[6])
{
	/* A Mellanox GUID is the MAC with 03:00 in its middle. */
	for (unsigned int i = 0; i < 3; i++) {
		mac[i] = (uint8_t)(settings->guid >> (56 - 8 * i));
		mac[3 + i] = (uint8_t)(settings->guid >> (16 - 8 * i));
	}
}

void
sn_device_gid(const struct sn_device_settings *settings, unsigned int index, uint8_t gid[16])
{
	uint8_t mac[6];

	memset(gid, 0, 16);
	if (index >= 2) {
		gid[10] = gid[11] = 0xff;
		memcpy(gid + 12, &settings->ip_be, 4);
		return;
	}
	/* The modified EUI-64 of the MAC (RFC 4291, appendix A). */
	sn_device_mac(settings, mac);
	gid[0] = 0xfe;
	gid[1] = 0x80;
	gid[8] = mac[0] ^ 2;
	memcpy(gid + 9, mac + 1, 2);
	gid[11] = 0xff;
	gid[12] = 0xfe;
	memcpy(gid + 13, mac + 3, 3);
}

int
sn_device_of_gid(const struct sn_fabric *fabric, const uint8_t gid[16])
{
	uint8_t own[16];

	for (uint32_t device = 0; device < fabric->n_devices; device++) {
		for (unsigned int index = 0; index < SN_N_GIDS; index += 2) {
			sn_device_gid(&fabric->device[device], index, own);
			if (memcmp(own, gid, 16) == 0)
				return (int)device;
		}
	}
	return -1;
}
