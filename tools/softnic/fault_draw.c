/* SPDX-License-Identifier: BSD-3-Clause */
/* What becomes of this process's packets: the draws, and the beginning and end of outages. */
#include <infiniband/verbs.h>

#include "faults.h"
#include "link.h"
#include "qp.h"
#include "trace.h"

struct sn_faults sn_faults;

static uint64_t random_state;

void
sn_faults_init(void)
{
	const struct sn_settings *settings = sn_settings_own();

	/* Other numbers than held.c draws from the same seed. */
	random_state =
		((settings->seeded ? settings->seed : sn_now_ns()) * 0xd1342543de82ef95u) | 1;
}

/* xorshift64*, as in held.c. */
static uint32_t
draw_u32(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (uint32_t)(random_state * 2685821657736338717u >> 32);
}

/* Counted over all processes that use the device. */
static bool
counts_to_0(struct sn_shm_fault *fault)
{
	uint32_t left = atomic_load_explicit(&fault->left, memory_order_relaxed);

	while (left) {
		uint32_t next = left == 1 ? atomic_load(&fault->every) : left - 1;

		if (atomic_compare_exchange_weak(&fault->left, &left, next))
			return left == 1;
	}
	return false;
}

enum sn_fault
sn_faults_draw(unsigned int device, uint32_t kinds)
{
	struct sn_shm_faults *faults = &sn_nic.instance.shm->faults[device];

	for (unsigned int i = 1; i < SN_N_FAULTS; i++) {
		struct sn_shm_fault *fault = &faults->fault[i];
		uint64_t chance;

		if (!(kinds & SN_FAULT_BIT(i)))
			continue;
		chance = atomic_load_explicit(&fault->chance, memory_order_relaxed);
		if ((chance && draw_u32() < chance) || counts_to_0(fault)) {
			sn_nic_count(device, SN_CNT_INJECTED_FAULTS, 1);
			SN_TRACE("fault", device, "%s", sn_fault_names[i]);
			return (enum sn_fault)i;
		}
	}
	return SN_FAULT_NONE;
}

uint64_t
sn_fault_delay_ns(unsigned int device)
{
	return atomic_load(&sn_nic.instance.shm->faults[device].fault[SN_FAULT_DELAY].delay_ns);
}

/* ---- outages ---- */

/* Whoever notices first changes the link, which is the instance's. */
static void
follow(unsigned int device)
{
	const struct sn_shm_outage *outage = sn_nic.instance.shm->faults[device].outage;
	const struct sn_shm_outage *down = &outage[SN_OUTAGE_PORT_DOWN];
	enum sn_link_state state = sn_link_state(sn_nic.instance.shm, device), to = state;

	if (sn_outage_is_on(&outage[SN_OUTAGE_DEATH], sn_nic.now_ns))
		to = SN_LINK_DEAD;
	else if (atomic_load(&down->length_ns) && state != SN_LINK_DEAD)
		to = sn_outage_is_on(down, sn_nic.now_ns) ? SN_LINK_DOWN : SN_LINK_UP;
	if (to != state)
		sn_link_set(sn_nic.instance.dir, sn_nic.instance.shm, device, to);
	sn_faults.stalled[device] = sn_outage_is_on(&outage[SN_OUTAGE_STALL], sn_nic.now_ns);
}

static void
break_qp(struct sn_shm *shm)
{
	uint32_t qpn = atomic_load(&shm->qpn_to_break);
	struct sn_qp *qp = sn_qp_find(qpn);

	if (!qpn || !qp)
		return;
	sn_qp_break(qp, IBV_EVENT_QP_FATAL);
	atomic_store(&shm->qpn_to_break, 0);
	atomic_fetch_and(&shm->faulty, ~SN_FAULTY_QP);
}

void
sn_faults_watch(void)
{
	struct sn_shm *shm = sn_nic.instance.shm;
	uint32_t faulty = atomic_load_explicit(&shm->faulty, memory_order_relaxed);

	sn_faults.on = faulty != 0;
	if (faulty & SN_FAULTY_QP)
		break_qp(shm);
	for (unsigned int device = 0; faulty && device < shm->fabric.n_devices; device++)
		follow(device);
}
