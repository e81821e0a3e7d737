/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which of the process's descriptors are ours: opened devices, event queues and channels of
 * rdma_cm, which the program uses, and internal ones, which it must not close by accident.
 */
#ifndef SN_FDTABLE_H
#define SN_FDTABLE_H

#include <stdbool.h>

struct sn_context;
struct sn_event_queue;
struct sn_cm_channel;

/* NULL if @fd is not one. Lock-free: every ioctl, write, fstat and close of the program asks. */
struct sn_context *sn_fd_context(int fd);
struct sn_event_queue *sn_fd_queue(int fd);
struct sn_cm_channel *sn_fd_cm(int fd);
bool sn_fd_is_internal(int fd);

/* -EMFILE if the number is out of the table's range. NULL forgets. */
int sn_fd_set_context(int fd, struct sn_context *context);
int sn_fd_set_queue(int fd, struct sn_event_queue *queue);
int sn_fd_set_cm(int fd, struct sn_cm_channel *channel);

/* Move @fd to a high number and guard it from the program's close; returns its new number. */
int sn_fd_make_internal(int fd);
void sn_fd_close_internal(int fd);

/* close(2) without our hook. */
int sn_fd_close_raw(int fd);

/* In a forked child: nothing is ours any more. */
void sn_fd_forget_all(void);

#endif
