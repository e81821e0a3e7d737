/* SPDX-License-Identifier: BSD-3-Clause */
/* softnic: run a command with the library preloaded, as a member of an instance. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "address.h"
#include "ctl.h"
#include "instance.h"
#include "list.h"

#define EXIT_OWN_ERROR 125
#define EXIT_NOT_FOUND 127
#define LIB_NAME       "libsoftnic.so"

#ifndef SN_LIBDIR
#define SN_LIBDIR "/usr/local/lib"
#endif

struct options {
	const char *instance;
	char settings_text[4096]; /* `key=value` lines: inherited, then given here */
	struct sn_settings settings;
	const char *faults; /* of this launch alone: one inside it does not begin them again */
	bool debug;
	bool json;
};

static const char usage_text[] =
	"usage: softnic [OPTION...] -- COMMAND [ARGUMENT...]\n"
	"       softnic list [--instance NAME] [--json]\n"
	"       softnic ctl [--instance NAME] DEVICE COMMAND [VALUE]\n"
	"       softnic ctl [--instance NAME] qp QPN error\n"
	"\n"
	"Runs COMMAND with working mlx5 devices that are made of software.\n"
	"\n"
	"  --devices N      1..8 devices, mlx5_0 to mlx5_{N-1} (default 2)\n"
	"  --device mlx5_N:KEY=VALUE[,KEY=VALUE...]\n"
	"                   properties of one device (repeatable):\n"
	"                   numa=NODE   its NUMA node, -1 for none (default 0)\n"
	"                   ro=on|off   whether it can do relaxed ordering (default on)\n"
	"                   mtu=BYTES   its MTU, 256 to 4096 (default 4096)\n"
	"                   speed=GBPS  the speed it shows, 10 to 400 (default 400)\n"
	"                   ip=ADDRESS  its IPv4 address (default 192.0.2.{N+1})\n"
	"                   guid=HEX    its node GUID, from which its MAC follows\n"
	"                   link=eth    its link layer; there is no other\n"
	"  --instance NAME  processes of one instance share their devices (default \"default\")\n"
	"  --wire WIRE      what carries the bytes between devices (default local):\n"
	"                   local  copies between the processes of this machine\n"
	"                   null   the same, but WRITE and READ are checked and completed without\n"
	"                          moving their bytes: what posting and polling cost\n"
	"                   roce   RoCEv2 packets: between machines, containers, namespaces; "
	"mlx5_N\n"
	"                          stands on the N-th address of the interfaces that are up, or "
	"on\n"
	"                          that of --device mlx5_N:ip=ADDRESS\n"
	"  --strict[=WHAT]  what befalls a program that breaks a rule of the WQE or doorbell "
	"protocol\n"
	"                   (default report): report  a line on standard error, and a count\n"
	"                   abort  that, then abort(3)    off  nothing is checked\n"
	"  --relaxed N      one WRITE in N to relaxed-ordered memory leaves 1 to 64 cache lines "
	"behind\n"
	"                   when it completes, as hardware may (default 1000; 0: none does)\n"
	"  --ro-window-us T ... for T microseconds at most (default 1000000)\n"
	"  --seed S         the random numbers of all that is drawn (default: the clock; see "
	"--debug)\n"
	"  --rate GBITPS    what each device sends, and receives, in 10^9 bit/s (8 is 1 GB/s; 0, "
	"the\n"
	"                   default: no limit); or mlx5_N=GBITPS for one; can be repeated\n"
	"  --delay-us US    how long what it sends is under way; or mlx5_N=US; can be repeated\n"
	"  --step[=NS]      no NIC threads: COMMAND moves its NIC by softnic_step(), which takes "
	"NS\n"
	"                   nanoseconds of a clock that nothing else moves (default 1000)\n"
	"  --trace-file F   append a line to F for each WQE, packet, completion, doorbell, event "
	"and\n"
	"                   command of COMMAND's NICs; %p in F is the process id\n"
	"  --faults SPEC    what goes wrong on the instance's devices, from now on: items joined "
	"by\n"
	"                   commas, FAULT[@mlx5_N]=HOW or OUTAGE[@mlx5_N]=WHEN, of one device or "
	"all\n"
	"                   drop, corrupt, dup, delay  of the packets that arrive (local wire: of\n"
	"                   requests and answers)    rnr  of requests that take a receive\n"
	"                   cq_overrun  of completions    qp_error  of requests that begin\n"
	"                   HOW: a chance from 0 to 1, #N for the Nth, /N for each Nth; for delay\n"
	"                   then :TIME, as 0.01:50us\n"
	"                   port_down, stall, death; WHEN: AFTER[+LENGTH[/PERIOD]], as 2s+500ms\n"
	"  ctl              the same of a running instance: COMMAND is up, down, kill, clear, "
	"stall\n"
	"                   with milliseconds, or a FAULT with HOW; qp moves one to ERR\n"
	"  --debug          log commands, registrations and errors to standard error\n"
	"  --json           list as JSON\n"
	"  --help, --version\n"
	"\n"
	"Exits with COMMAND's status, 128+N if signal N ended it, 125 for an error of softnic's\n"
	"own, 127 if COMMAND cannot be found.\n"
	"Environment: SOFTNIC_LIB names the library to preload.\n";

