/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine's life: devices, pollers and the control thread put together, and taken apart. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_lcore.h>

#include "control.h"
#include "engine.h"
#include "kvr_numa.h"

#define MAX_TIMEOUT_MS	3600000
#define MIN_SLICE_BYTES 4096u
#define MAX_SLICE_BYTES (1u << 30) /* an RDMA message is at most 2 GiB */

/* "kvrail", for --log-level=kvrail:debug */
#define RTE_LOG_DEFAULT_LOGTYPE kvrail
RTE_LOG_REGISTER_DEFAULT(kvr_logtype, INFO)

static uint32_t in_process; /* atomic: engines there are, 0 or 1 */

int
kvr_fail(struct kvr_error *error, int err, const char *format, ...)
{
	va_list args;

	if (error != NULL) {
		va_start(args, format);
		vsnprintf(error->text, sizeof(error->text), format, args);
		va_end(args);
	}
	return err;
}

/* ---- create ---- */

static int
name_take(struct kvr_engine *engine, const char *name, struct kvr_error *error)
{
	char host[KVR_NAME_BYTES - 16]; /* room for the pid */

	if (name != NULL && (name[0] == '\0' || strlen(name) >= sizeof(engine->name)))
		return kvr_fail(error, -EINVAL, "node name '%s' is not 1 to %d characters", name,
				KVR_NAME_BYTES - 1);
	if (name != NULL) {
		strcpy(engine->name, name);
		return 0;
	}
	gethostname(host, sizeof(host));
	host[sizeof(host) - 1] = '\0';
	snprintf(engine->name, sizeof(engine->name), "%s-%d", host, getpid());
	return 0;
}

static int
config_take(struct kvr_engine *engine, const struct kvr_engine_config *config,
	    struct kvr_error *error)
{
	engine->timeout_ms = config->timeout_ms != 0 ? config->timeout_ms : KVR_TIMEOUT_MS;
	engine->slice_bytes = config->slice_bytes != 0 ? config->slice_bytes : KVR_SLICE_BYTES;
	engine->cross_numa = config->cross_numa;
	if (engine->timeout_ms > MAX_TIMEOUT_MS)
		return kvr_fail(error, -EINVAL, "timeout of %u ms: at most %u", engine->timeout_ms,
				MAX_TIMEOUT_MS);
	if (engine->slice_bytes < MIN_SLICE_BYTES || engine->slice_bytes > MAX_SLICE_BYTES)
		return kvr_fail(error, -EINVAL, "slices of %u bytes: %u to %u", engine->slice_bytes,
				MIN_SLICE_BYTES, MAX_SLICE_BYTES);
	if (config->listen != NULL) {
		engine->listen = strdup(config->listen);
		if (engine->listen == NULL)
			return kvr_fail(error, -ENOMEM, "out of memory");
	}
	return name_take(engine, config->name, error);
}

static int
boot_id_make(struct kvr_engine *engine, struct kvr_error *error)
{
	FILE *file = fopen("/proc/sys/kernel/random/uuid", "re");
	int n = file != NULL ? fscanf(file, "%36s", engine->boot_id) : 0;

	if (file != NULL)
		fclose(file);
	if (n != 1)
		return kvr_fail(error, -EIO, "/proc/sys/kernel/random/uuid cannot be read");
	return 0;
}

/* "1,3-5" of the CPUs of a node, for a warning; "none" where the kernel does not say. */
static void
node_cpus(int node, char *text, size_t size)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", node);
	file = fopen(path, "re");
	if (file == NULL || fgets(text, (int)size, file) == NULL)
		snprintf(text, size, "none");
	text[strcspn(text, "\n")] = '\0';
	if (file != NULL)
		fclose(file);
}

static bool
has_local_lcore(const struct kvr_device *device)
{
	unsigned int lcore;

	RTE_LCORE_FOREACH_WORKER (lcore) {
		if (kvr_numa_local((int)rte_lcore_to_socket_id(lcore), device->numa_node))
			return true;
	}
	return false;
}

static bool
has_local_device(const struct kvr_engine *engine, unsigned int lcore)
{
	uint32_t i;

	for (i = 0; i < engine->n_devices; i++)
		if (kvr_numa_local((int)rte_lcore_to_socket_id(lcore),
				   engine->devices[i].numa_node))
			return true;
	return false;
}

/* Of the nodes that have worker lcores, how far the nearest is from the device's; 0: unknown. */
static int
nearest_lcore(const struct kvr_device *device)
{
	unsigned int lcore;
	int best = 0;

	RTE_LCORE_FOREACH_WORKER (lcore) {
		int distance =
			kvr_numa_distance((int)rte_lcore_to_socket_id(lcore), device->numa_node);

		if (distance != 0 && (best == 0 || distance < best))
			best = distance;
	}
	return best;
}

/* Says of each device that no lcore is near to it what to change. Returns how many there are. */
static uint32_t
warn_of_orphans(const struct kvr_engine *engine)
{
	uint32_t i, n = 0;

	for (i = 0; i < engine->n_devices; i++) {
		const struct kvr_device *device = &engine->devices[i];
		char cpus[128];

		if (has_local_lcore(device))
			continue;
		node_cpus(device->numa_node, cpus, sizeof(cpus));
		KVR_LOG(WARNING,
			"device %s is on NUMA node %d, but no worker lcore is: lcores of other "
			"nodes drive it, at distance %d at best (local is 10), which is slower; "
			"add a CPU of that node to -l (%s)\n",
			device->name, device->numa_node, nearest_lcore(device), cpus);
		n++;
	}
	return n;
}

/*
 * A poller for each worker lcore, with the devices of its own node. When a device has no lcore near
 * to it, every poller takes every device: one rule for all keeps each device in use and each rail
 * whole, spray gives the far lanes less because they are slower, and the warning says how to get
 * out of it. Otherwise an lcore without a device near to it has nothing to poll and stays idle.
 */
