/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/agent.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent_internal.h"
#include "agent/predecessor.h"
#include "common/advice.h"
#include "common/clock.h"
#include "common/log.h"

#define TERM_TIMEOUT_MS    5000         /* SIGTERM to the agent stops the server within this */
#define NOTIFY_INTERVAL_US (100 * 1000) /* in so much time ... */
#define NOTIFY_BURST       20           /* ... at most so many messages of the server are read */
#define PREDECESSOR_MS     2000         /* an agent that was killed has ended within this */
#define DAEMONISE_MS       10000 /* a server goes into the background within this, or never */

/* ---- events ---------------------------------------------------------------------------------- */

/*
 * Has the server daemonised? Its main process then ends early and with status 0. Follow it. If it
 * has served already, the process that it has left behind must show that it is the server.
 */
static bool follow_daemon(struct agent *agent)
{
	bool served = agent->lifecycle.steady || agent->record.ready;
	bool followed;

	followed = agent->exit_code == 0 && agent->exit_signal == 0 &&
		   agent->lifecycle.state == AGENT_RUNNING &&
		   clock_monotonic_ms() - agent->started_ms < DAEMONISE_MS &&
		   (!served || agent->daemonises) && server_follow(agent->server, agent->processes);
	agent->daemonises |= followed;
	return followed;
}

/* Was the main process a wrapper, so that the server behind it had no use for the sockets? */
static void note_wrapper(struct agent *agent, bool in_use, const char *tail)
{
	const struct server_last *last = server_last(agent->server);
	bool missed = in_use || agent->spec->mode == SOCKETS_INHERIT || strstr(tail, "LISTEN_");

	if (missed && last->had_children && !agent->record.ready && advice_is_wrapper(last->name) &&
	    sockets_are_passed_by_pid(agent->sockets))
		record_wrapper(&agent->record, last->name);
}

/* Explain the exit in the report if the server's stderr says what people may not understand. */
static void explain_exit(struct agent *agent)
{
	const struct server_last *last = server_last(agent->server);
	char tail[PROTOCOL_TAIL_MAX];
	bool in_use;

	if (last->known)
		record_uid(&agent->record, last->uid);
	if (agent->lifecycle.steady || agent->lifecycle.state != AGENT_RUNNING)
		return;
	relay_drain(agent->relay);
	relay_tail(agent->relay, tail, NULL, NULL);
	in_use = advice_says_in_use(tail);
	note_wrapper(agent, in_use, tail);
	if (in_use && agent->spec->n_listen > 0)
		record_explain_in_use(&agent->record, listeners_linger(agent->spec));
}

/* Nobody goes on as the server. */
static void on_ended(void *userdata)
{
	struct lifecycle_event event = {.type = LIFECYCLE_EXITED};
	struct agent *agent = userdata;

	agent_record_end(agent);
	explain_exit(agent);
	sockets_stopped(agent->sockets);
	event.passing = agent->record.lingers;
	agent_event(agent, &event);
	if (agent->tell)
		agent_report_told(agent);
}

static bool on_succeeded(pid_t pid, void *userdata)
{
	struct agent *agent = userdata;
	struct error err;

	if (server_watch_member(agent->server, pid, agent->processes, &err) < 0)
		return false;
	agent->named = false;
	agent_plain_event(agent, LIFECYCLE_SUCCEEDED);
	if (agent->tell)
		agent_report_told(agent);
	return true;
}

static void on_exited(int exit_code, int exit_signal, void *userdata)
{
	struct agent *agent = userdata;
	bool well = exit_code <= 0 && exit_signal == 0;

	if (!agent_end_launch(agent))
		return;
	agent->exit_code = exit_code;
	agent->exit_signal = exit_signal;
	if (follow_daemon(agent))
		agent_report_started(agent, server_pid(agent->server));
	else if (agent->lifecycle.state == AGENT_KILLING)
		on_ended(agent);
	else
		successors_seek(agent->successors, well, agent->lifecycle.state >= AGENT_LEFT);
}

