/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Links between the processes of an instance: SEQPACKET sockets below <instance directory>/cm, one
 * for each pair that has something to say, whatever the number of ids. The kernel closes those of a
 * process that ends in any way, so the other end learns of it at once.
 *
 * A thread of its own sleeps in poll(2) until something arrives or is due. Only it frees links.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cm.h"
#include "fdtable.h"
#include "nic.h"

#define RECEIVE_PER_PASS 64 /* messages of one link, before others have their turn */

/* A message that found the socket full. */
struct unsent {
	STAILQ_ENTRY(unsent) link;
	struct sn_cm_message message;
};

struct sn_cm_link {
	TAILQ_ENTRY(sn_cm_link) link;
	int fd;
	bool lost;
	uint64_t member; /* at the other end; 0: has not said */
	STAILQ_HEAD(, unsent) unsent;
};

static struct {
	bool running;
	bool stop;
	pthread_t thread;
	int listen_fd;
	int wake_fd;
	struct sockaddr_un name;
	unsigned int n_links;
	TAILQ_HEAD(, sn_cm_link) links;
} carrier;

/* ---- links ---- */

static struct sn_cm_link *
add_link(int fd, uint64_t member)
{
	struct sn_cm_link *link = calloc(1, sizeof(*link));

	fd = sn_fd_make_internal(fd);
	if (!link) {
		sn_fd_close_internal(fd);
		return NULL;
	}
	link->fd = fd;
	link->member = member;
	STAILQ_INIT(&link->unsent);
	TAILQ_INSERT_TAIL(&carrier.links, link, link);
	carrier.n_links++;
	return link;
}

static void
free_link(struct sn_cm_link *link)
{
	struct unsent *unsent;

	while ((unsent = STAILQ_FIRST(&link->unsent))) {
		STAILQ_REMOVE_HEAD(&link->unsent, link);
		free(unsent);
	}
	TAILQ_REMOVE(&carrier.links, link, link);
	carrier.n_links--;
	sn_fd_close_internal(link->fd);
	free(link);
}

static void
set_name(struct sockaddr_un *name, uint64_t member)
{
	*name = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(name->sun_path, sizeof(name->sun_path), "%s/cm/%u", sn_nic.instance.dir,
		 SN_ID_SLOT(member));
}

struct sn_cm_link *
sn_cm_link_to(uint64_t member)
{
	struct sn_cm_link *link;
	struct sockaddr_un name;
	int fd;

	TAILQ_FOREACH (link, &carrier.links, link) {
		if (link->member == member && !link->lost)
			return link;
	}
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return NULL;
	set_name(&name, member);
	if (connect(fd, (struct sockaddr *)&name, sizeof(name))) {
		SN_LOG("rdma_cm: no way to member %u: %s", SN_ID_SLOT(member), strerror(errno));
		sn_fd_close_raw(fd);
		return NULL;
	}
	link = add_link(fd, member);
	sn_cm_carrier_wake();
	return link;
}

