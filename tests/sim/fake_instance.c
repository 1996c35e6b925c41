/* SPDX-License-Identifier: BSD-2-Clause */
/* instance.h and generation.h, played by nodes. */
#include "orchestrator/instance/instance.h"

#include <errno.h>

#include "tests/sim/sim.h"

/* ---- orders --------------------------------------------------------------------------------- */

void instance_check(struct instance *i)
{
	struct node *n = node_of(i);

	n->checking |= !n->told_leave && !n->told_stop && !n->has_failed;
}

void instance_uncheck(struct instance *i)
{
	node_of(i)->checking = false;
}

void instance_steady(struct instance *i, bool on)
{
	node_steady(world_now(), node_of(i), on);
}

void instance_leave(struct instance *i)
{
	const struct drain_config *drain = &i->config->drain;
	bool asked = drain->wait != DRAIN_WAIT_CONNECTIONS;
	struct node *n = node_of(i);

	if (!n->told_leave && !n->has_stopped)
		node_leave(world_now(), n, asked ? drain->signal : 0,
			   asked ? drain->leave_timeout_ms : 0);
}

void instance_stop(struct instance *i)
{
	struct node *n = node_of(i);

	if (!n->told_stop && !n->has_stopped)
		node_stop(world_now(), n, i->config->drain.kill_timeout_ms);
}

void instance_kill_many(struct instance *const *list, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (!node_of(list[k])->has_stopped)
			node_kill(world_now(), node_of(list[k]));
}

/* It is answered with the next thing that is heard of it. */
void instance_ask(struct instance *i)
{
	i->asked = !i->lost && !node_of(i)->has_stopped;
}

/* ---- questions ------------------------------------------------------------------------------ */

bool instance_is_healthy(const struct instance *i)
{
	const struct node *n = node_of(i);

	return !n->has_failed && i->pid != 0 && n->verdict == HEALTH_HEALTHY;
}

bool instance_is_unhealthy(const struct instance *i)
{
	return node_of(i)->verdict == HEALTH_UNHEALTHY;
}

bool instance_is_serving(const struct instance *i)
{
	return node_can_serve(node_of(i));
}

bool instance_is_gone(const struct instance *i)
{
	return node_is_gone(node_of(i));
}

bool instance_has_exited(const struct instance *i)
{
	const struct node *n = node_of(i);

	return n->has_stopped || n->server == SERVER_NONE;
}

const struct probe_result *instance_last_answer(const struct instance *i)
{
	(void)i;
	return NULL;
}

char *instance_advise(const struct instance *i, char ret[static ADVICE_TEXT_MAX])
{
	(void)i;
	ret[0] = '\0';
	return ret;
}

void instance_describe_exit(const struct instance *i, char *ret, size_t size)
{
	snprintf(ret, size, "%s", i->killed ? "was killed" : "exited");
}

/* ---- local ports of commands: none, as on a tier that cannot pin -------------------------------
 */

int instance_ports_open(struct instance *const *list, size_t n, uint16_t wanted,
			struct instance_ports **ret, struct error *err)
{
	(void)list, (void)n, (void)wanted, (void)err;
	*ret = NULL;
	return 0;
}

void instance_ports_close(struct instance_ports *ports)
{
	(void)ports;
}

int instance_ports_tell(const struct instance_ports *ports, char ***environment)
{
	(void)ports, (void)environment;
	return 0;
}

/* ---- connections ---------------------------------------------------------------------------- */

bool instance_competes(const struct instance *i)
{
	(void)i;
	return false;
}

int instance_queued(struct instance *i, uint32_t *ret)
{
	const struct node *n = node_of(i);

	*ret = n->queued;
	return n->defect == DEFECT_OPAQUE && n->listening ? -EIO : 0;
}

int instance_queued_many(struct instance *const *list, size_t n, uint32_t *ret)
{
	*ret = 0;
	for (size_t k = 0; k < n; k++) {
		uint32_t queued;
		int r = instance_queued(list[k], &queued);

		if (r < 0)
			return r;
		*ret += queued;
	}
	return 0;
}

int instance_count(struct instance *i, struct tap_count *ret)
{
	*ret = (struct tap_count){.live = node_of(i)->connections};
	return i->wiring->tap ? 0 : -ENODATA;
}

int instance_busy(struct instance *i, uint64_t idle_ms, uint64_t *ret)
{
	const struct node *n = node_of(i);

	*ret = 0;
	if (n->has_stopped)
		return 0;
	if (n->defect == DEFECT_OPAQUE)
		return -EIO;
	*ret = n->defect == DEFECT_IDLE && idle_ms > 0 ? 0 : n->connections;
	return 0;
}

int instance_silent(struct instance *i, uint64_t age_ms, uint64_t *ret)
{
	const struct node *n = node_of(i);

	*ret = n->has_stopped || n->silent_ms + age_ms > world_now()->now_ms ? 0 : n->silent;
	return n->defect == DEFECT_OPAQUE ? -EIO : 0;
}

int instance_live(struct instance *i, uint64_t *ret)
{
	struct tap_count count;

	if (instance_count(i, &count) < 0)
		return instance_busy(i, 0, ret);
	*ret = count.live;
	return 0;
}

int instance_kinds(const struct instance *i, struct connections_kinds *ret)
{
	*ret = (struct connections_kinds){.busy = node_of(i)->connections};
	return 0;
}

int instance_cut(const struct instance *i, uint64_t *ret, struct error *err)
{
	struct node *n = node_of(i);

	*ret = n->connections;
	if (n->defect == DEFECT_OPAQUE)
		return error_set(err, -EIO, "sock_diag");
	n->connections = 0;
	return 0;
}

/* ---- generation.h --------------------------------------------------------------------------- */

static bool has_index(const struct generation *g, uint32_t index)
{
	for_each_instance (n, &g->instances)
		if (n->instance->index == index)
			return true;
	return false;
}

int generation_add(struct generation *g, struct instance **ret, struct error *err)
{
	struct node *n = NULL;
	uint32_t index = 0;

	*ret = NULL;
	while (has_index(g, index))
		index++;
	if (g->instances.n < INSTANCES_MAX)
		n = node_launch(g->userdata, g, index);
	if (!n)
		return error_set(err, -ENOMEM, "instance");
	*ret = n->instance;
	instances_add(&g->instances, n->instance);
	return n->has_failed ? error_set(err, -EIO, "agent") : 0;
}

void generation_remove(struct generation *g, struct instance *i)
{
	instances_remove(&g->instances, i);
	node_free(node_of(i));
}
