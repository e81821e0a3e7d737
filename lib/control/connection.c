/* SPDX-License-Identifier: BSD-3-Clause */
/* Control connections: TCP, and requests with their answers. connection.h says who does what. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <rte_common.h>

#include "connection.h"
#include "control.h"
#include "engine.h"

uint64_t
kvr_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int
kvr_ms_until(uint64_t deadline_ns)
{
	uint64_t now_ns = kvr_now_ns();

	if (deadline_ns <= now_ns)
		return 0;
	return (int)RTE_MIN((deadline_ns - now_ns - 1) / 1000000 + 1, (uint64_t)INT_MAX);
}

int
kvr_address_split(const char *address, char *host, size_t host_size, char *port, size_t port_size,
		  struct kvr_error *error)
{
	const char *colon = strrchr(address, ':'), *begin = address, *end = colon;
	unsigned long number;
	char *rest;

	if (colon == NULL || colon == address)
		return kvr_fail(error, -EINVAL, "address '%s' is not HOST:PORT", address);
	if (*begin == '[' && end[-1] == ']') {
		begin++;
		end--;
	} else if (memchr(begin, ':', (size_t)(end - begin)) != NULL) {
		return kvr_fail(error, -EINVAL, "address '%s': write IPv6 as [ADDRESS]:PORT",
				address);
	}
	number = strtoul(colon + 1, &rest, 10);
	if (colon[1] < '0' || colon[1] > '9' || *rest != '\0' || number > UINT16_MAX)
		return kvr_fail(error, -EINVAL, "address '%s': port '%s' is not 0 to 65535",
				address, colon + 1);
	if (end == begin || (size_t)(end - begin) >= host_size || strlen(colon + 1) >= port_size)
		return kvr_fail(error, -EINVAL, "address '%s': host is empty or too long", address);
	memcpy(host, begin, (size_t)(end - begin));
	host[end - begin] = '\0';
	strcpy(port, colon + 1);
	return 0;
}

int
kvr_address_resolve(const char *host, const char *port, int flags, struct addrinfo **list)
{
	struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM,
		.ai_flags = flags | AI_NUMERICSERV | AI_NUMERICHOST,
	};
	int ret;

	ret = getaddrinfo(host, port, &hints, list);
	if (ret != EAI_NONAME)
		return ret;
	hints.ai_flags &= ~AI_NUMERICHOST;
	return getaddrinfo(host, port, &hints, list);
}

/* ---- life ---- */

/* A peer that is gone without a word, its host or cable, is noticed within seconds. */
static void
socket_tune(int fd)
{
	const int on = 1, idle_s = 2, interval_s = 1, n_probes = 3, unacked_ms = 5000;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &n_probes, sizeof(n_probes));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked_ms, sizeof(unacked_ms));
}

struct kvr_connection *
kvr_connection_create(struct kvr_engine *engine, int fd, bool initiator, const char *name)
{
	struct kvr_connection *connection = calloc(1, sizeof(*connection));
	pthread_condattr_t attr;

	if (connection == NULL) {
		close(fd);
		return NULL;
	}
	socket_tune(fd);
	connection->engine = engine;
	connection->stream.fd = fd;
	connection->id = __atomic_add_fetch(&engine->last_connection, 1, __ATOMIC_RELAXED);
	connection->initiator = initiator;
	connection->opened_ns = kvr_now_ns();
	snprintf(connection->name, sizeof(connection->name), "%s", name);
	snprintf(connection->address, sizeof(connection->address), "%s", name);
	LIST_INIT(&connection->requests);
	LIST_INIT(&connection->fences);
	pthread_mutex_init(&connection->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&connection->cond, &attr);
	pthread_condattr_destroy(&attr);
	return connection;
}

void
kvr_connection_destroy(struct kvr_connection *connection)
{
	close(connection->stream.fd);
	kvr_inbox_free(&connection->inbox);
	kvr_outbox_free(&connection->outbox);
	pthread_cond_destroy(&connection->cond);
	pthread_mutex_destroy(&connection->lock);
	free(connection);
}

/* ---- connecting ---- */

static int
connect_one(const struct addrinfo *info, uint64_t deadline_ns, int *fd_out)
{
	struct pollfd pollfd = {.events = POLLOUT};
	socklen_t len = sizeof(int);
	int fd, err = 0;

	fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, info->ai_addr, info->ai_addrlen) != 0)
		err = errno;
	if (err == EINPROGRESS) {
		pollfd.fd = fd;
		do
			err = poll(&pollfd, 1, kvr_ms_until(deadline_ns));
		while (err < 0 && errno == EINTR);
		if (err == 0)
			err = ETIMEDOUT;
		else if (err < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
			err = errno;
	}
	if (err != 0) {
		close(fd);
		return -err;
	}
	*fd_out = fd;
	return 0;
}

