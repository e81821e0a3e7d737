/* SPDX-License-Identifier: BSD-3-Clause */
#include "ask.h"

#include <errno.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app_message.h"

#define MAX_NODES 64

static int
connect_to(const struct sockaddr_un *address, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* ---- which node ---- */

/* "/var/run/dpdk/rte/kvrail-gpu0.sock" */
static bool
name_of(const char *path, char *name, size_t size)
{
	static const char prefix[] = "kvrail-", suffix[] = ".sock";
	const char *file = strrchr(path, '/');
	size_t length;

	file = file != NULL ? file + 1 : path;
	length = strlen(file);
	if (length <= strlen(prefix) + strlen(suffix) ||
	    strncmp(file, prefix, strlen(prefix)) != 0 ||
	    strcmp(file + length - strlen(suffix), suffix) != 0)
		return false;
	snprintf(name, size, "%.*s", (int)(length - strlen(prefix) - strlen(suffix)),
		 file + strlen(prefix));
	return true;
}

int
ctl_node_at(const char *path, struct ctl_node *node, struct kvr_error *error)
{
	*node = (struct ctl_node){.address.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(node->address.sun_path))
		return app_fail(error, -EINVAL, "%s: too long for a socket's path", path);
	strcpy(node->address.sun_path, path);
	if (!name_of(path, node->name, sizeof(node->name)))
		snprintf(node->name, sizeof(node->name), "?");
	return 0;
}

/* Whose sockets are in the runtime directories of EAL (eal_create_runtime_dir()): all that a node
 * may have, by its user and its --file-prefix. A killed node's does not answer. */
static uint32_t
nodes_list(struct ctl_node *nodes)
{
	const char *runtime = getenv("RUNTIME_DIRECTORY"), *xdg = getenv("XDG_RUNTIME_DIR");
	const char *dirs[] = {runtime, "/var/run", xdg, "/tmp"};
	struct kvr_error ignored;
	uint32_t n = 0;
	char pattern[512];
	glob_t found;

	for (size_t d = 0; d < sizeof(dirs) / sizeof(dirs[0]); d++) {
		if (dirs[d] == NULL)
			continue;
		snprintf(pattern, sizeof(pattern), "%s/dpdk/*/kvrail-*.sock", dirs[d]);
		if (glob(pattern, 0, NULL, &found) != 0)
			continue;
		for (size_t i = 0; i < found.gl_pathc && n < MAX_NODES; i++) {
			int fd;

			if (ctl_node_at(found.gl_pathv[i], &nodes[n], &ignored) != 0)
				continue;
			fd = connect_to(&nodes[n].address, SOCK_STREAM);
			if (fd >= 0) {
				close(fd);
				n++;
			}
		}
		globfree(&found);
	}
	return n;
}

int
ctl_node_find(const char *name, struct ctl_node *node, struct kvr_error *error)
{
	struct ctl_node nodes[MAX_NODES];
	uint32_t n = nodes_list(nodes), n_meant = 0;
	char names[192] = "";
	size_t at = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (at < sizeof(names))
			at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%s",
					       i > 0 ? ", " : "", nodes[i].name);
		if (name != NULL && strcmp(nodes[i].name, name) != 0)
			continue;
		*node = nodes[i];
		n_meant++;
	}
	if (n_meant == 1)
		return 0;
	if (n == 0)
		return app_fail(error, -ENOENT,
				"no node runs on this host, or none of this user's");
	if (n_meant == 0)
		return app_fail(error, -ENOENT, "no node '%s' runs on this host; there are: %s",
				name, names);
	if (name == NULL)
		return app_fail(error, -EINVAL, "--node NAME is missing, there are: %s", names);
	return app_fail(error, -EINVAL, "there are %u nodes '%s': say --socket PATH", n_meant,
			name);
}

/* ---- asking it ---- */

/* The line, with the descriptor beside its first byte. */
static int
send_line(int fd, const char *line, int file)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = ""};
	struct iovec iov[] = {{(void *)(uintptr_t)line, strlen(line)}, {(char[]){'\n'}, 1}};
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
	struct cmsghdr *header;

	if (file >= 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &file, sizeof(file));
	}
	/* A request is short: what a stream socket takes at once. */
	return sendmsg(fd, &message, MSG_NOSIGNAL) == (ssize_t)(strlen(line) + 1) ? 0 : -EIO;
}

