/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <systemd/sd-daemon.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/daemon_internal.h"

/* What a reload has done, by name of service: for the answer. */
struct outcome {
	struct daemon *daemon;
	/* Arrays. */
	json_t *started, *changed, *waiting, *removed, *unchanged, *refused, *overridden;
	json_t *rollouts; /* an object: those that have begun, by service */
};

static void note(json_t *array, const struct service_config *config)
{
	json_array_append_new(array, json_string(config->name));
}

static void note_with(json_t *array, const char *name, const char *detail)
{
	json_array_append_new(array, json_pack("{s:s, s:s}", "service", name, "detail", detail));
}

static void refuse_service(struct outcome *outcome, const char *name, const char *why)
{
	daemon_tell_refused(outcome->daemon, name, why);
	note_with(outcome->refused, name, why);
}

static void note_rollout(struct outcome *outcome, const struct service *s, const struct run *run)
{
	json_object_set_new(outcome->rollouts, s->config->name,
			    json_pack("{s:I, s:s}", "rollout", (json_int_t)run->id, "order",
				      run_order_name(run->order)));
}

static void remove_missing(struct daemon *d, const struct config *config, struct outcome *outcome)
{
	for (size_t k = 0; k < d->n_services; k++) {
		struct service *s = d->services[k];

		if (config_find(config, s->config->name) || s->shutting_down)
			continue;
		log_info("%s: no longer configured; it drains and stops", s->config->name);
		note(outcome->removed, s->config);
		service_shutdown(s, "the service is no longer configured");
	}
	sd_event_source_set_enabled(d->reap, SD_EVENT_ONESHOT);
}

static void start_or_refuse(struct service *s, struct outcome *outcome)
{
	const struct service_order order = {.type = SERVICE_ORDER_START};
	struct service_answer answer;
	struct refusal refusal = {};

	if (service_order(s, &order, &answer, &refusal) >= 0) {
		note(outcome->started, s->config);
		if (answer.run)
			note_rollout(outcome, s, answer.run);
		return;
	}
	service_refused(s, refusal.why.text);
	refuse_service(outcome, s->config->name, refusal.why.text);
}

/* Only what has begun is said to be changed. */
static void order_change(struct service *s, enum service_order_type order, struct outcome *outcome)
{
	const char *name = s->config->name;
	struct service_answer answer;
	struct refusal refusal = {};
	int r = service_order_now(s, order, &answer, &refusal);

	if (r < 0) {
		refuse_service(outcome, name, refusal.why.text);
	} else if (r > 0) {
		note_with(outcome->waiting, name, answer.message);
	} else if (!answer.run) {
		note(outcome->unchanged, s->config);
	} else {
		note(outcome->changed, s->config);
		note_rollout(outcome, s, answer.run);
	}
}

/* One that was there, and is to be as @config says. */
static void reconfigure_service(struct service *s, struct service_config *config,
				struct outcome *outcome)
{
	enum service_order_type order;
	struct error err;
	int r = service_reconfigure(s, config, &order, &err);

	if (r >= 0 && s->history.overridden[0])
		note_with(outcome->overridden, s->config->name, s->history.overridden);
	if (r < 0) {
		refuse_service(outcome, s->config->name, err.text);
	} else if (r > 0) {
		order_change(s, order, outcome);
	} else if (service_has_failed(s)) {
		start_or_refuse(s, outcome);
	} else {
		note(outcome->unchanged, s->config);
	}
}

static void change_service(struct service *s, const struct service_config *config,
			   struct outcome *outcome)
{
	struct service_config *copy;

	if (s->shutting_down) {
		refuse_service(outcome, config->name,
			       "it is still being removed; reload again when it is gone");
		return;
	}
	copy = service_config_copy(config);
	if (copy)
		reconfigure_service(s, copy, outcome);
	else
		refuse_service(outcome, config->name, "out of memory");
}

/* It may be that an earlier batond has left it running, and that this one did not know it. */
static void begin_service(struct daemon *d, const struct service_config *config,
			  struct outcome *outcome)
{
	struct service *s = d->services[d->n_services - 1];

	if (daemon_take_over(d, s))
		change_service(s, config, outcome);
	else
		start_or_refuse(s, outcome);
}

static void apply(struct daemon *d, const struct config *config, struct outcome *outcome)
{
	remove_missing(d, config, outcome);
	for (size_t k = 0; k < config->n_services; k++) {
		const struct service_config *wanted = &config->services[k];
		struct service *s = daemon_find(d, wanted->name);
		struct error err;

		if (s)
			change_service(s, wanted, outcome);
		else if (daemon_add_service(d, wanted, &err) < 0)
			refuse_service(outcome, wanted->name, err.text);
		else
			begin_service(d, wanted, outcome);
	}
}

static json_t *outcome_json(struct daemon *d, struct outcome *outcome)
{
	json_t *message = json_sprintf(
		"%zu started, %zu changed, %zu waiting, %zu removed, %zu unchanged, %zu refused",
		json_array_size(outcome->started), json_array_size(outcome->changed),
		json_array_size(outcome->waiting), json_array_size(outcome->removed),
		json_array_size(outcome->unchanged), json_array_size(outcome->refused));

	log_info("configuration re-read: %s", json_string_value(message));
	d->sink.take(
		d->sink.userdata, "",
		&(struct event){.kind = EVENT_RELOADED, .message = json_string_value(message)});
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "started",
			 outcome->started, "changed", outcome->changed, "waiting", outcome->waiting,
			 "removed", outcome->removed, "unchanged", outcome->unchanged, "refused",
			 outcome->refused, "overridden", outcome->overridden, "rollouts",
			 outcome->rollouts, "message", message);
}

static void refuse_configuration(const struct config_mistakes *mistakes,
				 struct api_problem *problem)
{
	struct refusal refusal = {};

	refuse(&refusal, REFUSAL_BAD_CONFIGURATION);
	error_text(&refusal.why, -EINVAL, "%s",
		   mistakes->n > 0 ? mistakes->list[0].text : "out of memory");
	daemon_refuse(&refusal, problem);
	problem->mistakes = json_array();
	for (size_t k = 0; k < mistakes->n; k++) {
		log_error("%s", mistakes->list[k].text);
		json_array_append_new(problem->mistakes, json_string(mistakes->list[k].text));
	}
	log_error("reload refused: everything stays as it is");
}

/* NULL with @problem filled if everything stays as it is. */
static json_t *reload(struct daemon *d, struct api_problem *problem)
{
	static struct config_mistakes mistakes;
	struct config *config = NULL;
	struct outcome outcome;

	if (config_load(d->options.config_file, d->options.dropins, &config, &mistakes) < 0) {
		refuse_configuration(&mistakes, problem);
		return NULL;
	}
	outcome = (struct outcome){
		.daemon = d,
		.started = json_array(),
		.changed = json_array(),
		.waiting = json_array(),
		.removed = json_array(),
		.unchanged = json_array(),
		.refused = json_array(),
		.rollouts = json_object(),
		.overridden = json_array(),
	};
	apply(d, config, &outcome);
	config_free(d->config);
	d->config = config;
	return outcome_json(d, &outcome);
}

/* sd_notify(3): a reload is over when READY=1 follows; without MONOTONIC_USEC systemd waits. */
json_t *daemon_reload(struct daemon *d, struct api_problem *problem)
{
	json_t *json;

	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
		   (unsigned long long)clock_monotonic_ms() * 1000);
	json = reload(d, problem);
	sd_notify(0, "READY=1");
	return json;
}
