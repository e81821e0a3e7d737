/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two processes on softnic: memory of all kinds, fences, and a peer that is killed.
 * Run it as `softnic --devices 2 -- softnic_peers`.
 *
 * The child is the target: it does what the parent tells it through a socket. Both open their
 * device after the fork.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "softnic_rig.h"

#define N_ROUNDS    40
#define WATCH_US    5000
#define MARK_STRIDE 4096
#define FENCE_BYTES (1u << 20)

enum order { CONNECT, DEREGISTER_AND_WATCH, BREAK_AND_WATCH, CHECK, UNMAP_A_PAGE, QUIT };

struct message {
	enum order order;
	struct rig_address address;
	uint32_t len;
	int result;
};

struct target {
	pid_t pid;
	int fd;
};

static struct rig_end near;

static struct message
ask(struct target *target, struct message message)
{
	if (write(target->fd, &message, sizeof(message)) != (ssize_t)sizeof(message) ||
	    read(target->fd, &message, sizeof(message)) != (ssize_t)sizeof(message)) {
		printf("the target went away\n");
		exit(1);
	}
	return message;
}

/* ---- the target ---- */

/* The memory is ours again: mark each page, quickly, and see whether anything still writes there.
 */
static int
stays_as_marked(struct rig_end *end)
{
	uint64_t until = rig_now_us() + WATCH_US;
	volatile uint8_t *buf = end->buf;
	int n_changed = 0;

	for (uint32_t i = 0; i < FENCE_BYTES; i += MARK_STRIDE)
		buf[i] = 0x5a;
	while (rig_now_us() < until) {
		for (uint32_t i = 0; i < FENCE_BYTES; i += MARK_STRIDE)
			n_changed += buf[i] != 0x5a;
	}
	return n_changed == 0;
}

static int
holds_pattern(struct rig_end *end, uint32_t len)
{
	uint8_t *want = malloc(len);
	int same;

	rig_fill(want, len, len);
	same = memcmp(want, end->buf + 3, len) == 0;
	free(want);
	return same;
}

static void
obey(struct rig_end *end, struct message *m)
{
	switch (m->order) {
	case CONNECT: {
		struct ibv_qp_attr reset = {.qp_state = IBV_QPS_RESET};

		ibv_modify_qp(end->qp, &reset, IBV_QP_STATE);
		if (!end->mr)
			end->mr = ibv_reg_mr(end->pd, end->buf, RIG_BUF_BYTES, RIG_ALL_ACCESS);
		rig_connect_to(end, &m->address, &(struct rig_link){0}, 100);
		m->address = rig_address_of(end);
		break;
	}
	case DEREGISTER_AND_WATCH:
		m->result = ibv_dereg_mr(end->mr) == 0;
		m->result &= stays_as_marked(end);
		end->mr = NULL;
		break;
	case BREAK_AND_WATCH:
		m->result = rig_to_error(end) == 0;
		m->result &= stays_as_marked(end);
		break;
	case CHECK:
		m->result = holds_pattern(end, m->len);
		break;
	case UNMAP_A_PAGE:
		m->result = munmap(end->buf + m->len, MARK_STRIDE);
		break;
	case QUIT:
		break;
	}
}

static void __attribute__((noreturn)) be_target(int fd, bool shared)
{
	struct rig_end end;
	struct message m;

	rig_create(&end, &(struct rig_options){.device = 1, .shared = shared});
	while (read(fd, &m, sizeof(m)) == (ssize_t)sizeof(m)) {
		obey(&end, &m);
		if (write(fd, &m, sizeof(m)) != (ssize_t)sizeof(m) || m.order == QUIT)
			break;
	}
	exit(0);
}

static struct target
start_target(bool shared)
{
	struct target target;
	int fds[2];

	fflush(stdout);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		exit(1);
	target.fd = fds[0];
	target.pid = fork();
	if (target.pid == 0) {
		close(fds[0]);
		be_target(fds[1], shared);
	}
	close(fds[1]);
	return target;
}

static void
stop_target(struct target *target)
{
	ask(target, (struct message){.order = QUIT});
	waitpid(target->pid, NULL, 0);
	close(target->fd);
}

static struct rig_end
connect_target(struct target *target, const struct rig_link *link)
{
	struct ibv_qp_attr reset = {.qp_state = IBV_QPS_RESET};
	struct message m =
		ask(target, (struct message){.order = CONNECT, .address = rig_address_of(&near)});
	static struct ibv_mr far_mr;
	struct rig_end far = {.buf = (uint8_t *)(uintptr_t)m.address.addr, .mr = &far_mr};

	far_mr.rkey = m.address.rkey;
	ibv_modify_qp(near.qp, &reset, IBV_QP_STATE);
	rig_connect_to(&near, &m.address, link, 100);
	return far;
}

