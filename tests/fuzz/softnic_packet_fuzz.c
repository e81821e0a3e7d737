/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a packet that a NIC gets, for a QP that may have a receive posted and a SEND of its
 * own under way: in its mailbox on the local wire, as the payload of a datagram on roce. A packet
 * may ask for parts that are right: numbers of the connection, a PSN that is expected, a key.
 */
#include <endian.h>
#include <infiniband/mlx5dv.h>
#include <infiniband/verbs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fuzz.h"
#include "nic.h"
#include "ring.h"
#include "wire_roce.h"

#define PAGE	  4096u
#define CANARY	  0xc5
#define MAX_STEPS 50

struct side {
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct ibv_mr *mr;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	uint8_t *memory; /* canary | registered | canary */
	union ibv_gid gid;
};
static struct side sides[2];

static void
open_side(struct side *side, struct ibv_device *device)
{
	side->memory =
		mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	FUZZ_MUST(side->memory != MAP_FAILED);
	memset(side->memory, CANARY, 3 * PAGE);
	side->context = ibv_open_device(device);
	FUZZ_MUST(side->context);
	side->pd = ibv_alloc_pd(side->context);
	side->mr = ibv_reg_mr(side->pd, side->memory + PAGE, PAGE,
			      IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
				      IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC);
	FUZZ_MUST(side->mr && ibv_query_gid(side->context, 1, 3, &side->gid) == 0);
}

/* Built for each wire: FUZZ_WIRE. */
const char fuzz_settings[] = "devices=2\nstep=100000\nwire=" FUZZ_WIRE "\n"
			     "device=mlx5_0:ip=127.0.0.2\ndevice=mlx5_1:ip=127.0.0.3\n";

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct ibv_device **list;
	int n;

	(void)argc;
	(void)argv;
	list = ibv_get_device_list(&n);
	FUZZ_MUST(list && n == 2);
	open_side(&sides[0], list[0]);
	open_side(&sides[1], list[1]);
	ibv_free_device_list(list);
	return 0;
}

static void
create(struct side *side, enum ibv_qp_type type)
{
	side->cq = ibv_create_cq(side->context, 32, NULL, NULL, 0);
	FUZZ_MUST(side->cq);
	struct ibv_qp_init_attr attr = {
		.send_cq = side->cq,
		.recv_cq = side->cq,
		.qp_type = type,
		.cap = {.max_send_wr = 4, .max_recv_wr = 4, .max_send_sge = 1, .max_recv_sge = 2},
	};
	side->qp = ibv_create_qp(side->pd, &attr);
	FUZZ_MUST(side->qp);
}

static void
post_receive(struct side *side)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)side->mr->addr + 1000, .length = 700, .lkey = side->mr->lkey};
	struct ibv_recv_wr wr = {.sg_list = &sge, .num_sge = 1}, *bad;

	FUZZ_MUST(ibv_post_recv(side->qp, &wr, &bad) == 0);
}

/* A SEND that finds no receive: it waits, and answers to it may come. */
static void
post_send(struct side *side)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)side->mr->addr, .length = 500, .lkey = side->mr->lkey};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_SEND,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad;

	FUZZ_MUST(ibv_post_send(side->qp, &wr, &bad) == 0);
}

/* ---- the local wire ---- */

static void
correct(struct sn_packet *p, struct fuzz_input *in, const struct side *from, const struct side *to)
{
	uint8_t how = fuzz_u8(in);

	p->dst = sn_nic.instance.id;
	p->type = (uint8_t)(1 + p->type % 3);
	p->dst_qpn = to->qp->qp_num;
	if (how & 1)
		p->src = sn_nic.instance.id;
	if (how & 2) {
		p->src_qpn = from->qp->qp_num;
		p->connection = sn_nic.instance.shm->qp[to->qp->qp_num % SN_MAX_QPS].connection;
		p->psn %= 4;
		p->attempt %= 2;
	}
	if (how & 4) {
		p->rkey = to->mr->rkey;
		p->raddr = (uintptr_t)to->mr->addr + fuzz_u16(in) % (2 * PAGE);
	}
	for (unsigned int i = 0; how & 8 && i < SN_PACKET_MAX_SGE; i++) {
		p->sge[i].key = from->mr->lkey;
		p->sge[i].addr = (uintptr_t)from->mr->addr + p->sge[i].addr % (2 * PAGE);
		p->sge[i].len %= 1024;
	}
}

