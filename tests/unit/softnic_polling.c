/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A writer and a reader, two processes with a device each, and how the reader learns of a payload:
 *
 *	softnic --devices 2 --seed S -- softnic_polling MODE MESSAGES
 *
 *	last-byte   polls the end of the payload, in relaxed-ordered memory
 *	flag        polls a flag that another WRITE puts there
 *	strict      as last-byte, in strictly ordered memory
 *	imm         WRITE_IMM: polls its receive CQ
 *	read        the writer READs behind the WRITE, and then says so by other means
 *
 * Prints what it found: "N messages" and exits 0, or "message N is torn" and exits 1.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "softnic_rig.h"

#define N_SLOTS	   32u
#define SLOT_WORDS 512u /* a payload; its number in every word */
#define SLOT_BYTES (SLOT_WORDS * 8)
#define FLAGS_AT   (N_SLOTS * SLOT_BYTES)
#define PROOF_AT   (FLAGS_AT + N_SLOTS * 8)
#define PATIENCE_S 60

enum mode { LAST_BYTE, FLAG, STRICT, IMM, READ };
static const char *const mode_names[] = {"last-byte", "flag", "strict", "imm", "read"};

/* What the two know of each other by other means than RDMA. */
static struct {
	struct rig_address address[2];
	_Atomic int n_ready;
	_Atomic uint64_t n_said; /* READ: complete, says the writer */
	_Atomic uint64_t n_read;
	_Atomic bool over;
} * common;

static enum mode mode;
static uint64_t n_messages;
static struct rig_end end;
static const struct rig_address *peer;

/* Our end, connected to the other's. */
static void
meet(unsigned int i)
{
	rig_create(&end, &(struct rig_options){.device = i, .depth = N_SLOTS * 2});
	if (mode != STRICT) {
		ibv_dereg_mr(end.mr);
		end.mr = ibv_reg_mr(end.pd, end.buf, RIG_BUF_BYTES,
				    RIG_ALL_ACCESS | IBV_ACCESS_RELAXED_ORDERING);
	}
	common->address[i] = rig_address_of(&end);
	peer = &common->address[!i];
	atomic_fetch_add(&common->n_ready, 1);
	while (atomic_load(&common->n_ready) < 2)
		;
	rig_connect_to(&end, peer, &(struct rig_link){.timeout = 14, .retry_cnt = 7}, 100);
	atomic_fetch_add(&common->n_ready, 1);
	while (atomic_load(&common->n_ready) < 4)
		;
}

/* ---- the writer ---- */

static void
post(enum ibv_wr_opcode opcode, uint64_t at, uint32_t bytes, bool last)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)end.buf + at, .length = bytes, .lkey = end.mr->lkey};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = opcode,
				 .send_flags = last ? IBV_SEND_SIGNALED : 0,
				 .wr.rdma = {.remote_addr = peer->addr + at, .rkey = peer->rkey}};
	struct ibv_send_wr *bad;
	struct ibv_wc wc;

	if (ibv_post_send(end.qp, &wr, &bad) ||
	    (last && (!rig_wait(end.cq, &wc, PATIENCE_S * 1000) || wc.status)))
		_exit(2);
}

static void
write_message(uint64_t i)
{
	uint64_t at = i % N_SLOTS * SLOT_BYTES, flag_at = FLAGS_AT + i % N_SLOTS * 8;
	uint64_t *payload = (uint64_t *)(end.buf + at);

	for (unsigned int word = 0; word < SLOT_WORDS; word++)
		payload[word] = i + 1;
	*(uint64_t *)(end.buf + flag_at) = i + 1;
	switch (mode) {
	case FLAG:
		post(IBV_WR_RDMA_WRITE, at, SLOT_BYTES, false);
		post(IBV_WR_RDMA_WRITE, flag_at, 8, true);
		break;
	case READ:
		post(IBV_WR_RDMA_WRITE, at, SLOT_BYTES, false);
		post(IBV_WR_RDMA_READ, PROOF_AT, 1, true);
		atomic_store(&common->n_said, i + 1);
		break;
	default:
		post(mode == IMM ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_RDMA_WRITE, at, SLOT_BYTES,
		     true);
	}
}

static int
be_writer(void)
{
	meet(0);
	for (uint64_t i = 0; i < n_messages && !atomic_load(&common->over); i++) {
		while (i - atomic_load(&common->n_read) >= N_SLOTS / 2 &&
		       !atomic_load(&common->over))
			;
		write_message(i);
	}
	while (!atomic_load(&common->over))
		usleep(1000);
	return 0;
}

/* ---- the reader ---- */

static bool
has_arrived(uint64_t i)
{
	const volatile uint64_t *slot =
		(const volatile uint64_t *)(end.buf + i % N_SLOTS * SLOT_BYTES);
	const volatile uint64_t *flag = (const volatile uint64_t *)(end.buf + FLAGS_AT);
	struct ibv_wc wc;

	switch (mode) {
	case FLAG:
		return flag[i % N_SLOTS] == i + 1;
	case IMM:
		return ibv_poll_cq(end.cq, 1, &wc) > 0;
	case READ:
		return atomic_load(&common->n_said) > i;
	default:
		return slot[SLOT_WORDS - 1] == i + 1;
	}
}

static bool
is_whole(uint64_t i)
{
	const volatile uint64_t *slot =
		(const volatile uint64_t *)(end.buf + i % N_SLOTS * SLOT_BYTES);

	for (unsigned int word = 0; word < SLOT_WORDS; word++) {
		if (slot[word] != i + 1)
			return false;
	}
	return true;
}

static int
be_reader(void)
{
	uint64_t deadline = rig_now_us() + PATIENCE_S * 1000000ull;

	meet(1);
	for (unsigned int i = 0; i < N_SLOTS && mode == IMM; i++)
		rig_post_recv(&end, PROOF_AT, 8);
	atomic_store(&common->n_read, 0); /* the writer may begin */
	for (uint64_t i = 0; i < n_messages; i++) {
		while (!has_arrived(i)) {
			if (rig_now_us() > deadline) {
				printf("message %llu does not arrive\n", (unsigned long long)i);
				return 2;
			}
		}
		if (!is_whole(i)) {
			printf("message %llu is torn\n", (unsigned long long)i);
			return 1;
		}
		if (mode == IMM)
			rig_post_recv(&end, PROOF_AT, 8);
		atomic_store(&common->n_read, i + 1);
	}
	printf("%llu messages\n", (unsigned long long)n_messages);
	return 0;
}

int
main(int argc, char **argv)
{
	pid_t writer;
	int status;

	for (unsigned int i = 0; argc == 3 && i < sizeof(mode_names) / sizeof(mode_names[0]); i++) {
		if (strcmp(argv[1], mode_names[i]) == 0) {
			mode = i;
			n_messages = strtoull(argv[2], NULL, 10);
		}
	}
	if (!n_messages) {
		fputs("usage: softnic_polling last-byte|flag|strict|imm|read MESSAGES\n", stderr);
		return 2;
	}
	common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	atomic_store(&common->n_read, (uint64_t) - (N_SLOTS / 2)); /* the reader is not there yet */
	writer = fork();					   /* before any device is open */
	if (writer == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		exit(be_writer());
	}
	status = be_reader();
	atomic_store(&common->over, true);
	waitpid(writer, NULL, 0);
	return status;
}
