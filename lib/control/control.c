/* SPDX-License-Identifier: BSD-3-Clause */
/* The control thread: one loop over everything that is not data. control.h has its duties. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/in.h>

#include <rte_common.h>
#include <rte_lcore.h>

#include "control.h"
#include "engine.h"

#define TURN_MS		250 /* a turn at least, for the telemetry's samples */
#define MESSAGES_A_TURN 16  /* of one connection, so that it does not starve the others */
#define STALL_NS	((uint64_t)5000000000) /* a peer that does not read for so long is lost */
#define HELLO_NS	((uint64_t)5000000000) /* who connects has so long to say hello */

/* ---- the end of a connection ---- */

/* Lanes to a peer that is gone. Its target side destroys the QPs at the other ends. */
static void
lose_lanes(struct kvr_engine *engine, struct kvr_connection *connection, int err)
{
	struct kvr_peer *peer;
	uint32_t n;

	pthread_mutex_lock(&engine->control_lock);
	peer = connection->peer;
	if (peer != NULL) {
		__atomic_store_n(&peer->lost, 1, __ATOMIC_RELEASE);
		n = kvr_lanes_fail(engine, peer, -ECONNRESET);
		KVR_LOG(WARNING,
			"peer %s (%s) is lost: %s; its %u lanes are down, batches to it fail: "
			"open its segments again once it is back\n",
			peer->name, peer->address, strerror(-err), n);
	}
	pthread_mutex_unlock(&engine->control_lock);
}

/* Lets go of a connection, for `err`; -ESHUTDOWN: its owner wanted that. An initiator's belongs to
 * its opener, who frees it. */
static void
connection_end(struct kvr_connection *connection, int err)
{
	bool wanted = err == -ESHUTDOWN;

	kvr_connection_fail(connection, wanted ? -ECONNRESET : err);
	if (!connection->initiator) {
		if (!wanted && connection->n_qps > 0)
			KVR_LOG(INFO, "peer %s: its connection has ended (%s), its %u QPs too\n",
				connection->name, strerror(-err), connection->n_qps);
		kvr_target_release(connection);
		kvr_target_gone(connection);
		kvr_connection_destroy(connection);
		return;
	}
	if (!wanted)
		lose_lanes(connection->engine, connection, err);
	pthread_mutex_lock(&connection->lock);
	connection->closed = true;
	pthread_cond_broadcast(&connection->cond);
	pthread_mutex_unlock(&connection->lock);
}

/* ---- one turn of a connection ---- */

/* Consumes it. */
static void
initiator_message(struct kvr_connection *connection, json_t *message)
{
	const char *type = kvr_message_type(message);

	if (strcmp(type, "fenced") == 0) {
		kvr_fence_confirm(connection, message);
	} else if (strcmp(type, "reconnected") == 0) {
		kvr_revive_confirm(connection, message);
	} else {
		kvr_connection_answer(connection, message);
		return;
	}
	json_decref(message);
}

