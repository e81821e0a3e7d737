/* SPDX-License-Identifier: BSD-3-Clause */
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* "kvrail.node", for --log-level=kvrail.node:debug */
RTE_LOG_REGISTER(node_logtype, kvrail.node, INFO)

static bool to_journal;

/* systemd says in $JOURNAL_STREAM which descriptor it has connected: DEVICE:INODE. */
static bool
is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uint64_t device, inode;
	struct stat stat;

	return stream != NULL && sscanf(stream, "%" SCNu64 ":%" SCNu64, &device, &inode) == 2 &&
	       fstat(fd, &stat) == 0 && stat.st_dev == device && stat.st_ino == inode;
}

/* A line, as fprintf() in rte_vlog() gives it: the stream is not buffered any further. */
static ssize_t
write_line(void *cookie, const char *line, size_t size)
{
	uint32_t level = (uint32_t)rte_log_cur_msg_loglevel(); /* RTE_LOG_EMERG is 1, LOG_EMERG 0 */

	(void)cookie;
	if (to_journal)
		dprintf(STDERR_FILENO, "<%u>%.*s", level > 0 ? level - 1 : 6, (int)size, line);
	else
		dprintf(STDERR_FILENO, "%.*s", (int)size, line);
	return (ssize_t)size;
}

int
node_log_open(void)
{
	const cookie_io_functions_t functions = {.write = write_line};
	FILE *stream = fopencookie(NULL, "w", functions);

	if (stream == NULL)
		return -errno;
	setvbuf(stream, NULL, _IOLBF, 0);
	to_journal = is_journal(STDERR_FILENO);
	rte_openlog_stream(stream);
	return 0;
}
