/* SPDX-License-Identifier: BSD-3-Clause */
/* kvrail-bench's command line: what is taken, and that all else is refused in one line. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "eal.h"
#include "harness.h"
#include "app_message.h"
#include "options.h"
#include "size.h"
#include "stderr_capture.h"

#define MAX_ARGUMENTS 32

static struct bench_options options;
static char line[1024]; /* options' strings point into it */

/* Words of `text` as argv. */
static int
split(const char *text, char **argv)
{
	int argc = 0;

	snprintf(line, sizeof(line), "kvrail-bench %s", text);
	for (char *word = strtok(line, " "); word != NULL; word = strtok(NULL, " "))
		argv[argc++] = word;
	argv[argc] = NULL;
	return argc;
}

/* Parses; *said is what came to standard error. */
static int
parse(const char *text, struct stderr_capture *said)
{
	char *argv[MAX_ARGUMENTS];
	int argc = split(text, argv);
	int err;

	stderr_capture_begin(said);
	err = bench_options_parse(argc, argv, &options);
	stderr_capture_end(said);
	return err;
}

static void
accept(const char *text)
{
	struct stderr_capture said;
	int err = parse(text, &said);

	CU_ASSERT_EQUAL(err, 0);
	if (err != 0)
		printf("      refused: %s: %s", text, said.text);
}

static int
one_line_with(const char *text, const char *word)
{
	const char *newline = strchr(text, '\n');

	return strncmp(text, "kvrail-bench: ", 14) == 0 && strstr(text, word) != NULL &&
	       newline != NULL && newline[1] == '\0';
}

/* Refused in one line that holds `word`. */
static void
refuse(const char *text, const char *word)
{
	struct stderr_capture said;
	int err = parse(text, &said);

	CU_ASSERT_EQUAL(err, -EINVAL);
	CU_ASSERT(one_line_with(said.text, word));
	if (err == 0 || !one_line_with(said.text, word))
		printf("      %s: %s\n", text, said.text);
}

static void
refuse_eal(const char *text, const char *word)
{
	struct stderr_capture said;
	char *argv[MAX_ARGUMENTS];
	int argc = split(text, argv);
	int err;

	stderr_capture_begin(&said);
	err = app_eal_check(argc, argv);
	stderr_capture_end(&said);
	CU_ASSERT_EQUAL(err, -EINVAL);
	CU_ASSERT(one_line_with(said.text, word));
	if (err == 0 || !one_line_with(said.text, word))
		printf("      %s: %s\n", text, said.text);
}

static void
accept_eal(const char *text)
{
	struct stderr_capture said;
	char *argv[MAX_ARGUMENTS];
	int argc = split(text, argv);
	int err;

	stderr_capture_begin(&said);
	err = app_eal_check(argc, argv);
	stderr_capture_end(&said);
	CU_ASSERT_EQUAL(err, 0);
	if (err != 0)
		printf("      refused: %s: %s", text, said.text);
}

#define INITIATOR "--mode=initiator --segment_id=127.0.0.1:12345 "

static void
transfer_engine_bench_command_lines_work(void)
{
	accept("--mode=initiator --segment_id=10.0.0.1:12345 --device_name=mlx5_0,mlx5_1 "
	       "--block_size=1M --threads=8 --batch_size=64");
	CU_ASSERT_EQUAL(options.mode, BENCH_MODE_INITIATOR);
	CU_ASSERT_STRING_EQUAL(options.segment_id, "10.0.0.1:12345");
	CU_ASSERT_STRING_EQUAL(options.device_names, "mlx5_0,mlx5_1");
	CU_ASSERT_EQUAL(options.block_bytes, 1 << 20);
	CU_ASSERT_EQUAL(options.n_threads, 8);
	CU_ASSERT_EQUAL(options.batch_size, 64);
	accept("--mode=target --metadata_server=P2PHANDSHAKE --local_server_name=10.0.0.1:12345 "
	       "--protocol=rdma --auto_discovery --device_name=mlx5_0");
	CU_ASSERT_STRING_EQUAL(options.listen, "10.0.0.1:12345");
	accept(INITIATOR "--auto_discovery=true --metadata-server x --local_server_name=a");
}

static void
defaults_are_transfer_engine_bench_s(void)
{
	accept(INITIATOR);
	CU_ASSERT_EQUAL(options.operation, KVR_OP_READ);
	CU_ASSERT_EQUAL(options.level, KVR_LEVEL_VISIBLE);
	CU_ASSERT_EQUAL(options.block_bytes, 64 << 10);
	CU_ASSERT_EQUAL(options.batch_size, 128);
	CU_ASSERT_EQUAL(options.n_threads, 12);
	CU_ASSERT_EQUAL(options.buffer_bytes, 1u << 30);
	CU_ASSERT_EQUAL(options.duration_ns, 10000000000u);
	CU_ASSERT_EQUAL(options.timeout_ms, 5000);
	CU_ASSERT_STRING_EQUAL(options.unit->name, "GB");
	CU_ASSERT_EQUAL(options.precision, 2);
	accept("--mode target");
	CU_ASSERT_STRING_EQUAL(options.listen, "127.0.0.1:0");
}

