/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/host/errand.h"
#include "orchestrator/daemon_internal.h"

/* What a reload has done, by name of service: for the answer. */
struct outcome {
	struct daemon *daemon;
	/* Arrays. */
	json_t *started, *changed, *waiting, *removed, *unchanged, *refused, *overridden, *renamed;
	json_t *rollouts; /* an object: those that have begun, by service */
};

static void outcome_init(struct outcome *outcome, struct daemon *d)
{
	*outcome = (struct outcome){
		.daemon = d,
		.started = json_array(),
		.changed = json_array(),
		.waiting = json_array(),
		.removed = json_array(),
		.unchanged = json_array(),
		.refused = json_array(),
		.rollouts = json_object(),
		.overridden = json_array(),
		.renamed = json_array(),
	};
}

static void outcome_done(struct outcome *outcome)
{
	json_t *parts[] = {outcome->started,  outcome->changed,    outcome->waiting,
			   outcome->removed,  outcome->unchanged,  outcome->refused,
			   outcome->rollouts, outcome->overridden, outcome->renamed};

	for (size_t k = 0; k < sizeof(parts) / sizeof(parts[0]); k++)
		json_decref(parts[k]);
}

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

static bool is_refused(const struct outcome *outcome, const char *name)
{
	const json_t *entry;
	size_t k;

	json_array_foreach (outcome->refused, k, entry)
		if (strcmp(json_string_value(json_object_get(entry, "service")), name) == 0)
			return true;
	return false;
}

/* It begins when it is its turn; its rollout has its number already. */
static void note_queued(struct outcome *outcome, const struct service *s,
			const struct service_answer *answer)
{
	note_with(outcome->waiting, s->config->name, answer->note);
	json_object_set_new(outcome->rollouts, s->config->name,
			    json_pack("{s:I, s:s}", "rollout", (json_int_t)answer->queued, "order",
				      order_info(SERVICE_ORDER_START)->name));
}

static void note_rollout(struct outcome *outcome, const struct service *s, const struct run *run)
{
	json_object_set_new(outcome->rollouts, s->config->name,
			    json_pack("{s:I, s:s}", "rollout", (json_int_t)run->id, "order",
				      run_order_name(run->order)));
}

/* ---- what is gone, and what has another name now --------------------------------------------- */

static bool is_gone(const struct service *s, const struct config *config)
{
	return !config_find(config, s->config->name) && !s->shutting_down;
}

/* Which of those that are gone serves an address of @wanted? NULL: none. */
static struct service *find_server(struct daemon *d, const struct config *config,
				   const struct service_config *wanted, const char **ret_address)
{
	for (size_t k = 0; k < d->n_services; k++) {
		struct service *s = d->services[k];

		if (!is_gone(s, config) || !s->current)
			continue;
		for (size_t j = 0; j < wanted->n_listen; j++) {
			*ret_address = wanted->listen[j].text;
			if (wiring_place(&s->wiring, &wanted->listen[j]) < WIRING_MAX)
				return s;
		}
	}
	return NULL;
}

/*
 * A service that has an address of one that is gone is that one, with another name: its rollout
 * takes it over without a gap. If it cannot, the old one goes on.
 */
static void rename_service(struct daemon *d, const struct config *config,
			   const struct service_config *wanted, struct outcome *outcome)
{
	const char *address = "";
	struct service *s = find_server(d, config, wanted, &address);
	char before[PROTOCOL_NAME_MAX];
	struct error err;

	if (!s)
		return;
	snprintf(before, sizeof(before), "%s", s->config->name);
	if (service_can_become(s, wanted, &err) >= 0 &&
	    daemon_rename(d, s, wanted->name, &err) >= 0) {
		json_array_append_new(outcome->renamed, json_pack("{s:s, s:s}", "service",
								  wanted->name, "before", before));
		return;
	}
	error_text(&err, -EBUSY, "%s has %s, and goes on: %.300s", before, address, err.text);
	refuse_service(outcome, wanted->name, err.text);
	s->kept = true;
}

static void rename_services(struct daemon *d, const struct config *config, struct outcome *outcome)
{
	for (size_t k = 0; k < d->n_services; k++)
		d->services[k]->kept = false;
	for (size_t k = 0; k < config->n_services; k++)
		if (!daemon_find(d, config->services[k].name))
			rename_service(d, config, &config->services[k], outcome);
}

/* ---- addresses that go from one service to another ------------------------------------------- */

