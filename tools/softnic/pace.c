/* SPDX-License-Identifier: BSD-3-Clause */
#include "pace.h"
#include "nic.h"

#define AHEAD_NS    100000   /* how far ahead of time a link accepts */
#define CATCH_UP_NS 10000000 /* how long a thread may have been away without loss of rate */

static struct sn_shm_pace *
pace_of(unsigned int device)
{
	return &sn_nic.instance.shm->device[device].pace;
}

static uint64_t
rate_of(unsigned int device)
{
	return atomic_load_explicit(&pace_of(device)->bytes_per_s, memory_order_relaxed);
}

uint64_t
sn_pace_delay_ns(unsigned int from)
{
	return atomic_load_explicit(&pace_of(from)->delay_ns, memory_order_relaxed);
}

bool
sn_pace_any_shaped(void)
{
	for (unsigned int device = 0; device < sn_nic.instance.shm->fabric.n_devices; device++) {
		if (rate_of(device) || sn_pace_delay_ns(device))
			return true;
	}
	return false;
}

/* Take the clock for @bytes, from @ready_ns at the earliest; *@begin_ns is when they begin. Returns
 * when they end. */
static uint64_t
take(_Atomic uint64_t *free_ns, uint64_t rate, uint64_t bytes, uint64_t ready_ns,
     uint64_t *begin_ns)
{
	uint64_t free = atomic_load_explicit(free_ns, memory_order_relaxed);
	uint64_t took_ns = (bytes * 1000000000 + rate - 1) / rate;

	do {
		*begin_ns = SN_MAX(free, ready_ns);
	} while (!atomic_compare_exchange_weak_explicit(
		free_ns, &free, *begin_ns + took_ns, memory_order_relaxed, memory_order_relaxed));
	return *begin_ns + took_ns;
}

bool
sn_pace_send(unsigned int from, unsigned int to, uint64_t bytes, uint64_t ready_ns, uint64_t *at_ns)
{
	struct sn_shm_pace *tx = pace_of(from), *rx = pace_of(to);
	uint64_t tx_rate = rate_of(from), rx_rate = rate_of(to), now_ns = sn_nic.now_ns;
	uint64_t taken_ns = 0, sent_ns, received_ns;

	if (tx_rate)
		taken_ns = atomic_load_explicit(&tx->tx_free_ns, memory_order_relaxed);
	if (rx_rate)
		taken_ns = SN_MAX(taken_ns,
				  atomic_load_explicit(&rx->rx_free_ns, memory_order_relaxed));
	if (taken_ns > now_ns + AHEAD_NS) {
		*at_ns = taken_ns - AHEAD_NS;
		return false;
	}
	ready_ns = SN_MAX(ready_ns, now_ns - SN_MIN(now_ns, CATCH_UP_NS));
	sent_ns = received_ns = tx_rate || rx_rate ? ready_ns : now_ns;
	if (tx_rate)
		sent_ns = take(&tx->tx_free_ns, tx_rate, bytes, ready_ns, &ready_ns);
	/* The receiving side fills while the sending side empties. */
	if (rx_rate)
		received_ns = take(&rx->rx_free_ns, rx_rate, bytes, ready_ns, &ready_ns);
	*at_ns = SN_MAX(sent_ns, received_ns) + sn_pace_delay_ns(from);
	return true;
}
