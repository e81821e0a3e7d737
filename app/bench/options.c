/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvr_limits.h"
#include "app_message.h"
#include "size.h"

#define MAX_LAYERS	  (4u << 10)
#define TOKENS_PER_BLOCK  512 /* of the trace format */
#define DURATION_NS	  10000000000ull
#define SWEEP_DURATION_NS 1000000000ull /* of each point */

enum option_id {
	OPT_MODE = 256,
	OPT_OPERATION,
	OPT_LEVEL,
	OPT_PRIORITY,
	OPT_LISTEN,
	OPT_LOCAL_SERVER_NAME,
	OPT_SEGMENT_ID,
	OPT_SEGMENT_NAME,
	OPT_DEVICE_NAME,
	OPT_JSON,
	OPT_BUFFER_SIZE,
	OPT_BLOCK_SIZE,
	OPT_BATCH_SIZE,
	OPT_THREADS,
	OPT_SLICE_SIZE,
	OPT_TIMEOUT,
	OPT_DURATION,
	OPT_SWEEP,
	OPT_LINGER,
	OPT_HOT,
	OPT_VERIFY,
	OPT_CROSS_NUMA,
	OPT_REPORT_UNIT,
	OPT_REPORT_PRECISION,
	OPT_TRACE,
	OPT_KV_BYTES_PER_TOKEN,
	OPT_LAYERS,
	OPT_POOL_BLOCKS,
	OPT_SPEEDUP,
	OPT_PROTOCOL,
	OPT_METADATA_SERVER,
	OPT_AUTO_DISCOVERY,
	OPT_HELP,
	OPT_VERSION,
};

/* A set of options. */
#define GIVEN(id) (1ull << ((id)-OPT_MODE))
static_assert(OPT_VERSION - OPT_MODE < 64, "a bit for each option");

static const struct option long_options[] = {
	{"mode", required_argument, NULL, OPT_MODE},
	{"operation", required_argument, NULL, OPT_OPERATION},
	{"level", required_argument, NULL, OPT_LEVEL},
	{"priority", required_argument, NULL, OPT_PRIORITY},
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"local-server-name", required_argument, NULL, OPT_LOCAL_SERVER_NAME},
	{"segment-id", required_argument, NULL, OPT_SEGMENT_ID},
	{"segment-name", required_argument, NULL, OPT_SEGMENT_NAME},
	{"device-name", required_argument, NULL, OPT_DEVICE_NAME},
	{"json", required_argument, NULL, OPT_JSON},
	{"buffer-size", required_argument, NULL, OPT_BUFFER_SIZE},
	{"block-size", required_argument, NULL, OPT_BLOCK_SIZE},
	{"batch-size", required_argument, NULL, OPT_BATCH_SIZE},
	{"threads", required_argument, NULL, OPT_THREADS},
	{"slice-size", required_argument, NULL, OPT_SLICE_SIZE},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"duration", required_argument, NULL, OPT_DURATION},
	{"sweep", required_argument, NULL, OPT_SWEEP},
	{"linger", required_argument, NULL, OPT_LINGER},
	{"hot", no_argument, NULL, OPT_HOT},
	{"verify", no_argument, NULL, OPT_VERIFY},
	{"cross-numa", no_argument, NULL, OPT_CROSS_NUMA},
	{"report-unit", required_argument, NULL, OPT_REPORT_UNIT},
	{"report-precision", required_argument, NULL, OPT_REPORT_PRECISION},
	{"trace", required_argument, NULL, OPT_TRACE},
	{"kv-bytes-per-token", required_argument, NULL, OPT_KV_BYTES_PER_TOKEN},
	{"layers", required_argument, NULL, OPT_LAYERS},
	{"pool-blocks", required_argument, NULL, OPT_POOL_BLOCKS},
	{"speedup", required_argument, NULL, OPT_SPEEDUP},
	{"protocol", required_argument, NULL, OPT_PROTOCOL},
	{"metadata-server", required_argument, NULL, OPT_METADATA_SERVER},
	{"auto-discovery", optional_argument, NULL, OPT_AUTO_DISCOVERY},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

/* As transfer_engine_bench spells them. */
static const struct bench_unit units[] = {
	{"GB", 1e9},	 {"GiB", 1u << 30}, {"Gb", 1e9 / 8},   {"MB", 1e6},	{"MiB", 1u << 20},
	{"Mb", 1e6 / 8}, {"KB", 1e3},	    {"KiB", 1u << 10}, {"Kb", 1e3 / 8},
};

/* "--block_size=1M" to "--block-size=1M"; the value is left alone. */
static void
normalise_name(char *arg)
{
	if (strncmp(arg, "--", 2) != 0)
		return;
	for (; *arg != '\0' && *arg != '='; arg++)
		if (*arg == '_')
			*arg = '-';
}

