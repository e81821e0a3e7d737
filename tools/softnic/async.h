/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SN_ASYNC_H
#define SN_ASYNC_H

#include <stdint.h>

struct sn_context;

/* An asynchronous event (enum ibv_event_type) about the object with this user handle. */
void sn_async_push(struct sn_context *context, uint64_t user_handle, uint32_t type);

/* One about the device or its port, to all that have it open. */
void sn_async_push_all(unsigned int device, uint32_t type);

#endif
