/* SPDX-License-Identifier: BSD-3-Clause */
/* How bytes are moved: the "DMA engine". Called by the NIC thread only. */
#ifndef SN_COPY_H
#define SN_COPY_H

#include <stdbool.h>
#include <stddef.h>

void sn_copy_init(void);

/*
 * Copy @bytes from @src to @dst. Every delivery of payload to memory goes through here, so this is
 * the place to inject faults or to reorder what is relaxed. The bytes may become visible later and
 * in another order than those of other copies, until sn_copy_fence().
 */
void sn_copy(void *dst, const void *src, size_t bytes);

/* A few bytes out of the program's memory, into ours. */
void sn_copy_small(void *dst, const void *src, size_t bytes);

extern bool sn_copy_pending; /* streaming stores since the last fence */
void sn_copy_drain(void);

/* All copied before is visible before anything stored after. */
static inline void
sn_copy_fence(void)
{
	if (sn_copy_pending)
		sn_copy_drain();
}

#endif
