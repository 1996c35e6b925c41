/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "agent/agent_internal.h"
#include "agent/memory.h"
#include "common/clock.h"
#include "common/log.h"

#define LAUNCH_TIMEOUT_MS 5000 /* from fork to exec */
#define REST_MS           2000 /* what happens together is over by then, a start for example */

/* exec comes before whatever the server does next: it notifies (agent.c), or ends. */
#define LAUNCH_PRIORITY (SD_EVENT_PRIORITY_NORMAL - 10)

static int on_launched(sd_event_source *source, int fd, uint32_t events, void *userdata);
static int on_launch_late(sd_event_source *source, uint64_t usec, void *userdata);

static int watch_launch(struct agent *agent, struct error *err)
{
	int r = server_watch(agent->server, agent->launching.pid, err);

	if (r < 0)
		return r;
	r = sd_event_add_io(agent->event, &agent->launch_source, agent->launching.fd, EPOLLIN,
			    on_launched, agent);
	if (r >= 0)
		r = sd_event_source_set_priority(agent->launch_source, LAUNCH_PRIORITY);
	if (r < 0)
		return error_set(err, r, "watch pid %d", (int)agent->launching.pid);
	timer_set(&agent->launch_deadline, agent->event, clock_monotonic_ms() + LAUNCH_TIMEOUT_MS,
		  on_launch_late, agent);
	return 0;
}

static int begin_launch(struct agent *agent, struct error *err)
{
	struct launch request = {
		.spec = agent->spec,
		.processes = agent->processes,
		.notify_socket = agent->notify_name,
		.stdout_fd = relay_stdout_fd(agent->relay),
		.stderr_fd = relay_stderr_fd(agent->relay),
	};
	int r;

	r = output_open(agent->output, err);
	if (r == 0)
		r = sockets_prepare(agent->sockets, &request.listeners, err);
	if (r == 0)
		r = launch_begin(&request, &agent->launching, err);
	return r == 0 ? watch_launch(agent, err) : r;
}

void agent_stop_launching(struct agent *agent)
{
	agent->launch_source = sd_event_source_disable_unref(agent->launch_source);
	timer_stop(&agent->launch_deadline);
	if (agent->launching.pid != 0)
		launch_give_up(&agent->launching);
}

static void launch_failed(struct agent *agent, const struct error *err)
{
	agent_stop_launching(agent);
	server_forget(agent->server);
	log_error("%s", err->text);
	record_start_failed(&agent->record, err->text);
	agent_plain_event(agent, LIFECYCLE_SPAWN_FAILED);
	control_hold(agent->control, false);
}

bool agent_end_launch(struct agent *agent)
{
	pid_t pid = agent->launching.pid;
	struct error err;

	if (pid == 0)
		return true;
	if (launch_end(&agent->launching, agent->spec, &err) < 0) {
		launch_failed(agent, &err);
		return false;
	}
	agent_stop_launching(agent);
	agent->started_ms = clock_monotonic_ms();
	agent_report_started(agent, pid);
	sockets_started(agent->sockets);
	agent_plain_event(agent, LIFECYCLE_SPAWNED);
	/* Before the server is heard: the first hello tells how it has begun. */
	control_hold(agent->control, false);
	control_take(agent->control);
	return true;
}

static int on_launched(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	(void)source, (void)fd, (void)events;
	(void)agent_end_launch(userdata);
	return 0;
}

static int on_launch_late(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct agent *agent = userdata;
	struct error err;

	(void)source, (void)usec;
	error_text(&err, -ETIMEDOUT, "exec %s: not done within %d ms", agent->spec->executable,
		   LAUNCH_TIMEOUT_MS);
	launch_failed(agent, &err);
	return 0;
}

/* An order may come before it is known how that went. */
static void do_spawn(struct agent *agent)
{
	struct error err;

	timer_stop(&agent->kill);
	relay_reset_tail(agent->relay);
	successors_reset(agent->successors);
	record_start(&agent->record);
	agent->again |= agent->lifecycle.steady;
	if (begin_launch(agent, &err) < 0)
		launch_failed(agent, &err);
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

void agent_on_gone(void *userdata)
{
	agent_plain_event(userdata, LIFECYCLE_LISTENERS_GONE);
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

void agent_record_end(struct agent *agent)
{
	if (agent->exit_code == SERVER_EXIT_UNKNOWN)
		record_exit_unknown(&agent->record);
	else
		record_exit(&agent->record, agent->exit_code, agent->exit_signal);
}

static void do_kill(struct agent *agent)
{
	if (successors_seeks(agent->successors))
		agent_record_end(agent);
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
	agent_plain_event(agent, LIFECYCLE_TIMER);
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
		agent_report_exited(agent, action);
		break;
	case LIFECYCLE_DO_REPORT_SUCCEEDED:
		agent_report_succeeded(agent);
		break;
	case LIFECYCLE_DO_REPORT_FAILED:
		agent_report_failed(agent);
		break;
	case LIFECYCLE_DO_REPORT_LEFT:
		agent_report_left(agent, action);
		break;
	case LIFECYCLE_DO_REPORT_STOPPED:
		agent_report_stopped(agent, action);
		break;
	}
}

static int on_rest(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec, (void)userdata;
	memory_give_back();
	return 0;
}

void agent_rest_soon(struct agent *agent)
{
	if (!timer_is_set(&agent->rest))
		timer_set(&agent->rest, agent->event, clock_monotonic_ms() + REST_MS, on_rest,
			  agent);
}

void agent_event(struct agent *agent, const struct lifecycle_event *event)
{
	struct lifecycle_actions actions;

	assert(agent->n_queue < AGENT_EVENTS_MAX);
	agent->queue[agent->n_queue++] = *event;
	if (agent->stepping)
		return;
	agent->stepping = true;
	agent_rest_soon(agent);
	while (agent->n_queue > 0) {
		struct lifecycle_event next = agent->queue[0];

		agent->n_queue--;
		memmove(agent->queue, agent->queue + 1, agent->n_queue * sizeof(agent->queue[0]));
		lifecycle_step(&agent->lifecycle, &next, clock_monotonic_ms(), &actions);
		agent_note_step(agent, &actions);
		for (size_t i = 0; i < actions.n; i++)
			carry_out(agent, &actions.list[i]);
	}
	agent->stepping = false;
}
