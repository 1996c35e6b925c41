/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/json_memory.h"
#include "orchestrator/daemon_internal.h"
#include "orchestrator/host/errand.h"
#include "orchestrator/host/sight.h"
#include "orchestrator/steer/steer.h"
#include "orchestrator/view/view.h"

static json_t *api_list(void *userdata)
{
	struct daemon *d = userdata;
	json_t *array = json_array();

	/* One look at the kernel for all of them, but what is true now. */
	inspect_forget(d->context->inspect);
	diag_remember(d->context->diag);
	for (size_t k = 0; k < d->n_services; k++)
		json_array_append_new(array, status_service(d->services[k]));
	diag_forget(d->context->diag);
	for (size_t k = 0; k < d->config->n_refused; k++)
		json_array_append_new(array, status_refused(&d->config->refused[k]));
	return json_pack("{s:o}", "services", array);
}

/* One that was left out at the start: there is nothing that could be ordered. */
static void refuse_left_out(const struct config_refused *left_out, struct api_problem *problem)
{
	struct refusal refusal = {};

	error_text(&refusal.why, -EINVAL,
		   "service %s was not started, as its configuration has %zu mistake%s (%.600s%s); "
		   "mend the configuration, then: baton reload",
		   left_out->name, left_out->total, left_out->total == 1 ? "" : "s",
		   left_out->mistakes[0], left_out->total == 1 ? "" : "; ...");
	refuse(&refusal, REFUSAL_BAD_CONFIGURATION);
	daemon_refuse(&refusal, problem);
	problem->mistakes = json_array();
	for (char *const *mistake = left_out->mistakes; *mistake; mistake++)
		json_array_append_new(problem->mistakes, json_string(*mistake));
}

static struct service *find_or_refuse(struct daemon *d, const char *name,
				      struct api_problem *problem)
{
	const struct config_refused *left_out = config_find_refused(d->config, name);
	struct service *s = daemon_find(d, name);
	struct refusal refusal = {};
	char known[256] = "";
	size_t n = 0;

	if (s)
		return s;
	if (left_out) {
		refuse_left_out(left_out, problem);
		return NULL;
	}
	for (size_t k = 0; k < d->n_services && n < sizeof(known); k++)
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", k ? ", " : "",
				      d->services[k]->config->name);
	error_text(&refusal.why, -ENOENT, "no service is called \"%s\" (there is: %s)", name,
		   d->n_services ? known : "none");
	refuse(&refusal, REFUSAL_NO_SERVICE);
	daemon_refuse(&refusal, problem);
	return NULL;
}

static json_t *api_get(void *userdata, const char *service, struct api_problem *problem)
{
	const struct config_refused *left_out;
	const struct daemon *d = userdata;
	struct service *s;

	left_out = config_find_refused(d->config, service);
	if (left_out)
		return status_refused(left_out);
	s = find_or_refuse(userdata, service, problem);
	if (!s)
		return NULL;
	inspect_forget(d->context->inspect);
	return status_service(s);
}

/* ---- status: what a rollback would run --------------------------------------------------------
 */

/* Status waits for files for so long; then it says what it knows without them. */
#define LOOK_MS 1000

struct question {
	struct question *next;
	struct api_reply *reply;
	bool sent;                       /* the helper that is on its way looks for it, too */
	char service[PROTOCOL_NAME_MAX]; /* "": all */
};

/* Has it an earlier release, so that status says whether its files have changed? */
static bool asks_files(const struct daemon *d, const char *service)
{
	for (size_t k = 0; k < d->n_services; k++)
		if ((!service || strcmp(d->services[k]->config->name, service) == 0) &&
		    service_rollback_target(d->services[k]))
			return true;
	return false;
}

static void look(void *userdata)
{
	const struct daemon *d = userdata;

	for (size_t k = 0; k < d->n_services; k++) {
		const struct past *past = service_rollback_target(d->services[k]);
		const char *path;

		if (past)
			(void)release_changed(past->release, &path);
	}
}

static void answer(struct daemon *d, struct question *question)
{
	uint64_t lacks = json_memory_lacks();
	struct api_problem problem = {};
	json_t *json = question->service[0] ? api_get(d, question->service, &problem) : api_list(d);

	if (json_memory_lacks() != lacks) {
		json_decref(json);
		json = NULL;
		error_text(&problem.detail, -ENOMEM, "the answer could not be made: out of memory");
	}
	api_reply_send(question->reply, json, &problem);
	api_problem_done(&problem);
	free(question);
}

static void answer_all(struct daemon *d, bool sent_only)
{
	for (struct question **link = &d->questions; *link;) {
		struct question *question = *link;

		if (sent_only && !question->sent) {
			link = &question->next;
			continue;
		}
		*link = question->next;
		answer(d, question);
	}
}

static void answer_without(struct daemon *d)
{
	sight_use_nothing(d->look_why);
	answer_all(d, false);
	sight_forget();
}

static void send_look(struct daemon *d);

