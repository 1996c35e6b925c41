/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "agent/lifecycle.h"

#define NOW 10000

static const struct lifecycle_policy policy = {
	.restart_max = 3,
	.restart_window_ms = 60000,
	.restart_delay_ms = 100,
	.restart_delay_max_ms = 300,
};

static const char *const event_names[_LIFECYCLE_EVENT_COUNT] = {
	[LIFECYCLE_BEGIN] = "begin",     [LIFECYCLE_ADOPT] = "adopt",
	[LIFECYCLE_SPAWNED] = "spawned", [LIFECYCLE_SPAWN_FAILED] = "spawn-failed",
	[LIFECYCLE_EXITED] = "exited",   [LIFECYCLE_SUCCEEDED] = "succeeded",
	[LIFECYCLE_STEADY] = "steady",   [LIFECYCLE_LEAVE] = "leave",
	[LIFECYCLE_STOP] = "stop",       [LIFECYCLE_LISTENERS_GONE] = "listeners-gone",
	[LIFECYCLE_EMPTY] = "empty",     [LIFECYCLE_TIMER] = "timer",
};

/* ---- saying what happened ------------------------------------------------------------------- */

static void describe_action(const struct lifecycle_action *action, char *ret, size_t size)
{
	switch (action->type) {
	case LIFECYCLE_DO_SPAWN:
		snprintf(ret, size, "spawn ");
		break;
	case LIFECYCLE_DO_CLOSE:
		snprintf(ret, size, "close ");
		break;
	case LIFECYCLE_DO_SIGNAL:
		snprintf(ret, size, "signal:%d ", action->signal);
		break;
	case LIFECYCLE_DO_WATCH_LISTENERS:
		snprintf(ret, size, "watch ");
		break;
	case LIFECYCLE_DO_SHUT_LISTENERS:
		snprintf(ret, size, "shut ");
		break;
	case LIFECYCLE_DO_KILL:
		snprintf(ret, size, "kill ");
		break;
	case LIFECYCLE_DO_TIMER:
		snprintf(ret, size, "timer:+%d ", (int)(action->at_ms - NOW));
		break;
	case LIFECYCLE_DO_REPORT_EXITED:
		if (action->restarting)
			snprintf(ret, size, "exited:%u ", action->restart_ms);
		else
			snprintf(ret, size, "exited ");
		break;
	case LIFECYCLE_DO_REPORT_SUCCEEDED:
		snprintf(ret, size, "succeeded ");
		break;
	case LIFECYCLE_DO_REPORT_FAILED:
		snprintf(ret, size, "failed ");
		break;
	case LIFECYCLE_DO_REPORT_LEFT:
		snprintf(ret, size, "left%s ", action->forced ? "!" : "");
		break;
	case LIFECYCLE_DO_REPORT_STOPPED:
		snprintf(ret, size, "stopped%s ", action->killed ? "!" : "");
		break;
	}
}

/* "close shut kill exited | failed": the actions, and the state after them. */
static void describe(const struct lifecycle *lifecycle, const struct lifecycle_actions *actions,
		     char *ret, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < actions->n; i++) {
		describe_action(&actions->list[i], ret + n, size - n);
		n += strlen(ret + n);
	}
	snprintf(ret + n, size - n, "| %s", agent_state_name(lifecycle->state));
}

static struct lifecycle_event event_of(enum lifecycle_event_type type)
{
	return (struct lifecycle_event){
		.type = type,
		.on = true,
		.signal = type == LIFECYCLE_LEAVE ? SIGQUIT : SIGTERM,
		.timeout_ms = type == LIFECYCLE_LEAVE ? 2000 : 1000,
		.state = AGENT_RUNNING,
		.alive = true,
	};
}

static const char *step_event(struct lifecycle *lifecycle, const struct lifecycle_event *event,
			      uint64_t now_ms)
{
	static char text[512];
	struct lifecycle_actions actions;

	lifecycle_step(lifecycle, event, now_ms, &actions);
	describe(lifecycle, &actions, text, sizeof(text));
	return text;
}

static const char *step(struct lifecycle *lifecycle, enum lifecycle_event_type type)
{
	struct lifecycle_event event = event_of(type);

	return step_event(lifecycle, &event, NOW);
}

static const char *step_steady(struct lifecycle *lifecycle, bool on)
{
	return step_event(lifecycle, &(struct lifecycle_event){.type = LIFECYCLE_STEADY, .on = on},
			  NOW);
}

static struct lifecycle running(bool steady)
{
	struct lifecycle lifecycle;

	lifecycle_init(&lifecycle, &policy);
	step(&lifecycle, LIFECYCLE_BEGIN);
	step(&lifecycle, LIFECYCLE_SPAWNED);
	step_steady(&lifecycle, steady);
	return lifecycle;
}

/* ---- every cell of the table ---------------------------------------------------------------- */

static struct lifecycle in_state(enum agent_state state)
{
	struct lifecycle lifecycle = running(state == AGENT_DELAYING);

	switch (state) {
	case AGENT_STARTING:
		lifecycle_init(&lifecycle, &policy);
		break;
	case AGENT_RUNNING:
		break;
	case AGENT_DELAYING:
	case AGENT_FAILED:
		step(&lifecycle, LIFECYCLE_EXITED);
		break;
	case AGENT_LEAVING:
		step(&lifecycle, LIFECYCLE_LEAVE);
		break;
	case AGENT_LEFT:
		step(&lifecycle, LIFECYCLE_LEAVE);
		step(&lifecycle, LIFECYCLE_LISTENERS_GONE);
		break;
	case AGENT_STOPPING:
		step(&lifecycle, LIFECYCLE_STOP);
		break;
	case AGENT_KILLING:
		step(&lifecycle, LIFECYCLE_STOP);
		step(&lifecycle, LIFECYCLE_EXITED);
		break;
	case AGENT_STOPPED:
		step(&lifecycle, LIFECYCLE_STOP);
		step(&lifecycle, LIFECYCLE_EXITED);
		step(&lifecycle, LIFECYCLE_EMPTY);
		break;
	case _AGENT_STATE_COUNT:
		break;
	}
	assert_int_equal(lifecycle.state, state);
	return lifecycle;
}

