/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api_socket: the listening unix socket of the API and its file.
 *
 * The file is for its owner alone (0600), or for a group as well (0660): nobody else reaches it,
 * not even for a moment. Where the kernel has SO_PASSRIGHTS (6.16) clients can send no descriptors:
 * what closing one of those does is not ours to say (it can wait). A file that a crashed daemon
 * left behind is replaced; what is not a socket, or a socket that somebody answers on, is left
 * alone. Only the file that was made here is removed again: another daemon may have put its own in
 * that place.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

#include "common/error.h"

struct api_socket {
	int fd; /* listening, non-blocking; -1: taken or closed */
	struct sockaddr_un address;
	dev_t device; /* of the file */
	ino_t inode;
};

/*
 * Listen on @path. @gid may connect, too, unless it is (gid_t)-1. -EADDRINUSE if somebody
 * answers on it, -EEXIST if it is something else than a socket, -ENAMETOOLONG (107 bytes are
 * the most).
 */
int api_socket_open(const char *path, gid_t gid, struct api_socket *ret, struct error *err);

/* Another group may connect from now on; (gid_t)-1: none. -ENOENT: the file is not ours any more.
 */
int api_socket_set_group(const struct api_socket *listening, gid_t gid, struct error *err);

/* Remove the file, if it is still ours. */
void api_socket_unlink(struct api_socket *listening);

/* The account at the other end of the connection @fd, as it was at connect(2) (SO_PEERCRED). */
int api_socket_peer(int fd, uid_t *ret_uid);

/* Was the process that has connected @fd in the group @gid then, by whichever of its groups? */
bool api_socket_peer_is_in(int fd, gid_t gid);
