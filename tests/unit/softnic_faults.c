/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults on purpose, asked for by `softnic ctl`. Run it as `softnic --devices 2 --seed 1 --instance
 * I -- softnic_faults` with SOFTNIC and SOFTNIC_INSTANCE set: then it replays.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "softnic_rig.h"

#define N_OPS	   200u
#define BYTES	   3000u
#define COUNTER_AT (1u << 20)
#define RESULT_AT  (2u << 20)

static struct rig_end a, b; /* devices 0 and 1 */

/* ---- softnic ctl ---- */

static char said[4096];

/* Its exit status; what it said is in said[]. */
static int __attribute__((format(printf, 1, 2))) softnic(const char *format, ...)
{
	char line[512], command[1024];
	va_list args;
	FILE *pipe;
	size_t n;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	snprintf(command, sizeof(command), "unset LD_PRELOAD; \"$SOFTNIC\" %s 2>&1", line);
	pipe = popen(command, "r");
	if (!pipe)
		return -1;
	n = fread(said, 1, sizeof(said) - 1, pipe);
	said[n] = '\0';
	return WEXITSTATUS(pclose(pipe));
}

static void
ctl(const char *what)
{
	int status = softnic("ctl %s", what);

	RIG_EQUAL(status, 0);
	if (status)
		printf("  %s: %s", what, said);
}

static void
calm(void)
{
	ctl("mlx5_0 clear");
	ctl("mlx5_1 clear");
}

/* ---- two ends ---- */

static void
set_up(void)
{
	rig_create(&a, &(struct rig_options){.device = 0});
	rig_create(&b, &(struct rig_options){.device = 1});
	rig_connect(&a, &b, &(struct rig_link){.retry_cnt = 7, .rnr_retry = 7});
}

static void
tear_down(void)
{
	calm();
	rig_destroy(&a);
	rig_destroy(&b);
}

static void
succeeds(enum ibv_wr_opcode opcode)
{
	RIG_EQUAL(rig_post(&a, &b, opcode, 0, 0, BYTES), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
}

static uint64_t
counter(unsigned int device, const char *name)
{
	unsigned long long value = 0;
	char path[128];
	FILE *file;

	usleep(5000); /* the NIC counts at the end of its pass */
	snprintf(path, sizeof(path), "/sys/class/infiniband/mlx5_%u/ports/1/hw_counters/%s", device,
		 name);
	file = fopen(path, "r");
	RIG_CHECK(file && fscanf(file, "%llu", &value) == 1);
	if (file)
		fclose(file);
	return value;
}

/* ---- losses ---- */

static void
fetch_and_add(void)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)a.buf + RESULT_AT, .length = 8, .lkey = a.mr->lkey};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_ATOMIC_FETCH_AND_ADD,
				 .send_flags = IBV_SEND_SIGNALED,
				 .wr.atomic = {.remote_addr = (uintptr_t)b.buf + COUNTER_AT,
					       .rkey = b.mr->rkey,
					       .compare_add = 1}};
	struct ibv_send_wr *bad;

	RIG_EQUAL(ibv_post_send(a.qp, &wr, &bad), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
}

/* Each is executed once, whatever was lost. */
static void
check_atomics(void)
{
	uint64_t *at = (uint64_t *)(b.buf + COUNTER_AT), *old = (uint64_t *)(a.buf + RESULT_AT);

	*at = 0;
	for (uint64_t i = 0; i < N_OPS && !rig_test_failed; i++) {
		fetch_and_add();
		RIG_EQUAL(*old, i);
	}
	RIG_EQUAL(*at, N_OPS);
}

static void
check_bytes(enum ibv_wr_opcode opcode)
{
	bool is_read = opcode == IBV_WR_RDMA_READ;

	for (unsigned int i = 0; i < N_OPS && !rig_test_failed; i++) {
		rig_fill(is_read ? b.buf : a.buf, BYTES, i);
		succeeds(opcode);
		RIG_CHECK(memcmp(a.buf, b.buf, BYTES) == 0);
	}
}

