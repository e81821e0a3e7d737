/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <infiniband/mlx5dv.h>
#include <infiniband/verbs.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "cq.h"
#include "fdtable.h"
#include "mr.h"
#include "qp.h"
#include "roce_packet.h"
#include "trace.h"

#define BUFFER_BYTES   65536
#define LINE_MAX_BYTES 256

bool sn_trace_on;

static int fd = -1;
static char buffer[BUFFER_BYTES];
static size_t n_used;
static uint64_t epoch_ns; /* what makes wall-clock time of the NIC's; with --step there is none */

/* ---- the file ---- */

/* @pattern with the pid in place of each %p. */
static void
expand(const char *pattern, char *path, size_t bytes)
{
	size_t n = 0;

	for (; *pattern && n + 1 < bytes; pattern++) {
		if (pattern[0] == '%' && pattern[1] == 'p') {
			n += (size_t)snprintf(path + n, bytes - n, "%d", (int)getpid());
			pattern++;
		} else {
			path[n++] = *pattern;
		}
	}
	path[SN_MIN(n, bytes - 1)] = '\0';
}

void
sn_trace_open(void)
{
	const struct sn_settings *settings = sn_settings_own();
	char path[sizeof(settings->trace_file) + 64];
	struct timespec ts;
	int low;

	if (!*settings->trace_file)
		return;
	expand(settings->trace_file, path, sizeof(path));
	/* Whole lines are appended, so that several processes can share a file. */
	low = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (low < 0) {
		sn_log_write("--trace-file %s: %s: nothing is traced", path, strerror(errno));
		return;
	}
	fd = sn_fd_make_internal(low);
	if (!settings->fabric.step_ns) {
		clock_gettime(CLOCK_REALTIME, &ts);
		sn_nic.now_ns = sn_now_ns();
		epoch_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec - sn_nic.now_ns;
	}
	sn_trace_on = true;
}

void
sn_trace_flush(void)
{
	for (size_t done = 0; done < n_used;) {
		ssize_t n = write(fd, buffer + done, n_used - done);

		if (n <= 0)
			break; /* a full disk loses lines, and stops nothing */
		done += (size_t)n;
	}
	n_used = 0;
}

void
sn_trace_close(void)
{
	if (!sn_trace_on)
		return;
	sn_trace_flush();
	sn_trace_forget();
}

void
sn_trace_forget(void)
{
	n_used = 0;
	if (sn_trace_on)
		sn_fd_close_internal(fd);
	sn_trace_on = false;
}

void
sn_trace_write(const char *kind, unsigned int device, const char *format, ...)
{
	uint64_t at_ns = sn_nic.now_ns + epoch_ns;
	char *line = buffer + n_used;
	va_list args;
	int n;

	n = snprintf(line, LINE_MAX_BYTES, "%llu.%09llu %-8s mlx5_%u ",
		     (unsigned long long)at_ns / 1000000000u,
		     (unsigned long long)at_ns % 1000000000u, kind, device);
	va_start(args, format);
	n += vsnprintf(line + n, (size_t)(LINE_MAX_BYTES - n), format, args);
	va_end(args);
	n = SN_MIN(n, LINE_MAX_BYTES - 1);
	line[n++] = '\n';
	n_used += (size_t)n;
	if (n_used > BUFFER_BYTES - LINE_MAX_BYTES)
		sn_trace_flush();
}

/* ---- requests ---- */

static const char *
name_of(uint8_t opcode)
{
	switch (opcode) {
	case MLX5_OPCODE_NOP:
		return "NOP";
	case MLX5_OPCODE_SEND_INVAL:
		return "SEND_INVAL";
	case MLX5_OPCODE_RDMA_WRITE:
		return "WRITE";
	case MLX5_OPCODE_RDMA_WRITE_IMM:
		return "WRITE_IMM";
	case MLX5_OPCODE_SEND:
		return "SEND";
	case MLX5_OPCODE_SEND_IMM:
		return "SEND_IMM";
	case MLX5_OPCODE_RDMA_READ:
		return "READ";
	case MLX5_OPCODE_ATOMIC_CS:
		return "COMPARE_SWAP";
	case MLX5_OPCODE_ATOMIC_FA:
		return "FETCH_ADD";
	case MLX5_OPCODE_UMR:
		return "UMR";
	default:
		return "UNKNOWN";
	}
}

