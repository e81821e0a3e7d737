/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The /kvrail endpoints, and those that tell of the node itself. They run on rte_telemetry's
 * threads, read counters without a lock, and take the control lock for peers, lanes and pools
 * alone.
 */
#include "telemetry.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_telemetry.h>

#include "endpoints.h"
#include "engine.h"
#include "latency.h"
#include "reply.h"

#define MAX_SOCKETS 64 /* of nodes that share a prefix */

/* Whom the endpoints answer for. The lock is held while one answers: it is taken before the
 * engine's control lock, never after. */
static pthread_mutex_t engine_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kvr_engine *telemetry_engine;

/* ---- counters ---- */

static void
add_device_stats(struct rte_tel_data *dict, const struct kvr_device_stats *stats)
{
	rte_tel_data_add_dict_u64(dict, "tx_bytes", stats->tx_bytes);
	rte_tel_data_add_dict_u64(dict, "rx_bytes", stats->rx_bytes);
	rte_tel_data_add_dict_u64(dict, "tx_slices", stats->tx_slices);
	rte_tel_data_add_dict_u64(dict, "rx_slices", stats->rx_slices);
	rte_tel_data_add_dict_u64(dict, "failed_bytes", stats->failed_bytes);
	rte_tel_data_add_dict_u64(dict, "proofs", stats->proofs);
	rte_tel_data_add_dict_u64(dict, "wqes", stats->wqes);
	rte_tel_data_add_dict_u64(dict, "doorbells", stats->doorbells);
	rte_tel_data_add_dict_u64(dict, "cqes", stats->cqes);
	rte_tel_data_add_dict_u64(dict, "errors", stats->errors);
}

static uint64_t
busy_pct(const struct kvr_lcore_stats *stats)
{
	uint64_t all_ns = stats->busy_ns + stats->idle_ns;

	return all_ns == 0 ? 0 : (uint64_t)(100.0 * (double)stats->busy_ns / (double)all_ns);
}

/* ---- endpoints: engine_lock is held ---- */

static int
answer_info(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply)
{
	(void)params;
	rte_tel_data_start_dict(reply);
	rte_tel_data_add_dict_string(reply, "name", engine->name);
	rte_tel_data_add_dict_string(reply, "address", engine->address);
	rte_tel_data_add_dict_string(reply, "boot_id", engine->boot_id);
	rte_tel_data_add_dict_u64(reply, "protocol", KVR_PROTOCOL);
	rte_tel_data_add_dict_u64(reply, "pid", (uint64_t)getpid());
	rte_tel_data_add_dict_u64(reply, "devices", engine->n_devices);
	rte_tel_data_add_dict_u64(reply, "lcores", engine->n_pollers);
	rte_tel_data_add_dict_u64(reply, "timeout_ms", engine->timeout_ms);
	rte_tel_data_add_dict_u64(reply, "slice_bytes", engine->slice_bytes);
	rte_tel_data_add_dict_string(reply, "cross_numa", engine->cross_numa ? "yes" : "no");
	return 0;
}

static int
answer_stats(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply)
{
	struct kvr_device_stats devices[KVR_MAX_DEVICES], total = {.name = ""};
	struct kvr_lcore_stats lcores[KVR_MAX_POLLERS];
	uint32_t n_devices = kvr_stats_devices(engine, devices, KVR_MAX_DEVICES);
	uint32_t n_lcores = kvr_stats_lcores(engine, lcores, KVR_MAX_POLLERS);
	uint64_t batches = 0, transfers = 0;

	(void)params;
	for (uint32_t i = 0; i < n_devices; i++) {
		total.tx_bytes += devices[i].tx_bytes;
		total.rx_bytes += devices[i].rx_bytes;
		total.tx_slices += devices[i].tx_slices;
		total.rx_slices += devices[i].rx_slices;
		total.failed_bytes += devices[i].failed_bytes;
		total.proofs += devices[i].proofs;
		total.wqes += devices[i].wqes;
		total.doorbells += devices[i].doorbells;
		total.cqes += devices[i].cqes;
		total.errors += devices[i].errors;
	}
	for (uint32_t i = 0; i < n_lcores; i++) {
		batches += lcores[i].batches;
		transfers += lcores[i].transfers;
	}
	rte_tel_data_start_dict(reply);
	add_device_stats(reply, &total);
	rte_tel_data_add_dict_u64(reply, "batches", batches);
	rte_tel_data_add_dict_u64(reply, "transfers", transfers);
	return 0;
}

static int
answer_devices(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply)
{
	struct kvr_device_stats stats[KVR_MAX_DEVICES];
	uint32_t n = kvr_stats_devices(engine, stats, KVR_MAX_DEVICES);
	struct kvr_reply_list list;
	int err = kvr_reply_list_start(&list, reply, "devices", params, KVR_MAX_DEVICES);

	if (err != 0)
		return err;
	for (uint32_t i = 0; i < n; i++) {
		struct rte_tel_data *dict = kvr_reply_list_add(&list);

		if (dict == NULL)
			continue;
		rte_tel_data_add_dict_string(dict, "name", stats[i].name);
		rte_tel_data_add_dict_string(dict, "bdf", stats[i].bdf);
		rte_tel_data_add_dict_int(dict, "numa_node", stats[i].numa_node);
		add_device_stats(dict, &stats[i]);
	}
	kvr_reply_list_end(&list);
	return 0;
}

