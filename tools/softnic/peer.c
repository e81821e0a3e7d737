/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A region whose memory lies in a file is mapped here once, on its first use, and kept until the
 * region is deregistered or its owner dies. The registration's serial number, never used twice,
 * says whether a kept mapping still belongs to the region: a stale one is never used.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rdma/ib_user_ioctl_verbs.h>

#include "nic.h"
#include "peer.h"

/*
 * A piece of a file, mapped. Regions of the same memory share one: a program registers its memory
 * with every device, and lines that are cached under one address are slow to reach under another on
 * some processors. While it is mapped, the file and its inode number live.
 */
struct view {
	LIST_ENTRY(view) link;
	uint32_t n_windows;
	int prot;
	struct sn_mr_extent extent;
	uint8_t *here;
};

struct window {
	uint64_t serial;    /* of the region this is a window to */
	uint32_t n_extents; /* 0: it could not be mapped; do not try again */
	struct {
		uint64_t addr; /* in the owner's space */
		uint64_t len;
		struct view *view;
	} extent[SN_MR_MAX_EXTENTS];
};

static LIST_HEAD(, view) views = LIST_HEAD_INITIALIZER(views);

static struct window *windows[SN_MAX_MRS]; /* by region; owned by the NIC thread */
static uint32_t n_windows_top;		   /* no window at or above */

/* ---- opening the file ---- */

static int
open_if_same(const char *path, const struct sn_mr_extent *extent, int flags)
{
	struct stat st;
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_dev == extent->file_dev &&
	    st.st_ino == extent->file_ino &&
	    (uint64_t)st.st_size >= extent->file_offset + extent->len)
		return fd;
	close(fd);
	return -1;
}

/* For users who may not look into map_files: the owner often still has the file open. */
static int
open_by_descriptor(int32_t pid, const struct sn_mr_extent *extent, int flags)
{
	char path[320];
	struct dirent *entry;
	struct stat st;
	int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	DIR *dir = opendir(path);
	while (dir && fd < 0 && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)pid, entry->d_name);
		if (stat(path, &st) == 0 && st.st_ino == extent->file_ino &&
		    st.st_dev == extent->file_dev)
			fd = open_if_same(path, extent, flags);
	}
	if (dir)
		closedir(dir);
	return fd;
}

static int
open_extent(int32_t pid, const struct sn_mr_extent *extent, int flags)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", (int)pid,
		 (unsigned long long)extent->vma_start, (unsigned long long)extent->vma_end);
	fd = open_if_same(path, extent, flags);
	return fd >= 0 ? fd : open_by_descriptor(pid, extent, flags);
}

/* ---- views ---- */

static struct view *
view_find(const struct sn_mr_extent *extent, int prot)
{
	struct view *view;

	LIST_FOREACH (view, &views, link) {
		if (view->extent.file_dev == extent->file_dev &&
		    view->extent.file_ino == extent->file_ino &&
		    view->extent.file_offset == extent->file_offset &&
		    view->extent.len == extent->len && view->prot == prot)
			return view;
	}
	return NULL;
}

static struct view *
view_open(const struct sn_mr_extent *extent, int32_t pid, int prot)
{
	struct view *view = calloc(1, sizeof(*view));
	int fd = view ? open_extent(pid, extent, prot & PROT_WRITE ? O_RDWR : O_RDONLY) : -1;
	void *here = MAP_FAILED;

	if (fd >= 0) {
		here = mmap(NULL, extent->len, prot, MAP_SHARED | MAP_NORESERVE, fd,
			    (off_t)extent->file_offset);
		close(fd);
	}
	if (here == MAP_FAILED) {
		free(view);
		return NULL;
	}
	/* Not for children: they would keep the peer's memory alive. */
	madvise(here, extent->len, MADV_DONTFORK);
	*view = (struct view){.prot = prot, .extent = *extent, .here = here};
	LIST_INSERT_HEAD(&views, view, link);
	return view;
}

static void
view_release(struct view *view)
{
	if (--view->n_windows > 0)
		return;
	LIST_REMOVE(view, link);
	munmap(view->here, view->extent.len);
	free(view);
}

/* ---- windows ---- */

static void
window_close(uint32_t index)
{
	struct window *window = windows[index];

	for (uint32_t i = 0; i < window->n_extents; i++)
		view_release(window->extent[i].view);
	free(window);
	windows[index] = NULL;
}

static bool
map_extent(struct window *window, const struct sn_shm_mr *mr, uint32_t i, int32_t pid)
{
	const struct sn_mr_extent *extent = &mr->extent[i];
	bool writable = mr->access & IB_UVERBS_ACCESS_LOCAL_WRITE;
	int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ;
	struct view *view = view_find(extent, prot);

	if (!view)
		view = view_open(extent, pid, prot);
	if (!view)
		return false;
	view->n_windows++;
	window->extent[i].addr = extent->addr;
	window->extent[i].len = extent->len;
	window->extent[i].view = view;
	window->n_extents = i + 1;
	return true;
}

