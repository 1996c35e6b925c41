/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/agent.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "agent/control.h"
#include "agent/launch.h"
#include "agent/lifecycle.h"
#include "agent/notify.h"
#include "agent/output.h"
#include "agent/predecessor.h"
#include "agent/record.h"
#include "agent/relay.h"
#include "agent/server.h"
#include "agent/sockets.h"
#include "agent/successors.h"
#include "common/advice.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/processes.h"
#include "common/timer.h"

#define LAUNCH_TIMEOUT_MS  5000         /* from fork to exec; the event loop waits for it */
#define TERM_TIMEOUT_MS    5000         /* SIGTERM to the agent stops the server within this */
#define FLUSH_TIMEOUT_MS   500          /* at the end, for readers of our stdout and stderr */
#define NOTIFY_INTERVAL_US (100 * 1000) /* in so much time ... */
#define NOTIFY_BURST       20           /* ... at most so many messages of the server are read */
#define EVENTS_MAX         16
#define PREDECESSOR_MS     2000  /* an agent that was killed has ended within this */
#define DAEMONISE_MS       10000 /* a server goes into the background within this, or never */

struct agent {
	const struct launch_spec *spec;
	int spec_fd;
	struct lifecycle lifecycle;
	struct lifecycle_event queue[EVENTS_MAX];
	size_t n_queue;
	bool stepping;

	sd_event *event;
	struct processes *processes;
	struct sockets *sockets;
	struct relay *relay;
	struct output *output;
	struct server *server;
	struct successors *successors;
	struct control *control;
	int notify_fd;
	char notify_name[NOTIFY_NAME_MAX];
	sd_event_source *notify_source;
	sd_event_source *term_source;
	struct timer deadline; /* of the lifecycle */
	struct timer kill;     /* when to look next whether all processes have ended */
	bool killed;           /* the present DO_KILL has found a process */

	/* What the next agent is told, and the part of it that was written last. */
	char handover_path[PATHS_MAX]; /* "": there is no place for it */
	uint64_t begun;                /* when this process was, see processes_started() */
	uint64_t deadline_ms;          /* of the last DO_TIMER */
	enum agent_state noted_state;
	bool noted_steady, noted_alive, note_failed;

	struct record record;
	uint64_t started_ms; /* when the server was started last */
	uint32_t greeted;    /* a hello had room for so many of the sockets; 0: for all */
	bool started_said;   /* a daemon has got REPORT_STARTED of the running server */
	bool daemonises;     /* the server has put itself into the background before */
	pid_t main_pid;      /* of the server, as it was told last */
	/* How the main process has ended, while a successor is sought. */
	int exit_code;
	int exit_signal;
	bool tell;  /* ORDER_TELL has come meanwhile */
	bool named; /* the successor: by MAINPID=, and the earlier main process has not ended */
};

static void agent_event(struct agent *agent, const struct lifecycle_event *event);

static void note(struct agent *agent);

static void plain_event(struct agent *agent, enum lifecycle_event_type type)
{
	agent_event(agent, &(struct lifecycle_event){.type = type});
}

/* ---- reports -------------------------------------------------------------------------------- */

static void report_send(struct agent *agent, struct report *report)
{
	control_send(agent->control, report);
}

/* What the server wrote last. The caller has read its pipes. */
static void fill_tail(const struct agent *agent, struct report *report)
{
	enum relay_stream from;
	uint64_t age_ms;

	if (relay_tail(agent->relay, report->tail, &from, &age_ms) == 0)
		return;
	report->tail_stdout = from == RELAY_STDOUT;
	/* 0 is what an older agent says. */
	report->tail_age_ms = age_ms == 0 ? 1 : age_ms < UINT32_MAX ? (uint32_t)age_ms : UINT32_MAX;
}

static void fill_exit(const struct agent *agent, struct report *report)
{
	record_report(&agent->record, server_pid(agent->server) != 0, report);
	relay_drain(agent->relay);
	fill_tail(agent, report);
}

static void report_started(struct agent *agent)
{
	struct report report = {.type = REPORT_STARTED, .pid = server_pid(agent->server)};

	agent->main_pid = report.pid;
	agent->started_said = control_connected(agent->control);
	report_send(agent, &report);
	note(agent);
}

