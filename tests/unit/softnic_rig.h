/* SPDX-License-Identifier: BSD-3-Clause */
/* What the softnic tests need of libibverbs: endpoints, connections, one request at a time. */
#ifndef SOFTNIC_RIG_H
#define SOFTNIC_RIG_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define RIG_ALL_ACCESS                                                                             \
	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ |               \
	 IBV_ACCESS_REMOTE_ATOMIC)
#define RIG_BUF_BYTES (33u << 20)

struct rig_options {
	unsigned int device;
	unsigned int depth;   /* default 64 */
	unsigned int max_sge; /* default 4 */
	unsigned int inline_bytes;
	unsigned int buf_bytes; /* default RIG_BUF_BYTES */
	unsigned int cqe_bytes; /* default 64 */
	bool shared;		/* memory that peers can map: a memfd */
	enum ibv_qp_type type;	/* default RC */
	struct ibv_srq *srq;
	struct ibv_comp_channel *channel;
};

/* A QP with a CQ, a PD and registered memory of its own, 33 MiB by default. */
struct rig_end {
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	struct ibv_mr *mr;
	uint8_t *buf;
	union ibv_gid gid;
};

struct rig_link {
	uint8_t timeout;   /* default 8: about 1 ms */
	uint8_t retry_cnt; /* default 2 */
	uint8_t rnr_retry;
	uint8_t min_rnr_timer; /* default 1: 10 us */
	int access;	       /* of the QP; default all */
	uint32_t sq_psn_skew;  /* added to the initiator's PSN */
	enum ibv_mtu mtu;      /* default 4096 */
};

/* What the other process must know. */
struct rig_address {
	uint32_t qpn, rkey;
	uint64_t addr;
	union ibv_gid gid;
};

/* All of these end the program with a message if the set-up fails: that is no test's subject. */
struct ibv_context *rig_open(unsigned int device);
void rig_create(struct rig_end *end, const struct rig_options *options);
void rig_destroy(struct rig_end *end);
void rig_connect(struct rig_end *a, struct rig_end *b, const struct rig_link *link);
void rig_connect_to(struct rig_end *end, const struct rig_address *peer,
		    const struct rig_link *link, uint32_t sq_psn);
struct rig_address rig_address_of(const struct rig_end *end);
int rig_to_error(struct rig_end *end);

/* Post one signaled request with one SGE; the address is an offset in either buffer. */
int rig_post(struct rig_end *from, const struct rig_end *to, enum ibv_wr_opcode opcode,
	     uint64_t local, uint64_t remote, uint32_t len);
int rig_post_recv(struct rig_end *end, uint64_t offset, uint32_t len);

/* Wait for one completion; false after @ms. */
bool rig_wait(struct ibv_cq *cq, struct ibv_wc *wc, unsigned int ms);
/* The status of the next completion, or -1 if none comes within 2 s. */
int rig_status(struct ibv_cq *cq);
/* The next async event's type, acknowledged; -1 if none comes within 1 s. */
int rig_async(struct ibv_context *context);

uint64_t rig_now_us(void);
void rig_fill(uint8_t *buf, size_t len, unsigned int seed);

/* ---- reporting ---- */

extern unsigned int rig_n_passed, rig_n_failed, rig_n_skipped;
extern bool rig_test_failed;

#define RIG_CHECK(cond)                                                                            \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			printf("  %s:%d: not true: %s\n", __FILE__, __LINE__, #cond);              \
			rig_test_failed = true;                                                    \
		}                                                                                  \
	} while (0)

#define RIG_EQUAL(got, want)                                                                       \
	do {                                                                                       \
		long long got_ = (long long)(got), want_ = (long long)(want);                      \
		if (got_ != want_) {                                                               \
			printf("  %s:%d: %s is %lld, not %lld (%s)\n", __FILE__, __LINE__, #got,   \
			       got_, want_, #want);                                                \
			rig_test_failed = true;                                                    \
		}                                                                                  \
	} while (0)

void rig_run(const char *name, void (*test)(void));
/* Prints "N passed, N failed, N skipped"; the exit status. */
int rig_finish(void);

#endif
