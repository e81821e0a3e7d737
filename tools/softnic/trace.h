/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `--trace-file`: what this process's NIC did, a line for each WQE, packet, completion, doorbell,
 * event, command and fault. The format is in docs/softnic.md. Written with sn_nic.lock held.
 */
#ifndef SN_TRACE_H
#define SN_TRACE_H

#include <stdbool.h>
#include <stdint.h>

struct sn_cq;
struct sn_completion;
struct sn_qp;
struct sn_request;
struct sn_packet;
struct sn_roce_packet;

extern bool sn_trace_on;

/* Opens the file that the environment names; without one, or if it cannot be opened, nothing is
 * written. */
void sn_trace_open(void);
void sn_trace_close(void);

/* In a forked child: the file and what was not written yet are the parent's. */
void sn_trace_forget(void);

/* What is buffered reaches the file. */
void sn_trace_flush(void);

void sn_trace_write(const char *kind, unsigned int device, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* As SN_LOG: the arguments are not evaluated when it is off. */
#define SN_TRACE(kind, device, ...)                                                                \
	do {                                                                                       \
		if (__builtin_expect(sn_trace_on, 0))                                              \
			sn_trace_write(kind, device, __VA_ARGS__);                                 \
	} while (0)

/* ---- only if sn_trace_on ---- */

void sn_trace_wqe(const struct sn_qp *qp, const struct sn_request *request);
void sn_trace_cqe(const struct sn_cq *cq, const struct sn_completion *completion);
void sn_trace_event(unsigned int device, uint32_t type);
/* A request that the local wire executes here and now. */
void sn_trace_direct(const struct sn_qp *qp, const struct sn_request *request);
/* Through a mailbox of the local wire; @kind is "tx" or "rx". */
void sn_trace_packet(const char *kind, const struct sn_packet *packet);
void sn_trace_roce(const char *kind, unsigned int device, const struct sn_roce_packet *packet);

#endif
