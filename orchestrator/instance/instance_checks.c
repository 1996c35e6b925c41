/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>

#include "common/clock.h"
#include "common/processes.h"
#include "orchestrator/instance/instance_internal.h"

/*
 * Before its server has ever been healthy each bad answer tells how it comes along. Only the first
 * is a change.
 */
static void tell_bad(struct instance *i, const struct probe_result *result)
{
	instance_note(i, EVENT_PROBE, "%s (instance %u)", result->text, i->index);
	i->told_bad = true;
}

/* Is any of its checks yet to be good for the first time? Then its server was never healthy. */
static bool is_starting(const struct instance *i)
{
	for (size_t k = 0; k < i->checks.n; k++)
		if (i->checks.list[k].checker.running &&
		    !i->checks.list[k].checker.health.was_healthy &&
		    instance_check_state(&i->checks.list[k]) == HEALTH_UNKNOWN)
			return true;
	return false;
}

/*
 * How many of those that the service declares are asked; 0: some of these are not good. What its
 * server says itself is not asked for, and told by another event.
 */
static size_t passed(const struct instance *i)
{
	size_t n = 0;

	for (size_t k = 0; k < i->checks.n_declared; k++) {
		if (!i->checks.list[k].checker.running)
			continue;
		if (instance_check_state(&i->checks.list[k]) != HEALTH_HEALTHY)
			return 0;
		n++;
	}
	return n;
}

/* The check @c was the last of @n to become good. */
static void tell_healthy(struct instance *i, const struct instance_check *c, size_t n,
			 const struct probe_result *result)
{
	char all[64] = "";

	if (n > 1)
		snprintf(all, sizeof(all), "; all %zu checks that ask are good", n);
	instance_note(i, EVENT_HEALTHY, "%s (instance %u, %u in a row%s)", result->text, i->index,
		      c->checker.health.successes, all);
}

static void on_answer(void *userdata, const struct probe_result *result, bool new_verdict)
{
	struct instance_check *c = userdata;
	struct instance *i = c->instance;
	size_t n = 0;

	if (!result->ok && is_starting(i))
		tell_bad(i, result);
	if (!new_verdict)
		return;
	instance_look_health(i);
	/*
	 * The service itself tells that an instance has turned unhealthy: it knows what follows. It
	 * also tells that one which it has taken out is back.
	 */
	if (c->declared && c->checker.health.state == HEALTH_HEALTHY && !i->out_sick)
		n = passed(i);
	if (n > 0)
		tell_healthy(i, c, n, result);
	instance_changed(i);
}

static size_t sockets_of_endpoint(const struct instance *i, size_t endpoint,
				  struct checker_socket ret[static PROTOCOL_SET_MAX])
{
	size_t n = 0;

	for (size_t k = 0; k < i->sockets.n && n < PROTOCOL_SET_MAX; k++)
		if (i->sockets.list[k].endpoint == endpoint)
			ret[n++] = (struct checker_socket){.slot = i->sockets.list[k].slot,
							   .cookie = i->sockets.list[k].cookie};
	return n;
}

static void start(struct instance_check *c, const struct checker_socket *sockets, size_t n)
{
	struct instance *i = c->instance;
	struct checker_target target = {
		.event = i->context->event,
		.prober = i->context->prober,
		.diag = i->context->diag,
		.service = i->config->name,
		.health = c->config,
		.address = &i->config->listen[c->endpoint],
		/* Whose words these are is to be seen where several are asked. */
		.named = i->config->n_listen > 1 &&
			 (i->checks.n_declared > 1 || c->config->listen.length > 0),
		.steer = instance_endpoint(i, c->endpoint),
		.sockets = sockets,
		.n_sockets = n,
		.exec_room = &i->context->exec_room,
		.exec = &instance_exec_host,
		.exec_userdata = i,
	};

	checker_start(&c->checker, &target, on_answer, c);
}

void instance_check_endpoint(struct instance *i, size_t k)
{
	struct checker_socket sockets[PROTOCOL_SET_MAX];
	size_t n = sockets_of_endpoint(i, k, sockets);

	for (size_t j = 0; j < i->checks.n; j++)
		if (i->checks.list[j].endpoint == k)
			start(&i->checks.list[j], sockets, n);
}

void instance_uncheck_endpoint(struct instance *i, size_t k)
{
	for (size_t j = 0; j < i->checks.n; j++)
		if (i->checks.list[j].endpoint == k)
			checker_stop(&i->checks.list[j].checker);
}

