/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults on purpose: `--faults SPEC`, and `softnic ctl` while an instance runs. What is asked for
 * lives in the shared state, for each device; each NIC draws by itself, seeded by --seed.
 *
 *	SPEC   = item{,item}
 *	item   = FAULT[@mlx5_N]=HOW | OUTAGE[@mlx5_N]=WHEN	without a device: of all
 *	FAULT  = drop | corrupt | dup | delay | rnr | cq_overrun | qp_error
 *	HOW    = CHANCE | #N | /N, and :TIME for delay		0.01 of them, the Nth once, each Nth
 *	OUTAGE = port_down | stall | death
 *	WHEN   = AFTER[+LENGTH[/PERIOD]]			2s, 500ms, 50us; no length: for good
 *
 * A packet that arrives at a device meets the first four, in that order; with the local wire a
 * request is a packet, and so is its answer.
 */
#ifndef SN_FAULTS_H
#define SN_FAULTS_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sn_shm;

enum sn_fault {
	SN_FAULT_NONE,
	SN_FAULT_DROP,
	SN_FAULT_CORRUPT,    /* dropped by its check sum */
	SN_FAULT_DUPLICATE,  /* arrives twice */
	SN_FAULT_DELAY,	     /* and so does what is behind it */
	SN_FAULT_RNR,	     /* of a request that takes a receive: refused though there is one */
	SN_FAULT_CQ_OVERRUN, /* of a completion: the queue takes it for one too many */
	SN_FAULT_QP_ERROR,   /* of a request that is begun: its QP fails instead */
	SN_N_FAULTS
};
extern const char *const sn_fault_names[SN_N_FAULTS]; /* NULL for SN_FAULT_NONE */
#define SN_FAULT_BIT(fault) (1u << (fault))
#define SN_FAULTS_LOSS	    (SN_FAULT_BIT(SN_FAULT_DROP) | SN_FAULT_BIT(SN_FAULT_CORRUPT))
#define SN_FAULTS_PACKET                                                                           \
	(SN_FAULTS_LOSS | SN_FAULT_BIT(SN_FAULT_DUPLICATE) | SN_FAULT_BIT(SN_FAULT_DELAY))

enum sn_outage { SN_OUTAGE_PORT_DOWN, SN_OUTAGE_STALL, SN_OUTAGE_DEATH, SN_N_OUTAGES };

/* How often one fault strikes. */
struct sn_shm_fault {
	_Atomic uint64_t chance; /* of 2^32 */
	_Atomic uint32_t left;	 /* the one that counts this to 0; 0: not counted */
	_Atomic uint32_t every;	 /* then so many more; 0: no more */
	_Atomic uint64_t delay_ns;
};

struct sn_shm_outage {
	_Atomic uint64_t start_ns;
	_Atomic uint64_t length_ns; /* 0: none */
	_Atomic uint64_t period_ns; /* 0: once */
};

struct sn_shm_faults {
	alignas(64) struct sn_shm_fault fault[SN_N_FAULTS];
	struct sn_shm_outage outage[SN_N_OUTAGES];
};

/* Of an instance's shared state: is there anything to look at? */
#define SN_FAULTY_RULES 1u
#define SN_FAULTY_QP	2u /* sn_shm.qpn_to_break waits */

/* Take @spec over into @faults, one for each device, with times from @now_ns on. 0, or -EINVAL and
 * what is wrong with which item in @error; then some may have been taken over. */
int sn_faults_parse(struct sn_shm_faults *faults, unsigned int n_devices, const char *spec,
		    uint64_t now_ns, char *error, size_t error_bytes);

/* The same for a running instance. */
int sn_faults_set(struct sn_shm *shm, const char *spec, char *error, size_t error_bytes);
void sn_faults_clear(struct sn_shm *shm, unsigned int device);

/* True while @outage lasts. */
bool sn_outage_is_on(const struct sn_shm_outage *outage, uint64_t now_ns);

/* ---- the NIC's side: fault_draw.c ---- */

struct sn_faults {
	bool on; /* as of this pass */
	bool stalled[8];
};
extern struct sn_faults sn_faults;

/* Takes the seed from the environment. */
void sn_faults_init(void);

/* What begins or ends now: once a pass. */
void sn_faults_watch(void);

enum sn_fault sn_faults_draw(unsigned int device, uint32_t kinds);

/* What strikes @device now, of the @kinds that can; counted. */
static inline enum sn_fault
sn_fault_draw(unsigned int device, uint32_t kinds)
{
	return __builtin_expect(sn_faults.on, 0) ? sn_faults_draw(device, kinds) : SN_FAULT_NONE;
}

/* For a SN_FAULT_DELAY. */
uint64_t sn_fault_delay_ns(unsigned int device);

static inline bool
sn_fault_is_stalled(unsigned int device)
{
	return __builtin_expect(sn_faults.on, 0) && sn_faults.stalled[device];
}

#endif
