/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>

#include "common/log.h"
#include "common/vector.h"
#include "orchestrator/service/service_internal.h"

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

/* A daemon that takes over finds the generation, but not that an upgrade has brought it. */
static void remember_command(struct service *s)
{
	struct error err;

	if (state_set_command(s->context->state, s->config->name, s->history.command, &err) < 0 ||
	    state_set_environment(s->context->state, s->config->name, s->history.environment,
				  &err) < 0)
		log_warning("%s: the command cannot be remembered: %s", s->config->name, err.text);
}

/* Keep the command of @g for later restarts, unless it is the configuration's. */
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

void service_note_commit(struct service *s, const struct generation *old, enum run_order order)
{
	const struct generation *new = s->current;

	assert(new &&new != old);
	s->history.rolled_back = order == RUN_ORDER_ROLLBACK;
	/* A restart of the same is nothing to go back to. */
	if (old && (!release_identical(old->release, new->release) ||
		    !service_config_same_release(old->config, new->config)))
		keep_previous(s, old);
	if (order == RUN_ORDER_UPGRADE || order == RUN_ORDER_ROLLBACK)
		keep_command(s, new);
	else if (order == RUN_ORDER_START)
		/* An earlier daemon may have noted an upgrade that no process is left of. */
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
