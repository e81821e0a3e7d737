/* SPDX-License-Identifier: BSD-3-Clause */
/* The NIC thread: doorbells in, completions out, sleep in between. */
#include <endian.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "async.h"
#include "cm.h"
#include "copy.h"
#include "fdtable.h"
#include "held.h"
#include "link.h"
#include "peer.h"
#include "qp.h"
#include "softnic_step.h"
#include "sysfs.h"
#include "trace.h"

#define POLL_PACKETS	64
#define SCAN_PER_PASS	16 /* QPs of a shared doorbell page; thousands must not delay a pass */
#define FLUSH_NS	100000
#define MEMBER_CHECK_NS 1000000
#define SWEEP_NS	100000000
#define SYSFS_NS	100000000
#define NOTIFY_PER_PASS 64

/* Idle passes before the first sleep (fewer if the wire makes them long), and how long to sleep
 * after being idle for so long. */
#define SPIN_PASSES	    200
#define SPIN_NS		    10000 /* ... and what is due so soon is not slept for */
#define NAP_NS		    20000
#define REST_AFTER_NS	    20000000
#define REST_NS		    100000
#define DEEP_SLEEP_AFTER_NS 1000000000
#define DEEP_SLEEP_NS	    500000
/* A real-time thread that never sleeps would starve its own program. */
#define WORK_BOUT_NS 5000000
#define BREATHER_NS  50000

struct sn_nic sn_nic = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- the parts of a pass ---- */

static void
take_doorbell(struct sn_uar *uar, unsigned int which, uint64_t value)
{
	struct sn_qp *qp = sn_qp_find(be32toh((uint32_t)(value >> 32)) >> 8); /* qpn_ds */

	if (qp && qp->uar == uar) {
		uint16_t pi_before = qp->sq_pi;

		sn_qp_ring(qp);
		if (sn_strict.on)
			sn_strict_doorbell(qp, which, value, pi_before);
	} else if (sn_strict.on) {
		sn_strict_stray(uar, value);
	}
}

static unsigned int
scan_doorbells(struct sn_uar *uar)
{
	unsigned int n_rang = 0;

	for (unsigned int i = 0; i < SN_N_REGISTERS; i++) {
		_Atomic uint64_t *reg = sn_uar_register(uar, i);
		uint64_t value;

		if (!atomic_load_explicit(reg, memory_order_relaxed))
			continue;
		/* Taking the value out tells the next write from this one, even if it is equal. The
		 * exchange is a full fence: the doorbell record is read after it. Partner: the
		 * program's barrier between its record and its register. */
		value = atomic_exchange(reg, 0);
		take_doorbell(uar, i, value);
		/* Others may have rung the same register before we looked. */
		uar->n_to_scan = uar->object.n_users > 1 ? uar->object.n_users : 0;
		n_rang++;
	}
	return n_rang;
}

void
sn_nic_collect_doorbells(struct sn_uar *uar)
{
	if (uar)
		scan_doorbells(uar);
}

/* How many are looked at, whether they rang or not. */
static unsigned int
scan_records(struct sn_uar *uar)
{
	unsigned int before = uar->n_to_scan;

	for (unsigned int i = 0; i < SCAN_PER_PASS && uar->n_to_scan; i++, uar->n_to_scan--) {
		struct sn_qp *qp = TAILQ_FIRST(&uar->qps);

		TAILQ_REMOVE(&uar->qps, qp, uar_link);
		TAILQ_INSERT_TAIL(&uar->qps, qp, uar_link);
		sn_qp_ring(qp);
	}
	return before - uar->n_to_scan;
}

static unsigned int
poll_doorbells(void)
{
	struct sn_uar *uar;
	unsigned int n = 0;

	TAILQ_FOREACH (uar, &sn_nic.uars, link) {
		n += scan_doorbells(uar);
		n += scan_records(uar);
	}
	return n;
}

/* Each QP with work gets its share; who was served goes to the end of the line, and who has got
 * something of a scarce link stands behind those who have not. */
