/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/clock.h"
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

static void on_answer(void *userdata, const struct probe_result *result, bool new_verdict)
{
	struct instance *i = userdata;
	const struct health *health = &i->checkers[0].health;

	if (!result->ok && health->state == HEALTH_UNKNOWN)
		tell_bad(i, result);
	if (!new_verdict)
		return;
	instance_look_health(i);
	/*
	 * The service itself tells that an instance has turned unhealthy: it knows what follows. It
	 * also tells that one which it has taken out is back.
	 */
	if (health->state == HEALTH_HEALTHY && !i->out_sick)
		instance_note(i, EVENT_HEALTHY, "%s (instance %u, %u in a row)", result->text,
			      i->index, health->successes);
	instance_changed(i);
}

/* Any other endpoint that has not accepted yet holds the instance up, too: each tells its own. */
static void on_accept_answer(void *userdata, const struct probe_result *result, bool new_verdict)
{
	struct instance *i = userdata;
	bool starting = false;

	for (size_t k = 0; k < i->config->n_listen; k++)
		starting |= i->checkers[k].health.state == HEALTH_UNKNOWN;
	if (!result->ok && starting)
		tell_bad(i, result);
	if (!new_verdict)
		return;
	instance_look_health(i);
	instance_changed(i);
}

/* Has endpoint @k no check but the one that its server accepts? */
static bool only_accepts(const struct instance *i, size_t k)
{
	return k > 0 || i->config->health.kind == HEALTH_KIND_NOTIFY;
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

void instance_check_endpoint(struct instance *i, size_t k)
{
	struct checker_socket sockets[PROTOCOL_SET_MAX];
	struct checker_target target = {
		.event = i->context->event,
		.prober = i->context->prober,
		.diag = i->context->diag,
		.service = i->config->name,
		.health = only_accepts(i, k) ? &i->accept_check : &i->config->health,
		.address = &i->config->listen[k],
		.steer = instance_endpoint(i, k),
		.sockets = sockets,
		.n_sockets = sockets_of_endpoint(i, k, sockets),
		.exec_room = &i->context->exec_room,
		.exec = &instance_exec_host,
		.exec_userdata = i,
	};

	checker_start(&i->checkers[k], &target, only_accepts(i, k) ? on_accept_answer : on_answer,
		      i);
}

void instance_check(struct instance *i)
{
	if (i->checkers[0].running || i->phase > INSTANCE_JOINED)
		return;
	i->accept_check = (struct health_config){
		.kind = HEALTH_KIND_CONNECT,
		.interval_ms = i->config->health.interval_ms,
		.timeout_ms = i->config->health.timeout_ms,
		.healthy = 1,
		.unhealthy = i->config->health.unhealthy,
	};
	for (size_t k = 0; k < i->config->n_listen; k++)
		instance_check_endpoint(i, k);
}

void instance_retarget_checks(struct instance *i)
{
	for (size_t k = 0; k < i->config->n_listen; k++) {
		struct checker_socket sockets[PROTOCOL_SET_MAX];
		size_t n = sockets_of_endpoint(i, k, sockets);

		checker_retarget(&i->checkers[k], sockets, n);
	}
}

void instance_restart_checks(struct instance *i)
{
	i->told_bad = false;
	for (size_t k = 0; k < i->config->n_listen; k++)
		checker_restart(&i->checkers[k]);
}

/* What is on its way out need not serve. */
static bool has_loss(const struct instance *i)
{
	return i->has_loss && i->phase == INSTANCE_JOINED;
}

void instance_forget_verdicts(struct instance *i)
{
	i->overdue = false;
	timer_stop(&i->overdue_timer);
	for (size_t k = 0; k < i->config->n_listen; k++)
		i->checkers[k].health = (struct health){};
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

void instance_expect_health(struct instance *i)
{
	i->overdue = false;
	timer_set(&i->overdue_timer, i->context->event,
		  clock_monotonic_ms() + i->config->health.start_timeout_ms, on_overdue, i);
}

bool instance_is_healthy(const struct instance *i)
{
	if (instance_has_failed(i) || i->pid == 0 || has_loss(i))
		return false;
	if (i->config->health.kind == HEALTH_KIND_NOTIFY && !i->ready)
		return false;
	for (size_t k = 0; k < i->config->n_listen; k++)
		if (i->checkers[k].health.state != HEALTH_HEALTHY)
			return false;
	return true;
}

bool instance_is_unhealthy(const struct instance *i)
{
	for (size_t k = 0; k < i->config->n_listen; k++)
		if (i->checkers[k].health.state == HEALTH_UNHEALTHY)
			return true;
	return has_loss(i) || (i->overdue && i->phase == INSTANCE_JOINED);
}

/* What keeps it from being healthy: answers, or that there are none. */
static const struct probe_result *cause(const struct checker *checker)
{
	if (checker->health.state == HEALTH_UNKNOWN && checker->last.unasked)
		return &checker->last;
	return checker->has_bad ? &checker->bad : &checker->last;
}

const struct probe_result *instance_last_answer(const struct instance *i)
{
	if (has_loss(i))
		return &i->loss_answer;
	/* One that has never been healthy may be bad, too, but has made nothing unhealthy. */
	for (size_t k = 0; k < i->config->n_listen; k++)
		if (i->checkers[k].health.state == HEALTH_UNHEALTHY && i->checkers[k].has_bad)
			return &i->checkers[k].bad;
	for (size_t k = 0; k < i->config->n_listen; k++)
		if (i->checkers[k].last_ms && i->checkers[k].health.state != HEALTH_HEALTHY)
			return cause(&i->checkers[k]);
	return i->checkers[0].last_ms ? &i->checkers[0].last : NULL;
}
