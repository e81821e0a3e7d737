/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The adversary of --relaxed: cache lines of a WRITE to relaxed-ordered memory that stay behind,
 * as posted PCIe writes may, when the WRITE is acknowledged. They wait in the shared state, with
 * the member whose memory they are for, until a NIC does something that pushes them: whoever makes
 * that device write a completion or strict data, or read, in that member's memory; or until newer
 * bytes come for them on their QP; or until their time is up.
 *
 * All is called on a NIC thread or by a command, with sn_nic.lock held.
 */
#ifndef SN_HELD_H
#define SN_HELD_H

#include "nic.h"

#define SN_LINE_BYTES 64u

struct sn_held {
	uint32_t one_in;     /* of so many WRITEs one holds lines back; 0: off */
	uint64_t until_next; /* the WRITE that counts this to 0 is the next */
};
extern struct sn_held sn_held;

struct sn_line {
	uint64_t addr; /* in the address space of the region's owner */
	uint32_t n_bytes;
	uint8_t bytes[SN_LINE_BYTES];
};

/* Takes the settings from the environment; what a predecessor was sent is gone. */
void sn_held_init(void);

/* Below @n, which is not 0. */
uint64_t sn_held_random(uint64_t n);

/* Draws the next chance. */
void sn_held_draw(void);

/* True for one WRITE in sn_held.one_in, on average. */
static inline bool
sn_held_chance(void)
{
	if (__builtin_expect(--sn_held.until_next != 0, 1))
		return false;
	sn_held_draw();
	return true;
}

/* How many of a WRITE's @n_lines to hold: at least one, at most SN_HELD_LINES. */
uint32_t sn_held_share(uint64_t n_lines);

/* Hold @n lines that @to was sent for @mr. Those there is no room for are delivered instead. Inside
 * the epoch. */
void sn_held_keep(const struct sn_shm_qp *to, struct sn_shm_mr *mr, const struct sn_line *lines,
		  unsigned int n);

/* A bit for each page of these bytes, of 64 that pages share. */
static inline uint64_t
sn_held_pages(uint64_t addr, uint64_t bytes)
{
	uint64_t first = addr / SN_PAGE_BYTES, n = (addr + bytes - 1) / SN_PAGE_BYTES - first + 1;
	uint64_t mask = n >= 64 ? ~0ull : (1ull << n) - 1;
	unsigned int shift = first % 64;

	return shift ? mask << shift | mask >> (64 - shift) : mask;
}

static inline uint64_t
sn_held_of(uint64_t owner, unsigned int device)
{
	const struct sn_shm_port *port = &sn_nic.instance.shm->port[SN_ID_SLOT(owner)];

	return atomic_load_explicit(&port->held.pages[device], memory_order_acquire);
}

void sn_held_deliver(uint64_t owner, unsigned int device);
void sn_held_deliver_overlap(const struct sn_shm_qp *to, uint64_t addr, uint64_t bytes);

/* @device reads, or writes in strict order, in memory of @owner's: nothing stays behind. */
static inline void
sn_held_push(uint64_t owner, unsigned int device)
{
	if (__builtin_expect(sn_held_of(owner, device) != 0, 0))
		sn_held_deliver(owner, device);
}

/* Newer bytes are coming for what @to was sent. */
static inline void
sn_held_settle(const struct sn_shm_qp *to, uint64_t addr, uint64_t bytes)
{
	if (__builtin_expect(sn_held_of(atomic_load(&to->owner), to->device) &
				     sn_held_pages(addr, bytes),
			     0))
		sn_held_deliver_overlap(to, addr, bytes);
}

/* Deliver what our own devices were sent and is due at @now_ns. */
void sn_held_expire(uint64_t now_ns);

#endif
