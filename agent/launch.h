/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * launch: starts the server: fork, become what the launch specification says, exec. All of that may
 * hang (the program may be on a file system that does not answer), and nobody waits for it:
 * launch_begin() returns after the fork. The server has
 *
 *	cgroup		the instance's
 *	session		its own
 *	signals		default dispositions, none blocked
 *	descriptors	stdin from /dev/null, stdout and stderr, its listening sockets as 3, 4, ...,
 *			and no others
 *	settings	limits, priority, umask and privileges of the specification's "process"
 *			(apply.h); if one is not set, the agent's. Never the agent's ambient
 *			capabilities
 *	environment	the specification's, plus LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES
 *			(sd_listen_fds(3)) if there are sockets, and NOTIFY_SOCKET (sd_notify(3)).
 *			These win over variables of the same name
 *
 * If the server binds sockets itself, GODEBUG gets "multipathtcp=0" in addition, unless it mentions
 * that already: MPTCP sockets cannot be steered.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/listener.h"
#include "common/error.h"
#include "common/processes.h"
#include "common/protocol.h"

/* The first descriptor that is passed: SD_LISTEN_FDS_START. */
#define LAUNCH_FDS_START 3

struct launch {
	const struct launch_spec *spec;
	const struct listeners *listeners; /* to be passed, all of them */
	struct processes *processes;
	const char *notify_socket; /* value of NOTIFY_SOCKET; NULL: none */
	int stdout_fd;
	int stderr_fd;
};

/* A process on its way from fork to exec. */
struct launching {
	pid_t pid;       /* a child that nobody has reaped; 0: there is none */
	int pidfd;       /* -1: the system forbids pidfd_open(2) */
	int fd;          /* readable (EPOLLIN, EPOLLHUP) as soon as it is known how exec went */
	char *directory; /* as it was expanded; NULL: none */
};

/*
 * Begin a process that becomes the server. Returns 0, and *ret is ended by launch_end() or
 * launch_give_up(); or a negative errno, and *ret is empty. All of @launch is borrowed during the
 * call only.
 */
int launch_begin(const struct launch *launch, struct launching *ret, struct error *err);

/*
 * .fd is readable, or .pid has ended. Returns 0: it is the server. Or a negative errno if a step
 * has failed: @err names it: "exec /x/y: No such file or directory", "limit nofile 100000:100000:
 * Operation not permitted". The child has ended then, or is about to. *launching is empty
 * afterwards. Whoever owns the children reaps it.
 */
int launch_end(struct launching *launching, const struct launch_spec *spec, struct error *err);

/* It has had its time: kill it. *launching is empty afterwards. */
void launch_give_up(struct launching *launching);
