/* SPDX-License-Identifier: BSD-3-Clause */
/* Handshake messages: what is built is parsed again, and no JSON at all does harm. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handshake.h"
#include "harness.h"

#define N_ROUNDS    500
#define N_MUTATIONS 20000

/* ---- random messages ---- */

static void
random_text(char *text, size_t size)
{
	size_t i, n = harness_between(1, size - 1);

	memset(text, 0, size);
	for (i = 0; i < n; i++)
		text[i] = (char)harness_between(' ', '~');
}

static void
random_device(struct kvr_hello_device *device)
{
	size_t i;

	random_text(device->name, sizeof(device->name));
	for (i = 0; i < sizeof(device->gid); i++)
		device->gid.raw[i] = (uint8_t)harness_random();
	device->lid = (uint16_t)harness_random();
	device->link_layer = (uint8_t)harness_between(1, 2);
	device->max_rd_atomic = (uint8_t)harness_random();
	device->mtu = (enum ibv_mtu)harness_between(IBV_MTU_256, IBV_MTU_4096);
}

static void
random_hello(struct kvr_hello *hello)
{
	uint32_t i, k;

	memset(hello, 0, sizeof(*hello));
	hello->protocol = KVR_PROTOCOL;
	random_text(hello->name, sizeof(hello->name));
	random_text(hello->boot_id, sizeof(hello->boot_id));
	hello->n_devices = (uint32_t)harness_between(1, KVR_MAX_DEVICES);
	hello->n_segments = (uint32_t)harness_between(0, KVR_MAX_SEGMENTS);
	for (i = 0; i < hello->n_devices; i++)
		random_device(&hello->devices[i]);
	for (i = 0; i < hello->n_segments; i++) {
		struct kvr_hello_segment *segment = &hello->segments[i];

		random_text(segment->name, sizeof(segment->name));
		segment->address = harness_magnitude(1, INT64_MAX - 1);
		segment->size_bytes = harness_magnitude(1, INT64_MAX - segment->address);
		for (k = 0; k < hello->n_devices; k++) {
			segment->keys[k].bulk_rkey = (uint32_t)harness_random();
			segment->keys[k].strict_rkey = (uint32_t)harness_random();
		}
	}
}

static uint32_t
random_offers(struct kvr_lane_offer *offers, uint32_t max)
{
	uint32_t i, n = (uint32_t)harness_magnitude(1, max);

	memset(offers, 0, max * sizeof(*offers));
	for (i = 0; i < n; i++) {
		offers[i].qpn = (uint32_t)harness_between(0, 0xffffff);
		offers[i].psn = (uint32_t)harness_between(0, 0xffffff);
		offers[i].device = (uint8_t)harness_between(0, KVR_MAX_DEVICES - 1);
		offers[i].remote_device = (uint8_t)harness_between(0, KVR_MAX_DEVICES - 1);
	}
	return n;
}

/* ---- round trips ---- */

static void
hello_comes_back_as_it_was(void)
{
	struct kvr_hello sent, received;
	struct kvr_error error = {""};
	uint32_t i;

	harness_seed();
	for (i = 0; i < N_ROUNDS && CU_get_number_of_failures() == 0; i++) {
		json_t *message;

		random_hello(&sent);
		message = kvr_hello_build(&sent);
		CU_ASSERT_FATAL(message != NULL);
		CU_ASSERT_STRING_EQUAL(kvr_message_type(message), "hello");
		CU_ASSERT(kvr_hello_parse(message, &received, &error) == 0);
		CU_ASSERT(memcmp(&sent, &received, sizeof(sent)) == 0);
		json_decref(message);
	}
}

static void
lanes_come_back_as_they_were(void)
{
	static struct kvr_lane_offer sent[KVR_MAX_CONNECT_LANES], received[KVR_MAX_CONNECT_LANES];
	struct kvr_error error = {""};
	uint32_t i, n, n_received;

	harness_seed();
	for (i = 0; i < N_ROUNDS && CU_get_number_of_failures() == 0; i++) {
		json_t *message;

		n = random_offers(sent, KVR_MAX_CONNECT_LANES);
		message = kvr_lanes_build("connect", sent, n);
		memset(received, 0, sizeof(received));
		CU_ASSERT(kvr_lanes_parse(message, received, n, &n_received, &error) == 0);
		CU_ASSERT(n_received == n);
		CU_ASSERT(memcmp(sent, received, sizeof(sent)) == 0);
		if (n > 1)
			CU_ASSERT(kvr_lanes_parse(message, received, n - 1, &n_received, &error) ==
				  -EPROTO);
		json_decref(message);
	}
}

