/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UD under softnic: what arrives, from whom, and what is dropped without a word. Run it as
 * `softnic --devices 2 -- softnic_datagram`.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <string.h>
#include <unistd.h>

#include "softnic_rig.h"

#define QKEY	  0x11223344u
#define GRH_BYTES 40u

static struct rig_end a, b, c;

/* ---- set-up ---- */

static int
to_state(struct rig_end *end, enum ibv_qp_state state, uint32_t qkey)
{
	struct ibv_qp_attr attr = {.qp_state = state, .port_num = 1, .qkey = qkey};

	return ibv_modify_qp(end->qp, &attr,
			     state == IBV_QPS_INIT
				     ? IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY
			     : state == IBV_QPS_RTS ? IBV_QP_STATE | IBV_QP_SQ_PSN
						    : IBV_QP_STATE);
}

static void
create(struct rig_end *end, unsigned int device, uint32_t qkey)
{
	rig_create(end, &(struct rig_options){.device = device, .type = IBV_QPT_UD});
	RIG_EQUAL(to_state(end, IBV_QPS_INIT, qkey), 0);
	RIG_EQUAL(to_state(end, IBV_QPS_RTR, 0), 0);
	RIG_EQUAL(to_state(end, IBV_QPS_RTS, 0), 0);
}

static void
set_up(void)
{
	create(&a, 0, QKEY);
	create(&b, 1, QKEY);
}

static void
tear_down(void)
{
	rig_destroy(&a);
	rig_destroy(&b);
}

static struct ibv_ah *
path_to(struct rig_end *from, const struct rig_end *to, unsigned int gid_index)
{
	struct ibv_ah_attr attr = {
		.is_global = 1,
		.port_num = 1,
		.grh = {.sgid_index = (uint8_t)gid_index, .hop_limit = 9, .traffic_class = 0x24}};
	struct ibv_ah *ah;

	RIG_EQUAL(ibv_query_gid(to->context, 1, (int)gid_index, &attr.grh.dgid), 0);
	ah = ibv_create_ah(from->pd, &attr);
	RIG_CHECK(ah);
	return ah;
}

static int
send_to(struct rig_end *from, struct ibv_ah *ah, uint32_t qpn, uint32_t qkey, uint32_t len)
{
	struct ibv_sge sge = {(uintptr_t)from->buf, len, from->mr->lkey};
	struct ibv_send_wr wr = {.wr_id = len,
				 .sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_SEND_WITH_IMM,
				 .send_flags = IBV_SEND_SIGNALED,
				 .imm_data = 0x12345678},
			   *bad;

	wr.wr.ud.ah = ah;
	wr.wr.ud.remote_qpn = qpn;
	wr.wr.ud.remote_qkey = qkey;
	return ibv_post_send(from->qp, &wr, &bad);
}

/* The receiver got nothing though the sender's request completed. */
static void
check_dropped(struct rig_end *from, const struct rig_end *to)
{
	struct ibv_wc wc;

	RIG_EQUAL(rig_status(from->cq), IBV_WC_SUCCESS);
	RIG_CHECK(!rig_wait(to->cq, &wc, 20));
}

/* ---- what arrives ---- */

