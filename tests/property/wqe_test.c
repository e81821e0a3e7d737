/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the mlx5 driver tells the device, and what it makes of the device's answers. The rings are
 * hand-made; WQEs are decoded and CQEs written by byte offsets of the PRM, which share no struct
 * with the driver.
 */

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cpuflags.h>

#include "harness.h"
#include "mlx5.h"

static uint64_t
be_read(const uint8_t *at, unsigned int n_bytes)
{
	uint64_t value = 0;

	while (n_bytes-- > 0)
		value = value << 8 | *at++;
	return value;
}

static void
be_write(uint8_t *at, unsigned int n_bytes, uint64_t value)
{
	while (n_bytes-- > 0) {
		at[n_bytes] = (uint8_t)value;
		value >>= 8;
	}
}

static void *
zalloc(size_t size_bytes)
{
	void *memory = aligned_alloc(128, (size_bytes + 127) / 128 * 128);

	if (memory == NULL)
		abort();
	return memset(memory, 0, size_bytes);
}

/* A send queue in memory. */
struct queue {
	struct mlx5dp_sq sq;
	uint8_t *ring;
	__be32 dbrec;
	uint64_t uar[8 + 2 * 32 + 8]; /* two BlueFlame buffers, and what is around them */
	uint32_t n_blueflames;
};

static void
queue_make(struct queue *queue, uint32_t n_slots, uint32_t n_wqebbs, uint32_t first_idx)
{
	memset(queue, 0, sizeof(*queue));
	queue->ring = zalloc((size_t)n_wqebbs * 64);
	queue->sq.sq.slices = zalloc(n_slots * sizeof(struct kvr_slice));
	queue->sq.sq.mask = n_slots - 1;
	queue->sq.sq.pi = queue->sq.sq.posted = queue->sq.sq.ci = first_idx;
	mlx5dp_sq_take(&queue->sq, queue->ring, n_wqebbs, (uint32_t)harness_between(1, 0xffffff));
	queue->sq.dbrec = &queue->dbrec;
	queue->sq.uar = (uint8_t *)&queue->uar[8];
	queue->sq.bf_bytes = harness_one_in(2) ? 256 : 0;
}

static void
queue_drop(struct queue *queue)
{
	free(queue->ring);
	free(queue->sq.sq.slices);
}

static void
slice_make(struct kvr_slice *slice)
{
	slice->local_addr = harness_random();
	slice->remote_addr = harness_random();
	slice->length_bytes = (uint32_t)harness_magnitude(1, 1u << 31);
	slice->lkey = (uint32_t)harness_random();
	slice->rkey = (uint32_t)harness_random();
	slice->kind = (uint32_t)harness_between(KVR_SLICE_READ, KVR_SLICE_PROOF);
	if (harness_one_in(4))
		slice->kind |= KVR_SLICE_SIGNALED;
}

/* PRM, "Work Queue Element": control, remote address and data segments of RDMA WRITE and READ. */
static void
wqe_check(const struct queue *queue, uint32_t idx)
{
	const uint8_t *wqe = queue->ring + (size_t)(idx & queue->sq.wqe_mask) * 64;
	const struct kvr_slice *slice = &queue->sq.sq.slices[idx & queue->sq.sq.mask];

	CU_ASSERT_EQUAL(wqe[0], 0); /* opmod */
	CU_ASSERT_EQUAL(be_read(wqe + 1, 2), idx & 0xffff);
	CU_ASSERT_EQUAL(wqe[3], (slice->kind & 3) == KVR_SLICE_WRITE ? 0x08 : 0x10);
	CU_ASSERT_EQUAL(be_read(wqe + 4, 3), queue->sq.qpn);
	CU_ASSERT_EQUAL(wqe[7], 3);
	CU_ASSERT_EQUAL(be_read(wqe + 8, 3), 0);
	/* CE 2: a CQE always. */
	CU_ASSERT_EQUAL(wqe[11], slice->kind & KVR_SLICE_SIGNALED ? 2 << 2 : 0);
	CU_ASSERT_EQUAL(be_read(wqe + 12, 4), 0);
	CU_ASSERT_EQUAL(be_read(wqe + 16, 8), slice->remote_addr);
	CU_ASSERT_EQUAL(be_read(wqe + 24, 4), slice->rkey);
	CU_ASSERT_EQUAL(be_read(wqe + 28, 4), 0);
	CU_ASSERT_EQUAL(be_read(wqe + 32, 4), slice->length_bytes);
	CU_ASSERT_EQUAL(be_read(wqe + 36, 4), slice->lkey);
	CU_ASSERT_EQUAL(be_read(wqe + 40, 8), slice->local_addr);
}

