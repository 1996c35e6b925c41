/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/timer.h"

#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"

#define FIRST_MS    5
#define LAST_MS     50
#define ACCURACY_US 1000 /* sd_event_add_time(3) defaults to 250 ms */

void timer_set(struct timer *timer, sd_event *event, uint64_t at_ms,
	       sd_event_time_handler_t handler, void *userdata)
{
	int r;

	timer->active = true;
	if (!timer->source) {
		r = sd_event_add_time(event, &timer->source, CLOCK_MONOTONIC, at_ms * 1000,
				      ACCURACY_US, handler, userdata);
	} else {
		r = sd_event_source_set_time(timer->source, at_ms * 1000);
		if (r >= 0)
			r = sd_event_source_set_enabled(timer->source, SD_EVENT_ONESHOT);
	}
	if (r < 0)
		log_error("timer: %s", strerror(-r));
}

void timer_begin(struct timer *timer)
{
	timer->active = true;
	timer->delay_ms = FIRST_MS;
}

void timer_again(struct timer *timer, sd_event *event, sd_event_time_handler_t handler,
		 void *userdata)
{
	timer_set(timer, event, clock_monotonic_ms() + timer->delay_ms, handler, userdata);
	timer->delay_ms = 2 * timer->delay_ms > LAST_MS ? LAST_MS : 2 * timer->delay_ms;
}

void timer_stop(struct timer *timer)
{
	timer->active = false;
	if (timer->source)
		(void)sd_event_source_set_enabled(timer->source, SD_EVENT_OFF);
}

void timer_done(struct timer *timer)
{
	timer->source = sd_event_source_disable_unref(timer->source);
	timer->active = false;
}