/* The index of `value` among two words, or -EINVAL with a message. */
static int
parse_word(const char *option, const char *value, const char *first, const char *second)
{
	if (strcmp(value, first) == 0)
		return 0;
	if (strcmp(value, second) == 0)
		return 1;
	app_message("--%s %s: it is %s or %s", option, value, first, second);
	return -EINVAL;
}

static int
parse_size(const char *option, const char *value, uint64_t max, uint64_t *size)
{
	uint64_t parsed;
	char text[32];

	if (app_size_parse(value, &parsed) != 0 || parsed == 0 || parsed > max) {
		app_message("--%s %s: not a size from 1 to %s, such as 4096, 64K, 1M or 2G", option,
			    value, app_size_text(max, text, sizeof(text)));
		return -EINVAL;
	}
	*size = parsed;
	return 0;
}

static int
parse_number(const char *option, const char *value, uint32_t min, uint32_t max, uint32_t *number)
{
	uint64_t parsed;

	if (app_number_parse(value, min, max, &parsed) != 0) {
		app_message("--%s %s: not a number from %u to %u", option, value, min, max);
		return -EINVAL;
	}
	*number = (uint32_t)parsed;
	return 0;
}

static int
parse_seconds(const char *option, const char *value, uint64_t min_ns, uint64_t *ns)
{
	if (app_seconds_parse(value, ns) != 0 || *ns < min_ns) {
		app_message("--%s %s: not a number of seconds%s", option, value,
			    min_ns > 0 ? " above 0" : "");
		return -EINVAL;
	}
	return 0;
}

static int
parse_unit(const char *value, const struct bench_unit **unit)
{
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(value, units[i].name) == 0) {
			*unit = &units[i];
			return 0;
		}
	app_message("--report-unit %s: it is GB, GiB, Gb, MB, MiB, Mb, KB, KiB or Kb", value);
	return -EINVAL;
}

static int
parse_speedup(const char *value, double *speedup)
{
	char *end;

	if (strcmp(value, "max") == 0) {
		*speedup = 0;
		return 0;
	}
	*speedup = strtod(value, &end);
	if (end == value || *end != '\0' || !isfinite(*speedup) || *speedup <= 0) {
		app_message("--speedup %s: it is max or a number above 0, such as 1 or 60", value);
		return -EINVAL;
	}
	return 0;
}

/* HOST:PORT; a listener may leave the port to the system. */
static int
check_address(const char *option, const char *address, bool listener)
{
	const char *colon = strrchr(address, ':');
	uint64_t port;

	if (colon == NULL || colon == address || colon - address > 200 ||
	    app_number_parse(colon + 1, listener ? 0 : 1, 65535, &port) != 0) {
		app_message("--%s %s: not HOST:PORT", option, address);
		return -EINVAL;
	}
	return 0;
}

/* transfer_engine_bench needs these; here they say nothing. */
static int
accept_foreign(const char *option, const char *value)
{
	if (strcmp(option, "protocol") == 0 && strcmp(value, "rdma") != 0) {
		app_message("--protocol %s: it is rdma", value);
		return -EINVAL;
	}
	app_message("note: --%s has no effect here", option);
	return 0;
}

static int
parse_text_option(struct bench_options *options, int id, const char *name, char *value)
{
	int word = 0;

	switch (id) {
	case OPT_MODE:
		word = parse_word(name, value, "target", "initiator");
		options->mode = word == 0 ? BENCH_MODE_TARGET : BENCH_MODE_INITIATOR;
		break;
	case OPT_OPERATION:
		word = parse_word(name, value, "read", "write");
		options->operation = word == 0 ? KVR_OP_READ : KVR_OP_WRITE;
		break;
	case OPT_LEVEL:
		word = parse_word(name, value, "sent", "visible");
		options->level = word == 0 ? KVR_LEVEL_SENT : KVR_LEVEL_VISIBLE;
		break;
	case OPT_PRIORITY:
		word = parse_word(name, value, "bulk", "latency");
		options->priority = word == 0 ? KVR_CLASS_BULK : KVR_CLASS_LATENCY;
		break;
	case OPT_LISTEN:
		options->listen = value;
		break;
	case OPT_LOCAL_SERVER_NAME:
		options->name = value;
		break;
	case OPT_SEGMENT_ID:
		options->segment_id = value;
		break;
	case OPT_SEGMENT_NAME:
		options->segment_name = value;
		break;
	case OPT_DEVICE_NAME:
		options->device_names = value;
		break;
	case OPT_JSON:
		options->json_path = value;
		break;
	case OPT_TRACE:
		options->trace_path = value;
		break;
	case OPT_HOT:
		options->hot = true;
		break;
	case OPT_VERIFY:
		options->verify = true;
		break;
	case OPT_CROSS_NUMA:
		options->cross_numa = true;
		break;
	default:
		return accept_foreign(name, value);
	}
	return word < 0 ? word : 0;
}

