/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A line's place is free while its address is 0. It is filled before it has an address and emptied
 * after it was delivered, and pages[] has its bit for longer still; so who is killed in between
 * leaves a line that was not sent yet, or one that is delivered twice before anything newer is.
 */
#include <errno.h>
#include <infiniband/verbs.h>

#include "copy.h"
#include "grace.h"
#include "held.h"
#include "peer.h"

struct sn_held sn_held;

static uint64_t delay_ns;
static uint64_t random_state;

static_assert(SN_HELD_LINES == 64, "sn_held_share() draws powers of two up to that");

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
sn_held_draw(void)
{
	sn_held.until_next = 1 + sn_held_random(2 * (uint64_t)sn_held.one_in - 1);
}

uint32_t
sn_held_share(uint64_t n_lines)
{
	/* Few more often than many: one missing line shows as well as 64, and costs less. */
	uint32_t most = 1u << sn_held_random(7);

	return (uint32_t)SN_MIN(n_lines, most);
}

/* ---- a member's lines ---- */

struct lines {
	struct sn_shm_held *held;
	pthread_mutex_t *lock;
	bool entered;
};

static struct lines
lines_lock(uint64_t owner)
{
	struct sn_shm *shm = sn_nic.instance.shm;
	struct lines lines = {.held = &shm->port[SN_ID_SLOT(owner)].held,
			      .lock = &shm->member[SN_ID_SLOT(owner)].held_lock};

	/* Commands, and a NIC that completes a receive, come from outside. */
	lines.entered = !(atomic_load_explicit(&sn_nic.port->epoch, memory_order_relaxed) & 1);
	if (lines.entered)
		sn_grace_enter(sn_nic.port);
	if (pthread_mutex_lock(lines.lock) == EOWNERDEAD)
		pthread_mutex_consistent(lines.lock);
	return lines;
}

static void
lines_unlock(const struct lines *lines)
{
	sn_copy_fence();
	pthread_mutex_unlock(lines->lock);
	if (lines->entered)
		sn_grace_leave(sn_nic.port);
}

static void
write_line(struct sn_shm_mr *mr, uint64_t addr, const uint8_t *bytes, uint32_t n)
{
	struct iovec local = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
	uint64_t run;
	uint8_t *here = sn_peer_map(mr, addr, n, &run);

	if (here)
		sn_copy(here, bytes, n);
	else
		sn_peer_write(atomic_load(&mr->owner), addr, &local, 1, n);
}

/* Line @i reaches memory, unless its region is gone. */
static void
deliver(const struct lines *lines, unsigned int i)
{
	const struct sn_shm_line *line = &lines->held->line[i];
	struct sn_shm_mr *mr = &sn_nic.instance.shm->mr[line->mr];

	if (atomic_load_explicit(&mr->serial, memory_order_acquire) == line->serial)
		write_line(mr, atomic_load(&lines->held->addr[i]), line->bytes, line->n_bytes);
	atomic_store_explicit(&lines->held->addr[i], 0, memory_order_release);
}

/* After some were delivered: which pages the rest is on, and when the first of it is due. */
static void
summarize(struct sn_shm_held *held)
{
	uint64_t pages[SN_MAX_DEVICES] = {0}, due_ns = UINT64_MAX;

	for (unsigned int i = 0; i < SN_HELD_LINES; i++) {
		uint64_t addr = atomic_load(&held->addr[i]);

		if (!addr)
			continue;
		pages[held->line[i].device] |= sn_held_pages(addr, held->line[i].n_bytes);
		due_ns = SN_MIN(due_ns, held->line[i].due_ns);
	}
	for (unsigned int device = 0; device < SN_MAX_DEVICES; device++)
		atomic_store_explicit(&held->pages[device], pages[device], memory_order_release);
	atomic_store_explicit(&held->next_due_ns, due_ns, memory_order_release);
}

