/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Joining, leaving and liveness.
 *
 * Joining and leaving hold flock(2) on the instance's directory itself, so that no lock file stays
 * behind; who got the lock of a directory that was removed meanwhile starts over. The state file
 * is the last thing to appear and the first to go: a directory without it is a half-made or
 * half-removed one, and is built anew.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "instance.h"
#include "sysfs.h"

#define NAME_MAX_BYTES 32
#define FD_FLOOR       500 /* out of the way of programs that close or reuse low numbers */

int
sn_instance_dir(const char *name, char *dir, size_t bytes)
{
	size_t len = strlen(name);

	if (len == 0 || len > NAME_MAX_BYTES || name[0] == '.')
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
			return -EINVAL;
	}
	snprintf(dir, bytes, "/dev/shm/softnic-%u-%s", (unsigned int)geteuid(), name);
	return 0;
}

/* ---- the directory and its lock ---- */

static void
remove_tree_at(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		unlinkat(parent, name, 0);
		return;
	}
	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(fd, entry->d_name, 0))
			remove_tree_at(fd, entry->d_name);
	}
	closedir(dir);
	unlinkat(parent, name, AT_REMOVEDIR);
}

/* Anybody may make a directory of that name before us. */
static int
check_owner(const struct stat *st)
{
	if (st->st_uid != geteuid())
		return -EACCES;
	return st->st_mode & (S_IRWXG | S_IRWXO) ? -EPERM : 0;
}

/* Returns the locked directory's descriptor, or -errno; -ENOENT if it is not there. */
static int
lock_dir(const char *dir, bool create)
{
	struct stat ours, current;

	for (;;) {
		if (create && mkdir(dir, 0700) && errno != EEXIST)
			return -errno;
		int low = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (low < 0 && errno == ENOENT && create)
			continue; /* removed since */
		if (low < 0)
			return -errno;
		int fd = fcntl(low, F_DUPFD_CLOEXEC, FD_FLOOR);
		if (fd < 0)
			fd = low;
		else
			close(low);
		while (flock(fd, LOCK_EX) && errno == EINTR)
			;
		int err = fstat(fd, &ours) ? -errno : check_owner(&ours);
		if (!err && stat(dir, &current) == 0 && ours.st_ino == current.st_ino)
			return fd;
		close(fd);
		if (err)
			return err;
		if (!create && access(dir, F_OK))
			return -ENOENT;
	}
}

static void
unlock_dir(int fd)
{
	/* Explicitly: a child forked meanwhile shares the open file, and with it the lock. */
	flock(fd, LOCK_UN);
	close(fd);
}

static void
empty_dir(const char *dir, int dir_fd)
{
	(void)dir;
	unlinkat(dir_fd, "state", 0);
	remove_tree_at(dir_fd, "sys");
	remove_tree_at(dir_fd, "lib");
	remove_tree_at(dir_fd, "cm");
	unlinkat(dir_fd, "state.new", 0);
}

/* ---- the state file ---- */

static int
map_state(struct sn_instance *inst, int dir_fd)
{
	struct stat st;
	int err = 0, fd = openat(dir_fd, "state", O_RDWR | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || st.st_size != sizeof(struct sn_shm)) {
		err = -EPROTO; /* another version of softnic made it */
	} else {
		inst->shm = mmap(NULL, sizeof(struct sn_shm), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_NORESERVE, fd, 0);
		if (inst->shm == MAP_FAILED)
			err = -errno;
	}
	close(fd);
	if (!err && inst->shm->magic != SN_SHM_MAGIC) {
		munmap(inst->shm, sizeof(struct sn_shm));
		err = -EPROTO;
	}
	if (err)
		inst->shm = NULL;
	return err;
}

void
sn_instance_unmap(struct sn_instance *inst)
{
	if (inst->shm)
		munmap(inst->shm, sizeof(*inst->shm));
	inst->shm = NULL;
}

static int
init_mutexes(struct sn_shm *shm)
{
	pthread_mutexattr_t attr;
	int err = pthread_mutexattr_init(&attr);

	if (err)
		return -err;
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	for (uint32_t i = 0; i < SN_MAX_MEMBERS && !err; i++)
		err = pthread_mutex_init(&shm->member[i].pulse, &attr);
	if (!err)
		err = pthread_mutex_init(&shm->cm_lock, &attr);
	for (uint32_t i = 0; i < SN_MAX_MEMBERS && !err; i++)
		err = pthread_mutex_init(&shm->member[i].held_lock, &attr);
	pthread_mutexattr_destroy(&attr);
	return -err;
}

