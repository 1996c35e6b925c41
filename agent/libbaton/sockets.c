/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/libbaton/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/address.h"
#include "common/cleanup.h"

#define PASSED_START 3         /* SD_LISTEN_FDS_START */
#define UNNAMED      "unknown" /* sd_listen_fds_with_names(3) */

/* The process that has taken the sockets that were passed to it; 0: none has. */
static atomic_int taker;

/* ---- passed sockets ------------------------------------------------------------------------ */

/* *ret is 0 if the variable is not set. */
static int read_number(const char *variable, int *ret, struct error *err)
{
	const char *text = getenv(variable);
	long value = 0;

	if (text) {
		size_t length = strlen(text);

		/* Nine digits fit an int, and no pid has more. */
		if (length == 0 || length > 9 || strspn(text, "0123456789") != length)
			return error_text(err, -EINVAL, "%s=%.20s: not a number", variable, text);
		value = strtol(text, NULL, 10);
	}
	*ret = (int)value;
	return 0;
}

/* How many sockets were passed to this very process, and not taken yet. */
static int count_passed(int *ret, struct error *err)
{
	int pid, n, r;

	*ret = 0;
	if (atomic_load(&taker) == getpid())
		return 0;
	r = read_number("LISTEN_PID", &pid, err);
	if (r < 0 || pid != getpid())
		return r;
	r = read_number("LISTEN_FDS", &n, err);
	if (r < 0)
		return r;
	if (n > BATON_SOCKETS_MAX)
		return error_text(err, -E2BIG, "LISTEN_FDS=%d: at most %d sockets are possible", n,
				  BATON_SOCKETS_MAX);
	*ret = n;
	return 0;
}

static int check_passed(int fd, struct error *err)
{
	int type = 0, listening = 0;
	socklen_t size = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM) {
		size = sizeof(int);
		(void)getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size);
	}
	if (!listening)
		return error_text(err, -EINVAL,
				  "LISTEN_FDS: descriptor %d is not a listening stream socket", fd);
	return 0;
}

static int set_passed_flags(int fd, bool blocking)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	if (!blocking && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

/* LISTEN_FDNAMES, or NULL if it does not have exactly @n names. */
static const char *names_of(int n)
{
	const char *names = getenv("LISTEN_FDNAMES");
	int found = 1;

	if (!names)
		return NULL;
	for (const char *c = names; *c; c++)
		found += *c == ':';
	return found == n ? names : NULL;
}

/* Copy the name that *names begins with, and step over it. NULL without memory. */
static char *next_name(const char **names)
{
	size_t length;
	char *name;

	if (!*names)
		return strdup(UNNAMED);
	length = strcspn(*names, ":");
	name = strndup(*names, length);
	*names += length + 1;
	return name;
}

static int take_passed(int n, bool blocking, struct sockets *ret, struct error *err)
{
	const char *names = names_of(n);
	int r;

	for (int i = 0; i < n; i++) {
		r = check_passed(PASSED_START + i, err);
		if (r < 0)
			return r;
	}
	for (; ret->n < n; ret->n++) {
		int fd = PASSED_START + ret->n;

		r = set_passed_flags(fd, blocking);
		if (r < 0)
			return error_set(err, r, "LISTEN_FDS: descriptor %d", fd);
		ret->list[ret->n].fd = fd;
		ret->list[ret->n].name = next_name(&names);
		if (!ret->list[ret->n].name)
			return error_set(err, -ENOMEM, "LISTEN_FDNAMES");
	}
	return 0;
}

/* ---- own sockets --------------------------------------------------------------------------- */

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int set_options(int fd, const struct address *address, bool share)
{
	int r;

	r = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (r == 0 && share)
		r = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (r == 0 && address->sa.sa_family == AF_INET6)
		r = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, address_v6only(address));
	return r;
}

static int listen_on(const struct sockets_wish *wish, const char *text, int *ret_fd,
		     struct address *ret_address, struct error *err)
{
	cleanup_close int fd = -1;
	int r;

	r = address_parse(text, ret_address, err);
	if (r < 0)
		return error_prefix(err, r, "listen");
	fd = socket(ret_address->sa.sa_family,
		    SOCK_STREAM | SOCK_CLOEXEC | (wish->blocking ? 0 : SOCK_NONBLOCK), 0);
	if (fd < 0)
		return error_set(err, -errno, "listen %s: socket", ret_address->text);
	r = set_options(fd, ret_address, wish->share);
	if (r < 0)
		return error_set(err, r, "listen %s: set options", ret_address->text);
	if (bind(fd, &ret_address->sa, ret_address->length) < 0)
		return error_set(err, -errno, "listen %s: bind", ret_address->text);
	if (listen(fd, wish->backlog) < 0)
		return error_set(err, -errno, "listen %s: listen", ret_address->text);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int listen_on_all(const struct sockets_wish *wish, struct sockets *ret, struct error *err)
{
	for (; wish->listen && wish->listen[ret->n]; ret->n++) {
		struct address address;
		int fd = -1, r;

		if (ret->n == BATON_SOCKETS_MAX)
			return error_text(err, -E2BIG, "listen: at most %d addresses are possible",
					  BATON_SOCKETS_MAX);
		r = listen_on(wish, wish->listen[ret->n], &fd, &address, err);
		if (r < 0)
			return r;
		ret->list[ret->n].fd = fd;
		ret->list[ret->n].name = strdup(address.text);
		if (!ret->list[ret->n].name) {
			close(fd);
			return error_set(err, -ENOMEM, "listen %s", address.text);
		}
	}
	return 0;
}

/* ---- both ---------------------------------------------------------------------------------- */

static void forget(struct sockets *sockets, bool closing)
{
	for (int i = 0; i < sockets->n; i++) {
		if (closing)
			close(sockets->list[i].fd);
		free(sockets->list[i].name);
	}
	sockets->n = 0;
}

int sockets_open(const struct sockets_wish *wish, struct sockets *ret, struct error *err)
{
	int passed, r;

	ret->n = 0;
	ret->inherited = false;
	r = count_passed(&passed, err);
	if (r < 0)
		return r;
	ret->inherited = passed > 0;
	r = passed > 0 ? take_passed(passed, wish->blocking, ret, err)
		       : listen_on_all(wish, ret, err);
	if (r < 0)
		forget(ret, !ret->inherited);
	return r;
}

void sockets_keep(const struct sockets *sockets)
{
	if (sockets->inherited)
		atomic_store(&taker, getpid());
}

void sockets_done(struct sockets *sockets)
{
	forget(sockets, true);
}
