/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/listener.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE_FIRST 4

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int get_option(int fd, int level, int option)
{
	int value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, level, option, &value, &size) < 0 ? -errno : value;
}

static int set_options(int fd, const struct address *address)
{
	int r;

	r = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (r == 0)
		r = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (r == 0 && address->sa.sa_family == AF_INET6)
		r = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, address_v6only(address));
	return r;
}

/* Both bind(2) and listen(2) may find that the address is in use: say what that means. */
static int explain(const struct address *address, const char *what, int r, struct error *err)
{
	if (r == -EADDRINUSE)
		return error_text(err, r,
				  "listen %s: %s: %s: a socket or a connection that has it does "
				  "not share it (SO_REUSEPORT), or belongs to another user",
				  address->text, what, strerror(-r));
	return error_set(err, r, "listen %s: %s", address->text, what);
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

/* Append the socket. @fd is taken over on success only. */
static int add_passed(struct listeners *listeners, const struct launch_spec *spec, size_t endpoint,
		      int fd, struct error *err)
{
	struct listener listener = {
		.fd = fd,
		.endpoint = (uint32_t)endpoint,
		.listens = get_option(fd, SOL_SOCKET, SO_ACCEPTCONN) > 0,
	};
	int r;

	launch_spec_address(spec, endpoint, &listener.address);
	r = identify(fd, &listener);
	if (r == 0)
		r = listeners_add(listeners, &listener);
	return r < 0 ? explain(&listener.address, "identify", r, err) : 0;
}

/* @socket: what socket(2) has returned, or a negative errno. It is taken over. */
static int open_socket(const struct launch_spec *spec, size_t endpoint, int socket,
		       struct listeners *listeners, struct error *err)
{
	struct address address;
	cleanup_close int fd = socket;
	int r;

	launch_spec_address(spec, endpoint, &address);
	if (fd < 0)
		return explain(&address, "socket", fd, err);
	r = set_options(fd, &address);
	if (r < 0)
		return explain(&address, "set options", r, err);
	/* inet_csk_get_port() compares the uids of the sockets' inodes, not of the processes. */
	if (spec->set_ids && fchown(fd, spec->uid, (gid_t)-1) < 0)
		return error_set(err, -errno, "listen %s: fchown to uid %u", address.text,
				 spec->uid);
	if (bind(fd, &address.sa, address.length) < 0)
		return explain(&address, "bind", -errno, err);
	if (!spec->listen_later && listen(fd, spec->backlog) < 0)
		return explain(&address, "listen", -errno, err);
	r = add_passed(listeners, spec, endpoint, fd, err);
	if (r == 0)
		(void)TAKE_FD(fd);
	return r;
}

/* Can an address be bound by a socket that shares it? -EADDRINUSE: no. */
static int try_bind(const struct launch_spec *spec, const struct address *address, bool reuse)
{
	cleanup_close int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = set_options(fd, address);
	if (r == 0 && !reuse)
		r = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 0);
	if (r == 0 && spec->set_ids && fchown(fd, spec->uid, (gid_t)-1) < 0)
		r = -errno;
	if (r == 0 && bind(fd, &address->sa, address->length) < 0)
		r = -errno;
	return r;
}

bool listeners_linger(const struct launch_spec *spec)
{
	for (size_t i = 0; i < spec->n_listen; i++)
		if (try_bind(spec, &spec->listen[i], false) == -EADDRINUSE &&
		    try_bind(spec, &spec->listen[i], true) == 0)
			return true;
	return false;
}

static bool is_missing(const struct listeners *listeners, size_t endpoint)
{
	for (size_t i = 0; i < listeners->n; i++)
		if (listeners->list[i].endpoint == endpoint &&
		    listener_is_passed(&listeners->list[i]))
			return false;
	return true;
}

static int check_number(const struct launch_spec *spec, struct error *err)
{
	if (spec->n_listen <= PROTOCOL_LISTEN_MAX)
		return 0;
	return error_set(err, -E2BIG, "%zu listening sockets, at most %d are possible",
			 spec->n_listen, PROTOCOL_LISTEN_MAX);
}

/* The endpoints without a socket to pass; @families has their addresses'. */
static size_t find_missing(const struct launch_spec *spec, const bool *skip,
			   const struct listeners *listeners, size_t *ret_endpoints, int *families)
{
	struct address address;
	size_t n = 0;

	for (size_t i = 0; i < spec->n_listen; i++) {
		if ((skip && skip[i]) || !is_missing(listeners, i))
			continue;
		launch_spec_address(spec, i, &address);
		families[n] = address.sa.sa_family;
		ret_endpoints[n++] = i;
	}
	return n;
}

int listeners_open(const struct launch_spec *spec, struct processes *processes,
		   const bool skip[PROTOCOL_LISTEN_MAX], struct listeners *listeners,
		   struct error *err)
{
	int type = SOCK_STREAM | SOCK_CLOEXEC | (spec->nonblocking ? SOCK_NONBLOCK : 0);
	int families[PROTOCOL_LISTEN_MAX], fds[PROTOCOL_LISTEN_MAX];
	size_t endpoints[PROTOCOL_LISTEN_MAX], n_missing, n = listeners->n;
	int r = check_number(spec, err);

	if (r < 0)
		return r;
	n_missing = find_missing(spec, skip, listeners, endpoints, families);
	r = processes_sockets(processes, families, n_missing, type, fds, err);
	if (r < 0)
		return r;
	for (size_t k = 0; k < n_missing; k++) {
		if (r == 0)
			r = open_socket(spec, endpoints[k], fds[k], listeners, err);
		else if (fds[k] >= 0)
			close(fds[k]);
	}
	for (; r < 0 && listeners->n > n; listeners->n--)
		close(listeners->list[listeners->n - 1].fd);
	return r;
}