static void report_succeeded(struct agent *agent)
{
	bool alive = agent->named;
	struct report report = {
		.type = REPORT_STARTED,
		.pid = server_pid(agent->server),
		.succeeds = agent->main_pid,
		.ending = alive ? ENDING_ALIVE : ENDING_TOLD,
	};

	if (!alive && agent->exit_code == SERVER_EXIT_UNKNOWN) {
		report.ending = ENDING_UNKNOWN;
	} else if (!alive) {
		report.exit_code = agent->exit_code;
		report.exit_signal = agent->exit_signal;
	}
	agent->main_pid = report.pid;
	report_send(agent, &report);
	note(agent);
}

static void report_exited(struct agent *agent, const struct lifecycle_action *action)
{
	struct report report = {.type = REPORT_EXITED,
				.restarting = action->restarting,
				.restart_ms = action->restart_ms};

	strcpy(report.text, agent->record.failure);
	report.lingers = agent->record.lingers;
	strcpy(report.wrapper, agent->record.wrapper);
	fill_exit(agent, &report);
	report_send(agent, &report);
}

static void report_failed(struct agent *agent)
{
	struct report report = {.type = REPORT_FAILED};

	record_describe_failure(&agent->record, &agent->lifecycle, report.text);
	relay_drain(agent->relay);
	fill_tail(agent, &report);
	report_send(agent, &report);
}

/*
 * The exit first, if there was one: it is the cause of whatever the daemon asks about. If it may
 * turn out to be none, the answer waits for that.
 */
static void report_told(struct agent *agent)
{
	struct report report = {.type = REPORT_TOLD};

	server_reap(agent->server);
	agent->tell = successors_seeks(agent->successors);
	if (agent->tell)
		return;
	relay_read(agent->relay);
	fill_tail(agent, &report);
	report_send(agent, &report);
}

/* @serial: the order's; an earlier daemon, which gives none, would not know the report. */
static void report_reopened(struct agent *agent, uint32_t serial,
			    const struct output_reopened *reopened)
{
	struct report report = {
		.type = REPORT_REOPENED, .serial = serial, .files = reopened->files};

	if (serial == 0)
		return;
	strcpy(report.stdout_failure, reopened->failure[RELAY_STDOUT]);
	strcpy(report.stderr_failure, reopened->failure[RELAY_STDERR]);
	report_send(agent, &report);
}

static void reopen(struct agent *agent, uint32_t serial)
{
	struct output_reopened reopened;

	output_reopen(agent->output, &reopened);
	report_reopened(agent, serial, &reopened);
}

static void report_left(struct agent *agent, const struct lifecycle_action *action)
{
	struct report report = {.type = REPORT_LEFT, .forced = action->forced};

	sockets_watch_stop(agent->sockets);
	report_send(agent, &report);
}

/* The sockets of the set from the @first on, in as many reports as it takes. */
static void report_sockets_from(struct agent *agent, uint32_t first)
{
	struct report report = {.type = REPORT_SOCKETS, .more = 1};
	int fds[PROTOCOL_SOCKETS_MAX];

	note(agent);
	/* If nobody is connected, the next hello will say it. */
	for (; report.more > 0 && control_connected(agent->control);
	     first += (uint32_t)report.n_sockets) {
		sockets_report(agent->sockets, first, &report, fds);
		control_send_with(agent->control, &report, fds, report.n_sockets);
	}
}

static void report_sockets(void *userdata)
{
	report_sockets_from(userdata, 0);
}

/* If nobody is connected, it goes into the log: it is told once. */
static void report_orphan(void *userdata, const struct orphan *orphan)
{
	struct report report = {.type = REPORT_ORPHAN, .pid = orphan->pid};
	struct agent *agent = userdata;
	char text[ORPHAN_TEXT_MAX];

	snprintf(report.text, sizeof(report.text), "%.*s", (int)sizeof(report.text) - 1,
		 orphan_describe(orphan, text));
	if (!control_connected(agent->control))
		log_warning("%s", text);
	report_send(agent, &report);
}