static unsigned int
run_active(void)
{
	struct sn_qp *qp, *last = TAILQ_LAST(&sn_nic.active, sn_qp_list);
	struct sn_qp *first_sender = NULL;
	unsigned int n_moved = 0;

	while ((qp = TAILQ_FIRST(&sn_nic.active))) {
		TAILQ_REMOVE(&sn_nic.active, qp, run_link);
		TAILQ_INSERT_TAIL(&sn_nic.active, qp, run_link);
		qp->has_sent = false;
		n_moved += (!sn_fault_is_stalled(qp->device) && sn_nic.wire->run(qp));
		if (qp->has_sent && !first_sender) {
			first_sender = qp;
		} else if (!qp->has_sent && qp->is_active && first_sender &&
			   first_sender->is_active) {
			TAILQ_REMOVE(&sn_nic.active, qp, run_link);
			TAILQ_INSERT_BEFORE(first_sender, qp, run_link);
		}
		if (qp == last ||
		    atomic_load_explicit(&sn_nic.commands_waiting, memory_order_relaxed))
			break;
	}
	return n_moved;
}

static void
notify_cqs(void)
{
	struct sn_cq *cq, *first = TAILQ_FIRST(&sn_nic.notifying);

	/* A program may arm a CQ that already has something, so the quiet ones are looked at too,
	 * some each pass. */
	for (unsigned int i = 0; first && i < NOTIFY_PER_PASS; i++) {
		cq = TAILQ_FIRST(&sn_nic.notifying);
		sn_cq_notify(cq);
		TAILQ_REMOVE(&sn_nic.notifying, cq, link);
		TAILQ_INSERT_TAIL(&sn_nic.notifying, cq, link);
		if (TAILQ_FIRST(&sn_nic.notifying) == first)
			break;
	}
}

static void
publish_counters(void)
{
	struct sn_shm *shm = sn_nic.instance.shm;

	for (uint32_t device = 0; device < shm->fabric.n_devices; device++) {
		for (unsigned int i = 0; i < SN_N_COUNTERS; i++) {
			if (!sn_nic.count[device][i])
				continue;
			atomic_fetch_add_explicit(&shm->device[device].counter[i],
						  sn_nic.count[device][i], memory_order_relaxed);
			sn_nic.count[device][i] = 0;
		}
	}
	sn_nic.counted = false;
}

/* ---- what is done now and then ---- */

static bool
is_due(uint64_t *last_ns, uint64_t period_ns)
{
	if (sn_nic.now_ns - *last_ns < period_ns)
		return false;
	*last_ns = sn_nic.now_ns;
	return true;
}

static void
flush_broken(void)
{
	struct sn_qp *qp;

	TAILQ_FOREACH (qp, &sn_nic.broken, run_link)
		sn_qp_flush(qp);
}

static void
check_members(void)
{
	struct sn_shm *shm = sn_nic.instance.shm;
	uint32_t n = atomic_load(&shm->n_members);

	for (uint32_t slot = 0; slot < n; slot++) {
		if (slot != sn_nic.instance.slot)
			sn_instance_check_member(shm, slot);
	}
}

static void
write_sysfs(void)
{
	static uint64_t written[SN_MAX_DEVICES];
	struct sn_shm *shm = sn_nic.instance.shm;

	for (uint32_t device = 0; device < shm->fabric.n_devices; device++) {
		const struct sn_shm_device *d = &shm->device[device];
		uint64_t now = atomic_load(&d->counter[SN_CNT_XMIT_PACKETS]) +
			       atomic_load(&d->counter[SN_CNT_RCV_PACKETS]);

		if (now != written[device])
			sn_sysfs_refresh(sn_nic.instance.dir, shm, device);
		written[device] = now;
	}
}

