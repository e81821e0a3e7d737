/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening and describing devices that device_choice.c has chosen. Devices without a wish of the
 * operator's are taken in the order of their PCI addresses, so that nodes built alike number their
 * rails alike.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <arpa/inet.h>
#include <limits.h>

#include <rte_common.h>

#include "device.h"
#include "device_choice.h"
#include "engine.h"

#define SINK_BYTES	   4096
#define PASSIVE_CQ_ENTRIES 16 /* passive QPs post nothing, so nothing completes */
#define MAX_RD_ATOMIC	   16
#define MAX_GIDS	   256

static int
device_numa_node(const struct ibv_device *ibv)
{
	char path[PATH_MAX];
	int node = -1;
	FILE *file;

	snprintf(path, sizeof(path), "%s/device/numa_node", ibv->ibdev_path);
	file = fopen(path, "re");
	if (file == NULL)
		return -1;
	if (fscanf(file, "%d", &node) != 1)
		node = -1;
	fclose(file);
	return node;
}

static int
compare_bdf(const void *a, const void *b)
{
	const struct ibv_device *da = *(struct ibv_device *const *)a;
	const struct ibv_device *db = *(struct ibv_device *const *)b;
	char bdf_a[16], bdf_b[16];
	int order;

	kvr_device_bdf(da, bdf_a, sizeof(bdf_a));
	kvr_device_bdf(db, bdf_b, sizeof(bdf_b));
	order = strcmp(bdf_a, bdf_b);
	return order != 0 ? order : strverscmp(da->name, db->name);
}

/* ---- opening one ---- */

static int
port_choose(struct kvr_device *device, const struct kvr_device_choice *choice, uint8_t n_ports,
	    struct ibv_port_attr *attr, struct kvr_error *error)
{
	int given = choice->options.port, first = given > 0 ? given : 1;
	int last = given > 0 ? given : n_ports, port;

	if (given > n_ports)
		return kvr_fail(error, -EINVAL, "-a %s,port=%d: %s has %u port(s)", choice->bdf,
				given, device->name, n_ports);
	for (port = first; port <= last; port++) {
		if (ibv_query_port(device->context, (uint8_t)port, attr) != 0)
			return kvr_fail(error, -EIO, "device %s: port %d cannot be queried",
					device->name, port);
		if (attr->state == IBV_PORT_ACTIVE) {
			device->port = (uint8_t)port;
			return 0;
		}
	}
	return kvr_fail(error, -ENODEV,
			"device %s: port %d is %s, not ACTIVE: check cable and `ip link`",
			device->name, last, ibv_port_state_str(attr->state));
}

/* Bits per second, from the codes of the IBTA's PortInfo. */
static uint64_t
port_rate_bps(const struct ibv_port_attr *attr)
{
	uint64_t lane_mbps, n_lanes;

	switch (attr->active_speed) {
	case 1: /* SDR, 2.5 Gb/s signalling at 8b/10b; the rates here are of the signal */
		lane_mbps = 2500;
		break;
	case 2:
		lane_mbps = 5000;
		break;
	case 4:
	case 8:
		lane_mbps = 10000;
		break;
	case 16:
		lane_mbps = 14062;
		break;
	case 32:
		lane_mbps = 25000;
		break;
	case 64:
		lane_mbps = 50000;
		break;
	case 128:
		lane_mbps = 100000;
		break;
	default:
		lane_mbps = 0;
	}
	switch (attr->active_width) {
	case 1:
		n_lanes = 1;
		break;
	case 2:
		n_lanes = 4;
		break;
	case 4:
		n_lanes = 8;
		break;
	case 8:
		n_lanes = 12;
		break;
	case 16:
		n_lanes = 2;
		break;
	default:
		n_lanes = 0;
	}
	return lane_mbps * n_lanes * 1000000;
}

/* How good a GID is for routing; 0: not at all. */
static int
gid_rank(const struct ibv_gid_entry *entry)
{
	static const union ibv_gid zero;
	const struct in6_addr *address = (const struct in6_addr *)entry->gid.raw;

	if (memcmp(&entry->gid, &zero, sizeof(zero)) == 0)
		return 0;
	if (entry->gid_type != IBV_GID_TYPE_ROCE_V2)
		return 1;
	return IN6_IS_ADDR_V4MAPPED(address) ? 3 : 2;
}

static int
gid_choose(struct kvr_device *device, const struct kvr_device_choice *choice, uint8_t link_layer,
	   struct kvr_error *error)
{
	static const char *const why[] = {"", "the first that is not zero", "the first RoCE v2",
					  "the first RoCE v2 with an IPv4 address"};
	struct ibv_gid_entry entries[MAX_GIDS];
	const char *reason = NULL;
	int best = -1, best_rank = 0;
	ssize_t n, i;

