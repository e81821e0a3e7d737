/* SPDX-License-Identifier: BSD-3-Clause */
#include "request.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app_message.h"
#include "copy.h"
#include "log.h"

/* A string that the request must have; NULL with error. */
static const char *
text_of(const json_t *request, const char *key, struct kvr_error *error)
{
	const char *text = json_string_value(json_object_get(request, key));

	if (text == NULL)
		app_fail(error, -EINVAL, "the request has no \"%s\"", key);
	return text;
}

/* ---- files ---- */

/* The size of a regular file: others may have no end, or block. */
static int
file_size(int file, uint64_t *bytes, struct kvr_error *error)
{
	struct stat stat;

	if (file < 0 || fstat(file, &stat) != 0)
		return app_fail(error, -EBADF, "the request came without an open file");
	if (!S_ISREG(stat.st_mode))
		return app_fail(error, -EINVAL, "not a regular file");
	*bytes = (uint64_t)stat.st_size;
	return 0;
}

static int
read_all(int file, uint64_t at, uint8_t *addr, uint64_t bytes, struct kvr_error *error)
{
	while (bytes > 0) {
		ssize_t n = pread(file, addr, bytes < SSIZE_MAX ? bytes : SSIZE_MAX, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return app_fail(error, -errno, "the file cannot be read: %s",
					strerror(errno));
		if (n == 0)
			return app_fail(error, -EIO, "the file has become shorter");
		at += (uint64_t)n;
		addr += n;
		bytes -= (uint64_t)n;
	}
	return 0;
}

static int
write_all(int file, uint64_t at, const uint8_t *addr, uint64_t bytes, struct kvr_error *error)
{
	while (bytes > 0) {
		ssize_t n = pwrite(file, addr, bytes < SSIZE_MAX ? bytes : SSIZE_MAX, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return app_fail(error, -EIO, "the file cannot be written: %s",
					n < 0 ? strerror(errno) : "nothing is taken");
		at += (uint64_t)n;
		addr += n;
		bytes -= (uint64_t)n;
	}
	return 0;
}

/* ---- the requests: 0 and *answer, or -errno and error ---- */

static int
on_put(struct node *node, const json_t *request, int file, json_t **answer, struct kvr_error *error)
{
	const char *name = text_of(request, "name", error);
	struct node_object *object;
	uint64_t bytes, at = 0;
	int err;

	if (name == NULL)
		return -EINVAL;
	err = file_size(file, &bytes, error);
	if (err == 0)
		err = node_store_reserve(&node->store, name, bytes, NODE_OWN, &object, error);
	if (err != 0)
		return err;
	for (uint32_t i = 0; err == 0 && i < object->n_runs; i++) {
		uint8_t *addr;
		uint64_t run_bytes = node_object_run(object, i, &addr);

		err = read_all(file, at, addr, run_bytes, error);
		at += run_bytes;
	}
	if (err != 0) {
		node_store_abandon(&node->store, object);
		return err;
	}
	NODE_LOG(INFO, "object '%s', %" PRIu64 " bytes: put\n", name, bytes);
	node_store_commit(&node->store, object);
	*answer = json_pack("{s:I}", "bytes", (json_int_t)bytes);
	return 0;
}

static int
on_get(struct node *node, const json_t *request, int file, json_t **answer, struct kvr_error *error)
{
	const char *name = text_of(request, "name", error);
	struct node_object *object;
	uint64_t bytes, at = 0;
	int err;

	if (name == NULL)
		return -EINVAL;
	err = file_size(file, &bytes, error);
	if (err == 0)
		err = node_store_take(&node->store, name, false, &object, error);
	if (err != 0)
		return err;
	for (uint32_t i = 0; err == 0 && i < object->n_runs; i++) {
		uint8_t *addr;
		uint64_t run_bytes = node_object_run(object, i, &addr);

		err = write_all(file, at, addr, run_bytes, error);
		at += run_bytes;
	}
	*answer = json_pack("{s:I}", "bytes", (json_int_t)object->bytes);
	node_store_release(&node->store, object);
	return err;
}

static int
on_copy(struct node *node, const json_t *request, int file, json_t **answer,
	struct kvr_error *error)
{
	const char *name = text_of(request, "name", error);
	const char *peer = name != NULL ? text_of(request, "peer", error) : NULL;
	struct node_copied copied;
	int err;

	(void)file;
	if (peer == NULL)
		return -EINVAL;
	err = node_copy(node, name, peer, &copied, error);
	if (err != 0)
		return err;
	*answer = json_pack("{s:s, s:I, s:I}", "peer", copied.peer, "bytes",
			    (json_int_t)copied.bytes, "us", (json_int_t)(copied.ns / 1000));
	return 0;
}

static int
on_remove(struct node *node, const json_t *request, int file, json_t **answer,
	  struct kvr_error *error)
{
	const char *name = text_of(request, "name", error);

	(void)file;
	*answer = json_object();
	return name != NULL ? node_store_remove(&node->store, name, error) : -EINVAL;
}

static int
on_list(struct node *node, const json_t *request, int file, json_t **answer,
	struct kvr_error *error)
{
	(void)request;
	(void)file;
	(void)error;
	*answer = json_pack("{s:o}", "objects", node_store_list(&node->store));
	return 0;
}

static int
on_peers(struct node *node, const json_t *request, int file, json_t **answer,
	 struct kvr_error *error)
{
	(void)request;
	(void)file;
	(void)error;
	*answer = json_pack("{s:o}", "peers", node_peers_list(&node->peers));
	return 0;
}

static int
on_info(struct node *node, const json_t *request, int file, json_t **answer,
	struct kvr_error *error)
{
	(void)request;
	(void)file;
	(void)error;
	*answer = json_pack("{s:s, s:s, s:i, s:I}", "name", node->options->name, "address",
			    kvr_engine_address(node->engine), "pid", (int)getpid(), "under_way",
			    (json_int_t)node_store_under_way(&node->store));
	return 0;
}

/* Answers once nothing is under way. */
static int
on_drain(struct node *node, const json_t *request, int file, json_t **answer,
	 struct kvr_error *error)
{
	(void)request;
	(void)file;
	NODE_LOG(NOTICE, "draining, as kvrail-ctl asks\n");
	node_store_drain(&node->store);
	if (node_store_wait(&node->store, node->options->drain_ms) != 0)
		return app_fail(error, -ETIMEDOUT,
				"draining, but %u transfers are under way after %" PRIu64 " s",
				node_store_under_way(&node->store), node->options->drain_ms / 1000);
	*answer = json_object();
	return 0;
}

static const struct {
	const char *name;
	int (*run)(struct node *node, const json_t *request, int file, json_t **answer,
		   struct kvr_error *error);
} requests[] = {
	{"put", on_put},   {"get", on_get},	{"copy", on_copy}, {"remove", on_remove},
	{"list", on_list}, {"peers", on_peers}, {"info", on_info}, {"drain", on_drain},
};

json_t *
node_request(struct node *node, const json_t *request, int file)
{
	const char *name = json_string_value(json_object_get(request, "request"));
	struct kvr_error error = {""};
	json_t *answer = NULL;
	int err = -EOPNOTSUPP;

	if (name == NULL)
		return json_pack("{s:s}", "error", "not a line with a JSON object");
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		if (strcmp(requests[i].name, name) == 0)
			err = requests[i].run(node, request, file, &answer, &error);
	if (err == 0)
		return answer;
	json_decref(answer);
	return json_pack("{s:s}", "error", error.text[0] != '\0' ? error.text : "unknown request");
}
