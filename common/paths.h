/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * paths: where the daemon called NAME keeps things, and where the programs find each other.
 *
 * As root: /run/NAME, /var/lib/NAME. As anybody else: $XDG_RUNTIME_DIR/NAME (or /tmp/NAME-UID),
 * $XDG_STATE_HOME/NAME (or ~/.local/state/NAME). Values that are not absolute paths are as good as
 * unset (XDG Base Directory Specification). NAME comes from -n/--name, else from $BATON_NAME, else
 * it is "baton". Nothing is created here; whoever makes run_dir must see that it is its own, since
 * anybody can make one in /tmp.
 */
#pragma once

#include <stddef.h>

#include "common/error.h"

#define PATHS_MAX 512

struct paths {
	char name[64];
	char run_dir[PATHS_MAX];    /* /run/NAME */
	char api_socket[PATHS_MAX]; /* /run/NAME/api.sock */
	char agents_dir[PATHS_MAX]; /* /run/NAME/agents */
	char state_dir[PATHS_MAX];  /* /var/lib/NAME */
	char state_file[PATHS_MAX]; /* /var/lib/NAME/state.json */
};

/*
 * Is @name good for a daemon or a service: 1 to 63 of [A-Za-z0-9_-], no leading "-"? (It becomes
 * a directory, a cgroup and a bpffs name; bpffs refuses dots.)
 */
int paths_check_name(const char *name, struct error *err);

/*
 * Fill @ret; @name NULL: from the environment or the default. -EINVAL for a bad name,
 * -ENAMETOOLONG where a path exceeds PATHS_MAX or api_socket a unix socket's 107 bytes, -ENOENT
 * where an ordinary user has no home.
 */
int paths_init(const char *name, struct paths *ret, struct error *err);

/*
 * The path of a program of baton's that lies beside the running one (build/ when uninstalled),
 * in ../libexec/baton or ../sbin, ../bin of it, in that order. -ENOENT where there is none,
 * -ENAMETOOLONG where it does not fit @size, -EINVAL where @program is not a plain file name.
 */
int paths_program(const char *program, char *ret, size_t size, struct error *err);
