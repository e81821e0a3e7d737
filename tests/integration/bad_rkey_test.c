/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A node against a real target: what the API refuses, what a device refuses, and what is left
 * afterwards. `softnic -- bad_rkey_test SOFTNIC KVRAIL_BENCH`: the target is a kvrail-bench.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/wait.h>

#include <jansson.h>

#include <rte_eal.h>
#include <rte_mempool.h>

#include "engine.h"
#include "harness.h"
#include "peer.h"

#define POOL_BYTES    ((uint64_t)16 << 20)
#define TARGET_BYTES  ((uint64_t)32 << 20)
#define REMOTE_ACCESS 0x13 /* PRM, CQE syndromes */
#define N_BATCHES     24

static const char *softnic, *kvrail_bench;
static pid_t target_pid;
static char target_address[128];
static struct kvr_engine *engine;
static struct kvr_pool *pool;
static struct kvr_segment *segment;
static struct kvr_client *client;

/* Starts kvrail-bench as the target, and learns its address. */
static void
target_start(void)
{
	char line[256];
	FILE *out;
	int fds[2];

	if (pipe(fds) != 0)
		exit(1);
	target_pid = fork();
	if (target_pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		execl(kvrail_bench, "kvrail-bench", "--lcores=0@0,1@0", "--in-memory",
		      "--single-file-segments", "--iova-mode=va", "--log-level=lib.eal:error", "--",
		      "--mode=target", "--buffer-size=32M", NULL);
		_exit(127);
	}
	close(fds[1]);
	out = fdopen(fds[0], "r");
	while (target_address[0] == '\0' && fgets(line, sizeof(line), out) != NULL)
		sscanf(line, "listening on %127s", target_address);
	if (target_address[0] == '\0') {
		fprintf(stderr, "%s does not listen\n", kvrail_bench);
		exit(1);
	}
}

static void
node_start(void)
{
	char *argv[] = {"test",		  "--lcores=0@0,(1-2)@(0-1)",
			"--in-memory",	  "--single-file-segments",
			"--iova-mode=va", "--log-level=lib.eal:error"};
	struct kvr_engine_config config = {.timeout_ms = 3000};
	struct kvr_pool_config pool_config = {
		.size_bytes = POOL_BYTES, .block_bytes = 4096, .numa_node = -1};
	struct kvr_client_config client_config = {.max_batches = N_BATCHES};
	struct kvr_error error = {""};

	if (rte_eal_init(sizeof(argv) / sizeof(argv[0]), argv) < 0 ||
	    kvr_engine_create(&config, &engine, &error) != 0 ||
	    kvr_pool_create(engine, &pool_config, &pool, &error) != 0 ||
	    kvr_engine_start(engine, &error) != 0 ||
	    kvr_segment_open(engine, target_address, NULL, 0, &segment, &error) != 0 ||
	    kvr_client_open(engine, &client_config, &client) != 0) {
		fprintf(stderr, "the node does not start: %s\n", error.text);
		exit(1);
	}
}

static struct kvr_transfer
transfer_of(uint64_t at, uint64_t length, enum kvr_op op)
{
	return (struct kvr_transfer){
		.local = (uint8_t *)kvr_pool_base(pool) + at,
		.segment = segment,
		.offset = at,
		.length_bytes = length,
		.op = op,
	};
}

/* Polls until n batches have ended. Their deadline is 3 s; nothing takes 30. */
static void
poll_all(struct kvr_batch **batches, uint32_t n)
{
	uint32_t done = 0, naps = 0;

	while (done < n && naps < 30000) {
		uint32_t got = kvr_poll(client, batches + done, n - done);

		done += got;
		if (got == 0) {
			usleep(1000);
			naps++;
		}
	}
	CU_ASSERT_EQUAL_FATAL(done, n);
}

static struct kvr_result
transfer_run(const struct kvr_transfer *transfer)
{
	struct kvr_batch *batch = kvr_batch_get(client, NULL);
	struct kvr_result result;

	CU_ASSERT_PTR_NOT_NULL_FATAL(batch);
	CU_ASSERT_EQUAL_FATAL(kvr_batch_add(batch, transfer, 1), 0);
	CU_ASSERT_EQUAL_FATAL(kvr_submit(client, &batch, 1), 1);
	poll_all(&batch, 1);
	kvr_batch_result(batch, &result);
	kvr_batch_put(batch);
	return result;
}

static void
mempool_ops_are_linked(void)
{
	struct rte_mempool *mempool =
		rte_mempool_create("test", 63, 64, 0, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);

	CU_ASSERT_PTR_NOT_NULL(mempool);
	rte_mempool_free(mempool);
}

