/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "common/log.h"
#include "orchestrator/daemon_internal.h"

void daemon_refuse(const struct refusal *refusal, struct api_problem *problem)
{
	const struct refusal_info *info = refusal_info(refusal->kind);

	problem->status = info->http_status;
	problem->code = (int)info->exit;
	problem->title = info->title;
	problem->detail = refusal->why;
}

struct service *daemon_find(struct daemon *d, const char *name)
{
	for (size_t k = 0; k < d->n_services; k++)
		if (strcmp(d->services[k]->config->name, name) == 0)
			return d->services[k];
	return NULL;
}

/* ---- services ------------------------------------------------------------------------------- */

bool daemon_is_idle(const struct daemon *d)
{
	for (size_t k = 0; k < d->n_services; k++)
		if (!service_is_idle(d->services[k]))
			return false;
	return true;
}

static bool all_started(struct daemon *d)
{
	for (size_t k = 0; k < d->n_services; k++)
		if (!d->services[k]->settled)
			return false;
	return true;
}

void daemon_end(struct daemon *d, int exit_status)
{
	if (d->exit_status == 0)
		d->exit_status = exit_status;
	sd_event_exit(d->context->event, 0);
}

bool daemon_leave(struct daemon *d)
{
	if (d->ending)
		return false;
	if (!d->leaving)
		log_info("leaving: servers and agents go on, and the next batond called \"%s\" "
			 "takes them over",
			 d->context->paths.name);
	d->leaving = true;
	sd_notify(0, "STOPPING=1");
	daemon_end(d, 0);
	return true;
}

/* A failed first start of `baton run`: said once, in full, and that is the end. */
static void end_single(struct daemon *d, const struct run_result *last)
{
	log_error("%s", last->reason);
	if (last->probe[0])
		log_error("last answer: %s", last->probe);
	daemon_end(d, last->exit);
}

static void say_ready(struct daemon *d)
{
	if (d->said_ready || !all_started(d))
		return;
	d->said_ready = true;
	if (d->config->n_refused > 0)
		sd_notifyf(0, "READY=1\nSTATUS=%zu of %zu services refused: baton status says why",
			   d->config->n_refused, d->config->n_refused + d->n_services);
	else
		sd_notify(0, "READY=1");
}

static bool any_deferred(const struct daemon *d)
{
	for (size_t k = 0; k < d->n_services; k++)
		if (d->services[k]->deferred)
			return true;
	return false;
}

static void on_service_end(void *userdata, struct service *s)
{
	struct daemon *d = userdata;

	say_ready(d);
	if (!d->ending && (any_deferred(d) || (s->shutting_down && service_is_idle(s))))
		sd_event_source_set_enabled(d->reap, SD_EVENT_ONESHOT);
	if (d->ending && daemon_is_idle(d))
		daemon_end(d, 0);
	else if (d->options.single && !d->ending && service_is_idle(s) &&
		 s->last.outcome != ROLLOUT_DONE)
		end_single(d, &s->last);
}

/* ---- names and ids -------------------------------------------------------------------------- */

static struct service *find_by_id(const struct daemon *d, const char *id)
{
	for (size_t k = 0; k < d->n_services; k++)
		if (strcmp(service_id(d->services[k]), id) == 0)
			return d->services[k];
	return NULL;
}

/* Does another service have @id, or has it had it under an earlier batond? */
static bool is_taken(const struct daemon *d, const char *id, const char *name)
{
	if (find_by_id(d, id))
		return true;
	for (size_t k = 0; k < d->config->n_services; k++) {
		const char *other = d->config->services[k].name;
		cleanup_free char *others = state_id(d->context->state, other);

		if (others && strcmp(other, name) != 0 && strcmp(others, id) == 0)
			return true;
	}
	return false;
}

/* The one that is noted; else its name; if another service has that, "web-2", "web-3" ... */
static int give_id(struct daemon *d, struct service_config *config, struct error *err)
{
	cleanup_free char *noted = state_id(d->context->state, config->name);
	char id[PROTOCOL_NAME_MAX];

	snprintf(id, sizeof(id), "%s", noted ? noted : config->name);
	for (unsigned n = 2; is_taken(d, id, config->name) && n <= CONFIG_SERVICES_MAX + 1; n++)
		snprintf(id, sizeof(id), "%.*s-%u", PROTOCOL_NAME_MAX - 8, config->name, n);
	if (strcmp(id, config->name) == 0)
		return 0;
	if (service_config_rename(config, config->name, id) < 0)
		return error_set(err, -ENOMEM, "service %s", config->name);
	return noted && strcmp(noted, id) == 0
		       ? 0
		       : state_set_id(d->context->state, config->name, id, err);
}

