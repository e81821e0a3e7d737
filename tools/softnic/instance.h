/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An instance is a directory in shared memory, /dev/shm/softnic-<uid>-<name>, holding the shared
 * state and the sysfs tree of its devices. It lives as long as one of its members.
 */
#ifndef SN_INSTANCE_H
#define SN_INSTANCE_H

#include "shared.h"

struct sn_instance {
	char dir[96];
	struct sn_shm *shm; /* NULL: not joined */
	uint32_t slot;
	uint64_t id;
};

/* The directory of instance @name; -EINVAL if the name cannot be one. */
int sn_instance_dir(const char *name, char *dir, size_t bytes);

/*
 * Join the instance @name, creating it with @fabric if nobody lives in it.
 * The member lives as long as the calling thread, or until sn_instance_leave() on that thread.
 * -EBUSY: others run it with another fabric, and @fabric is now theirs; -ENOSPC: all slots are
 * taken; -EACCES: the directory is another user's; -EPERM: other users may enter it; another -errno
 * from the file system.
 */
int sn_instance_join(struct sn_instance *inst, const char *name, struct sn_fabric *fabric,
		     enum sn_member_kind kind);

/* Leave; the last one out removes the directory. */
void sn_instance_leave(struct sn_instance *inst);

/*
 * Look at an instance without joining it: maps its state into @inst, 0. -ENOENT if nobody lives
 * there, after removing what a killed one may have left. No membership: end with
 * sn_instance_unmap().
 */
int sn_instance_look(struct sn_instance *inst, const char *name);
void sn_instance_unmap(struct sn_instance *inst);

/* True if the member in @slot lives. Notices a death: then its id is no longer valid for anybody.
 */
bool sn_instance_check_member(struct sn_shm *shm, uint32_t slot);

#endif
