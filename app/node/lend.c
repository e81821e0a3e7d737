/* SPDX-License-Identifier: BSD-3-Clause */
#include "lend.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "app_message.h"
#include "log.h"

/* [[OFFSET, BYTES], ...] in the object's pool. */
static json_t *
runs_pack(const struct node_object *object)
{
	const uint8_t *base = kvr_pool_base(object->pool->pool);
	json_t *runs = json_array();

	for (uint32_t i = 0; i < object->n_runs; i++) {
		uint8_t *addr;
		uint64_t bytes = node_object_run(object, i, &addr);

		json_array_append_new(
			runs, json_pack("[I, I]", (json_int_t)(addr - base), (json_int_t)bytes));
	}
	return runs;
}

static int
on_reserve(struct node *node, const struct kvr_caller *caller, json_t *arguments, json_t **answer,
	   struct kvr_error *error)
{
	struct node_object *object;
	const char *name;
	json_int_t bytes;
	int err;

	if (json_unpack(arguments, "{s:s, s:I}", "object", &name, "bytes", &bytes) != 0 ||
	    bytes < 0)
		return app_fail(error, -EINVAL, "a reservation has an object and its bytes");
	err = node_store_reserve(&node->store, name, (uint64_t)bytes, caller->id, &object, error);
	if (err != 0) {
		NODE_LOG(NOTICE, "object '%s' of %s refused: %s\n", name, caller->name,
			 error->text);
		return err;
	}
	*answer = json_pack("{s:I, s:s, s:o}", "id", (json_int_t)object->id, "pool",
			    object->pool->name, "runs", runs_pack(object));
	return 0;
}

/* Commits or abandons what the caller has reserved. */
static int
on_end(struct node *node, const struct kvr_caller *caller, const json_t *id, bool commit,
       json_t **answer, struct kvr_error *error)
{
	struct node_object *object =
		node_store_reserved(&node->store, caller->id, (uint64_t)json_integer_value(id));

	if (object == NULL)
		return app_fail(error, -ENOENT, "no such reservation of this connection");
	NODE_LOG(INFO, "object '%s', %" PRIu64 " bytes: %s %s\n", object->name, object->bytes,
		 commit ? "came from" : "given up by", caller->name);
	if (commit)
		node_store_commit(&node->store, object);
	else
		node_store_abandon(&node->store, object);
	*answer = json_object();
	return 0;
}

static int
on_call(void *ctx, const struct kvr_caller *caller, const char *request, char **reply)
{
	json_t *json = json_loads(request, 0, NULL), *arguments, *answer = NULL;
	struct kvr_error error = {""};
	int err;

	if ((arguments = json_object_get(json, "reserve")) != NULL)
		err = on_reserve(ctx, caller, arguments, &answer, &error);
	else if ((arguments = json_object_get(json, "commit")) != NULL)
		err = on_end(ctx, caller, arguments, true, &answer, &error);
	else if ((arguments = json_object_get(json, "abandon")) != NULL)
		err = on_end(ctx, caller, arguments, false, &answer, &error);
	else
		err = app_fail(&error, -EOPNOTSUPP, "a node takes reserve, commit and abandon");
	if (err != 0)
		answer = json_pack("{s:s}", "refused", error.text);
	*reply = json_dumps(answer, JSON_COMPACT);
	json_decref(answer);
	json_decref(json);
	return *reply != NULL ? 0 : -ENOMEM;
}

static void
on_gone(void *ctx, const struct kvr_caller *caller)
{
	struct node *node = ctx;
	uint32_t n = node_store_abandon_all(&node->store, caller->id);

	if (n > 0)
		NODE_LOG(WARNING, "%s is gone: %u objects that it was writing are given up\n",
			 caller->name, n);
}

void
node_lend_start(struct node *node)
{
	kvr_engine_on_call(node->engine, on_call, node);
	kvr_engine_on_gone(node->engine, on_gone, node);
}