/* Tries each address of the name, in the resolver's order. */
static int
connect_any(const char *address, uint64_t deadline_ns, int *fd, struct kvr_error *error)
{
	struct addrinfo *list, *info;
	char host[256], port[8];
	int ret;

	ret = kvr_address_split(address, host, sizeof(host), port, sizeof(port), error);
	if (ret != 0)
		return ret;
	ret = kvr_address_resolve(host, port, 0, &list);
	if (ret != 0)
		return kvr_fail(error, -EHOSTUNREACH, "peer %s: cannot resolve '%s': %s", address,
				host, gai_strerror(ret));
	ret = -EHOSTUNREACH;
	for (info = list; info != NULL; info = info->ai_next) {
		ret = connect_one(info, deadline_ns, fd);
		if (ret == 0 || ret == -ETIMEDOUT)
			break;
	}
	freeaddrinfo(list);
	if (ret != 0)
		return kvr_fail(error, ret, "peer %s: cannot connect: %s", address, strerror(-ret));
	return 0;
}

int
kvr_connection_open(struct kvr_engine *engine, const char *address, uint64_t deadline_ns,
		    struct kvr_connection **connection, struct kvr_error *error)
{
	int fd, ret;

	ret = connect_any(address, deadline_ns, &fd, error);
	if (ret != 0)
		return ret;
	*connection = kvr_connection_create(engine, fd, true, address);
	if (*connection == NULL)
		return kvr_fail(error, -ENOMEM, "out of memory");
	ret = kvr_control_adopt(engine, *connection);
	if (ret != 0) {
		kvr_connection_destroy(*connection);
		return kvr_fail(error, ret, "peer %s: more than %d connections", address,
				KVR_MAX_PEERS);
	}
	return 0;
}

void
kvr_connection_close(struct kvr_connection *connection)
{
	pthread_mutex_lock(&connection->lock);
	connection->want_close = true;
	kvr_control_wake(connection->engine);
	while (!connection->closed)
		pthread_cond_wait(&connection->cond, &connection->lock);
	pthread_mutex_unlock(&connection->lock);
	kvr_connection_destroy(connection);
}

/* ---- messages ---- */

/* Under the lock. An error of the socket is not ours to handle: the control thread sees it. */
static int
send_locked(struct kvr_connection *connection, const json_t *message)
{
	size_t had = connection->outbox.n;
	int ret;

	if (connection->err != 0)
		return -ECONNRESET;
	ret = kvr_message_put(&connection->outbox, message);
	if (ret != 0)
		return ret;
	if (had == 0)
		kvr_message_flush(&connection->stream, &connection->outbox);
	if (connection->outbox.n > 0 && connection->stalled_since_ns == 0) {
		connection->stalled_since_ns = kvr_now_ns();
		kvr_control_wake(connection->engine);
	}
	return 0;
}

int
kvr_connection_send(struct kvr_connection *connection, json_t *message)
{
	int ret;

	pthread_mutex_lock(&connection->lock);
	ret = send_locked(connection, message);
	pthread_mutex_unlock(&connection->lock);
	json_decref(message);
	return ret;
}

int
kvr_connection_request(struct kvr_connection *connection, json_t *message, uint64_t deadline_ns,
		       json_t **answer)
{
	const struct timespec deadline = {
		.tv_sec = (time_t)(deadline_ns / 1000000000),
		.tv_nsec = (long)(deadline_ns % 1000000000),
	};
	struct kvr_request request = {.answer = NULL};
	int ret;

	pthread_mutex_lock(&connection->lock);
	request.id = ++connection->next_id;
	json_object_set_new(message, "id", json_integer((json_int_t)request.id));
	ret = send_locked(connection, message);
	if (ret == 0) {
		LIST_INSERT_HEAD(&connection->requests, &request, link);
		while (request.answer == NULL && connection->err == 0 && ret == 0)
			ret = -pthread_cond_timedwait(&connection->cond, &connection->lock,
						      &deadline);
		LIST_REMOVE(&request, link);
		if (request.answer != NULL)
			ret = 0;
		else if (ret == 0)
			ret = -ECONNRESET;
	}
	pthread_mutex_unlock(&connection->lock);
	json_decref(message);
	*answer = request.answer;
	return ret;
}

void
kvr_connection_answer(struct kvr_connection *connection, json_t *answer)
{
	json_int_t id = json_integer_value(json_object_get(answer, "id"));
	struct kvr_request *request;

	pthread_mutex_lock(&connection->lock);
	LIST_FOREACH (request, &connection->requests, link) {
		if ((id == 0 || request->id == (uint64_t)id) && request->answer == NULL) {
			request->answer = answer;
			answer = NULL;
			pthread_cond_broadcast(&connection->cond);
			break;
		}
	}
	pthread_mutex_unlock(&connection->lock);
	json_decref(answer);
}

void
kvr_connection_fail(struct kvr_connection *connection, int err)
{
	pthread_mutex_lock(&connection->lock);
	if (connection->err == 0)
		connection->err = err;
	pthread_cond_broadcast(&connection->cond);
	pthread_mutex_unlock(&connection->lock);
}

int
kvr_connection_error(struct kvr_connection *connection)
{
	int err;

	pthread_mutex_lock(&connection->lock);
	err = connection->err;
	pthread_mutex_unlock(&connection->lock);
	return err;
}