#define SAME(state) "| " state

static const char *const cells[_AGENT_STATE_COUNT][_LIFECYCLE_EVENT_COUNT] =
	{
		[AGENT_STARTING] =
			{
				[LIFECYCLE_BEGIN] = "spawn | starting",
				[LIFECYCLE_ADOPT] = SAME("running"),
				[LIFECYCLE_SPAWNED] =
					SAME("starting"), /* of something that was not asked for */
				[LIFECYCLE_SPAWN_FAILED] = SAME("starting"),
				[LIFECYCLE_EXITED] = SAME("starting"),
				[LIFECYCLE_SUCCEEDED] = SAME("starting"),
				[LIFECYCLE_STEADY] = SAME("starting"),
				[LIFECYCLE_LEAVE] = "close shut left | left",
				[LIFECYCLE_STOP] = "close kill timer:+5000 | killing",
				[LIFECYCLE_LISTENERS_GONE] = SAME("starting"),
				[LIFECYCLE_EMPTY] = SAME("starting"),
				[LIFECYCLE_TIMER] = SAME("starting"),
			},
		[AGENT_RUNNING] =
			{
				[LIFECYCLE_BEGIN] = SAME("running"),
				[LIFECYCLE_ADOPT] = SAME("running"),
				[LIFECYCLE_SPAWNED] = SAME("running"),
				[LIFECYCLE_SPAWN_FAILED] = SAME("running"),
				[LIFECYCLE_EXITED] = "close shut kill exited | failed",
				[LIFECYCLE_SUCCEEDED] = "succeeded | running",
				[LIFECYCLE_STEADY] = SAME("running"),
				[LIFECYCLE_LEAVE] = "close signal:3 watch timer:+2000 | leaving",
				[LIFECYCLE_STOP] = "close signal:15 timer:+1000 | stopping",
				[LIFECYCLE_LISTENERS_GONE] = SAME("running"),
				[LIFECYCLE_EMPTY] = SAME("running"),
				[LIFECYCLE_TIMER] = SAME("running"),
			},
		[AGENT_DELAYING] =
			{
				[LIFECYCLE_BEGIN] = SAME("delaying"),
				[LIFECYCLE_ADOPT] = SAME("delaying"),
				[LIFECYCLE_SPAWNED] = SAME("delaying"),
				[LIFECYCLE_SPAWN_FAILED] = SAME("delaying"),
				[LIFECYCLE_EXITED] = SAME("delaying"),
				[LIFECYCLE_SUCCEEDED] = SAME("delaying"),
				[LIFECYCLE_STEADY] = SAME("delaying"),
				[LIFECYCLE_LEAVE] = "close shut left | left",
				[LIFECYCLE_STOP] = "close kill timer:+5000 | killing",
				[LIFECYCLE_LISTENERS_GONE] = SAME("delaying"),
				[LIFECYCLE_EMPTY] = SAME("delaying"),
				[LIFECYCLE_TIMER] = "spawn | starting",
			},
		[AGENT_FAILED] =
			{
				[LIFECYCLE_BEGIN] = SAME("failed"),
				[LIFECYCLE_ADOPT] = SAME("failed"),
				[LIFECYCLE_SPAWNED] = SAME("failed"),
				[LIFECYCLE_SPAWN_FAILED] = SAME("failed"),
				[LIFECYCLE_EXITED] = SAME("failed"),
				[LIFECYCLE_SUCCEEDED] = SAME("failed"),
				[LIFECYCLE_STEADY] = SAME("failed"),
				[LIFECYCLE_LEAVE] = "shut left | left",
				[LIFECYCLE_STOP] = "kill timer:+5000 | killing",
				[LIFECYCLE_LISTENERS_GONE] = SAME("failed"),
				[LIFECYCLE_EMPTY] = SAME("failed"),
				[LIFECYCLE_TIMER] = SAME("failed"),
			},
		[AGENT_LEAVING] =
			{
				[LIFECYCLE_BEGIN] = SAME("leaving"),
				[LIFECYCLE_ADOPT] = SAME("leaving"),
				[LIFECYCLE_SPAWNED] = SAME("leaving"),
				[LIFECYCLE_SPAWN_FAILED] = SAME("leaving"),
				[LIFECYCLE_EXITED] = "exited | leaving",
				[LIFECYCLE_SUCCEEDED] = "succeeded signal:3 | leaving",
				[LIFECYCLE_STEADY] = SAME("leaving"),
				[LIFECYCLE_LEAVE] = SAME("leaving"),
				[LIFECYCLE_STOP] = "signal:15 timer:+1000 | stopping",
				[LIFECYCLE_LISTENERS_GONE] = "shut left | left",
				[LIFECYCLE_EMPTY] = SAME("leaving"),
				[LIFECYCLE_TIMER] = "shut left! | left",
			},
		[AGENT_LEFT] =
			{
				[LIFECYCLE_BEGIN] = SAME("left"),
				[LIFECYCLE_ADOPT] = SAME("left"),
				[LIFECYCLE_SPAWNED] = SAME("left"),
				[LIFECYCLE_SPAWN_FAILED] = SAME("left"),
				[LIFECYCLE_EXITED] = "exited | left",
				[LIFECYCLE_SUCCEEDED] = "succeeded signal:3 | left",
				[LIFECYCLE_STEADY] = SAME("left"),
				[LIFECYCLE_LEAVE] = SAME("left"),
				[LIFECYCLE_STOP] = "signal:15 timer:+1000 | stopping",
				[LIFECYCLE_LISTENERS_GONE] = SAME("left"),
				[LIFECYCLE_EMPTY] = SAME("left"),
				[LIFECYCLE_TIMER] = SAME("left"),
			},
		[AGENT_STOPPING] =
			{
				[LIFECYCLE_BEGIN] = SAME("stopping"),
				[LIFECYCLE_ADOPT] = SAME("stopping"),
				[LIFECYCLE_SPAWNED] = SAME("stopping"),
				[LIFECYCLE_SPAWN_FAILED] = SAME("stopping"),
				[LIFECYCLE_EXITED] = "kill timer:+5000 | killing",
				[LIFECYCLE_SUCCEEDED] = "succeeded signal:15 | stopping",
				[LIFECYCLE_STEADY] = SAME("stopping"),
				[LIFECYCLE_LEAVE] = SAME("stopping"),
				[LIFECYCLE_STOP] = "signal:15 | stopping",
				[LIFECYCLE_LISTENERS_GONE] = SAME("stopping"),
				[LIFECYCLE_EMPTY] = SAME("stopping"),
				[LIFECYCLE_TIMER] = "kill timer:+5000 | killing",
			},
		[AGENT_KILLING] =
			{
				[LIFECYCLE_BEGIN] = SAME("killing"),
				[LIFECYCLE_ADOPT] = SAME("killing"),
				[LIFECYCLE_SPAWNED] = SAME("killing"),
				[LIFECYCLE_SPAWN_FAILED] = SAME("killing"),
				[LIFECYCLE_EXITED] = SAME("killing"),
				[LIFECYCLE_SUCCEEDED] = SAME("killing"),
				[LIFECYCLE_STEADY] = SAME("killing"),
				[LIFECYCLE_LEAVE] = SAME("killing"),
				[LIFECYCLE_STOP] = SAME("killing"),
				[LIFECYCLE_LISTENERS_GONE] = SAME("killing"),
				[LIFECYCLE_EMPTY] = "shut stopped | stopped",
				[LIFECYCLE_TIMER] = "shut stopped! | stopped",
			},
		[AGENT_STOPPED] =
			{
				[LIFECYCLE_BEGIN] = SAME("stopped"),
				[LIFECYCLE_ADOPT] = SAME("stopped"),
				[LIFECYCLE_SPAWNED] = SAME("stopped"),
				[LIFECYCLE_SPAWN_FAILED] = SAME("stopped"),
				[LIFECYCLE_EXITED] = SAME("stopped"),
				[LIFECYCLE_SUCCEEDED] = SAME("stopped"),
				[LIFECYCLE_STEADY] = SAME("stopped"),
				[LIFECYCLE_LEAVE] = SAME("stopped"),
				[LIFECYCLE_STOP] = SAME("stopped"),
				[LIFECYCLE_LISTENERS_GONE] = SAME("stopped"),
				[LIFECYCLE_EMPTY] = SAME("stopped"),
				[LIFECYCLE_TIMER] = SAME("stopped"),
			},
};

