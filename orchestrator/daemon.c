/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "common/clock.h"
#include "common/duration.h"
#include "common/log.h"
#include "orchestrator/api/api.h"
#include "orchestrator/view/connection_list.h"
#include "orchestrator/service/service.h"
#include "orchestrator/view/status.h"

struct daemon {
	struct context *context;
	struct config *config;
	struct daemon_options options;
	struct api *api;
	struct service *services[CONFIG_SERVICES_MAX];
	size_t n_services;
	sd_event_source *reap; /* removed services are freed from the top of the loop */
	bool said_ready;
	bool ending;
	int exit_status;
};

static struct service *find(struct daemon *d, const char *name)
{
	for (size_t k = 0; k < d->n_services; k++)
		if (strcmp(d->services[k]->config->name, name) == 0)
			return d->services[k];
	return NULL;
}

/* ---- what the API asks ---------------------------------------------------------------------- */

static json_t *api_list(void *userdata)
{
	struct daemon *d = userdata;
	json_t *array = json_array();

	for (size_t k = 0; k < d->n_services; k++)
		json_array_append_new(array, status_service(d->services[k]));
	return json_pack("{s:o}", "services", array);
}

static struct service *find_or_refuse(struct daemon *d, const char *name,
				      struct api_problem *problem)
{
	struct service *s = find(d, name);
	char known[256] = "";
	size_t n = 0;

	if (s)
		return s;
	for (size_t k = 0; k < d->n_services && n < sizeof(known); k++)
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", k ? ", " : "",
				      d->services[k]->config->name);
	problem->status = 404;
	problem->code = 1;
	problem->title = "No such service";
	error_text(&problem->detail, -ENOENT, "no service is called \"%s\" (there is: %s)", name,
		   d->n_services ? known : "none");
	return NULL;
}

static json_t *api_get(void *userdata, const char *service, struct api_problem *problem)
{
	struct service *s = find_or_refuse(userdata, service, problem);

	return s ? status_service(s) : NULL;
}

static json_t *api_connections(void *userdata, const char *service, size_t limit,
			       struct api_problem *problem)
{
	struct service *s = find_or_refuse(userdata, service, problem);
	json_t *json = s ? connection_list(s, limit, &problem->detail) : NULL;

	if (s && !json) {
		problem->status = 500;
		problem->code = 1;
		problem->title = "Cannot look at the connections";
	}
	return json;
}

/* "pause" and "resume" are done at once. */
static json_t *pause_order(struct service *s, bool on, struct api_problem *problem)
{
	char limit[DURATION_TEXT_MAX], what[96];
	int r = service_pause(s, on, &problem->detail);

	if (r < 0) {
		problem->status = 409;
		problem->code = 1;
		problem->title = on ? "Cannot pause" : "Cannot resume";
		return NULL;
	}
	if (on)
		snprintf(what, sizeof(what), "new connections wait, up to %s each",
			 duration_format(service_hold_ms(s), limit));
	else
		snprintf(what, sizeof(what), "new connections are served");
	if (r > 0)
		service_event(s, on ? "paused" : "resumed", json_pack("{s:s}", "message", what));
	return json_pack("{s:s, s:b, s:o}", "service", s->config->name, "paused", s->paused,
			 "message", json_sprintf("%s: %s", on ? "paused" : "resumed", what));
}

static json_t *answer_json(const struct service *s, const char *order,
			   const struct service_answer *answer)
{
	json_t *json;

	if (answer->run) {
		json = run_json(answer->run);
	} else if (answer->queued) {
		json = json_pack("{s:I, s:s, s:n, s:n, s:i}", "rollout", (json_int_t)answer->queued,
				 "order", order, "generation", "replaces", "elapsed_ms", 0);
	} else {
		json = json_pack("{s:s}", "message", answer->message);
		if (answer->unchanged)
			json_object_set_new(json, "unchanged", json_true());
	}
	if (answer->supersedes)
		json_object_set_new(json, "supersedes", json_integer(answer->supersedes));
	json_object_set_new(json, "service", json_string(s->config->name));
	return json;
}

static json_t *api_order(void *userdata, const char *service, const char *order, const json_t *body,
			 struct api_problem *problem)
{
	struct daemon *d = userdata;
	struct service *s = find_or_refuse(d, service, problem);
	uint64_t seq = events_last(d->context->events);
	struct service_answer answer;
	json_t *json;

	if (!s)
		return NULL;
	if (strcmp(order, "pause") == 0 || strcmp(order, "resume") == 0)
		return pause_order(s, order[0] == 'p', problem);
	if (service_order(s, order, body, &answer, problem) < 0)
		return NULL;
	json = answer_json(s, order, &answer);
	if (answer.run || answer.queued)
		json_object_set_new(json, "seq", json_integer((json_int_t)seq));
	return json;
}

