/* SPDX-License-Identifier: BSD-3-Clause */
#include <infiniband/mlx5dv.h>

#include "copy.h"
#include "gather.h"
#include "peer.h"
#include "qp.h"

#define MAX_WRITES 32
#define MAX_LOCAL  (MAX_WRITES * 2)

/* A WRITE that waits. */
struct waiting {
	uint64_t len;
	uint32_t psn;
	uint16_t index;
	bool signaled;
};

static struct waiting waiting[MAX_WRITES];
static struct iovec remote[MAX_WRITES], local[MAX_LOCAL];
static size_t n_local;
static uint64_t owner;
unsigned int sn_gather_n;

/* The WRITE that made a call fail, to be tried alone. */
static const struct sn_qp *failed_qp;
static uint32_t failed_psn;

bool
sn_gather_add(const struct sn_qp *qp, const struct sn_request *r, uint64_t to, uint64_t addr)
{
	if (sn_gather_n == MAX_WRITES || n_local + r->n_sge > MAX_LOCAL ||
	    (sn_gather_n && to != owner) || (qp == failed_qp && qp->tx_psn == failed_psn))
		return false;
	waiting[sn_gather_n] = (struct waiting){
		.len = r->len, .psn = qp->tx_psn, .index = r->index, .signaled = r->signaled};
	remote[sn_gather_n++] =
		(struct iovec){.iov_base = (void *)(uintptr_t)addr, .iov_len = r->len};
	for (unsigned int i = 0; i < r->n_sge; i++)
		local[n_local++] = r->sge[i];
	owner = to;
	return true;
}

static void
go_back(struct sn_qp *qp, const struct waiting *w)
{
	struct sn_shm_qp *to = &sn_nic.instance.shm->qp[qp->attr.dest_qp_num % SN_MAX_QPS];

	qp->sq_ci = w->index;
	qp->tx_psn = w->psn;
	atomic_store_explicit(&to->rx_psn, w->psn, memory_order_release);
	failed_qp = qp;
	failed_psn = w->psn;
}

bool
sn_gather_execute(struct sn_qp *qp)
{
	unsigned int n = sn_gather_n, i;
	uint64_t moved;

	sn_copy_fence(); /* what was copied before is there before */
	moved = sn_peer_write_many(owner, local, n_local, remote, n);
	failed_qp = NULL;
	sn_gather_n = 0;
	n_local = 0;
	for (i = 0; i < n && moved >= waiting[i].len; i++) {
		moved -= waiting[i].len;
		if (waiting[i].signaled)
			sn_qp_complete_send(qp, MLX5_OPCODE_RDMA_WRITE, waiting[i].index,
					    waiting[i].len, 0);
	}
	if (i < n)
		go_back(qp, &waiting[i]);
	return i == n;
}
