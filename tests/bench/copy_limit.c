/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How fast this machine copies memory with all CPUs that it may use (taskset(1) chooses): the bound
 * of any engine whose NIC is software. Cold: between buffers far larger than a cache, past the
 * cache where the instruction set can. Hot: one block again and again. Prints `cold hot`, in GB/s.
 */

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <sys/mman.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BUFFER	 ((size_t)128 << 20)
#define BLOCK	 ((size_t)1 << 20)
#define RUN_NS	 500000000u
#define MAX_CPUS 64

struct copier {
	pthread_t thread;
	pthread_barrier_t *start;
	uint8_t *from, *to;
	double cold, hot; /* GB/s */
};

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void
copy_past_cache(uint8_t *to, const uint8_t *from)
{
#ifdef __SSE2__
	size_t i;

	for (i = 0; i < BLOCK; i += sizeof(__m128i))
		_mm_stream_si128((__m128i *)(to + i), _mm_load_si128((const __m128i *)(from + i)));
	_mm_sfence();
#else
	memcpy(to, from, BLOCK);
#endif
}

static void
copy_cached(uint8_t *to, const uint8_t *from)
{
	memcpy(to, from, BLOCK);
	/* Done, whatever the compiler thinks of its use. */
	__asm__ volatile("" : : "r"(to) : "memory");
}

/* GB/s of blocks copied one after the other through `span` bytes. */
static double
copy_rate(struct copier *copier, void (*copy)(uint8_t *, const uint8_t *), size_t span)
{
	uint64_t begin, elapsed, bytes = 0;

	pthread_barrier_wait(copier->start);
	begin = now_ns();
	do {
		copy(copier->to + bytes % span, copier->from + bytes % span);
		bytes += BLOCK;
		elapsed = now_ns() - begin;
	} while (elapsed < RUN_NS);
	return (double)bytes / (double)elapsed;
}

static void *
copier_run(void *arg)
{
	struct copier *copier = arg;

	/* Touched, with other than zeros: pages of their own. */
	memset(copier->from, 1, BUFFER);
	memset(copier->to, 2, BUFFER);
	copier->cold = copy_rate(copier, copy_past_cache, BUFFER);
	copier->hot = copy_rate(copier, copy_cached, BLOCK);
	return NULL;
}

/* On hugepages, as the nodes' pools are, while there are any. */
static uint8_t *
buffer_map(void)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	uint8_t *buffer = mmap(NULL, BUFFER, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB, -1, 0);

	if (buffer == MAP_FAILED)
		buffer = mmap(NULL, BUFFER, PROT_READ | PROT_WRITE, flags, -1, 0);
	return buffer;
}

int
main(void)
{
	static struct copier copiers[MAX_CPUS];
	pthread_barrier_t start;
	double cold = 0, hot = 0;
	cpu_set_t cpus;
	int n, i;

	sched_getaffinity(0, sizeof(cpus), &cpus);
	n = CPU_COUNT(&cpus) < MAX_CPUS ? CPU_COUNT(&cpus) : MAX_CPUS;
	pthread_barrier_init(&start, NULL, (unsigned int)n);
	for (i = 0; i < n; i++) {
		copiers[i] =
			(struct copier){.start = &start, .from = buffer_map(), .to = buffer_map()};
		if (copiers[i].from == MAP_FAILED || copiers[i].to == MAP_FAILED) {
			fprintf(stderr, "copy_limit: no %d x 256 MiB of memory\n", n);
			return 1;
		}
	}
	for (i = 0; i < n; i++)
		pthread_create(&copiers[i].thread, NULL, copier_run, &copiers[i]);
	for (i = 0; i < n; i++) {
		pthread_join(copiers[i].thread, NULL);
		cold += copiers[i].cold;
		hot += copiers[i].hot;
	}
	printf("%.2f %.2f\n", cold, hot);
	return 0;
}