static int
parse_number_option(struct bench_options *options, int id, const char *name, const char *value)
{
	uint64_t wide = 0;
	uint32_t number = 0;
	int err;

	switch (id) {
	case OPT_BUFFER_SIZE:
		return parse_size(name, value, BENCH_MAX_SIZE, &options->buffer_bytes);
	case OPT_BLOCK_SIZE:
		return parse_size(name, value, BENCH_MAX_SIZE, &options->block_bytes);
	case OPT_KV_BYTES_PER_TOKEN:
		return parse_size(name, value, 1ull << 30, &options->kv_bytes_per_token);
	case OPT_SLICE_SIZE:
		err = parse_size(name, value, 1ull << 30, &wide);
		options->slice_bytes = (uint32_t)wide;
		return err;
	case OPT_BATCH_SIZE:
		return parse_number(name, value, 1, BENCH_MAX_BATCH, &options->batch_size);
	case OPT_THREADS:
		return parse_number(name, value, 1, KVR_MAX_CLIENTS, &options->n_threads);
	case OPT_LAYERS:
		return parse_number(name, value, 1, MAX_LAYERS, &options->n_layers);
	case OPT_POOL_BLOCKS:
		return parse_number(name, value, 1, UINT32_MAX, &options->pool_blocks);
	case OPT_REPORT_PRECISION:
		err = parse_number(name, value, 0, 9, &number);
		options->precision = (int)number;
		return err;
	case OPT_TIMEOUT:
		err = parse_seconds(name, value, 1000000, &wide);
		options->timeout_ms =
			(uint32_t)(wide / 1000000 > UINT32_MAX ? UINT32_MAX : wide / 1000000);
		return err;
	case OPT_DURATION:
		return parse_seconds(name, value, 1, &options->duration_ns);
	case OPT_LINGER:
		return parse_seconds(name, value, 0, &options->linger_ns);
	case OPT_REPORT_UNIT:
		return parse_unit(value, &options->unit);
	case OPT_SWEEP:
		return bench_grid_parse(value, &options->grid);
	case OPT_SPEEDUP:
		return parse_speedup(value, &options->speedup);
	default:
		return -ENOENT; /* not a number: parse_text_option()'s */
	}
}

static int
check_target(struct bench_options *options)
{
	if (options->trace_path != NULL || options->segment_id != NULL ||
	    bench_options_sweep(options)) {
		app_message("--%s belongs to --mode initiator",
			    options->trace_path != NULL	  ? "trace"
			    : options->segment_id != NULL ? "segment-id"
							  : "sweep");
		return -EINVAL;
	}
	if (options->listen == NULL)
		options->listen = options->name != NULL ? options->name : "127.0.0.1:0";
	options->name = NULL;
	return check_address("listen", options->listen, true);
}

static int
check_trace(const struct bench_options *options)
{
	uint64_t bytes = options->kv_bytes_per_token * TOKENS_PER_BLOCK;

	if (options->hot) {
		app_message("--hot and --trace exclude each other");
		return -EINVAL;
	}
	if (bytes % options->n_layers != 0) {
		app_message("--layers %u: a block of %llu bytes (512 tokens) does not divide by it",
			    options->n_layers, (unsigned long long)bytes);
		return -EINVAL;
	}
	return 0;
}

static int
check_sweep(const struct bench_options *options)
{
	if (options->trace_path != NULL || options->verify) {
		app_message("--sweep and --%s exclude each other",
			    options->trace_path != NULL ? "trace" : "verify");
		return -EINVAL;
	}
	return 0;
}

static int
check_initiator(const struct bench_options *options)
{
	char block[32], buffer[32];

	if (options->listen != NULL) {
		app_message("--listen belongs to --mode target; an initiator takes --segment-id");
		return -EINVAL;
	}
	if (options->segment_id == NULL) {
		app_message("--segment-id HOST:PORT is missing: the target prints it");
		return -EINVAL;
	}
	if (options->trace_path != NULL && check_trace(options) != 0)
		return -EINVAL;
	if (bench_options_sweep(options) && check_sweep(options) != 0)
		return -EINVAL;
	if (options->hot && options->verify) {
		app_message("--hot and --verify exclude each other: one block, many writers");
		return -EINVAL;
	}
	if (options->trace_path == NULL && options->block_bytes > options->buffer_bytes) {
		app_message("--block-size %s is larger than --buffer-size %s",
			    app_size_text(options->block_bytes, block, sizeof(block)),
			    app_size_text(options->buffer_bytes, buffer, sizeof(buffer)));
		return -EINVAL;
	}
	return check_address("segment-id", options->segment_id, false);
}

