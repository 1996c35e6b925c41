/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Is each endpoint served? The agent tells of each listening socket that its server has closed or
 * shut down, and that cannot be taken; joining tells which cannot be steered. Here that becomes the
 * instance's health.
 */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "orchestrator/instance/instance_internal.h"

/* So long an endpoint may be without a socket: some servers close one and then bind the next. */
#define GRACE_MS 300

static bool has_socket(const struct instance *i, size_t k)
{
	for (size_t j = 0; j < i->sockets.n; j++)
		if (i->sockets.list[j].endpoint == k)
			return true;
	return false;
}

static bool has_own(const struct instance *i, size_t k)
{
	for (size_t j = 0; j < i->sockets.n; j++)
		if (i->sockets.list[j].endpoint == k && i->sockets.list[j].own)
			return true;
	return false;
}

static bool is_unusable(const struct instance *i, size_t k)
{
	return i->unusable[0] && i->unusable_endpoint == k;
}

/* Has a check given the endpoint up? */
static bool is_given_up(const struct instance *i, size_t k)
{
	for (size_t j = 0; j < i->checks.n; j++)
		if (i->checks.list[j].endpoint == k &&
		    i->checks.list[j].checker.health.state == HEALTH_UNHEALTHY)
			return true;
	return false;
}

static bool is_healthy_on(const struct instance *i, size_t k)
{
	for (size_t j = 0; j < i->checks.n; j++)
		if (i->checks.list[j].endpoint == k &&
		    i->checks.list[j].checker.health.state == HEALTH_HEALTHY)
			return true;
	return false;
}

/*
 * In mode auto a server may close what it was passed, and only then bind its own socket: varnish
 * and others close all descriptors that they do not know when they start. Its rollout waits for
 * that.
 */
static bool was_served(const struct instance *i, size_t k)
{
	const struct instance_loss *loss = &i->losses[k];

	/* A steady one has served, if its server is still the first. */
	return i->config->mode != SOCKETS_AUTO || loss->had_own || loss->since_ms != 0 ||
	       (i->steady && i->restarts == 0) || is_healthy_on(i, k);
}

/*
 * Before it has joined, its rollout waits for it. While no server runs, its agent does. What went
 * to another service is not its to serve.
 */
static bool is_lost(const struct instance *i, size_t k)
{
	const struct instance_loss *loss = &i->losses[k];

	if (i->phase != INSTANCE_JOINED || i->pid == 0 || !instance_endpoint(i, k))
		return false;
	return loss->unsteered[0] || is_unusable(i, k) ||
	       (loss->had && !has_socket(i, k) && was_served(i, k));
}

static void describe_gone(const struct instance *i, size_t k, char ret[static PROBE_TEXT_MAX])
{
	bool deaf = i->losses[k].deaf;
	int n = snprintf(ret, PROBE_TEXT_MAX,
			 "nothing of it listens on %s any more: its server has %s the socket%s",
			 i->config->listen[k].text, deaf ? "shut" : "closed", deaf ? " down" : "");

	if (!deaf && i->n_strangers > 0)
		snprintf(ret + n, (size_t)(PROBE_TEXT_MAX - n),
			 ", and listens on %s, which the service does not declare",
			 i->strangers[0]);
}

static void describe(const struct instance *i, size_t k, char ret[static PROBE_TEXT_MAX])
{
	if (i->losses[k].unsteered[0])
		snprintf(ret, PROBE_TEXT_MAX,
			 "a socket that its server listens on gets no connections: %s",
			 i->losses[k].unsteered);
	else if (is_unusable(i, k))
		snprintf(ret, PROBE_TEXT_MAX, "its server %.*s", PROBE_TEXT_MAX - 16, i->unusable);
	else
		describe_gone(i, k, ret);
}

const char *instance_loss_text(const struct instance *i, size_t k, char ret[static PROBE_TEXT_MAX])
{
	/* What is on its way out need not serve. */
	if (!i->losses[k].told || i->phase != INSTANCE_JOINED)
		return NULL;
	describe(i, k, ret);
	return ret;
}

/* What people read of it is that of the first endpoint. */
static void note_told(struct instance *i)
{
	i->loss_answer = (struct probe_result){};
	i->has_loss = false;
	for (size_t k = 0; k < i->config->n_listen && !i->has_loss; k++)
		i->has_loss = instance_loss_text(i, k, i->loss_answer.text) != NULL;
}

static int on_grace(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct instance *i = userdata;

	(void)source;
	(void)usec;
	instance_look_losses(i);
	instance_changed(i);
	return 0;
}

void instance_look_losses(struct instance *i)
{
	uint64_t now_ms = clock_monotonic_ms(), next_ms = UINT64_MAX;

	for (size_t k = 0; k < i->config->n_listen; k++) {
		struct instance_loss *loss = &i->losses[k];

		loss->had |= has_socket(i, k);
		loss->had_own |= has_own(i, k);
		if (!is_lost(i, k)) {
			loss->since_ms = loss->since_realtime_ms = 0;
			loss->told = false;
			continue;
		}
		if (loss->since_ms == 0) {
			loss->since_ms = now_ms;
			loss->since_realtime_ms = clock_realtime_ms();
		}
		/* Its check asks in vain meanwhile, and may be the first to give up. */
		loss->told |= now_ms >= loss->since_ms + GRACE_MS || is_given_up(i, k);
		if (!loss->told && loss->since_ms + GRACE_MS < next_ms)
			next_ms = loss->since_ms + GRACE_MS;
	}
	note_told(i);
	if (next_ms == UINT64_MAX)
		timer_stop(&i->loss_timer);
	else
		timer_set(&i->loss_timer, i->context->event, next_ms, on_grace, i);
}

void instance_forget_losses(struct instance *i, bool had)
{
	for (size_t k = 0; k < i->config->n_listen; k++)
		i->losses[k] = (struct instance_loss){.had = had};
	instance_look_losses(i);
}

void instance_unsteered(struct instance *i, size_t k, const char *why)
{
	struct instance_loss *loss = &i->losses[k < i->config->n_listen ? k : 0];

	if (!loss->unsteered[0])
		snprintf(loss->unsteered, sizeof(loss->unsteered), "%s", why);
}
