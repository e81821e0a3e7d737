/* SPDX-License-Identifier: BSD-3-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "icrc.h"
#include "trace.h"
#include "nic.h"
#include "roce_queue.h"
#include "roce_socket.h"

#define SOCKET_BUFFER_BYTES (16 << 20) /* asked for; rmem_max may give less */
#define RX_DATAGRAMS	    16
#define RX_BYTES	    65536
#define MAX_BACKLOG	    4096
#define FIRST_SOURCE_PORT   0xc000
#define BIND_TRIES	    32
#define FD_FLOOR	    500 /* out of the way of programs that close or reuse low numbers */

/* Before a datagram that one member passes to another. */
struct passed {
	uint32_t src_ip_be;
	uint16_t src_port;
	uint16_t segment_bytes;
	uint32_t device;
};

/* One that found the other's queue full: AF_UNIX holds as few as ten. */
struct held_up {
	TAILQ_ENTRY(held_up) link;
	uint64_t member;
	size_t bytes;
	struct passed passed;
	uint8_t data[];
};
static TAILQ_HEAD(, held_up) backlog = TAILQ_HEAD_INITIALIZER(backlog);
static unsigned int n_backlog;

static struct sn_roce_port ports[SN_MAX_DEVICES];
static int pass_fd = -1;
static uint8_t *rx_buffer; /* RX_DATAGRAMS of RX_BYTES */

/* ---- opening ---- */

static void
pass_address(uint64_t member, struct sockaddr_un *addr, socklen_t *bytes)
{
	/* An abstract name goes with its socket, also after a kill -9. */
	int n = snprintf(addr->sun_path + 1, sizeof(addr->sun_path) - 1, "%s/%llx",
			 sn_nic.instance.dir, (unsigned long long)member);

	addr->sun_family = AF_UNIX;
	addr->sun_path[0] = '\0';
	*bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static int
move_up(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, FD_FLOOR);

	if (high < 0)
		return fd;
	close(fd);
	return high;
}

static void
set_option(int fd, int level, int name, int value)
{
	setsockopt(fd, level, name, &value, sizeof(value));
}

static void
grow_buffers(int fd)
{
	static const struct {
		int force, plain;
	} names[] = {{SO_RCVBUFFORCE, SO_RCVBUF}, {SO_SNDBUFFORCE, SO_SNDBUF}};
	const int bytes = SOCKET_BUFFER_BYTES;

	for (unsigned int i = 0; i < 2; i++) {
		if (setsockopt(fd, SOL_SOCKET, names[i].force, &bytes, sizeof(bytes)))
			set_option(fd, SOL_SOCKET, names[i].plain, bytes);
	}
}

static int
open_udp(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	fd = move_up(fd);
	grow_buffers(fd);
	/* The identification is part of the ICRC, and with this the kernel sends 0. */
	set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
	return fd;
}

static int
bind_to(int fd, uint32_t ip_be, uint16_t udp_port)
{
	const struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_port = htons(udp_port), .sin_addr.s_addr = ip_be};

	return bind(fd, (const void *)&addr, sizeof(addr)) ? -errno : 0;
}

/* A source port of the range that RoCE is sent from, or any if they are taken. */
static int
bind_source(int fd, uint32_t ip_be, uint16_t *source)
{
	struct sockaddr_in addr;
	socklen_t bytes = sizeof(addr);
	int err = -EADDRINUSE;

	for (unsigned int i = 0; i < BIND_TRIES && err == -EADDRINUSE; i++)
		err = bind_to(fd, ip_be, (uint16_t)(FIRST_SOURCE_PORT + random() % 0x4000));
	if (err)
		err = bind_to(fd, ip_be, 0);
	if (!err && getsockname(fd, (void *)&addr, &bytes))
		err = -errno;
	if (!err)
		*source = ntohs(addr.sin_port);
	return err;
}

