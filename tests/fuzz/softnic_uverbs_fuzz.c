/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The uverbs ioctls with any command, handle, size and count, in any order, with doorbells in
 * between. As a real kernel would, softnic refuses or obeys, and survives both. Addresses are
 * those of an arena, or of nothing: one that is mapped and is not meant is the program's own wrong,
 * as it is with hardware.
 */
#include <rdma/mlx5-abi.h>
#include <rdma/mlx5_user_ioctl_cmds.h>
#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/ib_user_verbs.h>
#include <rdma/rdma_user_ioctl.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fdtable.h"
#include "fuzz.h"
#include "uverbs.h"

#define ARENA_BYTES   (1u << 20)
#define MAX_COMMANDS  64
#define MAX_ATTRS     16
#define BLOB_BYTES    512
#define N_HANDLES     64
#define DRIVER(field) (UVERBS_ATTR_UHW_##field)

enum attr_kind { NONE, IN, OUT, HANDLE, SCALAR };

struct attr {
	uint16_t id;
	enum attr_kind kind;
	uint16_t bytes;
};

struct command {
	uint16_t object, method;
	uint32_t write_command; /* of INVOKE_WRITE */
	struct attr attr[MAX_ATTRS];
};

#define WRITE_COMMAND(number)                                                                      \
	{                                                                                          \
		UVERBS_OBJECT_DEVICE, UVERBS_METHOD_INVOKE_WRITE, number,                          \
		{                                                                                  \
			{UVERBS_ATTR_CORE_IN, IN, 128}, {UVERBS_ATTR_CORE_OUT, OUT, 128},          \
				{DRIVER(IN), IN, 64}, {DRIVER(OUT), OUT, 64},                      \
		}                                                                                  \
	}
#define EX(command) (IB_USER_VERBS_EX_CMD_##command | IB_USER_VERBS_CMD_FLAG_EXTENDED)