/* Of a hello that speaks another protocol nothing else is looked at. */
static void
hello_of_another_protocol_is_told_by_its_number(void)
{
	json_t *message = json_pack("{s:s, s:i}", "type", "hello", "protocol", 7);
	struct kvr_hello hello;
	struct kvr_error error = {""};

	CU_ASSERT(kvr_hello_parse(message, &hello, &error) == 0);
	CU_ASSERT(hello.protocol == 7);
	json_decref(message);
}

/* ---- limits ---- */

/* A good hello with one member replaced, of its own or of the first in one of its lists. */
static int
parse_changed(const char *array, const char *key, json_t *value)
{
	struct kvr_error error = {""};
	struct kvr_hello hello;
	json_t *message;
	int ret;

	harness_reseed(1);
	do
		random_hello(&hello);
	while (hello.n_segments == 0 || hello.n_devices < 2);
	message = kvr_hello_build(&hello);
	if (array == NULL)
		json_object_set_new(message, key, value);
	else
		json_object_set_new(json_array_get(json_object_get(message, array), 0), key, value);
	ret = kvr_hello_parse(message, &hello, &error);
	json_decref(message);
	return ret;
}

static json_t *
one_device(void)
{
	return json_pack("[{s:s, s:s, s:i, s:i, s:i, s:i}]", "name", "mlx5_0", "gid", "fe80::1",
			 "lid", 0, "mtu", 4096, "link_layer", 2, "max_rd_atomic", 16);
}

static void
hello_fields_are_checked_at_their_limits(void)
{
	CU_ASSERT(parse_changed(NULL, "name", json_string("a")) == 0);
	CU_ASSERT(parse_changed(NULL, "name", json_string("")) == -EPROTO);
	CU_ASSERT(parse_changed(NULL, "protocol", json_integer(-1)) == -EPROTO);
	CU_ASSERT(parse_changed(NULL, "devices", json_array()) == -EPROTO);
	CU_ASSERT(parse_changed("devices", "mtu", json_integer(1024)) == 0);
	CU_ASSERT(parse_changed("devices", "mtu", json_integer(1025)) == -EPROTO);
	CU_ASSERT(parse_changed("devices", "mtu", json_integer(8192)) == -EPROTO);
	CU_ASSERT(parse_changed("devices", "gid", json_string("::ffff:10.0.0.1")) == 0);
	CU_ASSERT(parse_changed("devices", "gid", json_string("10.0.0.1")) == -EPROTO);
	CU_ASSERT(parse_changed("devices", "lid", json_integer(65535)) == 0);
	CU_ASSERT(parse_changed("devices", "lid", json_integer(65536)) == -EPROTO);
	CU_ASSERT(parse_changed("devices", "link_layer", json_integer(0)) == -EPROTO);
	CU_ASSERT(parse_changed("segments", "size", json_integer(0)) == -EPROTO);
	CU_ASSERT(parse_changed("segments", "address", json_integer(-4096)) == -EPROTO);
	CU_ASSERT(parse_changed("segments", "keys", json_array()) == -EPROTO);
	/* More keys than devices. */
	CU_ASSERT(parse_changed(NULL, "devices", one_device()) == -EPROTO);
}

static void
lane_fields_are_checked_at_their_limits(void)
{
	const struct {
		struct kvr_lane_offer offer;
		int ret;
	} cases[] = {
		{{0xffffff, 0xffffff, KVR_MAX_DEVICES - 1, KVR_MAX_DEVICES - 1}, 0},
		{{0x1000000, 0, 0, 0}, -EPROTO},
		{{0, 0x1000000, 0, 0}, -EPROTO},
		{{0, 0, KVR_MAX_DEVICES, 0}, -EPROTO},
		{{0, 0, 0, KVR_MAX_DEVICES}, -EPROTO},
	};
	struct kvr_lane_offer offer;
	struct kvr_error error;
	uint32_t n;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *message = kvr_lanes_build("connect", &cases[i].offer, 1);

		CU_ASSERT(kvr_lanes_parse(message, &offer, 1, &n, &error) == cases[i].ret);
		json_decref(message);
	}
}

