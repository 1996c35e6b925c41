/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/view/status.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/vector.h"
#include "orchestrator/view/failure_json.h"
#include "orchestrator/view/run_json.h"
#include "orchestrator/view/time_json.h"
#include "orchestrator/host/sight.h"

/* An instance that should serve, but has failed or is unhealthy; NULL: there is none. */
static const struct instance *ailing(const struct service *s)
{
	cleanup(instances_done) struct instances staying = {};

	service_staying(s, &staying);
	return instances_failed(&staying);
}

const char *status_state(struct service *s)
{
	struct run *run = service_run(s);

	if (s->awaited)
		return "waiting";
	if (run && !rollout_is_decided(&run->machine) && !run->automatic)
		return run->old ? "rolling" : run->partial ? "rolling" : "starting";
	if (s->current && run && !run->machine.has_new && !run->partial && run->old == s->current)
		return "stopping";
	if (s->current && instances_are_dead(&s->current->instances))
		return "failed";
	if (s->current)
		return s->healing.degraded[0] || ailing(s) ? "degraded" : "running";
	if (service_retries(s) || service_waits_for_turn(s))
		return "starting";
	if (s->refusal[0])
		return service_is_left(s) ? "degraded" : "failed";
	return s->last.id && s->last.outcome != ROLLOUT_DONE ? "failed" : "stopped";
}

/* ---- generations ---------------------------------------------------------------------------- */

struct steered {
	struct steer_slot_stats slots;
	uint64_t live;
	uint32_t queued;
	struct tap_count count;
};

static void look_at(struct instance *i, struct steered *ret)
{
	*ret = (struct steered){};
	for (size_t k = 0; k < i->sockets.n; k++) {
		const struct instance_socket *socket = &i->sockets.list[k];
		struct steer_slot_stats stats;

		if (steer_slot_stats(instance_endpoint(i, socket->endpoint), socket->slot, &stats) <
		    0)
			continue;
		ret->slots.primary += stats.primary;
		ret->slots.backup += stats.backup;
		ret->slots.pinned += stats.pinned;
		ret->slots.migrated += stats.migrated;
	}
	if (instance_live(i, &ret->live) < 0)
		ret->live = 0;
	if (instance_queued(i, &ret->queued) < 0)
		ret->queued = 0;
	if (instance_count(i, &ret->count) < 0)
		ret->count = (struct tap_count){};
}

static void add(struct steered *sum, const struct steered *one)
{
	sum->slots.primary += one->slots.primary;
	sum->slots.backup += one->slots.backup;
	sum->slots.pinned += one->slots.pinned;
	sum->slots.migrated += one->slots.migrated;
	sum->live += one->live;
	sum->queued += one->queued;
	sum->count.accepted += one->count.accepted;
	sum->count.closed += one->count.closed;
	sum->count.reset += one->count.reset;
}

/* Counters that a tier does not have are left out. */
static json_t *steered_json(const struct wiring *wiring, const struct steered *sum)
{
	json_t *json = json_pack("{s:I, s:I}", "live", (json_int_t)sum->live, "queued",
				 (json_int_t)sum->queued);

	if (wiring->tap)
		json_object_update_new(json, json_pack("{s:I, s:I, s:I}", "accepted",
						       (json_int_t)sum->count.accepted, "closed",
						       (json_int_t)sum->count.closed, "reset",
						       (json_int_t)sum->count.reset));
	if (steer_can(wiring->tier, STEER_CAN_COUNT))
		json_object_update_new(
			json, json_pack("{s:I, s:I, s:I, s:I}", "steered",
					(json_int_t)(sum->slots.primary + sum->slots.backup),
					"backup", (json_int_t)sum->slots.backup, "probes",
					(json_int_t)sum->slots.pinned, "migrated",
					(json_int_t)sum->slots.migrated));
	return json;
}

static json_t *strangers_json(const struct instance *i)
{
	json_t *array = json_array();

	for (size_t k = 0; k < i->n_strangers; k++)
		json_array_append_new(array, json_string(i->strangers[k]));
	return array;
}

