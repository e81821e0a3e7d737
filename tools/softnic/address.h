/* SPDX-License-Identifier: BSD-3-Clause */
/* The devices of the roce wire: each stands on an IPv4 address of this machine. */
#ifndef SN_ADDRESS_H
#define SN_ADDRESS_H

#include "settings.h"

/*
 * Give each device that has no address of its own (`--device mlx5_N:ip=`) the next of the
 * interfaces that are up, loopback last; and each the MTU that its interface has room for, and a
 * GUID that other machines' devices do not have. 0, or -EINVAL and what is wrong, with the remedy,
 * in @error.
 */
int sn_address_complete(struct sn_fabric *fabric, char *error, size_t error_bytes);

#endif
