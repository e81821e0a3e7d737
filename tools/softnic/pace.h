/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The links of the devices: how fast each sends and receives, and how far away the others are
 * (`--rate`, `--delay-us`). Their state is the instance's, for a device serves many processes.
 *
 * A link is two clocks, for what it sends and what it receives: until when each is taken by what it
 * has accepted. A device accepts a little ahead of time, so that a NIC's thread need not be there
 * to the microsecond, but no more than that, so that those who share a link get their turns.
 */
#ifndef SN_PACE_H
#define SN_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* Has any device of the instance a rate or a delay? */
bool sn_pace_any_shaped(void);

/*
 * Send @bytes, which the sender had ready at @ready_ns. True: they are on their way, and the last
 * of them arrives at *@at_ns. False: a link has accepted enough; ask again at *@at_ns.
 */
bool sn_pace_send(unsigned int from, unsigned int to, uint64_t bytes, uint64_t ready_ns,
		  uint64_t *at_ns);

/* How long what @from sends is under way. */
uint64_t sn_pace_delay_ns(unsigned int from);

#endif