static int
pollers_create(struct kvr_engine *engine, struct kvr_error *error)
{
	bool all_devices = warn_of_orphans(engine) > 0;
	unsigned int lcore;
	int ret;

	RTE_LCORE_FOREACH_WORKER (lcore) {
		if (!all_devices && !has_local_device(engine, lcore)) {
			KVR_LOG(WARNING,
				"lcore %u is on NUMA node %u, where no device is: it stays idle\n",
				lcore, rte_lcore_to_socket_id(lcore));
			continue;
		}
		if (engine->n_pollers == KVR_MAX_POLLERS)
			return kvr_fail(error, -EINVAL, "more than %d worker lcores: give fewer",
					KVR_MAX_POLLERS);
		ret = kvr_poller_create(engine, lcore, engine->n_pollers, all_devices,
					&engine->pollers[engine->n_pollers]);
		if (ret != 0)
			return kvr_fail(error, ret, "no poller on lcore %u: %s", lcore,
					strerror(-ret));
		engine->n_pollers++;
	}
	return 0;
}

int
kvr_engine_create(const struct kvr_engine_config *config, struct kvr_engine **engine_out,
		  struct kvr_error *error)
{
	struct kvr_engine *engine;
	int ret;

	if (rte_lcore_count() < 2)
		return kvr_fail(error, -ENOTSUP,
				"the main lcore is control: give at least two, e.g. -l 0,1");
	if (__atomic_exchange_n(&in_process, 1, __ATOMIC_ACQ_REL) != 0)
		return kvr_fail(error, -EBUSY, "there is an engine in this process already");
	engine = calloc(1, sizeof(*engine));
	if (engine == NULL) {
		__atomic_store_n(&in_process, 0, __ATOMIC_RELEASE);
		return kvr_fail(error, -ENOMEM, "out of memory");
	}
	pthread_mutex_init(&engine->control_lock, NULL);
	ret = config_take(engine, config, error);
	if (ret == 0)
		ret = boot_id_make(engine, error);
	if (ret == 0)
		ret = kvr_devices_open(config->device_names, engine->devices, &engine->n_devices,
				       error);
	if (ret == 0)
		ret = pollers_create(engine, error);
	if (ret != 0) {
		kvr_engine_destroy(engine);
		return ret;
	}
	*engine_out = engine;
	return 0;
}

void
kvr_engine_destroy(struct kvr_engine *engine)
{
	while (engine->n_pools > 0)
		kvr_pool_destroy(engine->pools[--engine->n_pools]);
	while (engine->n_pollers > 0)
		kvr_poller_destroy(engine->pollers[--engine->n_pollers]);
	kvr_devices_close(engine->devices, engine->n_devices);
	pthread_mutex_destroy(&engine->control_lock);
	free(engine->listen);
	free(engine);
	__atomic_store_n(&in_process, 0, __ATOMIC_RELEASE);
}

/* ---- run ---- */

static void
pollers_stop(struct kvr_engine *engine)
{
	uint32_t i;

	for (i = 0; i < engine->n_pollers; i++)
		kvr_poller_stop(engine->pollers[i]);
}

static int
pollers_start(struct kvr_engine *engine, struct kvr_error *error)
{
	uint32_t i;
	int ret;

	for (i = 0; i < engine->n_pollers; i++) {
		ret = kvr_poller_start(engine->pollers[i]);
		if (ret != 0) {
			pollers_stop(engine);
			return kvr_fail(error, ret, "lcore %u cannot be launched: %s",
					engine->pollers[i]->lcore, strerror(-ret));
		}
	}
	return 0;
}

int
kvr_engine_start(struct kvr_engine *engine, struct kvr_error *error)
{
	int ret;

	if (engine->running)
		return kvr_fail(error, -EALREADY, "the engine runs already");
	ret = pollers_start(engine, error);
	if (ret != 0)
		return ret;
	ret = kvr_telemetry_start(engine);
	if (ret != 0) {
		kvr_fail(error, ret, "telemetry cannot be started: %s", strerror(-ret));
		goto stop_pollers;
	}
	/* Last, since peers come in once it listens. */
	ret = kvr_control_start(engine, engine->listen, error);
	if (ret != 0)
		goto stop_telemetry;
	engine->running = true;
	return 0;

stop_telemetry:
	kvr_telemetry_stop(engine);
stop_pollers:
	pollers_stop(engine);
	return ret;
}

const char *
kvr_engine_address(const struct kvr_engine *engine)
{
	return engine->address;
}

/* Segments that are open, and clients. */
static bool
in_use(struct kvr_engine *engine)
{
	bool used;
	uint32_t i;

	pthread_mutex_lock(&engine->control_lock);
	used = engine->n_peers > 0;
	for (i = 0; i < KVR_MAX_CLIENTS; i++)
		used = used || engine->clients[i] != NULL;
	pthread_mutex_unlock(&engine->control_lock);
	return used;
}

int
kvr_engine_stop(struct kvr_engine *engine)
{
	if (!engine->running)
		return 0;
	if (in_use(engine))
		return -EBUSY;
	engine->running = false;
	kvr_control_stop(engine);
	kvr_telemetry_stop(engine);
	pollers_stop(engine);
	return 0;
}

void
kvr_engine_on_call(struct kvr_engine *engine, kvr_call_handler handler, void *ctx)
{
	engine->call_handler = handler;
	engine->call_ctx = ctx;
}

void
kvr_engine_on_gone(struct kvr_engine *engine, kvr_gone_handler handler, void *ctx)
{
	engine->gone_handler = handler;
	engine->gone_ctx = ctx;
}