/* NULL: the node went away. */
static json_t *
read_line(int fd)
{
	FILE *stream = fdopen(dup(fd), "r");
	json_t *answer = NULL;
	char *line = NULL;
	size_t size = 0;
	ssize_t n;

	if (stream == NULL)
		return NULL;
	n = getline(&line, &size, stream);
	if (n > 0)
		answer = json_loadb(line, (size_t)n, 0, NULL);
	free(line);
	fclose(stream);
	return answer;
}

int
ctl_ask(const struct ctl_node *node, json_t *request, int file, json_t **answer,
	struct kvr_error *error)
{
	int fd = connect_to(&node->address, SOCK_STREAM), err;
	char *line = json_dumps(request, JSON_COMPACT);
	const char *said;

	json_decref(request);
	if (fd < 0 || line == NULL) {
		free(line);
		return app_fail(error, fd < 0 ? fd : -EINVAL, "node %s (%s): %s", node->name,
				node->address.sun_path,
				fd < 0 ? strerror(-fd) : "a name that is not UTF-8");
	}
	err = send_line(fd, line, file);
	free(line);
	*answer = err == 0 ? read_line(fd) : NULL;
	close(fd);
	if (*answer == NULL)
		return app_fail(error, -ECONNRESET, "node %s went away before it answered",
				node->name);
	said = json_string_value(json_object_get(*answer, "error"));
	if (said == NULL)
		return 0;
	err = app_fail(error, -EREMOTEIO, "node %s: %.220s", node->name, said);
	json_decref(*answer);
	return err;
}

/* ---- telemetry ---- */

int
ctl_telemetry_open(const struct ctl_node *node, int pid, struct kvr_error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *slash = strrchr(node->address.sun_path, '/');
	char greeting[1024], pattern[256], wanted[32];
	glob_t found;
	int fd = -ENOENT;

	snprintf(pattern, sizeof(pattern), "%.*s/dpdk_telemetry.v2*",
		 slash != NULL ? (int)(slash - node->address.sun_path) : 1,
		 slash != NULL ? node->address.sun_path : ".");
	snprintf(wanted, sizeof(wanted), "\"pid\":%d,", pid);
	if (glob(pattern, 0, NULL, &found) != 0)
		return app_fail(error, -ENOENT, "node %s has no telemetry socket (--no-telemetry?)",
				node->name);
	for (size_t i = 0; i < found.gl_pathc && fd < 0; i++) {
		ssize_t n;

		snprintf(address.sun_path, sizeof(address.sun_path), "%s", found.gl_pathv[i]);
		fd = connect_to(&address, SOCK_SEQPACKET);
		if (fd < 0)
			continue;
		n = recv(fd, greeting, sizeof(greeting) - 1, 0);
		greeting[n > 0 ? n : 0] = '\0';
		if (strstr(greeting, wanted) == NULL) { /* of a node with the same prefix */
			close(fd);
			fd = -ENOENT;
		}
	}
	globfree(&found);
	if (fd < 0)
		return app_fail(error, fd, "node %s does not answer at its telemetry socket",
				node->name);
	return fd;
}

/* One reply: the value of its only key. */
static json_t *
telemetry_page(int fd, const char *command)
{
	static char reply[64 << 10]; /* rte_telemetry's are 16 KiB */
	json_t *json, *value;
	ssize_t n;

	if (send(fd, command, strlen(command), MSG_NOSIGNAL) < 0)
		return NULL;
	n = recv(fd, reply, sizeof(reply), 0);
	json = n > 0 ? json_loadb(reply, (size_t)n, 0, NULL) : NULL;
	value = json_object_iter_value(json_object_iter(json));
	json_incref(value);
	json_decref(json);
	if (json_is_object(value))
		return value;
	json_decref(value);
	return NULL;
}

json_t *
ctl_telemetry_ask(int fd, const char *path, const char *list)
{
	json_t *all = telemetry_page(fd, path);
	char command[128];

	while (all != NULL && list != NULL) {
		json_int_t next = json_integer_value(json_object_get(all, "next"));
		json_t *page;

		if (next >= json_integer_value(json_object_get(all, "total")))
			break;
		snprintf(command, sizeof(command), "%s,%lld", path, (long long)next);
		page = telemetry_page(fd, command);
		if (page == NULL)
			break;
		json_object_update(json_object_get(all, list), json_object_get(page, list));
		json_object_set(all, "next", json_object_get(page, "next"));
		json_object_set(all, "total", json_object_get(page, "total"));
		json_decref(page);
	}
	return all;
}
