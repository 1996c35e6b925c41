/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server: watches the server's main process, and reaps all other children.
 *
 * The agent is a child subreaper: it becomes the parent of whatever the server leaves behind, and
 * must reap it. It watches the main process through a pidfd, because with MAINPID= a server may
 * name one that is not a child of the agent (yet), and because an earlier agent may have started
 * it. The kernel tells the exit status of such a process once its parent has reaped it
 * (Linux 6.15). If it does not within SERVER_REAPED_MS, the status stays unknown. server_follow()
 * finds the main process of a server that has daemonised.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/processes.h"

struct server;

#define SERVER_EXIT_UNKNOWN (-1) /* an exit_code */
#define SERVER_REAPED_MS    200

/*
 * The main process has ended: by exit_code, or by exit_signal if that is not 0. Called from the
 * event loop or from server_reap(). The handler may call server_watch() or server_follow().
 */
typedef void (*server_handler)(int exit_code, int exit_signal, void *userdata);

/* Blocks SIGCHLD. There must be only one such object in a process: it reaps all children. */
int server_new(sd_event *event, server_handler on_exited, void *userdata, struct server **ret,
	       struct error *err);
void server_free(struct server *server);
DEFINE_CLEANUP(struct server *, server_free);

/*
 * Watch @pid as the main process, instead of an earlier one. -ESRCH if it has ended. It must be a
 * child that has not been reaped, or the caller must see afterwards that it is who was meant.
 */
int server_watch(struct server *server, pid_t pid, struct error *err);

/* Watch nobody any more. */
void server_forget(struct server *server);

/*
 * The same with a pid that somebody has named: -ESRCH if it is none of @processes. The pidfd is
 * older than the answer to that, so a pid that is given again is never followed.
 */
int server_watch_member(struct server *server, pid_t pid, const struct processes *processes,
			struct error *err);

/* The same with one that was started at @started (processes.h): -ESRCH if it has ended. */
int server_watch_started(struct server *server, pid_t pid, uint64_t started, struct error *err);

/*
 * The main process has ended. If it has left processes of the instance behind, whose parent the
 * agent is now, watch the oldest of them as the main process. Returns whether there is one.
 *
 * A daemon forks twice, so that process may be about to exit, too. Then its end is told in turn.
 */
bool server_follow(struct server *server, const struct processes *processes);

/* The main process; 0: there is none. */
pid_t server_pid(const struct server *server);

/* What /proc said of the main process that ended last, before it was reaped. */
struct server_last {
	bool known;        /* false: it was no child, or has not ended */
	uid_t uid;         /* with which it made sockets and files: the fourth of "Uid:" */
	char name[16];     /* "Name:" */
	bool had_children; /* it has waited for one */
};
const struct server_last *server_last(const struct server *server);

/* Send @signal to the main process. Returns 0, -ESRCH if there is none, or another errno. */
int server_signal(const struct server *server, int signal);

/* Reap all children that have ended by now. */
void server_reap(struct server *server);