static int
open_receiver(struct sn_roce_port *port)
{
	int bytes = 0, err;
	socklen_t size = sizeof(bytes);

	port->fd = open_udp();
	if (port->fd < 0)
		return port->fd;
	set_option(port->fd, SOL_SOCKET, SO_REUSEPORT, 1);
	set_option(port->fd, IPPROTO_UDP, UDP_GRO, 1);
	err = bind_to(port->fd, port->ip_be, SN_ROCE_PORT);
	if (err)
		return err;
	getsockopt(port->fd, SOL_SOCKET, SO_RCVBUF, &bytes, &size);
	/* The kernel counts its own bookkeeping too, up to three times the data. */
	port->window_bytes = (uint32_t)bytes / 4;
	return 0;
}

static int
open_flow(struct sn_roce_port *port, struct sn_roce_flow **flow)
{
	uint16_t source;
	int err, fd = open_udp();

	if (fd < 0)
		return fd;
	err = bind_source(fd, port->ip_be, &source);
	if (!err)
		err = sn_roce_flow_create(fd, port->ip_be, source, flow);
	if (err)
		close(fd);
	return err;
}

static void
close_port(struct sn_roce_port *port)
{
	for (unsigned int i = 0; i < SN_ROCE_FLOWS; i++) {
		if (port->flow[i])
			sn_roce_flow_destroy(port->flow[i]);
	}
	if (port->fd >= 0)
		close(port->fd);
	memset(port, 0, sizeof(*port));
}

int
sn_roce_port_get(unsigned int device, struct sn_roce_port **out)
{
	struct sn_roce_port *port = &ports[device];
	int err;

	*out = port;
	if (port->is_open)
		return 0;
	port->device = (uint8_t)device;
	port->ip_be = sn_nic.instance.shm->fabric.device[device].ip_be;
	err = open_receiver(port);
	for (unsigned int i = 0; i < SN_ROCE_FLOWS && !err; i++)
		err = open_flow(port, &port->flow[i]);
	if (err) {
		SN_LOG("mlx5_%u: no socket on its address: %s", device, strerror(-err));
		close_port(port);
		return err;
	}
	port->is_open = true;
	return 0;
}

int
sn_roce_sockets_open(void)
{
	struct sockaddr_un addr;
	socklen_t bytes;

	rx_buffer = malloc(RX_DATAGRAMS * (size_t)RX_BYTES);
	if (!rx_buffer)
		return -ENOMEM;
	pass_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (pass_fd < 0)
		return -errno;
	pass_fd = move_up(pass_fd);
	grow_buffers(pass_fd);
	pass_address(sn_nic.instance.id, &addr, &bytes);
	return bind(pass_fd, (const void *)&addr, bytes) ? -errno : 0;
}

void
sn_roce_sockets_close(void)
{
	for (unsigned int i = 0; i < SN_MAX_DEVICES; i++) {
		if (ports[i].is_open)
			close_port(&ports[i]);
	}
	for (struct held_up *h; (h = TAILQ_FIRST(&backlog)); free(h))
		TAILQ_REMOVE(&backlog, h, link);
	n_backlog = 0;
	if (pass_fd >= 0)
		close(pass_fd);
	pass_fd = -1;
	free(rx_buffer);
	rx_buffer = NULL;
}

/* ---- sending ---- */

void
sn_roce_send(struct sn_roce_port *port, uint32_t flow, uint32_t dst_ip_be,
	     const struct sn_roce_packet *packet, const struct iovec *data, unsigned int n)
{
	if (__builtin_expect(sn_trace_on, 0))
		sn_trace_roce("tx", port->device, packet);
	sn_roce_flow_add(port->flow[flow % SN_ROCE_FLOWS], dst_ip_be, packet, data, n);
}

void
sn_roce_flush(struct sn_roce_port *port)
{
	for (unsigned int i = 0; i < SN_ROCE_FLOWS; i++)
		sn_roce_flow_flush(port->flow[i]);
}

/* ---- receiving ---- */

struct arrival {
	struct sn_roce_port *port;
	sn_roce_handler *handler;
	uint8_t *data;
	size_t bytes;
	size_t segment_bytes; /* several packets of this size, the last maybe shorter */
	uint32_t src_ip_be;
	uint16_t src_port;
	bool was_passed;
};

