/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * processes: which processes belong to the instance, and how to end them all.
 *
 * With a cgroup: whoever is in it or below it. Without one: the agent's descendants; the agent is a
 * child subreaper (PR_SET_CHILD_SUBREAPER), so that a daemonised grandchild is still one of them.
 * The agent has no children but the instance's. Zombies do not count.
 *
 * The agent creates the listening sockets as a member of the instance's cgroup, because a socket
 * belongs for ever to the cgroup that its creator was in at socket(2), and sock_diag and the BPF
 * programs find it by that: processes_enter(), create, processes_return().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/cleanup.h"
#include "common/error.h"

/* More than this many are not looked at: pid_max is 2^22 at most (proc(5)). */
#define PROCESSES_MAX (1u << 22)

struct processes;

/* @cgroup is copied; NULL: none. */
int processes_new(const char *cgroup, struct processes **ret);
void processes_free(struct processes *processes);
DEFINE_CLEANUP(struct processes *, processes_free);

/*
 * Move the agent into the instance's cgroup and back to where it was before; nothing happens
 * without a cgroup. -EINVAL where the cgroup is not where /proc/self/cgroup says it is.
 */
int processes_enter(struct processes *processes, struct error *err);
int processes_return(struct processes *processes, struct error *err);

/*
 * A descriptor (close-on-exec, the caller's) into which a child writes "0" in order to join the
 * cgroup; -1 where there is no cgroup.
 */
int processes_open_join(const struct processes *processes, int *ret_fd, struct error *err);

/* @ret_pids is malloc'ed; the agent itself is never in it. */
int processes_list(const struct processes *processes, pid_t **ret_pids, size_t *ret_n);

/* 1 where a process is left, 0 where none is, negative errno. */
int processes_any(const struct processes *processes);

/* 1: @pid belongs to the instance; 0: it does not; -ESRCH: there is no such process. */
int processes_contain(const struct processes *processes, pid_t pid);

/*
 * SIGKILL them all, once: cgroup.kill (Linux 5.14), else each by its pid. Returns 0, or the first
 * error. What is forked meanwhile may escape the second way: repeat until processes_any() is 0.
 */
int processes_kill(const struct processes *processes);
