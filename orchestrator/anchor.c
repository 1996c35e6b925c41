/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/anchor.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

#define SWEEP_MAX 65536

static int set_option(int fd, int level, int option, int value, const char *what, struct error *err)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)) < 0)
		return error_set(err, -errno, "%s", what);
	return 0;
}

int anchor_open(const struct address *address, uid_t uid, int *ret_fd, struct error *err)
{
	cleanup_close int fd = -1;
	int r;

	fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(err, -errno, "socket");
	r = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR", err);
	if (r < 0)
		return r;
	r = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT", err);
	if (r < 0)
		return r;
	if (address->sa.sa_family == AF_INET6) {
		r = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !address->dual_stack, "IPV6_V6ONLY",
			       err);
		if (r < 0)
			return r;
	}
	if (uid != geteuid() && fchown(fd, uid, (gid_t)-1) < 0)
		return error_set(err, -errno, "fchown to uid %u", (unsigned)uid);
	if (bind(fd, &address->sa, address->length) < 0) {
		r = -errno;
		if (r == -EADDRINUSE)
			return error_text(err, r,
					  "bind: Address already in use (something listens there "
					  "without SO_REUSEPORT, or as another user)");
		return error_set(err, r, "bind");
	}
	if (listen(fd, 128) < 0)
		return error_set(err, -errno, "listen");
	*ret_fd = TAKE_FD(fd);
	return 0;
}

unsigned anchor_sweep(int fd)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};
	unsigned n = 0;

	while (n < SWEEP_MAX) {
		int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (c < 0) {
			if (errno == ECONNABORTED || errno == EINTR)
				continue;
			break;
		}
		setsockopt(c, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(c);
		n++;
	}
	return n;
}

uint64_t anchor_cookie(int fd)
{
	uint64_t cookie = 0;
	socklen_t length = sizeof(cookie);

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) < 0)
		return 0;
	return cookie;
}
