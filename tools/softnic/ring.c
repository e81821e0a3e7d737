/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A bounded ring whose slots say who is filling them.
 *
 * Each slot has one word, lap << 32 | producer << 2 | state. A producer takes a slot by one
 * compare-and-swap FREE -> CLAIMED that also writes its name, fills it, and sets PUBLISHED. So a
 * producer that dies in between has left its name: the consumer sees a claim by a member that no
 * longer lives, and skips it. ring_head is only where to start looking; anybody may help it on.
 * Zeroed memory is an empty ring at lap 0, and a slot's next member goes on where the last stopped.
 */
#include <stddef.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ring.h"

enum { SLOT_FREE, SLOT_CLAIMED, SLOT_PUBLISHED };

#define WORD_STATE(w)	 ((w)&3u)
#define WORD_PRODUCER(w) (((w) >> 2) & 0x3fffffffu)
#define WORD_LAP(w)	 ((uint32_t)((w) >> 32))

static uint64_t
make_word(uint64_t position, uint64_t producer, unsigned int state)
{
	return (position / SN_RING_SLOTS) << 32 | (producer & 0x3fffffffu) << 2 | state;
}

static void
wake(struct sn_shm_port *port)
{
	/* Orders the publication before the load of asleep; the sleeper's fence in nic.c stands
	 * between its store of asleep and its last look at the ring. One of the two sees the
	 * other. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&port->asleep, memory_order_relaxed) &&
	    atomic_exchange(&port->asleep, 0))
		syscall(SYS_futex, &port->asleep, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void
copy_packet(struct sn_packet *to, const struct sn_packet *from)
{
	size_t bytes = offsetof(struct sn_packet, sge);

	bytes += from->is_inline ? from->len : from->n_sge * sizeof(from->sge[0]);
	memcpy(to, from, bytes);
}

bool
sn_ring_push(struct sn_shm *shm, uint64_t from, uint64_t to, const struct sn_packet *packet)
{
	struct sn_shm_port *port = &shm->port[SN_ID_SLOT(to)];
	uint64_t head = atomic_load_explicit(&port->ring_head, memory_order_acquire);

	for (;;) {
		struct sn_ring_slot *slot = &port->ring[head % SN_RING_SLOTS];
		uint64_t word = atomic_load_explicit(&slot->word, memory_order_acquire);
		uint32_t lap = (uint32_t)(head / SN_RING_SLOTS);
		uint64_t seen = head;

		if (WORD_LAP(word) == lap && WORD_STATE(word) == SLOT_FREE) {
			if (!atomic_compare_exchange_strong(&slot->word, &word,
							    make_word(head, from, SLOT_CLAIMED)))
				continue;
			atomic_compare_exchange_strong(&port->ring_head, &seen, head + 1);
			copy_packet(&slot->packet, packet);
			/* Publishes the packet to the acquire in sn_ring_peek(). */
			atomic_store_explicit(&slot->word, make_word(head, from, SLOT_PUBLISHED),
					      memory_order_release);
			wake(port);
			return true;
		}
		if (WORD_LAP(word) == lap) {
			/* Taken by another who has not moved the head yet: help. */
			if (atomic_compare_exchange_strong(&port->ring_head, &seen, head + 1))
				head++;
			else
				head = seen;
			continue;
		}
		if (WORD_LAP(word) == lap - 1)
			return false;
		head = atomic_load_explicit(&port->ring_head, memory_order_acquire);
	}
}

static bool
claimer_lives(struct sn_shm *shm, uint64_t word)
{
	uint64_t producer = WORD_PRODUCER(word);
	uint64_t life = atomic_load(&shm->member[SN_ID_SLOT(producer)].life);

	return life && (life & 0x3fffffffu) == producer;
}

const struct sn_packet *
sn_ring_peek(struct sn_shm *shm, uint32_t slot)
{
	struct sn_shm_port *port = &shm->port[slot];

	for (;;) {
		struct sn_ring_slot *s = &port->ring[port->ring_tail % SN_RING_SLOTS];
		uint64_t word = atomic_load_explicit(&s->word, memory_order_acquire);

		if (WORD_LAP(word) != (uint32_t)(port->ring_tail / SN_RING_SLOTS))
			return NULL;
		if (WORD_STATE(word) == SLOT_PUBLISHED)
			return &s->packet;
		if (WORD_STATE(word) == SLOT_FREE || claimer_lives(shm, word))
			return NULL;
		sn_ring_pop(shm, slot); /* it died while filling this slot */
	}
}

void
sn_ring_pop(struct sn_shm *shm, uint32_t slot)
{
	struct sn_shm_port *port = &shm->port[slot];
	struct sn_ring_slot *s = &port->ring[port->ring_tail % SN_RING_SLOTS];

	/* Gives the slot back: the packet has been read before this. */
	atomic_store_explicit(&s->word, make_word(port->ring_tail + SN_RING_SLOTS, 0, SLOT_FREE),
			      memory_order_release);
	port->ring_tail++;
}