static void on_seen(void *userdata, int r, const struct error *why)
{
	struct daemon *d = userdata;

	d->looking = NULL;
	if (r >= 0)
		answer_all(d, true);
	else if (!d->look_late)
		snprintf(d->look_why, sizeof(d->look_why), "%s", why->text);
	if (r < 0)
		answer_without(d);
	d->look_late = false;
	sight_forget();
	if (d->questions)
		send_look(d);
}

static void on_late(void *userdata, const struct error *why)
{
	struct daemon *d = userdata;

	d->look_late = true;
	snprintf(d->look_why, sizeof(d->look_why), "%s", why->text);
	answer_without(d);
}

/* One for all who ask, and never a second one where one is stuck. */
static void send_look(struct daemon *d)
{
	struct errand_spec spec = {.look = look,
				   .on_seen = on_seen,
				   .on_late = on_late,
				   .userdata = d,
				   .timeout_ms = LOOK_MS};
	struct error err;

	for (struct question *question = d->questions; question; question = question->next)
		question->sent = true;
	if (errand_start(d->context->event, &spec, &d->looking, &err) >= 0)
		return;
	snprintf(d->look_why, sizeof(d->look_why), "%s", err.text);
	answer_without(d);
}

static bool api_look(void *userdata, const char *service, struct api_reply *reply)
{
	struct daemon *d = userdata;
	struct question *question;

	if (!asks_files(d, service))
		return false;
	question = calloc(1, sizeof(*question));
	if (!question)
		return false;
	question->reply = reply;
	snprintf(question->service, sizeof(question->service), "%s", service ? service : "");
	question->next = d->questions;
	d->questions = question;
	api_reply_wait(reply);
	if (d->look_late)
		answer_without(d);
	else if (!d->looking)
		send_look(d);
	return true;
}

void daemon_forget_questions(struct daemon *d)
{
	errand_cancel(TAKE_PTR(d->looking));
	while (d->questions) {
		struct question *question = d->questions;

		d->questions = question->next;
		free(question);
	}
}

/* ---- connections ----------------------------------------------------------------------------- */

static char *next_piece(void *userdata)
{
	return connection_list_next(userdata);
}

static void free_list(void *userdata)
{
	connection_list_free(userdata);
}

static int api_connections(void *userdata, const char *service, size_t limit, struct api_text *ret,
			   struct api_problem *problem)
{
	struct service *s = find_or_refuse(userdata, service, problem);
	struct connection_list *list;
	struct refusal refusal = {};

	if (!s)
		return -ENOENT;
	if (connection_list_new(s, limit, &list, &refusal.why) < 0) {
		refuse(&refusal, REFUSAL_CANNOT_LIST_CONNECTIONS);
		daemon_refuse(&refusal, problem);
		return -EIO;
	}
	*ret = (struct api_text){.next = next_piece, .free = free_list, .userdata = list};
	return 0;
}

/* The agents have answered: so can the API. */
static void on_reopened(void *userdata, struct service *s, const struct reopen_result *result)
{
	struct api_problem problem = {};
	struct refusal refusal = {};

	if (result->n_failures == 0) {
		api_reply_send(userdata, order_reopened_json(s, result), &problem);
		return;
	}
	service_reopen_message(result, refusal.why.text, sizeof(refusal.why.text));
	refuse(&refusal, REFUSAL_CANNOT_REOPEN);
	daemon_refuse(&refusal, &problem);
	problem.mistakes = order_reopen_failures(result);
	api_reply_send(userdata, NULL, &problem);
}

/* NULL, too, if the answer comes later. */
static json_t *carry_out(struct daemon *d, struct service *s, const struct service_order *order,
			 struct api_reply *reply, struct refusal *refusal)
{
	uint64_t seq = events_last(d->events);
	struct service_answer answer;
	json_t *json;

	if (service_order(s, order, &answer, refusal) < 0)
		return NULL;
	if (answer.later) {
		api_reply_wait(reply);
		return NULL;
	}
	json = order_answer_json(s, order->type, &answer);
	if (answer.run || answer.queued)
		json_object_update_new(json, json_pack("{s:I, s:s}", "seq", (json_int_t)seq,
						       "epoch", events_epoch(d->events)));
	return json;
}

/* Its files are known now, or do not answer. */
static void on_ahead(void *userdata, struct service *s, const struct service_order *order, int r,
		     const struct error *why)
{
	struct api_reply *reply = userdata;
	struct api_problem problem = {};
	struct refusal refusal = {};
	json_t *json = NULL;

	if (r == -ESHUTDOWN) {
		refusal.why = *why;
		refuse(&refusal, REFUSAL_SHUTTING_DOWN);
	} else if (r < 0) {
		service_refuse_silent(s, why, &refusal);
	} else {
		json = carry_out(s->userdata, s, order, reply, &refusal);
	}
	if (!json)
		daemon_refuse(&refusal, &problem);
	api_reply_send(reply, json, &problem);
	api_problem_done(&problem);
}

/* A helper reads its files first. */
static int send_ahead(struct service *s, const struct service_order *order, struct api_reply *reply,
		      struct refusal *refusal)
{
	struct error err;

