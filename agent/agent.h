/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * agent: the shell around the lifecycle machine (lifecycle.h). It turns orders, exits,
 * notifications and deadlines into events for lifecycle_step(), and carries out the actions that
 * this returns with the help of the other modules. It does not decide what happens to the server.
 *
 * A server may put itself into the background: its main process exits with status 0 within ten
 * seconds of its start, and leaves another process behind. The agent, a child subreaper, becomes
 * the parent of that process. From then on the oldest such process is the main process, and
 * REPORT_STARTED tells its pid. An exit that is later, or has another status, is an exit. A server
 * that says MAINPID= (sd_notify(3)) is believed at any time.
 *
 * An agent may be killed. Whatever the next one must know it writes down beside its control socket
 * (common/handover.h). Its server goes on: it has its sockets, and its output waits in its pipes
 * (pipes.h). The next agent fetches duplicates of the sockets, opens the pipes and the notify
 * socket, and goes on in the state that was noted.
 */
#pragma once

#include "common/error.h"
#include "common/handover.h"
#include "common/protocol.h"

/*
 * Start the server of @spec and look after it until ORDER_STOP has been carried out. Then remove
 * the path of the control socket and return 0. Returns a negative errno if the agent itself cannot
 * run; a server that cannot be started is reported to batond instead.
 *
 * @spec_fd is the file that @spec was read from. Every daemon that connects gets a duplicate; it
 * stays the caller's. @control_fd is taken over. So are @socket_fds, the listening sockets that
 * batond has made, one for each spec->listen if spec->sockets_given, else NULL. The process must be
 * a child subreaper and ignore SIGPIPE.
 *
 * @handover: do not start a server, but go on with the one that an earlier agent has noted there;
 * @socket_fds is NULL then. NULL: start it.
 */
int agent_run(const struct launch_spec *spec, int spec_fd, int control_fd, const int *socket_fds,
	      const struct handover *handover, struct error *err);