/* batond hears of each listen(2): look now, and only if it says so. */
static void hint(struct agent *agent)
{
	bool noted = agent->hinted;

	agent->hinted = true;
	if (!noted)
		agent_note(agent);
	sockets_hint(agent->sockets);
}

static void on_order(const struct order *order, void *userdata)
{
	static const enum lifecycle_event_type types[_ORDER_TYPE_COUNT] = {
		[ORDER_STEADY] = LIFECYCLE_STEADY,
		[ORDER_LEAVE] = LIFECYCLE_LEAVE,
		[ORDER_STOP] = LIFECYCLE_STOP,
	};
	struct lifecycle_event event = {
		.type = types[order->type],
		.on = order->on,
		.signal = order->signal,
		.timeout_ms = order->timeout_ms,
	};
	struct agent *agent = userdata;

	agent_rest_soon(agent);
	/* These five do not concern the lifecycle. */
	if (order->type == ORDER_RELEASE) {
		sockets_release(agent->sockets, order->serial);
		return;
	}
	if (order->type == ORDER_REOPEN) {
		agent_reopen(agent, order->serial);
		return;
	}
	if (order->type == ORDER_TELL) {
		agent_report_told(agent);
		return;
	}
	if (order->type == ORDER_FAMILY) {
		sockets_set_family(agent->sockets, order->endpoint, order->on);
		return;
	}
	if (order->type == ORDER_LOOK) {
		if (order->late)
			sockets_hint_late(agent->sockets);
		else
			hint(agent);
		return;
	}
	if (order->type == ORDER_LEAVE)
		sockets_look(agent->sockets);
	agent_event(agent, &event);
}

static void on_hello(struct report *ret, int fds[static PROTOCOL_FDS_MAX], size_t *ret_n,
		     void *userdata)
{
	struct agent *agent = userdata;

	relay_read(agent->relay);
	agent_fill_hello(agent, ret);
	ret->kept = control_kept(agent->control);
	sockets_report(agent->sockets, 0, ret, fds);
	agent->greeted = ret->more > 0 ? (uint32_t)ret->n_sockets : 0;
	fds[ret->n_sockets] = agent->spec_fd;
	*ret_n = ret->n_sockets + 1;
}

/* Report what happened while no daemon was connected, and is not in the hello. */
static void on_connected(void *userdata)
{
	struct agent *agent = userdata;

	agent_rest_soon(agent);
	if (agent->greeted > 0)
		agent_report_sockets_from(agent, agent->greeted);
	agent_report_unsaid(agent);
	if (agent_server_pid(agent) != 0 && !agent->started_said)
		agent_report_started(agent, server_pid(agent->server));
	if (agent->lifecycle.state == AGENT_FAILED)
		agent_report_failed(agent);
}

/* Nobody says any more when the server listens. */
static void on_disconnected(void *userdata)
{
	struct agent *agent = userdata;

	if (agent->sockets)
		sockets_unhint(agent->sockets);
}

static int on_term(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct lifecycle_event event = {
		.type = LIFECYCLE_STOP,
		.signal = SIGTERM,
		.timeout_ms = TERM_TIMEOUT_MS,
	};

	(void)source;
	(void)info;
	agent_event(userdata, &event);
	return 0;
}

/*
 * Is the sender a process of the instance? If it has ended meanwhile (systemd-notify(1) does), the
 * kernel may still tell its cgroup. Without cgroups its uid must do: nothing else is left.
 */
static bool is_trusted(const struct agent *agent, const struct notify_sender *sender)
{
	int r = sender->pidfd >= 0
			? processes_contain_pidfd(agent->processes, sender->pid, sender->pidfd)
			: processes_contain(agent->processes, sender->pid);

	if (r == -ESRCH && !agent->spec->cgroup)
		return sender->uid == (agent->spec->set_ids ? agent->spec->uid : geteuid());
	return r > 0;
}

