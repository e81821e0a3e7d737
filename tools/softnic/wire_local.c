/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The wire between the processes of one machine.
 *
 * WRITE and READ: the requester's NIC looks up the peer's QP and MR in the instance's shared
 * tables, inside its epoch, and moves the bytes itself. The rest goes through the peer's mailbox.
 */
#include <errno.h>
#include <infiniband/mlx5dv.h>
#include <linux/futex.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "carry.h"
#include "copy.h"
#include "datagram.h"
#include "gather.h"
#include "grace.h"
#include "held.h"
#include "link.h"
#include "mr.h"
#include "peer.h"
#include "qp.h"
#include "requester.h"
#include "responder.h"
#include "ring.h"
#include "trace.h"
#include "wire_local.h"

#define PIECE_BYTES (256u << 10) /* how often a long request looks at its rkey again */

/* Answers that found the peer's mailbox full. */
struct pending {
	TAILQ_ENTRY(pending) link;
	struct sn_packet packet; /* without payload */
};
static TAILQ_HEAD(, pending) backlog = TAILQ_HEAD_INITIALIZER(backlog);

static bool carries = true; /* false: the null wire */

/* ---- the other end ---- */

static int
local_connect(struct sn_qp *qp)
{
	qp->dest_device =
		(int8_t)sn_device_of_gid(&sn_nic.instance.shm->fabric, qp->attr.dest.dgid);
	return 0;
}

void
sn_local_begin(void)
{
	sn_grace_enter(sn_nic.port);
}

void
sn_local_end(void)
{
	/* What was copied is visible before the epoch is even: who waits for it may reuse the
	 * memory. */
	sn_copy_fence();
	sn_grace_leave(sn_nic.port);
}

static bool
path_is_up(const struct sn_qp *qp, const struct sn_shm_qp *to)
{
	return sn_link_is_up(sn_nic.instance.shm, qp->device) &&
	       sn_link_is_up(sn_nic.instance.shm, to->device);
}

/* The peer's QP, if it would take a packet from us now. Inside the epoch. */
static struct sn_shm_qp *
find_peer(const struct sn_qp *qp)
{
	struct sn_shm *shm = sn_nic.instance.shm;
	struct sn_shm_qp *to = &shm->qp[qp->attr.dest_qp_num % SN_MAX_QPS];
	uint32_t state = atomic_load_explicit(&to->state, memory_order_acquire);

	if (atomic_load_explicit(&to->qpn, memory_order_acquire) != qp->attr.dest_qp_num ||
	    (state != IBV_QPS_RTR && state != IBV_QPS_RTS) || to->dest_qpn != qp->qpn ||
	    to->type != qp->type || to->device != qp->dest_device || !path_is_up(qp, to))
		return NULL;
	return sn_member_lives(shm, atomic_load(&to->owner)) ? to : NULL;
}

/* Tell the peer's NIC that its QP has to break. */
static void
report_fault(struct sn_qp *qp, const struct sn_request *r, struct sn_shm_qp *to, enum sn_fate fate)
{
	struct sn_packet packet;

	memset(&packet, 0, offsetof(struct sn_packet, sge));
	packet.type = SN_PKT_FAULT;
	packet.opcode = r->opcode;
	packet.fate = (uint8_t)fate;
	packet.src_qpn = qp->qpn;
	packet.dst_qpn = qp->attr.dest_qp_num;
	packet.raddr = r->raddr;
	packet.len = r->len;
	packet.rkey = r->rkey;
	if (fate == SN_NAK_ACCESS)
		sn_nic_count(qp->device, SN_CNT_REQ_ACCESS_ERRORS, 1);
	packet.connection = to->connection;
	sn_local_answer(atomic_load(&to->owner), &packet);
}

/* ---- checks the responder's hardware would make ---- */

static uint32_t
right_needed(uint8_t opcode)
{
	switch (opcode) {
	case MLX5_OPCODE_RDMA_READ:
		return IBV_ACCESS_REMOTE_READ;
	case MLX5_OPCODE_ATOMIC_CS:
	case MLX5_OPCODE_ATOMIC_FA:
		return IBV_ACCESS_REMOTE_ATOMIC;
	default:
		return IBV_ACCESS_REMOTE_WRITE;
	}
}

