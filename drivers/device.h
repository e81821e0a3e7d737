/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An RDMA device port, opened and described. Set-up path. Devices come from EAL's allow list
 * (-a BDF,port=1,gid=3,sl=0,tc=0,lanes=1,mtu=4096), from names, or all there are.
 */
#ifndef KVR_DEVICE_H
#define KVR_DEVICE_H

#include <netinet/in.h>
#include <stdint.h>

#include <infiniband/verbs.h>

#include "driver.h"
#include "kvr.h"
#include "kvr_limits.h"

struct kvr_device {
	char name[KVR_NAME_BYTES]; /* "mlx5_0" */
	char bdf[16];		   /* "0000:3b:00.0" */
	uint8_t idx;		   /* in the engine's devices */
	int numa_node;		   /* -1: the platform does not say */
	const struct kvr_driver *driver;
	struct ibv_context *context;
	struct ibv_pd *pd;

	uint8_t port;
	uint8_t link_layer; /* IBV_LINK_LAYER_ETHERNET (RoCE) or _INFINIBAND */
	uint8_t gid_idx;
	uint8_t sl;
	uint8_t traffic_class;
	uint8_t n_lanes; /* QPs of each poller to each peer on this device */
	uint8_t max_rd_atomic;
	uint16_t lid;
	enum ibv_mtu mtu;
	union ibv_gid gid;
	char gid_text[INET6_ADDRSTRLEN];
	const char *gid_reason; /* why it is this one */
	uint64_t rate_bps;	/* bits per second of the port */

	/* Where proof READs land: one cache line in strictly ordered memory. */
	void *sink;
	uint32_t sink_lkey;
	struct ibv_mr *sink_mr;

	/* QPs that only serve a peer's one-sided operations; nobody polls it. */
	struct ibv_cq *passive_cq;
};

/*
 * Opens the devices chosen by names ("a,b"; NULL: EAL's allow list; without one: all usable).
 * Sets *n. 0; -ENODEV with error naming the unknown device and the known ones, or the BDF that is
 * no RDMA device; -EINVAL bad key or value in devargs; -ENOMEM.
 */
int kvr_devices_open(const char *names, struct kvr_device *devices, uint32_t *n,
		     struct kvr_error *error);
void kvr_devices_close(struct kvr_device *devices, uint32_t n);

/* A thread domain and parent domain of its own for one poller. 0 or -errno. */
int kvr_uar_alloc(struct kvr_device *device, struct kvr_uar *uar);
void kvr_uar_free(struct kvr_uar *uar);

#endif
