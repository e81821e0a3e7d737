/* SPDX-License-Identifier: BSD-3-Clause */
#include "copy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app_message.h"
#include "idle.h"
#include "log.h"

#define BATCH_BYTES	((uint64_t)32 << 20) /* so that a deadline of seconds is no matter of rate */
#define BATCH_TRANSFERS 64
#define WINDOW		4 /* batches in flight */

/* A copy under way. */
struct copy {
	struct node *node;
	const struct node_object *object;
	struct node_link *link;
	/* the peer's answer to the reservation */
	json_int_t id;
	json_t *runs; /* [[offset, bytes], ...] */
	struct kvr_segment *segment;
	/* the writes */
	struct kvr_client *client;
	uint64_t left;
	uint32_t run, remote_run;	/* where the next write begins: of both sides */
	uint64_t run_at, remote_run_at; /* bytes of them that are done */
	uint32_t n_in_flight;
	struct kvr_result failure; /* the first */
	bool undetermined;	   /* the peer's memory may be written to yet */
	bool broken;		   /* so that nobody else shall use the link */
};

/* ---- asking the peer ---- */

/* Sends {verb: arguments} and takes the answer, the caller's. */
static int
ask(struct copy *copy, const char *verb, json_t *arguments, json_t **answer,
    struct kvr_error *error)
{
	const char *peer = kvr_segment_peer(copy->link->segment), *refused;
	json_t *request = json_pack("{s:o}", verb, arguments);
	char *text = json_dumps(request, JSON_COMPACT), *reply = NULL;
	int err = text == NULL ? -ENOMEM
			       : kvr_segment_call(copy->link->segment, text,
						  copy->node->peers.timeout_ms, &reply);

	json_decref(request);
	free(text);
	if (err != 0) {
		copy->broken = true;
		return app_fail(error, err, "peer %s does not answer '%s': %s", peer, verb,
				strerror(-err));
	}
	*answer = json_loads(reply, 0, NULL);
	free(reply);
	refused = json_string_value(json_object_get(*answer, "refused"));
	if (refused != NULL)
		err = app_fail(error, -EPERM, "peer %s refuses: %.180s", peer, refused);
	else if (!json_is_object(*answer))
		err = app_fail(error, -EPROTO, "peer %s answers '%s' with no JSON object", peer,
			       verb);
	if (err != 0)
		json_decref(*answer);
	return err;
}

/* Are they pairs of numbers that have as many bytes as the object? */
static bool
runs_fit(const json_t *runs, uint64_t bytes)
{
	json_t *run;
	size_t i;

	if (!json_is_array(runs))
		return false;
	json_array_foreach (runs, i, run) {
		json_int_t length = json_integer_value(json_array_get(run, 1));

		if (!json_is_integer(json_array_get(run, 0)) || length <= 0 ||
		    (uint64_t)length > bytes)
			return false;
		bytes -= (uint64_t)length;
	}
	return bytes == 0;
}

static int
reserve(struct copy *copy, struct kvr_error *error)
{
	const struct node_object *object = copy->object;
	const char *pool;
	json_t *answer;
	int err;

	err = ask(
		copy, "reserve",
		json_pack("{s:s, s:I}", "object", object->name, "bytes", (json_int_t)object->bytes),
		&answer, error);
	if (err != 0)
		return err;
	if (json_unpack(answer, "{s:I, s:s, s:o}", "id", &copy->id, "pool", &pool, "runs",
			&copy->runs) != 0 ||
	    !runs_fit(copy->runs, object->bytes)) {
		copy->runs = NULL;
		copy->broken = true;
		err = app_fail(error, -EPROTO, "peer %s answers a reservation with something else",
			       kvr_segment_peer(copy->link->segment));
	} else {
		json_incref(copy->runs);
		/* The connection that the reservation belongs to, and no other. */
		err = kvr_segment_sibling(copy->link->segment, pool, &copy->segment, error);
		copy->broken = err != 0; /* its end gives the reservation up */
	}
	json_decref(answer);
	return err;
}

/* ---- the writes ---- */

/* The next piece that lies in one run on both sides. */
static void
piece_next(struct copy *copy, uint64_t max, struct kvr_transfer *transfer)
{
	const json_t *remote = json_array_get(copy->runs, copy->remote_run);
	uint64_t offset = (uint64_t)json_integer_value(json_array_get(remote, 0));
	uint64_t remote_bytes = (uint64_t)json_integer_value(json_array_get(remote, 1));
	uint8_t *addr;
	uint64_t bytes = node_object_run(copy->object, copy->run, &addr);
	uint64_t length = bytes - copy->run_at;

	length = length < max ? length : max;
	if (remote_bytes - copy->remote_run_at < length)
		length = remote_bytes - copy->remote_run_at;
	*transfer = (struct kvr_transfer){
		.local = addr + copy->run_at,
		.segment = copy->segment,
		.offset = offset + copy->remote_run_at,
		.length_bytes = length,
		.op = KVR_OP_WRITE,
	};
	copy->left -= length;
	copy->run_at += length;
	copy->remote_run_at += length;
	if (copy->run_at == bytes) {
		copy->run++;
		copy->run_at = 0;
	}
	if (copy->remote_run_at == remote_bytes) {
		copy->remote_run++;
		copy->remote_run_at = 0;
	}
}