/* A setting of this launch. */
static int
set(struct options *opt, const char *key, const char *value)
{
	size_t used = strlen(opt->settings_text), room = sizeof(opt->settings_text) - used;
	char error[256];

	if (sn_settings_set(&opt->settings, key, value, error, sizeof(error))) {
		fprintf(stderr, "softnic: %s\n", error);
		return -EINVAL;
	}
	if ((size_t)snprintf(opt->settings_text + used, room, "%s=%s\n", key, value) >= room) {
		fprintf(stderr, "softnic: --%s %s: the options are too long\n", key, value);
		return -EINVAL;
	}
	return 0;
}

/* A setting that is a path, which COMMAND may look at from another directory. */
static int
set_path(struct options *opt, const char *key, const char *value)
{
	char here[PATH_MAX], path[2 * PATH_MAX];

	if (*value == '/' || !*value || !getcwd(here, sizeof(here)))
		return set(opt, key, value);
	snprintf(path, sizeof(path), "%s/%s", here, value);
	return set(opt, key, path);
}

/* A launch inside a launch joins the outer one's instance, unless told otherwise. */
static int
inherit_options(struct options *opt)
{
	const char *value = getenv(SN_ENV_INSTANCE);
	char error[256];

	if (value && *value)
		opt->instance = value;
	value = getenv(SN_ENV_SETTINGS);
	if (!value)
		return 0;
	if (sn_settings_parse(&opt->settings, value, error, sizeof(error))) {
		fprintf(stderr, "softnic: " SN_ENV_SETTINGS ": %s\n", error);
		return -EINVAL;
	}
	snprintf(opt->settings_text, sizeof(opt->settings_text), "%s", value);
	return 0;
}

static void
finish(const char *text)
{
	fputs(text, stdout);
	exit(fflush(stdout) == 0 ? 0 : EXIT_OWN_ERROR);
}

