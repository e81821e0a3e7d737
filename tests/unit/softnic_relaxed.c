/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What relaxed ordering leaves open, and what ends it. Run it as `softnic --devices 2 --relaxed 1
 * --ro-window-us 100000 -- softnic_relaxed`: then each WRITE to relaxed memory leaves something
 * behind, for a tenth of a second.
 */
#include <string.h>
#include <unistd.h>

#include "softnic_rig.h"

#define TRIES	 1000
#define BYTES	 5000u	    /* of a WRITE; its ends are not those of cache lines */
#define AT	 100u	    /* where it lands */
#define HELD_US	 100000u    /* as given to softnic */
#define PROOF_AT (1u << 20) /* where READs put their data, at the initiator */
#define N_LAPS	 4

static struct rig_end a, b;    /* a writes to b, which has device 1 */
static struct rig_end c, d;    /* c sends to, or reads from, d */
static struct rig_end relaxed; /* b's memory by another key */

static void
set_up(void)
{
	rig_create(&a, &(struct rig_options){.device = 0});
	rig_create(&b, &(struct rig_options){.device = 1});
	rig_connect(&a, &b, NULL);
	relaxed = b;
	relaxed.mr = ibv_reg_mr(b.pd, b.buf, RIG_BUF_BYTES,
				RIG_ALL_ACCESS | IBV_ACCESS_RELAXED_ORDERING);
	RIG_CHECK(relaxed.mr);
}

static void
tear_down(void)
{
	if (relaxed.mr)
		RIG_EQUAL(ibv_dereg_mr(relaxed.mr), 0);
	rig_destroy(&a);
	rig_destroy(&b);
}

