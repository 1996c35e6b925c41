/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server: the server's main process and the reaping of everything else.
 *
 * The agent is a child subreaper, so that it reaps whatever the server leaves behind. The main
 * process is watched through a pidfd: with MAINPID= a server may name one that is not a child of
 * the agent (yet), whose exit status then stays unknown. A server that daemonises is followed:
 * server_follow() watches what it has left behind.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/processes.h"

struct server;

/*
 * Called from the event loop, or from server_reap(), when the main process has ended. It may call
 * server_watch() or server_follow().
 */
typedef void (*server_handler)(int exit_code, int exit_signal, void *userdata);

/* Blocks SIGCHLD for the thread. There may be one server only: it reaps all children. */
int server_new(sd_event *event, server_handler on_exited, void *userdata, struct server **ret,
	       struct error *err);
void server_free(struct server *server);
DEFINE_CLEANUP(struct server *, server_free);

/* @pid is the main process from now on, instead of another one. -ESRCH where there is none. */
int server_watch(struct server *server, pid_t pid, struct error *err);

/*
 * The main process has ended: where it has left others of the instance behind, whose parent the
 * agent is by that, the oldest of them is the main process from now on. A daemon forks twice, so
 * that one may be on its way out as well; then the handler will be told of its end in turn.
 * Returns whether there is one.
 */
bool server_follow(struct server *server, const struct processes *processes);

/* 0: none. */
pid_t server_pid(const struct server *server);

/* -ESRCH where it has ended. */
int server_signal(const struct server *server, int signal);

/* Reap what has ended, now. */
void server_reap(struct server *server);
