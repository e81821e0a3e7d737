/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory windows: keys that a program binds to a piece of a region by a WQE, and takes back. An
 * entry of the MR table that is published while it is bound.
 */
#ifndef SN_WINDOW_H
#define SN_WINDOW_H

#include "qp.h"

/* A new window, bound to nothing; *@index is its place in the MR table. 0 or -ENOMEM. It ends with
 * sn_mr_withdraw(). */
int sn_window_create(uint32_t pd, uint32_t device, uint32_t *index);

/* Execute a UMR WQE that binds or invalidates; it waits for peers, so outside the epoch. Returns 0
 * or the syndrome. */
uint8_t sn_window_execute(const struct sn_qp *qp, const struct sn_request *request);

/* A peer's SEND invalidates @rkey: false, and nothing happens, if that is no window bound to @qp.
 */
bool sn_window_invalidate(const struct sn_qp *qp, uint32_t rkey);

#endif