/* ---- sockets that batond has created -------------------------------------------------------- */

static int check_given(const struct launch_spec *spec, size_t endpoint, int fd, struct error *err)
{
	struct sockaddr_storage storage = {0};
	struct sockaddr *sa = (struct sockaddr *)&storage;
	socklen_t size = sizeof(storage);
	struct address address, expected;
	int v6only = 0;

	launch_spec_address(spec, endpoint, &expected);
	if (getsockname(fd, sa, &size) < 0)
		return explain(&expected, "the socket that was given", -errno, err);
	if (sa->sa_family == AF_INET6)
		v6only = get_option(fd, IPPROTO_IPV6, IPV6_V6ONLY);
	if (address_from(sa, v6only > 0, &address) < 0)
		return error_text(err, -EINVAL, "listen %s: the socket that was given is not TCP",
				  expected.text);
	if (!address_equal(&address, &expected))
		return error_text(err, -EINVAL,
				  "listen %s: the socket that was given is bound to %s",
				  expected.text, address.text);
	if (get_option(fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM ||
	    (!spec->listen_later && get_option(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1))
		return error_text(err, -EINVAL,
				  "listen %s: the socket that was given does not listen",
				  expected.text);
	return 0;
}

/* O_NONBLOCK belongs to the open file description: batond's copy gets it, too, and may have it. */
static int prepare_given(const struct launch_spec *spec, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	flags = spec->nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

static int take_socket(const struct launch_spec *spec, size_t endpoint, int fd,
		       struct listeners *ret, struct error *err)
{
	int r;

	r = check_given(spec, endpoint, fd, err);
	if (r < 0)
		return r;
	r = prepare_given(spec, fd);
	if (r < 0)
		return explain(&spec->listen[endpoint], "the socket that was given", r, err);
	return add_passed(ret, spec, endpoint, fd, err);
}

int listeners_take(const struct launch_spec *spec, const int *fds, struct listeners *ret,
		   struct error *err)
{
	int r = check_number(spec, err);

	ret->n = 0;
	for (size_t i = 0; i < spec->n_listen && r == 0; i++)
		r = take_socket(spec, i, fds[i], ret, err);
	if (r == 0)
		return 0;
	ret->n = 0;
	for (size_t i = 0; i < spec->n_listen; i++)
		close(fds[i]);
	return r;
}

/* ---- the list ------------------------------------------------------------------------------- */

bool listener_is_passed(const struct listener *listener)
{
	return !listener->own && listener->fd >= 0 &&
	       (listener->counts || listener->out_serial == 0);
}

int listeners_select_passed(const struct listeners *listeners, struct listeners *ret)
{
	int r = 0;

	ret->n = 0;
	for (uint32_t endpoint = 0; endpoint < PROTOCOL_LISTEN_MAX; endpoint++)
		for (size_t i = 0; i < listeners->n && r == 0; i++)
			if (listeners->list[i].endpoint == endpoint &&
			    listener_is_passed(&listeners->list[i]))
				r = listeners_add(ret, &listeners->list[i]);
	return r;
}

int listener_listen(struct listener *listener, int backlog, struct error *err)
{
	assert(listener->fd >= 0);
	if (listen(listener->fd, backlog) < 0)
		return explain(&listener->address, "listen", -errno, err);
	listener->listens = true;
	return 0;
}

bool listener_is_shared(const struct listener *listener)
{
	return get_option(listener->fd, SOL_SOCKET, SO_REUSEPORT) > 0;
}

static void refresh(struct listener *listener)
{
	if (listener->fd < 0)
		return;
	listener->listens = get_option(listener->fd, SOL_SOCKET, SO_ACCEPTCONN) > 0;
	if (listener->counts && !listener->listens)
		listener->away = true;
}

void listeners_refresh(struct listeners *listeners)
{
	for (size_t i = 0; i < listeners->n; i++)
		refresh(&listeners->list[i]);
}

int listeners_add(struct listeners *listeners, const struct listener *listener)
{
	if (listeners->n >= LISTENERS_MAX)
		return -ENOSPC;
	if (listeners->n == listeners->size) {
		size_t size = listeners->size > 0 ? 2 * listeners->size : SIZE_FIRST;
		void *list = reallocarray(listeners->list, size, sizeof(*listeners->list));

		if (!list)
			return -ENOMEM;
		listeners->list = list;
		listeners->size = size;
	}
	listeners->list[listeners->n++] = *listener;
	return 0;
}

void listeners_done(struct listeners *listeners)
{
	free(listeners->list);
	*listeners = (struct listeners){};
}

void listeners_release(struct listeners *listeners, size_t index)
{
	struct listener *listener = &listeners->list[index];

	assert(index < listeners->n);
	if (listener->fd >= 0) {
		(void)shutdown(listener->fd, SHUT_RD);
		close(listener->fd);
	}
	listeners->n--;
	memmove(listener, listener + 1, (listeners->n - index) * sizeof(*listener));
}

void listeners_close(struct listeners *listeners)
{
	for (size_t i = 0; i < listeners->n; i++) {
		if (listeners->list[i].fd >= 0)
			close(listeners->list[i].fd);
		listeners->list[i].fd = -1;
	}
}

struct listener *listeners_find(struct listeners *listeners, uint64_t cookie)
{
	for (size_t i = 0; i < listeners->n; i++)
		if (listeners->list[i].cookie == cookie)
			return &listeners->list[i];
	return NULL;
}
