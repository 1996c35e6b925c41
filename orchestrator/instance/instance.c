/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/instance/instance_internal.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/expand.h"
#include "common/handover.h"
#include "common/log.h"
#include "orchestrator/instance/takeover.h"

/* The delay before a restart grows up to so many times the first one (agent/lifecycle.h). */
#define RESTART_DELAY_GROWTH 50

/* Whatever dies of SIGKILL is mostly dead by then; for the rest nobody waits. */
#define KILL_WAIT_MS 50

/*
 * On a tier that cannot shift connections, a socket gets them as soon as it listens. A server that
 * leaves listen(2) to its parent has this long to get ready before.
 */
#define LISTEN_DELAY_MS 1000

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

bool instance_is_serving(const struct instance *i)
{
	bool goes_on = i->phase == INSTANCE_JOINED ||
		       (i->phase == INSTANCE_LEAVING && !instance_has_failed(i));

	if (!goes_on || !instance_has_joined(i) || i->sockets.n == 0)
		return false;
	/*
	 * Without its agent a server goes on, but nobody starts it again. If the kernel cannot tell
	 * whether it is there, it is: when a named socket is gone, the tables have a backup.
	 */
	return !i->lost || instance_populated(i) != 0;
}

/* ---- reports -------------------------------------------------------------------------------- */

#define KEPT_UNKNOWN UINT64_MAX /* an earlier daemon's */

static void order_leave(struct instance *i);
static void order_stop(struct instance *i);

/* What the agent that was killed, or that had hung up, has not heard, or has not said any more. */
static void catch_up(struct instance *i, const struct report *hello, bool again)
{
	if (again && i->phase == INSTANCE_LEAVING)
		order_leave(i);
	else if (again && i->phase == INSTANCE_STOPPING)
		order_stop(i);
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

static void on_hello(struct instance *i, const struct report *report, const int *fds, size_t n_fds)
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
	i->kept_set = report->kept > 0 ? KEPT_UNKNOWN : 0;
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
		on_hello(i, report, fds, n_fds);
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

static const struct agentlink_callbacks link_callbacks = {
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
	if (instance_adopt(i, &link_callbacks, &err) == 0)
		instance_note(i, EVENT_AGENT_LOST,
			      "instance %u has lost its agent (pid %d)%s: its server goes on, and "
			      "a new agent takes over",
			      i->index, (int)pid,
			      given_up ? ", which had hung up and did not answer any more" : "");
	else
		be_lost(i, pid, unfit ? unfit : err.text);
	instance_changed(i);
}

/* ---- orders ---------------------------------------------------------------------------------- */

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

static void order_leave(struct instance *i)
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
		order_leave(i);
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

static void order_stop(struct instance *i)
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
		order_stop(i);
		return;
	}
	instance_hurry_lost(i, clock_monotonic_ms() + i->config->drain.kill_timeout_ms);
	instance_signal_lost(i, stop_signal(i));
}

static void kill_all(struct instance *i)
{
	if (i->cgroup[0]) {
		cgroup_kill(i->cgroup);
		/* What follows may need what its processes have: a lock, a port. */
		(void)cgroup_wait_empty(i->cgroup, KILL_WAIT_MS);
		return;
	}
	/* Before the agent: they are found as its descendants. */
	if (i->processes)
		processes_kill(i->processes);
	else
		instance_signal_main(i, SIGKILL);
}

