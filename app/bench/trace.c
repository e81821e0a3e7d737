/* SPDX-License-Identifier: BSD-3-Clause */
#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "app_message.h"

/* A trace as it grows. */
struct loader {
	struct bench_trace trace;
	const char *path;
	uint64_t line;
	int64_t *hash_ids; /* one for each reference */
	uint64_t max_requests;
	uint64_t max_references;
};

static int
line_fail(const struct loader *loader, const char *what)
{
	app_message("%s:%" PRIu64 ": %s", loader->path, loader->line, what);
	return -EINVAL;
}

/* Room for n items in *array. 0 or -ENOMEM. */
static int
reserve(void **array, uint64_t *max, uint64_t n, size_t item_bytes)
{
	uint64_t more = *max != 0 ? *max : 4096;
	void *grown;

	if (n <= *max)
		return 0;
	while (more < n)
		more *= 2;
	grown = reallocarray(*array, more, item_bytes);
	if (grown == NULL)
		return -ENOMEM;
	*array = grown;
	*max = more;
	return 0;
}

static int
line_hash_ids(struct loader *loader, json_t *ids, struct bench_request *request)
{
	size_t i;
	json_t *id;

	if (!json_is_array(ids))
		return line_fail(loader, "\"hash_ids\" is no array");
	request->first = loader->trace.n_references;
	request->n_blocks = (uint32_t)json_array_size(ids);
	if (loader->trace.n_references + request->n_blocks > UINT32_MAX)
		return line_fail(loader, "more than 2^32 block references");
	if (reserve((void **)&loader->hash_ids, &loader->max_references,
		    loader->trace.n_references + request->n_blocks, sizeof(*loader->hash_ids)) != 0)
		return line_fail(loader, "out of memory");
	json_array_foreach (ids, i, id) {
		if (!json_is_integer(id))
			return line_fail(loader, "\"hash_ids\" holds something that is no integer");
		loader->hash_ids[loader->trace.n_references++] = json_integer_value(id);
	}
	return 0;
}

static int
line_numbers(struct loader *loader, json_t *json, struct bench_request *request)
{
	static const char *const names[] = {"timestamp", "input_length", "output_length"};
	uint64_t n_requests = loader->trace.n_requests;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		json_t *number = json_object_get(json, names[i]);
		char what[64];

		if (json_is_integer(number) && json_integer_value(number) >= 0)
			continue;
		snprintf(what, sizeof(what), "\"%s\" is missing or no number from 0 up", names[i]);
		return line_fail(loader, what);
	}
	request->timestamp_ms = (uint64_t)json_integer_value(json_object_get(json, "timestamp"));
	if (n_requests > 0 &&
	    request->timestamp_ms < loader->trace.requests[n_requests - 1].timestamp_ms)
		return line_fail(loader, "\"timestamp\" is before that of the line above");
	return 0;
}

static int
line_load(struct loader *loader, const char *text, size_t length)
{
	struct bench_request request;
	json_error_t error;
	json_t *json = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
	int err;

	if (json == NULL) {
		app_message("%s:%" PRIu64 ": no JSON: %s", loader->path, loader->line, error.text);
		return -EINVAL;
	}
	if (!json_is_object(json))
		err = line_fail(loader, "no JSON object");
	else
		err = line_numbers(loader, json, &request);
	if (err == 0)
		err = line_hash_ids(loader, json_object_get(json, "hash_ids"), &request);
	json_decref(json);
	if (err != 0)
		return err;
	if (reserve((void **)&loader->trace.requests, &loader->max_requests,
		    loader->trace.n_requests + 1, sizeof(request)) != 0)
		return line_fail(loader, "out of memory");
	loader->trace.requests[loader->trace.n_requests++] = request;
	return 0;
}

static int
compare_ids(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Hash ids to indices of the sorted, distinct ones. */
static int
index_ids(struct loader *loader)
{
	struct bench_trace *trace = &loader->trace;
	size_t n = trace->n_references;

	trace->ids = malloc((n + 1) * sizeof(*trace->ids));
	trace->references = malloc((n + 1) * sizeof(*trace->references));
	if (trace->ids == NULL || trace->references == NULL) {
		app_message("%s: out of memory", loader->path);
		return -ENOMEM;
	}
	if (n == 0)
		return 0;
	memcpy(trace->ids, loader->hash_ids, n * sizeof(*trace->ids));
	qsort(trace->ids, n, sizeof(*trace->ids), compare_ids);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || trace->ids[i] != trace->ids[trace->n_distinct - 1])
			trace->ids[trace->n_distinct++] = trace->ids[i];
	for (size_t i = 0; i < n; i++) {
		const int64_t *found = bsearch(&loader->hash_ids[i], trace->ids, trace->n_distinct,
					       sizeof(*trace->ids), compare_ids);

		trace->references[i] = (uint32_t)(found - trace->ids);
	}
	return 0;
}

static int
load_lines(struct loader *loader, FILE *stream)
{
	char *text = NULL;
	size_t text_bytes = 0;
	ssize_t length;
	int err = 0;

	while (err == 0 && (length = getline(&text, &text_bytes, stream)) > 0) {
		loader->line++;
		err = line_load(loader, text, (size_t)length);
	}
	free(text);
	if (err == 0 && ferror(stream)) {
		app_message("%s: cannot be read", loader->path);
		err = -EIO;
	}
	if (err == 0 && loader->trace.n_references == 0) {
		app_message("%s: holds no block references", loader->path);
		err = -EINVAL;
	}
	return err;
}

int
bench_trace_load(const char *path, struct bench_trace *trace)
{
	struct loader loader = {.path = path};
	FILE *stream = fopen(path, "r");
	int err;

	*trace = (struct bench_trace){0};
	if (stream == NULL) {
		err = -errno;
		app_message("--trace %s: %s", path, strerror(errno));
		return err;
	}
	err = load_lines(&loader, stream);
	fclose(stream);
	if (err == 0)
		err = index_ids(&loader);
	free(loader.hash_ids);
	if (err != 0)
		bench_trace_free(&loader.trace);
	*trace = loader.trace;
	return err;
}

void
bench_trace_free(struct bench_trace *trace)
{
	free(trace->requests);
	free(trace->references);
	free(trace->ids);
	*trace = (struct bench_trace){0};
}