bool instance_is_checked(const struct instance *i)
{
	for (size_t j = 0; j < i->checks.n; j++)
		if (i->checks.list[j].checker.running)
			return true;
	return false;
}

void instance_check(struct instance *i)
{
	if (instance_is_checked(i) || i->phase > INSTANCE_JOINED)
		return;
	for (size_t k = 0; k < i->config->n_listen; k++)
		instance_check_endpoint(i, k);
}

void instance_retarget_checks(struct instance *i)
{
	for (size_t k = 0; k < i->config->n_listen; k++) {
		struct checker_socket sockets[PROTOCOL_SET_MAX];
		size_t n = sockets_of_endpoint(i, k, sockets);

		for (size_t j = 0; j < i->checks.n; j++)
			if (i->checks.list[j].endpoint == k)
				checker_retarget(&i->checks.list[j].checker, sockets, n);
	}
}

void instance_restart_checks(struct instance *i)
{
	i->told_bad = false;
	for (size_t j = 0; j < i->checks.n; j++)
		checker_restart(&i->checks.list[j].checker);
}

/* What is on its way out need not serve. */
static bool has_loss(const struct instance *i)
{
	return i->has_loss && i->phase == INSTANCE_JOINED;
}

void instance_forget_verdicts_of(struct instance *i, size_t k)
{
	for (size_t j = 0; j < i->checks.n; j++)
		if (i->checks.list[j].endpoint == k)
			i->checks.list[j].checker.health = (struct health){};
}

void instance_forget_verdicts(struct instance *i)
{
	i->overdue = false;
	timer_stop(&i->overdue_timer);
	for (size_t k = 0; k < i->config->n_listen; k++)
		instance_forget_verdicts_of(i, k);
}

static int on_overdue(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct instance *i = userdata;

	(void)source;
	(void)usec;
	i->overdue = !instance_is_healthy(i);
	instance_changed(i);
	return 0;
}

void instance_look_health(struct instance *i)
{
	instance_look_losses(i);
	/* From now on its checks tell. */
	i->overdue = i->overdue && !instance_is_healthy(i);
}

static void expect_within(struct instance *i, uint64_t limit_ms)
{
	i->overdue = false;
	timer_set(&i->overdue_timer, i->context->event, clock_monotonic_ms() + limit_ms, on_overdue,
		  i);
}

void instance_expect_health(struct instance *i)
{
	expect_within(i, i->config->health.start_timeout_ms);
}

void instance_recall_health(struct instance *i, bool passed)
{
	uint64_t age_ms = 0, limit_ms = i->config->health.start_timeout_ms;
	bool runs = i->pid > 0 && processes_age(i->pid, &age_ms) == 0;

	if (!runs || age_ms < limit_ms)
		expect_within(i, limit_ms - age_ms);
	if (!runs || !((passed && i->initial) || age_ms >= limit_ms))
		return;
	for (size_t k = 0; k < i->checks.n; k++)
		i->checks.list[k].checker.health.was_healthy = true;
}

static bool any_is(const struct instance *i, enum health_state state)
{
	for (size_t j = 0; j < i->checks.n; j++)
		if (instance_check_state(&i->checks.list[j]) == state)
			return true;
	return false;
}

bool instance_is_healthy(const struct instance *i)
{
	if (instance_has_failed(i) || i->pid == 0 || has_loss(i))
		return false;
	return i->checks.n > 0 && !any_is(i, HEALTH_UNKNOWN) && !any_is(i, HEALTH_UNHEALTHY);
}

bool instance_is_unhealthy(const struct instance *i)
{
	return any_is(i, HEALTH_UNHEALTHY) || has_loss(i) ||
	       (i->overdue && i->phase == INSTANCE_JOINED);
}

const struct probe_result *instance_last_answer(const struct instance *i)
{
	const struct probe_result *good = NULL, *bad = NULL;

	if (has_loss(i))
		return &i->loss_answer;
	for (size_t j = 0; j < i->checks.n; j++) {
		const struct instance_check *c = &i->checks.list[j];

		/* One that was never healthy may be bad, too, but has made nothing unhealthy. */
		if (c->checker.health.state == HEALTH_UNHEALTHY && c->checker.has_bad)
			return &c->checker.bad;
		if (c->checker.health.state != HEALTH_HEALTHY && !bad)
			bad = instance_check_answer(c);
		if (!good)
			good = instance_check_answer(c);
	}
	return bad ? bad : good;
}
