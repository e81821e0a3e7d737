/* SPDX-License-Identifier: BSD-3-Clause */
/* --check, of the machine: memory that may be locked, hugepages, and the lcores' CPUs. */
#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <rte_lcore.h>

#include "check.h"
#include "node.h"
#include "size.h"

#define PAGE_2M	  ((uint64_t)2 << 20)
#define EAL_BYTES ((uint64_t)64 << 20) /* its heap: rings, clients, pollers */

/* ---- memory ---- */

static bool
has_ipc_lock(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	uint64_t effective = 0;
	char line[256];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "CapEff: %" SCNx64, &effective) == 1)
			break;
	if (file != NULL)
		fclose(file);
	return (effective & (1ull << CAP_IPC_LOCK)) != 0;
}

/* Registered memory counts against RLIMIT_MEMLOCK, unless the process has CAP_IPC_LOCK. */
static void
check_memlock(struct node_check *check)
{
	static const char remedy[] = "ulimit -l unlimited, LimitMEMLOCK=infinity in a unit";
	uint64_t need = node_options_pool_bytes(check->options) + EAL_BYTES;
	char need_text[32], have_text[32];
	struct rlimit limit;

	getrlimit(RLIMIT_MEMLOCK, &limit);
	app_size_text(need, need_text, sizeof(need_text));
	app_size_text(limit.rlim_cur, have_text, sizeof(have_text));
	if (limit.rlim_cur == RLIM_INFINITY)
		node_check_say(check, NODE_OK, "memlock", "unlimited");
	else if (limit.rlim_cur >= need)
		node_check_say(check, NODE_OK, "memlock", "%s, of which %s are needed", have_text,
			       need_text);
	else if (has_ipc_lock())
		node_check_say(check, NODE_WARN, "memlock",
			       "the limit is %s, %s are needed: this user may exceed it "
			       "(CAP_IPC_LOCK), others may not: %s",
			       have_text, need_text, remedy);
	else
		node_check_say(check, NODE_FAIL, "memlock", "the limit is %s, %s are needed: %s",
			       have_text, need_text, remedy);
}

/* Adds up a node's free pages, and says how many there are of each size. */
static uint64_t
free_hugepages(const struct node_check *check, int node, char *text, size_t size)
{
	uint64_t bytes = 0;
	char path[PATH_MAX];
	struct dirent *entry;
	size_t at = 0;
	DIR *dir;

	text[0] = '\0';
	snprintf(path, sizeof(path), "%s/devices/system/node/node%d/hugepages", check->sysfs, node);
	dir = opendir(path);
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		char all[32] = "0", unused[32] = "0", page[32];
		unsigned long kib;

		if (sscanf(entry->d_name, "hugepages-%lukB", &kib) != 1)
			continue;
		node_check_read(check, all, sizeof(all),
				"devices/system/node/node%d/hugepages/%s/nr_hugepages", node,
				entry->d_name);
		node_check_read(check, unused, sizeof(unused),
				"devices/system/node/node%d/hugepages/%s/free_hugepages", node,
				entry->d_name);
		bytes += strtoull(unused, NULL, 10) * ((uint64_t)kib << 10);
		if (at < size)
			at += (size_t)snprintf(
				text + at, size - at, "%s%s of %s free of %s", at > 0 ? ", " : "",
				unused, all,
				app_size_text((uint64_t)kib << 10, page, sizeof(page)));
	}
	if (dir != NULL)
		closedir(dir);
	return bytes;
}

static void
check_hugepages_of(struct node_check *check, int node, uint64_t need)
{
	char subject[32], have_text[256], need_text[32], total[32] = "0";
	uint64_t have = free_hugepages(check, node, have_text, sizeof(have_text));

	snprintf(subject, sizeof(subject), "hugepages node%d", node);
	need = (need + PAGE_2M - 1) / PAGE_2M * PAGE_2M;
	app_size_text(need, need_text, sizeof(need_text));
	if (have >= need) {
		node_check_say(check, NODE_OK, subject, "%s; %s needed", have_text, need_text);
		return;
	}
	node_check_read(check, total, sizeof(total),
			"devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages", node);
	node_check_say(check, NODE_FAIL, subject,
		       "%s; %s needed: echo %" PRIu64 " > /sys/devices/system/node/node%d/"
		       "hugepages/hugepages-2048kB/nr_hugepages",
		       have_text[0] != '\0' ? have_text : "none", need_text,
		       (uint64_t)strtoull(total, NULL, 10) + (need - have) / PAGE_2M, node);
}

