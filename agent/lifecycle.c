/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/lifecycle.h"

#include <assert.h>
#include <string.h>

#include "common/backoff.h"

/* What a handler gets: the machine, the event, the time, and where the actions go. */
struct step {
	struct lifecycle *lifecycle;
	const struct lifecycle_event *event;
	uint64_t now_ms;
	struct lifecycle_actions *actions;
};

typedef void (*handler)(struct step *step);

static struct lifecycle_action *act(struct step *step, enum lifecycle_action_type type)
{
	struct lifecycle_actions *actions = step->actions;

	assert(actions->n < LIFECYCLE_ACTIONS_MAX);
	actions->list[actions->n] = (struct lifecycle_action){.type = type};
	return &actions->list[actions->n++];
}

static void act_close(struct step *step)
{
	if (step->lifecycle->closed)
		return;
	step->lifecycle->closed = true;
	act(step, LIFECYCLE_DO_CLOSE);
}

/* Nobody accepts any more. A process that has got away may have a socket all the same. */
static void act_shut(struct step *step)
{
	act_close(step);
	act(step, LIFECYCLE_DO_SHUT_LISTENERS);
}

static void act_signal(struct step *step, int signal)
{
	if (signal != 0 && step->lifecycle->alive)
		act(step, LIFECYCLE_DO_SIGNAL)->signal = signal;
}

static void act_timer(struct step *step, uint64_t at_ms)
{
	act(step, LIFECYCLE_DO_TIMER)->at_ms = at_ms;
}

static void act_report_left(struct step *step)
{
	struct lifecycle *lifecycle = step->lifecycle;

	if (!lifecycle->leaving || lifecycle->left)
		return;
	lifecycle->left = true;
	act(step, LIFECYCLE_DO_REPORT_LEFT)->forced = lifecycle->forced;
}

static void kill_all(struct step *step)
{
	step->lifecycle->state = AGENT_KILLING;
	act(step, LIFECYCLE_DO_KILL);
	act_timer(step, step->now_ms + LIFECYCLE_KILL_MS);
}

/* ---- restarts ------------------------------------------------------------------------------- */

static uint32_t restarts_in_window(const struct lifecycle *lifecycle, uint64_t now_ms)
{
	const struct lifecycle_policy *policy = &lifecycle->policy;
	size_t n = lifecycle->n_restarts;
	uint32_t count = 0;

	if (n > LIFECYCLE_RESTARTS_MAX)
		n = LIFECYCLE_RESTARTS_MAX;
	for (size_t i = 0; i < n; i++)
		if (policy->restart_window_ms == 0 ||
		    now_ms - lifecycle->restarts_at_ms[i] < policy->restart_window_ms)
			count++;
	return count;
}

static uint64_t last_restart_ms(const struct lifecycle *lifecycle)
{
	return lifecycle->restarts_at_ms[(lifecycle->n_restarts - 1) % LIFECYCLE_RESTARTS_MAX];
}

/* May the server be started again? If so, count the restart and return its delay. */
static bool take_restart(struct lifecycle *lifecycle, uint64_t now_ms, uint32_t *ret_delay_ms)
{
	uint32_t restarts = restarts_in_window(lifecycle, now_ms);

	assert(!lifecycle->n_restarts || now_ms >= last_restart_ms(lifecycle));
	if (!lifecycle->steady || restarts >= lifecycle->policy.restart_max)
		return false;
	lifecycle->restarts_at_ms[lifecycle->n_restarts++ % LIFECYCLE_RESTARTS_MAX] = now_ms;
	*ret_delay_ms =
		(uint32_t)backoff_delay_ms(lifecycle->policy.restart_delay_ms,
					   lifecycle->policy.restart_delay_max_ms, restarts);
	return true;
}

/* ---- handlers ------------------------------------------------------------------------------- */

static void on_begin(struct step *step)
{
	if (step->lifecycle->spawning)
		return;
	step->lifecycle->spawning = true;
	act(step, LIFECYCLE_DO_SPAWN);
}

/* Was the drain signal sent, or the stop signal? Then by the agent that was killed. */
static void on_adopt(struct step *step)
{
	const struct lifecycle_event *event = step->event;
	struct lifecycle *lifecycle = step->lifecycle;

	if (lifecycle->spawning)
		return;
	assert(event->state == AGENT_RUNNING ? event->alive : event->state >= AGENT_LEAVING);
	lifecycle->steady = event->on;
	lifecycle->alive = event->alive;
	lifecycle->state = event->state;
	lifecycle->signal = event->signal;
	lifecycle->closed = event->state >= AGENT_LEAVING;
	lifecycle->leaving = event->state == AGENT_LEAVING || event->state == AGENT_LEFT;
	lifecycle->left = event->state == AGENT_LEFT;
	lifecycle->stop_at_ms = event->at_ms;
	if (event->state == AGENT_LEAVING)
		act(step, LIFECYCLE_DO_WATCH_LISTENERS);
	if (event->state == AGENT_KILLING || (event->state == AGENT_STOPPING && !event->alive))
		kill_all(step);
	else if (event->state == AGENT_LEAVING || event->state == AGENT_STOPPING)
		act_timer(step, event->at_ms);
}

