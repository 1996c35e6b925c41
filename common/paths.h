/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * paths: where the daemon called NAME keeps things, and where the programs find each other.
 *
 *			root		anybody else
 *	while it runs	/run/NAME	$XDG_RUNTIME_DIR/NAME, else /tmp/NAME-UID
 *	for ever	/var/lib/NAME	$XDG_STATE_HOME/NAME, else ~/.local/state/NAME
 *
 * A variable that is not an absolute path counts as unset (XDG Base Directory Specification). NAME
 * comes from -n/--name, else from $BATON_NAME, else it is "baton". This module creates nothing.
 * The daemon, which makes run_dir, must check that it owns it: anybody can make one in /tmp.
 */
#pragma once

#include <stddef.h>

#include "common/error.h"

#define PATHS_MAX 512

struct paths {
	char name[64];
	char run_dir[PATHS_MAX];     /* /run/NAME */
	char lock_file[PATHS_MAX];   /* /run/NAME/lock */
	char api_socket[PATHS_MAX];  /* /run/NAME/api.sock */
	char agents_dir[PATHS_MAX];  /* /run/NAME/agents */
	char state_dir[PATHS_MAX];   /* /var/lib/NAME */
	char state_file[PATHS_MAX];  /* /var/lib/NAME/state.json */
	char event_file[PATHS_MAX];  /* /var/lib/NAME/events.jsonl */
	char spare_file[PATHS_MAX];  /* /run/NAME/state.json, if state_file cannot be written */
	char event_spare[PATHS_MAX]; /* /run/NAME/events.jsonl: what event_file does not have yet */
};

/*
 * Is @name good for a daemon or a service: 1 to 63 of [A-Za-z0-9_-], no leading "-"? It becomes the
 * name of a directory, of a cgroup and in bpffs, which refuses dots. Returns 0 or -EINVAL.
 */
int paths_check_name(const char *name, struct error *err);

/*
 * Fill @ret. If @name is NULL, the name is that of the environment, or the default. Returns 0 or
 *	-EINVAL		the name is bad
 *	-ENAMETOOLONG	a path exceeds PATHS_MAX, or api_socket the 107 bytes of a unix socket
 *	-ENOENT		an ordinary user has no home
 */
int paths_init(const char *name, struct paths *ret, struct error *err);

/*
 * Find another program of baton's and write its path into @ret, which has @size bytes. It is looked
 * for beside the running program (both lie in build/ if they are not installed), then in
 * ../libexec/baton, ../sbin and ../bin from there. Returns 0 or
 *	-ENOENT		there is none
 *	-ENAMETOOLONG	its path does not fit @size
 *	-EINVAL		@program is not a plain file name
 */
int paths_program(const char *program, char *ret, size_t size, struct error *err);