/* Tell this process's programs what has become of their devices. */
static void
watch_links(void)
{
	static uint32_t seen[SN_MAX_DEVICES];
	struct sn_shm *shm = sn_nic.instance.shm;

	for (uint32_t device = 0; device < shm->fabric.n_devices; device++) {
		enum sn_link_state state = sn_link_state(shm, device);

		if (state == seen[device])
			continue;
		seen[device] = state;
		if (state == SN_LINK_DEAD)
			sn_qp_break_device(device);
		sn_async_push_all(device, state == SN_LINK_UP	  ? IBV_EVENT_PORT_ACTIVE
					  : state == SN_LINK_DOWN ? IBV_EVENT_PORT_ERR
								  : IBV_EVENT_DEVICE_FATAL);
	}
}

static void
housekeep(void)
{
	static uint64_t flushed_ns, checked_ns, swept_ns, written_ns;

	if (is_due(&flushed_ns, FLUSH_NS))
		flush_broken();
	if (is_due(&checked_ns, MEMBER_CHECK_NS))
		check_members();
	watch_links();
	if (is_due(&swept_ns, SWEEP_NS))
		sn_peer_sweep();
	if (is_due(&written_ns, SYSFS_NS)) {
		write_sysfs();
		sn_trace_flush();
	}
}

/* ---- one pass ---- */

/* Returns how much it did. */
unsigned int
sn_nic_pass(uint64_t now_ns)
{
	unsigned int n;

	pthread_mutex_lock(&sn_nic.lock);
	sn_nic.now_ns = now_ns;
	sn_nic.wake_ns = UINT64_MAX;
	sn_faults_watch();
	n = sn_nic.wire->poll(POLL_PACKETS);
	n += poll_doorbells();
	n += run_active();
	notify_cqs();
	if (sn_nic.overran)
		sn_qp_break_overrun();
	if (sn_nic.counted)
		publish_counters();
	housekeep();
	pthread_mutex_unlock(&sn_nic.lock);
	return n;
}

/* ---- sleeping ---- */

static void
rest(uint64_t idle_ns, uint64_t most_ns)
{
	uint64_t ns = idle_ns < REST_AFTER_NS	      ? NAP_NS
		      : idle_ns < DEEP_SLEEP_AFTER_NS ? REST_NS
						      : DEEP_SLEEP_NS;

	sn_nic.wire->sleep(SN_MIN(ns, most_ns));
}

static void
cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

void
sn_nic_loop(void)
{
	uint64_t busy_since_ns = sn_now_ns(), idle_since_ns = busy_since_ns;
	unsigned int idle_passes = 0;

	while (!atomic_load_explicit(&sn_nic.stop, memory_order_relaxed)) {
		uint64_t wait_ns;

		if (atomic_load_explicit(&sn_nic.commands_waiting, memory_order_relaxed))
			nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL);
		if (sn_nic_pass(sn_now_ns())) {
			idle_passes = 0;
			idle_since_ns = sn_nic.now_ns;
			if (sn_nic.now_ns - busy_since_ns > WORK_BOUT_NS) {
				nanosleep(&(struct timespec){.tv_nsec = BREATHER_NS}, NULL);
				busy_since_ns = sn_now_ns();
			}
			continue;
		}
		/* When it is known how long to wait, there is no point in looking meanwhile. */
		wait_ns = sn_nic.wake_ns - SN_MIN(sn_nic.now_ns, sn_nic.wake_ns);
		if (wait_ns < SPIN_NS ||
		    (sn_nic.wake_ns == UINT64_MAX && ++idle_passes < SPIN_PASSES &&
		     sn_nic.now_ns - idle_since_ns < SPIN_NS)) {
			cpu_relax();
		} else {
			rest(sn_nic.now_ns - idle_since_ns, wait_ns);
			busy_since_ns = sn_now_ns();
		}
	}
}

/* ---- commands ---- */

void
sn_nic_lock(void)
{
	atomic_fetch_add(&sn_nic.commands_waiting, 1);
	pthread_mutex_lock(&sn_nic.lock);
	atomic_fetch_sub(&sn_nic.commands_waiting, 1);
}

void
sn_nic_unlock(void)
{
	pthread_mutex_unlock(&sn_nic.lock);
}
