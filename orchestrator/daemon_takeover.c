/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "orchestrator/daemon_internal.h"
#include "orchestrator/host/leftovers.h"

/* A service whose configuration has mistakes, by its id. */
static const struct config_refused *find_refused(const struct daemon *d, const char *id)
{
	for (size_t k = 0; k < d->config->n_refused; k++) {
		cleanup_free char *noted = state_id(d->context->state, d->config->refused[k].name);

		if (strcmp(noted ? noted : d->config->refused[k].name, id) == 0)
			return &d->config->refused[k];
	}
	return NULL;
}

/* The agents of @s in @found, which is sorted by service. */
static size_t agents_of(const struct takeover_list *found, const struct service *s,
			size_t *ret_first)
{
	size_t n = 0;

	for (size_t k = 0; k < found->n; k++) {
		if (strcmp(found->agents[k]->hello.service, service_id(s)) != 0)
			continue;
		if (n++ == 0)
			*ret_first = k;
	}
	return n;
}

/* An agent of it is of another version, and cannot be talked to: all of it goes on as it is. */
static bool is_left(struct daemon *d, struct service *s, const struct takeover_list *found)
{
	const char *why = takeover_unfit(found, service_id(s));
	struct error err;

	if (!why)
		return false;
	error_text(&err, 0,
		   "its instances serve on as they are, but cannot be taken over: %s; or end them "
		   "by SIGTERM to their agents, then type \"baton start %s\"",
		   why, s->config->name);
	service_left(s, err.text);
	daemon_tell_refused(d, s->config->name, err.text);
	return true;
}

/* Does something serve already? */
static bool take_over_agents(struct daemon *d, struct service *s, struct takeover_list *found)
{
	size_t first = 0, n = agents_of(found, s, &first);
	struct error err;
	int r;

	if (is_left(d, s, found))
		return true;
	for (size_t k = first; k < first + n; k++) {
		if (takeover_fits(found->agents[k], s->config))
			continue;
		log_warning("%s: an instance of an earlier batond (agent pid %d) has another "
			    "\"user\" than the configuration now says",
			    s->config->name, (int)found->agents[k]->hello.agent_pid);
		return false;
	}
	if (n == 0)
		return false;
	takeover_settle(found, service_id(s), s->config);
	r = service_take_over(s, found->agents + first, n, &err);
	if (r < 0) {
		log_error("%s: what an earlier batond left cannot be taken over: %s",
			  s->config->name, err.text);
		service_refused(s, err.text);
	}
	/* If it cannot be taken over it goes on by itself: another one beside it would not help. */
	return r != 0;
}

/* False: the service is to be started. */
static bool take_over(struct daemon *d, struct service *s, struct takeover_list *found)
{
	bool done = take_over_agents(d, s, found);

	/* An order to stop it may have been under way, too. */
	return service_judge_underway(s) || done;
}

/* Nobody has taken it. */
static bool is_unclaimed(const struct takeover_agent *agent)
{
	return agent->link || agent->state == TAKEOVER_RESTING;
}

static void warn_unclaimed(const struct daemon *d, const char *id)
{
	for (size_t k = 0; k < d->found.n; k++) {
		const struct takeover_agent *agent = d->found.agents[k];
		const struct report *hello = &agent->hello;
		char pid[32] = "";

		if (!is_unclaimed(agent) || strcmp(hello->service, id) != 0 ||
		    takeover_unfit(&d->found, id))
			continue;
		if (hello->agent_pid > 0)
			snprintf(pid, sizeof(pid), ", pid %d", (int)hello->agent_pid);
		if (find_refused(d, id))
			log_warning("%s.%u.%u of an earlier batond goes on as it is, and is taken "
				    "over when the configuration of its service is mended and "
				    "reloaded (its agent: %s%s)",
				    hello->service, hello->generation, hello->instance,
				    agent->socket_path, pid);
		else
			log_warning("%s.%u.%u of an earlier batond belongs to no service that is "
				    "configured, and is left alone: end it by SIGTERM to its "
				    "agent (%s%s)",
				    hello->service, hello->generation, hello->instance,
				    agent->socket_path, pid);
	}
}

static const char ends_anyway[] = "it was told to end before its agents had answered";

/* Its agents have all answered, or there are none. */
static void take_over_or_start(struct daemon *d, struct service *s)
{
	bool ends = s->shutting_down, done;

	s->awaited = NULL;
	s->shutting_down = false;
	(void)takeover_drain_orphans(d->context, s->config, &d->found);
	done = take_over(d, s, &d->found);
	warn_unclaimed(d, service_id(s));
	takeover_let_go(&d->found, service_id(s));
	if (ends) {
		service_shutdown(s, ends_anyway);
		daemon_on_service_end(d, s);
	} else if (!done) {
		/* "baton run": its command line is all that counts. */
		if (d->options.single)
			service_forget(s);
		daemon_start_service(d, s);
	}
	/* A reload has come meanwhile. */
	if (s->deferred)
		(void)sd_event_source_set_enabled(d->reap, SD_EVENT_ONESHOT);
}

/* ---- renamed while no batond ran ------------------------------------------------------------- */

static bool shares_an_address(const struct takeover_agent *agent,
			      const struct service_config *config)
{
	for (size_t k = 0; k < agent->spec.n_listen; k++)
		for (size_t j = 0; j < config->n_listen; j++)
			if (address_equal(&agent->spec.listen[k], &config->listen[j]))
				return true;
	return false;
}

