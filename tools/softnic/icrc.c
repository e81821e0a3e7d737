/* SPDX-License-Identifier: BSD-3-Clause */
#include <arpa/inet.h>
#include <endian.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <string.h>

#include "icrc.h"
#include "roce_packet.h"

/*
 * The register is kept reflected: bit 31 is the coefficient of x^0. A byte of zeros multiplies it
 * by x^8 modulo the polynomial.
 */
#define POLYNOMIAL 0xedb88320u
#define ONE	   0x80000000u

/* The register after the eight bytes of ones that stand for a local route header. */
#define AFTER_LRH 0xdebb20e3u

#define MAX_UNSHIFT 4608 /* bytes of the longest packet after its identification */

static uint32_t table[8][256];		  /* [k][b]: byte b and k bytes of zeros after it */
static uint32_t unshift[MAX_UNSHIFT + 1]; /* x^-8k */

static uint32_t
add_bytes(uint32_t state, const uint8_t *at, size_t bytes)
{
	for (; bytes >= 8; bytes -= 8, at += 8) {
		uint64_t word;

		memcpy(&word, at, sizeof(word));
		word = le64toh(word) ^ state;
		state = 0;
		for (unsigned int i = 0; i < 8; i++)
			state ^= table[7 - i][word >> 8 * i & 0xff];
	}
	for (; bytes; bytes--)
		state = state >> 8 ^ table[0][(state ^ *at++) & 0xff];
	return state;
}

#if defined(__x86_64__)
#include <immintrin.h>

static bool can_fold;

/*
 * Carry-less multiplication takes 64 bytes a step: Gopal et al., "Fast CRC Computation for Generic
 * Polynomials Using PCLMULQDQ Instruction" (Intel, 2009), with its constants for this polynomial.
 * @bytes is a multiple of 16 and at least 64. What is left of them are 16 bytes with the same
 * remainder.
 */
__attribute__((target("pclmul,sse2"))) static inline __m128i
fold_one(__m128i x, __m128i k, const uint8_t *next)
{
	__m128i low = _mm_clmulepi64_si128(x, k, 0x00), high = _mm_clmulepi64_si128(x, k, 0x11);

	return _mm_xor_si128(_mm_xor_si128(low, high), _mm_loadu_si128((const void *)next));
}

__attribute__((target("pclmul,sse2"))) static uint32_t
fold(uint32_t state, const uint8_t *at, size_t bytes)
{
	const __m128i by_64 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
	const __m128i by_16 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
	__m128i x[4];
	uint8_t rest[64];

	for (unsigned int i = 0; i < 4; i++)
		x[i] = _mm_loadu_si128((const void *)(at + 16 * i));
	x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128((int)state));
	for (at += 64, bytes -= 64; bytes >= 64; at += 64, bytes -= 64) {
		for (unsigned int i = 0; i < 4; i++)
			x[i] = fold_one(x[i], by_64, at + 16 * i);
	}
	for (unsigned int i = 0; i < 4; i++)
		_mm_storeu_si128((void *)(rest + 16 * i), x[i]);
	for (unsigned int i = 1; i < 4; i++)
		x[0] = fold_one(x[0], by_16, rest + 16 * i);
	for (; bytes; at += 16, bytes -= 16)
		x[0] = fold_one(x[0], by_16, at);
	_mm_storeu_si128((void *)rest, x[0]);
	return add_bytes(0, rest, 16);
}
#endif

uint32_t
sn_icrc_add(uint32_t state, const void *data, size_t bytes)
{
	const uint8_t *at = data;
#if defined(__x86_64__)
	size_t bulk = bytes & ~(size_t)15;

	if (can_fold && bulk >= 64) {
		state = fold(state, at, bulk);
		at += bulk;
		bytes -= bulk;
	}
#endif
	return add_bytes(state, at, bytes);
}

void
sn_icrc_init(void)
{
	uint8_t index_of_top[256];

	for (uint32_t b = 0; b < 256; b++) {
		uint32_t state = b;

		for (unsigned int bit = 0; bit < 8; bit++)
			state = state >> 1 ^ (state & 1 ? POLYNOMIAL : 0);
		table[0][b] = state;
		index_of_top[state >> 24] = (uint8_t)b;
	}
	for (unsigned int k = 1; k < 8; k++) {
		for (uint32_t b = 0; b < 256; b++)
			table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 0xff];
	}
	/* The top byte of a register tells which byte left it last. */
	unshift[0] = ONE;
	for (unsigned int k = 1; k <= MAX_UNSHIFT; k++) {
		uint8_t b = index_of_top[unshift[k - 1] >> 24];

		unshift[k] = (unshift[k - 1] ^ table[0][b]) << 8 | b;
	}
#if defined(__x86_64__)
	can_fold = __builtin_cpu_supports("pclmul");
#endif
}

uint32_t
sn_icrc_begin(const struct sn_icrc_path *path, const void *bth)
{
	struct {
		struct iphdr ip;
		struct udphdr udp;
		struct sn_bth bth;
	} h;
	uint16_t udp_bytes = (uint16_t)(sizeof(h.udp) + path->udp_bytes);

	h.ip = (struct iphdr){
		.version = 4,
		.ihl = sizeof(h.ip) / 4,
		.tos = 0xff,
		.tot_len = htons((uint16_t)(sizeof(h.ip) + udp_bytes)),
		.id = htons(path->ip_id),
		.frag_off = htons(IP_DF),
		.ttl = 0xff,
		.protocol = IPPROTO_UDP,
		.check = 0xffff,
		.saddr = path->src_ip_be,
		.daddr = path->dst_ip_be,
	};
	h.udp = (struct udphdr){
		.source = htons(path->src_port),
		.dest = htons(SN_ROCE_PORT),
		.len = htons(udp_bytes),
		.check = 0xffff,
	};
	memcpy(&h.bth, bth, sizeof(h.bth));
	h.bth.dst_qpn_be |= htonl(0xff000000); /* reserved bits that may change on the way */
	return add_bytes(AFTER_LRH, (const uint8_t *)&h, sizeof(h));
}

/* Modulo the polynomial. */
static uint32_t
multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	for (uint32_t bit = ONE; bit; bit >>= 1) {
		if (a & bit)
			product ^= b;
		b = b >> 1 ^ (b & 1 ? POLYNOMIAL : 0);
	}
	return product;
}

bool
sn_icrc_matches(const struct sn_icrc_path *path, const uint8_t *udp)
{
	size_t covered = path->udp_bytes - SN_ICRC_BYTES;
	size_t after_id =
		covered + sizeof(struct udphdr) + sizeof(struct iphdr) - offsetof(struct iphdr, id);
	uint32_t state, received;

	state = sn_icrc_begin(path, udp);
	state = sn_icrc_add(state, udp + sizeof(struct sn_bth), covered - sizeof(struct sn_bth));
	memcpy(&received, udp + covered, sizeof(received));
	received = le32toh(received);
	if (sn_icrc_end(state) == received)
		return true;
	/* The difference, taken back to where the identification came in, is that field's. */
	return after_id <= MAX_UNSHIFT &&
	       multiply(sn_icrc_end(state) ^ received, unshift[after_id]) <= 0xffff;
}
