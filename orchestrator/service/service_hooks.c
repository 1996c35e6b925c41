/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "orchestrator/host/command.h"
#include "orchestrator/host/environment.h"
#include "orchestrator/service/service_internal.h"
#include "common/vector.h"

static const char *const point_names[_HOOK_COUNT] = {
	[HOOK_BEFORE_START] = "before_start", [HOOK_AFTER_SHIFT] = "after_shift",
	[HOOK_AFTER_DRAIN] = "after_drain",   [HOOK_ON_ROLLBACK] = "on_rollback",
	[HOOK_ON_FAILURE] = "on_failure",
};

/* ---- what they are told --------------------------------------------------------------------- */

static int set_number(char ***environment, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return environment_set(environment, name, value > 0 ? text : "");
}

/* The share of new connections that the tables give to the new side, in percent. */
static uint64_t share_of(const struct run *run)
{
	uint64_t buckets = 0;

	for (size_t k = 0; k < run->side[ROLLOUT_NEW].n; k++)
		buckets += run->side[ROLLOUT_NEW].list[k]->aimed;
	return (buckets * 100 + STEER_BUCKETS / 2) / STEER_BUCKETS;
}

/* Names and values are documented in docs/configuration.md. */
static int set_variables(struct service *s, const struct run *run, enum hook_point point,
			 char ***environment)
{
	const struct rollout *m = &run->machine;
	const char *step = point < _HOOK_COUNT ? point_names[point] : rollout_gate_name(m->point);
	uint64_t weight = share_of(run);
	int r;

	r = environment_set(environment, "BATON_SERVICE", s->config->name);
	if (r == 0)
		r = set_number(environment, "BATON_GENERATION", run->new_number);
	if (r == 0)
		r = set_number(environment, "BATON_PREVIOUS", run->old_number);
	if (r == 0)
		r = set_number(environment, "BATON_ROLLOUT", run->id);
	if (r == 0)
		r = environment_set(environment, "BATON_ORDER", run_order_name(run->order));
	if (r == 0)
		r = environment_set(environment, "BATON_STEP", step);
	if (r == 0)
		r = set_number(environment, "BATON_WEIGHT", weight);
	if (r == 0)
		r = environment_set(environment, "BATON_REASON", run->reason);
	if (r == 0)
		r = config_tell_addresses(s->config, environment);
	if (r == 0)
		r = environment_set(environment, "BATON_SOCKET", s->context->paths.api_socket);
	return r;
}

/* A new generation brings its own hooks. Without one those of the configuration count. */
static const struct hooks_config *hooks_of(const struct service *s, const struct run *run)
{
	return run->new ? &run->new->config->hooks : &s->config->hooks;
}

int service_command(struct service *s, const struct run *run, enum hook_point point,
		    struct command_spec *ret, char ***environment, struct error *err)
{
	const struct generation *g = run->new ? run->new : run->old;
	const struct service_config *config;
	char **made = NULL;
	int r;

	assert(point <= _HOOK_COUNT);
	if (!g)
		g = s->current;
	if (!g)
		return error_text(err, -ENOENT, "its generation is gone");
	config = g->config;
	r = vector_copy(g->release->environment, &made);
	if (r == 0)
		r = set_variables(s, run, point, &made);
	if (r < 0) {
		vector_free(made);
		return error_set(err, r, "environment");
	}
	vector_free(*environment);
	*environment = made;
	*ret = (struct command_spec){
		.generation = g->number,
		.argv = point < _HOOK_COUNT ? hooks_of(s, run)->command[point] : NULL,
		.environment = made,
		.directory = g->release->directory,
		.set_ids = config->set_ids,
		.uid = config->uid,
		.gid = config->gid,
		.groups = config->groups,
		.n_groups = config->n_groups,
		.timeout_ms = hooks_of(s, run)->timeout_ms,
		.cgroup_base = s->context->cgroup_base,
		.removals = s->context->removals,
	};
	return 0;
}

/* ---- those that nothing waits for ----------------------------------------------------------- */

static void tell(const struct service_hook *hook, bool ok, const char *text)
{
	char message[1200];

	snprintf(message, sizeof(message), "%s %s", point_names[hook->point], text);
	service_tell(hook->service, &(struct event){.kind = EVENT_HOOK,
						    .message = message,
						    .rollout = hook->rollout,
						    .generation = hook->generation,
						    .hook = point_names[hook->point],
						    .ok = ok});
}

static void let_go(struct service_hook *hook)
{
	vector_free(TAKE_PTR(hook->environment));
	instance_ports_close(TAKE_PTR(hook->ports));
}

/* Its ports lead to whom it is about. Without ports it is told of none, and asks like any client.
 */
static int pin_ports(struct service_hook *hook, const struct run *run, struct command_spec *spec)
{
	const struct instances *whom = run_asked(run, hook->point);
	struct error err;
	int r = instance_ports_open(whom->list, whom->n, INSTANCE_PORTS_GATE, &hook->ports, &err);

	if (r < 0)
		log_warning("%s: %s gets no BATON_PROBE_PORTS: %s", hook->service->config->name,
			    point_names[hook->point], err.text);
	r = instance_ports_tell(hook->ports, &hook->environment);
	spec->environment = hook->environment;
	return r;
}

static void on_done(void *userdata, const struct command_result *result)
{
	struct service_hook *hook = userdata;
	bool ok = !result->timed_out && !result->exit_signal && !result->exit_code;

	hook->command = NULL;
	let_go(hook);
	tell(hook, ok, result->text);
	/* The end of the service may have waited for this. */
	hook->service->on_end(hook->service->userdata, hook->service);
}

void service_hook(struct service *s, const struct run *run, enum hook_point point)
{
	const struct generation *g = run->new ? run->new : run->old;
	const struct service_hook asked = {
		.service = s, .point = point, .rollout = run->id, .generation = g ? g->number : 0};
	struct service_hook *hook = NULL;
	struct command_spec spec;
	struct error err;
	int r;

	assert(point < _HOOK_COUNT);
	if (!g || !hooks_of(s, run)->command[point])
		return;
	for (size_t k = 0; k < SERVICE_HOOKS_MAX && !hook; k++)
		if (!s->hooks[k].command)
			hook = &s->hooks[k];
	if (!hook) {
		tell(&asked, false, "was not run: too many are running already");
		return;
	}
	let_go(hook);
	*hook = asked;
	r = service_command(s, run, point, &spec, &hook->environment, &err);
	if (r >= 0 && pin_ports(hook, run, &spec) < 0)
		r = error_set(&err, -ENOMEM, "environment");
	if (r >= 0)
		r = command_start(s->context->event, &spec, on_done, hook, &hook->command, &err);
	if (r >= 0)
		return;
	tell(hook, false, err.text);
	let_go(hook);
}

void service_cancel_hooks(struct service *s)
{
	for (size_t k = 0; k < SERVICE_HOOKS_MAX; k++) {
		command_cancel(TAKE_PTR(s->hooks[k].command));
		let_go(&s->hooks[k]);
	}
}

bool service_has_hooks(const struct service *s)
{
	for (size_t k = 0; k < SERVICE_HOOKS_MAX; k++)
		if (s->hooks[k].command)
			return true;
	return false;
}