/* ---- tests ---- */

static void
data_reaches(bool shared)
{
	static const uint32_t lengths[] = {1, 100, 4096, 65537, 1 << 20, 16 << 20};
	struct target target = start_target(shared);
	struct rig_end far;

	rig_create(&near, &(struct rig_options){.device = 0});
	far = connect_target(&target, &(struct rig_link){0});
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint32_t len = lengths[i];

		rig_fill(near.buf + 1, len, len);
		RIG_EQUAL(rig_post(&near, &far, IBV_WR_RDMA_WRITE, 1, 3, len), 0);
		RIG_EQUAL(rig_status(near.cq), IBV_WC_SUCCESS);
		RIG_EQUAL(ask(&target, (struct message){.order = CHECK, .len = len}).result, 1);
		memset(near.buf, 0, len + 8);
		RIG_EQUAL(rig_post(&near, &far, IBV_WR_RDMA_READ, 5, 3, len), 0);
		RIG_EQUAL(rig_status(near.cq), IBV_WC_SUCCESS);
		uint8_t *want = malloc(len);
		rig_fill(want, len, len);
		RIG_CHECK(memcmp(want, near.buf + 5, len) == 0);
		free(want);
	}
	stop_target(&target);
	rig_destroy(&near);
}

static void
data_reaches_private_memory(void)
{
	data_reaches(false);
}

static void
data_reaches_shared_memory(void)
{
	data_reaches(true);
}

/* Keep the send queue full until the target takes its memory away. */
static void
hammer_until_refused(struct rig_end *far, int expected)
{
	struct ibv_wc wc;
	unsigned int in_flight = 0;
	int status = IBV_WC_SUCCESS;
	uint64_t until = rig_now_us() + 3000000;

	while (rig_now_us() < until && status == IBV_WC_SUCCESS) {
		while (in_flight < 16 &&
		       rig_post(&near, far, IBV_WR_RDMA_WRITE, 0, 0, FENCE_BYTES) == 0)
			in_flight++;
		if (ibv_poll_cq(near.cq, 1, &wc) > 0) {
			in_flight--;
			status = (int)wc.status;
		}
	}
	RIG_EQUAL(status, expected);
	while (in_flight && rig_wait(near.cq, &wc, 500)) {
		RIG_EQUAL(wc.status, IBV_WC_WR_FLUSH_ERR);
		in_flight--;
	}
	RIG_EQUAL(in_flight, 0);
}

static void
fence_holds(bool shared, enum order order, int expected)
{
	struct target target = start_target(shared);

	rig_create(&near, &(struct rig_options){.device = 0});
	memset(near.buf, 0xa5, FENCE_BYTES);
	for (unsigned int round = 0; round < N_ROUNDS && !rig_test_failed; round++) {
		struct rig_end far = connect_target(&target, &(struct rig_link){0});
		struct message m = {.order = order};

		/* The order is on its way while the writes go on. */
		pid_t helper = fork();
		if (helper == 0) {
			usleep(3000 + round * 700);
			_exit(write(target.fd, &m, sizeof(m)) != (ssize_t)sizeof(m));
		}
		hammer_until_refused(&far, expected);
		RIG_EQUAL(read(target.fd, &m, sizeof(m)), sizeof(m));
		RIG_EQUAL(m.result, 1);
		waitpid(helper, NULL, 0);
	}
	stop_target(&target);
	rig_destroy(&near);
}

static void
nothing_is_written_after_dereg_private(void)
{
	fence_holds(false, DEREGISTER_AND_WATCH, IBV_WC_REM_ACCESS_ERR);
}

static void
nothing_is_written_after_dereg_shared(void)
{
	fence_holds(true, DEREGISTER_AND_WATCH, IBV_WC_REM_ACCESS_ERR);
}

