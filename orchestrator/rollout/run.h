/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run: one rollout under way. This is the header of rollout/ for all others.
 *
 * A rollout replaces some instances by others: start, verify, shift, settle, bake, leave, drain,
 * stop; or back. Three modules do that:
 *
 *	rollout.c  the machine: a pure state machine that counts instances and decides
 *	choose.c   which instances are taken for a count; pure, too
 *	run.c ...  the shell: looks at the instances, feeds the machine, carries out its actions
 *
 * run_observe() looks at the instances of both sides, turns what it sees into events of the
 * machine, and carries out the machine's actions; it is called whenever something may have changed.
 * It is level-triggered: seeing the same thing twice does no harm, and nothing is lost when two
 * things happen between two calls.
 *
 * A rollout knows nobody above it. It asks for what belongs to its service through struct
 * run_host_ops. The simulator in tests/sim drives these modules with a host of its own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/error.h"
#include "common/timer.h"
#include "orchestrator/event/event.h"
#include "orchestrator/rollout/gates.h"
#include "orchestrator/instance/generation.h"
#include "orchestrator/rollout/choose.h"
#include "orchestrator/rollout/rollout.h"

struct run;

/* A canary's share. */
struct run_shares {
	/* The instances of this one share .weight percent of the connections; NULL: all alike. */
	struct generation *canary;
	uint32_t weight;
};

/* What a rollout needs of its service. @host is run_host.userdata. */
struct run_host_ops {
	/*
	 * Make tables of the instances' roles and of @shares (NULL: as they were published last).
	 * Negative where an endpoint could not get its table; then some may have got it.
	 */
	int (*publish)(void *host, const struct run_shares *shares, struct error *err);
	/* Does @set listen on every endpoint? -ENOENT where one has none. */
	int (*check_sockets)(void *host, const struct instances *set, struct error *err);
	/* How many instances the tables name. */
	size_t (*named)(void *host);
	/* New connections that the tables have sent to @i, ever. Negative: nothing counts them. */
	int (*steered_to)(void *host, const struct instance *i, uint64_t *ret);
	/* The processes of @i are gone: out of every rollout with it, and free it. */
	void (*remove_instance)(void *host, struct instance *i);
	/* Call run_observe() as soon as the loop is back on top. */
	void (*poke)(void *host);
	/* The new side of @run is what serves from now on. */
	void (*commit)(void *host, const struct run *run);
	void (*tell)(void *host, const struct event *event);
	/*
	 * How a command of the operator's is run on behalf of @run: @ret but for the timeout of a
	 * gate. *environment belongs to the caller (it replaces what was there), the rest is
	 * borrowed. @point: _HOOK_COUNT for a gate.
	 */
	int (*command)(void *host, const struct run *run, enum hook_point point,
		       struct command_spec *ret, char ***environment, struct error *err);
	/* Run the command of @point, if there is one; nothing waits for it. */
	void (*hook)(void *host, const struct run *run, enum hook_point point);
};

/* Belongs to the service, which outlives its rollouts. */
struct run_host {
	const struct run_host_ops *ops;
	void *userdata;
	const char *name; /* of the service */
	sd_event *event;
	struct prober *prober;
	const struct wiring *wiring;
};

/* What an order is about. */
struct run_plan {
	const char *order; /* "restart", "upgrade", "rollback", "start", "stop", "scale", "replace",
			      "retire"; static */
	uint32_t id;       /* never used twice */
	/*
	 * Where the new ones come from, and how many they are to be; and those that go. The
	 * generations are the service's. Either may be missing, not both.
	 */
	struct generation *new, *old;
	uint32_t n_new;
	const struct instances *goes;
	/* Instances of the current generation come or go, or both; the generation stays. */
	bool partial;
	bool retire;    /* the table names somebody else already: see rollout.h */
	bool automatic; /* nobody has asked for it: an operator's order takes its place */
	bool shutdown;  /* what goes has shutdown_timeout instead of timeout */
};

/* What a server wrote last, for people. */
struct run_words {
	char text[PROTOCOL_TAIL_MAX]; /* "": nothing */
	bool is_stdout;               /* else it is from stderr */
	uint64_t realtime_ms;         /* when the end of it was written; 0: not known */
};

struct run {
	const struct run_host *host;
	uint32_t id; /* 0: not in use */
	const char *order;
	bool partial, automatic;
	uint32_t instances_before, instances_wanted; /* "scale" */
	bool scale_undone;                           /* seen by service_settle_scale() */
	struct rollout machine;
	/*
	 * NULL where there is none. The service owns them; it forgets @new here when a later
	 * rollout has replaced it while this one still drains @old.
	 */
	struct generation *new, *old;
	uint32_t new_number, old_number; /* 0: none */
	uint32_t n_new;                  /* were to come */

