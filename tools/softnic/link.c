/* SPDX-License-Identifier: BSD-3-Clause */
#include <infiniband/verbs.h>

#include "link.h"
#include "sysfs.h"

void
sn_link_set(const char *dir, struct sn_shm *shm, unsigned int device, enum sn_link_state state)
{
	atomic_store(&shm->device[device].link, state);
	sn_sysfs_set_link(dir, device, state == SN_LINK_UP);
}

uint8_t
sn_link_port_state(enum sn_link_state state)
{
	return state == SN_LINK_UP ? IBV_PORT_ACTIVE : IBV_PORT_DOWN;
}

uint8_t
sn_link_phys_state(enum sn_link_state state)
{
	return state == SN_LINK_UP ? 5 : 3; /* LinkUp, Disabled */
}
