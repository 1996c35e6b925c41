/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/status.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"

static json_t *time_json(uint64_t realtime_ms)
{
	time_t seconds = (time_t)(realtime_ms / 1000);
	char text[40];
	struct tm tm;
	size_t n;

	gmtime_r(&seconds, &tm);
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%03uZ", (unsigned)(realtime_ms % 1000));
	return json_string(text);
}

const char *status_state(struct service *s)
{
	struct run *run = service_run(s);

	if (run && !rollout_is_decided(&run->machine))
		return run->old ? "rolling" : "starting";
	if (s->current && run && !run->machine.has_new && run->old == s->current)
		return "stopping";
	if (s->current)
		return generation_is_dead(s->current) ? "failed" : "running";
	if (s->refusal[0])
		return "failed";
	return s->last.id && s->last.outcome != ROLLOUT_DONE ? "failed" : "stopped";
}

/* ---- generations ---------------------------------------------------------------------------- */

static json_t *connections_json(struct instance *i)
{
	struct steer_slot_stats sum = {};
	uint64_t live;
	uint32_t queued;

	for (size_t k = 0; k < i->config->n_listen; k++) {
		struct steer_slot_stats stats;

		if (!i->sockets[k].joined ||
		    steer_slot_stats(i->endpoints[k], i->sockets[k].slot, &stats) < 0)
			continue;
		sum.primary += stats.primary;
		sum.backup += stats.backup;
		sum.pinned += stats.pinned;
		sum.migrated += stats.migrated;
	}
	if (instance_live(i, &live) < 0)
		live = 0;
	if (instance_queued(i, &queued) < 0)
		queued = 0;
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "live", (json_int_t)live, "queued",
			 (json_int_t)queued, "steered", (json_int_t)(sum.primary + sum.backup),
			 "backup", (json_int_t)sum.backup, "probes", (json_int_t)sum.pinned,
			 "migrated", (json_int_t)sum.migrated);
}

static json_t *health_json(const struct instance *i)
{
	json_t *json;

	if (i->config->health.kind == HEALTH_NOTIFY)
		return json_pack("{s:s, s:s}", "state", i->ready ? "healthy" : "unknown", "last",
				 i->ready ? "READY=1" : "no READY=1 yet");
	json = json_pack("{s:s}", "state", health_state_name(i->checkers[0].health.state));
	if (i->checkers[0].last_ms) {
		json_object_set_new(json, "last", json_string(i->checkers[0].last.text));
		json_object_set_new(
			json, "ago_ms",
			json_integer((json_int_t)(clock_monotonic_ms() - i->checkers[0].last_ms)));
	}
	return json;
}

static const char *instance_state(const struct instance *i)
{
	if (i->stopped)
		return "stopped";
	if (i->lost)
		return "agent-lost";
	return agent_state_name(i->state);
}

static json_t *instance_json(struct instance *i)
{
	json_t *json = json_pack(
		"{s:I, s:I, s:I, s:s, s:b, s:I, s:o, s:o}", "instance", (json_int_t)i->index, "pid",
		(json_int_t)i->pid, "agent_pid", (json_int_t)(i->link ? agentlink_pid(i->link) : 0),
		"state", instance_state(i), "ready", i->ready, "restarts", (json_int_t)i->restarts,
		"health", health_json(i), "connections", connections_json(i));

	if (i->failure[0])
		json_object_set_new(json, "failure", json_string(i->failure));
	json_object_set_new(json, "cgroup", json_string(i->cgroup));
	return json;
}

