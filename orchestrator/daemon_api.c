/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "orchestrator/daemon_internal.h"
#include "orchestrator/view/view.h"

static json_t *api_list(void *userdata)
{
	struct daemon *d = userdata;
	json_t *array = json_array();

	for (size_t k = 0; k < d->n_services; k++)
		json_array_append_new(array, status_service(d->services[k]));
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
	return s ? status_service(s) : NULL;
}

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
		json = carry_out(d, s, &order, reply, &refusal);
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

	return json_pack("{s:s, s:s, s:I, s:s, s:I}", "name", d->context->paths.name, "version",
			 BATON_VERSION, "pid", (json_int_t)getpid(), "epoch",
			 events_epoch(d->events), "seq", (json_int_t)events_last(d->events));
}

static json_t *api_reload(void *userdata, struct api_problem *problem)
{
	struct daemon *d = userdata;
	struct refusal refusal = {};

	if (!d->options.single && !d->ending)
		return daemon_reload(d, problem);
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