/* Of all its checks, and of its listening sockets. */
static enum health_state health_of(const struct instance *i)
{
	if (instance_is_unhealthy(i))
		return HEALTH_UNHEALTHY;
	return instance_is_healthy(i) ? HEALTH_HEALTHY : HEALTH_UNKNOWN;
}

static void add_age(json_t *json, uint64_t since_ms)
{
	if (since_ms)
		json_object_set_new(json, "ago_ms",
				    json_integer((json_int_t)(clock_monotonic_ms() - since_ms)));
}

static const char *ready_text(const struct instance *i)
{
	return i->ready ? "READY=1" : "no READY=1 yet";
}

static json_t *check_json(const struct instance *i, const struct instance_check *check)
{
	const struct probe_result *answer = instance_check_answer(check);
	json_t *json = json_pack("{s:s, s:b, s:s, s:I}", "kind", health_config_name(check->config),
				 "declared", check->declared, "state",
				 health_state_name(instance_check_state(check)), "failures",
				 (json_int_t)check->checker.health.failures);

	if (check->endpoint < i->config->n_listen)
		json_object_set_new(json, "listen",
				    json_string(i->config->listen[check->endpoint].text));
	if (check->config->kind == HEALTH_KIND_NOTIFY)
		json_object_set_new(json, "last", json_string(ready_text(i)));
	else if (answer)
		json_object_set_new(json, "last", json_string(answer->text));
	if (answer && answer->unasked)
		json_object_set_new(json, "unasked", json_true());
	add_age(json, check->checker.last_ms);
	return json;
}

static json_t *checks_json(const struct instance *i)
{
	json_t *array = json_array();

	for (size_t k = 0; k < i->checks.n; k++)
		json_array_append_new(array, check_json(i, &i->checks.list[k]));
	return array;
}

/* The words that decide: those of a check that is not good, else of the first. */
static json_t *health_json(const struct instance *i)
{
	const struct instance_check *first = i->checks.n > 0 ? &i->checks.list[0] : NULL;
	bool notify = first && first->config->kind == HEALTH_KIND_NOTIFY;
	const struct probe_result *answer = instance_last_answer(i);
	enum health_state state = health_of(i);
	json_t *json = json_pack("{s:s}", "state", health_state_name(state));

	if ((state != HEALTH_UNHEALTHY && instance_awaits_ready(i)) ||
	    (state == HEALTH_HEALTHY && notify))
		json_object_set_new(json, "last", json_string(ready_text(i)));
	else if (answer)
		json_object_set_new(json, "last", json_string(answer->text));
	if (answer && answer->unasked)
		json_object_set_new(json, "unasked", json_true());
	if (first && !notify)
		add_age(json, first->checker.last_ms);
	json_object_set_new(json, "checks", checks_json(i));
	return json;
}

/* The endpoints that it does not serve, though it should. */
static json_t *lost_json(const struct instance *i)
{
	json_t *array = json_array();

	for (size_t k = 0; k < i->config->n_listen; k++) {
		char why[PROBE_TEXT_MAX];

		if (instance_loss_text(i, k, why))
			json_array_append_new(array,
					      json_pack("{s:s, s:o, s:s}", "listen",
							i->config->listen[k].text, "since",
							time_json(i->losses[k].since_realtime_ms),
							"why", why));
	}
	return array;
}

static const char *instance_state(const struct instance *i)
{
	if (instance_has_stopped(i))
		return "stopped";
	if (i->lost)
		return "agent-lost";
	return agent_state_name(i->agent_said);
}

/* Of the sockets that have been looked at. */
static json_t *queue_json(const struct service_backlog *queue)
{
	json_t *json = json_pack("{s:I, s:I, s:I, s:I}", "backlog", (json_int_t)queue->backlog,
				 "configured", (json_int_t)queue->configured, "waiting",
				 (json_int_t)queue->waiting, "dropped", (json_int_t)queue->dropped);

	if (queue->lowered)
		json_object_set_new(json, "lowered", json_true());
	return json;
}

