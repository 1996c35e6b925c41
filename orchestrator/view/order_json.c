/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/view/order_json.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/vector.h"
#include "orchestrator/host/environment.h"
#include "orchestrator/view/run_json.h"

static int refuse_memory(struct refusal *refusal)
{
	error_text(&refusal->why, -ENOMEM, "out of memory");
	return refuse(refusal, REFUSAL_CANNOT_START);
}

/* ---- one member ----------------------------------------------------------------------------- */

static int read_flag(const json_t *value, const char *key, bool *ret, struct refusal *refusal)
{
	if (!json_is_boolean(value)) {
		error_text(&refusal->why, -EINVAL, "%s: expected true or false", key);
		return refuse(refusal, REFUSAL_BAD_REQUEST);
	}
	*ret = json_is_true(value);
	return 0;
}

static int read_supersede(const json_t *value, struct service_order *ret, struct refusal *refusal)
{
	return read_flag(value, "supersede", &ret->supersede, refusal);
}

static int read_reset(const json_t *value, struct service_order *ret, struct refusal *refusal)
{
	return read_flag(value, "reset", &ret->reset, refusal);
}

static int read_dry_run(const json_t *value, struct service_order *ret, struct refusal *refusal)
{
	return read_flag(value, "dry_run", &ret->dry_run, refusal);
}

static int read_force(const json_t *value, struct service_order *ret, struct refusal *refusal)
{
	return read_flag(value, "force", &ret->force, refusal);
}

/* An array of 1 to SERVICE_COMMAND_MAX strings. */
static int read_command(const json_t *value, struct service_order *ret, struct refusal *refusal)
{
	const json_t *word;
	char *copy;
	size_t k;

	if (!json_is_array(value) || json_array_size(value) == 0 ||
	    json_array_size(value) > SERVICE_COMMAND_MAX) {
		error_text(&refusal->why, -EINVAL, "command: expected an array of 1 to %d strings",
			   SERVICE_COMMAND_MAX);
		return refuse(refusal, REFUSAL_BAD_REQUEST);
	}
	json_array_foreach (value, k, word) {
		if (!json_is_string(word) || (k == 0 && json_string_length(word) == 0)) {
			error_text(&refusal->why, -EINVAL, "command[%zu]: expected a%s string", k,
				   k == 0 ? " non-empty" : "");
			return refuse(refusal, REFUSAL_BAD_REQUEST);
		}
		copy = strdup(json_string_value(word));
		if (!copy || vector_append(&ret->command, copy) < 0)
			return refuse_memory(refusal);
	}
	return 0;
}

static int read_variable(const char *name, const json_t *value, struct service_order *ret,
			 struct refusal *refusal)
{
	int r = environment_check_name(name, &refusal->why);

	if (r >= 0 && !json_is_string(value))
		r = error_text(&refusal->why, -EINVAL, "environment.%s: expected a string", name);
	if (r < 0)
		return refuse(refusal, REFUSAL_BAD_REQUEST);
	if (environment_set(&ret->environment, name, json_string_value(value)) < 0)
		return refuse_memory(refusal);
	return 0;
}

/* An object of strings. */
static int read_environment(const json_t *value, struct service_order *ret, struct refusal *refusal)
{
	const char *name;
	json_t *text;

	if (!json_is_object(value) || json_object_size(value) > SERVICE_COMMAND_MAX) {
		error_text(&refusal->why, -EINVAL,
			   "environment: expected an object of at most %d strings",
			   SERVICE_COMMAND_MAX);
		return refuse(refusal, REFUSAL_BAD_REQUEST);
	}
	json_object_foreach ((json_t *)value, name, text) {
		int r = read_variable(name, text, ret, refusal);

		if (r < 0)
			return r;
	}
	return 0;
}

/* An array of names. */
static int read_unset(const json_t *value, struct service_order *ret, struct refusal *refusal)
{
	const json_t *name;
	size_t k;

	if (!json_is_array(value) || json_array_size(value) > SERVICE_COMMAND_MAX) {
		error_text(&refusal->why, -EINVAL, "unset: expected an array of at most %d names",
			   SERVICE_COMMAND_MAX);
		return refuse(refusal, REFUSAL_BAD_REQUEST);
	}
	json_array_foreach (value, k, name) {
		const char *text = json_string_value(name);
		char *copy;

		if (!text || !text[0] || strchr(text, '=')) {
			error_text(&refusal->why, -EINVAL, "unset[%zu]: expected a name", k);
			return refuse(refusal, REFUSAL_BAD_REQUEST);
		}
		copy = strdup(text);
		if (!copy || vector_append(&ret->unset, copy) < 0)
			return refuse_memory(refusal);
	}
	return 0;
}

static int read_instances(const json_t *value, struct service_order *ret, struct refusal *refusal)
{
	json_int_t n = json_integer_value(value);

	if (!json_is_integer(value)) {
		error_text(&refusal->why, -EINVAL,
			   "instances: expected a number from 0 (stops the service) to %d",
			   CONFIG_INSTANCES_MAX);
		return refuse(refusal, REFUSAL_BAD_REQUEST);
	}
	if (n < 0 || n > CONFIG_INSTANCES_MAX) {
		error_text(
			&refusal->why, -EINVAL,
			"instances: expected a number from 0 (stops the service) to %d, not %lld",
			CONFIG_INSTANCES_MAX, (long long)n);
		return refuse(refusal, REFUSAL_BAD_REQUEST);
	}
	ret->instances = (uint32_t)n;
	if (n == 0) {
		ret->type = SERVICE_ORDER_STOP;
		ret->scaled = true;
	}
	return 0;
}