static struct window *
window_open(struct sn_shm_mr *mr, uint32_t index, uint64_t serial)
{
	struct window *window = calloc(1, sizeof(*window));
	uint64_t owner = atomic_load(&mr->owner);
	int32_t pid = sn_nic.instance.shm->member[SN_ID_SLOT(owner)].pid;
	bool whole = true;

	if (!window)
		return NULL;
	windows[index] = window;
	window->serial = serial;
	if (index >= n_windows_top)
		n_windows_top = index + 1;
	for (uint32_t i = 0; i < mr->n_extents && whole; i++)
		whole = map_extent(window, mr, i, pid);
	if (!whole) { /* all or nothing */
		window_close(index);
		window = calloc(1, sizeof(*window));
		if (window)
			window->serial = serial;
		windows[index] = window;
	}
	SN_LOG("mr %#x of pid %d: %s", mr->key, (int)pid,
	       whole ? "mapped" : "cannot be mapped, using process_vm");
	return window;
}

void *
sn_peer_map(struct sn_shm_mr *mr, uint64_t addr, uint64_t len, uint64_t *contiguous)
{
	uint32_t index = (uint32_t)(mr - sn_nic.instance.shm->mr);
	uint64_t serial = atomic_load_explicit(&mr->serial, memory_order_relaxed);
	struct window *window = windows[index];

	*contiguous = len;
	if (atomic_load_explicit(&mr->owner, memory_order_relaxed) == sn_nic.instance.id)
		return (void *)(uintptr_t)addr;
	if (mr->n_extents == 0)
		return NULL;
	if (window && window->serial != serial) {
		window_close(index);
		window = NULL;
	}
	if (!window)
		window = window_open(mr, index, serial);
	for (uint32_t i = 0; window && i < window->n_extents; i++) {
		uint64_t offset = addr - window->extent[i].addr;

		if (addr < window->extent[i].addr || offset >= window->extent[i].len)
			continue;
		*contiguous = SN_MIN(len, window->extent[i].len - offset);
		return window->extent[i].view->here + offset;
	}
	return NULL;
}

void
sn_peer_sweep(void)
{
	struct sn_shm *shm = sn_nic.instance.shm;

	for (uint32_t i = 0; i < n_windows_top; i++) {
		struct sn_shm_mr *mr = &shm->mr[i];

		if (windows[i] && (atomic_load(&mr->serial) != windows[i]->serial ||
				   !sn_member_lives(shm, atomic_load(&mr->owner))))
			window_close(i);
	}
}

void
sn_peer_unmap_all(void)
{
	for (uint32_t i = 0; i < n_windows_top; i++) {
		if (windows[i])
			window_close(i);
	}
	n_windows_top = 0;
}

/* ---- memory that cannot be mapped ---- */

/* Once: the program is told of each request by its completion. */
static void
report_sealed(uint64_t owner, int err)
{
	static bool told;
	int pid = sn_nic.instance.shm->member[SN_ID_SLOT(owner)].pid;

	if (!told)
		sn_log_write(
			"cannot reach the private memory of pid %d: process_vm_readv: %s: "
			"allow it (docker run --cap-add SYS_PTRACE, kernel.yama.ptrace_scope=0), "
			"or register memory that is shared: memfd, hugetlbfs, /dev/shm",
			pid, strerror(-err));
	told = true;
}

static int
result(ssize_t moved, uint64_t len, uint64_t owner)
{
	if (moved == (ssize_t)len)
		return 0;
	int err = moved < 0 ? -errno : -EFAULT;

	if (err == -EPERM || err == -ENOSYS)
		report_sealed(owner, err);
	SN_LOG("process_vm to member %#llx: moved %zd of %llu: %s", (unsigned long long)owner,
	       moved, (unsigned long long)len, strerror(-err));
	return err;
}

int
sn_peer_write(uint64_t owner, uint64_t addr, const struct iovec *local, size_t n, uint64_t len)
{
	struct iovec remote = {.iov_base = (void *)(uintptr_t)addr, .iov_len = len};
	pid_t pid = sn_nic.instance.shm->member[SN_ID_SLOT(owner)].pid;

	return result(process_vm_writev(pid, local, n, &remote, 1, 0), len, owner);
}

int
sn_peer_read(uint64_t owner, uint64_t addr, const struct iovec *local, size_t n, uint64_t len)
{
	struct iovec remote = {.iov_base = (void *)(uintptr_t)addr, .iov_len = len};
	pid_t pid = sn_nic.instance.shm->member[SN_ID_SLOT(owner)].pid;

	return result(process_vm_readv(pid, local, n, &remote, 1, 0), len, owner);
}

uint64_t
sn_peer_write_many(uint64_t owner, const struct iovec *local, size_t n_local,
		   const struct iovec *remote, size_t n_remote)
{
	pid_t pid = sn_nic.instance.shm->member[SN_ID_SLOT(owner)].pid;
	ssize_t moved = process_vm_writev(pid, local, n_local, remote, n_remote, 0);

	return moved > 0 ? (uint64_t)moved : 0;
}