static json_t *instance_json(struct instance *i, const struct steered *steered)
{
	json_t *json = json_pack("{s:I, s:I, s:I, s:s, s:b, s:I, s:I, s:o, s:o, s:o}", "instance",
				 (json_int_t)i->index, "pid", (json_int_t)i->pid, "agent_pid",
				 (json_int_t)(i->link ? agentlink_pid(i->link) : 0), "state",
				 instance_state(i), "ready", i->ready, "restarts",
				 (json_int_t)i->restarts, "sockets", (json_int_t)i->sockets.n,
				 "undeclared", strangers_json(i), "health", health_json(i),
				 "connections", steered_json(i->wiring, steered));

	if (i->failure[0])
		json_object_set_new(json, "failure", json_string(i->failure));
	if (i->protocol > 0)
		json_object_set_new(json, "protocol", json_integer((json_int_t)i->protocol));
	if (i->has_loss && i->phase == INSTANCE_JOINED)
		json_object_set_new(json, "lost", lost_json(i));
	if (i->unusable[0])
		json_object_set_new(json, "unusable", json_string(i->unusable));
	if (i->adoptions > 0)
		json_object_set_new(json, "agents_lost", json_integer((json_int_t)i->adoptions));
	if (i->silent_since_ms > 0)
		json_object_set_new(
			json, "agent_silent_ms",
			json_integer((json_int_t)(clock_monotonic_ms() - i->silent_since_ms)));
	json_object_set_new(json, "cgroup", json_string(i->cgroup));
	json_object_set_new(json, "named", json_boolean(i->aimed > 0));
	return json;
}

/* ---- shares --------------------------------------------------------------------------------- */

/* New connections since the table was published. */
static uint64_t seen_by(struct service *s, const struct instance *i)
{
	uint64_t n;

	return service_steered_to(s, i, &n) >= 0 && n > i->shifted ? n - i->shifted : 0;
}

static uint64_t seen_by_all(struct service *s)
{
	uint64_t sum = 0;

	for (size_t k = 0; k < s->n_generations; k++)
		for (size_t j = 0; j < s->generations[k]->instances.n; j++)
			sum += seen_by(s, s->generations[k]->instances.list[j]);
	return sum;
}

/* In percent, to one decimal. */
static json_t *percent(uint64_t part, uint64_t all)
{
	return all > 0 ? json_real((double)((part * 1000 + all / 2) / all) / 10.0) : json_null();
}

static json_t *share_json(uint64_t aimed, uint64_t seen, uint64_t all)
{
	return json_pack("{s:o, s:o}", "aimed", percent(aimed, STEER_BUCKETS), "seen",
			 percent(seen, all));
}

static bool any_victim_of(const struct run *run, const struct generation *g)
{
	for (size_t k = 0; k < run->victims.n; k++)
		if (run->victims.list[k]->generation == g->number)
			return true;
	return false;
}

static bool any_in(const struct generation *g)
{
	for (size_t k = 0; k < g->instances.n; k++)
		if (g->instances.list[k]->role == INSTANCE_IN)
			return true;
	return false;
}

/* What a generation is to its service at this moment. */
static const char *generation_role(struct service *s, const struct generation *g)
{
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++) {
		const struct run *run = &s->runs[k];
		const struct rollout *m = &run->machine;
		bool is_victim = any_victim_of(run, g) && !any_in(g);

		if (!run->id || (g != run->new &&g != run->old) || run->partial)
			continue;
		if (is_victim && m->state == ROLLOUT_LEAVING)
			return "leaving";
		if (is_victim && m->state == ROLLOUT_DRAINING)
			return "draining";
		if (is_victim && m->state == ROLLOUT_STOPPING)
			return "stopping";
		if (g == run->new && !rollout_is_committed(m))
			return m->full && any_in(g) ? "current" : "candidate";
		if (g == run->old && run->new && m->full && !rollout_is_committed(m))
			return "previous";
	}
	if (g != s->current)
		return "previous";
	return instances_are_dead(&g->instances) ? "failed" : "current";
}

/* If it drains: how long that may still take, and what its connections are doing. */
static void add_drain(struct service *s, struct generation *g, json_t *json)
{
	uint64_t now_ms = clock_monotonic_ms();

	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++) {
		const struct run *run = &s->runs[k];
		struct connections_kinds kinds;

		if (!run->id || run->machine.state != ROLLOUT_DRAINING || !any_victim_of(run, g))
			continue;
		json_object_set_new(json, "drain_ms_left",
				    json_integer(run->deadline_ms > now_ms
							 ? (json_int_t)(run->deadline_ms - now_ms)
							 : 0));
		if (instances_kinds(&run->victims, &kinds) >= 0)
			json_object_set_new(json, "kinds",
					    json_pack("{s:I, s:I, s:I}", "busy",
						      (json_int_t)kinds.busy, "active",
						      (json_int_t)kinds.active, "idle",
						      (json_int_t)kinds.idle));
	}
}

