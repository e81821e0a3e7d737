/* SPDX-License-Identifier: BSD-3-Clause */
#include "store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app_message.h"

void
node_store_init(struct node_store *store)
{
	pthread_condattr_t attr;

	*store = (struct node_store){.n_pools = 0};
	LIST_INIT(&store->objects);
	pthread_mutex_init(&store->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&store->ended, &attr);
	pthread_condattr_destroy(&attr);
}

/* ---- blocks ---- */

static void
object_free(struct node_object *object)
{
	if (object->n_runs > 0)
		kvr_block_free_bulk(object->pool->pool, object->runs, object->n_runs);
	free(object->runs);
	free(object);
}

void
node_store_free(struct node_store *store)
{
	struct node_object *object;

	while ((object = LIST_FIRST(&store->objects)) != NULL) {
		LIST_REMOVE(object, link);
		object_free(object);
	}
	pthread_cond_destroy(&store->ended);
	pthread_mutex_destroy(&store->lock);
}

/* Adds a run to the object. 0, -ENOSPC or -ENOMEM. */
static int
run_add(struct node_object *object, uint32_t n_blocks)
{
	struct kvr_block *run, **runs;
	int err;

	if (object->n_runs == NODE_MAX_RUNS)
		return -ENOSPC;
	err = kvr_block_alloc_run(object->pool->pool, n_blocks, &run);
	if (err != 0)
		return err;
	runs = realloc(object->runs, (object->n_runs + 1) * sizeof(struct kvr_block *));
	if (runs == NULL) {
		kvr_block_free_bulk(object->pool->pool, &run, 1);
		return -ENOMEM;
	}
	object->runs = runs;
	object->runs[object->n_runs++] = run;
	return 0;
}

/* Blocks for the object: one run where there is one, else as large ones as halving finds. */
static int
object_fill(struct node_object *object, const struct node_pool *pool)
{
	uint64_t n_blocks = (object->bytes + pool->block_bytes - 1) / pool->block_bytes;
	uint64_t left = n_blocks, want = n_blocks;
	int err = 0;

	object->pool = pool;
	if (left > kvr_pool_size_bytes(pool->pool) / pool->block_bytes)
		return -ENOSPC;
	while (left > 0 && want > 0) {
		err = run_add(object, (uint32_t)want);
		if (err == 0)
			left -= want;
		else if (err == -ENOSPC)
			want /= 2;
		else
			break;
		want = want < left ? want : left;
	}
	object->slack_bytes = n_blocks * pool->block_bytes - object->bytes;
	if (left == 0)
		return 0;
	if (object->n_runs > 0)
		kvr_block_free_bulk(pool->pool, object->runs, object->n_runs);
	object->n_runs = 0;
	return err;
}

/* In the first pool that has room. */
static int
object_place(struct node_store *store, struct node_object *object, struct kvr_error *error)
{
	for (uint32_t i = 0; i < store->n_pools; i++) {
		int err = object_fill(object, &store->pools[i]);

		if (err == 0)
			return 0;
		if (err != -ENOSPC)
			return app_fail(error, err, "out of memory");
	}
	return app_fail(error, -ENOSPC,
			"no room for '%s': no pool has %" PRIu64 " bytes free; remove objects, or "
			"give the node a larger --pool",
			object->name, object->bytes);
}

uint64_t
node_object_run(const struct node_object *object, uint32_t i, uint8_t **addr)
{
	uint64_t bytes = object->runs[i]->n_blocks * object->pool->block_bytes;

	*addr = object->runs[i]->addr;
	return i + 1 < object->n_runs ? bytes : bytes - object->slack_bytes;
}

/* ---- objects; the lock is held ---- */

static struct node_object *
find(const struct node_store *store, const char *name)
{
	struct node_object *object;

	LIST_FOREACH (object, &store->objects, link)
		if (strcmp(object->name, name) == 0)
			return object;
	return NULL;
}

static void
end_one(struct node_store *store)
{
	store->n_under_way--;
	pthread_cond_broadcast(&store->ended);
}

static int
refuse_draining(const char *what, struct kvr_error *error)
{
	return app_fail(error, -ESHUTDOWN, "the node is draining: '%s' is refused", what);
}

/* ---- reservations ---- */

static int
reserve_locked(struct node_store *store, struct node_object *object, struct kvr_error *error)
{
	const struct node_object *other = find(store, object->name);
	int err;

	if (store->draining)
		return refuse_draining(object->name, error);
	if (other != NULL)
		return app_fail(error, -EEXIST, "object '%s' exists already%s", object->name,
				other->committed ? "" : ": it is being written");
	err = object_place(store, object, error);
	if (err != 0)
		return err;
	object->id = ++store->last_id;
	LIST_INSERT_HEAD(&store->objects, object, link);
	store->n_under_way++;
	return 0;
}

int
node_store_reserve(struct node_store *store, const char *name, uint64_t bytes, uint64_t caller,
		   struct node_object **object_out, struct kvr_error *error)
{
	struct node_object *object;
	int err;