void
sn_held_keep(const struct sn_shm_qp *to, struct sn_shm_mr *mr, const struct sn_line *from,
	     unsigned int n)
{
	struct lines lines = lines_lock(atomic_load(&mr->owner));
	struct sn_shm_held *held = lines.held;
	unsigned int place = 0;

	for (unsigned int i = 0; i < n; i++) {
		while (place < SN_HELD_LINES && atomic_load(&held->addr[place]))
			place++;
		if (place == SN_HELD_LINES) {
			write_line(mr, from[i].addr, from[i].bytes, from[i].n_bytes);
			continue;
		}
		held->line[place] = (struct sn_shm_line){
			.due_ns = sn_nic.now_ns + delay_ns,
			.serial = atomic_load(&mr->serial),
			.mr = (uint32_t)(mr - sn_nic.instance.shm->mr),
			.qpn = atomic_load(&to->qpn),
			.device = to->device,
			.n_bytes = (uint8_t)from[i].n_bytes,
		};
		memcpy(held->line[place].bytes, from[i].bytes, from[i].n_bytes);
		atomic_fetch_or(&held->pages[to->device],
				sn_held_pages(from[i].addr, from[i].n_bytes));
		atomic_store_explicit(&held->addr[place], from[i].addr, memory_order_release);
	}
	summarize(held);
	lines_unlock(&lines);
}

void
sn_held_deliver_overlap(const struct sn_shm_qp *to, uint64_t addr, uint64_t bytes)
{
	struct lines lines = lines_lock(atomic_load(&to->owner));
	uint32_t qpn = atomic_load(&to->qpn);

	for (unsigned int i = 0; i < SN_HELD_LINES; i++) {
		uint64_t at = atomic_load_explicit(&lines.held->addr[i], memory_order_relaxed);

		if (at && lines.held->line[i].qpn == qpn && at < addr + bytes &&
		    addr < at + lines.held->line[i].n_bytes)
			deliver(&lines, i);
	}
	summarize(lines.held);
	lines_unlock(&lines);
}

void
sn_held_deliver(uint64_t owner, unsigned int device)
{
	struct lines lines = lines_lock(owner);
	uint8_t order[SN_HELD_LINES];

	/* Fisher and Yates's shuffle. */
	for (unsigned int i = 0; i < SN_HELD_LINES; i++) {
		unsigned int j = (unsigned int)sn_held_random(i + 1);

		order[i] = order[j];
		order[j] = (uint8_t)i;
	}
	for (unsigned int i = 0; i < SN_HELD_LINES; i++) {
		if (atomic_load(&lines.held->addr[order[i]]) &&
		    lines.held->line[order[i]].device == device)
			deliver(&lines, order[i]);
	}
	summarize(lines.held);
	lines_unlock(&lines);
}

void
sn_held_expire(uint64_t now_ns)
{
	if (now_ns < atomic_load_explicit(&sn_nic.port->held.next_due_ns, memory_order_relaxed))
		return;
	struct lines lines = lines_lock(sn_nic.instance.id);

	for (unsigned int i = 0; i < SN_HELD_LINES; i++) {
		if (atomic_load(&lines.held->addr[i]) && lines.held->line[i].due_ns <= now_ns)
			deliver(&lines, i);
	}
	summarize(lines.held);
	lines_unlock(&lines);
}

void
sn_held_init(void)
{
	const struct sn_settings *settings = sn_settings_own();
	uint64_t seed = settings->seeded ? settings->seed : sn_now_ns();
	struct lines lines = lines_lock(sn_nic.instance.id);

	for (unsigned int i = 0; i < SN_HELD_LINES; i++)
		atomic_store(&lines.held->addr[i], 0);
	summarize(lines.held);
	lines_unlock(&lines);
	sn_held.one_in = settings->relaxed_one_in;
	delay_ns = settings->ro_window_us * 1000;
	/* Seeds that differ little must not begin alike; and it is never 0. */
	random_state = (seed * 0x9e3779b97f4a7c15u) | 1;
	if (!sn_held.one_in)
		return;
	sn_held_draw();
	SN_LOG("relaxed ordering: one WRITE in %u holds lines back for up to %llu us, seed %llu",
	       sn_held.one_in, (unsigned long long)delay_ns / 1000, (unsigned long long)seed);
}
