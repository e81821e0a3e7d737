/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef APP_IDLE_H
#define APP_IDLE_H

#include <stdint.h>

/* For a thread with nothing to do: a few pauses, then sleeps of 10 to 50 us, so that it does not
 * burn the CPU that the control thread or a software NIC needs. */
struct app_idle {
	uint32_t n;
};
void app_idle_wait(struct app_idle *idle);

#endif