static int
connection_read(struct kvr_connection *connection)
{
	json_t *message;
	int i, ret = 0;

	for (i = 0; i < MESSAGES_A_TURN; i++) {
		ret = kvr_message_read(&connection->stream, &connection->inbox, &message);
		if (ret <= 0)
			return ret;
		if (connection->initiator) {
			initiator_message(connection, message);
			continue;
		}
		ret = kvr_target_message(connection, message);
		json_decref(message);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Writes what waits. 0, or why the connection is over. */
static int
connection_write(struct kvr_connection *connection, uint64_t now_ns, bool *want_close)
{
	size_t had;
	int ret;

	pthread_mutex_lock(&connection->lock);
	had = connection->outbox.n;
	ret = kvr_message_flush(&connection->stream, &connection->outbox);
	if (connection->outbox.n == 0)
		connection->stalled_since_ns = 0;
	else if (connection->outbox.n < had)
		connection->stalled_since_ns = now_ns;
	else if (ret == 0 && now_ns - connection->stalled_since_ns > STALL_NS)
		ret = -ETIMEDOUT;
	if (connection->refused && connection->outbox.n == 0)
		connection->want_close = true;
	*want_close = connection->want_close;
	pthread_mutex_unlock(&connection->lock);
	return ret;
}

/* 0; why it is over; or -ESHUTDOWN: its owner wants it to be. */
static int
connection_turn(struct kvr_connection *connection, short revents)
{
	uint64_t now_ns = kvr_now_ns();
	bool want_close = false;
	int ret = 0;

	if (revents != 0)
		ret = connection_read(connection);
	if (ret == -EMSGSIZE || ret == -EBADMSG)
		KVR_LOG(WARNING, "peer %s: its message is too long or no JSON object\n",
			connection->name);
	if (ret == 0)
		ret = connection_write(connection, now_ns, &want_close);
	if (ret == 0 && !connection->initiator && !connection->greeted &&
	    now_ns - connection->opened_ns > HELLO_NS)
		ret = -ETIMEDOUT;
	return ret == 0 && want_close ? -ESHUTDOWN : ret;
}

/* ---- new connections ---- */

int
kvr_control_adopt(struct kvr_engine *engine, struct kvr_connection *connection)
{
	struct kvr_control *control = engine->control;
	int ret = 0;

	pthread_mutex_lock(&control->lock);
	if (control->n_connections == KVR_MAX_PEERS)
		ret = -ENOSPC;
	else
		control->connections[control->n_connections++] = connection;
	pthread_mutex_unlock(&control->lock);
	kvr_control_wake(engine);
	return ret;
}

static void
listener_accept(struct kvr_control *control)
{
	struct kvr_connection *connection;
	char host[INET6_ADDRSTRLEN], name[KVR_NAME_BYTES], port[8];
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	int fd;

	fd = accept4(control->listen_fd, (struct sockaddr *)&from, &from_len,
		     SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		control->rest = errno != EAGAIN && errno != EINTR && errno != ECONNABORTED;
		if (control->rest)
			KVR_LOG(ERR, "cannot accept a peer: %s\n", strerror(errno));
		return;
	}
	if (getnameinfo((struct sockaddr *)&from, from_len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		snprintf(name, sizeof(name), "unknown");
	else
		snprintf(name, sizeof(name), "%s port %s", host, port);
	connection = kvr_connection_create(control->engine, fd, false, name);
	if (connection == NULL)
		return;
	if (kvr_control_adopt(control->engine, connection) != 0) {
		KVR_LOG(WARNING, "peer %s refused: too many peers, %d\n", name, KVR_MAX_PEERS);
		kvr_connection_send(connection, kvr_refused_build("too many peers"));
		kvr_connection_destroy(connection);
	}
}

/* The socket of the first address that can be had. */
static int
listen_any(const char *host, const char *port, int *fd_out)
{
	struct addrinfo *list, *info;
	const int on = 1;
	int fd, ret = -EADDRNOTAVAIL;

	if (kvr_address_resolve(host, port, AI_PASSIVE, &list) != 0)
		return ret;
	for (info = list; info != NULL && ret != 0; info = info->ai_next) {
		fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd < 0) {
			ret = -errno;
			continue;
		}
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0) {
			*fd_out = fd;
			ret = 0;
		} else {
			ret = -errno;
			close(fd);
		}
	}
	freeaddrinfo(list);
	return ret;
}

static int
listener_open(struct kvr_engine *engine, const char *listen, struct kvr_error *error)
{
	struct sockaddr_storage bound;
	socklen_t bound_len = sizeof(bound);
	char host[256], port[8];
	int ret;

	ret = kvr_address_split(listen, host, sizeof(host), port, sizeof(port), error);
	if (ret != 0)
		return ret;
	ret = listen_any(host, port, &engine->control->listen_fd);
	if (ret != 0)
		return kvr_fail(error, ret, "cannot listen on %s: %s", listen, strerror(-ret));
	/* With port 0 the kernel has chosen one. */
	getsockname(engine->control->listen_fd, (struct sockaddr *)&bound, &bound_len);
	getnameinfo((struct sockaddr *)&bound, bound_len, NULL, 0, port, sizeof(port),
		    NI_NUMERICSERV);
	snprintf(engine->address, sizeof(engine->address), "%.*s:%s",
		 (int)(strrchr(listen, ':') - listen), listen, port);
	return 0;
}

/* ---- events of devices ---- */

/* A port that goes down takes its lanes out of use, and one that comes back brings them back. Other
 * events are for the operator to read: a QP that one ends, our lane's or one that serves a peer's,
 * ends that lane alone, by the error CQE of its next request. */
static void
device_event(struct kvr_engine *engine, const struct kvr_device *device)
{
	struct ibv_async_event event;
	const char *what;

	if (ibv_get_async_event(device->context, &event) != 0)
		return;
	what = ibv_event_type_str(event.event_type);
	if (event.event_type == IBV_EVENT_QP_FATAL || event.event_type == IBV_EVENT_QP_REQ_ERR ||
	    event.event_type == IBV_EVENT_QP_ACCESS_ERR)
		KVR_LOG(WARNING, "device %s: QP %u: %s: its lane ends\n", device->name,
			event.element.qp->qp_num, what);
	else
		KVR_LOG(WARNING, "device %s: %s\n", device->name, what);
	if (event.event_type == IBV_EVENT_DEVICE_FATAL ||
	    (event.event_type == IBV_EVENT_PORT_ERR && event.element.port_num == device->port))
		kvr_port_changed(engine, device, false);
	else if (event.event_type == IBV_EVENT_PORT_ACTIVE &&
		 event.element.port_num == device->port)
		kvr_port_changed(engine, device, true);
	/* Before the QP can be destroyed, which waits for this. */
	ibv_ack_async_event(&event);
}

/* ---- the loop ---- */

/* Fills control->fds. Returns how many of the connections are in it. */
static uint32_t
turn_prepare(struct kvr_control *control)
{
	const struct kvr_engine *engine = control->engine;
	struct pollfd *at = control->fds;
	uint32_t i, n;

	*at++ = (struct pollfd){.fd = control->wake_fd, .events = POLLIN};
	*at++ = (struct pollfd){.fd = control->rest ? -1 : control->listen_fd, .events = POLLIN};
	control->rest = false;
	for (i = 0; i < engine->n_devices; i++)
		*at++ = (struct pollfd){.fd = engine->devices[i].context->async_fd,
					.events = POLLIN};
	pthread_mutex_lock(&control->lock);
	n = control->n_connections;
	pthread_mutex_unlock(&control->lock);
	for (i = 0; i < n; i++) {
		struct kvr_connection *connection = control->connections[i];

		pthread_mutex_lock(&connection->lock);
		*at++ = (struct pollfd){
			.fd = connection->stream.fd,
			.events = (short)(POLLIN | (connection->outbox.n > 0 ? POLLOUT : 0)),
		};
		pthread_mutex_unlock(&connection->lock);
	}
	return n;
}

/* Every connection has its turn, woken or not: some have become late, some are to be closed.
 * Returns when the next fence will be late. */
static uint64_t
turn_connections(struct kvr_control *control, const struct pollfd *fds, uint32_t n)
{
	uint64_t next_ns = UINT64_MAX;

	while (n-- > 0) {
		struct kvr_connection *connection = control->connections[n];
		int ret = connection_turn(connection, fds[n].revents);

		if (ret == 0) {
			next_ns = RTE_MIN(next_ns, kvr_fences_expire(connection, kvr_now_ns()));
			continue;
		}
		/* Out of the telemetry's sight before it is freed. */
		pthread_mutex_lock(&control->lock);
		control->connections[n] = control->connections[--control->n_connections];
		pthread_mutex_unlock(&control->lock);
		connection_end(connection, ret);
	}
	return next_ns;
}

static void
turn_lanes(struct kvr_engine *engine)
{
	uint64_t now_ns = kvr_now_ns();
	uint32_t i;

	pthread_mutex_lock(&engine->control_lock);
	for (i = 0; i < engine->n_peers; i++) {
		kvr_lanes_drain(engine, engine->peers[i]);
		kvr_lanes_revive(engine, engine->peers[i], now_ns);
	}
	pthread_mutex_unlock(&engine->control_lock);
}

static void *
control_main(void *arg)
{
	struct kvr_control *control = arg;
	struct kvr_engine *engine = control->engine;
	struct pollfd *fds = control->fds;
	uint64_t next_ns = UINT64_MAX, wakes;
	uint32_t i, n;

	while (!__atomic_load_n(&control->stop, __ATOMIC_ACQUIRE)) {
		n = turn_prepare(control);
		if (poll(fds, 2 + engine->n_devices + n, RTE_MIN(TURN_MS, kvr_ms_until(next_ns))) <
		    0)
			continue;
		kvr_telemetry_sample(engine);
		if (fds[0].revents != 0 && read(control->wake_fd, &wakes, sizeof(wakes)) < 0)
			KVR_LOG(ERR, "cannot read the eventfd: %s\n", strerror(errno));
		turn_lanes(engine);
		for (i = 0; i < engine->n_devices; i++)
			if (fds[2 + i].revents & POLLIN)
				device_event(engine, &engine->devices[i]);
		next_ns = turn_connections(control, fds + 2 + engine->n_devices, n);
		if (fds[1].revents & POLLIN)
			listener_accept(control);
	}
	return NULL;
}

/* Any thread, pollers too: an eventfd in non-blocking mode. */
void
kvr_control_wake(struct kvr_engine *engine)
{
	const uint64_t one = 1;
	ssize_t n = write(engine->control->wake_fd, &one, sizeof(one));

	(void)n; /* EAGAIN: it is being woken more than enough */
}

static void
control_free(struct kvr_control *control)
{
	struct kvr_engine *engine = control->engine;

	/* From here on the telemetry finds none. */
	pthread_mutex_lock(&engine->control_lock);
	engine->control = NULL;
	pthread_mutex_unlock(&engine->control_lock);
	engine->address[0] = '\0';
	if (control->listen_fd >= 0)
		close(control->listen_fd);
	if (control->wake_fd >= 0)
		close(control->wake_fd);
	pthread_mutex_destroy(&control->lock);
	pthread_mutex_destroy(&control->open_lock);
	free(control);
}

int
kvr_control_start(struct kvr_engine *engine, const char *listen, struct kvr_error *error)
{
	struct kvr_control *control = calloc(1, sizeof(*control));
	uint32_t i;
	int ret = 0;

	if (control == NULL)
		return kvr_fail(error, -ENOMEM, "out of memory");
	control->engine = engine;
	engine->control = control;
	pthread_mutex_init(&control->lock, NULL);
	pthread_mutex_init(&control->open_lock, NULL);
	control->listen_fd = -1;
	control->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (control->wake_fd < 0)
		ret = kvr_fail(error, -errno, "no eventfd: %s", strerror(errno));
	for (i = 0; i < engine->n_devices; i++) {
		int fd = engine->devices[i].context->async_fd;

		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	}
	if (ret == 0 && listen != NULL)
		ret = listener_open(engine, listen, error);
	if (ret == 0) {
		ret = rte_ctrl_thread_create(&control->thread, "kvr-control", NULL, control_main,
					     control);
		if (ret != 0)
			kvr_fail(error, ret, "no control thread: %s", strerror(-ret));
	}
	if (ret != 0)
		control_free(control);
	return ret;
}

void
kvr_control_stop(struct kvr_engine *engine)
{
	struct kvr_control *control = engine->control;
	uint32_t i;

	__atomic_store_n(&control->stop, true, __ATOMIC_RELEASE);
	kvr_control_wake(engine);
	pthread_join(control->thread, NULL);
	/* Segments are closed, so that what is left are peers that connected to us. */
	for (i = 0; i < control->n_connections; i++)
		connection_end(control->connections[i], -ESHUTDOWN);
	control_free(control);
}