static json_t *api_version(void *userdata)
{
	struct daemon *d = userdata;

	return json_pack("{s:s, s:s, s:I}", "name", d->context->paths.name, "version",
			 BATON_VERSION, "pid", (json_int_t)getpid());
}

static json_t *api_reload(void *userdata, struct api_problem *problem);

static const struct api_backend backend = {
	.list = api_list,
	.get = api_get,
	.connections = api_connections,
	.order = api_order,
	.reload = api_reload,
	.version = api_version,
};

/* ---- services ------------------------------------------------------------------------------- */

static bool all_idle(const struct daemon *d)
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

static void end(struct daemon *d, int exit_status)
{
	if (d->exit_status == 0)
		d->exit_status = exit_status;
	sd_event_exit(d->context->event, 0);
}

/* A failed first start of `baton run`: said once, in full, and that is the end. */
static void end_single(struct daemon *d, const struct run_result *last)
{
	log_error("%s", last->reason);
	if (last->probe[0])
		log_error("last answer: %s", last->probe);
	end(d, last->exit);
}

static void say_ready(struct daemon *d)
{
	if (d->said_ready || !all_started(d))
		return;
	d->said_ready = true;
	sd_notify(0, "READY=1");
}

static void on_service_end(void *userdata, struct service *s)
{
	struct daemon *d = userdata;

	say_ready(d);
	if (s->shutting_down && !d->ending && service_is_idle(s))
		sd_event_source_set_enabled(d->reap, SD_EVENT_ONESHOT);
	if (d->ending && all_idle(d))
		end(d, 0);
	else if (d->options.single && !d->ending && service_is_idle(s) &&
		 s->last.outcome != ROLLOUT_DONE)
		end_single(d, &s->last);
}

static void order_or_log(struct service *s, const char *order)
{
	struct api_problem problem = {};
	struct service_answer answer;

	if (service_order(s, order, NULL, &answer, &problem) < 0)
		log_error("%s: %s: %s", s->config->name, order, problem.detail.text);
}

static int add_service(struct daemon *d, const struct service_config *config, struct error *err)
{
	struct service_config *copy = service_config_copy(config);
	struct service *s;
	int r;

	if (!copy)
		return error_set(err, -ENOMEM, "service %s", config->name);
	if (d->n_services == CONFIG_SERVICES_MAX) {
		service_config_free(copy);
		return error_text(err, -E2BIG, "more than %d services", CONFIG_SERVICES_MAX);
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
		if (strcmp(found->agents[k]->hello.service, s->config->name) != 0)
			continue;
		if (n++ == 0)
			*ret_first = k;
	}
	return n;
}

/* Does something serve already? */
static bool adopt(struct service *s, const struct takeover_list *found)
{
	size_t first = 0, n = agents_of(found, s, &first);
	struct error err;
	int r;

	for (size_t k = first; k < first + n; k++) {
		if (takeover_fits(found->agents[k], s->config))
			continue;
		log_warning("%s: an instance of an earlier batond (agent pid %d) has another "
			    "\"listen\" or \"user\" than the configuration now says",
			    s->config->name, (int)found->agents[k]->hello.agent_pid);
		return false;
	}
	if (n == 0)
		return false;
	r = service_take_over(s, found->agents + first, n, &err);
	if (r < 0) {
		log_error("%s: what an earlier batond left cannot be taken over: %s",
			  s->config->name, err.text);
		service_refused(s, err.text);
	}
	/* Where it cannot be taken over it goes on as it is: starting another would not help it. */
	return r != 0;
}

static void start_service(struct daemon *d, struct service *s)
{
	struct api_problem problem = {};
	struct service_answer answer;

	if (service_order(s, "start", NULL, &answer, &problem) >= 0)
		return;
	log_error("%s: %s", s->config->name, problem.detail.text);
	service_refused(s, problem.detail.text);
	if (d->options.single)
		end(d, problem.code);
}

static void warn_unclaimed(const struct takeover_list *found)
{
	for (size_t k = 0; k < found->n; k++)
		if (found->agents[k]->link)
			log_warning(
				"%s.%u.%u of an earlier batond is not configured any more and is "
				"left alone: end it by SIGTERM to its agent, pid %d",
				found->agents[k]->hello.service, found->agents[k]->hello.generation,
				found->agents[k]->hello.instance,
				(int)found->agents[k]->hello.agent_pid);
}

void daemon_start(struct daemon *d)
{
	struct takeover_list found = {};
	struct error err;

	if (takeover_find(d->context, &found, &err) < 0)
		log_error("look for agents of an earlier batond: %s", err.text);
	for (size_t k = 0; k < d->n_services; k++) {
		takeover_drain_orphans(d->context, d->services[k]->config, &found);
		if (!adopt(d->services[k], &found))
			start_service(d, d->services[k]);
	}
	warn_unclaimed(&found);
	takeover_list_done(&found);
	say_ready(d);
}

