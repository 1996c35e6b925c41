/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/health/checker.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "orchestrator/steer/steer.h"

#define UNASKED_DELAY_MS 1000 /* at most, until what could not be asked is tried again */
#define LATE_MS          500  /* so long after its time the loop was elsewhere */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static void schedule(struct checker *c, uint64_t delay_ms)
{
	timer_set(&c->timer, c->target.event, clock_monotonic_ms() + delay_ms, on_timer, c);
}

/* Neither good nor bad. This host may have what it lacks again in a moment. */
static void take_none(struct checker *c, const struct probe_result *result)
{
	uint64_t interval_ms = c->target.health->interval_ms;

	schedule(c, interval_ms < UNASKED_DELAY_MS ? interval_ms : UNASKED_DELAY_MS);
	c->on_answer(c->userdata, result, false);
}

/*
 * batond stood still (SIGSTOP, a suspended host), and the time of the question has passed
 * meanwhile: the answer may be there, unread. That is excused once, not twice in a row.
 */
static bool came_late(struct checker *c, const struct probe_result *result)
{
	bool late = !result->ok && !result->unasked && !c->excused &&
		    result->took_ms > c->target.health->timeout_ms + LATE_MS;

	c->excused = late;
	return late;
}

static void take_answer(struct checker *c, const struct probe_result *result)
{
	const struct health_config *h = c->target.health;
	bool changed;

	c->last = *result;
	c->last_ms = clock_monotonic_ms();
	if (came_late(c, result)) {
		c->last.unasked = true;
		snprintf(c->last.text, sizeof(c->last.text),
			 "not judged: batond itself stood still while it asked, for %llu ms",
			 (unsigned long long)(result->took_ms - h->timeout_ms));
	}
	if (c->last.unasked) {
		result = &c->last;
		take_none(c, result);
		return;
	}
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
	memcpy(&c->source, source,
	       source->sa_family == AF_INET ? sizeof(struct sockaddr_in)
					    : sizeof(struct sockaddr_in6));
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

/*
 * Connecting is the kernel's doing. The server has taken part once this connection is out of the
 * queue, however many others are in it. If that cannot be told (the server has closed it at once,
 * or TCP_DEFER_ACCEPT waits for data), the queue must be empty; to look at it takes the kernel
 * longer.
 */
static int on_connected(void *userdata)
{
	struct checker *c = userdata;
	struct diag_listener listener;
	struct address address;
	int r;

	address_local(c->target.address, &address);
	if (sources_waits(c->target.diag, &address, (struct sockaddr *)&c->source) == 0)
		return 1;
	r = diag_listener(c->target.diag, address_port(c->target.address), c->asked.cookie,
			  &listener, NULL);
	if (r < 0)
		return r;
	return listener.queued == 0;
}

static void on_done(void *userdata, const struct probe_result *result)
{
	struct checker *c = userdata;
	struct probe_result named = *result;

	c->probe = NULL;
	c->command = NULL;
	if (!c->running)
		return;
	/* A question that only connects names its address itself. */
	if (c->target.named && c->target.health->kind != HEALTH_KIND_CONNECT)
		snprintf(named.text, sizeof(named.text), "%s: %.*s", c->target.address->text,
			 (int)(sizeof(named.text) - ADDRESS_TEXT_MAX - 2), result->text);
	take_answer(c, &named);
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
	if (c->target.health->kind == HEALTH_KIND_EXEC)
		return probe_exec_start(c->target.event, c->target.exec_room, c->target.exec,
					c->target.exec_userdata, c->target.health, on_done, c,
					&c->command, err);
	c->asked = c->sockets[c->next++ % c->target.n_sockets];
	return probe_start(c->target.prober, c->target.health, c->target.address, &callbacks, c,
			   &c->probe, err);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct checker *c = userdata;
	struct probe_result result = {};
	struct error err;
	int r;

	(void)source;
	(void)usec;
	if (!c->running || c->probe || c->command)
		return 0;
	r = start_probe(c, &err);
	if (r < 0) {
		result.unasked = r != -ENOENT;
		snprintf(result.text, sizeof(result.text), "%s%s",
			 result.unasked ? "not asked: " : "", err.text);
		take_answer(c, &result);
	}
	return 0;
}

/* Without memory for all of them, as many as there is room for: one is as good as another. */
static void take_sockets(struct checker *c, const struct checker_socket *sockets, size_t n)
{
	void *list = n > 0 ? reallocarray(c->sockets, n, sizeof(*sockets)) : NULL;

	if (!list && n > 0 && (!c->sockets || c->target.n_sockets == 0)) {
		c->one = sockets[0];
		c->target.sockets = &c->one;
		c->target.n_sockets = 1;
		return;
	}
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
	probe_exec_cancel(TAKE_PTR(c->command));
	c->health = (struct health){};
	c->has_bad = false;
	schedule(c, 0);
}

void checker_stop(struct checker *c)
{
	c->running = false;
	probe_cancel(TAKE_PTR(c->probe));
	probe_exec_cancel(TAKE_PTR(c->command));
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
