/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A link between two network namespaces that loses, duplicates and reorders packets, for kernels
 * without netem:
 *
 *	lossy_link NETNS_A NETNS_B NAME MTU LOSS DUPLICATE REORDER SEED
 *
 * makes a tap interface NAME in each namespace and carries frames between them until its standard
 * input ends. The rates are in packets of 10,000. Prints "ready" when the interfaces are there, and
 * what it did at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FRAME 65536

struct frame {
	ssize_t bytes; /* 0: none */
	uint8_t data[MAX_FRAME];
};

struct link {
	unsigned int loss, duplicate, reorder;
	unsigned long long n_carried, n_lost, n_duplicated, n_reordered;
};

static void
die(const char *what)
{
	fprintf(stderr, "lossy_link: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
enter(const char *netns)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/run/netns/%s", netns);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(path);
	close(fd);
}

/* The interface belongs to the namespace it is made in, and goes with its descriptor. */
static int
open_tap(const char *netns, const char *name, int mtu)
{
	struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd, sock;

	enter(netns);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &req))
		die("/dev/net/tun");
	sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	req.ifr_mtu = mtu;
	if (sock < 0 || ioctl(sock, SIOCSIFMTU, &req))
		die("MTU");
	close(sock);
	return fd;
}

static bool
happens(unsigned int per_10000)
{
	return (unsigned int)(random() % 10000) < per_10000;
}

static void
carry(struct link *link, int to, const struct frame *frame)
{
	/* A full queue loses the frame, as links do. */
	if (write(to, frame->data, (size_t)frame->bytes) == frame->bytes)
		link->n_carried++;
}

/* What has come from one side; a frame that is held back goes after the next one. */
static void
serve(struct link *link, int from, int to, struct frame *held)
{
	static struct frame frame;

	while ((frame.bytes = read(from, frame.data, sizeof(frame.data))) > 0) {
		if (happens(link->loss)) {
			link->n_lost++;
			continue;
		}
		if (!held->bytes && happens(link->reorder)) {
			link->n_reordered++;
			held->bytes = frame.bytes;
			memcpy(held->data, frame.data, (size_t)frame.bytes);
			continue;
		}
		carry(link, to, &frame);
		if (happens(link->duplicate)) {
			link->n_duplicated++;
			carry(link, to, &frame);
		}
		if (held->bytes)
			carry(link, to, held);
		held->bytes = 0;
	}
}

int
main(int argc, char **argv)
{
	static struct frame held[2];
	struct link link = {0};
	struct pollfd fds[3] = {{.events = POLLIN}, {.events = POLLIN}, {.fd = 0}};

	if (argc != 9) {
		fputs("usage: lossy_link NETNS_A NETNS_B NAME MTU LOSS DUPLICATE REORDER SEED\n",
		      stderr);
		return 2;
	}
	link.loss = (unsigned int)atoi(argv[5]);
	link.duplicate = (unsigned int)atoi(argv[6]);
	link.reorder = (unsigned int)atoi(argv[7]);
	srandom((unsigned int)atoi(argv[8]));
	for (int i = 0; i < 2; i++)
		fds[i].fd = open_tap(argv[1 + i], argv[3], atoi(argv[4]));
	puts("ready");
	fflush(stdout);
	while (!(fds[2].revents & (POLLHUP | POLLERR | POLLNVAL))) {
		if (poll(fds, 3, -1) < 0 && errno != EINTR)
			die("poll");
		for (int i = 0; i < 2; i++) {
			if (fds[i].revents & POLLIN)
				serve(&link, fds[i].fd, fds[!i].fd, &held[i]);
		}
	}
	printf("%llu carried, %llu lost, %llu duplicated, %llu reordered\n", link.n_carried,
	       link.n_lost, link.n_duplicated, link.n_reordered);
	return 0;
}
