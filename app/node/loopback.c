/* SPDX-License-Identifier: BSD-3-Clause */
#include "loopback.h"

#include <netdb.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "connection.h"

static bool
info_is_loopback(const struct addrinfo *info)
{
	if (info->ai_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)info->ai_addr;

		return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	}
	if (info->ai_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)info->ai_addr;

		return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
	}
	return false;
}

bool
node_is_loopback(const char *address)
{
	struct addrinfo *list, *info;
	char host[256], port[8];
	bool loopback = true;

	if (kvr_address_split(address, host, sizeof(host), port, sizeof(port), NULL) != 0 ||
	    kvr_address_resolve(host, port, AI_PASSIVE, &list) != 0)
		return false;
	for (info = list; info != NULL; info = info->ai_next)
		loopback = loopback && info_is_loopback(info);
	freeaddrinfo(list);
	return loopback;
}
