/* SPDX-License-Identifier: BSD-3-Clause */
/* EAL's arguments: checked where EAL itself says nothing, then handed over. */
#ifndef APP_EAL_H
#define APP_EAL_H

#include <sched.h>
#include <stdint.h>

/* Index of the first bare `--`, which ends EAL's arguments; argc: there is none. */
int app_eal_separator(int argc, char **argv);

/* Refuses what EAL would take without a word. 0, or -EINVAL with one line said. */
int app_eal_check(int argc, char **argv);

/* Are there free hugepages for `bytes` and EAL's own needs? 0, or -ENOMEM with one line said that
 * names the command. --no-huge needs none. */
int app_eal_check_hugepages(int argc, char **argv, uint64_t bytes);

/* rte_eal_init(), quietly: standard output stays ours, a failure is one line. 0 or -EINVAL. */
int app_eal_init(int argc, char **argv);

/* The same with the arguments that say which lcores and devices there are, and those alone: what
 * else they ask for, memory above all, need not be there. */
int app_eal_init_lcores(int argc, char **argv);

/* The CPUs for threads that EAL does not pin: those that the process had before rte_eal_init() and
 * that no poller has. Where fewer than two are left, all that it had: a poller can spare a client's
 * few microseconds, while a client behind whatever keeps the last CPU busy would keep NICs waiting.
 */
void app_eal_spare_cpus(cpu_set_t *cpus);

#endif