void instance_kill(struct instance *i)
{
	if (instance_has_stopped(i))
		return;
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

/* ---- life ----------------------------------------------------------------------------------- */

/* Then the server need not be the process that LISTEN_PID names. */
static bool names_fds(const struct release *release)
{
	return expand_uses_fds(release->command) || expand_uses_fds(release->environment);
}

static void fill_spec(struct instance *i, const struct release *release, struct launch_spec *ret)
{
	const struct service_config *c = i->config;

	/* All of it is borrowed: it is used during the call only. */
	*ret = (struct launch_spec){
		.service = c->name,
		.id = (char *)service_config_id(c),
		.generation = i->generation,
		.instance = i->index,
		.listen = (struct address *)c->listen,
		.n_listen = c->n_listen,
		.backlog = c->backlog,
		.nonblocking = c->nonblocking,
		.mode = c->mode,
		.listen_later = !steer_can(i->wiring->tier, STEER_CAN_SHIFT),
		.listen_delay_ms = LISTEN_DELAY_MS,
		.executable = release->executable,
		.argv = release->command,
		.environment = release->environment,
		.directory = release->directory,
		.uid = c->uid,
		.gid = c->gid,
		.n_groups = c->n_groups,
		.set_ids = c->set_ids,
		.cgroup = i->cgroup[0] ? (char *)i->cgroup : NULL,
		.process = c->process,
		.restart_max = c->restart.max,
		.restart_window_ms = (uint32_t)c->restart.window_ms,
		.restart_delay_ms = (uint32_t)c->restart.delay_ms,
		.restart_delay_max_ms = (uint32_t)c->restart.delay_ms * RESTART_DELAY_GROWTH,
	};
	for (size_t k = 0; k < c->n_listen; k++)
		ret->twins[k] =
			address_are_twins(&c->listen[k], steer_address(instance_endpoint(i, k)));
	_Static_assert(CONFIG_GROUPS_MAX <= PROTOCOL_GROUPS_MAX, "groups fit");
	_Static_assert(CONFIG_LISTEN_MAX <= PROTOCOL_LISTEN_MAX, "endpoints fit");
	i->names_fds = names_fds(release);
	memcpy(ret->groups, c->groups, c->n_groups * sizeof(c->groups[0]));
}

/* An IPv4 socket would take all connections of those that serve on IPv4-mapped ones. */
static int declare(const struct instance *i, struct tap *tap, struct error *err)
{
	int r = tap_declare(tap, i->config->listen, i->config->n_listen, err);

	if (r < 0)
		return r;
	for (size_t k = 0; k < i->config->n_listen; k++)
		tap_guard(tap, k,
			  address_is_mapped(steer_address(instance_endpoint(i, k))) &&
				  i->callbacks->is_served(i->userdata, i, k));
	return 0;
}

/* Attach the programs for counting and sharing, before anything runs in the cgroup. */
static int hook(struct instance *i, struct error *err)
{
	enum socket_mode mode = i->config->mode;
	bool share = mode == SOCKETS_AUTO || mode == SOCKETS_TRANSPARENT;
	struct tap *tap = i->wiring->tap;
	int r;

	if ((!tap || !i->cgroup[0]) && mode == SOCKETS_TRANSPARENT)
		return error_text(err, -EOPNOTSUPP, "mode \"transparent\": %s",
				  i->cgroup[0] ? i->wiring->no_tap : i->context->no_cgroup);
	if (!tap || !i->cgroup[0])
		return 0;
	r = declare(i, tap, err);
	if (r >= 0)
		r = tap_attach(tap, i->cgroup, i->generation, i->index, share, err);
	i->hinted = r >= 0;
	if (r >= 0 || mode == SOCKETS_TRANSPARENT)
		return r;
	log_warning("%s: %s", i->config->name, err->text);
	/* In mode "auto" the server may not need to share: start it without. */
	i->hinted = share && tap_attach(tap, i->cgroup, i->generation, i->index, false, err) == 0;
	if (share && !i->hinted)
		log_warning("%s: its connections are not counted: %s", i->config->name, err->text);
	return 0;
}

static int make_cgroup(struct instance *i, const char *leaf, struct error *err)
{
	int r;

	if (!i->context->cgroup_base[0]) {
		const struct cgroup_limits *limits = &i->config->resources;

		if (limits->memory_max || limits->cpu_max || limits->pids_max)
			return error_text(err, -EOPNOTSUPP,
					  "\"resources\" needs a cgroup for each instance: %s",
					  i->context->no_cgroup);
		return hook(i, err);
	}
	r = cgroup_create(i->context->cgroup_base, leaf, i->cgroup, &i->cgroup_id, err);
	if (r < 0) {
		i->cgroup[0] = '\0';
		return r;
	}
	removals_forget(i->context->removals, i->cgroup);
	r = cgroup_limit(i->cgroup, &i->config->resources, err);
	return r < 0 ? r : hook(i, err);
}

/* If the tier must know the sockets' order, the daemon makes those that are passed itself. */
static int make_sockets(struct instance *i, int fds[static CONFIG_LISTEN_MAX], size_t *ret_n,
			struct error *err)
{
	const struct service_config *c = i->config;

	*ret_n = 0;
	if (!steer_can(i->wiring->tier, STEER_MAKES_SOCKETS) ||
	    (c->mode != SOCKETS_AUTO && c->mode != SOCKETS_INHERIT))
		return 0;
	for (size_t k = 0; k < c->n_listen; k++) {
		int r = steer_listen(instance_endpoint(i, k), c->backlog, c->nonblocking, &fds[k],
				     err);

		if (r < 0)
			return r;
		++*ret_n;
	}
	return 0;
}

static int start_agent(struct instance *i, const struct release *release, struct error *err)
{
	struct launch_spec spec;
	int fds[CONFIG_LISTEN_MAX];
	size_t n;
	int r;

	fill_spec(i, release, &spec);
	r = make_sockets(i, fds, &n, err);
	spec.sockets_given = n > 0;
	if (r >= 0)
		r = agentlink_start(i->context->event, i->context->agent_program, i->socket_path,
				    &spec, n > 0 ? fds : NULL, &link_callbacks, i, &i->link, err);
	for (size_t k = 0; k < n; k++)
		close(fds[k]);
	return r;
}

/* Its processes are those in its cgroup; without a cgroup those below its agent. */
static int know_processes(struct instance *i, pid_t agent, struct error *err)
{
	int r = processes_new(i->cgroup[0] ? i->cgroup : NULL, agent, &i->processes);

	return r < 0 ? error_set(err, r, "follow the server's processes") : 0;
}

static int start(struct instance *i, const struct release *release, struct error *err)
{
	char leaf[PROTOCOL_NAME_MAX + 32];
	int r;

	snprintf(leaf, sizeof(leaf), "%s.%u.%u", service_config_id(i->config), i->generation,
		 i->index);
	if ((size_t)snprintf(i->socket_path, sizeof(i->socket_path), "%s/%s.sock",
			     i->context->paths.agents_dir, leaf) >= sizeof(i->socket_path))
		return error_text(err, -ENAMETOOLONG, "%s: path too long", leaf);
	r = make_cgroup(i, leaf, err);
	if (r >= 0)
		r = start_agent(i, release, err);
	if (r < 0)
		return r;
	r = know_processes(i, agentlink_pid(i->link), err);
	/* The agent would go on by itself. */
	if (r < 0)
		(void)agentlink_signal(i->link, SIGTERM);
	return r;
}

int instance_start(struct instance *i, const struct release *release, struct error *err)
{
	int r;

	assert(i->phase == INSTANCE_STARTING && !i->link);
	assert(i->config->n_listen <= CONFIG_LISTEN_MAX);
	r = start(i, release, err);
	if (r < 0) {
		instance_fail(i, err->text);
		instance_enter(i, INSTANCE_STOPPED);
	}
	return r;
}

/*
 * Enter each phase that it has been in. An instance that was steady has joined, even if it has lost
 * one of its sockets since.
 */
static void take_over_phase(struct instance *i, const struct report *hello)
{
	enum agent_state state = hello->state;

	if (hello->steady)
		instance_enter(i, INSTANCE_JOINED);
	if (state == AGENT_FAILED)
		instance_enter(i, INSTANCE_FAILED);
	if (state >= AGENT_LEAVING)
		instance_enter(i, INSTANCE_LEAVING);
	if (state >= AGENT_LEFT)
		instance_enter(i, INSTANCE_LEFT);
	if (state >= AGENT_STOPPING)
		instance_enter(i, INSTANCE_STOPPING);
	if (state == AGENT_STOPPED)
		instance_enter(i, INSTANCE_STOPPED);
}

void instance_take_over(struct instance *i, struct takeover_agent *agent)
{
	struct error err;
	struct stat st;

	assert(i->phase == INSTANCE_STARTING && !i->link);
	assert(agent->link);
	i->index = agent->spec.instance;
	memcpy(i->socket_path, agent->socket_path, sizeof(i->socket_path));
	snprintf(i->cgroup, sizeof(i->cgroup), "%s", agent->spec.cgroup ? agent->spec.cgroup : "");
	if (i->cgroup[0] && stat(i->cgroup, &st) == 0)
		i->cgroup_id = st.st_ino;
	i->link = TAKE_PTR(agent->link);
	if (know_processes(i, agent->hello.agent_pid, &err) < 0)
		log_warning("%s: %s", i->config->name, err.text);
	else if (agent->lost_pid != 0 && agent->hello.pid > 0)
		(void)processes_adopt(i->processes, agent->hello.pid);
	take_over_phase(i, &agent->hello);
	i->steady = agent->hello.steady;
	instance_take_tail(i, &agent->hello);
	/* If its server has failed, it may never have run: the agent says so when it stops. */
	i->ran = agent->hello.state != AGENT_FAILED;
	if (i->phase >= INSTANCE_FAILED) {
		i->agent_said = agent->hello.state;
		i->protocol = agentlink_version(i->link);
		i->tells = agent->hello.tells;
		i->reopens = agent->hello.reopens;
		i->keeps = agent->hello.keeps;
		i->looks = agent->hello.looks;
		i->kept_set = agent->hello.kept > 0 ? KEPT_UNKNOWN : 0;
		instance_know_pid(i, agent->hello.pid);
	} else {
		instance_forget_losses(i, i->phase == INSTANCE_JOINED);
		on_hello(i, &agent->hello, agent->fds, agent->n_fds);
		for (size_t k = 0; k < agent->n_parts; k++)
			instance_take_sockets(i, &agent->parts[k].report, agent->parts[k].fds,
					      agent->parts[k].n_fds);
		instance_look_losses(i);
	}
	agentlink_listen(i->link, &link_callbacks, i);
	if (agent->lost_pid > 0)
		instance_note_agent(i, &agent->hello, agent->lost_pid);
}

void instance_done(struct instance *i)
{
	check_set_done(&i->checks);
	instance_leave_ports(i);
	for (size_t k = 0; k < CONFIG_LISTEN_MAX; k++)
		sources_done(&i->pinned[k]);
	timer_done(&i->trouble_timer);
	timer_done(&i->loss_timer);
	timer_done(&i->overdue_timer);
	i->lost_timer = sd_event_source_disable_unref(i->lost_timer);
	instance_release_all(i);
	instance_sockets_done(&i->sockets);
	instance_sockets_done(&i->unused);
	instance_sockets_done(&i->arriving);
	if (i->wiring->tap)
		tap_forget(i->wiring->tap, i->generation, i->index);
	processes_free(TAKE_PTR(i->processes));
	agentlink_free(TAKE_PTR(i->link));
	instance_know_pid(i, 0);
	/* The agent does so, too, but perhaps only after a next daemon has looked for agents. */
	if (instance_has_stopped(i) && i->socket_path[0]) {
		handover_remove(i->socket_path);
		unlink(i->socket_path);
	}
	if (i->cgroup[0])
		removals_add(i->context->removals, i->cgroup);
}

bool instance_is_gone(const struct instance *i)
{
	return instance_has_stopped(i) && (!i->cgroup[0] || instance_populated(i) <= 0);
}

bool instance_has_exited(const struct instance *i)
{
	if (instance_has_stopped(i) || (!i->cgroup[0] && !i->link))
		return true;
	return instance_populated(i) == 0;
}