static void
done(enum ibv_wr_opcode opcode, const struct rig_end *to, uint64_t local, uint64_t remote,
     uint32_t len)
{
	RIG_EQUAL(rig_post(&a, to, opcode, local, remote, len), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
}

/* WRITE bytes that the target does not have yet, up to its completion. */
static void
write_new(const struct rig_end *to, unsigned int seed)
{
	rig_fill(a.buf, BYTES, seed);
	done(IBV_WR_RDMA_WRITE, to, 0, AT, BYTES);
}

static bool
is_complete(void)
{
	return memcmp(a.buf, b.buf + AT, BYTES) == 0;
}

/* @push follows each WRITE: what stayed behind is there when it returns. */
static void
check_push(void (*push)(void))
{
	unsigned int n_incomplete = 0;

	set_up();
	for (unsigned int i = 0; i < TRIES && !rig_test_failed; i++) {
		write_new(&relaxed, i);
		n_incomplete += !is_complete();
		push();
		RIG_CHECK(is_complete());
	}
	RIG_CHECK(n_incomplete > 0);
	tear_down();
}

static void
read_strict(void)
{
	done(IBV_WR_RDMA_READ, &b, PROOF_AT, AT + BYTES - 1, 1);
	RIG_EQUAL(a.buf[PROOF_AT], a.buf[BYTES - 1]);
}

static void
a_read_pushes_what_a_completion_does_not(void)
{
	check_push(read_strict);
}

static void
write_strict(void)
{
	done(IBV_WR_RDMA_WRITE, &b, 0, 1 << 20, 1);
}

static void
a_strict_write_pushes(void)
{
	check_push(write_strict);
}

static void
message(enum ibv_wr_opcode opcode, const struct rig_end *to)
{
	struct ibv_wc wc;

	RIG_EQUAL(rig_post_recv(&b, 2 << 20, 64), 0);
	RIG_EQUAL(rig_post(&a, to, opcode, 0, 1 << 20, 64), 0);
	RIG_CHECK(rig_wait(b.cq, &wc, 2000));
	RIG_EQUAL(wc.status, IBV_WC_SUCCESS);
	RIG_CHECK(is_complete());
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
}

static void
send_message(void)
{
	message(IBV_WR_SEND, NULL);
}

static void
write_imm(void)
{
	message(IBV_WR_RDMA_WRITE_WITH_IMM, &relaxed);
	RIG_CHECK(memcmp(a.buf, b.buf + (1 << 20), 64) == 0);
}

static void
a_receive_completion_pushes(void)
{
	check_push(send_message);
	check_push(write_imm);
}

static void
fetch_and_add(void)
{
	struct ibv_sge sge = {.addr = (uintptr_t)a.buf + PROOF_AT, .length = 8, .lkey = a.mr->lkey};
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.atomic = {.remote_addr = (uintptr_t)b.buf + PROOF_AT, .rkey = b.mr->rkey}};
	struct ibv_send_wr *bad;

	RIG_EQUAL(ibv_post_send(a.qp, &wr, &bad), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
}

static void
an_atomic_pushes(void)
{
	check_push(fetch_and_add);
}

static void
strict_memory_is_complete_at_the_completion(void)
{
	set_up();
	for (unsigned int i = 0; i < TRIES && !rig_test_failed; i++) {
		write_new(&b, i);
		RIG_CHECK(is_complete());
	}
	tear_down();
}

/* A completion that has nothing to do with the WRITE, but is of the same device. */
static void
send_between_others(void)
{
	RIG_EQUAL(rig_post_recv(&d, 0, 64), 0);
	RIG_EQUAL(rig_post(&c, NULL, IBV_WR_SEND, 0, 0, 64), 0);
	RIG_EQUAL(rig_status(d.cq), IBV_WC_SUCCESS);
	RIG_CHECK(is_complete());
	RIG_EQUAL(rig_status(c.cq), IBV_WC_SUCCESS);
}

static void
any_completion_of_the_device_pushes(void)
{
	rig_create(&c, &(struct rig_options){.device = 0});
	rig_create(&d, &(struct rig_options){.device = 1});
	rig_connect(&c, &d, NULL);
	check_push(send_between_others);
	rig_destroy(&c);
	rig_destroy(&d);
}

/* What another device does says nothing of this one. */
static void
a_read_over_another_device_does_not_push(void)
{
	unsigned int n_incomplete = 0;

	set_up();
	rig_create(&c, &(struct rig_options){.device = 0});
	rig_create(&d, &(struct rig_options){.device = 0});
	rig_connect(&c, &d, NULL);
	for (unsigned int i = 0; i < TRIES; i++) {
		write_new(&relaxed, i);
		RIG_EQUAL(rig_post(&c, &d, IBV_WR_RDMA_READ, 0, 0, 64), 0);
		RIG_EQUAL(rig_status(c.cq), IBV_WC_SUCCESS);
		n_incomplete += !is_complete();
		read_strict();
	}
	RIG_CHECK(n_incomplete > 0);
	rig_destroy(&c);
	rig_destroy(&d);
	tear_down();
}

/* Two WRITEs overlap, at no line's start; the newer one's bytes stay. */
static void
the_newer_of_two_writes_stays(void)
{
	static uint8_t want[2 * BYTES];
	const uint32_t shift = BYTES / 3;

	set_up();
	for (unsigned int i = 0; i < TRIES && !rig_test_failed; i++) {
		rig_fill(a.buf, 2 * BYTES, i);
		memcpy(want, a.buf, BYTES);
		memcpy(want + shift, a.buf + BYTES, BYTES);
		done(IBV_WR_RDMA_WRITE, &relaxed, 0, AT, BYTES);
		done(IBV_WR_RDMA_WRITE, &relaxed, BYTES, AT + shift, BYTES);
		done(IBV_WR_RDMA_READ, &b, PROOF_AT, AT, 1);
		RIG_CHECK(memcmp(want, b.buf + AT, BYTES + shift) == 0);
	}
	tear_down();
}

/* When @end returns, all is there, and nothing lands any more. */
static void
check_end(void (*end)(void))
{
	static const uint8_t zeros[BYTES];
	unsigned int n_incomplete = 0;

	for (unsigned int i = 0; i < N_LAPS; i++) {
		set_up();
		for (unsigned int j = 0; j < 8; j++)
			write_new(&relaxed, i * 8 + j);
		n_incomplete += !is_complete();
		end();
		RIG_CHECK(is_complete());
		memset(b.buf + AT, 0, BYTES);
		usleep(2 * HELD_US);
		RIG_CHECK(memcmp(b.buf + AT, zeros, BYTES) == 0);
		tear_down();
	}
	RIG_CHECK(n_incomplete > 0);
}

static void
to_error(void)
{
	RIG_EQUAL(rig_to_error(&b), 0);
}

static void
nothing_lands_after_modify_to_err(void)
{
	check_end(to_error);
}

static void
deregister(void)
{
	RIG_EQUAL(ibv_dereg_mr(relaxed.mr), 0);
	relaxed.mr = NULL;
}

static void
nothing_lands_after_dereg_mr(void)
{
	check_end(deregister);
}

static void
what_nothing_pushes_arrives_in_time(void)
{
	unsigned int n_incomplete = 0;

	set_up();
	for (unsigned int i = 0; i < N_LAPS; i++) {
		uint64_t end = rig_now_us() + 20 * HELD_US;

		write_new(&relaxed, i);
		n_incomplete += !is_complete();
		while (!is_complete() && rig_now_us() < end)
			usleep(1000);
		RIG_CHECK(is_complete());
	}
	RIG_CHECK(n_incomplete > 0);
	tear_down();
}

int
main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
#define RUN(test) rig_run(#test, test)
	RUN(a_read_pushes_what_a_completion_does_not);
	RUN(a_strict_write_pushes);
	RUN(a_receive_completion_pushes);
	RUN(an_atomic_pushes);
	RUN(any_completion_of_the_device_pushes);
	RUN(strict_memory_is_complete_at_the_completion);
	RUN(a_read_over_another_device_does_not_push);
	RUN(the_newer_of_two_writes_stays);
	RUN(nothing_lands_after_modify_to_err);
	RUN(nothing_lands_after_dereg_mr);
	RUN(what_nothing_pushes_arrives_in_time);
	return rig_finish();
}
