/* SPDX-License-Identifier: BSD-3-Clause */
#include <infiniband/mlx5dv.h>
#include <infiniband/verbs.h>

#include "carry.h"
#include "copy.h"
#include "held.h"
#include "peer.h"

static bool drawn; /* the next WRITE leaves lines behind */

static void
span_skip(struct sn_span *span, uint64_t bytes)
{
	span->offset += bytes;
	while (span->n && span->offset >= span->iov->iov_len) {
		span->offset -= span->iov->iov_len;
		span->iov++;
		span->n--;
	}
}

/* The part of @span that is @bytes long, as a list of its own. */
static size_t
span_slice(const struct sn_span *span, uint64_t bytes, struct iovec *out)
{
	uint64_t offset = span->offset;
	size_t n = 0;

	for (unsigned int i = 0; i < span->n && bytes; i++) {
		uint64_t take = SN_MIN(span->iov[i].iov_len - offset, bytes);

		out[n++] = (struct iovec){.iov_base = (uint8_t *)span->iov[i].iov_base + offset,
					  .iov_len = take};
		bytes -= take;
		offset = 0;
	}
	return n;
}

static void
move_mapped(const struct sn_span *local, uint8_t *remote, uint64_t bytes, bool is_read)
{
	struct iovec piece[SN_MAX_SGE];
	size_t n = span_slice(local, bytes, piece);

	for (size_t i = 0; i < n; i++) {
		if (is_read)
			sn_copy(piece[i].iov_base, remote, piece[i].iov_len);
		else
			sn_copy(remote, piece[i].iov_base, piece[i].iov_len);
		remote += piece[i].iov_len;
	}
}

static int
move_by_kernel(const struct sn_span *local, uint64_t owner, uint64_t addr, uint64_t bytes,
	       bool is_read)
{
	struct iovec piece[SN_MAX_SGE];
	size_t n = span_slice(local, bytes, piece);

	return is_read ? sn_peer_read(owner, addr, piece, n, bytes)
		       : sn_peer_write(owner, addr, piece, n, bytes);
}

/* Move the next piece between @local and @mr. 0 or -errno. */
static int
move(struct sn_shm_mr *mr, uint64_t addr, struct sn_span *local, uint64_t bytes, bool is_read)
{
	while (bytes) {
		uint64_t run;
		uint8_t *here = sn_peer_map(mr, addr, bytes, &run);

		if (here) {
			move_mapped(local, here, run, is_read);
		} else {
			int err = move_by_kernel(local, atomic_load(&mr->owner), addr, bytes,
						 is_read);
			if (err)
				return err;
			run = bytes;
		}
		span_skip(local, run);
		addr += run;
		bytes -= run;
	}
	return 0;
}

/* Move @bytes out of @span to memory of our own. */
static void
span_take(struct sn_span *span, uint8_t *to, uint64_t bytes)
{
	struct iovec piece[SN_MAX_SGE];
	size_t n = span_slice(span, bytes, piece);

	for (size_t i = 0; i < n; i++) {
		sn_copy_small(to, piece[i].iov_base, piece[i].iov_len);
		to += piece[i].iov_len;
	}
	span_skip(span, bytes);
}

/* As move(), for a WRITE that leaves some cache lines behind: each choice of so many is equally
 * likely (Knuth, 3.4.2, algorithm S). */
static int
move_but_hold(struct sn_shm_mr *mr, const struct sn_shm_qp *to, uint64_t addr,
	      struct sn_span *local, uint64_t bytes)
{
	uint64_t end = addr + bytes, n_left = (end - 1) / SN_LINE_BYTES - addr / SN_LINE_BYTES + 1;
	uint32_t n_hold = sn_held_share(n_left);
	struct sn_line held[SN_HELD_LINES];
	unsigned int n_held = 0;
	uint64_t next;
	int err;

	for (uint64_t line = addr; line < end && n_held < n_hold; line = next) {
		next = SN_MIN(line / SN_LINE_BYTES * SN_LINE_BYTES + SN_LINE_BYTES, end);
		if (sn_held_random(n_left--) >= n_hold - n_held)
			continue;
		err = move(mr, addr, local, line - addr, false);
		if (err)
			return err;
		held[n_held].addr = line;
		held[n_held].n_bytes = (uint32_t)(next - line);
		span_take(local, held[n_held++].bytes, next - line);
		addr = next;
	}
	err = move(mr, addr, local, end - addr, false);
	if (!err)
		sn_held_keep(to, mr, held, n_held);
	return err;
}

/* A WRITE to relaxed-ordered memory. */
static int
move_relaxed(struct sn_shm_mr *mr, const struct sn_shm_qp *to, uint64_t addr, struct sn_span *local,
	     uint64_t bytes)
{
	bool hold = drawn || (sn_held.one_in && sn_held_chance());

	drawn = false;
	sn_held_settle(to, addr, bytes);
	return hold ? move_but_hold(mr, to, addr, local, bytes)
		    : move(mr, addr, local, bytes, false);
}

int
sn_carry_piece(struct sn_shm_mr *mr, const struct sn_shm_qp *to, const struct sn_request *r,
	       uint64_t addr, uint64_t bytes)
{
	struct sn_span local = {.iov = r->sge, .n = r->n_sge};
	bool is_read = r->opcode == MLX5_OPCODE_RDMA_READ;
	bool relaxed = !is_read && mr->access & IBV_ACCESS_RELAXED_ORDERING;
	int err;

	span_skip(&local, r->done_bytes);
	if (relaxed)
		return move_relaxed(mr, to, addr, &local, bytes);
	/* As on PCIe: only relaxed writes may overtake, and nothing overtakes a strict one. */
	sn_held_push(atomic_load(&to->owner), to->device);
	sn_copy_fence();
	err = move(mr, addr, &local, bytes, is_read);
	sn_copy_fence();
	return err;
}

bool
sn_carry_draws(void)
{
	drawn = sn_held.one_in && sn_held_chance();
	return drawn;
}

int
sn_carry_fetch(struct sn_shm_mr *mr, uint64_t owner, uint64_t addr, uint64_t bytes,
	       struct sn_span *to)
{
	int err;

	if (mr)
		return move(mr, addr, to, bytes, true);
	err = move_by_kernel(to, owner, addr, bytes, true);
	span_skip(to, bytes);
	return err;
}
