/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The /kvrail endpoints. They run on rte_telemetry's threads, read counters without a lock, and
 * take the control lock for peers, lanes and pools alone.
 *
 * What rte_telemetry of 22.11 allows shapes the replies: no floats; dicts nest, but a list of dicts
 * cannot be said, so a list is a dict whose keys are "0", "1" ...; 16 KiB a reply, so lists that
 * may be longer come in pages: `,OFFSET` begins at that entry, `total` is their number and `next`
 * the first one that is not in the reply (`total`: none is left).
 */
#include "telemetry.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_telemetry.h>

#include "engine.h"
#include "latency.h"

#define NS_PER_SECOND 1000000000ull
#define PAGE_LANES    32 /* 430 bytes each with the longest names; other lists fit as they are */

/* Whom the endpoints answer for. The lock is held while one answers: it is taken before the
 * engine's control lock, never after. */
static pthread_mutex_t engine_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kvr_engine *telemetry_engine;

/* Guards engine->samples: the control thread adds, endpoints read. A leaf. */
static pthread_mutex_t samples_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- samples and rates ---- */

static const unsigned int window_seconds[] = {1, 10, 60};
#define N_WINDOWS (sizeof(window_seconds) / sizeof(window_seconds[0]))

static void
sample_take(const struct kvr_engine *engine, struct kvr_sample *sample)
{
	struct timespec now;

	memset(sample, 0, sizeof(*sample));
	clock_gettime(CLOCK_MONOTONIC, &now);
	sample->at_ns = (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
	for (uint32_t i = 0; i < engine->n_pollers; i++)
		for (uint32_t j = 0; j < engine->n_devices; j++) {
			const struct kvr_device_counters *counters =
				&engine->pollers[i]->device_counters[j];

			for (int op = 0; op < 2; op++)
				sample->bytes[j][op] += kvr_counter_read(&counters->bytes[op]);
		}
}

void
kvr_telemetry_sample(struct kvr_engine *engine)
{
	struct kvr_samples *samples = &engine->samples;
	struct kvr_sample now;

	sample_take(engine, &now);
	pthread_mutex_lock(&samples_lock);
	if (samples->n == 0 ||
	    now.at_ns - samples->ring[(samples->n - 1) % KVR_SAMPLES].at_ns >= NS_PER_SECOND)
		samples->ring[samples->n++ % KVR_SAMPLES] = now;
	pthread_mutex_unlock(&samples_lock);
}

/* The latest sample that is at least so old; else the oldest; else `now`, which gives no rate. */
static void
sample_before(const struct kvr_samples *samples, const struct kvr_sample *now, uint64_t age_ns,
	      struct kvr_sample *before)
{
	uint32_t n = samples->n < KVR_SAMPLES ? samples->n : KVR_SAMPLES;

	*before = *now;
	for (uint32_t i = 1; i <= n && now->at_ns - before->at_ns < age_ns; i++)
		*before = samples->ring[(samples->n - i) % KVR_SAMPLES];
}

static uint64_t
rate_per_sec(uint64_t bytes, uint64_t ns)
{
	return ns == 0 ? 0 : (uint64_t)((double)bytes * 1e9 / (double)ns);
}

/* Now, and the sample each window begins at. */
struct history {
	struct kvr_sample now;
	struct kvr_sample before[N_WINDOWS];
};

static void
history_read(const struct kvr_engine *engine, struct history *history)
{
	pthread_mutex_lock(&samples_lock);
	sample_take(engine, &history->now);
	for (size_t i = 0; i < N_WINDOWS; i++)
		sample_before(&engine->samples, &history->now, window_seconds[i] * NS_PER_SECOND,
			      &history->before[i]);
	pthread_mutex_unlock(&samples_lock);
}

/* Bytes and rates of devices [first, end), summed. */
static void
add_throughput(struct rte_tel_data *dict, const struct history *history, uint32_t first,
	       uint32_t end)
{
	static const char *const prefixes[] = {[KVR_OP_WRITE] = "tx_", [KVR_OP_READ] = "rx_"};
	char key[RTE_TEL_MAX_STRING_LEN];

	for (int op = KVR_OP_WRITE; op >= KVR_OP_READ; op--) {
		uint64_t bytes = 0;

		for (uint32_t i = first; i < end; i++)
			bytes += history->now.bytes[i][op];
		snprintf(key, sizeof(key), "%sbytes", prefixes[op]);
		rte_tel_data_add_dict_u64(dict, key, bytes);
		for (size_t w = 0; w < N_WINDOWS; w++) {
			const struct kvr_sample *before = &history->before[w];
			uint64_t old_bytes = 0;

			for (uint32_t i = first; i < end; i++)
				old_bytes += before->bytes[i][op];
			snprintf(key, sizeof(key), "%sbytes_per_sec_%us", prefixes[op],
				 window_seconds[w]);
			rte_tel_data_add_dict_u64(dict, key,
						  rate_per_sec(bytes - old_bytes,
							       history->now.at_ns - before->at_ns));
		}
	}
}

/* ---- replies ---- */

/* A dict inside of a dict; NULL without memory: that part of the reply is left out. */
static struct rte_tel_data *
add_dict(struct rte_tel_data *parent, const char *key)
{
	struct rte_tel_data *child = rte_tel_data_alloc();

	if (child == NULL)
		return NULL;
	rte_tel_data_start_dict(child);
	if (rte_tel_data_add_dict_container(parent, key, child, 0) != 0) {
		rte_tel_data_free(child);
		return NULL;
	}
	return child;
}

/* A list under way: entries are counted; those of the page are in the reply. */
struct list {
	struct rte_tel_data *reply;
	struct rte_tel_data *entries;
	uint64_t offset; /* first entry of the page */
	uint64_t page;	 /* entries in it, at most */
	uint64_t total;	 /* entries so far */
};

/* `params`: "" or NULL, or the offset. 0 or -EINVAL. */
static int
list_start(struct list *list, struct rte_tel_data *reply, const char *key, const char *params,
	   uint64_t page)
{
	char *end = NULL;

	*list = (struct list){.reply = reply, .page = page};
	if (params != NULL && *params != '\0') {
		if (!isdigit((unsigned char)*params))
			return -EINVAL;
		list->offset = strtoull(params, &end, 10);
		if (*end != '\0')
			return -EINVAL;
	}
	rte_tel_data_start_dict(reply);
	list->entries = add_dict(reply, key);
	return list->entries == NULL ? -ENOMEM : 0;
}

/* The dict of the next entry; NULL when it is not in the page. */
static struct rte_tel_data *
list_add(struct list *list)
{
	uint64_t idx = list->total++;
	char key[24];

	if (idx < list->offset || idx >= list->offset + list->page)
		return NULL;
	snprintf(key, sizeof(key), "%" PRIu64, idx);
	return add_dict(list->entries, key);
}

static void
list_end(struct list *list)
{
	uint64_t next = list->offset + list->page;

	rte_tel_data_add_dict_u64(list->reply, "total", list->total);
	rte_tel_data_add_dict_u64(list->reply, "next", next < list->total ? next : list->total);
}

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

/* One of the port's sysfs counters, which count four bytes each; 0 when there is none. */
static uint64_t
port_counter_bytes(const struct kvr_device *device, const char *counter)
{
	char path[160], text[32];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/%u/counters/%s", device->name,
		 device->port, counter);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	return strtoull(text, NULL, 10) * 4;
}

