/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lifecycle: what an agent does with its server, as a pure state machine.
 *
 * The shell (agent.c) turns whatever happens into an event, calls lifecycle_step() and carries out
 * the actions in the order in which they were returned. If an action causes an event, the shell
 * queues it until all actions of the step have been carried out. The machine makes no system call,
 * reads no clock, allocates nothing and logs nothing.
 *
 *	STARTING -> RUNNING -> LEAVING -> LEFT -> STOPPING -> KILLING -> STOPPED
 *	              |  ^
 *	              v  | (steady, or the obstacle passes; bounded tries, growing delays)
 *	            DELAYING -> FAILED
 *
 * LEAVE leads to LEFT from every state before STOPPING, at once if no server runs. STOP leads to
 * STOPPING from every state before it, and straight to KILLING if no server runs.
 *
 * An agent that goes on where another one was killed begins in the state that that one was in, by
 * ADOPT. What was done in it is not done again: no signal is sent twice.
 *
 * Servers may replace themselves. If another process goes on as the server when the main process
 * ends, that is SUCCEEDED, not EXITED: it is the main process from then on, and gets what signal
 * the earlier one was sent. No restart is counted. Until the shell knows which of the two it is,
 * the machine goes on as if the main process still lived.
 *
 * If the main process ends in any state but LEAVING and LEFT, the other processes of the instance
 * are killed. If the server is started again, they are killed before that: a worker of the old one
 * would share its sockets. If it is not, a forgotten child with a listening socket would keep it in
 * the group, and nobody would accept. In LEAVING and LEFT the children may drain until STOP.
 *
 * Invariants (the tests assert them over random event sequences):
 *	- After ORDER_STOP the machine reaches STOPPED within the order's timeout plus
 *	  LIFECYCLE_KILL_MS, whatever happens.
 *	- A server is started only in STARTING and DELAYING, and never after ORDER_LEAVE or
 *	  ORDER_STOP.
 *	- The agent's duplicates are closed before the drain signal is sent, and in every state in
 *	  which nobody will accept from them again (FAILED, LEAVING and later).
 *	- Once no process of the instance accepts (FAILED, LEFT, STOPPED), the sockets are shut down
 *	  that somebody else still has: DO_SHUT_LISTENERS.
 *	- Exactly one REPORT_LEFT follows a first ORDER_LEAVE, and exactly one REPORT_STOPPED
 *	  follows a first ORDER_STOP.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/protocol.h"

enum lifecycle_event_type {
	LIFECYCLE_BEGIN,          /* the first event, and only once */
	LIFECYCLE_ADOPT,          /* instead of BEGIN: another agent has begun; state, on, alive,
				     signal, at_ms */
	LIFECYCLE_SPAWNED,        /* the server's exec succeeded */
	LIFECYCLE_SPAWN_FAILED,   /* it could not be started; counts as an exit */
	LIFECYCLE_EXITED,         /* the server's main process ended, and no other goes on */
	LIFECYCLE_SUCCEEDED,      /* another process is the server's main process now */
	LIFECYCLE_STEADY,         /* ORDER_STEADY; on */
	LIFECYCLE_LEAVE,          /* ORDER_LEAVE; signal, timeout_ms; later ones are ignored */
	LIFECYCLE_STOP,           /* ORDER_STOP; signal, timeout_ms; later ones can only hurry it */
	LIFECYCLE_LISTENERS_GONE, /* no process of the instance holds a listening socket any more */
	LIFECYCLE_EMPTY,          /* after DO_KILL: no process of the instance is left; killed */
	LIFECYCLE_TIMER,          /* the deadline that the last DO_TIMER has set has passed */
	_LIFECYCLE_EVENT_COUNT,
};

struct lifecycle_event {
	enum lifecycle_event_type type;
	bool on;
	int signal;
	uint32_t timeout_ms;
	enum agent_state state; /* ADOPT: RUNNING, or LEAVING to KILLING; STEADY: .on */
	bool alive;             /* ADOPT: the server's main process exists */
	uint64_t at_ms;         /* ADOPT: the deadline of leaving or stopping */
	bool killed;            /* EMPTY: there was something to kill */
	bool passing;           /* EXITED: what was in the server's way will go away by itself */
};