/* Many at once; each arrives once, in order. */
static void
check_messages(enum ibv_wr_opcode opcode)
{
	const unsigned int n = 32;
	struct ibv_wc wc;

	for (unsigned int lap = 0; lap < 8 && !rig_test_failed; lap++) {
		for (unsigned int i = 0; i < n; i++) {
			rig_fill(a.buf + i * BYTES, BYTES, lap * n + i);
			RIG_EQUAL(rig_post_recv(&b, i * BYTES, BYTES), 0);
			RIG_EQUAL(rig_post(&a, &b, opcode, i * BYTES, i * BYTES, BYTES), 0);
		}
		for (unsigned int i = 0; i < n && !rig_test_failed; i++) {
			RIG_CHECK(rig_wait(b.cq, &wc, 2000));
			RIG_EQUAL(wc.status, IBV_WC_SUCCESS);
			RIG_EQUAL(wc.wr_id, i * BYTES);
			RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
		}
		RIG_CHECK(memcmp(a.buf, b.buf, n * BYTES) == 0);
	}
}

static void
losses_and_duplicates_are_masked(void)
{
	uint64_t before = counter(0, "local_ack_timeout_err");

	set_up();
	for (unsigned int device = 0; device < 2; device++) {
		RIG_EQUAL(softnic("ctl mlx5_%u drop 0.04", device), 0);
		RIG_EQUAL(softnic("ctl mlx5_%u corrupt 0.04", device), 0);
		RIG_EQUAL(softnic("ctl mlx5_%u dup 0.1", device), 0);
	}
	check_bytes(IBV_WR_RDMA_WRITE);
	check_bytes(IBV_WR_RDMA_READ);
	check_atomics();
	check_messages(IBV_WR_SEND);
	check_messages(IBV_WR_RDMA_WRITE_WITH_IMM);
	RIG_CHECK(counter(0, "local_ack_timeout_err") > before + N_OPS / 10);
	RIG_CHECK(counter(1, "rx_icrc_encapsulated") > 0);
	tear_down();
}

static void
the_nth_is_lost_once(void)
{
	uint64_t before = counter(0, "local_ack_timeout_err");

	set_up();
	ctl("mlx5_1 drop '#3'");
	for (unsigned int i = 0; i < 10; i++)
		succeeds(IBV_WR_RDMA_WRITE);
	RIG_EQUAL(counter(0, "local_ack_timeout_err"), before + 1);
	tear_down();
}

static void
each_nth_is_lost(void)
{
	uint64_t before = counter(0, "local_ack_timeout_err");

	set_up();
	ctl("mlx5_1 drop /3");
	for (unsigned int i = 0; i < 10; i++) /* 15 are sent: 3, 6, 9, 12 and 15 are lost */
		succeeds(IBV_WR_RDMA_WRITE);
	RIG_EQUAL(counter(0, "local_ack_timeout_err"), before + 4);
	tear_down();
}

static void
when_all_is_lost_the_qp_gives_up(void)
{
	set_up();
	ctl("mlx5_1 drop 1");
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, BYTES), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_RETRY_EXC_ERR);
	tear_down();
}

static void
a_delay_delays(void)
{
	uint64_t start;

	set_up();
	ctl("mlx5_1 delay 1:20ms");
	start = rig_now_us();
	succeeds(IBV_WR_RDMA_WRITE);
	RIG_CHECK(rig_now_us() - start >= 20000);
	tear_down();
}

/* ---- queues ---- */

static void
receives_that_are_refused_come_again(void)
{
	set_up();
	ctl("mlx5_1 rnr 0.3");
	check_messages(IBV_WR_SEND);
	RIG_CHECK(counter(1, "out_of_buffer") > 0);
	tear_down();
}

static void
a_cq_overruns(void)
{
	set_up();
	ctl("mlx5_0 cq_overrun '#1'");
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, BYTES), 0);
	RIG_EQUAL(rig_async(a.context), IBV_EVENT_CQ_ERR);
	tear_down();
}

static void
a_qp_fails(void)
{
	set_up();
	ctl("mlx5_0 qp_error '#2'");
	succeeds(IBV_WR_RDMA_WRITE);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, BYTES), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_WR_FLUSH_ERR);
	RIG_EQUAL(rig_async(a.context), IBV_EVENT_QP_FATAL);
	tear_down();
}

static void
a_qp_is_moved_to_error(void)
{
	set_up();
	RIG_EQUAL(softnic("ctl qp %#x error", b.qp->qp_num), 0);
	RIG_EQUAL(rig_async(b.context), IBV_EVENT_QP_FATAL);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, BYTES), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_RETRY_EXC_ERR);
	tear_down();
}

/* ---- devices ---- */

static void
a_stalled_device_does_nothing_meanwhile(void)
{
	struct ibv_wc wc;

	set_up();
	ctl("mlx5_0 stall 300");
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, BYTES), 0);
	RIG_CHECK(!rig_wait(a.cq, &wc, 50));
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	tear_down();
}