static void report_stopped(struct agent *agent, const struct lifecycle_action *action)
{
	struct report report = {.type = REPORT_STOPPED, .killed = action->killed};
	char path[PATHS_MAX];

	fill_exit(agent, &report);
	report_send(agent, &report);
	relay_flush(agent->relay, FLUSH_TIMEOUT_MS);
	/* Nobody looks for the handover of a socket that is gone. */
	handover_remove(control_path(agent->control, path));
	control_unlink(agent->control);
	(void)sd_event_exit(agent->event, 0);
}

/* ---- for the next agent --------------------------------------------------------------------- */

static void fill_hello(struct agent *agent, struct report *ret)
{
	snprintf(ret->service, sizeof(ret->service), "%s", launch_spec_id(agent->spec));
	ret->generation = agent->spec->generation;
	ret->instance = agent->spec->instance;
	ret->agent_pid = getpid();
	ret->state = agent->lifecycle.state;
	ret->steady = agent->lifecycle.steady;
	ret->tells = ret->reopens = true;
	/* As long as a successor is sought, nobody knows that the server has ended. */
	ret->pid =
		successors_seeks(agent->successors) ? agent->main_pid : server_pid(agent->server);
	ret->ready = agent->record.ready;
	fill_tail(agent, ret);
}

/* Write down all that the next agent needs. Without it batond does what it can without an agent. */
static void note(struct agent *agent)
{
	struct handover handover = {
		.hello = {.type = REPORT_HELLO, .version = PROTOCOL_VERSION},
		.agent_started = agent->begun,
		.deadline_ms = agent->deadline_ms,
		.signal = agent->lifecycle.signal,
		.daemonises = agent->daemonises,
		.pipes = {relay_pipe(agent->relay, RELAY_STDOUT),
			  relay_pipe(agent->relay, RELAY_STDERR)},
	};
	struct error err;

	if (!agent->handover_path[0] || agent->lifecycle.state == AGENT_STOPPED)
		return;
	fill_hello(agent, &handover.hello);
	sockets_note(agent->sockets, &handover.hello);
	if (handover.hello.pid != 0)
		(void)processes_started(handover.hello.pid, &handover.started);
	snprintf(handover.notify_name, sizeof(handover.notify_name), "%s", agent->notify_name);
	if (handover_write(agent->handover_path, &handover, agent->spec_fd, &err) == 0) {
		agent->note_failed = false;
		return;
	}
	if (!agent->note_failed)
		log_warning("%s; until that works, no other agent can take over from this one",
			    err.text);
	agent->note_failed = true;
}

/* Before the actions: a signal that the note knows of is not sent twice. */
static void note_step(struct agent *agent, const struct lifecycle_actions *actions)
{
	const struct lifecycle *lifecycle = &agent->lifecycle;

	for (size_t i = 0; i < actions->n; i++)
		if (actions->list[i].type == LIFECYCLE_DO_TIMER)
			agent->deadline_ms = actions->list[i].at_ms;
	if (lifecycle->state == agent->noted_state && lifecycle->steady == agent->noted_steady &&
	    lifecycle->alive == agent->noted_alive)
		return;
	agent->noted_state = lifecycle->state;
	agent->noted_steady = lifecycle->steady;
	agent->noted_alive = lifecycle->alive;
	note(agent);
}

/* ---- actions -------------------------------------------------------------------------------- */

static int start_server(struct agent *agent, struct error *err)
{
	struct launch request = {
		.spec = agent->spec,
		.processes = agent->processes,
		.notify_socket = agent->notify_name,
		.stdout_fd = relay_stdout_fd(agent->relay),
		.stderr_fd = relay_stderr_fd(agent->relay),
		.timeout_ms = LAUNCH_TIMEOUT_MS,
	};
	pid_t pid;
	int r;

	r = output_open(agent->output, err);
	if (r == 0)
		r = sockets_prepare(agent->sockets, &request.listeners, err);
	if (r == 0)
		r = launch(&request, &pid, err);
	if (r < 0)
		return r;
	r = server_watch(agent->server, pid, err);
	if (r < 0)
		kill(pid, SIGKILL);
	return r;
}

