/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NIC of a process: one thread that serves all its devices. It watches doorbells, executes
 * work queue entries, answers peers, and writes completions.
 *
 * sn_nic.lock is held by the thread for each pass over its work, and by every command. A command
 * announces itself in commands_waiting; the thread then ends its pass early and lets it in.
 */
#ifndef SN_NIC_H
#define SN_NIC_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "instance.h"
#include "strict.h"
#include "uverbs.h"
#include "wire.h"

struct sn_qp;
struct sn_cq;
TAILQ_HEAD(sn_qp_list, sn_qp);
TAILQ_HEAD(sn_cq_list, sn_cq);

/* A page of doorbell registers, and the QPs that ring there. */
struct sn_uar {
	struct sn_object object;
	uint32_t index;
	_Atomic uint64_t *page;
	/* A doorbell may have been overwritten by another's before we saw it: so many QPs are still
	 * to be looked at. */
	unsigned int n_to_scan;
	uint32_t n_violations; /* strict.h */
	struct sn_strict_bf bf[SN_N_REGISTERS];
	struct sn_qp_list qps;
	TAILQ_ENTRY(sn_uar) link; /* in sn_nic.uars while it has QPs */
};
TAILQ_HEAD(sn_uar_list, sn_uar);

struct sn_nic {
	pthread_mutex_t lock;
	_Atomic int commands_waiting;
	_Atomic bool stop;
	struct sn_instance instance;
	struct sn_shm_port *port; /* our own */
	const struct sn_wire *wire;
	uint64_t now_ns;  /* as of the current pass */
	uint64_t wake_ns; /* when something that has been waited for will be due */
	struct sn_uar_list uars;
	struct sn_qp_list active;     /* have work in flight or announced */
	struct sn_qp_list broken;     /* in ERR: what is posted there is flushed */
	struct sn_cq_list notifying;  /* have a completion channel */
	struct sn_qp *qp[SN_MAX_QPS]; /* ours, by index of their QPN */
	/* What the pass has counted; published at its end. */
	uint64_t count[SN_MAX_DEVICES][SN_N_COUNTERS];
	bool counted;
	bool overran; /* a CQ had no room: its QPs are to break at the end of the pass */
};

extern struct sn_nic sn_nic;

/* Join the instance and start the thread if this process has not yet. 0 or -errno. */
int sn_nic_start(void);
/* Stop the thread and leave. Idempotent; called when the process exits. */
void sn_nic_stop(void);

/* What the thread does, and one pass of it, at that time; returns how much it did. */
void sn_nic_loop(void);
unsigned int sn_nic_pass(uint64_t now_ns);

/* Take in what was rung on a page so far: a command is about to change what it means. A QP that
 * cannot send has none: NULL. */
void sn_nic_collect_doorbells(struct sn_uar *uar);

/* For commands. */
void sn_nic_lock(void);
void sn_nic_unlock(void);

static inline _Atomic uint64_t *
sn_uar_register(const struct sn_uar *uar, unsigned int which)
{
	return uar->page + (0x800 + which * SN_BF_WORDS * 8) / 8;
}

static inline void
sn_nic_count(unsigned int device, enum sn_counter counter, uint64_t n)
{
	sn_nic.count[device][counter] += n;
	sn_nic.counted = true;
}

/* The thread need not sleep longer than until then. */
static inline void
sn_nic_wake_at(uint64_t ns)
{
	if (ns < sn_nic.wake_ns)
		sn_nic.wake_ns = ns;
}

#endif