static const struct command commands[] = {
	WRITE_COMMAND(IB_USER_VERBS_CMD_QUERY_DEVICE),
	WRITE_COMMAND(EX(QUERY_DEVICE)),
	WRITE_COMMAND(IB_USER_VERBS_CMD_ALLOC_PD),
	WRITE_COMMAND(IB_USER_VERBS_CMD_CREATE_AH),
	WRITE_COMMAND(IB_USER_VERBS_CMD_REG_MR),
	WRITE_COMMAND(IB_USER_VERBS_CMD_REREG_MR),
	WRITE_COMMAND(IB_USER_VERBS_CMD_ALLOC_MW),
	WRITE_COMMAND(IB_USER_VERBS_CMD_DEALLOC_MW),
	WRITE_COMMAND(IB_USER_VERBS_CMD_CREATE_COMP_CHANNEL),
	WRITE_COMMAND(IB_USER_VERBS_CMD_RESIZE_CQ),
	WRITE_COMMAND(EX(MODIFY_CQ)),
	WRITE_COMMAND(IB_USER_VERBS_CMD_QUERY_QP),
	WRITE_COMMAND(IB_USER_VERBS_CMD_MODIFY_QP),
	WRITE_COMMAND(EX(MODIFY_QP)),
	WRITE_COMMAND(IB_USER_VERBS_CMD_MODIFY_SRQ),
	WRITE_COMMAND(IB_USER_VERBS_CMD_QUERY_SRQ),
	WRITE_COMMAND(IB_USER_VERBS_CMD_ATTACH_MCAST),
	WRITE_COMMAND(IB_USER_VERBS_CMD_DETACH_MCAST),
	{UVERBS_OBJECT_DEVICE,
	 UVERBS_METHOD_GET_CONTEXT,
	 0,
	 {{DRIVER(IN), IN, sizeof(struct mlx5_ib_alloc_ucontext_req_v2)},
	  {DRIVER(OUT), OUT, sizeof(struct mlx5_ib_alloc_ucontext_resp)},
	  {UVERBS_ATTR_GET_CONTEXT_NUM_COMP_VECTORS, OUT, 4},
	  {UVERBS_ATTR_GET_CONTEXT_CORE_SUPPORT, OUT, 8}}},
	{UVERBS_OBJECT_DEVICE,
	 UVERBS_METHOD_QUERY_PORT,
	 0,
	 {{UVERBS_ATTR_QUERY_PORT_PORT_NUM, SCALAR, 1}, {UVERBS_ATTR_QUERY_PORT_RESP, OUT, 64}}},
	{UVERBS_OBJECT_DEVICE,
	 UVERBS_METHOD_QUERY_GID_TABLE,
	 0,
	 {{UVERBS_ATTR_QUERY_GID_TABLE_ENTRY_SIZE, SCALAR, 8},
	  {UVERBS_ATTR_QUERY_GID_TABLE_RESP_ENTRIES, OUT, 256},
	  {UVERBS_ATTR_QUERY_GID_TABLE_RESP_NUM_ENTRIES, OUT, 8}}},
	{UVERBS_OBJECT_DEVICE,
	 UVERBS_METHOD_QUERY_GID_ENTRY,
	 0,
	 {{UVERBS_ATTR_QUERY_GID_ENTRY_PORT, SCALAR, 4},
	  {UVERBS_ATTR_QUERY_GID_ENTRY_GID_INDEX, SCALAR, 4},
	  {UVERBS_ATTR_QUERY_GID_ENTRY_RESP_ENTRY, OUT, 32}}},
	{UVERBS_OBJECT_ASYNC_EVENT,
	 UVERBS_METHOD_ASYNC_EVENT_ALLOC,
	 0,
	 {{UVERBS_ATTR_ASYNC_EVENT_ALLOC_FD_HANDLE, HANDLE, 0}}},
	{UVERBS_OBJECT_PD,
	 UVERBS_METHOD_PD_DESTROY,
	 0,
	 {{UVERBS_ATTR_DESTROY_PD_HANDLE, HANDLE, 0}}},
	{UVERBS_OBJECT_AH,
	 UVERBS_METHOD_AH_DESTROY,
	 0,
	 {{UVERBS_ATTR_DESTROY_AH_HANDLE, HANDLE, 0}}},
	{UVERBS_OBJECT_MR,
	 UVERBS_METHOD_MR_DESTROY,
	 0,
	 {{UVERBS_ATTR_DESTROY_MR_HANDLE, HANDLE, 0}}},
	{UVERBS_OBJECT_MW,
	 UVERBS_METHOD_MW_DESTROY,
	 0,
	 {{UVERBS_ATTR_DESTROY_MW_HANDLE, HANDLE, 0}}},
	{UVERBS_OBJECT_CQ,
	 UVERBS_METHOD_CQ_CREATE,
	 0,
	 {{UVERBS_ATTR_CREATE_CQ_HANDLE, HANDLE, 0},
	  {UVERBS_ATTR_CREATE_CQ_CQE, SCALAR, 4},
	  {UVERBS_ATTR_CREATE_CQ_USER_HANDLE, SCALAR, 8},
	  {UVERBS_ATTR_CREATE_CQ_COMP_CHANNEL, HANDLE, 0},
	  {UVERBS_ATTR_CREATE_CQ_COMP_VECTOR, SCALAR, 4},
	  {UVERBS_ATTR_CREATE_CQ_FLAGS, SCALAR, 4},
	  {UVERBS_ATTR_CREATE_CQ_RESP_CQE, OUT, 4},
	  {DRIVER(IN), IN, sizeof(struct mlx5_ib_create_cq)},
	  {DRIVER(OUT), OUT, sizeof(struct mlx5_ib_create_cq_resp)}}},
	{UVERBS_OBJECT_CQ,
	 UVERBS_METHOD_CQ_DESTROY,
	 0,
	 {{UVERBS_ATTR_DESTROY_CQ_HANDLE, HANDLE, 0}, {UVERBS_ATTR_DESTROY_CQ_RESP, OUT, 8}}},
	{UVERBS_OBJECT_SRQ,
	 UVERBS_METHOD_SRQ_CREATE,
	 0,
	 {{UVERBS_ATTR_CREATE_SRQ_HANDLE, HANDLE, 0},
	  {UVERBS_ATTR_CREATE_SRQ_PD_HANDLE, HANDLE, 0},
	  {UVERBS_ATTR_CREATE_SRQ_USER_HANDLE, SCALAR, 8},
	  {UVERBS_ATTR_CREATE_SRQ_MAX_WR, SCALAR, 4},
	  {UVERBS_ATTR_CREATE_SRQ_MAX_SGE, SCALAR, 4},
	  {UVERBS_ATTR_CREATE_SRQ_LIMIT, SCALAR, 4},
	  {UVERBS_ATTR_CREATE_SRQ_TYPE, SCALAR, 4},
	  {UVERBS_ATTR_CREATE_SRQ_RESP_MAX_WR, OUT, 4},
	  {UVERBS_ATTR_CREATE_SRQ_RESP_MAX_SGE, OUT, 4},
	  {UVERBS_ATTR_CREATE_SRQ_RESP_SRQ_NUM, OUT, 4},
	  {DRIVER(IN), IN, sizeof(struct mlx5_ib_create_srq)},
	  {DRIVER(OUT), OUT, sizeof(struct mlx5_ib_create_srq_resp)}}},
	{UVERBS_OBJECT_SRQ,
	 UVERBS_METHOD_SRQ_DESTROY,
	 0,
	 {{UVERBS_ATTR_DESTROY_SRQ_HANDLE, HANDLE, 0}, {UVERBS_ATTR_DESTROY_SRQ_RESP, OUT, 8}}},
	{UVERBS_OBJECT_QP,
	 UVERBS_METHOD_QP_CREATE,
	 0,
	 {{UVERBS_ATTR_CREATE_QP_HANDLE, HANDLE, 0},
	  {UVERBS_ATTR_CREATE_QP_PD_HANDLE, HANDLE, 0},
	  {UVERBS_ATTR_CREATE_QP_SRQ_HANDLE, HANDLE, 0},
	  {UVERBS_ATTR_CREATE_QP_SEND_CQ_HANDLE, HANDLE, 0},
	  {UVERBS_ATTR_CREATE_QP_RECV_CQ_HANDLE, HANDLE, 0},
	  {UVERBS_ATTR_CREATE_QP_USER_HANDLE, SCALAR, 8},
	  {UVERBS_ATTR_CREATE_QP_CAP, IN, sizeof(struct ib_uverbs_qp_cap)},
	  {UVERBS_ATTR_CREATE_QP_TYPE, SCALAR, 4},
	  {UVERBS_ATTR_CREATE_QP_FLAGS, SCALAR, 4},
	  {UVERBS_ATTR_CREATE_QP_RESP_CAP, OUT, sizeof(struct ib_uverbs_qp_cap)},
	  {UVERBS_ATTR_CREATE_QP_RESP_QP_NUM, OUT, 4},
	  {DRIVER(IN), IN, sizeof(struct mlx5_ib_create_qp)},
	  {DRIVER(OUT), OUT, sizeof(struct mlx5_ib_create_qp_resp)}}},
	{UVERBS_OBJECT_QP,
	 UVERBS_METHOD_QP_DESTROY,
	 0,
	 {{UVERBS_ATTR_DESTROY_QP_HANDLE, HANDLE, 0}, {UVERBS_ATTR_DESTROY_QP_RESP, OUT, 4}}},
	{MLX5_IB_OBJECT_UAR,
	 MLX5_IB_METHOD_UAR_OBJ_ALLOC,
	 0,
	 {{MLX5_IB_ATTR_UAR_OBJ_ALLOC_HANDLE, HANDLE, 0},
	  {MLX5_IB_ATTR_UAR_OBJ_ALLOC_TYPE, SCALAR, 1},
	  {MLX5_IB_ATTR_UAR_OBJ_ALLOC_MMAP_OFFSET, OUT, 8},
	  {MLX5_IB_ATTR_UAR_OBJ_ALLOC_MMAP_LENGTH, OUT, 4},
	  {MLX5_IB_ATTR_UAR_OBJ_ALLOC_PAGE_ID, OUT, 4}}},
	{MLX5_IB_OBJECT_UAR,
	 MLX5_IB_METHOD_UAR_OBJ_DESTROY,
	 0,
	 {{MLX5_IB_ATTR_UAR_OBJ_DESTROY_HANDLE, HANDLE, 0}}},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static uint8_t *arena; /* with unmapped pages on both sides */

/* What earlier commands gave: handles, numbers, descriptors. */
static uint32_t given[N_HANDLES];
static unsigned int n_given;

static void
remember(uint32_t value)
{
	given[n_given++ % N_HANDLES] = value;
}

static uint32_t
recall(uint8_t which)
{
	return which < N_HANDLES ? given[(n_given - 1 - which) % N_HANDLES] : which;
}

static uint64_t
address(uint16_t code)
{
	/* Mostly in the arena; sometimes at its very end, or nowhere. */
	if (code == 0xffff)
		return 0;
	if (code == 0xfffe)
		return (uintptr_t)arena + ARENA_BYTES - 64;
	if (code == 0xfffd)
		return (uintptr_t)arena + ARENA_BYTES;
	return (uintptr_t)arena + (uint64_t)code * 64 % ARENA_BYTES;
}

/* The addresses and handles that lie in an input structure. */
static void
patch(const struct command *c, uint16_t id, uint8_t *blob, struct fuzz_input *in)
{
	uint8_t which = fuzz_u8(in);
	uint64_t *word = (uint64_t *)(void *)blob;

	if (id == DRIVER(IN) && c->write_command == 0 && c->object != UVERBS_OBJECT_DEVICE) {
		word[0] = address(fuzz_u16(in)); /* buf_addr */
		word[1] = address(fuzz_u16(in)); /* db_addr */
		if (c->object == UVERBS_OBJECT_QP && !(which & 1)) {
			struct mlx5_ib_create_qp *req = (void *)blob;

			req->flags |= MLX5_QP_FLAG_UAR_PAGE_INDEX;
			req->bfreg_index %= 4;
		}
		if (c->object == UVERBS_OBJECT_CQ && !(which & 1))
			((struct mlx5_ib_create_cq *)(void *)blob)->cqe_size = which & 2 ? 64 : 128;
	} else if (id == UVERBS_ATTR_CORE_IN && c->write_command == IB_USER_VERBS_CMD_REG_MR) {
		struct ib_uverbs_reg_mr *req = (void *)blob;

		req->start = address(fuzz_u16(in));
		req->pd_handle = recall(which);
	} else if (id == UVERBS_ATTR_CORE_IN && c->write_command == IB_USER_VERBS_CMD_REREG_MR) {
		struct ib_uverbs_rereg_mr *req = (void *)blob;

		req->start = address(fuzz_u16(in));
		req->mr_handle = recall(which);
	} else if (id == UVERBS_ATTR_CORE_IN) {
		/* Where an object's handle lies: before the rest, or after a response pointer. */
		uint32_t *number = (uint32_t *)(void *)blob;

		if (c->write_command == IB_USER_VERBS_CMD_MODIFY_QP ||
		    c->write_command == EX(MODIFY_QP))
			((struct ib_uverbs_modify_qp *)(void *)blob)->qp_handle = recall(which);
		else if (c->write_command == IB_USER_VERBS_CMD_RESIZE_CQ ||
			 c->write_command == IB_USER_VERBS_CMD_QUERY_QP ||
			 c->write_command == IB_USER_VERBS_CMD_QUERY_SRQ)
			number[2] = recall(which);
		else
			number[0] = recall(which);
	}
}

static void
run_command(int fd, const struct command *c, struct fuzz_input *in)
{
	static uint8_t blobs[MAX_ATTRS + 1][BLOB_BYTES] __attribute__((aligned(8)));
	static uint64_t room[(sizeof(struct ib_uverbs_ioctl_hdr) +
			      (MAX_ATTRS + 1) * sizeof(struct ib_uverbs_attr)) /
			     sizeof(uint64_t)];
	struct ib_uverbs_ioctl_hdr *request = (void *)room;
	uint16_t n = 0;

	memset(room, 0, sizeof(room));
	request->object_id = c->object;
	request->method_id = c->method;
	if (c->method == UVERBS_METHOD_INVOKE_WRITE && c->object == UVERBS_OBJECT_DEVICE)
		request->attrs[n++] = (struct ib_uverbs_attr){.attr_id = UVERBS_ATTR_WRITE_CMD,
							      .len = sizeof(uint32_t),
							      .data = c->write_command};
	for (unsigned int i = 0; i < MAX_ATTRS && c->attr[i].kind != NONE; i++) {
		const struct attr *spec = &c->attr[i];
		struct ib_uverbs_attr *a = &request->attrs[n];
		uint8_t twist = fuzz_u8(in);

		if (twist == 1) /* left out */
			continue;
		a->attr_id = twist == 2 ? fuzz_u16(in) : spec->id;
		a->len = twist == 3 ? fuzz_u16(in) % BLOB_BYTES : spec->bytes;
		if (spec->kind == HANDLE) {
			a->data = recall(fuzz_u8(in));
		} else if (spec->kind == SCALAR) {
			a->len = twist == 3 ? a->len : spec->bytes;
			fuzz_take(in, &a->data, a->len < 8 ? a->len : 8);
			if (a->len > 8)
				a->data = (uintptr_t)blobs[n];
		} else {
			memset(blobs[n], 0, BLOB_BYTES);
			if (spec->kind == IN) {
				fuzz_take(in, blobs[n], fuzz_u8(in));
				patch(c, spec->id, blobs[n], in);
			}
			a->data = twist == 4 ? 0 : (uintptr_t)blobs[n];
			if (spec->kind == IN && a->len <= 8)
				memcpy(&a->data, blobs[n], 8);
		}
		n++;
	}
	request->num_attrs = n;
	request->length = (uint16_t)(sizeof(*request) + n * sizeof(request->attrs[0]));
	if (ioctl(fd, RDMA_VERBS_IOCTL, request))
		return;
	for (unsigned int i = 0; i < n; i++) {
		struct ib_uverbs_attr *a = &request->attrs[i];

		if (a->flags & UVERBS_ATTR_F_VALID_OUTPUT && a->len >= 4 && a->data)
			remember(*(uint32_t *)(uintptr_t)a->data);
		else if (a->len == 0)
			remember((uint32_t)a->data);
	}
}

static void
ring_doorbell(int fd, struct fuzz_input *in)
{
	static const unsigned int offset[] = {0x800, 0x900, 0xa00, 0xb00};
	struct sn_context *context = sn_fd_context(fd);
	uint8_t page = fuzz_u8(in) % 4, reg = fuzz_u8(in) % 4;
	uint16_t record = fuzz_u16(in);
	uint64_t value;

	if (record != 0xffff)
		*(uint32_t *)(uintptr_t)(address(record % 0x4000)) = fuzz_u32(in);
	value = (uint64_t)__builtin_bswap32(recall(fuzz_u8(in)) << 8 | 1) << 32 | fuzz_u16(in);
	memcpy(context->uar_map + (size_t)page * 4096 + offset[reg], &value, sizeof(value));
}

const char fuzz_settings[] = "devices=2\nstep=100000\n";

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	uint8_t *reserved = mmap(NULL, ARENA_BYTES + (512u << 20), PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	(void)argc;
	(void)argv;
	arena = reserved + (256u << 20);
	if (reserved == MAP_FAILED || mprotect(arena, ARENA_BYTES, PROT_READ | PROT_WRITE))
		abort();
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct fuzz_input in = {.at = data, .left = bytes};
	int fds[2] = {open("/dev/infiniband/uverbs0", O_RDWR),
		      open("/dev/infiniband/uverbs1", O_RDWR)};

	if (fds[0] < 0 || fds[1] < 0)
		abort();
	memset(arena, 0, ARENA_BYTES / 4);
	memset(given, 0, sizeof(given));
	n_given = 0;
	for (unsigned int i = 0; i < MAX_COMMANDS && in.left; i++) {
		uint8_t which = fuzz_u8(&in);
		int fd = fds[which >> 7];

		which &= 0x7f;
		if (which < N_COMMANDS)
			run_command(fd, &commands[which], &in);
		else
			ring_doorbell(fd, &in);
		fuzz_run_nic(4);
	}
	close(fds[0]);
	close(fds[1]);
	for (int fd = 3; fd < 400; fd++) { /* event queues */
		if (sn_fd_queue(fd))
			close(fd);
	}
	return 0;
}
