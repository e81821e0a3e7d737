/* SPDX-License-Identifier: BSD-3-Clause */
/* Framing of control messages. Nothing here blocks, and nothing here trusts the peer. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <arpa/inet.h>

#include "message.h"

/* A few of the largest messages. */
#define OUTBOX_BYTES ((size_t)4 << 20)

/* How many bytes, 0: none now, or -errno. The end of the stream is -ECONNRESET. */
static ssize_t
stream_read(struct kvr_stream *stream, void *buf, size_t size)
{
	ssize_t n = recv(stream->fd, buf, size, MSG_DONTWAIT);

	if (n > 0)
		return n;
	if (n == 0)
		return -ECONNRESET;
	return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

static ssize_t
stream_write(struct kvr_stream *stream, const void *buf, size_t size)
{
	ssize_t n = send(stream->fd, buf, size, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

static int
header_read(struct kvr_stream *stream, struct kvr_inbox *inbox)
{
	uint32_t size_be;
	ssize_t n;

	n = stream_read(stream, inbox->header + inbox->n_header,
			KVR_MESSAGE_HEADER_BYTES - inbox->n_header);
	if (n <= 0)
		return (int)n;
	inbox->n_header += (uint32_t)n;
	if (inbox->n_header < KVR_MESSAGE_HEADER_BYTES)
		return 0;
	memcpy(&size_be, inbox->header, sizeof(size_be));
	inbox->size = ntohl(size_be);
	if (inbox->size == 0 || inbox->size > KVR_MESSAGE_BYTES)
		return -EMSGSIZE;
	inbox->n_body = 0;
	inbox->body = malloc(inbox->size);
	return inbox->body == NULL ? -ENOMEM : 1;
}

int
kvr_message_read(struct kvr_stream *stream, struct kvr_inbox *inbox, json_t **message)
{
	ssize_t n;
	int ret;

	while (inbox->body == NULL) {
		uint32_t had = inbox->n_header;

		ret = header_read(stream, inbox);
		if (ret < 0)
			return ret;
		if (inbox->n_header == had)
			return 0;
	}
	while (inbox->n_body < inbox->size) {
		n = stream_read(stream, inbox->body + inbox->n_body, inbox->size - inbox->n_body);
		if (n <= 0)
			return (int)n;
		inbox->n_body += (uint32_t)n;
	}
	*message = json_loadb(inbox->body, inbox->size, JSON_REJECT_DUPLICATES, NULL);
	kvr_inbox_free(inbox);
	if (!json_is_object(*message)) {
		json_decref(*message);
		return -EBADMSG;
	}
	return 1;
}

void
kvr_inbox_free(struct kvr_inbox *inbox)
{
	free(inbox->body);
	memset(inbox, 0, sizeof(*inbox));
}

int
kvr_message_put(struct kvr_outbox *outbox, const json_t *message)
{
	size_t body = json_dumpb(message, NULL, 0, JSON_COMPACT);
	size_t total = KVR_MESSAGE_HEADER_BYTES + body;
	uint32_t size_be = htonl((uint32_t)body);

	if (body == 0)
		return -ENOMEM; /* a json_t * that could not be built is NULL */
	if (body > KVR_MESSAGE_BYTES)
		return -EMSGSIZE;
	if (outbox->n + total > OUTBOX_BYTES)
		return -ENOBUFS;
	if (outbox->n + total > outbox->size) {
		char *bytes = realloc(outbox->bytes, outbox->n + total);

		if (bytes == NULL)
			return -ENOMEM;
		outbox->bytes = bytes;
		outbox->size = outbox->n + total;
	}
	memcpy(outbox->bytes + outbox->n, &size_be, sizeof(size_be));
	json_dumpb(message, outbox->bytes + outbox->n + sizeof(size_be), body, JSON_COMPACT);
	outbox->n += total;
	return 0;
}

int
kvr_message_flush(struct kvr_stream *stream, struct kvr_outbox *outbox)
{
	size_t at = 0;
	ssize_t n;

	while (at < outbox->n) {
		n = stream_write(stream, outbox->bytes + at, outbox->n - at);
		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		at += (size_t)n;
	}
	outbox->n -= at;
	if (outbox->n > 0)
		memmove(outbox->bytes, outbox->bytes + at, outbox->n);
	return 0;
}

void
kvr_outbox_free(struct kvr_outbox *outbox)
{
	free(outbox->bytes);
	memset(outbox, 0, sizeof(*outbox));
}
