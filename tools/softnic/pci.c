/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pci.h"
#include "softnic.h"

#define CONFIG_BYTES 4096 /* with the extended space, which has no capabilities */
#define BAR_BYTES    (32u << 20)

struct identity {
	uint32_t class_code;
	uint16_t vendor, device, subsystem_vendor, subsystem_device;
	const char *driver;
};

static const struct identity connectx7 = {0x020000, 0x15b3, 0x1021, 0x15b3, 0x0023, "mlx5_core"};
static const struct identity bridge = {0x060400, 0x8086, 0x347a, 0x8086, 0x0000, "pcieport"};

void
sn_pci_path(char *path, size_t bytes, unsigned int device)
{
	snprintf(path, bytes,
		 "devices/" SN_PCI_ROOT "/" SN_PCI_DOMAIN ":00:%02x.0/" SN_PCI_DOMAIN ":%02x:00.0",
		 device + 1, device + 1);
}

/* ---- configuration space ---- */

static void
put16(uint8_t *config, unsigned int at, unsigned int value)
{
	const uint16_t le = htole16((uint16_t)value);

	memcpy(config + at, &le, sizeof(le));
}

static void
put32(uint8_t *config, unsigned int at, uint32_t value)
{
	const uint32_t le = htole32(value);

	memcpy(config + at, &le, sizeof(le));
}

/* The PCI Express capability: PCIe base specification, 7.5.3. */
static void
put_express(uint8_t *config, unsigned int at, unsigned int next, bool relaxed_ordering)
{
	const unsigned int speed_32gt = 5, x16 = 16 << 4;

	config[at] = 0x10;
	config[at + 1] = (uint8_t)next;
	put16(config, at + 0x02, 0x0002);     /* version 2, an endpoint */
	put32(config, at + 0x04, 0x10008022); /* MaxPayload 512, ExtTag, FLR */
	/* DevCtl: error reports, MaxPayload 256, ExtTag, NoSnoop, MaxReadReq 4096; bit 4 enables
	 * relaxed ordering. */
	put16(config, at + 0x08, 0x592f | (relaxed_ordering ? 0x10u : 0));
	put32(config, at + 0x0c, x16 | speed_32gt);	     /* LnkCap */
	put16(config, at + 0x10, 0x0040);		     /* LnkCtl: common clock */
	put16(config, at + 0x12, 0x1000 | x16 | speed_32gt); /* LnkSta: slot clock */
	put32(config, at + 0x24, 0x0000001f);		     /* DevCap2: completion timeouts */
	put32(config, at + 0x2c, 0x0000003e);		     /* LnkCap2: 2.5 to 32 GT/s */
	put16(config, at + 0x30, speed_32gt);		     /* LnkCtl2: the target */
}

static void
put_config(struct sn_tree *tree, unsigned int device)
{
	uint8_t config[CONFIG_BYTES] = {0};

	put16(config, 0x00, 0x15b3);
	put16(config, 0x02, 0x1021);
	put16(config, 0x04, 0x0406);			     /* memory, bus master, no INTx */
	put16(config, 0x06, 0x0010);			     /* has capabilities */
	config[0x0b] = 0x02;				     /* network controller, Ethernet */
	config[0x0c] = 16;				     /* a cache line, in words */
	put32(config, 0x10, (device + 1) * BAR_BYTES | 0xc); /* 64 bits, prefetchable */
	put32(config, 0x14, 0x2000);
	put16(config, 0x2c, 0x15b3);
	put16(config, 0x2e, 0x0023);
	config[0x34] = 0x60;
	put_express(config, 0x60, 0x9c, tree->settings->relaxed_ordering);
	put16(config, 0x9c, 0x4011); /* MSI-X, 64 vectors, enabled */
	put16(config, 0x9e, 0x803f);
	put32(config, 0xa0, 0x2000);
	put32(config, 0xa4, 0x3000);
	put16(config, 0x40, 0x0001); /* power management: D0 */
	put16(config, 0x42, 0x0003);
	put16(config, 0x44, 0x0008);
	sn_tree_put_bytes(tree, config, sizeof(config), "%s/config", tree->fn);
}

