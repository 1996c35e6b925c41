/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * timer: a one-shot timer on an sd-event loop, a member of the struct that it belongs to.
 *
 *	struct timer deadline;		in struct thing; all zero is a timer that is not set
 *
 *	timer_set(&thing->deadline, event, at_ms, on_deadline, thing);
 *	timer_stop(&thing->deadline);
 *	timer_done(&thing->deadline);	before thing is freed
 *
 * A timer that fires is no longer set when its handler is called. The handler may set it again, or
 * end it and free the struct that it is in. The struct must not move while the timer is set.
 *
 * Times are CLOCK_MONOTONIC in milliseconds (clock.h). A timer fires at most 1 ms late; sd-event's
 * default is 250 ms.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* Ask timer_is_set(); the members are the module's own. */
struct timer {
	sd_event_source *source;
	sd_event_time_handler_t handler;
	void *userdata;
	bool set;
	unsigned tries; /* timer_again() since timer_begin() */
};

/*
 * Call @handler with @userdata once, at @at_ms: at once if that has passed, never if it is
 * UINT64_MAX. Replaces what the timer was set to before, but for @event, which stays the first one.
 * If there is no memory for it, that is logged and the timer is not set.
 */
void timer_set(struct timer *timer, sd_event *event, uint64_t at_ms,
	       sd_event_time_handler_t handler, void *userdata);

/*
 * Get all that timer_set() needs, so that it cannot fail: for a timer that is for a lack of memory
 * or of descriptors. -ENOMEM, -EMFILE and so on.
 */
int timer_prepare(struct timer *timer, sd_event *event, sd_event_time_handler_t handler,
		  void *userdata);

/* Has it been set, and neither fired nor been stopped since? */
bool timer_is_set(const struct timer *timer);

/*
 * For a condition that nobody announces and that must be asked for: after timer_begin() each
 * timer_again() sets the timer to a delay from now, 1 ms first, doubled with each call up to 50 ms.
 */
void timer_begin(struct timer *timer);
void timer_again(struct timer *timer, sd_event *event, sd_event_time_handler_t handler,
		 void *userdata);

/* The handler is not called any more. A timer that is not set stays so. */
void timer_stop(struct timer *timer);

/* Stop it and free what it holds. It is as it was at first, and may be set or ended again. */
void timer_done(struct timer *timer);
