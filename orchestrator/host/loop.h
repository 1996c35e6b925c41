/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loop: runs an sd-event loop, and knows how long its turns take. A turn calls one handler. While
 * it lasts nothing else happens, so the longest one is how late anything may have been.
 */
#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

struct loop_times {
	uint64_t turns;
	uint64_t longest_us;
	uint64_t longest_realtime_ms; /* when that ended; 0: there was none */
};

/* As sd_event_loop(3). @times, zeroed at first, is kept up to date. */
int loop_run(sd_event *event, struct loop_times *times);