enum lifecycle_action_type {
	LIFECYCLE_DO_SPAWN,  /* start the server; an earlier DO_KILL is over */
	LIFECYCLE_DO_CLOSE,  /* close the agent's duplicates of the sockets */
	LIFECYCLE_DO_SIGNAL, /* send .signal to the main process, and to servers beside it */
	LIFECYCLE_DO_WATCH_LISTENERS, /* send LISTENERS_GONE once the listening sockets are gone */
	LIFECYCLE_DO_SHUT_LISTENERS,  /* shut down those that still listen, whoever has them */
	LIFECYCLE_DO_KILL,            /* SIGKILL every process of the instance, then send EMPTY */
	LIFECYCLE_DO_TIMER,           /* send TIMER at .at_ms; replaces an earlier DO_TIMER */
	LIFECYCLE_DO_REPORT_EXITED,   /* .restarting, .restart_ms; never after STOP */
	LIFECYCLE_DO_REPORT_SUCCEEDED,
	LIFECYCLE_DO_REPORT_FAILED,
	LIFECYCLE_DO_REPORT_LEFT,    /* .forced */
	LIFECYCLE_DO_REPORT_STOPPED, /* .killed; the agent ends */
};

struct lifecycle_action {
	enum lifecycle_action_type type;
	int signal;
	uint64_t at_ms;
	bool restarting;
	uint32_t restart_ms;
	bool forced;
	bool killed;
};

#define LIFECYCLE_ACTIONS_MAX 8

struct lifecycle_actions {
	struct lifecycle_action list[LIFECYCLE_ACTIONS_MAX];
	size_t n;
};

#define LIFECYCLE_RESTARTS_MAX 64

/*
 * A server that is not steady and whose obstacle passes is started again after each such delay, so
 * many times at most: connections in TIME_WAIT go within a minute. The daemon stops it before, if
 * its patience ends.
 */
#define LIFECYCLE_PASSING_MS  500
#define LIFECYCLE_PASSING_MAX 600

/* For so long KILLING waits for processes that do not die (uninterruptible sleep). */
#define LIFECYCLE_KILL_MS 5000

struct lifecycle_policy {
	uint32_t restart_max;       /* a higher one than LIFECYCLE_RESTARTS_MAX counts as that */
	uint32_t restart_window_ms; /* 0: for ever */
	uint32_t restart_delay_ms;
	uint32_t restart_delay_max_ms;
};

/* Plain data. Initialise it with lifecycle_init(); read its members, and change none. */
struct lifecycle {
	struct lifecycle_policy policy;
	enum agent_state state;
	bool steady;
	bool spawning;       /* DO_SPAWN has not been answered by SPAWNED or SPAWN_FAILED yet */
	bool alive;          /* the server's main process exists */
	bool closed;         /* the duplicates are closed */
	bool leaving;        /* LEAVE was ordered */
	bool left;           /* REPORT_LEFT has been sent */
	bool forced;         /* a listening socket had to be shut down */
	bool killed;         /* SIGKILL was needed after STOP */
	int signal;          /* of LEAVE; then of STOP, unless that has none */
	uint64_t stop_at_ms; /* STOPPING: when the killing begins */
	uint64_t restarts_at_ms[LIFECYCLE_RESTARTS_MAX]; /* ring of the last restarts */
	size_t n_restarts;                               /* ever */
	unsigned n_passing;                              /* restarts because an obstacle passes */
};

/* In STARTING; nothing happens before LIFECYCLE_BEGIN. @policy is copied. */
void lifecycle_init(struct lifecycle *lifecycle, const struct lifecycle_policy *policy);

/*
 * Tell the machine of @event. *ret are the actions to carry out, in order. @now_ms must not
 * decrease from call to call. An event that means nothing in the present state is ignored.
 */
void lifecycle_step(struct lifecycle *lifecycle, const struct lifecycle_event *event,
		    uint64_t now_ms, struct lifecycle_actions *ret);
