/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * WRITE, READ and SEND with every byte compared, over an RC connection between two processes:
 *
 *	verified_traffic DEVICE GID_INDEX PORT MEGABYTES		waits for its peer
 *	verified_traffic DEVICE GID_INDEX PORT MEGABYTES ADDRESS	drives
 *
 * The driver moves MEGABYTES in rounds: it WRITEs a pattern of the round to the peer, READs it back
 * and compares, and SENDs another that the peer compares. A byte that lands twice, late or beside
 * its place belongs to another round and is found. Exits with 0 if all were right, 3 if a request
 * failed, and says with which status and after how many milliseconds.
 */
#include <arpa/inet.h>
#include <infiniband/verbs.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK	 (192u << 10) /* not a multiple of any piece or window */
#define TAIL	 13	      /* ... nor of four bytes */
#define N_CHUNKS 8
#define AREA	 ((size_t)N_CHUNKS * CHUNK)
#define TIMEOUT	 14 /* 67 ms */

/* Three areas: what is written to us, what is read back, what is sent. */
enum { WRITTEN, READ_BACK, SENT, N_AREAS };

struct address {
	uint32_t qpn, rkey;
	uint64_t addr;
	union ibv_gid gid;
};

static struct ibv_context *context;
static struct ibv_cq *cq;
static struct ibv_qp *qp;
static struct ibv_mr *mr;
static uint8_t *memory;
static struct address own, peer;
static int peer_fd;

static void
die(const char *what)
{
	fprintf(stderr, "verified_traffic: %s failed\n", what);
	exit(1);
}

static uint64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- patterns ---- */

static void
fill(uint8_t *at, size_t bytes, uint64_t round)
{
	uint64_t x = round * 0x9e3779b97f4a7c15u + 1;

	for (size_t i = 0; i + 8 <= bytes; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(at + i, &x, 8);
	}
	memset(at + bytes / 8 * 8, (int)round, bytes % 8);
}

static void
compare(const uint8_t *at, uint64_t round, const char *what)
{
	static uint8_t want[AREA];

	fill(want, AREA, round);
	for (size_t i = 0; i < AREA; i++) {
		if (at[i] == want[i])
			continue;
		printf("wrong byte: round %llu, %s, offset %zu: %#x, not %#x\n",
		       (unsigned long long)round, what, i, at[i], want[i]);
		exit(1);
	}
}

/* ---- set-up ---- */

static void
open_device(const char *name, int gid_index)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_qp_init_attr init = {.qp_type = IBV_QPT_RC,
					.cap = {.max_send_wr = 64,
						.max_recv_wr = 64,
						.max_send_sge = 1,
						.max_recv_sge = 1}};
	struct ibv_pd *pd;

	for (int i = 0; list && list[i] && !context; i++) {
		if (strcmp(ibv_get_device_name(list[i]), name) == 0)
			context = ibv_open_device(list[i]);
	}
	if (!context || ibv_query_gid(context, 1, gid_index, &own.gid))
		die(name);
	memory = calloc(N_AREAS, AREA);
	pd = ibv_alloc_pd(context);
	cq = ibv_create_cq(context, 128, NULL, NULL, 0);
	mr = memory && pd ? ibv_reg_mr(pd, memory, N_AREAS * AREA,
				       IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
					       IBV_ACCESS_REMOTE_READ)
			  : NULL;
	init.send_cq = init.recv_cq = cq;
	qp = mr && cq ? ibv_create_qp(pd, &init) : NULL;
	if (!qp)
		die("a PD, CQ, region or QP");
	own.qpn = qp->qp_num;
	own.rkey = mr->rkey;
	own.addr = (uintptr_t)memory;
}

static void
reach_peer(const char *port, const char *address)
{
	struct addrinfo hints = {.ai_family = AF_INET,
				 .ai_socktype = SOCK_STREAM,
				 .ai_flags = address ? 0 : AI_PASSIVE},
			*to;
	const int on = 1;
	int fd;

	if (getaddrinfo(address, port, &hints, &to))
		die("the address");
	fd = socket(to->ai_family, to->ai_socktype, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address) {
		for (int tries = 0; connect(fd, to->ai_addr, to->ai_addrlen); tries++) {
			if (tries == 100)
				die("connect");
			usleep(100000);
			close(fd);
			fd = socket(to->ai_family, to->ai_socktype, 0);
		}
		peer_fd = fd;
	} else if (bind(fd, to->ai_addr, to->ai_addrlen) || listen(fd, 1) ||
		   (peer_fd = accept(fd, NULL, NULL)) < 0) {
		die("listen");
	}
	freeaddrinfo(to);
}

static void
tell(const void *data, size_t bytes)
{
	if (write(peer_fd, data, bytes) != (ssize_t)bytes)
		exit(3); /* the peer has said why */
}

static void
hear(void *data, size_t bytes)
{
	if (recv(peer_fd, data, bytes, MSG_WAITALL) != (ssize_t)bytes)
		exit(3);
}

