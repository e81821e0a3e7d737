/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses and port numbers of rdma_cm.
 *
 * An address of the machine that is no device's own, 127.0.0.1 among them, stands for mlx5_0: all
 * devices of an instance are at one place. Port numbers belong to the instance. An entry is valid
 * as soon as its owner is written, so a process that dies in between leaves nothing half done.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>

#include "cm.h"
#include "nic.h"

#define EPHEMERAL_FIRST 32768
#define EPHEMERAL_LAST	60999

static const uint8_t mapped[12] = {[10] = 0xff, 0xff};

/* ---- addresses ---- */

/* As IPv6, IPv4 mapped into it; -EAFNOSUPPORT for other families (AF_IB). */
static int
flatten(const struct sockaddr_in6 *addr, uint8_t flat[16])
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)addr;

	if (addr->sin6_family == AF_INET6) {
		memcpy(flat, &addr->sin6_addr, 16);
		return 0;
	}
	if (addr->sin6_family != AF_INET)
		return -EAFNOSUPPORT;
	memcpy(flat, mapped, sizeof(mapped));
	memcpy(flat + 12, &v4->sin_addr, 4);
	return 0;
}

static bool
is_v4(const uint8_t flat[16])
{
	return memcmp(flat, mapped, sizeof(mapped)) == 0;
}

static bool
is_any(const uint8_t flat[16])
{
	static const uint8_t zeros[16];

	return memcmp(flat, zeros, 16) == 0 || (is_v4(flat) && memcmp(flat + 12, zeros, 4) == 0);
}

/* One of the machine's own addresses. */
static bool
is_local(const uint8_t flat[16])
{
	struct ifaddrs *list, *i;
	uint8_t own[16];
	bool found = false;

	if (is_v4(flat) ? flat[12] == 127 : IN6_IS_ADDR_LOOPBACK((const struct in6_addr *)flat))
		return true;
	if (getifaddrs(&list))
		return false;
	for (i = list; i && !found; i = i->ifa_next)
		found = i->ifa_addr && !flatten((struct sockaddr_in6 *)i->ifa_addr, own) &&
			memcmp(own, flat, 16) == 0;
	freeifaddrs(list);
	return found;
}

int
sn_cm_address_device(const struct sockaddr_in6 *addr, int *device)
{
	uint8_t flat[16];
	int err = flatten(addr, flat);

	*device = -1;
	if (err || is_any(flat))
		return err;
	*device = sn_device_of_gid(&sn_nic.instance.shm->fabric, flat);
	if (*device < 0 && is_local(flat))
		*device = 0;
	return *device < 0 ? -EADDRNOTAVAIL : 0;
}

void
sn_cm_gid(unsigned int device, uint8_t gid[16])
{
	sn_device_gid(&sn_nic.instance.shm->fabric.device[device], SN_CM_GID_INDEX, gid);
}

/* ---- port numbers ---- */

static void
lock_ports(struct sn_shm *shm)
{
	if (pthread_mutex_lock(&shm->cm_lock) == EOWNERDEAD)
		pthread_mutex_consistent(&shm->cm_lock);
}

static bool
lives(struct sn_shm *shm, uint64_t owner)
{
	return sn_instance_check_member(shm, SN_ID_SLOT(owner)) && sn_member_lives(shm, owner);
}

/* Whether a living entry other than @self stands in the way of @want. */
static bool
is_taken(struct sn_shm *shm, const struct sn_shm_cm_port *want, const struct sn_shm_cm_port *self)
{
	for (uint32_t i = 0; i < atomic_load(&shm->n_cm_ports); i++) {
		const struct sn_shm_cm_port *p = &shm->cm_port[i];
		uint64_t owner = atomic_load(&p->owner);

		if (!owner || p == self || p->port != want->port || p->space != want->space)
			continue;
		if (memcmp(p->addr, want->addr, 16) != 0 && !is_any(p->addr) && !is_any(want->addr))
			continue;
		if (p->reusable && want->reusable && !(p->listener && want->listener))
			continue;
		if (lives(shm, owner))
			return true;
	}
	return false;
}