static void
check_hugepages(struct node_check *check)
{
	struct node_pool_size plan[KVR_MAX_POOLS];
	int nodes[KVR_MAX_DEVICES];
	int main_node = (int)rte_lcore_to_socket_id(rte_get_main_lcore());
	bool main_seen = false;
	uint32_t n;

	for (uint32_t i = 0; i < check->n_devices; i++)
		nodes[i] = check->devices[i].numa_node;
	n = node_pools_plan(check->options, nodes, check->n_devices, plan);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t need = plan[i].bytes;

		if (plan[i].numa_node == main_node) {
			need += EAL_BYTES;
			main_seen = true;
		}
		check_hugepages_of(check, plan[i].numa_node, need);
	}
	if (!main_seen)
		check_hugepages_of(check, main_node, EAL_BYTES);
}

/* ---- CPUs ---- */

/* Of every worker lcore. */
static void
worker_cpus(cpu_set_t *cpus)
{
	unsigned int lcore;

	CPU_ZERO(cpus);
	RTE_LCORE_FOREACH_WORKER (lcore) {
		cpu_set_t own = rte_lcore_cpuset(lcore);

		CPU_OR(cpus, cpus, &own);
	}
}

/* "1,3-5", as sysfs writes it, to a set. */
static void
list_parse(const char *text, cpu_set_t *cpus)
{
	char *end;

	CPU_ZERO(cpus);
	for (; *text >= '0' && *text <= '9'; text = *end == ',' ? end + 1 : end) {
		unsigned long first = strtoul(text, &end, 10), last = first;

		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (; first <= last && first < CPU_SETSIZE; first++)
			CPU_SET(first, cpus);
	}
}

static const char *
list_text(const cpu_set_t *cpus, char *text, size_t size)
{
	size_t at = 0;

	text[0] = '\0';
	for (unsigned int cpu = 0; cpu < CPU_SETSIZE && at < size; cpu++)
		if (CPU_ISSET(cpu, cpus))
			at += (size_t)snprintf(text + at, size - at, "%s%u", at > 0 ? "," : "",
					       cpu);
	return text;
}

static void
check_lcores(struct node_check *check)
{
	char text[256];
	cpu_set_t cpus;

	worker_cpus(&cpus);
	if (rte_lcore_count() < 2)
		node_check_say(check, NODE_FAIL, "lcores",
			       "one, which is control: give at least two, such as -l 0,1");
	else
		node_check_say(check, NODE_OK, "lcores", "control on lcore %u, pollers on CPUs %s",
			       rte_get_main_lcore(), list_text(&cpus, text, sizeof(text)));
}

static void
check_isolation(struct node_check *check)
{
	char isolated_text[1024], text[256];
	cpu_set_t cpus, isolated, both;

	worker_cpus(&cpus);
	node_check_read(check, isolated_text, sizeof(isolated_text), "devices/system/cpu/isolated");
	list_parse(isolated_text, &isolated);
	CPU_AND(&both, &cpus, &isolated);
	if (CPU_EQUAL(&both, &cpus)) {
		node_check_say(check, NODE_OK, "isolation", "pollers' CPUs run nothing else");
		return;
	}
	CPU_XOR(&cpus, &cpus, &both);
	list_text(&cpus, text, sizeof(text));
	node_check_say(check, NODE_WARN, "isolation",
		       "pollers' CPUs %s run other work too: isolcpus=%s nohz_full=%s on the "
		       "kernel's command line",
		       text, text, text);
}

static void
check_governor(struct node_check *check)
{
	char governor[64], other[64] = "", text[256];
	cpu_set_t cpus, slow;
	bool known = false;

	worker_cpus(&cpus);
	CPU_ZERO(&slow);
	for (unsigned int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &cpus) ||
		    !node_check_read(check, governor, sizeof(governor),
				     "devices/system/cpu/cpu%u/cpufreq/scaling_governor", cpu))
			continue;
		known = true;
		if (strcmp(governor, "performance") != 0) {
			CPU_SET(cpu, &slow);
			memcpy(other, governor, sizeof(other));
		}
	}
	if (!known)
		node_check_say(check, NODE_OK, "governor", "the kernel does not scale frequencies");
	else if (CPU_COUNT(&slow) == 0)
		node_check_say(check, NODE_OK, "governor", "performance");
	else
		node_check_say(check, NODE_WARN, "governor",
			       "%s on CPUs %s: cpupower -c %s frequency-set -g performance", other,
			       list_text(&slow, text, sizeof(text)), text);
}

void
node_check_host(struct node_check *check)
{
	check_lcores(check);
	check_isolation(check);
	check_governor(check);
	check_memlock(check);
	check_hugepages(check);
}
