/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * handover: what an agent writes down about its server, so that another agent can go on with it
 * when it is killed.
 *
 * The file lies beside the agent's control socket: SERVICE.GENERATION.INSTANCE.handover, mode 0600,
 * in a folder of batond's own. It has the launch specification, with the server's environment. The
 * agent writes it anew whenever something in it changes, and before it sends a signal: so an order
 * that it says was begun is never carried out twice. It removes the file when its instance has
 * stopped. A file that is left over names the sockets of an instance that was killed.
 *
 * Pids come with the time at which the process was started (processes.h), and a file of an earlier
 * boot, whose pids and sockets mean others by now, is not believed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/paths.h"
#include "common/protocol.h"

#define HANDOVER_NAME_MAX 109 /* of a notify socket: sun_path of unix(7), and a NUL */

struct handover {
	/*
	 * As the agent greets batond: what the server is and does, and its sockets. In the states
	 * from AGENT_LEAVING on these are the sockets that it had.
	 */
	struct report hello;
	uint64_t agent_started; /* of hello.agent_pid */
	uint64_t started;       /* of hello.pid, if that is not 0 */
	uint64_t deadline_ms;   /* CLOCK_MONOTONIC; of leaving or stopping */
	int signal;             /* the drain signal, once it was told to leave; 0: none */
	bool daemonises;        /* the server has put itself into the background */
	char notify_name[HANDOVER_NAME_MAX]; /* value of NOTIFY_SOCKET */
	/* The inodes of the pipes that its stdout and stderr are; 0: not known. */
	uint64_t pipes[2];
	/* Filled in by handover_read(): what it was started with. */
	struct launch_spec spec;
};

/* The path of the file for the control socket at @socket_path. -ENAMETOOLONG. */
int handover_path(const char *socket_path, char ret[static PATHS_MAX]);

/* Write the file. @spec_fd is read from its beginning: the text of the launch specification. */
int handover_write(const char *path, const struct handover *handover, int spec_fd,
		   struct error *err);

/*
 * Read @path; the caller ends *ret with handover_done(). -ENOENT: there is none, or it is of an
 * earlier boot.
 */
int handover_read(const char *path, struct handover *ret, struct error *err);
/* The same from an open file. */
int handover_read_fd(int fd, struct handover *ret, struct error *err);
void handover_done(struct handover *handover);
DEFINE_CLEANUP(struct handover *, handover_done);

/*
 * Its agent and its server have ended: remove the file of the control socket at @socket_path, if
 * there is one, and the notify socket.
 */
void handover_remove(const char *socket_path);

/*
 * Is there something that another agent can go on with: the server's main process, or while it
 * leaves or stops any process of its cgroup?
 */
bool handover_is_alive(const struct handover *handover);
