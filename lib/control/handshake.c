/* SPDX-License-Identifier: BSD-3-Clause */
/* Handshake messages to JSON and back: handshake.h has the conversation. */
#include <errno.h>
#include <string.h>

#include <arpa/inet.h>

#include "engine.h"
#include "handshake.h"

#define MAX_24_BITS 0xffffff /* QP numbers and PSNs */

/* ---- fields of any JSON ---- */

/* An integer of [min, max] at `key`; max is below 2^63, so that a negative one is beyond it. */
static int
get_number(const json_t *object, const char *key, uint64_t min, uint64_t max, uint64_t *value,
	   struct kvr_error *error)
{
	const json_t *field = json_object_get(object, key);
	json_int_t v = json_integer_value(field);

	if (!json_is_integer(field) || (uint64_t)v < min || (uint64_t)v > max)
		return kvr_fail(error, -EPROTO, "field '%s' is missing or out of range", key);
	*value = (uint64_t)v;
	return 0;
}

static int
get_u32(const json_t *object, const char *key, uint32_t min, uint32_t max, uint32_t *value,
	struct kvr_error *error)
{
	uint64_t v = 0;
	int ret = get_number(object, key, min, max, &v, error);

	*value = (uint32_t)v;
	return ret;
}

static int
get_u8(const json_t *object, const char *key, uint8_t min, uint8_t max, uint8_t *value,
       struct kvr_error *error)
{
	uint32_t v = 0;
	int ret = get_u32(object, key, min, max, &v, error);

	*value = (uint8_t)v;
	return ret;
}

/* A text that fits, and that a log line can show: printable ASCII. */
static int
get_text(const json_t *object, const char *key, char *text, size_t size, struct kvr_error *error)
{
	const json_t *field = json_object_get(object, key);
	const char *s = json_string_value(field);
	size_t i, n = json_string_length(field);

	if (s == NULL || n == 0 || n >= size)
		return kvr_fail(error, -EPROTO, "field '%s' is missing, empty or too long", key);
	for (i = 0; i < n; i++)
		if (s[i] < ' ' || s[i] > '~')
			return kvr_fail(error, -EPROTO, "field '%s' is not printable", key);
	memcpy(text, s, n + 1);
	return 0;
}

static int
get_array(const json_t *object, const char *key, size_t min, size_t max, const json_t **array,
	  struct kvr_error *error)
{
	const json_t *field = json_object_get(object, key);
	size_t n = json_array_size(field);

	if (!json_is_array(field) || n < min || n > max)
		return kvr_fail(error, -EPROTO, "field '%s' is not a list of %zu to %zu", key, min,
				max);
	*array = field;
	return 0;
}

const char *
kvr_message_type(const json_t *message)
{
	const char *type = json_string_value(json_object_get(message, "type"));

	return type != NULL ? type : "";
}

/* ---- hello ---- */

static json_t *
device_build(const struct kvr_hello_device *device)
{
	char gid[INET6_ADDRSTRLEN];

	inet_ntop(AF_INET6, device->gid.raw, gid, sizeof(gid));
	return json_pack("{s:s, s:s, s:i, s:i, s:i, s:i}", "name", device->name, "gid", gid, "lid",
			 (int)device->lid, "mtu", 128 << device->mtu, "link_layer",
			 (int)device->link_layer, "max_rd_atomic", (int)device->max_rd_atomic);
}

static json_t *
segment_build(const struct kvr_hello_segment *segment, uint32_t n_devices)
{
	json_t *keys = json_array();
	uint32_t i;

	for (i = 0; i < n_devices; i++)
		json_array_append_new(keys,
				      json_pack("{s:I, s:I}", "bulk",
						(json_int_t)segment->keys[i].bulk_rkey, "strict",
						(json_int_t)segment->keys[i].strict_rkey));
	return json_pack("{s:s, s:I, s:I, s:o}", "name", segment->name, "address",
			 (json_int_t)segment->address, "size", (json_int_t)segment->size_bytes,
			 "keys", keys);
}

