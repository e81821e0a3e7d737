/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A real directory tree: readdir, read, fstat and openat then work on it without our help.
 *
 *	sys/devices/pci5150:00/5150:00:01.0/5150:01:00.0/	PCI function of mlx5_0
 *		infiniband/mlx5_0/...				the RDMA device
 *		infiniband_verbs/uverbs0/...			its character device
 *	sys/class/infiniband/mlx5_0		-> ../../devices/...
 *	sys/class/infiniband_verbs/uverbs0	-> ../../devices/...
 *	sys/bus/pci/devices/5150:01:00.0	-> ../../../devices/...
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared.h"
#include "sysfs.h"

#define BUS_ROOT "pci" SN_PCI_DOMAIN ":00"

struct tree {
	const char *sys;			   /* .../sys */
	const struct sn_device_settings *settings; /* of the device being written */
	char fn[96]; /* devices/.../<BDF> of the device being written */
	int err;     /* first error; later calls do nothing */
};

static void
make_parents(struct tree *tree, char *path)
{
	for (char *s = path + strlen(tree->sys); (s = strchr(s, '/')); s++) {
		*s = '\0';
		if (mkdir(path, 0755) && errno != EEXIST)
			tree->err = -errno;
		*s = '/';
	}
}

/* Write @value and a newline to the file named by the format, below the tree's root. */
static void __attribute__((format(printf, 3, 4)))
put(struct tree *tree, const char *value, const char *fmt, ...)
{
	char path[512];
	va_list args;
	int fd, n = snprintf(path, sizeof(path), "%s/", tree->sys);

	if (tree->err)
		return;
	va_start(args, fmt);
	vsnprintf(path + n, sizeof(path) - (size_t)n, fmt, args);
	va_end(args);
	make_parents(tree, path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || dprintf(fd, "%s\n", value) < 0)
		tree->err = -errno;
	if (fd >= 0)
		close(fd);
}

/* A link at the place named by the format. */
static void __attribute__((format(printf, 3, 4)))
put_link(struct tree *tree, const char *target, const char *fmt, ...)
{
	char path[512];
	va_list args;
	int n = snprintf(path, sizeof(path), "%s/", tree->sys);

	if (tree->err)
		return;
	va_start(args, fmt);
	vsnprintf(path + n, sizeof(path) - (size_t)n, fmt, args);
	va_end(args);
	make_parents(tree, path);
	if (symlink(target, path) && errno != EEXIST)
		tree->err = -errno;
}

/* The file of a node of this machine, without its newline; false if there is no such node. */
static bool
read_node(int node, const char *file, char *text, size_t bytes)
{
	char path[96];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/%s", node, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, bytes - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return text[0];
}

/* A node that this machine lacks is shown all the same; every CPU is local to it, as to none. */
static void
put_locality(struct tree *tree)
{
	int node = tree->settings->numa_node;
	char text[1024];

	snprintf(text, sizeof(text), "%d", node);
	put(tree, text, "%s/numa_node", tree->fn);
	long n_cpus = SN_MIN(sysconf(_SC_NPROCESSORS_CONF), 64);
	if (!read_node(node, "cpulist", text, sizeof(text)))
		snprintf(text, sizeof(text), "0-%ld", n_cpus - 1);
	put(tree, text, "%s/local_cpulist", tree->fn);
	if (!read_node(node, "cpumap", text, sizeof(text)))
		snprintf(text, sizeof(text), "%lx", n_cpus < 64 ? (1ul << n_cpus) - 1 : ~0ul);
	put(tree, text, "%s/local_cpus", tree->fn);
}

static void
set_le16(uint8_t *config, uint16_t value)
{
	config[0] = (uint8_t)value;
	config[1] = (uint8_t)(value >> 8);
}

/* The first 256 bytes of the configuration space: the header, and the PCI Express capability at
 * 0x60 (PCI Express Base Specification, 7.5.1 and 7.5.3), whose device control tells whether the
 * function may use relaxed ordering. */
