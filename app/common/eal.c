/* SPDX-License-Identifier: BSD-3-Clause */
#include "eal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>

#include "app_message.h"
#include "size.h"

static cpu_set_t process_cpus; /* before rte_eal_init() */

/* The options of EAL 22.11 on Linux (eal_common_options.c), to tell values from stray words. */
static const char short_options[] = "a:b:c:d:hl:m:n:r:s:S:v";
static const struct option long_options[] = {
	{"allow", required_argument, NULL, 'a'},
	{"base-virtaddr", required_argument, NULL, 0},
	{"block", required_argument, NULL, 'b'},
	{"create-uio-dev", no_argument, NULL, 0},
	{"file-prefix", required_argument, NULL, 0},
	{"force-max-simd-bitwidth", required_argument, NULL, 0},
	{"help", no_argument, NULL, 'h'},
	{"huge-dir", required_argument, NULL, 0},
	{"huge-unlink", optional_argument, NULL, 0},
	{"huge-worker-stack", optional_argument, NULL, 0},
	{"in-memory", no_argument, NULL, 0},
	{"iova-mode", required_argument, NULL, 0},
	{"lcores", required_argument, NULL, 0},
	{"legacy-mem", no_argument, NULL, 0},
	{"log-level", required_argument, NULL, 0},
	{"main-lcore", required_argument, NULL, 0},
	{"match-allocations", no_argument, NULL, 0},
	{"mbuf-pool-ops-name", required_argument, NULL, 0},
	{"no-hpet", no_argument, NULL, 0},
	{"no-huge", no_argument, NULL, 0},
	{"no-pci", no_argument, NULL, 0},
	{"no-shconf", no_argument, NULL, 0},
	{"no-telemetry", no_argument, NULL, 0},
	{"proc-type", required_argument, NULL, 0},
	{"single-file-segments", no_argument, NULL, 0},
	{"socket-limit", required_argument, NULL, 0},
	{"socket-mem", required_argument, NULL, 0},
	{"syslog", required_argument, NULL, 0},
	{"telemetry", no_argument, NULL, 0},
	{"trace", required_argument, NULL, 0},
	{"trace-bufsz", required_argument, NULL, 0},
	{"trace-dir", required_argument, NULL, 0},
	{"trace-mode", required_argument, NULL, 0},
	{"vdev", required_argument, NULL, 0},
	{"version", no_argument, NULL, 'v'},
	{"vfio-intr", required_argument, NULL, 0},
	{"vfio-vf-token", required_argument, NULL, 0},
	{"vmware-tsc-map", no_argument, NULL, 0},
	{NULL, 0, NULL, 0},
};

/* EAL reads these with atoi(), and -r and -n only against 0. */
static int
check_number(int option, const char *value)
{
	uint64_t max = option == 'm' ? UINT32_MAX : option == 'n' ? 32 : 16;
	uint64_t number;

	if (app_number_parse(value, 1, max, &number) == 0)
		return 0;
	app_message("EAL's -%c %s: not a number from 1 to %" PRIu64 "%s", option, value, max,
		    option == 'm' ? " (megabytes)" : "");
	return -EINVAL;
}

/* [TYPE:]LEVEL or [TYPE,]LEVEL; of a bad level EAL complains and goes on. */
static int
check_log_level(const char *value)
{
	static const char *const names[] = {"emergency", "alert",  "critical", "error",
					    "warning",	 "notice", "info",     "debug"};
	const char *level = value + strlen(value);
	uint64_t number;

	while (level > value && level[-1] != ':' && level[-1] != ',')
		level--;
	if (app_number_parse(level, 1, 8, &number) == 0 || strcmp(level, "help") == 0)
		return 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(level, names[i]) == 0)
			return 0;
	app_message("EAL's --log-level %s: the level is 1 to 8, or emergency to debug", value);
	return -EINVAL;
}

/* Ahead of the operator's own, which win. The telemetry library warns of a legacy socket. */
static char *const quiet[] = {"--log-level=lib.eal:warning", "--log-level=lib.telemetry:error"};
#define N_QUIET ((int)(sizeof(quiet) / sizeof(quiet[0])))

