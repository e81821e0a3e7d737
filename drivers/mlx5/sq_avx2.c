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
run_write(struct mlx5dp_wqe *wqe, const struct kvr_slice *slice, uint32_t n, uint32_t idx,
	  const struct mlx5_wqe_ctrl_seg *heads)
{
	const __m128i next = _mm_cvtsi32_si128(MLX5DP_NEXT_INDEX);
	__m128i index = _mm_cvtsi32_si128((int)mlx5dp_index(idx));
	const struct kvr_slice *end = slice + n;

	for (; slice != end; slice++, wqe++) {
		__m128i head = _mm_load_si128((const __m128i *)&heads[slice->kind]);

		_mm_store_si128((__m128i *)wqe, _mm_or_si128(head, index));
		/* Both segments, from offset 16 on. */
		_mm256_storeu_si256((__m256i *)((__m128i *)wqe + 1), segments_of(slice));
		index = _mm_add_epi32(index, next);
	}
}

void
mlx5dp_post_avx2(struct kvr_sq *sq)
{
	mlx5dp_post_with(sq, run_write);
}
