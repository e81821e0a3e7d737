/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Processes are killed with SIGKILL in the midst of traffic, at random points of their lives, and
 * the others must not care.
 *
 *	survivor	this process: talks to the echo all the time, and to each victim
 *	echo		lives as long: sends back what it gets, and keeps memory
 *	victim		one a round: opens a device, connects, writes, reads, sends, dies
 *
 * usage: softnic_kill [ROUNDS [SEED]], under softnic with two devices
 */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../unit/softnic_rig.h"

#define CHUNK_BYTES   (256u << 10)
#define MESSAGE_BYTES 1000u
#define LIFE_MAX_US   60000
#define ECHO_OFFSET   (1u << 20) /* where a message is sent from */

static uint64_t state;

static uint32_t
draw(uint32_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33) % below;
}

/* ---- the other processes ---- */

struct child {
	pid_t pid;
	int to, from;
};

static struct child
start(const char *self, const char *role, uint32_t seed)
{
	int down[2], up[2];
	char text[16];
	struct child child;

	snprintf(text, sizeof(text), "%u", seed);
	if (pipe(down) || pipe(up))
		exit(1);
	child = (struct child){.pid = fork(), .to = down[1], .from = up[0]};
	if (child.pid == 0) {
		dup2(down[0], STDIN_FILENO);
		dup2(up[1], STDOUT_FILENO);
		close(down[0]);
		close(down[1]);
		close(up[0]);
		close(up[1]);
		execl(self, self, role, text, (char *)NULL);
		_exit(127);
	}
	close(down[0]);
	close(up[1]);
	return child;
}

static void
finish(struct child *child, int signal)
{
	kill(child->pid, signal);
	waitpid(child->pid, NULL, 0);
	close(child->to);
	close(child->from);
}

static bool
swap_addresses(struct rig_end *end, int in, int out, struct rig_address *peer)
{
	struct rig_address own = rig_address_of(end);

	return write(out, &own, sizeof(own)) == sizeof(own) &&
	       read(in, peer, sizeof(*peer)) == sizeof(*peer);
}

static int
post(struct rig_end *from, const struct rig_address *to, enum ibv_wr_opcode opcode, uint64_t offset,
     uint32_t len)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)from->buf + offset, .length = len, .lkey = from->mr->lkey};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = opcode,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad;

	wr.wr.rdma.remote_addr = to->addr + offset;
	wr.wr.rdma.rkey = to->rkey;
	return ibv_post_send(from->qp, &wr, &bad);
}

/* Sends back each message until the survivor is gone. */
static int
echo(void)
{
	struct rig_end end;
	struct rig_address peer;
	struct ibv_wc wc;

	rig_create(&end, &(struct rig_options){.device = 1, .shared = true});
	if (!swap_addresses(&end, STDIN_FILENO, STDOUT_FILENO, &peer))
		return 1;
	rig_connect_to(&end, &peer, &(struct rig_link){.rnr_retry = 7}, 100);
	rig_post_recv(&end, ECHO_OFFSET, MESSAGE_BYTES);
	for (;;) {
		if (!rig_wait(end.cq, &wc, 100))
			continue;
		if (wc.status != IBV_WC_SUCCESS)
			return 1;
		if (wc.opcode != IBV_WC_RECV)
			continue;
		if (post(&end, &peer, IBV_WR_SEND, ECHO_OFFSET, MESSAGE_BYTES))
			return 1;
		if (!rig_wait(end.cq, &wc, 5000) || wc.status != IBV_WC_SUCCESS)
			return 1;
		rig_post_recv(&end, ECHO_OFFSET, MESSAGE_BYTES);
	}
}

/* A bit of everything until one fails: the peer's QP may be gone. */
static void
talk(struct rig_end *end, const struct rig_address *peer, uint64_t until_us)
{
	static const enum ibv_wr_opcode opcodes[] = {IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ,
						     IBV_WR_SEND, IBV_WR_ATOMIC_FETCH_AND_ADD};
	struct ibv_wc wc;

	while (rig_now_us() < until_us) {
		enum ibv_wr_opcode opcode = opcodes[draw(4)];
		bool is_atomic = opcode == IBV_WR_ATOMIC_FETCH_AND_ADD;

		rig_post_recv(end, 0, CHUNK_BYTES);
		if (post(end, peer, opcode, draw(64) * 8192, is_atomic ? 8 : 1 + draw(CHUNK_BYTES)))
			return;
		do {
			if (!rig_wait(end->cq, &wc, 10))
				break;
		} while (wc.status == IBV_WC_SUCCESS && wc.opcode == IBV_WC_RECV);
		if (wc.status != IBV_WC_SUCCESS)
			return;
	}
}

static int
victim(uint32_t seed)
{
	struct rig_end end;
	struct rig_address peer;

	state = seed;
	rig_create(&end, &(struct rig_options){.device = draw(2), .shared = draw(2)});
	if (!swap_addresses(&end, STDIN_FILENO, STDOUT_FILENO, &peer))
		return 1;
	rig_connect_to(&end, &peer, &(struct rig_link){.rnr_retry = 7}, 100);
	for (;;)
		talk(&end, &peer, UINT64_MAX);
}

/* ---- the survivor ---- */

static const char *self;
static unsigned int n_rounds = 20;
static uint32_t seed;
static struct rig_end own;
static struct rig_address echo_address;
static struct child echo_child;

