/* SPDX-License-Identifier: BSD-3-Clause */
#include <sched.h>
#include <time.h>

#include "grace.h"
#include "instance.h"

static void
wait_for_member(struct sn_shm *shm, uint32_t slot)
{
	struct sn_shm_port *port = &shm->port[slot];
	uint64_t epoch = atomic_load_explicit(&port->epoch, memory_order_acquire);
	unsigned int spins = 0;

	if (!(epoch & 1))
		return;
	while (atomic_load_explicit(&port->epoch, memory_order_acquire) == epoch) {
		/* An access lasts for some 100 us at most; if it was preempted, give it the CPU,
		 * and see whether it was killed. */
		if (++spins < 1000)
			continue;
		if (!sn_instance_check_member(shm, slot))
			return;
		nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
	}
}

void
sn_grace_wait(struct sn_shm *shm)
{
	uint32_t n = atomic_load(&shm->n_members);

	/* Orders the unpublishing store before the loads of the epochs: a reader that this loop
	 * sees as even will see the entry gone. Partner: sn_grace_enter(). */
	atomic_thread_fence(memory_order_seq_cst);
	for (uint32_t slot = 0; slot < n; slot++) {
		if (atomic_load(&shm->member[slot].life))
			wait_for_member(shm, slot);
	}
}
