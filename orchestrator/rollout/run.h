/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run: one rollout under way: the shell around the pure machine in rollout.h.
 *
 * run_observe() looks at the instances of both sides, turns what it sees into events of the
 * machine, and carries out the machine's actions; it is called whenever something may have changed.
 * It is level-triggered: seeing the same thing twice does no harm, and nothing is lost when two
 * things happen between two calls.
 *
 * The machine only counts. Which instances a batch or the victims are is chosen here: a batch is
 * new instances of the side's generation; victims are first those that never got into service, then
 * those that do not work, then by index.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/error.h"
#include "orchestrator/rollout/gates.h"
#include "orchestrator/instance/generation.h"
#include "orchestrator/rollout/rollout.h"

struct service;

/* What an order is about. */
struct run_plan {
	const char *order; /* "restart", "upgrade", "rollback", "start", "stop", "scale", "replace",
			      "retire"; static */
	uint32_t id;       /* 0: the next one */
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

struct run {
	struct service *service;
	uint32_t id;
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

	/* Borrowed from the generations; service_forget_instance() keeps them true. */
	struct instances side[_ROLLOUT_SIDE_COUNT]; /* all that are alive */
	struct instances batch, victims;

	uint64_t began_ms;
	uint64_t step_began_ms;
	uint32_t step_weight;   /* the machine's, as long as the step lasted */
	uint64_t deadline_ms;   /* of the present state; 0: none */
	sd_event_source *timer; /* the machine's deadline */
	sd_event_source *poll;  /* while something can only be looked at */

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
	char tail[PROTOCOL_TAIL_MAX];
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
	char tail[PROTOCOL_TAIL_MAX];
};

/* Begin. @run is the service's, zeroed. Its first step is taken by the next run_observe(). */
void run_begin(struct run *run, struct service *service, const struct run_plan *plan);

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

/* {"rollout", "order", "generation", "replaces", "elapsed_ms"}: what every event and answer has. */
json_t *run_json(const struct run *run);

/* The same, and what status says of a rollout under way: step, weight, what it waits for ... */
json_t *run_status_json(const struct run *run);

/* The fields of the last event and of "last_rollout". */
json_t *run_result_json(const struct run_result *result);
