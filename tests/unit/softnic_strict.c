/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs that drive a QP wrongly, and what --strict says of each. Run it as `softnic --devices 2
 * -- softnic_strict`. The rings are written here by hand, as a driver that bypasses libmlx5 does.
 */
#include <endian.h>
#include <fcntl.h>
#include <infiniband/mlx5dv.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "softnic_rig.h"

#define DEPTH	   64u
#define LAPS	   5u
#define NO_RULE_MS 50u

/* Our own hands on a's send queue. */
struct hand {
	struct mlx5dv_qp dv;
	uint16_t pi;
	unsigned int half; /* the BlueFlame buffer that is next */
};

/* As the first 64 bytes of any WRITE. */
struct wqe {
	struct mlx5_wqe_ctrl_seg ctrl;
	struct mlx5_wqe_raddr_seg raddr;
	struct mlx5_wqe_data_seg data[2];
};

static struct rig_end a, b;
static struct hand hand;
static const char *self;

/* ---- what softnic says ---- */

static int log_fd = -1, true_stderr;

static void
listen_to_stderr(void)
{
	true_stderr = dup(STDERR_FILENO);
	log_fd = memfd_create("stderr", MFD_CLOEXEC);
	dup2(log_fd, STDERR_FILENO);
}

/* What was said since listen_to_stderr(), which it ends. */
static const char *
heard(void)
{
	static char text[65536];
	ssize_t n = pread(log_fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	dup2(true_stderr, STDERR_FILENO);
	close(true_stderr);
	close(log_fd);
	return text;
}

/* Wait until the NIC has named @rule; NULL: that it names none. */
static void
expect(const char *rule)
{
	uint64_t end = rig_now_us() + (rule ? 2000 : NO_RULE_MS) * 1000;
	char text[4096], name[64];
	ssize_t n;

	snprintf(name, sizeof(name), ": %s: ", rule ? rule : "");
	do {
		n = pread(log_fd, text, sizeof(text) - 1, 0);
		text[n > 0 ? n : 0] = '\0';
	} while ((!rule || !strstr(text, name)) && rig_now_us() < end);
	if (rule ? !strstr(text, name) : n != 0) {
		printf("  expected %s, heard: %s\n", rule ? rule : "nothing", text);
		rig_test_failed = true;
	}
}

/* ---- a driver of our own ---- */

static void
set_up(void)
{
	struct mlx5dv_obj obj = {.qp = {.out = &hand.dv}};

	rig_create(&a, &(struct rig_options){.device = 0, .depth = DEPTH});
	rig_create(&b, &(struct rig_options){.device = 1});
	hand = (struct hand){.dv = {.comp_mask = 0}};
	obj.qp.in = a.qp;
	RIG_EQUAL(mlx5dv_init_obj(&obj, MLX5DV_OBJ_QP), 0);
	listen_to_stderr();
}

static void
tear_down(void)
{
	heard();
	rig_destroy(&a);
	rig_destroy(&b);
}

static struct wqe *
at(uint16_t index)
{
	return (void *)((uint8_t *)hand.dv.sq.buf + (index % hand.dv.sq.wqe_cnt) * 64);
}

/* A correct WRITE of 64 bytes at the next index. */
static struct wqe *
compose(void)
{
	struct wqe *wqe = at(hand.pi);

	memset(wqe, 0, sizeof(*wqe));
	wqe->ctrl.opmod_idx_opcode = htobe32((uint32_t)hand.pi << 8 | MLX5_OPCODE_RDMA_WRITE);
	wqe->ctrl.qpn_ds = htobe32(a.qp->qp_num << 8 | 3);
	wqe->ctrl.fm_ce_se = MLX5_WQE_CTRL_CQ_UPDATE;
	wqe->raddr.raddr = htobe64((uintptr_t)b.buf);
	wqe->raddr.rkey = htobe32(b.mr->rkey);
	wqe->data[0] = (struct mlx5_wqe_data_seg){.byte_count = htobe32(64),
						  .lkey = htobe32(a.mr->lkey),
						  .addr = htobe64((uintptr_t)a.buf)};
	hand.pi++;
	return wqe;
}

static void
write_record(void)
{
	__sync_synchronize(); /* TSan knows no C11 fences */
	*(volatile uint32_t *)&hand.dv.dbrec[1] = htobe32(hand.pi);
}

static uint64_t *
next_register(void)
{
	uint8_t *reg = (uint8_t *)hand.dv.bf.reg + hand.half * hand.dv.bf.size;

	hand.half = !hand.half;
	return (uint64_t *)reg;
}

static void
write_register(const void *first_8_bytes)
{
	uint64_t value;

	memcpy(&value, first_8_bytes, sizeof(value));
	__sync_synchronize(); /* TSan knows no C11 fences */
	*(volatile uint64_t *)next_register() = value;
}

static void
copy_to_blueflame(const void *wqe, size_t bytes)
{
	volatile uint64_t *to = next_register();
	const uint64_t *from = wqe;

	for (size_t i = 0; i < bytes / 8; i++)
		to[i] = from[i];
}

static void
ring(const struct wqe *wqe)
{
	write_record();
	write_register(wqe);
}

static void
completes(enum ibv_wc_status status)
{
	struct ibv_wc wc;

	RIG_CHECK(rig_wait(a.cq, &wc, 2000));
	RIG_EQUAL(wc.status, status);
}

/* ---- what is right ---- */

static void
what_is_right_is_not_reported(void)
{
	set_up();
	rig_connect(&a, &b, NULL);
	/* 8 bytes and copies in turn, laps of the ring, several WQEs behind one doorbell. */
	for (unsigned int i = 0; i < LAPS * DEPTH; i++) {
		struct wqe *wqe = compose();

		if (i % 7 == 3)
			wqe = (wqe->ctrl.fm_ce_se = 0, compose());
		write_record();
		if (i % 3 == 0)
			copy_to_blueflame(wqe, 64);
		else
			write_register(wqe);
		completes(IBV_WC_SUCCESS);
	}
	expect(NULL);
	tear_down();
}

/* ---- doorbells ---- */

static void
a_register_before_its_record_is_reported(void)
{
	struct wqe *wqe;

	set_up();
	rig_connect(&a, &b, NULL);
	wqe = compose();
	write_register(wqe);
	expect("record-before-register");
	ring(wqe);
	completes(IBV_WC_SUCCESS);
	tear_down();
}

static void
a_register_with_other_bytes_is_reported(void)
{
	struct mlx5_wqe_ctrl_seg other;

	set_up();
	rig_connect(&a, &b, NULL);
	other = compose()->ctrl;
	other.opmod_idx_opcode = htobe32(MLX5_OPCODE_RDMA_READ); /* of the same index */
	write_record();
	write_register(&other);
	expect("register-is-wqe");
	completes(IBV_WC_SUCCESS);
	tear_down();
}

static void
a_blueflame_copy_with_other_bytes_is_reported(void)
{
	struct wqe copy, *wqe;

	set_up();
	rig_connect(&a, &b, NULL);
	wqe = compose();
	copy = *wqe;
	copy.data[0].addr ^= htobe64(64); /* the copy was made before the address was */
	/* The register last, so that the rest is there when the NIC looks. */
	write_record();
	memcpy((uint8_t *)hand.dv.bf.reg + 8, (uint8_t *)&copy + 8, 56);
	write_register(wqe);
	expect("blueflame-is-wqe");
	completes(IBV_WC_SUCCESS);
	tear_down();
}

static void
a_register_of_another_page_is_reported(void)
{
	struct mlx5_wqe_ctrl_seg other;

	set_up();
	rig_connect(&a, &b, NULL);
	other = compose()->ctrl;
	other.qpn_ds = htobe32((a.qp->qp_num + 1) << 8 | 3);
	write_register(&other);
	expect("register-of-qp");
	tear_down();
}

static void
a_doorbell_before_rts_is_reported(void)
{
	set_up();
	ring(compose());
	expect("state-may-send");
	tear_down();
}

static void
more_than_the_ring_holds_is_reported(void)
{
	set_up();
	rig_connect(&a, &b, NULL);
	for (unsigned int i = 0; i < hand.dv.sq.wqe_cnt + 1; i++)
		compose();
	ring(at((uint16_t)(hand.pi - 1)));
	expect("ring-has-room");
	expect("wqe-index"); /* of the first WQE, which the last has overwritten */
	tear_down();
}

/* ---- WQEs ---- */

static struct wqe *spoiled;

static void
report_of_wqe(void (*spoil)(void), const char *rule)
{
	set_up();
	rig_connect(&a, &b, NULL);
	spoiled = compose();
	spoil();
	ring(spoiled);
	expect(rule);
	tear_down();
}

static void
index_of_another(void)
{
	spoiled->ctrl.opmod_idx_opcode = htobe32(7 << 8 | MLX5_OPCODE_RDMA_WRITE);
	hand.pi = 8; /* so that its register is not ahead of the record */
}

static void
a_wrong_index_is_reported(void)
{
	report_of_wqe(index_of_another, "wqe-index");
}

static void
qpn_of_another(void)
{
	/* The register has it right: only the ring is wrong. */
	struct wqe right = *spoiled;

	spoiled->ctrl.qpn_ds = htobe32((a.qp->qp_num ^ 1) << 8 | 3);
	write_record();
	write_register(&right);
}

static void
a_wrong_qpn_is_reported(void)
{
	report_of_wqe(qpn_of_another, "wqe-qpn");
}

static void
no_segments(void)
{
	spoiled->ctrl.qpn_ds = htobe32(a.qp->qp_num << 8);
}

static void
longer_than_announced(void)
{
	struct wqe right = *spoiled;

	spoiled->ctrl.qpn_ds = htobe32(a.qp->qp_num << 8 | 8);
	write_record();
	write_register(&right);
}

static void
no_remote_address(void)
{
	spoiled->ctrl.qpn_ds = htobe32(a.qp->qp_num << 8 | 1);
}

static void
inline_beyond_its_end(void)
{
	spoiled->data[0].byte_count = htobe32(MLX5_INLINE_SEG | 64);
}

static void
data_of_length_0(void)
{
	spoiled->data[0].byte_count = 0;
}

static void
sizes_that_do_not_fit_are_reported(void)
{
	report_of_wqe(no_segments, "wqe-size");
	report_of_wqe(longer_than_announced, "wqe-size");
	report_of_wqe(no_remote_address, "wqe-size");
	report_of_wqe(inline_beyond_its_end, "wqe-size");
	report_of_wqe(data_of_length_0, "wqe-size");
}

static void
reserved_in_ds(void)
{
	spoiled->ctrl.qpn_ds |= htobe32(0x40);
}

static void
reserved_in_raddr(void)
{
	spoiled->raddr.reserved = 1;
}

static void
reserved_stream(void)
{
	spoiled->ctrl.dci_stream_channel_id = 1;
}

static void
signature_nobody_asked_for(void)
{
	spoiled->ctrl.signature = 1;
}

static void
opmod_of_a_write(void)
{
	spoiled->ctrl.opmod_idx_opcode |= htobe32(1u << 24);
}

static void
reserved_fields_are_reported(void)
{
	report_of_wqe(reserved_in_ds, "wqe-reserved");
	report_of_wqe(reserved_in_raddr, "wqe-reserved");
	report_of_wqe(reserved_stream, "wqe-reserved");
	report_of_wqe(signature_nobody_asked_for, "wqe-reserved");
	report_of_wqe(opmod_of_a_write, "wqe-reserved");
}

static void
flag_without_meaning(void)
{
	spoiled->ctrl.fm_ce_se |= 0x10;
}

static void
fence_mode_7(void)
{
	spoiled->ctrl.fm_ce_se |= 0xe0;
}

static void
flags_without_meaning_are_reported(void)
{
	report_of_wqe(flag_without_meaning, "wqe-flags");
	report_of_wqe(fence_mode_7, "wqe-flags");
}

static void
a_wrong_signature_is_reported(void)
{
	setenv("MLX5_QP_SIGNATURE", "1", 1); /* read by libmlx5 for each QP */
	set_up();
	rig_connect(&a, &b, NULL);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 64), 0);
	completes(IBV_WC_SUCCESS);
	expect(NULL);
	hand.pi = 1;
	hand.half = 1;
	ring(compose()); /* with the signature left out */
	expect("wqe-signature");
	tear_down();
	unsetenv("MLX5_QP_SIGNATURE");
}