static void do_spawn(struct agent *agent)
{
	struct error err;

	timer_stop(&agent->kill);
	relay_reset_tail(agent->relay);
	successors_reset(agent->successors);
	record_start(&agent->record);
	if (start_server(agent, &err) < 0) {
		log_error("%s", err.text);
		record_start_failed(&agent->record, err.text);
		plain_event(agent, LIFECYCLE_SPAWN_FAILED);
		return;
	}
	agent->started_ms = clock_monotonic_ms();
	report_started(agent);
	sockets_started(agent->sockets);
	plain_event(agent, LIFECYCLE_SPAWNED);
}

static void signal_main(struct agent *agent, int signal)
{
	int r = server_signal(agent->server, signal);

	if (r < 0 && r != -ESRCH)
		log_error("send signal %d to pid %d: %s", signal, (int)server_pid(agent->server),
			  strerror(-r));
}

/* Those beside it are found by how the main process is before it gets the signal. */
static void do_signal(struct agent *agent, int signal)
{
	pid_t main = server_pid(agent->server);

	successors_tell(agent->successors, main, signal);
	if (!successors_was_told(agent->successors, main, signal))
		signal_main(agent, signal);
}

static void on_gone(void *userdata)
{
	plain_event(userdata, LIFECYCLE_LISTENERS_GONE);
}

static int on_kill_poll(sd_event_source *source, uint64_t usec, void *userdata);

/*
 * @any: as processes_any() says. The main process may be none of them any more, but cannot be
 * reaped yet, because a thread of it is still ending. Or it has left the cgroup.
 */
static void kill_again(struct agent *agent, int any)
{
	int r;

	if (any < 0)
		log_warning("look for processes of the server: %s", strerror(-any));
	agent->killed |= any != 0;
	r = processes_kill(agent->processes);
	if (r < 0)
		log_warning("kill what is left of the server: %s", strerror(-r));
	signal_main(agent, SIGKILL);
	timer_again(&agent->kill, agent->event, on_kill_poll, agent);
}

static int on_kill_poll(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct agent *agent = userdata;
	struct lifecycle_event event = {.type = LIFECYCLE_EMPTY};
	int r;

	(void)source;
	(void)usec;
	/* Zombies do not count as processes, but the exit status must come before EMPTY. */
	server_reap(agent->server);
	r = processes_any(agent->processes);
	if (r != 0 || server_pid(agent->server) != 0) {
		kill_again(agent, r);
		return 0;
	}
	timer_stop(&agent->kill);
	event.killed = agent->killed;
	agent_event(agent, &event);
	return 0;
}

static void record_end(struct agent *agent)
{
	if (agent->exit_code == SERVER_EXIT_UNKNOWN)
		record_exit_unknown(&agent->record);
	else
		record_exit(&agent->record, agent->exit_code, agent->exit_signal);
}

static void do_kill(struct agent *agent)
{
	if (successors_seeks(agent->successors))
		record_end(agent);
	successors_reset(agent->successors);
	agent->killed = false;
	timer_begin(&agent->kill);
	(void)on_kill_poll(NULL, 0, agent);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct agent *agent = userdata;

	(void)source;
	(void)usec;
	/* The sockets may have gone since the last look: then they need not be shut down. */
	if (agent->lifecycle.state == AGENT_LEAVING)
		sockets_check_gone(agent->sockets);
	plain_event(agent, LIFECYCLE_TIMER);
	return 0;
}

static void carry_out(struct agent *agent, const struct lifecycle_action *action)
{
	switch (action->type) {
	case LIFECYCLE_DO_SPAWN:
		do_spawn(agent);
		break;
	case LIFECYCLE_DO_CLOSE:
		sockets_close(agent->sockets);
		break;
	case LIFECYCLE_DO_SIGNAL:
		do_signal(agent, action->signal);
		break;
	case LIFECYCLE_DO_WATCH_LISTENERS:
		sockets_watch_gone(agent->sockets);
		break;
	case LIFECYCLE_DO_SHUT_LISTENERS:
		sockets_shut(agent->sockets);
		break;
	case LIFECYCLE_DO_KILL:
		do_kill(agent);
		break;
	case LIFECYCLE_DO_TIMER:
		timer_set(&agent->deadline, agent->event, action->at_ms, on_timer, agent);
		break;
	case LIFECYCLE_DO_REPORT_EXITED:
		report_exited(agent, action);
		break;
	case LIFECYCLE_DO_REPORT_SUCCEEDED:
		report_succeeded(agent);
		break;
	case LIFECYCLE_DO_REPORT_FAILED:
		report_failed(agent);
		break;
	case LIFECYCLE_DO_REPORT_LEFT:
		report_left(agent, action);
		break;
	case LIFECYCLE_DO_REPORT_STOPPED:
		report_stopped(agent, action);
		break;
	}
}

