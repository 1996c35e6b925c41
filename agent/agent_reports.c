/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent_internal.h"
#include "common/cleanup.h"
#include "common/log.h"

#define FLUSH_TIMEOUT_MS 500   /* at the end, for readers of our stdout and stderr */
#define LAST_TIMEOUT_MS  30000 /* ... and for a batond that has not read our reports yet */

void agent_report_send(struct agent *agent, struct report *report)
{
	control_send(agent->control, report);
}

/*
 * Of those that nobody is there to hear, the last ones are kept; of exits, the last one: the server
 * may be started again and again.
 */
static void keep(struct agent *agent, const struct report *report)
{
	struct report *copy;
	size_t k;

	for (k = 0; k < agent->n_unsaid; k++)
		if (report->type == REPORT_EXITED && agent->unsaid[k]->type == REPORT_EXITED)
			break;
	if (k == agent->n_unsaid && k == AGENT_UNSAID_MAX)
		k = 0;
	copy = malloc(sizeof(*copy));
	if (!copy)
		return;
	*copy = *report;
	if (k < agent->n_unsaid) {
		free(agent->unsaid[k]);
		agent->n_unsaid--;
		memmove(agent->unsaid + k, agent->unsaid + k + 1,
			(agent->n_unsaid - k) * sizeof(agent->unsaid[0]));
	}
	agent->unsaid[agent->n_unsaid++] = copy;
}

static void send_or_keep(struct agent *agent, struct report *report)
{
	if (control_connected(agent->control))
		agent_report_send(agent, report);
	else
		keep(agent, report);
}

void agent_report_unsaid(struct agent *agent)
{
	for (size_t k = 0; k < agent->n_unsaid; k++) {
		agent_report_send(agent, agent->unsaid[k]);
		free(agent->unsaid[k]);
	}
	agent->n_unsaid = 0;
}

/* What the server wrote last. The caller has read its pipes. */
static void fill_exit(const struct agent *agent, struct report *report)
{
	record_report(&agent->record, agent_server_pid(agent) != 0, report);
	relay_drain(agent->relay);
	agent_fill_tail(agent, report);
}

void agent_report_started(struct agent *agent, pid_t pid)
{
	struct report report = {.type = REPORT_STARTED, .pid = pid};

	agent->main_pid = report.pid;
	agent->started_said = control_connected(agent->control);
	agent_report_send(agent, &report);
	agent_note(agent);
}

void agent_report_succeeded(struct agent *agent)
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
	agent_report_send(agent, &report);
	agent_note(agent);
}

void agent_report_exited(struct agent *agent, const struct lifecycle_action *action)
{
	struct report report = {.type = REPORT_EXITED,
				.restarting = action->restarting,
				.restart_ms = action->restart_ms};

	strcpy(report.text, agent->record.failure);
	report.lingers = agent->record.lingers;
	strcpy(report.wrapper, agent->record.wrapper);
	fill_exit(agent, &report);
	send_or_keep(agent, &report);
}

void agent_report_failed(struct agent *agent)
{
	struct report report = {.type = REPORT_FAILED};

	record_describe_failure(&agent->record, &agent->lifecycle, report.text);
	relay_drain(agent->relay);
	agent_fill_tail(agent, &report);
	agent_report_send(agent, &report);
}

/*
 * The exit first, if there was one: it is the cause of whatever the daemon asks about. If it may
 * turn out to be none, the answer waits for that.
 */
void agent_report_told(struct agent *agent)
{
	struct report report = {.type = REPORT_TOLD};

	server_reap(agent->server);
	agent->tell = successors_seeks(agent->successors);
	if (agent->tell)
		return;
	relay_read(agent->relay);
	agent_fill_tail(agent, &report);
	agent_report_send(agent, &report);
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
	agent_report_send(agent, &report);
}

void agent_reopen(struct agent *agent, uint32_t serial)
{
	struct output_reopened reopened;

	output_reopen(agent->output, &reopened);
	report_reopened(agent, serial, &reopened);
}

void agent_report_left(struct agent *agent, const struct lifecycle_action *action)
{
	struct report report = {.type = REPORT_LEFT, .forced = action->forced};

	sockets_watch_stop(agent->sockets);
	agent_report_send(agent, &report);
}

void agent_report_sockets_from(struct agent *agent, uint32_t first)
{
	struct report report = {.type = REPORT_SOCKETS, .more = 1};
	int fds[PROTOCOL_SOCKETS_MAX];

	agent_note(agent);
	/* If nobody is connected, the next hello will say it. */
	for (; report.more > 0 && control_connected(agent->control);
	     first += (uint32_t)report.n_sockets) {
		sockets_report(agent->sockets, first, &report, fds);
		control_send_with(agent->control, &report, fds, report.n_sockets);
	}
}

void agent_report_sockets(void *userdata)
{
	agent_report_sockets_from(userdata, 0);
}

void agent_report_orphan(void *userdata, const struct orphan *orphan)
{
	struct report report = {.type = REPORT_ORPHAN, .pid = orphan->pid};
	struct agent *agent = userdata;
	char text[ORPHAN_TEXT_MAX];

	snprintf(report.text, sizeof(report.text), "%.*s", (int)sizeof(report.text) - 1,
		 orphan_describe(orphan, text));
	send_or_keep(agent, &report);
}

void agent_report_stopped(struct agent *agent, const struct lifecycle_action *action)
{
	struct report report = {.type = REPORT_STOPPED, .killed = action->killed};
	char path[PATHS_MAX];

	fill_exit(agent, &report);
	/*
	 * Whoever hears of the end may start another agent of this name, whose files these would
	 * be. Nobody looks for the handover of a socket that is gone.
	 */
	handover_remove(control_path(agent->control, path));
	control_unlink(agent->control);
	agent_report_send(agent, &report);
	relay_flush(agent->relay, FLUSH_TIMEOUT_MS);
	control_flush(agent->control, LAST_TIMEOUT_MS);
	(void)sd_event_exit(agent->event, 0);
}
