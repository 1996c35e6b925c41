/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/api/api_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

#define BACKLOG SOMAXCONN /* it is never long: api_door.h */

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16; connections have it from the socket that listens */
#endif

/* Linux 6.16; the headers of the system may be older. */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

/* Remove what a dead daemon left at the address. 0: the place is free now. */
static int clear_place(const struct sockaddr_un *address, struct error *err)
{
	cleanup_close int fd = -1;
	struct stat st;

	if (lstat(address->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : error_set(err, -errno, "api: %s", address->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return error_text(err, -EEXIST,
				  "api: %s: a file that is not a socket is in the way: remove it",
				  address->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(err, -errno, "api: socket");
	/* unix(7): ECONNREFUSED if nobody listens; EAGAIN if somebody does, but is behind. */
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
		return error_text(
			err, -EADDRINUSE,
			"api: %s: another daemon answers there (-n gives this one another name)",
			address->sun_path);
	if (errno != ECONNREFUSED && errno != ENOENT)
		return error_set(err, -errno, "api: %s", address->sun_path);
	if (unlink(address->sun_path) < 0 && errno != ENOENT)
		return error_set(err, -errno, "api: remove %s", address->sun_path);
	return 0;
}

/*
 * Nobody has any to pass, and to drop one may sleep: a socket with SO_LINGER and unsent data does.
 * Connections inherit it. Kernels before 6.16 cannot; there only readers of the API can do that.
 */
static void refuse_descriptors(int fd)
{
	const int off = 0;

	(void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
}

/* Narrow at first, so that nobody gets in before the group is set. */
static int bind_narrow(int fd, const struct sockaddr_un *address)
{
	mode_t before = umask(0177);
	int r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;

	umask(before);
	return r;
}

int api_socket_open(const char *path, gid_t gid, struct api_socket *ret, struct error *err)
{
	struct api_socket made = {.fd = -1, .address.sun_family = AF_UNIX};
	cleanup_close int fd = -1;
	const int off = 0;
	struct stat st;
	int r;

	if (strlen(path) >= sizeof(made.address.sun_path))
		return error_text(err, -ENAMETOOLONG, "api: %s: longer than %zu bytes", path,
				  sizeof(made.address.sun_path) - 1);
	strcpy(made.address.sun_path, path);
	r = clear_place(&made.address, err);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(err, -errno, "api: socket");
	refuse_descriptors(fd);
	r = bind_narrow(fd, &made.address);
	if (r < 0)
		return error_set(err, r, "api: bind %s", path);
	if (lstat(path, &st) < 0)
		return error_set(err, -errno, "api: %s", path);
	made.device = st.st_dev;
	made.inode = st.st_ino;
	(void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
	r = listen(fd, BACKLOG) < 0 ? error_set(err, -errno, "api: %s", path) : 0;
	if (r == 0 && gid != (gid_t)-1)
		r = api_socket_set_group(&made, gid, err);
	if (r < 0) {
		api_socket_unlink(&made);
		return r;
	}
	made.fd = TAKE_FD(fd);
	*ret = made;
	return 0;
}

static bool is_ours(const struct api_socket *listening)
{
	const char *path = listening->address.sun_path;
	struct stat st;

	return path[0] && lstat(path, &st) == 0 && st.st_dev == listening->device &&
	       st.st_ino == listening->inode;
}

/* Narrow in between, so that the group before has no more than it is to have. */
int api_socket_set_group(const struct api_socket *listening, gid_t gid, struct error *err)
{
	const char *path = listening->address.sun_path;
	gid_t owner = gid == (gid_t)-1 ? getegid() : gid;

	if (!is_ours(listening))
		return error_set(err, -ENOENT, "api: %s: not the socket of this daemon", path);
	if (chmod(path, 0600) < 0 || lchown(path, (uid_t)-1, owner) < 0 ||
	    (gid != (gid_t)-1 && chmod(path, 0660) < 0))
		return error_set(err, -errno, "api: %s: set the group", path);
	return 0;
}

void api_socket_unlink(struct api_socket *listening)
{
	if (is_ours(listening))
		unlink(listening->address.sun_path);
}

int api_socket_peer(int fd, uid_t *ret_uid)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		return -errno;
	*ret_uid = peer.uid;
	return 0;
}

/* socket(7): SO_PEERGROUPS. */
bool api_socket_peer_is_in(int fd, gid_t gid)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);
	cleanup_free gid_t *groups = NULL;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		return false;
	if (peer.gid == gid)
		return true;
	length = 0;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &length) == 0 || errno != ERANGE)
		return false;
	groups = malloc(length);
	if (!groups || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length) < 0)
		return false;
	for (size_t k = 0; k < length / sizeof(gid_t); k++)
		if (groups[k] == gid)
			return true;
	return false;
}