static void
put_bridge_config(struct sn_tree *tree, const char *path, unsigned int device)
{
	uint8_t config[CONFIG_BYTES] = {0};

	put16(config, 0x00, 0x8086);
	put16(config, 0x02, 0x347a);
	put16(config, 0x04, 0x0406);
	config[0x0a] = 0x04; /* bridge, PCI to PCI */
	config[0x0b] = 0x06;
	config[0x0e] = 0x01;
	config[0x19] = config[0x1a] = (uint8_t)(device + 1); /* the bus behind it */
	sn_tree_put_bytes(tree, config, sizeof(config), "%s/config", path);
}

/* ---- attributes ---- */

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
put_locality(struct sn_tree *tree, const char *path)
{
	int node = tree->settings->numa_node;
	char text[1000];

	snprintf(text, sizeof(text), "%d", node);
	sn_tree_put(tree, text, "%s/numa_node", path);
	long n_cpus = SN_MIN(sysconf(_SC_NPROCESSORS_CONF), 64);
	if (!read_node(node, "cpulist", text, sizeof(text)))
		snprintf(text, sizeof(text), "0-%ld", n_cpus - 1);
	sn_tree_put(tree, text, "%s/local_cpulist", path);
	if (!read_node(node, "cpumap", text, sizeof(text)))
		snprintf(text, sizeof(text), "%lx", n_cpus < 64 ? (1ul << n_cpus) - 1 : ~0ul);
	sn_tree_put(tree, text, "%s/local_cpus", path);
}

static void
put_identity(struct sn_tree *tree, const char *path, const struct identity *id)
{
	const struct {
		const char *file;
		uint16_t value;
	} attrs[] = {
		{"vendor", id->vendor},
		{"device", id->device},
		{"subsystem_vendor", id->subsystem_vendor},
		{"subsystem_device", id->subsystem_device},
	};
	char text[256];

	for (size_t i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++) {
		snprintf(text, sizeof(text), "0x%04x", attrs[i].value);
		sn_tree_put(tree, text, "%s/%s", path, attrs[i].file);
	}
	snprintf(text, sizeof(text), "0x%06x", id->class_code);
	sn_tree_put(tree, text, "%s/class", path);
	/* libibverbs finds its driver by this. */
	snprintf(text, sizeof(text), "pci:v%08Xd%08Xsv%08Xsd%08Xbc%02Xsc%02Xi%02X", id->vendor,
		 id->device, id->subsystem_vendor, id->subsystem_device, id->class_code >> 16,
		 id->class_code >> 8 & 0xff, id->class_code & 0xff);
	sn_tree_put(tree, text, "%s/modalias", path);
	snprintf(text, sizeof(text),
		 "DRIVER=%s\nPCI_CLASS=%X\nPCI_ID=%04X:%04X\nPCI_SUBSYS_ID=%04X:%04X\n"
		 "PCI_SLOT_NAME=%s",
		 id->driver, id->class_code, id->vendor, id->device, id->subsystem_vendor,
		 id->subsystem_device, strrchr(path, '/') + 1);
	sn_tree_put(tree, text, "%s/uevent", path);
}