/* The doorbell record counts WQEs. The register gets the newest WQE's first 8 bytes; or, of one
 * that is alone and where there is BlueFlame, all 64, in the buffers by turns. Nothing beside is
 * written. */
static void
doorbell_check(struct queue *queue, uint32_t n)
{
	uint32_t pi = queue->sq.sq.pi;
	const uint8_t *wqe = queue->ring + (size_t)((pi - 1) & queue->sq.wqe_mask) * 64;
	bool blueflame = n == 1 && queue->sq.bf_bytes != 0;
	uint64_t want[sizeof(queue->uar) / 8] = {0};

	if (blueflame)
		memcpy(&want[8 + queue->n_blueflames++ % 2 * 32], wqe, 64);
	else
		memcpy(&want[8], wqe, 8);
	CU_ASSERT_EQUAL(be_read((const uint8_t *)&queue->dbrec, 4), pi & 0xffff);
	CU_ASSERT_EQUAL(memcmp(queue->uar, want, sizeof(want)), 0);
	memset(queue->uar, 0, sizeof(queue->uar));
}

/* Posts bursts of random slices, while older ones complete. */
static void
bursts_run(struct queue *queue, uint32_t n_bursts)
{
	struct kvr_sq *sq = &queue->sq.sq;
	uint32_t begin, i, n;

	while (n_bursts-- > 0 && !harness_failed()) {
		sq->ci += (uint32_t)harness_between(0, sq->pi - sq->ci);
		if (kvr_sq_room(sq) == 0)
			continue;
		n = (uint32_t)harness_magnitude(1, kvr_sq_room(sq));
		begin = sq->pi;
		for (i = 0; i < n; i++)
			slice_make(&sq->slices[sq->pi++ & sq->mask]);
		sq->post(sq);
		CU_ASSERT_EQUAL(sq->posted, sq->pi);
		for (i = sq->ci; i != begin; i++)
			CU_ASSERT_EQUAL(
				be_read(queue->ring + (size_t)(i & queue->sq.wqe_mask) * 64 + 40,
					8),
				sq->slices[i & sq->mask].local_addr);
		for (i = begin; i != sq->pi; i++)
			wqe_check(queue, i);
		doorbell_check(queue, n);
	}
}

/* Every variant is held to the same decoder. */
static void
variant_check(void (*post)(struct kvr_sq *))
{
	static const uint32_t firsts[] = {0, 65536 - 300, UINT32_MAX - 300};
	struct queue queue;
	uint32_t i;

	harness_seed();
	for (i = 0; i < harness_rounds(300) && !harness_failed(); i++) {
		uint32_t slots_log2 = (uint32_t)harness_between(0, 9);

		/* The WQE ring may be longer than the slices' one, never shorter. */
		queue_make(&queue, 1u << slots_log2,
			   1u << harness_between(slots_log2, slots_log2 + 3), firsts[i % 3]);
		queue.sq.sq.post = post;
		bursts_run(&queue, 200);
		queue_drop(&queue);
	}
}

static void
every_posted_wqe_decodes_to_its_slice_across_wraps(void)
{
	variant_check(mlx5dp_post);
}

static void
so_it_does_when_written_with_avx2(void)
{
#ifdef RTE_ARCH_X86_64
	if (rte_cpu_get_flag_enabled(RTE_CPUFLAG_AVX2) > 0)
		variant_check(mlx5dp_post_avx2);
	else
#endif
		harness_skip("this CPU has no AVX2");
}

static void
so_it_does_when_written_with_avx512(void)
{
#ifdef RTE_ARCH_X86_64
	if (rte_cpu_get_flag_enabled(RTE_CPUFLAG_AVX512BW) > 0)
		variant_check(mlx5dp_post_avx512);
	else
#endif
		harness_skip("this CPU has no AVX-512BW");
}

#define N_QUEUES 20

/* A device's side of a CQ: it knows where it will write next, and reads the doorbell record to see
 * what has been consumed. */
struct device {
	struct mlx5dp_cq cq;
	uint8_t *ring;
	__be32 dbrec;
	uint32_t pi;
	struct queue queues[N_QUEUES];
	uint32_t done[N_QUEUES]; /* slices it has reported */
	struct kvr_completion *expected;
	uint32_t n_expected, n_seen;
};

