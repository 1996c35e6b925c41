/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gates: the operator's questions before a rollout goes on ("gates" in the configuration).
 *
 * The gates of one point are asked one after the other; the first that does not say yes decides.
 *
 *	exec  exit status 0 passes, 2 is unsure; anything else refuses, and so does its deadline
 *	http  a status that is wanted passes; anything else refuses
 *
 * A gate at "step" or "leave" is not asked, but unsure, if the new generation has had fewer
 * connections than "min_connections".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "orchestrator/host/command.h"
#include "orchestrator/config/config.h"
#include "orchestrator/health/checker.h"

#define GATES_TEXT_MAX 384

enum gates_answer {
	GATES_PASSED,
	GATES_REFUSED,
	GATES_UNSURE,
};

/* Borrowed for the time of the questions: @config and what .command points to must stay. */
struct gates_question {
	sd_event *event;
	struct prober *prober;
	const struct service_config *config;
	enum rollout_gate point;
	/* How exec gates are run; .argv and .timeout_ms are each gate's own. */
	struct command_spec command;
	bool connections_known;
	uint64_t connections; /* to the new generation since it was shifted to */
};

struct gates;

/* Is there anything to ask at @point? */
bool gates_any(const struct service_config *config, enum rollout_gate point);

/* The sum of their timeouts: how long all gates of @point may take. */
uint64_t gates_timeout_ms(const struct service_config *config, enum rollout_gate point);

/*
 * Ask. @on_answer is called once, from the loop (never from within gates_ask()), unless cancelled;
 * by then the questions have been freed. @text says which gate decided and what it said ("gate
 * smoke: exited with status 1: 3 of 40 requests failed"), or that all passed.
 */
int gates_ask(const struct gates_question *question,
	      void (*on_answer)(void *userdata, enum gates_answer answer, const char *text),
	      void *userdata, struct gates **ret, struct error *err);

void gates_cancel(struct gates *gates);
DEFINE_CLEANUP(struct gates *, gates_cancel);
