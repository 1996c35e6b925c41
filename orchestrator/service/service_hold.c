/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/duration.h"
#include "common/log.h"
#include "orchestrator/service/service_internal.h"

/* How long connections wait during a pause if "hold" does not say. */
#define PAUSE_HOLD_MS 30000

#define FINEST_MS 5 /* between two looks at the queues */

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
	if (service_hold_ms(s) == 0 || s->shutting_down)
		return false;
	return s->hold.paused || !service_stopping_run(s);
}

static void set_hold_of(struct service *s, size_t k)
{
	int r = steer_hold(s->wiring.endpoints[k], s->hold.on);

	if (r < 0)
		log_error("%s: hold: %s", s->endpoints.declared[k].text, strerror(-r));
	hold_init(&s->hold.queues[k], s->hold.hold_ms);
}

/*
 * The first connections may come at any moment after the tables name nobody. Looking often at first
 * makes known when they came, to a sixteenth of the time that they wait.
 */
static uint64_t fine_interval_ms(const struct service *s)
{
	uint64_t ms;

	if (s->hold.alone_since_ms == 0)
		return UINT64_MAX;
	ms = (clock_monotonic_ms() - s->hold.alone_since_ms) / 16;
	return ms < FINEST_MS ? FINEST_MS : ms;
}

static void arm_hold(struct service *s)
{
	uint64_t delay_ms = UINT64_MAX;

	SERVICE_OWN (k, s)
		if (hold_interval_ms(&s->hold.queues[k]) < delay_ms)
			delay_ms = hold_interval_ms(&s->hold.queues[k]);
	if (delay_ms != UINT64_MAX && fine_interval_ms(s) < delay_ms)
		delay_ms = fine_interval_ms(s);
	if (delay_ms != UINT64_MAX)
		service_arm(s, &s->hold.timer, on_hold, delay_ms);
}

/* A pause is somebody's wish: what expires in it is not lost by a rollout. */
static void note_refused(struct service *s, size_t k, unsigned n)
{
	s->hold.expired[k] += n;
	if (!s->hold.paused)
		s->hold.held.refused += n;
	if (n > 0 && s->hold.hold_ms > s->hold.held.longest_ms)
		s->hold.held.longest_ms = s->hold.hold_ms;
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
			note_refused(s, k, steer_expire(s->wiring.endpoints[k], UINT32_MAX));
	}
	if (on)
		arm_hold(s);
	else
		timer_stop(&s->hold.timer);
	service_keep_sockets(s);
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

void service_refuse_held(struct service *s)
{
	set_hold(s, false);
}

void service_join_hold(struct service *s, size_t k)
{
	s->hold.expired[k] = s->hold.dropped[k] = 0;
	s->hold.queues[k] = (struct hold){};
	if (!s->hold.on)
		return;
	set_hold_of(s, k);
	arm_hold(s);
}

/* At most once a minute, as of a server's own queue. */
static void look_dropped(struct service *s, size_t k, uint32_t held)
{
	const char *address = s->endpoints.declared[k].text;
	uint64_t now_ms = clock_monotonic_ms(), dropped, n;
	char message[ADDRESS_TEXT_MAX + 160];

	if (steer_held_dropped(s->wiring.endpoints[k], &dropped) < 0 ||
	    dropped <= s->hold.dropped[k])
		return;
	n = dropped - s->hold.dropped[k];
	s->hold.dropped[k] = dropped;
	if (s->hold.dropped_told_ms != 0 &&
	    now_ms - s->hold.dropped_told_ms < SERVICE_BACKLOGS_TELL_MS)
		return;
	s->hold.dropped_told_ms = now_ms;
	snprintf(message, sizeof(message),
		 "%u connections wait on %s, and no more can (net.core.somaxconn, 4096 at most): "
		 "%llu attempt%s dropped, which clients repeat",
		 held, address, (unsigned long long)n, n == 1 ? " was" : "s were");
	service_tell(s,
		     &(struct event){.kind = EVENT_QUEUE, .message = message, .listen = address});
}

