/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commands of rdma_cm, with any contents, in any order, on two channels. Ids are those that
 * were given, mostly; addresses of the program's own memory are valid or none.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <rdma/rdma_user_cm.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "softnic.h"

#define MAX_COMMANDS 32
#define N_IDS	     16
#define NONE	     0xffff

/* Where in a command's input the id and the addresses lie. */
struct command {
	uint32_t number;
	uint16_t bytes;
	uint16_t id;
	uint16_t response; /* or what else is an address */
	uint16_t socket_address[2];
};

#define COMMAND(number, type, response)                                                            \
	{                                                                                          \
		RDMA_USER_CM_CMD_##number, sizeof(struct rdma_ucm_##type),                         \
			offsetof(struct rdma_ucm_##type, id), response,                            \
		{                                                                                  \
			NONE, NONE                                                                 \
		}                                                                                  \
	}
#define ADDRESSES(number, type, response, a, b)                                                    \
	{                                                                                          \
		RDMA_USER_CM_CMD_##number, sizeof(struct rdma_ucm_##type),                         \
			offsetof(struct rdma_ucm_##type, id), response,                            \
		{                                                                                  \
			a, b                                                                       \
		}                                                                                  \
	}
#define AT(type, field) offsetof(struct rdma_ucm_##type, field)

static const struct command commands[] = {
	{RDMA_USER_CM_CMD_CREATE_ID,
	 sizeof(struct rdma_ucm_create_id),
	 NONE,
	 AT(create_id, response),
	 {NONE, NONE}},
	COMMAND(DESTROY_ID, destroy_id, AT(destroy_id, response)),
	ADDRESSES(BIND_IP, bind_ip, NONE, AT(bind_ip, addr), NONE),
	ADDRESSES(BIND, bind, NONE, AT(bind, addr), NONE),
	ADDRESSES(RESOLVE_IP, resolve_ip, NONE, AT(resolve_ip, src_addr), AT(resolve_ip, dst_addr)),
	ADDRESSES(RESOLVE_ADDR, resolve_addr, NONE, AT(resolve_addr, src_addr),
		  AT(resolve_addr, dst_addr)),
	COMMAND(RESOLVE_ROUTE, resolve_route, NONE),
	COMMAND(QUERY_ROUTE, query, AT(query, response)),
	COMMAND(QUERY, query, AT(query, response)),
	COMMAND(CONNECT, connect, NONE),
	COMMAND(LISTEN, listen, NONE),
	COMMAND(ACCEPT, accept, NONE),
	COMMAND(REJECT, reject, NONE),
	COMMAND(DISCONNECT, disconnect, NONE),
	COMMAND(INIT_QP_ATTR, init_qp_attr, AT(init_qp_attr, response)),
	COMMAND(SET_OPTION, set_option, AT(set_option, optval)),
	COMMAND(NOTIFY, notify, NONE),
	COMMAND(JOIN_MCAST, join_mcast, AT(join_mcast, response)),
	COMMAND(MIGRATE_ID, migrate_id, AT(migrate_id, response)),
	{RDMA_USER_CM_CMD_GET_EVENT,
	 sizeof(struct rdma_ucm_get_event),
	 NONE,
	 AT(get_event, response),
	 {NONE, NONE}},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static uint32_t given[N_IDS];
static unsigned int n_given;
static uint8_t answer[1024];

static void
put_address(struct fuzz_input *in, uint8_t *at)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)(7000 + fuzz_u8(in) % 4)),
		.sin_addr.s_addr = htonl(fuzz_u8(in) % 2 ? INADDR_LOOPBACK : 0xc0000201u),
	};

	memcpy(at, &addr, sizeof(addr));
}

static void
run_command(const int fds[2], struct fuzz_input *in)
{
	uint8_t which = fuzz_u8(in), twist = fuzz_u8(in), size = fuzz_u8(in);
	const struct command *c = &commands[(which & 0x3f) % N_COMMANDS];
	struct {
		struct rdma_ucm_cmd_hdr header;
		uint8_t in[1024] __attribute__((aligned(8)));
	} request = {.header = {.cmd = c->number, .in = c->bytes, .out = sizeof(answer)}};
	uint64_t address = twist & 0x40 ? 0 : (uintptr_t)answer;
	uint32_t id = given[fuzz_u8(in) % N_IDS];
	int fd = fds[which >> 7];

	fuzz_take(in, request.in, SN_MIN(size, c->bytes));
	if (c->id != NONE && !(twist & 0x20))
		memcpy(request.in + c->id, &id, sizeof(id));
	if (c->response != NONE)
		memcpy(request.in + c->response, &address, sizeof(address));
	for (unsigned int i = 0; i < 2; i++) {
		if (c->socket_address[i] != NONE && twist & 1)
			put_address(in, request.in + c->socket_address[i]);
	}
	if (c->number == RDMA_USER_CM_CMD_BIND && twist & 1)
		request.in[AT(bind, addr_size)] = sizeof(struct sockaddr_in);
	if (c->number == RDMA_USER_CM_CMD_RESOLVE_ADDR && twist & 1) {
		request.in[AT(resolve_addr, src_size)] = sizeof(struct sockaddr_in);
		request.in[AT(resolve_addr, dst_size)] = sizeof(struct sockaddr_in);
	}
	if (c->number == RDMA_USER_CM_CMD_CREATE_ID && twist & 1)
		((struct rdma_ucm_create_id *)(void *)request.in)->ps = RDMA_PS_TCP;
	if (twist & 2) {
		request.header.in = fuzz_u8(in);
		/* Half an address would be one that is not meant. */
		if (request.header.in > c->response && request.header.in < c->response + 8)
			request.header.in = c->response;
	}
	if (twist & 4)
		request.header.out = fuzz_u8(in);
	if (write(fd, &request, sizeof(request.header) + request.header.in) > 0 &&
	    (c->number == RDMA_USER_CM_CMD_CREATE_ID || c->number == RDMA_USER_CM_CMD_GET_EVENT)) {
		/* A new id, or the event of one: a connection request brings another. */
		memcpy(&given[n_given++ % N_IDS],
		       answer + (c->response == AT(create_id, response) ? 0 : AT(event_resp, id)),
		       sizeof(given[0]));
	}
}

const char fuzz_settings[] = "devices=2\nstep=100000\n";

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct fuzz_input in = {.at = data, .left = bytes};
	int fds[2] = {open("/dev/infiniband/rdma_cm", O_RDWR),
		      open("/dev/infiniband/rdma_cm", O_RDWR)};

	/* GET_EVENT is not to wait. */
	FUZZ_MUST(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0 &&
		  fcntl(fds[1], F_SETFL, O_NONBLOCK) == 0);
	memset(given, 0, sizeof(given));
	n_given = 0;
	for (unsigned int i = 0; i < MAX_COMMANDS && in.left; i++)
		run_command(fds, &in);
	close(fds[0]);
	close(fds[1]);
	return 0;
}
