/* SPDX-License-Identifier: BSD-3-Clause */
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "counters.h"

static const double percentiles[] = {50, 90, 99, 99.9};

void
bench_report_progress(const struct bench_run *run, struct bench_progress *progress)
{
	const struct bench_options *options = run->node->options;
	struct bench_progress now = {.at_ns = bench_now_ns()};
	double seconds;

	if (!isatty(STDOUT_FILENO) || bench_options_sweep(options))
		return;
	for (uint32_t i = 0; i < run->n_workers; i++) {
		now.bytes += kvr_counter_read(&run->workers[i].bytes[KVR_OP_READ]) +
			     kvr_counter_read(&run->workers[i].bytes[KVR_OP_WRITE]);
		now.n_batches += kvr_counter_read(&run->workers[i].n_batches);
	}
	seconds = (double)(now.at_ns - (progress->at_ns != 0 ? progress->at_ns : run->start_ns)) /
		  1e9;
	printf("%6.1f s  %.*f %s/s  %.0f batches/s\n", (double)(now.at_ns - run->start_ns) / 1e9,
	       options->precision,
	       (double)(now.bytes - progress->bytes) / options->unit->bytes / seconds,
	       options->unit->name, (double)(now.n_batches - progress->n_batches) / seconds);
	fflush(stdout);
	*progress = now;
}

void
bench_counters_read(const struct kvr_engine *engine, struct bench_counters *counters)
{
	counters->n_devices = kvr_stats_devices(engine, counters->devices, KVR_MAX_DEVICES);
	counters->n_lcores = kvr_stats_lcores(engine, counters->lcores, KVR_MAX_POLLERS);
}

static void
counters_subtract(struct bench_counters *counters, const struct bench_counters *before)
{
	for (uint32_t i = 0; i < counters->n_devices; i++) {
		struct kvr_device_stats *to = &counters->devices[i];
		const struct kvr_device_stats *from = &before->devices[i];

		to->tx_bytes -= from->tx_bytes;
		to->rx_bytes -= from->rx_bytes;
		to->tx_slices -= from->tx_slices;
		to->rx_slices -= from->rx_slices;
		to->failed_bytes -= from->failed_bytes;
		to->proofs -= from->proofs;
		to->wqes -= from->wqes;
		to->doorbells -= from->doorbells;
		to->cqes -= from->cqes;
		to->errors -= from->errors;
	}
	for (uint32_t i = 0; i < counters->n_lcores; i++) {
		struct kvr_lcore_stats *to = &counters->lcores[i];
		const struct kvr_lcore_stats *from = &before->lcores[i];

		to->polls -= from->polls;
		to->empty_polls -= from->empty_polls;
		to->busy_ns -= from->busy_ns;
		to->idle_ns -= from->idle_ns;
		to->batches -= from->batches;
		to->transfers -= from->transfers;
	}
}

void
bench_counters_since(const struct kvr_engine *engine, const struct bench_counters *before,
		     struct bench_counters *counters)
{
	bench_counters_read(engine, counters);
	counters_subtract(counters, before);
}

void
bench_report_gather(struct bench_report *report, const struct bench_run *run,
		    const struct bench_counters *before)
{
	*report = (struct bench_report){
		.options = run->node->options,
		.status = run->status,
		.interrupted = run->interrupted,
		.duration_ns = run->end_ns - run->start_ns,
	};
	for (uint32_t i = 0; i < run->n_workers; i++) {
		const struct bench_worker *worker = &run->workers[i];

		report->n_batches += worker->n_batches;
		report->n_transfers += worker->n_transfers;
		report->bytes[KVR_OP_READ] += worker->bytes[KVR_OP_READ];
		report->bytes[KVR_OP_WRITE] += worker->bytes[KVR_OP_WRITE];
		kvr_latency_merge(&report->latency, &worker->latency);
	}
	bench_counters_since(run->node->engine, before, &report->counters);
}

double
bench_report_busy_pct(const struct kvr_lcore_stats *lcore)
{
	uint64_t all_ns = lcore->busy_ns + lcore->idle_ns;

	return all_ns == 0 ? 0 : 100.0 * (double)lcore->busy_ns / (double)all_ns;
}

static double
rate_of(const struct bench_options *options, uint64_t bytes, uint64_t duration_ns)
{
	if (duration_ns == 0)
		return 0;
	return (double)bytes / options->unit->bytes / ((double)duration_ns / 1e9);
}

double
bench_report_rate(const struct bench_report *report, uint64_t bytes)
{
	return rate_of(report->options, bytes, report->duration_ns);
}

