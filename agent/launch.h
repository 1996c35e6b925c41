/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * launch: starts the server: fork, become what the launch specification says, exec. The server has
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
	uint32_t timeout_ms; /* from fork to exec */
};

/*
 * Start the server and wait until exec has succeeded. Returns 0 or a negative errno. If a step
 * fails, the child is reaped and @err names the step: "exec /x/y: No such file or directory",
 * "limit nofile 100000:100000: Operation not permitted". A child that takes longer than .timeout_ms
 * is killed:
 * -ETIMEDOUT. Everything in @launch is borrowed.
 */
int launch(const struct launch *launch, pid_t *ret_pid, struct error *err);
