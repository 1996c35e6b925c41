/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * launch: start the server: fork, become what the specification says, exec.
 *
 * The server is in the instance's cgroup and in a session of its own, with default signal
 * dispositions, an empty signal mask, stdin from /dev/null, its listening sockets as descriptors
 * 3, 4, ... and no other descriptor. It has the limits, priority, umask and privileges that the
 * specification's "process" names (apply.h), and those of the agent where it names none, but never
 * the agent's ambient capabilities. Its environment is exactly the specification's plus LISTEN_FDS,
 * LISTEN_PID, LISTEN_FDNAMES (sd_listen_fds(3); not without sockets) and NOTIFY_SOCKET
 * (sd_notify(3)), which win over variables of the same name.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/listener.h"
#include "common/processes.h"
#include "common/error.h"
#include "common/protocol.h"

/* The first descriptor that is passed: SD_LISTEN_FDS_START. */
#define LAUNCH_FDS_START 3

struct launch {
	const struct launch_spec *spec;
	const struct listeners *listeners; /* all of them are passed */
	const struct processes *processes;
	const char *notify_socket; /* value of NOTIFY_SOCKET; NULL: none */
	int stdout_fd;
	int stderr_fd;
	uint32_t timeout_ms; /* for all until exec has succeeded */
};

/*
 * Start it and wait until exec has succeeded. Where a step fails the child is reaped and @err
 * names the step ("exec /x/y: No such file or directory", "chdir /z: Permission denied", "limit
 * nofile 100000:100000: Operation not permitted"). A child that is not done in time is killed:
 * -ETIMEDOUT.
 */
int launch(const struct launch *launch, pid_t *ret_pid, struct error *err);
