/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether a device's port is up, and whether the device works at all. It is the instance's: a
 * change concerns all processes at once, and each NIC tells its own programs.
 */
#ifndef SN_LINK_H
#define SN_LINK_H

#include "shared.h"

/* Zeroed memory is a link that is up. */
enum sn_link_state {
	SN_LINK_UP,
	SN_LINK_DOWN, /* nothing passes: RC retries until it gives up, the others lose */
	SN_LINK_DEAD, /* the device failed: its QPs are in ERR, and commands fail with EIO */
};

static inline enum sn_link_state
sn_link_state(const struct sn_shm *shm, unsigned int device)
{
	return (enum sn_link_state)atomic_load_explicit(&shm->device[device].link,
							memory_order_relaxed);
}

static inline bool
sn_link_is_up(const struct sn_shm *shm, unsigned int device)
{
	return sn_link_state(shm, device) == SN_LINK_UP;
}

/* Any process may, the launcher too. @dir is the instance's directory, whose sysfs tree follows. */
void sn_link_set(const char *dir, struct sn_shm *shm, unsigned int device,
		 enum sn_link_state state);

/* enum ibv_port_state, and the PortPhysicalState of IBA 14.2.5.6. */
uint8_t sn_link_port_state(enum sn_link_state state);
uint8_t sn_link_phys_state(enum sn_link_state state);

#endif
