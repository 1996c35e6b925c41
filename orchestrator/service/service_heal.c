/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/duration.h"
#include "common/log.h"
#include "orchestrator/service/service_internal.h"

/* ---- unhealthy and well again --------------------------------------------------------------- */

static void __attribute__((format(printf, 4, 5)))
tell(struct service *s, enum event_kind kind, const struct instance *i, const char *format, ...)
{
	char message[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(message, sizeof(message), format, ap);
	va_end(ap);
	service_tell(s, &(struct event){.kind = kind,
					.message = message,
					.has_instance = true,
					.generation = i->generation,
					.instance = i->index});
}

/* The server's last words are asked for: it may be replaced. */
static void tell_sick(struct service *s, struct instance *i)
{
	const struct probe_result *answer = instance_last_answer(i);
	bool alone = service_named(s) > 0 && instances_serving(&s->current->instances) == 1;

	tell(s, EVENT_UNHEALTHY, i, "instance %u of generation %u is unhealthy%s: %s", i->index,
	     i->generation, alone ? ", but there is no other" : "", answer ? answer->text : "");
	instance_ask(i);
}

static void tell_well(struct service *s, const struct instance *i)
{
	const struct probe_result *answer = instance_last_answer(i);

	tell(s, EVENT_RECOVERED, i, "instance %u of generation %u is healthy again%s%s", i->index,
	     i->generation, answer ? ": " : "", answer ? answer->text : "");
}

/* Of the current generation only: a rollout judges those on trial. */
static void look_verdicts(struct service *s)
{
	for (size_t k = 0; k < s->current->instances.n; k++) {
		struct instance *i = s->current->instances.list[k];
		bool sick = i->role == INSTANCE_IN && instance_is_unhealthy(i);

		if (sick && !i->out_sick)
			tell_sick(s, i);
		else if (!sick && i->out_sick && i->role == INSTANCE_IN && instance_is_healthy(i))
			tell_well(s, i);
		i->out_sick = sick;
	}
}

/* Starts by agents count, too. */
static void look_restarts(struct service *s)
{
	for (size_t k = 0; k < s->current->instances.n; k++) {
		struct instance *i = s->current->instances.list[k];

		if (i->restarts_counted < i->restarts)
			generation_look(s->current);
		for (; i->restarts_counted < i->restarts; i->restarts_counted++)
			restarts_take(&s->healing.restarts, clock_monotonic_ms());
	}
}

/* ---- replacing ------------------------------------------------------------------------------ */

struct ailing {
	struct instances goes; /* all that are dead; if none is, one that is unhealthy */
	uint32_t missing;      /* fewer than are wanted */
	char reason[256];
};

/* It does not run, or nobody would start it again. If it only listens no more its checks fail. */
static bool is_dead(const struct instance *i)
{
	return instance_has_failed(i) || instance_has_stopped(i) || i->lost;
}

/* Another agent looks after it, and the operator does not want that to stay so. */
static bool is_unwanted(const struct service *s, const struct instance *i)
{
	return i->adoptions > 0 && !i->adopting && s->config->agent_lost == AGENT_LOST_REPLACE;
}

static void find_ailing(struct service *s, struct ailing *ret)
{
	cleanup(instances_done) struct instances staying = {};

	*ret = (struct ailing){};
	service_staying(s, &staying);
	for (size_t k = 0; k < staying.n; k++)
		if (is_dead(staying.list[k]))
			instances_add(&ret->goes, staying.list[k]);
	if (staying.n < s->instances)
		ret->missing = s->instances - (uint32_t)staying.n;
	/* One after the other: the cause may make the new ones unhealthy, too. */
	for (size_t k = 0; k < staying.n && ret->goes.n == 0 && ret->missing == 0; k++)
		if (instance_is_unhealthy(staying.list[k]) || is_unwanted(s, staying.list[k]))
			instances_add(&ret->goes, staying.list[k]);
	if (ret->goes.n > 0) {
		const struct instance *i = ret->goes.list[0];
		const struct probe_result *answer = instance_last_answer(i);

		snprintf(ret->reason, sizeof(ret->reason), "instance %u: %.220s", i->index,
			 i->failure[0] ? i->failure
			 : i->lost     ? "has lost its agent"
			 : is_unwanted(s, i)
				 ? "its agent was killed, and \"agent_lost\" is \"replace\""
			 : answer ? answer->text
				  : "does not run");
	} else {
		snprintf(ret->reason, sizeof(ret->reason), "%u of %u instances are missing",
			 ret->missing, s->instances);
	}
}

static int on_heal(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	service_poke(userdata);
	return 0;
}

/* With what the first of those that are ill wrote last. */
static void tell_ailing(struct service *s, enum event_kind kind, const char *text,
			const struct ailing *ailing)
{
	const struct instance *i = ailing->goes.n > 0 ? ailing->goes.list[0] : NULL;
	struct event event = {.kind = kind,
			      .message = text,
			      .reason = text,
			      .generation = s->current->number,
			      .has_instance = i != NULL,
			      .instance = i ? i->index : 0};

	if (i && i->tail[0]) {
		event.tail = i->tail;
		event.tail_stdout = i->tail_stdout;
		event.tail_realtime_ms = i->tail_realtime_ms;
	}
	service_tell(s, &event);
}

static void degrade(struct service *s, const struct ailing *ailing)
{
	const struct restart_config *policy = &s->config->restart;
	const char *reason = ailing->reason;
	bool before = s->healing.degraded[0] != '\0';
	char window[DURATION_TEXT_MAX];

	if (policy->max == 0)
		snprintf(s->healing.degraded, sizeof(s->healing.degraded),
			 "%s; it is not started again", reason);
	else
		snprintf(s->healing.degraded, sizeof(s->healing.degraded),
			 "%s; started again %u times within %s, that is all \"restart\" allows",
			 reason, restarts_used(&s->healing.restarts, policy, clock_monotonic_ms()),
			 duration_format(policy->window_ms, window));
	s->healing.dead = instances_are_dead(&s->current->instances);
	if (!before)
		tell_ailing(s, EVENT_DEGRADED, s->healing.degraded, ailing);
}

/* No other instance would be steered to either: it is the service that is unwell. */
static bool is_unsteered(struct service *s)
{
	const char *why = s->published.failure[0] ? s->published.failure : s->drift.failure;
	bool before = s->healing.degraded[0] != '\0';

	if (!why[0])
		return false;
	snprintf(s->healing.degraded, sizeof(s->healing.degraded), "%s", why);
	if (!before)
		service_note(s, EVENT_DEGRADED, "%s", why);
	return true;
}

static void restore(struct service *s)
{
	s->healing.at_ms = 0;
	s->healing.dead = false;
	if (!s->healing.degraded[0])
		return;
	s->healing.degraded[0] = '\0';
	service_note(s, EVENT_RESTORED, "all %u instances are well", s->instances);
}

static void replace(struct service *s, struct ailing *ailing, uint64_t now_ms)
{
	uint32_t left = restarts_left(&s->healing.restarts, &s->config->restart, now_ms);
	uint32_t n_new;
	struct error err;

	if (ailing->goes.n > left)
		ailing->goes.n = left;
	left -= (uint32_t)ailing->goes.n;
	if (ailing->missing > left)
		ailing->missing = left;
	n_new = (uint32_t)ailing->goes.n + ailing->missing;
	assert(n_new > 0);
	tell_ailing(s, EVENT_REPLACING, ailing->reason, ailing);
	if (service_begin_replace(s, &ailing->goes, n_new, &err) < 0) {
		log_error("%s: replace: %s", s->config->name, err.text);
		return;
	}
	for (uint32_t k = 0; k < n_new; k++)
		restarts_take(&s->healing.restarts, now_ms);
}

/* Replace after a delay: an instance that recovers until then is left alone. */
static void heal(struct service *s, struct ailing *ailing)
{
	const struct restart_config *policy = &s->config->restart;
	uint64_t now_ms = clock_monotonic_ms();
	uint64_t wait_ms = restarts_wait_ms(&s->healing.restarts, policy, now_ms);

	if (wait_ms > 0) {
		degrade(s, ailing);
		if (wait_ms != UINT64_MAX)
			service_arm(s, &s->healing.timer, on_heal, wait_ms);
		return;
	}
	if (s->healing.at_ms == 0)
		s->healing.at_ms = now_ms + restarts_delay_ms(&s->healing.restarts, policy, now_ms);
	if (now_ms < s->healing.at_ms) {
		service_arm(s, &s->healing.timer, on_heal, s->healing.at_ms - now_ms);
		return;
	}
	s->healing.at_ms = 0;
	replace(s, ailing, now_ms);
}

void service_look_health(struct service *s)
{
	struct ailing ailing;

	if (!s->current || s->shutting_down)
		return;
	look_verdicts(s);
	look_restarts(s);
	if (service_undecided_run(s) || service_stopping_run(s) || service_going_run(s) ||
	    service_is_about_to_begin(s))
		return;
	find_ailing(s, &ailing);
	if (ailing.goes.n > 0 || ailing.missing > 0)
		heal(s, &ailing);
	else if (!is_unsteered(s))
		restore(s);
	instances_done(&ailing.goes);
}

void service_look_failed(struct service *s)
{
	bool failed =
		s->current ? instances_are_dead(&s->current->instances) : service_has_failed(s);

	/* It may be what mends it: until then nothing has changed. */
	if (service_undecided_run(s))
		return;
	if (!failed)
		s->failed_realtime_ms = 0;
	else if (s->failed_realtime_ms == 0)
		s->failed_realtime_ms = clock_realtime_ms();
}

bool service_next_try(const struct service *s, uint64_t *ret_ms)
{
	uint64_t now_ms = clock_monotonic_ms();
	uint64_t wait_ms = restarts_wait_ms(&s->healing.restarts, &s->config->restart, now_ms);

	if (!s->current || s->shutting_down || wait_ms == UINT64_MAX)
		return false;
	*ret_ms = s->healing.at_ms ? s->healing.at_ms : now_ms + wait_ms;
	return true;
}

void service_forgive(struct service *s)
{
	bool degraded = s->healing.degraded[0] != '\0';

	s->healing.restarts = (struct restarts){};
	s->healing.at_ms = 0;
	s->healing.dead = false;
	s->healing.degraded[0] = '\0';
	/* A reader that has been told "degraded" waits for "restored". */
	if (degraded && s->current)
		service_note(s, EVENT_RESTORED, "generation %u serves", s->current->number);
}