/* Where in its region, if we can see that: the same in each run, as addresses are not. */
static void
format_remote(const struct sn_request *r, char *text, size_t bytes)
{
	struct sn_shm_mr *mr = r->rkey ? sn_mr_find(r->rkey) : NULL;

	*text = '\0';
	if (!r->rkey)
		return;
	if (mr && sn_mr_covers(mr, r->raddr, 1))
		snprintf(text, bytes, " rkey %#x+%#llx", r->rkey,
			 (unsigned long long)(r->raddr - mr->iova));
	else
		snprintf(text, bytes, " rkey %#x raddr %#llx", r->rkey,
			 (unsigned long long)r->raddr);
}

void
sn_trace_wqe(const struct sn_qp *qp, const struct sn_request *r)
{
	char remote[64];

	format_remote(r, remote, sizeof(remote));
	sn_trace_write("wqe", qp->device, "qp %#x index %u blocks %u %s len %llu sge %u%s%s%s",
		       qp->qpn, r->index, r->n_blocks, name_of(r->opcode),
		       (unsigned long long)r->len, r->n_sge, remote, r->signaled ? " signaled" : "",
		       r->is_inline ? " inline" : "");
}

void
sn_trace_cqe(const struct sn_cq *cq, const struct sn_completion *c)
{
	bool is_send = c->cqe_opcode == MLX5_CQE_REQ || c->cqe_opcode == MLX5_CQE_REQ_ERR;
	const char *what = is_send				     ? name_of(c->wqe_opcode)
			   : c->cqe_opcode == MLX5_CQE_RESP_WR_IMM   ? "RECEIVE_WRITE_IMM"
			   : c->cqe_opcode == MLX5_CQE_RESP_SEND_IMM ? "RECEIVE_SEND_IMM"
								     : "RECEIVE";

	sn_trace_write("cqe", cq->object.context->device,
		       "cq %#x at %u qp %#x index %u %s len %u syndrome %#x", cq->cqn,
		       cq->pi & 0xffffff, c->qpn, c->wqe_index, what, c->byte_count, c->syndrome);
}

void
sn_trace_event(unsigned int device, uint32_t type)
{
	static const char *const names[] = {
		[IBV_EVENT_CQ_ERR] = "CQ_ERR",
		[IBV_EVENT_QP_FATAL] = "QP_FATAL",
		[IBV_EVENT_QP_REQ_ERR] = "QP_REQ_ERR",
		[IBV_EVENT_QP_ACCESS_ERR] = "QP_ACCESS_ERR",
		[IBV_EVENT_DEVICE_FATAL] = "DEVICE_FATAL",
		[IBV_EVENT_PORT_ACTIVE] = "PORT_ACTIVE",
		[IBV_EVENT_PORT_ERR] = "PORT_ERR",
		[IBV_EVENT_SRQ_LIMIT_REACHED] = "SRQ_LIMIT_REACHED",
		[IBV_EVENT_QP_LAST_WQE_REACHED] = "QP_LAST_WQE_REACHED",
	};
	const char *name = type < sizeof(names) / sizeof(names[0]) ? names[type] : NULL;

	sn_trace_write("event", device, "type %u %s", type, name ? name : "UNKNOWN");
}

void
sn_trace_direct(const struct sn_qp *qp, const struct sn_request *r)
{
	sn_trace_write("tx", qp->device, "qp %#x to %#x psn %u n %u %s len %llu", qp->qpn,
		       qp->attr.dest_qp_num, qp->tx_psn, r->n_psn, name_of(r->opcode),
		       (unsigned long long)r->len);
}

