/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/health/checker.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "orchestrator/steer/steer.h"

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static void schedule(struct checker *c, uint64_t delay_ms)
{
	timer_set(&c->timer, c->target.event, clock_monotonic_ms() + delay_ms, on_timer, c);
}

static void take_answer(struct checker *c, const struct probe_result *result)
{
	const struct health_config *h = c->target.health;
	bool changed;

	c->last = *result;
	c->last_ms = clock_monotonic_ms();
	if (!result->ok && c->health.state != HEALTH_UNHEALTHY) {
		c->bad = *result;
		c->has_bad = true;
	}
	changed = health_note(&c->health, result->ok, h->healthy, h->unhealthy);
	if (changed && c->health.state == HEALTH_HEALTHY)
		c->has_bad = false;
	schedule(c, h->interval_ms);
	c->on_answer(c->userdata, result, changed);
}

static int on_bind(void *userdata, const struct sockaddr *source)
{
	struct checker *c = userdata;
	struct address address;

	/* If connections cannot be pinned, whoever gets it answers: see steer.h. */
	if (steer_can(steer_tier(c->target.steer), STEER_CAN_PIN)) {
		int r = steer_pin(c->target.steer, source, c->asked.slot);

		if (r < 0)
			return r;
	}
	address_local(c->target.address, &address);
	sources_add(&c->sources, c->target.diag, &address, source);
	return 0;
}

static void on_close(void *userdata, const struct sockaddr *source)
{
	struct checker *c = userdata;
	struct address address;

	address_local(c->target.address, &address);
	sources_close(&c->sources, c->target.diag, &address, source);
	steer_unpin(c->target.steer, source);
}

/* Connecting is the kernel's doing; the server has taken part once the queue is empty. */
static int on_connected(void *userdata)
{
	struct checker *c = userdata;
	struct diag_listener listener;
	int r;

	r = diag_listener(c->target.diag, address_port(c->target.address), c->asked.cookie,
			  &listener, NULL);
	if (r < 0)
		return r;
	return listener.queued == 0;
}

static void on_done(void *userdata, const struct probe_result *result)
{
	struct checker *c = userdata;

	c->probe = NULL;
	if (c->running)
		take_answer(c, result);
}

static const struct probe_callbacks callbacks = {
	.on_bind = on_bind,
	.on_close = on_close,
	.on_connected = on_connected,
	.on_done = on_done,
};

static int start_probe(struct checker *c, struct error *err)
{
	/* A probe that is not pinned, or to a slot that is another's by now, proves nothing. */
	if (c->target.n_sockets == 0)
		return error_text(err, -ENOENT, "nothing listens on %s", c->target.address->text);
	c->asked = c->sockets[c->next++ % c->target.n_sockets];
	return probe_start(c->target.prober, c->target.health, c->target.address, &callbacks, c,
			   &c->probe, err);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct checker *c = userdata;
	struct probe_result result = {};
	struct error err;

	(void)source;
	(void)usec;
	if (!c->running || c->probe)
		return 0;
	if (start_probe(c, &err) < 0) {
		snprintf(result.text, sizeof(result.text), "%s", err.text);
		take_answer(c, &result);
	}
	return 0;
}

/* Without memory for all of them, as many as there is room for: one is as good as another. */
static void take_sockets(struct checker *c, const struct checker_socket *sockets, size_t n)
{
	void *list = n > 0 ? reallocarray(c->sockets, n, sizeof(*sockets)) : NULL;

	if (!list && n > c->target.n_sockets)
		n = c->target.n_sockets;
	if (list)
		c->sockets = list;
	if (n > 0)
		memcpy(c->sockets, sockets, n * sizeof(*sockets));
	c->target.sockets = c->sockets;
	c->target.n_sockets = n;
}

void checker_start(struct checker *c, const struct checker_target *target,
		   void (*on_answer)(void *userdata, const struct probe_result *result,
				     bool changed),
		   void *userdata)
{
	assert(target->n_sockets <= PROTOCOL_SET_MAX && on_answer);
	assert(!c->running && !c->probe);
	c->target = *target;
	c->target.n_sockets = 0;
	take_sockets(c, target->sockets, target->n_sockets);
	c->on_answer = on_answer;
	c->userdata = userdata;
	c->running = true;
	schedule(c, 0);
}

void checker_retarget(struct checker *c, const struct checker_socket *sockets, size_t n)
{
	bool found = false;

	assert(n <= PROTOCOL_SET_MAX);
	if (!c->running)
		return;
	take_sockets(c, sockets, n);
	for (size_t k = 0; k < n; k++)
		found |= sockets[k].slot == c->asked.slot && sockets[k].cookie == c->asked.cookie;
	if (found || !c->probe)
		return;
	probe_cancel(TAKE_PTR(c->probe));
	schedule(c, 0);
}

void checker_restart(struct checker *c)
{
	if (!c->running)
		return;
	probe_cancel(TAKE_PTR(c->probe));
	c->health = (struct health){};
	c->has_bad = false;
	schedule(c, 0);
}

void checker_stop(struct checker *c)
{
	c->running = false;
	probe_cancel(TAKE_PTR(c->probe));
	timer_done(&c->timer);
}

void checker_done(struct checker *c)
{
	checker_stop(c);
	free(c->sockets);
	c->sockets = NULL;
	sources_done(&c->sources);
}

uint32_t checker_queued(struct checker *c)
{
	struct address address;

	if (c->sources.n == 0)
		return 0;
	address_local(c->target.address, &address);
	return sources_queued(&c->sources, c->target.diag, &address);
}
