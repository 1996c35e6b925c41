/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * agent: the shell around the lifecycle machine. What happens (orders, exits, notifications,
 * deadlines) becomes an event for lifecycle_step(), and the actions it returns are carried out
 * with the other modules. No decision is made here.
 */
#pragma once

#include "common/error.h"
#include "common/protocol.h"

/*
 * Start the server of @spec and look after it until a STOP has been carried out; then the control
 * socket's path is removed and 0 returned. @spec_fd is the file that @spec was read from, handed to
 * every daemon that connects; it stays the caller's. @control_fd is taken over. The caller has made
 * the process a child subreaper and ignores SIGPIPE.
 */
int agent_run(const struct launch_spec *spec, int spec_fd, int control_fd, struct error *err);
