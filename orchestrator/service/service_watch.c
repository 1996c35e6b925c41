/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a service has to look at now and then, because nothing tells it: whether its program is
 * still on its groups, whether backups have taken over, and how long connections have been held.
 */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/duration.h"
#include "common/log.h"
#include "orchestrator/service/service_internal.h"

#define WATCH_MS 500
/* How long connections wait during a pause where "hold" does not say. */
#define PAUSE_HOLD_MS 30000

static int on_watch(sd_event_source *source, uint64_t usec, void *userdata);
static int on_hold(sd_event_source *source, uint64_t usec, void *userdata);

void service_arm(struct service *s, sd_event_source **source, sd_event_time_handler_t handler,
		 uint64_t delay_ms)
{
	uint64_t at = (clock_monotonic_ms() + delay_ms) * 1000;
	int r;

	if (!*source) {
		r = sd_event_add_time(s->context->event, source, CLOCK_MONOTONIC, at, 1000, handler,
				      s);
	} else {
		r = sd_event_source_set_time(*source, at);
		if (r >= 0)
			r = sd_event_source_set_enabled(*source, SD_EVENT_ONESHOT);
	}
	if (r < 0)
		log_error("%s: timer: %s", s->config->name, strerror(-r));
}

/* ---- drift ---------------------------------------------------------------------------------- */

static void tell_drift(struct service *s, size_t k, enum steer_program program, const char *who,
		       const char *outcome)
{
	const char *address = s->config->listen[k].text;
	char what[256];

	if (program == STEER_PROGRAM_MISSING)
		snprintf(what, sizeof(what), "baton's program was taken off %s", address);
	else
		snprintf(what, sizeof(what), "%.120s had replaced baton's on %s", who, address);
	service_event(s, "drift",
		      json_pack("{s:o, s:s}", "message",
				json_sprintf("%s%s; %s", what, s->culprit, outcome), "listen",
				address));
}

/* Told once, until it has been ours again; but tried to be put right at each look. */
static void look_drift_of(struct service *s, size_t k)
{
	char who[128], outcome[160] = "left as it is (drift: report)";
	enum steer_program program = steer_check(s->wiring.endpoints[k], who, sizeof(who));
	bool before = s->drifted[k];
	struct error err;

	s->drifted[k] = program == STEER_PROGRAM_MISSING || program == STEER_PROGRAM_FOREIGN;
	if (!s->drifted[k])
		return;
	if (s->config->drift == DRIFT_REPAIR) {
		s->drifted[k] = steer_repair(s->wiring.endpoints[k], &err) < 0;
		if (s->drifted[k])
			snprintf(outcome, sizeof(outcome), "cannot be put right: %.120s", err.text);
		else
			snprintf(outcome, sizeof(outcome), "put right");
	}
	if (s->drifted[k] && s->config->drift == DRIFT_REPORT)
		steer_withdraw(s->wiring.endpoints[k]);
	if (!before || !s->drifted[k])
		tell_drift(s, k, program, who, outcome);
}

static void look_drift(struct service *s)
{
	for (size_t k = 0; k < s->config->n_listen; k++)
		look_drift_of(s, k);
	s->culprit[0] = '\0';
}

void service_on_program(void *userdata, uint32_t generation, uint32_t instance, pid_t pid,
			const char *comm)
{
	struct service *s = userdata;

	snprintf(s->culprit, sizeof(s->culprit),
		 " (set by pid %d \"%s\", instance %u of generation %u)", (int)pid, comm, instance,
		 generation);
	service_arm(s, &s->watch, on_watch, 0);
}

/* ---- failover ------------------------------------------------------------------------------- */

static uint64_t carried_by(const struct instance *i)
{
	uint64_t sum = 0;

	for (size_t k = 0; k < i->sockets.n; k++) {
		const struct instance_socket *socket = &i->sockets.list[k];
		struct steer_slot_stats stats;

		if (steer_slot_stats(i->wiring->endpoints[socket->endpoint], socket->slot,
				     &stats) >= 0)
			sum += stats.backup;
	}
	return sum;
}

/* New connections that @g has had as a backup since it was looked at last. */
static uint64_t newly_carried(struct generation *g)
{
	uint64_t sum = 0;

	for (size_t k = 0; k < g->instances.n; k++) {
		struct instance *i = g->instances.list[k];
		uint64_t now = carried_by(i);

		if (now > i->carried_seen)
			sum += now - i->carried_seen;
		i->carried_seen = now;
	}
	return sum;
}

static void tell_failover(struct service *s, const struct generation *g, uint64_t n)
{
	const struct generation *named = service_named_generation(s);
	json_t *message;

	if (named && named != g)
		message = json_sprintf("generation %u does not accept; generation %u carries its "
				       "new connections (%llu so far)",
				       named->number, g->number, (unsigned long long)n);
	else
		message = json_sprintf("other instances of generation %u carry new connections of "
				       "one that does not accept (%llu so far)",
				       g->number, (unsigned long long)n);
	service_event(s, "failover", json_pack("{s:o}", "message", message));
}

void service_look_failover(struct service *s)
{
	bool before = s->failover.active;

	for (size_t k = 0; k < s->n_generations; k++) {
		uint64_t n = newly_carried(s->generations[k]);

		if (n == 0)
			continue;
		s->failover.active = true;
		s->failover.carried += n;
		s->failover.last_realtime_ms = clock_realtime_ms();
		if (before)
			continue;
		s->failover.count++;
		tell_failover(s, s->generations[k], n);
	}
}