static void
batches_refuse_what_is_not_registered_or_not_there(void)
{
	static uint8_t outside[64];
	struct kvr_batch *batch = kvr_batch_get(client, NULL);
	struct kvr_transfer transfer = transfer_of(0, 64, KVR_OP_WRITE);

	transfer.local = outside;
	CU_ASSERT_EQUAL(kvr_batch_add(batch, &transfer, 1), -EFAULT);
	/* One byte beyond the pool, and beyond the segment. */
	transfer = transfer_of(POOL_BYTES - 64, 65, KVR_OP_WRITE);
	CU_ASSERT_EQUAL(kvr_batch_add(batch, &transfer, 1), -EFAULT);
	transfer = transfer_of(0, 64, KVR_OP_READ);
	transfer.offset = TARGET_BYTES - 63;
	CU_ASSERT_EQUAL(kvr_batch_add(batch, &transfer, 1), -ERANGE);
	transfer.offset = UINT64_MAX - 10;
	CU_ASSERT_EQUAL(kvr_batch_add(batch, &transfer, 1), -ERANGE);
	transfer = transfer_of(0, 0, KVR_OP_READ);
	CU_ASSERT_EQUAL(kvr_batch_add(batch, &transfer, 1), -EINVAL);
	kvr_batch_put(batch);
}

static void
memory_in_use_cannot_be_deregistered(void)
{
	uint8_t *memory = aligned_alloc(4096, 1 << 20);
	struct kvr_transfer transfer = transfer_of(0, 1 << 20, KVR_OP_WRITE);
	struct kvr_batch *batch = kvr_batch_get(client, NULL);

	transfer.local = memory;
	CU_ASSERT_EQUAL(kvr_memory_register(client, memory, 1 << 20), 0);
	CU_ASSERT_EQUAL(kvr_memory_register(client, memory + 4096, 4096), -EEXIST);
	CU_ASSERT_EQUAL(kvr_batch_add(batch, &transfer, 1), 0);
	CU_ASSERT_EQUAL(kvr_memory_deregister(client, memory), -EBUSY);
	CU_ASSERT_EQUAL(kvr_submit(client, &batch, 1), 1);
	CU_ASSERT_EQUAL(kvr_memory_deregister(client, memory), -EBUSY);
	poll_all(&batch, 1);
	CU_ASSERT_EQUAL(kvr_memory_deregister(client, memory), -EBUSY);
	kvr_batch_put(batch);
	CU_ASSERT_EQUAL(kvr_memory_deregister(client, memory), 0);
	CU_ASSERT_EQUAL(kvr_memory_deregister(client, memory), -ENOENT);
	batch = kvr_batch_get(client, NULL);
	CU_ASSERT_EQUAL(kvr_batch_add(batch, &transfer, 1), -EFAULT);
	kvr_batch_put(batch);
	free(memory);
}

/* What the software NIC was asked to register for this process. */
static json_t *
listed(void)
{
	const char *instance = getenv("SOFTNIC_INSTANCE");
	char command[512];
	json_t *json;
	FILE *out;

	snprintf(command, sizeof(command), "'%s' list --json --instance '%s'", softnic,
		 instance != NULL ? instance : "default");
	out = popen(command, "r");
	json = out != NULL ? json_loadf(out, 0, NULL) : NULL;
	if (out != NULL)
		pclose(out);
	return json;
}

static void
relaxed_ordering_reaches_the_device_on_bulk_regions_alone(void)
{
	json_t *instances = listed(), *instance, *mr;
	uint32_t n_relaxed = 0, n_strict = 0;
	size_t i, k;

	CU_ASSERT_PTR_NOT_NULL_FATAL(instances);
	json_array_foreach (instances, i, instance) {
		json_array_foreach (json_object_get(instance, "mrs"), k, mr) {
			char access[256];
			char *text = json_dumps(json_object_get(mr, "access"), JSON_ENCODE_ANY);

			snprintf(access, sizeof(access), "%s", text != NULL ? text : "");
			free(text);
			if (json_integer_value(json_object_get(mr, "pid")) != getpid() ||
			    json_integer_value(json_object_get(mr, "length")) !=
				    (json_int_t)POOL_BYTES)
				continue;
			if (strstr(access, "RELAXED_ORDERING") != NULL)
				n_relaxed++;
			else
				n_strict++;
		}
	}
	CU_ASSERT_EQUAL(n_relaxed, engine->n_devices);
	CU_ASSERT_EQUAL(n_strict, engine->n_devices);
	json_decref(instances);
}

