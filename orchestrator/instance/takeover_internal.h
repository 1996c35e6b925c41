/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * takeover_internal: what the parts of takeover.h share. Each uses only parts above it:
 *
 *	takeover_notes.c      the folder of the agents, and what each has written down
 *	takeover_addresses.c  whose an address is (uses none of the others)
 *	takeover_left.c       what is left without an agent, and what an agent runs
 *	takeover.c            finding agents and asking them
 */
#pragma once

#include <dirent.h>

#include "common/handover.h"
#include "orchestrator/instance/takeover.h"

static inline void close_dir(DIR *dir)
{
	if (dir)
		closedir(dir);
}
DEFINE_CLEANUP(DIR *, close_dir);

/* What the agent at @socket_path has written down; *ret is to be ended by handover_done(). */
int takeover_read_notes(const char *socket_path, int *ret_fd, struct handover *ret,
			struct error *err);

/* Of the process with @pid that was started at @started; -1: it has ended, or nobody knows. */
int takeover_open_process(pid_t pid, uint64_t started);

/* readdir(3); at the end errno is 0, and after an error it is not. */
struct dirent *takeover_next(DIR *dir);

/* Is "SERVICE.GENERATION.INSTANCE.sock" the control socket of an agent of @service? */
bool takeover_is_agent_of(const char *file, const char *service);

/* What the name of a socket or a cgroup says: "SERVICE.GENERATION.INDEX". */
struct takeover_leaf {
	char service[PROTOCOL_NAME_MAX];
	unsigned generation, index;
};

bool takeover_parse_leaf(const char *name, const char *suffix, struct takeover_leaf *ret);
