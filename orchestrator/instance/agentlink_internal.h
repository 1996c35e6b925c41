/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * agentlink_internal: how an agent is started (agentlink_start.c), for agentlink.c alone.
 */
#pragma once

#include "orchestrator/instance/agentlink.h"

/* The agent's program and descriptors, which are close-on-exec here, and not in the child. */
struct agent_start {
	const char *program;
	int spec_fd;
	int control_fd;
	const int *socket_fds;
	size_t n_socket_fds;
	int handover_fd; /* -1: none */
};

/* The launch specification as a file that only the agent will read. */
int agentlink_spec(const struct launch_spec *spec, const char *socket_path, int *ret_fd,
		   struct error *err);

/* A listening control socket and a connection to it. */
int agentlink_pair(const char *path, int *ret_listen_fd, int *ret_fd, struct error *err);

int agentlink_fork(const struct agent_start *start, pid_t *ret_pid, struct error *err);
