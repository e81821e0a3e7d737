/* SPDX-License-Identifier: BSD-3-Clause */
#include "idle.h"

#include <time.h>

#include <rte_pause.h>

#define IDLE_PAUSES   16
#define IDLE_SLEEP_NS 10000
#define IDLE_MAX_NS   50000

void
app_idle_wait(struct app_idle *idle)
{
	struct timespec sleep = {0};

	if (idle->n < IDLE_PAUSES) {
		idle->n++;
		rte_pause();
		return;
	}
	sleep.tv_nsec = IDLE_SLEEP_NS * (long)(idle->n - IDLE_PAUSES + 1);
	if (sleep.tv_nsec < IDLE_MAX_NS)
		idle->n++;
	nanosleep(&sleep, NULL);
}
