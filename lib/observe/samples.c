/* SPDX-License-Identifier: BSD-3-Clause */
/* What every device has moved, sampled once a second, and the rates that this gives. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_telemetry.h>

#include "endpoints.h"
#include "engine.h"
#include "reply.h"

#define NS_PER_SECOND 1000000000ull

/* Guards engine->samples: the control thread adds, endpoints read. A leaf. */
static pthread_mutex_t samples_lock = PTHREAD_MUTEX_INITIALIZER;

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

void
kvr_reply_port(struct rte_tel_data *dict, const struct kvr_device *device)
{
	rte_tel_data_add_dict_u64(dict, "port_tx_bytes",
				  port_counter_bytes(device, "port_xmit_data"));
	rte_tel_data_add_dict_u64(dict, "port_rx_bytes",
				  port_counter_bytes(device, "port_rcv_data"));
}

int
kvr_answer_throughput(struct kvr_engine *engine, const char *params, struct rte_tel_data *reply)
{
	struct history history;
	struct rte_tel_data *dict, *devices;

	(void)params; /* every device fits into one reply */
	history_read(engine, &history);
	rte_tel_data_start_dict(reply);
	dict = kvr_reply_dict(reply, "total");
	devices = kvr_reply_dict(reply, "devices");
	if (dict == NULL || devices == NULL)
		return -ENOMEM;
	add_throughput(dict, &history, 0, engine->n_devices);
	for (uint32_t i = 0; i < engine->n_devices; i++) {
		dict = kvr_reply_entry(devices, i);
		if (dict == NULL)
			return -ENOMEM;
		rte_tel_data_add_dict_string(dict, "name", engine->devices[i].name);
		add_throughput(dict, &history, i, i + 1);
		kvr_reply_port(dict, &engine->devices[i]);
	}
	return 0;
}