/* ---- packets ---- */

static const char *
answer_of(const struct sn_packet *packet)
{
	switch ((enum sn_fate)packet->fate) {
	case SN_DONE:
		return "ACK";
	case SN_RNR:
		return "RNR";
	case SN_LOST:
		return "LOST";
	case SN_NAK_ACCESS:
		return "NAK_ACCESS";
	case SN_NAK_INVALID:
		return "NAK_INVALID";
	default:
		return "NAK_OPERATION";
	}
}

void
sn_trace_packet(const char *kind, const struct sn_packet *p)
{
	const struct sn_qp *qp = sn_qp_find(*kind == 't' ? p->src_qpn : p->dst_qpn);
	unsigned int device = qp ? qp->device : 0;

	if (p->type == SN_PKT_REQUEST)
		sn_trace_write(kind, device, "qp %#x to %#x psn %u n %u %s len %llu", p->src_qpn,
			       p->dst_qpn, p->psn, p->n_psn, name_of(p->opcode),
			       (unsigned long long)p->len);
	else
		sn_trace_write(kind, device, "qp %#x to %#x psn %u %s", p->src_qpn, p->dst_qpn,
			       p->psn, answer_of(p));
}

/* As tshark names them, but for the spaces. */
static const char *const roce_names[SN_N_KINDS] = {
	[SN_SEND_FIRST] = "SEND_FIRST",
	[SN_SEND_MIDDLE] = "SEND_MIDDLE",
	[SN_SEND_LAST] = "SEND_LAST",
	[SN_SEND_LAST_IMM] = "SEND_LAST_IMM",
	[SN_SEND_ONLY] = "SEND_ONLY",
	[SN_SEND_ONLY_IMM] = "SEND_ONLY_IMM",
	[SN_WRITE_FIRST] = "WRITE_FIRST",
	[SN_WRITE_MIDDLE] = "WRITE_MIDDLE",
	[SN_WRITE_LAST] = "WRITE_LAST",
	[SN_WRITE_LAST_IMM] = "WRITE_LAST_IMM",
	[SN_WRITE_ONLY] = "WRITE_ONLY",
	[SN_WRITE_ONLY_IMM] = "WRITE_ONLY_IMM",
	[SN_READ_REQUEST] = "READ_REQUEST",
	[SN_READ_FIRST] = "READ_RESPONSE_FIRST",
	[SN_READ_MIDDLE] = "READ_RESPONSE_MIDDLE",
	[SN_READ_LAST] = "READ_RESPONSE_LAST",
	[SN_READ_ONLY] = "READ_RESPONSE_ONLY",
	[SN_ACKNOWLEDGE] = "ACKNOWLEDGE",
	[SN_ATOMIC_ACKNOWLEDGE] = "ATOMIC_ACKNOWLEDGE",
	[SN_COMPARE_SWAP] = "COMPARE_SWAP",
	[SN_FETCH_ADD] = "FETCH_ADD",
	[SN_SEND_LAST_INVALIDATE] = "SEND_LAST_INVALIDATE",
	[SN_SEND_ONLY_INVALIDATE] = "SEND_ONLY_INVALIDATE",
};

void
sn_trace_roce(const char *kind, unsigned int device, const struct sn_roce_packet *p)
{
	unsigned int i = p->opcode & 0x1f;
	const char *name = i < SN_N_KINDS && roce_names[i] ? roce_names[i] : "UNKNOWN";
	char syndrome[24] = "";

	if (p->flags & SN_HAS_AETH || i == SN_ACKNOWLEDGE)
		snprintf(syndrome, sizeof(syndrome), " syndrome %#x", p->syndrome);
	sn_trace_write(kind, device, "to %#x psn %u %s len %u%s", p->dst_qpn, p->psn, name,
		       p->data_bytes, syndrome);
}
