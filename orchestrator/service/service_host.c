/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Answers what rollouts ask of their service: run_host_ops.
 */
#include <assert.h>

#include "common/log.h"
#include "orchestrator/service/service_internal.h"

static int publish(void *host, const struct run_shares *shares, struct error *err)
{
	struct service *s = host;

	assert(!shares || !shares->canary || (shares->weight > 0 && shares->weight < 100));
	if (shares)
		s->published.shares = *shares;
	return service_publish(s, err);
}

static int check_sockets(void *host, const struct instances *set, struct error *err)
{
	return service_check_sockets(host, set, err);
}

static size_t named(void *host)
{
	return service_named(host);
}

static int steered_to(void *host, const struct instance *i, uint64_t *ret)
{
	return service_steered_to(host, i, ret);
}

static void remove_instance(void *host, struct instance *i)
{
	service_remove_instance(host, i);
}

static void poke(void *host)
{
	service_poke(host);
}

static void tell(void *host, const struct event *event)
{
	service_tell(host, event);
}

static int command(void *host, const struct run *run, enum hook_point point,
		   struct command_spec *ret, char ***environment, struct error *err)
{
	return service_command(host, run, point, ret, environment, err);
}

static void hook(void *host, const struct run *run, enum hook_point point)
{
	service_hook(host, run, point);
}

/* A daemon that takes over needs to know which generation serves until the next commit. */
static void remember_serving(struct service *s)
{
	struct error err;

	if (state_set_serving(s->context->state, service_id(s), s->current->number, &err) < 0)
		log_warning("%s: which generation serves cannot be remembered: %s", s->config->name,
			    err.text);
}

/* If whole generations were replaced, the new one is the current one from now on. */
static void commit(void *host, const struct run *run)
{
	struct service *s = host;

	if (run->partial)
		return;
	assert(run->new);
	s->current = run->new;
	remember_serving(s);
	s->refusal[0] = '\0';
	service_note_commit(s, run->order);
	service_keep_borrowed(s);
	service_forgive(s);
}

static void held(void *host, const struct run *run, struct run_held *ret)
{
	service_held(host, run, ret);
}

const struct run_host_ops service_host_ops = {
	.publish = publish,
	.check_sockets = check_sockets,
	.named = named,
	.steered_to = steered_to,
	.held = held,
	.remove_instance = remove_instance,
	.poke = poke,
	.commit = commit,
	.tell = tell,
	.command = command,
	.hook = hook,
};