static void
rkeys_flip(void)
{
	uint32_t i;

	for (i = 0; i < KVR_MAX_DEVICES; i++)
		segment->keys[i].bulk_rkey ^= 0x00ffff00;
}

static void
refused_rkey_fails_batches_with_its_syndrome_and_nothing_hangs(void)
{
	struct kvr_transfer transfer;
	struct kvr_batch *batches[N_BATCHES];
	struct kvr_result result;
	uint32_t i, n_access = 0;

	transfer = transfer_of(0, 1 << 20, KVR_OP_WRITE);
	CU_ASSERT_EQUAL(transfer_run(&transfer).status, 0);
	rkeys_flip();
	for (i = 0; i < N_BATCHES; i++) {
		transfer =
			transfer_of(i * 4096, POOL_BYTES / 2, i % 2 ? KVR_OP_READ : KVR_OP_WRITE);
		batches[i] = kvr_batch_get(client, NULL);
		CU_ASSERT_EQUAL(kvr_batch_add(batches[i], &transfer, 1), 0);
	}
	CU_ASSERT_EQUAL(kvr_submit(client, batches, N_BATCHES), N_BATCHES);
	poll_all(batches, N_BATCHES);
	for (i = 0; i < N_BATCHES; i++) {
		kvr_batch_result(batches[i], &result);
		/* Those that others took the lanes from wait for new ones, for as long as they may.
		 */
		CU_ASSERT(result.status == -EIO || result.status == -ETIMEDOUT);
		/* The cause, never the flush that it brings about. */
		CU_ASSERT(result.syndrome == REMOTE_ACCESS ||
			  (result.syndrome == 0 && result.status == -ETIMEDOUT));
		CU_ASSERT(result.status != -EIO || result.device != NULL);
		CU_ASSERT_EQUAL(result.bytes, 0);
		n_access += result.status == -EIO;
		kvr_batch_put(batches[i]);
	}
	CU_ASSERT(n_access > 0);
	rkeys_flip();
}

static void
dead_lanes_come_back_and_new_ones_work(void)
{
	struct kvr_transfer transfer = transfer_of(0, POOL_BYTES, KVR_OP_WRITE);
	struct kvr_result result = transfer_run(&transfer);
	struct kvr_error error = {""};

	CU_ASSERT_EQUAL(result.status, 0);
	CU_ASSERT_EQUAL(kvr_segment_close(segment), 0);
	CU_ASSERT_EQUAL_FATAL(kvr_segment_open(engine, target_address, NULL, 0, &segment, &error),
			      0);
	memset(kvr_pool_base(pool), 0x5a, POOL_BYTES);
	transfer.segment = segment;
	CU_ASSERT_EQUAL(transfer_run(&transfer).status, 0);
	memset(kvr_pool_base(pool), 0, POOL_BYTES);
	transfer.op = KVR_OP_READ;
	result = transfer_run(&transfer);
	CU_ASSERT_EQUAL(result.status, 0);
	CU_ASSERT_EQUAL(result.bytes, POOL_BYTES);
	CU_ASSERT_EQUAL(((uint8_t *)kvr_pool_base(pool))[0], 0x5a);
	CU_ASSERT_EQUAL(((uint8_t *)kvr_pool_base(pool))[POOL_BYTES - 1], 0x5a);
}

static void
everything_closes(void)
{
	int status = 0;

	CU_ASSERT_EQUAL(kvr_client_close(client), 0);
	CU_ASSERT_EQUAL(kvr_segment_close(segment), 0);
	CU_ASSERT_EQUAL(kvr_engine_stop(engine), 0);
	kvr_engine_destroy(engine);
	kill(target_pid, SIGTERM);
	CU_ASSERT_EQUAL(waitpid(target_pid, &status, 0), target_pid);
	CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int
main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: bad_rkey_test SOFTNIC KVRAIL_BENCH\n");
		return 2;
	}
	softnic = argv[1];
	kvrail_bench = argv[2];
	target_start();
	node_start();
	return HARNESS_RUN("bad_rkey", TEST(mempool_ops_are_linked),
			   TEST(batches_refuse_what_is_not_registered_or_not_there),
			   TEST(memory_in_use_cannot_be_deregistered),
			   TEST(relaxed_ordering_reaches_the_device_on_bulk_regions_alone),
			   TEST(refused_rkey_fails_batches_with_its_syndrome_and_nothing_hangs),
			   TEST(dead_lanes_come_back_and_new_ones_work), TEST(everything_closes));
}
