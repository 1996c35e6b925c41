/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/instance/instance_internal.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/expand.h"
#include "common/log.h"

/* The delay before a restart grows up to so many times the first one (agent/lifecycle.h). */
#define RESTART_DELAY_GROWTH 50

/*
 * On a tier that cannot shift connections, a socket gets them as soon as it listens. A server that
 * leaves listen(2) to its parent has this long to get ready before.
 */
#define LISTEN_DELAY_MS 1000

/* Then the server need not be the process that LISTEN_PID names. */
static bool names_fds(const struct release *release)
{
	return expand_uses_fds(release->command) || expand_uses_fds(release->environment);
}

static void fill_spec(struct instance *i, const struct release *release, struct launch_spec *ret)
{
	const struct service_config *c = i->config;

	/* All of it is borrowed: it is used during the call only. */
	*ret = (struct launch_spec){
		.service = c->name,
		.id = (char *)service_config_id(c),
		.generation = i->generation,
		.instance = i->index,
		.listen = (struct address *)c->listen,
		.n_listen = c->n_listen,
		.backlog = c->backlog,
		.nonblocking = c->nonblocking,
		.mode = c->mode,
		.listen_later = !steer_can(i->wiring->tier, STEER_CAN_SHIFT),
		.listen_delay_ms = LISTEN_DELAY_MS,
		.executable = release->executable,
		.argv = release->command,
		.environment = release->environment,
		.directory = release->directory,
		.uid = c->uid,
		.gid = c->gid,
		.n_groups = c->n_groups,
		.set_ids = c->set_ids,
		.cgroup = i->cgroup[0] ? (char *)i->cgroup : NULL,
		.process = c->process,
		.restart_max = c->restart.max,
		.restart_window_ms = (uint32_t)c->restart.window_ms,
		.restart_delay_ms = (uint32_t)c->restart.delay_ms,
		.restart_delay_max_ms = (uint32_t)c->restart.delay_ms * RESTART_DELAY_GROWTH,
	};
	for (size_t k = 0; k < c->n_listen; k++)
		ret->twins[k] =
			address_are_twins(&c->listen[k], steer_address(instance_endpoint(i, k)));
	_Static_assert(CONFIG_GROUPS_MAX <= PROTOCOL_GROUPS_MAX, "groups fit");
	_Static_assert(CONFIG_LISTEN_MAX <= PROTOCOL_LISTEN_MAX, "endpoints fit");
	i->names_fds = names_fds(release);
	memcpy(ret->groups, c->groups, c->n_groups * sizeof(c->groups[0]));
}

/* An IPv4 socket would take all connections of those that serve on IPv4-mapped ones. */
static int declare(const struct instance *i, struct tap *tap, struct error *err)
{
	int r = tap_declare(tap, i->config->listen, i->config->n_listen, err);

	if (r < 0)
		return r;
	for (size_t k = 0; k < i->config->n_listen; k++)
		tap_guard(tap, k,
			  address_is_mapped(steer_address(instance_endpoint(i, k))) &&
				  i->callbacks->is_served(i->userdata, i, k));
	return 0;
}

/* Attach the programs for counting and sharing, before anything runs in the cgroup. */
static int hook(struct instance *i, struct error *err)
{
	enum socket_mode mode = i->config->mode;
	bool share = mode == SOCKETS_AUTO || mode == SOCKETS_TRANSPARENT;
	struct tap *tap = i->wiring->tap;
	int r;

	if ((!tap || !i->cgroup[0]) && mode == SOCKETS_TRANSPARENT)
		return error_text(err, -EOPNOTSUPP, "mode \"transparent\": %s",
				  i->cgroup[0] ? i->wiring->no_tap : i->context->no_cgroup);
	if (!tap || !i->cgroup[0])
		return 0;
	r = declare(i, tap, err);
	if (r >= 0)
		r = tap_attach(tap, i->cgroup, i->generation, i->index, share, err);
	i->hinted = r >= 0;
	if (r >= 0 || mode == SOCKETS_TRANSPARENT)
		return r;
	log_warning("%s: %s", i->config->name, err->text);
	/* In mode "auto" the server may not need to share: start it without. */
	i->hinted = share && tap_attach(tap, i->cgroup, i->generation, i->index, false, err) == 0;
	if (share && !i->hinted)
		log_warning("%s: its connections are not counted: %s", i->config->name, err->text);
	return 0;
}

