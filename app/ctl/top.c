/* SPDX-License-Identifier: BSD-3-Clause */
#include "top.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app_message.h"
#include "table.h"

#define N(columns) (sizeof(columns) / sizeof((columns)[0]))

static const struct ctl_column devices[] = {
	{"DEVICE", "name", CTL_TEXT},
	{"TX", "tx_bytes_per_sec_1s", CTL_RATE},
	{"RX", "rx_bytes_per_sec_1s", CTL_RATE},
	{"TX BYTES", "tx_bytes", CTL_BYTES},
	{"RX BYTES", "rx_bytes", CTL_BYTES},
	{"PORT TX", "port_tx_bytes", CTL_BYTES},
	{"PORT RX", "port_rx_bytes", CTL_BYTES},
};

static const struct ctl_column lcores[] = {
	{"LCORE", "lcore", CTL_NUMBER},		{"NUMA", "numa_node", CTL_NUMBER},
	{"BUSY %", "busy_pct", CTL_NUMBER},	{"BATCHES", "batches", CTL_NUMBER},
	{"TRANSFERS", "transfers", CTL_NUMBER},
};

static const struct ctl_column pools[] = {
	{"POOL", "name", CTL_TEXT},
	{"NUMA", "numa_node", CTL_NUMBER},
	{"SIZE", "size_bytes", CTL_BYTES},
	{"BLOCK", "block_bytes", CTL_BYTES},
	{"BLOCKS", "blocks", CTL_NUMBER},
	{"FREE", "free_blocks", CTL_NUMBER},
	{"LARGEST RUN", "largest_free_run_blocks", CTL_NUMBER},
};

static const struct ctl_column lanes[] = {
	{"PEER", "peer", CTL_TEXT},
	{"DEVICE", "device", CTL_TEXT},
	{"REMOTE", "remote_device", CTL_NUMBER},
	{"LCORE", "lcore", CTL_NUMBER},
	{"QP", "qpn", CTL_NUMBER},
	{"STATE", "state", CTL_TEXT},
	{"IN FLIGHT", "inflight_bytes", CTL_BYTES},
	{"BYTES", "bytes", CTL_BYTES},
	{"SLICES", "slices", CTL_NUMBER},
	{"ERRORS", "errors", CTL_NUMBER},
};

/* The telemetry socket of the process that answers at the control socket. */
static int
connect_telemetry(const struct ctl_node *node, struct kvr_error *error)
{
	json_t *info;
	int pid, err = ctl_ask(node, json_pack("{s:s}", "request", "info"), -1, &info, error);

	if (err != 0)
		return err;
	pid = (int)json_integer_value(json_object_get(info, "pid"));
	json_decref(info);
	return ctl_telemetry_open(node, pid, error);
}

/* A list of telemetry's. paged: it may be longer than a reply. */
static const struct view {
	const char *path;
	const char *list;
	bool paged;
	const struct ctl_column *columns;
	size_t n_columns;
} views[] = {
	{"/kvrail/throughput", "devices", false, devices, N(devices)},
	{"/kvrail/lcores", "lcores", true, lcores, N(lcores)},
	{"/kvrail/pools", "pools", true, pools, N(pools)},
	{"/kvrail/lanes", "lanes", true, lanes, N(lanes)},
};
#define LANES (&views[3])

/* 0 or -ECONNRESET. */
static int
print_view(int fd, const struct view *view)
{
	json_t *reply = ctl_telemetry_ask(fd, view->path, view->paged ? view->list : NULL);

	if (reply == NULL)
		return -ECONNRESET;
	ctl_table_print(view->columns, view->n_columns, json_object_get(reply, view->list));
	json_decref(reply);
	return 0;
}

static int
print_node(int fd)
{
	json_t *info = ctl_telemetry_ask(fd, "/kvrail/info", NULL);
	json_t *latency = ctl_telemetry_ask(fd, "/kvrail/latency", NULL);
	int err = info != NULL && latency != NULL ? 0 : -ECONNRESET;

	if (err == 0)
		printf("node %s at %s, pid %lld; batches %lld, p50 %lld us, p99 %lld us\n",
		       json_string_value(json_object_get(info, "name")),
		       json_string_value(json_object_get(info, "address")),
		       (long long)json_integer_value(json_object_get(info, "pid")),
		       (long long)json_integer_value(json_object_get(latency, "batches")),
		       (long long)json_integer_value(json_object_get(latency, "p50_us")),
		       (long long)json_integer_value(json_object_get(latency, "p99_us")));
	json_decref(info);
	json_decref(latency);
	return err;
}

static int
print_all(int fd)
{
	int err = print_node(fd);

	for (size_t i = 0; err == 0 && i < N(views); i++) {
		puts("");
		err = print_view(fd, &views[i]);
	}
	fflush(stdout);
	return err;
}

int
ctl_top(const struct ctl_node *node, bool once, struct kvr_error *error)
{
	const struct timespec second = {.tv_sec = 1};
	int fd = connect_telemetry(node, error);
	int err;

	if (fd < 0)
		return fd;
	do {
		if (!once)
			fputs("\033[H\033[2J", stdout); /* to the top left, and clear */
		err = print_all(fd);
	} while (err == 0 && !once && nanosleep(&second, NULL) == 0);
	close(fd);
	return err == 0 ? 0 : app_fail(error, err, "node %s does not answer any more", node->name);
}

int
ctl_lanes(const struct ctl_node *node, struct kvr_error *error)
{
	int fd = connect_telemetry(node, error);
	int err;

	if (fd < 0)
		return fd;
	err = print_view(fd, LANES);
	close(fd);
	return err == 0 ? 0 : app_fail(error, err, "node %s does not answer any more", node->name);
}
