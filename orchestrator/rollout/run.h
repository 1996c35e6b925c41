/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run: one rollout under way. This is the header of rollout/ for all others.
 *
 * A rollout replaces some instances by others: start, verify, shift, settle, bake, leave, drain,
 * stop; or back. Three modules do that:
 *
 *	rollout.c  the machine: a pure state machine that counts instances and decides
 *	choose.c   which instances go, for a count of the machine; pure, too
 *	run*.c     the shell: looks at the instances, feeds the machine, carries out its actions
 *
 * A service calls run_begin(), and then run_observe() whenever something may have changed.
 * run_observe() looks at the instances of both sides, makes events of what it sees, and carries out
 * the machine's actions. It is level-triggered: seeing the same thing twice does no harm, and
 * nothing is lost if two things happen between two calls.
 *
 * A rollout knows nobody above it. Whatever belongs to its service it reaches through struct
 * run_host_ops; the simulator in tests/sim has a host of its own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/error.h"
#include "common/timer.h"
#include "orchestrator/event/event.h"
#include "orchestrator/rollout/gates.h"
#include "orchestrator/instance/instances.h"
#include "orchestrator/rollout/choose.h"
#include "orchestrator/rollout/rollout.h"

struct run;

/* What a rollout is for. */
enum run_order {
	RUN_ORDER_RESTART,
	RUN_ORDER_UPGRADE,
	RUN_ORDER_ROLLBACK,
	RUN_ORDER_START,
	RUN_ORDER_STOP,
	RUN_ORDER_SCALE,
	RUN_ORDER_REPLACE, /* nobody has ordered it: instances that are dead or unhealthy */
	RUN_ORDER_RETIRE,  /* nobody has ordered it: instances that no table names any more */
	RUN_ORDER_RESTORE, /* nobody has ordered it: instances that are missing after a takeover */
	_RUN_ORDER_COUNT,
};

/* "restart", as in events, JSON and $BATON_ORDER; static. */
const char *run_order_name(enum run_order order);

/* A canary's share. */
struct run_shares {
	/* Its instances share .weight percent of the connections, 1 to 99; NULL: all alike. */
	struct generation *canary;
	uint32_t weight;
};

/* Connections that wait because nothing can take them. */
struct run_held {
	bool holds;              /* else they are refused at once */
	uint32_t now;            /* so many wait */
	uint64_t now_longest_ms; /* ... the first of them since then */
	/* Since the rollout began. */
	uint64_t released;   /* were sent on to a server */
	uint64_t refused;    /* were reset: their time was over */
	uint64_t longest_ms; /* that one of them has waited */
};

/* What a rollout needs of its service. @host is run_host.userdata. */
struct run_host_ops {
	/*
	 * Make tables of the instances' roles and of @shares (NULL: as they were published last).
	 * Negative if an endpoint did not get its table; others may have got theirs.
	 */
	int (*publish)(void *host, const struct run_shares *shares, struct error *err);
	/* -ENOENT if an instance of @set listens on fewer than all endpoints. */
	int (*check_sockets)(void *host, const struct instances *set, struct error *err);
	/* How many instances the tables name. */
	size_t (*named)(void *host);
	/* New connections that the tables have sent to @i, ever. Negative: nothing counts them. */
	int (*steered_to)(void *host, const struct instance *i, uint64_t *ret);
	/* What waits for a server, and has waited since @run began. */
	void (*held)(void *host, const struct run *run, struct run_held *ret);
	/* The processes of @i are gone: call run_forget_instance() for every rollout, free it. */
	void (*remove_instance)(void *host, struct instance *i);
	/* Call run_observe() as soon as the loop is back on top. */
	void (*poke)(void *host);
	/* The new side of @run is what serves from now on. */
	void (*commit)(void *host, const struct run *run);
	void (*tell)(void *host, const struct event *event);
	/*
	 * Fill @ret with how to run the operator's command of @point for @run; _HOOK_COUNT: a gate,
	 * which brings its own command and timeout. *environment is freed and made anew; it belongs
	 * to the caller. The rest is borrowed.
	 */
	int (*command)(void *host, const struct run *run, enum hook_point point,
		       struct command_spec *ret, char ***environment, struct error *err);
	/* Run the command of @point, if there is one; nothing waits for it. */
	void (*hook)(void *host, const struct run *run, enum hook_point point);
};

/* Belongs to a service, which outlives its rollouts. */
struct run_host {
	const struct run_host_ops *ops;
	void *userdata;
	const char *name; /* of the service */
	sd_event *event;
	struct prober *prober;
	const struct wiring *wiring;
};

