/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * processes: which processes belong to an instance, and how to end them all. Used by its agent and,
 * to count them, by batond.
 *
 * With a cgroup: whoever is in it or below it, but for the agent, which visits it (below). Without
 * one: the agent's descendants; the agent is a child subreaper (PR_SET_CHILD_SUBREAPER), so that a
 * daemonised grandchild is still one of them, and it has no children but the instance's. Where the
 * agent has ended they are nobody's descendants any more and are not found. Zombies do not count.
 *
 * The agent creates the listening sockets as a member of the instance's cgroup, because a socket
 * belongs for ever to the cgroup that its creator was in at socket(2), and sock_diag and the BPF
 * programs find it by that: processes_enter(), create, processes_return().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"
#include "common/error.h"

/* More than this many are not looked at: pid_max is 2^22 at most (proc(5)). */
#define PROCESSES_MAX (1u << 22)

struct processes;

/*
 * @cgroup is copied; NULL: none. @root is the agent's pid: for the agent itself getpid(). Without
 * a cgroup it must be the agent's for as long as the object is used.
 */
int processes_new(const char *cgroup, pid_t root, struct processes **ret);
void processes_free(struct processes *processes);
DEFINE_CLEANUP(struct processes *, processes_free);

/*
 * For the agent only: move it into the instance's cgroup and back to where it was before; nothing
 * happens without a cgroup. -EINVAL where the cgroup is not where /proc/self/cgroup says it is.
 */
int processes_enter(struct processes *processes, struct error *err);
int processes_return(struct processes *processes, struct error *err);

/*
 * A descriptor (close-on-exec, the caller's) into which a child writes "0" in order to join the
 * cgroup; -1 where there is no cgroup.
 */
int processes_open_join(const struct processes *processes, int *ret_fd, struct error *err);

/* @ret_pids is malloc'ed, in no order; the agent itself is never in it. */
int processes_list(const struct processes *processes, pid_t **ret_pids, size_t *ret_n);

/* 1 where a process is left, 0 where none is, negative errno. */
int processes_any(const struct processes *processes);

/*
 * The process that has run longest of those whose parent is the agent: what a server that
 * daemonised has left behind. *ret_pid is 0 where there is none.
 */
int processes_oldest_child(const struct processes *processes, pid_t *ret_pid);

/* 1: @pid belongs to the instance; 0: it does not; -ESRCH: there is no such process. */
int processes_contain(const struct processes *processes, pid_t pid);

/*
 * SIGKILL them all, once: cgroup.kill (Linux 5.14), else each by its pid. Returns 0, or the first
 * error. What is forked meanwhile may escape the second way: repeat until processes_any() is 0.
 */
int processes_kill(const struct processes *processes);

/* The inode of descriptor @fd (digits) of @pid where it is a socket (proc(5)), else 0. */
uint64_t processes_socket(pid_t pid, const char *fd);
