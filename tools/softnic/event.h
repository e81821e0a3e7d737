/* SPDX-License-Identifier: BSD-3-Clause */
/* A queue of events the program reads from a descriptor: completion channels, async events. */
#ifndef SN_EVENT_H
#define SN_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sn_event_queue {
	int read_fd;	      /* the program's */
	int write_fd;	      /* the NIC's; -1: closed */
	unsigned int n_users; /* CQs, or the context itself */
	bool program_open;
};

/* Both ends; on success *@out is the new queue. */
int sn_event_queue_create(struct sn_event_queue **out);

/* One user fewer, or the program closed its end: frees the queue when both are gone. */
void sn_event_queue_put(struct sn_event_queue *queue);
void sn_event_queue_closed(struct sn_event_queue *queue);

/* False: the program does not read and the queue is full; try again later. */
bool sn_event_queue_push(struct sn_event_queue *queue, const void *event, size_t bytes);

/*
 * The object with this user handle goes away, after @n_pushed events about it: drop those the
 * program has not read, and return how many it has been given. No queue, none given.
 */
uint32_t sn_event_queue_given(struct sn_event_queue *queue, uint64_t user_handle,
			      uint32_t n_pushed);

#endif
