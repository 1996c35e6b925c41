/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/timer.h"

#include <assert.h>
#include <string.h>

#include "common/backoff.h"
#include "common/clock.h"
#include "common/log.h"

#define FIRST_MS    1
#define LAST_MS     50
#define ACCURACY_US 1000 /* sd_event_add_time(3) defaults to 250 ms */

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct timer *timer = userdata;

	timer->set = false;
	/* The handler may free the timer: nothing of it is used after this. */
	return timer->handler(source, usec, timer->userdata);
}

/* sd-event takes UINT64_MAX for "never". */
static uint64_t to_us(uint64_t ms)
{
	return ms < UINT64_MAX / 1000 ? ms * 1000 : UINT64_MAX;
}

void timer_set(struct timer *timer, sd_event *event, uint64_t at_ms,
	       sd_event_time_handler_t handler, void *userdata)
{
	int r;

	assert(event && handler);
	timer->handler = handler;
	timer->userdata = userdata;
	if (!timer->source) {
		r = sd_event_add_time(event, &timer->source, CLOCK_MONOTONIC, to_us(at_ms),
				      ACCURACY_US, on_time, timer);
	} else {
		r = sd_event_source_set_time(timer->source, to_us(at_ms));
		if (r >= 0)
			r = sd_event_source_set_enabled(timer->source, SD_EVENT_ONESHOT);
	}
	timer->set = r >= 0;
	if (r < 0)
		log_error("timer: %s", strerror(-r));
}

int timer_prepare(struct timer *timer, sd_event *event, sd_event_time_handler_t handler,
		  void *userdata)
{
	int r = sd_event_add_time(event, &timer->source, CLOCK_MONOTONIC, UINT64_MAX, ACCURACY_US,
				  on_time, timer);

	timer->handler = handler;
	timer->userdata = userdata;
	return r < 0 ? r : sd_event_source_set_enabled(timer->source, SD_EVENT_OFF);
}

bool timer_is_set(const struct timer *timer)
{
	return timer->set;
}

void timer_begin(struct timer *timer)
{
	timer->tries = 0;
}

void timer_again(struct timer *timer, sd_event *event, sd_event_time_handler_t handler,
		 void *userdata)
{
	uint64_t delay_ms = backoff_delay_ms(FIRST_MS, LAST_MS, timer->tries++);

	timer_set(timer, event, clock_monotonic_ms() + delay_ms, handler, userdata);
}

void timer_stop(struct timer *timer)
{
	timer->set = false;
	if (timer->source)
		(void)sd_event_source_set_enabled(timer->source, SD_EVENT_OFF);
}

void timer_done(struct timer *timer)
{
	sd_event_source_disable_unref(timer->source);
	*timer = (struct timer){0};
}