	if (name[0] == '\0' || strlen(name) > NODE_OBJECT_NAME_MAX)
		return app_fail(error, -EINVAL, "an object's name is 1 to %d bytes",
				NODE_OBJECT_NAME_MAX);
	object = calloc(1, sizeof(*object));
	if (object == NULL)
		return app_fail(error, -ENOMEM, "out of memory");
	strcpy(object->name, name);
	object->bytes = bytes;
	object->caller = caller;
	pthread_mutex_lock(&store->lock);
	err = reserve_locked(store, object, error);
	pthread_mutex_unlock(&store->lock);
	if (err == 0)
		*object_out = object;
	else
		object_free(object);
	return err;
}

struct node_object *
node_store_reserved(struct node_store *store, uint64_t caller, uint64_t id)
{
	struct node_object *object;

	pthread_mutex_lock(&store->lock);
	LIST_FOREACH (object, &store->objects, link)
		if (!object->committed && object->caller == caller && object->id == id)
			break;
	pthread_mutex_unlock(&store->lock);
	return object;
}

void
node_store_commit(struct node_store *store, struct node_object *object)
{
	pthread_mutex_lock(&store->lock);
	object->committed = true;
	end_one(store);
	pthread_mutex_unlock(&store->lock);
}

static void
abandon_locked(struct node_store *store, struct node_object *object)
{
	LIST_REMOVE(object, link);
	object_free(object);
	end_one(store);
}

void
node_store_abandon(struct node_store *store, struct node_object *object)
{
	pthread_mutex_lock(&store->lock);
	abandon_locked(store, object);
	pthread_mutex_unlock(&store->lock);
}

uint32_t
node_store_abandon_all(struct node_store *store, uint64_t caller)
{
	struct node_object *object, *next;
	uint32_t n = 0;

	pthread_mutex_lock(&store->lock);
	for (object = LIST_FIRST(&store->objects); object != NULL; object = next) {
		next = LIST_NEXT(object, link);
		if (object->committed || object->caller != caller)
			continue;
		abandon_locked(store, object);
		n++;
	}
	pthread_mutex_unlock(&store->lock);
	return n;
}

/* ---- committed objects ---- */

int
node_store_take(struct node_store *store, const char *name, bool moves,
		struct node_object **object_out, struct kvr_error *error)
{
	struct node_object *object;
	int err = 0;

	pthread_mutex_lock(&store->lock);
	object = find(store, name);
	if (moves && store->draining) {
		err = refuse_draining(name, error);
	} else if (object == NULL || !object->committed) {
		err = app_fail(error, -ENOENT, "no object '%s'%s", name,
			       object != NULL ? " yet: it is being written" : "");
	} else {
		object->n_takers++;
		store->n_under_way++;
		*object_out = object;
	}
	pthread_mutex_unlock(&store->lock);
	return err;
}

void
node_store_release(struct node_store *store, struct node_object *object)
{
	pthread_mutex_lock(&store->lock);
	object->n_takers--;
	end_one(store);
	pthread_mutex_unlock(&store->lock);
}

int
node_store_remove(struct node_store *store, const char *name, struct kvr_error *error)
{
	struct node_object *object;
	int err = 0;

	pthread_mutex_lock(&store->lock);
	object = find(store, name);
	if (object == NULL) {
		err = app_fail(error, -ENOENT, "no object '%s'", name);
	} else if (!object->committed || object->n_takers > 0) {
		err = app_fail(error, -EBUSY, "object '%s' is being %s", name,
			       object->committed ? "read" : "written");
	} else {
		LIST_REMOVE(object, link);
		object_free(object);
	}
	pthread_mutex_unlock(&store->lock);
	return err;
}

static json_t *
describe(const struct node_object *object)
{
	uint64_t blocks = 0;

	for (uint32_t i = 0; i < object->n_runs; i++)
		blocks += object->runs[i]->n_blocks;
	return json_pack("{s:s, s:I, s:s, s:I, s:I, s:s}", "name", object->name, "bytes",
			 (json_int_t)object->bytes, "pool", object->pool->name, "blocks",
			 (json_int_t)blocks, "runs", (json_int_t)object->n_runs, "state",
			 !object->committed	? "being written"
			 : object->n_takers > 0 ? "being read"
						: "complete");
}

json_t *
node_store_list(struct node_store *store)
{
	const struct node_object *object;
	json_t *list = json_array();

	pthread_mutex_lock(&store->lock);
	/* The newest is first in the list, and last in the answer. */
	LIST_FOREACH (object, &store->objects, link)
		json_array_insert_new(list, 0, describe(object));
	pthread_mutex_unlock(&store->lock);
	return list;
}

/* ---- drain ---- */

void
node_store_drain(struct node_store *store)
{
	pthread_mutex_lock(&store->lock);
	store->draining = true;
	pthread_mutex_unlock(&store->lock);
}

int
node_store_wait(struct node_store *store, uint64_t timeout_ms)
{
	struct timespec deadline;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += (time_t)(timeout_ms / 1000);
	deadline.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (deadline.tv_nsec >= 1000000000) {
		deadline.tv_sec++;
		deadline.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&store->lock);
	while (store->n_under_way > 0 && err == 0)
		err = -pthread_cond_timedwait(&store->ended, &store->lock, &deadline);
	if (store->n_under_way == 0)
		err = 0;
	pthread_mutex_unlock(&store->lock);
	return err;
}

uint32_t
node_store_under_way(struct node_store *store)
{
	uint32_t n;

	pthread_mutex_lock(&store->lock);
	n = store->n_under_way;
	pthread_mutex_unlock(&store->lock);
	return n;
}
