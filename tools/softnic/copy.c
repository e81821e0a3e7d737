/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cached or streaming stores, chosen per copy.
 *
 * Streaming (non-temporal) stores do not read the destination's lines first and do not evict
 * anything: for a destination that is not in the cache they move nearly half as much over the
 * memory bus. For one that is in the cache they are several times slower. Whether it is, is
 * guessed from when the NIC last wrote there: a direct-mapped table remembers, for each granule of
 * memory, where the stream of all written bytes stood. Written within the last half of the L3's
 * size of traffic: probably still cached. Small and large copies have tables of their own, with
 * granules of 4 and 64 KiB: a small write must not make its whole neighbourhood look hot, and a
 * large one must not touch hundreds of entries.
 *
 * None of this calls memcpy: under the sanitizers that is an interceptor, which would report the
 * "hardware" as a data race.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "copy.h"
#include "softnic.h"

#define N_GRANULES	 16384 /* 64 MiB and 1 GiB of memory: more than half of an L3 */
#define LARGE_BYTES	 (64u << 10)
#define STREAM_MIN_BYTES 2048 /* below it, head and tail lines eat the gain */
#define DEFAULT_L3_BYTES (32u << 20)

struct granule {
	uint64_t name; /* address >> shift */
	uint64_t at;   /* written_bytes when it was last written */
};

struct history {
	unsigned int shift;
	struct granule granule[N_GRANULES];
};

static struct history small_history = {.shift = 12};
static struct history large_history = {.shift = 16};
static uint64_t written_bytes;
bool sn_copy_pending;
static uint64_t hot_bytes;

static void (*copy_cached)(void *dst, const void *src, size_t bytes);
static void (*copy_streaming)(void *dst, const void *src, size_t bytes);

#if defined(__x86_64__)

static inline void
copy_string(void *dst, const void *src, size_t bytes)
{
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(bytes) : : "memory");
}

/* Copy up to the next 64-byte boundary of the destination; returns how many bytes that was. */
static inline size_t
copy_head(uint8_t *dst, const uint8_t *src)
{
	size_t head = -(uintptr_t)dst & 63;

	if (head)
		copy_string(dst, src, head);
	return head;
}

__attribute__((target("avx2"))) static void
cached_avx2(void *dst, const void *src, size_t bytes)
{
	uint8_t *d = dst;
	const uint8_t *s = src;

	for (; bytes >= 128; d += 128, s += 128, bytes -= 128) {
		__m256i a = _mm256_loadu_si256((const __m256i *)s);
		__m256i b = _mm256_loadu_si256((const __m256i *)(s + 32));
		__m256i c = _mm256_loadu_si256((const __m256i *)(s + 64));
		__m256i e = _mm256_loadu_si256((const __m256i *)(s + 96));

		_mm256_storeu_si256((__m256i *)d, a);
		_mm256_storeu_si256((__m256i *)(d + 32), b);
		_mm256_storeu_si256((__m256i *)(d + 64), c);
		_mm256_storeu_si256((__m256i *)(d + 96), e);
	}
	for (; bytes >= 32; d += 32, s += 32, bytes -= 32)
		_mm256_storeu_si256((__m256i *)d, _mm256_loadu_si256((const __m256i *)s));
	if (bytes)
		copy_string(d, s, bytes);
}

__attribute__((target("avx2"))) static void
streaming_avx2(void *dst, const void *src, size_t bytes)
{
	uint8_t *d = dst;
	const uint8_t *s = src;
	size_t head = copy_head(d, s);

	for (d += head, s += head, bytes -= head; bytes >= 64; d += 64, s += 64, bytes -= 64) {
		__m256i a = _mm256_loadu_si256((const __m256i *)s);
		__m256i b = _mm256_loadu_si256((const __m256i *)(s + 32));

		_mm_prefetch((const char *)s + 1024, _MM_HINT_NTA);
		_mm256_stream_si256((__m256i *)d, a);
		_mm256_stream_si256((__m256i *)(d + 32), b);
	}
	if (bytes)
		copy_string(d, s, bytes);
}