/* The arguments behind argv[0] and `quiet`: getopt reorders what it reads, and EAL writes to its
 * argv. NULL: no memory, said. */
static char **
copy_arguments(int argc, char **argv)
{
	char **copy = calloc((size_t)(argc + N_QUIET + 1), sizeof(*copy));

	if (copy == NULL) {
		app_message("out of memory");
		return NULL;
	}
	copy[0] = argv[0];
	memcpy(copy + 1, quiet, sizeof(quiet));
	memcpy(copy + 1 + N_QUIET, argv + 1, (size_t)(argc - 1) * sizeof(*copy));
	return copy;
}

int
app_eal_separator(int argc, char **argv)
{
	int i = 1;

	while (i < argc && strcmp(argv[i], "--") != 0)
		i++;
	return i;
}

int
app_eal_check(int argc, char **argv)
{
	char **args = copy_arguments(argc, argv);
	int err = 0;
	int option, index;

	if (args == NULL)
		return -ENOMEM;
	argc += N_QUIET;
	optind = 0;
	while (err == 0 &&
	       (option = getopt_long(argc, args, short_options, long_options, &index)) != -1) {
		if (option == '?')
			err = -EINVAL;
		else if (option == 'm' || option == 'n' || option == 'r')
			err = check_number(option, optarg);
		else if (option == 0 && strcmp(long_options[index].name, "log-level") == 0)
			err = check_log_level(optarg);
		else if (option == 0 && strcmp(long_options[index].name, "proc-type") == 0 &&
			 strcmp(optarg, "primary") != 0) {
			app_message("EAL's --proc-type %s: kvrail is a primary process", optarg);
			err = -EINVAL;
		}
	}
	if (err == 0 && optind < argc) {
		app_message("%s: not an EAL option; the program's own follow --", args[optind]);
		err = -EINVAL;
	}
	free(args);
	return err;
}

static bool
has_argument(int argc, char **argv, const char *argument)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], argument) == 0)
			return true;
	return false;
}

/* One number out of /sys/kernel/mm/hugepages/DIR/FILE; 0 when there is none. */
static uint64_t
read_hugepages(const char *dir, const char *file)
{
	char path[512];
	uint64_t number = 0;
	FILE *stream;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/%s/%s", dir, file);
	stream = fopen(path, "r");
	if (stream == NULL)
		return 0;
	if (fscanf(stream, "%" SCNu64, &number) != 1)
		number = 0;
	fclose(stream);
	return number;
}

int
app_eal_check_hugepages(int argc, char **argv, uint64_t bytes)
{
	const uint64_t page_bytes = 2 << 20;
	uint64_t need_bytes = bytes + (64 << 20); /* EAL's heap: rings, clients, pollers */
	uint64_t free_bytes = 0;
	char need[32], have[32];
	struct dirent *entry;
	DIR *dir;

	if (has_argument(argc, argv, "--no-huge"))
		return 0;
	dir = opendir("/sys/kernel/mm/hugepages");
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		unsigned int kib;

		if (sscanf(entry->d_name, "hugepages-%ukB", &kib) != 1)
			continue;
		free_bytes += ((uint64_t)kib << 10) *
			      (read_hugepages(entry->d_name, "free_hugepages") +
			       read_hugepages(entry->d_name, "nr_overcommit_hugepages"));
	}
	if (dir != NULL)
		closedir(dir);
	if (free_bytes >= need_bytes)
		return 0;
	need_bytes = (need_bytes + page_bytes - 1) / page_bytes * page_bytes;
	app_message("%s of hugepages needed, %s free; reserve them: echo %" PRIu64 " > "
		    "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
		    app_size_text(need_bytes, need, sizeof(need)),
		    app_size_text(free_bytes, have, sizeof(have)),
		    read_hugepages("hugepages-2048kB", "nr_hugepages") +
			    (need_bytes - free_bytes) / page_bytes);
	return -ENOMEM;
}

