/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/instance/instance_internal.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

void instance_describe_exit(const struct instance *i, char *ret, size_t size)
{
	if (!i->ran)
		snprintf(ret, size, "never ran");
	else if (i->ending == ENDING_ALIVE)
		snprintf(ret, size, "survives SIGKILL");
	else if (i->ending == ENDING_NEVER_RAN)
		snprintf(ret, size, "could not be started again");
	else if (i->ending == ENDING_UNKNOWN)
		snprintf(ret, size, "has ended%s", i->killed ? " by SIGKILL" : "");
	else if (i->exit_signal)
		snprintf(ret, size, "was killed by %s", config_signal_name(i->exit_signal));
	else
		snprintf(ret, size, "exited with status %d", i->exit_code);
}

/* ---- reports -------------------------------------------------------------------------------- */

/* What the agent that was killed, or that had hung up, has not heard, or has not said any more. */
static void catch_up(struct instance *i, const struct report *hello, bool again)
{
	if (again && i->phase == INSTANCE_LEAVING)
		instance_order_leave(i);
	else if (again && i->phase == INSTANCE_STOPPING)
		instance_order_stop(i);
	if (i->phase == INSTANCE_LEAVING && hello->state >= AGENT_LEFT)
		instance_enter(i, INSTANCE_LEFT);
	if (i->steady != hello->steady && !instance_is_leaving(i))
		instance_steady(i, i->steady);
}

/* While its agent had hung up, its server, pid @before, has ended or was started: nobody said so.
 */
static void catch_up_restart(struct instance *i, pid_t before)
{
	if (i->pid == before)
		return;
	if (before > 0) {
		i->restarts++;
		instance_forget_verdicts(i);
		instance_forget_losses(i, false);
	}
	if (i->pid == 0 || !i->ran)
		return;
	instance_note(i, EVENT_RESTARTED, "instance %u runs again, pid %d", i->index, (int)i->pid);
	instance_expect_health(i);
	instance_restart_checks(i);
}

void instance_take_hello(struct instance *i, const struct report *report, const int *fds,
			 size_t n_fds)
{
	pid_t before = i->pid;

	i->protocol = agentlink_version(i->link);
	/* Orders that were given meanwhile have not arrived, and nobody answers them. */
	if (i->silent_since_ms > 0) {
		i->asked = false;
		i->awaited = 0;
	}
	i->agent_said = report->state;
	i->tells = report->tells;
	i->reopens = report->reopens;
	i->keeps = report->keeps;
	i->looks = report->looks;
	i->hinted |= report->hinted;
	i->print = 0; /* a new connection: it looks by itself */
	i->initial = report->initial;
	i->kept_set = report->kept > 0 ? INSTANCE_KEPT_UNKNOWN : 0;
	instance_know_pid(i, report->pid);
	i->ran |= report->pid > 0;
	i->ready = report->ready;
	if (i->silent_since_ms > 0 && report->state < AGENT_FAILED)
		catch_up_restart(i, before);
	/* If the server could not be started, the report that says why comes next. */
	if (report->state < AGENT_FAILED)
		instance_take_sockets(i, report, fds, n_fds);
	if (i->adopting)
		catch_up(i, report, instance_adopted(i, report));
	else if (i->silent_since_ms > 0)
		catch_up(i, report, instance_rejoined(i, report));
	instance_hint(i);
}

/*
 * It goes on in another process, and so do its checks. How the earlier one has ended is worth
 * telling only if that was not as it should be.
 */
static void on_succeeded(struct instance *i, const struct report *report)
{
	struct instance before = {
		.ran = true,
		.ending = report->ending,
		.exit_code = report->exit_code,
		.exit_signal = report->exit_signal,
	};
	bool badly = report->ending == ENDING_TOLD && (report->exit_code || report->exit_signal);
	char how[64] = "";

	if (badly)
		instance_describe_exit(&before, how, sizeof(how));
	instance_know_pid(i, report->pid);
	i->ran = true;
	i->succeeded_pid = report->succeeds;
	instance_note(i, EVENT_SUCCEEDED, "instance %u is served by pid %d now, after pid %d%s%s",
		      i->index, (int)report->pid, (int)report->succeeds, badly ? ", which " : "",
		      how);
}