static int
parse_options(int argc, char **argv, struct options *opt)
{
	static const struct option longs[] = {
		{"devices", required_argument, NULL, 's'},
		{"device", required_argument, NULL, 's'},
		{"instance", required_argument, NULL, 'i'},
		{"wire", required_argument, NULL, 's'},
		{"strict", optional_argument, NULL, 's'},
		{"relaxed", required_argument, NULL, 's'},
		{"ro-window-us", required_argument, NULL, 's'},
		{"trace-file", required_argument, NULL, 't'},
		{"seed", required_argument, NULL, 's'},
		{"rate", required_argument, NULL, 's'},
		{"delay-us", required_argument, NULL, 's'},
		{"step", optional_argument, NULL, 's'},
		{"faults", required_argument, NULL, 'f'},
		{"debug", no_argument, NULL, 'D'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	char dir[96], error[256];
	int c, which;

	opterr = 0; /* we say it in one line */
	while ((c = getopt_long(argc, argv, "+:", longs, &which)) != -1) {
		switch (c) {
		case 'i':
			opt->instance = optarg;
			break;
		case 's': /* the option is a setting of that name */
			if (set(opt, longs[which].name, optarg ? optarg : ""))
				return -EINVAL;
			break;
		case 't':
			if (set_path(opt, "trace-file", optarg))
				return -EINVAL;
			break;
		case 'f':
			opt->faults = optarg;
			break;
		case 'D':
			opt->debug = true;
			break;
		case 'j':
			opt->json = true;
			break;
		case 'h':
			finish(usage_text);
			break;
		case 'V':
			finish("softnic " SN_VERSION "\n");
			break;
		case ':':
			fprintf(stderr, "softnic: %s needs a value; see softnic --help\n",
				argv[optind - 1]);
			return -EINVAL;
		default:
			/* Of several short ones in a word, optind is at it still. */
			fprintf(stderr, "softnic: '%s' is no option; see softnic --help\n",
				argv[argv[optind - 1][0] == '-' ? optind - 1 : optind]);
			return -EINVAL;
		}
	}
	if (sn_settings_check(&opt->settings, error, sizeof(error))) {
		fprintf(stderr, "softnic: %s\n", error);
		return -EINVAL;
	}
	if (!opt->instance || sn_instance_dir(opt->instance, dir, sizeof(dir)) == 0)
		return 0;
	fprintf(stderr,
		"softnic: --instance '%s': give 1 to 32 letters, digits, '.', '_' or '-', not "
		"starting with '.'\n",
		opt->instance);
	return -EINVAL;
}

/* The roce wire's devices stand on addresses of this machine: settings like any others for the
 * command and its children. */
static int
complete_addresses(struct options *opt)
{
	struct sn_fabric fabric = opt->settings.fabric;
	char text[256], error[512];

	if (fabric.wire != SN_WIRE_ROCE)
		return 0;
	if (sn_address_complete(&fabric, error, sizeof(error))) {
		fprintf(stderr, "softnic: %s\n", error);
		return -EINVAL;
	}
	for (uint32_t device = 0; device < fabric.n_devices; device++) {
		int n = snprintf(text, sizeof(text), "mlx5_%u:", device);

		if (sn_device_settings_equal(&fabric.device[device],
					     &opt->settings.fabric.device[device]))
			continue;
		sn_device_settings_format(&fabric.device[device], device, text + n,
					  sizeof(text) - (size_t)n);
		if (set(opt, "device", text))
			return -EINVAL;
	}
	return 0;
}

/* ---- the library ---- */

static int
find_library(char *path, size_t bytes)
{
	const char *env = getenv(SN_ENV_LIB);
	char self[512];
	ssize_t n;

	if (env && *env) {
		snprintf(path, bytes, "%s", env);
		if (access(path, R_OK) == 0)
			return 0;
		fprintf(stderr, "softnic: " SN_ENV_LIB "=%s: %s\n", env, strerror(errno));
		return -ENOENT;
	}
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n > 0) {
		self[n] = '\0';
		*strrchr(self, '/') = '\0';
		snprintf(path, bytes, "%s/" LIB_NAME, self);
		if (access(path, R_OK) == 0)
			return 0;
	}
	snprintf(path, bytes, SN_LIBDIR "/" LIB_NAME);
	if (access(path, R_OK) == 0)
		return 0;
	fprintf(stderr, "softnic: " LIB_NAME " is neither beside softnic nor in " SN_LIBDIR
			"; set " SN_ENV_LIB " to its path\n");
	return -ENOENT;
}

/* LD_PRELOAD is a list that ld.so(8) cuts at spaces and colons: a library whose path has some is
 * preloaded by a link in the instance's directory, which goes when the instance does. */
static int
link_library(const struct sn_instance *inst, char *path, size_t bytes)
{
	char real[PATH_MAX], dir[sizeof(inst->dir) + 32];

	if (!strpbrk(path, " :"))
		return 0;
	if (!realpath(path, real))
		return -errno;
	snprintf(dir, sizeof(dir), "%s/lib", inst->dir);
	if (mkdir(dir, 0700) && errno != EEXIST)
		return -errno;
	snprintf(dir, sizeof(dir), "%s/lib/%d", inst->dir, getpid());
	if (mkdir(dir, 0700) && errno != EEXIST)
		return -errno;
	snprintf(path, bytes, "%s/" LIB_NAME, dir);
	return symlink(real, path) && errno != EEXIST ? -errno : 0;
}

static void
set_environment(const struct options *opt, const char *lib)
{
	const char *old = getenv("LD_PRELOAD");
	char *preload;

	setenv(SN_ENV_SETTINGS, opt->settings_text, 1);
	setenv(SN_ENV_INSTANCE, opt->instance, 1);
	if (opt->debug)
		setenv(SN_ENV_DEBUG, "1", 1);
	if (old && strstr(old, LIB_NAME))
		return; /* nested: it is there */
	if (asprintf(&preload, "%s%s%s", lib, old && *old ? ":" : "", old ? old : "") < 0)
		return;
	setenv("LD_PRELOAD", preload, 1);
	free(preload);
}

/* ---- the command ---- */

static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

static void
watch_set(sigset_t *set)
{
	sigemptyset(set);
	for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++)
		sigaddset(set, forwarded[i]);
	sigaddset(set, SIGCHLD);
}