/* What a bridge and the device behind it have alike. @up leads from @path to the tree's root. */
static void
put_function(struct sn_tree *tree, const char *path, const char *up, const struct identity *id)
{
	static const struct {
		const char *file, *value;
	} attrs[] = {
		{"revision", "0x00"},
		{"current_link_speed", "32.0 GT/s PCIe"},
		{"current_link_width", "16"},
		{"max_link_speed", "32.0 GT/s PCIe"},
		{"max_link_width", "16"},
		{"enable", "1"},
		{"irq", "0"},
		{"power_state", "D0"},
		{"dma_mask_bits", "64"},
		{"consistent_dma_mask_bits", "64"},
	};
	const char *address = strrchr(path, '/') + 1;
	char text[256];

	put_identity(tree, path, id);
	for (size_t i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++)
		sn_tree_put(tree, attrs[i].value, "%s/%s", path, attrs[i].file);
	put_locality(tree, path);
	snprintf(text, sizeof(text), "%s/bus/pci", up);
	sn_tree_put_link(tree, text, "%s/subsystem", path);
	snprintf(text, sizeof(text), "%s/bus/pci/drivers/%s", up, id->driver);
	sn_tree_put_link(tree, text, "%s/driver", path);
	snprintf(text, sizeof(text), "../../../../%s", path);
	sn_tree_put_link(tree, text, "bus/pci/drivers/%s/%s", id->driver, address);
	snprintf(text, sizeof(text), "../../../%s", path);
	sn_tree_put_link(tree, text, "bus/pci/devices/%s", address);
}

/* One line for each of 13 regions: start, end, flags. The first may be a BAR. */
static void
put_resource(struct sn_tree *tree, const char *path, uint64_t bar)
{
	char text[1000];
	int n = snprintf(text, sizeof(text), "0x%016llx 0x%016llx 0x%016x", (unsigned long long)bar,
			 bar ? (unsigned long long)bar + BAR_BYTES - 1 : 0, bar ? 0x14220c : 0);

	for (unsigned int i = 1; i < 13; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "\n0x%016x 0x%016x 0x%016x", 0, 0,
			      0);
	sn_tree_put(tree, text, "%s/resource", path);
}

/* The network interface that a RoCE port has; there is none to send through. */
static void
put_net(struct sn_tree *tree, unsigned int device)
{
	char net[160], text[32];
	uint8_t mac[6];

	snprintf(net, sizeof(net), "%s/net/" SN_NETDEV_PREFIX "%u", tree->fn, device);
	sn_device_mac(tree->settings, mac);
	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	sn_tree_put(tree, text, "%s/address", net);
	snprintf(text, sizeof(text), "%u", tree->settings->speed_gbps * 1000);
	sn_tree_put(tree, text, "%s/speed", net);
	sn_tree_put(tree, "0", "%s/dev_port", net);
	sn_tree_put(tree, "0x0", "%s/dev_id", net);
	sn_tree_put(tree, "1", "%s/type", net);
	sn_tree_put(tree, "9000", "%s/mtu", net);
	sn_tree_put(tree, "up", "%s/operstate", net);
	sn_tree_put_link(tree, "../..", "%s/device", net);
}

void
sn_pci_put(struct sn_tree *tree, unsigned int device)
{
	char parent[sizeof(tree->fn)];

	snprintf(parent, sizeof(parent), "%s", tree->fn);
	*strrchr(parent, '/') = '\0';
	put_function(tree, parent, "../../..", &bridge);
	put_bridge_config(tree, parent, device);
	put_resource(tree, parent, 0);
	put_function(tree, tree->fn, "../../../..", &connectx7);
	put_config(tree, device);
	put_resource(tree, tree->fn, 0x200000000000u + (device + 1ull) * BAR_BYTES);
	put_net(tree, device);
}

void
sn_pci_put_others(struct sn_tree *tree)
{
	DIR *dir = opendir("/sys/bus/pci/devices/."); /* not ours, spelled so: sysfs.c */
	struct dirent *entry;
	char target[300];

	while (dir && (entry = readdir(dir))) {
		/* In a launch inside a launch, ours are among them. */
		if (entry->d_name[0] == '.' || strncmp(entry->d_name, SN_PCI_DOMAIN, 4) == 0)
			continue;
		snprintf(target, sizeof(target), "/sys/bus/pci/devices/%s", entry->d_name);
		sn_tree_put_link(tree, target, "bus/pci/devices/%s", entry->d_name);
	}
	if (dir)
		closedir(dir);
}