/* A fresh instance: the tree first, the state under another name, then its own. */
static int
create_state(struct sn_instance *inst, int dir_fd, const struct sn_fabric *fabric)
{
	struct sn_shm *shm;
	int err, fd;

	empty_dir(inst->dir, dir_fd);
	err = sn_sysfs_build(inst->dir, fabric);
	if (err)
		return err;
	fd = openat(dir_fd, "state.new", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	shm = MAP_FAILED;
	if (ftruncate(fd, sizeof(*shm)) == 0)
		shm = mmap(NULL, sizeof(*shm), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			   fd, 0);
	err = shm == MAP_FAILED ? -errno : 0;
	close(fd);
	if (err)
		return err;
	shm->magic = SN_SHM_MAGIC;
	shm->bytes = sizeof(*shm);
	shm->fabric = *fabric;
	for (unsigned int i = 0; i < SN_MAX_DEVICES; i++) {
		atomic_store(&shm->device[i].pace.bytes_per_s, fabric->pace[i].bytes_per_s);
		atomic_store(&shm->device[i].pace.delay_ns, fabric->pace[i].delay_ns);
	}
	atomic_store(&shm->next_serial, 1);
	err = init_mutexes(shm);
	if (!err && renameat(dir_fd, "state.new", dir_fd, "state"))
		err = -errno;
	if (err)
		munmap(shm, sizeof(*shm));
	else
		inst->shm = shm;
	return err;
}

/* ---- members ---- */

bool
sn_instance_check_member(struct sn_shm *shm, uint32_t slot)
{
	struct sn_shm_member *member = &shm->member[slot];
	uint64_t id = atomic_load(&member->life);

	if (!id)
		return false;
	switch (pthread_mutex_trylock(&member->pulse)) {
	case EOWNERDEAD:
		pthread_mutex_consistent(&member->pulse);
		/* fall through */
	case 0: /* let go without a word: a leave that was interrupted */
		atomic_compare_exchange_strong(&member->life, &id, 0);
		pthread_mutex_unlock(&member->pulse);
		return false;
	default:
		return true;
	}
}

static unsigned int
count_living(struct sn_shm *shm)
{
	unsigned int n = 0, used = atomic_load(&shm->n_members);

	for (uint32_t slot = 0; slot < used; slot++)
		n += sn_instance_check_member(shm, slot);
	return n;
}

static void
read_own_name(char *name, size_t bytes)
{
	int fd = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, name, bytes - 1);

	if (fd >= 0)
		close(fd);
	name[n > 0 ? n : 0] = '\0';
	name[strcspn(name, "\n")] = '\0';
}

/* Called with the directory locked, so slots do not move under us. */
static int
take_slot(struct sn_instance *inst, enum sn_member_kind kind)
{
	struct sn_shm *shm = inst->shm;
	struct sn_shm_member *member;
	uint32_t slot = 0;

	while (slot < SN_MAX_MEMBERS && atomic_load(&shm->member[slot].life))
		slot++;
	if (slot == SN_MAX_MEMBERS)
		return -ENOSPC;
	member = &shm->member[slot];
	if (pthread_mutex_lock(&member->pulse) == EOWNERDEAD)
		pthread_mutex_consistent(&member->pulse);
	member->generation++;
	member->pid = getpid();
	member->kind = kind;
	read_own_name(member->name, sizeof(member->name));
	/* A member that was killed may have left its epoch odd. */
	atomic_fetch_add(&shm->port[slot].epoch, atomic_load(&shm->port[slot].epoch) & 1);
	atomic_store(&shm->port[slot].asleep, 0);
	inst->slot = slot;
	inst->id = sn_id_make(member->generation, slot);
	if (slot >= atomic_load(&shm->n_members))
		atomic_store(&shm->n_members, slot + 1);
	atomic_store(&member->life, inst->id);
	return 0;
}

int
sn_instance_join(struct sn_instance *inst, const char *name, struct sn_fabric *fabric,
		 enum sn_member_kind kind)
{
	int dir_fd, err = sn_instance_dir(name, inst->dir, sizeof(inst->dir));

	if (err)
		return err;
	dir_fd = lock_dir(inst->dir, true);
	if (dir_fd < 0)
		return dir_fd;
	inst->shm = NULL;
	err = map_state(inst, dir_fd);
	if (err == -EPROTO || (!err && count_living(inst->shm) == 0)) {
		sn_instance_unmap(inst);
		err = -ENOENT;
	}
	if (err == -ENOENT)
		err = create_state(inst, dir_fd, fabric);
	if (!err && sn_fabric_difference(&inst->shm->fabric, fabric)) {
		*fabric = inst->shm->fabric;
		err = -EBUSY;
	}
	if (!err)
		err = take_slot(inst, kind);
	if (err)
		sn_instance_unmap(inst);
	unlock_dir(dir_fd);
	return err;
}

static void
remove_instance(struct sn_instance *inst, int dir_fd)
{
	empty_dir(inst->dir, dir_fd);
	rmdir(inst->dir);
}

void
sn_instance_leave(struct sn_instance *inst)
{
	struct sn_shm_member *member;
	int dir_fd;

	if (!inst->shm)
		return;
	dir_fd = lock_dir(inst->dir, false);
	member = &inst->shm->member[inst->slot];
	atomic_store(&member->life, 0);
	pthread_mutex_unlock(&member->pulse);
	if (dir_fd >= 0) {
		if (count_living(inst->shm) == 0)
			remove_instance(inst, dir_fd);
		unlock_dir(dir_fd);
	}
	sn_instance_unmap(inst);
}

int
sn_instance_look(struct sn_instance *inst, const char *name)
{
	int dir_fd, err = sn_instance_dir(name, inst->dir, sizeof(inst->dir));

	inst->shm = NULL;
	if (err)
		return err;
	dir_fd = lock_dir(inst->dir, false);
	if (dir_fd < 0)
		return dir_fd;
	err = map_state(inst, dir_fd);
	if (err || count_living(inst->shm) == 0) {
		sn_instance_unmap(inst);
		remove_instance(inst, dir_fd);
		err = -ENOENT;
	}
	unlock_dir(dir_fd);
	return err;
}
