/* SPDX-License-Identifier: BSD-3-Clause */
/* Step 4 of 6, post, with AVX2: one load, one shuffle and two stores a WQE. Built with -mavx2, and
 * called on CPUs that have it. See sq.c. */

#include <endian.h>

#include <immintrin.h>

#include "sq.h"

/* Each segment's bytes from those of the slice: every field big-endian, none for the last word of
 * the remote address segment. */
static inline __m256i
segments_of(const struct kvr_slice *slice)
{
	const __m256i order = _mm256_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0,	      /* remote_addr */
					       11, 10, 9, 8,		      /* rkey */
					       -1, -1, -1, -1,		      /* reserved */
					       3, 2, 1, 0,		      /* length_bytes */
					       7, 6, 5, 4,		      /* lkey */
					       15, 14, 13, 12, 11, 10, 9, 8); /* local_addr */

	return _mm256_shuffle_epi8(_mm256_load_si256((const __m256i *)slice), order);
}

static inline void
wqe_write(struct mlx5dp_wqe *wqe, const struct kvr_slice *slice, uint32_t idx, __be32 qpn_ds,
	  uint8_t signal)
{
	_mm_store_si128((__m128i *)wqe,
			_mm_setr_epi32((int)mlx5dp_opmod_idx_opcode(slice, idx), (int)qpn_ds,
				       (int)((uint32_t)signal << 24), 0));
	/* Both segments, from offset 16 on. */
	_mm256_storeu_si256((__m256i *)((__m128i *)wqe + 1), segments_of(slice));
}

void
mlx5dp_post_avx2(struct kvr_sq *sq)
{
	mlx5dp_post_with(sq, wqe_write);
}