static void test_lifecycle_every_cell_as_expected(void **data)
{
	(void)data;
	for (int state = 0; state < _AGENT_STATE_COUNT; state++) {
		for (int type = 0; type < _LIFECYCLE_EVENT_COUNT; type++) {
			struct lifecycle lifecycle = in_state((enum agent_state)state);
			const char *got = step(&lifecycle, (enum lifecycle_event_type)type);

			assert_non_null(cells[state][type]);
			if (strcmp(got, cells[state][type]) != 0)
				fail_msg("%s + %s: \"%s\", expected \"%s\"",
					 agent_state_name((enum agent_state)state),
					 event_names[type], got, cells[state][type]);
		}
	}
}

/* ---- while exec is under way ---------------------------------------------------------------- */

static struct lifecycle spawning(void)
{
	struct lifecycle lifecycle;

	lifecycle_init(&lifecycle, &policy);
	step(&lifecycle, LIFECYCLE_BEGIN);
	return lifecycle;
}

static void test_lifecycle_spawning_events_as_expected(void **data)
{
	struct lifecycle lifecycle = spawning();

	(void)data;
	assert_string_equal(step(&lifecycle, LIFECYCLE_BEGIN), "| starting");
	assert_string_equal(step(&lifecycle, LIFECYCLE_SPAWNED), "| running");
	lifecycle = spawning();
	assert_string_equal(step(&lifecycle, LIFECYCLE_SPAWN_FAILED), "close shut failed | failed");
	lifecycle = spawning();
	step_steady(&lifecycle, true);
	assert_string_equal(step(&lifecycle, LIFECYCLE_SPAWN_FAILED),
			    "exited:100 timer:+100 | delaying");
}

static void test_lifecycle_leave_while_spawning_signals_later(void **data)
{
	struct lifecycle lifecycle = spawning();

	(void)data;
	assert_string_equal(step(&lifecycle, LIFECYCLE_LEAVE), "close watch timer:+2000 | leaving");
	assert_string_equal(step(&lifecycle, LIFECYCLE_SPAWNED), "signal:3 | leaving");
	lifecycle = spawning();
	step(&lifecycle, LIFECYCLE_LEAVE);
	assert_string_equal(step(&lifecycle, LIFECYCLE_SPAWN_FAILED), "| leaving");
	assert_string_equal(step(&lifecycle, LIFECYCLE_LISTENERS_GONE), "shut left | left");
}

static void test_lifecycle_spawned_after_left_is_killed(void **data)
{
	struct lifecycle lifecycle = spawning();

	(void)data;
	step(&lifecycle, LIFECYCLE_LEAVE);
	assert_string_equal(step(&lifecycle, LIFECYCLE_TIMER), "shut left! | left");
	assert_string_equal(step(&lifecycle, LIFECYCLE_SPAWNED), "kill | left");
	assert_string_equal(step(&lifecycle, LIFECYCLE_EXITED), "exited | left");
}