static void on_spawned(struct step *step)
{
	if (!step->lifecycle->spawning)
		return;
	step->lifecycle->spawning = false;
	step->lifecycle->alive = true;
	step->lifecycle->state = AGENT_RUNNING;
}

/* LEAVE came while the server was being started: now it gets the signal. */
static void on_spawned_while_leaving(struct step *step)
{
	if (!step->lifecycle->spawning)
		return;
	step->lifecycle->spawning = false;
	step->lifecycle->alive = true;
	act_signal(step, step->lifecycle->signal);
}

/* Nobody needs the server any more. */
static void on_spawned_too_late(struct step *step)
{
	if (!step->lifecycle->spawning)
		return;
	step->lifecycle->spawning = false;
	step->lifecycle->alive = true;
	step->lifecycle->killed = true;
	act(step, LIFECYCLE_DO_KILL);
}

static void on_spawn_failed_late(struct step *step)
{
	step->lifecycle->spawning = false;
}

/* An EMPTY that came while it was being started was ignored: ask again. */
static void on_spawn_failed_while_killing(struct step *step)
{
	if (!step->lifecycle->spawning)
		return;
	step->lifecycle->spawning = false;
	act(step, LIFECYCLE_DO_KILL);
}

/* Wait before the restart, and report that. */
static void delay(struct step *step, uint32_t delay_ms)
{
	struct lifecycle_action *action = act(step, LIFECYCLE_DO_REPORT_EXITED);

	action->restarting = true;
	action->restart_ms = delay_ms;
	step->lifecycle->state = AGENT_DELAYING;
	act_timer(step, step->now_ms + delay_ms);
}

static void on_spawn_failed(struct step *step)
{
	uint32_t delay_ms;

	if (!step->lifecycle->spawning)
		return;
	step->lifecycle->spawning = false;
	if (take_restart(step->lifecycle, step->now_ms, &delay_ms)) {
		delay(step, delay_ms);
		return;
	}
	step->lifecycle->state = AGENT_FAILED;
	act_shut(step);
	act(step, LIFECYCLE_DO_REPORT_FAILED);
}

static bool take_passing(struct lifecycle *lifecycle, const struct lifecycle_event *event)
{
	return event->passing && !lifecycle->steady &&
	       lifecycle->n_passing++ < LIFECYCLE_PASSING_MAX;
}

static void on_exited(struct step *step)
{
	struct lifecycle *lifecycle = step->lifecycle;
	uint32_t delay_ms;

	lifecycle->alive = false;
	if (take_restart(lifecycle, step->now_ms, &delay_ms)) {
		act(step, LIFECYCLE_DO_KILL);
		delay(step, delay_ms);
		return;
	}
	if (take_passing(lifecycle, step->event)) {
		act(step, LIFECYCLE_DO_KILL);
		delay(step, LIFECYCLE_PASSING_MS);
		return;
	}
	lifecycle->state = AGENT_FAILED;
	/* Before anything else: connections in the queues migrate to a server that answers. */
	act_shut(step);
	act(step, LIFECYCLE_DO_KILL);
	act(step, LIFECYCLE_DO_REPORT_EXITED);
	if (lifecycle->steady)
		act(step, LIFECYCLE_DO_REPORT_FAILED);
}

static void on_exited_while_leaving(struct step *step)
{
	if (!step->lifecycle->alive)
		return;
	step->lifecycle->alive = false;
	act(step, LIFECYCLE_DO_REPORT_EXITED);
}

static void on_succeeded(struct step *step)
{
	act(step, LIFECYCLE_DO_REPORT_SUCCEEDED);
}

/* Whoever was told before is not told again: the shell sees to that. */
static void on_succeeded_while_leaving(struct step *step)
{
	if (!step->lifecycle->alive)
		return;
	on_succeeded(step);
	act_signal(step, step->lifecycle->signal);
}

static void on_delay_over(struct step *step)
{
	step->lifecycle->state = AGENT_STARTING;
	step->lifecycle->spawning = true;
	act(step, LIFECYCLE_DO_SPAWN);
}

static void on_steady(struct step *step)
{
	step->lifecycle->steady = step->event->on;
}

