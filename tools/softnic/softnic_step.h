/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For programs that `softnic --step` runs: their NIC has no thread and no clock of its own. A
 * program finds the function with dlsym(RTLD_DEFAULT, "softnic_step"); without softnic it is not
 * there.
 */
#ifndef SOFTNIC_STEP_H
#define SOFTNIC_STEP_H

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Let this process's NIC make one pass, on the calling thread: take what arrived and what doorbells
 * announced, give each QP with work its share, write completions. The clock of the instance, by
 * which retry timers and all else run, moves by NS of `--step=NS`; each process steps its own NIC,
 * and all move the one clock. The same program with the same --seed sees the same things happen in
 * the same step.
 *
 * Not while a verbs command runs on the same thread, that is, not from a signal handler.
 *
 * @return how many packets, doorbells and QPs it has dealt with; 0: nothing to do, but a timer may
 *	   be running; -ENODEV: no device is open; -EPERM: the NIC has a thread, there is no --step.
 */
__attribute__((visibility("default"))) int softnic_step(void);

#ifdef __cplusplus
}
#endif

#endif