/* Returns how many have waited too long. */
static uint32_t look(struct service *s, size_t k, uint32_t *ret_held)
{
	*ret_held = 0;
	if (steer_held(s->wiring.endpoints[k], ret_held) < 0)
		return 0;
	look_dropped(s, k, *ret_held);
	return hold_look(&s->hold.queues[k], clock_monotonic_ms(), *ret_held);
}

static void expire(struct service *s, size_t k)
{
	uint32_t held, late = look(s, k, &held);
	unsigned n;

	if (late == 0)
		return;
	n = steer_expire(s->wiring.endpoints[k], late);
	hold_left(&s->hold.queues[k], n);
	note_refused(s, k, n);
}

void service_await(struct service *s)
{
	uint32_t held;

	if (!s->hold.on || s->hold.alone_since_ms != 0)
		return;
	s->hold.alone_since_ms = clock_monotonic_ms();
	/* Whatever is found at the next look has come since. */
	SERVICE_OWN (k, s)
		look(s, k, &held);
	arm_hold(s);
}

void service_held(struct service *s, const struct run *run, struct run_held *ret)
{
	*ret = run && run->id == s->hold.held_for ? s->hold.held : (struct run_held){};
	ret->holds = s->hold.on;
	if (!s->hold.on)
		return;
	SERVICE_OWN (k, s) {
		uint64_t waited_ms;
		uint32_t held;

		look(s, k, &held);
		waited_ms = hold_longest_ms(&s->hold.queues[k]);
		ret->now += held;
		if (held > 0 && waited_ms > ret->now_longest_ms)
			ret->now_longest_ms = waited_ms;
	}
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

static void tell_released(struct service *s, uint32_t n, uint64_t longest_ms, uint32_t generation)
{
	char message[128], longest[DURATION_TEXT_MAX];

	duration_format(longest_ms, longest);
	if (longest_ms == 0)
		snprintf(message, sizeof(message),
			 n == 1 ? "%u connection that waited goes to generation %u"
				: "%u connections that waited go to generation %u",
			 n, generation);
	else if (n == 1)
		snprintf(message, sizeof(message),
			 "1 connection that waited for %s goes to generation %u", longest,
			 generation);
	else
		snprintf(message, sizeof(message),
			 "%u connections that waited go to generation %u, the longest waited %s", n,
			 generation, longest);
	service_tell(s, &(struct event){.kind = EVENT_RELEASED,
					.message = message,
					.generation = generation,
					.held = {.released = n, .longest_ms = longest_ms}});
}

void service_unhold(struct service *s)
{
	const struct generation *named = service_named_generation(s);
	uint64_t longest_ms = 0;
	uint32_t sum = 0;

	s->hold.alone_since_ms = 0;
	if (!s->hold.on)
		return;
	SERVICE_OWN (k, s) {
		uint64_t waited_ms;
		struct error err;
		uint32_t held;
		int r;

		look(s, k, &held);
		waited_ms = hold_longest_ms(&s->hold.queues[k]);
		/* Half-open connections wait, too, but are not counted by steer_held(). */
		r = steer_unhold(s->wiring.endpoints[k], &err);
		if (r < 0) {
			log_error("%s: %s", s->config->name, err.text);
			continue;
		}
		hold_left(&s->hold.queues[k], (uint32_t)r);
		sum += (uint32_t)r;
		if (r > 0 && waited_ms > longest_ms)
			longest_ms = waited_ms;
	}
	/* Their anchors are others now. */
	service_keep_sockets(s);
	s->hold.held.released += sum;
	if (longest_ms > s->hold.held.longest_ms)
		s->hold.held.longest_ms = longest_ms;
	if (sum > 0)
		tell_released(s, sum, longest_ms, named ? named->number : 0);
}

void service_forget_hold(struct service *s)
{
	timer_done(&s->hold.timer);
	s->hold.on = false;
	s->hold.alone_since_ms = 0;
}