static void
names_take_dash_or_underscore_and_values_stay(void)
{
	accept(INITIATOR "--segment_name a_b --report_unit=GiB --report-precision 3");
	CU_ASSERT_STRING_EQUAL(options.segment_name, "a_b");
	CU_ASSERT_STRING_EQUAL(options.unit->name, "GiB");
	accept(INITIATOR "--json=/tmp/a_b.json");
	CU_ASSERT_STRING_EQUAL(options.json_path, "/tmp/a_b.json");
}

static void
sizes_are_powers_of_two_with_k_m_g_t(void)
{
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {{"0", 0},		{"1", 1},	    {"4096", 4096},
		    {"64K", 64 << 10},	{"64k", 64 << 10},  {"3M", 3 << 20},
		    {"2G", 2ull << 30}, {"1T", 1ull << 40}, {"18446744073709551615", UINT64_MAX}};
	static const char *const bad[] = {"",
					  "K",
					  "-1",
					  "+1",
					  " 1",
					  "1X",
					  "1KB",
					  "1.5M",
					  "1 K",
					  "0x10",
					  "18446744073709551616",
					  "16777216T"};
	uint64_t value;
	char text[32];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		CU_ASSERT_EQUAL(app_size_parse(good[i].text, &value), 0);
		CU_ASSERT_EQUAL(value, good[i].value);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT(app_size_parse(bad[i], &value) < 0);
	CU_ASSERT_STRING_EQUAL(app_size_text(1536, text, sizeof(text)), "1536");
	CU_ASSERT_STRING_EQUAL(app_size_text(3 << 20, text, sizeof(text)), "3M");
	CU_ASSERT_STRING_EQUAL(app_size_text(0, text, sizeof(text)), "0");
}

static void
what_size_text_writes_size_parse_reads(void)
{
	harness_seed();
	for (int i = 0; i < 10000; i++) {
		uint64_t value = harness_random() >> harness_between(0, 63), back;
		char text[32];

		value = value << harness_between(0, (uint64_t)__builtin_clzll(value | 1));
		CU_ASSERT_EQUAL(app_size_parse(app_size_text(value, text, sizeof(text)), &back), 0);
		CU_ASSERT_EQUAL(back, value);
	}
}

static void
bad_values_are_refused_in_one_line_that_names_them(void)
{
	refuse(INITIATOR "--block-size 5X", "--block-size 5X");
	refuse(INITIATOR "--block_size=0", "--block-size 0");
	refuse(INITIATOR "--block-size -4K", "--block-size -4K");
	refuse(INITIATOR "--buffer-size 99999999999999999999", "99999999999999999999");
	refuse(INITIATOR "--batch-size 0", "--batch-size 0");
	refuse(INITIATOR "--batch-size 65537", "from 1 to 65536");
	refuse(INITIATOR "--threads 257", "--threads 257");
	refuse(INITIATOR "--threads 1e3", "--threads 1e3");
	refuse(INITIATOR "--duration 0", "--duration 0");
	refuse(INITIATOR "--duration nan", "--duration nan");
	refuse(INITIATOR "--duration 1s", "--duration 1s");
	refuse(INITIATOR "--timeout -1", "--timeout -1");
	refuse(INITIATOR "--operation both", "read or write");
	refuse(INITIATOR "--level maybe", "sent or visible");
	refuse(INITIATOR "--priority high", "bulk or latency");
	refuse(INITIATOR "--report-unit TB", "--report-unit TB");
	refuse(INITIATOR "--report-precision 10", "0 to 9");
	refuse(INITIATOR "--speedup 0", "--speedup 0");
	refuse(INITIATOR "--speedup fast", "--speedup fast");
	refuse(INITIATOR "--layers 0", "--layers 0");
	refuse(INITIATOR "--pool-blocks 0", "--pool-blocks 0");
	refuse(INITIATOR "--protocol tcp", "--protocol tcp");
	refuse("--mode=initiator --segment-id=host", "not HOST:PORT");
	refuse("--mode=initiator --segment-id=:1", "not HOST:PORT");
	refuse("--mode=initiator --segment-id=host:0", "not HOST:PORT");
	refuse("--mode=initiator --segment-id=host:65536", "not HOST:PORT");
	refuse("--mode=target --listen host:port", "not HOST:PORT");
}

