/* SPDX-License-Identifier: BSD-3-Clause */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "icrc.h"
#include "roce_queue.h"
#include "softnic.h"

#define MAX_MESSAGES	   32
#define MAX_SEGMENTS	   64	 /* UDP_MAX_SEGMENTS of older kernels */
#define MAX_BYTES	   65000 /* of a message; IPv4 ends at 65507 */
#define MAX_PIECES	   4096
#define MAX_MESSAGE_PIECES 1024 /* UIO_MAXIOV */
#define ARENA_BYTES	   (256u << 10)
#define COPY_BYTES	   256 /* data so short are copied beside their header */
#define TRAILER_BYTES	   8   /* padding and ICRC */
#define MAX_PACKET_ARENA   (SN_ROCE_HEADER_BYTES + COPY_BYTES + TRAILER_BYTES)
#define MAX_PACKET_PIECES  (2 + 32)
#define SEND_TIMEOUT_US	   2000 /* then the network is as good as down: the packets are lost */

/* One datagram, or several of the same length in one buffer. */
struct message {
	struct sockaddr_in to;
	unsigned int first_piece;
	unsigned int n_pieces;
	unsigned int n_segments;
	size_t segment_bytes;
	size_t bytes;
	union {
		struct cmsghdr header;
		uint8_t room[CMSG_SPACE(sizeof(uint16_t))];
	} control;
};

struct sn_roce_flow {
	int fd;
	uint32_t ip_be;
	uint16_t port;
	bool segments; /* the kernel can cut up buffers, as far as we know */
	unsigned int n_messages;
	unsigned int n_pieces;
	size_t arena_used;
	struct message message[MAX_MESSAGES];
	struct mmsghdr out[MAX_MESSAGES];
	struct iovec piece[MAX_PIECES];
	uint8_t arena[ARENA_BYTES];
};

int
sn_roce_flow_create(int fd, uint32_t ip_be, uint16_t port, struct sn_roce_flow **out)
{
	const struct timeval timeout = {.tv_usec = SEND_TIMEOUT_US};
	struct sn_roce_flow *flow = calloc(1, sizeof(*flow));

	if (!flow)
		return -ENOMEM;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	flow->fd = fd;
	flow->ip_be = ip_be;
	flow->port = port;
	flow->segments = true;
	*out = flow;
	return 0;
}

void
sn_roce_flow_destroy(struct sn_roce_flow *flow)
{
	close(flow->fd);
	free(flow);
}

/* ---- sending ---- */

static void
prepare(struct sn_roce_flow *flow, struct message *m, struct msghdr *header)
{
	uint16_t segment = (uint16_t)m->segment_bytes;

	*header = (struct msghdr){.msg_name = &m->to,
				  .msg_namelen = sizeof(m->to),
				  .msg_iov = &flow->piece[m->first_piece],
				  .msg_iovlen = m->n_pieces};
	if (m->n_segments == 1)
		return;
	m->control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(segment)),
					     .cmsg_level = IPPROTO_UDP,
					     .cmsg_type = UDP_SEGMENT};
	memcpy(CMSG_DATA(&m->control.header), &segment, sizeof(segment));
	header->msg_control = &m->control;
	header->msg_controllen = sizeof(m->control);
}

void
sn_roce_flow_flush(struct sn_roce_flow *flow)
{
	unsigned int done = 0;

	for (unsigned int i = 0; i < flow->n_messages; i++)
		prepare(flow, &flow->message[i], &flow->out[i].msg_hdr);
	while (done < flow->n_messages) {
		int n = sendmmsg(flow->fd, flow->out + done, flow->n_messages - done, 0);

		if (n > 0) {
			done += (unsigned int)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		/* A device without checksum offload refuses segments, an old kernel does not know
		 * them. What is lost here is sent again as after any loss. */
		if ((errno == EIO || errno == EINVAL) && flow->message[done].n_segments > 1)
			flow->segments = false;
		SN_LOG("cannot send %zu bytes: %s", flow->message[done].bytes, strerror(errno));
		done++;
	}
	flow->n_messages = flow->n_pieces = 0;
	flow->arena_used = 0;
}

/* ---- queueing ---- */

/* The message that a packet of @bytes to @ip_be becomes a part of. */
static struct message *
choose_message(struct sn_roce_flow *flow, uint32_t ip_be, size_t bytes)
{
	struct message *m = flow->n_messages ? &flow->message[flow->n_messages - 1] : NULL;

	if (m && flow->segments && m->to.sin_addr.s_addr == ip_be && bytes <= m->segment_bytes &&
	    m->bytes == m->n_segments * m->segment_bytes && m->n_segments < MAX_SEGMENTS &&
	    m->bytes + bytes <= MAX_BYTES && m->n_pieces + MAX_PACKET_PIECES <= MAX_MESSAGE_PIECES)
		return m;
	m = &flow->message[flow->n_messages++];
	m->to = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons(SN_ROCE_PORT), .sin_addr.s_addr = ip_be};
	m->first_piece = flow->n_pieces;
	m->n_pieces = m->n_segments = 0;
	m->segment_bytes = bytes;
	m->bytes = 0;
	return m;
}