	n = ibv_query_gid_table(device->context, entries, MAX_GIDS, 0);
	if (n < 0)
		return kvr_fail(error, (int)n, "device %s: GID table: %s", device->name,
				strerror((int)-n));
	for (i = 0; i < n; i++) {
		int rank = gid_rank(&entries[i]);

		if (entries[i].port_num != device->port || rank == 0)
			continue;
		if (choice->options.gid >= 0) {
			if (entries[i].gid_index != (uint32_t)choice->options.gid)
				continue;
			reason = "as given";
		} else if (link_layer == IBV_LINK_LAYER_INFINIBAND) {
			if (entries[i].gid_index != 0)
				continue;
			reason = "InfiniBand, routed by LID";
		} else if (rank > best_rank) {
			best_rank = rank;
			reason = why[rank];
		} else {
			continue;
		}
		best = (int)i;
	}
	if (best < 0 && choice->options.gid >= 0)
		return kvr_fail(error, -EINVAL, "-a %s,gid=%d: port %u of %s has no such GID",
				choice->bdf, choice->options.gid, device->port, device->name);
	if (best < 0)
		return kvr_fail(error, -ENODEV,
				"device %s: port %u has no GID: give its interface an address",
				device->name, device->port);
	device->gid = entries[best].gid;
	device->gid_idx = (uint8_t)entries[best].gid_index;
	inet_ntop(AF_INET6, device->gid.raw, device->gid_text, sizeof(device->gid_text));
	device->gid_reason = reason;
	KVR_LOG(INFO, "device %s: GID %u, %s (%s)\n", device->name, device->gid_idx,
		device->gid_text, reason);
	return 0;
}

static int
mtu_choose(struct kvr_device *device, const struct kvr_device_choice *choice, enum ibv_mtu active,
	   struct kvr_error *error)
{
	enum ibv_mtu wanted = IBV_MTU_256;

	device->mtu = active;
	if (choice->options.mtu < 0)
		return 0;
	while ((128 << wanted) < choice->options.mtu) /* enum ibv_mtu: 1 is 256, 2 is 512 ... */
		wanted++;
	if (wanted > active)
		return kvr_fail(error, -EINVAL, "-a %s,mtu=%d: the port's active MTU is %d",
				choice->bdf, choice->options.mtu, 128 << active);
	device->mtu = wanted;
	return 0;
}

