/* SPDX-License-Identifier: BSD-3-Clause */
/* The mailbox of a NIC thread: many producers in any process, one consumer. */
#ifndef SN_RING_H
#define SN_RING_H

#include "shared.h"

/* Put a copy of @packet in the mailbox of member @to and wake its NIC. False: it is full. */
bool sn_ring_push(struct sn_shm *shm, uint64_t from, uint64_t to, const struct sn_packet *packet);

/* The oldest packet, or NULL. It stays valid until sn_ring_pop(). */
const struct sn_packet *sn_ring_peek(struct sn_shm *shm, uint32_t slot);
void sn_ring_pop(struct sn_shm *shm, uint32_t slot);

#endif
