/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The libc functions through which a program meets its devices.
 *
 *	/sys paths of ours	are answered from the instance's tree
 *	/dev/infiniband/uverbsN	opens a context; ioctl, fstat and close know its descriptor
 *	/dev/infiniband/rdma_cm	opens a channel; write, fstat and close know its descriptor
 *	NETLINK_RDMA sockets	fail, so that libibverbs takes the sysfs way
 *
 * Everything else goes straight on to the next library. Static programs and raw system calls
 * escape us.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/netlink.h>
#include <rdma/rdma_user_ioctl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cm.h"
#include "fdtable.h"
#include "instance.h"
#include "nic.h"
#include "sysfs.h"

#define EXPORT __attribute__((visibility("default")))

/* The next definition of a function, looked up once. */
#define NEXT(name)                                                                                 \
	({                                                                                         \
		static _Atomic(void *) next_;                                                      \
		void *f_ = atomic_load_explicit(&next_, memory_order_relaxed);                     \
		if (!f_) {                                                                         \
			f_ = dlsym(RTLD_NEXT, #name);                                              \
			atomic_store_explicit(&next_, f_, memory_order_relaxed);                   \
		}                                                                                  \
		(__typeof__(&name))f_;                                                             \
	})

/* ---- paths ---- */

#define NODE_CM SN_MAX_DEVICES

struct place {
	char path[PATH_MAX]; /* in the tree, if `ours` */
	bool ours;
	int node; /* in /dev/infiniband: N of uverbsN, NODE_CM, or -1 */
};

static const char *
instance_dir(void)
{
	static char dir[96];
	const char *name = getenv(SN_ENV_INSTANCE);

	if (!dir[0] && sn_instance_dir(name ? name : SN_DEFAULT_INSTANCE, dir, sizeof(dir)))
		dir[0] = '\0';
	return dir;
}

static int
device_node(const char *path)
{
	static const char prefix[] = "/dev/infiniband/uverbs", cm[] = "/dev/infiniband/rdma_cm";
	const struct sn_settings *settings;
	char *end;
	unsigned long device;

	if (strncmp(path, "/dev/infiniband/", strlen("/dev/infiniband/")) != 0)
		return -1;
	settings = sn_settings_own();
	if (!settings)
		return -1;
	if (strcmp(path, cm) == 0 && sn_sysfs_has_cm(&settings->fabric))
		return NODE_CM;
	if (strncmp(path, prefix, sizeof(prefix) - 1) != 0)
		return -1;
	device = strtoul(path + sizeof(prefix) - 1, &end, 10);
	if (end == path + sizeof(prefix) - 1 || *end || device >= settings->fabric.n_devices)
		return -1;
	return (int)device;
}

/* The tree is there while the instance has members: be one before looking. */
static void
find_tree(const char *path)
{
	if (access(path, F_OK) == 0 || access(instance_dir(), F_OK) == 0)
		return;
	int saved = errno;
	sn_nic_start();
	errno = saved;
}

/* Where @path really is: the path to use. */
static const char *
locate(const char *path, struct place *place)
{
	place->ours = false;
	place->node = -1;
	if (!path || path[0] != '/')
		return path;
	place->node = device_node(path);
	if (place->node >= 0 || !sn_sysfs_owns(path))
		return path;
	place->ours = true;
	snprintf(place->path, sizeof(place->path), "%s/sys/%s", instance_dir(),
		 path + strlen("/sys/"));
	find_tree(place->path);
	return place->path;
}

/* Counter files are brought up to date when they are opened. */
static void
refresh_counters(const char *path)
{
	struct sn_instance inst;
	int saved = errno, device = sn_sysfs_counter_device(path);
	const char *name = getenv(SN_ENV_INSTANCE);

	if (device < 0)
		return;
	if (sn_nic.instance.shm) {
		sn_sysfs_refresh(sn_nic.instance.dir, sn_nic.instance.shm, (unsigned int)device);
	} else if (sn_instance_look(&inst, name ? name : SN_DEFAULT_INSTANCE) == 0) {
		sn_sysfs_refresh(inst.dir, inst.shm, (unsigned int)device);
		sn_instance_unmap(&inst);
	}
	errno = saved;
}

/* openat with a directory of the tree and a counter's name. */
static void
refresh_relative(int dir_fd, const char *path)
{
	char link[64], dir[PATH_MAX], full[PATH_MAX];
	ssize_t n;

	if (dir_fd < 0 || !path || path[0] == '/' ||
	    (!strstr(path, "port_") && !strstr(path, "cast_") && !strstr(path, "_err") &&
	     !strstr(path, "_requests") && !strstr(path, "out_of_buffer")))
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
	n = readlink(link, dir, sizeof(dir) - 1);
	if (n <= 0)
		return;
	dir[n] = '\0';
	if (strncmp(dir, instance_dir(), strlen(instance_dir())) == 0 &&
	    snprintf(full, sizeof(full), "%s/%s", dir, path) < (int)sizeof(full))
		refresh_counters(full);
}

static int
fill_stat(struct stat *st, int node)
{
	memset(st, 0, sizeof(*st));
	st->st_mode = S_IFCHR | 0666;
	st->st_rdev = node == NODE_CM
			      ? makedev(SN_CM_MAJOR, SN_CM_MINOR)
			      : makedev(SN_UVERBS_MAJOR, SN_UVERBS_MINOR + (unsigned int)node);
	st->st_nlink = 1;
	return 0;
}

/* A function that is given another path, and nothing else. */
#define DEFINE_RELOCATED(type, name, params, args)                                                 \
	EXPORT type name params                                                                    \
	{                                                                                          \
		struct place place;                                                                \
		path = locate(path, &place);                                                       \
		return NEXT(name) args;                                                            \
	}

/* ---- open ---- */

static int
open_node(int node)
{
	return node == NODE_CM ? sn_cm_open() : sn_context_open((unsigned int)node);
}

static int
take_mode(int flags, va_list args)
{
	return flags & (O_CREAT | O_TMPFILE) ? va_arg(args, int) : 0;
}

#define DEFINE_OPEN(name)                                                                          \
	EXPORT int name(const char *path, int flags, ...)                                          \
	{                                                                                          \
		struct place place;                                                                \
		va_list args;                                                                      \
		va_start(args, flags);                                                             \
		int mode = take_mode(flags, args);                                                 \
		va_end(args);                                                                      \
		path = locate(path, &place);                                                       \
		if (place.node >= 0)                                                               \
			return open_node(place.node);                                              \
		if (place.ours)                                                                    \
			refresh_counters(path);                                                    \
		return NEXT(name)(path, flags, mode);                                              \
	}
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

#define DEFINE_OPENAT(name)                                                                        \
	EXPORT int name(int dir_fd, const char *path, int flags, ...)                              \
	{                                                                                          \
		struct place place;                                                                \
		va_list args;                                                                      \
		va_start(args, flags);                                                             \
		int mode = take_mode(flags, args);                                                 \
		va_end(args);                                                                      \
		path = locate(path, &place);                                                       \
		if (place.node >= 0)                                                               \
			return open_node(place.node);                                              \
		if (place.ours)                                                                    \
			refresh_counters(path);                                                    \
		else                                                                               \
			refresh_relative(dir_fd, path);                                            \
		return NEXT(name)(dir_fd, path, flags, mode);                                      \
	}
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

#define DEFINE_FOPEN(name)                                                                         \
	EXPORT FILE *name(const char *path, const char *mode)                                      \
	{                                                                                          \
		struct place place;                                                                \
		path = locate(path, &place);                                                       \
		if (place.ours)                                                                    \
			refresh_counters(path);                                                    \
		return NEXT(name)(path, mode);                                                     \
	}
DEFINE_FOPEN(fopen)
DEFINE_FOPEN(fopen64)

DEFINE_RELOCATED(DIR *, opendir, (const char *path), (path))
DEFINE_RELOCATED(int, chdir, (const char *path), (path))
DEFINE_RELOCATED(int, scandir,
		 (const char *path, struct dirent ***list, int (*filter)(const struct dirent *),
		  int (*compare)(const struct dirent **, const struct dirent **)),
		 (path, list, filter, compare))
DEFINE_RELOCATED(int, scandir64,
		 (const char *path, struct dirent64 ***list, int (*filter)(const struct dirent64 *),
		  int (*compare)(const struct dirent64 **, const struct dirent64 **)),
		 (path, list, filter, compare))

/* Programs built with _FORTIFY_SOURCE call these. */
EXPORT int __open_2(const char *path, int flags);
EXPORT int __open64_2(const char *path, int flags);
EXPORT int __openat_2(int dir_fd, const char *path, int flags);
EXPORT int __openat64_2(int dir_fd, const char *path, int flags);

int
__open_2(const char *path, int flags)
{
	return open(path, flags);
}

int
__open64_2(const char *path, int flags)
{
	return open64(path, flags);
}

int
__openat_2(int dir_fd, const char *path, int flags)
{
	return openat(dir_fd, path, flags);
}

int
__openat64_2(int dir_fd, const char *path, int flags)
{
	return openat64(dir_fd, path, flags);
}

/* ---- names ---- */

EXPORT int
access(const char *path, int mode)
{
	struct place place;

	/* find_tree() comes here too; what it asks for is never a path of ours below /sys. */
	path = locate(path, &place);
	return place.node >= 0 ? 0 : NEXT(access)(path, mode);
}

EXPORT int
faccessat(int dir_fd, const char *path, int mode, int flags)
{
	struct place place;

	path = locate(path, &place);
	return place.node >= 0 ? 0 : NEXT(faccessat)(dir_fd, path, mode, flags);
}

DEFINE_RELOCATED(ssize_t, readlink, (const char *path, char *buf, size_t bytes), (path, buf, bytes))
DEFINE_RELOCATED(ssize_t, readlinkat, (int dir_fd, const char *path, char *buf, size_t bytes),
		 (dir_fd, path, buf, bytes))
/* ls -l asks for access control lists. */
DEFINE_RELOCATED(ssize_t, getxattr, (const char *path, const char *name, void *value, size_t bytes),
		 (path, name, value, bytes))
DEFINE_RELOCATED(ssize_t, lgetxattr,
		 (const char *path, const char *name, void *value, size_t bytes),
		 (path, name, value, bytes))

/* <instance>/sys/... back to /sys/..., in place: it only gets shorter. */
static char *
hide_tree(char *path)
{
	const char *dir = instance_dir();
	size_t len = strlen(dir);

	if (path && len && strncmp(path, dir, len) == 0 && strncmp(path + len, "/sys/", 5) == 0)
		memmove(path, path + len, strlen(path + len) + 1);
	return path;
}

EXPORT char *
realpath(const char *path, char *resolved)
{
	struct place place;

	path = locate(path, &place);
	return place.ours ? hide_tree(NEXT(realpath)(path, resolved))
			  : NEXT(realpath)(path, resolved);
}

EXPORT char *
canonicalize_file_name(const char *path)
{
	return realpath(path, NULL);
}

EXPORT char *__realpath_chk(const char *path, char *resolved, size_t bytes);
EXPORT ssize_t __readlink_chk(const char *path, char *buf, size_t bytes, size_t room);

char *
__realpath_chk(const char *path, char *resolved, size_t bytes)
{
	(void)bytes;
	return realpath(path, resolved);
}

ssize_t
__readlink_chk(const char *path, char *buf, size_t bytes, size_t room)
{
	return readlink(path, buf, SN_MIN(bytes, room));
}

/* ---- stat ---- */

#define DEFINE_STAT(name, type)                                                                    \
	EXPORT int name(const char *path, struct type *st)                                         \
	{                                                                                          \
		struct place place;                                                                \
		path = locate(path, &place);                                                       \
		if (place.node >= 0)                                                               \
			return fill_stat((struct stat *)st, place.node);                           \
		return NEXT(name)(path, st);                                                       \
	}
DEFINE_STAT(stat, stat)
DEFINE_STAT(stat64, stat64)
DEFINE_STAT(lstat, stat)
DEFINE_STAT(lstat64, stat64)

#define DEFINE_FSTAT(name, type)                                                                   \
	EXPORT int name(int fd, struct type *st)                                                   \
	{                                                                                          \
		struct sn_context *context = sn_fd_context(fd);                                    \
		if (context)                                                                       \
			return fill_stat((struct stat *)st, (int)context->device);                 \
		if (sn_fd_cm(fd))                                                                  \
			return fill_stat((struct stat *)st, NODE_CM);                              \
		return NEXT(name)(fd, st);                                                         \
	}
DEFINE_FSTAT(fstat, stat)
DEFINE_FSTAT(fstat64, stat64)

#define DEFINE_FSTATAT(name, type)                                                                 \
	EXPORT int name(int dir_fd, const char *path, struct type *st, int flags)                  \
	{                                                                                          \
		struct place place;                                                                \
		path = locate(path, &place);                                                       \
		if (place.node >= 0)                                                               \
			return fill_stat((struct stat *)st, place.node);                           \
		return NEXT(name)(dir_fd, path, st, flags);                                        \
	}
DEFINE_FSTATAT(fstatat, stat)
DEFINE_FSTATAT(fstatat64, stat64)

DEFINE_RELOCATED(int, statx,
		 (int dir_fd, const char *path, int flags, unsigned int mask, struct statx *st),
		 (dir_fd, path, flags, mask, st))

/* Programs linked against glibc before 2.33 call these; the x86-64 stat layouts are one. */
EXPORT int __xstat(int version, const char *path, struct stat *st);
EXPORT int __lxstat(int version, const char *path, struct stat *st);
EXPORT int __fxstat(int version, int fd, struct stat *st);
EXPORT int __xstat64(int version, const char *path, struct stat64 *st);
EXPORT int __lxstat64(int version, const char *path, struct stat64 *st);
EXPORT int __fxstat64(int version, int fd, struct stat64 *st);

int
__xstat(int version, const char *path, struct stat *st)
{
	(void)version;
	return stat(path, st);
}

int
__lxstat(int version, const char *path, struct stat *st)
{
	(void)version;
	return lstat(path, st);
}

int
__fxstat(int version, int fd, struct stat *st)
{
	(void)version;
	return fstat(fd, st);
}

int
__xstat64(int version, const char *path, struct stat64 *st)
{
	(void)version;
	return stat64(path, st);
}

int
__lxstat64(int version, const char *path, struct stat64 *st)
{
	(void)version;
	return lstat64(path, st);
}

int
__fxstat64(int version, int fd, struct stat64 *st)
{
	(void)version;
	return fstat64(fd, st);
}

/* ---- descriptors ---- */

EXPORT int
ioctl(int fd, unsigned long request, ...)
{
	struct sn_context *context = sn_fd_context(fd);
	va_list args;
	void *arg;
	int err;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (!context)
		return NEXT(ioctl)(fd, request, arg);
	err = request == RDMA_VERBS_IOCTL ? sn_uverbs_ioctl(context, arg) : -ENOTTY;
	if (!err)
		return 0;
	errno = -err;
	return -1;
}

/* rdma_cm takes its commands by write(2). */
EXPORT ssize_t
write(int fd, const void *buf, size_t bytes)
{
	ssize_t n;

	if (!sn_fd_cm(fd))
		return NEXT(write)(fd, buf, bytes);
	n = sn_cm_write(fd, buf, bytes);
	if (n >= 0)
		return n;
	errno = (int)-n;
	return -1;
}

/* What we must do before @fd is closed. True: it is not the program's to close. */
static bool
forget(int fd)
{
	struct sn_context *context = sn_fd_context(fd);
	struct sn_event_queue *queue = sn_fd_queue(fd);
	struct sn_cm_channel *channel = sn_fd_cm(fd);

	if (context)
		sn_context_close(context);
	if (channel)
		sn_cm_close(channel);
	if (queue) {
		sn_fd_set_queue(fd, NULL);
		sn_nic_lock();
		sn_event_queue_closed(queue);
		sn_nic_unlock();
	}
	return sn_fd_is_internal(fd);
}

EXPORT int
close(int fd)
{
	return forget(fd) ? 0 : NEXT(close)(fd);
}

/* Closing ranges of descriptors goes round ours. */
EXPORT int
close_range(unsigned int first, unsigned int last, int flags)
{
	unsigned int end = SN_MIN(last, 65535u);

	if (!(flags & (int)CLOSE_RANGE_CLOEXEC)) {
		for (unsigned int fd = first; fd <= end && fd >= first; fd++) {
			if (!forget((int)fd))
				continue;
			if (fd > first && NEXT(close_range)(first, fd - 1, flags))
				return -1;
			first = fd + 1;
		}
		if (first > last)
			return 0;
	}
	return NEXT(close_range)(first, last, flags);
}

EXPORT void
closefrom(int first)
{
	close_range((unsigned int)SN_MAX(first, 0), ~0u, 0);
}

EXPORT int
socket(int domain, int type, int protocol)
{
	if (domain == AF_NETLINK && protocol == NETLINK_RDMA) {
		errno = EPROTONOSUPPORT;
		return -1;
	}
	return NEXT(socket)(domain, type, protocol);
}