/* The child: report why exec failed through the pipe, which exec closes on success. */
static void __attribute__((noreturn))
exec_command(char **argv, const sigset_t *old_mask, int report_fd)
{
	int err;

	sigprocmask(SIG_SETMASK, old_mask, NULL);
	execvp(argv[0], argv);
	err = errno;
	if (write(report_fd, &err, sizeof(err)) != (ssize_t)sizeof(err))
		_exit(EXIT_OWN_ERROR);
	_exit(EXIT_NOT_FOUND);
}

static pid_t
start_command(char **argv, const sigset_t *old_mask, int *exit_status)
{
	int report[2], err = 0;
	pid_t pid;

	if (pipe2(report, O_CLOEXEC)) {
		fprintf(stderr, "softnic: cannot make a pipe: %s\n", strerror(errno));
		*exit_status = EXIT_OWN_ERROR;
		return -1;
	}
	pid = fork();
	if (pid == 0)
		exec_command(argv, old_mask, report[1]);
	close(report[1]);
	if (pid < 0) {
		fprintf(stderr, "softnic: cannot fork: %s\n", strerror(errno));
		*exit_status = EXIT_OWN_ERROR;
	} else if (read(report[0], &err, sizeof(err)) == (ssize_t)sizeof(err)) {
		fprintf(stderr, "softnic: cannot run '%s': %s\n", argv[0], strerror(err));
		waitpid(pid, NULL, 0);
		*exit_status = err == ENOENT ? EXIT_NOT_FOUND : EXIT_OWN_ERROR;
		pid = -1;
	}
	close(report[0]);
	return pid;
}

static int
await_command(pid_t pid, const sigset_t *watched)
{
	siginfo_t info;
	int status;

	for (;;) {
		int sig = sigwaitinfo(watched, &info);

		if (sig > 0 && sig != SIGCHLD) {
			/* What the terminal sends, it has sent to the command as well. */
			if (info.si_code != SI_KERNEL)
				kill(pid, sig);
			continue;
		}
		pid_t ended = waitpid(pid, &status, WNOHANG);
		if (ended < 0)
			return EXIT_OWN_ERROR;
		if (ended == pid)
			return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	}
}

static void
report_difference(const struct options *opt, const struct sn_fabric *running)
{
	const char *key = sn_fabric_difference(running, &opt->settings.fabric);
	char theirs[512], ours[512];

	sn_fabric_format(running, key, theirs, sizeof(theirs));
	sn_fabric_format(&opt->settings.fabric, key, ours, sizeof(ours));
	fprintf(stderr,
		"softnic: instance '%s' is running with %s, not with %s: give that, or --instance "
		"with another name\n",
		opt->instance, theirs, ours);
}