static uint8_t *
slot_of(struct device *device, uint32_t idx)
{
	size_t size_bytes = (size_t)1 << device->cq.cqe_size_log2;

	/* The last 64 bytes of a slot are the CQE. */
	return device->ring + (idx & (device->cq.n_slots - 1)) * size_bytes + size_bytes - 64;
}

/* A CQ after `first` CQEs, all consumed. */
static void
device_make(struct device *device, uint32_t first)
{
	uint32_t n_slots = 1u << harness_between(1, 10);
	uint32_t size_log2 = harness_one_in(2) ? 6 : 7;
	uint32_t i;

	memset(device, 0, sizeof(*device));
	device->ring = zalloc((size_t)n_slots << size_log2);
	device->cq.n_slots = n_slots;
	device->cq.cqe_size_log2 = size_log2;
	device->cq.cqes = device->ring + ((size_t)1 << size_log2) - 64;
	device->cq.dbrec = &device->dbrec;
	device->cq.queues = calloc(1, sizeof(*device->cq.queues));
	device->cq.ci = device->pi = first;
	device->dbrec = htobe32(first & 0xffffff);
	device->expected = zalloc(sizeof(*device->expected) * 8192);
	for (i = 0; i < n_slots; i++) {
		uint32_t idx = first - n_slots + i;

		/* Written one lap ago, or never. */
		uint32_t op_own = first == 0 ? 0xf0 : (idx / n_slots & 1); /* opcode 0: REQ */

		slot_of(device, idx)[63] = (uint8_t)op_own;
	}
	for (i = 0; i < N_QUEUES; i++) {
		queue_make(&device->queues[i], 512, 512, (uint32_t)harness_random());
		/* QPNs differ. */
		device->queues[i].sq.qpn = (device->queues[i].sq.qpn & ~31u & 0xffffff) | i;
		device->done[i] = device->queues[i].sq.sq.ci;
		if (i % 4 != 0)
			CU_ASSERT_EQUAL(mlx5dp_sq_attach(&device->cq.cq, &device->queues[i].sq.sq),
					0);
	}
}

static void
device_drop(struct device *device)
{
	uint32_t i;

	for (i = 0; i < N_QUEUES; i++)
		queue_drop(&device->queues[i]);
	free(device->cq.queues);
	free(device->ring);
	free(device->expected);
}

/* PRM, "Completion Queue Element": the owner bit is the lap's parity, byte 63 is written last. */
static void
cqe_write(struct device *device, uint32_t qpn, uint32_t idx, bool bad, uint8_t syndrome,
	  uint8_t vendor)
{
	uint8_t *cqe = slot_of(device, device->pi);
	uint32_t i;

	for (i = 0; i < 63; i++)
		cqe[i] = (uint8_t)harness_random();
	if (bad) {
		cqe[54] = vendor;
		cqe[55] = syndrome;
	}
	be_write(cqe + 57, 3, qpn);
	be_write(cqe + 60, 2, idx & 0xffff);
	cqe[63] = (uint8_t)((bad ? 0xd : 0x0) << 4 | (device->pi / device->cq.n_slots & 1));
	device->pi++;
}

/* Completes some slices of a queue, known to the CQ or not. */
static void
device_report(struct device *device)
{
	uint32_t i = (uint32_t)harness_between(0, N_QUEUES - 1);
	struct kvr_sq *sq = &device->queues[i].sq.sq;
	struct kvr_completion completion = {.sq = sq};

	/* Slices in flight were not seen completed: keep within what a queue holds. */
	if (device->done[i] - sq->ci == sq->mask + 1)
		return;
	device->done[i] +=
		(uint32_t)harness_magnitude(1, sq->mask + 1 - (device->done[i] - sq->ci));
	completion.idx = device->done[i] - 1;
	if (harness_one_in(5)) {
		completion.error = 1;
		completion.syndrome = (uint8_t)harness_between(1, 255);
		completion.vendor_syndrome = (uint8_t)harness_random();
	}
	cqe_write(device, device->queues[i].sq.qpn, completion.idx, completion.error,
		  completion.syndrome, completion.vendor_syndrome);
	if (i % 4 != 0)
		device->expected[device->n_expected++] = completion;
	else
		sq->ci = device->done[i];
}

