/* SPDX-License-Identifier: BSD-3-Clause */
/* NUMA questions. Set-up path. */
#include <numa.h>
#include <numaif.h>

#include <rte_common.h>

#include "kvr_numa.h"

int
kvr_numa_node_of(const void *addr)
{
	/* move_pages(2) without target nodes only reports; the address is its page's first byte. */
	void *page = (void *)RTE_ALIGN_FLOOR((uintptr_t)addr, 4096);
	int node = -1;

	if (move_pages(0, 1, &page, NULL, &node, 0) != 0)
		return -1;
	return node >= 0 ? node : -1; /* -ENOENT: not there yet */
}

int
kvr_numa_distance(int a, int b)
{
	return a < 0 || b < 0 || numa_available() < 0 ? 0 : numa_distance(a, b);
}

bool
kvr_numa_local(int lcore_node, int device_node)
{
	return lcore_node < 0 || device_node < 0 || lcore_node == device_node;
}
