/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "engine.h"
#include "harness.h"
#include "target_process.h"

#define COMMANDS_FD 3
#define REPLIES_FD  4

extern char **environ;

/* ---- a node ---- */

static void
node_fail(const char *name, const char *what, int err, const struct kvr_error *error)
{
	fprintf(stderr, "%s: %s: %s: %s\n", name, what, strerror(-err), error->text);
	exit(1);
}

static struct node *serving; /* whose pool calls are about */

/* ["break", place]: control thread, which owns the connections. */
static int
call_break(struct kvr_connection *connection, uint32_t place)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

	if (place >= connection->n_qps)
		return -ERANGE;
	return -ibv_modify_qp(connection->qps[place], &attr, IBV_QP_STATE);
}

/* ["states"] */
static int
call_states(const struct kvr_connection *connection, json_t *reply)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;
	uint32_t i;

	for (i = 0; i < connection->n_qps; i++) {
		if (ibv_query_qp(connection->qps[i], &attr, IBV_QP_STATE, &init) != 0)
			return -EIO;
		json_array_append_new(reply, json_integer(attr.qp_state));
	}
	return 0;
}

/* ["check", offset, length, version] */
static int
call_check(uint64_t offset, uint64_t length, uint64_t version, json_t *reply)
{
	const uint64_t *words = kvr_pool_base(serving->pool);
	json_int_t n_wrong = 0;
	uint64_t i;

	if (offset + length > NODE_POOL_BYTES)
		return -ERANGE;
	for (i = offset; i < offset + length; i += 8)
		n_wrong += words[i / 8] != node_pattern(i, version);
	json_array_append_new(reply, json_integer(n_wrong));
	return 0;
}

static struct kvr_connection *
connection_of(const char *peer)
{
	struct kvr_control *control = serving->engine->control;
	uint32_t i;

	for (i = 0; i < control->n_connections; i++)
		if (strcmp(control->connections[i]->name, peer) == 0 &&
		    control->connections[i]->n_qps > 0)
			return control->connections[i];
	return NULL;
}

static int
on_call(void *ctx, const struct kvr_caller *caller, const char *request, char **reply)
{
	struct kvr_connection *connection = connection_of(caller->name);
	json_t *message = json_loads(request, 0, NULL), *out = json_array();
	json_int_t a = 0, b = 0, c = 0;
	const char *verb = "";
	int ret = -EINVAL;

	(void)ctx;
	json_unpack(message, "[s,I,I,I]", &verb, &a, &b, &c);
	if (connection == NULL)
		ret = -ENOTCONN;
	else if (strcmp(verb, "break") == 0)
		ret = call_break(connection, (uint32_t)a);
	else if (strcmp(verb, "states") == 0)
		ret = call_states(connection, out);
	else if (strcmp(verb, "check") == 0)
		ret = call_check((uint64_t)a, (uint64_t)b, (uint64_t)c, out);
	*reply = json_dumps(out, JSON_COMPACT);
	json_decref(message);
	json_decref(out);
	return ret;
}

void
node_start(struct node *node, const char *name)
{
	const struct kvr_engine_config config = {.name = name, .listen = "127.0.0.1:0"};
	const struct kvr_pool_config pool_config = {
		.size_bytes = NODE_POOL_BYTES, .block_bytes = NODE_BLOCK_BYTES, .numa_node = -1};
	struct kvr_error error = {""};
	int ret;

	serving = node;
	ret = kvr_engine_create(&config, &node->engine, &error);
	if (ret != 0)
		node_fail(name, "no engine", ret, &error);
	ret = kvr_pool_create(node->engine, &pool_config, &node->pool, &error);
	if (ret != 0)
		node_fail(name, "no pool", ret, &error);
	kvr_engine_on_call(node->engine, on_call, NULL);
	ret = kvr_engine_start(node->engine, &error);
	if (ret != 0)
		node_fail(name, "not started", ret, &error);
}

void
node_stop(struct node *node)
{
	if (kvr_engine_stop(node->engine) == 0)
		kvr_engine_destroy(node->engine);
}

/* ---- the target's process ---- */