/* ---- reload --------------------------------------------------------------------------------- */

/* Free the services that a reload has removed and that have ended. */
static int on_reap(sd_event_source *source, void *userdata)
{
	struct daemon *d = userdata;
	size_t kept = 0;

	(void)source;
	for (size_t k = 0; k < d->n_services; k++) {
		struct service *s = d->services[k];

		if (s->shutting_down && service_is_idle(s)) {
			log_info("%s: removed", s->config->name);
			service_free(s);
		} else {
			d->services[kept++] = s;
		}
	}
	d->n_services = kept;
	return 0;
}

/* What a reload has done, by name of service: arrays for the answer. */
struct outcome {
	json_t *started, *changed, *removed, *unchanged, *refused;
};

static void note(json_t *array, const struct service_config *config)
{
	json_array_append_new(array, json_string(config->name));
}

static void refuse_service(struct outcome *outcome, const char *name, const char *why)
{
	log_error("%s: %s", name, why);
	json_array_append_new(outcome->refused,
			      json_pack("{s:s, s:s}", "service", name, "detail", why));
}

static void remove_missing(struct daemon *d, const struct config *config, struct outcome *outcome)
{
	for (size_t k = 0; k < d->n_services; k++) {
		struct service *s = d->services[k];

		if (config_find(config, s->config->name) || s->shutting_down)
			continue;
		log_info("%s: no longer configured; it drains and stops", s->config->name);
		note(outcome->removed, s->config);
		service_shutdown(s);
	}
	sd_event_source_set_enabled(d->reap, SD_EVENT_ONESHOT);
}

static void start_or_refuse(struct service *s, struct outcome *outcome)
{
	struct api_problem problem = {};
	struct service_answer answer;

	if (service_order(s, "start", NULL, &answer, &problem) >= 0) {
		note(outcome->started, s->config);
		return;
	}
	service_refused(s, problem.detail.text);
	refuse_service(outcome, s->config->name, problem.detail.text);
}

static void change_service(struct service *s, const struct service_config *config,
			   struct outcome *outcome)
{
	struct service_config *copy = service_config_copy(config);
	const char *order;
	struct error err;

	if (!copy) {
		refuse_service(outcome, config->name, "out of memory");
	} else if (s->shutting_down) {
		refuse_service(outcome, config->name,
			       "it is still being removed; reload again when it is gone");
		service_config_free(copy);
	} else if (service_reconfigure(s, copy, &order, &err) < 0) {
		refuse_service(outcome, config->name, err.text);
	} else if (order) {
		note(outcome->changed, s->config);
		service_order_later(s, order);
	} else if (service_has_failed(s)) {
		start_or_refuse(s, outcome);
	} else {
		note(outcome->unchanged, s->config);
	}
}

static void apply(struct daemon *d, const struct config *config, struct outcome *outcome)
{
	remove_missing(d, config, outcome);
	for (size_t k = 0; k < config->n_services; k++) {
		const struct service_config *wanted = &config->services[k];
		struct service *s = find(d, wanted->name);
		struct error err;

		if (s)
			change_service(s, wanted, outcome);
		else if (add_service(d, wanted, &err) < 0)
			refuse_service(outcome, wanted->name, err.text);
		else
			start_or_refuse(d->services[d->n_services - 1], outcome);
	}
}

static json_t *outcome_json(struct daemon *d, struct outcome *outcome)
{
	json_t *message =
		json_sprintf("%zu started, %zu changed, %zu removed, %zu unchanged, %zu refused",
			     json_array_size(outcome->started), json_array_size(outcome->changed),
			     json_array_size(outcome->removed), json_array_size(outcome->unchanged),
			     json_array_size(outcome->refused));

	log_info("configuration re-read: %s", json_string_value(message));
	events_add(d->context->events, clock_realtime_ms(), "", "reloaded",
		   json_pack("{s:O}", "message", message));
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "started", outcome->started, "changed",
			 outcome->changed, "removed", outcome->removed, "unchanged",
			 outcome->unchanged, "refused", outcome->refused, "message", message);
}

