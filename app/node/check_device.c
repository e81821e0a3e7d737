/* SPDX-License-Identifier: BSD-3-Clause */
/* --check, of one device: where it sits, its port, and what PCI Express lets it do. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>

#include <rte_lcore.h>

#include "check.h"
#include "kvr_numa.h"

#define MAX_GIDS 256

/* PCI Express Base Specification, 7.5.1 and 7.5.3; 7.7.8 */
#define PCI_CAPABILITIES     0x34
#define PCI_CAP_EXPRESS	     0x10
#define PCI_EXPRESS_DEVCTL   8
#define PCI_DEVCTL_RELAXED   0x0010
#define PCI_EXTENDED	     0x100
#define PCI_ECAP_ACS	     0x000d
#define PCI_ACS_CONTROL	     6
#define PCI_ACS_REDIRECTS    0x000c /* P2P requests, and completions */
#define PCI_CONFIG_BYTES     4096
#define PCI_MAX_CAPABILITIES 48

/* "mlx5_0 numa": whose line it is. */
struct subject {
	char text[96];
};

static const char *
subject_of(struct subject *subject, const struct kvr_device *device, const char *what)
{
	snprintf(subject->text, sizeof(subject->text), "%s %s", device->name, what);
	return subject->text;
}

/* ---- where it sits ---- */

static void
check_numa(struct node_check *check, const struct kvr_device *device)
{
	struct subject subject;
	char cpus[256];
	unsigned int lcore, near = RTE_MAX_LCORE;

	subject_of(&subject, device, "numa");
	RTE_LCORE_FOREACH_WORKER (lcore)
		if (near == RTE_MAX_LCORE &&
		    kvr_numa_local((int)rte_lcore_to_socket_id(lcore), device->numa_node))
			near = lcore;
	if (device->numa_node < 0)
		node_check_say(check, NODE_OK, subject.text, "the platform does not say");
	else if (near != RTE_MAX_LCORE)
		node_check_say(check, NODE_OK, subject.text, "node %d, and lcore %u is there",
			       device->numa_node, near);
	else if (node_check_read(check, cpus, sizeof(cpus), "devices/system/node/node%d/cpulist",
				 device->numa_node))
		node_check_say(check, NODE_WARN, subject.text,
			       "node %d, where no worker lcore is: add one of its CPUs, %s, to -l",
			       device->numa_node, cpus);
	else
		node_check_say(check, NODE_WARN, subject.text,
			       "node %d, where no worker lcore is and no CPU: move the card to a "
			       "slot of a node that has CPUs",
			       device->numa_node);
}

/* ---- port ---- */

static void
check_link(struct node_check *check, const struct kvr_device *device)
{
	char speed[64] = "", width[16] = "", max_speed[64] = "", max_width[16] = "";
	struct subject subject;
	double pcie_gbps;

	node_check_read(check, speed, sizeof(speed), "bus/pci/devices/%s/current_link_speed",
			device->bdf);
	node_check_read(check, width, sizeof(width), "bus/pci/devices/%s/current_link_width",
			device->bdf);
	node_check_read(check, max_speed, sizeof(max_speed), "bus/pci/devices/%s/max_link_speed",
			device->bdf);
	node_check_read(check, max_width, sizeof(max_width), "bus/pci/devices/%s/max_link_width",
			device->bdf);
	/* 8 GT/s and more are coded 128b/130b. */
	pcie_gbps = strtod(speed, NULL) * strtod(width, NULL) * 128 / 130;
	subject_of(&subject, device, "link");
	if (speed[0] == '\0')
		node_check_say(check, NODE_OK, subject.text,
			       "%" PRIu64 " Gb/s; PCIe does not say its speed",
			       device->rate_bps / 1000000000);
	else if (strtod(speed, NULL) < strtod(max_speed, NULL) ||
		 strtol(width, NULL, 10) < strtol(max_width, NULL, 10))
		node_check_say(check, NODE_WARN, subject.text,
			       "the card has come up as %s x%s, and can %s x%s: seat it anew, or "
			       "in another slot (lspci -s %s -vv)",
			       speed, width, max_speed, max_width, device->bdf);
	else if (pcie_gbps * 1e9 < (double)device->rate_bps)
		node_check_say(check, NODE_WARN, subject.text,
			       "%" PRIu64 " Gb/s behind %.0f Gb/s (%s x%s): the slot is "
			       "the limit",
			       device->rate_bps / 1000000000, pcie_gbps, speed, width);
	else
		node_check_say(check, NODE_OK, subject.text,
			       "port %u, %" PRIu64 " Gb/s, behind %s x%s", device->port,
			       device->rate_bps / 1000000000, speed, width);
}

