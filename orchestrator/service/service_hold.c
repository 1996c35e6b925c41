/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/service/service_internal.h"

/* How long connections wait during a pause if "hold" does not say. */
#define PAUSE_HOLD_MS 30000

static int on_hold(sd_event_source *source, uint64_t usec, void *userdata);

uint64_t service_hold_ms(const struct service *s)
{
	return s->hold.paused && s->config->hold_ms == 0 ? PAUSE_HOLD_MS : s->config->hold_ms;
}

/* A service that is wanted up holds what nothing can take; one that is being stopped refuses. */
static bool wants_hold(struct service *s)
{
	if (!steer_can(s->wiring.tier, STEER_CAN_HOLD))
		return false;
	return service_hold_ms(s) > 0 && !s->shutting_down && !service_stopping_run(s);
}

static void set_hold_of(struct service *s, size_t k)
{
	int r = steer_hold(s->wiring.endpoints[k], s->hold.on);

	if (r < 0)
		log_error("%s: hold: %s", s->endpoints.declared[k].text, strerror(-r));
	hold_init(&s->hold.queues[k], s->hold.hold_ms);
}

static void arm_hold(struct service *s)
{
	uint64_t delay_ms = UINT64_MAX;

	SERVICE_OWN (k, s)
		if (hold_interval_ms(&s->hold.queues[k]) < delay_ms)
			delay_ms = hold_interval_ms(&s->hold.queues[k]);
	if (delay_ms != UINT64_MAX)
		service_arm(s, &s->hold.timer, on_hold, delay_ms);
}

static void set_hold(struct service *s, bool on)
{
	uint64_t hold_ms = on ? service_hold_ms(s) : 1;

	/* A reload or a pause may have changed for how long they wait. */
	if (on == s->hold.on && (!on || s->hold.hold_ms == hold_ms))
		return;
	s->hold.on = on;
	s->hold.hold_ms = hold_ms;
	SERVICE_OWN (k, s) {
		set_hold_of(s, k);
		/* Connections that were not sent on by now have nowhere to go. */
		if (!on)
			s->hold.expired[k] += steer_expire(s->wiring.endpoints[k], UINT32_MAX);
	}
	if (on)
		arm_hold(s);
	else
		timer_stop(&s->hold.timer);
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

void service_join_hold(struct service *s, size_t k)
{
	s->hold.expired[k] = 0;
	s->hold.queues[k] = (struct hold){};
	if (!s->hold.on)
		return;
	set_hold_of(s, k);
	arm_hold(s);
}

static void expire(struct service *s, size_t k)
{
	uint32_t held, late;
	unsigned n;

	if (steer_held(s->wiring.endpoints[k], &held) < 0)
		return;
	late = hold_look(&s->hold.queues[k], clock_monotonic_ms(), held);
	if (late == 0)
		return;
	n = steer_expire(s->wiring.endpoints[k], late);
	hold_left(&s->hold.queues[k], n);
	s->hold.expired[k] += n;
}

static int on_hold(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct service *s = userdata;

	(void)source;
	(void)usec;
	SERVICE_OWN (k, s)
		expire(s, k);
	arm_hold(s);
	return 0;
}

static void tell_released(struct service *s, uint32_t n, uint32_t generation)
{
	char message[96];

	snprintf(message, sizeof(message), "%u connections that waited go to generation %u", n,
		 generation);
	service_tell(s, &(struct event){.kind = EVENT_RELEASED,
					.message = message,
					.generation = generation});
}

void service_unhold(struct service *s)
{
	const struct generation *named = service_named_generation(s);
	uint32_t sum = 0;

	if (!s->hold.on)
		return;
	SERVICE_OWN (k, s) {
		struct error err;
		int r;

		/* Half-open connections wait, too, but are not counted by steer_held(). */
		r = steer_unhold(s->wiring.endpoints[k], &err);
		if (r < 0) {
			log_error("%s: %s", s->config->name, err.text);
			continue;
		}
		hold_left(&s->hold.queues[k], (uint32_t)r);
		sum += (uint32_t)r;
	}
	if (sum > 0)
		tell_released(s, sum, named ? named->number : 0);
}

void service_forget_hold(struct service *s)
{
	timer_done(&s->hold.timer);
	s->hold.on = false;
}