static void note_main_pid(struct agent *agent, pid_t pid)
{
	struct error err;

	if (pid == 0 || pid == server_pid(agent->server) || !agent->lifecycle.alive ||
	    processes_contain(agent->processes, pid) <= 0)
		return;
	if (server_watch_member(agent->server, pid, agent->processes, &err) < 0) {
		log_warning("MAINPID=%d: the server names this process as its main one, but it "
			    "cannot be followed: %s",
			    (int)pid, err.text);
		return;
	}
	agent->named = !successors_seeks(agent->successors);
	successors_stop(agent->successors);
	/* Before it serves it may have begun in another process; that is no succession. */
	if (agent->lifecycle.steady || agent->record.ready)
		agent_plain_event(agent, LIFECYCLE_SUCCEEDED);
	else
		agent_report_started(agent, server_pid(agent->server));
	if (agent->tell)
		agent_report_told(agent);
}

static int on_notify(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct agent *agent = userdata;
	struct report report = {.type = REPORT_NOTIFY};
	struct notify_message message;
	struct notify_sender sender;
	bool trusted, was_ready;

	(void)source;
	(void)events;
	if (notify_receive(fd, &message, &sender) < 0)
		return 0;
	trusted = is_trusted(agent, &sender);
	if (sender.pidfd >= 0)
		close(sender.pidfd);
	if (!trusted)
		return 0;
	note_main_pid(agent, message.main_pid);
	if (message.ready)
		sockets_ready(agent->sockets);
	was_ready = agent->record.ready;
	if (!record_notify(&agent->record, &message))
		return 0;
	if (agent->record.ready != was_ready)
		agent_note(agent);
	report.ready = agent->record.ready;
	snprintf(report.text, sizeof(report.text), "%s", agent->record.status);
	agent_report_send(agent, &report);
	return 0;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* By the name that the server knows, which an agent of an earlier version has made. */
static int reopen_abstract(struct agent *agent, const struct handover *handover, struct error *err)
{
	int r;

	snprintf(agent->notify_name, sizeof(agent->notify_name), "%s", handover->notify_name);
	r = notify_reopen(agent->notify_name, &agent->notify_fd, err);
	if (r < 0)
		log_warning("what the server says by sd_notify is not heard until it is started "
			    "again: %s",
			    err->text);
	return r;
}

static int open_notify_socket(struct agent *agent, const struct handover *handover,
			      struct error *err)
{
	const struct notify_owner owner = {
		.set = agent->spec->set_ids, .uid = agent->spec->uid, .gid = agent->spec->gid};
	char path[PATHS_MAX];

	if (handover && handover->notify_name[0] == '@' &&
	    reopen_abstract(agent, handover, err) == 0)
		return 0;
	return notify_open(control_path(agent->control, path), &owner, &agent->notify_fd,
			   agent->notify_name, err);
}

static int open_notify(struct agent *agent, const struct handover *handover, struct error *err)
{
	int r;

	r = open_notify_socket(agent, handover, err);
	if (r < 0)
		return r;
	r = sd_event_add_io(agent->event, &agent->notify_source, agent->notify_fd, EPOLLIN,
			    on_notify, agent);
	/* Ahead of exits: the server said it before it ended. */
	if (r >= 0)
		r = sd_event_source_set_priority(agent->notify_source,
						 SD_EVENT_PRIORITY_NORMAL - 5);
	if (r >= 0)
		r = sd_event_source_set_ratelimit(agent->notify_source, NOTIFY_INTERVAL_US,
						  NOTIFY_BURST);
	return r < 0 ? error_set(err, r, "notify socket") : 0;
}

static int watch_term(struct agent *agent, struct error *err)
{
	sigset_t mask;
	int r;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
		return error_set(err, -errno, "block SIGTERM");
	r = sd_event_add_signal(agent->event, &agent->term_source, SIGTERM, on_term, agent);
	return r < 0 ? error_set(err, r, "watch SIGTERM") : 0;
}

static int open_processes(struct agent *agent, const int *socket_fds, struct error *err)
{
	static const struct sockets_handlers handlers = {
		.on_change = agent_report_sockets,
		.on_gone = agent_on_gone,
		.on_orphan = agent_report_orphan,
	};
	static const struct successors_handlers successors = {
		.on_found = on_succeeded,
		.on_none = on_ended,
	};
	int r;

	r = processes_new(agent->spec->cgroup, getpid(), &agent->processes);
	if (r < 0)
		return error_set(err, r, "follow the server's processes");
	r = sockets_new(agent->event, agent->spec, agent->processes, socket_fds, &handlers, agent,
			&agent->sockets, err);
	if (r < 0)
		return r;
	return successors_new(agent->event, agent->processes, agent->sockets, &successors, agent,
			      &agent->successors, err);
}

static int end_predecessor(const struct handover *handover, struct error *err)
{
	int r;

	if (!handover)
		return 0;
	r = predecessor_end(handover->hello.agent_pid, handover->agent_started, PREDECESSOR_MS);
	return r < 0 ? error_set(err, r, "end the agent that was here before, pid %d",
				 (int)handover->hello.agent_pid)
		     : 0;
}

static int open_relay(struct agent *agent, const struct handover *handover, struct error *err)
{
	uid_t owner = agent->spec->set_ids ? agent->spec->uid : (uid_t)-1;
	int r;

	if (!handover)
		r = relay_new(agent->event, STDOUT_FILENO, STDERR_FILENO, owner, &agent->relay,
			      err);
	else
		r = relay_adopt(agent->event, STDOUT_FILENO, STDERR_FILENO, owner, agent->processes,
				handover->pipes, &agent->relay, err);
	if (r == 0)
		relay_label(agent->relay, agent->spec->service);
	return r;
}

static int agent_open(struct agent *agent, int control_fd, const int *socket_fds,
		      const struct handover *handover, struct error *err)
{
	static const struct control_handlers handlers = {
		.on_hello = on_hello,
		.on_connected = on_connected,
		.on_disconnected = on_disconnected,
		.on_sockets_missed = agent_report_sockets,
		.on_order = on_order,
	};
	char path[PATHS_MAX];
	int r;

	r = sd_event_new(&agent->event);
	if (r < 0) {
		close(control_fd);
		return error_set(err, r, "event loop");
	}
	r = control_new(agent->event, control_fd, &handlers, agent, &agent->control, err);
	if (r < 0)
		return r;
	if (control_path(agent->control, path)[0])
		(void)handover_path(path, agent->handover_path);
	(void)processes_started(getpid(), &agent->begun);
	r = end_predecessor(handover, err);
	if (r == 0)
		r = open_processes(agent, socket_fds, err);
	if (r == 0 && handover && handover->hello.pid != 0)
		(void)processes_adopt(agent->processes, handover->hello.pid);
	if (r == 0)
		r = open_relay(agent, handover, err);
	if (r == 0)
		r = output_new(agent->relay, agent->spec,
			       agent->spec->set_ids ? &agent->user : NULL, &agent->output, err);
	if (r == 0)
		r = server_new(agent->event, on_exited, agent, &agent->server, err);
	if (r == 0)
		r = open_notify(agent, handover, err);
	if (r == 0)
		r = watch_term(agent, err);
	return r;
}

/* ---- going on with a server ------------------------------------------------------------------ */

/* Watch it, if it is still there. */
static bool watch_adopted(struct agent *agent, const struct handover *handover)
{
	struct error err;

	return handover->hello.pid != 0 && server_watch_started(agent->server, handover->hello.pid,
								handover->started, &err) == 0;
}

static int adopt(struct agent *agent, const struct handover *handover, struct error *err)
{
	const struct report *hello = &handover->hello;
	struct lifecycle_event event = {
		.type = LIFECYCLE_ADOPT,
		.state = hello->state,
		.on = hello->steady,
		.signal = handover->signal,
		.at_ms = handover->deadline_ms,
	};
	int r;

	if (hello->state != AGENT_RUNNING &&
	    (hello->state < AGENT_LEAVING || hello->state == AGENT_STOPPED))
		return error_text(err, -EINVAL, "a server that is %s cannot be taken over",
				  agent_state_name(hello->state));
	r = output_open(agent->output, err);
	if (r == 0)
		r = sockets_adopt(agent->sockets, hello->sockets, hello->n_sockets, hello->serial,
				  hello->state >= AGENT_LEAVING, err);
	if (r < 0)
		return r;
	agent->record.ready = hello->ready;
	agent->hinted = hello->hinted;
	agent->daemonises = handover->daemonises;
	agent->again = !hello->initial;
	agent->main_pid = hello->pid;
	agent->started_ms = clock_monotonic_ms();
	agent->started_said = true;
	agent->deadline_ms = handover->deadline_ms;
	event.alive = watch_adopted(agent, handover);
	if (event.alive || hello->state != AGENT_RUNNING) {
		agent_event(agent, &event);
		return 0;
	}
	/* It has ended since it was looked at: that is an exit like any other. */
	event.alive = true;
	agent_event(agent, &event);
	on_exited(SERVER_EXIT_UNKNOWN, 0, agent);
	return 0;
}

static int begin(struct agent *agent, const struct handover *handover, struct error *err)
{
	if (handover)
		return adopt(agent, handover, err);
	/* The first hello tells how the server has begun, with its sockets. */
	control_hold(agent->control, true);
	agent_plain_event(agent, LIFECYCLE_BEGIN);
	return 0;
}

static void agent_close(struct agent *agent)
{
	sd_event_source_disable_unref(agent->notify_source);
	sd_event_source_disable_unref(agent->term_source);
	timer_done(&agent->deadline);
	timer_done(&agent->kill);
	agent_stop_launching(agent);
	timer_done(&agent->launch_deadline);
	timer_done(&agent->rest);
	if (agent->notify_fd >= 0)
		close(agent->notify_fd);
	server_free(agent->server);
	relay_free(agent->relay);
	output_free(agent->output);
	successors_free(agent->successors);
	sockets_free(agent->sockets);
	processes_free(agent->processes);
	control_free(agent->control);
	while (agent->n_unsaid > 0)
		free(agent->unsaid[--agent->n_unsaid]);
	sd_event_unref(agent->event);
}

int agent_run(const struct launch_spec *spec, int spec_fd, int control_fd, const int *socket_fds,
	      const struct handover *handover, struct error *err)
{
	const struct lifecycle_policy policy = {
		.restart_max = spec->restart_max,
		.restart_window_ms = spec->restart_window_ms,
		.restart_delay_ms = spec->restart_delay_ms,
		.restart_delay_max_ms = spec->restart_delay_max_ms,
	};
	struct agent agent = {.spec = spec,
			      .spec_fd = spec_fd,
			      .notify_fd = -1,
			      .launching = {.pidfd = -1, .fd = -1}};
	agent.user = (struct as_user){spec->uid, spec->gid, spec->groups, spec->n_groups};
	int r;

	assert(spec && spec_fd >= 0 && control_fd >= 0 &&
	       (handover || spec->sockets_given == (socket_fds != NULL)));
	lifecycle_init(&agent.lifecycle, &policy);
	agent.noted_state = _AGENT_STATE_COUNT;
	r = agent_open(&agent, control_fd, socket_fds, handover, err);
	/* Before the first connection is accepted: so its hello finds the sockets open. */
	if (r == 0)
		r = begin(&agent, handover, err);
	if (r == 0) {
		r = sd_event_loop(agent.event);
		if (r < 0)
			error_set(err, r, "event loop");
	}
	if (r < 0 && agent.control)
		control_unlink(agent.control);
	agent_close(&agent);
	return r;
}