/* Small WRITEs to private memory are executed together; they end one by one all the same. */
static void
a_burst_ends_at_the_write_that_fails(void)
{
	const unsigned int n_good = 8, n = 20;
	struct target target = start_target(false);
	struct rig_end far;

	rig_create(&near, &(struct rig_options){.device = 0});
	far = connect_target(&target, &(struct rig_link){0});
	rig_fill(near.buf, n_good * MARK_STRIDE, n_good * MARK_STRIDE);
	/* The last one that lands ends in the page before it. */
	RIG_EQUAL(ask(&target,
		      (struct message){.order = UNMAP_A_PAGE, .len = (n_good + 1) * MARK_STRIDE})
			  .result,
		  0);
	for (unsigned int i = 0; i < n; i++)
		RIG_EQUAL(rig_post(&near, &far, IBV_WR_RDMA_WRITE, i * MARK_STRIDE,
				   3 + i * MARK_STRIDE, MARK_STRIDE),
			  0);
	for (unsigned int i = 0; i < n; i++)
		RIG_EQUAL(rig_status(near.cq), i < n_good    ? IBV_WC_SUCCESS
					       : i == n_good ? IBV_WC_REM_OP_ERR
							     : IBV_WC_WR_FLUSH_ERR);
	RIG_EQUAL(
		ask(&target, (struct message){.order = CHECK, .len = n_good * MARK_STRIDE}).result,
		1);
	stop_target(&target);
	rig_destroy(&near);
}

static void
nothing_is_written_after_modify_to_error(void)
{
	fence_holds(true, BREAK_AND_WATCH, IBV_WC_RETRY_EXC_ERR);
}

static void
killed_peer(bool shared, enum ibv_wr_opcode opcode)
{
	const struct rig_link link = {.timeout = 13, .retry_cnt = 2, .rnr_retry = 7};
	struct target target = start_target(shared), other = start_target(shared);
	struct rig_end far;
	uint64_t start, took;

	rig_create(&near, &(struct rig_options){.device = 0});
	far = connect_target(&target, &link);
	RIG_EQUAL(rig_post(&near, &far, IBV_WR_RDMA_WRITE, 0, 0, 4096), 0);
	RIG_EQUAL(rig_status(near.cq), IBV_WC_SUCCESS);
	if (opcode == IBV_WR_SEND) { /* in flight when it dies: it waits for a receive */
		RIG_EQUAL(rig_post(&near, NULL, IBV_WR_SEND, 0, 0, 8), 0);
		usleep(20000);
	}
	kill(target.pid, SIGKILL); /* not waited for: a zombie is dead too */
	usleep(5000);
	start = rig_now_us();
	if (opcode != IBV_WR_SEND)
		RIG_EQUAL(rig_post(&near, &far, opcode, 0, 0, 4096), 0);
	RIG_EQUAL(rig_status(near.cq), IBV_WC_RETRY_EXC_ERR);
	took = rig_now_us() - start;
	RIG_CHECK(took > 80000 && took < 400000); /* 3 x 33.6 ms, on a busy machine */
	waitpid(target.pid, NULL, 0);
	close(target.fd);

	/* The survivors go on. */
	far = connect_target(&other, &link);
	rig_fill(near.buf, 100, 100);
	RIG_EQUAL(rig_post(&near, &far, IBV_WR_RDMA_WRITE, 0, 3, 100), 0);
	RIG_EQUAL(rig_status(near.cq), IBV_WC_SUCCESS);
	RIG_EQUAL(ask(&other, (struct message){.order = CHECK, .len = 100}).result, 1);
	stop_target(&other);
	rig_destroy(&near);
}

static void
write_to_a_killed_peer_exceeds_the_retries(void)
{
	killed_peer(true, IBV_WR_RDMA_WRITE);
}

static void
read_from_a_killed_peer_exceeds_the_retries(void)
{
	killed_peer(false, IBV_WR_RDMA_READ);
}

static void
send_to_a_killed_peer_exceeds_the_retries(void)
{
	killed_peer(false, IBV_WR_SEND);
}

int
main(void)
{
#define RUN(test) rig_run(#test, test)
	signal(SIGPIPE, SIG_IGN);
	RUN(data_reaches_private_memory);
	RUN(data_reaches_shared_memory);
	/* Over packets the target's own NIC writes there, and memory that is gone ends it. */
	if (!strstr(getenv("SOFTNIC_SETTINGS"), "wire=roce"))
		RUN(a_burst_ends_at_the_write_that_fails);
	RUN(nothing_is_written_after_dereg_private);
	RUN(nothing_is_written_after_dereg_shared);
	RUN(nothing_is_written_after_modify_to_error);
	RUN(write_to_a_killed_peer_exceeds_the_retries);
	RUN(read_from_a_killed_peer_exceeds_the_retries);
	RUN(send_to_a_killed_peer_exceeds_the_retries);
	return rig_finish();
}
