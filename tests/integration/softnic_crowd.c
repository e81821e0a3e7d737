/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What softnic_life.sh runs: many devices, QPs and processes, and processes that fork, exec, or
 * are sealed off from each other.
 *
 *	softnic_crowd mesh N | qps N | processes N | fork | exec | sealed shared|private
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit/softnic_rig.h"

#define BYTES	     4096u
#define BUF_BYTES    (1u << 20)
#define EXIT_REFUSED 3 /* sealed: the transfer failed, and said so by a completion */

/* Write a pattern from @a to @b and look at it. */
static bool
write_arrives(struct rig_end *a, struct rig_end *b, unsigned int seed)
{
	rig_fill(a->buf, BYTES, seed);
	return rig_post(a, b, IBV_WR_RDMA_WRITE, 0, BYTES * 2, BYTES) == 0 &&
	       rig_status(a->cq) == IBV_WC_SUCCESS &&
	       memcmp(a->buf, b->buf + BYTES * 2, BYTES) == 0;
}

static void
mesh(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		for (unsigned int j = 0; j < n; j++) {
			struct rig_end a, b;

			rig_create(&a, &(struct rig_options){.device = i,
							     .shared = true,
							     .buf_bytes = BUF_BYTES});
			rig_create(&b, &(struct rig_options){.device = j,
							     .shared = true,
							     .buf_bytes = BUF_BYTES});
			rig_connect(&a, &b, NULL);
			RIG_CHECK(write_arrives(&a, &b, i * n + j));
			rig_destroy(&a);
			rig_destroy(&b);
		}
	}
}

/* All in one process: half of them post to the other half, all at once. */
static void
many_qps(unsigned int n)
{
	struct rig_end a, b, *ends = calloc(n, sizeof(*ends));

	rig_create(&a, &(struct rig_options){.device = 0, .depth = 1024, .buf_bytes = BUF_BYTES});
	rig_create(&b, &(struct rig_options){.device = 1, .depth = 1024, .buf_bytes = BUF_BYTES});
	for (unsigned int i = 0; i < n; i++) {
		struct rig_end *of = i % 2 ? &b : &a;
		struct ibv_qp_init_attr init = {
			.send_cq = of->cq,
			.recv_cq = of->cq,
			.qp_type = IBV_QPT_RC,
			.cap = {.max_send_wr = 4, .max_send_sge = 1},
		};

		ends[i] = *of;
		ends[i].qp = ibv_create_qp(of->pd, &init);
		RIG_CHECK(ends[i].qp);
		if (!ends[i].qp)
			return;
		if (i % 2)
			rig_connect(&ends[i - 1], &ends[i], NULL);
	}
	rig_fill(a.buf, n * 64, 1);
	for (unsigned int i = 0; i < n; i += 2)
		RIG_EQUAL(rig_post(&ends[i], &ends[i + 1], IBV_WR_RDMA_WRITE, i * 64, i * 64, 64),
			  0);
	for (unsigned int i = 0; i < n; i += 2)
		RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	for (unsigned int i = 0; i < n; i += 2)
		RIG_CHECK(memcmp(a.buf + i * 64, b.buf + i * 64, 64) == 0);
	for (unsigned int i = 0; i < n; i++)
		RIG_EQUAL(ibv_destroy_qp(ends[i].qp), 0);
	free(ends);
	rig_destroy(&a);
	rig_destroy(&b);
}

/* ---- processes ---- */

/* @n processes, all there at once, each with a pair of its own. */
static void
crowd(const char *self, unsigned int n)
{
	int down[2], up[2], status;
	char ready;

	RIG_CHECK(pipe(down) == 0 && pipe(up) == 0);
	for (unsigned int i = 0; i < n; i++) {
		if (fork() == 0) {
			dup2(down[0], STDIN_FILENO);
			dup2(up[1], STDOUT_FILENO);
			close(down[1]);
			execl(self, self, "member", (char *)NULL);
			_exit(127);
		}
	}
	close(up[1]);
	for (unsigned int i = 0; i < n; i++)
		RIG_EQUAL(read(up[0], &ready, 1), 1);
	close(down[1]); /* and now they may go */
	for (unsigned int i = 0; i < n; i++) {
		RIG_CHECK(wait(&status) > 0 && WIFEXITED(status));
		RIG_EQUAL(WEXITSTATUS(status), 0);
	}
}

/* Between the two devices of this process; with @wait until standard input ends. */
static int
pair(bool wait)
{
	struct rig_end a, b;
	bool fine;
	char c = 'x';

	rig_create(&a, &(struct rig_options){.device = 0, .buf_bytes = BUF_BYTES});
	rig_create(&b, &(struct rig_options){.device = 1, .buf_bytes = BUF_BYTES});
	rig_connect(&a, &b, NULL);
	fine = write_arrives(&a, &b, (unsigned int)getpid());
	if (wait)
		fine = write(STDOUT_FILENO, &c, 1) == 1 && read(STDIN_FILENO, &c, 1) == 0 && fine &&
		       write_arrives(&b, &a, 1);
	rig_destroy(&a);
	rig_destroy(&b);
	return !fine;
}