static void test_lifecycle_stop_while_spawning_kills(void **data)
{
	struct lifecycle lifecycle = spawning();

	(void)data;
	assert_string_equal(step(&lifecycle, LIFECYCLE_STOP), "close kill timer:+5000 | killing");
	/* Empty, because the child is not there yet. */
	assert_string_equal(step(&lifecycle, LIFECYCLE_EMPTY), "| killing");
	assert_string_equal(step(&lifecycle, LIFECYCLE_SPAWNED), "kill | killing");
	assert_string_equal(step(&lifecycle, LIFECYCLE_EMPTY), "shut stopped! | stopped");
	lifecycle = spawning();
	step(&lifecycle, LIFECYCLE_STOP);
	assert_string_equal(step(&lifecycle, LIFECYCLE_SPAWN_FAILED), "kill | killing");
	assert_string_equal(step(&lifecycle, LIFECYCLE_EMPTY), "shut stopped | stopped");
}

/* ---- restarts ------------------------------------------------------------------------------- */

static void test_lifecycle_steady_crashes_restart_with_growing_delays(void **data)
{
	static const char *const expected[] = {
		"kill exited:100 timer:+100 | delaying", "kill exited:200 timer:+200 | delaying",
		"kill exited:300 timer:+300 | delaying", /* capped */
	};
	struct lifecycle lifecycle = running(true);

	(void)data;
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(step(&lifecycle, LIFECYCLE_EXITED), expected[i]);
		assert_string_equal(step(&lifecycle, LIFECYCLE_TIMER), "spawn | starting");
		assert_string_equal(step(&lifecycle, LIFECYCLE_SPAWNED), "| running");
	}
	assert_string_equal(step(&lifecycle, LIFECYCLE_EXITED),
			    "close shut kill exited failed | failed");
}

static void test_lifecycle_restarts_outside_window_do_not_count(void **data)
{
	struct lifecycle lifecycle = running(true);
	struct lifecycle_event exited = event_of(LIFECYCLE_EXITED);

	(void)data;
	for (uint64_t i = 0; i < 200; i++) {
		struct lifecycle_actions actions;

		lifecycle_step(&lifecycle, &exited, NOW + i * policy.restart_window_ms, &actions);
		assert_int_equal(lifecycle.state, AGENT_DELAYING);
		assert_int_equal(actions.list[1].restart_ms, policy.restart_delay_ms);
		step(&lifecycle, LIFECYCLE_TIMER);
		step(&lifecycle, LIFECYCLE_SPAWNED);
	}
}

static void test_lifecycle_restart_just_inside_window_counts(void **data)
{
	struct lifecycle lifecycle = running(true);
	struct lifecycle_event exited = event_of(LIFECYCLE_EXITED);
	struct lifecycle_actions actions;

	(void)data;
	lifecycle_step(&lifecycle, &exited, NOW, &actions);
	step(&lifecycle, LIFECYCLE_TIMER);
	step(&lifecycle, LIFECYCLE_SPAWNED);
	lifecycle_step(&lifecycle, &exited, NOW + policy.restart_window_ms - 1, &actions);
	assert_int_equal(actions.list[1].restart_ms, 2 * policy.restart_delay_ms);
}

static void test_lifecycle_policy_extremes_are_bounded(void **data)
{
	struct lifecycle_policy extreme = {
		.restart_max = UINT32_MAX,
		.restart_window_ms = 0, /* for ever */
		.restart_delay_ms = UINT32_MAX,
		.restart_delay_max_ms = UINT32_MAX,
	};
	struct lifecycle lifecycle;
	int restarts = 0;

	(void)data;
	lifecycle_init(&lifecycle, &extreme);
	step(&lifecycle, LIFECYCLE_BEGIN);
	step(&lifecycle, LIFECYCLE_SPAWNED);
	step_steady(&lifecycle, true);
	for (;;) {
		step(&lifecycle, LIFECYCLE_EXITED);
		if (lifecycle.state == AGENT_FAILED)
			break;
		restarts++;
		assert_true(restarts <= LIFECYCLE_RESTARTS_MAX);
		step(&lifecycle, LIFECYCLE_TIMER);
		step(&lifecycle, LIFECYCLE_SPAWNED);
	}
	assert_int_equal(restarts, LIFECYCLE_RESTARTS_MAX);
}

static void test_lifecycle_steady_without_restarts_fails_at_once(void **data)
{
	struct lifecycle_policy none = {0};
	struct lifecycle lifecycle;

	(void)data;
	lifecycle_init(&lifecycle, &none);
	step(&lifecycle, LIFECYCLE_BEGIN);
	step(&lifecycle, LIFECYCLE_SPAWNED);
	step_steady(&lifecycle, true);
	assert_string_equal(step(&lifecycle, LIFECYCLE_EXITED),
			    "close shut kill exited failed | failed");
}

static void test_lifecycle_steady_off_while_delaying_gives_up(void **data)
{
	struct lifecycle lifecycle = in_state(AGENT_DELAYING);

	(void)data;
	assert_string_equal(step_steady(&lifecycle, false), "close shut failed | failed");
	assert_string_equal(step(&lifecycle, LIFECYCLE_TIMER), "| failed");
}

static void test_lifecycle_steady_off_then_exit_is_not_restarted(void **data)
{
	struct lifecycle lifecycle = running(true);

	(void)data;
	step_steady(&lifecycle, false);
	assert_string_equal(step(&lifecycle, LIFECYCLE_EXITED), "close shut kill exited | failed");
}

/* ---- leave and stop ------------------------------------------------------------------------- */