static void
add_port(struct rte_tel_data *dict, const struct kvr_device *device)
{
	rte_tel_data_add_dict_u64(dict, "port_tx_bytes",
				  port_counter_bytes(device, "port_xmit_data"));
	rte_tel_data_add_dict_u64(dict, "port_rx_bytes",
				  port_counter_bytes(device, "port_rcv_data"));
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
answer_throughput(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply)
{
	struct history history;
	struct rte_tel_data *dict;
	struct list list;
	int err = list_start(&list, reply, "devices", NULL, KVR_MAX_DEVICES);

	(void)params; /* every device fits into one reply */
	if (err != 0)
		return err;
	history_read(engine, &history);
	dict = add_dict(reply, "total");
	if (dict != NULL)
		add_throughput(dict, &history, 0, engine->n_devices);
	for (uint32_t i = 0; i < engine->n_devices; i++) {
		dict = list_add(&list);
		if (dict == NULL)
			continue;
		rte_tel_data_add_dict_string(dict, "name", engine->devices[i].name);
		add_throughput(dict, &history, i, i + 1);
		add_port(dict, &engine->devices[i]);
	}
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
	struct list list;
	int err = list_start(&list, reply, "devices", params, KVR_MAX_DEVICES);

	if (err != 0)
		return err;
	for (uint32_t i = 0; i < n; i++) {
		struct rte_tel_data *dict = list_add(&list);

		if (dict == NULL)
			continue;
		rte_tel_data_add_dict_string(dict, "name", stats[i].name);
		rte_tel_data_add_dict_string(dict, "bdf", stats[i].bdf);
		rte_tel_data_add_dict_int(dict, "numa_node", stats[i].numa_node);
		add_device_stats(dict, &stats[i]);
	}
	list_end(&list);
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
	add_port(reply, device);
	return 0;
}

static int
answer_lcores(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply)
{
	struct kvr_lcore_stats stats[KVR_MAX_POLLERS];
	uint32_t n = kvr_stats_lcores(engine, stats, KVR_MAX_POLLERS);
	struct list list;
	int err = list_start(&list, reply, "lcores", params, KVR_MAX_POLLERS);

	if (err != 0)
		return err;
	for (uint32_t i = 0; i < n; i++) {
		struct rte_tel_data *dict = list_add(&list);

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
	list_end(&list);
	return 0;
}

static const char *
lane_state_text(const struct kvr_lane *lane)
{
	static const char *const texts[] = {
		[KVR_LANE_CONNECTING] = "connecting",
		[KVR_LANE_ACTIVE] = "active",
		[KVR_LANE_DRAINING] = "draining",
		[KVR_LANE_DEAD] = "dead",
	};

	return texts[__atomic_load_n(&lane->state, __ATOMIC_RELAXED)];
}

static void
add_lane(struct rte_tel_data *dict, const struct kvr_lane *lane)
{
	rte_tel_data_add_dict_string(dict, "peer", lane->peer->name);
	rte_tel_data_add_dict_string(dict, "device", lane->device->name);
	rte_tel_data_add_dict_u64(dict, "remote_device", lane->remote_idx);
	rte_tel_data_add_dict_u64(dict, "lcore", lane->poller->lcore);
	rte_tel_data_add_dict_u64(dict, "qpn", lane->sq->qp->qp_num);
	rte_tel_data_add_dict_string(dict, "state", lane_state_text(lane));
	rte_tel_data_add_dict_u64(dict, "inflight_bytes", kvr_counter_read(&lane->inflight_bytes));
	rte_tel_data_add_dict_u64(dict, "bytes", kvr_counter_read(&lane->n_bytes));
	rte_tel_data_add_dict_u64(dict, "slices", kvr_counter_read(&lane->n_slices));
	rte_tel_data_add_dict_u64(dict, "errors", kvr_counter_read(&lane->n_errors));
}

/* "PEER", "PEER,OFFSET" or "OFFSET"; PEER is a name or an address. */
static int
answer_lanes(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply)
{
	char peer_name[256] = "";
	struct list list;
	int err;

	if (params != NULL && params[strspn(params, "0123456789")] != '\0') {
		size_t length = strcspn(params, ",");

		snprintf(peer_name, sizeof(peer_name), "%.*s", (int)length, params);
		params = params[length] == ',' ? params + length + 1 : NULL;
	}
	err = list_start(&list, reply, "lanes", params, PAGE_LANES);
	if (err != 0)
		return err;
	pthread_mutex_lock(&engine->control_lock);
	for (uint32_t i = 0; i < KVR_MAX_PEERS; i++) {
		const struct kvr_peer *peer = engine->peers[i];

		if (peer == NULL || (peer_name[0] != '\0' && strcmp(peer->name, peer_name) != 0 &&
				     strcmp(peer->address, peer_name) != 0))
			continue;
		for (uint32_t j = 0; j < engine->n_pollers; j++)
			for (uint32_t k = 0; k < peer->lanes[j].n; k++) {
				struct rte_tel_data *dict = list_add(&list);

				if (dict != NULL)
					add_lane(dict, peer->lanes[j].lanes[k]);
			}
	}
	pthread_mutex_unlock(&engine->control_lock);
	list_end(&list);
	return 0;
}

static int
answer_pools(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply)
{
	struct list list;
	int err = list_start(&list, reply, "pools", params, KVR_MAX_POOLS);

	if (err != 0)
		return err;
	pthread_mutex_lock(&engine->control_lock);
	for (uint32_t i = 0; i < engine->n_pools; i++) {
		struct kvr_pool *pool = engine->pools[i];
		struct rte_tel_data *dict = list_add(&list);
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
	list_end(&list);
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
	{"/kvrail/throughput", answer_throughput, "Bytes and rates, in total and by device"},
	{"/kvrail/stats", answer_stats, "Counters of all devices and lcores. No parameters"},
	{"/kvrail/devices", answer_devices, "Counters by device. Parameters: [OFFSET]"},
	{"/kvrail/device", answer_device, "One device in detail. Parameters: NAME"},
	{"/kvrail/lcores", answer_lcores, "Counters by poller lcore. Parameters: [OFFSET]"},
	{"/kvrail/lanes", answer_lanes, "Lanes. Parameters: [PEER][,OFFSET] or [OFFSET]"},
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