static void
options_that_do_not_go_together_are_refused(void)
{
	refuse("", "--mode");
	refuse("--mode=initiator", "--segment-id");
	refuse("--mode=target --trace x", "--trace");
	refuse("--mode=target --segment-id a:1", "--segment-id");
	refuse(INITIATOR "--listen a:1", "--listen");
	refuse(INITIATOR "--block-size 2G", "larger than --buffer-size 1G");
	refuse(INITIATOR "--hot --verify", "--hot");
	refuse(INITIATOR "--hot --trace x", "--hot");
	refuse(INITIATOR "--trace x --layers 3", "--layers 3");
	refuse("--mode=target --sweep threads=1..2", "--sweep");
	refuse(INITIATOR "--sweep threads=1..2 --trace x", "--trace");
	refuse(INITIATOR "--sweep threads=1..2 --verify", "--verify");
	refuse(INITIATOR "--sweep block-size=1M..2G", "larger than --buffer-size 1G");
	refuse(INITIATOR "--sweep threads=1..3", "threads=1..3");
	refuse(INITIATOR "stray", "stray");
	refuse(INITIATOR "--sweeep", "--sweeep");
	refuse(INITIATOR "--threads", "--threads");
}

/* Accepted, with this on standard error. */
static void
accept_saying(const char *text, const char *expected)
{
	struct stderr_capture said;

	CU_ASSERT_EQUAL(parse(text, &said), 0);
	CU_ASSERT_STRING_EQUAL(said.text, expected);
}

static void
options_without_effect_are_named(void)
{
	accept_saying(INITIATOR "--trace x --operation write --block_size 4K --threads 2",
		      "kvrail-bench: note: no effect with --trace, which says what moves: "
		      "--operation, --block-size\n");
	accept_saying(INITIATOR "--trace x", "");
	accept_saying(INITIATOR "--sweep threads=1..2 --threads 4 --batch-size 2",
		      "kvrail-bench: note: no effect beside the same key of --sweep: --threads\n");
}

static void
a_sweep_takes_the_rest_from_the_options(void)
{
	accept(INITIATOR "--sweep block-size=4K..1M --batch-size 48");
	CU_ASSERT(bench_options_sweep(&options));
	CU_ASSERT_EQUAL(options.duration_ns, 1000000000u);
	CU_ASSERT_EQUAL(options.block_bytes, 1 << 20);
	CU_ASSERT_EQUAL(options.grid.axes[BENCH_AXIS_BATCH].first, 48);
	CU_ASSERT_EQUAL(options.grid.axes[BENCH_AXIS_BATCH].last, 48);
	CU_ASSERT_EQUAL(options.grid.axes[BENCH_AXIS_THREADS].last, 12);
	accept(INITIATOR "--sweep=threads=1..2 --duration 0.5");
	CU_ASSERT_EQUAL(options.duration_ns, 500000000u);
	accept(INITIATOR);
	CU_ASSERT(!bench_options_sweep(&options));
}

static void
eal_arguments_that_eal_takes_silently_are_refused(void)
{
	refuse_eal("-m abc", "-m abc");
	refuse_eal("-mabc", "-m abc");
	refuse_eal("-m 0", "-m 0");
	refuse_eal("-m 1x -l 0,1", "-m 1x");
	refuse_eal("-n 99", "-n 99");
	refuse_eal("-n 4x", "-n 4x");
	refuse_eal("-r 17", "-r 17");
	refuse_eal("stray", "stray");
	refuse_eal("-l 0,1 --in-memory stray -n 4", "stray");
	refuse_eal("--log-level lib.eal:9", "lib.eal:9");
	refuse_eal("--log-level nonsense", "nonsense");
	refuse_eal("--proc-type=secondary", "secondary");
	refuse_eal("--bogus", "--bogus");
	refuse_eal("--file-prefix", "--file-prefix");
}

static void
good_eal_arguments_pass(void)
{
	accept_eal("");
	accept_eal("-l 0,1 --in-memory -a 0000:3b:00.0,port=1 -m 512 -n 4 -r 2");
	accept_eal("--lcores=0@(0,2),1@1 --file-prefix=x --log-level=lib.eal:debug -v");
	accept_eal("--log-level 8 --proc-type primary --huge-unlink=never --no-huge");
}

int
main(void)
{
	app_message_program("kvrail-bench");
	return HARNESS_RUN("options", TEST(transfer_engine_bench_command_lines_work),
			   TEST(defaults_are_transfer_engine_bench_s),
			   TEST(names_take_dash_or_underscore_and_values_stay),
			   TEST(sizes_are_powers_of_two_with_k_m_g_t),
			   TEST(what_size_text_writes_size_parse_reads),
			   TEST(bad_values_are_refused_in_one_line_that_names_them),
			   TEST(options_that_do_not_go_together_are_refused),
			   TEST(options_without_effect_are_named),
			   TEST(a_sweep_takes_the_rest_from_the_options),
			   TEST(eal_arguments_that_eal_takes_silently_are_refused),
			   TEST(good_eal_arguments_pass));
}