static json_t *strings_json(char *const *strings)
{
	json_t *array = json_array();

	for (; strings && *strings; strings++)
		json_array_append_new(array, json_string(*strings));
	return array;
}

static json_t *release_json(const struct release *r)
{
	json_t *files = json_array();

	for (size_t k = 0; k < r->n_files; k++)
		json_array_append_new(files, json_string(r->files[k].path));
	return json_pack("{s:o, s:s, s:s, s:I, s:o, s:I, s:s, s:o}", "command",
			 strings_json(r->command), "executable", r->executable, "digest", r->digest,
			 "inode", (json_int_t)r->inode, "mtime", time_json(r->mtime_ms), "size",
			 (json_int_t)r->size, "directory", r->directory, "files", files);
}

static json_t *generation_json(struct service *s, struct generation *g)
{
	uint64_t all = seen_by_all(s), aimed = 0, seen = 0;
	json_t *instances = json_array(), *json;
	struct steered sum = {};

	for (size_t k = 0; k < g->instances.n; k++) {
		struct instance *i = g->instances.list[k];
		uint64_t n = seen_by(s, i);
		struct service_backlog queue;
		struct steered one;

		look_at(i, &one);
		add(&sum, &one);
		aimed += i->aimed;
		seen += n;
		json = instance_json(i, &one);
		service_backlog_of_instance(s, i, &queue);
		if (queue.sockets > 0)
			json_object_set_new(json, "queue", queue_json(&queue));
		json_object_set_new(json, "share", share_json(i->aimed, n, all));
		json_array_append_new(instances, json);
	}
	json = json_pack("{s:I, s:s, s:s?, s:s, s:s?, s:o, s:o, s:I, s:o, s:o, s:o}", "generation",
			 (json_int_t)g->number, "state", generation_role(s, g), "mode",
			 generation_mode(g), "executable", g->release->executable, "directory",
			 g->release->directory, "release", release_json(g->release), "started",
			 time_json(g->started_realtime_ms), "uptime_ms",
			 (json_int_t)(clock_monotonic_ms() - g->started_ms), "connections",
			 steered_json(&s->wiring, &sum), "share", share_json(aimed, seen, all),
			 "instances", instances);
	if (g->mixed)
		json_object_set_new(json, "mixed", json_true());
	add_drain(s, g, json);
	return json;
}

/* ---- the service ---------------------------------------------------------------------------- */

static json_t *program_json(struct steer *steer)
{
	char who[128];
	enum steer_program program = steer_check(steer, who, sizeof(who));
	json_t *json = json_pack("{s:I, s:s}", "id", (json_int_t)steer_program_id(steer), "state",
				 steer_program_name(program));

	if (who[0])
		json_object_set_new(json, "who", json_string(who));
	return json;
}

/* Of its sockets, which need not be the one that is declared. */
static const char *family(const struct address *address)
{
	if (address->sa.sa_family == AF_INET)
		return "IPv4";
	if (address_is_mapped(address))
		return "IPv4-mapped";
	return address->dual_stack ? "dual-stack" : "IPv6";
}

/* Of the endpoint: who listens there, and is not ours. */
static json_t *others_json(const struct service *s, const struct address *address)
{
	json_t *array = json_array();

	for (size_t j = 0; j < s->strangers.n; j++) {
		const struct service_stranger *stranger = &s->strangers.list[j];
		const struct occupant *who = &stranger->who;
		json_t *json;

		if (!stranger->told || strcmp(stranger->address, address->text) != 0)
			continue;
		json = json_pack("{s:I, s:s, s:I}", "pid", (json_int_t)who->pid, "command",
				 who->command, "uid", (json_int_t)who->uid);
		if (stranger->generation > 0)
			json_object_set_new(json, "generation", json_integer(stranger->generation));
		json_array_append_new(array, json);
	}
	return array;
}