/* Which other service has an address that @wanted is to have, and has not yet? NULL: none. */
static struct service *find_lender(struct daemon *d, const struct service_config *wanted,
				   const char **ret_address)
{
	const struct service *own = daemon_find(d, wanted->name);

	for (size_t k = 0; k < d->n_services; k++) {
		const struct service *s = d->services[k];

		if (s == own || s->shutting_down || !s->current)
			continue;
		for (size_t j = 0; j < wanted->n_listen; j++) {
			size_t place = wiring_place(&s->wiring, &wanted->listen[j]);

			*ret_address = wanted->listen[j].text;
			if (place < WIRING_MAX && !s->lending.borrowed[place] &&
			    !(own && service_has(own, &wanted->listen[j])))
				return d->services[k];
		}
	}
	return NULL;
}

/* Does the lender wait for another one, which waits for @wanted in the end? */
static bool is_exchange(struct daemon *d, const struct config *config,
			const struct service_config *wanted)
{
	const struct service_config *next = wanted;
	const char *address;

	for (size_t n = 0; next && n <= config->n_services; n++) {
		const struct service *lender = find_lender(d, next, &address);

		next = lender ? config_find(config, lender->config->name) : NULL;
		if (next == wanted)
			return true;
	}
	return false;
}

/* Which other service has an address that overlaps with one of @wanted, and is another one? */
static struct service *find_overlap(struct daemon *d, const struct service_config *wanted,
				    struct error *err)
{
	for (size_t k = 0; k < d->n_services; k++) {
		struct service *s = d->services[k];

		if (strcmp(s->config->name, wanted->name) == 0)
			continue;
		for (size_t j = 0; j < wanted->n_listen; j++) {
			const struct address *other = service_overlap(s, &wanted->listen[j]);

			if (!other)
				continue;
			error_text(
				err, -EBUSY,
				"%s overlaps with %s, which %s serves, and the kernel moves no "
				"connection between the two: stop that first (\"baton stop %s\"), "
				"and reload again",
				wanted->listen[j].text, other->text, s->config->name,
				s->config->name);
			return s;
		}
	}
	return NULL;
}

/* One that cannot take the place of another is refused, and the other one goes on as it is. */
static void refuse_overlaps(struct daemon *d, const struct config *config, struct outcome *outcome)
{
	for (size_t k = 0; k < config->n_services; k++) {
		const struct service_config *wanted = &config->services[k];
		struct error err;
		struct service *other = find_overlap(d, wanted, &err);

		if (!other)
			continue;
		refuse_service(outcome, wanted->name, err.text);
		other->kept = true;
		if (config_find(config, other->config->name) &&
		    !is_refused(outcome, other->config->name))
			refuse_service(outcome, other->config->name,
				       "it stays as it is: another service is to have its address, "
				       "and cannot take it over");
	}
}

/* What lends an address changes only when the other one serves there: until then it waits. */
static void defer_lenders(struct daemon *d, const struct config *config, struct outcome *outcome)
{
	for (size_t k = 0; k < d->n_services; k++)
		d->services[k]->deferred = false;
	for (size_t k = 0; k < config->n_services; k++) {
		const struct service_config *wanted = &config->services[k];
		const char *address;
		struct service *lender = find_lender(d, wanted, &address);
		struct error err;

		if (!lender)
			continue;
		lender->deferred = true;
		if (!is_exchange(d, config, wanted))
			continue;
		error_text(&err, -EBUSY,
			   "it exchanges addresses with another service, which has %s: each would "
			   "wait for the other; move one of them to a free address first",
			   address);
		refuse_service(outcome, wanted->name, err.text);
	}
}

static void note_waiting(const struct service *s, struct outcome *outcome)
{
	note_with(
		outcome->waiting, s->config->name,
		s->awaited
			? "what an earlier batond left of it is taken over first: its agents have "
			  "yet to answer"
			: "it changes when another service has taken over the address that it gives up");
}

/* The endpoints of @wanted that another service has are borrowed from it. */
static int borrow(struct daemon *d, struct service *s, const struct service_config *wanted,
		  struct error *err)
{
	const char *address;
	struct service *lender;
	int r = 0;

	while (r >= 0 && (lender = find_lender(d, wanted, &address)))
		r = service_lend(lender, s, wanted, err);
	return r;
}

