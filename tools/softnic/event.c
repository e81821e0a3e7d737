/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A SEQPACKET socket pair: read(2), poll(2) and O_NONBLOCK work on the program's end as on the
 * kernel's descriptor, one event a read.
 *
 * The write end must survive programs that close every descriptor they do not know; close(2) is
 * ours, so it refuses those (see fdtable.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "event.h"
#include "fdtable.h"

#define EVENT_MAX_BYTES 16 /* struct ib_uverbs_async_event_desc; completion events have 8 */

int
sn_event_queue_create(struct sn_event_queue **out)
{
	struct sn_event_queue *queue = calloc(1, sizeof(*queue));
	int fds[2], err = 0;

	if (!queue)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds)) {
		err = -errno;
		free(queue);
		return err;
	}
	queue->read_fd = fds[0];
	queue->write_fd = sn_fd_make_internal(fds[1]);
	queue->program_open = true;
	err = sn_fd_set_queue(queue->read_fd, queue);
	if (err) {
		sn_fd_close_internal(queue->write_fd);
		sn_fd_close_raw(queue->read_fd);
		free(queue);
		return err;
	}
	*out = queue;
	return 0;
}

static void
free_if_unused(struct sn_event_queue *queue)
{
	if (!queue->program_open && queue->n_users == 0)
		free(queue);
}

void
sn_event_queue_put(struct sn_event_queue *queue)
{
	queue->n_users--;
	free_if_unused(queue);
}

void
sn_event_queue_closed(struct sn_event_queue *queue)
{
	sn_fd_close_internal(queue->write_fd);
	queue->write_fd = -1;
	queue->read_fd = -1;
	queue->program_open = false;
	free_if_unused(queue);
}

bool
sn_event_queue_push(struct sn_event_queue *queue, const void *event, size_t bytes)
{
	if (queue->write_fd < 0)
		return true;
	if (send(queue->write_fd, event, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return true;
	return errno != EAGAIN && errno != ENOBUFS;
}

/*
 * Destroying a CQ or QP must tell the library how many events the program was given, because it
 * then waits until that many are acknowledged. Unread ones must therefore vanish. They are taken
 * out through the program's own end, and those of other objects put back.
 */
static uint32_t
purge(struct sn_event_queue *queue, uint64_t user_handle)
{
	struct kept {
		uint64_t event[EVENT_MAX_BYTES / 8];
		size_t bytes;
	} *kept = NULL;
	uint64_t event[EVENT_MAX_BYTES / 8];
	size_t n_kept = 0;
	uint32_t n_purged = 0;
	ssize_t n;

	if (queue->read_fd < 0)
		return 0;
	while ((n = recv(queue->read_fd, event, sizeof(event), MSG_DONTWAIT)) > 0) {
		struct kept *more;

		if (event[0] == user_handle) { /* the first word of both kinds */
			n_purged++;
			continue;
		}
		more = realloc(kept, (n_kept + 1) * sizeof(*kept));
		if (!more)
			break;
		kept = more;
		memcpy(kept[n_kept].event, event, sizeof(event));
		kept[n_kept++].bytes = (size_t)n;
	}
	for (size_t i = 0; i < n_kept; i++)
		sn_event_queue_push(queue, kept[i].event, kept[i].bytes);
	free(kept);
	return n_purged;
}

uint32_t
sn_event_queue_given(struct sn_event_queue *queue, uint64_t user_handle, uint32_t n_pushed)
{
	uint32_t n_purged = queue ? purge(queue, user_handle) : n_pushed;

	return n_purged < n_pushed ? n_pushed - n_purged : 0;
}
