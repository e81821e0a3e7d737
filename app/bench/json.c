/* SPDX-License-Identifier: BSD-3-Clause */
#include "json.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <jansson.h>

#include <rte_version.h>

#include "app_message.h"
#include "version.h"

/* "model name" of /proc/cpuinfo; ARM64 has none, there it is the architecture. */
static void
cpu_name(char *name, size_t n)
{
	FILE *stream = fopen("/proc/cpuinfo", "r");
	struct utsname system;
	char line[512];

	uname(&system);
	snprintf(name, n, "%s", system.machine);
	while (stream != NULL && fgets(line, sizeof(line), stream) != NULL) {
		const char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) != 0 || colon == NULL)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(name, n, "%s", colon + 2);
		break;
	}
	if (stream != NULL)
		fclose(stream);
}

static void
put_text(json_t *object, const char *key, const char *value)
{
	json_object_set_new(object, key, json_string(value));
}

static void
put_number(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void
put_real(json_t *object, const char *key, double value)
{
	json_object_set_new(object, key, json_real(value));
}

static void
put_bool(json_t *object, const char *key, bool value)
{
	json_object_set_new(object, key, json_boolean(value));
}

static json_t *
machine_json(const struct bench_counters *counters, int eal_argc, char **eal_argv)
{
	json_t *json = json_object();
	json_t *arguments = json_array();
	json_t *devices = json_array();
	struct utsname system;
	char cpu[256];

	uname(&system);
	cpu_name(cpu, sizeof(cpu));
	put_text(json, "cpu", cpu);
	put_number(json, "n_cpus", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	put_text(json, "kernel", system.release);
	put_text(json, "dpdk", rte_version());
	put_text(json, "rdma_core", RDMA_CORE_VERSION);
	for (uint32_t i = 0; i < counters->n_devices; i++) {
		const struct kvr_device_stats *stats = &counters->devices[i];
		json_t *device = json_object();

		put_text(device, "name", stats->name);
		put_text(device, "bdf", stats->bdf);
		json_object_set_new(device, "numa_node", json_integer(stats->numa_node));
		json_array_append_new(devices, device);
	}
	json_object_set_new(json, "devices", devices);
	for (int i = 1; i < eal_argc; i++)
		json_array_append_new(arguments, json_string(eal_argv[i]));
	json_object_set_new(json, "eal_arguments", arguments);
	return json;
}

static json_t *
options_json(const struct bench_options *options)
{
	json_t *json = json_object();

	put_text(json, "segment_id", options->segment_id);
	put_number(json, "buffer_bytes", options->buffer_bytes);
	if (!bench_options_sweep(options)) {
		put_number(json, "batch_size", options->batch_size);
		put_number(json, "threads", options->n_threads);
	}
	put_number(json, "slice_bytes", options->slice_bytes);
	put_number(json, "timeout_ms", options->timeout_ms);
	put_text(json, "level", options->level == KVR_LEVEL_SENT ? "sent" : "visible");
	put_text(json, "priority", options->priority == KVR_CLASS_BULK ? "bulk" : "latency");
	put_bool(json, "verify", options->verify);
	put_bool(json, "cross_numa", options->cross_numa);
	if (options->trace_path == NULL) {
		put_text(json, "operation", options->operation == KVR_OP_READ ? "read" : "write");
		if (!bench_options_sweep(options))
			put_number(json, "block_bytes", options->block_bytes);
		put_real(json, "duration_s", (double)options->duration_ns / 1e9);
		put_bool(json, "hot", options->hot);
		return json;
	}
	put_text(json, "trace", options->trace_path);
	put_number(json, "kv_bytes_per_token", options->kv_bytes_per_token);
	put_number(json, "layers", options->n_layers);
	if (options->speedup == 0)
		put_text(json, "speedup", "max");
	else
		put_real(json, "speedup", options->speedup);
	return json;
}

static json_t *
latency_json(const struct kvr_latency *latency)
{
	json_t *json = json_object();

	put_number(json, "n", latency->n);
	put_real(json, "p50_us", (double)kvr_latency_percentile_ns(latency, 50) / 1e3);
	put_real(json, "p90_us", (double)kvr_latency_percentile_ns(latency, 90) / 1e3);
	put_real(json, "p99_us", (double)kvr_latency_percentile_ns(latency, 99) / 1e3);
	put_real(json, "p999_us", (double)kvr_latency_percentile_ns(latency, 99.9) / 1e3);
	put_real(json, "max_us", (double)latency->max_ns / 1e3);
	return json;
}

static json_t *
device_json(const struct kvr_device_stats *device)
{
	json_t *json = json_object();

	put_text(json, "name", device->name);
	put_number(json, "tx_bytes", device->tx_bytes);
	put_number(json, "rx_bytes", device->rx_bytes);
	put_number(json, "tx_slices", device->tx_slices);
	put_number(json, "rx_slices", device->rx_slices);
	put_number(json, "failed_bytes", device->failed_bytes);
	put_number(json, "proofs", device->proofs);
	put_number(json, "wqes", device->wqes);
	put_number(json, "doorbells", device->doorbells);
	put_number(json, "cqes", device->cqes);
	put_number(json, "errors", device->errors);
	return json;
}

static json_t *
lcore_json(const struct kvr_lcore_stats *lcore)
{
	json_t *json = json_object();

	put_number(json, "lcore", lcore->lcore);
	json_object_set_new(json, "numa_node", json_integer(lcore->numa_node));
	put_number(json, "polls", lcore->polls);
	put_number(json, "empty_polls", lcore->empty_polls);
	put_number(json, "busy_ns", lcore->busy_ns);
	put_number(json, "idle_ns", lcore->idle_ns);
	put_real(json, "busy_pct", bench_report_busy_pct(lcore));
	put_number(json, "batches", lcore->batches);
	put_number(json, "transfers", lcore->transfers);
	return json;
}

static json_t *
replay_json(const struct bench_replay_totals *replay)
{
	json_t *json = json_object();

	put_number(json, "requests", replay->n_requests);
	put_number(json, "block_references", replay->n_references);
	put_number(json, "block_hits", replay->n_hits);
	put_number(json, "distinct_blocks", replay->n_distinct);
	put_number(json, "evictions", replay->n_evictions);
	put_number(json, "block_bytes", replay->block_bytes);
	put_number(json, "pool_blocks", replay->pool_blocks);
	json_object_set_new(json, "request_latency", latency_json(&replay->latency));
	return json;
}

static json_t *
result_json(const struct bench_report *report)
{
	uint64_t bytes = report->bytes[KVR_OP_READ] + report->bytes[KVR_OP_WRITE];
	double seconds = (double)report->duration_ns / 1e9;
	json_t *json = json_object();
	json_t *devices = json_array();
	json_t *lcores = json_array();

	put_text(json, "status", report->status == 0 ? "ok" : strerror(-report->status));
	put_bool(json, "interrupted", report->interrupted);
	put_real(json, "duration_s", seconds);
	put_number(json, "batches", report->n_batches);
	put_number(json, "transfers", report->n_transfers);
	put_number(json, "tx_bytes", report->bytes[KVR_OP_WRITE]);
	put_number(json, "rx_bytes", report->bytes[KVR_OP_READ]);
	put_real(json, "bytes_per_sec", seconds > 0 ? (double)bytes / seconds : 0);
	json_object_set_new(json, "batch_latency", latency_json(&report->latency));
	for (uint32_t i = 0; i < report->counters.n_devices; i++)
		json_array_append_new(devices, device_json(&report->counters.devices[i]));
	json_object_set_new(json, "devices", devices);
	for (uint32_t i = 0; i < report->counters.n_lcores; i++)
		json_array_append_new(lcores, lcore_json(&report->counters.lcores[i]));
	json_object_set_new(json, "lcores", lcores);
	if (report->replay != NULL)
		json_object_set_new(json, "trace", replay_json(report->replay));
	return json;
}

/* Takes over *result. */
static int
document_write(const struct bench_options *options, const struct bench_counters *counters,
	       const char *key, json_t *result, int eal_argc, char **eal_argv)
{
	const char *path = options->json_path;
	json_t *json = json_object();
	FILE *file = fopen(path, "w");
	int err = file == NULL ? -errno : 0;

	put_text(json, "kvrail", KVRAIL_VERSION);
	put_text(json, "git_commit", KVRAIL_GIT);
	json_object_set_new(json, "machine", machine_json(counters, eal_argc, eal_argv));
	json_object_set_new(json, "options", options_json(options));
	json_object_set_new(json, key, result);
	if (err == 0 && json_dumpf(json, file, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) != 0)
		err = -EIO;
	if (file != NULL && fclose(file) != 0 && err == 0)
		err = -errno;
	json_decref(json);
	if (err != 0)
		app_message("--json %s: %s", path, strerror(-err));
	return err;
}

int
bench_json_write(const struct bench_report *report, int eal_argc, char **eal_argv)
{
	return document_write(report->options, &report->counters, "result", result_json(report),
			      eal_argc, eal_argv);
}

static json_t *
point_json(const struct bench_point *point)
{
	json_t *json = json_object();

	put_number(json, "block_bytes", point->block_bytes);
	put_number(json, "threads", point->n_threads);
	put_number(json, "batch_size", point->batch_size);
	put_real(json, "duration_s", (double)point->duration_ns / 1e9);
	put_number(json, "batches", point->n_batches);
	put_number(json, "bytes", point->bytes);
	put_real(json, "bytes_per_sec", point->bytes_per_sec);
	put_real(json, "p50_us", (double)point->p50_ns / 1e3);
	put_real(json, "p99_us", (double)point->p99_ns / 1e3);
	put_bool(json, "overlaps", point->overlaps);
	return json;
}

static json_t *
axis_json(const struct bench_range *range)
{
	json_t *json = json_array();

	for (uint64_t value = range->first; value <= range->last; value *= 2)
		json_array_append_new(json, json_integer((json_int_t)value));
	return json;
}

int
bench_json_write_sweep(const struct bench_sweep *sweep, int eal_argc, char **eal_argv)
{
	static const char *const best_keys[BENCH_N_BESTS] = {
		[BENCH_BEST_BANDWIDTH] = "best_bandwidth",
		[BENCH_BEST_P50] = "best_p50",
		[BENCH_BEST_P99] = "best_p99",
	};
	const struct bench_grid *grid = &sweep->options->grid;
	json_t *json = json_object();
	json_t *points = json_array();

	put_text(json, "status", sweep->status == 0 ? "ok" : strerror(-sweep->status));
	put_bool(json, "interrupted", sweep->interrupted);
	json_object_set_new(json, "block_bytes", axis_json(&grid->axes[BENCH_AXIS_BLOCK]));
	json_object_set_new(json, "threads", axis_json(&grid->axes[BENCH_AXIS_THREADS]));
	json_object_set_new(json, "batch_size", axis_json(&grid->axes[BENCH_AXIS_BATCH]));
	for (uint32_t i = 0; i < sweep->n_points; i++)
		json_array_append_new(points, point_json(&sweep->points[i]));
	json_object_set_new(json, "points", points);
	put_number(json, "skipped_points", sweep->n_skipped);
	for (int i = 0; i < BENCH_N_BESTS && sweep->n_points > 0; i++)
		json_object_set_new(json, best_keys[i], point_json(&sweep->points[sweep->best[i]]));
	return document_write(sweep->options, &sweep->counters, "sweep", json, eal_argc, eal_argv);
}
