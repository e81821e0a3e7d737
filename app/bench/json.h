/* SPDX-License-Identifier: BSD-3-Clause */
/* --json: the report, and what it was measured on. */
#ifndef BENCH_JSON_H
#define BENCH_JSON_H

#include "report.h"
#include "sweep.h"

/* To the options' json_path. 0, or -errno with one line said. */
int bench_json_write(const struct bench_report *report, int eal_argc, char **eal_argv);
/* The same of a sweep. */
int bench_json_write_sweep(const struct bench_sweep *sweep, int eal_argc, char **eal_argv);

#endif