static void
report_refusal(const struct options *opt, const char *dir, int err)
{
	const char *why = strerror(-err);

	if (err == -EACCES)
		why = "it belongs to another user: remove it, or give --instance another name";
	else if (err == -EPERM)
		why = "other users may enter it: remove it, or give --instance another name";
	else if (err == -ENOTDIR || err == -ELOOP)
		why = "it is no directory: remove it, or give --instance another name";
	else if (err == -ENOSPC)
		why = "all its places for processes are taken, or /dev/shm is full";
	fprintf(stderr, "softnic: cannot join instance '%s' in %s: %s\n", opt->instance, dir, why);
}

/* Are the faults such as can be? Asked before anything is started. */
static int
check_faults(const struct options *opt)
{
	static struct sn_shm_faults scratch[SN_MAX_DEVICES];
	char error[256];

	if (!opt->faults || sn_faults_parse(scratch, opt->settings.fabric.n_devices, opt->faults, 0,
					    error, sizeof(error)) == 0)
		return 0;
	fprintf(stderr, "softnic: --faults %s\n", error);
	return -EINVAL;
}

static int
run(const struct options *opt, char **argv)
{
	struct sn_instance inst;
	char lib[1024], error[256];
	sigset_t watched, old_mask;
	struct sn_fabric fabric = opt->settings.fabric;
	int status = EXIT_OWN_ERROR;

	if (check_faults(opt) || find_library(lib, sizeof(lib)))
		return EXIT_OWN_ERROR;
	int err = sn_instance_join(&inst, opt->instance, &fabric, SN_LAUNCHER);
	if (err == -EBUSY) {
		report_difference(opt, &fabric);
		return EXIT_OWN_ERROR;
	}
	if (err) {
		report_refusal(opt, inst.dir, err);
		return EXIT_OWN_ERROR;
	}
	err = link_library(&inst, lib, sizeof(lib));
	if (err) {
		fprintf(stderr, "softnic: cannot link %s into %s: %s\n", lib, inst.dir,
			strerror(-err));
		sn_instance_leave(&inst);
		return EXIT_OWN_ERROR;
	}
	if (opt->faults)
		sn_faults_set(inst.shm, opt->faults, error, sizeof(error));
	set_environment(opt, lib);
	watch_set(&watched);
	sigprocmask(SIG_BLOCK, &watched, &old_mask);
	pid_t pid = start_command(argv, &old_mask, &status);
	if (pid > 0)
		status = await_command(pid, &watched);
	sn_instance_leave(&inst);
	return status;
}

int
main(int argc, char **argv)
{
	struct options opt = {.instance = SN_DEFAULT_INSTANCE};
	bool is_list = argc > 1 && strcmp(argv[1], "list") == 0;

	sn_settings_init(&opt.settings);
	if (inherit_options(&opt))
		return EXIT_OWN_ERROR;
	if (is_list) {
		opt.instance = NULL; /* all, unless one is named here */
		if (parse_options(argc - 1, argv + 1, &opt))
			return EXIT_OWN_ERROR;
		if (optind < argc - 1) {
			fprintf(stderr, "softnic: list '%s': name an instance by --instance\n",
				argv[optind + 1]);
			return EXIT_OWN_ERROR;
		}
		return sn_list(opt.instance, opt.json);
	}
	if (argc > 1 && strcmp(argv[1], "ctl") == 0) {
		if (parse_options(argc - 1, argv + 1, &opt))
			return EXIT_OWN_ERROR;
		return sn_ctl(opt.instance, argc - 1 - optind, argv + 1 + optind);
	}
	if (parse_options(argc, argv, &opt))
		return EXIT_OWN_ERROR;
	if (complete_addresses(&opt))
		return EXIT_OWN_ERROR;
	if (optind == argc) {
		fputs("softnic: no command given; see softnic --help\n", stderr);
		return EXIT_OWN_ERROR;
	}
	return run(&opt, argv + optind);
}
