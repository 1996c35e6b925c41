/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Paths whose change begins a rollout ("watch").
 */
#include <limits.h>
#include <stdio.h>

#include "common/log.h"
#include "orchestrator/service/service_internal.h"
#include "orchestrator/host/watch.h"

/* Has a generation been started since the change? Then it runs what is there now. */
static bool is_old_news(const struct service *s)
{
	return s->n_generations > 0 &&
	       s->generations[s->n_generations - 1]->started_ms >= watch_moved_ms(s->watcher);
}

static void on_path_change(void *userdata, const char *path)
{
	char message[PATH_MAX + 32];
	struct service *s = userdata;

	if (!s->current || s->shutting_down || service_stopping_run(s) || is_old_news(s))
		return;
	snprintf(message, sizeof(message), "%s has changed", path);
	service_tell(s, &(struct event){.kind = EVENT_CHANGED,
					.message = message,
					.generation = s->current->number,
					.path = path});
	service_order_later(s, SERVICE_ORDER_RESTART);
}

void service_watch_paths(struct service *s)
{
	struct error err;

	watch_free(TAKE_PTR(s->watcher));
	if (s->config->watch &&
	    watch_new(s->context->event, s->config->watch, s->config->watch_settle_ms,
		      on_path_change, s, &s->watcher, &err) < 0)
		log_error("%s: watch: %s", s->config->name, err.text);
}
