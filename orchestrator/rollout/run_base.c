/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/backoff.h"
#include "common/clock.h"
#include "orchestrator/rollout/run_internal.h"

/* The first look comes after FIRST_POLL_MS, each next one after twice as long, up to these. */
#define FIRST_POLL_MS  1
#define SETTLE_POLL_MS 5
#define DELAY_POLL_MS  20
#define LEAVE_POLL_MS  20
#define DRAIN_POLL_MS  50
#define STOP_POLL_MS   5 /* after their agents have said that they have stopped */

const char *run_order_name(enum run_order order)
{
	static const char *const names[_RUN_ORDER_COUNT] = {
		[RUN_ORDER_RESTART] = "restart",   [RUN_ORDER_UPGRADE] = "upgrade",
		[RUN_ORDER_ROLLBACK] = "rollback", [RUN_ORDER_START] = "start",
		[RUN_ORDER_STOP] = "stop",         [RUN_ORDER_SCALE] = "scale",
		[RUN_ORDER_REPLACE] = "replace",   [RUN_ORDER_RETIRE] = "retire",
		[RUN_ORDER_RESTORE] = "restore",
	};

	assert(order < _RUN_ORDER_COUNT);
	return names[order];
}

void run_set_deadline(struct run *run, uint64_t at_ms)
{
	run->deadline_ms = at_ms;
	if (at_ms > 0)
		timer_set(&run->timer, run->host->event, at_ms, run->on_deadline, run);
	else
		timer_stop(&run->timer);
}

void run_poll_begin(struct run *run)
{
	run->polls = 0;
	run_poll(run);
}

void run_poll(struct run *run)
{
	static const uint64_t most_ms[_ROLLOUT_STATE_COUNT] = {
		[ROLLOUT_SETTLING] = SETTLE_POLL_MS, [ROLLOUT_DELAYING] = DELAY_POLL_MS,
		[ROLLOUT_LEAVING] = LEAVE_POLL_MS,   [ROLLOUT_DRAINING] = DRAIN_POLL_MS,
		[ROLLOUT_STOPPING] = STOP_POLL_MS,
	};
	uint64_t most = most_ms[run->machine.state], now_ms = clock_monotonic_ms();

	assert(most > 0);
	timer_set(&run->poll, run->host->event,
		  now_ms + backoff_delay_ms(FIRST_POLL_MS, most, run->polls++), run->on_poll, run);
}

void run_poke(struct run *run)
{
	run->host->ops->poke(run->host->userdata);
}

bool run_ends_with_service(const struct run *run)
{
	return run->machine.state == ROLLOUT_DELAYING || run->machine.state == ROLLOUT_DRAINING;
}

void run_set_reason(struct run *run, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(run->reason, sizeof(run->reason), format, ap);
	va_end(ap);
}

uint64_t run_idle_timeout_ms(const struct run *run)
{
	return run->victims.n > 0 ? run->victims.list[0]->config->drain.idle_timeout_ms : 0;
}

const struct instances *run_asked(const struct run *run, enum hook_point point)
{
	static const enum rollout_side sides[] = {
		[HOOK_BEFORE_START] = ROLLOUT_OLD, [HOOK_AFTER_SHIFT] = ROLLOUT_NEW,
		[HOOK_AFTER_DRAIN] = ROLLOUT_NEW,  [HOOK_ON_ROLLBACK] = ROLLOUT_OLD,
		[HOOK_ON_FAILURE] = ROLLOUT_OLD,   [_HOOK_COUNT] = ROLLOUT_NEW,
	};

	if (point == _HOOK_COUNT && run->machine.point == ROLLOUT_GATE_SHIFT)
		return &run->batch;
	return &run->side[sides[point]];
}
