/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run: one rollout under way: the shell around the pure machine in rollout.h.
 *
 * run_observe() looks at the two generations, turns what it sees into events of the machine, and
 * carries out the machine's actions; it is called whenever something may have changed. It is
 * level-triggered: seeing the same thing twice does no harm, and nothing is lost when two things
 * happen between two calls.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/error.h"
#include "orchestrator/generation.h"
#include "orchestrator/rollout.h"

struct service;

struct run {
	struct service *service;
	uint32_t id;
	const char *order; /* "restart", "upgrade", "rollback", "start", "stop", "retire"; static */
	struct rollout machine;
	/*
	 * NULL where there is none. The service owns them; it forgets @new here when a later
	 * rollout has replaced it while this one still drains @old.
	 */
	struct generation *new, *old;
	uint32_t new_number, old_number; /* 0: none */

	uint64_t began_ms;
	uint64_t step_began_ms;
	sd_event_source *timer; /* the machine's deadline */
	sd_event_source *poll;  /* while something can only be looked at */

	uint64_t queue_empty_since_ms; /* SETTLING; 0: it is not empty */
	uint64_t drain_began_with;     /* connections when the drain began */
	uint64_t drain_look_ms;        /* not to be counted again before */
	uint64_t drain_reset_before;   /* connections that had ended by a reset by then */
	uint64_t drain_resets;         /* that ended so while it drained */
	uint64_t drain_idle;           /* were idle and not waited for */
	uint64_t cut;                  /* connections left at the deadline */
	char publish_error[256];       /* why the last publish failed; "": it did not */
	char step[16];                 /* the step that failed */
	char reason[512];
	char probe[PROBE_TEXT_MAX + PROBE_BODY_MAX + 8];
};

/* How a rollout ended, kept for status. */
struct run_result {
	uint32_t id; /* 0: there has been none */
	const char *order;
	enum rollout_outcome outcome;
	int exit; /* the command line's exit status */
	uint32_t generation, replaces;
	uint64_t cut, took_ms, realtime_ms;
	char step[16];
	char reason[512];
	char probe[PROBE_TEXT_MAX + PROBE_BODY_MAX + 8];
	char tail[PROTOCOL_TAIL_MAX];
};

/* Begin. @run is the service's, zeroed. Its first step is taken by the next run_observe(). */
void run_begin(struct run *run, struct service *service, const char *order, struct generation *new,
	       struct generation *old);

/* The same for a generation that the table does not name and nothing replaces. */
void run_begin_retire(struct run *run, struct service *service, struct generation *old);

/* Look and act. Returns true when the rollout has ended: then call run_result(), run_done(). */
bool run_observe(struct run *run);

/* Ask for the old generation back (before LEAVING). */
void run_abort(struct run *run, const char *reason);

void run_result(const struct run *run, struct run_result *ret);
void run_done(struct run *run);

/* {"rollout", "order", "generation", "replaces", "elapsed_ms"}: what every event and answer has. */
json_t *run_json(const struct run *run);

/* The fields of the last event and of "last_rollout". */
json_t *run_result_json(const struct run_result *result);
