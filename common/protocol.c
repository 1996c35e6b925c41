/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/protocol.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/fields.h"
#include "common/paths.h"
#include "common/vector.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define BIT(type)    (1U << (type))

#define SIGNAL_MAX 64 /* SIGRTMAX of Linux */
#define PID_MAX    INT32_MAX

static const char *const order_names[] = {
	[ORDER_STEADY] = "steady",   [ORDER_LEAVE] = "leave",   [ORDER_STOP] = "stop",
	[ORDER_RELEASE] = "release", [ORDER_REOPEN] = "reopen", [ORDER_TELL] = "tell",
	[ORDER_FAMILY] = "family",   [ORDER_KEEP] = "keep",     [ORDER_VERSION] = "version",
	[ORDER_LOOK] = "look",
};
_Static_assert(COUNT(order_names) == _ORDER_TYPE_COUNT, "a name for each order");

static const char *const report_names[] = {
	[REPORT_HELLO] = "hello",       [REPORT_STARTED] = "started", [REPORT_NOTIFY] = "notify",
	[REPORT_EXITED] = "exited",     [REPORT_FAILED] = "failed",   [REPORT_LEFT] = "left",
	[REPORT_STOPPED] = "stopped",   [REPORT_SOCKETS] = "sockets", [REPORT_TOLD] = "told",
	[REPORT_REOPENED] = "reopened", [REPORT_ORPHAN] = "orphan",
};
_Static_assert(COUNT(report_names) == _REPORT_TYPE_COUNT, "a name for each report");

static const char *const state_names[] = {
	[AGENT_STARTING] = "starting", [AGENT_RUNNING] = "running", [AGENT_DELAYING] = "delaying",
	[AGENT_FAILED] = "failed",     [AGENT_LEAVING] = "leaving", [AGENT_LEFT] = "left",
	[AGENT_STOPPING] = "stopping", [AGENT_KILLING] = "killing", [AGENT_STOPPED] = "stopped",
};
_Static_assert(COUNT(state_names) == _AGENT_STATE_COUNT, "a name for each state");

static const char *const mode_names[] = {
	[SOCKETS_AUTO] = "auto",
	[SOCKETS_INHERIT] = "inherit",
	[SOCKETS_NATIVE] = "native",
	[SOCKETS_TRANSPARENT] = "transparent",
};
_Static_assert(COUNT(mode_names) == _SOCKETS_COUNT, "a name for each mode");

static const char *const ending_names[] = {
	[ENDING_TOLD] = "told",
	[ENDING_UNKNOWN] = "unknown",
	[ENDING_NEVER_RAN] = "never-ran",
	[ENDING_ALIVE] = "alive",
};
_Static_assert(COUNT(ending_names) == _ENDING_COUNT, "a name for each ending");

const char *order_type_name(enum order_type type)
{
	return (unsigned)type < _ORDER_TYPE_COUNT ? order_names[type] : "unknown";
}

const char *report_type_name(enum report_type type)
{
	return (unsigned)type < _REPORT_TYPE_COUNT ? report_names[type] : "unknown";
}

const char *agent_state_name(enum agent_state state)
{
	return (unsigned)state < _AGENT_STATE_COUNT ? state_names[state] : "unknown";
}

const char *socket_mode_name(enum socket_mode mode)
{
	return (unsigned)mode < _SOCKETS_COUNT ? mode_names[mode] : "unknown";
}

/* Read those of @fields that @object has; the others keep their value. */
static int decode_optional(const json_t *object, const struct field *fields, size_t n_fields,
			   unsigned type, void *base, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < n_fields && r == 0; i++)
		if (json_object_get(object, fields[i].name))
			r = fields_decode(object, &fields[i], 1, type, base, err);
	return r;
}

/* 64-bit numbers travel as strings: jansson's integers are signed, other readers' are doubles. */
static json_t *encode_u64(uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	return json_string(text);
}

static int decode_u64(const json_t *object, const char *name, uint64_t *ret, struct error *err)
{
	const char *text = json_string_value(json_object_get(object, name));
	char *end;

	/* strtoull(3) would accept white space and signs. */
	if (!text || !*text || text[strspn(text, "0123456789")])
		return error_text(err, -EBADMSG, "\"%s\" is not a number in a string", name);
	errno = 0;
	*ret = strtoull(text, &end, 10);
	if (errno)
		return error_text(err, -EBADMSG, "\"%s\" is too large a number", name);
	return 0;
}

/* Takes over the reference to @value. */
static int add(json_t *object, const char *name, json_t *value)
{
	return json_object_set_new(object, name, value) < 0 ? -ENOMEM : 0;
}

/* ---- process settings ----------------------------------------------------------------------- */