/* What was in its way goes by itself: it need not be steady to be started again. */
static void test_lifecycle_exit_for_what_passes_is_restarted(void **data)
{
	const struct lifecycle_event passing = {.type = LIFECYCLE_EXITED, .passing = true};
	struct lifecycle lifecycle = running(false);

	(void)data;
	for (unsigned i = 0; i < LIFECYCLE_PASSING_MAX; i++) {
		assert_string_equal(step_event(&lifecycle, &passing, NOW),
				    "kill exited:500 timer:+500 | delaying");
		assert_string_equal(step(&lifecycle, LIFECYCLE_TIMER), "spawn | starting");
		assert_string_equal(step(&lifecycle, LIFECYCLE_SPAWNED), "| running");
	}
	assert_string_equal(step_event(&lifecycle, &passing, NOW),
			    "close shut kill exited | failed");
	/* One that is steady has its own restarts. */
	lifecycle = running(true);
	assert_string_equal(step_event(&lifecycle, &passing, NOW),
			    "kill exited:100 timer:+100 | delaying");
	/* It is stopped meanwhile. */
	lifecycle = running(false);
	step_event(&lifecycle, &passing, NOW);
	assert_string_equal(step(&lifecycle, LIFECYCLE_STOP), "close kill timer:+5000 | killing");
}

static void test_lifecycle_leave_without_signal_sends_none(void **data)
{
	struct lifecycle lifecycle = running(false);
	struct lifecycle_event leave = {.type = LIFECYCLE_LEAVE, .timeout_ms = 7};

	(void)data;
	assert_string_equal(step_event(&lifecycle, &leave, NOW), "close watch timer:+7 | leaving");
}

static void test_lifecycle_exited_while_leaving_still_waits_for_listeners(void **data)
{
	struct lifecycle lifecycle = in_state(AGENT_LEAVING);

	(void)data;
	assert_string_equal(step(&lifecycle, LIFECYCLE_EXITED), "exited | leaving");
	assert_string_equal(step(&lifecycle, LIFECYCLE_EXITED), "| leaving");
	assert_string_equal(step(&lifecycle, LIFECYCLE_LISTENERS_GONE), "shut left | left");
	assert_string_equal(step(&lifecycle, LIFECYCLE_EXITED), "| left");
	assert_string_equal(step(&lifecycle, LIFECYCLE_STOP), "kill timer:+5000 | killing");
}

static void test_lifecycle_stop_while_leaving_still_reports_left(void **data)
{
	struct lifecycle lifecycle = in_state(AGENT_LEAVING);

	(void)data;
	step(&lifecycle, LIFECYCLE_STOP);
	assert_string_equal(step(&lifecycle, LIFECYCLE_LISTENERS_GONE), "left | stopping");
	step(&lifecycle, LIFECYCLE_EXITED);
	assert_string_equal(step(&lifecycle, LIFECYCLE_EMPTY), "shut stopped | stopped");
	lifecycle = in_state(AGENT_LEAVING);
	step(&lifecycle, LIFECYCLE_STOP);
	step(&lifecycle, LIFECYCLE_EXITED);
	assert_string_equal(step(&lifecycle, LIFECYCLE_EMPTY), "shut left stopped | stopped");
}

static void test_lifecycle_leave_while_stopping_is_reported_at_the_end(void **data)
{
	struct lifecycle lifecycle = in_state(AGENT_STOPPING);

	(void)data;
	assert_string_equal(step(&lifecycle, LIFECYCLE_LEAVE), "| stopping");
	step(&lifecycle, LIFECYCLE_TIMER);
	assert_string_equal(step(&lifecycle, LIFECYCLE_TIMER), "shut left stopped! | stopped");
}

static void test_lifecycle_second_stop_can_only_hurry(void **data)
{
	struct lifecycle lifecycle = in_state(AGENT_STOPPING);
	struct lifecycle_event again = {.type = LIFECYCLE_STOP, .signal = SIGINT};

	(void)data;
	again.timeout_ms = 5000;
	assert_string_equal(step_event(&lifecycle, &again, NOW), "signal:2 | stopping");
	again.timeout_ms = 10;
	assert_string_equal(step_event(&lifecycle, &again, NOW), "signal:2 timer:+10 | stopping");
	again.signal = 0;
	again.timeout_ms = 0;
	assert_string_equal(step_event(&lifecycle, &again, NOW), "timer:+0 | stopping");
}

static void test_lifecycle_stop_timeout_reports_killed(void **data)
{
	struct lifecycle lifecycle = in_state(AGENT_STOPPING);

	(void)data;
	step(&lifecycle, LIFECYCLE_TIMER);
	step(&lifecycle, LIFECYCLE_EXITED);
	assert_string_equal(step(&lifecycle, LIFECYCLE_EMPTY), "shut stopped! | stopped");
}

static void test_lifecycle_children_killed_at_stop_reports_killed(void **data)
{
	struct lifecycle lifecycle = in_state(AGENT_KILLING);
	struct lifecycle_event empty = {.type = LIFECYCLE_EMPTY, .killed = true};

	(void)data;
	assert_string_equal(step_event(&lifecycle, &empty, NOW), "shut stopped! | stopped");
}

/* ---- another agent's server ----------------------------------------------------------------- */

static const char *adopt(struct lifecycle *lifecycle, enum agent_state state, bool alive)
{
	struct lifecycle_event event = {
		.type = LIFECYCLE_ADOPT,
		.state = state,
		.on = true,
		.alive = alive,
		.signal = SIGQUIT,
		.at_ms = NOW + 700,
	};

	lifecycle_init(lifecycle, &policy);
	return step_event(lifecycle, &event, NOW);
}

