/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server: the server's main process and the reaping of everything else.
 *
 * The agent is a child subreaper, so that it reaps whatever the server leaves behind. The main
 * process is watched through a pidfd: with MAINPID= a server may name one that is not a child of
 * the agent (yet), whose exit status then stays unknown.
 */
#pragma once

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"

struct server;

/* Called from the event loop, or from server_reap(), when the main process has ended. */
typedef void (*server_handler)(int exit_code, int exit_signal, void *userdata);

/* Blocks SIGCHLD for the thread. There may be one server only: it reaps all children. */
int server_new(sd_event *event, server_handler on_exited, void *userdata, struct server **ret,
	       struct error *err);
void server_free(struct server *server);
DEFINE_CLEANUP(struct server *, server_free);

/* @pid is the main process from now on, instead of another one. -ESRCH where there is none. */
int server_watch(struct server *server, pid_t pid, struct error *err);

/* 0: none. */
pid_t server_pid(const struct server *server);

/* -ESRCH where it has ended. */
int server_signal(const struct server *server, int signal);

/* Reap what has ended, now. */
void server_reap(struct server *server);