static void
put_config(struct tree *tree)
{
	const uint16_t link = 0x105; /* 32 GT/s, x16 */
	uint8_t config[256] = {0};
	char path[512];
	int fd;

	set_le16(config + 0x00, 0x15b3);
	set_le16(config + 0x02, 0x1021);
	set_le16(config + 0x04, 0x0406); /* memory space, bus master, no INTx */
	set_le16(config + 0x06, 0x0010); /* has capabilities */
	set_le16(config + 0x0a, 0x0207);
	set_le16(config + 0x2c, 0x15b3);
	set_le16(config + 0x2e, 0x0023);
	config[0x34] = 0x60;
	config[0x60] = 0x10;
	set_le16(config + 0x62, 0x0002); /* version 2, an endpoint */
	/* payloads of 256, extended tags, no-snoop, reads of 512; relaxed ordering is bit 4 */
	set_le16(config + 0x68, tree->settings->relaxed_ordering ? 0x2930 : 0x2920);
	set_le16(config + 0x6c, link);
	set_le16(config + 0x72, link);
	if (tree->err)
		return;
	snprintf(path, sizeof(path), "%s/%s/config", tree->sys, tree->fn);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, config, sizeof(config)) != sizeof(config))
		tree->err = fd < 0 ? -errno : -EIO;
	if (fd >= 0)
		close(fd);
}

static void
put_pci_function(struct tree *tree, unsigned int device)
{
	static const struct {
		const char *file, *value;
	} attrs[] = {
		{"vendor", "0x15b3"},
		{"device", "0x1021"}, /* ConnectX-7 */
		{"subsystem_vendor", "0x15b3"},
		{"subsystem_device", "0x0023"},
		{"revision", "0x00"},
		{"class", "0x020700"},
		{"modalias", "pci:v000015B3d00001021sv000015B3sd00000023bc02sc07i00"},
		{"current_link_speed", "32.0 GT/s PCIe"},
		{"current_link_width", "16"},
		{"max_link_speed", "32.0 GT/s PCIe"},
		{"max_link_width", "16"},
		{"enable", "1"},
	};
	char text[128];

	for (size_t i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++)
		put(tree, attrs[i].value, "%s/%s", tree->fn, attrs[i].file);
	put_locality(tree);
	put_config(tree);
	snprintf(text, sizeof(text),
		 "DRIVER=mlx5_core\nPCI_ID=15B3:1021\nPCI_SLOT_NAME=" SN_PCI_DOMAIN ":%02x:00.0",
		 device + 1);
	put(tree, text, "%s/uevent", tree->fn);
}

static void
put_gids(struct tree *tree, const char *port)
{
	uint8_t gid[16];
	char text[64];

	for (unsigned int i = 0; i < SN_N_GIDS; i++) {
		int n = 0;

		sn_device_gid(tree->settings, i, gid);
		for (unsigned int k = 0; k < 16; k += 2)
			n += snprintf(text + n, sizeof(text) - (size_t)n, "%s%02x%02x",
				      k ? ":" : "", gid[k], gid[k + 1]);
		put(tree, text, "%s/gids/%u", port, i);
		put(tree, i & 1 ? "RoCE v2" : "IB/RoCE v1", "%s/gid_attrs/types/%u", port, i);
	}
}

static void
put_port(struct tree *tree, const char *ib)
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
		{"counters/port_rcv_errors", "0"},
		{"counters/port_xmit_discards", "0"},
		{"counters/port_xmit_wait", "0"},
		{"counters/symbol_error", "0"},
		{"counters/link_downed", "0"},
		{"counters/link_error_recovery", "0"},
		{"hw_counters/lifespan", "10"},
		{"hw_counters/np_cnp_sent", "0"},
		{"hw_counters/rp_cnp_handled", "0"},
	};
	char port[192];

	snprintf(port, sizeof(port), "%s/ports/1", ib);
	for (size_t i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++)
		put(tree, attrs[i].value, "%s/%s", port, attrs[i].file);
	for (const struct sn_counter_file *c = sn_counter_files; c->file; c++)
		put(tree, "0", "%s/%s", port, c->file);
	put(tree, sn_device_link_speed(tree->settings)->rate, "%s/rate", port);
	put_gids(tree, port);
}

