/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/service/service.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/service/service_internal.h"
#include "orchestrator/service/service_twins.h"
#include "orchestrator/host/watch.h"

static void stop_current(struct service *s)
{
	struct run *run = service_free_run(s);
	cleanup(instances_done) struct instances goes = {};

	if (!s->current || !run || service_stopping_run(s))
		return;
	service_staying(s, &goes);
	if (goes.n > 0)
		service_begin_run(s, run,
				  (struct run_plan){.order = RUN_ORDER_STOP,
						    .old = s->current,
						    .goes = &goes,
						    .shutdown = true});
}

static void shed_surplus(struct service *s)
{
	cleanup(instances_done) struct instances staying = {};

	service_staying(s, &staying);
	if (staying.n > s->instances)
		service_order_later(s, SERVICE_ORDER_SCALE);
}

/* The missing instances cannot be started. The substitutes that carried on for them go. */
static void give_up_restore(struct service *s, struct generation *g,
			    const struct instances *substitutes)
{
	struct error err;

	if (!g)
		return;
	instances_name(substitutes, INSTANCE_OUT);
	if (service_publish(s, &err) < 0)
		log_error("%s: %s", s->config->name, err.text);
	service_retire(s, g, substitutes);
}

static void tell_end(struct service *s, const struct run_result *result)
{
	char message[RUN_MESSAGE_MAX];
	struct event event;

	run_result_message(result, message, sizeof(message));
	run_result_event(result, message, &event);
	service_tell(s, &event);
}

/* Rollouts that an earlier daemon had begun. A later one that has ended meanwhile stays the last.
 */
static void tell_found(struct service *s)
{
	struct run_result result;

	while (service_end_underway(s, &result)) {
		tell_end(s, &result);
		if (s->last.id <= s->underway.until)
			s->last = result;
	}
}

/* What waits at the anchors goes with them: a start is about to come, or the service is paused. */
static bool must_hold(const struct service *s)
{
	bool starts = s->queue.next.used || s->queue.has_own;

	return s->hold.on && !s->shutting_down && (s->hold.paused || starts);
}

static void end_run(struct service *s, struct run *run)
{
	struct generation *old = run->old;
	cleanup(instances_done) struct instances left = {};
	struct run_serving serving;
	struct run_result result;

	assert(service_run_is_used(run) && run->machine.state == ROLLOUT_ENDED);
	instances_copy(&run->side[ROLLOUT_OLD], &left);
	service_settle_scale(s);
	service_who_serves(s, &serving);
	run_result(run, &serving, &result);
	service_count_underway(s, &result);
	/* What took the place of another may have ended before it. */
	if (!run->superseded || s->last.id < run->id)
		s->last = result;
	if (!run->machine.has_new && !run->machine.retire && !run->partial) {
		if (s->current && s->current->number == run->old_number) {
			s->current = NULL;
			service_forgive(s);
		}
	}
	s->settled |= !run->machine.retire;
	run_done(run);
	if (result.order == RUN_ORDER_RESTORE && result.outcome != ROLLOUT_DONE)
		give_up_restore(s, old, &left);
	service_drop_empty_generations(s);
	if (s->n_generations == 0 && !must_hold(s))
		service_unpin_endpoints(s);
	/* A failed generation would have had as many instances as are wanted; the old one may
	 * have more. */
	if (result.outcome != ROLLOUT_DONE && !result.partial)
		shed_surplus(s);
	tell_end(s, &result);
	s->on_end(s->userdata, s);
}

/* As if its start had been refused at once: see service_refused(). */
static void look_unstarted(struct service *s)
{
	char reason[sizeof(s->refusal)];

	if (!s->queue.unstarted)
		return;
	s->queue.unstarted = false;
	memcpy(reason, s->refusal, sizeof(reason));
	service_refused(s, reason);
	s->on_end(s->userdata, s);
}

static int on_defer(sd_event_source *source, void *userdata)
{
	struct service *s = userdata;

	(void)source;
	service_end_move(s);
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (service_run_is_used(&s->runs[k]) && run_observe(&s->runs[k]))
			end_run(s, &s->runs[k]);
	if (s->shutting_down && !service_undecided_run(s))
		stop_current(s);
	service_look_reopening(s);
	service_look_health(s);
	service_look_failed(s);
	service_republish(s);
	/* Now that the tables are right: release slots that no table names. */
	for (size_t k = 0; k < s->n_generations; k++)
		for (size_t j = 0; j < s->generations[k]->instances.n; j++)
			instance_release_unused(s->generations[k]->instances.list[j]);
	service_drop_unused_endpoints(s);
	service_begin_next(s);
	look_unstarted(s);
	tell_found(s);
	service_note_underway(s);
	return 0;
}

/* ---- questions ------------------------------------------------------------------------------ */

enum service_condition service_condition(struct service *s)
{
	struct run_serving now;