static double
millions_per_second(const struct bench_report *report, uint64_t n)
{
	return report->duration_ns == 0 ? 0 : (double)n * 1e3 / (double)report->duration_ns;
}

static void
print_devices(const struct bench_report *report)
{
	char rate[16];

	snprintf(rate, sizeof(rate), "%s/s", report->options->unit->name);
	printf("%-12s %4s %16s %16s %8s %11s %12s %12s %12s %8s\n", "device", "node", "tx bytes",
	       "rx bytes", rate, "M slices/s", "WQEs", "doorbells", "CQEs", "errors");
	for (uint32_t i = 0; i < report->counters.n_devices; i++) {
		const struct kvr_device_stats *device = &report->counters.devices[i];

		printf("%-12s %4d %16" PRIu64 " %16" PRIu64 " %8.*f %11.3f %12" PRIu64 " %12" PRIu64
		       " %12" PRIu64 " %8" PRIu64 "\n",
		       device->name, device->numa_node, device->tx_bytes, device->rx_bytes,
		       report->options->precision,
		       bench_report_rate(report, device->tx_bytes + device->rx_bytes),
		       millions_per_second(report, device->tx_slices + device->rx_slices),
		       device->wqes, device->doorbells, device->cqes, device->errors);
	}
}

static void
print_lcores(const struct bench_report *report)
{
	printf("%-12s %4s %16s %16s %20s %7s\n", "lcore", "node", "batches", "transfers",
	       "M transfers/s", "busy %");
	for (uint32_t i = 0; i < report->counters.n_lcores; i++) {
		const struct kvr_lcore_stats *lcore = &report->counters.lcores[i];

		printf("%-12u %4d %16" PRIu64 " %16" PRIu64 " %20.3f %7.1f\n", lcore->lcore,
		       lcore->numa_node, lcore->batches, lcore->transfers,
		       millions_per_second(report, lcore->transfers), bench_report_busy_pct(lcore));
	}
}

static void
print_latency(const char *what, const struct kvr_latency *latency)
{
	printf("%s latency, us:", what);
	for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++)
		printf("  p%g %.1f", percentiles[i],
		       (double)kvr_latency_percentile_ns(latency, percentiles[i]) / 1e3);
	printf("  max %.1f\n", (double)latency->max_ns / 1e3);
}

static void
print_replay(const struct bench_report *report, const struct bench_replay_totals *replay)
{
	const struct bench_options *options = report->options;

	printf("trace: %" PRIu64 " requests, %" PRIu64 " block references, %" PRIu64
	       " hits (%.1f %%), %" PRIu64 " distinct blocks in the trace\n",
	       replay->n_requests, replay->n_references, replay->n_hits,
	       replay->n_references == 0
		       ? 0
		       : 100.0 * (double)replay->n_hits / (double)replay->n_references,
	       replay->n_distinct);
	printf("pool: %u blocks of %" PRIu64 " bytes, %" PRIu64 " evictions\n", replay->pool_blocks,
	       replay->block_bytes, replay->n_evictions);
	printf("read %" PRIu64 " bytes (%.*f %s/s), wrote %" PRIu64 " bytes (%.*f %s/s)\n",
	       report->bytes[KVR_OP_READ], options->precision,
	       bench_report_rate(report, report->bytes[KVR_OP_READ]), options->unit->name,
	       report->bytes[KVR_OP_WRITE], options->precision,
	       bench_report_rate(report, report->bytes[KVR_OP_WRITE]), options->unit->name);
	print_latency("request", &replay->latency);
}

void
bench_report_completed(const struct bench_options *options, uint64_t duration_ns,
		       uint64_t n_batches, uint64_t bytes)
{
	printf("Test completed: duration %.2f, batch count %" PRIu64 ", throughput %.*f %s/s\n",
	       (double)duration_ns / 1e9, n_batches, options->precision,
	       rate_of(options, bytes, duration_ns), options->unit->name);
	fflush(stdout);
}

void
bench_report_print(const struct bench_report *report)
{
	const struct bench_options *options = report->options;

	print_devices(report);
	print_lcores(report);
	print_latency("batch", &report->latency);
	if (report->replay != NULL)
		print_replay(report, report->replay);
	if (options->verify)
		printf("verified: %s\n", report->status == 0	      ? "every byte was right"
					 : report->status == -EBADMSG ? "a byte was WRONG"
								      : "not to the end");
	bench_report_completed(options, report->duration_ns, report->n_batches,
			       report->bytes[KVR_OP_READ] + report->bytes[KVR_OP_WRITE]);
}