static enum sn_fate
check_qp(const struct sn_qp *qp, const struct sn_request *r, const struct sn_shm_qp *to)
{
	bool takes_turn = right_needed(r->opcode) != IBV_ACCESS_REMOTE_WRITE;
	uint32_t peer_mtu;

	if (!to)
		return SN_LOST;
	peer_mtu = 1u << to->mtu_log2;
	if (qp->type == IB_UVERBS_QPT_RC &&
	    atomic_load_explicit(&to->rx_psn, memory_order_acquire) != qp->tx_psn) {
		sn_nic_count(to->device, SN_CNT_PSN_ERRORS, 1);
		return SN_LOST;
	}
	/* Packets larger than the peer's MTU, or a first packet shorter than it, are length errors.
	 */
	if (peer_mtu != qp->mtu_bytes && r->len > SN_MIN(peer_mtu, qp->mtu_bytes))
		return SN_NAK_INVALID;
	if (takes_turn && to->max_dest_rd_atomic == 0)
		return SN_NAK_INVALID;
	return SN_DONE;
}

/* The region the request names, if it may. *@fate says why not. */
static struct sn_shm_mr *
check_region(const struct sn_request *r, const struct sn_shm_qp *to, enum sn_fate *fate)
{
	uint32_t right = right_needed(r->opcode);
	/* What an atomic's scatter list says is for the old value. */
	uint64_t len = right == IBV_ACCESS_REMOTE_ATOMIC ? sizeof(uint64_t) : r->len;
	struct sn_shm_mr *mr = sn_mr_find(r->rkey);

	if ((atomic_load(&to->access) & right) && mr && mr->pd == to->pd &&
	    atomic_load(&mr->owner) == atomic_load(&to->owner) && (mr->access & right) &&
	    sn_mr_covers(mr, r->raddr, len) &&
	    sn_mr_serves(sn_nic.instance.shm, mr, atomic_load(&to->qpn)))
		return mr;
	*fate = SN_NAK_ACCESS;
	return NULL;
}

/* ---- direct requests ---- */

static enum sn_fate
fate_of_error(int err, uint64_t owner)
{
	if (err == -ESRCH) {
		sn_instance_check_member(sn_nic.instance.shm, SN_ID_SLOT(owner));
		return SN_LOST;
	}
	return SN_NAK_REMOTE;
}

static void
count_at_peer(const struct sn_shm_qp *to, const struct sn_request *r, bool is_read)
{
	sn_nic_count(to->device, is_read ? SN_CNT_XMIT_BYTES : SN_CNT_RCV_BYTES, r->len);
	sn_nic_count(to->device, is_read ? SN_CNT_XMIT_PACKETS : SN_CNT_RCV_PACKETS, r->n_psn);
	sn_nic_count(to->device, is_read ? SN_CNT_RX_READS : SN_CNT_RX_WRITES, 1);
}

/* Has the responder executed it before? Then it knows the answer, and is asked again. */
static bool
is_duplicate(const struct sn_qp *qp, const struct sn_shm_qp *to)
{
	uint32_t gap;

	if (!to || qp->type != IB_UVERBS_QPT_RC)
		return false;
	gap = (atomic_load_explicit(&to->rx_psn, memory_order_acquire) - qp->tx_psn) & 0xffffff;
	return gap && !(gap & 0x800000);
}

static enum sn_fate
execute_piece(struct sn_qp *qp, struct sn_request *r, struct sn_shm_qp *to, uint64_t *budget)
{
	uint64_t bytes = r->here_bytes - r->done_bytes;
	enum sn_fate fate;

	if (r->opcode == MLX5_OPCODE_RDMA_WRITE_IMM && is_duplicate(qp, to)) {
		r->done_bytes = r->len;
		return SN_DONE;
	}
	fate = check_qp(qp, r, to);
	if (fate != SN_DONE)
		return fate;
	if (r->len) { /* an empty request does not look at its key */
		struct sn_shm_mr *mr = check_region(r, to, &fate);

		if (!mr)
			return fate;
		if (carries) {
			uint64_t addr = r->raddr + r->done_bytes - mr->iova + mr->start;
			int err;

			bytes = SN_MIN(bytes, PIECE_BYTES);
			err = sn_carry_piece(mr, to, r, addr, bytes);
			if (err)
				return fate_of_error(err, atomic_load(&to->owner));
			*budget -= SN_MIN(*budget, bytes);
		}
		r->done_bytes += bytes;
	}
	if (r->done_bytes == r->len) {
		count_at_peer(to, r, r->opcode == MLX5_OPCODE_RDMA_READ);
		/* With an immediate, the responder takes the last step. */
		if (r->opcode == MLX5_OPCODE_RDMA_WRITE_IMM)
			return SN_DONE;
		if (__builtin_expect(sn_trace_on, 0))
			sn_trace_direct(qp, r);
		atomic_store_explicit(&to->rx_psn, sn_psn_add(qp->tx_psn, r->n_psn),
				      memory_order_release);
	}
	return SN_DONE;
}

