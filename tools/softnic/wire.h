/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What carries requests to the QP at the other end. The NIC thread knows a wire by these calls
 * alone, all made with sn_nic.lock held but for sleep. One wire serves all QPs of an instance.
 *
 * local  between the processes of one machine (wire_local.c)
 * null   the same, but the payload of WRITE and READ stays where it is
 * roce   between machines, containers and network namespaces, by RoCEv2 packets (wire_roce.c)
 */
#ifndef SN_WIRE_H
#define SN_WIRE_H

#include <stdbool.h>
#include <stdint.h>

struct sn_qp;

struct sn_wire {
	const char *name;
	bool has_windows; /* and SEND that invalidates them */

	/* On the NIC thread, once the instance is joined, and before it is left; close also in the
	 * child of a fork, which has no NIC. 0 or -errno. May be NULL. */
	int (*open)(void);
	void (*close)(void);

	/* The QP goes to RTR: qp->attr names its peer, unless it is UD. 0, or -errno if it cannot
	 * be one. */
	int (*connect)(struct sn_qp *qp);

	/* The QP left RTR and RTS, for ERR, RESET or for good: nothing more is sent for it, and
	 * what still arrives is not its own. May be NULL. */
	void (*disconnect)(struct sn_qp *qp);

	/* Give a QP on sn_nic.active its share of a pass: execute what was announced, or go on with
	 * it. True if something was done. Takes the QP off the list when nothing is left to do or
	 * to wait for. */
	bool (*run)(struct sn_qp *qp);

	/* Receive: deal with up to @budget things that have arrived. Returns how many. */
	unsigned int (*poll)(unsigned int budget);

	/* Sleep until something arrives, but no longer than @ns. Without sn_nic.lock. */
	void (*sleep)(uint64_t ns);
};

extern const struct sn_wire sn_wire_local, sn_wire_null, sn_wire_roce;

#endif
