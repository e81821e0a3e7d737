/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A real directory tree: readdir, read, fstat and openat then work on it without our help.
 *
 *	sys/devices/pci5150:00/5150:00:01.0/5150:01:00.0/	PCI function of mlx5_0 (pci.c)
 *		infiniband/mlx5_0/...				the RDMA device
 *		infiniband_verbs/uverbs0/...			its character device
 *	sys/class/infiniband/mlx5_0		-> ../../devices/...
 *	sys/class/infiniband_verbs/uverbs0	-> ../../devices/...
 *	sys/bus/pci/devices/5150:01:00.0	-> ../../../devices/...
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pci.h"
#include "shared.h"
#include "sysfs.h"

static void
put_gids(struct sn_tree *tree, const char *port, unsigned int device)
{
	uint8_t gid[16];
	char text[64];

	for (unsigned int i = 0; i < SN_N_GIDS; i++) {
		int n = 0;

		sn_device_gid(tree->settings, i, gid);
		for (unsigned int k = 0; k < 16; k += 2)
			n += snprintf(text + n, sizeof(text) - (size_t)n, "%s%02x%02x",
				      k ? ":" : "", gid[k], gid[k + 1]);
		sn_tree_put(tree, text, "%s/gids/%u", port, i);
		sn_tree_put(tree, i & 1 ? "RoCE v2" : "IB/RoCE v1", "%s/gid_attrs/types/%u", port,
			    i);
		snprintf(text, sizeof(text), SN_NETDEV_PREFIX "%u", device);
		sn_tree_put(tree, text, "%s/gid_attrs/ndevs/%u", port, i);
	}
}

static void
put_port(struct sn_tree *tree, const char *ib, unsigned int device)
{
	static const struct {
		const char *file, *value;
	} attrs[] = {
		{"state", "4: ACTIVE"},
		{"phys_state", "5: LinkUp"},
		{"link_layer", "Ethernet"},
		{"lid", "0x0"},
		{"lid_mask_count", "0"},
		{"sm_lid", "0x0"},
		{"sm_sl", "0"},
		{"cap_mask", "0x04010000"},
		{"pkeys/0", "0xffff"},
		{"hw_counters/lifespan", "10"},
	};
	/* What nothing here counts. */
	static const char *const zeros[] = {
		"counters/VL15_dropped",
		"counters/excessive_buffer_overrun_errors",
		"counters/link_downed",
		"counters/link_error_recovery",
		"counters/local_link_integrity_errors",
		"counters/multicast_rcv_packets",
		"counters/multicast_xmit_packets",
		"counters/port_rcv_constraint_errors",
		"counters/port_rcv_errors",
		"counters/port_rcv_remote_physical_errors",
		"counters/port_rcv_switch_relay_errors",
		"counters/port_xmit_constraint_errors",
		"counters/port_xmit_discards",
		"counters/port_xmit_wait",
		"counters/symbol_error",
		"hw_counters/np_cnp_sent",
		"hw_counters/np_ecn_marked_roce_packets",
		"hw_counters/req_cqe_flush_error",
		"hw_counters/req_remote_invalid_request",
		"hw_counters/resp_cqe_flush_error",
		"hw_counters/resp_local_length_error",
		"hw_counters/roce_adp_retrans",
		"hw_counters/roce_adp_retrans_to",
		"hw_counters/roce_slow_restart",
		"hw_counters/roce_slow_restart_cnps",
		"hw_counters/roce_slow_restart_trans",
		"hw_counters/rp_cnp_handled",
		"hw_counters/rp_cnp_ignored",
	};
	char port[192];

	snprintf(port, sizeof(port), "%s/ports/1", ib);
	for (size_t i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++)
		sn_tree_put(tree, attrs[i].value, "%s/%s", port, attrs[i].file);
	for (size_t i = 0; i < sizeof(zeros) / sizeof(zeros[0]); i++)
		sn_tree_put(tree, "0", "%s/%s", port, zeros[i]);
	for (const struct sn_counter_file *c = sn_counter_files; c->file; c++)
		sn_tree_put(tree, "0", "%s/%s", port, c->file);
	sn_tree_put(tree, sn_device_link_speed(tree->settings)->rate, "%s/rate", port);
	put_gids(tree, port, device);
}

static void
put_rdma_device(struct sn_tree *tree, unsigned int device)
{
	uint64_t guid = tree->settings->guid;
	char ib[160], text[64];

	snprintf(ib, sizeof(ib), "%s/infiniband/mlx5_%u", tree->fn, device);
	sn_tree_put(tree, "1: CA", "%s/node_type", ib);
	snprintf(text, sizeof(text), "%04x:%04x:%04x:%04x", (unsigned int)(guid >> 48),
		 (unsigned int)(guid >> 32) & 0xffff, (unsigned int)(guid >> 16) & 0xffff,
		 (unsigned int)guid & 0xffff);
	sn_tree_put(tree, text, "%s/node_guid", ib);
	sn_tree_put(tree, text, "%s/sys_image_guid", ib);
	snprintf(text, sizeof(text), "softnic mlx5_%u", device);
	sn_tree_put(tree, text, "%s/node_desc", ib);
	sn_tree_put(tree, SN_FW_VERSION, "%s/fw_ver", ib);
	sn_tree_put(tree, "MT4129", "%s/hca_type", ib);
	sn_tree_put(tree, "SOFTNIC0000001", "%s/board_id", ib);
	sn_tree_put(tree, "0", "%s/hw_rev", ib);
	sn_tree_put_link(tree, "../..", "%s/device", ib);
	put_port(tree, ib, device);
}