	if (s->awaited)
		return SERVICE_DEGRADED;
	service_who_serves(s, &now);
	if (now.instances == 0 && service_is_left(s))
		return SERVICE_DEGRADED;
	if (now.instances == 0)
		return s->current || !(s->stopped || s->shutting_down) ? SERVICE_DEAD
								       : SERVICE_STOPPED;
	if (s->healing.degraded[0] || now.instances < now.wanted)
		return SERVICE_DEGRADED;
	return SERVICE_WELL;
}

bool service_is_idle(const struct service *s)
{
	if (s->awaited || service_has_hooks(s))
		return false;
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (service_run_is_used(&s->runs[k]))
			return false;
	return s->n_generations == 0;
}

/* What earlier daemons have noted. */
static void recall(struct service *s)
{
	s->instances = state_instances(s->context->state, service_id(s));
	if (s->instances == 0)
		s->instances = s->config->instances;
	service_recall(s);
	service_recall_underway(s);
}

int service_succeed(struct service *s, const char *id)
{
	cleanup_free char *name = strdup(s->config->name);
	int r = name ? service_config_rename(s->config, name, id) : -ENOMEM;

	assert(s->n_generations == 0);
	s->host.name = s->config->name;
	if (r >= 0)
		recall(s);
	return r;
}

int service_rename(struct service *s, const char *name)
{
	cleanup_free char *id = strdup(service_id(s));
	struct history *past = &s->history.past;
	int r = id ? service_config_rename(s->config, name, id) : -ENOMEM;

	s->host.name = s->config->name;
	/* A rollback brings a release back, and not a name. */
	for (size_t k = 0; r >= 0 && k < past->n; k++)
		r = service_config_rename(past->list[k]->config, name, id);
	return r;
}

/* ---- life ----------------------------------------------------------------------------------- */

void service_refused(struct service *s, const char *reason)
{
	snprintf(s->refusal, sizeof(s->refusal), "%s", reason);
	service_retry(s);
	s->settled |= !service_retries(s);
	service_look_failed(s);
}

void service_left(struct service *s, const char *reason)
{
	s->left = true;
	service_refused(s, reason);
}

bool service_is_left(const struct service *s)
{
	return s->left && s->refusal[0] && takeover_is_there(s->context, service_id(s));
}

void service_shutdown(struct service *s, const char *why)
{
	struct run *run = service_undecided_run(s);

	if (s->shutting_down)
		return;
	s->shutting_down = true;
	service_stop_ahead(s);
	service_end_turn(s);
	watch_free(TAKE_PTR(s->watcher));
	service_limit_drains(s);
	if (run)
		run_abort(run, true, why);
	if (!service_undecided_run(s))
		stop_current(s);
	/* It was stopped while it was paused, and has only held connections. */
	if (s->n_generations == 0 && s->endpoints.open)
		service_unpin_endpoints(s);
}

void service_kill(struct service *s)
{
	for (size_t k = 0; k < s->n_generations; k++)
		instances_kill(&s->generations[k]->instances);
	service_poke(s);
}

static void on_turn(void *userdata)
{
	service_poke(userdata);
}

int service_new(struct context *context, struct service_config *config,
		void (*on_end)(void *userdata, struct service *service), void *userdata,
		struct service **ret, struct error *err)
{
	cleanup(service_free) struct service *s = calloc(1, sizeof(*s));
	int r;

	assert(context && config && on_end);
	if (!s) {
		service_config_free(config);
		return error_set(err, -ENOMEM, "service");
	}
	s->context = context;
	s->config = config;
	s->on_end = on_end;
	s->userdata = userdata;
	s->host = (struct run_host){
		.ops = &service_host_ops,
		.userdata = s,
		.name = s->config->name,
		.event = context->event,
		.prober = context->prober,
		.wiring = &s->wiring,
	};
	r = sd_event_add_defer(context->event, &s->defer, on_defer, s);
	if (r < 0)
		return error_set(err, r, "service %s", config->name);
	sd_event_source_set_enabled(s->defer, SD_EVENT_OFF);
	s->turn = (struct turn){.on_turn = on_turn, .userdata = s};
	service_watch_paths(s);
	recall(s);
	*ret = TAKE_PTR(s);
	return 0;
}

void service_free(struct service *s)
{
	if (!s)
		return;
	service_drop_ahead(s);
	service_end_turn(s);
	service_part(s);
	watch_free(s->watcher);
	service_cancel_hooks(s);
	service_reopening_done(&s->reopening);
	service_underway_done(s, s->shutting_down);
	service_retry_done(s);
	timer_done(&s->healing.timer);
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		run_done(&s->runs[k]);
	for (size_t k = 0; k < s->n_generations; k++)
		generation_free(s->generations[k]);
	service_close_endpoints(s);
	sd_event_source_disable_unref(s->defer);
	service_order_done(&s->queue.next.order);
	service_history_done(&s->history);
	service_config_free(s->config);
	free(s);
}
