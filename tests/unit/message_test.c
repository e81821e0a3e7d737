/* SPDX-License-Identifier: BSD-3-Clause */
/* Framing of control messages, over a socketpair: any split of the stream, any garbage. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "harness.h"
#include "message.h"

#define N_MESSAGES 200
#define N_GARBAGE  3000

struct wire {
	struct kvr_stream near, far;
	struct kvr_inbox inbox;
	struct kvr_outbox outbox;
};

static void
wire_open(struct wire *wire)
{
	int fds[2];

	memset(wire, 0, sizeof(*wire));
	CU_ASSERT_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
	wire->near.fd = fds[0];
	wire->far.fd = fds[1];
}

static void
wire_close(struct wire *wire)
{
	close(wire->near.fd);
	if (wire->far.fd >= 0)
		close(wire->far.fd);
	kvr_inbox_free(&wire->inbox);
	kvr_outbox_free(&wire->outbox);
}

static json_t *
random_message(uint32_t number)
{
	size_t n = harness_magnitude(1, 40000);
	char *text = malloc(n + 1);
	json_t *message;

	memset(text, 'a' + (int)(number % 26), n);
	text[n] = '\0';
	message = json_pack("{s:i, s:s}", "number", (int)number, "text", text);
	free(text);
	return message;
}

/* ---- what is sent arrives ---- */

static void
messages_arrive_whole_in_any_split(void)
{
	json_t *sent[N_MESSAGES], *message;
	uint32_t i, n_arrived = 0;
	struct wire wire;
	size_t at = 0;
	int ret;

	harness_seed();
	wire_open(&wire);
	for (i = 0; i < N_MESSAGES; i++) {
		sent[i] = random_message(i);
		CU_ASSERT_FATAL(kvr_message_put(&wire.outbox, sent[i]) == 0);
	}
	while (at < wire.outbox.n && CU_get_number_of_failures() == 0) {
		size_t n = harness_magnitude(1, wire.outbox.n - at);
		ssize_t wrote = send(wire.near.fd, wire.outbox.bytes + at, n, MSG_DONTWAIT);

		at += wrote > 0 ? (size_t)wrote : 0;
		while ((ret = kvr_message_read(&wire.far, &wire.inbox, &message)) == 1) {
			CU_ASSERT_FATAL(n_arrived < N_MESSAGES);
			CU_ASSERT(json_equal(message, sent[n_arrived]));
			json_decref(message);
			n_arrived++;
		}
		CU_ASSERT(ret == 0);
	}
	CU_ASSERT(n_arrived == N_MESSAGES);
	for (i = 0; i < N_MESSAGES; i++)
		json_decref(sent[i]);
	wire_close(&wire);
}

/* Messages so long that the socket takes a part of one. */
static void
flush_keeps_what_the_socket_does_not_take(void)
{
	uint32_t i, n_arrived = 0;
	json_t *sent[N_MESSAGES], *message;
	struct wire wire;

	harness_seed();
	wire_open(&wire);
	for (i = 0; i < N_MESSAGES; i++) {
		sent[i] = random_message(i);
		CU_ASSERT_FATAL(kvr_message_put(&wire.outbox, sent[i]) == 0);
		CU_ASSERT_FATAL(kvr_message_flush(&wire.near, &wire.outbox) == 0);
	}
	CU_ASSERT(wire.outbox.n > 0);
	while (n_arrived < N_MESSAGES && CU_get_number_of_failures() == 0) {
		while (kvr_message_read(&wire.far, &wire.inbox, &message) == 1) {
			CU_ASSERT(json_equal(message, sent[n_arrived]));
			n_arrived++;
			json_decref(message);
		}
		CU_ASSERT(kvr_message_flush(&wire.near, &wire.outbox) == 0);
	}
	CU_ASSERT(wire.outbox.n == 0);
	for (i = 0; i < N_MESSAGES; i++)
		json_decref(sent[i]);
	wire_close(&wire);
}

/* A peer that does not read costs a bounded amount of memory. */
static void
outbox_is_bounded(void)
{
	char *text = malloc(KVR_MESSAGE_BYTES);
	struct wire wire;
	json_t *message;
	int i, ret = 0;

	memset(text, 'x', KVR_MESSAGE_BYTES);
	text[KVR_MESSAGE_BYTES - 1] = '\0';
	wire_open(&wire);
	message = json_pack("{s:s}", "k", text);
	CU_ASSERT(kvr_message_put(&wire.outbox, message) == -EMSGSIZE);
	json_decref(message);
	text[KVR_MESSAGE_BYTES / 2] = '\0';
	message = json_pack("{s:s}", "k", text);
	for (i = 0; ret == 0 && i < 1000; i++)
		ret = kvr_message_put(&wire.outbox, message);
	CU_ASSERT(ret == -ENOBUFS);
	json_decref(message);
	free(text);
	wire_close(&wire);
}