static void
fence_comes_back_as_it_was(void)
{
	const uint32_t places[] = {0, 7, 3};
	uint32_t back[8], n = 0;
	struct kvr_error error;
	json_t *message = kvr_fence_build(places, 3);

	CU_ASSERT_STRING_EQUAL(kvr_message_type(message), "fence");
	CU_ASSERT_FATAL(kvr_fence_parse(message, back, 8, &n, &error) == 0);
	CU_ASSERT(n == 3 && memcmp(back, places, sizeof(places)) == 0);
	/* Lane 7 is the eighth. */
	CU_ASSERT(kvr_fence_parse(message, back, 7, &n, &error) == -EPROTO);
	json_decref(message);
}

static void
fence_fields_are_checked_at_their_limits(void)
{
	static const char *const texts[] = {
		"{}",
		"{\"lanes\": 1}",
		"{\"lanes\": []}",
		"{\"lanes\": [-1]}",
		"{\"lanes\": [2]}",
		"{\"lanes\": [4294967296]}",
		"{\"lanes\": [1.0]}",
		"{\"lanes\": [\"1\"]}",
		"{\"lanes\": [null]}",
		"{\"lanes\": [0, 1, 0]}", /* more than there are */
	};
	struct kvr_error error;
	uint32_t back[2], n;
	size_t i;

	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		json_t *message = json_loads(texts[i], 0, NULL);

		CU_ASSERT_FATAL(message != NULL);
		CU_ASSERT(kvr_fence_parse(message, back, 2, &n, &error) == -EPROTO);
		json_decref(message);
	}
}

/* ---- mutations ---- */

static json_t *
random_value(void)
{
	static const json_int_t numbers[] = {
		0, -1, 1, 255, 256, 65536, 1 << 24, INT64_MAX, INT64_MIN, (json_int_t)1 << 32};
	char text[300];

	switch (harness_between(0, 8)) {
	case 0:
		return json_null();
	case 1:
		return json_boolean(harness_one_in(2));
	case 2:
		return json_real(1e300);
	case 3:
		return json_array();
	case 4:
		return json_object();
	case 5:
		random_text(text, sizeof(text));
		return json_string(text);
	case 6:
		return json_string("\x01\n\xc3\xa9");
	case 7:
		return json_stringn("nul\0inside", 10);
	default:
		return json_integer(numbers[harness_between(0, 9)]);
	}
}

/* Changes, removes or doubles something, anywhere in the tree. */
static void
mutate(json_t *value)
{
	size_t n, at;

	if (json_is_array(value) && json_array_size(value) > 0) {
		n = json_array_size(value);
		at = harness_between(0, n - 1);
		switch (harness_between(0, 3)) {
		case 0:
			json_array_set_new(value, at, random_value());
			break;
		case 1:
			json_array_remove(value, at);
			break;
		case 2:
			json_array_append_new(value, json_deep_copy(json_array_get(value, at)));
			break;
		default:
			mutate(json_array_get(value, at));
		}
	} else if (json_is_object(value) && json_object_size(value) > 0) {
		void *iter = json_object_iter(value);

		for (at = harness_between(0, json_object_size(value) - 1); at > 0; at--)
			iter = json_object_iter_next(value, iter);
		switch (harness_between(0, 3)) {
		case 0:
			json_object_iter_set_new(value, iter, random_value());
			break;
		case 1:
			json_object_del(value, json_object_iter_key(iter));
			break;
		default:
			mutate(json_object_iter_value(iter));
		}
	}
}