enum sn_fate
sn_local_execute(struct sn_qp *qp, struct sn_request *r, uint64_t *budget)
{
	struct sn_shm_qp *to = find_peer(qp);
	enum sn_fate fate = execute_piece(qp, r, to, budget);

	if (fate > SN_RNR && qp->type == IB_UVERBS_QPT_RC)
		report_fault(qp, r, to, fate);
	return fate;
}

bool
sn_local_gather(const struct sn_qp *qp, const struct sn_request *r)
{
	struct sn_shm_qp *to = find_peer(qp);
	enum sn_fate fate = check_qp(qp, r, to);
	struct sn_shm_mr *mr = fate == SN_DONE ? check_region(r, to, &fate) : NULL;
	uint64_t owner, addr;

	if (!mr || mr->n_extents || !carries)
		return false;
	owner = atomic_load(&mr->owner);
	addr = r->raddr - mr->iova + mr->start;
	if (owner == sn_nic.instance.id)
		return false;
	if (mr->access & IBV_ACCESS_RELAXED_ORDERING) {
		if (sn_carry_draws())
			return false;
		sn_held_settle(to, addr, r->len);
	} else {
		sn_held_push(atomic_load(&to->owner), to->device);
	}
	if (!sn_gather_add(qp, r, owner, addr))
		return false;
	count_at_peer(to, r, false);
	atomic_store_explicit(&to->rx_psn, sn_psn_add(qp->tx_psn, r->n_psn), memory_order_release);
	return true;
}

bool
sn_local_is_reached(const struct sn_qp *qp)
{
	return find_peer(qp);
}

static enum sn_fate
atomic_inside(struct sn_qp *qp, struct sn_request *r, struct sn_shm_qp *to, uint64_t *old_value)
{
	enum sn_fate fate = is_duplicate(qp, to) ? SN_AGAIN : check_qp(qp, r, to);
	struct sn_shm_mr *mr;
	_Atomic uint64_t *at;
	uint64_t run, value = r->operand[1];

	if (fate != SN_DONE)
		return fate;
	if (r->raddr & 7)
		return SN_NAK_INVALID;
	mr = check_region(r, to, &fate);
	if (!mr)
		return fate;
	at = sn_peer_map(mr, r->raddr - mr->iova + mr->start, sizeof(*at), &run);
	if (!at || run < sizeof(*at) || (uintptr_t)at & 7)
		return SN_AGAIN;
	sn_held_push(atomic_load(&to->owner), to->device);
	sn_copy_fence();
	if (r->opcode == MLX5_OPCODE_ATOMIC_FA)
		value = atomic_fetch_add(at, r->operand[0]);
	else
		atomic_compare_exchange_strong(at, &value, r->operand[0]);
	*old_value = value;
	sn_nic_count(to->device, SN_CNT_RX_ATOMICS, 1);
	if (__builtin_expect(sn_trace_on, 0))
		sn_trace_direct(qp, r);
	atomic_store_explicit(&to->rx_psn, sn_psn_add(qp->tx_psn, r->n_psn), memory_order_release);
	return SN_DONE;
}

enum sn_fate
sn_local_atomic(struct sn_qp *qp, struct sn_request *r, uint64_t *old_value)
{
	struct sn_shm_qp *to = find_peer(qp);
	enum sn_fate fate = atomic_inside(qp, r, to, old_value);

	if (fate > SN_RNR)
		report_fault(qp, r, to, fate);
	return fate;
}