static void test_lifecycle_adopt_goes_on_where_the_other_was(void **data)
{
	struct lifecycle lifecycle;

	(void)data;
	assert_string_equal(adopt(&lifecycle, AGENT_RUNNING, true), "| running");
	assert_string_equal(step(&lifecycle, LIFECYCLE_LEAVE),
			    "close signal:3 watch timer:+2000 | leaving");
	assert_string_equal(adopt(&lifecycle, AGENT_LEAVING, true), "watch timer:+700 | leaving");
	assert_string_equal(step(&lifecycle, LIFECYCLE_LEAVE), "| leaving");
	assert_string_equal(step(&lifecycle, LIFECYCLE_LISTENERS_GONE), "shut left | left");
	assert_string_equal(adopt(&lifecycle, AGENT_LEFT, true), "| left");
	assert_string_equal(step(&lifecycle, LIFECYCLE_STOP), "signal:15 timer:+1000 | stopping");
	assert_string_equal(adopt(&lifecycle, AGENT_STOPPING, true), "timer:+700 | stopping");
	assert_string_equal(step(&lifecycle, LIFECYCLE_EXITED), "kill timer:+5000 | killing");
	assert_string_equal(adopt(&lifecycle, AGENT_STOPPING, false), "kill timer:+5000 | killing");
	assert_string_equal(adopt(&lifecycle, AGENT_KILLING, true), "kill timer:+5000 | killing");
}

static void test_lifecycle_adopted_server_that_exits_is_started_again(void **data)
{
	struct lifecycle lifecycle;

	(void)data;
	adopt(&lifecycle, AGENT_RUNNING, true);
	assert_string_equal(step(&lifecycle, LIFECYCLE_EXITED),
			    "kill exited:100 timer:+100 | delaying");
}

/* ---- succession ----------------------------------------------------------------------------- */

static void test_lifecycle_succession_is_no_restart(void **data)
{
	struct lifecycle lifecycle = running(true);

	(void)data;
	for (int i = 0; i < 100; i++)
		assert_string_equal(step(&lifecycle, LIFECYCLE_SUCCEEDED), "succeeded | running");
	assert_int_equal(lifecycle.n_restarts, 0);
	/* The end of a successor is that of the server. */
	assert_string_equal(step(&lifecycle, LIFECYCLE_EXITED),
			    "kill exited:100 timer:+100 | delaying");
	assert_int_equal(lifecycle.n_restarts, 1);
}

static void test_lifecycle_successor_gets_the_last_signal_that_was_sent(void **data)
{
	struct lifecycle lifecycle = in_state(AGENT_LEFT);
	struct lifecycle_event stop = {.type = LIFECYCLE_STOP, .timeout_ms = 1000};

	(void)data;
	/* The drain signal stands if the order to stop has none. */
	assert_string_equal(step_event(&lifecycle, &stop, NOW), "timer:+1000 | stopping");
	assert_string_equal(step(&lifecycle, LIFECYCLE_SUCCEEDED), "succeeded signal:3 | stopping");
	stop.signal = SIGINT;
	assert_string_equal(step_event(&lifecycle, &stop, NOW), "signal:2 | stopping");
	assert_string_equal(step(&lifecycle, LIFECYCLE_SUCCEEDED), "succeeded signal:2 | stopping");
}

static void test_lifecycle_without_a_server_nobody_succeeds_it(void **data)
{
	struct lifecycle lifecycle = in_state(AGENT_LEAVING);

	(void)data;
	step(&lifecycle, LIFECYCLE_EXITED);
	assert_string_equal(step(&lifecycle, LIFECYCLE_SUCCEEDED), "| leaving");
}

/* ---- random sequences against the invariants ------------------------------------------------ */

/* What an onlooker knows about one machine. */
struct onlooker {
	struct lifecycle lifecycle;
	uint64_t now_ms;
	uint64_t timer_ms; /* 0: none set */
	bool begun;
	bool spawning;
	bool alive;
	bool closed;
	bool leave_ordered;
	bool stop_ordered;
	uint64_t stop_limit_ms;
	int signal; /* that was sent last; 0: none */
	int n_left;
	int n_stopped;
	size_t n_restarts;
	uint64_t restarts_ms[4096];
};

static uint64_t random_state;

