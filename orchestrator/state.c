/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/state.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "orchestrator/file.h"
#include "orchestrator/vector.h"

#define STATE_VERSION  1
#define STATE_FILE_MAX (4 * 1024 * 1024)

struct state {
	char *file;
	json_t *root;     /* as read: fields that this version does not know are kept */
	json_t *services; /* borrowed from root */
};

void state_free(struct state *state)
{
	if (!state)
		return;
	json_decref(state->root);
	free(state->file);
	free(state);
}

static bool is_command(const json_t *command)
{
	const json_t *word;
	size_t k;

	json_array_foreach (command, k, word)
		if (!json_is_string(word))
			return false;
	return json_array_size(command) > 0;
}

static int check_services(const char *file, json_t *services, struct error *err)
{
	const char *name;
	json_t *entry;

	json_object_foreach (services, name, entry) {
		const json_t *generation = json_object_get(entry, "generation");
		const json_t *command = json_object_get(entry, "command");
		const json_t *serving = json_object_get(entry, "serving");
		json_int_t value = json_integer_value(generation);

		if (command && !is_command(command))
			return error_text(err, -EBADMSG,
					  "%s: services.%s.command: not an array of strings", file,
					  name);
		if (serving && (!json_is_integer(serving) || json_integer_value(serving) < 0 ||
				json_integer_value(serving) > UINT32_MAX))
			return error_text(err, -EBADMSG,
					  "%s: services.%s.serving: not a generation number", file,
					  name);
		if (!json_is_integer(generation) || value < 0 || value > UINT32_MAX)
			return error_text(err, -EBADMSG,
					  "%s: services.%s.generation: not a generation number",
					  file, name);
	}
	return 0;
}

static int parse(struct state *state, const char *text, size_t length, struct error *err)
{
	const json_t *version;
	json_error_t error;

	errno = 0;
	state->root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
	/* jansson calls a lack of memory a syntax error at some places; malloc(3) tells the truth.
	 */
	if (!state->root && errno == ENOMEM)
		return error_set(err, -ENOMEM, "%s", state->file);
	if (!state->root)
		return error_text(err, -EBADMSG, "%s: damaged: line %d, column %d: %s", state->file,
				  error.line, error.column, error.text);
	version = json_object_get(state->root, "version");
	if (!json_is_integer(version) || json_integer_value(version) < 1)
		return error_text(err, -EBADMSG, "%s: damaged: no version number", state->file);
	if (json_integer_value(version) > STATE_VERSION)
		return error_text(err, -EPROTONOSUPPORT,
				  "%s: written by a later version of baton (format %lld, this one "
				  "reads %d)",
				  state->file, (long long)json_integer_value(version),
				  STATE_VERSION);
	state->services = json_object_get(state->root, "services");
	if (!json_is_object(state->services))
		return error_text(err, -EBADMSG, "%s: damaged: no services", state->file);
	return check_services(state->file, state->services, err);
}

static int start_empty(struct state *state, struct error *err)
{
	int r = file_make_folder(state->file, 0700);

	if (r < 0)
		return error_set(err, r, "%s: make its folder", state->file);
	state->root = json_pack("{s:i, s:{}}", "version", STATE_VERSION, "services");
	state->services = json_object_get(state->root, "services");
	return state->services ? 0 : error_set(err, -ENOMEM, "%s", state->file);
}

int state_open(const char *file, struct state **ret, struct error *err)
{
	cleanup(state_free) struct state *state = calloc(1, sizeof(*state));
	cleanup_free char *text = NULL;
	size_t length;
	int r;

	if (state)
		state->file = strdup(file);
	if (!state || !state->file)
		return error_set(err, -ENOMEM, "%s", file);
	r = file_read(file, STATE_FILE_MAX, &text, &length);
	if (r == -ENOENT)
		r = start_empty(state, err);
	else if (r < 0)
		return error_set(err, r, "%s", file);
	else
		r = parse(state, text, length, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(state);
	return 0;
}

static int save(const struct state *state, struct error *err)
{
	cleanup_free char *text = json_dumps(state->root, JSON_INDENT(2));
	int r = text ? file_replace(state->file, text, strlen(text), 0600) : -ENOMEM;

	return r < 0 ? error_set(err, r, "%s", state->file) : 0;
}

/* The number in the entry of @service, which is made where there is none. NULL without memory. */
static json_t *generation_of(struct state *state, const char *service)
{
	json_t *entry = json_object_get(state->services, service);

	if (!entry) {
		entry = json_pack("{s:i}", "generation", 0);
		if (json_object_set_new(state->services, service, entry) < 0)
			return NULL;
	}
	return json_object_get(entry, "generation");
}

int state_next_generation(struct state *state, const char *service, uint32_t *ret,
			  struct error *err)
{
	json_t *generation = generation_of(state, service);
	json_int_t last = json_integer_value(generation);
	int r;

	if (!generation)
		return error_set(err, -ENOMEM, "%s", state->file);
	if (last >= UINT32_MAX)
		return error_set(err, -EOVERFLOW, "%s: services.%s.generation", state->file,
				 service);
	json_integer_set(generation, last + 1);
	r = save(state, err);
	if (r < 0) {
		json_integer_set(generation, last);
		return r;
	}
	*ret = (uint32_t)(last + 1);
	return 0;
}

static json_t *command_json(char *const *command)
{
	json_t *array = json_array();

	for (; array && *command; command++) {
		if (json_array_append_new(array, json_string(*command)) == 0)
			continue;
		json_decref(array);
		return NULL;
	}
	return array;
}

int state_set_command(struct state *state, const char *service, char *const *command,
		      struct error *err)
{
	json_t *array = command ? command_json(command) : NULL;
	json_t *entry;

	if (!generation_of(state, service)) {
		json_decref(array);
		return error_set(err, -ENOMEM, "%s", state->file);
	}
	entry = json_object_get(state->services, service);
	if (!array && !json_object_get(entry, "command"))
		return command ? error_set(err, -EILSEQ, "command") : 0;
	if (array)
		json_object_set_new(entry, "command", array);
	else
		json_object_del(entry, "command");
	if (command && !array)
		error_set(err, -EILSEQ, "command");
	return command && !array ? -EILSEQ : save(state, err);
}

int state_set_serving(struct state *state, const char *service, uint32_t generation,
		      struct error *err)
{
	if (!generation_of(state, service))
		return error_set(err, -ENOMEM, "%s", state->file);
	json_object_set_new(json_object_get(state->services, service), "serving",
			    json_integer(generation));
	return save(state, err);
}

uint32_t state_serving(const struct state *state, const char *service)
{
	return (uint32_t)json_integer_value(
		json_object_get(json_object_get(state->services, service), "serving"));
}

char **state_command(const struct state *state, const char *service)
{
	const json_t *command =
		json_object_get(json_object_get(state->services, service), "command");
	char **vector = NULL;
	const json_t *word;
	size_t k;

	json_array_foreach (command, k, word) {
		if (vector_append(&vector, strdup(json_string_value(word))) == 0)
			continue;
		vector_free(vector);
		return NULL;
	}
	return vector;
}
