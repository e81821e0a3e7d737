/* SPDX-License-Identifier: BSD-3-Clause */
/* EAL's arguments: checked where EAL itself says nothing, then handed over. */
#ifndef BENCH_EAL_H
#define BENCH_EAL_H

#include <sched.h>
#include <stdint.h>

/* Refuses what EAL would take without a word. 0, or -EINVAL with one line said. */
int bench_eal_check(int argc, char **argv);

/* Are there free hugepages for `bytes` and EAL's own needs? 0, or -ENOMEM with one line said that
 * names the command. --no-huge needs none. */
int bench_eal_check_hugepages(int argc, char **argv, uint64_t bytes);

/* rte_eal_init(), quietly: standard output stays ours, a failure is one line. 0 or -EINVAL. */
int bench_eal_init(int argc, char **argv);

/* The CPUs for threads that EAL does not pin: those that the process had before rte_eal_init() and
 * that no poller has. Where fewer than two are left, all that it had: a poller can spare a client's
 * few microseconds, while a client behind whatever keeps the last CPU busy would keep NICs waiting.
 */
void bench_eal_spare_cpus(cpu_set_t *cpus);

#endif
