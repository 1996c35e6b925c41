/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/listener.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int set_options(int fd, const struct address *address)
{
	int r;

	r = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (r == 0)
		r = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (r == 0 && address->sa.sa_family == AF_INET6)
		r = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !address->dual_stack);
	return r;
}

static int identify(int fd, struct listener *listener)
{
	socklen_t size = sizeof(listener->cookie);
	struct stat st;

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &listener->cookie, &size) < 0 ||
	    fstat(fd, &st) < 0)
		return -errno;
	listener->inode = st.st_ino;
	return 0;
}

static int listener_open(const struct launch_spec *spec, const struct address *address,
			 struct listener *ret, struct error *err)
{
	cleanup_close int fd = -1;
	int r;

	fd = socket(address->sa.sa_family,
		    SOCK_STREAM | SOCK_CLOEXEC | (spec->nonblocking ? SOCK_NONBLOCK : 0), 0);
	if (fd < 0)
		return error_set(err, -errno, "listen %s: socket", address->text);
	r = set_options(fd, address);
	if (r < 0)
		return error_set(err, r, "listen %s: set options", address->text);
	/* inet_csk_get_port() compares the uid of the socket's inode, not the process'. */
	if (spec->set_ids && fchown(fd, spec->uid, (gid_t)-1) < 0)
		return error_set(err, -errno, "listen %s: fchown to uid %u", address->text,
				 spec->uid);
	if (bind(fd, &address->sa, address->length) < 0)
		return error_set(err, -errno, "listen %s: bind", address->text);
	if (listen(fd, spec->backlog) < 0)
		return error_set(err, -errno, "listen %s: listen", address->text);
	r = identify(fd, ret);
	if (r < 0)
		return error_set(err, r, "listen %s: identify", address->text);
	ret->address = *address;
	ret->fd = TAKE_FD(fd);
	return 0;
}

static int open_all(const struct launch_spec *spec, struct listeners *ret, struct error *err)
{
	int r = 0;

	ret->n = 0;
	if (spec->n_listen > PROTOCOL_SOCKETS_MAX)
		return error_set(err, -E2BIG, "%zu listening sockets, at most %d are possible",
				 spec->n_listen, PROTOCOL_SOCKETS_MAX);
	for (size_t i = 0; i < spec->n_listen && r == 0; i++) {
		r = listener_open(spec, &spec->listen[i], &ret->list[i], err);
		if (r == 0)
			ret->n++;
	}
	return r;
}

int listeners_open(const struct launch_spec *spec, struct processes *processes,
		   struct listeners *ret, struct error *err)
{
	int r, back;

	ret->n = 0;
	r = processes_enter(processes, err);
	if (r == 0)
		r = open_all(spec, ret, err);
	/* The reason for the first failure is the one to be told. */
	back = processes_return(processes, r < 0 ? NULL : err);
	if (r == 0)
		r = back;
	if (r < 0) {
		listeners_close(ret);
		ret->n = 0;
	}
	return r;
}

void listeners_close(struct listeners *listeners)
{
	for (size_t i = 0; i < listeners->n; i++) {
		if (listeners->list[i].fd >= 0)
			close(listeners->list[i].fd);
		listeners->list[i].fd = -1;
	}
}

bool listeners_are_open(const struct listeners *listeners)
{
	return listeners->n > 0 && listeners->list[0].fd >= 0;
}
