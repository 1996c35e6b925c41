/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <unistd.h>

#include "agent/agent_internal.h"
#include "common/log.h"

void agent_fill_tail(const struct agent *agent, struct report *report)
{
	enum relay_stream from;
	uint64_t age_ms;

	if (relay_tail(agent->relay, report->tail, &from, &age_ms) == 0)
		return;
	report->tail_stdout = from == RELAY_STDOUT;
	/* 0 is what an older agent says. */
	report->tail_age_ms = age_ms == 0 ? 1 : age_ms < UINT32_MAX ? (uint32_t)age_ms : UINT32_MAX;
}

void agent_fill_hello(struct agent *agent, struct report *ret)
{
	snprintf(ret->service, sizeof(ret->service), "%s", launch_spec_id(agent->spec));
	ret->generation = agent->spec->generation;
	ret->instance = agent->spec->instance;
	ret->agent_pid = getpid();
	ret->state = agent->lifecycle.state;
	ret->steady = agent->lifecycle.steady;
	ret->tells = ret->reopens = ret->keeps = ret->looks = true;
	ret->hinted = agent->hinted;
	ret->initial = !agent->again;
	/* As long as a successor is sought, nobody knows that the server has ended. */
	ret->pid =
		successors_seeks(agent->successors) ? agent->main_pid : agent_server_pid(agent);
	ret->ready = agent->record.ready;
	agent_fill_tail(agent, ret);
}

void agent_note(struct agent *agent)
{
	struct handover handover = {
		.hello = {.type = REPORT_HELLO,
			  .version = PROTOCOL_OLDEST,
			  .newest = PROTOCOL_VERSION},
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
	agent_fill_hello(agent, &handover.hello);
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
void agent_note_step(struct agent *agent, const struct lifecycle_actions *actions)
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
	agent_note(agent);
}
