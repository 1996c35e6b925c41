/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rollout: the replacement of some instances by others, as a pure state machine.
 *
 * The shell (run.c) makes events of what it sees, calls rollout_step(), and carries out the actions
 * in the order of the list. Nothing else decides about that order. The machine makes no system
 * call, reads no clock, allocates nothing and logs nothing; the time is an argument. It counts
 * instances and does not know them: choose.c picks the instances that an action is about.
 *
 * There are two sides. A rollout goes from the old side to the new side. If it is undone it turns
 * round and goes back. In either direction it goes in cycles:
 *
 *	PREPARING  the operator's before_start command runs (once, before the first cycle)
 *	STARTING   a batch of the side that comes is launched; its sockets join the group
 *	VERIFYING  its checks run through pins; no table names it
 *	GATING     the operator's gates are asked
 *	SHIFTING   a table is published: with the batch, without those that go (the victims)
 *	DWELLING   canary: the step's share of the new connections goes to the new side for a while,
 *		   or until somebody promotes it
 *	WAITING    a gate could not tell; somebody must promote or abort
 *	SETTLING   the victims are out of the table, and accept the connections in their queues
 *	BAKING     they stay in the group, idle, ready to be named again
 *	DELAYING   before they are told anything: connections that they have accepted, and on
 *		   which no client has said anything yet, get time to do so
 *	LEAVING    their listening sockets go out of the group (unless they stay: see old_stays)
 *	DRAINING   they finish their connections
 *	STOPPING   they end; then the next cycle, or
 *	ENDED
 *
 * blue-green has one cycle: all new ones in one batch, all old ones victims. canary is the same,
 * but shifts several times before there are victims. rolling has many: batches as large as
 * max_surge and max_unavailable allow, counted over both sides, and never fewer than one instance
 * in service.
 *
 * stop-first is for servers that cannot run twice. The first cycle only takes away: a table that
 * names nobody is published, and all old ones settle, leave, drain and stop. Nothing is started
 * before no process of them is left. The second cycle starts the new ones, which serve as soon as
 * they are healthy. If that is undone the new ones stop, and then the old ones are started again.
 *
 * If nobody is left who could take new connections (a stop: policy.lasts), the victims get them
 * until their listening sockets are closed. A server may so tell whoever balances load in front of
 * it that it is going, before anybody is refused. There is no SETTLING then.
 *
 * If a rollout is undone before any table has named the new side, and before any old instance has
 * left, the new instances simply stop: only probes have ever reached them. The outcome is FAILED.
 * Otherwise the machine turns round. The old instances that have not left are named again at once.
 * Those that have left are started again in batches, and the new ones settle, leave and drain like
 * any other. The outcome is ROLLED_BACK (FAILED if nothing was shifted, but old ones had left to
 * make room). An old instance that cannot be started again is left out (DISCARD); the service heals
 * that later, as it does for any instance.
 *
 * The point of no return is the last LEAVING of the old side (COMMIT). A new instance that is to be
 * started after that, and cannot be, is left out as well.
 *
 * One machine serves all orders: replace (both sides), first start and scaling up (no old side),
 * stop and scaling down (no new side), and retire (no new side, and no table names the old side any
 * more: an earlier daemon was about to remove it when it died).
 *
 * Invariants (checked by tests over random event sequences, by the simulator in tests/sim and by
 * the model in tests/model):
 *	- nobody of the old side leaves before a table without it has been published (but for a
 *	  stop: then one is, as soon as they have left);
 *	- never are more instances alive than the larger side has, and max_surge (rolling);
 *	- never are both sides alive at once (stop-first);
 *	- never are fewer in service than the smaller side has, less max_unavailable, and never none
 *	  (but for a stop, and stop-first), unless they end by themselves;
 *	- the side that serves in the end is never told to leave or stop as a whole;
 *	- a deadline that is missed before COMMIT on the way in (PREPARING to WAITING, but for a
 *	  step's own dwell) never means "go on";
 *	- every rollout reaches ENDED in bounded time, whatever events do or do not come.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "orchestrator/config/policy.h"

enum rollout_side {
	ROLLOUT_OLD,
	ROLLOUT_NEW,
	_ROLLOUT_SIDE_COUNT,
};

enum rollout_state {
	ROLLOUT_IDLE,
	ROLLOUT_PREPARING,
	ROLLOUT_STARTING,
	ROLLOUT_VERIFYING,
	ROLLOUT_GATING,
	ROLLOUT_SHIFTING,
	ROLLOUT_DWELLING,
	ROLLOUT_WAITING,
	ROLLOUT_SETTLING,
	ROLLOUT_BAKING,
	ROLLOUT_DELAYING,
	ROLLOUT_LEAVING,
	ROLLOUT_DRAINING,
	ROLLOUT_STOPPING,
	ROLLOUT_ENDED,
	_ROLLOUT_STATE_COUNT,
};

enum rollout_event {
	ROLLOUT_BEGIN,          /* once, first */
	ROLLOUT_PREPARED,       /* before_start has succeeded */
	ROLLOUT_PREPARE_FAILED, /* ... or not */
	ROLLOUT_LISTENING,      /* every instance of the batch runs, its sockets are in slots */
	ROLLOUT_HEALTHY,        /* every instance of the batch has passed its checks */
	ROLLOUT_NEW_FAILED,     /* one of the new side, that is not a victim, does not run or turned
				   unhealthy; past COMMIT only: one of the batch */
	ROLLOUT_RESTORE_FAILED, /* one of the batch does not run: while it is of the old side */
	ROLLOUT_OLD_GONE,       /* nobody of the old side can accept any more */
	ROLLOUT_GATE_PASSED,
	ROLLOUT_GATE_FAILED,
	ROLLOUT_GATE_UNSURE,  /* inconclusive: too little traffic, or it said so */
	ROLLOUT_SHIFTED,      /* the table is published */
	ROLLOUT_SHIFT_FAILED, /* ... or is not, and the one before stands */
	ROLLOUT_PROMOTE,      /* somebody wants to go on: ends DWELLING, WAITING, BAKING */
	ROLLOUT_SETTLED,      /* the victims' queues are empty */
	ROLLOUT_DELAYED,      /* no connection of the victims is worth waiting for */
	ROLLOUT_DEAF,         /* victims that new connections go to accept them no more */
	ROLLOUT_LEFT,         /* the victims are out of the group */
	ROLLOUT_DRAINED,      /* the victims have no connections (or have exited) */
	ROLLOUT_STOPPED,      /* no process of the victims is left */
	ROLLOUT_ABORT,        /* somebody wants the old side back */
	ROLLOUT_QUIT,  /* the same, but what has left is not to be started again: all is to end */
	ROLLOUT_TIMER, /* the deadline of the last DO_TIMER has passed */
	_ROLLOUT_EVENT_COUNT,
};

enum rollout_action_type {
	/*
	 * The state .state has ended: tell it before the next action changes its instances. .ok:
	 * the rollout goes on; it is not undone by this.
	 */
	ROLLOUT_DO_TELL,
	ROLLOUT_DO_PREPARE, /* run before_start; answer PREPARED or PREPARE_FAILED */
	ROLLOUT_DO_CANCEL,  /* the answer to PREPARE or GATE is not wanted any more */
	ROLLOUT_DO_START,   /* launch a batch of .n instances of the side .to */
	ROLLOUT_DO_VERIFY,  /* run the batch's checks */
	ROLLOUT_DO_GATE,    /* ask the gates at .point; answer GATE_... */
	/*
	 * Name the batch, all of side .to that are in service, and the other side but for .n of it:
	 * the victims, which back up the named ones. If .weight is not 0, side .to gets that share
	 * of the new connections in percent, and the other side the rest. Else each instance gets
	 * the same. Answer SHIFTED or SHIFT_FAILED. Victims of an earlier PUBLISH that have not
	 * left are victims no more.
	 */
	ROLLOUT_DO_PUBLISH,
	ROLLOUT_DO_RESTORE, /* after SHIFT_FAILED: the roles and the table from before PUBLISH stand
			     */
	ROLLOUT_DO_STEADY,  /* agents start again what serves and is not on trial, if it ends */
	ROLLOUT_DO_SHIFTED, /* the new side has all new connections: after_shift */
	ROLLOUT_DO_WAIT,    /* a person must promote or abort: tell it */
	ROLLOUT_DO_DISCARD, /* end the batch at once: it never served */
	ROLLOUT_DO_SETTLE,  /* watch the victims' queues */
	ROLLOUT_DO_DELAY,   /* watch those of their connections on which nothing was said yet */
	ROLLOUT_DO_COMMIT,  /* the new side is the current one from now on */
	ROLLOUT_DO_UNNAME,  /* no table names a victim any more, not even as a backup */
	ROLLOUT_DO_LEAVE,   /* the victims leave the group */
	ROLLOUT_DO_DRAIN,   /* watch the victims' connections */
	ROLLOUT_DO_DRAINED, /* old victims have drained, and nothing can bring them back:
			       after_drain; stop-first: at COMMIT, when they are gone already */
	ROLLOUT_DO_STOP,    /* the victims stop; killed at their deadline */
	ROLLOUT_DO_KILL,    /* they did not stop in time: kill them without their agents */
	ROLLOUT_DO_REAP,    /* no process of the victims is left: forget them */
	ROLLOUT_DO_TIMER,   /* call with ROLLOUT_TIMER at .at_ms; replaces the last */
	ROLLOUT_DO_NO_TIMER,
	ROLLOUT_DO_UNDONE, /* the outcome has just become FAILED or ROLLED_BACK: on_failure, ... */
	ROLLOUT_DO_END,    /* all is done; see outcome, cause */
};

struct rollout_action {
	enum rollout_action_type type;
	enum rollout_state state; /* TELL */
	bool ok;                  /* TELL */
	enum rollout_side to;     /* START, PUBLISH */
	enum rollout_gate point;
	uint32_t n;
	uint32_t weight;
	uint64_t at_ms;
};

#define ROLLOUT_ACTIONS_MAX 12

struct rollout_actions {
	struct rollout_action list[ROLLOUT_ACTIONS_MAX];
	size_t n;
};

enum rollout_outcome {
	ROLLOUT_DONE,        /* what was asked for */
	ROLLOUT_FAILED,      /* undone before the shift */
	ROLLOUT_ROLLED_BACK, /* undone after the shift */
};

enum rollout_cause {
	ROLLOUT_NO_CAUSE,
	ROLLOUT_PREPARE_REFUSED,
	ROLLOUT_START_TIMEOUT, /* not listening and healthy within start_timeout_ms */
	ROLLOUT_INSTANCE_FAILED,
	ROLLOUT_GATE_REFUSED,
	ROLLOUT_NOT_PROMOTED, /* within promote_timeout_ms */
	ROLLOUT_PUBLISH_FAILED,
	ROLLOUT_ABORTED,
};

struct rollout_policy {
	enum rollout_strategy strategy;
	/*
	 * rolling: how many more, and how many less, than there should be may be alive and in
	 * service. Both 0, or no surge for a single instance, counts as a surge of 1.
	 */
	uint32_t max_surge, max_unavailable;
	/*
	 * stop-first: both sides are of one generation. What has left is not started again if the
	 * new ones fail: it would be the same once more.
	 */
	bool one_way;
	struct rollout_weight steps[ROLLOUT_STEPS_MAX]; /* canary; weights grow, the last is 100 */
	size_t n_steps;
	unsigned gates;    /* the points at which there is something to ask */
	bool before_start; /* there is a command to run */

	uint64_t prepare_timeout_ms;
	uint64_t start_timeout_ms; /* STARTING and VERIFYING together */
	uint64_t gate_timeout_ms;  /* of all gates of one point */
	uint64_t promote_timeout_ms;
	uint64_t settle_timeout_ms;
	uint64_t bake_ms;
	uint64_t old_delay_ms, new_delay_ms; /* of whichever are the victims; 0: none */
	uint64_t leave_timeout_ms;           /* includes what the agent may take */
	uint64_t old_drain_timeout_ms, new_drain_timeout_ms; /* of whichever are the victims */
	uint64_t stop_timeout_ms;                            /* includes the agent's kill timeout */
	/*
	 * The old (new) instances cannot drain by themselves. If they are the victims they are not
	 * told to leave. The tables steer away from them, and they listen until their connections
	 * have ended.
	 */
	bool old_stays, new_stays;
	/*
	 * Nobody else is left to take new connections. The old ones, which do not stay, get them
	 * until they have left: PUBLISH without a new side names the victims.
	 */
	bool lasts;
	/*
	 * The tier has no table: new instances get connections as soon as they listen. If they are
	 * undone before a shift, they leave and drain all the same.
	 */
	bool joins_at_once;
};

/* Plain data; initialise with rollout_init(). Read freely, change nothing. */
struct rollout {
	struct rollout_policy policy;
	bool has_old, has_new;
	bool retire; /* no table names the old side; none is published */
	enum rollout_state state;
	enum rollout_outcome outcome;
	enum rollout_cause cause;

	enum rollout_side to;                 /* OLD once it has turned round */
	uint32_t wanted[_ROLLOUT_SIDE_COUNT]; /* how many a side has when it serves alone */
	uint32_t alive[_ROLLOUT_SIDE_COUNT];  /* started and not stopped: batch, victims included */
	uint32_t batch;                       /* of alive[to]: not in service yet */
	uint32_t victims;                     /* of alive[other side]: on their way out */
	uint32_t stale;  /* of alive[NEW], turned round: never were in service */
	size_t step;     /* canary: of policy.steps */
	uint32_t weight; /* as published last; 0: each instance the same */
	enum rollout_gate point;
	enum rollout_cause turn; /* turn round for this as soon as the victims have stopped */
	bool quit;
	bool killed; /* STOPPING, stop-first: KILL was done, and they have yet to go */

	bool shifted; /* a table that names the new side has been published */
	bool full;    /* ... and no old one, but as a backup */
	bool committed;
	bool old_gone;
	bool open; /* victims that have yet to leave get new connections */
};

/* @n_old instances are alive, @n_new are wanted; one of the two may be 0. */
void rollout_init(struct rollout *rollout, const struct rollout_policy *policy, uint32_t n_old,
		  uint32_t n_new);

/* @n_old instances, which no table names, go. */
void rollout_init_retire(struct rollout *rollout, const struct rollout_policy *policy,
			 uint32_t n_old);

/* One event at @now_ms; *ret is what is to be done, in this order. */
void rollout_step(struct rollout *rollout, enum rollout_event event, uint64_t now_ms,
		  struct rollout_actions *ret);

/* The side that goes. */
enum rollout_side rollout_from(const struct rollout *rollout);

/* Must one side be gone before anything of the other one is started? */
bool rollout_stops_first(const struct rollout *rollout);

/* The victims are not told to leave (policy.old_stays, policy.new_stays). */
bool rollout_victims_stay(const struct rollout *rollout);

/* Is it the new one, because the rollout is being undone? */
bool rollout_victim_is_new(const struct rollout *rollout);

/* From here on the old side cannot be brought back (or there was nothing to bring back). */
bool rollout_is_committed(const struct rollout *rollout);

/* Would it be undone if something of the new side failed now? */
bool rollout_can_undo(const struct rollout *rollout);

/*
 * Which instances serve cannot change any more: the rollout is committed or undone, and only the
 * last victims have yet to end. Another rollout may begin.
 */
bool rollout_is_decided(const struct rollout *rollout);

const char *rollout_state_name(enum rollout_state state); /* "verify", as in events and status */
const char *rollout_event_name(enum rollout_event event);
const char *rollout_outcome_name(enum rollout_outcome outcome); /* "done", "rolled-back" */
const char *rollout_strategy_name(enum rollout_strategy strategy);
const char *rollout_gate_name(enum rollout_gate point); /* "shift", "step", "leave" */
