/* SPDX-License-Identifier: BSD-3-Clause */
#include "control_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <rte_eal.h>

#include "app_message.h"
#include "eal.h"
#include "log.h"
#include "request.h"

#define REQUEST_BYTES (64 << 10)
#define PATIENCE_S    5 /* for a client that does not write its request, or read its answer */

/* ---- the socket ---- */

/* Does a node answer there? Else it is the file of one that was killed. */
static bool
answers(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool connected =
		fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;

	if (fd >= 0)
		close(fd);
	return connected;
}

int
node_control_socket_open(struct node_control_socket *control, struct node *node)
{
	struct sockaddr_un *address = &control->address;
	mode_t mask;
	int err = 0;

	*control = (struct node_control_socket){.node = node, .listen_fd = -1};
	address->sun_family = AF_UNIX;
	if (snprintf(address->sun_path, sizeof(address->sun_path), "%s/kvrail-%s.sock",
		     rte_eal_get_runtime_dir(),
		     node->options->name) >= (int)sizeof(address->sun_path)) {
		app_message("--name %s: too long for a socket in %s; a shorter --file-prefix helps",
			    node->options->name, rte_eal_get_runtime_dir());
		return -ENAMETOOLONG;
	}
	if (answers(address)) {
		app_message("--name %s: a node of this name runs already (%s)", node->options->name,
			    address->sun_path);
		return -EADDRINUSE;
	}
	unlink(address->sun_path);
	control->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	mask = umask(0177); /* from its first moment on the user's alone */
	if (control->listen_fd < 0 ||
	    bind(control->listen_fd, (const struct sockaddr *)address, sizeof(*address)) != 0 ||
	    listen(control->listen_fd, NODE_MAX_REQUESTS) != 0) {
		err = -errno;
		app_message("%s: %s", address->sun_path, strerror(-err));
		if (control->listen_fd >= 0)
			close(control->listen_fd);
	}
	umask(mask);
	for (uint32_t i = 0; i < NODE_MAX_REQUESTS; i++)
		control->slots[i] = (struct node_request_slot){.socket = control, .fd = -1};
	pthread_mutex_init(&control->lock, NULL);
	pthread_cond_init(&control->ended, NULL);
	return err;
}

void
node_control_socket_close(struct node_control_socket *control)
{
	close(control->listen_fd);
	unlink(control->address.sun_path);
	pthread_mutex_lock(&control->lock);
	while (control->n_running > 0)
		pthread_cond_wait(&control->ended, &control->lock);
	pthread_mutex_unlock(&control->lock);
	pthread_cond_destroy(&control->ended);
	pthread_mutex_destroy(&control->lock);
}

/* ---- one request, on its thread ---- */

/* Takes what came, and the descriptor that came with it; of several the first. */
static ssize_t
receive(int fd, char *text, size_t size, int *file)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct iovec iov = {text, size};
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *header;

	if (n < 0)
		return n;
	for (header = CMSG_FIRSTHDR(&message); header != NULL;
	     header = CMSG_NXTHDR(&message, header)) {
		size_t n_files = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n_files; i++) {
			int received;

			memcpy(&received, CMSG_DATA(header) + i * sizeof(int), sizeof(received));
			if (*file < 0)
				*file = received;
			else
				close(received);
		}
	}
	return n;
}

/* A line. NULL: none came in time, or it is no JSON object. */
static json_t *
read_request(int fd, int *file)
{
	char *text = malloc(REQUEST_BYTES);
	json_t *request = NULL;
	size_t n = 0;
	ssize_t got;

	while (text != NULL && n < REQUEST_BYTES && memchr(text, '\n', n) == NULL) {
		got = receive(fd, text + n, REQUEST_BYTES - n, file);
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	if (text != NULL && memchr(text, '\n', n) != NULL)
		request = json_loadb(text, n, JSON_DISABLE_EOF_CHECK, NULL);
	free(text);
	return request;
}

static void
write_answer(int fd, json_t *answer)
{
	char *text = json_dumps(answer, JSON_COMPACT);
	size_t length = text != NULL ? strlen(text) : 0, done = 0;
	ssize_t n = 1;

	if (text != NULL)
		text[length++] = '\n'; /* in the place of the final 0 */
	while (done < length && n > 0) {
		n = send(fd, text + done, length - done, MSG_NOSIGNAL);
		done += n > 0 ? (size_t)n : 0;
	}
	free(text);
}

static void *
request_main(void *arg)
{
	struct node_request_slot *slot = arg;
	struct node_control_socket *control = slot->socket;
	int file = -1;
	json_t *request, *answer;

	request = read_request(slot->fd, &file);
	answer = node_request(control->node, request, file);
	write_answer(slot->fd, answer);
	json_decref(request);
	json_decref(answer);
	if (file >= 0)
		close(file);
	pthread_mutex_lock(&control->lock);
	close(slot->fd);
	slot->fd = -1;
	control->n_running--;
	pthread_cond_signal(&control->ended);
	pthread_mutex_unlock(&control->lock);
	return NULL;
}

/* ---- new ones ---- */

/* Clients' threads stay off the pollers' CPUs. */
static int
thread_start(struct node_request_slot *slot)
{
	pthread_attr_t attr;
	pthread_t thread;
	cpu_set_t cpus;
	int err;

	app_eal_spare_cpus(&cpus);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
	err = pthread_create(&thread, &attr, request_main, slot);
	pthread_attr_destroy(&attr);
	return -err;
}

static struct node_request_slot *
slot_take(struct node_control_socket *control, int fd)
{
	struct node_request_slot *slot = NULL;

	pthread_mutex_lock(&control->lock);
	for (uint32_t i = 0; slot == NULL && i < NODE_MAX_REQUESTS; i++)
		if (control->slots[i].fd < 0)
			slot = &control->slots[i];
	if (slot != NULL) {
		slot->fd = fd;
		control->n_running++;
	}
	pthread_mutex_unlock(&control->lock);
	return slot;
}

void
node_control_socket_accept(struct node_control_socket *control)
{
	const struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	struct node_request_slot *slot;

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	slot = slot_take(control, fd);
	if (slot == NULL) {
		json_t *answer = json_pack("{s:s}", "error", "too many requests at one time");

		NODE_LOG(WARNING, "kvrail-ctl refused: %d requests are under way\n",
			 NODE_MAX_REQUESTS);
		write_answer(fd, answer);
		json_decref(answer);
		close(fd);
		return;
	}
	if (thread_start(slot) == 0)
		return;
	pthread_mutex_lock(&control->lock);
	close(fd);
	slot->fd = -1;
	control->n_running--;
	pthread_mutex_unlock(&control->lock);
}