static int
batch_send(struct copy *copy)
{
	const struct kvr_batch_options options = {.priority = KVR_CLASS_BULK};
	struct kvr_batch *batch = kvr_batch_get(copy->client, &options);
	struct app_idle idle = {0};
	uint64_t bytes = 0;
	int err = 0;

	for (uint32_t n = 0; n < BATCH_TRANSFERS && bytes < BATCH_BYTES && copy->left > 0; n++) {
		struct kvr_transfer transfer;

		piece_next(copy, BATCH_BYTES - bytes, &transfer);
		bytes += transfer.length_bytes;
		err = kvr_batch_add(batch, &transfer, 1);
		if (err != 0) {
			kvr_batch_put(batch);
			return err;
		}
	}
	while (kvr_submit(copy->client, &batch, 1) == 0)
		app_idle_wait(&idle);
	copy->n_in_flight++;
	return 0;
}

static void
batch_reap(struct copy *copy)
{
	struct app_idle idle = {0};
	struct kvr_result result;
	struct kvr_batch *batch;

	while (kvr_poll(copy->client, &batch, 1) == 0)
		app_idle_wait(&idle);
	kvr_batch_result(batch, &result);
	kvr_batch_put(batch);
	copy->n_in_flight--;
	if (result.status == 0)
		return;
	copy->undetermined = copy->undetermined || result.remote_undetermined;
	if (copy->failure.status == 0)
		copy->failure = result;
}

/* All bytes, by batches of the window. Ends when none is in flight. */
static int
write_all(struct copy *copy, struct kvr_error *error)
{
	const struct kvr_client_config config = {
		.max_batches = WINDOW,
		.max_transfers = BATCH_TRANSFERS,
	};
	const struct kvr_result *failure = &copy->failure;
	int err = kvr_client_open(copy->node->engine, &config, &copy->client);

	if (err != 0)
		return app_fail(error, err, "no client: %s", strerror(-err));
	copy->left = copy->object->bytes;
	while (copy->n_in_flight > 0 || (copy->left > 0 && failure->status == 0 && err == 0)) {
		if (copy->n_in_flight < WINDOW && copy->left > 0 && failure->status == 0 &&
		    err == 0)
			err = batch_send(copy);
		else
			batch_reap(copy);
	}
	kvr_client_close(copy->client);
	if (err != 0)
		return app_fail(error, err, "peer %s: a batch cannot be made: %s",
				kvr_segment_peer(copy->segment), strerror(-err));
	if (failure->status == 0)
		return 0;
	copy->broken = copy->undetermined || kvr_segment_lost(copy->segment);
	return app_fail(error, failure->status, "peer %s%s: %s%s%s, CQE syndrome 0x%02x",
			kvr_segment_peer(copy->segment),
			kvr_segment_lost(copy->segment) ? " is lost" : "",
			strerror(-failure->status), failure->device != NULL ? ", device " : "",
			failure->device != NULL ? failure->device : "", failure->syndrome);
}

/* ---- all of it ---- */

/* Over a link that may be from before the peer's last restart. */
static int
copy_over_link(struct copy *copy, struct node_copied *copied, struct kvr_error *error)
{
	struct timespec begin, end;
	struct kvr_error ignored;
	json_t *answer;
	int err = reserve(copy, error);

	if (err != 0)
		return err;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	err = write_all(copy, error);
	clock_gettime(CLOCK_MONOTONIC, &end);
	copied->ns = (uint64_t)(end.tv_sec - begin.tv_sec) * 1000000000 + (uint64_t)end.tv_nsec -
		     (uint64_t)begin.tv_nsec;
	copied->bytes = copy->object->bytes;
	snprintf(copied->peer, sizeof(copied->peer), "%s", kvr_segment_peer(copy->segment));
	/* A peer that may be written to yet keeps the blocks until the connection is gone. */
	if (err == 0) {
		err = ask(copy, "commit", json_integer(copy->id), &answer, error);
		if (err == 0)
			json_decref(answer);
	} else if (!copy->undetermined &&
		   ask(copy, "abandon", json_integer(copy->id), &answer, &ignored) == 0) {
		json_decref(answer);
	}
	return err;
}

static void
copy_end(struct copy *copy, const char *trouble)
{
	if (copy->segment != NULL)
		kvr_segment_close(copy->segment);
	json_decref(copy->runs);
	node_peers_put(&copy->node->peers, copy->link, copy->broken ? trouble : NULL);
}

int
node_copy(struct node *node, const char *name, const char *who, struct node_copied *copied,
	  struct kvr_error *error)
{
	struct node_object *object;
	int err = node_store_take(&node->store, name, true, &object, error);

	if (err != 0)
		return err;
	for (int attempt = 0; attempt < 2; attempt++) {
		struct copy copy = {.node = node, .object = object};
		bool stale;

		err = node_peers_get(&node->peers, who, &copy.link, error);
		if (err != 0)
			break;
		err = copy_over_link(&copy, copied, error);
		/* Lost before anything was reserved: the peer may have been started again. */
		stale = err == -ECONNRESET && copy.segment == NULL;
		copy_end(&copy, error->text);
		if (!stale)
			break;
	}
	if (err != 0)
		NODE_LOG(WARNING, "object '%s' not copied: %s\n", name, error->text);
	else
		NODE_LOG(INFO, "object '%s', %" PRIu64 " bytes: copied to %s\n", name,
			 copied->bytes, copied->peer);
	node_store_release(&node->store, object);
	return err;
}