static void
check_message(unsigned int gid_index, uint32_t len)
{
	/* Where InfiniBand has a service level: the header's version, and bit 3 if UDP follows. */
	static const uint8_t kinds[] = {0, 8 | 1, 0, 8 | 2};
	struct ibv_ah *ah = path_to(&a, &b, gid_index);
	struct ibv_wc wc;

	rig_fill(a.buf, len, len + gid_index);
	memset(b.buf, 0xee, 8192);
	RIG_EQUAL(rig_post_recv(&b, 64, 4096 + GRH_BYTES), 0);
	RIG_EQUAL(send_to(&a, ah, b.qp->qp_num, QKEY, len), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	RIG_CHECK(rig_wait(b.cq, &wc, 2000));
	RIG_EQUAL(wc.status, IBV_WC_SUCCESS);
	RIG_EQUAL(wc.opcode, IBV_WC_RECV);
	RIG_EQUAL(wc.byte_len, len + GRH_BYTES);
	RIG_EQUAL(wc.sl, kinds[gid_index]);
	RIG_EQUAL(wc.src_qp, a.qp->qp_num);
	RIG_EQUAL(wc.imm_data, 0x12345678);
	RIG_EQUAL(wc.wc_flags, IBV_WC_GRH | IBV_WC_WITH_IMM);
	RIG_CHECK(memcmp(b.buf + 64 + GRH_BYTES, a.buf, len) == 0);
	RIG_EQUAL(b.buf[64 + GRH_BYTES + len], 0xee);
	ibv_destroy_ah(ah);
}

static void
message_lies_behind_its_header(void)
{
	set_up();
	for (unsigned int gid_index = 0; gid_index < 4; gid_index++) {
		check_message(gid_index, 0);
		check_message(gid_index, 1);
		check_message(gid_index, 256);
		check_message(gid_index, 257);
		check_message(gid_index, 4096);
	}
	tear_down();
}

static void
header_names_both_addresses(void)
{
	const struct ibv_grh *grh;
	const struct iphdr *ip;
	union ibv_gid gid_a, gid_b;

	set_up();
	grh = (const void *)(b.buf + 64);
	ip = (const void *)(b.buf + 64 + GRH_BYTES - sizeof(*ip));
	check_message(1, 100); /* RoCE v2 between IPv6 addresses */
	ibv_query_gid(a.context, 1, 1, &gid_a);
	ibv_query_gid(b.context, 1, 1, &gid_b);
	RIG_EQUAL(ntohl(grh->version_tclass_flow), 0x62400000);
	RIG_EQUAL(grh->next_hdr, IPPROTO_UDP);
	RIG_EQUAL(grh->hop_limit, 9);
	RIG_CHECK(memcmp(&grh->sgid, &gid_a, sizeof(gid_a)) == 0);
	RIG_CHECK(memcmp(&grh->dgid, &gid_b, sizeof(gid_b)) == 0);
	check_message(3, 100); /* and between IPv4 addresses */
	ibv_query_gid(a.context, 1, 3, &gid_a);
	ibv_query_gid(b.context, 1, 3, &gid_b);
	RIG_EQUAL(ip->version, 4);
	RIG_EQUAL(ip->protocol, IPPROTO_UDP);
	RIG_EQUAL(ip->ttl, 9);
	RIG_CHECK(memcmp(&ip->saddr, gid_a.raw + 12, 4) == 0);
	RIG_CHECK(memcmp(&ip->daddr, gid_b.raw + 12, 4) == 0);
	tear_down();
}

/* ibv_create_ah_from_wc() reads the GRH, checksum and all, as real hardware wrote it. */
static void
answer_finds_its_way_by_the_completion(void)
{
	struct ibv_ah *there, *back;
	struct ibv_wc wc;

	set_up();
	for (unsigned int gid_index = 0; gid_index < 4; gid_index++) {
		there = path_to(&a, &b, gid_index);
		RIG_EQUAL(rig_post_recv(&b, 0, 4096), 0);
		RIG_EQUAL(rig_post_recv(&a, 8192, 4096), 0);
		RIG_EQUAL(send_to(&a, there, b.qp->qp_num, QKEY, 100), 0);
		RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
		RIG_CHECK(rig_wait(b.cq, &wc, 2000));
		back = ibv_create_ah_from_wc(b.pd, &wc, (struct ibv_grh *)(void *)b.buf, 1);
		RIG_CHECK(back);
		if (back) {
			RIG_EQUAL(send_to(&b, back, wc.src_qp, QKEY, 77), 0);
			RIG_EQUAL(rig_status(b.cq), IBV_WC_SUCCESS);
			RIG_CHECK(rig_wait(a.cq, &wc, 2000));
			RIG_EQUAL(wc.byte_len, 77 + GRH_BYTES);
			ibv_destroy_ah(back);
		}
		ibv_destroy_ah(there);
	}
	tear_down();
}

static void
header_may_be_scattered(void)
{
	struct ibv_sge to[3];
	struct ibv_recv_wr rwr = {.sg_list = to, .num_sge = 3}, *bad;
	struct ibv_ah *ah;

	set_up();
	ah = path_to(&a, &b, 3);
	to[0] = (struct ibv_sge){(uintptr_t)b.buf, 7, b.mr->lkey};
	to[1] = (struct ibv_sge){(uintptr_t)b.buf + 1000, 33, b.mr->lkey};
	to[2] = (struct ibv_sge){(uintptr_t)b.buf + 2000, 600, b.mr->lkey};
	rig_fill(a.buf, 600, 8);
	RIG_EQUAL(ibv_post_recv(b.qp, &rwr, &bad), 0);
	RIG_EQUAL(send_to(&a, ah, b.qp->qp_num, QKEY, 600), 0);
	RIG_EQUAL(rig_status(b.cq), IBV_WC_SUCCESS);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	RIG_CHECK(memcmp(b.buf + 2000, a.buf, 600) == 0);
	RIG_EQUAL(b.buf[1000 + 33], 0);
	ibv_destroy_ah(ah);
	tear_down();
}

/* One QP, two receivers: completions come in the order of posting, whoever answers first. */
static void
one_qp_reaches_many(void)
{
	struct ibv_ah *to_b, *to_c;
	struct ibv_wc wc;
	unsigned int n = 0;

	set_up();
	create(&c, 0, QKEY);
	to_b = path_to(&a, &b, 3);
	to_c = path_to(&a, &c, 3);
	for (uint32_t i = 0; i < 60; i++) {
		if (i % 2)
			RIG_EQUAL(rig_post_recv(&c, i * 4096, 2048), 0);
		else
			RIG_EQUAL(rig_post_recv(&b, i * 4096, 2048), 0);
		RIG_EQUAL(
			send_to(&a, i % 2 ? to_c : to_b, (i % 2 ? c : b).qp->qp_num, QKEY, 300 + i),
			0);
	}
	for (uint32_t i = 0; i < 60; i++) {
		RIG_CHECK(rig_wait(a.cq, &wc, 2000));
		RIG_EQUAL(wc.wr_id, 300 + i);
	}
	while (rig_wait(b.cq, &wc, 20))
		RIG_EQUAL(wc.byte_len, 300 + GRH_BYTES + 2 * n++);
	RIG_EQUAL(n, 30);
	for (n = 0; rig_wait(c.cq, &wc, 20); n++)
		RIG_EQUAL(wc.byte_len, 301 + GRH_BYTES + 2 * n);
	RIG_EQUAL(n, 30);
	ibv_destroy_ah(to_b);
	ibv_destroy_ah(to_c);
	rig_destroy(&c);
	tear_down();
}

/* ---- what does not arrive ---- */

static void
drops_are_silent(void)
{
	struct ibv_ah *ah;

	set_up();
	ah = path_to(&a, &b, 3);
	RIG_EQUAL(send_to(&a, ah, b.qp->qp_num, QKEY, 100), 0); /* no receive */
	check_dropped(&a, &b);
	RIG_EQUAL(rig_post_recv(&b, 0, 139), 0);
	RIG_EQUAL(send_to(&a, ah, b.qp->qp_num, QKEY, 100), 0); /* too small by one */
	check_dropped(&a, &b);
	RIG_EQUAL(send_to(&a, ah, b.qp->qp_num, QKEY + 1, 64), 0);
	check_dropped(&a, &b);
	RIG_EQUAL(send_to(&a, ah, 0x7f0001, QKEY, 64), 0);
	check_dropped(&a, &b);
	RIG_EQUAL(send_to(&a, ah, a.qp->qp_num, QKEY, 64), 0); /* not of that device */
	check_dropped(&a, &b);
	/* None of them used the receive up, or broke anything. */
	RIG_EQUAL(send_to(&a, ah, b.qp->qp_num, QKEY, 64), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	RIG_EQUAL(rig_status(b.cq), IBV_WC_SUCCESS);
	ibv_destroy_ah(ah);
	tear_down();
}

static void
controlled_qkey_is_the_qps_own(void)
{
	const uint32_t controlled = 0x80010000;
	struct ibv_ah *ah;

	create(&a, 0, controlled);
	create(&b, 1, controlled);
	create(&c, 0, QKEY);
	ah = path_to(&a, &b, 3);
	RIG_EQUAL(rig_post_recv(&b, 0, 4096), 0);
	RIG_EQUAL(send_to(&a, ah, b.qp->qp_num, 0xffffffff, 64), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	RIG_EQUAL(rig_status(b.cq), IBV_WC_SUCCESS);
	ibv_destroy_ah(ah);
	/* Who does not have it cannot claim it. */
	ah = path_to(&c, &b, 3);
	RIG_EQUAL(rig_post_recv(&b, 0, 4096), 0);
	RIG_EQUAL(send_to(&c, ah, b.qp->qp_num, controlled, 64), 0);
	check_dropped(&c, &b);
	ibv_destroy_ah(ah);
	rig_destroy(&c);
	tear_down();
}

static void
longer_than_the_mtu_is_a_local_error(void)
{
	struct ibv_ah *ah;

	set_up();
	ah = path_to(&a, &b, 3);
	RIG_EQUAL(send_to(&a, ah, b.qp->qp_num, QKEY, 4097), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_LOC_LEN_ERR);
	ibv_destroy_ah(ah);
	tear_down();
}

/* ---- what is asked for wrongly ---- */

static void
states_need_their_attributes(void)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT, .port_num = 1};
	struct ibv_qp_init_attr init;

	rig_create(&a, &(struct rig_options){.type = IBV_QPT_UD});
	RIG_EQUAL(ibv_modify_qp(a.qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT),
		  EINVAL);
	RIG_EQUAL(to_state(&a, IBV_QPS_INIT, 7), 0);
	attr.qp_state = IBV_QPS_RTR;
	RIG_EQUAL(ibv_modify_qp(a.qp, &attr, IBV_QP_STATE | IBV_QP_PATH_MTU), EINVAL);
	RIG_EQUAL(to_state(&a, IBV_QPS_RTR, 0), 0);
	RIG_EQUAL(to_state(&a, IBV_QPS_RTS, 0), 0);
	attr.qkey = 9;
	RIG_EQUAL(ibv_modify_qp(a.qp, &attr, IBV_QP_QKEY), 0);
	attr.qkey = 0;
	RIG_EQUAL(ibv_query_qp(a.qp, &attr, IBV_QP_QKEY, &init), 0);
	RIG_EQUAL(attr.qkey, 9);
	rig_destroy(&a);
}

static void
multicast_and_foreign_ports_are_refused(void)
{
	union ibv_gid group = {.raw = {0xff, 0x0e}};
	struct ibv_ah_attr attr = {.is_global = 1, .port_num = 1, .grh = {.sgid_index = 200}};
	struct ibv_device_attr device;

	create(&a, 0, QKEY);
	RIG_EQUAL(ibv_query_device(a.context, &device), 0);
	RIG_EQUAL(device.max_mcast_grp, 0);
	RIG_EQUAL(ibv_attach_mcast(a.qp, &group, 0), EOPNOTSUPP);
	attr.grh.dgid = a.gid;
	RIG_CHECK(!ibv_create_ah(a.pd, &attr));
	rig_destroy(&a);
}

int
main(void)
{
	rig_run("message_lies_behind_its_header", message_lies_behind_its_header);
	rig_run("header_names_both_addresses", header_names_both_addresses);
	rig_run("answer_finds_its_way_by_the_completion", answer_finds_its_way_by_the_completion);
	rig_run("header_may_be_scattered", header_may_be_scattered);
	rig_run("one_qp_reaches_many", one_qp_reaches_many);
	rig_run("drops_are_silent", drops_are_silent);
	rig_run("controlled_qkey_is_the_qps_own", controlled_qkey_is_the_qps_own);
	rig_run("longer_than_the_mtu_is_a_local_error", longer_than_the_mtu_is_a_local_error);
	rig_run("states_need_their_attributes", states_need_their_attributes);
	rig_run("multicast_and_foreign_ports_are_refused", multicast_and_foreign_ports_are_refused);
	return rig_finish();
}
