/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/socket.h"

#include <errno.h>
#include <linux/filter.h>
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
	return in6->sin6_port == address->in6.sin6_port && v6only == address_v6only(address) &&
	       IN6_ARE_ADDR_EQUAL(&in6->sin6_addr, &address->in6.sin6_addr);
}

#define TCP_FLAGS 13 /* offset in the TCP header, at which the packet of a socket filter begins */
#define TCP_SYN   0x02

int steer_deafen(int listen_fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TCP_FLAGS),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, TCP_SYN, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog program = {.len = 4, .filter = code};

	return setsockopt(listen_fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0
		       ? -errno
		       : 0;
}

uint64_t steer_cookie(int fd)
{
	uint64_t cookie = 0;
	socklen_t length = sizeof(cookie);

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) < 0)
		return 0;
	return cookie;
}