static int
answer_device(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply)
{
	struct kvr_device_stats stats[KVR_MAX_DEVICES];
	const struct kvr_device *device;
	uint32_t i = 0;

	while (i < engine->n_devices &&
	       (params == NULL || strcmp(params, engine->devices[i].name) != 0))
		i++;
	if (i == engine->n_devices)
		return -ENODEV;
	device = &engine->devices[i];
	kvr_stats_devices(engine, stats, KVR_MAX_DEVICES);
	rte_tel_data_start_dict(reply);
	rte_tel_data_add_dict_string(reply, "name", device->name);
	rte_tel_data_add_dict_string(reply, "bdf", device->bdf);
	rte_tel_data_add_dict_string(reply, "driver", device->driver->name);
	rte_tel_data_add_dict_int(reply, "numa_node", device->numa_node);
	rte_tel_data_add_dict_u64(reply, "port", device->port);
	rte_tel_data_add_dict_string(reply, "gid", device->gid_text);
	rte_tel_data_add_dict_u64(reply, "gid_index", device->gid_idx);
	rte_tel_data_add_dict_u64(reply, "mtu_bytes", 128ull << device->mtu); /* IBV_MTU_256 is 1 */
	rte_tel_data_add_dict_u64(reply, "rate_bits_per_sec", device->rate_bps);
	rte_tel_data_add_dict_u64(reply, "service_level", device->sl);
	rte_tel_data_add_dict_u64(reply, "traffic_class", device->traffic_class);
	rte_tel_data_add_dict_u64(reply, "lanes_per_poller", device->n_lanes);
	add_device_stats(reply, &stats[i]);
	kvr_reply_port(reply, device);
	return 0;
}

static int
answer_lcores(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply)
{
	struct kvr_lcore_stats stats[KVR_MAX_POLLERS];
	uint32_t n = kvr_stats_lcores(engine, stats, KVR_MAX_POLLERS);
	struct kvr_reply_list list;
	int err = kvr_reply_list_start(&list, reply, "lcores", params, KVR_MAX_POLLERS);

	if (err != 0)
		return err;
	for (uint32_t i = 0; i < n; i++) {
		struct rte_tel_data *dict = kvr_reply_list_add(&list);

		if (dict == NULL)
			continue;
		rte_tel_data_add_dict_u64(dict, "lcore", stats[i].lcore);
		rte_tel_data_add_dict_int(dict, "numa_node", stats[i].numa_node);
		rte_tel_data_add_dict_u64(dict, "busy_pct", busy_pct(&stats[i]));
		rte_tel_data_add_dict_u64(dict, "polls", stats[i].polls);
		rte_tel_data_add_dict_u64(dict, "empty_polls", stats[i].empty_polls);
		rte_tel_data_add_dict_u64(dict, "transfers", stats[i].transfers);
		rte_tel_data_add_dict_u64(dict, "batches", stats[i].batches);
	}
	kvr_reply_list_end(&list);
	return 0;
}

static int
answer_pools(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply)
{
	struct kvr_reply_list list;
	int err = kvr_reply_list_start(&list, reply, "pools", params, KVR_MAX_POOLS);

	if (err != 0)
		return err;
	pthread_mutex_lock(&engine->control_lock);
	for (uint32_t i = 0; i < engine->n_pools; i++) {
		struct kvr_pool *pool = engine->pools[i];
		struct rte_tel_data *dict = kvr_reply_list_add(&list);
		uint32_t n_free, largest_run;

		if (dict == NULL)
			continue;
		kvr_pool_usage(pool, &n_free, &largest_run);
		rte_tel_data_add_dict_string(dict, "name", pool->name);
		rte_tel_data_add_dict_int(dict, "numa_node", pool->numa_node);
		rte_tel_data_add_dict_u64(dict, "size_bytes", pool->n_blocks * pool->block_bytes);
		rte_tel_data_add_dict_u64(dict, "block_bytes", pool->block_bytes);
		rte_tel_data_add_dict_u64(dict, "blocks", pool->n_blocks);
		rte_tel_data_add_dict_u64(dict, "free_blocks", n_free);
		rte_tel_data_add_dict_u64(dict, "largest_free_run_blocks", largest_run);
		rte_tel_data_add_dict_u64(dict, "register_us", pool->region->register_ns / 1000);
	}
	pthread_mutex_unlock(&engine->control_lock);
	kvr_reply_list_end(&list);
	return 0;
}