/* A restart was announced. If it is called off, that must be reported, too. */
static void on_steady_while_delaying(struct step *step)
{
	step->lifecycle->steady = step->event->on;
	if (step->event->on)
		return;
	step->lifecycle->state = AGENT_FAILED;
	act_shut(step);
	act(step, LIFECYCLE_DO_REPORT_FAILED);
}

static void on_leave(struct step *step)
{
	struct lifecycle *lifecycle = step->lifecycle;

	lifecycle->leaving = true;
	lifecycle->signal = step->event->signal;
	lifecycle->state = AGENT_LEAVING;
	/* If a duplicate outlived the server's own close, it would swallow connections. */
	act_close(step);
	act_signal(step, lifecycle->signal);
	act(step, LIFECYCLE_DO_WATCH_LISTENERS);
	act_timer(step, step->now_ms + step->event->timeout_ms);
}

/* No server runs: there is nothing to wait for. */
static void on_leave_dead(struct step *step)
{
	struct lifecycle *lifecycle = step->lifecycle;

	if (lifecycle->spawning) {
		on_leave(step);
		return;
	}
	lifecycle->leaving = true;
	lifecycle->state = AGENT_LEFT;
	act_shut(step);
	act_report_left(step);
}

/* The instance ends anyway. REPORT_LEFT follows when the listeners are gone, or at the end. */
static void on_leave_late(struct step *step)
{
	step->lifecycle->leaving = true;
}

static void on_listeners_gone(struct step *step)
{
	step->lifecycle->state = AGENT_LEFT;
	act_shut(step);
	act_report_left(step);
}

static void on_listeners_gone_late(struct step *step)
{
	act_report_left(step);
}

static void on_leave_timeout(struct step *step)
{
	step->lifecycle->forced = true;
	step->lifecycle->state = AGENT_LEFT;
	act(step, LIFECYCLE_DO_SHUT_LISTENERS);
	act_report_left(step);
}

/* A successor is to get the signal that was sent last. */
static void note_signal(struct step *step)
{
	if (step->event->signal != 0)
		step->lifecycle->signal = step->event->signal;
}

static void on_stop(struct step *step)
{
	struct lifecycle *lifecycle = step->lifecycle;

	act_close(step);
	if (!lifecycle->alive) {
		kill_all(step);
		return;
	}
	lifecycle->state = AGENT_STOPPING;
	note_signal(step);
	lifecycle->stop_at_ms = step->now_ms + step->event->timeout_ms;
	act_signal(step, step->event->signal);
	act_timer(step, lifecycle->stop_at_ms);
}

static void on_stop_again(struct step *step)
{
	struct lifecycle *lifecycle = step->lifecycle;
	uint64_t at_ms = step->now_ms + step->event->timeout_ms;

	note_signal(step);
	act_signal(step, step->event->signal);
	if (at_ms >= lifecycle->stop_at_ms)
		return;
	lifecycle->stop_at_ms = at_ms;
	act_timer(step, at_ms);
}

static void on_exited_while_stopping(struct step *step)
{
	step->lifecycle->alive = false;
	kill_all(step);
}

static void on_stop_timeout(struct step *step)
{
	step->lifecycle->killed = true;
	kill_all(step);
}

static void on_exited_while_killing(struct step *step)
{
	step->lifecycle->alive = false;
}

static void stopped(struct step *step)
{
	struct lifecycle *lifecycle = step->lifecycle;

	lifecycle->alive = false;
	lifecycle->spawning = false;
	lifecycle->state = AGENT_STOPPED;
	act_shut(step);
	act_report_left(step);
	act(step, LIFECYCLE_DO_REPORT_STOPPED)->killed = lifecycle->killed;
}

static void on_empty(struct step *step)
{
	/* There is no process yet, but one is being started. */
	if (step->lifecycle->spawning)
		return;
	step->lifecycle->killed |= step->event->killed;
	stopped(step);
}

/* A process does not even die of SIGKILL. Do not wait for ever. */
static void on_kill_timeout(struct step *step)
{
	step->lifecycle->killed = true;
	stopped(step);
}

/* ---- the table ------------------------------------------------------------------------------ */

