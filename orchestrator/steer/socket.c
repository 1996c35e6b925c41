/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/socket.h"

#include <netinet/in.h>

bool socket_is_of_group(const struct address *address, const struct sockaddr *local, bool v6only)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)local;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)local;

	if (local->sa_family != address->sa.sa_family)
		return false;
	if (local->sa_family == AF_INET)
		return in->sin_port == address->in.sin_port &&
		       in->sin_addr.s_addr == address->in.sin_addr.s_addr;
	return in6->sin6_port == address->in6.sin6_port && v6only == !address->dual_stack &&
	       IN6_ARE_ADDR_EQUAL(&in6->sin6_addr, &address->in6.sin6_addr);
}

uint64_t steer_cookie(int fd)
{
	uint64_t cookie = 0;
	socklen_t length = sizeof(cookie);

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) < 0)
		return 0;
	return cookie;
}
