/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fdtable.h"

#define TABLE_SIZE 65536
#define FD_FLOOR   500 /* above what programs reuse or loop over */

/* The lowest bits of an entry say what it points at. */
enum { KIND_NONE, KIND_CONTEXT, KIND_QUEUE, KIND_CM, KIND_INTERNAL, KIND_MASK = 7 };

static _Atomic uintptr_t table[TABLE_SIZE];
static _Atomic int n_used; /* no entry at or above it was ever set */

static void
store(int fd, uintptr_t entry)
{
	int seen = atomic_load(&n_used);

	while (fd >= seen && !atomic_compare_exchange_weak(&n_used, &seen, fd + 1))
		;
	atomic_store_explicit(&table[fd], entry, memory_order_release);
}

static void *
lookup(int fd, uintptr_t kind)
{
	uintptr_t entry;

	if (fd < 0 || fd >= TABLE_SIZE)
		return NULL;
	entry = atomic_load_explicit(&table[fd], memory_order_acquire);
	return (entry & KIND_MASK) == kind ? (void *)(entry & ~(uintptr_t)KIND_MASK) : NULL;
}

static int
set(int fd, void *object, uintptr_t kind)
{
	if (fd < 0 || fd >= TABLE_SIZE)
		return -EMFILE;
	store(fd, object ? (uintptr_t)object | kind : KIND_NONE);
	return 0;
}

struct sn_context *
sn_fd_context(int fd)
{
	return lookup(fd, KIND_CONTEXT);
}

struct sn_event_queue *
sn_fd_queue(int fd)
{
	return lookup(fd, KIND_QUEUE);
}

struct sn_cm_channel *
sn_fd_cm(int fd)
{
	return lookup(fd, KIND_CM);
}

bool
sn_fd_is_internal(int fd)
{
	return fd >= 0 && fd < TABLE_SIZE &&
	       atomic_load_explicit(&table[fd], memory_order_relaxed) == KIND_INTERNAL;
}

int
sn_fd_set_context(int fd, struct sn_context *context)
{
	return set(fd, context, KIND_CONTEXT);
}

int
sn_fd_set_queue(int fd, struct sn_event_queue *queue)
{
	return set(fd, queue, KIND_QUEUE);
}

int
sn_fd_set_cm(int fd, struct sn_cm_channel *channel)
{
	return set(fd, channel, KIND_CM);
}

int
sn_fd_make_internal(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, FD_FLOOR);

	if (high < 0)
		high = fd;
	else
		sn_fd_close_raw(fd);
	if (high < TABLE_SIZE)
		store(high, KIND_INTERNAL);
	return high;
}

void
sn_fd_close_internal(int fd)
{
	if (fd < 0)
		return;
	if (fd < TABLE_SIZE)
		store(fd, KIND_NONE);
	sn_fd_close_raw(fd);
}

int
sn_fd_close_raw(int fd)
{
	return (int)syscall(SYS_close, fd);
}

void
sn_fd_forget_all(void)
{
	for (int fd = 0; fd < atomic_load(&n_used); fd++)
		atomic_store(&table[fd], KIND_NONE);
}