json_t *
kvr_hello_build(const struct kvr_hello *hello)
{
	json_t *devices = json_array(), *segments = json_array();
	uint32_t i;

	for (i = 0; i < hello->n_devices; i++)
		json_array_append_new(devices, device_build(&hello->devices[i]));
	for (i = 0; i < hello->n_segments; i++)
		json_array_append_new(segments,
				      segment_build(&hello->segments[i], hello->n_devices));
	return json_pack("{s:s, s:i, s:s, s:s, s:o, s:o}", "type", "hello", "protocol",
			 (int)hello->protocol, "name", hello->name, "boot_id", hello->boot_id,
			 "devices", devices, "segments", segments);
}

static int
mtu_parse(const json_t *object, enum ibv_mtu *mtu, struct kvr_error *error)
{
	uint32_t bytes;
	int ret = get_u32(object, "mtu", 256, 4096, &bytes, error);

	if (ret != 0)
		return ret;
	for (*mtu = IBV_MTU_256; *mtu < IBV_MTU_4096 && (128u << *mtu) < bytes; (*mtu)++)
		;
	if ((128u << *mtu) != bytes)
		return kvr_fail(error, -EPROTO, "an MTU of %u is not one of RDMA's", bytes);
	return 0;
}

static int
device_parse(const json_t *object, struct kvr_hello_device *device, struct kvr_error *error)
{
	char gid[INET6_ADDRSTRLEN];
	uint32_t lid = 0;
	int ret;

	ret = get_text(object, "name", device->name, sizeof(device->name), error);
	if (ret == 0)
		ret = get_text(object, "gid", gid, sizeof(gid), error);
	if (ret == 0 && inet_pton(AF_INET6, gid, device->gid.raw) != 1)
		ret = kvr_fail(error, -EPROTO, "'%s' is no GID", gid);
	if (ret == 0)
		ret = get_u32(object, "lid", 0, UINT16_MAX, &lid, error);
	if (ret == 0)
		ret = mtu_parse(object, &device->mtu, error);
	if (ret == 0)
		ret = get_u8(object, "link_layer", IBV_LINK_LAYER_INFINIBAND,
			     IBV_LINK_LAYER_ETHERNET, &device->link_layer, error);
	if (ret == 0)
		ret = get_u8(object, "max_rd_atomic", 0, UINT8_MAX, &device->max_rd_atomic, error);
	device->lid = (uint16_t)lid;
	return ret;
}

static int
keys_parse(const json_t *object, struct kvr_segment_keys *keys, uint32_t n, struct kvr_error *error)
{
	const json_t *array = NULL;
	uint32_t i;
	int ret;

	ret = get_array(object, "keys", n, n, &array, error);
	for (i = 0; ret == 0 && i < n; i++) {
		const json_t *entry = json_array_get(array, i);

		ret = get_u32(entry, "bulk", 0, UINT32_MAX, &keys[i].bulk_rkey, error);
		if (ret == 0)
			ret = get_u32(entry, "strict", 0, UINT32_MAX, &keys[i].strict_rkey, error);
	}
	return ret;
}

static int
segment_parse(const json_t *object, struct kvr_hello_segment *segment, uint32_t n_devices,
	      struct kvr_error *error)
{
	int ret;

	ret = get_text(object, "name", segment->name, sizeof(segment->name), error);
	if (ret == 0)
		ret = get_number(object, "address", 1, INT64_MAX, &segment->address, error);
	/* address + size stays below 2^63, so that no sum on the data path overflows */
	if (ret == 0)
		ret = get_number(object, "size", 1, INT64_MAX - segment->address,
				 &segment->size_bytes, error);
	if (ret == 0)
		ret = keys_parse(object, segment->keys, n_devices, error);
	return ret;
}

