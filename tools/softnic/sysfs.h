/* SPDX-License-Identifier: BSD-3-Clause */
/* The sysfs tree of an instance's devices: <instance directory>/sys stands for /sys. */
#ifndef SN_SYSFS_H
#define SN_SYSFS_H

#include <stdbool.h>
#include <stddef.h>

struct sn_shm;
struct sn_fabric;

int sn_sysfs_build(const char *dir, const struct sn_fabric *fabric);

/* Whether there is rdma_cm. RoCE would need its MADs on QP 1, which softnic does not have. */
bool sn_sysfs_has_cm(const struct sn_fabric *fabric);

/* True if @path below /sys is ours to answer, not the kernel's. */
bool sn_sysfs_owns(const char *path);

/* Bring the counter files of @device up to date. */
void sn_sysfs_refresh(const char *dir, struct sn_shm *shm, unsigned int device);

/* Show its port as up or down. */
void sn_sysfs_set_link(const char *dir, unsigned int device, bool is_up);

/* The device whose counter file @path is, or -1. @path may be in the tree or below /sys. */
int sn_sysfs_counter_device(const char *path);

#endif