/* False: its queue is full. */
static bool
pass_now(uint64_t member, const struct passed *passed, const uint8_t *data, size_t bytes)
{
	struct iovec iov[2] = {{(void *)(uintptr_t)passed, sizeof(*passed)},
			       {(void *)(uintptr_t)data, bytes}};
	struct sockaddr_un addr;
	struct msghdr msg = {.msg_name = &addr, .msg_iov = iov, .msg_iovlen = 2};

	pass_address(member, &addr, &msg.msg_namelen);
	return sendmsg(pass_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno != EAGAIN;
}

static void
hold_up(uint64_t member, const struct passed *passed, const uint8_t *data, size_t bytes)
{
	struct held_up *h = n_backlog < MAX_BACKLOG ? malloc(sizeof(*h) + bytes) : NULL;

	if (!h)
		return; /* lost, as if on the way */
	h->member = member;
	h->bytes = bytes;
	h->passed = *passed;
	memcpy(h->data, data, bytes);
	TAILQ_INSERT_TAIL(&backlog, h, link);
	n_backlog++;
}

/* In their order, as far as there is room; who is stopped does not hold up the others. */
static void
pass_backlog(void)
{
	struct held_up *h, *next;
	uint64_t full = 0;

	for (h = TAILQ_FIRST(&backlog); h; h = next) {
		next = TAILQ_NEXT(h, link);
		if (h->member == full)
			continue;
		if (!pass_now(h->member, &h->passed, h->data, h->bytes)) {
			full = h->member;
			continue;
		}
		TAILQ_REMOVE(&backlog, h, link);
		n_backlog--;
		free(h);
	}
}

/* To the member that owns the QP. */
static void
pass_on(const struct arrival *a, uint64_t member, const uint8_t *at, size_t bytes)
{
	struct passed passed = {.src_ip_be = a->src_ip_be,
				.src_port = a->src_port,
				.segment_bytes = (uint16_t)bytes,
				.device = a->port->device};

	if (n_backlog || !pass_now(member, &passed, at, bytes))
		hold_up(member, &passed, at, bytes);
}

/* The living member that has this QP, or 0. */
static uint64_t
owner_of(uint32_t qpn)
{
	struct sn_shm *shm = sn_nic.instance.shm;
	struct sn_shm_qp *qp = &shm->qp[qpn % SN_MAX_QPS];
	uint64_t owner = atomic_load(&qp->owner);

	return atomic_load(&qp->qpn) == qpn && sn_member_lives(shm, owner) ? owner : 0;
}

static void
take_packet(const struct arrival *a, const uint8_t *at, size_t bytes, uint16_t guessed_id)
{
	const struct sn_icrc_path path = {.src_ip_be = a->src_ip_be,
					  .dst_ip_be = a->port->ip_be,
					  .src_port = a->src_port,
					  .udp_bytes = (uint16_t)bytes,
					  .ip_id = guessed_id};
	struct sn_roce_packet packet;
	uint64_t owner;

	if (bytes < sizeof(struct sn_bth) + SN_ICRC_BYTES)
		return;
	owner = owner_of(sn_roce_dst_qpn(at));
	if (owner != sn_nic.instance.id) {
		if (owner && !a->was_passed)
			pass_on(a, owner, at, bytes);
		return;
	}
	if (!sn_icrc_matches(&path, at)) {
		SN_LOG("mlx5_%u: a packet of %zu bytes with a wrong ICRC", a->port->device, bytes);
		sn_nic_count(a->port->device, SN_CNT_ICRC_ERRORS, 1);
		return;
	}
	if (!sn_roce_decode(at, bytes, &packet))
		return;
	packet.src_ip_be = a->src_ip_be;
	a->handler(a->port, &packet);
}

static void
take_arrival(const struct arrival *a)
{
	size_t left = a->bytes;
	uint16_t id = 0; /* a sender that segments counts from 0 */

	for (const uint8_t *at = a->data; left; at += a->segment_bytes, id++) {
		size_t bytes = SN_MIN(left, a->segment_bytes);

		take_packet(a, at, bytes, id);
		left -= bytes;
	}
}

/* The segment size that the kernel tells with a datagram made of several. */
static size_t
told_segment(struct msghdr *msg, size_t bytes)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		int segment;

		if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO)
			continue;
		memcpy(&segment, CMSG_DATA(c), sizeof(segment));
		if (segment > 0)
			return (size_t)segment;
	}
	return bytes;
}