	/*
	 * Borrowed from the generations; run_forget_instance() keeps them true. They have as many
	 * members as the machine counts, but for .unmade.
	 */
	struct instances side[_ROLLOUT_SIDE_COUNT]; /* all that are alive */
	struct instances batch, victims;
	uint32_t unmade[_ROLLOUT_SIDE_COUNT]; /* counted, but there was no memory for them */

	/* From before the last PUBLISH, for RESTORE. */
	enum instance_role roles[_ROLLOUT_SIDE_COUNT][INSTANCES_MAX];
	struct run_shares shares, shares_before;

	uint64_t began_ms;
	uint64_t step_began_ms;
	uint32_t step_weight; /* the machine's, as long as the step lasted */
	uint64_t deadline_ms; /* of the present state; 0: none */
	struct timer timer;   /* the machine's deadline */
	struct timer poll;    /* while something can only be looked at */
	sd_event_time_handler_t on_deadline, on_poll;

	struct command *prepare; /* PREPARING */
	struct gates *gates;     /* GATING */
	int answer;              /* of either: the machine's event; -1: none yet */
	char answer_text[GATES_TEXT_MAX];
	char **environment;       /* of both */
	uint64_t accepted_before; /* connections of the new side when it was first shifted to */

	uint64_t queue_empty_since_ms; /* SETTLING; 0: it is not empty */
	uint64_t drain_began_with;     /* connections when the drain began */
	uint64_t drain_look_ms;        /* not to be counted again before */
	uint64_t drain_end_ms;       /* DRAINING lasts no longer than that; 0: as the policy says */
	uint64_t drain_reset_before; /* connections that had ended by a reset by then */
	uint64_t drain_resets;       /* that ended so while it drained */
	uint64_t drain_idle;         /* were idle and not waited for */
	uint64_t cut;                /* connections left at a deadline, of all victims */
	uint64_t cut_now;            /* the same, of the present ones */
	char publish_error[256];     /* why the last publish failed; "": it did not */
	char step[16];               /* the step that failed */
	char reason[512];
	char probe[PROBE_TEXT_MAX + PROBE_BODY_MAX + 8];
	struct run_words words;
	struct instance *blamed; /* its agent was asked for its last words; NULL: nobody's was */
};

/* How a rollout ended, kept for status. */
struct run_result {
	uint32_t id; /* 0: there has been none */
	const char *order;
	enum rollout_outcome outcome;
	int exit; /* the command line's exit status */
	bool partial;
	uint32_t generation, replaces;
	uint32_t n_new, n_old; /* instances that came and went, or were to */
	uint32_t missing;      /* could not be started, when there was no way back any more */
	uint64_t cut, took_ms, realtime_ms;
	char step[16];
	char reason[512];
	char probe[PROBE_TEXT_MAX + PROBE_BODY_MAX + 8];
	struct run_words words; /* none if it is done */
};

/* Begin. @run is the service's, zeroed. Its first step is taken by the next run_observe(). */
void run_begin(struct run *run, const struct run_host *host, const struct run_plan *plan);

/* Look and act. Returns true when the rollout has ended: then call run_result(), run_done(). */
bool run_observe(struct run *run);

/* Ask for the old side back; @quit: because everything is to end. */
void run_abort(struct run *run, bool quit, const char *reason);

/* The service is to end: whoever goes by this rollout does not drain beyond @end_ms. */
void run_limit_drain(struct run *run, uint64_t end_ms);

/* Does it wait for somebody, or for time to pass, that run_promote() can cut short? */
bool run_can_promote(const struct run *run);
void run_promote(struct run *run);

/* The instance is about to be freed. */
void run_forget_instance(struct run *run, const struct instance *instance);

void run_result(const struct run *run, struct run_result *ret);
void run_done(struct run *run);

/* What it waits for: "gate", "promote", "hold"; NULL: for nobody, and for no time to pass. */
const char *run_waits_for(const struct run *run);

/* One line for people that says how it ended: "generation 3 serves, generation 2 is gone". */
void run_result_message(const struct run_result *result, char *ret, size_t size);

/* The event that tells it. @message is run_result_message()'s; all strings are borrowed. */
void run_result_event(const struct run_result *result, const char *message, struct event *ret);