/* NULL with @problem filled where everything stays as it is. */
static json_t *reload(struct daemon *d, struct api_problem *problem)
{
	static struct config_mistakes mistakes;
	struct config *config = NULL;
	struct outcome outcome;

	if (config_load(d->options.config_file, d->options.dropins, &config, &mistakes) < 0) {
		problem->status = 422;
		problem->code = 1;
		problem->title = "The configuration has mistakes: everything stays as it is";
		problem->mistakes = json_array();
		for (size_t k = 0; k < mistakes.n; k++) {
			log_error("%s", mistakes.list[k].text);
			json_array_append_new(problem->mistakes,
					      json_string(mistakes.list[k].text));
		}
		error_text(&problem->detail, -EINVAL, "%s",
			   mistakes.n > 0 ? mistakes.list[0].text : "out of memory");
		log_error("reload refused: everything stays as it is");
		return NULL;
	}
	outcome = (struct outcome){
		.started = json_array(),
		.changed = json_array(),
		.removed = json_array(),
		.unchanged = json_array(),
		.refused = json_array(),
	};
	apply(d, config, &outcome);
	config_free(d->config);
	d->config = config;
	return outcome_json(d, &outcome);
}

/* sd_notify(3): a reload is over when READY=1 follows; without MONOTONIC_USEC systemd waits. */
static json_t *reload_and_tell(struct daemon *d, struct api_problem *problem)
{
	json_t *json;

	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
		   (unsigned long long)clock_monotonic_ms() * 1000);
	json = reload(d, problem);
	sd_notify(0, "READY=1");
	return json;
}

static json_t *api_reload(void *userdata, struct api_problem *problem)
{
	struct daemon *d = userdata;

	if (!d->options.single && !d->ending)
		return reload_and_tell(d, problem);
	problem->status = 409;
	problem->code = 1;
	problem->title = "Cannot reload";
	error_text(&problem->detail, -EINVAL, "%s",
		   d->ending ? "batond is shutting down"
			     : "\"baton run\" has no configuration file (baton restart replaces "
			       "the service)");
	return NULL;
}

/* ---- signals -------------------------------------------------------------------------------- */

static int on_hup(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct api_problem problem = {};
	struct daemon *d = userdata;

	(void)source;
	(void)info;
	if (d->ending)
		return 0;
	if (d->options.single)
		order_or_log(d->services[0], "restart");
	else
		json_decref(reload_and_tell(d, &problem));
	api_problem_done(&problem);
	return 0;
}

static int on_terminate(sd_event_source *source, const struct signalfd_siginfo *info,
			void *userdata)
{
	struct daemon *d = userdata;

	(void)source;
	(void)info;
	if (d->ending) {
		log_warning("second signal: everything is killed");
		for (size_t k = 0; k < d->n_services; k++)
			service_kill(d->services[k]);
		end(d, 0);
		return 0;
	}
	d->ending = true;
	sd_notify(0, "STOPPING=1");
	log_info("stopping: every service drains");
	for (size_t k = 0; k < d->n_services; k++)
		service_shutdown(d->services[k]);
	if (all_idle(d))
		end(d, 0);
	return 0;
}

/* ---- life ----------------------------------------------------------------------------------- */

static int watch_signals(struct daemon *d, struct error *err)
{
	static const struct {
		int signal;
		sd_event_signal_handler_t handler;
	} signals[] = {{SIGHUP, on_hup}, {SIGTERM, on_terminate}, {SIGINT, on_terminate}};

	for (size_t k = 0; k < sizeof(signals) / sizeof(signals[0]); k++) {
		int r = sd_event_add_signal(d->context->event, NULL, signals[k].signal,
					    signals[k].handler, d);

		if (r < 0)
			return error_set(err, r, "watch signal %d", signals[k].signal);
	}
	return 0;
}

int daemon_new(struct context *context, struct config *config, const struct daemon_options *options,
	       struct daemon **ret, struct error *err)
{
	cleanup(daemon_free) struct daemon *d = calloc(1, sizeof(*d));
	int r;

	if (!d) {
		config_free(config);
		return error_set(err, -ENOMEM, "daemon");
	}
	d->context = context;
	d->config = config;
	d->options = *options;
	for (size_t k = 0; k < config->n_services; k++) {
		r = add_service(d, &config->services[k], err);
		if (r < 0)
			return r;
	}
	r = sd_event_add_defer(context->event, &d->reap, on_reap, d);
	if (r < 0)
		return error_set(err, r, "event loop");
	sd_event_source_set_enabled(d->reap, SD_EVENT_OFF);
	r = watch_signals(d, err);
	if (r < 0)
		return r;
	r = api_open(context->event, context->paths.api_socket,
		     config->api_group ? config->api_gid : (gid_t)-1, context->events, &backend, d,
		     &d->api, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(d);
	return 0;
}

void daemon_free(struct daemon *d)
{
	if (!d)
		return;
	api_free(d->api);
	for (size_t k = 0; k < d->n_services; k++)
		service_free(d->services[k]);
	sd_event_source_disable_unref(d->reap);
	config_free(d->config);
	free(d);
}

int daemon_exit_status(const struct daemon *d)
{
	return d->exit_status;
}