static struct sn_shm_cm_port *
free_entry(struct sn_shm *shm)
{
	uint32_t i = 0, n = atomic_load(&shm->n_cm_ports);

	while (i < n && atomic_load(&shm->cm_port[i].owner) &&
	       sn_member_lives(shm, atomic_load(&shm->cm_port[i].owner)))
		i++;
	if (i == SN_MAX_CM_PORTS)
		return NULL;
	if (i == n)
		atomic_store(&shm->n_cm_ports, n + 1);
	return &shm->cm_port[i];
}

/* A port that nobody has; who starts where is by chance. */
static int
choose_port(struct sn_shm *shm, struct sn_shm_cm_port *want)
{
	const unsigned int n = EPHEMERAL_LAST - EPHEMERAL_FIRST + 1;
	unsigned int start = (unsigned int)sn_now_ns() % n;

	for (unsigned int i = 0; i < n; i++) {
		want->port = (uint16_t)(EPHEMERAL_FIRST + (start + i) % n);
		if (!is_taken(shm, want, NULL))
			return 0;
	}
	return -EADDRINUSE;
}

static int
take_port(struct sn_cm_id *id, struct sn_shm_cm_port *want)
{
	struct sn_shm *shm = sn_nic.instance.shm;
	struct sn_shm_cm_port *entry = NULL;
	int err = 0;

	lock_ports(shm);
	if (!want->port)
		err = choose_port(shm, want);
	else if (is_taken(shm, want, NULL))
		err = -EADDRINUSE;
	if (!err) {
		entry = free_entry(shm);
		err = entry ? 0 : -ENOSPC;
	}
	if (!err) {
		atomic_store(&entry->owner, 0);
		entry->listener = 0;
		memcpy(entry->addr, want->addr, 16);
		entry->space = want->space;
		entry->port = want->port;
		entry->reusable = want->reusable;
		atomic_store(&entry->owner, sn_nic.instance.id);
		id->port = entry;
	}
	pthread_mutex_unlock(&shm->cm_lock);
	return err;
}

int
sn_cm_address_bind(struct sn_cm_id *id, const struct sockaddr_in6 *addr)
{
	struct sn_shm_cm_port want = {.space = id->space, .reusable = id->reuse_address};
	int device, err = sn_cm_address_device(addr, &device);

	if (err)
		return err;
	flatten(addr, want.addr);
	want.port = ntohs(addr->sin6_port);
	err = take_port(id, &want);
	if (err)
		return err;
	id->device = device;
	id->src = *addr;
	id->src.sin6_port = htons(want.port);
	id->state = SN_CM_BOUND;
	return 0;
}

int
sn_cm_port_listen(struct sn_cm_id *id)
{
	struct sn_shm *shm = sn_nic.instance.shm;
	struct sn_shm_cm_port want = *id->port;
	int err;

	want.listener = id->serial;
	lock_ports(shm);
	err = is_taken(shm, &want, id->port) ? -EADDRINUSE : 0;
	if (!err)
		id->port->listener = id->serial;
	pthread_mutex_unlock(&shm->cm_lock);
	return err;
}

void
sn_cm_port_release(struct sn_cm_id *id)
{
	if (id->port)
		atomic_store(&id->port->owner, 0);
	id->port = NULL;
}

bool
sn_cm_port_find(uint16_t space, const struct sockaddr_in6 *dst, uint64_t *member, uint64_t *serial)
{
	struct sn_shm *shm = sn_nic.instance.shm;
	uint16_t port = ntohs(dst->sin6_port);
	bool found = false, exact = false;
	uint8_t addr[16];

	if (flatten(dst, addr))
		return false;
	lock_ports(shm);
	for (uint32_t i = 0; i < atomic_load(&shm->n_cm_ports) && !exact; i++) {
		const struct sn_shm_cm_port *p = &shm->cm_port[i];
		uint64_t owner = atomic_load(&p->owner);
		bool same = memcmp(p->addr, addr, 16) == 0;

		if (!owner || !p->listener || p->port != port || p->space != space)
			continue;
		/* An IPv4 wildcard takes IPv4 only; the other both. */
		if (!same && !(is_any(p->addr) && (is_v4(addr) || !is_v4(p->addr))))
			continue;
		if (!lives(shm, owner))
			continue;
		found = true;
		exact = same;
		*member = owner;
		*serial = p->listener;
	}
	pthread_mutex_unlock(&shm->cm_lock);
	return found;
}