/* The Ethernet interface of the device; false: it shows none. */
static bool
find_interface(const struct node_check *check, const struct kvr_device *device, char *name,
	       size_t size)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	name[0] = '\0';
	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/net", check->sysfs, device->bdf);
	dir = opendir(path);
	while (dir != NULL && name[0] == '\0' && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			snprintf(name, size, "%s", entry->d_name);
	if (dir != NULL)
		closedir(dir);
	return name[0] != '\0';
}

static void
check_mtu(struct node_check *check, const struct kvr_device *device)
{
	struct subject subject;
	char interface[256];
	int mtu = 128 << device->mtu; /* IBV_MTU_256 is 1 */

	subject_of(&subject, device, "mtu");
	if (device->mtu == IBV_MTU_4096)
		node_check_say(check, NODE_OK, subject.text, "%d", mtu);
	else if (device->link_layer == IBV_LINK_LAYER_ETHERNET)
		node_check_say(
			check, NODE_WARN, subject.text,
			"%d of 4096: ip link set dev %s mtu 4200, at both ends and on the "
			"switches",
			mtu,
			find_interface(check, device, interface, sizeof(interface)) ? interface : "INTERFACE");
	else
		node_check_say(check, NODE_WARN, subject.text,
			       "%d of 4096: set it at the subnet manager", mtu);
}

static const char *
gid_type_text(uint32_t type)
{
	return type == IBV_GID_TYPE_ROCE_V2   ? "RoCE v2"
	       : type == IBV_GID_TYPE_ROCE_V1 ? "RoCE v1"
					      : "IB";
}

static void
check_gid(struct node_check *check, const struct kvr_device *device)
{
	struct ibv_gid_entry entries[MAX_GIDS];
	ssize_t n = ibv_query_gid_table(device->context, entries, MAX_GIDS, 0);
	enum node_check_level level = NODE_OK;
	char table[512] = "", address[INET6_ADDRSTRLEN];
	struct subject subject;
	size_t at = 0;

	for (ssize_t i = 0; i < n && at < sizeof(table); i++) {
		if (entries[i].port_num != device->port)
			continue;
		inet_ntop(AF_INET6, entries[i].gid.raw, address, sizeof(address));
		at += (size_t)snprintf(table + at, sizeof(table) - at, "%s%u %s %s",
				       at > 0 ? ", " : "", entries[i].gid_index, address,
				       gid_type_text(entries[i].gid_type));
		if (entries[i].gid_index == device->gid_idx &&
		    device->link_layer == IBV_LINK_LAYER_ETHERNET &&
		    entries[i].gid_type != IBV_GID_TYPE_ROCE_V2)
			level = NODE_WARN;
	}
	node_check_say(check, level, subject_of(&subject, device, "gid"), "%u (%s) of: %s%s",
		       device->gid_idx, device->gid_reason, table,
		       level == NODE_OK ? ""
					: "; no RoCE v2, so that it is not routed: give the "
					  "interface an IP address");
}

/* ---- PCI Express ---- */

struct config_space {
	uint8_t bytes[PCI_CONFIG_BYTES];
	size_t n; /* that may be read: 64 without CAP_SYS_ADMIN, 256 without extended space */
};

static uint32_t
config_read(const struct config_space *config, size_t at, size_t width)
{
	uint32_t value = 0;

	for (size_t i = 0; i < width && at + i < config->n; i++)
		value |= (uint32_t)config->bytes[at + i] << 8 * i;
	return value;
}

/* Of the PCI function whose directory it is. */
static bool
config_load(struct config_space *config, const char *dir)
{
	char path[PATH_MAX + 8];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/config", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, config->bytes, sizeof(config->bytes));
	close(fd);
	config->n = n > 0 ? (size_t)n : 0;
	return config->n >= 64;
}

/* Where a capability begins; 0: there is none, or it may not be read. */
static size_t
capability_find(const struct config_space *config, uint32_t id)
{
	size_t at = config_read(config, PCI_CAPABILITIES, 1);

	for (int i = 0; at != 0 && i < PCI_MAX_CAPABILITIES; i++) {
		if (config_read(config, at, 1) == id)
			return at;
		at = config_read(config, at + 1, 1);
	}
	return 0;
}