/* What a generation is to its service at this moment. */
static const char *generation_role(struct service *s, const struct generation *g)
{
	for (size_t k = 0; k < SERVICE_GENERATIONS_MAX; k++) {
		const struct run *run = &s->runs[k];
		const struct rollout *m = &run->machine;
		bool is_victim = g == (rollout_victim_is_new(m) ? run->new : run->old);

		if (!run->id || (g != run->new && g != run->old))
			continue;
		if (is_victim && m->state == ROLLOUT_LEAVING)
			return "leaving";
		if (is_victim && m->state == ROLLOUT_DRAINING)
			return "draining";
		if (is_victim && m->state == ROLLOUT_STOPPING)
			return "stopping";
		if (g == run->new && !rollout_is_committed(m))
			return s->primary == g ? "current" : "candidate";
		if (g == run->old && run->new && s->primary == run->new && !rollout_is_committed(m))
			return "previous";
	}
	if (g != s->current)
		return "previous";
	return generation_is_dead(g) ? "failed" : "current";
}

static json_t *generation_json(struct service *s, struct generation *g)
{
	json_t *instances = json_array();

	for (size_t k = 0; k < g->n_instances; k++)
		json_array_append_new(instances, instance_json(&g->instances[k]));
	return json_pack(
		"{s:I, s:s, s:s, s:s?, s:o, s:I, s:o}", "generation", (json_int_t)g->number,
		"state", generation_role(s, g), "executable", g->release->executable, "directory",
		g->release->directory, "started", time_json(g->started_realtime_ms), "uptime_ms",
		(json_int_t)(clock_monotonic_ms() - g->started_ms), "instances", instances);
}

/* ---- the service ---------------------------------------------------------------------------- */

static json_t *endpoint_json(struct steer *steer, const struct address *address)
{
	struct steer_stats stats = {};

	if (!steer)
		return json_pack("{s:s, s:s, s:n}", "listen", address->text, "protocol", "tcp",
				 "program");
	steer_stats(steer, &stats);
	return json_pack("{s:s, s:s, s:{s:I, s:s}, s:I}", "listen", address->text, "protocol",
			 "tcp", "program", "id", (json_int_t)steer_program_id(steer), "state",
			 steer_program_name(steer_check(steer)), "refused",
			 (json_int_t)stats.refused);
}

static json_t *endpoints_json(struct service *s)
{
	json_t *array = json_array();

	for (size_t k = 0; k < s->config->n_listen; k++)
		json_array_append_new(array, endpoint_json(s->endpoints[k], &s->config->listen[k]));
	return array;
}

static json_t *command_json(struct service *s)
{
	char **command = s->current   ? s->current->release->command
			 : s->command ? s->command
				      : s->config->command;
	json_t *array = json_array();

	for (; *command; command++)
		json_array_append_new(array, json_string(*command));
	return array;
}

static json_t *rollout_json(struct service *s)
{
	struct run *run = service_run(s);
	json_t *json;

	if (!run)
		return json_null();
	json = run_json(run);
	json_object_set_new(json, "step", json_string(rollout_state_name(run->machine.state)));
	return json;
}

static json_t *last_json(struct service *s)
{
	json_t *json;

	if (!s->last.id)
		return json_null();
	json = run_result_json(&s->last);
	json_object_set_new(json, "time", time_json(s->last.realtime_ms));
	return json;
}

/* Why the state is not what was asked for; NULL: it is. */
static const char *state_reason(struct service *s)
{
	const struct instance *failed = s->current ? generation_failed(s->current) : NULL;

	if (s->refusal[0])
		return s->refusal;
	if (failed)
		return failed->failure[0] ? failed->failure : failed->checkers[0].last.text;
	return s->last.outcome != ROLLOUT_DONE ? s->last.reason : NULL;
}

json_t *status_service(struct service *s)
{
	json_t *generations = json_array(), *json;
	const char *reason;

	for (size_t k = 0; k < s->n_generations; k++)
		json_array_append_new(generations, generation_json(s, s->generations[k]));
	json = json_pack("{s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o}", "service",
			 s->config->name, "state", status_state(s), "mode", "inherit", "tier",
			 "ebpf", "instances", (json_int_t)s->config->instances, "command",
			 command_json(s), "endpoints", endpoints_json(s), "generations",
			 generations, "rollout", rollout_json(s), "last_rollout", last_json(s));
	reason = state_reason(s);
	if (json && reason)
		json_object_set_new(json, "reason", json_string(reason));
	return json;
}