static int
answer_latency(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply)
{
	struct kvr_latency all = {.n = 0};

	(void)params;
	for (uint32_t i = 0; i < engine->n_pollers; i++)
		kvr_latency_merge(&all, &engine->pollers[i]->latency);
	rte_tel_data_start_dict(reply);
	rte_tel_data_add_dict_u64(reply, "batches", all.n);
	rte_tel_data_add_dict_u64(reply, "p50_us", kvr_latency_percentile_ns(&all, 50) / 1000);
	rte_tel_data_add_dict_u64(reply, "p90_us", kvr_latency_percentile_ns(&all, 90) / 1000);
	rte_tel_data_add_dict_u64(reply, "p99_us", kvr_latency_percentile_ns(&all, 99) / 1000);
	rte_tel_data_add_dict_u64(reply, "p999_us", kvr_latency_percentile_ns(&all, 99.9) / 1000);
	rte_tel_data_add_dict_u64(reply, "max_us", all.max_ns / 1000);
	return 0;
}

/* ---- registration ---- */

static const struct {
	const char *path;
	int (*answer)(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply);
	const char *help; /* 63 characters at most */
} endpoints[] = {
	{"/kvrail/info", answer_info, "The node. No parameters"},
	{"/kvrail/throughput", kvr_answer_throughput, "Bytes and rates, in total and by device"},
	{"/kvrail/stats", answer_stats, "Counters of all devices and lcores. No parameters"},
	{"/kvrail/devices", answer_devices, "Counters by device. Parameters: [OFFSET]"},
	{"/kvrail/device", answer_device, "One device in detail. Parameters: NAME"},
	{"/kvrail/lcores", answer_lcores, "Counters by poller lcore. Parameters: [OFFSET]"},
	{"/kvrail/lanes", kvr_answer_lanes, "Lanes. Parameters: [PEER][,OFFSET] or [OFFSET]"},
	{"/kvrail/peers", kvr_answer_peers, "Peers this node opened. Parameters: [OFFSET]"},
	{"/kvrail/errors", kvr_answer_errors,
	 "Failures, and lanes out of use. Parameters: [OFFSET]"},
	{"/kvrail/pools", answer_pools, "Pools and their free blocks. Parameters: [OFFSET]"},
	{"/kvrail/latency", answer_latency, "Batch latency percentiles. No parameters"},
};
#define N_ENDPOINTS (sizeof(endpoints) / sizeof(endpoints[0]))

/* rte_telemetry's callback for all of them; an error answers null. */
static int
answer(const char *path, const char *params, struct rte_tel_data *reply)
{
	int err = -ENODEV;

	pthread_mutex_lock(&engine_lock);
	for (size_t i = 0; telemetry_engine != NULL && i < N_ENDPOINTS; i++)
		if (strcmp(path, endpoints[i].path) == 0)
			err = endpoints[i].answer(telemetry_engine, params, reply);
	pthread_mutex_unlock(&engine_lock);
	return err;
}

/* Does this process answer there? rte_telemetry greets whoever connects with its pid. */
static bool
is_own_socket(const struct sockaddr_un *address)
{
	const struct timeval patience = {.tv_sec = 1}; /* another process's, and that is stuck */
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	char greeting[1024], pid[32];
	ssize_t n = -1;

	if (fd < 0)
		return false;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		n = recv(fd, greeting, sizeof(greeting) - 1, 0);
	close(fd);
	if (n <= 0)
		return false;
	greeting[n] = '\0';
	snprintf(pid, sizeof(pid), "\"pid\":%d,", getpid());
	return strstr(greeting, pid) != NULL;
}

/* Nodes in memory that share a prefix have sockets with the suffixes :1, :2 ..., and rte_telemetry
 * does not say which is whose. */
static void
log_socket(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char suffix[16] = "";

	for (int i = 0; i < MAX_SOCKETS; i++) {
		if (i > 0)
			snprintf(suffix, sizeof(suffix), ":%d", i);
		if (snprintf(address.sun_path, sizeof(address.sun_path), "%s/dpdk_telemetry.v2%s",
			     rte_eal_get_runtime_dir(), suffix) >= (int)sizeof(address.sun_path) ||
		    access(address.sun_path, F_OK) != 0)
			return; /* --no-telemetry */
		if (is_own_socket(&address)) {
			KVR_LOG(INFO, "telemetry: %s\n", address.sun_path);
			return;
		}
	}
}

int
kvr_telemetry_start(struct kvr_engine *engine)
{
	static bool registered; /* rte_telemetry cannot forget an endpoint; once is for good */
	int err = 0;

	pthread_mutex_lock(&engine_lock);
	for (size_t i = 0; !registered && err == 0 && i < N_ENDPOINTS; i++)
		err = rte_telemetry_register_cmd(endpoints[i].path, answer, endpoints[i].help);
	if (err == 0) {
		registered = true;
		telemetry_engine = engine;
	}
	pthread_mutex_unlock(&engine_lock);
	if (err == 0)
		log_socket();
	return err;
}

void
kvr_telemetry_stop(struct kvr_engine *engine)
{
	pthread_mutex_lock(&engine_lock);
	if (telemetry_engine == engine)
		telemetry_engine = NULL;
	pthread_mutex_unlock(&engine_lock);
}