static enum ibv_port_state
port_state(void)
{
	struct ibv_port_attr attr;

	return ibv_query_port(b.context, 1, &attr) ? IBV_PORT_NOP : attr.state;
}

static void
a_port_goes_down_and_up(void)
{
	set_up();
	ctl("mlx5_1 down");
	RIG_EQUAL(rig_async(b.context), IBV_EVENT_PORT_ERR);
	RIG_EQUAL(port_state(), IBV_PORT_DOWN);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, BYTES), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_RETRY_EXC_ERR);
	ctl("mlx5_1 up");
	RIG_EQUAL(rig_async(b.context), IBV_EVENT_PORT_ACTIVE);
	RIG_EQUAL(port_state(), IBV_PORT_ACTIVE);
	tear_down();
	set_up();
	succeeds(IBV_WR_RDMA_WRITE);
	tear_down();
}

static void
a_port_flaps(void)
{
	set_up();
	ctl("mlx5_1 port_down 10ms+100ms/200ms");
	for (unsigned int i = 0; i < 2; i++) {
		RIG_EQUAL(rig_async(b.context), IBV_EVENT_PORT_ERR);
		RIG_EQUAL(rig_async(b.context), IBV_EVENT_PORT_ACTIVE);
	}
	tear_down();
}

static void
clear_ends_an_outage(void)
{
	set_up();
	ctl("mlx5_1 port_down 0s");
	RIG_EQUAL(rig_async(b.context), IBV_EVENT_PORT_ERR);
	ctl("mlx5_1 clear");
	RIG_EQUAL(rig_async(b.context), IBV_EVENT_PORT_ACTIVE);
	succeeds(IBV_WR_RDMA_WRITE);
	tear_down();
}

static void
a_device_dies(void)
{
	set_up();
	ctl("mlx5_1 kill");
	RIG_EQUAL(rig_async(b.context), IBV_EVENT_DEVICE_FATAL);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, BYTES), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_RETRY_EXC_ERR);
	RIG_EQUAL(softnic("ctl mlx5_1 up"), 125);
	tear_down();
}

/* ---- what cannot be ---- */

static void
refused(const char *arguments, const char *named)
{
	RIG_EQUAL(softnic("%s", arguments), 125);
	if (!strstr(said, named) || strchr(said, '\n') != said + strlen(said) - 1) {
		printf("  not one line naming %s: %s", named, said);
		rig_test_failed = true;
	}
}

static void
what_cannot_be_is_refused(void)
{
	refused("ctl mlx5_7 down", "mlx5_7");
	refused("ctl mlx5_0 sideways", "sideways");
	refused("ctl mlx5_0 drop 1.5", "1.5");
	refused("ctl mlx5_0 drop -1", "-1");
	refused("ctl mlx5_0 drop '#0'", "#0");
	refused("ctl mlx5_0 delay 0.5", "0.5");
	refused("ctl mlx5_0 stall soon", "soon");
	refused("ctl mlx5_0 port_down 1s+1s/1s", "1s+1s/1s");
	refused("ctl qp 0x123456 error", "0x123456");
	refused("ctl mlx5_0", "ctl");
	refused("ctl --instance nobody-is-here mlx5_0 down", "nobody-is-here");
	refused("--faults drip=0.1 -- true", "drip");
	refused("--faults drop=0.1,dup -- true", "dup");
	refused("--faults drop@mlx5_9=0.1 -- true", "mlx5_9");
	refused("--faults port_down=2 -- true", "port_down=2");
	RIG_EQUAL(softnic("--faults drop=0,delay=0.5:1us,port_down@mlx5_1=9s+1ms -- true"), 0);
	calm();
}

int
main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
#define RUN(test) rig_run(#test, test)
	RUN(losses_and_duplicates_are_masked);
	RUN(the_nth_is_lost_once);
	RUN(each_nth_is_lost);
	RUN(when_all_is_lost_the_qp_gives_up);
	RUN(a_delay_delays);
	RUN(receives_that_are_refused_come_again);
	RUN(a_cq_overruns);
	RUN(a_qp_fails);
	RUN(a_qp_is_moved_to_error);
	RUN(a_stalled_device_does_nothing_meanwhile);
	RUN(a_port_goes_down_and_up);
	RUN(a_port_flaps);
	RUN(clear_ends_an_outage);
	RUN(what_cannot_be_is_refused);
	RUN(a_device_dies);
	return rig_finish();
}