static void
fork_after_open(void)
{
	struct rig_end a, b;
	int status;

	rig_create(&a, &(struct rig_options){.device = 0, .buf_bytes = BUF_BYTES});
	rig_create(&b, &(struct rig_options){.device = 1, .buf_bytes = BUF_BYTES});
	rig_connect(&a, &b, NULL);
	RIG_CHECK(write_arrives(&a, &b, 1));
	if (fork() == 0) {
		/* The handles were the parent's; the libraries stay usable. */
		struct ibv_pd *pd = ibv_alloc_pd(a.context);

		_exit(pd ? 1 : 0);
	}
	RIG_CHECK(wait(&status) > 0 && WIFEXITED(status));
	RIG_EQUAL(WEXITSTATUS(status), 0);
	RIG_CHECK(write_arrives(&a, &b, 2));
	/* A child that opens its own device is a new process like any other. */
	if (fork() == 0)
		_exit(pair(false));
	RIG_CHECK(wait(&status) > 0 && WIFEXITED(status));
	RIG_EQUAL(WEXITSTATUS(status), 0);
	RIG_CHECK(write_arrives(&b, &a, 3));
	rig_destroy(&a);
	rig_destroy(&b);
}

/* Leave everything open and become another program. */
static void
exec_after_open(const char *self)
{
	struct rig_end a;

	rig_create(&a, &(struct rig_options){.device = 0, .buf_bytes = BUF_BYTES});
	execl(self, self, "pair", (char *)NULL);
}

/* ---- without process_vm_readv and process_vm_writev ---- */

static void
forbid_process_vm(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_writev, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		exit(1);
}

/* The child's memory is written and read from here. */
static int
sealed(const char *kind)
{
	bool shared = strcmp(kind, "shared") == 0;
	struct rig_address peer;
	struct rig_end near;
	int down[2], up[2];
	struct ibv_wc wc;

	forbid_process_vm();
	if (pipe(down) || pipe(up))
		return 1;
	if (fork() == 0) {
		struct rig_end far;
		struct rig_address other, own;

		rig_create(&far, &(struct rig_options){
					 .device = 1, .shared = shared, .buf_bytes = BUF_BYTES});
		own = rig_address_of(&far);
		if (write(up[1], &own, sizeof(own)) != sizeof(own) ||
		    read(down[0], &other, sizeof(other)) != sizeof(other))
			_exit(1);
		rig_connect_to(&far, &other, &(struct rig_link){0}, 100);
		if (write(up[1], "x", 1) != 1)
			_exit(1);
		close(down[1]);
		_exit(read(down[0], &other, 1) != 0); /* until the parent ends */
	}
	close(up[1]);
	rig_create(&near,
		   &(struct rig_options){.device = 0, .shared = true, .buf_bytes = BUF_BYTES});
	struct rig_address own = rig_address_of(&near);
	char ready;
	if (write(down[1], &own, sizeof(own)) != sizeof(own) ||
	    read(up[0], &peer, sizeof(peer)) != sizeof(peer))
		return 1;
	rig_connect_to(&near, &peer, &(struct rig_link){0}, 100);
	if (read(up[0], &ready, 1) != 1)
		return 1;
	struct ibv_sge sge = {.addr = (uintptr_t)near.buf, .length = BYTES, .lkey = near.mr->lkey};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_RDMA_WRITE,
				 .send_flags = IBV_SEND_SIGNALED,
				 .wr.rdma = {.remote_addr = peer.addr, .rkey = peer.rkey}},
			   *bad;
	if (ibv_post_send(near.qp, &wr, &bad) || !rig_wait(near.cq, &wc, 5000))
		return 1;
	return wc.status == IBV_WC_SUCCESS ? 0 : EXIT_REFUSED;
}

int
main(int argc, char **argv)
{
	const char *role = argc > 1 ? argv[1] : "";
	unsigned int n = argc > 2 ? (unsigned int)strtoul(argv[2], NULL, 10) : 0;

	if (strcmp(role, "mesh") == 0)
		mesh(n);
	else if (strcmp(role, "qps") == 0)
		many_qps(n);
	else if (strcmp(role, "processes") == 0)
		crowd(argv[0], n);
	else if (strcmp(role, "pair") == 0)
		return pair(false);
	else if (strcmp(role, "member") == 0)
		return pair(true);
	else if (strcmp(role, "fork") == 0)
		fork_after_open();
	else if (strcmp(role, "exec") == 0)
		exec_after_open(argv[0]);
	else if (strcmp(role, "sealed") == 0 && argc > 2)
		return sealed(argv[2]);
	else
		return 2;
	return rig_test_failed;
}
