/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/instance/instance_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/handover.h"
#include "common/log.h"
#include "orchestrator/instance/takeover.h"

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
	if (instance_know_processes(i, agent->hello.agent_pid, &err) < 0)
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
		i->kept_set = agent->hello.kept > 0 ? INSTANCE_KEPT_UNKNOWN : 0;
		instance_know_pid(i, agent->hello.pid);
	} else {
		instance_forget_losses(i, i->phase == INSTANCE_JOINED);
		instance_take_hello(i, &agent->hello, agent->fds, agent->n_fds);
		for (size_t k = 0; k < agent->n_parts; k++)
			instance_take_sockets(i, &agent->parts[k].report, agent->parts[k].fds,
					      agent->parts[k].n_fds);
		instance_look_losses(i);
	}
	agentlink_listen(i->link, &instance_link_callbacks, i);
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
