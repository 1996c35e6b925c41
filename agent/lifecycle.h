/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lifecycle: what an agent does with its server, as a pure state machine.
 *
 * The shell (agent/main.c) turns what happens into an event, calls lifecycle_step() and carries out
 * the actions in the order in which they were returned. The machine makes no system call, reads no
 * clock, allocates nothing and logs nothing.
 *
 *	STARTING -> RUNNING -> LEAVING -> LEFT -> STOPPING -> KILLING -> STOPPED
 *	              |  ^
 *	              v  | (steady only; bounded tries, growing delays)
 *	            DELAYING -> FAILED
 *
 * LEAVE leads to LEFT from everywhere before STOPPING, at once where no server runs; STOP leads to
 * STOPPING from everywhere before it, or straight to KILLING where no server runs. When the main
 * process ends outside LEAVING and LEFT, what is left of the instance's processes is killed: before
 * the server is started again, because a worker of the old one would share its sockets, and where
 * it is not, because a forgotten child that inherited a listening socket would keep it in the group
 * with nobody accepting. While LEAVING and LEFT the children are left to drain until STOP.
 *
 * Invariants (asserted by the tests over random event sequences):
 *	- after ORDER_STOP the machine reaches STOPPED within its timeout plus LIFECYCLE_KILL_MS,
 *	  whatever happens;
 *	- a server is started only in STARTING and DELAYING, and never after ORDER_LEAVE or
 *ORDER_STOP;
 *	- the agent's duplicates are closed before the drain signal is sent, and whenever nothing
 *	  will accept from them again (FAILED, LEAVING and later);
 *	- exactly one REPORT_LEFT follows each first ORDER_LEAVE, exactly one REPORT_STOPPED each
 *	  first ORDER_STOP.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/protocol.h"

enum lifecycle_event_type {
	LIFECYCLE_BEGIN,          /* once, first */
	LIFECYCLE_SPAWNED,        /* the server's exec succeeded */
	LIFECYCLE_SPAWN_FAILED,   /* it could not be started; counts as an exit */
	LIFECYCLE_EXITED,         /* the server's main process ended */
	LIFECYCLE_STEADY,         /* ORDER_STEADY; on */
	LIFECYCLE_LEAVE,          /* ORDER_LEAVE; signal, timeout_ms; only the first one counts */
	LIFECYCLE_STOP,           /* ORDER_STOP; signal, timeout_ms; later ones can only hurry it */
	LIFECYCLE_LISTENERS_GONE, /* no process of the instance holds a listening socket any more */
	LIFECYCLE_EMPTY,          /* after DO_KILL: no process of the instance is left; killed */
	LIFECYCLE_TIMER,          /* the deadline set by the last ACTION_TIMER has passed */
	_LIFECYCLE_EVENT_COUNT,
};

struct lifecycle_event {
	enum lifecycle_event_type type;
	bool on;
	int signal;
	uint32_t timeout_ms;
	bool killed; /* EMPTY: there was something to kill */
};

enum lifecycle_action_type {
	LIFECYCLE_DO_SPAWN,           /* start the server, and forget an earlier DO_KILL */
	LIFECYCLE_DO_CLOSE,           /* close the agent's duplicates of the sockets */
	LIFECYCLE_DO_SIGNAL,          /* send .signal to the server's main process */
	LIFECYCLE_DO_WATCH_LISTENERS, /* from now on say when the listening sockets are gone */
	LIFECYCLE_DO_SHUT_LISTENERS,  /* fetch what still listens and shut it down */
	LIFECYCLE_DO_KILL,            /* SIGKILL every process of the instance, say when empty */
	LIFECYCLE_DO_TIMER,           /* call with LIFECYCLE_TIMER at .at_ms; replaces the last */
	LIFECYCLE_DO_REPORT_EXITED,   /* .restarting, .restart_ms; not once STOP was ordered */
	LIFECYCLE_DO_REPORT_FAILED,
	LIFECYCLE_DO_REPORT_LEFT,    /* .forced */
	LIFECYCLE_DO_REPORT_STOPPED, /* .killed; then the agent ends */
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

/* How long KILLING waits for processes that do not die (uninterruptible sleep), at most. */
#define LIFECYCLE_KILL_MS 5000

struct lifecycle_policy {
	uint32_t restart_max;       /* more than LIFECYCLE_RESTARTS_MAX counts as that */
	uint32_t restart_window_ms; /* 0: for ever */
	uint32_t restart_delay_ms;
	uint32_t restart_delay_max_ms;
};

/* Plain data; initialise with lifecycle_init(). Read .state freely, change nothing. */
struct lifecycle {
	struct lifecycle_policy policy;
	enum agent_state state;
	bool steady;
	bool spawning; /* DO_SPAWN has not been answered yet */
	bool alive;    /* the server's main process exists */
	bool closed;   /* the duplicates are closed */
	bool leaving;  /* LEAVE was ordered */
	bool left;     /* REPORT_LEFT has been sent */
	bool forced;   /* a listening socket had to be shut down */
	bool killed;
	int signal;                                      /* of the LEAVE that is under way */
	uint64_t stop_at_ms;                             /* STOPPING: when the killing begins */
	uint64_t restarts_at_ms[LIFECYCLE_RESTARTS_MAX]; /* ring of the last restarts */
	size_t n_restarts;                               /* ever */
};

void lifecycle_init(struct lifecycle *lifecycle, const struct lifecycle_policy *policy);

/*
 * Actions are written to @ret, in order; at most LIFECYCLE_ACTIONS_MAX. @now_ms must not decrease
 * from call to call. A TIMER that comes where none is awaited is ignored.
 */
void lifecycle_step(struct lifecycle *lifecycle, const struct lifecycle_event *event,
		    uint64_t now_ms, struct lifecycle_actions *ret);