/* A service that has no agents, on an address of those of a service that is configured no more. */
static void find_predecessor(struct daemon *d, struct service *s, const struct takeover_list *found)
{
	size_t first;
	struct error err;

	if (agents_of(found, s, &first) > 0)
		return;
	for (size_t k = 0; k < found->n; k++) {
		const struct takeover_agent *agent = found->agents[k];
		const char *id = agent->hello.service;

		if (daemon_find_by_id(d, id) || find_refused(d, id) ||
		    !takeover_fits(agent, s->config) || !shares_an_address(agent, s->config))
			continue;
		if (state_set_id(d->context->state, s->config->name, id, &err) < 0)
			log_warning("%s: %s", s->config->name, err.text);
		if (service_succeed(s, id) >= 0)
			log_info("%s: it was called %s before: its instances are taken over",
				 s->config->name, id);
		return;
	}
}

/* main.c has logged each mistake. */
static void tell_refused(struct daemon *d)
{
	for (size_t k = 0; k < d->config->n_refused; k++) {
		const struct config_refused *refused = &d->config->refused[k];

		log_error("%s: refused, as its configuration has %zu mistake%s", refused->name,
			  refused->total, refused->total == 1 ? "" : "s");
		for (char *const *mistake = refused->mistakes; *mistake; mistake++)
			d->sink.take(d->sink.userdata, refused->name,
				     &(struct event){.kind = EVENT_REFUSED,
						     .message = *mistake,
						     .reason = *mistake});
	}
}

/* ---- what nobody needs any more -------------------------------------------------------------- */

static bool is_known(void *userdata, const char *id)
{
	return daemon_find_by_id(userdata, id) || find_refused(userdata, id);
}

/* Of generations and services that ended while no batond ran, wherever that one had its cgroups. */
static void remove_leftovers(struct daemon *d)
{
	const struct context *context = d->context;
	char pins_dir[BPFFS_PATH_MAX] = "";
	struct leftovers left;
	struct error err;

	/* Without the claim they are those of a batond in another container. */
	if (context->tiers.pins_fd < 0 || bpffs_folder(context->paths.name, pins_dir) <= 0)
		pins_dir[0] = '\0';
	if (leftovers_find(&context->paths, pins_dir, false, &left, &err) < 0) {
		log_warning("look for what an earlier batond has left: %s", err.text);
		return;
	}
	leftovers_keep(&left, context->cgroup_base, is_known, d);
	leftovers_remove(&left);
	for (size_t k = 0; k < left.n_items; k++) {
		const struct leftovers_item *item = &left.items[k];

		if (item->removed)
			log_debug("removed what an earlier batond has left: %s", item->path);
		else if (item->failed && item->kind == LEFTOVERS_CGROUP && item->of[0])
			removals_add(context->removals, item->path);
	}
	leftovers_done(&left);
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* Nobody takes them over, and so nobody waits for those that are late. */
static void let_go_unclaimed(struct daemon *d)
{
	for (size_t k = 0; k < d->found.n; k++) {
		const char *id = d->found.agents[k]->hello.service;

		if (daemon_find_by_id(d, id) || !is_unclaimed(d->found.agents[k]))
			continue;
		warn_unclaimed(d, id);
		takeover_let_go(&d->found, id);
	}
}

/* All agents have answered, or some are late: then only their services wait for them. */
static void begin(struct daemon *d)
{
	d->began = true;
	for (size_t k = 0; k < d->n_services && !d->options.single; k++)
		find_predecessor(d, d->services[k], &d->found);
	let_go_unclaimed(d);
	api_hold(d->api, false);
}

/* Something is not awaited any more, or is late. */
static void on_found(void *userdata)
{
	struct daemon *d = userdata;
	bool began = d->began;

	if (!began && takeover_is_early(&d->found))
		return;
	if (!began)
		begin(d);
	for (size_t k = 0; k < d->n_services; k++)
		if (d->services[k]->awaited &&
		    !takeover_is_waiting(&d->found, service_id(d->services[k])))
			take_over_or_start(d, d->services[k]);
	if (!takeover_is_waiting(&d->found, NULL)) {
		takeover_remove_leftovers(d->context, &d->found);
		takeover_list_done(&d->found);
		if (!d->swept)
			remove_leftovers(d);
		d->swept = true;
	}
	daemon_say_ready(d);
}

bool daemon_take_over(struct daemon *d, struct service *s)
{
	struct error err;

	if (!takeover_has(&d->found, service_id(s)) &&
	    takeover_find(&d->found, service_id(s), &err) < 0)
		log_error("%s: look for agents of an earlier batond: %s", s->config->name,
			  err.text);
	if (!takeover_has(&d->found, service_id(s)))
		return false;
	s->awaited = &d->found;
	return true;
}

void daemon_kill_awaited(struct daemon *d)
{
	for (size_t k = 0; k < d->n_services; k++)
		if (d->services[k]->awaited)
			takeover_kill(&d->found, service_id(d->services[k]));
}

void daemon_start(struct daemon *d)
{
	struct error err;

	tell_refused(d);
	/* What is told in the first moment would not be true in the next one. */
	api_hold(d->api, true);
	d->found =
		(struct takeover_list){.context = d->context, .on_change = on_found, .userdata = d};
	if (takeover_find(&d->found, NULL, &err) < 0)
		log_error("look for agents of an earlier batond: %s", err.text);
	for (size_t k = 0; k < d->n_services; k++)
		d->services[k]->awaited = &d->found;
	on_found(d);
}
