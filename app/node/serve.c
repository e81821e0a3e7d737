/* SPDX-License-Identifier: BSD-3-Clause */
#include "serve.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "app_message.h"
#include "control_socket.h"
#include "lend.h"
#include "log.h"
#include "loopback.h"
#include "node.h"

#define TURN_MS 100 /* of the loop while it drains; else it sleeps for the watchdog or a signal */

struct serve {
	struct node node;
	struct node_control_socket control;
	const struct node_command_line *line;
	int signal_fd;
	uint64_t fed_ns;		 /* when the watchdog was last told */
	uint64_t watchdog_us;		 /* 0: nobody watches */
	uint64_t polls[KVR_MAX_POLLERS]; /* of each poller, when it was last looked at */
	bool stopping;			 /* a signal came: what is under way ends first */
	bool hurry;			 /* another: it does not */
};

static void
signals_to_take(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
}

void
node_serve_block(void)
{
	sigset_t set;

	signals_to_take(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* ---- SIGHUP ---- */

/* What is not peers stays as it is until a restart. */
static void
note_changes(const struct node_options *now, const struct node_options *then)
{
	bool same = strcmp(now->name, then->name) == 0 && strcmp(now->listen, then->listen) == 0 &&
		    now->n_pools == then->n_pools && now->block_bytes == then->block_bytes &&
		    now->timeout_ms == then->timeout_ms && now->slice_bytes == then->slice_bytes &&
		    now->drain_ms == then->drain_ms && now->cross_numa == then->cross_numa &&
		    now->insecure == then->insecure &&
		    strcmp(now->device_names != NULL ? now->device_names : "",
			   then->device_names != NULL ? then->device_names : "") == 0;

	for (uint32_t i = 0; same && i < now->n_pools; i++)
		same = now->pools[i].numa_node == then->pools[i].numa_node &&
		       now->pools[i].bytes == then->pools[i].bytes;
	if (!same)
		NODE_LOG(WARNING, "reload: what has changed beside the peers needs a restart\n");
}

static void
reload(struct serve *serve)
{
	struct node_options options;
	uint32_t n_new, n_old;

	sd_notify(0, "RELOADING=1");
	if (node_options_parse(serve->line->argc, serve->line->argv, &options) != 0) {
		NODE_LOG(ERR, "reload: the configuration is wrong, all stays as it was\n");
	} else {
		note_changes(&options, serve->node.options);
		if (node_peers_set(&serve->node.peers, &options, &n_new, &n_old) != 0)
			NODE_LOG(ERR, "reload: out of memory\n");
		NODE_LOG(NOTICE, "reload: %u peers: %u new, %u gone\n", options.n_peers, n_new,
			 n_old);
		node_options_free(&options);
	}
	sd_notify(0, "READY=1");
}

/* ---- signals ---- */

static void
take_signal(struct serve *serve)
{
	struct signalfd_siginfo info;

	if (read(serve->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP) {
		reload(serve);
	} else if (!serve->stopping) {
		serve->stopping = true;
		sd_notify(0, "STOPPING=1");
		node_store_drain(&serve->node.store);
		NODE_LOG(NOTICE, "draining: %u transfers are under way\n",
			 node_store_under_way(&serve->node.store));
	} else {
		serve->hurry = true;
	}
}

/* ---- the watchdog ---- */

/* Does every poller turn? An idle one does too, if slowly. */
static bool
pollers_turn(struct serve *serve)
{
	struct kvr_lcore_stats stats[KVR_MAX_POLLERS];
	uint32_t n = kvr_stats_lcores(serve->node.engine, stats, KVR_MAX_POLLERS);
	bool turn = true;

	for (uint32_t i = 0; i < n; i++) {
		if (stats[i].polls == serve->polls[i]) {
			NODE_LOG(ERR, "lcore %u has stopped turning: the watchdog is not told\n",
				 stats[i].lcore);
			turn = false;
		}
		serve->polls[i] = stats[i].polls;
	}
	return turn;
}

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void
feed_watchdog(struct serve *serve)
{
	if (serve->watchdog_us == 0 || now_ns() - serve->fed_ns < serve->watchdog_us * 1000 / 3)
		return;
	serve->fed_ns = now_ns();
	if (pollers_turn(serve))
		sd_notify(0, "WATCHDOG=1");
}

/* ---- the loop ---- */

static void
turn(struct serve *serve)
{
	struct pollfd fds[] = {
		{.fd = serve->signal_fd, .events = POLLIN},
		{.fd = serve->control.listen_fd, .events = POLLIN},
	};
	int timeout_ms = serve->stopping	     ? TURN_MS
			 : serve->watchdog_us == 0   ? -1
			 : serve->watchdog_us < 4000 ? 1
						     : (int)(serve->watchdog_us / 4000);

	if (poll(fds, 2, timeout_ms) > 0) {
		if (fds[0].revents & POLLIN)
			take_signal(serve);
		if (fds[1].revents & POLLIN)
			node_control_socket_accept(&serve->control);
	}
	feed_watchdog(serve);
}

/* Until it has drained. 0; -ETIMEDOUT, -EINTR: what was under way has not ended. */
static int
loop(struct serve *serve)
{
	uint64_t until_ns;

	while (!serve->stopping)
		turn(serve);
	until_ns = now_ns() + serve->node.options->drain_ms * 1000000;
	while (node_store_under_way(&serve->node.store) > 0) {
		if (serve->hurry)
			return -EINTR;
		if (now_ns() >= until_ns)
			return -ETIMEDOUT;
		turn(serve);
	}
	return 0;
}

/* ---- start and end ---- */

static void
announce(const struct serve *serve)
{
	const struct node *node = &serve->node;
	const char *address = kvr_engine_address(node->engine);

	if (node_is_loopback(address))
		NODE_LOG(NOTICE, "peers are neither authenticated nor encrypted: this node listens "
				 "on loopback alone\n");
	else
		NODE_LOG(WARNING, "peers are neither authenticated nor encrypted, and other hosts "
				  "reach this node (--insecure): who connects can read and write "
				  "its pools\n");
	NODE_LOG(INFO, "control: %s\n", serve->control.address.sun_path);
	printf("listening on %s\n", address);
	fflush(stdout);
	sd_notifyf(0, "READY=1\nSTATUS=listening on %s", address);
}

static int
start(struct serve *serve, const struct node_options *options)
{
	struct kvr_error error = {""};
	sigset_t set;
	int err;

	signals_to_take(&set);
	serve->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (serve->signal_fd < 0) {
		app_message("no signalfd: %s", strerror(errno));
		return -errno;
	}
	err = node_open(&serve->node, options);
	if (err != 0)
		goto close_signals;
	node_lend_start(&serve->node);
	err = node_control_socket_open(&serve->control, &serve->node);
	if (err != 0)
		goto close_node;
	err = kvr_engine_start(serve->node.engine, &error);
	if (err == 0)
		return 0;
	app_message("%s", error.text[0] != '\0' ? error.text : strerror(-err));
	node_control_socket_close(&serve->control);
close_node:
	node_close(&serve->node);
close_signals:
	close(serve->signal_fd);
	return err;
}

int
node_serve(const struct node_options *options, const struct node_command_line *line)
{
	static struct serve serve;
	int err;

	serve.line = line;
	if (start(&serve, options) != 0)
		return APP_USAGE;
	if (sd_watchdog_enabled(0, &serve.watchdog_us) <= 0)
		serve.watchdog_us = 0;
	announce(&serve);
	err = loop(&serve);
	if (err != 0) {
		/* What is under way holds memory that devices write: the process ends with it. */
		NODE_LOG(ERR, "stopped with %u transfers under way: %s\n",
			 node_store_under_way(&serve.node.store),
			 err == -EINTR ? "a second signal" : "--drain-timeout is over");
		unlink(serve.control.address.sun_path);
		_exit(APP_FAILED);
	}
	node_control_socket_close(&serve.control);
	node_close(&serve.node);
	close(serve.signal_fd);
	NODE_LOG(NOTICE, "drained\n");
	return APP_OK;
}