static void
connect_qp(int gid_index)
{
	struct ibv_port_attr port;
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT,
				   .port_num = 1,
				   .qp_access_flags =
					   IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ};

	ibv_query_port(context, 1, &port);
	if (ibv_modify_qp(qp, &attr,
			  IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS))
		die("INIT");
	attr = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTR,
		.path_mtu = port.active_mtu < IBV_MTU_1024 ? port.active_mtu : IBV_MTU_1024,
		.dest_qp_num = peer.qpn,
		.rq_psn = 0xfffff0, /* it wraps at once */
		.max_dest_rd_atomic = 4,
		.min_rnr_timer = 12,
		.ah_attr = {.is_global = 1,
			    .port_num = 1,
			    .grh = {.dgid = peer.gid,
				    .sgid_index = (uint8_t)gid_index,
				    .hop_limit = 64}},
	};
	if (ibv_modify_qp(qp, &attr,
			  IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				  IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER))
		die("RTR");
	attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS,
				    .sq_psn = 0xfffff0,
				    .timeout = TIMEOUT,
				    .retry_cnt = 7,
				    .rnr_retry = 7,
				    .max_rd_atomic = 4};
	if (ibv_modify_qp(qp, &attr,
			  IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
				  IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC))
		die("RTS");
}

/* ---- requests ---- */

static void
await(unsigned int n)
{
	uint64_t since = now_ms();
	struct ibv_wc wc;

	while (n) {
		int got = ibv_poll_cq(cq, 1, &wc);

		if (got > 0 && wc.status != IBV_WC_SUCCESS) {
			printf("%s after %llu ms\n", ibv_wc_status_str(wc.status),
			       (unsigned long long)(now_ms() - since));
			exit(3);
		}
		n -= got > 0;
	}
}

/* The area, in chunks whose last few bytes go by themselves. */
static void
post_all(enum ibv_wr_opcode opcode, unsigned int area, unsigned int remote_area)
{
	for (size_t at = 0; at < AREA; at += CHUNK) {
		for (unsigned int part = 0; part < 2; part++) {
			size_t offset = at + (part ? CHUNK - TAIL : 0);
			struct ibv_sge sge = {.addr = own.addr + area * AREA + offset,
					      .length = part ? TAIL : CHUNK - TAIL,
					      .lkey = mr->lkey};
			struct ibv_send_wr wr = {.sg_list = &sge,
						 .num_sge = 1,
						 .opcode = opcode,
						 .send_flags = IBV_SEND_SIGNALED,
						 .wr.rdma = {.rkey = peer.rkey,
							     .remote_addr = peer.addr +
									    remote_area * AREA +
									    offset}},
					   *bad;

			if (ibv_post_send(qp, &wr, &bad))
				die("a post");
		}
	}
}

static void
post_receives(void)
{
	for (size_t at = 0; at < AREA; at += CHUNK) {
		for (unsigned int part = 0; part < 2; part++) {
			struct ibv_sge sge = {.addr = own.addr + SENT * AREA + at +
						      (part ? CHUNK - TAIL : 0),
					      .length = part ? TAIL : CHUNK - TAIL,
					      .lkey = mr->lkey};
			struct ibv_recv_wr wr = {.sg_list = &sge, .num_sge = 1}, *bad;

			if (ibv_post_recv(qp, &wr, &bad))
				die("a receive");
		}
	}
}

static void
drive(uint64_t round)
{
	fill(memory + READ_BACK * AREA, AREA, round);
	post_all(IBV_WR_RDMA_WRITE, READ_BACK, WRITTEN);
	await(2 * N_CHUNKS);
	memset(memory + READ_BACK * AREA, 0, AREA);
	post_all(IBV_WR_RDMA_READ, READ_BACK, WRITTEN);
	await(2 * N_CHUNKS);
	compare(memory + READ_BACK * AREA, round, "READ");
	fill(memory + SENT * AREA, AREA, ~round);
	post_all(IBV_WR_SEND, SENT, SENT);
	await(2 * N_CHUNKS);
}

static void
serve(uint64_t round)
{
	await(2 * N_CHUNKS);
	compare(memory + WRITTEN * AREA, round, "WRITE");
	compare(memory + SENT * AREA, ~round, "SEND");
}

int
main(int argc, char **argv)
{
	bool drives = argc == 6;
	uint64_t n_rounds;
	char go;

	if (argc < 5 || argc > 6) {
		fputs("usage: verified_traffic DEVICE GID_INDEX PORT MEGABYTES [ADDRESS]\n",
		      stderr);
		return 2;
	}
	n_rounds = strtoull(argv[4], NULL, 10) * 1000000 / (3 * AREA) + 1;
	open_device(argv[1], atoi(argv[2]));
	reach_peer(argv[3], drives ? argv[5] : NULL);
	tell(&own, sizeof(own));
	hear(&peer, sizeof(peer));
	connect_qp(atoi(argv[2]));
	for (uint64_t round = 1; round <= n_rounds; round++) {
		if (!drives) {
			post_receives();
			tell("r", 1);
			serve(round);
			tell("d", 1);
			continue;
		}
		hear(&go, 1); /* receives are posted */
		drive(round);
		hear(&go, 1); /* all compared */
	}
	printf("%llu bytes, all right\n", (unsigned long long)(n_rounds * 3 * AREA));
	return 0;
}