int
target_main(void)
{
	FILE *commands = fdopen(COMMANDS_FD, "r"), *replies = fdopen(REPLIES_FD, "w");
	struct kvr_segment *segment = NULL;
	char line[300], address[256];
	struct node node;
	int ret;

	harness_eal(1 + NODE_POLLERS);
	node_start(&node, "target");
	fprintf(replies, "%s\n", kvr_engine_address(node.engine));
	fflush(replies);
	/* The pipe's end is the test's end. */
	while (fgets(line, sizeof(line), commands) != NULL) {
		ret = -EINVAL;
		if (sscanf(line, "open %255s", address) == 1)
			ret = kvr_segment_open(node.engine, address, NULL, NODE_PATIENCE_MS,
					       &segment, NULL);
		else if (strcmp(line, "close\n") == 0)
			ret = kvr_segment_close(segment);
		fprintf(replies, "%d\n", ret);
		fflush(replies);
	}
	node_stop(&node);
	return 0;
}

/* ---- the test's side ---- */

void
target_start(struct target *target)
{
	char *const argv[] = {"failover_target", TARGET_ARGUMENT, NULL};
	posix_spawn_file_actions_t actions;
	int commands[2], replies[2], ret;

	CU_ASSERT_FATAL(pipe2(commands, O_CLOEXEC) == 0 && pipe2(replies, O_CLOEXEC) == 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, commands[0], COMMANDS_FD);
	posix_spawn_file_actions_adddup2(&actions, replies[1], REPLIES_FD);
	ret = posix_spawn(&target->pid, "/proc/self/exe", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(commands[0]);
	close(replies[1]);
	CU_ASSERT_FATAL(ret == 0);
	target->commands = fdopen(commands[1], "w");
	target->replies = fdopen(replies[0], "r");
	CU_ASSERT_FATAL(fgets(target->address, sizeof(target->address), target->replies) != NULL);
	target->address[strcspn(target->address, "\n")] = '\0';
}

int
target_stop(struct target *target)
{
	int status = -1;

	fclose(target->commands);
	waitpid(target->pid, &status, 0);
	fclose(target->replies);
	return status;
}

void
target_command(struct target *target, const char *command, const char *argument)
{
	fprintf(target->commands, "%s%s%s\n", command, argument[0] != '\0' ? " " : "", argument);
	fflush(target->commands);
}

int
target_result(struct target *target)
{
	char line[32];

	return fgets(line, sizeof(line), target->replies) != NULL ? atoi(line) : -EPIPE;
}

/* Calls, and parses the reply. */
static int
call(struct kvr_segment *segment, json_t *request, json_t **reply)
{
	char *text = json_dumps(request, JSON_COMPACT), *answer = NULL;
	int ret;

	ret = kvr_segment_call(segment, text, NODE_PATIENCE_MS, &answer);
	free(text);
	json_decref(request);
	if (ret != 0)
		return ret;
	*reply = json_loads(answer, 0, NULL);
	free(answer);
	return *reply != NULL ? 0 : -EPROTO;
}

int
target_break(struct kvr_segment *segment, uint32_t place)
{
	json_t *reply = NULL;
	int ret = call(segment, json_pack("[s,i]", "break", (int)place), &reply);

	json_decref(reply);
	return ret;
}

int
target_states(struct kvr_segment *segment, enum ibv_qp_state *states)
{
	json_t *reply = NULL, *state;
	size_t i;
	int ret = call(segment, json_pack("[s]", "states"), &reply);

	if (ret != 0)
		return ret;
	json_array_foreach (reply, i, state)
		states[i] = (enum ibv_qp_state)json_integer_value(state);
	ret = (int)json_array_size(reply);
	json_decref(reply);
	return ret;
}

int
target_check(struct kvr_segment *segment, uint64_t offset, uint64_t length, uint64_t version)
{
	json_t *reply = NULL;
	int ret = call(segment,
		       json_pack("[s,I,I,I]", "check", (json_int_t)offset, (json_int_t)length,
				 (json_int_t)version),
		       &reply);

	if (ret == 0)
		ret = (int)json_integer_value(json_array_get(reply, 0));
	json_decref(reply);
	return ret;
}