static void
put_uverbs(struct sn_tree *tree, unsigned int device)
{
	char uverbs[160], text[32];

	snprintf(uverbs, sizeof(uverbs), "%s/infiniband_verbs/uverbs%u", tree->fn, device);
	snprintf(text, sizeof(text), "mlx5_%u", device);
	sn_tree_put(tree, text, "%s/ibdev", uverbs);
	snprintf(text, sizeof(text), "%u:%u", SN_UVERBS_MAJOR, SN_UVERBS_MINOR + device);
	sn_tree_put(tree, text, "%s/dev", uverbs);
	sn_tree_put(tree, "1", "%s/abi_version", uverbs);
	sn_tree_put_link(tree, "../..", "%s/device", uverbs);
}

static void
put_class_links(struct sn_tree *tree, unsigned int device)
{
	char target[192];

	snprintf(target, sizeof(target), "../../%s/infiniband/mlx5_%u", tree->fn, device);
	sn_tree_put_link(tree, target, "class/infiniband/mlx5_%u", device);
	snprintf(target, sizeof(target), "../../%s/infiniband_verbs/uverbs%u", tree->fn, device);
	sn_tree_put_link(tree, target, "class/infiniband_verbs/uverbs%u", device);
}

int
sn_sysfs_build(const char *dir, const struct sn_fabric *fabric)
{
	char sys[128];
	struct sn_tree tree = {.sys = sys};
	char text[32];

	snprintf(sys, sizeof(sys), "%s/sys", dir);
	if (mkdir(sys, 0755) && errno != EEXIST)
		return -errno;
	sn_tree_put(&tree, "6", "class/infiniband_verbs/abi_version");
	if (sn_sysfs_has_cm(fabric)) {
		sn_tree_put(&tree, "4", "class/misc/rdma_cm/abi_version");
		snprintf(text, sizeof(text), "%u:%u", SN_CM_MAJOR, SN_CM_MINOR);
		sn_tree_put(&tree, text, "class/misc/rdma_cm/dev");
	}
	sn_pci_put_others(&tree);
	/* Last device first: tmpfs lists the newest entry first, and mlx5_0 should be it. */
	for (unsigned int device = fabric->n_devices; device-- > 0;) {
		tree.settings = &fabric->device[device];
		sn_pci_path(tree.fn, sizeof(tree.fn), device);
		sn_pci_put(&tree, device);
		put_rdma_device(&tree, device);
		put_uverbs(&tree, device);
		put_class_links(&tree, device);
	}
	return tree.err;
}

bool
sn_sysfs_has_cm(const struct sn_fabric *fabric)
{
	return fabric->wire == SN_WIRE_LOCAL;
}

bool
sn_sysfs_owns(const char *path)
{
	static const char *const prefixes[] = {
		"/sys/class/infiniband/",
		"/sys/class/infiniband_verbs/",
		"/sys/class/misc/rdma_cm/",
		"/sys/devices/" SN_PCI_ROOT "/",
		"/sys/bus/pci/devices/" SN_PCI_DOMAIN ":",
		"/sys/bus/pci/drivers/mlx5_core/",
	};

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		size_t len = strlen(prefixes[i]);

		if (strncmp(path, prefixes[i], len) == 0)
			return true;
		/* The directory itself may come without its slash. */
		if (prefixes[i][len - 1] == '/' && strncmp(path, prefixes[i], len - 1) == 0 &&
		    path[len - 1] == '\0')
			return true;
	}
	/* The list of all functions, not what is below it. */
	return strcmp(path, "/sys/bus/pci/devices") == 0 ||
	       strcmp(path, "/sys/bus/pci/devices/") == 0;
}

void
sn_sysfs_set_link(const char *dir, unsigned int device, bool is_up)
{
	char sys[128];
	struct sn_tree tree = {.sys = sys};

	snprintf(sys, sizeof(sys), "%s/sys", dir);
	sn_pci_path(tree.fn, sizeof(tree.fn), device);
	sn_tree_put(&tree, is_up ? "4: ACTIVE" : "1: DOWN", "%s/infiniband/mlx5_%u/ports/1/state",
		    tree.fn, device);
	sn_tree_put(&tree, is_up ? "5: LinkUp" : "3: Disabled",
		    "%s/infiniband/mlx5_%u/ports/1/phys_state", tree.fn, device);
}

/* Values only grow, so writing over the old text never leaves a tail of it. */
void
sn_sysfs_refresh(const char *dir, struct sn_shm *shm, unsigned int device)
{
	char fn[96], path[320], text[32];

	sn_pci_path(fn, sizeof(fn), device);
	for (const struct sn_counter_file *c = sn_counter_files; c->file; c++) {
		uint64_t value = atomic_load(&shm->device[device].counter[c->counter]);
		int fd, n = snprintf(text, sizeof(text), "%llu\n",
				     (unsigned long long)(value / c->unit_bytes));

		if (!value)
			continue;
		snprintf(path, sizeof(path), "%s/sys/%s/infiniband/mlx5_%u/ports/1/%s", dir, fn,
			 device, c->file);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0)
			return;
		if (pwrite(fd, text, (size_t)n, 0) != n)
			SN_LOG("cannot write %s: %s", path, strerror(errno));
		close(fd);
	}
}

int
sn_sysfs_counter_device(const char *path)
{
	const char *name = strstr(path, "/mlx5_");
	char *end;

	if (!name || !strstr(path, "counters/"))
		return -1;
	unsigned long device = strtoul(name + strlen("/mlx5_"), &end, 10);
	return *end == '/' && device < SN_MAX_DEVICES ? (int)device : -1;
}