/* @place: WIRING_MAX if it is not open. */
static json_t *endpoint_json(struct service *s, const struct address *address, size_t place)
{
	struct steer *steer = place < WIRING_MAX ? s->wiring.endpoints[place] : NULL;
	struct steer_stats stats = {};
	struct service_backlog queue;
	uint32_t held = 0;
	json_t *json;

	if (!steer)
		return json_pack("{s:s, s:s, s:n}", "listen", address->text, "protocol", "tcp",
				 "program");
	json = json_pack("{s:s, s:s, s:o, s:o}", "listen", address->text, "protocol", "tcp",
			 "program", program_json(steer), "strangers", others_json(s, address));
	json_object_set_new(json, "family", json_string(family(steer_address(steer))));
	if (steer_can(s->wiring.tier, STEER_CAN_COUNT) && steer_stats(steer, &stats) >= 0)
		json_object_set_new(json, "refused", json_integer((json_int_t)stats.refused));
	if (steer_held(steer, &held) >= 0)
		json_object_update_new(
			json, json_pack("{s:I, s:I, s:I}", "held", (json_int_t)held, "expired",
					(json_int_t)s->hold.expired[place], "held_dropped",
					(json_int_t)s->hold.dropped[place]));
	service_backlog_of_endpoint(s, place, &queue);
	if (queue.sockets > 0)
		json_object_set_new(json, "queue", queue_json(&queue));
	return json;
}

/* Those that the file declares; then those that only generations of before have. */
static json_t *endpoints_json(struct service *s)
{
	json_t *array = json_array();

	for (size_t k = 0; k < s->config->n_listen; k++) {
		const struct address *address = &s->config->listen[k];

		json_array_append_new(array,
				      endpoint_json(s, address, wiring_place(&s->wiring, address)));
	}
	WIRING_EACH (k, &s->wiring) {
		json_t *json;

		if (wiring_index(&s->wiring, k, s->config) < s->config->n_listen)
			continue;
		json = endpoint_json(s, &s->endpoints.declared[k], k);
		json_object_set_new(json, "undeclared", json_true());
		json_array_append_new(array, json);
	}
	return array;
}

static json_t *failover_json(const struct service *s)
{
	const struct service_failover *f = &s->failover;
	json_t *json = json_pack("{s:I, s:I}", "count", (json_int_t)f->count, "carried",
				 (json_int_t)f->carried);

	json_object_set_new(json, "last", f->count ? time_json(f->last_realtime_ms) : json_null());
	return json;
}

static json_t *command_json(struct service *s)
{
	return strings_json(s->current           ? s->current->release->command
			    : s->history.command ? s->history.command
						 : s->config->command);
}

/* What does not run as the file says; null: all does. */
static json_t *differs_json(struct service *s)
{
	char **command = s->current ? s->current->release->command : s->history.command;
	char **added = s->current ? s->current->added : s->history.environment;
	json_t *json = json_object(), *names = json_array();

	if (command && !vector_equal(command, s->config->command))
		json_object_set_new(json, "command", strings_json(s->config->command));
	for (; added && *added; added++)
		json_array_append_new(names, json_stringn(*added, strcspn(*added, "=")));
	if (json_array_size(names) > 0)
		json_object_set(json, "environment", names);
	json_decref(names);
	if (json_object_size(json) > 0)
		return json;
	json_decref(json);
	return json_null();
}

/* What a rollback would go to. */
static json_t *rollback_json(const struct service *s)
{
	const struct past *past = service_rollback_target(s);
	uint64_t now_ms = clock_realtime_ms();
	const char *changed;
	json_t *json;

	if (!past)
		return json_null();
	json = json_pack("{s:I, s:o, s:s, s:s, s:s, s:o, s:o, s:I}", "generation",
			 (json_int_t)past->generation, "command",
			 strings_json(past->release->command), "executable",
			 past->release->executable, "digest", past->release->digest, "directory",
			 past->release->directory, "began", time_json(past->began_ms), "ended",
			 time_json(past->ended_ms), "age_ms",
			 (json_int_t)(now_ms > past->ended_ms ? now_ms - past->ended_ms : 0));
	if (release_changed(past->release, &changed))
		json_object_set_new(json, "changed", json_string(changed));
	if (sight_why_nothing())
		json_object_set_new(json, "unknown", json_string(sight_why_nothing()));
	return json;
}