/* An action may cause another event: that waits until all actions have been carried out. */
static void agent_event(struct agent *agent, const struct lifecycle_event *event)
{
	struct lifecycle_actions actions;

	assert(agent->n_queue < EVENTS_MAX);
	agent->queue[agent->n_queue++] = *event;
	if (agent->stepping)
		return;
	agent->stepping = true;
	while (agent->n_queue > 0) {
		struct lifecycle_event next = agent->queue[0];

		agent->n_queue--;
		memmove(agent->queue, agent->queue + 1, agent->n_queue * sizeof(agent->queue[0]));
		lifecycle_step(&agent->lifecycle, &next, clock_monotonic_ms(), &actions);
		note_step(agent, &actions);
		for (size_t i = 0; i < actions.n; i++)
			carry_out(agent, &actions.list[i]);
	}
	agent->stepping = false;
}

/* ---- events --------------------------------------------------------------------------------- */

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

	record_end(agent);
	explain_exit(agent);
	sockets_stopped(agent->sockets);
	event.passing = agent->record.lingers;
	agent_event(agent, &event);
	if (agent->tell)
		report_told(agent);
}

static bool on_succeeded(pid_t pid, void *userdata)
{
	struct agent *agent = userdata;
	struct error err;

	if (server_watch(agent->server, pid, &err) < 0)
		return false;
	agent->named = false;
	plain_event(agent, LIFECYCLE_SUCCEEDED);
	if (agent->tell)
		report_told(agent);
	return true;
}

