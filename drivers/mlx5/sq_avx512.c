/* SPDX-License-Identifier: BSD-3-Clause */
/* Step 4 of 6, post, with AVX-512: one load, two shuffles and one store of a whole cache line a
 * WQE. Built with -mavx512f -mavx512bw, and called on CPUs that have both. See sq.c. */

#include <endian.h>

#include <immintrin.h>

#include "sq.h"

/* A WQE but for its control segment. */
static inline __m512i
segments_of(const struct kvr_slice *slice)
{
	/* The slice's two halves to the places of the segments, 16 bytes from either end. */
	const __m512i places = _mm512_setr_epi64(0, 0, 0, 1, 2, 3, 0, 0);
	const __mmask8 taken = 0x3c;
	/* Each segment's bytes: every field big-endian, none for the last word of the remote
	 * address segment. */
	const __m512i order =
		_mm512_setr_epi64(0, 0, 0x0001020304050607, (long long)0xffffffff08090a0b,
				  0x0405060700010203, 0x08090a0b0c0d0e0f, 0, 0);
	__m512i whole = _mm512_castsi256_si512(_mm256_load_si256((const __m256i *)slice));

	return _mm512_shuffle_epi8(_mm512_maskz_permutexvar_epi64(taken, places, whole), order);
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

		head = _mm_or_si128(head, index);
		_mm512_store_si512((__m512i *)wqe, _mm512_or_si512(segments_of(slice),
								   _mm512_zextsi128_si512(head)));
		index = _mm_add_epi32(index, next);
	}
}

void
mlx5dp_post_avx512(struct kvr_sq *sq)
{
	mlx5dp_post_with(sq, run_write);
}