static void on_started(struct instance *i, const struct report *report)
{
	bool again = i->restarts > 0;

	if (report->succeeds > 0) {
		on_succeeded(i, report);
		return;
	}
	instance_know_pid(i, report->pid);
	i->ran = true;
	i->agent_said = AGENT_RUNNING;
	if (again) {
		instance_note(i, EVENT_RESTARTED, "instance %u runs again, pid %d", i->index,
			      (int)i->pid);
		instance_expect_health(i);
	}
	instance_restart_checks(i);
}

static void take_exit(struct instance *i, const struct report *report)
{
	i->ending = report->ending;
	i->ran |= report->ending != ENDING_NEVER_RAN;
	i->exit_code = report->exit_code;
	i->exit_signal = report->exit_signal;
	instance_know_pid(i, 0);
}

/*
 * How the server ended, and why, if that is known. The agent also says so of a server that it could
 * not start again.
 */
static void describe_cause(const struct instance *i, const struct report *report, char *ret,
			   size_t size)
{
	char how[64], advice[ADVICE_TEXT_MAX];

	instance_describe_exit(i, how, sizeof(how));
	if (report->ending != ENDING_NEVER_RAN &&
	    instance_advise_file(i, report->text[0] || report->wrapper[0], advice)[0])
		snprintf(ret, size, "%s: %s", how, advice);
	else if (!report->text[0] && report->wrapper[0])
		snprintf(
			ret, size,
			"%s; LISTEN_PID had the pid of \"%s\", not of the server that it started: " ADVICE_WRAPPER,
			how, report->wrapper);
	else if (!report->text[0])
		snprintf(ret, size, "%s", how);
	else if (report->ending == ENDING_NEVER_RAN)
		snprintf(ret, size, "%s: %s", i->ran ? how : "could not be started", report->text);
	else
		snprintf(ret, size, "%s: \"Address already in use\": %s", how,
			 instance_advise_in_use(i, report, advice));
}

/*
 * It was told to go, but its agent had not heard that when the server ended: whatever it was told
 * to go for, this is the cause.
 */
static void take_own_end(struct instance *i, const char *why)
{
	i->ended_itself = true;
	snprintf(i->failure, sizeof(i->failure), "%s", why);
}

static void on_exited(struct instance *i, const struct report *report)
{
	char why[sizeof(i->failure)], how[64];
	const char *brief;

	take_exit(i, report);
	i->ready = false;
	instance_forget_verdicts(i);
	instance_forget_losses(i, false);
	instance_describe_exit(i, how, sizeof(how));
	describe_cause(i, report, why, sizeof(why));
	brief = report->ending == ENDING_NEVER_RAN ? why : how;
	if (report->restarting) {
		i->agent_said = AGENT_DELAYING;
		i->restarts++;
		snprintf(i->obstacle, sizeof(i->obstacle), "%s", why);
		instance_note(i, EVENT_EXITED, "instance %u %s; started again in %u ms", i->index,
			      brief, report->restart_ms);
		return;
	}
	if (i->asked && !i->refused)
		take_own_end(i, why);
	if (instance_is_leaving(i))
		return;
	i->agent_said = AGENT_FAILED;
	instance_note(i, EVENT_EXITED, "instance %u %s", i->index, brief);
	instance_fail(i, why);
}

static void on_told(struct instance *i)
{
	i->asked = false;
	i->told = true;
}

static void on_notify(struct instance *i, const struct report *report)
{
	if (report->ready && !i->ready)
		instance_note(i, EVENT_READY, "instance %u says READY=1", i->index);
	i->ready = report->ready;
}

/* An agent may also leave unasked: an earlier daemon has told it to just before it ended. */
static void on_left(struct instance *i, const struct report *report)
{
	i->agent_said = AGENT_LEFT;
	i->forced = report->forced;
	/* It may have been told to stop before it had left. */
	if (i->phase >= INSTANCE_LEFT)
		return;
	instance_uncheck(i);
	instance_enter(i, INSTANCE_LEFT);
}

static void on_stopped(struct instance *i, const struct report *report)
{
	i->agent_said = AGENT_STOPPED;
	i->killed = report->killed;
	take_exit(i, report);
	instance_uncheck(i);
	instance_enter(i, INSTANCE_STOPPED);
}

static void on_failed(struct instance *i, const struct report *report)
{
	i->agent_said = AGENT_FAILED;
	instance_know_pid(i, 0);
	if (!instance_is_leaving(i))
		instance_fail(i, report->text);
}

