/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * path_open: opens every file that a service's configuration names: logs, environment files, CA
 * files, watched files, and the configuration itself. One rule holds for all of them:
 *
 *	As root, a path is walked part by part. A symbolic link is followed only if nobody but root
 *	could have put it there: its folder is root's, and nobody else may write to it; or it is a
 *	sticky folder of root's (/tmp), and the link is root's. If somebody else may write to the
 *	folder of the file itself, the file may have one name only (no hard links). A log in a
 *	sticky folder must be root's, or the service's user's.
 *
 *	What that rule refuses is opened with the rights of the service's user (as_user.h), if it is
 *	not root: what he may open himself, he may name.
 *
 *	A process that is not root opens everything as itself.
 *
 *	Only regular files are opened, and /dev/null. A FIFO, a socket, another device or a folder
 *	is refused at once, and opening never waits.
 *
 * So a user who can write to a folder cannot choose which file of root's is read or written there.
 * Folders with links in them may be moved, but what is then found was there before: moving a folder
 * of root's elsewhere takes root.
 */
#pragma once

#include <errno.h>

#include "common/as_user.h"
#include "common/error.h"

#define PATH_IS_NO_FILE  EMEDIUMTYPE  /* a FIFO, a socket, a device */
#define PATH_IS_REFUSED  EKEYREJECTED /* by the rule above */
#define PATH_LINKS_MAX   40
#define PATH_APPEND_MODE 0640 /* of a log that is made */

enum path_use {
	PATH_READ,
	PATH_READ_OR_PIPE, /* a pipe without a name, which somebody has passed, will do, too */
	PATH_APPEND,       /* for writing at its end; it is made if it does not exist */
};

/*
 * @user is the service's; NULL: there is none, or it is root. Returns a descriptor, close-on-exec,
 * which is non-blocking unless it is a passed pipe; or a negative errno: -PATH_IS_REFUSED,
 * -PATH_IS_NO_FILE, -EISDIR or what the kernel says. @err, which may be NULL, says why without the
 * path in front: which part of it, who can write there, and what to change.
 */
int path_open(const char *path, enum path_use use, const struct as_user *user, struct error *err);

/*
 * Would path_open() do that now? Opens no file for reading and makes none. A file to be appended
 * to need not exist, but its folder must. Returns 0 or what path_open() would return.
 */
int path_check(const char *path, enum path_use use, const struct as_user *user, struct error *err);

/* What -PATH_IS_REFUSED, -PATH_IS_NO_FILE or another error means, if there is no struct error. */
const char *path_why(int r);