/* What EAL printed: the cause is the first line; 60 lines of usage may follow it. */
static void
explain(FILE *output, int err)
{
	char line[512];

	if (fgets(line, sizeof(line), output) == NULL)
		snprintf(line, sizeof(line), "%s", strerror(err));
	line[strcspn(line, "\n")] = '\0';
	app_message("EAL does not start: %s", strncmp(line, "EAL: ", 5) == 0 ? line + 5 : line);
}

static void
pass_on(FILE *output)
{
	char line[512];

	while (fgets(line, sizeof(line), output) != NULL)
		fputs(line, stderr);
}

int
app_eal_init(int argc, char **argv)
{
	char **args = copy_arguments(argc, argv);
	FILE *output = tmpfile();
	int saved_out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	int saved_err = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	int n;

	if (args == NULL || output == NULL || saved_out < 0 || saved_err < 0) {
		app_message("EAL does not start: %s", strerror(errno));
		return -EINVAL;
	}
	sched_getaffinity(0, sizeof(process_cpus), &process_cpus);
	fflush(stdout);
	dup2(fileno(output), STDOUT_FILENO);
	dup2(fileno(output), STDERR_FILENO);
	n = rte_eal_init(argc + N_QUIET, args);
	fflush(stdout);
	dup2(saved_out, STDOUT_FILENO);
	dup2(saved_err, STDERR_FILENO);
	close(saved_out);
	close(saved_err);
	rewind(output);
	if (n < 0)
		explain(output, rte_errno);
	else
		pass_on(output);
	fclose(output);
	free(args);
	return n < 0 ? -EINVAL : 0;
}

/* Of lcores and devices. */
static bool
is_of_lcores(int option, int index)
{
	static const char *const names[] = {"lcores", "main-lcore"};

	if (option != 0)
		return strchr("abclsS", option) != NULL;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(long_options[index].name, names[i]) == 0)
			return true;
	return false;
}

int
app_eal_init_lcores(int argc, char **argv)
{
	static char *const fixed[] = {"--no-huge", "-m", "64", "--no-shconf", "--no-telemetry"};
	char **args = copy_arguments(argc, argv);
	char **kept =
		calloc((size_t)(2 * argc) + sizeof(fixed) / sizeof(fixed[0]) + 1, sizeof(*kept));
	char names[2 * RTE_MAX_LCORE][32];
	int n = 0, n_names = 0, option, index, err;

	if (args == NULL || kept == NULL) {
		free(args);
		free(kept);
		return -ENOMEM;
	}
	kept[n++] = argv[0];
	optind = 0;
	while ((option = getopt_long(argc + N_QUIET, args, short_options, long_options, &index)) !=
	       -1) {
		if (!is_of_lcores(option, index) || n_names == 2 * RTE_MAX_LCORE)
			continue;
		if (option == 0)
			snprintf(names[n_names], sizeof(names[0]), "--%s",
				 long_options[index].name);
		else
			snprintf(names[n_names], sizeof(names[0]), "-%c", option);
		kept[n++] = names[n_names++];
		kept[n++] = optarg;
	}
	memcpy(kept + n, fixed, sizeof(fixed));
	err = app_eal_init(n + (int)(sizeof(fixed) / sizeof(fixed[0])), kept);
	free(kept);
	free(args);
	return err;
}

void
app_eal_spare_cpus(cpu_set_t *cpus)
{
	cpu_set_t pollers, lcore_cpus;
	unsigned int lcore;

	CPU_ZERO(&pollers);
	RTE_LCORE_FOREACH_WORKER (lcore) {
		lcore_cpus = rte_lcore_cpuset(lcore);
		CPU_OR(&pollers, &pollers, &lcore_cpus);
	}
	/* Those of the process that are no poller's: without the ones that both have. */
	CPU_AND(&pollers, &pollers, &process_cpus);
	CPU_XOR(cpus, &process_cpus, &pollers);
	if (CPU_COUNT(cpus) < 2)
		*cpus = process_cpus;
}