static unsigned int
receive_port(struct sn_roce_port *port, unsigned int budget, sn_roce_handler *handler)
{
	static struct mmsghdr msgs[RX_DATAGRAMS];
	static struct sockaddr_in from[RX_DATAGRAMS];
	static union {
		struct cmsghdr align;
		uint8_t room[CMSG_SPACE(sizeof(int))];
	} control[RX_DATAGRAMS];
	struct iovec iov[RX_DATAGRAMS];
	unsigned int want = SN_MIN(budget, RX_DATAGRAMS);
	int n;

	for (unsigned int i = 0; i < want; i++) {
		iov[i] = (struct iovec){rx_buffer + (size_t)i * RX_BYTES, RX_BYTES};
		msgs[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
						  .msg_namelen = sizeof(from[i]),
						  .msg_iov = &iov[i],
						  .msg_iovlen = 1,
						  .msg_control = &control[i],
						  .msg_controllen = sizeof(control[i])};
	}
	n = recvmmsg(port->fd, msgs, want, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++) {
		const struct arrival arrival = {
			.port = port,
			.handler = handler,
			.data = iov[i].iov_base,
			.bytes = msgs[i].msg_len,
			.segment_bytes = told_segment(&msgs[i].msg_hdr, msgs[i].msg_len),
			.src_ip_be = from[i].sin_addr.s_addr,
			.src_port = ntohs(from[i].sin_port),
		};

		take_arrival(&arrival);
	}
	return n > 0 ? (unsigned int)n : 0;
}

/* What other members got for us. */
static unsigned int
receive_passed(unsigned int budget, sn_roce_handler *handler)
{
	unsigned int n = 0;

	for (; n < budget; n++) {
		struct passed passed;
		struct iovec iov[2] = {{&passed, sizeof(passed)}, {rx_buffer, RX_BYTES}};
		struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
		ssize_t bytes = recvmsg(pass_fd, &msg, MSG_DONTWAIT);

		if (bytes < (ssize_t)sizeof(passed))
			break;
		if (passed.device >= SN_MAX_DEVICES || !ports[passed.device].is_open)
			continue;
		take_arrival(&(struct arrival){.port = &ports[passed.device],
					       .handler = handler,
					       .data = rx_buffer,
					       .bytes = (size_t)bytes - sizeof(passed),
					       .segment_bytes = (size_t)bytes - sizeof(passed),
					       .src_ip_be = passed.src_ip_be,
					       .src_port = passed.src_port,
					       .was_passed = true});
	}
	return n;
}

unsigned int
sn_roce_receive(unsigned int budget, sn_roce_handler *handler)
{
	unsigned int n = receive_passed(budget, handler);

	pass_backlog();
	for (unsigned int i = 0; i < SN_MAX_DEVICES && n < budget; i++) {
		if (ports[i].is_open)
			n += receive_port(&ports[i], budget - n, handler);
	}
	return n;
}

void
sn_roce_sleep(uint64_t ns)
{
	const struct timespec timeout = {.tv_nsec = (long)ns};
	struct pollfd fds[SN_MAX_DEVICES + 1] = {{.fd = pass_fd, .events = POLLIN}};
	nfds_t n = 1;

	for (unsigned int i = 0; i < SN_MAX_DEVICES; i++) {
		if (ports[i].is_open)
			fds[n++] = (struct pollfd){.fd = ports[i].fd, .events = POLLIN};
	}
	ppoll(fds, n, &timeout, NULL);
}