static void
mail(struct fuzz_input *in, const struct side *from, const struct side *to)
{
	struct sn_instance *inst = &sn_nic.instance;
	struct sn_packet none = {.type = SN_PKT_REPLY}, packet;
	uint8_t how = fuzz_u8(in);

	fuzz_take(in, &packet, how & 1 ? sizeof(packet) : offsetof(struct sn_packet, sge) + 96);
	if (!(how & 1))
		memset(&packet.payload[96], 0, sizeof(packet.payload) - 96);
	correct(&packet, in, from, to);
	if (sn_ring_push(inst->shm, inst->id, inst->id, &none))
		memcpy((struct sn_packet *)(uintptr_t)sn_ring_peek(inst->shm, inst->slot), &packet,
		       sizeof(packet));
}

/* ---- roce ---- */

static struct {
	uint8_t bytes[512]; /* none if n is 0 */
	size_t n;
	uint32_t qpn;
} datagram;

unsigned int __real_sn_roce_receive(unsigned int budget, sn_roce_handler *handler);
unsigned int __wrap_sn_roce_receive(unsigned int budget, sn_roce_handler *handler);

/* What came by the socket, then ours, past the check of the ICRC. */
unsigned int
__wrap_sn_roce_receive(unsigned int budget, sn_roce_handler *handler)
{
	unsigned int n = __real_sn_roce_receive(budget, handler);
	struct sn_qp *qp = sn_qp_find(datagram.qpn);
	struct sn_roce_packet packet;

	if (!datagram.n || !qp || !qp->roce || !sn_roce_decode(datagram.bytes, datagram.n, &packet))
		return n;
	packet.src_ip_be = qp->roce->peer_ip_be;
	datagram.n = 0;
	handler(qp->roce->port, &packet);
	return n + 1;
}

static void
send_datagram(struct fuzz_input *in, const struct side *to)
{
	struct sn_bth *bth = (void *)datagram.bytes;
	struct sn_reth *reth = (void *)(bth + 1); /* an AtomicETH begins alike */
	uint8_t how = fuzz_u8(in);
	uint64_t raddr;

	datagram.qpn = to->qp->qp_num;
	datagram.n = sizeof(*bth) + fuzz_u16(in) % (sizeof(datagram.bytes) - sizeof(*bth));
	fuzz_take(in, datagram.bytes, how & 0x80 ? datagram.n : SN_MIN(datagram.n, 48u));
	bth->dst_qpn_be = htobe32(datagram.qpn);
	if (how & 1) {
		bth->opcode = (uint8_t)(bth->opcode % SN_N_KINDS |
					(to->qp->qp_type == IBV_QPT_UC ? SN_ROCE_UC : SN_ROCE_RC));
		bth->psn_be = htobe32((uint32_t)(how & 2) << 30 | fuzz_u8(in) % 8);
		bth->flags &= 0x80;
	}
	if (how & 4) {
		raddr = (uintptr_t)to->mr->addr + fuzz_u16(in) % (2 * PAGE);
		reth->raddr_be[0] = htobe32((uint32_t)(raddr >> 32));
		reth->raddr_be[1] = htobe32((uint32_t)raddr);
		reth->rkey_be = htobe32(to->mr->rkey);
		if (how & 8)
			reth->len_be = htobe32(fuzz_u16(in) % PAGE);
	}
}

static void
inject(struct fuzz_input *in)
{
	if (sn_nic.wire == &sn_wire_local)
		mail(in, &sides[0], &sides[1]);
	else
		send_datagram(in, &sides[1]);
}

/* ---- */

static void
check_memory(const struct side *side)
{
	for (unsigned int i = 0; i < PAGE; i++)
		FUZZ_MUST(side->memory[i] == CANARY && side->memory[2 * PAGE + i] == CANARY);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct fuzz_input in = {.at = data, .left = bytes};
	uint8_t kind = fuzz_u8(&in);

	for (unsigned int i = 0; i < 2; i++)
		create(&sides[i], kind & 1 ? IBV_QPT_UC : IBV_QPT_RC);
	fuzz_connect(sides[0].qp, sides[1].qp, &sides[1].gid);
	fuzz_connect(sides[1].qp, sides[0].qp, &sides[0].gid);
	if (kind & 2)
		post_receive(&sides[1]);
	if (kind & 4) {
		post_send(&sides[1]);
		fuzz_run_nic(1);
	}
	for (unsigned int i = 0; i < 8 && in.left; i++) {
		inject(&in);
		fuzz_run_nic(1);
	}
	fuzz_run_nic(MAX_STEPS);
	for (unsigned int i = 0; i < 2; i++) {
		FUZZ_MUST(ibv_destroy_qp(sides[i].qp) == 0);
		FUZZ_MUST(ibv_destroy_cq(sides[i].cq) == 0);
		check_memory(&sides[i]);
	}
	return 0;
}
