/* SPDX-License-Identifier: BSD-3-Clause */
/* NUMA questions, answered by the kernel. */
#ifndef KVR_NUMA_H
#define KVR_NUMA_H

#include <stdbool.h>
#include <stdint.h>

/* Node of a mapped address, faulting nothing in; -1: unknown. */
int kvr_numa_node_of(const void *addr);
/* The firmware's figure (ACPI SLIT): 10 local, 0 unknown. */
int kvr_numa_distance(int a, int b);
/* Is a poller on `lcore_node` the one to drive a device of `device_node`? -1 is near everything. */
bool kvr_numa_local(int lcore_node, int device_node);

#endif
