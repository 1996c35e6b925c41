/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * command_leaf: a cgroup of its own for each command (command.h), so that it can be killed whole,
 * children in new sessions included.
 *
 * The leaf is <base>/command.N, beside those of the instances. N counts up; a number that is taken
 * is skipped. No instance's leaf is called so: those have two dots.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "common/error.h"
#include "orchestrator/host/cgroup.h"
#include "orchestrator/host/removals.h"

/* Make one. *ret_fd is the folder, for command_leaf_fork(); close-on-exec, the caller's. */
int command_leaf_open(const char *base, char ret_path[static CGROUP_PATH_MAX], int *ret_fd,
		      struct error *err);

/*
 * fork(2), but the child begins within the leaf of @fd. That takes clone3(2) of Linux 5.7. Where
 * that does not work the child has to call command_leaf_join(), which holds up every fork on the host for some
 * milliseconds: *ret_join says so. In the child no handler of pthread_atfork(3) has run; only
 * async-signal-safe calls are allowed there, and none that the C library does in all threads
 * (setuid(3)). Returns -1 with errno as fork(2) does.
 */
pid_t command_leaf_fork(int fd, bool *ret_join);

/* In the child. Returns 0 or a negative errno. Async-signal-safe. */
int command_leaf_join(int fd);

/* Kill whatever is in it. */
void command_leaf_kill(const char *path);

/* Kill whatever is in it, and remove it: now, or when the kernel allows it. */
void command_leaf_remove(const char *path, struct removals *removals);

/* Kill and remove all leaves of commands: those of a daemon that has died, or of one that ends. */
void command_leaf_sweep(const char *base, struct removals *removals);