void
sn_cm_send(struct sn_cm_link *link, struct sn_cm_message *message)
{
	struct unsent *unsent;

	message->member = sn_nic.instance.id;
	message->to_member = link->member;
	if (link->lost)
		return;
	if (STAILQ_EMPTY(&link->unsent) &&
	    send(link->fd, message, sizeof(*message), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return;
	/* Full: the thread sends it later. Any other error it will meet as well, and say so. */
	unsent = calloc(1, sizeof(*unsent));
	if (!unsent)
		return;
	unsent->message = *message;
	STAILQ_INSERT_TAIL(&link->unsent, unsent, link);
	sn_cm_carrier_wake();
}

/* ---- the thread ---- */

static void
accept_links(void)
{
	int fd;

	while ((fd = accept4(carrier.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		add_link(fd, 0);
}

static void
receive(struct sn_cm_link *link)
{
	struct sn_cm_message message;

	for (unsigned int i = 0; i < RECEIVE_PER_PASS && !link->lost; i++) {
		ssize_t n = recv(link->fd, &message, sizeof(message), MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n != (ssize_t)sizeof(message)) { /* gone; or not one of us */
			link->lost = true;
			return;
		}
		/* Who had the slot before us is not us. */
		if (message.to_member != sn_nic.instance.id) {
			link->lost = true;
			return;
		}
		link->member = message.member;
		sn_cm_receive(link, &message);
	}
}

static void
send_unsent(struct sn_cm_link *link)
{
	struct unsent *unsent;

	while ((unsent = STAILQ_FIRST(&link->unsent))) {
		if (send(link->fd, &unsent->message, sizeof(unsent->message),
			 MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return;
		STAILQ_REMOVE_HEAD(&link->unsent, link);
		free(unsent);
	}
}

static void
serve_links(void)
{
	struct sn_cm_link *link, *next;

	accept_links();
	for (link = TAILQ_FIRST(&carrier.links); link; link = next) {
		next = TAILQ_NEXT(link, link);
		receive(link);
		send_unsent(link);
		if (link->lost) {
			sn_cm_link_lost(link);
			free_link(link);
		}
	}
}

/* Deal with what is due; how long until something will be, in ms, or -1. */
static int
expire_ids(void)
{
	uint64_t now_ns = sn_now_ns(), first_ns = UINT64_MAX;
	struct sn_cm_id *id;

	for (uint32_t handle = 0; (id = sn_cm_id_next(handle));) {
		handle = id->handle + 1;
		if (id->deadline_ns && id->deadline_ns <= now_ns)
			sn_cm_expire(id);
		if (id->deadline_ns)
			first_ns = SN_MIN(first_ns, id->deadline_ns);
	}
	return first_ns == UINT64_MAX ? -1 : (int)((first_ns - now_ns) / 1000000 + 1);
}

/* With the lock held: what to wait for. The links are those of the list, in its order. */
static struct pollfd *
collect(nfds_t *n)
{
	struct pollfd *fds = calloc(carrier.n_links + 2, sizeof(*fds));
	struct sn_cm_link *link;

	*n = 0;
	if (!fds)
		return NULL;
	fds[(*n)++] = (struct pollfd){.fd = carrier.wake_fd, .events = POLLIN};
	fds[(*n)++] = (struct pollfd){.fd = carrier.listen_fd, .events = POLLIN};
	TAILQ_FOREACH (link, &carrier.links, link) {
		short events = STAILQ_EMPTY(&link->unsent) ? POLLIN : POLLIN | POLLOUT;

		fds[(*n)++] = (struct pollfd){.fd = link->fd, .events = events};
	}
	return fds;
}

static void *
carrier_main(void *arg)
{
	eventfd_t ignored;

	(void)arg;
	prctl(PR_SET_NAME, "softnic-cm", 0, 0, 0);
	sn_nic_lock();
	while (!carrier.stop) {
		nfds_t n;
		int timeout_ms = expire_ids();
		struct pollfd *fds = collect(&n);

		sn_nic_unlock();
		/* Without memory for the list: look again soon. */
		poll(fds, n, fds ? timeout_ms : 10);
		free(fds);
		sn_nic_lock();
		eventfd_read(carrier.wake_fd, &ignored);
		serve_links();
	}
	sn_nic_unlock();
	return NULL;
}

void
sn_cm_carrier_wake(void)
{
	eventfd_write(carrier.wake_fd, 1);
}

/* ---- life ---- */

static int
open_sockets(void)
{
	char dir[sizeof(sn_nic.instance.dir) + 8];
	int fd;

	snprintf(dir, sizeof(dir), "%s/cm", sn_nic.instance.dir);
	if (mkdir(dir, 0700) && errno != EEXIST)
		return -errno;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	carrier.listen_fd = sn_fd_make_internal(fd);
	set_name(&carrier.name, sn_nic.instance.id);
	unlink(carrier.name.sun_path); /* of the slot's last member, if it was killed */
	if (bind(carrier.listen_fd, (struct sockaddr *)&carrier.name, sizeof(carrier.name)) ||
	    listen(carrier.listen_fd, SN_MAX_MEMBERS))
		return -errno;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	carrier.wake_fd = sn_fd_make_internal(fd);
	return 0;
}

static void
close_sockets(void)
{
	sn_fd_close_internal(carrier.listen_fd);
	sn_fd_close_internal(carrier.wake_fd);
	carrier.listen_fd = carrier.wake_fd = -1;
}

static int
start(void)
{
	sigset_t all, old;
	int err;

	TAILQ_INIT(&carrier.links);
	carrier.stop = false;
	carrier.listen_fd = carrier.wake_fd = -1;
	err = open_sockets();
	if (!err) {
		sigfillset(&all); /* signals are the program's */
		pthread_sigmask(SIG_SETMASK, &all, &old);
		err = -pthread_create(&carrier.thread, NULL, carrier_main, NULL);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	if (err)
		close_sockets();
	carrier.running = !err;
	return err;
}

int
sn_cm_carrier_start(void)
{
	int err;

	sn_nic_lock();
	err = carrier.running ? 0 : start();
	sn_nic_unlock();
	return err;
}

void
sn_cm_carrier_stop(void)
{
	struct sn_cm_link *link;

	sn_nic_lock();
	bool running = carrier.running;
	carrier.running = false;
	carrier.stop = true;
	if (running)
		sn_cm_carrier_wake();
	sn_nic_unlock();
	if (!running)
		return;
	pthread_join(carrier.thread, NULL);
	while ((link = TAILQ_FIRST(&carrier.links)))
		free_link(link);
	close_sockets();
	unlink(carrier.name.sun_path);
}

void
sn_cm_carrier_forget(void)
{
	struct sn_cm_link *link;

	if (!carrier.running)
		return;
	/* Closed here too, or the parent's peers would not learn of its end. */
	while ((link = TAILQ_FIRST(&carrier.links)))
		free_link(link);
	close_sockets();
	carrier.running = false;
}
