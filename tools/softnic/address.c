/* SPDX-License-Identifier: BSD-3-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"
#include "roce_packet.h"

#define MAX_ADDRESSES 64

struct address {
	uint32_t ip_be;
	char interface[IF_NAMESIZE];
};

struct addresses {
	unsigned int n;
	struct address address[MAX_ADDRESSES];
};

static void
collect(struct addresses *to, const struct ifaddrs *list, bool loopback)
{
	for (const struct ifaddrs *i = list; i && to->n < MAX_ADDRESSES; i = i->ifa_next) {
		struct address *a = &to->address[to->n];

		if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !(i->ifa_flags & IFF_UP) ||
		    !!(i->ifa_flags & IFF_LOOPBACK) != loopback)
			continue;
		a->ip_be = ((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr.s_addr;
		snprintf(a->interface, sizeof(a->interface), "%s", i->ifa_name);
		to->n++;
	}
}

static void
describe(const struct addresses *addresses, char *text, size_t bytes)
{
	char ip[INET_ADDRSTRLEN];
	size_t used = 0;

	snprintf(text, bytes, "none");
	for (unsigned int i = 0; i < addresses->n && used < bytes; i++) {
		inet_ntop(AF_INET, &addresses->address[i].ip_be, ip, sizeof(ip));
		used += (size_t)snprintf(text + used, bytes - used, "%s%s", i ? ", " : "", ip);
	}
}

static bool
is_taken(const struct sn_fabric *fabric, uint32_t ip_be)
{
	for (uint32_t device = 0; device < fabric->n_devices; device++) {
		if (fabric->device[device].ip_be == ip_be)
			return true;
	}
	return false;
}

/* All of 127.0.0.0/8 is the loopback interface's. */
static bool
stands_on(const struct address *a, uint32_t ip_be)
{
	const uint32_t net = htonl(IN_LOOPBACKNET << 24), mask = htonl(IN_CLASSA_NET);

	return a->ip_be == ip_be || ((a->ip_be & mask) == net && (ip_be & mask) == net);
}

static const struct address *
find(const struct addresses *addresses, uint32_t ip_be)
{
	for (unsigned int i = 0; i < addresses->n; i++) {
		if (stands_on(&addresses->address[i], ip_be))
			return &addresses->address[i];
	}
	return NULL;
}

static const struct address *
next_free(const struct addresses *addresses, const struct sn_fabric *fabric)
{
	for (unsigned int i = 0; i < addresses->n; i++) {
		if (!is_taken(fabric, addresses->address[i].ip_be))
			return &addresses->address[i];
	}
	return NULL;
}

/* The largest MTU of InfiniBand whose packets fit the interface; 0: none does. */
static uint32_t
mtu_of(const char *interface)
{
	struct ifreq req = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint32_t mtu = 4096;

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", interface);
	if (fd < 0 || ioctl(fd, SIOCGIFMTU, &req))
		req.ifr_mtu = 1500;
	if (fd >= 0)
		close(fd);
	while (mtu >= 256 && (int)(mtu + SN_ROCE_OVERHEAD) > req.ifr_mtu)
		mtu /= 2;
	return mtu >= 256 ? mtu : 0;
}

static int
settle(struct sn_device_settings *settings, const struct sn_device_settings *plain,
       const struct address *a, uint32_t device, char *error, size_t error_bytes)
{
	uint32_t mtu = mtu_of(a->interface);

	if (!mtu || (settings->mtu_bytes > mtu && settings->mtu_bytes != plain->mtu_bytes)) {
		snprintf(error, error_bytes,
			 "mlx5_%u: its interface %s has no room for packets of %u bytes: give "
			 "--device mlx5_%u:mtu=%u, or the interface an MTU of %u",
			 device, a->interface, settings->mtu_bytes, device, mtu ? mtu : 256,
			 settings->mtu_bytes + SN_ROCE_OVERHEAD);
		return -EINVAL;
	}
	settings->mtu_bytes = SN_MIN(settings->mtu_bytes, mtu);
	if (settings->guid == plain->guid)
		settings->guid = (plain->guid & ~0xffffffull) | (ntohl(settings->ip_be) & 0xffffff);
	return 0;
}

static int
complete_device(struct sn_fabric *fabric, uint32_t device, const struct addresses *addresses,
		char *error, size_t error_bytes)
{
	struct sn_device_settings *settings = &fabric->device[device], plain;
	const struct address *a;
	char list[256], ip[INET_ADDRSTRLEN];

	sn_device_settings_init(&plain, device);
	if (settings->ip_be == plain.ip_be) {
		a = next_free(addresses, fabric);
		if (a)
			settings->ip_be = a->ip_be;
	} else {
		a = find(addresses, settings->ip_be);
	}
	if (a)
		return settle(settings, &plain, a, device, error, error_bytes);
	describe(addresses, list, sizeof(list));
	if (settings->ip_be == plain.ip_be)
		snprintf(error, error_bytes,
			 "--wire roce: no address is left for mlx5_%u (up are: %s): give --devices "
			 "%u, or an interface another address (ip addr add)",
			 device, list, SN_MAX(device, 1));
	else
		snprintf(error, error_bytes,
			 "--device mlx5_%u:ip=%s: no interface that is up has this address; give "
			 "one of: %s",
			 device, inet_ntop(AF_INET, &settings->ip_be, ip, sizeof(ip)), list);
	return -EINVAL;
}

int
sn_address_complete(struct sn_fabric *fabric, char *error, size_t error_bytes)
{
	struct addresses addresses = {0};
	struct ifaddrs *list = NULL;
	int err = 0;

	if (getifaddrs(&list)) {
		snprintf(error, error_bytes, "--wire roce: cannot list the interfaces: %s",
			 strerror(errno));
		return -EINVAL;
	}
	collect(&addresses, list, false);
	collect(&addresses, list, true);
	freeifaddrs(list);
	for (uint32_t device = 0; device < fabric->n_devices && !err; device++)
		err = complete_device(fabric, device, &addresses, error, error_bytes);
	return err;
}