static uint32_t
device_room(const struct device *device)
{
	uint32_t used =
		(device->pi - (uint32_t)be_read((const uint8_t *)&device->dbrec, 4)) & 0xffffff;

	return device->cq.n_slots - used;
}

static void
reap_some(struct device *device, bool all)
{
	struct kvr_completion got[64];
	uint32_t max = all ? 64 : (uint32_t)harness_between(1, 64);
	uint32_t n = mlx5dp_reap(&device->cq.cq, got, max);
	uint32_t i;

	CU_ASSERT(n <= max);
	CU_ASSERT_EQUAL(be_read((const uint8_t *)&device->dbrec, 4), device->cq.ci & 0xffffff);
	for (i = 0; i < n; i++) {
		const struct kvr_completion *want = &device->expected[device->n_seen++];

		CU_ASSERT_FATAL(device->n_seen <= device->n_expected);
		CU_ASSERT_PTR_EQUAL(got[i].sq, want->sq);
		CU_ASSERT_EQUAL(got[i].idx, want->idx);
		CU_ASSERT_EQUAL(got[i].error, want->error);
		CU_ASSERT_EQUAL(got[i].syndrome, want->syndrome);
		CU_ASSERT_EQUAL(got[i].vendor_syndrome, want->vendor_syndrome);
	}
	/* As complete.c does, after the burst. */
	for (i = 0; i < n; i++)
		got[i].sq->ci = got[i].idx + 1;
}

static void
reap_returns_what_the_device_wrote_over_many_laps(void)
{
	static const uint32_t firsts[] = {0, (1 << 24) - 50, UINT32_MAX - 50};
	static struct device device;
	uint32_t i, k;

	harness_seed();
	for (i = 0; i < harness_rounds(300) && !harness_failed(); i++) {
		device_make(&device, firsts[i % 3]);
		while (device.n_expected < 4000 && !harness_failed()) {
			for (k = (uint32_t)harness_between(0, device_room(&device)); k > 0; k--)
				device_report(&device);
			reap_some(&device, false);
		}
		while (device.cq.ci != device.pi && !harness_failed())
			reap_some(&device, true);
		CU_ASSERT_EQUAL(device.n_seen, device.n_expected);
		reap_some(&device, true);
		CU_ASSERT_EQUAL(device.cq.ci, device.pi);
		device_drop(&device);
	}
}

#define N_TABLE 60

static void
queues_are_found_by_qpn_through_attach_and_detach(void)
{
	static struct mlx5dp_sq sqs[N_TABLE];
	bool attached[N_TABLE] = {false};
	struct mlx5dp_cq cq = {.queues = calloc(1, sizeof(*cq.queues))};
	uint32_t turn, i;

	harness_seed();
	for (i = 0; i < N_TABLE; i++)
		sqs[i].qpn = 0xffff00 | i;
	for (turn = 0; turn < 2000 && !harness_failed(); turn++) {
		i = (uint32_t)harness_between(0, N_TABLE - 1);
		if (attached[i]) {
			mlx5dp_sq_detach(&cq.cq, &sqs[i].sq);
			/* Twice is harmless, also to another queue that has its place now. */
			if (harness_one_in(2))
				mlx5dp_sq_detach(&cq.cq, &sqs[i].sq);
		} else {
			/* Unique; in sequence mostly, as firmware gives them out. */
			sqs[i].qpn = (harness_one_in(4) ? (uint32_t)harness_between(1, 0x3fe) << 14
							: (turn / 64) << 6) |
				     i;
			CU_ASSERT_EQUAL(mlx5dp_sq_attach(&cq.cq, &sqs[i].sq), 0);
		}
		attached[i] = !attached[i];
		for (i = 0; i < N_TABLE; i++)
			CU_ASSERT_PTR_EQUAL(mlx5dp_cq_queue(&cq, sqs[i].qpn),
					    attached[i] ? &sqs[i] : NULL);
		CU_ASSERT_PTR_NULL(mlx5dp_cq_queue(&cq, 0xffffff));
	}
	free(cq.queues);
}

int
main(void)
{
	return HARNESS_RUN("wqe", TEST(every_posted_wqe_decodes_to_its_slice_across_wraps),
			   TEST(so_it_does_when_written_with_avx2),
			   TEST(so_it_does_when_written_with_avx512),
			   TEST(reap_returns_what_the_device_wrote_over_many_laps),
			   TEST(queues_are_found_by_qpn_through_attach_and_detach));
}