/* Append bytes that stay where they are; those of the arena often follow each other. */
static void
add_piece(struct sn_roce_flow *flow, struct message *m, void *at, size_t bytes)
{
	struct iovec *last = m->n_pieces ? &flow->piece[flow->n_pieces - 1] : NULL;

	if (last && (uint8_t *)last->iov_base + last->iov_len == at) {
		last->iov_len += bytes;
		return;
	}
	flow->piece[flow->n_pieces++] = (struct iovec){.iov_base = at, .iov_len = bytes};
	m->n_pieces++;
}

static uint8_t *
arena_take(struct sn_roce_flow *flow, size_t bytes)
{
	uint8_t *at = flow->arena + flow->arena_used;

	flow->arena_used += bytes;
	return at;
}

/* Returns the CRC register after the data. */
static uint32_t
add_data(struct sn_roce_flow *flow, struct message *m, uint32_t crc, const struct iovec *data,
	 unsigned int n, size_t total)
{
	for (unsigned int i = 0; i < n; i++) {
		void *at = data[i].iov_base;

		if (total <= COPY_BYTES) {
			at = arena_take(flow, data[i].iov_len);
			memcpy(at, data[i].iov_base, data[i].iov_len);
		}
		crc = sn_icrc_add(crc, at, data[i].iov_len);
		add_piece(flow, m, at, data[i].iov_len);
	}
	return crc;
}

void
sn_roce_flow_add(struct sn_roce_flow *flow, uint32_t dst_ip_be, const struct sn_roce_packet *packet,
		 const struct iovec *data, unsigned int n)
{
	uint8_t encoded[SN_ROCE_HEADER_BYTES], *header, *trailer;
	size_t header_bytes = sn_roce_encode(packet, encoded);
	size_t pad = -packet->data_bytes & 3;
	size_t bytes = header_bytes + packet->data_bytes + pad + SN_ICRC_BYTES;
	struct message *m;
	uint32_t crc;

	if (flow->n_messages == MAX_MESSAGES || flow->n_pieces + MAX_PACKET_PIECES > MAX_PIECES ||
	    flow->arena_used + MAX_PACKET_ARENA > ARENA_BYTES)
		sn_roce_flow_flush(flow);
	m = choose_message(flow, dst_ip_be, bytes);
	/* The kernel numbers the segments of a buffer from 0. */
	const struct sn_icrc_path path = {.src_ip_be = flow->ip_be,
					  .dst_ip_be = dst_ip_be,
					  .src_port = flow->port,
					  .udp_bytes = (uint16_t)bytes,
					  .ip_id = (uint16_t)m->n_segments};

	header = arena_take(flow, header_bytes);
	memcpy(header, encoded, header_bytes);
	crc = sn_icrc_begin(&path, header);
	crc = sn_icrc_add(crc, header + sizeof(struct sn_bth),
			  header_bytes - sizeof(struct sn_bth));
	add_piece(flow, m, header, header_bytes);
	crc = add_data(flow, m, crc, data, n, packet->data_bytes);
	trailer = arena_take(flow, pad + SN_ICRC_BYTES);
	memset(trailer, 0, pad);
	crc = htole32(sn_icrc_end(sn_icrc_add(crc, trailer, pad)));
	memcpy(trailer + pad, &crc, SN_ICRC_BYTES);
	add_piece(flow, m, trailer, pad + SN_ICRC_BYTES);
	m->n_segments++;
	m->bytes += bytes;
}