/* ---- packets ---- */

void
sn_local_pack(const struct sn_qp *qp, const struct sn_request *r, struct sn_packet *p)
{
	uint8_t *to = p->payload;

	memset(p, 0, offsetof(struct sn_packet, sge));
	p->type = SN_PKT_REQUEST;
	p->opcode = r->opcode;
	p->solicited = r->solicited;
	p->src_qpn = qp->qpn;
	p->dst_qpn = qp->type == IB_UVERBS_QPT_UD ? r->to.qpn : qp->attr.dest_qp_num;
	p->psn = qp->tx_psn;
	p->n_psn = r->n_psn;
	p->attempt = qp->attempt;
	p->imm_be = r->imm_be;
	p->rkey = r->rkey;
	p->raddr = r->raddr;
	p->len = r->len;
	p->operand[0] = r->operand[0];
	p->operand[1] = r->operand[1];
	if (!sn_is_send(r->opcode))
		return; /* the payload, if any, is in place */
	if (r->len <= SN_PACKET_INLINE_MAX) {
		p->is_inline = true;
		for (unsigned int i = 0; i < r->n_sge; i++) {
			sn_copy_small(to, r->sge[i].iov_base, r->sge[i].iov_len);
			to += r->sge[i].iov_len;
		}
		return;
	}
	p->n_sge = (uint16_t)r->n_sge;
	for (unsigned int i = 0; i < r->n_sge; i++)
		p->sge[i] = (struct sn_packet_sge){.addr = (uintptr_t)r->sge[i].iov_base,
						   .len = r->sge[i].iov_len,
						   .key = r->lkey[i]};
}

static enum sn_fate
push(const struct sn_packet *packet)
{
	if (!sn_ring_push(sn_nic.instance.shm, packet->src, packet->dst, packet))
		return SN_AGAIN;
	if (__builtin_expect(sn_trace_on, 0))
		sn_trace_packet("tx", packet);
	return SN_DONE;
}

enum sn_fate
sn_local_post(struct sn_qp *qp, struct sn_packet *packet)
{
	struct sn_shm_qp *to = find_peer(qp);

	if (!to)
		return SN_LOST;
	sn_copy_fence(); /* earlier writes are there before the message is */
	qp->peer = atomic_load(&to->owner);
	packet->src = sn_nic.instance.id;
	packet->dst = qp->peer;
	packet->connection = to->connection;
	return push(packet);
}

static struct sn_shm_qp *
find_by_address(const struct sn_qp *qp, const struct sn_address *address)
{
	struct sn_shm *shm = sn_nic.instance.shm;
	struct sn_shm_qp *to = &shm->qp[address->qpn % SN_MAX_QPS];

	if (atomic_load_explicit(&to->qpn, memory_order_acquire) != address->qpn ||
	    to->type != IB_UVERBS_QPT_UD ||
	    to->device != sn_device_of_gid(&shm->fabric, address->dgid) || !path_is_up(qp, to))
		return NULL;
	return sn_member_lives(shm, atomic_load(&to->owner)) ? to : NULL;
}

enum sn_fate
sn_local_post_datagram(const struct sn_qp *qp, const struct sn_address *address,
		       struct sn_packet *packet)
{
	struct sn_shm_qp *to = find_by_address(qp, address);
	uint8_t sgid[16];

	if (!to)
		return SN_LOST;
	sn_device_gid(&sn_nic.instance.shm->fabric.device[qp->device], address->sgid_index, sgid);
	sn_grh_format(packet->grh, address, sgid, packet->len);
	packet->qkey = address->qkey;
	packet->src = sn_nic.instance.id;
	packet->dst = atomic_load(&to->owner);
	sn_copy_fence(); /* earlier writes are there before the message is */
	return push(packet);
}

void
sn_local_answer(uint64_t to, struct sn_packet *packet)
{
	struct pending *pending;

	packet->src = sn_nic.instance.id;
	packet->dst = to;
	if (TAILQ_EMPTY(&backlog) && push(packet) == SN_DONE)
		return;
	pending = malloc(sizeof(*pending));
	if (!pending)
		return;
	memcpy(&pending->packet, packet, offsetof(struct sn_packet, sge));
	TAILQ_INSERT_TAIL(&backlog, pending, link);
}

