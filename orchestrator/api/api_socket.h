/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api_socket: the listening unix socket of the API and its file.
 *
 * The file is 0660 from the moment others can reach it. A file that a crashed daemon left behind
 * is replaced; what is not a socket, or a socket that somebody answers on, is left alone. Only the
 * file that was made here is removed again: another daemon may have put its own in that place.
 */
#pragma once

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
 * Listen on @path. @gid is given the file unless it is (gid_t)-1. -EADDRINUSE if somebody
 * answers on it, -EEXIST if it is something else than a socket, -ENAMETOOLONG (107 bytes are
 * the most).
 */
int api_socket_open(const char *path, gid_t gid, struct api_socket *ret, struct error *err);

/* Remove the file, if it is still ours. */
void api_socket_unlink(struct api_socket *listening);

/* The account at the other end of the connection @fd, as it was at connect(2) (SO_PEERCRED). */
int api_socket_peer(int fd, uid_t *ret_uid);
