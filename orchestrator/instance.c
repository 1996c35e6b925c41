/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/instance.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/anchor.h"

/* How a crashed server is started again in steady state (see agent/lifecycle.h). */
#define RESTART_MAX          5
#define RESTART_WINDOW_MS    60000
#define RESTART_DELAY_MS     100
#define RESTART_DELAY_MAX_MS 5000

#define LOST_POLL_MS      20 /* while it is expected to go */
#define LOST_IDLE_POLL_MS 500
#define KILL_WAIT_MS      2000

static void changed(struct instance *i)
{
	i->callbacks->on_change(i->userdata);
}

static void __attribute__((format(printf, 3, 4)))
note(struct instance *i, const char *event, const char *format, ...)
{
	char message[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(message, sizeof(message), format, ap);
	va_end(ap);
	i->callbacks->on_note(i->userdata, event, message);
}

static void stop_checks(struct instance *i);

static void fail(struct instance *i, const char *reason)
{
	i->failed = true;
	stop_checks(i);
	if (!i->failure[0])
		snprintf(i->failure, sizeof(i->failure), "%s", reason);
}

void instance_describe_exit(const struct instance *i, char *ret, size_t size)
{
	if (i->exit_signal)
		snprintf(ret, size, "was killed by %s", config_signal_name(i->exit_signal));
	else
		snprintf(ret, size, "exited with status %d", i->exit_code);
}

/* ---- health checks -------------------------------------------------------------------------- */

static void on_answer(void *userdata, const struct probe_result *result, bool new_verdict)
{
	struct instance *i = userdata;
	const struct health *health = &i->checkers[0].health;

	if (!result->ok && health->state == HEALTH_UNKNOWN)
		note(i, "probe", "%s (instance %u)", result->text, i->index);
	if (!new_verdict)
		return;
	if (health->state == HEALTH_UNHEALTHY)
		note(i, "unhealthy", "%s (instance %u, %u in a row)", result->text, i->index,
		     health->failures);
	else
		note(i, "healthy", "%s (instance %u, %u in a row)", result->text, i->index,
		     health->successes);
	changed(i);
}

/* Of the other endpoints: once accepted from is enough. */
static void on_accept_answer(void *userdata, const struct probe_result *result, bool new_verdict)
{
	struct instance *i = userdata;

	if (!result->ok)
		note(i, "probe", "%s (instance %u)", result->text, i->index);
	for (size_t k = 1; k < i->config->n_listen; k++)
		if (i->checkers[k].running && i->checkers[k].health.state == HEALTH_HEALTHY)
			checker_stop(&i->checkers[k]);
	if (new_verdict)
		changed(i);
}

static void check_endpoint(struct instance *i, size_t k)
{
	struct checker_target target = {
		.service = i->config->name,
		.health = k == 0 ? &i->config->health : &i->accept_check,
		.address = &i->config->listen[k],
		.steer = i->endpoints[k],
		.slot = i->sockets[k].slot,
		.cookie = i->sockets[k].cookie,
	};

	checker_start(&i->checkers[k], i->context, &target, k == 0 ? on_answer : on_accept_answer,
		      i);
}

void instance_check(struct instance *i)
{
	if (i->checkers[0].running || i->leaving || i->stopping || i->failed)
		return;
	if (i->config->health.kind == HEALTH_NOTIFY)
		return;
	i->accept_check = (struct health_config){
		.kind = HEALTH_CONNECT,
		.interval_ms = i->config->health.interval_ms,
		.timeout_ms = i->config->health.timeout_ms,
		.healthy = 1,
		.unhealthy = 1,
	};
	for (size_t k = 0; k < i->config->n_listen; k++)
		check_endpoint(i, k);
}

static void stop_checks(struct instance *i)
{
	for (size_t k = 0; k < CONFIG_LISTEN_MAX; k++)
		checker_stop(&i->checkers[k]);
}

/* The server is another process now: what the last one answered counts no more. */
static void restart_checks(struct instance *i)
{
	for (size_t k = 0; k < i->config->n_listen; k++)
		checker_restart(&i->checkers[k]);
}

bool instance_is_healthy(const struct instance *i)
{
	if (i->failed || i->pid == 0)
		return false;
	if (i->config->health.kind == HEALTH_NOTIFY)
		return i->ready;
	for (size_t k = 0; k < i->config->n_listen; k++)
		if (i->checkers[k].health.state != HEALTH_HEALTHY)
			return false;
	return true;
}

bool instance_is_unhealthy(const struct instance *i)
{
	return i->checkers[0].health.state == HEALTH_UNHEALTHY;
}

const struct probe_result *instance_last_answer(const struct instance *i)
{
	for (size_t k = 0; k < i->config->n_listen; k++)
		if (i->checkers[k].last_ms && i->checkers[k].health.state != HEALTH_HEALTHY)
			return &i->checkers[k].last;
	return i->checkers[0].last_ms ? &i->checkers[0].last : NULL;
}

bool instance_is_serving(const struct instance *i)
{
	if (i->failed || i->left || i->stopped || !i->joined)
		return false;
	/* Without its agent a server goes on, but nobody starts it again. */
	return !i->lost || cgroup_populated(i->cgroup) > 0;
}

/* ---- reports -------------------------------------------------------------------------------- */

static int join_socket(struct instance *i, size_t index, const struct report_socket *socket, int fd,
		       struct error *err)
{
	struct instance_socket *s = &i->sockets[index];
	bool drift = false;
	int r;

	if (strcmp(socket->address, i->config->listen[index].text) != 0)
		return error_text(err, -EBADMSG, "the agent's socket %zu is for %s, not for %s",
				  index, socket->address, i->config->listen[index].text);
	if (anchor_cookie(fd) != socket->cookie)
		return error_text(err, -EBADMSG, "the agent's socket %zu is not the one it names",
				  index);
	r = steer_join(i->endpoints[index], fd, &s->slot, &drift, err);
	if (r < 0)
		return r;
	s->cookie = socket->cookie;
	s->joined = true;
	if (drift)
		note(i, "drift", "the program of %s's group had been replaced; put right",
		     i->config->listen[index].text);
	return 0;
}

static void on_hello(struct instance *i, const struct report *report, const int *fds, size_t n_fds)
{
	struct error err;

	i->state = report->state;
	i->pid = report->pid;
	i->ready = report->ready;
	/* Where the server could not be started, the report that says why comes next. */
	if (i->joined || i->failed || i->stopping || report->state >= AGENT_FAILED)
		return;
	if (report->n_sockets != i->config->n_listen || n_fds < report->n_sockets) {
		char reason[96];

		snprintf(reason, sizeof(reason),
			 "the agent sent %zu sockets where %zu were expected", report->n_sockets,
			 i->config->n_listen);
		fail(i, reason);
		return;
	}
	for (size_t k = 0; k < report->n_sockets; k++) {
		if (join_socket(i, k, &report->sockets[k], fds[k], &err) < 0) {
			fail(i, err.text);
			return;
		}
	}
	i->joined = true;
}

static void on_started(struct instance *i, const struct report *report)
{
	bool again = i->restarts > 0;

	i->pid = report->pid;
	i->state = AGENT_RUNNING;
	if (again)
		note(i, "restarted", "instance %u runs again, pid %d", i->index, (int)i->pid);
	restart_checks(i);
}

static void on_exited(struct instance *i, const struct report *report)
{
	char how[64];

	i->exit_code = report->exit_code;
	i->exit_signal = report->exit_signal;
	i->pid = 0;
	i->ready = false;
	i->checkers[0].health = (struct health){};
	instance_describe_exit(i, how, sizeof(how));
	if (report->restarting) {
		i->state = AGENT_DELAYING;
		i->restarts++;
		note(i, "exited", "instance %u %s; started again in %u ms", i->index, how,
		     report->restart_ms);
		return;
	}
	if (i->leaving || i->stopping)
		return;
	i->state = AGENT_FAILED;
	note(i, "exited", "instance %u %s", i->index, how);
	fail(i, how);
}

static void on_notify(struct instance *i, const struct report *report)
{
	if (report->ready && !i->ready)
		note(i, "ready", "instance %u says READY=1", i->index);
	i->ready = report->ready;
}

static void on_report(void *userdata, const struct report *report, int *fds, size_t n_fds)
{
	struct instance *i = userdata;

	if (report->tail[0])
		memcpy(i->tail, report->tail, sizeof(i->tail));
	switch (report->type) {
	case REPORT_HELLO:
		on_hello(i, report, fds, n_fds);
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
		i->state = AGENT_FAILED;
		i->pid = 0;
		if (!i->leaving && !i->stopping)
			fail(i, report->text);
		break;
	case REPORT_LEFT:
		i->left = true;
		i->forced = report->forced;
		i->state = AGENT_LEFT;
		break;
	case REPORT_STOPPED:
		i->left = i->stopped = true;
		i->killed = report->killed;
		i->exit_code = report->exit_code;
		i->exit_signal = report->exit_signal;
		i->state = AGENT_STOPPED;
		i->pid = 0;
		break;
	case _REPORT_TYPE_COUNT:
		break;
	}
	changed(i);
}

static int poll_lost(sd_event_source *source, uint64_t usec, void *userdata);

static void on_lost(void *userdata)
{
	struct instance *i = userdata;

	i->lost = true;
	if (i->stopped)
		return;
	note(i, "agent-lost", "instance %u has lost its agent (pid %d)", i->index,
	     (int)agentlink_pid(i->link));
	/* A generation that has yet to prove itself must not begin without somebody to restart it.
	 */
	if (!i->steady && !i->leaving && !i->stopping)
		fail(i, "its agent ended");
	/* From here on only looking tells when the server's processes are gone. */
	if (sd_event_add_time_relative(i->context->event, &i->leave_timer, CLOCK_MONOTONIC, 0, 1000,
				       poll_lost, i) < 0)
		log_error("%s: cannot watch an instance without agent", i->config->name);
	changed(i);
}

static const struct agentlink_callbacks link_callbacks = {
	.on_report = on_report,
	.on_lost = on_lost,
};

/* ---- without an agent ----------------------------------------------------------------------- */

static bool still_listens(struct instance *i, size_t k)
{
	struct diag_listener listener;

	return i->sockets[k].joined &&
	       diag_listener(i->context->diag, address_port(&i->config->listen[k]),
			     i->sockets[k].cookie, &listener, NULL) == 0;
}

static void check_left_without_agent(struct instance *i)
{
	bool late = clock_monotonic_ms() >= i->leave_deadline_ms;
	bool open = false;

	for (size_t k = 0; k < i->config->n_listen; k++) {
		if (!still_listens(i, k))
			continue;
		open = true;
		if (late &&
		    diag_destroy_listener(i->context->diag, address_port(&i->config->listen[k]),
					  i->sockets[k].cookie, NULL) == 0)
			i->forced = true;
	}
	/* Past the deadline everything that can be done has been done. */
	if (!open || late)
		i->left = true;
}

static int poll_lost(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct instance *i = userdata;

	(void)usec;
	if (i->leaving && !i->left)
		check_left_without_agent(i);
	if (cgroup_populated(i->cgroup) <= 0) {
		i->pid = 0;
		i->left = i->stopped = true;
		fail(i, "its processes are gone");
	} else if (i->stopping && clock_monotonic_ms() >= i->leave_deadline_ms) {
		i->killed = true;
		cgroup_kill(i->cgroup);
	}
	changed(i);
	if (i->stopped)
		return 0;
	sd_event_source_set_time_relative(
		source, (i->leaving || i->stopping ? LOST_POLL_MS : LOST_IDLE_POLL_MS) * 1000);
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

static void order(struct instance *i, const struct order *what)
{
	int r;

	if (i->lost || i->stopped)
		return;
	r = agentlink_order(i->link, what);
	if (r < 0)
		log_warning("%s: order %s to the agent of instance %u.%u: %s", i->config->name,
			    order_type_name(what->type), i->generation, i->index, strerror(-r));
}

void instance_steady(struct instance *i, bool on)
{
	i->steady = on;
	order(i, &(struct order){.type = ORDER_STEADY, .on = on});
}

void instance_leave(struct instance *i)
{
	const struct drain_config *drain = &i->config->drain;

	if (i->leaving || i->stopped)
		return;
	i->leaving = true;
	stop_checks(i);
	if (i->lost) {
		sd_event_source_set_time_relative(i->leave_timer, 0);
		i->leave_deadline_ms = clock_monotonic_ms() + drain->leave_timeout_ms;
		if (i->pid > 0 && cgroup_populated(i->cgroup) > 0)
			kill(i->pid, drain->signal);
		return;
	}
	order(i, &(struct order){.type = ORDER_LEAVE,
				 .signal = drain->signal,
				 .timeout_ms = (uint32_t)drain->leave_timeout_ms});
}

/*
 * The stop signal is SIGTERM. A server that has been told to drain by SIGTERM already is not told
 * twice: for many a second one means "at once", while it may still be writing its last answers.
 */
void instance_stop(struct instance *i)
{
	const struct drain_config *drain = &i->config->drain;
	int sig = i->leaving && drain->signal == SIGTERM ? 0 : SIGTERM;

	if (i->stopping || i->stopped)
		return;
	i->stopping = true;
	stop_checks(i);
	if (i->lost) {
		sd_event_source_set_time_relative(i->leave_timer, 0);
		i->leave_deadline_ms = clock_monotonic_ms() + drain->kill_timeout_ms;
		if (sig && i->pid > 0 && cgroup_populated(i->cgroup) > 0)
			kill(i->pid, sig);
		return;
	}
	order(i, &(struct order){.type = ORDER_STOP,
				 .signal = sig,
				 .timeout_ms = (uint32_t)drain->kill_timeout_ms});
}

void instance_kill(struct instance *i)
{
	if (i->stopped)
		return;
	stop_checks(i);
	i->killed = true;
	if (!i->lost && i->link)
		kill(agentlink_pid(i->link), SIGKILL);
	cgroup_kill(i->cgroup);
	/* What SIGKILL leaves to do is the kernel's, and short: the cgroup can be removed then. */
	if (cgroup_wait_empty(i->cgroup, KILL_WAIT_MS) < 0)
		log_warning("%s: processes in %s survive SIGKILL", i->config->name, i->cgroup);
	unlink(i->socket_path);
	i->stopped = i->left = true;
	i->exit_code = 0;
	i->exit_signal = SIGKILL;
	i->pid = 0;
}

/* ---- life ----------------------------------------------------------------------------------- */

static void fill_spec(const struct instance *i, const struct release *release,
		      struct launch_spec *ret)
{
	const struct service_config *c = i->config;

	/* Everything is borrowed for the time of the call. */
	*ret = (struct launch_spec){
		.service = c->name,
		.generation = i->generation,
		.instance = i->index,
		.listen = (struct address *)c->listen,
		.n_listen = c->n_listen,
		.backlog = c->backlog,
		.nonblocking = c->nonblocking,
		.executable = release->executable,
		.argv = release->command,
		.environment = release->environment,
		.directory = release->directory,
		.uid = c->uid,
		.gid = c->gid,
		.n_groups = c->n_groups,
		.set_ids = c->set_ids,
		.cgroup = (char *)i->cgroup,
		.restart_max = RESTART_MAX,
		.restart_window_ms = RESTART_WINDOW_MS,
		.restart_delay_ms = RESTART_DELAY_MS,
		.restart_delay_max_ms = RESTART_DELAY_MAX_MS,
	};
	_Static_assert(CONFIG_GROUPS_MAX <= PROTOCOL_GROUPS_MAX, "groups fit");
	_Static_assert(CONFIG_LISTEN_MAX <= PROTOCOL_SOCKETS_MAX, "sockets fit");
	memcpy(ret->groups, c->groups, c->n_groups * sizeof(c->groups[0]));
}

static int start(struct instance *i, const struct release *release, struct error *err)
{
	struct launch_spec spec;
	char leaf[PROTOCOL_NAME_MAX + 32];
	int r;

	snprintf(leaf, sizeof(leaf), "%s.%u.%u", i->config->name, i->generation, i->index);
	r = cgroup_create(i->context->cgroup_base, leaf, i->cgroup, &i->cgroup_id, err);
	if (r < 0) {
		i->cgroup[0] = '\0';
		return r;
	}
	if ((size_t)snprintf(i->socket_path, sizeof(i->socket_path), "%s/%s.sock",
			     i->context->paths.agents_dir, leaf) >= sizeof(i->socket_path))
		return error_text(err, -ENAMETOOLONG, "%s: path too long", leaf);
	fill_spec(i, release, &spec);
	i->state = AGENT_STARTING;
	return agentlink_start(i->context->event, i->context->agent_program, i->socket_path, &spec,
			       &link_callbacks, i, &i->link, err);
}

int instance_start(struct instance *i, const struct release *release, struct error *err)
{
	int r = start(i, release, err);

	if (r < 0) {
		fail(i, err->text);
		i->left = i->stopped = true;
	}
	return r;
}

/* How far on its way out an adopted instance is. */
static void adopt_state(struct instance *i, enum agent_state state)
{
	i->failed = state == AGENT_FAILED;
	i->leaving = state >= AGENT_LEAVING;
	i->left = state >= AGENT_LEFT;
	i->stopping = state >= AGENT_STOPPING;
	i->stopped = state == AGENT_STOPPED;
}

void instance_adopt(struct instance *i, struct adopt_agent *agent)
{
	struct stat st;

	i->index = agent->spec.instance;
	memcpy(i->socket_path, agent->socket_path, sizeof(i->socket_path));
	snprintf(i->cgroup, sizeof(i->cgroup), "%s", agent->spec.cgroup ? agent->spec.cgroup : "");
	if (i->cgroup[0] && stat(i->cgroup, &st) == 0)
		i->cgroup_id = st.st_ino;
	i->link = TAKE_PTR(agent->link);
	adopt_state(i, agent->hello.state);
	memcpy(i->tail, agent->hello.tail, sizeof(i->tail));
	if (i->leaving || i->failed) {
		i->state = agent->hello.state;
		i->pid = agent->hello.pid;
	} else {
		on_hello(i, &agent->hello, agent->fds, agent->n_fds);
	}
	agentlink_listen(i->link, &link_callbacks, i);
}

void instance_done(struct instance *i)
{
	int r;

	stop_checks(i);
	i->leave_timer = sd_event_source_disable_unref(i->leave_timer);
	for (size_t k = 0; k < i->config->n_listen; k++)
		if (i->sockets[k].joined)
			steer_release(i->endpoints[k], i->sockets[k].slot);
	agentlink_free(TAKE_PTR(i->link));
	/* The agent does so as well, but a daemon that ends now would find it there. */
	if (i->stopped && i->socket_path[0])
		unlink(i->socket_path);
	if (i->cgroup[0]) {
		r = cgroup_remove(i->cgroup);
		if (r < 0)
			log_warning("%s: remove %s: %s", i->config->name, i->cgroup, strerror(-r));
	}
}

bool instance_has_exited(const struct instance *i)
{
	return i->stopped || !i->cgroup[0] || cgroup_populated(i->cgroup) == 0;
}

int instance_queued(struct instance *i, uint32_t *ret)
{
	*ret = 0;
	for (size_t k = 0; k < i->config->n_listen; k++) {
		struct diag_listener listener;
		int r;

		if (!i->sockets[k].joined)
			continue;
		r = diag_listener(i->context->diag, address_port(&i->config->listen[k]),
				  i->sockets[k].cookie, &listener, NULL);
		if (r < 0 && r != -ENOENT)
			return r;
		if (r >= 0)
			*ret += listener.queued;
	}
	return 0;
}

/* Has an earlier endpoint the same port? (0.0.0.0:80 and [::]:80 are counted together.) */
static bool port_counted(const struct service_config *c, size_t k)
{
	for (size_t j = 0; j < k; j++)
		if (address_port(&c->listen[j]) == address_port(&c->listen[k]))
			return true;
	return false;
}

int instance_live(struct instance *i, uint64_t *ret)
{
	*ret = 0;
	if (!i->cgroup_id)
		return i->stopped ? 0 : -ENODATA;
	for (size_t k = 0; k < i->config->n_listen; k++) {
		uint64_t live;
		int r;

		if (port_counted(i->config, k))
			continue;
		r = diag_connections(i->context->diag, address_port(&i->config->listen[k]),
				     i->cgroup_id, &live, NULL);
		if (r < 0)
			return r;
		*ret += live;
	}
	return 0;
}
