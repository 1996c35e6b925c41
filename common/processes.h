/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * processes: which processes belong to an instance, and how to end them all. The instance's agent
 * uses it, and batond, which counts them.
 *
 * With a cgroup, an instance's processes are those in it or below it. The agent may visit the
 * cgroup (see below), but never counts.
 *
 * Without a cgroup, they are the agent's descendants. The agent has no other children, and it is a
 * child subreaper (PR_SET_CHILD_SUBREAPER), so a grandchild that daemonises stays its descendant.
 * When the agent has ended, its descendants are found no more. The next agent is told of the
 * server's main process (processes_adopt()); the instance's processes are then those of that
 * process's session as well, and their descendants. One that has begun a session of its own, and
 * whose parent has ended, is missed.
 *
 * Zombies do not count.
 *
 * A socket belongs for ever to the cgroup that its creator was in at socket(2), and sock_diag and
 * the BPF programs find it by that. So a child of the agent creates the listening sockets, and that
 * begins in the cgroup: processes_sockets(). To move a process takes a lock of the whole host, and
 * some 10 ms; to begin one there takes neither.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"
#include "common/error.h"

/* No more than this many are looked at: pid_max is 2^22 at most (proc(5)). */
#define PROCESSES_MAX (1u << 22)

struct processes;

/*
 * @cgroup is the path of the instance's cgroup, which is copied, or NULL for none. @root is the
 * agent's pid. With a cgroup it may be 0: there is no agent to leave out. Without one the agent
 * must live as long as the object is used, or @root could come to be another process. Returns 0 or
 * -ENOMEM.
 */
int processes_new(const char *cgroup, pid_t root, struct processes **ret);
void processes_free(struct processes *processes);
DEFINE_CLEANUP(struct processes *, processes_free);

/*
 * @pid, the main process of a server, was started by an agent that has ended: from now on it and
 * its like belong to the instance. With a cgroup nothing changes. Returns 0, or -ESRCH if it has
 * ended.
 */
int processes_adopt(struct processes *processes, pid_t pid);

/*
 * When @pid was started, in ticks since boot: a number that tells it from a later process with the
 * same pid. Returns 0, or -ESRCH if there is none or it has ended.
 */
int processes_started(pid_t pid, uint64_t *ret);

/* How long ago that was, in ms. Returns 0, -ESRCH if it has ended, or another errno. */
int processes_age(pid_t pid, uint64_t *ret_ms);

/*
 * For the agent only: move the calling process into the instance's cgroup, and back to where it was
 * before. Without a cgroup nothing happens. Returns 0 or a negative errno; -EINVAL if
 * /proc/self/cgroup names the cgroup differently. After a processes_enter() that failed,
 * processes_return() does nothing.
 */
int processes_enter(struct processes *processes, struct error *err);
int processes_return(struct processes *processes, struct error *err);

/*
 * For the agent only: fork(2), but the child begins in the instance's cgroup (clone3(2)). Without a
 * cgroup, and where the kernel does not let it, *ret_inside is false and the child is where the
 * agent is. Returns as fork(2) does. The child may make async-signal-safe calls only.
 */
pid_t processes_fork(struct processes *processes, bool *ret_inside);

/*
 * For the agent only: call socket(2) @n times, with each of @families and with @type, as a member
 * of the instance's cgroup. ret_fds[k] is what it returned: a descriptor, or a negative errno. If
 * no child can begin there, the agent moves there and back. Without a cgroup the agent makes them
 * where it is. Returns 0 or a negative errno, as processes_enter(): then none of them is open.
 */
int processes_sockets(struct processes *processes, const int *families, size_t n, int type,
		      int *ret_fds, struct error *err);

/*
 * *ret_fd: a descriptor into which a child writes "0" in order to join the cgroup. It is
 * close-on-exec and the caller's; -1 if there is no cgroup. Returns 0 or a negative errno.
 */
int processes_open_join(const struct processes *processes, int *ret_fd, struct error *err);

/*
 * List the instance's processes, in no order; the agent itself is never in it. *ret_pids is
 * malloc'ed; NULL if *ret_n is 0. Returns 0 or a negative errno.
 */
int processes_list(const struct processes *processes, pid_t **ret_pids, size_t *ret_n);

/*
 * 1: a process of the instance is left; 0: none is; else a negative errno. Also 1 while threads of
 * a process are still ending that is not listed any more: its cgroup cannot be removed before.
 */
int processes_any(const struct processes *processes);

/*
 * The oldest process of the instance whose parent is the agent: a server that daemonises leaves one
 * behind. *ret_pid is 0 if there is none. Returns 0 or a negative errno.
 */
int processes_oldest_child(const struct processes *processes, pid_t *ret_pid);

/* A process of the instance, and at whose head it belongs. */
struct process_kin {
	pid_t pid;
	/*
	 * The first of its ancestors, itself included, that has called execve(2) since its fork, or
	 * whose parent is none of the instance's processes (any more). The workers that a server
	 * forks have its head; a program that it starts is one itself.
	 */
	pid_t head;
	bool forked;              /* the head has not called execve(2) either */
	unsigned long long start; /* of the head: ticks since boot */
	unsigned long long ticks; /* CPU time that the process has used */
};

/*
 * List the instance's processes with their heads, sorted by pid. *ret is malloc'ed; NULL if *ret_n
 * is 0. Returns 0 or a negative errno.
 */
int processes_kin(const struct processes *processes, struct process_kin **ret, size_t *ret_n);

/* 1: @pid is one of the instance's processes; 0: it is not; -ESRCH: there is no such process. */
int processes_contain(const struct processes *processes, pid_t pid);

/*
 * The same for the process of @pidfd, which had @pid; it may have ended, if the kernel tells in
 * which cgroup it was (pidfds.h). -ESRCH: it has ended, and nobody can tell.
 */
int processes_contain_pidfd(const struct processes *processes, pid_t pid, int pidfd);

/*
 * Send @signal to each of them, by its pidfd: never to another process that has been given the pid
 * since. *ret_n is how many got it. Returns 0 or the first error. A process that is forked
 * meanwhile may be missed.
 */
int processes_signal(const struct processes *processes, int signal, unsigned *ret_n);

/*
 * Send SIGKILL to all of them: by cgroup.kill (Linux 5.14), else by processes_signal(). Returns 0
 * or the first error. A process that is forked meanwhile may escape the second way, so repeat until
 * processes_any() is 0.
 */
int processes_kill(struct processes *processes);

/* The inode of the socket that is descriptor @fd (digits) of @pid (proc(5)); 0 if it is none. */
uint64_t processes_socket(pid_t pid, const char *fd);
