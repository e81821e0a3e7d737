/* SPDX-License-Identifier: BSD-3-Clause */
/* How bytes are moved: the "DMA engine". Called by the NIC thread only. */
#ifndef SN_COPY_H
#define SN_COPY_H

#include <stddef.h>

void sn_copy_init(void);

/*
 * Copy @bytes from @src to @dst. Every delivery of payload to memory goes through here, so this is
 * the place to inject faults or to reorder what is relaxed. On return the bytes are globally
 * visible before any later store of the caller.
 */
void sn_copy(void *dst, const void *src, size_t bytes);

#endif