static const char *const output_names[] = {
	[OUTPUT_THROUGH] = "inherit", [OUTPUT_JOURNAL] = "journal", [OUTPUT_FILE] = NULL, /* sent as
											     its
											     path */
};
_Static_assert(COUNT(output_names) == _OUTPUT_COUNT, "a name for each output");

/* Where the streams go, as texts: a path, or one of output_names. */
struct outputs {
	char *text[2];
};

static const struct field output_fields[] = {
	{
		.name = "stdout",
		.kind = FIELD_KIND_BYTES,
		.offset = offsetof(struct outputs, text[0]),
		.size = sizeof(char *),
		.types = 1,
	},
	{
		.name = "stderr",
		.kind = FIELD_KIND_BYTES,
		.offset = offsetof(struct outputs, text[1]),
		.size = sizeof(char *),
		.types = 1,
	},
};

static const struct field process_fields[] = {
	FIELD_INTEGER(struct process_settings, umask, 0, 0777, 1),
	FIELD_BOOLEAN(struct process_settings, no_new_privileges, 1),
};

static int encode_limits(json_t *object, const struct process_settings *settings)
{
	json_t *limits = json_object(), *limit;

	if (add(object, "limits", limits) < 0)
		return -ENOMEM;
	for (int i = 0; i < PROCESS_LIMITS_MAX; i++) {
		if (!settings->limits[i].set)
			continue;
		assert(process_limit_name(i));
		limit = json_object();
		if (add(limits, process_limit_name(i), limit) < 0 ||
		    add(limit, "soft", encode_u64(settings->limits[i].soft)) < 0 ||
		    add(limit, "hard", encode_u64(settings->limits[i].hard)) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Settings that are not set are left out. */
static int encode_process(json_t *object, const struct process_settings *settings)
{
	struct outputs outputs;
	int r;

	for (size_t k = 0; k < 2; k++) {
		const char *name = output_names[settings->output[k]];

		outputs.text[k] = name ? (char *)name : settings->output_path[k];
		assert(outputs.text[k]);
	}
	r = fields_encode(object, process_fields, COUNT(process_fields), 0, settings);
	if (r == 0)
		r = fields_encode(object, output_fields, COUNT(output_fields), 0, &outputs);
	if (r == 0)
		r = encode_limits(object, settings);
	if (r == 0 && settings->nice_set)
		r = add(object, "nice", json_integer(settings->nice));
	if (r == 0 && settings->capabilities_set)
		r = add(object, "capabilities", encode_u64(settings->capabilities));
	if (r == 0 && settings->oom_score_adjust_set)
		r = add(object, "oom_score_adjust", json_integer(settings->oom_score_adjust));
	return r;
}

static int decode_limit(const char *name, const json_t *value, struct process_settings *settings,
			struct error *err)
{
	int number = process_limit_parse(name);
	struct process_limit limit = {.set = true};
	int r;

	if (number < 0)
		return error_text(err, -EBADMSG, "\"%s\" is no limit that is known here", name);
	r = decode_u64(value, "soft", &limit.soft, err);
	if (r == 0)
		r = decode_u64(value, "hard", &limit.hard, err);
	if (r == 0 && limit.soft > limit.hard)
		r = error_text(err, -EBADMSG, "\"soft\" is larger than \"hard\"");
	if (r < 0)
		return error_prefix(err, r, "\"%s\"", name);
	settings->limits[number] = limit;
	return 0;
}

static int decode_limits(const json_t *object, struct process_settings *settings, struct error *err)
{
	json_t *limits = json_object_get(object, "limits"), *value;
	const char *name;
	int r;

	if (!json_is_object(limits))
		return error_text(err, -EBADMSG, "\"limits\" is missing or not an object");
	json_object_foreach (limits, name, value) {
		r = decode_limit(name, value, settings, err);
		if (r < 0)
			return error_prefix(err, r, "\"limits\"");
	}
	return 0;
}

/* A number that may be negative, which fields.h does not know; it may be missing. */
static int decode_signed(const json_t *object, const char *name, int min, int max, bool *ret_set,
			 int *ret, struct error *err)
{
	const json_t *value = json_object_get(object, name);
	json_int_t number = json_integer_value(value);

	if (!value)
		return 0;
	if (!json_is_integer(value) || number < min || number > max)
		return error_text(err, -EBADMSG, "\"%s\" is not a number from %d to %d", name, min,
				  max);
	*ret_set = true;
	*ret = (int)number;
	return 0;
}

/* A path is taken over: *text is NULL then. */
static int set_output(struct process_settings *settings, size_t k, char **text, struct error *err)
{
	for (int output = 0; output < _OUTPUT_COUNT; output++) {
		if (!output_names[output] || strcmp(output_names[output], *text) != 0)
			continue;
		settings->output[k] = (enum process_output)output;
		return 0;
	}
	if ((*text)[0] != '/')
		return error_text(
			err, -EBADMSG,
			"\"%s\" is neither \"inherit\" nor \"journal\" nor an absolute path",
			output_fields[k].name);
	settings->output[k] = OUTPUT_FILE;
	settings->output_path[k] = TAKE_PTR(*text);
	return 0;
}

static int decode_outputs(const json_t *object, struct process_settings *settings,
			  struct error *err)
{
	struct outputs outputs = {0};
	int r;

	r = fields_decode(object, output_fields, COUNT(output_fields), 0, &outputs, err);
	for (size_t k = 0; k < 2 && r == 0; k++)
		r = set_output(settings, k, &outputs.text[k], err);
	for (size_t k = 0; k < 2; k++)
		free(outputs.text[k]);
	return r;
}

/* @settings are as process_settings_init() leaves them, and stay so if there is no object. */
static int decode_process(const json_t *spec, struct process_settings *settings, struct error *err)
{
	const json_t *object = json_object_get(spec, "process");
	int r;

	if (!object)
		return 0;
	if (!json_is_object(object))
		return error_text(err, -EBADMSG, "\"process\" is not an object");
	r = fields_decode(object, process_fields, COUNT(process_fields), 0, settings, err);
	if (r == 0)
		r = decode_limits(object, settings, err);
	if (r == 0)
		r = decode_signed(object, "nice", -20, 19, &settings->nice_set, &settings->nice,
				  err);
	if (r == 0)
		r = decode_signed(object, "oom_score_adjust", -1000, 1000,
				  &settings->oom_score_adjust_set, &settings->oom_score_adjust,
				  err);
	settings->capabilities_set = json_object_get(object, "capabilities") != NULL;
	if (r == 0 && settings->capabilities_set)
		r = decode_u64(object, "capabilities", &settings->capabilities, err);
	if (r == 0)
		r = decode_outputs(object, settings, err);
	return r < 0 ? error_prefix(err, r, "\"process\"") : 0;
}

/* ---- launch specification ------------------------------------------------------------------- */

static const struct field spec_fields[] = {
	FIELD_BYTES(struct launch_spec, service, 1),
	FIELD_INTEGER(struct launch_spec, generation, 1, UINT32_MAX, 1),
	FIELD_INTEGER(struct launch_spec, instance, 0, UINT32_MAX, 1),
	FIELD_INTEGER(struct launch_spec, backlog, 0, INT32_MAX, 1),
	FIELD_BOOLEAN(struct launch_spec, nonblocking, 1),
	FIELD_BYTES(struct launch_spec, executable, 1),
	FIELD_BYTES_LIST(struct launch_spec, argv, 1),
	FIELD_BYTES_LIST(struct launch_spec, environment, 1),
	FIELD_BYTES(struct launch_spec, directory, 1),
	FIELD_INTEGER(struct launch_spec, uid, 0, UINT32_MAX, 1),
	FIELD_INTEGER(struct launch_spec, gid, 0, UINT32_MAX, 1),
	FIELD_BOOLEAN(struct launch_spec, set_ids, 1),
	FIELD_BYTES_OR_NULL(struct launch_spec, cgroup, 1),
	FIELD_INTEGER(struct launch_spec, restart_max, 0, UINT32_MAX, 1),
	FIELD_INTEGER(struct launch_spec, restart_window_ms, 0, UINT32_MAX, 1),
	FIELD_INTEGER(struct launch_spec, restart_delay_ms, 0, UINT32_MAX, 1),
	FIELD_INTEGER(struct launch_spec, restart_delay_max_ms, 0, UINT32_MAX, 1),
};

/* The fields that the first version of the protocol did not have. */
static const struct field spec_fields_optional[] = {
	FIELD_NAME(struct launch_spec, mode, mode_names, _SOCKETS_COUNT, 1),
	FIELD_BOOLEAN(struct launch_spec, sockets_given, 1),
	FIELD_BOOLEAN(struct launch_spec, listen_later, 1),
	FIELD_INTEGER(struct launch_spec, listen_delay_ms, 0, UINT32_MAX, 1),
};

const char *launch_spec_id(const struct launch_spec *spec)
{
	return spec->id ? spec->id : spec->service;
}

void launch_spec_address(const struct launch_spec *spec, size_t k, struct address *ret)
{
	if (!spec->twins[k] || !address_twin(&spec->listen[k], ret))
		*ret = spec->listen[k];
}

void launch_spec_done(struct launch_spec *spec)
{
	if (!spec)
		return;
	free(spec->service);
	free(spec->id);
	free(spec->listen);
	free(spec->executable);
	vector_free(spec->argv);
	vector_free(spec->environment);
	free(spec->directory);
	process_settings_done(&spec->process);
	free(spec->cgroup);
	*spec = (struct launch_spec){0};
}

/* As the numbers of the endpoints; most services have none, and then there is no such field. */
static int encode_twins(json_t *object, const struct launch_spec *spec)
{
	cleanup(json_decref) json_t *list = json_array();

	for (size_t i = 0; i < spec->n_listen; i++)
		if (spec->twins[i] && json_array_append_new(list, json_integer((json_int_t)i)) < 0)
			return -ENOMEM;
	if (list && json_array_size(list) == 0)
		return 0;
	return json_object_set(object, "twins", list) < 0 ? -ENOMEM : 0;
}

/* Most services have the id that their name is, and then there is no such field. */
static int encode_id(json_t *object, const struct launch_spec *spec)
{
	if (strcmp(launch_spec_id(spec), spec->service) == 0)
		return 0;
	return json_object_set_new(object, "id", json_string(spec->id)) < 0 ? -ENOMEM : 0;
}

static int decode_id(const json_t *object, struct launch_spec *spec, struct error *err)
{
	const json_t *id = json_object_get(object, "id");

	if (!id)
		return 0;
	if (!json_is_string(id))
		return error_text(err, -EBADMSG, "\"id\": not a string");
	spec->id = strdup(json_string_value(id));
	return spec->id ? 0 : error_set(err, -ENOMEM, "\"id\"");
}

int launch_spec_encode(const struct launch_spec *spec, char **ret_text, size_t *ret_length)
{
	cleanup(json_decref) json_t *object = json_object();
	json_t *list, *process;
	int r;

	if (spec->n_listen > PROTOCOL_LISTEN_MAX || spec->n_groups > PROTOCOL_GROUPS_MAX)
		return -EMSGSIZE;
	r = fields_encode(object, spec_fields, COUNT(spec_fields), 0, spec);
	if (r == 0)
		r = fields_encode(object, spec_fields_optional, COUNT(spec_fields_optional), 0,
				  spec);
	if (r < 0)
		return r;
	process = json_object();
	if (add(object, "process", process) < 0 || encode_process(process, &spec->process) < 0)
		return -ENOMEM;
	list = json_array();
	if (json_object_set_new(object, "listen", list) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < spec->n_listen; i++)
		if (json_array_append_new(list, json_string(spec->listen[i].text)) < 0)
			return -ENOMEM;
	if (encode_twins(object, spec) < 0 || encode_id(object, spec) < 0)
		return -ENOMEM;
	list = json_array();
	if (json_object_set_new(object, "groups", list) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < spec->n_groups; i++)
		if (json_array_append_new(list, json_integer(spec->groups[i])) < 0)
			return -ENOMEM;
	return fields_dump(object, PROTOCOL_SPEC_MAX, ret_text, ret_length);
}

static int decode_listen(const json_t *object, struct launch_spec *spec, struct error *err)
{
	const json_t *list, *item;
	int r;

	r = fields_get_array(object, "listen", PROTOCOL_LISTEN_MAX, &list, err);
	if (r < 0 || json_array_size(list) == 0)
		return r;
	spec->listen = calloc(json_array_size(list), sizeof(*spec->listen));
	if (!spec->listen)
		return error_set(err, -ENOMEM, "\"listen\"");
	for (size_t i = 0; i < json_array_size(list); i++) {
		item = json_array_get(list, i);
		if (!json_is_string(item))
			return error_text(err, -EBADMSG, "\"listen\": not a string");
		r = address_parse(json_string_value(item), &spec->listen[i], err);
		if (r < 0)
			return error_prefix(err, -EBADMSG, "\"listen\"");
		spec->n_listen++;
	}
	return 0;
}

static int decode_twins(const json_t *object, struct launch_spec *spec, struct error *err)
{
	const json_t *list, *item;
	struct address twin;
	json_int_t number;
	size_t i;
	int r;

	if (!json_object_get(object, "twins"))
		return 0;
	r = fields_get_array(object, "twins", PROTOCOL_LISTEN_MAX, &list, err);
	if (r < 0)
		return r;
	json_array_foreach (list, i, item) {
		number = json_integer_value(item);
		if (!json_is_integer(item) || number < 0 || number >= (json_int_t)spec->n_listen ||
		    !address_twin(&spec->listen[number], &twin))
			return error_text(err, -EBADMSG, "\"twins\": not an endpoint with a twin");
		spec->twins[number] = true;
	}
	return 0;
}

static int decode_groups(const json_t *object, struct launch_spec *spec, struct error *err)
{
	const json_t *list, *item;
	json_int_t number;
	int r;

	r = fields_get_array(object, "groups", PROTOCOL_GROUPS_MAX, &list, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < json_array_size(list); i++) {
		item = json_array_get(list, i);
		number = json_integer_value(item);
		/* (gid_t)-1 means "no group" everywhere (chown(2), setregid(2)). */
		if (!json_is_integer(item) || number < 0 || number >= UINT32_MAX)
			return error_text(err, -EBADMSG, "\"groups\": not the number of a group");
		spec->groups[spec->n_groups++] = (gid_t)number;
	}
	return 0;
}

static int check_path(const char *name, const char *path, struct error *err)
{
	if (path[0] == '/')
		return 0;
	return error_text(err, -EBADMSG, "\"%s\" is not an absolute path", name);
}

/* The rules that the table cannot express. */
static int check_spec(const struct launch_spec *spec, struct error *err)
{
	int r;

	if (paths_check_name(spec->service, err) < 0)
		return error_prefix(err, -EBADMSG, "\"service\"");
	if (paths_check_name(launch_spec_id(spec), err) < 0)
		return error_prefix(err, -EBADMSG, "\"id\"");
	r = check_path("executable", spec->executable, err);
	if (r == 0)
		r = check_path("directory", spec->directory, err);
	if (r == 0 && spec->cgroup)
		r = check_path("cgroup", spec->cgroup, err);
	if (r < 0)
		return r;
	if (!spec->argv[0])
		return error_text(err, -EBADMSG, "\"argv\" is empty");
	for (size_t i = 0; spec->environment[i]; i++)
		if (strcspn(spec->environment[i], "=") == 0 || !strchr(spec->environment[i], '='))
			return error_text(err, -EBADMSG,
					  "\"environment\": entry %zu is not NAME=value", i);
	if (spec->set_ids && (spec->uid == (uid_t)-1 || spec->gid == (gid_t)-1))
		return error_text(err, -EBADMSG,
				  "\"uid\" or \"gid\" is not a user or group to become");
	return 0;
}

int launch_spec_decode(const char *text, size_t length, struct launch_spec *ret, struct error *err)
{
	cleanup(json_decref) json_t *object = NULL;
	int r;

	*ret = (struct launch_spec){0};
	process_settings_init(&ret->process);
	r = fields_load(text, length, PROTOCOL_SPEC_MAX, &object, err);
	if (r == 0)
		r = fields_decode(object, spec_fields, COUNT(spec_fields), 0, ret, err);
	ret->mode = SOCKETS_INHERIT;
	if (r == 0)
		r = decode_optional(object, spec_fields_optional, COUNT(spec_fields_optional), 0,
				    ret, err);
	if (r == 0)
		r = decode_id(object, ret, err);
	if (r == 0)
		r = decode_listen(object, ret, err);
	if (r == 0)
		r = decode_twins(object, ret, err);
	if (r == 0)
		r = decode_groups(object, ret, err);
	if (r == 0)
		r = decode_process(object, &ret->process, err);
	if (r == 0)
		r = check_spec(ret, err);
	if (r == 0)
		return 0;
	launch_spec_done(ret);
	return error_prefix(err, r, "launch specification");
}

/* ---- orders --------------------------------------------------------------------------------- */

#define LEAVE_STOP (BIT(ORDER_LEAVE) | BIT(ORDER_STOP))

static const struct field order_fields[] = {
	FIELD_BOOLEAN(struct order, on, BIT(ORDER_STEADY) | BIT(ORDER_FAMILY)),
	FIELD_INTEGER(struct order, signal, 0, SIGNAL_MAX, LEAVE_STOP),
	FIELD_INTEGER(struct order, timeout_ms, 0, UINT32_MAX, LEAVE_STOP),
	FIELD_INTEGER(struct order, serial, 0, UINT32_MAX, BIT(ORDER_RELEASE)),
	FIELD_INTEGER(struct order, endpoint, 0, PROTOCOL_LISTEN_MAX - 1, BIT(ORDER_FAMILY)),
	FIELD_INTEGER(struct order, version, 1, UINT32_MAX, BIT(ORDER_VERSION)),
};

/* The fields that the first version of the protocol did not have. */
static const struct field order_fields_optional[] = {
	FIELD_INTEGER(struct order, serial, 0, UINT32_MAX, BIT(ORDER_REOPEN)),
	FIELD_BOOLEAN(struct order, late, BIT(ORDER_LOOK)),
};

int order_encode(const struct order *order, char **ret_text, size_t *ret_length)
{
	cleanup(json_decref) json_t *object = json_object();
	int r;

	assert((unsigned)order->type < _ORDER_TYPE_COUNT);
	if (json_object_set_new(object, "type", json_string(order_names[order->type])) < 0)
		return -ENOMEM;
	r = fields_encode(object, order_fields, COUNT(order_fields), order->type, order);
	if (r == 0)
		r = fields_encode(object, order_fields_optional, COUNT(order_fields_optional),
				  order->type, order);
	if (r < 0)
		return r;
	return fields_dump(object, PROTOCOL_MESSAGE_MAX, ret_text, ret_length);
}

int order_decode(const char *text, size_t length, struct order *ret, struct error *err)
{
	cleanup(json_decref) json_t *object = NULL;
	unsigned type;
	int r;

	*ret = (struct order){0};
	r = fields_load(text, length, PROTOCOL_MESSAGE_MAX, &object, err);
	if (r == 0)
		r = fields_get_type(object, order_names, _ORDER_TYPE_COUNT, &type, err);
	if (r < 0)
		return error_prefix(err, r, "order");
	ret->type = type;
	r = fields_decode(object, order_fields, COUNT(order_fields), type, ret, err);
	if (r == 0)
		r = decode_optional(object, order_fields_optional, COUNT(order_fields_optional),
				    type, ret, err);
	if (r < 0)
		return error_prefix(err, r, "order %s", order_names[type]);
	return 0;
}

/* ---- reports -------------------------------------------------------------------------------- */

#define ENDED (BIT(REPORT_EXITED) | BIT(REPORT_STOPPED))
#define TAIL  (BIT(REPORT_HELLO) | BIT(REPORT_FAILED) | BIT(REPORT_TOLD) | ENDED)

static const struct field report_fields[] = {
	FIELD_INTEGER(struct report, version, 1, UINT32_MAX, BIT(REPORT_HELLO)),
	FIELD_TEXT(struct report, service, BIT(REPORT_HELLO)),
	FIELD_INTEGER(struct report, generation, 1, UINT32_MAX, BIT(REPORT_HELLO)),
	FIELD_INTEGER(struct report, instance, 0, UINT32_MAX, BIT(REPORT_HELLO)),
	FIELD_INTEGER(struct report, agent_pid, 1, PID_MAX, BIT(REPORT_HELLO)),
	FIELD_NAME(struct report, state, state_names, _AGENT_STATE_COUNT, BIT(REPORT_HELLO)),
	FIELD_BOOLEAN(struct report, steady, BIT(REPORT_HELLO)),
	FIELD_INTEGER(struct report, pid, 0, PID_MAX,
		      BIT(REPORT_HELLO) | BIT(REPORT_STARTED) | BIT(REPORT_ORPHAN)),
	FIELD_BOOLEAN(struct report, ready, BIT(REPORT_HELLO) | BIT(REPORT_NOTIFY)),
	FIELD_INTEGER(struct report, exit_code, 0, 255, ENDED),
	FIELD_INTEGER(struct report, exit_signal, 0, SIGNAL_MAX, ENDED),
	FIELD_BOOLEAN(struct report, restarting, BIT(REPORT_EXITED)),
	FIELD_INTEGER(struct report, restart_ms, 0, UINT32_MAX, BIT(REPORT_EXITED)),
	FIELD_BOOLEAN(struct report, killed, BIT(REPORT_STOPPED)),
	FIELD_BOOLEAN(struct report, forced, BIT(REPORT_LEFT)),
	FIELD_INTEGER(struct report, serial, 0, UINT32_MAX,
		      BIT(REPORT_SOCKETS) | BIT(REPORT_REOPENED)),
	FIELD_INTEGER(struct report, files, 0, 2, BIT(REPORT_REOPENED)),
	FIELD_TEXT(struct report, stdout_failure, BIT(REPORT_REOPENED)),
	FIELD_TEXT(struct report, stderr_failure, BIT(REPORT_REOPENED)),
	FIELD_TEXT(struct report, text,
		   BIT(REPORT_NOTIFY) | BIT(REPORT_FAILED) | BIT(REPORT_ORPHAN)),
	FIELD_TEXT(struct report, tail, TAIL),
};

/* The fields that the first version of the protocol did not have. */
static const struct field report_fields_optional[] = {
	FIELD_INTEGER(struct report, newest, 0, UINT32_MAX, BIT(REPORT_HELLO)),
	FIELD_INTEGER(struct report, serial, 0, UINT32_MAX, BIT(REPORT_HELLO)),
	FIELD_TEXT(struct report, text, BIT(REPORT_EXITED)),
	FIELD_BOOLEAN(struct report, tells, BIT(REPORT_HELLO)),
	FIELD_BOOLEAN(struct report, reopens, BIT(REPORT_HELLO)),
	FIELD_BOOLEAN(struct report, keeps, BIT(REPORT_HELLO)),
	FIELD_BOOLEAN(struct report, looks, BIT(REPORT_HELLO)),
	FIELD_BOOLEAN(struct report, hinted, BIT(REPORT_HELLO)),
	FIELD_INTEGER(struct report, kept, 0, PROTOCOL_KEPT_MAX, BIT(REPORT_HELLO)),
	FIELD_BOOLEAN(struct report, initial, BIT(REPORT_HELLO)),
	FIELD_INTEGER(struct report, succeeds, 0, PID_MAX, BIT(REPORT_STARTED)),
	FIELD_INTEGER(struct report, exit_code, 0, 255, BIT(REPORT_STARTED)),
	FIELD_INTEGER(struct report, exit_signal, 0, SIGNAL_MAX, BIT(REPORT_STARTED)),
	FIELD_NAME(struct report, ending, ending_names, _ENDING_COUNT, ENDED | BIT(REPORT_STARTED)),
	FIELD_TEXT(struct report, trouble, BIT(REPORT_HELLO) | BIT(REPORT_SOCKETS)),
	FIELD_INTEGER(struct report, trouble_endpoint, 0, PROTOCOL_LISTEN_MAX - 1,
		      BIT(REPORT_HELLO) | BIT(REPORT_SOCKETS)),
	FIELD_INTEGER(struct report, first, 0, PROTOCOL_SET_MAX,
		      BIT(REPORT_HELLO) | BIT(REPORT_SOCKETS)),
	FIELD_INTEGER(struct report, more, 0, PROTOCOL_SET_MAX,
		      BIT(REPORT_HELLO) | BIT(REPORT_SOCKETS)),
	FIELD_BOOLEAN(struct report, lingers, BIT(REPORT_EXITED)),
	FIELD_TEXT(struct report, wrapper, BIT(REPORT_EXITED)),
	FIELD_BOOLEAN(struct report, has_uid, ENDED),
	FIELD_INTEGER(struct report, uid, 0, UINT32_MAX, ENDED),
	FIELD_BOOLEAN(struct report, tail_stdout, TAIL),
	FIELD_INTEGER(struct report, tail_age_ms, 0, UINT32_MAX, TAIL),
};

static bool has_sockets(enum report_type type)
{
	return type == REPORT_HELLO || type == REPORT_SOCKETS;
}

static int encode_socket(json_t *item, const struct report_socket *socket)
{
	int r = add(item, "cookie", encode_u64(socket->cookie));

	if (r == 0)
		r = add(item, "inode", encode_u64(socket->inode));
	if (r == 0)
		r = add(item, "endpoint", json_integer(socket->endpoint));
	if (r == 0)
		r = add(item, "own", json_boolean(socket->own));
	if (r == 0 && socket->deaf)
		r = add(item, "deaf", json_true());
	if (r == 0)
		r = add(item, "address", json_string(socket->address));
	return r;
}

static int encode_sockets(json_t *object, const struct report *report)
{
	json_t *list = json_array(), *item;

	if (add(object, "sockets", list) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < report->n_sockets; i++) {
		item = json_object();
		if (json_array_append_new(list, item) < 0 ||
		    encode_socket(item, &report->sockets[i]) < 0)
			return -ENOMEM;
	}
	list = json_array();
	if (add(object, "strangers", list) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < report->n_strangers; i++)
		if (json_array_append_new(list, json_string(report->strangers[i])) < 0)
			return -ENOMEM;
	return 0;
}

/* @i is the socket's place in the list. @lenient: fields that are new since the first version may
 * lack. */
static int decode_place(const json_t *item, size_t i, bool lenient, struct report_socket *ret,
			struct error *err)
{
	const json_t *endpoint = json_object_get(item, "endpoint");
	const json_t *own = json_object_get(item, "own");
	const json_t *deaf = json_object_get(item, "deaf");
	json_int_t number = (json_int_t)i;

	if (endpoint || !lenient)
		number = json_is_integer(endpoint) ? json_integer_value(endpoint) : -1;
	if (number < 0 || number >= PROTOCOL_LISTEN_MAX)
		return error_text(err, -EBADMSG, "\"endpoint\" is not a number from 0 to %d",
				  PROTOCOL_LISTEN_MAX - 1);
	if ((own || !lenient) && !json_is_boolean(own))
		return error_text(err, -EBADMSG, "\"own\" is neither true nor false");
	ret->endpoint = (uint32_t)number;
	ret->own = json_is_true(own);
	/* Older agents do not say it. */
	if (deaf && !json_is_boolean(deaf))
		return error_text(err, -EBADMSG, "\"deaf\" is neither true nor false");
	ret->deaf = json_is_true(deaf);
	return 0;
}

static int decode_socket(const json_t *item, struct report_socket *ret, struct error *err)
{
	const char *text = json_string_value(json_object_get(item, "address"));
	struct address address;
	int r;

	r = decode_u64(item, "cookie", &ret->cookie, err);
	if (r == 0)
		r = decode_u64(item, "inode", &ret->inode, err);
	if (r < 0)
		return r;
	if (!text)
		return error_text(err, -EBADMSG, "\"address\" is not a string");
	if (address_parse(text, &address, err) < 0)
		return error_prefix(err, -EBADMSG, "\"address\"");
	memcpy(ret->address, address.text, sizeof(ret->address));
	return 0;
}

/* Not parsed: a server may listen where no service can, for example on a link-local address. */
static int decode_strangers(const json_t *object, struct report *report, struct error *err)
{
	const json_t *list, *item;
	int r;

	r = fields_get_array(object, "strangers", PROTOCOL_STRANGERS_MAX, &list, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < json_array_size(list); i++) {
		item = json_array_get(list, i);
		if (!json_is_string(item) || json_string_length(item) >= ADDRESS_TEXT_MAX)
			return error_text(err, -EBADMSG,
					  "\"strangers\": not a string of at most %d bytes",
					  ADDRESS_TEXT_MAX - 1);
		strcpy(report->strangers[report->n_strangers++], json_string_value(item));
	}
	return 0;
}

static int decode_sockets(const json_t *object, struct report *report, struct error *err)
{
	bool lenient = report->type == REPORT_HELLO;
	const json_t *list, *item;
	int r;

	r = fields_get_array(object, "sockets", PROTOCOL_SOCKETS_MAX, &list, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < json_array_size(list); i++) {
		item = json_array_get(list, i);
		r = decode_socket(item, &report->sockets[i], err);
		if (r == 0)
			r = decode_place(item, i, lenient, &report->sockets[i], err);
		if (r < 0)
			return error_prefix(err, r, "\"sockets\"");
		report->n_sockets++;
	}
	if (lenient && !json_object_get(object, "strangers"))
		return 0;
	return decode_strangers(object, report, err);
}

/* The rules that the tables cannot express. */
static int check_report(const struct report *report, struct error *err)
{
	if (report->type == REPORT_HELLO && paths_check_name(report->service, err) < 0)
		return error_prefix(err, -EBADMSG, "\"service\"");
	if (report->newest != 0 && report->newest < report->version)
		return error_text(err, -EBADMSG, "\"newest\" is below \"version\"");
	if (report->type == REPORT_STARTED && report->pid == 0)
		return error_text(err, -EBADMSG, "\"pid\" is 0");
	if (report->exit_code && report->exit_signal)
		return error_text(err, -EBADMSG,
				  "both \"exit_code\" and \"exit_signal\" are given");
	return 0;
}

int report_encode(const struct report *report, char **ret_text, size_t *ret_length)
{
	cleanup(json_decref) json_t *object = json_object();
	int r;

	assert((unsigned)report->type < _REPORT_TYPE_COUNT);
	if (has_sockets(report->type) && (report->n_sockets > PROTOCOL_SOCKETS_MAX ||
					  report->n_strangers > PROTOCOL_STRANGERS_MAX))
		return -EMSGSIZE;
	if (json_object_set_new(object, "type", json_string(report_names[report->type])) < 0)
		return -ENOMEM;
	r = fields_encode(object, report_fields, COUNT(report_fields), report->type, report);
	if (r == 0)
		r = fields_encode(object, report_fields_optional, COUNT(report_fields_optional),
				  report->type, report);
	if (r == 0 && has_sockets(report->type))
		r = encode_sockets(object, report);
	if (r < 0)
		return r;
	return fields_dump(object, PROTOCOL_MESSAGE_MAX, ret_text, ret_length);
}

int report_decode(const char *text, size_t length, struct report *ret, struct error *err)
{
	cleanup(json_decref) json_t *object = NULL;
	unsigned type;
	int r;

	*ret = (struct report){0};
	r = fields_load(text, length, PROTOCOL_MESSAGE_MAX, &object, err);
	if (r == 0)
		r = fields_get_type(object, report_names, _REPORT_TYPE_COUNT, &type, err);
	if (r < 0)
		return error_prefix(err, r, "report");
	ret->type = type;
	r = fields_decode(object, report_fields, COUNT(report_fields), type, ret, err);
	if (r == 0)
		r = decode_optional(object, report_fields_optional, COUNT(report_fields_optional),
				    type, ret, err);
	if (r == 0 && has_sockets(ret->type))
		r = decode_sockets(object, ret, err);
	if (r == 0)
		r = check_report(ret, err);
	if (r < 0)
		return error_prefix(err, r, "report %s", report_names[type]);
	return 0;
}
