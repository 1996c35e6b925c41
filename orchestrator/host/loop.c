/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/loop.h"

#include <time.h>

#include "common/clock.h"

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void note(struct loop_times *times, uint64_t took_us)
{
	times->turns++;
	if (took_us < times->longest_us || took_us == 0)
		return;
	times->longest_us = took_us;
	times->longest_realtime_ms = clock_realtime_ms();
}

static int turn(sd_event *event, struct loop_times *times)
{
	uint64_t began_us;
	int r = sd_event_prepare(event);

	if (r == 0)
		r = sd_event_wait(event, UINT64_MAX);
	if (r <= 0)
		return r;
	began_us = now_us();
	r = sd_event_dispatch(event);
	note(times, now_us() - began_us);
	return r;
}

int loop_run(sd_event *event, struct loop_times *times)
{
	int r = 0, code;

	while (r >= 0 && sd_event_get_state(event) != SD_EVENT_FINISHED)
		r = turn(event, times);
	if (r < 0)
		return r;
	r = sd_event_get_exit_code(event, &code);
	return r < 0 ? r : code;
}