/* What a rollout is to do. */
struct run_plan {
	enum run_order order;
	uint32_t id; /* never used twice */
	/*
	 * .n_new instances of .new come, and .goes, of .old, go. The generations are the service's.
	 * One of the two may be NULL, not both.
	 */
	struct generation *new, *old;
	uint32_t n_new;
	const struct instances *goes;
	/* Instances of the current generation come or go, or both; the generation stays. */
	bool partial;
	bool retire;    /* no table names .goes any more: see rollout.h */
	bool automatic; /* nobody has ordered it: an operator's order takes its place */
	bool shutdown;  /* what goes has shutdown_timeout instead of timeout */
};

/* What a server wrote last, for people. */
struct run_words {
	char text[PROTOCOL_TAIL_MAX]; /* "": nothing */
	bool is_stdout;               /* else it is from stderr */
	uint64_t realtime_ms;         /* when the end of it was written; 0: not known */
};

#define RUN_ENDS_WAIT_MS 1000 /* for agents to say how their servers have ended */

/* Before the victims are told to leave: who has not said anything yet. */
struct run_delay {
	uint64_t began_ms;
	uint64_t look_ms;   /* the connections are not listed again before that */
	uint64_t look_last; /* so many were silent at the last look */
	uint64_t most;      /* ... at most; 0: nobody is waited for */
};

/*
 * What has become of the connections of the victims, since they were told to leave. The counters of
 * the kernel tell it (steer/tap.h); without them only .began_with, .left, .idle and .ended are
 * known, and .cut_by_server only of a server that has ended badly.
 */
struct run_drain {
	uint64_t look_ms;    /* the connections are not listed again before that */
	uint64_t end_ms;     /* it ends by then; 0: as the policy says */
	uint64_t began_with; /* connections when it began */
	uint64_t seen;       /* busy ones at the last two looks, the larger number */
	uint64_t seen_last;  /* ... at the last one */
	uint64_t exited_ms;  /* when the victims were first seen to have ended; 0: they have not */
	bool early;          /* one of them died, with connections, before it was told to leave */

	/* When it has ended. */
	bool counted;           /* by_client, by_server, reset are known */
	uint64_t left;          /* at the deadline */
	uint64_t idle;          /* were not waited for */
	uint64_t moved;         /* went to another instance before they were accepted */
	uint64_t ended;         /* the others; the sum of the next four, if they are counted */
	uint64_t by_client;     /* the client closed first */
	uint64_t by_server;     /* the server did, in order */
	uint64_t reset;         /* by the client, or not known by whom */
	uint64_t cut_by_server; /* the server closed with an answer outstanding, or ended badly */
};

/* The instance of the new generation that a rollout has failed for. */
struct run_culprit {
	bool known;
	uint32_t instance; /* its index */
};

struct run {
	const struct run_host *host;
	uint32_t id; /* 0: not in use */
	enum run_order order;
	bool partial, automatic;
	uint32_t instances_before, instances_wanted; /* "scale" */
	bool scale_undone;                           /* seen by service_settle_scale() */
	struct rollout machine;
	/*
	 * NULL: there is none. The service owns them. It sets .new to NULL if a later rollout has
	 * replaced that generation while this rollout still drains .old.
	 */
	struct generation *new, *old;
	uint32_t new_number, old_number; /* 0: none */
	uint32_t n_new;                  /* how many were to come */

	/*
	 * Borrowed from the generations; run_forget_instance() keeps them true. Until the rollout
	 * is decided the machine counts as many as they have, and .unmade.
	 */
	struct instances side[_ROLLOUT_SIDE_COUNT]; /* all that are alive */
	struct instances batch, victims;
	bool started_again;                   /* some of the old side were, as it is undone */
	uint32_t unmade[_ROLLOUT_SIDE_COUNT]; /* counted, but there was no memory for them */
	int unmade_error;                     /* why */

	/* From before the last PUBLISH, for RESTORE; the roles are in the instances. */
	struct run_shares shares, shares_before;

	uint64_t began_ms;
	uint64_t step_began_ms;
	uint32_t step_weight; /* the machine's, while the step lasted */
	uint64_t deadline_ms; /* of the present state; 0: none */
	struct timer timer;   /* the machine's deadline */
	struct timer poll;    /* while something can only be looked at */
	uint64_t polls;       /* looks since that began */
	sd_event_time_handler_t on_deadline, on_poll;

	struct command *prepare; /* PREPARING */
	struct gates *gates;     /* GATING */
	int answer;              /* of either, as an event of the machine; -1: none yet */
	char answer_text[GATES_TEXT_MAX];
	char **environment;           /* of both */
	struct instance_ports *ports; /* of both; NULL: none */
	uint64_t accepted_before;     /* connections of the new side before its first table */