static int
check(struct bench_options *options)
{
	switch (options->mode) {
	case BENCH_MODE_TARGET:
		return check_target(options);
	case BENCH_MODE_INITIATOR:
		return check_initiator(options);
	default:
		app_message("--mode target or --mode initiator is missing after --");
		return -EINVAL;
	}
}

/* A key that is not in --sweep stays at its option's one value. block_bytes becomes the largest
 * that the buffers must hold. */
static void
complete_grid(struct bench_options *options)
{
	const uint64_t values[BENCH_N_AXES] = {
		[BENCH_AXIS_BLOCK] = options->block_bytes,
		[BENCH_AXIS_THREADS] = options->n_threads,
		[BENCH_AXIS_BATCH] = options->batch_size,
	};

	for (int axis = 0; axis < BENCH_N_AXES; axis++)
		if (options->grid.axes[axis].first == 0)
			options->grid.axes[axis] = (struct bench_range){values[axis], values[axis]};
	options->block_bytes = options->grid.axes[BENCH_AXIS_BLOCK].last;
}

/* Options that were given and mean nothing, in one line. */
static void
note_unused(uint64_t given, uint64_t unused, const char *because)
{
	char names[256] = "";

	for (const struct option *option = long_options; option->name != NULL; option++) {
		size_t n = strlen(names);

		if ((given & unused & GIVEN(option->val)) != 0)
			snprintf(names + n, sizeof(names) - n, "%s--%s", n > 0 ? ", " : "",
				 option->name);
	}
	if (names[0] != '\0')
		app_message("note: no effect %s: %s", because, names);
}

/* What follows from all options together. */
static void
complete(struct bench_options *options, uint64_t given)
{
	static const uint64_t axis_options[BENCH_N_AXES] = {
		[BENCH_AXIS_BLOCK] = GIVEN(OPT_BLOCK_SIZE),
		[BENCH_AXIS_THREADS] = GIVEN(OPT_THREADS),
		[BENCH_AXIS_BATCH] = GIVEN(OPT_BATCH_SIZE),
	};
	bool sweep = (given & GIVEN(OPT_SWEEP)) != 0;
	uint64_t swept = 0;

	for (int axis = 0; axis < BENCH_N_AXES; axis++)
		if (options->grid.axes[axis].first != 0)
			swept |= axis_options[axis];
	note_unused(given, swept, "beside the same key of --sweep");
	if (options->trace_path != NULL)
		note_unused(given,
			    GIVEN(OPT_OPERATION) | GIVEN(OPT_BLOCK_SIZE) | GIVEN(OPT_DURATION),
			    "with --trace, which says what moves");
	if ((given & GIVEN(OPT_DURATION)) == 0)
		options->duration_ns = sweep ? SWEEP_DURATION_NS : DURATION_NS;
	if (sweep)
		complete_grid(options);
}

int
bench_options_parse(int argc, char **argv, struct bench_options *options)
{
	uint64_t given = 0;
	int err, id, index;

	*options = (struct bench_options){
		.operation = KVR_OP_READ,
		.level = KVR_LEVEL_VISIBLE,
		.priority = KVR_CLASS_BULK,
		.buffer_bytes = 1ull << 30,
		.block_bytes = 64 << 10,
		.batch_size = 128,
		.n_threads = 12,
		.timeout_ms = KVR_TIMEOUT_MS,
		.unit = &units[0],
		.precision = 2,
		.kv_bytes_per_token = 64,
		.n_layers = 1,
		.speedup = 1,
	};
	for (int i = 1; i < argc; i++)
		normalise_name(argv[i]);

	optind = 0; /* glibc: scan anew; EAL uses getopt too */
	while ((id = getopt_long(argc, argv, "", long_options, &index)) != -1) {
		if (id == '?')
			return -EINVAL; /* getopt has said it */
		if (id == OPT_HELP) {
			bench_options_help();
			return 1;
		}
		if (id == OPT_VERSION) {
			bench_options_version();
			return 1;
		}
		err = parse_number_option(options, id, long_options[index].name, optarg);
		if (err == -ENOENT)
			err = parse_text_option(options, id, long_options[index].name, optarg);
		if (err != 0)
			return err;
		given |= GIVEN(id);
	}
	if (optind < argc) {
		app_message("%s: not an option", argv[optind]);
		return -EINVAL;
	}
	complete(options, given);
	return check(options);
}
