/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * agent: the shell around the lifecycle machine. What happens (orders, exits, notifications,
 * deadlines) becomes an event for lifecycle_step(), and the actions it returns are carried out
 * with the other modules. No decision is made here.
 *
 * A server may put itself into the background: when its main process exits with status 0 within ten
 * seconds of its start and leaves another process of the instance behind, whose parent the agent
 * is by that (it is a child subreaper), the oldest such is the main process from then on
 * (REPORT_STARTED with its pid). Later, or with another status, it is an exit. Servers that say
 * MAINPID= (sd_notify(3)) are taken at their word at any time.
 */
#pragma once

#include "common/error.h"
#include "common/protocol.h"

/*
 * Start the server of @spec and look after it until a STOP has been carried out; then the control
 * socket's path is removed and 0 returned. @spec_fd is the file that @spec was read from, handed to
 * every daemon that connects; it stays the caller's. @control_fd is taken over, and so are
 * @socket_fds: the listening sockets, one for each spec->listen, where spec->sockets_given says
 * that batond has made them; else NULL. The caller has made the process a child subreaper and
 * ignores SIGPIPE.
 */
int agent_run(const struct launch_spec *spec, int spec_fd, int control_fd, const int *socket_fds,
	      struct error *err);
