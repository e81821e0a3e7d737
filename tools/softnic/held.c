/* SPDX-License-Identifier: BSD-3-Clause */
#include <infiniband/verbs.h>
#include <stdlib.h>

#include "copy.h"
#include "grace.h"
#include "held.h"
#include "peer.h"

#define MAX_LINES	4096
#define LINES_PER_WRITE 64

struct line {
	uint64_t addr; /* in the owner's address space */
	uint64_t due_ns;
	uint64_t owner;
	uint64_t serial; /* of the region */
	uint32_t mr;	 /* its index */
	uint32_t qpn;	 /* the responder's */
	uint32_t connection;
	uint8_t device;
	uint8_t n_bytes;
	uint8_t bytes[SN_LINE_BYTES];
};

struct sn_held sn_held;

static struct line lines[MAX_LINES]; /* in no order */
static uint64_t delay_ns;
static uint64_t next_due_ns; /* nothing is due before; maybe nothing then either */
static uint64_t random_state;

/* ---- chance ---- */

/* xorshift64*; Vigna, "An experimental exploration of Marsaglia's xorshift generators". */
uint64_t
sn_held_random(uint64_t n)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (random_state * 2685821657736338717u >> 32) % n;
}

void
sn_held_init(void)
{
	const struct sn_settings *settings = sn_settings_own();
	uint64_t seed = settings->seeded ? settings->seed : sn_now_ns();

	sn_held.n = 0;
	sn_held.one_in = settings->relaxed_one_in;
	delay_ns = settings->ro_window_us * 1000;
	/* Seeds that differ little must not begin alike; and it is never 0. */
	random_state = (seed * 0x9e3779b97f4a7c15u) | 1;
	if (sn_held.one_in)
		SN_LOG("relaxed ordering: one WRITE in %u holds lines back for up to %llu us, "
		       "seed %llu",
		       sn_held.one_in, (unsigned long long)delay_ns / 1000,
		       (unsigned long long)seed);
}

bool
sn_held_chance(void)
{
	return sn_held_random(sn_held.one_in) == 0;
}

uint32_t
sn_held_share(uint64_t n_lines)
{
	uint64_t most = SN_MIN(n_lines, LINES_PER_WRITE);
	uint32_t room = MAX_LINES - sn_held.n;

	return SN_MIN((uint32_t)(1 + sn_held_random(most)), room);
}

/* ---- lines ---- */

uint8_t *
sn_held_add(const struct sn_shm_qp *to, const struct sn_shm_mr *mr, uint64_t addr, uint32_t bytes)
{
	struct line *line = &lines[sn_held.n];

	line->addr = addr;
	line->due_ns = sn_nic.now_ns + delay_ns;
	line->owner = atomic_load(&mr->owner);
	line->serial = atomic_load(&mr->serial);
	line->mr = (uint32_t)(mr - sn_nic.instance.shm->mr);
	line->qpn = atomic_load(&to->qpn);
	line->connection = to->connection;
	line->device = to->device;
	line->n_bytes = (uint8_t)bytes;
	/* All wait equally long, so the first is the first due. */
	if (sn_held.n++ == 0)
		next_due_ns = line->due_ns;
	return line->bytes;
}

/* May it still land? Not if its QP has left RTR and RTS since, nor if its region is gone. */
static bool
is_wanted(const struct line *line)
{
	struct sn_shm *shm = sn_nic.instance.shm;
	struct sn_shm_qp *qp = &shm->qp[line->qpn % SN_MAX_QPS];
	uint32_t state = atomic_load_explicit(&qp->state, memory_order_acquire);

	return atomic_load_explicit(&qp->qpn, memory_order_acquire) == line->qpn &&
	       (state == IBV_QPS_RTR || state == IBV_QPS_RTS) &&
	       qp->connection == line->connection &&
	       atomic_load_explicit(&shm->mr[line->mr].serial, memory_order_acquire) ==
		       line->serial &&
	       sn_member_lives(shm, line->owner);
}

/* Line @i reaches memory, and the last one takes its place. */
static void
deliver(uint32_t i)
{
	struct line *line = &lines[i];

	if (is_wanted(line)) {
		struct iovec local = {.iov_base = line->bytes, .iov_len = line->n_bytes};
		struct sn_shm_mr *mr = &sn_nic.instance.shm->mr[line->mr];
		uint64_t run;
		uint8_t *here = sn_peer_map(mr, line->addr, line->n_bytes, &run);

		if (here)
			sn_copy(here, line->bytes, line->n_bytes);
		else
			sn_peer_write(line->owner, line->addr, &local, 1, line->n_bytes);
	}
	*line = lines[--sn_held.n];
}

void
sn_held_settle(const struct sn_shm_qp *to, uint64_t addr, uint64_t bytes)
{
	uint32_t qpn = atomic_load(&to->qpn);

	for (uint32_t i = sn_held.n; i-- > 0;) {
		const struct line *line = &lines[i];

		if (line->qpn == qpn && line->addr < addr + bytes &&
		    addr < line->addr + line->n_bytes)
			deliver(i);
	}
}

void
sn_held_deliver(unsigned int device)
{
	/* A shuffle from the end. What deliver() moves into a gap has been looked at. */
	for (uint32_t i = sn_held.n; i-- > 0;) {
		uint32_t other = (uint32_t)sn_held_random(i + 1);
		struct line line = lines[i];

		lines[i] = lines[other];
		lines[other] = line;
		if (lines[i].device == device)
			deliver(i);
	}
}

void
sn_held_expire(uint64_t now_ns)
{
	if (sn_held.n == 0 || now_ns < next_due_ns)
		return;
	next_due_ns = UINT64_MAX;
	sn_grace_enter(sn_nic.port);
	for (uint32_t i = sn_held.n; i-- > 0;) {
		if (lines[i].due_ns <= now_ns)
			deliver(i);
		else
			next_due_ns = SN_MIN(next_due_ns, lines[i].due_ns);
	}
	sn_copy_fence();
	sn_grace_leave(sn_nic.port);
}
