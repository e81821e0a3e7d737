/* SPDX-License-Identifier: BSD-3-Clause */
#include "qp.h"
#include "transit.h"

static bool
is_loss(enum sn_fault fault)
{
	return fault == SN_FAULT_DROP || fault == SN_FAULT_CORRUPT;
}

static enum sn_fault
arrive(unsigned int device, uint32_t kinds)
{
	enum sn_fault fault = sn_fault_draw(device, kinds);

	if (fault == SN_FAULT_CORRUPT)
		sn_nic_count(device, SN_CNT_ICRC_ERRORS, 1);
	return fault;
}

enum sn_fault
sn_transit_send(struct sn_qp *qp, int to, bool is_read)
{
	struct sn_transit *transit = &qp->transit;
	enum sn_fault fault;

	if (transit->is_drawn && transit->index == qp->sq_ci)
		return SN_FAULT_NONE;
	transit->is_drawn = false;
	if (to < 0)
		return SN_FAULT_NONE; /* nobody's; it is lost anyhow */
	if (sn_fault_is_stalled((unsigned int)to))
		return SN_FAULT_DROP;
	if (sn_fault_draw(qp->device, SN_FAULT_BIT(SN_FAULT_QP_ERROR)))
		return SN_FAULT_QP_ERROR;
	fault = arrive((unsigned int)to, SN_FAULTS_PACKET);
	/* A READ whose answer is lost is executed again from the start, as one that was lost. */
	if (fault == SN_FAULT_NONE && is_read)
		fault = arrive(qp->device, SN_FAULTS_LOSS);
	transit->is_drawn = !is_loss(fault);
	transit->index = qp->sq_ci;
	transit->is_twice = fault == SN_FAULT_DUPLICATE;
	return fault;
}

bool
sn_transit_loses_answer(struct sn_qp *qp)
{
	return is_loss(arrive(qp->device, SN_FAULTS_LOSS));
}