/* What a hello that was accepted may say, whatever it was made of. */
static void
check_hello(const struct kvr_hello *hello)
{
	uint32_t i;

	if (hello->protocol != KVR_PROTOCOL)
		return;
	CU_ASSERT(hello->n_devices >= 1 && hello->n_devices <= KVR_MAX_DEVICES);
	CU_ASSERT(hello->n_segments <= KVR_MAX_SEGMENTS);
	CU_ASSERT(strnlen(hello->name, KVR_NAME_BYTES) < KVR_NAME_BYTES);
	for (i = 0; i < hello->n_devices; i++) {
		const struct kvr_hello_device *device = &hello->devices[i];

		CU_ASSERT(strnlen(device->name, KVR_NAME_BYTES) < KVR_NAME_BYTES);
		CU_ASSERT(device->mtu >= IBV_MTU_256 && device->mtu <= IBV_MTU_4096);
		CU_ASSERT(device->link_layer == 1 || device->link_layer == 2);
	}
	for (i = 0; i < hello->n_segments; i++) {
		const struct kvr_hello_segment *segment = &hello->segments[i];

		CU_ASSERT(segment->size_bytes > 0);
		CU_ASSERT(segment->address + segment->size_bytes <= INT64_MAX);
	}
}

static void
mutated_hello_is_refused_or_sound(void)
{
	uint32_t i, k, n_refused = 0;
	struct kvr_hello hello;

	harness_seed();
	for (i = 0; i < N_MUTATIONS && CU_get_number_of_failures() == 0; i++) {
		struct kvr_error error = {""};
		json_t *message;

		random_hello(&hello);
		message = kvr_hello_build(&hello);
		for (k = (uint32_t)harness_between(1, 4); k > 0; k--)
			mutate(message);
		kvr_message_type(message);
		if (kvr_hello_parse(message, &hello, &error) == 0) {
			check_hello(&hello);
		} else {
			CU_ASSERT(error.text[0] != '\0');
			n_refused++;
		}
		json_decref(message);
	}
	/* The mutations do bite, and some are harmless. */
	CU_ASSERT(n_refused > N_MUTATIONS / 4 && n_refused < N_MUTATIONS);
}

static void
mutated_lanes_are_refused_or_sound(void)
{
	struct kvr_lane_offer offers[64];
	uint32_t i, k, n = 0;

	harness_seed();
	for (i = 0; i < N_MUTATIONS && CU_get_number_of_failures() == 0; i++) {
		struct kvr_error error = {""};
		json_t *message;

		n = random_offers(offers, 64);
		message = kvr_lanes_build("connect", offers, n);
		mutate(message);
		if (kvr_lanes_parse(message, offers, 64, &n, &error) == 0) {
			CU_ASSERT_FATAL(n >= 1 && n <= 64);
			for (k = 0; k < n; k++)
				CU_ASSERT(offers[k].qpn <= 0xffffff && offers[k].psn <= 0xffffff &&
					  offers[k].device < KVR_MAX_DEVICES &&
					  offers[k].remote_device < KVR_MAX_DEVICES);
		}
		json_decref(message);
	}
}

/* A broken text is the JSON parser's to refuse; what it takes is ours. */
static void
flipped_bytes_of_a_hello_never_harm(void)
{
	struct kvr_hello hello;
	uint32_t i;

	harness_seed();
	for (i = 0; i < N_MUTATIONS / 4 && CU_get_number_of_failures() == 0; i++) {
		struct kvr_error error = {""};
		json_t *message, *again;
		char *text;
		size_t n;

		random_hello(&hello);
		message = kvr_hello_build(&hello);
		text = json_dumps(message, JSON_COMPACT);
		n = strlen(text);
		text[harness_between(0, n - 1)] = (char)harness_between(' ', '~');
		again = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
		if (again != NULL && kvr_hello_parse(again, &hello, &error) == 0)
			check_hello(&hello);
		json_decref(again);
		json_decref(message);
		free(text);
	}
}

int
main(void)
{
	return HARNESS_RUN(
		"handshake", TEST(hello_comes_back_as_it_was), TEST(lanes_come_back_as_they_were),
		TEST(hello_of_another_protocol_is_told_by_its_number),
		TEST(hello_fields_are_checked_at_their_limits),
		TEST(lane_fields_are_checked_at_their_limits), TEST(fence_comes_back_as_it_was),
		TEST(fence_fields_are_checked_at_their_limits),
		TEST(mutated_hello_is_refused_or_sound), TEST(mutated_lanes_are_refused_or_sound),
		TEST(flipped_bytes_of_a_hello_never_harm));
}
