/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "common/log.h"
#include "common/vector.h"
#include "orchestrator/service/service_internal.h"
#include "orchestrator/service/state.h"

static void forget_previous(struct service_history *history)
{
	service_config_free(TAKE_PTR(history->previous_config));
	release_free(TAKE_PTR(history->previous_release));
	vector_free(TAKE_PTR(history->previous_added));
}

void service_forget_previous(struct service *s)
{
	forget_previous(&s->history);
}

static void keep_previous(struct service *s, const struct generation *g)
{
	forget_previous(&s->history);
	s->history.previous_config = service_config_copy(g->config);
	s->history.previous_release = release_copy(g->release);
	if (!s->history.previous_config || !s->history.previous_release ||
	    (g->added && vector_copy(g->added, &s->history.previous_added) < 0))
		forget_previous(&s->history);
}

/* For a daemon that takes over: it finds the generation running, not why it runs that. */
static void remember_command(struct service *s)
{
	struct error err;

	if (state_set_command(s->context->state, s->config->name, s->history.command, &err) < 0 ||
	    state_set_environment(s->context->state, s->config->name, s->history.environment,
				  &err) < 0)
		log_warning("%s: the command cannot be remembered: %s", s->config->name, err.text);
}

/* The command for the restarts to come, where it is not the configuration's. */
static void keep_command(struct service *s, const struct generation *g)
{
	char **command = NULL, **environment = NULL;

	if (!vector_equal(g->release->command, s->config->command) &&
	    vector_copy(g->release->command, &command) < 0)
		return;
	if (g->added && vector_copy(g->added, &environment) < 0) {
		vector_free(command);
		return;
	}
	vector_free(s->history.command);
	vector_free(s->history.environment);
	s->history.command = command;
	s->history.environment = environment;
	remember_command(s);
}

void service_note_commit(struct service *s, const struct generation *old, const char *order)
{
	const struct generation *new = s->current;

	s->history.rolled_back = strcmp(order, "rollback") == 0;
	/* A restart of the same is nothing to go back to. */
	if (old && (!release_identical(old->release, new->release) ||
		    !service_config_same_release(old->config, new->config)))
		keep_previous(s, old);
	if (strcmp(order, "upgrade") == 0 || strcmp(order, "rollback") == 0)
		keep_command(s, new);
	else if (strcmp(order, "start") == 0)
		/* Of an earlier daemon's upgrade that nothing was left of. */
		remember_command(s);
}

void service_forget_overrides(struct service *s)
{
	vector_free(TAKE_PTR(s->history.command));
	vector_free(TAKE_PTR(s->history.environment));
	remember_command(s);
}

void service_recall_overrides(struct service *s)
{
	s->history.command = state_command(s->context->state, s->config->name);
	s->history.environment = state_environment(s->context->state, s->config->name);
}

void service_history_done(struct service_history *history)
{
	vector_free(TAKE_PTR(history->command));
	vector_free(TAKE_PTR(history->environment));
	forget_previous(history);
}