static json_t *rollout_json(struct service *s)
{
	struct run *run = service_run(s);

	return run ? run_status_json(run) : json_null();
}

/* An order that waits for its turn. Its rollout has a number if somebody has given the order. */
static json_t *waits_json(struct service *s)
{
	bool given = s->queue.next.used;
	enum service_order_type type = given ? s->queue.next.order.type : s->queue.own;
	char turn[SERVICE_TURN_MAX];

	return json_pack("{s:o, s:s, s:s}", "rollout",
			 given ? json_integer(s->queue.next.id) : json_null(), "order",
			 order_info(type)->name, "reason", service_describe_turn(s, turn));
}

static json_t *restarts_json(const struct service *s)
{
	const struct restart_config *policy = &s->config->restart;

	return json_pack(
		"{s:I, s:I, s:I}", "used",
		(json_int_t)restarts_used(&s->healing.restarts, policy, clock_monotonic_ms()),
		"max", (json_int_t)policy->max, "window_ms", (json_int_t)policy->window_ms);
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

/* If the service has several instances it says which. */
static json_t *ailment_json(const struct service *s, const struct instance *i)
{
	const struct probe_result *answer = instance_last_answer(i);
	const char *text = i->failure[0] ? i->failure : answer ? answer->text : NULL;

	if (!text)
		return NULL;
	return s->instances > 1 ? json_sprintf("instance %u: %s", i->index, text)
				: json_string(text);
}

/* Why the state is not what was asked for; NULL: it is. */
static json_t *reason_json(struct service *s)
{
	const struct instance *failed = s->current ? ailing(s) : NULL;
	char awaited[SERVICE_AWAITED_MAX];
	json_t *ailment = NULL;

	if (s->awaited)
		return json_string(service_describe_awaited(s, awaited));
	if (s->refusal[0])
		return json_string(s->refusal);
	if (s->healing.degraded[0])
		return json_string(s->healing.degraded);
	if (failed)
		ailment = ailment_json(s, failed);
	/* A failed rollout of some instances says nothing about a generation that serves. */
	if (!ailment && s->last.outcome != ROLLOUT_DONE && !(s->last.partial && s->current))
		return json_string(s->last.reason);
	return ailment;
}

static json_t *serving_json(const struct run_serving *now)
{
	if (now->generation == 0)
		return json_null();
	return json_pack("{s:I, s:I, s:I}", "generation", (json_int_t)now->generation, "instances",
			 (json_int_t)now->instances, "wanted", (json_int_t)now->wanted);
}

static const char *condition_name(struct service *s)
{
	static const char *const names[] = {
		[SERVICE_STOPPED] = "stopped",
		[SERVICE_WELL] = "well",
		[SERVICE_DEGRADED] = "degraded",
		[SERVICE_DEAD] = "dead",
	};

	return names[service_condition(s)];
}

json_t *status_condition(struct service *s)
{
	json_t *reason = reason_json(s);

	return json_pack("{s:s, s:s, s:o}", "service", s->config->name, "condition",
			 condition_name(s), "reason", reason ? reason : json_null());
}

/* Connections that wait for a server; NULL: none. */
static json_t *holding_json(struct service *s)
{
	struct run_held held;

	service_held(s, NULL, &held);
	if (held.now == 0)
		return NULL;
	return json_pack("{s:I, s:I}", "connections", (json_int_t)held.now, "longest_ms",
			 (json_int_t)held.now_longest_ms);
}

/* A pid that is not known is null. */
static json_t *pid_json(pid_t pid)
{
	return pid > 0 ? json_integer(pid) : json_null();
}

/* The agents that have yet to answer. */
static json_t *awaited_json(const struct service *s)
{
	json_t *array = json_array();

	for (size_t k = 0; s->awaited && k < s->awaited->n; k++) {
		const struct takeover_agent *agent = s->awaited->agents[k];

		if (agent->state != TAKEOVER_AWAITED ||
		    strcmp(agent->hello.service, service_id(s)) != 0)
			continue;
		json_array_append_new(
			array, json_pack("{s:I, s:I, s:o, s:o, s:I}", "generation",
					 (json_int_t)agent->hello.generation, "instance",
					 (json_int_t)agent->hello.instance, "agent_pid",
					 pid_json(agent->hello.agent_pid), "pid",
					 pid_json(agent->hello.pid), "waited_ms",
					 (json_int_t)(clock_monotonic_ms() - agent->asked_ms)));
	}
	return array;
}

json_t *status_service(struct service *s)
{
	json_t *generations = json_array(), *json, *reason, *holding = holding_json(s);
	struct run_serving now;

	for (size_t k = 0; k < s->n_generations; k++)
		json_array_append_new(generations, generation_json(s, s->generations[k]));
	json = json_pack("{s:s, s:s, s:s, s:s?, s:b, s:I, s:o, s:I, s:o, s:o, s:o, s:o, s:o}",
			 "service", s->config->name, "state", status_state(s), "mode",
			 socket_mode_name(s->config->mode), "tier",
			 s->endpoints.open ? steer_tier_name(s->wiring.tier) : NULL, "paused",
			 s->hold.paused, "hold_ms", (json_int_t)service_hold_ms(s), "failover",
			 failover_json(s), "instances", (json_int_t)s->instances, "command",
			 command_json(s), "endpoints", endpoints_json(s), "generations",
			 generations, "rollout", rollout_json(s), "last_rollout", last_json(s));
	service_who_serves(s, &now);
	if (json)
		json_object_update_new(json, json_pack("{s:s, s:o}", "condition", condition_name(s),
						       "serving", serving_json(&now)));
	if (json && s->endpoints.tier_reason[0])
		json_object_set_new(json, "tier_reason", json_string(s->endpoints.tier_reason));
	if (json && s->context->no_cgroup[0])
		json_object_set_new(json, "cgroup_reason", json_string(s->context->no_cgroup));
	if (json)
		json_object_update_new(json,
				       json_pack("{s:s, s:o, s:o, s:o}", "strategy",
						 rollout_strategy_name(s->config->rollout.strategy),
						 "restarts", restarts_json(s), "differs",
						 differs_json(s), "rollback", rollback_json(s)));
	reason = reason_json(s);
	if (json && reason)
		json_object_set_new(json, "reason", reason);
	if (json && holding)
		json_object_set_new(json, "holding", holding);
	if (json && service_waits_for_turn(s))
		json_object_set_new(json, "waits", waits_json(s));
	if (json && s->awaited)
		json_object_set_new(json, "awaited", awaited_json(s));
	if (json && strcmp(status_state(s), "failed") == 0)
		json_object_set_new(json, "failure", failure_json(s));
	return json;
}

/* ---- one that was left out at the start ------------------------------------------------------ */

static json_t *all_mistakes(const struct config_refused *refused)
{
	json_t *text = json_string(""), *longer;
	size_t n = 0;

	for (char *const *mistake = refused->mistakes; *mistake; mistake++, n++) {
		longer = json_sprintf("%s%s%s", json_string_value(text), n > 0 ? "; " : "",
				      *mistake);
		json_decref(text);
		text = longer;
	}
	longer = json_sprintf("%s%s (mend the configuration, then: baton reload)",
			      json_string_value(text), refused->total > n ? "; and more" : "");
	json_decref(text);
	return longer;
}

json_t *status_refused(const struct config_refused *refused)
{
	return json_pack(
		"{s:s, s:s, s:s, s:n, s:b, s:I, s:I, s:[], s:[], s:[], s:n, s:n, s:o, s:o}",
		"service", refused->name, "state", "refused", "condition", "refused", "tier",
		"paused", false, "hold_ms", (json_int_t)0, "instances", (json_int_t)0, "command",
		"endpoints", "generations", "rollout", "last_rollout", "reason",
		all_mistakes(refused), "mistakes", strings_json(refused->mistakes));
}

json_t *status_refused_condition(const struct config_refused *refused)
{
	return json_pack("{s:s, s:s, s:o}", "service", refused->name, "condition", "refused",
			 "reason", all_mistakes(refused));
}