/* PD, sink and passive CQ. What was made before a failure, device_close() frees. */
static int
device_resources(struct kvr_device *device, struct kvr_error *error)
{
	device->pd = ibv_alloc_pd(device->context);
	if (device->pd == NULL)
		return kvr_fail(error, -errno, "device %s: no protection domain: %s", device->name,
				strerror(errno));
	device->sink = mmap(NULL, SINK_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (device->sink == MAP_FAILED) {
		device->sink = NULL;
		return kvr_fail(error, -ENOMEM, "device %s: out of memory", device->name);
	}
	device->sink_mr = ibv_reg_mr(device->pd, device->sink, SINK_BYTES, IBV_ACCESS_LOCAL_WRITE);
	if (device->sink_mr == NULL)
		return kvr_fail(error, -errno,
				"device %s: cannot register memory: %s (raise `ulimit -l`)",
				device->name, strerror(errno));
	device->sink_lkey = device->sink_mr->lkey;
	device->passive_cq = ibv_create_cq(device->context, PASSIVE_CQ_ENTRIES, NULL, NULL, 0);
	if (device->passive_cq == NULL)
		return kvr_fail(error, -errno, "device %s: no completion queue: %s", device->name,
				strerror(errno));
	return 0;
}

static void
device_close(struct kvr_device *device)
{
	if (device->passive_cq != NULL)
		ibv_destroy_cq(device->passive_cq);
	if (device->sink_mr != NULL)
		ibv_dereg_mr(device->sink_mr);
	if (device->sink != NULL)
		munmap(device->sink, SINK_BYTES);
	if (device->pd != NULL)
		ibv_dealloc_pd(device->pd);
	if (device->context != NULL)
		ibv_close_device(device->context);
	memset(device, 0, sizeof(*device));
}

static int
device_describe(struct kvr_device *device, const struct kvr_device_choice *choice,
		struct kvr_error *error)
{
	struct ibv_device_attr attr;
	struct ibv_port_attr port;
	int ret;

	if (ibv_query_device(device->context, &attr) != 0)
		return kvr_fail(error, -EIO, "device %s cannot be queried", device->name);
	ret = port_choose(device, choice, attr.phys_port_cnt, &port, error);
	if (ret == 0)
		ret = gid_choose(device, choice, port.link_layer, error);
	if (ret == 0)
		ret = mtu_choose(device, choice, port.active_mtu, error);
	if (ret != 0)
		return ret;
	device->link_layer = port.link_layer;
	device->lid = port.lid;
	device->rate_bps = port_rate_bps(&port);
	device->sl = (uint8_t)RTE_MAX(choice->options.sl, 0);
	device->traffic_class = (uint8_t)RTE_MAX(choice->options.tc, 0);
	device->n_lanes = (uint8_t)RTE_MAX(choice->options.lanes, 1);
	device->max_rd_atomic = (uint8_t)RTE_MIN(
		RTE_MIN(attr.max_qp_rd_atom, attr.max_qp_init_rd_atom), MAX_RD_ATOMIC);
	return 0;
}

static int
device_open(struct kvr_device *device, const struct kvr_device_choice *choice,
	    struct kvr_error *error)
{
	int ret;

	snprintf(device->name, sizeof(device->name), "%s", choice->ibv->name);
	snprintf(device->bdf, sizeof(device->bdf), "%s", choice->bdf);
	device->numa_node = device_numa_node(choice->ibv);
	device->context = ibv_open_device(choice->ibv);
	if (device->context == NULL)
		return kvr_fail(error, errno == 0 ? -ENODEV : -errno,
				"device %s cannot be opened: %s (is /dev/infiniband readable?)",
				device->name, strerror(errno));
	if (!kvr_driver_mlx5.match(device->context)) {
		ret = kvr_fail(error, -ENODEV, "device %s: no driver for it; mlx5 is supported",
			       device->name);
		goto fail;
	}
	device->driver = &kvr_driver_mlx5;
	ret = device_describe(device, choice, error);
	if (ret == 0)
		ret = device_resources(device, error);
	if (ret == 0)
		return 0;
fail:
	device_close(device);
	return ret;
}

static int
devices_open_chosen(const struct kvr_device_choice *choices, uint32_t n_choices,
		    struct kvr_device *devices, uint32_t *n, struct kvr_error *error)
{
	struct kvr_error why = {""};
	uint32_t i;

	for (i = 0; i < n_choices; i++) {
		struct kvr_device *device = &devices[*n];
		int ret = device_open(device, &choices[i], &why);

		if (ret != 0 && choices[i].explicit)
			return kvr_fail(error, ret, "%s", why.text);
		if (ret != 0) {
			KVR_LOG(NOTICE, "%s; left out\n", why.text);
			continue;
		}
		device->idx = (uint8_t)*n;
		*n += 1;
		KVR_LOG(INFO, "device %s: %s port %u, NUMA node %d, %" PRIu64 " Gb/s, MTU %d\n",
			device->name, device->bdf, device->port, device->numa_node,
			device->rate_bps / 1000000000, 128 << device->mtu);
	}
	if (*n == 0)
		return kvr_fail(error, -ENODEV, "no RDMA device is usable: %s", why.text);
	return 0;
}

int
kvr_devices_open(const char *names, struct kvr_device *devices, uint32_t *n,
		 struct kvr_error *error)
{
	struct kvr_device_choice choices[KVR_MAX_DEVICES];
	struct ibv_device **list, **sorted = NULL;
	uint32_t n_choices = 0;
	int n_known = 0, ret;

	*n = 0;
	memset(devices, 0, KVR_MAX_DEVICES * sizeof(*devices));
	list = ibv_get_device_list(&n_known);
	if (list == NULL || n_known == 0) {
		ret = kvr_fail(error, -ENODEV,
			       "no RDMA device found: load its driver (modprobe mlx5_ib), or run "
			       "under `softnic -- COMMAND`");
		goto out;
	}
	/* A sorted copy: ibv_free_device_list() wants its own order back. */
	sorted = calloc((size_t)n_known, sizeof(struct ibv_device *));
	if (sorted == NULL) {
		ret = kvr_fail(error, -ENOMEM, "out of memory");
		goto out;
	}
	memcpy(sorted, list, (size_t)n_known * sizeof(struct ibv_device *));
	qsort(sorted, (size_t)n_known, sizeof(struct ibv_device *), compare_bdf);

	ret = kvr_device_choose(sorted, (uint32_t)n_known, names, choices, &n_choices, error);
	if (ret == 0)
		ret = devices_open_chosen(choices, n_choices, devices, n, error);
	if (ret != 0) {
		kvr_devices_close(devices, *n);
		*n = 0;
	}
out:
	free(sorted);
	if (list != NULL)
		ibv_free_device_list(list);
	return ret;
}

void
kvr_devices_close(struct kvr_device *devices, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		device_close(&devices[i]);
}

int
kvr_uar_alloc(struct kvr_device *device, struct kvr_uar *uar)
{
	struct ibv_td_init_attr td_attr = {0};
	struct ibv_parent_domain_init_attr pd_attr = {.pd = device->pd};
	int err;

	uar->td = ibv_alloc_td(device->context, &td_attr);
	if (uar->td == NULL)
		return -errno;
	pd_attr.td = uar->td;
	uar->pd = ibv_alloc_parent_domain(device->context, &pd_attr);
	if (uar->pd == NULL) {
		err = errno;
		ibv_dealloc_td(uar->td);
		uar->td = NULL;
		return -err;
	}
	return 0;
}

void
kvr_uar_free(struct kvr_uar *uar)
{
	ibv_dealloc_pd(uar->pd);
	ibv_dealloc_td(uar->td);
	uar->pd = NULL;
	uar->td = NULL;
}
