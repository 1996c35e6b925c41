/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * agent_internal: the agent in parts.
 *
 *	agent.c          what happens: orders, exits, notifications; and the whole
 *	agent_acts.c     the steps of the lifecycle machine, and what it wants done
 *	agent_reports.c  what batond is told
 *	agent_note.c     what the next agent is told
 *
 * Each uses those below it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "agent/agent.h"
#include "agent/control.h"
#include "agent/launch.h"
#include "agent/lifecycle.h"
#include "agent/notify.h"
#include "agent/output.h"
#include "agent/record.h"
#include "agent/relay.h"
#include "agent/server.h"
#include "agent/sockets.h"
#include "agent/successors.h"
#include "common/handover.h"
#include "common/orphans.h"
#include "common/processes.h"
#include "common/timer.h"

#define AGENT_EVENTS_MAX 16
#define AGENT_UNSAID_MAX 8

struct agent {
	const struct launch_spec *spec;
	struct as_user user; /* of the server, if spec->set_ids */
	int spec_fd;
	struct lifecycle lifecycle;
	struct lifecycle_event queue[AGENT_EVENTS_MAX];
	size_t n_queue;
	bool stepping;

	sd_event *event;
	struct processes *processes;
	struct sockets *sockets;
	struct relay *relay;
	struct output *output;
	struct server *server;
	struct successors *successors;
	struct control *control;
	int notify_fd;
	char notify_name[NOTIFY_NAME_MAX];
	sd_event_source *notify_source;
	sd_event_source *term_source;
	struct launching launching; /* the server, before it is known how its exec went */
	sd_event_source *launch_source;
	struct timer launch_deadline;
	struct timer deadline; /* of the lifecycle */
	struct timer kill;     /* when to look next whether all processes have ended */
	struct timer rest;     /* when what was needed for the last event is given back */
	bool killed;           /* the present DO_KILL has found a process */

	/* What the next agent is told, and the part of it that was written last. */
	char handover_path[PATHS_MAX]; /* "": there is no place for it */
	uint64_t begun;                /* when this process was, see processes_started() */
	uint64_t deadline_ms;          /* of the last DO_TIMER */
	enum agent_state noted_state;
	bool noted_steady, noted_alive, note_failed;

	struct record record;
	uint64_t started_ms; /* when the server was started last */
	uint32_t greeted;    /* a hello had room for so many of the sockets; 0: for all */
	bool started_said;   /* a daemon has got REPORT_STARTED of the running server */
	/* What happened while no daemon was connected, and is not in a hello, oldest first. */
	struct report *unsaid[AGENT_UNSAID_MAX];
	size_t n_unsaid;
	bool hinted;     /* ORDER_LOOK has come, to this agent or to the one before */
	bool daemonises; /* the server has put itself into the background before */
	bool again;      /* it is not the one that ran when it became steady */
	pid_t main_pid;  /* of the server, as it was told last */
	/* How the main process has ended, while a successor is sought. */
	int exit_code;
	int exit_signal;
	bool tell;  /* ORDER_TELL has come meanwhile */
	bool named; /* the successor: by MAINPID=, and the earlier main process has not ended */
};

/* ---- agent_acts.c ---------------------------------------------------------------------------- */

/* An action may cause another event: that waits until all actions have been carried out. */
void agent_event(struct agent *agent, const struct lifecycle_event *event);

static inline void agent_plain_event(struct agent *agent, enum lifecycle_event_type type)
{
	agent_event(agent, &(struct lifecycle_event){.type = type});
}

/* Something has happened: once it is over, give back the memory that it took (memory.h). */
void agent_rest_soon(struct agent *agent);

/*
 * The server is about to exec, has, or has ended: how did that go? Returns whether it is a server;
 * if not, that was the event LIFECYCLE_SPAWN_FAILED, and its end is none. True if none is about to.
 */
bool agent_end_launch(struct agent *agent);

/* Kill it. */
void agent_stop_launching(struct agent *agent);

/* The server's main process; 0: there is none. One that has yet to exec is no server. */
static inline pid_t agent_server_pid(const struct agent *agent)
{
	return agent->launching.pid != 0 ? 0 : server_pid(agent->server);
}

/* How the main process has ended is the end of the server. */
void agent_record_end(struct agent *agent);

/* No process of the instance listens any more: sockets.h. */
void agent_on_gone(void *userdata);

/* ---- agent_reports.c ------------------------------------------------------------------------- */

void agent_report_send(struct agent *agent, struct report *report);

/* A daemon has connected: send the exits and orphans that nobody was there to hear of. */
void agent_report_unsaid(struct agent *agent);

/* Its server is @pid, which may have ended since. */
void agent_report_started(struct agent *agent, pid_t pid);
void agent_report_succeeded(struct agent *agent);
void agent_report_exited(struct agent *agent, const struct lifecycle_action *action);
void agent_report_failed(struct agent *agent);
void agent_report_left(struct agent *agent, const struct lifecycle_action *action);

/* The last one: the agent ends. */
void agent_report_stopped(struct agent *agent, const struct lifecycle_action *action);

/* ORDER_TELL: how it is, and its last words. */
void agent_report_told(struct agent *agent);

/* ORDER_REOPEN */
void agent_reopen(struct agent *agent, uint32_t serial);

/* The sockets of the set from the @first on, in as many reports as it takes. */
void agent_report_sockets_from(struct agent *agent, uint32_t first);
void agent_report_sockets(void *userdata);
void agent_report_orphan(void *userdata, const struct orphan *orphan);

/* ---- agent_note.c ---------------------------------------------------------------------------- */

/* The server's last words, and how old they are. */
void agent_fill_tail(const struct agent *agent, struct report *report);

/* All but the sockets. */
void agent_fill_hello(struct agent *agent, struct report *ret);

/*
 * Write down all that the next agent needs. Without it batond does what it can without an agent.
 */
void agent_note(struct agent *agent);

/* The same, if a step of the machine has changed it: before @actions are carried out. */
void agent_note_step(struct agent *agent, const struct lifecycle_actions *actions);