static int make_cgroup(struct instance *i, const char *leaf, struct error *err)
{
	int r;

	if (!i->context->cgroup_base[0]) {
		const struct cgroup_limits *limits = &i->config->resources;

		if (limits->memory_max || limits->cpu_max || limits->pids_max)
			return error_text(err, -EOPNOTSUPP,
					  "\"resources\" needs a cgroup for each instance: %s",
					  i->context->no_cgroup);
		return hook(i, err);
	}
	r = cgroup_create(i->context->cgroup_base, leaf, i->cgroup, &i->cgroup_id, err);
	if (r < 0) {
		i->cgroup[0] = '\0';
		return r;
	}
	removals_forget(i->context->removals, i->cgroup);
	r = cgroup_limit(i->cgroup, &i->config->resources, err);
	return r < 0 ? r : hook(i, err);
}

/* If the tier must know the sockets' order, the daemon makes those that are passed itself. */
static int make_sockets(struct instance *i, int fds[static CONFIG_LISTEN_MAX], size_t *ret_n,
			struct error *err)
{
	const struct service_config *c = i->config;

	*ret_n = 0;
	if (!steer_can(i->wiring->tier, STEER_MAKES_SOCKETS) ||
	    (c->mode != SOCKETS_AUTO && c->mode != SOCKETS_INHERIT))
		return 0;
	for (size_t k = 0; k < c->n_listen; k++) {
		int r = steer_listen(instance_endpoint(i, k), c->backlog, c->nonblocking, &fds[k],
				     err);

		if (r < 0)
			return r;
		++*ret_n;
	}
	return 0;
}

static int start_agent(struct instance *i, const struct release *release, struct error *err)
{
	struct launch_spec spec;
	int fds[CONFIG_LISTEN_MAX];
	size_t n;
	int r;

	fill_spec(i, release, &spec);
	r = make_sockets(i, fds, &n, err);
	spec.sockets_given = n > 0;
	if (r >= 0)
		r = agentlink_start(i->context->event, i->context->agent_program, i->socket_path,
				    &spec, n > 0 ? fds : NULL, &instance_link_callbacks, i,
				    &i->link, err);
	for (size_t k = 0; k < n; k++)
		close(fds[k]);
	return r;
}

int instance_know_processes(struct instance *i, pid_t agent, struct error *err)
{
	int r = processes_new(i->cgroup[0] ? i->cgroup : NULL, agent, &i->processes);

	return r < 0 ? error_set(err, r, "follow the server's processes") : 0;
}

static int start(struct instance *i, const struct release *release, struct error *err)
{
	char leaf[PROTOCOL_NAME_MAX + 32];
	int r;

	snprintf(leaf, sizeof(leaf), "%s.%u.%u", service_config_id(i->config), i->generation,
		 i->index);
	if ((size_t)snprintf(i->socket_path, sizeof(i->socket_path), "%s/%s.sock",
			     i->context->paths.agents_dir, leaf) >= sizeof(i->socket_path))
		return error_text(err, -ENAMETOOLONG, "%s: path too long", leaf);
	r = make_cgroup(i, leaf, err);
	if (r >= 0)
		r = start_agent(i, release, err);
	if (r < 0)
		return r;
	r = instance_know_processes(i, agentlink_pid(i->link), err);
	/* The agent would go on by itself. */
	if (r < 0)
		(void)agentlink_signal(i->link, SIGTERM);
	return r;
}

int instance_start(struct instance *i, const struct release *release, struct error *err)
{
	int r;

	assert(i->phase == INSTANCE_STARTING && !i->link);
	assert(i->config->n_listen <= CONFIG_LISTEN_MAX);
	r = start(i, release, err);
	if (r < 0) {
		instance_fail(i, err->text);
		instance_enter(i, INSTANCE_STOPPED);
	}
	return r;
}