/* ---- how it is said ---- */

static unsigned int
count(const char *text, const char *what)
{
	unsigned int n = 0;

	while ((text = strstr(text, what))) {
		n++;
		text++;
	}
	return n;
}

static void
reports_have_an_end(void)
{
	const char *text;

	set_up();
	rig_connect(&a, &b, NULL);
	for (unsigned int i = 0; i < 32; i++) {
		struct wqe *wqe = compose();

		wqe->raddr.reserved = 1;
		ring(wqe);
		completes(IBV_WC_SUCCESS);
	}
	text = heard();
	RIG_EQUAL(count(text, "wqe-reserved"), 8);
	RIG_EQUAL(count(text, "only counted"), 1);
	rig_destroy(&a);
	rig_destroy(&b);
}

static void
child_with(const char *mode, int *status)
{
	char settings[1024];
	pid_t pid = fork();

	if (pid == 0) {
		snprintf(settings, sizeof(settings), "%s\nstrict=%s\n", getenv("SOFTNIC_SETTINGS"),
			 mode);
		setenv("SOFTNIC_SETTINGS", settings, 1);
		execl(self, self, "child", NULL);
		_exit(99);
	}
	*status = -1;
	waitpid(pid, status, 0);
}

/* Breaks a rule, and ends well if it lives on. */
static int
child(void)
{
	struct wqe *wqe;

	set_up();
	rig_connect(&a, &b, NULL);
	wqe = compose();
	wqe->raddr.reserved = 1;
	ring(wqe);
	completes(IBV_WC_SUCCESS);
	usleep(100000);
	return *heard() ? 2 : 0;
}

static void
abort_ends_the_program_and_off_says_nothing(void)
{
	int status;

	child_with("abort", &status);
	RIG_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	child_with("report", &status);
	RIG_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 2);
	child_with("off", &status);
	RIG_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int
main(int argc, char **argv)
{
	self = argv[0];
	if (argc > 1)
		return child();
	setvbuf(stdout, NULL, _IOLBF, 0);
#define RUN(test) rig_run(#test, test)
	RUN(what_is_right_is_not_reported);
	RUN(a_register_before_its_record_is_reported);
	RUN(a_register_with_other_bytes_is_reported);
	RUN(a_blueflame_copy_with_other_bytes_is_reported);
	RUN(a_register_of_another_page_is_reported);
	RUN(a_doorbell_before_rts_is_reported);
	RUN(more_than_the_ring_holds_is_reported);
	RUN(a_wrong_index_is_reported);
	RUN(a_wrong_qpn_is_reported);
	RUN(sizes_that_do_not_fit_are_reported);
	RUN(reserved_fields_are_reported);
	RUN(flags_without_meaning_are_reported);
	RUN(a_wrong_signature_is_reported);
	RUN(reports_have_an_end);
	RUN(abort_ends_the_program_and_off_says_nothing);
	return rig_finish();
}