static void remove_service(struct service *s, struct outcome *outcome)
{
	log_info("%s: no longer configured; it drains and stops", s->config->name);
	note(outcome->removed, s->config);
	service_shutdown(s, "the service is no longer configured");
}

static void remove_missing(struct daemon *d, const struct config *config, struct outcome *outcome)
{
	for (size_t k = 0; k < d->n_services; k++) {
		struct service *s = d->services[k];

		if (!is_gone(s, config) || s->kept)
			continue;
		if (s->deferred) {
			note_waiting(s, outcome);
			continue;
		}
		remove_service(s, outcome);
	}
	sd_event_source_set_enabled(d->reap, SD_EVENT_ONESHOT);
}

static void start_or_refuse(struct service *s, struct outcome *outcome)
{
	const struct service_order order = {.type = SERVICE_ORDER_START};
	struct service_answer answer;
	struct refusal refusal = {};

	if (service_order(s, &order, &answer, &refusal) >= 0) {
		if (answer.queued) {
			note_queued(outcome, s, &answer);
			return;
		}
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

static void change_service(struct daemon *d, struct service *s, const struct service_config *config,
			   struct outcome *outcome)
{
	struct service_config *copy;
	struct error err;

	if (s->shutting_down) {
		refuse_service(outcome, config->name,
			       "it is still being removed; reload again when it is gone");
		return;
	}
	if (s->current && borrow(d, s, config, &err) < 0) {
		refuse_service(outcome, config->name, err.text);
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
	struct error err;

	if (daemon_take_over(d, s)) {
		s->deferred = true;
		note_waiting(s, outcome);
	} else if (borrow(d, s, config, &err) < 0) {
		service_refused(s, err.text);
		refuse_service(outcome, config->name, err.text);
	} else {
		start_or_refuse(s, outcome);
	}
}

static void apply(struct daemon *d, const struct config *config, struct outcome *outcome)
{
	rename_services(d, config, outcome);
	refuse_overlaps(d, config, outcome);
	defer_lenders(d, config, outcome);
	remove_missing(d, config, outcome);
	for (size_t k = 0; k < config->n_services; k++) {
		const struct service_config *wanted = &config->services[k];
		struct service *s = daemon_find(d, wanted->name);
		struct error err;

		if (is_refused(outcome, wanted->name))
			continue;
		if (s && s->awaited && !s->shutting_down)
			s->deferred = true;
		if (s && s->deferred)
			note_waiting(s, outcome);
		else if (s)
			change_service(d, s, wanted, outcome);
		else if (daemon_add_service(d, wanted, &err) < 0)
			refuse_service(outcome, wanted->name, err.text);
		else
			begin_service(d, wanted, outcome);
	}
	sd_event_source_set_enabled(d->reap, SD_EVENT_ONESHOT);
}

/* ---- afterwards ------------------------------------------------------------------------------ */

/* Who was to take over an address of @lender, and has not? NULL: it lends nothing any more. */
static const struct service_config *find_borrower(struct daemon *d, const struct service *lender,
						  const char **ret_address)
{
	for (size_t k = 0; k < d->config->n_services; k++)
		if (find_lender(d, &d->config->services[k], ret_address) == lender)
			return &d->config->services[k];
	return NULL;
}

static void resume(struct daemon *d, struct service *s, struct outcome *outcome)
{
	const struct service_config *wanted = config_find(d->config, s->config->name);
	const char *address = "";
	const struct service_config *other = find_borrower(d, s, &address);
	const struct service *borrower = other ? daemon_find(d, other->name) : NULL;
	struct error err;

	if (s->awaited || service_lends(s) ||
	    (borrower && service_undecided_run((struct service *)borrower)))
		return;
	s->deferred = false;
	if (other) {
		error_text(&err, -EBUSY,
			   "it stays as it is: %s has not taken over %s; once that is mended, "
			   "reload again",
			   other->name, address);
		daemon_tell_refused(d, s->config->name, err.text);
	} else if (wanted) {
		change_service(d, s, wanted, outcome);
	} else {
		remove_service(s, outcome);
	}
}

void daemon_resume_reload(struct daemon *d)
{
	struct outcome outcome;

	outcome_init(&outcome, d);
	for (size_t k = 0; k < d->n_services; k++)
		if (d->services[k]->deferred)
			resume(d, d->services[k], &outcome);
	outcome_done(&outcome);
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
	return json_pack("{s:O, s:O, s:O, s:O, s:O, s:O, s:O, s:O, s:O, s:o}", "started",
			 outcome->started, "changed", outcome->changed, "waiting", outcome->waiting,
			 "removed", outcome->removed, "unchanged", outcome->unchanged, "refused",
			 outcome->refused, "overridden", outcome->overridden, "renamed",
			 outcome->renamed, "rollouts", outcome->rollouts, "message", message);
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

/* Who may read by the API; whoever may not any more is sent away, who has asked for this included.
 */
static void set_group(struct daemon *d)
{
	struct error err;

	if (api_set_group(d->api, daemon_api_group(d), &err) < 0)
		log_error("%s: who may read by the API stays as it was", err.text);
}

/* NULL with @problem filled if everything stays as it is. */
static json_t *reload(struct daemon *d, struct api_problem *problem)
{
	static struct config_mistakes mistakes;
	struct config *config = NULL;
	struct outcome outcome;
	json_t *json;

	if (config_load(d->options.config_file, d->options.dropins, &config, &mistakes) < 0) {
		refuse_configuration(&mistakes, problem);
		return NULL;
	}
	outcome_init(&outcome, d);
	daemon_set_rollouts_max(d, config);
	apply(d, config, &outcome);
	config_free(d->config);
	d->config = config;
	set_group(d);
	json = outcome_json(d, &outcome);
	outcome_done(&outcome);
	return json;
}

/* ---- by a helper first ----------------------------------------------------------------------- */

static void look_at_new(struct daemon *d, const struct service_config *config)
{
	uint32_t number = state_generation(d->context->state, service_config_id(config)) + 1;
	cleanup_free char *noted = state_id(d->context->state, config->name);
	struct release *release = NULL;
	struct error err;

	service_look_at_history(d->context, noted ? noted : config->name);
	if (release_resolve(config, number, NULL, NULL, &release, &err) >= 0)
		release_free(release);
}

/* All that reload() will ask. */
static void look(void *userdata)
{
	static struct config_mistakes mistakes;
	struct config *config = NULL;
	struct daemon *d = userdata;

	if (config_load(d->options.config_file, d->options.dropins, &config, &mistakes) < 0)
		return;
	for (size_t k = 0; k < config->n_services; k++) {
		struct service *s = daemon_find(d, config->services[k].name);

		if (s)
			service_look_at(s, &config->services[k]);
		else
			look_at_new(d, &config->services[k]);
	}
}

static void refuse_reload(enum refusal_kind kind, const char *why, struct api_problem *problem)
{
	struct refusal refusal = {};

	error_text(&refusal.why, -EAGAIN, "%s", why);
	refuse(&refusal, kind);
	daemon_refuse(&refusal, problem);
	log_error("%s", why);
	log_error("reload refused: everything stays as it is");
}

static void on_seen(void *userdata, int r, const struct error *why)
{
	struct daemon *d = userdata;
	struct api_reply *reply = TAKE_PTR(d->reloads);
	struct api_problem problem = {};
	json_t *json = NULL;

	d->reading = NULL;
	if (r < 0)
		refuse_reload(REFUSAL_CANNOT_RELOAD, why->text, &problem);
	else if (d->ending)
		refuse_reload(REFUSAL_CANNOT_RELOAD, "batond is shutting down", &problem);
	else
		json = reload(d, &problem);
	/* sd_notify(3): a reload is over when READY=1 follows. */
	if (!d->ending)
		sd_notify(0, "READY=1");
	if (reply)
		api_reply_send(reply, json, &problem);
	else
		json_decref(json);
	api_problem_done(&problem);
	if (d->reload_again && !d->ending)
		(void)daemon_reload(d, NULL, &problem);
	d->reload_again = false;
	api_problem_done(&problem);
}

bool daemon_reload(struct daemon *d, struct api_reply *reply, struct api_problem *problem)
{
	struct errand_spec spec = {.look = look, .on_seen = on_seen, .userdata = d};
	struct error err;

	if (d->reading) {
		refuse_reload(REFUSAL_BUSY,
			      "the configuration is being read already; wait until that has ended",
			      problem);
		return false;
	}
	if (errand_start(d->context->event, &spec, &d->reading, &err) < 0) {
		refuse_reload(REFUSAL_CANNOT_RELOAD, err.text, problem);
		return false;
	}
	d->reloads = reply;
	/* Without MONOTONIC_USEC systemd waits. */
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
		   (unsigned long long)clock_monotonic_ms() * 1000);
	return true;
}