void service_forget_failover(struct service *s)
{
	for (size_t k = 0; k < s->n_generations; k++)
		newly_carried(s->generations[k]);
}

/* ---- hold ----------------------------------------------------------------------------------- */

uint64_t service_hold_ms(const struct service *s)
{
	return s->paused && s->config->hold_ms == 0 ? PAUSE_HOLD_MS : s->config->hold_ms;
}

/* A service that is wanted up holds what nothing can take; one that is being stopped refuses. */
static bool wants_hold(struct service *s)
{
	if (!steer_can(s->wiring.tier, STEER_CAN_HOLD))
		return false;
	return service_hold_ms(s) > 0 && !s->shutting_down && !service_stopping_run(s);
}

static void set_hold(struct service *s, bool on)
{
	uint64_t hold_ms = on ? service_hold_ms(s) : 1;

	/* How long is another matter: that can change by a reload, or a pause. */
	if (on == s->holding && (!on || s->holds[0].hold_ms == hold_ms))
		return;
	s->holding = on;
	for (size_t k = 0; k < s->config->n_listen; k++) {
		int r = steer_hold(s->wiring.endpoints[k], on);

		if (r < 0)
			log_error("%s: hold: %s", s->config->listen[k].text, strerror(-r));
		hold_init(&s->holds[k], hold_ms);
		/* What was not sent on by now has nowhere to go. */
		if (!on)
			s->expired[k] += steer_expire(s->wiring.endpoints[k], UINT32_MAX);
	}
	if (on)
		service_arm(s, &s->hold_timer, on_hold, hold_interval_ms(&s->holds[0]));
	else
		s->hold_timer = sd_event_source_disable_unref(s->hold_timer);
}

void service_begin_hold(struct service *s)
{
	if (wants_hold(s))
		set_hold(s, true);
}

void service_end_hold(struct service *s)
{
	if (!wants_hold(s))
		set_hold(s, false);
}

static void expire(struct service *s, size_t k)
{
	uint32_t held, late;
	unsigned n;

	if (steer_held(s->wiring.endpoints[k], &held) < 0)
		return;
	late = hold_look(&s->holds[k], clock_monotonic_ms(), held);
	if (late == 0)
		return;
	n = steer_expire(s->wiring.endpoints[k], late);
	hold_left(&s->holds[k], n);
	s->expired[k] += n;
}

static void arm_hold(struct service *s)
{
	uint64_t delay_ms = hold_interval_ms(&s->holds[0]);

	for (size_t k = 1; k < s->config->n_listen; k++)
		if (hold_interval_ms(&s->holds[k]) < delay_ms)
			delay_ms = hold_interval_ms(&s->holds[k]);
	service_arm(s, &s->hold_timer, on_hold, delay_ms);
}

static int on_hold(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct service *s = userdata;

	(void)source;
	(void)usec;
	for (size_t k = 0; k < s->config->n_listen; k++)
		expire(s, k);
	arm_hold(s);
	return 0;
}

void service_unhold(struct service *s)
{
	const struct generation *named = service_named_generation(s);
	uint32_t sum = 0;

	if (!s->holding)
		return;
	for (size_t k = 0; k < s->config->n_listen; k++) {
		struct error err;
		int r;

		/* Also where none is seen: half-open connections wait there, too. */
		r = steer_unhold(s->wiring.endpoints[k], &err);
		if (r < 0) {
			log_error("%s: %s", s->config->name, err.text);
			continue;
		}
		hold_left(&s->holds[k], (uint32_t)r);
		sum += (uint32_t)r;
	}
	if (sum > 0)
		service_event(
			s, "released",
			json_pack("{s:o}", "message",
				  json_sprintf("%u connections that waited go to generation %u",
					       sum, named ? named->number : 0)));
}

/* ---- the look ------------------------------------------------------------------------------- */

/*
 * Looking at the program walks the kernel's table of sockets (inspect.h): where that takes long it
 * is done more seldom, so that it never takes more than a tenth of the daemon's time.
 */
static int on_watch(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct service *s = userdata;
	uint64_t began_ms = clock_monotonic_ms(), took_ms, carried;
	bool was_active;

	(void)source;
	(void)usec;
	for (size_t k = 0; k < s->config->n_listen; k++)
		steer_tend(s->wiring.endpoints[k]);
	if (s->n_generations > 0)
		look_drift(s);
	was_active = s->failover.active;
	carried = s->failover.carried;
	service_look_failover(s);
	/* A failover is over when a whole look's time has brought nothing. */
	if (was_active)
		s->failover.active = s->failover.carried != carried;
	/* A SYN that raced a publish may have been held although there was somebody by then. */
	if (!s->paused && service_can_serve(s))
		service_unhold(s);
	took_ms = clock_monotonic_ms() - began_ms;
	service_arm(s, &s->watch, on_watch, 9 * took_ms > WATCH_MS ? 9 * took_ms : WATCH_MS);
	return 0;
}

void service_watch_start(struct service *s)
{
	s->holding = false;
	memset(s->drifted, 0, sizeof(s->drifted));
	service_arm(s, &s->watch, on_watch, WATCH_MS);
}

void service_watch_stop(struct service *s)
{
	s->watch = sd_event_source_disable_unref(s->watch);
	s->hold_timer = sd_event_source_disable_unref(s->hold_timer);
	s->holding = false;
}
