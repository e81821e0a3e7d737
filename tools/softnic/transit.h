/* SPDX-License-Identifier: BSD-3-Clause */
/* What faults do to the requests of a QP on the local wire, which by itself loses none. */
#ifndef SN_TRANSIT_H
#define SN_TRANSIT_H

#include <stdbool.h>
#include <stdint.h>

#include "faults.h"

struct sn_qp;

struct sn_transit {
	bool is_drawn;	  /* what befalls the request at sq_ci ... */
	uint16_t index;	  /* ... if that is still this one */
	bool is_twice;	  /* it arrives twice */
	bool is_executed; /* it did arrive, and its answer was lost ... */
	uint64_t result;  /* ... which was this, of an atomic */
	/* Something was lost among those at the responder: when all are sent again. 0: not so. */
	uint64_t answer_by_ns;
};

/* What befalls the request at sq_ci, for device @to; drawn once for each time it is sent. */
enum sn_fault sn_transit_send(struct sn_qp *qp, int to, bool is_read);

/* Is the answer that has just come lost? */
bool sn_transit_loses_answer(struct sn_qp *qp);

#endif
