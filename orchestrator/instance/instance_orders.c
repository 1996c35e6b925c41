/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/instance/instance_internal.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/handover.h"

/* Whatever dies of SIGKILL is mostly dead by then, of all that are killed together. */
#define KILL_WAIT_MS 50

void instance_steady(struct instance *i, bool on)
{
	i->steady = on;
	instance_order(i, &(struct order){.type = ORDER_STEADY, .on = on});
}

int instance_reopen(struct instance *i, uint32_t serial)
{
	int r;

	assert(serial > 0);
	r = instance_order(i, &(struct order){.type = ORDER_REOPEN, .serial = serial});
	return r < 0 || i->reopens ? r : -EOPNOTSUPP;
}

/* A server that cannot drain is not asked to: its sockets are shut down at once. */
static bool is_asked_to_drain(const struct instance *i)
{
	return i->config->drain.wait != DRAIN_WAIT_CONNECTIONS;
}

static uint64_t leave_timeout_ms(const struct instance *i)
{
	return is_asked_to_drain(i) ? i->config->drain.leave_timeout_ms : 0;
}

static int leave_signal(const struct instance *i)
{
	return is_asked_to_drain(i) ? i->config->drain.signal : 0;
}

void instance_order_leave(struct instance *i)
{
	instance_order(i, &(struct order){.type = ORDER_LEAVE,
					  .signal = leave_signal(i),
					  .timeout_ms = (uint32_t)leave_timeout_ms(i)});
}

void instance_leave(struct instance *i)
{
	if (i->phase >= INSTANCE_LEAVING)
		return;
	instance_uncheck(i);
	instance_enter(i, INSTANCE_LEAVING);
	if (!i->lost) {
		instance_order_leave(i);
		return;
	}
	instance_hurry_lost(i, clock_monotonic_ms() + leave_timeout_ms(i));
	instance_signal_lost(i, leave_signal(i));
}

/* The drain signal was sent when the instance was told to leave. */
static bool has_had_sigterm(const struct instance *i)
{
	bool told = i->phase == INSTANCE_LEAVING || i->phase == INSTANCE_LEFT;

	return told && is_asked_to_drain(i) && i->config->drain.signal == SIGTERM;
}

/*
 * The stop signal is SIGTERM. A server that was told to drain by SIGTERM does not get a second one:
 * for many servers that means "at once", while they may still be writing their last answers.
 */
static int stop_signal(const struct instance *i)
{
	return i->stop_without_signal ? 0 : SIGTERM;
}

void instance_order_stop(struct instance *i)
{
	instance_order(i,
		       &(struct order){.type = ORDER_STOP,
				       .signal = stop_signal(i),
				       .timeout_ms = (uint32_t)i->config->drain.kill_timeout_ms});
}

void instance_stop(struct instance *i)
{
	if (i->phase >= INSTANCE_STOPPING)
		return;
	i->stop_without_signal = has_had_sigterm(i);
	instance_uncheck(i);
	instance_enter(i, INSTANCE_STOPPING);
	if (!i->lost) {
		instance_order_stop(i);
		return;
	}
	instance_hurry_lost(i, clock_monotonic_ms() + i->config->drain.kill_timeout_ms);
	instance_signal_lost(i, stop_signal(i));
}

static void kill_all(struct instance *i)
{
	if (i->cgroup[0]) {
		cgroup_kill(i->cgroup);
		return;
	}
	/* Before the agent: they are found as its descendants. */
	if (i->processes)
		processes_kill(i->processes);
	else
		instance_signal_main(i, SIGKILL);
}

static void kill_one(struct instance *i)
{
	instance_uncheck(i);
	i->killed = true;
	if (!i->cgroup[0])
		kill_all(i);
	if (!i->lost && i->link)
		(void)agentlink_signal(i->link, SIGKILL);
	if (i->cgroup[0])
		kill_all(i);
	handover_remove(i->socket_path);
	unlink(i->socket_path);
}

static void end_killed(struct instance *i)
{
	instance_shut_orphans(i);
	/* If its server had ended before, its end is known. Its processes without agent: nobody's.
	 */
	if (i->pid > 0) {
		i->ending = ENDING_TOLD;
		i->exit_code = 0;
		i->exit_signal = SIGKILL;
	}
	i->asked = false;
	instance_know_pid(i, 0);
	instance_enter(i, INSTANCE_STOPPED);
}

void instance_kill_many(struct instance *const *list, size_t n)
{
	uint64_t end_ms, now_ms;

	for (size_t k = 0; k < n; k++)
		if (!instance_has_stopped(list[k]))
			kill_one(list[k]);
	/* What follows may need what their processes have: a lock, a port. */
	end_ms = clock_monotonic_ms() + KILL_WAIT_MS;
	for (size_t k = 0; k < n; k++) {
		if (instance_has_stopped(list[k]))
			continue;
		now_ms = clock_monotonic_ms();
		if (list[k]->cgroup[0] && now_ms < end_ms)
			(void)cgroup_wait_empty(list[k]->cgroup, (int)(end_ms - now_ms));
		end_killed(list[k]);
	}
}