/* ---- all of them ---------------------------------------------------------------------------- */

static const struct member {
	const char *key;
	unsigned of; /* enum order_takes */
	int (*read)(const json_t *value, struct service_order *ret, struct refusal *refusal);
} members[] = {
	{"command", ORDER_TAKES_RELEASE, read_command},
	{"environment", ORDER_TAKES_RELEASE, read_environment},
	{"unset", ORDER_TAKES_RELEASE, read_unset},
	{"force", ORDER_TAKES_RELEASE, read_force},
	{"instances", ORDER_TAKES_INSTANCES, read_instances},
	{"reset", ORDER_TAKES_RESET, read_reset},
	{"dry_run", ORDER_TAKES_DRY_RUN, read_dry_run},
	{"supersede", ORDER_TAKES_SUPERSEDE, read_supersede},
};

#define N_MEMBERS (sizeof(members) / sizeof(members[0]))

/* "\"instances\", \"supersede\""; "none" */
static void list_members(unsigned takes, char *ret, size_t size)
{
	size_t n = (size_t)snprintf(ret, size, "%s", takes ? "" : "none");

	for (size_t k = 0; k < N_MEMBERS && takes && n < size; k++)
		if (members[k].of & takes)
			n += (size_t)snprintf(ret + n, size - n, "%s\"%s\"", n ? ", " : "",
					      members[k].key);
}

static int read_member(const struct order_info *info, const char *key, const json_t *value,
		       struct service_order *ret, struct refusal *refusal)
{
	char known[128];

	for (size_t k = 0; k < N_MEMBERS; k++)
		if ((members[k].of & info->takes) && strcmp(members[k].key, key) == 0)
			return members[k].read(value, ret, refusal);
	list_members(info->takes, known, sizeof(known));
	error_text(&refusal->why, -EINVAL, "%s: unknown key (%s takes %s)", key, info->name, known);
	return refuse(refusal, REFUSAL_BAD_REQUEST);
}

static int refuse_unknown(const char *name, struct refusal *refusal)
{
	char known[256] = "";
	size_t n = 0;

	for (size_t k = 0; k < _SERVICE_ORDER_COUNT && n < sizeof(known); k++)
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", k ? ", " : "",
				      order_info((enum service_order_type)k)->name);
	error_text(&refusal->why, -EINVAL, "unknown order \"%s\" (%s)", name, known);
	return refuse(refusal, REFUSAL_NO_ORDER);
}

int order_parse(const char *name, const json_t *body, struct service_order *ret,
		struct refusal *refusal)
{
	const struct order_info *info;
	const char *key;
	json_t *value;

	*ret = (struct service_order){};
	if (!order_find(name, &ret->type))
		return refuse_unknown(name, refusal);
	info = order_info(ret->type);
	json_object_foreach ((json_t *)body, key, value) {
		int r = read_member(info, key, value, ret, refusal);

		if (r < 0)
			return r;
	}
	if ((info->takes & ORDER_TAKES_INSTANCES) && ret->instances == 0 && !ret->scaled)
		return read_instances(NULL, ret, refusal);
	return 0;
}

json_t *order_answer_json(const struct service *s, enum service_order_type type,
			  const struct service_answer *answer)
{
	json_t *json;

	assert(type < _SERVICE_ORDER_COUNT && !(answer->run && answer->queued));
	if (answer->run) {
		json = run_json(answer->run);
	} else if (answer->queued) {
		json = json_pack("{s:I, s:s, s:n, s:n, s:i}", "rollout", (json_int_t)answer->queued,
				 "order", order_info(type)->name, "generation", "replaces",
				 "elapsed_ms", 0);
	} else {
		json = json_pack("{s:s}", "message", answer->message);
		if (answer->unchanged)
			json_object_set_new(json, "unchanged", json_true());
	}
	if (answer->note[0])
		json_object_set_new(json, "note", json_string(answer->note));
	if (answer->supersedes)
		json_object_set_new(json, "supersedes", json_integer(answer->supersedes));
	if (type == SERVICE_ORDER_PAUSE || type == SERVICE_ORDER_RESUME)
		json_object_set_new(json, "paused", json_boolean(s->hold.paused));
	json_object_set_new(json, "service", json_string(s->config->name));
	return json;
}

json_t *order_reopened_json(const struct service *s, const struct reopen_result *result)
{
	char message[64];

	assert(result->n_failures == 0);
	service_reopen_message(result, message, sizeof(message));
	return json_pack("{s:s, s:I, s:s}", "service", s->config->name, "files",
			 (json_int_t)result->files, "message", message);
}

json_t *order_reopen_failures(const struct reopen_result *result)
{
	json_t *list = json_array();

	for (size_t k = 0; k < result->n_failures; k++)
		json_array_append_new(list, json_sprintf("generation %u, instance %u: %s",
							 result->failures[k].generation,
							 result->failures[k].instance,
							 result->failures[k].text));
	return list;
}