	uint64_t queue_empty_since_ms; /* SETTLING; 0: it is not empty */
	uint64_t deaf_since_ms;        /* LEAVING: the queue has never been empty since; 0: it is */
	struct run_delay delay;        /* of the present victims */
	struct run_drain drain;        /* of the present victims */
	bool drain_noted;              /* their counters were, when they began to settle */
	uint64_t gap_since_ms;   /* nothing listens since, on a tier without hold; 0: it does */
	uint64_t gap_ms;         /* ... has listened in all */
	uint64_t cut;            /* connections left at a deadline, of all victims */
	uint64_t cut_by_server;  /* ended by a server that was not done with them */
	uint64_t unexpected;     /* of both: "expect_cut" does not allow them */
	char cut_why[192];       /* behind "were cut by the server" */
	char publish_error[256]; /* why the last publish failed; "": it did not */
	bool superseded;         /* an order has taken its place */
	char step[16];           /* the step that failed */
	char reason[1024];
	char probe[PROBE_TEXT_MAX + PROBE_BODY_MAX + 8];
	uint16_t probe_status; /* of that answer; 0: there was none, or no HTTP */
	struct run_words words;
	struct run_culprit culprit;
	struct instance *blamed; /* its agent was asked for its last words; NULL: nobody's was */
};

/* Who serves, at one moment: what a table names, runs, and passes its checks. */
struct run_serving {
	uint32_t generation; /* the newest one; 0: nothing serves */
	uint32_t instances;  /* of all generations */
	uint32_t wanted;     /* so many should */
	bool ending;         /* all of it is about to end: batond or the service goes */
};

/* How a rollout ended, kept for status. */
struct run_result {
	uint32_t id; /* 0: there has been none */
	enum run_order order;
	enum rollout_outcome outcome;
	int exit; /* the command line's exit status */
	bool partial;
	uint32_t generation, replaces;
	uint32_t n_new, n_old;  /* instances that came and went, or were to come and go */
	bool started_again;     /* the old ones were stopped first, and are back */
	uint32_t missing;       /* could not be started after the point of no return */
	uint64_t cut;           /* connections left at a deadline */
	uint64_t cut_by_server; /* ended by a server that was not done with them */
	uint64_t unexpected;    /* of both: "expect_cut" does not allow them */
	char cut_why[192];      /* behind "were cut by the server" */
	struct run_held held;   /* all but what waits now */
	uint64_t gap_ms; /* so long nothing listened, and connections were refused; 0: never */
	char lost[320];  /* all in words; "": none */
	uint64_t took_ms, realtime_ms;
	uint64_t began_ms;          /* monotonic; 0: it had not begun */
	struct run_serving serving; /* when it had ended */
	bool found;                 /* half done, at .step, by a daemon that took over */
	char step[16];              /* that failed, or that it was found at */
	char reason[1024];
	char probe[PROBE_TEXT_MAX + PROBE_BODY_MAX + 8];
	struct run_words words; /* none if it is done */
	struct run_culprit culprit;
};

/* Begin. @run is the service's, zeroed. The next run_observe() takes the first step. */
void run_begin(struct run *run, const struct run_host *host, const struct run_plan *plan);

/* Look and act. True: the rollout has ended; call run_result() and run_done(). */
bool run_observe(struct run *run);

/* Ask for the old side back; @quit: because everything is to end. @reason: for people. */
void run_abort(struct run *run, bool quit, const char *reason);

/* The service is to end: victims of this rollout do not drain beyond @end_ms. */
void run_limit_drain(struct run *run, uint64_t end_ms);

/* Can run_promote() end what it waits for: a person, or a time? */
bool run_can_promote(const struct run *run);
void run_promote(struct run *run);

/*
 * Whom the command of @point is about, and its local ports lead to (instance_ports): the side that
 * serves or is to serve at that moment. _HOOK_COUNT: a gate; at the shift the instances that are
 * about to be shifted to.
 */
const struct instances *run_asked(const struct run *run, enum hook_point point);

/* The instance is about to be freed. */
void run_forget_instance(struct run *run, const struct instance *instance);

/* How it has ended. @serving: who serves now. */
void run_result(const struct run *run, const struct run_serving *serving, struct run_result *ret);

/*
 * The same for a rollout that another daemon had begun: @ret has everything but what is known only
 * now that it has ended: its time, its exit status and @serving.
 */
void run_result_finish(struct run_result *ret, const struct run_serving *serving);

/* Let go of everything, at any time; *run is zero afterwards. */
void run_done(struct run *run);

/*
 * What it waits for: "gate", "promote", "hold", "delay"; NULL: neither for a person nor for a time.
 */
const char *run_waits_for(const struct run *run);

/* Does it wait for the run->delay.look_last connections on which nobody has said anything yet? */
bool run_waits_for_silent(const struct run *run);

/* One line for people that says how it ended: "generation 3 serves, generation 2 is gone". */
#define RUN_MESSAGE_MAX 640
void run_result_message(const struct run_result *result, char *ret, size_t size);

/* Make the event that tells it. @message: of run_result_message(). Strings are borrowed. */
void run_result_event(const struct run_result *result, const char *message, struct event *ret);
