/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Step 2 of 6: poll.
 * Thread: a worker lcore, from kvr_poller_start() to kvr_poller_stop().
 * In: parts of batches on the clients' rings; CQEs on the CQ of each device.
 * Out: turns of inhale, exhale, spray, and now and then a tick.
 * Next: lib/datapath/spray.c, which places the parts' slices on lanes.
 */

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include <sys/prctl.h>

#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_pause.h>
#include <rte_ring.h>

#include "counters.h"
#include "peer.h"
#include "poller.h"
#include "stops.h"

/* A call of another thread, waiting on its stack until done. */
struct kvr_poller_request {
	int (*fn)(struct kvr_poller *poller, void *arg);
	void *arg;
	int result;
	uint32_t done; /* atomic */
};

/* The part is the poller's from here to its end. */
static void
part_begin(struct kvr_poller *poller, struct kvr_part *part)
{
	uint32_t i;

	part->begin = part->at;
	part->begin_bytes = part->at_bytes;
	part->n_inflight = 0;
	part->n_unproven = 0;
	part->n_rewinds = 0;
	part->held = 0;
	part->n_lanes = part->segment->peer->lanes[poller->idx].n;
	part->status = 0;
	part->syndrome = 0;
	part->vendor_syndrome = 0;
	part->failed_on = NULL;
	part->wrote = false;
	part->undetermined = false;
	part->runnable = true;
	for (i = 0; i < part->n_lanes; i++)
		part->lanes[i] = (struct kvr_part_lane){0};
	TAILQ_INSERT_TAIL(&poller->runnable[part->batch->priority], part, run_link);
	TAILQ_INSERT_TAIL(&poller->live, part, live_link);
	poller->n_live++;
}

uint32_t
kvr_inhale(struct kvr_poller *poller)
{
	struct kvr_part *parts[KVR_BURST];
	uint32_t total = 0;
	uint32_t i, k, n;

	for (i = 0; i < poller->n_ports; i++) {
		n = rte_ring_sc_dequeue_burst(poller->ports[i].submit, (void **)parts, KVR_BURST,
					      NULL);
		for (k = 0; k < n; k++)
			part_begin(poller, parts[k]);
		total += n;
	}
	return total;
}

static void
tick_calls(struct kvr_poller *poller)
{
	struct kvr_poller_request *request;

	while (rte_ring_sc_dequeue(poller->calls, (void **)&request) == 0) {
		request->result = request->fn(poller, request->arg);
		/* The caller's stack is its own again: touch it no more. */
		__atomic_store_n(&request->done, 1, __ATOMIC_RELEASE);
	}
}

static void
tick(struct kvr_poller *poller, uint64_t now_tsc)
{
	tick_calls(poller);
	kvr_parts_tick(poller, now_tsc);
	kvr_lanes_tick(poller, now_tsc);
	poller->next_tick_tsc = now_tsc + poller->tick_tsc;
}

/*
 * Backs off a poller that has nothing in hand: pauses at first, so that a busy client finds it
 * awake, then sleeps that grow to a millisecond, so that a passive target costs next to no CPU.
 * With parts in flight it never sleeps.
 */
static void
back_off(const struct kvr_poller *poller, uint64_t idle_tsc)
{
	uint64_t idle_us = idle_tsc / poller->us_tsc;
	struct timespec nap = {0};

	if (poller->n_live != 0 || idle_us < KVR_SPIN_US) {
		rte_pause();
		return;
	}
	nap.tv_nsec = 1000 * (idle_us < 10000 ? 20 : idle_us < 1000000 ? 200 : 1000);
	nanosleep(&nap, NULL);
}

static int
poller_loop(void *arg)
{
	struct kvr_poller *poller = arg;
	uint64_t busy_tsc = rte_rdtsc();

	/* Sleeps as short as asked for, not rounded up by 50 us. */
	prctl(PR_SET_TIMERSLACK, 1);
	poller->now_tsc = busy_tsc;
	while (!__atomic_load_n(&poller->stop, __ATOMIC_ACQUIRE)) {
		uint64_t begin_tsc = poller->now_tsc;
		uint32_t n = kvr_inhale(poller);

		n += kvr_exhale(poller);
		n += kvr_spray(poller);
		if (begin_tsc >= poller->next_tick_tsc)
			tick(poller, begin_tsc);
		kvr_count(&poller->counters.polls, 1);
		if (n != 0) {
			poller->now_tsc = busy_tsc = rte_rdtsc();
			kvr_count(&poller->counters.busy_tsc, busy_tsc - begin_tsc);
		} else {
			back_off(poller, begin_tsc - busy_tsc);
			poller->now_tsc = rte_rdtsc();
			kvr_count(&poller->counters.empty_polls, 1);
			kvr_count(&poller->counters.idle_tsc, poller->now_tsc - begin_tsc);
		}
	}
	tick_calls(poller);
	/* All that the loop has written, before who stops it goes on; see kvr_poller_stop(). */
	__atomic_store_n(&poller->running, 0, __ATOMIC_RELEASE);
	return 0;
}

int
kvr_poller_start(struct kvr_poller *poller)
{
	int err;

	poller->stop = 0;
	/* Calls from here on wait for the loop. */
	__atomic_store_n(&poller->running, 1, __ATOMIC_RELEASE);
	err = rte_eal_remote_launch(poller_loop, poller, poller->lcore);
	if (err != 0)
		__atomic_store_n(&poller->running, 0, __ATOMIC_RELEASE);
	return err;
}

void
kvr_poller_stop(struct kvr_poller *poller)
{
	__atomic_store_n(&poller->stop, 1, __ATOMIC_RELEASE);
	rte_eal_wait_lcore(poller->lcore);
	/* Partner of the loop's last store. */
	(void)__atomic_load_n(&poller->running, __ATOMIC_ACQUIRE);
}

int
kvr_poller_call(struct kvr_poller *poller, int (*fn)(struct kvr_poller *, void *), void *arg)
{
	struct kvr_poller_request request = {.fn = fn, .arg = arg};
	const struct timespec nap = {.tv_nsec = 20000};

	if (!__atomic_load_n(&poller->running, __ATOMIC_ACQUIRE))
		return fn(poller, arg);
	/* One producer at a time: the ring of DPDK 22.11 does not order several of them with each
	 * other by the rules of C11. */
	pthread_mutex_lock(&poller->calls_lock);
	while (rte_ring_sp_enqueue(poller->calls, &request) != 0)
		nanosleep(&nap, NULL);
	pthread_mutex_unlock(&poller->calls_lock);
	while (!__atomic_load_n(&request.done, __ATOMIC_ACQUIRE))
		nanosleep(&nap, NULL);
	return request.result;
}