static void
send_backlog(void)
{
	struct sn_shm *shm = sn_nic.instance.shm;
	struct pending *pending;

	while ((pending = TAILQ_FIRST(&backlog))) {
		uint64_t to = pending->packet.dst;

		if (sn_member_lives(shm, to) && push(&pending->packet) == SN_AGAIN)
			return;
		TAILQ_REMOVE(&backlog, pending, link);
		free(pending);
	}
}

/* One piece of the sender's memory to the receive's span. Inside the epoch. */
static int
fetch_piece(const struct sn_packet *request, const struct sn_packet_sge *sge, struct sn_span *to)
{
	struct sn_shm_mr *mr = sn_mr_find(sge->key);

	/* Deregistered since: a copy of whatever is there now. The sender broke its own rules. */
	if (mr && (atomic_load(&mr->owner) != request->src ||
		   !sn_mr_covers(mr, sge->addr - mr->start + mr->iova, sge->len)))
		mr = NULL;
	return sn_carry_fetch(mr, request->src, sge->addr, sge->len, to);
}

int
sn_local_fetch(const struct sn_packet *request, const struct iovec *to, unsigned int n_to)
{
	struct sn_span span = {.iov = to, .n = n_to};
	int err = 0;

	if (request->is_inline) {
		const uint8_t *from = request->payload;

		for (unsigned int i = 0; i < n_to; i++) {
			sn_copy(to[i].iov_base, from, to[i].iov_len);
			from += to[i].iov_len;
		}
		return 0;
	}
	for (unsigned int i = 0; i < request->n_sge && !err; i++) {
		sn_local_begin();
		err = fetch_piece(request, &request->sge[i], &span);
		sn_local_end();
	}
	return err;
}

/* Shared memory is as good as the worst of the programs that map it. */
static bool
is_sound(const struct sn_packet *packet)
{
	return packet->is_inline ? packet->len <= SN_PACKET_INLINE_MAX
				 : packet->n_sge <= SN_PACKET_MAX_SGE;
}

static unsigned int
local_poll(unsigned int budget)
{
	struct sn_instance *inst = &sn_nic.instance;
	const struct sn_packet *packet;
	unsigned int n = 0;

	send_backlog();
	sn_held_expire(sn_nic.now_ns);
	while (n < budget && (packet = sn_ring_peek(inst->shm, inst->slot))) {
		if (packet->dst == inst->id && is_sound(packet)) {
			if (__builtin_expect(sn_trace_on, 0))
				sn_trace_packet("rx", packet);
			if (packet->type == SN_PKT_REQUEST)
				sn_responder_request(packet);
			else if (packet->type == SN_PKT_REPLY)
				sn_requester_reply(packet);
			else
				sn_responder_fault(packet);
		}
		sn_ring_pop(inst->shm, inst->slot);
		n++;
	}
	return n;
}

/* A packet that arrives wakes us: ring.c. */
static void
local_sleep(uint64_t ns)
{
	struct timespec timeout = {.tv_nsec = (long)ns};

	atomic_store_explicit(&sn_nic.port->asleep, 1, memory_order_relaxed);
	/* Orders the store before the look at the ring; partner: wake() in ring.c. */
	atomic_thread_fence(memory_order_seq_cst);
	pthread_mutex_lock(&sn_nic.lock);
	bool mail = sn_ring_peek(sn_nic.instance.shm, sn_nic.instance.slot);
	pthread_mutex_unlock(&sn_nic.lock);
	if (!mail)
		syscall(SYS_futex, &sn_nic.port->asleep, FUTEX_WAIT, 1, &timeout, NULL, 0);
	atomic_store_explicit(&sn_nic.port->asleep, 0, memory_order_relaxed);
}

const struct sn_wire sn_wire_local = {
	.name = "local",
	.has_windows = true,
	.connect = local_connect,
	.run = sn_requester_run,
	.poll = local_poll,
	.sleep = local_sleep,
};

static int
null_open(void)
{
	carries = false;
	return 0;
}

const struct sn_wire sn_wire_null = {
	.name = "null",
	.has_windows = true,
	.open = null_open,
	.connect = local_connect,
	.run = sn_requester_run,
	.poll = local_poll,
	.sleep = local_sleep,
};
