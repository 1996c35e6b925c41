/* SPDX-License-Identifier: BSD-2-Clause */
/* linux/tcp.h has the newer members of tcp_info, and it cannot be included beside netinet/tcp.h. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "orchestrator/health/probe_internal.h"

/* OpenSSL reads the head of a record, five bytes, and no more of what is none. */
static void take_rest(struct probe *p, int fd)
{
	ssize_t n = recv(fd, p->first + p->first_length, sizeof(p->first) - p->first_length,
			 MSG_DONTWAIT);

	p->first_length += n > 0 ? (size_t)n : 0;
}

void probe_look_at_end(struct probe *p, int fd)
{
	struct tcp_info info = {};
	socklen_t length = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0)
		p->received = info.tcpi_bytes_received;
	if (p->health.tls && p->first_length && !p->answer.status)
		take_rest(p, fd);
}