int
kvr_hello_parse(const json_t *message, struct kvr_hello *hello, struct kvr_error *error)
{
	const json_t *devices = NULL, *segments = NULL;
	uint32_t i;
	int ret;

	memset(hello, 0, sizeof(*hello));
	ret = get_u32(message, "protocol", 0, INT32_MAX, &hello->protocol, error);
	if (ret != 0 || hello->protocol != KVR_PROTOCOL)
		return ret;
	ret = get_text(message, "name", hello->name, sizeof(hello->name), error);
	if (ret == 0)
		ret = get_text(message, "boot_id", hello->boot_id, sizeof(hello->boot_id), error);
	if (ret == 0)
		ret = get_array(message, "devices", 1, KVR_MAX_DEVICES, &devices, error);
	if (ret == 0)
		ret = get_array(message, "segments", 0, KVR_MAX_SEGMENTS, &segments, error);
	if (ret != 0)
		return ret;
	hello->n_devices = (uint32_t)json_array_size(devices);
	hello->n_segments = (uint32_t)json_array_size(segments);
	for (i = 0; ret == 0 && i < hello->n_devices; i++)
		ret = device_parse(json_array_get(devices, i), &hello->devices[i], error);
	for (i = 0; ret == 0 && i < hello->n_segments; i++)
		ret = segment_parse(json_array_get(segments, i), &hello->segments[i],
				    hello->n_devices, error);
	return ret;
}

/* ---- lanes ---- */

json_t *
kvr_lanes_build(const char *type, const struct kvr_lane_offer *offers, uint32_t n)
{
	json_t *lanes = json_array();
	uint32_t i;

	for (i = 0; i < n; i++)
		json_array_append_new(
			lanes, json_pack("{s:i, s:i, s:i, s:i}", "qpn", (int)offers[i].qpn, "psn",
					 (int)offers[i].psn, "device", (int)offers[i].device,
					 "remote_device", (int)offers[i].remote_device));
	return json_pack("{s:s, s:o}", "type", type, "lanes", lanes);
}

int
kvr_lanes_parse(const json_t *message, struct kvr_lane_offer *offers, uint32_t max, uint32_t *n,
		struct kvr_error *error)
{
	const json_t *lanes = NULL;
	uint32_t i;
	int ret;

	ret = get_array(message, "lanes", 1, max, &lanes, error);
	if (ret != 0)
		return ret;
	*n = (uint32_t)json_array_size(lanes);
	for (i = 0; ret == 0 && i < *n; i++) {
		const json_t *lane = json_array_get(lanes, i);
		struct kvr_lane_offer *offer = &offers[i];

		ret = get_u32(lane, "qpn", 0, MAX_24_BITS, &offer->qpn, error);
		if (ret == 0)
			ret = get_u32(lane, "psn", 0, MAX_24_BITS, &offer->psn, error);
		if (ret == 0)
			ret = get_u8(lane, "device", 0, KVR_MAX_DEVICES - 1, &offer->device, error);
		if (ret == 0)
			ret = get_u8(lane, "remote_device", 0, KVR_MAX_DEVICES - 1,
				     &offer->remote_device, error);
	}
	return ret;
}

int
kvr_place_parse(const json_t *message, uint32_t max, uint32_t *place, struct kvr_error *error)
{
	return get_u32(message, "place", 0, max - 1, place, error);
}

/* ---- fence ---- */

json_t *
kvr_fence_build(const uint32_t *places, uint32_t n)
{
	json_t *lanes = json_array();
	uint32_t i;

	for (i = 0; i < n; i++)
		json_array_append_new(lanes, json_integer(places[i]));
	return json_pack("{s:s, s:o}", "type", "fence", "lanes", lanes);
}

int
kvr_fence_parse(const json_t *message, uint32_t *places, uint32_t max, uint32_t *n,
		struct kvr_error *error)
{
	const json_t *lanes = NULL;
	uint32_t i;
	int ret;

	ret = get_array(message, "lanes", 1, max, &lanes, error);
	if (ret != 0)
		return ret;
	*n = (uint32_t)json_array_size(lanes);
	for (i = 0; i < *n; i++) {
		const json_t *place = json_array_get(lanes, i);
		json_int_t v = json_integer_value(place);

		if (!json_is_integer(place) || v < 0 || v >= max)
			return kvr_fail(error, -EPROTO, "there is no such lane");
		places[i] = (uint32_t)v;
	}
	return 0;
}

json_t *
kvr_refused_build(const char *reason)
{
	return json_pack("{s:s, s:s}", "type", "refused", "reason", reason);
}