/* ---- what is wrong is refused ---- */

static int
read_bytes(const void *bytes, size_t n, bool then_close)
{
	json_t *message = NULL;
	struct wire wire;
	int ret;

	wire_open(&wire);
	CU_ASSERT_FATAL(send(wire.near.fd, bytes, n, 0) == (ssize_t)n);
	if (then_close)
		shutdown(wire.near.fd, SHUT_WR);
	ret = kvr_message_read(&wire.far, &wire.inbox, &message);
	if (ret == 1)
		json_decref(message);
	wire_close(&wire);
	return ret;
}

static void
messages_that_are_none_are_refused(void)
{
	CU_ASSERT(read_bytes("\0\0\0\0", 4, false) == -EMSGSIZE);
	CU_ASSERT(read_bytes("\377\377\377\377", 4, false) == -EMSGSIZE);
	CU_ASSERT(read_bytes("\0\020\0\1", 4, false) == -EMSGSIZE);
	CU_ASSERT(read_bytes("\0\020\0\0", 4, false) == 0);
	CU_ASSERT(read_bytes("\0\0\0\2[]", 6, false) == -EBADMSG);
	CU_ASSERT(read_bytes("\0\0\0\2{}", 6, false) == 1);
	CU_ASSERT(read_bytes("\0\0\0\2{!", 6, false) == -EBADMSG);
	CU_ASSERT(read_bytes("\0\0\0\5{}  x", 9, false) == -EBADMSG);
	CU_ASSERT(read_bytes("\0\0\0\21{\"a\":1,\"a\":2}    ", 21, false) == -EBADMSG);
	CU_ASSERT(read_bytes("\0\0", 2, true) == -ECONNRESET);
	CU_ASSERT(read_bytes("\0\0\0\2{", 5, true) == -ECONNRESET);
	CU_ASSERT(read_bytes("", 0, true) == -ECONNRESET);
	CU_ASSERT(read_bytes("", 0, false) == 0);
}

static void
writing_to_a_closed_peer_is_an_error_not_a_signal(void)
{
	json_t *message = json_pack("{}");
	struct wire wire;

	wire_open(&wire);
	close(wire.far.fd);
	wire.far.fd = -1;
	CU_ASSERT(kvr_message_put(&wire.outbox, message) == 0);
	CU_ASSERT(kvr_message_flush(&wire.near, &wire.outbox) == -EPIPE);
	json_decref(message);
	wire_close(&wire);
}

/* Any bytes at all: messages, an error or a wait, and nothing leaks or is overrun. */
static void
garbage_never_harms(void)
{
	uint32_t i;

	harness_seed();
	for (i = 0; i < N_GARBAGE; i++) {
		uint8_t bytes[512];
		size_t k, n = harness_between(0, sizeof(bytes));
		json_t *message;
		struct wire wire;
		int ret;

		for (k = 0; k < n; k++)
			bytes[k] = (uint8_t)(harness_one_in(3) ? '{' + harness_between(0, 2)
							       : harness_random());
		if (n > 4 && !harness_one_in(4)) {
			memset(bytes, 0, 3);
			bytes[3] = (uint8_t)harness_between(0, n - 4);
		}
		wire_open(&wire);
		CU_ASSERT_FATAL(send(wire.near.fd, bytes, n, 0) == (ssize_t)n);
		while ((ret = kvr_message_read(&wire.far, &wire.inbox, &message)) == 1)
			json_decref(message);
		CU_ASSERT(ret == 0 || ret == -EMSGSIZE || ret == -EBADMSG);
		wire_close(&wire);
	}
}

int
main(void)
{
	return HARNESS_RUN("message", TEST(messages_arrive_whole_in_any_split),
			   TEST(flush_keeps_what_the_socket_does_not_take), TEST(outbox_is_bounded),
			   TEST(messages_that_are_none_are_refused),
			   TEST(writing_to_a_closed_peer_is_an_error_not_a_signal),
			   TEST(garbage_never_harms));
}