/* It may be this process, which was given a duplicate a moment ago. */
static void on_orphan(struct instance *i, const struct report *report)
{
	if (report->pid != getpid())
		instance_note(i, EVENT_STRANGER, "instance %u of generation %u: %s", i->index,
			      i->generation, report->text);
}

static void on_report(void *userdata, const struct report *report, int *fds, size_t n_fds)
{
	struct instance *i = userdata;

	instance_take_tail(i, report);
	/* The report was on its way when the daemon killed the agent. */
	if (instance_has_stopped(i))
		return;
	switch (report->type) {
	case REPORT_HELLO:
		instance_take_hello(i, report, fds, n_fds);
		instance_keep_sockets(i);
		break;
	case REPORT_STARTED:
		on_started(i, report);
		break;
	case REPORT_NOTIFY:
		on_notify(i, report);
		break;
	case REPORT_EXITED:
		on_exited(i, report);
		break;
	case REPORT_FAILED:
		on_failed(i, report);
		break;
	case REPORT_LEFT:
		on_left(i, report);
		break;
	case REPORT_STOPPED:
		on_stopped(i, report);
		break;
	case REPORT_SOCKETS:
		if (i->awaited > 0)
			i->awaited--;
		instance_take_sockets(i, report, fds, n_fds);
		break;
	case REPORT_TOLD:
		on_told(i);
		break;
	case REPORT_REOPENED:
		i->callbacks->on_reopened(i->userdata, i, report);
		break;
	case REPORT_ORPHAN:
		on_orphan(i, report);
		break;
	case _REPORT_TYPE_COUNT:
		break;
	}
	instance_look_health(i);
	instance_changed(i);
}

static void on_hung_up(void *userdata);
static void on_lost(void *userdata);

const struct agentlink_callbacks instance_link_callbacks = {
	.on_report = on_report,
	.on_hung_up = on_hung_up,
	.on_lost = on_lost,
};

/* Another agent cannot take its server over, for @why. */
static void be_lost(struct instance *i, pid_t pid, const char *why)
{
	instance_note(i, EVENT_AGENT_LOST,
		      "instance %u has lost its agent (pid %d), and no other can take over: %s",
		      i->index, (int)pid, why);
	/* A new generation must not begin to serve without an agent that can restart its server. */
	if (!i->steady && !instance_is_leaving(i))
		instance_fail(i, "lost its agent");
	instance_watch_lost(i);
}

/*
 * The link connects again: nothing is lost but what was under way. It may also be that the agent is
 * ending, and that its files were closed first.
 */
static void on_hung_up(void *userdata)
{
	struct instance *i = userdata;

	i->asked = false;
	i->awaited = 0;
	if (instance_has_stopped(i))
		return;
	i->silent_since_ms = clock_monotonic_ms();
	instance_changed(i);
}

/*
 * It was just started, and is of another version than this daemon. Nobody relies on its server yet:
 * SIGTERM to the agent ends both.
 */
static void give_up_unfit(struct instance *i, const char *why)
{
	struct error err;

	(void)agentlink_signal(i->link, SIGTERM);
	error_text(
		&err, 0,
		"its agent cannot be talked to: %s; if baton-agent and batond were not installed "
		"together, do that and restart batond",
		why);
	log_error("%s: instance %u: %s", i->config->name, i->index, err.text);
	instance_fail(i, err.text);
	instance_watch_lost(i);
}

static void on_lost(void *userdata)
{
	struct instance *i = userdata;
	pid_t pid = agentlink_pid(i->link);
	const char *unfit = agentlink_unfit(i->link);
	bool given_up = agentlink_loss(i->link) == AGENTLINK_GIVEN_UP;
	struct error err;

	assert(!i->lost);
	i->lost = true;
	i->asked = false;
	i->awaited = 0;
	i->silent_since_ms = 0;
	if (instance_has_stopped(i))
		return;
	if (unfit && i->protocol == 0) {
		give_up_unfit(i, unfit);
		instance_changed(i);
		return;
	}
	/* It lives: there must not be two of them. */
	if (unfit)
		(void)agentlink_signal(i->link, SIGKILL);
	if (instance_adopt(i, &instance_link_callbacks, &err) == 0)
		instance_note(i, EVENT_AGENT_LOST,
			      "instance %u has lost its agent (pid %d)%s: its server goes on, and "
			      "a new agent takes over",
			      i->index, (int)pid,
			      given_up ? ", which had hung up and did not answer any more" : "");
	else
		be_lost(i, pid, unfit ? unfit : err.text);
	instance_changed(i);
}
