/* SPDX-License-Identifier: BSD-3-Clause */
#include "json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <jansson.h>

#include <rte_version.h>

#include "message.h"
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

static json_t *
pack_machine(const struct bench_report *report, int eal_argc, char **eal_argv)
{
	json_t *arguments = json_array();
	json_t *devices = json_array();
	struct utsname system;
	char cpu[256];

	for (int i = 1; i < eal_argc; i++)
		json_array_append_new(arguments, json_string(eal_argv[i]));
	for (uint32_t i = 0; i < report->counters.n_devices; i++) {
		const struct kvr_device_stats *device = &report->counters.devices[i];

		json_array_append_new(devices,
				      json_pack("{s:s, s:s, s:i}", "name", device->name, "bdf",
						device->bdf, "numa_node", device->numa_node));
	}
	uname(&system);
	cpu_name(cpu, sizeof(cpu));
	return json_pack("{s:s, s:I, s:s, s:s, s:s, s:o, s:o}", "cpu", cpu, "n_cpus",
			 (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "kernel", system.release,
			 "dpdk", rte_version(), "rdma_core", RDMA_CORE_VERSION, "devices", devices,
			 "eal_arguments", arguments);
}

static json_t *
pack_options(const struct bench_options *options)
{
	json_t *json = json_pack(
		"{s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:i, s:I, s:I, s:b, s:b, s:b}", "segment_id",
		options->segment_id, "operation",
		options->operation == KVR_OP_READ ? "read" : "write", "level",
		options->level == KVR_LEVEL_SENT ? "sent" : "visible", "priority",
		options->priority == KVR_CLASS_BULK ? "bulk" : "latency", "buffer_bytes",
		(json_int_t)options->buffer_bytes, "block_bytes", (json_int_t)options->block_bytes,
		"batch_size", (int)options->batch_size, "threads", (int)options->n_threads,
		"slice_bytes", (json_int_t)options->slice_bytes, "timeout_ms",
		(json_int_t)options->timeout_ms, "hot", options->hot, "verify", options->verify,
		"cross_numa", options->cross_numa);

	if (options->trace_path != NULL) {
		json_object_set_new(json, "trace", json_string(options->trace_path));
		json_object_set_new(json, "kv_bytes_per_token",
				    json_integer((json_int_t)options->kv_bytes_per_token));
		json_object_set_new(json, "layers", json_integer(options->n_layers));
		json_object_set_new(json, "speedup",
				    options->speedup == 0 ? json_string("max")
							  : json_real(options->speedup));
	}
	return json;
}

static json_t *
pack_latency(const struct kvr_latency *latency)
{
	return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "n", (json_int_t)latency->n, "p50_us",
			 (double)kvr_latency_percentile_ns(latency, 50) / 1e3, "p90_us",
			 (double)kvr_latency_percentile_ns(latency, 90) / 1e3, "p99_us",
			 (double)kvr_latency_percentile_ns(latency, 99) / 1e3, "p999_us",
			 (double)kvr_latency_percentile_ns(latency, 99.9) / 1e3, "max_us",
			 (double)latency->max_ns / 1e3);
}

static json_t *
pack_devices(const struct bench_report *report)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < report->counters.n_devices; i++) {
		const struct kvr_device_stats *device = &report->counters.devices[i];

		json_array_append_new(
			array,
			json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name",
				  device->name, "tx_bytes", (json_int_t)device->tx_bytes,
				  "rx_bytes", (json_int_t)device->rx_bytes, "tx_slices",
				  (json_int_t)device->tx_slices, "rx_slices",
				  (json_int_t)device->rx_slices, "failed_bytes",
				  (json_int_t)device->failed_bytes, "proofs",
				  (json_int_t)device->proofs, "wqes", (json_int_t)device->wqes,
				  "doorbells", (json_int_t)device->doorbells, "cqes",
				  (json_int_t)device->cqes, "errors", (json_int_t)device->errors));
	}
	return array;
}

static json_t *
pack_lcores(const struct bench_report *report)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < report->counters.n_lcores; i++) {
		const struct kvr_lcore_stats *lcore = &report->counters.lcores[i];
		uint64_t all_ns = lcore->busy_ns + lcore->idle_ns;

		json_array_append_new(
			array,
			json_pack("{s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "lcore",
				  (int)lcore->lcore, "numa_node", lcore->numa_node, "polls",
				  (json_int_t)lcore->polls, "empty_polls",
				  (json_int_t)lcore->empty_polls, "busy_ns",
				  (json_int_t)lcore->busy_ns, "idle_ns", (json_int_t)lcore->idle_ns,
				  "batches", (json_int_t)lcore->batches, "transfers",
				  (json_int_t)lcore->transfers, "busy_pct",
				  all_ns == 0 ? 0.0
					      : 100.0 * (double)lcore->busy_ns / (double)all_ns));
	}
	return array;
}

static json_t *
pack_replay(const struct bench_replay_totals *replay)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "requests",
			 (json_int_t)replay->n_requests, "block_references",
			 (json_int_t)replay->n_references, "block_hits", (json_int_t)replay->n_hits,
			 "distinct_blocks", (json_int_t)replay->n_distinct, "evictions",
			 (json_int_t)replay->n_evictions, "block_bytes",
			 (json_int_t)replay->block_bytes, "pool_blocks",
			 (json_int_t)replay->pool_blocks, "request_latency",
			 pack_latency(&replay->latency));
}

static json_t *
pack_result(const struct bench_report *report)
{
	uint64_t bytes = report->bytes[KVR_OP_READ] + report->bytes[KVR_OP_WRITE];
	double seconds = (double)report->duration_ns / 1e9;
	json_t *json = json_pack("{s:s, s:f, s:I, s:I, s:I, s:I, s:f, s:o, s:o, s:o}", "status",
				 report->status == 0 ? "ok" : strerror(-report->status),
				 "duration_s", seconds, "batches", (json_int_t)report->n_batches,
				 "transfers", (json_int_t)report->n_transfers, "tx_bytes",
				 (json_int_t)report->bytes[KVR_OP_WRITE], "rx_bytes",
				 (json_int_t)report->bytes[KVR_OP_READ], "bytes_per_sec",
				 seconds > 0 ? (double)bytes / seconds : 0.0, "batch_latency",
				 pack_latency(&report->latency), "devices", pack_devices(report),
				 "lcores", pack_lcores(report));

	if (report->replay != NULL)
		json_object_set_new(json, "trace", pack_replay(report->replay));
	return json;
}

int
bench_json_write(const char *path, const struct bench_report *report, int eal_argc, char **eal_argv)
{
	json_t *json =
		json_pack("{s:s, s:s, s:o, s:o, s:o}", "kvrail", KVRAIL_VERSION, "git_commit",
			  KVRAIL_GIT, "machine", pack_machine(report, eal_argc, eal_argv),
			  "options", pack_options(report->options), "result", pack_result(report));
	int err = 0;

	errno = ENOMEM;
	if (json == NULL || json_dump_file(json, path, JSON_INDENT(2)) != 0) {
		err = -errno;
		bench_message("--json %s: %s", path, strerror(-err));
	}
	json_decref(json);
	return err;
}
