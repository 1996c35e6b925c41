/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rollout: the replacement of one generation by another, as a pure state machine.
 *
 * The shell (service.c) turns what happens into events, calls rollout_step() and carries out the
 * actions in order. The machine makes no system call, reads no clock, allocates nothing and logs
 * nothing; the time is an argument.
 *
 *	STARTING   the new generation is launched; its sockets join the group
 *	VERIFYING  its checks run through pins; no table names it
 *	SHIFTING   a table is published (to the new one; or back to the old one)
 *	SETTLING   the victim, out of the table, accepts what is its own already
 *	BAKING     the old one stays in the group, idle, ready for a flip back
 *	LEAVING    the victim's listening sockets go out of the group (not where it stays: see
 *		   struct rollout_policy)
 *	DRAINING   the victim finishes its connections
 *	STOPPING   the victim ends
 *	ENDED
 *
 * The victim is the generation that goes: the old one when all is well, the new one when the
 * rollout is undone. Undone before the shift, the new one is simply stopped (nobody but probes
 * has ever reached it); undone after, it settles, leaves and drains like any other, because it
 * has had real connections.
 *
 * One machine serves four orders: replace (old and new), first start (no old), stop (no new), and
 * retire (no new either, but the table names somebody else already: a generation that an earlier
 * daemon was about to remove when it died).
 *
 * Invariants (asserted by tests over random event sequences):
 *	- the old generation is not told to leave before a table without it has been published and
 *	  the new one has passed its checks;
 *	- the generation that serves in the end is never told to leave or stop;
 *	- a timeout before LEAVING keeps the old generation, one after it never brings it back;
 *	- every rollout reaches ENDED in bounded time, whatever events do or do not come.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rollout_state {
	ROLLOUT_IDLE,
	ROLLOUT_STARTING,
	ROLLOUT_VERIFYING,
	ROLLOUT_SHIFTING,
	ROLLOUT_SETTLING,
	ROLLOUT_BAKING,
	ROLLOUT_LEAVING,
	ROLLOUT_DRAINING,
	ROLLOUT_STOPPING,
	ROLLOUT_ENDED,
	_ROLLOUT_STATE_COUNT,
};

enum rollout_event {
	ROLLOUT_BEGIN,         /* once, first */
	ROLLOUT_NEW_LISTENING, /* every new instance runs and its sockets are in slots */
	ROLLOUT_NEW_HEALTHY,   /* every new instance has passed its checks */
	ROLLOUT_NEW_FAILED,    /* a new instance could not start, exited, or turned unhealthy */
	ROLLOUT_OLD_GONE,      /* no old instance can accept any more */
	ROLLOUT_SHIFTED,       /* the table is published */
	ROLLOUT_SHIFT_FAILED,
	ROLLOUT_SETTLED, /* the victim's queues are empty */
	ROLLOUT_LEFT,    /* the victim is out of the group */
	ROLLOUT_DRAINED, /* the victim has no connections (or has exited) */
	ROLLOUT_STOPPED, /* no process of the victim is left */
	ROLLOUT_ABORT,   /* somebody wants the old generation back */
	ROLLOUT_TIMER,   /* the deadline of the last DO_TIMER has passed */
	_ROLLOUT_EVENT_COUNT,
};

enum rollout_action_type {
	ROLLOUT_DO_START,        /* launch the new generation */
	ROLLOUT_DO_VERIFY,       /* run its checks */
	ROLLOUT_DO_PUBLISH_NEW,  /* table: new, backed up by old; answer SHIFTED or SHIFT_FAILED */
	ROLLOUT_DO_PUBLISH_OLD,  /* table: old alone (flip back); the same answers */
	ROLLOUT_DO_PUBLISH_NONE, /* table: nothing, connections are refused; the same answers */
	ROLLOUT_DO_SETTLE,       /* watch the victim's queues */
	ROLLOUT_DO_COMMIT,       /* the new generation is the current one from now on */
	ROLLOUT_DO_UNNAME,       /* no table names the victim any more, not even as a backup */
	ROLLOUT_DO_LEAVE,        /* the victim leaves the group */
	ROLLOUT_DO_DRAIN,        /* watch the victim's connections */
	ROLLOUT_DO_STOP,         /* the victim stops; killed at its deadline */
	ROLLOUT_DO_KILL,         /* the victim did not stop in time: kill it without its agent */
	ROLLOUT_DO_TIMER,        /* call with ROLLOUT_TIMER at .at_ms; replaces the last */
	ROLLOUT_DO_END,          /* all is done; see outcome, cause, cut */
};

struct rollout_action {
	enum rollout_action_type type;
	uint64_t at_ms;
};

#define ROLLOUT_ACTIONS_MAX 6

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
	ROLLOUT_START_TIMEOUT, /* not listening and healthy within start_timeout_ms */
	ROLLOUT_INSTANCE_FAILED,
	ROLLOUT_PUBLISH_FAILED,
	ROLLOUT_ABORTED,
};

struct rollout_policy {
	uint64_t start_timeout_ms; /* STARTING and VERIFYING together */
	uint64_t settle_timeout_ms;
	uint64_t bake_ms;
	uint64_t leave_timeout_ms;                           /* includes what the agent may take */
	uint64_t old_drain_timeout_ms, new_drain_timeout_ms; /* of whichever is the victim */
	uint64_t stop_timeout_ms;                            /* includes the agent's kill timeout */
	/*
	 * The old (new) generation, where it is the victim, cannot drain by itself: it is not told
	 * to leave, only steered away from, and goes on listening until its connections have ended.
	 */
	bool old_stays, new_stays;
};

/* Plain data; initialise with rollout_init(). Read freely, change nothing. */
struct rollout {
	struct rollout_policy policy;
	bool has_old, has_new;
	bool retire; /* the table does not name the old one, and is not to be touched */
	enum rollout_state state;
	enum rollout_outcome outcome;
	enum rollout_cause cause;
	bool shifted; /* a table that names the new generation has been published */
	bool old_gone;
	bool cut; /* the drain deadline passed before the last connection ended */
};

void rollout_init(struct rollout *rollout, const struct rollout_policy *policy, bool has_old,
		  bool has_new);

void rollout_init_retire(struct rollout *rollout, const struct rollout_policy *policy);

void rollout_step(struct rollout *rollout, enum rollout_event event, uint64_t now_ms,
		  struct rollout_actions *ret);

/* Is the generation that goes the new one? */
bool rollout_victim_is_new(const struct rollout *rollout);

/* From here on the old generation cannot be brought back (or there was nothing to bring back). */
bool rollout_is_committed(const struct rollout *rollout);

/*
 * Nothing about which generation serves can change any more: committed, or undone and only the
 * new generation's end is left. Another rollout may begin.
 */
bool rollout_is_decided(const struct rollout *rollout);

const char *rollout_state_name(enum rollout_state state); /* "verify", as in events and status */
const char *rollout_event_name(enum rollout_event event);
const char *rollout_outcome_name(enum rollout_outcome outcome); /* "done", "rolled-back" */