__attribute__((target("avx512f"))) static void
cached_avx512(void *dst, const void *src, size_t bytes)
{
	uint8_t *d = dst;
	const uint8_t *s = src;

	if (bytes >= 512) { /* aligned stores: a split line costs double */
		size_t head = copy_head(d, s);

		d += head;
		s += head;
		bytes -= head;
	}
	for (; bytes >= 256; d += 256, s += 256, bytes -= 256) {
		__m512i a = _mm512_loadu_si512(s);
		__m512i b = _mm512_loadu_si512(s + 64);
		__m512i c = _mm512_loadu_si512(s + 128);
		__m512i e = _mm512_loadu_si512(s + 192);

		_mm512_storeu_si512(d, a);
		_mm512_storeu_si512(d + 64, b);
		_mm512_storeu_si512(d + 128, c);
		_mm512_storeu_si512(d + 192, e);
	}
	for (; bytes >= 64; d += 64, s += 64, bytes -= 64)
		_mm512_storeu_si512(d, _mm512_loadu_si512(s));
	if (bytes)
		copy_string(d, s, bytes);
}

__attribute__((target("avx512f"))) static void
streaming_avx512(void *dst, const void *src, size_t bytes)
{
	uint8_t *d = dst;
	const uint8_t *s = src;
	size_t head = copy_head(d, s);

	for (d += head, s += head, bytes -= head; bytes >= 128; d += 128, s += 128, bytes -= 128) {
		__m512i a = _mm512_loadu_si512(s);
		__m512i b = _mm512_loadu_si512(s + 64);

		_mm_prefetch((const char *)s + 1024, _MM_HINT_NTA);
		_mm_prefetch((const char *)s + 1088, _MM_HINT_NTA);
		_mm512_stream_si512((__m512i *)d, a);
		_mm512_stream_si512((__m512i *)(d + 64), b);
	}
	if (bytes)
		copy_string(d, s, bytes);
}

void
sn_copy_small(void *dst, const void *src, size_t bytes)
{
	copy_string(dst, src, bytes);
}

void
sn_copy_drain(void)
{
	_mm_sfence();
	sn_copy_pending = false;
}

/* What this CPU's last-level cache holds. sysconf(3) counts all of a socket's on some processors.
 */
static uint64_t
l3_bytes(void)
{
	FILE *file = fopen("/sys/devices/system/cpu/cpu0/cache/index3/size", "re");
	uint64_t kib = 0;

	if (file) {
		if (fscanf(file, "%" SCNu64 "K", &kib) != 1)
			kib = 0;
		fclose(file);
	}
	return kib ? kib << 10 : DEFAULT_L3_BYTES;
}

void
sn_copy_init(void)
{
	hot_bytes = l3_bytes() / 2;
	__builtin_cpu_init();
	copy_cached = copy_string;
	copy_streaming = copy_string;
	if (__builtin_cpu_supports("avx2")) {
		copy_cached = cached_avx2;
		copy_streaming = streaming_avx2;
	}
	if (__builtin_cpu_supports("avx512f")) {
		copy_cached = cached_avx512;
		copy_streaming = streaming_avx512;
	}
}

#else

static void
copy_portable(void *dst, const void *src, size_t bytes)
{
	memcpy(dst, src, bytes);
}

void
sn_copy_small(void *dst, const void *src, size_t bytes)
{
	copy_portable(dst, src, bytes);
}

void
sn_copy_drain(void)
{
	atomic_thread_fence(memory_order_seq_cst);
	sn_copy_pending = false;
}

void
sn_copy_init(void)
{
	copy_cached = copy_portable;
	copy_streaming = copy_portable;
}

#endif

/* Is the destination likely in the cache? Notes the write as well. */
static bool
is_hot(uintptr_t dst, size_t bytes)
{
	struct history *h = bytes < LARGE_BYTES ? &small_history : &large_history;
	uint64_t first = dst >> h->shift, last = (dst + bytes - 1) >> h->shift;
	struct granule *g = &h->granule[first % N_GRANULES];
	bool hot = g->name == first && written_bytes - g->at <= hot_bytes;

	written_bytes += bytes;
	for (uint64_t name = first; name <= last; name++)
		h->granule[name % N_GRANULES] = (struct granule){.name = name, .at = written_bytes};
	return hot;
}

void
sn_copy(void *dst, const void *src, size_t bytes)
{
	if (bytes == 0)
		return;
	if (is_hot((uintptr_t)dst, bytes) || bytes < STREAM_MIN_BYTES) {
		copy_cached(dst, src, bytes);
	} else {
		copy_streaming(dst, src, bytes);
		sn_copy_pending = true;
	}
}