static size_t
extended_find(const struct config_space *config, uint32_t id)
{
	size_t at = PCI_EXTENDED;

	for (int i = 0; at != 0 && i < PCI_MAX_CAPABILITIES; i++) {
		uint32_t header = config_read(config, at, 4);

		if (header == 0)
			return 0;
		if ((header & 0xffff) == id)
			return at;
		at = header >> 20;
	}
	return 0;
}

/* Can memory be registered with it? Where DevCtl forbids it, MRs take the flag and have no use of
 * it. */
static int
register_relaxed(const struct kvr_device *device)
{
	static uint8_t page[4096] __attribute__((aligned(4096)));
	struct ibv_mr *mr = ibv_reg_mr(device->pd, page, sizeof(page),
				       IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_RELAXED_ORDERING);

	if (mr == NULL)
		return -errno;
	ibv_dereg_mr(mr);
	return 0;
}

static void
check_relaxed(struct node_check *check, const struct kvr_device *device)
{
	struct config_space config;
	struct subject subject;
	char dir[PATH_MAX];
	size_t at = 0;
	int err = register_relaxed(device);

	subject_of(&subject, device, "relaxed ordering");
	snprintf(dir, sizeof(dir), "%s/bus/pci/devices/%s", check->sysfs, device->bdf);
	if (config_load(&config, dir))
		at = capability_find(&config, PCI_CAP_EXPRESS);
	if (err != 0)
		node_check_say(check, NODE_WARN, subject.text,
			       "memory cannot be registered with it: %s: a kernel of 5.13 or later "
			       "does it",
			       strerror(-err));
	else if (at == 0)
		node_check_say(check, NODE_WARN, subject.text,
			       "%s/config tells nothing of PCI Express: run this as root", dir);
	else if ((config_read(&config, at + PCI_EXPRESS_DEVCTL, 2) & PCI_DEVCTL_RELAXED) == 0)
		node_check_say(check, NODE_WARN, subject.text,
			       "off in PCI DevCtl, so that memory registered with it has no use of "
			       "it: setpci -s %s CAP_EXP+8.w=0010:0010, and on in the BIOS",
			       device->bdf);
	else
		node_check_say(check, NODE_OK, subject.text, "on, of memory and in PCI DevCtl");
}

static void
check_iommu(struct node_check *check, const struct kvr_device *device)
{
	struct subject subject;
	char type[32];

	subject_of(&subject, device, "iommu");
	if (!node_check_read(check, type, sizeof(type), "bus/pci/devices/%s/iommu_group/type",
			     device->bdf))
		node_check_say(check, NODE_OK, subject.text, "none in the way");
	else if (strcmp(type, "identity") == 0)
		node_check_say(check, NODE_OK, subject.text, "passes addresses through");
	else
		node_check_say(check, NODE_WARN, subject.text,
			       "translates each access (%s): iommu=pt on the kernel's command line",
			       type);
}

/* Of the bridges above the device: those that send what goes from one device to another by way of
 * the root complex. Host memory does not mind, GPUs' does. */
static void
check_acs(struct node_check *check, const struct kvr_device *device)
{
	struct config_space config;
	struct subject subject;
	char path[PATH_MAX], dir[PATH_MAX], *slash;

	subject_of(&subject, device, "acs");
	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s", check->sysfs, device->bdf);
	if (realpath(path, dir) == NULL)
		dir[0] = '\0';
	while ((slash = strrchr(dir, '/')) != NULL) {
		size_t at;

		*slash = '\0';
		if (!config_load(&config, dir))
			break; /* the root, or one that hides it */
		at = extended_find(&config, PCI_ECAP_ACS);
		if (at == 0 ||
		    (config_read(&config, at + PCI_ACS_CONTROL, 2) & PCI_ACS_REDIRECTS) == 0)
			continue;
		slash = strrchr(dir, '/');
		node_check_say(check, NODE_WARN, subject.text,
			       "bridge %s redirects what devices send each other, such as GPU "
			       "memory: setpci -s %s ECAP_ACS+6.w=0000:000c",
			       slash + 1, slash + 1);
		return;
	}
	node_check_say(check, NODE_OK, subject.text, "no bridge above redirects");
}

void
node_check_device(struct node_check *check, const struct kvr_device *device)
{
	check_numa(check, device);
	check_link(check, device);
	check_mtu(check, device);
	check_gid(check, device);
	check_relaxed(check, device);
	check_iommu(check, device);
	check_acs(check, device);
}