/* splitmix64: the same sequence everywhere. */
static uint32_t random_below(uint32_t n)
{
	uint64_t z = (random_state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (uint32_t)((z ^ (z >> 31)) % n);
}

static void check_restart(struct onlooker *onlooker)
{
	const struct lifecycle_policy *limits = &onlooker->lifecycle.policy;
	uint32_t in_window = 0;

	assert_true(onlooker->n_restarts < 4096);
	onlooker->restarts_ms[onlooker->n_restarts++] = onlooker->now_ms;
	for (size_t i = 0; i < onlooker->n_restarts; i++)
		if (onlooker->now_ms - onlooker->restarts_ms[i] < limits->restart_window_ms)
			in_window++;
	assert_true(in_window <= limits->restart_max);
}

static void check_action(struct onlooker *onlooker, const struct lifecycle_action *action,
			 enum agent_state before)
{
	assert_int_equal(onlooker->n_stopped, 0); /* nothing comes after the end */
	switch (action->type) {
	case LIFECYCLE_DO_SPAWN:
		assert_true(before == AGENT_STARTING || before == AGENT_DELAYING);
		assert_false(onlooker->leave_ordered || onlooker->stop_ordered);
		assert_false(onlooker->spawning || onlooker->alive || onlooker->closed);
		onlooker->spawning = true;
		break;
	case LIFECYCLE_DO_CLOSE:
		assert_false(onlooker->closed);
		onlooker->closed = true;
		break;
	case LIFECYCLE_DO_SIGNAL:
		assert_true(onlooker->closed && onlooker->alive);
		assert_int_not_equal(action->signal, 0);
		onlooker->signal = action->signal;
		break;
	case LIFECYCLE_DO_TIMER:
		assert_true(action->at_ms >= onlooker->now_ms);
		onlooker->timer_ms = action->at_ms;
		break;
	case LIFECYCLE_DO_REPORT_EXITED:
		assert_false(onlooker->stop_ordered);
		if (action->restarting)
			check_restart(onlooker);
		break;
	case LIFECYCLE_DO_REPORT_LEFT:
		assert_true(onlooker->leave_ordered && onlooker->closed);
		onlooker->n_left++;
		break;
	case LIFECYCLE_DO_REPORT_STOPPED:
		assert_true(onlooker->stop_ordered && onlooker->closed);
		onlooker->n_stopped++;
		break;
	case LIFECYCLE_DO_WATCH_LISTENERS:
		assert_true(onlooker->leave_ordered && onlooker->closed);
		break;
	case LIFECYCLE_DO_SHUT_LISTENERS:
		assert_true(onlooker->closed);
		assert_true(onlooker->lifecycle.state == AGENT_FAILED ||
			    onlooker->lifecycle.state == AGENT_LEFT ||
			    onlooker->lifecycle.state == AGENT_STOPPED);
		break;
	case LIFECYCLE_DO_REPORT_SUCCEEDED:
		assert_true(onlooker->alive);
		break;
	case LIFECYCLE_DO_KILL:
	case LIFECYCLE_DO_REPORT_FAILED:
		break;
	}
}

static void check_state(const struct onlooker *onlooker)
{
	const struct lifecycle *lifecycle = &onlooker->lifecycle;
	enum agent_state state = lifecycle->state;

	if (state >= AGENT_FAILED)
		assert_true(onlooker->closed);
	assert_true(onlooker->n_left <= 1 && onlooker->n_stopped <= 1);
	if (state == AGENT_LEFT)
		assert_int_equal(onlooker->n_left, 1);
	if (state == AGENT_DELAYING || state == AGENT_LEAVING || state == AGENT_STOPPING ||
	    state == AGENT_KILLING)
		assert_int_not_equal(onlooker->timer_ms, 0);
	if (state == AGENT_STOPPED) {
		assert_int_equal(onlooker->n_stopped, 1);
		assert_int_equal(onlooker->n_left, onlooker->leave_ordered);
	} else if (onlooker->stop_ordered) {
		assert_true(onlooker->now_ms <= onlooker->stop_limit_ms);
	}
}

/* Whoever goes on as the server gets the signal of the one before, and nothing else happens. */
static void check_succession(const struct onlooker *onlooker, enum agent_state before, int signal,
			     const struct lifecycle_actions *actions)
{
	assert_int_equal(onlooker->lifecycle.state, before);
	assert_true(actions->n <= 2);
	if (signal != 0 && before < AGENT_KILLING)
		assert_true(actions->n == 2 && actions->list[1].signal == signal);
}

static void feed(struct onlooker *onlooker, const struct lifecycle_event *event)
{
	int signal = onlooker->signal;
	enum agent_state before = onlooker->lifecycle.state;
	struct lifecycle_actions actions;

	if (event->type == LIFECYCLE_LEAVE && before != AGENT_STOPPED)
		onlooker->leave_ordered = true;
	if (event->type == LIFECYCLE_STOP && !onlooker->stop_ordered) {
		onlooker->stop_ordered = true;
		onlooker->stop_limit_ms = onlooker->now_ms + event->timeout_ms + LIFECYCLE_KILL_MS;
	}
	if (event->type == LIFECYCLE_SPAWNED || event->type == LIFECYCLE_SPAWN_FAILED) {
		onlooker->alive = event->type == LIFECYCLE_SPAWNED;
		onlooker->spawning = false;
	}
	if (event->type == LIFECYCLE_EXITED)
		onlooker->alive = false;
	if (event->type == LIFECYCLE_TIMER)
		onlooker->timer_ms = 0;
	lifecycle_step(&onlooker->lifecycle, event, onlooker->now_ms, &actions);
	assert_true(actions.n <= LIFECYCLE_ACTIONS_MAX);
	for (size_t i = 0; i < actions.n; i++)
		check_action(onlooker, &actions.list[i], before);
	if (event->type == LIFECYCLE_SUCCEEDED)
		check_succession(onlooker, before, signal, &actions);
	check_state(onlooker);
}

/* It goes on with a server whose agent was killed. */
static void begin_by_adopting(struct onlooker *onlooker, struct lifecycle_event *event)
{
	static const enum agent_state states[] = {AGENT_RUNNING, AGENT_LEAVING, AGENT_LEFT,
						  AGENT_STOPPING, AGENT_KILLING};

	event->type = LIFECYCLE_ADOPT;
	event->state = states[random_below(sizeof(states) / sizeof(states[0]))];
	event->alive = event->state == AGENT_RUNNING || random_below(2) == 0;
	event->at_ms = onlooker->now_ms + event->timeout_ms;
	onlooker->alive = event->alive;
	onlooker->closed = event->state >= AGENT_LEAVING;
	onlooker->leave_ordered = event->state == AGENT_LEAVING || event->state == AGENT_LEFT;
	onlooker->n_left = event->state == AGENT_LEFT;
	onlooker->stop_ordered = event->state >= AGENT_STOPPING;
	onlooker->stop_limit_ms = event->at_ms + LIFECYCLE_KILL_MS;
}

/* An event that is possible now: a shell does not report what cannot be. */
static struct lifecycle_event random_event(struct onlooker *onlooker)
{
	static const enum lifecycle_event_type types[] = {
		LIFECYCLE_SPAWNED, LIFECYCLE_SPAWNED, LIFECYCLE_SPAWN_FAILED,   LIFECYCLE_EXITED,
		LIFECYCLE_STEADY,  LIFECYCLE_STEADY,  LIFECYCLE_LISTENERS_GONE, LIFECYCLE_EMPTY,
		LIFECYCLE_LEAVE,   LIFECYCLE_STOP,    LIFECYCLE_SUCCEEDED,
	};
	struct lifecycle_event event = {
		.type = types[random_below(sizeof(types) / sizeof(types[0]))],
		.on = random_below(4) != 0,
		.signal = random_below(3) == 0 ? 0 : SIGTERM,
		.timeout_ms = random_below(3000),
		.killed = random_below(2) == 0,
	};

	if (!onlooker->begun) {
		onlooker->begun = true;
		event.type = LIFECYCLE_BEGIN;
		if (random_below(3) == 0)
			begin_by_adopting(onlooker, &event);
		return event;
	}
	/* Most machines are to live for a while. */
	if ((event.type == LIFECYCLE_STOP || event.type == LIFECYCLE_LEAVE) && random_below(5) != 0)
		event.type = LIFECYCLE_STEADY;
	if ((event.type == LIFECYCLE_SPAWNED || event.type == LIFECYCLE_SPAWN_FAILED) &&
	    !onlooker->spawning)
		event.type = LIFECYCLE_LISTENERS_GONE;
	if ((event.type == LIFECYCLE_EXITED || event.type == LIFECYCLE_SUCCEEDED) &&
	    !onlooker->alive)
		event.type = LIFECYCLE_EMPTY;
	return event;
}

/* Let time pass; a deadline on the way comes first, as the shell would have it. */
static void pass_time(struct onlooker *onlooker, uint32_t ms)
{
	uint64_t end_ms = onlooker->now_ms + ms;

	for (int i = 0; i < 64 && onlooker->timer_ms != 0 && onlooker->timer_ms <= end_ms; i++) {
		onlooker->now_ms = onlooker->timer_ms;
		feed(onlooker, &(struct lifecycle_event){.type = LIFECYCLE_TIMER});
	}
	onlooker->now_ms = end_ms;
	check_state(onlooker);
}

static void test_lifecycle_random_events_keep_the_invariants(void **data)
{
	static struct onlooker onlooker;
	long n_events = 0, n_machines = 0, n_states[_AGENT_STATE_COUNT] = {0};

	(void)data;
	random_state = 20240229;
	while (n_events < 1500000) {
		struct lifecycle_policy random_policy = {
			.restart_max = random_below(6),
			.restart_window_ms = 1 + random_below(20000),
			.restart_delay_ms = random_below(200),
			.restart_delay_max_ms = random_below(2000),
		};

		memset(&onlooker, 0, sizeof(onlooker));
		onlooker.now_ms = 1 + random_below(100000);
		lifecycle_init(&onlooker.lifecycle, &random_policy);
		for (int i = 0; i < 200 && onlooker.lifecycle.state != AGENT_STOPPED; i++) {
			struct lifecycle_event event = random_event(&onlooker);

			feed(&onlooker, &event);
			pass_time(&onlooker, random_below(400));
			n_states[onlooker.lifecycle.state]++;
			n_events++;
		}
		/* Whatever happened before, or fails to happen from now on. */
		if (!onlooker.stop_ordered)
			feed(&onlooker,
			     &(struct lifecycle_event){.type = LIFECYCLE_STOP, .timeout_ms = 1000});
		pass_time(&onlooker, 10000 + LIFECYCLE_KILL_MS);
		assert_int_equal(onlooker.lifecycle.state, AGENT_STOPPED);
		n_machines++;
	}
	for (int i = 0; i < _AGENT_STATE_COUNT; i++)
		assert_true(n_states[i] > 1000); /* or the test has not looked everywhere */
	assert_true(n_machines > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lifecycle_every_cell_as_expected),
		cmocka_unit_test(test_lifecycle_spawning_events_as_expected),
		cmocka_unit_test(test_lifecycle_leave_while_spawning_signals_later),
		cmocka_unit_test(test_lifecycle_spawned_after_left_is_killed),
		cmocka_unit_test(test_lifecycle_stop_while_spawning_kills),
		cmocka_unit_test(test_lifecycle_steady_crashes_restart_with_growing_delays),
		cmocka_unit_test(test_lifecycle_restarts_outside_window_do_not_count),
		cmocka_unit_test(test_lifecycle_restart_just_inside_window_counts),
		cmocka_unit_test(test_lifecycle_policy_extremes_are_bounded),
		cmocka_unit_test(test_lifecycle_steady_without_restarts_fails_at_once),
		cmocka_unit_test(test_lifecycle_steady_off_while_delaying_gives_up),
		cmocka_unit_test(test_lifecycle_steady_off_then_exit_is_not_restarted),
		cmocka_unit_test(test_lifecycle_exit_for_what_passes_is_restarted),
		cmocka_unit_test(test_lifecycle_leave_without_signal_sends_none),
		cmocka_unit_test(test_lifecycle_exited_while_leaving_still_waits_for_listeners),
		cmocka_unit_test(test_lifecycle_stop_while_leaving_still_reports_left),
		cmocka_unit_test(test_lifecycle_leave_while_stopping_is_reported_at_the_end),
		cmocka_unit_test(test_lifecycle_second_stop_can_only_hurry),
		cmocka_unit_test(test_lifecycle_stop_timeout_reports_killed),
		cmocka_unit_test(test_lifecycle_children_killed_at_stop_reports_killed),
		cmocka_unit_test(test_lifecycle_adopt_goes_on_where_the_other_was),
		cmocka_unit_test(test_lifecycle_adopted_server_that_exits_is_started_again),
		cmocka_unit_test(test_lifecycle_succession_is_no_restart),
		cmocka_unit_test(test_lifecycle_successor_gets_the_last_signal_that_was_sent),
		cmocka_unit_test(test_lifecycle_without_a_server_nobody_succeeds_it),
		cmocka_unit_test(test_lifecycle_random_events_keep_the_invariants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