static void on_exited(int exit_code, int exit_signal, void *userdata)
{
	struct agent *agent = userdata;
	bool well = exit_code <= 0 && exit_signal == 0;

	agent->exit_code = exit_code;
	agent->exit_signal = exit_signal;
	if (follow_daemon(agent))
		report_started(agent);
	else if (agent->lifecycle.state == AGENT_KILLING)
		on_ended(agent);
	else
		successors_seek(agent->successors, well, agent->lifecycle.state >= AGENT_LEFT);
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

	/* These four do not concern the lifecycle. */
	if (order->type == ORDER_RELEASE) {
		sockets_release(agent->sockets, order->serial);
		return;
	}
	if (order->type == ORDER_REOPEN) {
		reopen(agent, order->serial);
		return;
	}
	if (order->type == ORDER_TELL) {
		report_told(agent);
		return;
	}
	if (order->type == ORDER_FAMILY) {
		sockets_set_family(agent->sockets, order->endpoint, order->on);
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
	fill_hello(agent, ret);
	sockets_report(agent->sockets, 0, ret, fds);
	agent->greeted = ret->more > 0 ? (uint32_t)ret->n_sockets : 0;
	fds[ret->n_sockets] = agent->spec_fd;
	*ret_n = ret->n_sockets + 1;
}

/* Report what happened while no daemon was connected, and is not in the hello. */
static void on_connected(void *userdata)
{
	struct agent *agent = userdata;

	if (agent->greeted > 0)
		report_sockets_from(agent, agent->greeted);
	if (server_pid(agent->server) != 0 && !agent->started_said)
		report_started(agent);
	if (agent->lifecycle.state == AGENT_FAILED)
		report_failed(agent);
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
 * Is the sender a process of the instance? If it has ended meanwhile (systemd-notify(1) does),
 * nobody can tell any more. Then its uid must do.
 */
static bool is_trusted(const struct agent *agent, pid_t pid, uid_t uid)
{
	int r = processes_contain(agent->processes, pid);

	if (r == -ESRCH)
		return uid == (agent->spec->set_ids ? agent->spec->uid : geteuid());
	return r > 0;
}

static void note_main_pid(struct agent *agent, pid_t pid)
{
	struct error err;

	if (pid == 0 || pid == server_pid(agent->server) || !agent->lifecycle.alive ||
	    processes_contain(agent->processes, pid) <= 0)
		return;
	if (server_watch(agent->server, pid, &err) < 0) {
		log_warning("MAINPID=%d: the server names this process as its main one, but it "
			    "cannot be followed: %s",
			    (int)pid, err.text);
		return;
	}
	agent->named = !successors_seeks(agent->successors);
	successors_stop(agent->successors);
	/* Before it serves it may have begun in another process; that is no succession. */
	if (agent->lifecycle.steady || agent->record.ready)
		plain_event(agent, LIFECYCLE_SUCCEEDED);
	else
		report_started(agent);
	if (agent->tell)
		report_told(agent);
}

static int on_notify(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct agent *agent = userdata;
	struct report report = {.type = REPORT_NOTIFY};
	struct notify_message message;
	bool was_ready;
	pid_t pid;
	uid_t uid;

	(void)source;
	(void)events;
	if (notify_receive(fd, &message, &pid, &uid) < 0 || !is_trusted(agent, pid, uid))
		return 0;
	note_main_pid(agent, message.main_pid);
	if (message.ready)
		sockets_ready(agent->sockets);
	was_ready = agent->record.ready;
	if (!record_notify(&agent->record, &message))
		return 0;
	if (agent->record.ready != was_ready)
		note(agent);
	report.ready = agent->record.ready;
	snprintf(report.text, sizeof(report.text), "%s", agent->record.status);
	report_send(agent, &report);
	return 0;
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* @handover: by the name that the server knows. If that fails, its next run gets another one. */
static int open_notify_socket(struct agent *agent, const struct handover *handover,
			      struct error *err)
{
	int r = -ENOENT;

	if (handover) {
		snprintf(agent->notify_name, sizeof(agent->notify_name), "%s",
			 handover->notify_name);
		r = notify_reopen(agent->notify_name, &agent->notify_fd, err);
		if (r < 0)
			log_warning("what the server says by sd_notify is not heard until it is "
				    "started again: %s",
				    err->text);
	}
	return r < 0 ? notify_open(&agent->notify_fd, agent->notify_name, err) : r;
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
		.on_change = report_sockets,
		.on_gone = on_gone,
		.on_orphan = report_orphan,
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

	if (!handover)
		return relay_new(agent->event, STDOUT_FILENO, STDERR_FILENO, owner, &agent->relay,
				 err);
	return relay_adopt(agent->event, STDOUT_FILENO, STDERR_FILENO, owner, agent->processes,
			   handover->pipes, &agent->relay, err);
}

static int agent_open(struct agent *agent, int control_fd, const int *socket_fds,
		      const struct handover *handover, struct error *err)
{
	static const struct control_handlers handlers = {
		.on_hello = on_hello,
		.on_connected = on_connected,
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
		r = output_new(agent->relay, agent->spec->service, &agent->spec->process,
			       &agent->output, err);
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
	uint64_t started;
	struct error err;

	return handover->hello.pid != 0 &&
	       server_watch(agent->server, handover->hello.pid, &err) == 0 &&
	       processes_started(handover->hello.pid, &started) == 0 &&
	       started == handover->started;
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
	agent->daemonises = handover->daemonises;
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
	plain_event(agent, LIFECYCLE_BEGIN);
	return 0;
}

static void agent_close(struct agent *agent)
{
	sd_event_source_disable_unref(agent->notify_source);
	sd_event_source_disable_unref(agent->term_source);
	timer_done(&agent->deadline);
	timer_done(&agent->kill);
	if (agent->notify_fd >= 0)
		close(agent->notify_fd);
	server_free(agent->server);
	relay_free(agent->relay);
	output_free(agent->output);
	successors_free(agent->successors);
	sockets_free(agent->sockets);
	processes_free(agent->processes);
	control_free(agent->control);
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
	struct agent agent = {.spec = spec, .spec_fd = spec_fd, .notify_fd = -1};
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
