/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Control messages on a byte stream: four bytes of length, big-endian, then that many bytes of
 * JSON. Reading and writing never block; what is not complete waits in the inbox or outbox.
 */
#ifndef KVR_MESSAGE_H
#define KVR_MESSAGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#include "kvr_limits.h"

#define KVR_MESSAGE_HEADER_BYTES 4

/* A connected, non-blocking socket. The only place that reads and writes it is message.c. */
struct kvr_stream {
	int fd;
};

/* A message on its way in. All zero is empty. */
struct kvr_inbox {
	uint8_t header[KVR_MESSAGE_HEADER_BYTES];
	uint32_t n_header; /* bytes of the header that are there */
	uint32_t size;	   /* of the body, known once the header is complete */
	uint32_t n_body;
	char *body;
};

/* Messages on their way out. All zero is empty. */
struct kvr_outbox {
	char *bytes;
	size_t size; /* allocated */
	size_t n;    /* to be written */
};

/* Takes one message. 1 and *message, the caller's to json_decref(); 0 nothing complete yet;
 * -ECONNRESET the peer has closed; -EMSGSIZE longer than KVR_MESSAGE_BYTES, or empty; -EBADMSG
 * no JSON object; -ENOMEM; or an -errno of recv(2). After an error the stream is of no more use. */
int kvr_message_read(struct kvr_stream *stream, struct kvr_inbox *inbox, json_t **message);
void kvr_inbox_free(struct kvr_inbox *inbox);

/* Appends a message. 0; -EMSGSIZE; -ENOBUFS the peer does not read, and too much waits; -ENOMEM. */
int kvr_message_put(struct kvr_outbox *outbox, const json_t *message);
/* Writes what the socket takes. 0, or -errno of send(2); what is left is in outbox->n. */
int kvr_message_flush(struct kvr_stream *stream, struct kvr_outbox *outbox);
void kvr_outbox_free(struct kvr_outbox *outbox);

#endif