	if (service_send_ahead(s, order, on_ahead, reply, &err) < 0)
		return service_refuse_silent(s, &err, refusal);
	api_reply_wait(reply);
	return 0;
}

static json_t *api_order(void *userdata, const char *service, const char *name, const json_t *body,
			 struct api_reply *reply, struct api_problem *problem)
{
	struct daemon *d = userdata;
	struct service *s = find_or_refuse(d, service, problem);
	struct refusal refusal = {};
	struct service_order order;
	json_t *json = NULL;

	if (!s)
		return NULL;
	if (order_parse(name, body, &order, &refusal) >= 0) {
		order.on_reopened = on_reopened;
		order.userdata = reply;
		if (s->shutting_down || !service_asks_files(&order))
			json = carry_out(d, s, &order, reply, &refusal);
		else
			(void)send_ahead(s, &order, reply, &refusal);
	}
	if (!json)
		daemon_refuse(&refusal, problem);
	service_order_done(&order);
	return json;
}

static json_t *api_ready(void *userdata)
{
	struct daemon *d = userdata;
	json_t *services = json_array();
	bool ready = true;

	for (size_t k = 0; k < d->n_services; k++) {
		ready &= service_condition(d->services[k]) != SERVICE_DEAD;
		json_array_append_new(services, status_condition(d->services[k]));
	}
	for (size_t k = 0; k < d->config->n_refused; k++) {
		ready = false;
		json_array_append_new(services, status_refused_condition(&d->config->refused[k]));
	}
	return json_pack("{s:b, s:o}", "ready", ready, "services", services);
}

static json_t *api_version(void *userdata)
{
	struct daemon *d = userdata;
	const struct loop_times *loop = &d->context->loop;

	return json_pack(
		"{s:s, s:s, s:I, s:s, s:I, s:{s:I, s:I, s:o}}", "name", d->context->paths.name,
		"version", BATON_VERSION, "pid", (json_int_t)getpid(), "epoch",
		events_epoch(d->events), "seq", (json_int_t)events_last(d->events), "loop", "turns",
		(json_int_t)loop->turns, "longest_us", (json_int_t)loop->longest_us, "longest_time",
		loop->longest_realtime_ms ? time_json(loop->longest_realtime_ms) : json_null());
}

static json_t *api_reload(void *userdata, struct api_reply *reply, struct api_problem *problem)
{
	struct daemon *d = userdata;
	struct refusal refusal = {};

	if (!d->options.single && !d->ending) {
		if (daemon_reload(d, reply, problem))
			api_reply_wait(reply);
		return NULL;
	}
	error_text(&refusal.why, -EINVAL, "%s",
		   d->ending ? "batond is shutting down"
			     : "\"baton run\" has no configuration file (\"baton restart\" "
			       "replaces the service)");
	refuse(&refusal, REFUSAL_CANNOT_RELOAD);
	daemon_refuse(&refusal, problem);
	return NULL;
}

/* Connections that wait at an anchor: it goes with this process, unless an agent keeps it. */
static uint64_t count_held(const struct service *s)
{
	uint64_t n = 0;

	WIRING_EACH (k, &s->wiring) {
		uint32_t held = 0;

		if (steer_held(s->wiring.endpoints[k], &held) >= 0)
			n += held;
	}
	return n;
}

static bool is_kept(const struct service *s)
{
	for (size_t g = 0; g < s->n_generations; g++)
		for (size_t k = 0; k < s->generations[g]->instances.n; k++)
			if (s->generations[g]->instances.list[k]->kept_set != 0)
				return true;
	return false;
}

static json_t *api_leave(void *userdata, struct api_problem *problem)
{
	struct daemon *d = userdata;
	size_t services = 0, instances = 0;
	uint64_t held = 0, reset = 0;
	struct refusal refusal = {};

	if (d->ending) {
		error_text(&refusal.why, -EINVAL, "everything is being stopped");
		refuse(&refusal, REFUSAL_SHUTTING_DOWN);
		daemon_refuse(&refusal, problem);
		return NULL;
	}
	for (size_t k = 0; k < d->n_services; k++) {
		const struct service *s = d->services[k];
		size_t n = 0;

		for (size_t j = 0; j < s->n_generations; j++)
			n += s->generations[j]->instances.n;
		services += n > 0;
		instances += n;
		*(is_kept(s) ? &held : &reset) += count_held(s);
	}
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "pid", (json_int_t)getpid(), "services",
			 (json_int_t)services, "instances", (json_int_t)instances, "held",
			 (json_int_t)held, "reset", (json_int_t)reset);
}

static void api_leave_answered(void *userdata)
{
	/* An order to stop everything may have come meanwhile. */
	daemon_leave(userdata);
}

const struct api_backend daemon_api = {
	.look = api_look,
	.list = api_list,
	.get = api_get,
	.connections = api_connections,
	.order = api_order,
	.reload = api_reload,
	.leave = api_leave,
	.leave_answered = api_leave_answered,
	.version = api_version,
	.ready = api_ready,
};