/* First it is noted: so a batond that takes over in between finds everything. */
int daemon_rename(struct daemon *d, struct service *s, const char *name, struct error *err)
{
	cleanup_free char *before = strdup(s->config->name);
	bool own = strcmp(service_id(s), name) == 0;
	struct error why;
	int r = before ? state_set_id(d->context->state, name, own ? NULL : service_id(s), err)
		       : error_set(err, -ENOMEM, "service %s", name);

	if (r < 0)
		return r;
	r = service_rename(s, name);
	if (r < 0)
		return error_set(err, r, "service %s", name);
	log_info("%s: is called %s from now on", before, name);
	if (state_set_id(d->context->state, before, NULL, &why) < 0)
		log_warning("%s: %s", before, why.text);
	return 0;
}

void daemon_forget_id(struct daemon *d, const struct service *s)
{
	struct error err;

	if (state_set_id(d->context->state, s->config->name, NULL, &err) < 0)
		log_warning("%s: %s", s->config->name, err.text);
}

int daemon_add_service(struct daemon *d, const struct service_config *config, struct error *err)
{
	struct service_config *copy = service_config_copy(config);
	struct service *s;
	int r;

	if (!copy)
		return error_set(err, -ENOMEM, "service %s", config->name);
	if (d->n_services == CONFIG_SERVICES_MAX) {
		service_config_free(copy);
		return error_text(err, -E2BIG,
				  "service %s: there is no room for more than %d services",
				  config->name, CONFIG_SERVICES_MAX);
	}
	r = give_id(d, copy, err);
	if (r < 0) {
		service_config_free(copy);
		return r;
	}
	r = service_new(d->context, copy, on_service_end, d, &s, err);
	if (r < 0)
		return r;
	d->services[d->n_services++] = s;
	return 0;
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

void daemon_tell_refused(struct daemon *d, const char *service, const char *why)
{
	log_error("%s: %s", service, why);
	d->sink.take(d->sink.userdata, service,
		     &(struct event){.kind = EVENT_REFUSED, .message = why, .reason = why});
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

bool daemon_take_over(struct daemon *d, struct service *s)
{
	struct takeover_list found = {};
	struct error err;
	bool done = false;

	if (takeover_find(d->context, service_id(s), &found, &err) < 0)
		log_error("%s: look for agents of an earlier batond: %s", s->config->name,
			  err.text);
	else
		done = take_over(d, s, &found);
	takeover_list_done(&found);
	return done;
}

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

static void start_service(struct daemon *d, struct service *s)
{
	const struct service_order order = {.type = SERVICE_ORDER_START};
	struct service_answer answer;
	struct refusal refusal = {};

	if (service_order(s, &order, &answer, &refusal) >= 0)
		return;
	service_refused(s, refusal.why.text);
	daemon_tell_refused(d, s->config->name, refusal.why.text);
	if (d->options.single && !service_retries(s))
		daemon_end(d, (int)refusal_info(refusal.kind)->exit);
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

		if (find_by_id(d, id) || find_refused(d, id) || !takeover_fits(agent, s->config) ||
		    !shares_an_address(agent, s->config))
			continue;
		if (state_set_id(d->context->state, s->config->name, id, &err) < 0)
			log_warning("%s: %s", s->config->name, err.text);
		if (service_succeed(s, id) >= 0)
			log_info("%s: it was called %s before: its instances are taken over",
				 s->config->name, id);
		return;
	}
}

static void warn_unclaimed(const struct daemon *d, const struct takeover_list *found)
{
	for (size_t k = 0; k < found->n; k++) {
		const struct report *hello = &found->agents[k]->hello;

		if (!found->agents[k]->link || takeover_unfit(found, hello->service))
			continue;
		if (find_refused(d, hello->service))
			log_warning("%s.%u.%u of an earlier batond (agent pid %d) goes on as it "
				    "is, and is taken over when the configuration of its service "
				    "is mended and reloaded",
				    hello->service, hello->generation, hello->instance,
				    (int)hello->agent_pid);
		else
			log_warning("%s.%u.%u of an earlier batond belongs to no service that is "
				    "configured, and is left alone: end it by SIGTERM to its "
				    "agent, pid %d",
				    hello->service, hello->generation, hello->instance,
				    (int)hello->agent_pid);
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

void daemon_start(struct daemon *d)
{
	struct takeover_list found = {};
	struct error err;

	tell_refused(d);
	if (takeover_find(d->context, NULL, &found, &err) < 0)
		log_error("look for agents of an earlier batond: %s", err.text);
	for (size_t k = 0; k < d->n_services && !d->options.single; k++)
		find_predecessor(d, d->services[k], &found);
	for (size_t k = 0; k < d->n_services; k++) {
		takeover_drain_orphans(d->context, d->services[k]->config, &found);
		if (take_over(d, d->services[k], &found))
			continue;
		/* "baton run": its command line is all that counts. */
		if (d->options.single)
			service_forget(d->services[k]);
		start_service(d, d->services[k]);
	}
	warn_unclaimed(d, &found);
	takeover_remove_leftovers(d->context, &found);
	takeover_list_done(&found);
	say_ready(d);
}
