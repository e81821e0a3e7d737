/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tree.h"

#define PATH_BYTES 512

/* The path named by the format, its directories made. */
static void __attribute__((format(printf, 3, 0)))
prepare(struct sn_tree *tree, char path[PATH_BYTES], const char *fmt, va_list args)
{
	size_t n = (size_t)snprintf(path, PATH_BYTES, "%s/", tree->sys);

	vsnprintf(path + n, PATH_BYTES - n, fmt, args);
	for (char *s = path + n; (s = strchr(s, '/')); s++) {
		*s = '\0';
		if (mkdir(path, 0755) && errno != EEXIST)
			tree->err = -errno;
		*s = '/';
	}
}

static void
write_file(struct sn_tree *tree, const char *path, const void *data, size_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes)
		tree->err = -errno;
	if (fd >= 0)
		close(fd);
}

void
sn_tree_put(struct sn_tree *tree, const char *value, const char *fmt, ...)
{
	char path[PATH_BYTES], line[1024];
	va_list args;

	if (tree->err)
		return;
	va_start(args, fmt);
	prepare(tree, path, fmt, args);
	va_end(args);
	snprintf(line, sizeof(line), "%s\n", value);
	write_file(tree, path, line, strlen(line));
}

void
sn_tree_put_bytes(struct sn_tree *tree, const void *data, size_t bytes, const char *fmt, ...)
{
	char path[PATH_BYTES];
	va_list args;

	if (tree->err)
		return;
	va_start(args, fmt);
	prepare(tree, path, fmt, args);
	va_end(args);
	write_file(tree, path, data, bytes);
}

void
sn_tree_put_link(struct sn_tree *tree, const char *target, const char *fmt, ...)
{
	char path[PATH_BYTES];
	va_list args;

	if (tree->err)
		return;
	va_start(args, fmt);
	prepare(tree, path, fmt, args);
	va_end(args);
	if (symlink(target, path) && errno != EEXIST)
		tree->err = -errno;
}
