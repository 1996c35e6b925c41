/* SPDX-License-Identifier: BSD-2-Clause */
/* How a check that is a command asks its instance: as the service's user, by ports of its own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/vector.h"
#include "orchestrator/host/environment.h"
#include "orchestrator/instance/instance_internal.h"

/* What one run of the command needs, as long as it runs. */
struct exec_state {
	char **environment;
	struct instance_ports *ports;
};

static void end(void *userdata)
{
	struct exec_state *state = userdata;

	instance_ports_close(state->ports);
	vector_free(state->environment);
	free(state);
}

static int set_number(char ***environment, const char *name, uint32_t number)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", number);
	return environment_set(environment, name, text);
}

/* Names and values are documented in docs/configuration.md. */
static int make_environment(struct instance *i, struct exec_state *state)
{
	char ***environment = &state->environment;
	int r = vector_copy(i->release ? i->release->environment : NULL, environment);

	if (r == 0)
		r = environment_set(environment, "BATON_SERVICE", i->config->name);
	if (r == 0)
		r = set_number(environment, "BATON_GENERATION", i->generation);
	if (r == 0)
		r = set_number(environment, "BATON_INSTANCE", i->index);
	if (r == 0)
		r = environment_set(environment, "BATON_STEP", "check");
	if (r == 0)
		r = environment_set(environment, "BATON_SOCKET", i->context->paths.api_socket);
	if (r == 0)
		r = config_tell_addresses(i->config, environment);
	return r < 0 ? r : instance_ports_tell(state->ports, environment);
}

static int begin(void *userdata, const struct health_config *health, struct command_spec *ret,
		 void **ret_state, struct error *err)
{
	struct instance *i = userdata;
	const struct service_config *config = i->config;
	struct exec_state *state = calloc(1, sizeof(*state));
	int r;

	if (!state)
		return error_set(err, -ENOMEM, "check");
	r = instance_ports_open(&i, 1, INSTANCE_PORTS_EXEC, &state->ports, err);
	if (r >= 0) {
		r = make_environment(i, state);
		if (r < 0)
			error_set(err, r, "its environment");
	}
	if (r < 0) {
		end(state);
		return r;
	}
	*ret = (struct command_spec){
		.generation = i->generation,
		.instance = i->index,
		.of_instance = true,
		.argv = health->exec,
		.environment = state->environment,
		.directory = i->release ? i->release->directory : NULL,
		.set_ids = config->set_ids,
		.uid = config->uid,
		.gid = config->gid,
		.groups = config->groups,
		.n_groups = config->n_groups,
		.cgroup_base = i->context->cgroup_base,
		.removals = i->context->removals,
	};
	*ret_state = state;
	return 0;
}

const struct probe_exec_host instance_exec_host = {.begin = begin, .end = end};
