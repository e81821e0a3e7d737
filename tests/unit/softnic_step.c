/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `softnic --step`: the NIC moves on this thread and when it is told to, by a clock of its own, and
 * what happens once happens again. `softnic_step trace SEED` is the program that is replayed: it
 * prints each completion with the step it came in, and what memory held after each step.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "softnic_rig.h"
#include "softnic_step.h"

#define STEP_NS 1000 /* of --step without a value */

static int (*nic_step)(void);
static struct rig_end a, b;
static const char *program;

static void
set_up(const struct rig_link *link)
{
	rig_create(&a, &(struct rig_options){.device = 0});
	rig_create(&b, &(struct rig_options){.device = 1});
	rig_connect(&a, &b, link);
}

static void
tear_down(void)
{
	rig_destroy(&a);
	rig_destroy(&b);
}

/* Step until @cq has a completion; how many steps that took, or 0 if @most did not do. */
static unsigned int
steps_until(struct ibv_cq *cq, struct ibv_wc *wc, unsigned int most)
{
	for (unsigned int n = 1; n <= most; n++) {
		nic_step();
		if (ibv_poll_cq(cq, 1, wc) == 1)
			return n;
	}
	return 0;
}

/* ---- one thing at a time ---- */

static void
nothing_moves_without_a_step(void)
{
	struct ibv_wc wc;

	set_up(NULL);
	rig_fill(a.buf, 4096, 1);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 4096), 0);
	RIG_CHECK(!rig_wait(a.cq, &wc, 20));
	RIG_EQUAL(b.buf[0], 0);
	RIG_CHECK(nic_step() > 0);
	RIG_EQUAL(ibv_poll_cq(a.cq, 1, &wc), 1);
	RIG_CHECK(memcmp(a.buf, b.buf, 4096) == 0);
	nic_step();
	RIG_EQUAL(nic_step(), 0);
	tear_down();
}

static void
a_lost_peer_is_noticed_in_the_same_step(void)
{
	const struct rig_link link = {.timeout = 6, .retry_cnt = 3};
	const uint64_t wait_ns = 4096ull << 6;
	struct ibv_wc wc;

	for (int run = 0; run < 3; run++) {
		set_up(&link);
		RIG_EQUAL(rig_to_error(&b), 0);
		RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 64), 0);
		/* Each wait ends with the first step at or after its time. */
		RIG_EQUAL(steps_until(a.cq, &wc, 100000),
			  1 + 4 * ((wait_ns + STEP_NS - 1) / STEP_NS));
		RIG_EQUAL(wc.status, IBV_WC_RETRY_EXC_ERR);
		tear_down();
	}
}

/* ---- replay ---- */

static uint32_t random_state;

static uint32_t
draw(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % n;
}

static uint64_t
digest(const uint8_t *bytes, size_t n)
{
	uint64_t hash = 14695981039346656037u; /* FNV-1a */

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ bytes[i]) * 1099511628211u;
	return hash;
}

static void
post_something(struct rig_end *from, struct rig_end *to)
{
	static const enum ibv_wr_opcode opcodes[] = {IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ,
						     IBV_WR_SEND, IBV_WR_RDMA_WRITE_WITH_IMM,
						     IBV_WR_RDMA_WRITE};
	uint32_t len = draw(6000);

	rig_fill(from->buf, 8192, draw(1000));
	/* A message may find no receive, and be sent again by the RNR timer. */
	if (draw(2))
		rig_post_recv(to, 16384, 8192);
	rig_post(from, to, opcodes[draw(5)], draw(2000), 8192 + draw(2000), len);
}

static void
print_completions(unsigned int step, const struct rig_end *end)
{
	struct ibv_wc wc;

	while (ibv_poll_cq(end->cq, 1, &wc) == 1)
		printf("step %u: %s opcode %d status %d bytes %u\n", step, end == &a ? "a" : "b",
		       wc.status ? -1 : (int)wc.opcode, wc.status, wc.status ? 0 : wc.byte_len);
}

static int
print_trace(uint32_t seed)
{
	random_state = seed * 2654435761u + 1;
	set_up(&(struct rig_link){.rnr_retry = 7, .min_rnr_timer = 12});
	for (struct rig_end *end = &a; end; end = end == &a ? &b : NULL) {
		/* Where the NIC may leave lines behind. */
		ibv_dereg_mr(end->mr);
		end->mr = ibv_reg_mr(end->pd, end->buf, RIG_BUF_BYTES,
				     RIG_ALL_ACCESS | IBV_ACCESS_RELAXED_ORDERING);
	}
	for (unsigned int step = 0; step < 3000; step++) {
		if (step < 2000 && draw(20) == 0)
			post_something(draw(2) ? &a : &b, draw(2) ? &b : &a);
		printf("step %u: did %d\n", step, nic_step());
		print_completions(step, &a);
		print_completions(step, &b);
		printf("step %u: %016llx\n", step,
		       (unsigned long long)(digest(a.buf, 24576) ^ digest(b.buf, 24576) << 1));
	}
	return 0;
}

/* What a run of its own, in a fresh instance, prints. Returns the digest of it. */
static uint64_t
run_trace(unsigned int seed, unsigned int *n_lines)
{
	const char *softnic = getenv("SOFTNIC");
	char command[1024], line[256];
	uint64_t hash = 0;
	FILE *pipe;

	snprintf(command, sizeof(command),
		 "'%s' --step --instance test-step-trace --relaxed 3 --ro-window-us 100 --seed %u "
		 "-- '%s' trace %u",
		 softnic ? softnic : "softnic", seed, program, seed);
	pipe = popen(command, "r");
	*n_lines = 0;
	while (pipe && fgets(line, sizeof(line), pipe)) {
		hash = hash * 31 + digest((uint8_t *)line, strlen(line));
		*n_lines += strstr(line, "opcode") != NULL;
	}
	RIG_EQUAL(pipe ? pclose(pipe) : -1, 0);
	return hash;
}

static void
the_same_seed_gives_the_same_run(void)
{
	uint64_t last = 0;

	for (unsigned int seed = 1; seed <= 3; seed++) {
		unsigned int n_first, n_again;
		uint64_t hash = run_trace(seed, &n_first);

		RIG_CHECK(hash == run_trace(seed, &n_again));
		RIG_CHECK(n_first > 50);
		RIG_EQUAL(n_again, n_first);
		RIG_CHECK(hash != last);
		last = hash;
	}
}

int
main(int argc, char **argv)
{
	*(void **)&nic_step = dlsym(RTLD_DEFAULT, "softnic_step");
	if (!nic_step) {
		printf("set-up failed: softnic_step is not there (run me under softnic --step)\n");
		return 1;
	}
	program = argv[0];
	if (argc == 3 && strcmp(argv[1], "trace") == 0)
		return print_trace((uint32_t)atoi(argv[2]));
	RIG_EQUAL(nic_step(), -ENODEV);
	rig_run("nothing_moves_without_a_step", nothing_moves_without_a_step);
	rig_run("a_lost_peer_is_noticed_in_the_same_step", a_lost_peer_is_noticed_in_the_same_step);
	rig_run("the_same_seed_gives_the_same_run", the_same_seed_gives_the_same_run);
	return rig_finish();
}