static void
put_rdma_device(struct tree *tree, unsigned int device)
{
	uint64_t guid = tree->settings->guid;
	char ib[160], text[64];

	snprintf(ib, sizeof(ib), "%s/infiniband/mlx5_%u", tree->fn, device);
	put(tree, "1: CA", "%s/node_type", ib);
	snprintf(text, sizeof(text), "%04x:%04x:%04x:%04x", (unsigned int)(guid >> 48),
		 (unsigned int)(guid >> 32) & 0xffff, (unsigned int)(guid >> 16) & 0xffff,
		 (unsigned int)guid & 0xffff);
	put(tree, text, "%s/node_guid", ib);
	put(tree, text, "%s/sys_image_guid", ib);
	snprintf(text, sizeof(text), "softnic mlx5_%u", device);
	put(tree, text, "%s/node_desc", ib);
	put(tree, SN_FW_VERSION, "%s/fw_ver", ib);
	put(tree, "MT4129", "%s/hca_type", ib);
	put(tree, "SOFTNIC0000001", "%s/board_id", ib);
	put(tree, "0", "%s/hw_rev", ib);
	put_link(tree, "../..", "%s/device", ib);
	put_port(tree, ib);
}

static void
put_uverbs(struct tree *tree, unsigned int device)
{
	char uverbs[160], text[32];

	snprintf(uverbs, sizeof(uverbs), "%s/infiniband_verbs/uverbs%u", tree->fn, device);
	snprintf(text, sizeof(text), "mlx5_%u", device);
	put(tree, text, "%s/ibdev", uverbs);
	snprintf(text, sizeof(text), "%u:%u", SN_UVERBS_MAJOR, SN_UVERBS_MINOR + device);
	put(tree, text, "%s/dev", uverbs);
	put(tree, "1", "%s/abi_version", uverbs);
	put_link(tree, "../..", "%s/device", uverbs);
}

static void
put_class_links(struct tree *tree, unsigned int device)
{
	char target[192];

	snprintf(target, sizeof(target), "../../%s/infiniband/mlx5_%u", tree->fn, device);
	put_link(tree, target, "class/infiniband/mlx5_%u", device);
	snprintf(target, sizeof(target), "../../%s/infiniband_verbs/uverbs%u", tree->fn, device);
	put_link(tree, target, "class/infiniband_verbs/uverbs%u", device);
	snprintf(target, sizeof(target), "../../../%s", tree->fn);
	put_link(tree, target, "bus/pci/devices/" SN_PCI_DOMAIN ":%02x:00.0", device + 1);
}

static void
set_function_path(char *path, size_t bytes, unsigned int device)
{
	snprintf(path, bytes,
		 "devices/" BUS_ROOT "/" SN_PCI_DOMAIN ":00:%02x.0/" SN_PCI_DOMAIN ":%02x:00.0",
		 device + 1, device + 1);
}

int
sn_sysfs_build(const char *dir, const struct sn_fabric *fabric)
{
	char sys[128];
	struct tree tree = {.sys = sys};
	char text[32];

	snprintf(sys, sizeof(sys), "%s/sys", dir);
	if (mkdir(sys, 0755) && errno != EEXIST)
		return -errno;
	put(&tree, "6", "class/infiniband_verbs/abi_version");
	if (sn_sysfs_has_cm(fabric)) {
		put(&tree, "4", "class/misc/rdma_cm/abi_version");
		snprintf(text, sizeof(text), "%u:%u", SN_CM_MAJOR, SN_CM_MINOR);
		put(&tree, text, "class/misc/rdma_cm/dev");
	}
	/* Last device first: tmpfs lists the newest entry first, and mlx5_0 should be it. */
	for (unsigned int device = fabric->n_devices; device-- > 0;) {
		tree.settings = &fabric->device[device];
		set_function_path(tree.fn, sizeof(tree.fn), device);
		put_pci_function(&tree, device);
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
		"/sys/devices/" BUS_ROOT "/",
		"/sys/bus/pci/devices/" SN_PCI_DOMAIN ":",
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
	return false;
}

void
sn_sysfs_set_link(const char *dir, unsigned int device, bool is_up)
{
	char sys[128];
	struct tree tree = {.sys = sys};

	snprintf(sys, sizeof(sys), "%s/sys", dir);
	set_function_path(tree.fn, sizeof(tree.fn), device);
	put(&tree, is_up ? "4: ACTIVE" : "1: DOWN", "%s/infiniband/mlx5_%u/ports/1/state", tree.fn,
	    device);
	put(&tree, is_up ? "5: LinkUp" : "3: Disabled", "%s/infiniband/mlx5_%u/ports/1/phys_state",
	    tree.fn, device);
}

/* Values only grow, so writing over the old text never leaves a tail of it. */
void
sn_sysfs_refresh(const char *dir, struct sn_shm *shm, unsigned int device)
{
	char fn[96], path[320], text[32];

	set_function_path(fn, sizeof(fn), device);
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