/* What is written to the echo is read back as it was, and a message comes back. */
static bool
echo_works(unsigned int round)
{
	static uint8_t want[CHUNK_BYTES];
	struct ibv_wc wc = {0};
	bool got = false, sent = false;

	rig_fill(want, sizeof(want), round);
	memcpy(own.buf, want, sizeof(want));
	if (post(&own, &echo_address, IBV_WR_RDMA_WRITE, 0, CHUNK_BYTES) ||
	    rig_status(own.cq) != IBV_WC_SUCCESS)
		return false;
	memset(own.buf, 0, CHUNK_BYTES);
	if (post(&own, &echo_address, IBV_WR_RDMA_READ, 0, CHUNK_BYTES) ||
	    rig_status(own.cq) != IBV_WC_SUCCESS || memcmp(own.buf, want, sizeof(want)) != 0)
		return false;
	memcpy(own.buf + ECHO_OFFSET, want, MESSAGE_BYTES);
	rig_post_recv(&own, 2 * ECHO_OFFSET, MESSAGE_BYTES);
	if (post(&own, &echo_address, IBV_WR_SEND, ECHO_OFFSET, MESSAGE_BYTES))
		return false;
	while (!got || !sent) {
		if (!rig_wait(own.cq, &wc, 5000) || wc.status != IBV_WC_SUCCESS)
			return false;
		if (wc.opcode == IBV_WC_RECV)
			got = true;
		else
			sent = true;
	}
	return memcmp(own.buf + 2 * ECHO_OFFSET, want, MESSAGE_BYTES) == 0;
}

/* A QP whose peer is dead fails its requests in the time its timers give. */
static bool
notices_death(struct rig_end *end, const struct rig_address *peer)
{
	struct ibv_wc wc;

	if (post(end, peer, IBV_WR_RDMA_WRITE, 0, 64))
		return false;
	for (unsigned int i = 0; i < 200; i++) {
		if (!rig_wait(end->cq, &wc, 5000))
			return false;
		if (wc.status != IBV_WC_SUCCESS)
			return true;
	}
	return false;
}

static bool
one_round(unsigned int round)
{
	uint64_t end_us = rig_now_us() + draw(LIFE_MAX_US);
	struct child child = start(self, "victim", draw(1u << 30));
	struct pollfd pfd = {.fd = child.from, .events = POLLIN};
	struct rig_address peer;
	struct rig_end end;
	bool connected = false, fine = true;

	rig_create(&end, &(struct rig_options){.device = round % 2, .shared = round % 3});
	while (rig_now_us() < end_us && !connected)
		connected =
			poll(&pfd, 1, 1) == 1 && swap_addresses(&end, child.from, child.to, &peer);
	if (connected) {
		rig_connect_to(&end, &peer, &(struct rig_link){.rnr_retry = 7}, 100);
		talk(&end, &peer, end_us);
	}
	finish(&child, SIGKILL);
	if (!echo_works(round)) {
		printf("  round %u: the echo's QP is broken\n", round);
		fine = false;
	}
	if (connected && !notices_death(&end, &peer)) {
		printf("  round %u: the victim's death was not noticed\n", round);
		fine = false;
	}
	rig_destroy(&end);
	return fine;
}

static void
survivors_go_on(void)
{
	for (unsigned int round = 0; round < n_rounds && !rig_test_failed; round++)
		RIG_CHECK(one_round(round));
}

/* No slot, number or descriptor was lost with the dead: a process can still fill the tables. */
static void
nothing_is_used_up(void)
{
	struct rig_end ends[8];

	for (unsigned int i = 0; i < 8; i++)
		rig_create(&ends[i], &(struct rig_options){.device = i % 2, .shared = true});
	rig_connect(&ends[0], &ends[1], NULL);
	RIG_EQUAL(rig_post(&ends[0], &ends[1], IBV_WR_RDMA_WRITE, 0, 0, 4096), 0);
	RIG_EQUAL(rig_status(ends[0].cq), IBV_WC_SUCCESS);
	for (unsigned int i = 0; i < 8; i++)
		rig_destroy(&ends[i]);
	RIG_CHECK(echo_works(n_rounds));
}

int
main(int argc, char **argv)
{
	self = argv[0];
	if (argc == 3 && strcmp(argv[1], "echo") == 0)
		return echo();
	if (argc == 3 && strcmp(argv[1], "victim") == 0)
		return victim((uint32_t)strtoul(argv[2], NULL, 10));
	if (argc > 1)
		n_rounds = (unsigned int)strtoul(argv[1], NULL, 10);
	seed = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : (uint32_t)time(NULL);
	printf("seed %u, %u rounds\n", seed, n_rounds);
	fflush(stdout);
	state = seed;
	signal(SIGPIPE, SIG_IGN);
	echo_child = start(self, "echo", 0);
	rig_create(&own, &(struct rig_options){.device = 0});
	if (!swap_addresses(&own, echo_child.from, echo_child.to, &echo_address)) {
		printf("the echo did not start\n");
		return 1;
	}
	rig_connect_to(&own, &echo_address, &(struct rig_link){.rnr_retry = 7}, 100);
	rig_run("survivors_go_on_when_others_are_killed", survivors_go_on);
	rig_run("the_dead_use_nothing_up", nothing_is_used_up);
	finish(&echo_child, SIGKILL);
	return rig_finish();
}
