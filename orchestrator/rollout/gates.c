/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/rollout/gates.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/expand.h"
#include "common/fields.h"

enum exit_status {
	EXIT_PASSED = 0,
	EXIT_UNSURE = 2,
};

struct gates {
	struct gates_question question;
	void (*on_answer)(void *userdata, enum gates_answer answer, const char *text);
	void *userdata;

	sd_event_source *begin; /* deferred */
	size_t current;         /* which of .config's */
	size_t asked;           /* how many have said yes */
	struct command *command;
	struct probe *probe;
	char said[GATES_TEXT_MAX]; /* by the last that said yes */
};

static void ask_next(struct gates *g);

static const struct gate_config *gate(const struct gates *g)
{
	return &g->question.config->gates[g->current];
}

/* ---- the answer ----------------------------------------------------------------------------- */

static void answer(struct gates *g, enum gates_answer decision, const char *text)
{
	void (*on_answer)(void *userdata, enum gates_answer answer, const char *text) =
		g->on_answer;
	char copy[GATES_TEXT_MAX];
	void *userdata = g->userdata;

	snprintf(copy, sizeof(copy), "%s", text);
	fields_make_utf8(copy); /* it may have been cut within a character */
	gates_cancel(g);
	on_answer(userdata, decision, copy);
}

/* The gate's words come last, so that only they are cut if the text is too long. */
static void decide(struct gates *g, enum gates_answer decision, const char *words)
{
	char text[GATES_TEXT_MAX];

	snprintf(text, sizeof(text), "gate %s%s: %s", gate(g)->name,
		 decision == GATES_UNSURE ? " is unsure" : "", words);
	if (decision == GATES_PASSED) {
		memcpy(g->said, text, sizeof(g->said));
		g->asked++;
		g->current++;
		ask_next(g);
	} else {
		answer(g, decision, text);
	}
}

static void answer_passed(struct gates *g)
{
	char text[GATES_TEXT_MAX] = "no gate to ask";

	if (g->asked == 1)
		memcpy(text, g->said, sizeof(text));
	else if (g->asked > 1)
		snprintf(text, sizeof(text), "all %zu gates passed", g->asked);
	answer(g, GATES_PASSED, text);
}

/* ---- one gate ------------------------------------------------------------------------------- */

static void on_command_done(void *userdata, const struct command_result *result)
{
	struct gates *g = userdata;
	bool exited = !result->timed_out && result->exit_signal == 0;
	enum gates_answer decision = GATES_REFUSED;

	g->command = NULL;
	if (exited && result->exit_code == EXIT_PASSED)
		decision = GATES_PASSED;
	else if (exited && result->exit_code == EXIT_UNSURE)
		decision = GATES_UNSURE;
	decide(g, decision, result->text);
}

static void on_probe_done(void *userdata, const struct probe_result *result)
{
	struct gates *g = userdata;

	g->probe = NULL;
	decide(g,
	       result->ok        ? GATES_PASSED
	       : result->unasked ? GATES_UNSURE
				 : GATES_REFUSED,
	       result->text);
}

static int ask_url(struct gates *g, struct error *err)
{
	const struct gates_question *q = &g->question;
	const struct expand_values values = {
		.generation = q->command.generation,
		.stay = EXPAND_FDS | EXPAND_INSTANCE,
	};
	const struct gate_config *one = gate(g);
	cleanup_free char *url = NULL;
	int r = expand(one->http, &values, &url);

	if (r < 0)
		return error_set(err, r, "%s", one->http);
	return probe_url(q->prober, url, one->statuses, one->n_statuses, one->timeout_ms,
			 on_probe_done, g, &g->probe, err);
}

static int start(struct gates *g, struct error *err)
{
	const struct gates_question *q = &g->question;
	const struct gate_config *one = gate(g);
	struct command_spec spec = q->command;

	if (!one->exec)
		return ask_url(g, err);
	spec.argv = one->exec;
	spec.timeout_ms = one->timeout_ms;
	return command_start(q->event, &spec, on_command_done, g, &g->command, err);
}

/* Has the new generation had enough connections for the answer to mean anything? */
static bool enough(const struct gates *g, char *why, size_t size)
{
	const struct gates_question *q = &g->question;
	uint32_t wanted = gate(g)->min_connections;

	if (q->point == ROLLOUT_GATE_SHIFT || wanted == 0)
		return true;
	if (!q->connections_known) {
		/* Too few is never success; so it must be known that it was not too few. */
		snprintf(why, size,
			 "the connections to the new generation cannot be counted here, it wants "
			 "%u (\"min_connections\")",
			 wanted);
		return false;
	}
	snprintf(why, size, "%" PRIu64 " connection%s to the new generation, it wants %u",
		 q->connections, q->connections == 1 ? "" : "s", wanted);
	return q->connections >= wanted;
}

static void ask_next(struct gates *g)
{
	const struct service_config *config = g->question.config;
	char why[GATES_TEXT_MAX];
	struct error err;

	while (g->current < config->n_gates && !(gate(g)->at & g->question.point))
		g->current++;
	if (g->current == config->n_gates)
		answer_passed(g);
	else if (!enough(g, why, sizeof(why)))
		decide(g, GATES_UNSURE, why);
	else if (start(g, &err) < 0)
		decide(g, GATES_REFUSED, err.text);
}

static int on_begin(sd_event_source *source, void *userdata)
{
	(void)source;
	ask_next(userdata);
	return 0;
}

/* ---- asking --------------------------------------------------------------------------------- */

bool gates_any(const struct service_config *config, enum rollout_gate point)
{
	for (size_t i = 0; i < config->n_gates; i++) {
		if (config->gates[i].at & point)
			return true;
	}
	return false;
}

uint64_t gates_timeout_ms(const struct service_config *config, enum rollout_gate point)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < config->n_gates; i++) {
		if (config->gates[i].at & point)
			sum += config->gates[i].timeout_ms;
	}
	return sum;
}

int gates_ask(const struct gates_question *question,
	      void (*on_answer)(void *userdata, enum gates_answer answer, const char *text),
	      void *userdata, struct gates **ret, struct error *err)
{
	cleanup(gates_cancel) struct gates *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return error_set(err, -ENOMEM, "gates");
	g->question = *question;
	g->on_answer = on_answer;
	g->userdata = userdata;
	r = sd_event_add_defer(question->event, &g->begin, on_begin, g);
	if (r < 0)
		return error_set(err, r, "gates");
	*ret = TAKE_PTR(g);
	return 0;
}

void gates_cancel(struct gates *gates)
{
	if (!gates)
		return;
	command_cancel(gates->command);
	probe_cancel(gates->probe);
	sd_event_source_disable_unref(gates->begin);
	free(gates);
}
