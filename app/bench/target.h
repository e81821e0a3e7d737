/* SPDX-License-Identifier: BSD-3-Clause */
/* --mode target: offers a pool and answers verifications until it is told to stop. */
#ifndef BENCH_TARGET_H
#define BENCH_TARGET_H

#include "options.h"

/* EAL runs, SIGINT and SIGTERM are blocked. @return an enum app_exit. */
int bench_target_run(const struct bench_options *options);

#endif
