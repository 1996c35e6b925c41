/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/handover.h"
#include "orchestrator/instance/instance_internal.h"

/* An agent that is killed again and again is not started for ever. */
#define OFTEN    8
#define OFTEN_MS 60000

static bool is_too_often(struct instance *i)
{
	uint64_t now_ms = clock_monotonic_ms();

	if (now_ms - i->adopted_ms > OFTEN_MS)
		i->adopted_often = 0;
	i->adopted_ms = now_ms;
	return i->adopted_often++ >= OFTEN;
}

/* Is it what this instance's agent has written? */
static bool is_of(const struct instance *i, const struct handover *handover)
{
	return strcmp(handover->hello.service, service_config_id(i->config)) == 0 &&
	       handover->hello.generation == i->generation && handover->hello.instance == i->index;
}

static int read_handover(const struct instance *i, int *ret_fd, struct handover *ret,
			 struct error *err)
{
	cleanup_close int fd = -1;
	char path[PATHS_MAX];
	int r = handover_path(i->socket_path, path);

	if (r < 0)
		return error_set(err, r, "%s", i->socket_path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_set(err, -errno, "%s", path);
	r = handover_read_fd(fd, ret, err);
	if (r < 0)
		return error_prefix(err, r, "%s", path);
	if (!is_of(i, ret) || !handover_is_alive(ret))
		return error_text(err, -ESRCH, "its server does not run");
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Without a cgroup the processes were found below the agent that is gone. */
static void follow_processes(struct instance *i, pid_t agent, pid_t server)
{
	if (i->cgroup[0])
		return;
	processes_free(TAKE_PTR(i->processes));
	if (processes_new(NULL, agent, &i->processes) == 0)
		(void)processes_adopt(i->processes, server);
}

static int start(struct instance *i, const struct agentlink_callbacks *callbacks,
		 struct handover *handover, struct error *err)
{
	cleanup_close int fd = -1;
	struct agentlink *link;
	int r;

	r = read_handover(i, &fd, handover, err);
	if (r == 0)
		r = agentlink_adopt(i->context->event, i->context->agent_program, i->socket_path,
				    &handover->spec, fd, callbacks, i, &link, err);
	if (r < 0)
		return r;
	agentlink_free(i->link);
	i->link = link;
	follow_processes(i, agentlink_pid(link), handover->hello.pid);
	return 0;
}

int instance_adopt(struct instance *i, const struct agentlink_callbacks *callbacks,
		   struct error *err)
{
	struct handover handover = {};
	int r;

	if (i->adopting)
		r = error_text(err, -ECHILD, "the agent that was to take over has ended");
	else if (is_too_often(i))
		r = error_text(err, -EAGAIN, "its agents were killed %d times within %d s", OFTEN,
			       OFTEN_MS / 1000);
	else
		r = start(i, callbacks, &handover, err);
	handover_done(&handover);
	if (r < 0)
		return r;
	i->lost = false;
	i->adopting = true;
	i->adopting_phase = i->phase;
	return 0;
}

void instance_note_agent(struct instance *i, const struct report *hello, pid_t before)
{
	bool runs =
		hello->pid > 0 && hello->state != AGENT_DELAYING && hello->state != AGENT_FAILED;
	char lost[64] = "", server[64];

	if (before > 0)
		snprintf(lost, sizeof(lost), ", as it had lost the one before, pid %d",
			 (int)before);
	if (runs)
		snprintf(server, sizeof(server), "its server, pid %d, is looked after",
			 (int)hello->pid);
	else
		snprintf(server, sizeof(server), "its server has ended");
	i->adoptions++;
	instance_note(i, EVENT_AGENT_REPLACED, "instance %u has a new agent, pid %d%s: %s",
		      i->index, (int)hello->agent_pid, lost, server);
}

/* What state has an agent that was told all that the instance was told in @phase? */
static enum agent_state told_in(enum instance_phase phase)
{
	return phase == INSTANCE_LEAVING    ? AGENT_LEAVING
	       : phase == INSTANCE_STOPPING ? AGENT_STOPPING
					    : AGENT_STARTING;
}

bool instance_rejoined(struct instance *i, const struct report *hello)
{
	i->silent_since_ms = 0;
	return hello->state < told_in(i->phase);
}

bool instance_adopted(struct instance *i, const struct report *hello)
{
	enum agent_state told = told_in(i->adopting_phase);

	i->adopting = false;
	instance_note_agent(i, hello, 0);
	return hello->state < told;
}
