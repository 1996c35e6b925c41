/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * timer: deadlines, and conditions that can only be asked for again and again.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* All zero at first; timer_done() at the end. */
struct timer {
	sd_event_source *source;
	bool active;
	uint64_t delay_ms;
};

/* Call @handler once at @at_ms (CLOCK_MONOTONIC); replaces what was set before. */
void timer_set(struct timer *timer, sd_event *event, uint64_t at_ms,
	       sd_event_time_handler_t handler, void *userdata);

/* From now on timer_again() begins with the shortest delay. */
void timer_begin(struct timer *timer);

/* Call @handler after a delay that doubles from 5 to 50 ms with each call. */
void timer_again(struct timer *timer, sd_event *event, sd_event_time_handler_t handler,
		 void *userdata);

void timer_stop(struct timer *timer);
void timer_done(struct timer *timer);