/* An event that is not in the table is ignored. */
static const handler handlers[_AGENT_STATE_COUNT][_LIFECYCLE_EVENT_COUNT] = {
	[AGENT_STARTING] =
		{
			[LIFECYCLE_BEGIN] = on_begin,
			[LIFECYCLE_ADOPT] = on_adopt,
			[LIFECYCLE_SPAWNED] = on_spawned,
			[LIFECYCLE_SPAWN_FAILED] = on_spawn_failed,
			[LIFECYCLE_STEADY] = on_steady,
			[LIFECYCLE_LEAVE] = on_leave_dead,
			[LIFECYCLE_STOP] = on_stop,
		},
	[AGENT_RUNNING] =
		{
			[LIFECYCLE_EXITED] = on_exited,
			[LIFECYCLE_SUCCEEDED] = on_succeeded,
			[LIFECYCLE_STEADY] = on_steady,
			[LIFECYCLE_LEAVE] = on_leave,
			[LIFECYCLE_STOP] = on_stop,
		},
	[AGENT_DELAYING] =
		{
			[LIFECYCLE_STEADY] = on_steady_while_delaying,
			[LIFECYCLE_LEAVE] = on_leave_dead,
			[LIFECYCLE_STOP] = on_stop,
			[LIFECYCLE_TIMER] = on_delay_over,
		},
	[AGENT_FAILED] =
		{
			[LIFECYCLE_STEADY] = on_steady,
			[LIFECYCLE_LEAVE] = on_leave_dead,
			[LIFECYCLE_STOP] = on_stop,
		},
	[AGENT_LEAVING] =
		{
			[LIFECYCLE_SPAWNED] = on_spawned_while_leaving,
			[LIFECYCLE_SPAWN_FAILED] = on_spawn_failed_late,
			[LIFECYCLE_EXITED] = on_exited_while_leaving,
			[LIFECYCLE_SUCCEEDED] = on_succeeded_while_leaving,
			[LIFECYCLE_STEADY] = on_steady,
			[LIFECYCLE_STOP] = on_stop,
			[LIFECYCLE_LISTENERS_GONE] = on_listeners_gone,
			[LIFECYCLE_TIMER] = on_leave_timeout,
		},
	[AGENT_LEFT] =
		{
			[LIFECYCLE_SPAWNED] = on_spawned_too_late,
			[LIFECYCLE_SPAWN_FAILED] = on_spawn_failed_late,
			[LIFECYCLE_EXITED] = on_exited_while_leaving,
			[LIFECYCLE_SUCCEEDED] = on_succeeded_while_leaving,
			[LIFECYCLE_STEADY] = on_steady,
			[LIFECYCLE_STOP] = on_stop,
		},
	[AGENT_STOPPING] =
		{
			[LIFECYCLE_EXITED] = on_exited_while_stopping,
			[LIFECYCLE_SUCCEEDED] = on_succeeded_while_leaving,
			[LIFECYCLE_STEADY] = on_steady,
			[LIFECYCLE_LEAVE] = on_leave_late,
			[LIFECYCLE_STOP] = on_stop_again,
			[LIFECYCLE_LISTENERS_GONE] = on_listeners_gone_late,
			[LIFECYCLE_TIMER] = on_stop_timeout,
		},
	[AGENT_KILLING] =
		{
			[LIFECYCLE_SPAWNED] = on_spawned_too_late,
			[LIFECYCLE_SPAWN_FAILED] = on_spawn_failed_while_killing,
			[LIFECYCLE_EXITED] = on_exited_while_killing,
			[LIFECYCLE_STEADY] = on_steady,
			[LIFECYCLE_LEAVE] = on_leave_late,
			[LIFECYCLE_LISTENERS_GONE] = on_listeners_gone_late,
			[LIFECYCLE_EMPTY] = on_empty,
			[LIFECYCLE_TIMER] = on_kill_timeout,
		},
	[AGENT_STOPPED] = {0},
};

/* What holds between any two steps. */
static void check(const struct lifecycle *lifecycle)
{
	assert(lifecycle->state < _AGENT_STATE_COUNT);
	assert(!(lifecycle->spawning && lifecycle->alive));
	assert(lifecycle->state != AGENT_RUNNING || lifecycle->alive);
	/* From AGENT_FAILED on nobody accepts from the agent's duplicates. */
	assert(lifecycle->state < AGENT_FAILED || lifecycle->closed);
	assert(!lifecycle->left || lifecycle->leaving);
}

void lifecycle_init(struct lifecycle *lifecycle, const struct lifecycle_policy *policy)
{
	*lifecycle = (struct lifecycle){.policy = *policy, .state = AGENT_STARTING};
	if (lifecycle->policy.restart_max > LIFECYCLE_RESTARTS_MAX)
		lifecycle->policy.restart_max = LIFECYCLE_RESTARTS_MAX;
}

void lifecycle_step(struct lifecycle *lifecycle, const struct lifecycle_event *event,
		    uint64_t now_ms, struct lifecycle_actions *ret)
{
	struct step step = {
		.lifecycle = lifecycle,
		.event = event,
		.now_ms = now_ms,
		.actions = ret,
	};
	handler handle;

	check(lifecycle);
	assert(event->type < _LIFECYCLE_EVENT_COUNT);
	ret->n = 0;
	handle = handlers[lifecycle->state][event->type];
	if (handle)
		handle(&step);
	check(lifecycle);
}
