/* SPDX-License-Identifier: BSD-3-Clause */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <jansson.h>

#include "attack.h"
#include "control.h"
#include "engine.h"
#include "harness.h"

#define N_CROWD	    200
#define PATIENCE_S  10
#define ANSWER_SIZE 65536

static struct sockaddr_in victim;
static json_t *hello; /* a good one */

static int
attack_connect(void)
{
	const struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CU_ASSERT_FATAL(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	CU_ASSERT_FATAL(connect(fd, (struct sockaddr *)&victim, sizeof(victim)) == 0);
	return fd;
}

static void
send_raw(int fd, uint32_t size, const void *body, size_t n)
{
	uint32_t header = htonl(size);

	send(fd, &header, sizeof(header), MSG_NOSIGNAL);
	send(fd, body, n, MSG_NOSIGNAL);
}

static void
send_text(int fd, const char *text)
{
	send_raw(fd, (uint32_t)strlen(text), text, strlen(text));
}

static void
send_json(int fd, json_t *message)
{
	char *text = json_dumps(message, JSON_COMPACT);

	send_text(fd, text);
	free(text);
}

/* The type of the next message; "end" when the victim has closed, "silence" when it says nothing.
 */
static void
answer_type(int fd, char *type, size_t size)
{
	char body[ANSWER_SIZE];
	uint32_t header, n_bytes;
	json_t *message;
	ssize_t n = recv(fd, &header, sizeof(header), MSG_WAITALL);

	snprintf(type, size, "%s", n < 0 && errno == EAGAIN ? "silence" : "end");
	if (n != sizeof(header))
		return;
	n_bytes = ntohl(header);
	if (n_bytes > sizeof(body) || recv(fd, body, n_bytes, MSG_WAITALL) != n_bytes)
		return;
	message = json_loadb(body, n_bytes, 0, NULL);
	snprintf(type, size, "%s", kvr_message_type(message));
	json_decref(message);
}

/* 0 when the next answers are these, in this order; "end" is the last. */
static unsigned int
expect(int fd, const char *what, const char *const *types)
{
	char type[64];

	for (; *types != NULL; types++) {
		answer_type(fd, type, sizeof(type));
		if (strcmp(type, *types) == 0)
			continue;
		printf("      attack '%s': answered by '%s', not by '%s'\n", what, type, *types);
		close(fd);
		return 1;
	}
	close(fd);
	return 0;
}
#define EXPECT(fd, what, ...) expect(fd, what, (const char *const[]){__VA_ARGS__, NULL})

/* ---- kinds ---- */

/* Bytes that are no message at all. */
static unsigned int
garbage(void)
{
	uint8_t noise[4096];
	unsigned int n = 0;
	size_t i;
	int fd;

	for (i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)harness_random();
	fd = attack_connect();
	noise[0] = 0xff;
	send(fd, noise, sizeof(noise), MSG_NOSIGNAL);
	n += EXPECT(fd, "noise", "end");
	fd = attack_connect();
	send_raw(fd, sizeof(noise), noise, sizeof(noise));
	n += EXPECT(fd, "noise in a frame", "end");
	fd = attack_connect();
	send_text(fd, "GET / HTTP/1.1\r\n\r\n");
	n += EXPECT(fd, "another protocol", "end");
	fd = attack_connect();
	send_text(fd, "[{\"type\": \"hello\"}]");
	n += EXPECT(fd, "no object", "end");
	memset(noise, '[', sizeof(noise));
	fd = attack_connect();
	send_raw(fd, sizeof(noise), noise, sizeof(noise));
	n += EXPECT(fd, "4096 brackets", "end");
	return n;
}

static unsigned int
sizes(void)
{
	unsigned int n = 0;
	int fd = attack_connect();

	send_raw(fd, UINT32_MAX, "{", 1);
	n += EXPECT(fd, "4 GiB", "end");
	fd = attack_connect();
	send_raw(fd, KVR_MESSAGE_BYTES + 1, "{", 1);
	n += EXPECT(fd, "a byte too long", "end");
	fd = attack_connect();
	send_raw(fd, 0, "", 0);
	n += EXPECT(fd, "nothing", "end");
	return n;
}

/* Good messages at the wrong time, and bad ones at the right time. */
static unsigned int
order(void)
{
	const struct kvr_lane_offer offer = {.qpn = 1, .psn = 1};
	json_t *connect = kvr_lanes_build("connect", &offer, 1);
	static const char *const too_early[] = {
		"{}",
		"{\"type\": 1}",
		"{\"type\": \"goodbye\"}",
		"{\"type\": \"call\", \"body\": \"[]\"}",
		"{\"type\": \"connect\", \"lanes\": [{\"qpn\": 1}]}",
		"{\"type\": \"fence\", \"lanes\": [0]}",
		"{\"type\": \"reconnect\", \"place\": 0}",
		"{\"type\": \"hello\"}",
		"{\"type\": \"hello\", \"protocol\": 99}",
	};
	unsigned int n = 0;
	size_t i;
	int fd;

	for (i = 0; i < sizeof(too_early) / sizeof(too_early[0]); i++) {
		fd = attack_connect();
		send_text(fd, too_early[i]);
		n += EXPECT(fd, too_early[i], "refused", "end");
	}
	fd = attack_connect();
	send_json(fd, hello);
	send_json(fd, hello);
	n += EXPECT(fd, "two hellos", "hello", "refused", "end");
	fd = attack_connect();
	send_json(fd, hello);
	send_json(fd, connect);
	send_json(fd, connect);
	n += EXPECT(fd, "two connects", "hello", "connected", "refused", "end");
	fd = attack_connect();
	send_json(fd, hello);
	send_json(fd, connect);
	send_text(fd, "{\"type\": \"fence\", \"lanes\": [1]}");
	n += EXPECT(fd, "fence of another's lane", "hello", "connected", "refused", "end");
	fd = attack_connect();
	send_json(fd, hello);
	send_json(fd, connect);
	send_text(fd, "{\"type\": \"reconnect\", \"place\": 1, \"lanes\": []}");
	n += EXPECT(fd, "another's lane made anew", "hello", "connected", "refused", "end");
	fd = attack_connect();
	send_json(fd, hello);
	send_json(fd, connect);
	send_text(fd, "{\"type\": \"reconnect\", \"place\": 0, \"lanes\": [{\"qpn\": 1, "
		      "\"psn\": 1, \"device\": 0, \"remote_device\": 15}]}");
	send_text(fd, "{\"type\": \"fence\", \"lanes\": [0]}");
	n += EXPECT(fd, "a lane made anew on no device", "hello", "connected", "reconnected",
		    "fenced");
	fd = attack_connect();
	send_json(fd, hello);
	send_json(fd, connect);
	send_text(fd, "{\"type\": \"fence\", \"lanes\": [0]}");
	send_text(fd, "{\"type\": \"fence\", \"lanes\": [0]}");
	n += EXPECT(fd, "its own lane fenced twice", "hello", "connected", "fenced", "fenced");
	json_decref(connect);
	return n;
}

/* Peers that stop in the middle of a word, that reset, and that say nothing; then a good one. */
static unsigned int
crowd(void)
{
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};
	int fds[N_CROWD];
	unsigned int n;
	uint32_t i;
	int fd;

	for (i = 0; i < N_CROWD; i++) {
		fds[i] = attack_connect();
		switch (i % 4) {
		case 0: /* half a header */
			send(fds[i], "\0\0", 2, MSG_NOSIGNAL);
			break;
		case 1: /* half a body */
			send_raw(fds[i], 1000, "{\"type\"", 7);
			break;
		case 2: /* its half is closed */
			send_raw(fds[i], 1000, "{", 1);
			shutdown(fds[i], SHUT_WR);
			break;
		default: /* silent */
			break;
		}
		if (i % 8 == 7)
			setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	}
	fd = attack_connect();
	send_json(fd, hello);
	n = EXPECT(fd, "a good hello in a crowd", "hello");
	for (i = 0; i < N_CROWD; i++)
		close(fds[i]);
	return n;
}

/* A peer that asks and never reads the answers. */
static unsigned int
deaf(void)
{
	static const char call[] = "{\"type\": \"call\", \"body\": \"[\\\"states\\\"]\"}";
	int fd = attack_connect();
	uint32_t i;

	send_json(fd, hello);
	for (i = 0; i < 2000; i++)
		send_text(fd, call);
	close(fd);
	return 0;
}

unsigned int
attack_run(struct kvr_engine *engine, const char *address)
{
	char host[64], port[8];
	struct kvr_hello ours;
	unsigned int n;

	CU_ASSERT_FATAL(kvr_address_split(address, host, sizeof(host), port, sizeof(port), NULL) ==
			0);
	victim = (struct sockaddr_in){.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)atoi(port))};
	inet_pton(AF_INET, host, &victim.sin_addr);
	kvr_target_hello(engine, false, &ours);
	snprintf(ours.name, sizeof(ours.name), "attacker");
	hello = kvr_hello_build(&ours);
	n = garbage() + sizes() + order() + crowd() + deaf();
	json_decref(hello);
	return n;
}
