/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/service/state.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "orchestrator/config/config.h"
#include "orchestrator/host/file.h"
#include "orchestrator/host/kept_file.h"
#include "common/fields.h"
#include "common/paths.h"
#include "common/vector.h"

#define STATE_VERSION  1
#define STATE_FILE_MAX (32 * 1024 * 1024)

struct state {
	char *file;
	struct kept_file *kept;
	bool has_spare;
	json_t *root;     /* as read: fields that this version does not know are kept */
	json_t *services; /* borrowed from root */
	/*
	 * What each entry of .services is in the file: "NAME": {...}. Those that have changed are
	 * missing: with a thousand services, to render all of them for each change of one would
	 * cost more than what the change is about.
	 */
	json_t *texts;
};

void state_free(struct state *state)
{
	if (!state)
		return;
	kept_file_free(state->kept);
	json_decref(state->root);
	json_decref(state->texts);
	free(state->file);
	free(state);
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool is_in_range(const json_t *value, json_int_t max)
{
	return json_is_integer(value) && json_integer_value(value) >= 0 &&
	       json_integer_value(value) <= max;
}

static bool is_generation(const json_t *value)
{
	return is_in_range(value, UINT32_MAX);
}

static bool is_instances(const json_t *value)
{
	return is_in_range(value, CONFIG_INSTANCES_MAX);
}

static bool is_command(const json_t *value)
{
	const json_t *word;
	size_t k;

	json_array_foreach (value, k, word)
		if (!json_is_string(word))
			return false;
	return json_array_size(value) > 0;
}

static bool is_environment(const json_t *value)
{
	const json_t *entry;
	size_t k;

	json_array_foreach (value, k, entry)
		if (!json_is_string(entry) || strcspn(json_string_value(entry), "=") == 0 ||
		    !strchr(json_string_value(entry), '='))
			return false;
	return json_array_size(value) > 0;
}

static bool is_text(const json_t *value)
{
	return json_is_string(value);
}

static const struct {
	const char *name, *expected;
	bool (*is_valid)(const json_t *value);
	bool required;
} fields[] = {
	{"command", "an array of strings", is_command, false},
	{"environment", "an array of \"NAME=value\"", is_environment, false},
	{"base", "a text", is_text, false},
	{"twins", "an array of strings", is_command, false},
	{"serving", "a generation number", is_generation, false},
	{"instances", "a number of instances", is_instances, false},
	{"generation", "a generation number", is_generation, true},
};

static int check_services(const char *file, json_t *services, struct error *err)
{
	const char *name;
	json_t *entry;

	json_object_foreach (services, name, entry) {
		for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
			const json_t *value = json_object_get(entry, fields[i].name);

			if (value ? fields[i].is_valid(value) : !fields[i].required)
				continue;
			return error_text(err, -EBADMSG, "%s: services.%s.%s: not %s", file, name,
					  fields[i].name, fields[i].expected);
		}
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
	json_decref(state->root);
	state->root = json_pack("{s:i, s:{}}", "version", STATE_VERSION, "services");
	state->services = json_object_get(state->root, "services");
	return state->services ? 0 : error_set(err, -ENOMEM, "%s", state->file);
}

/* 1: @err says why what there is cannot be used. */
static int read_state(struct state *state, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t length;
	int r = file_read(state->file, STATE_FILE_MAX, &text, &length);

	if (r == -ENOENT)
		return start_empty(state, err);
	if (r < 0)
		error_text(err, r, "%s: %s", state->file, file_why(r));
	else
		r = parse(state, text, length, err);
	return r == -ENOMEM || r == 0 ? r : 1;
}

/* What cannot be used may be of use to a person, or to a later version: it is kept. */
static void move_aside(const struct state *state, struct error *err)
{
	struct error why = *err;
	char aside[PATH_MAX];
	int r = file_move_aside(state->file, aside);

	if (r < 0)
		error_text(err, r,
			   "%.400s; it is left alone, as it cannot be moved aside: %s; what "
			   "earlier batonds have noted is not known",
			   why.text, strerror(-r));
	else
		error_text(err, 0,
			   "%.400s; it was moved to %s, and what earlier batonds have noted is not "
			   "known",
			   why.text, aside);
}

static int give_up(struct state *state, struct error *err)
{
	struct error why;
	int r = start_empty(state, &why);

	if (r < 0) {
		*err = why;
		return r;
	}
	move_aside(state, err);
	return 1;
}

int state_open(const char *file, struct state **ret, struct error *err)
{
	cleanup(state_free) struct state *state = calloc(1, sizeof(*state));
	int folder, r;

	if (state)
		state->file = strdup(file);
	if (state)
		state->texts = json_object();
	if (state && state->file && state->texts)
		state->kept = kept_file_new(NULL, NULL, file, NULL);
	if (!state || !state->kept)
		return error_set(err, -ENOMEM, "%s", file);
	folder = file_make_folder(file, 0700);
	r = read_state(state, err);
	if (r > 0)
		r = give_up(state, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(state);
	if (r == 0 && folder < 0) {
		error_set(err, folder, "%s: make its folder", file);
		return 1;
	}
	return r;
}

/* ---- rendering ------------------------------------------------------------------------------ */

static void forget_text(struct state *state, const char *service)
{
	(void)json_object_del(state->texts, service);
}

/* "NAME": {...}; borrowed. NULL without memory. */
static const char *entry_text(struct state *state, const char *service, json_t *entry)
{
	const char *known = json_string_value(json_object_get(state->texts, service));
	json_t *alone = known ? NULL : json_pack("{s:O}", service, entry);
	cleanup_free char *text = alone ? fields_text(alone, 0) : NULL;
	size_t n = text ? strlen(text) : 0;

	json_decref(alone);
	if (known)
		return known;
	/* Without its braces. */
	if (n < 2 || json_object_set_new(state->texts, service, json_stringn(text + 1, n - 2)) < 0)
		return NULL;
	return json_string_value(json_object_get(state->texts, service));
}

static bool print_services(struct state *state, FILE *f)
{
	const char *service, *comma = "";
	json_t *entry;

	json_object_foreach (state->services, service, entry) {
		const char *text = entry_text(state, service, entry);

		if (!text)
			return false;
		fprintf(f, "%s\n    %s", comma, text);
		comma = ",";
	}
	return true;
}

/* All but the services; NULL without memory. */
static char *head_text(const struct state *state)
{
	json_t *head = json_copy(state->root);
	char *text;

	if (!head)
		return NULL;
	json_object_del(head, "services");
	text = fields_text(head, JSON_INDENT(2));
	json_decref(head);
	return text;
}

/* The whole file; NULL without memory. */
static char *render(struct state *state)
{
	cleanup_free char *head = head_text(state);
	char *text = NULL, *end = head ? strrchr(head, '\n') : NULL;
	size_t size;
	bool whole;
	FILE *f;

	/* At least the version is in it: it ends with "\n}". */
	f = end ? open_memstream(&text, &size) : NULL;
	if (!f)
		return NULL;
	fprintf(f, "%.*s,\n  \"services\": {", (int)(end - head), head);
	whole = print_services(state, f);
	fputs("\n  }\n}", f);
	whole &= !ferror(f);
	if (fclose(f) == 0 && whole)
		return text;
	free(text);
	return NULL;
}

/* ---- saving --------------------------------------------------------------------------------- */

static json_int_t change_of(const json_t *root)
{
	return json_integer_value(json_object_get(root, "change"));
}

/* Which of two files is the later one. */
static int count_change(struct state *state)
{
	json_int_t change = change_of(state->root) + 1;

	return !state->has_spare ? 0
				 : json_object_set_new(state->root, "change", json_integer(change));
}

/*
 * 0: a next daemon finds it; 1: it is in memory only, and tried again later; @err says why. -ENOMEM
 * if it is nowhere but here.
 */
static int save(struct state *state, struct error *err)
{
	cleanup_free char *text = NULL;

	if (count_change(state) == 0)
		text = render(state);
	if (!text)
		return error_set(err, -ENOMEM, "%s", state->file);
	return kept_file_write(state->kept, text, err) < 0;
}

/* ---- the spare ------------------------------------------------------------------------------ */

/* Take what the file could not be given, unless the file has got it since. */
static int read_spare(struct state *state, const char *spare, struct error *err)
{
	cleanup(state_free) struct state *other = NULL;
	json_t *root;
	int r = access(spare, F_OK) < 0 ? 0 : state_open(spare, &other, err);

	if (r != 0 || !other)
		return r;
	if (change_of(other->root) <= change_of(state->root)) {
		unlink(spare);
		return 0;
	}
	root = state->root;
	json_object_clear(state->texts);
	state->root = other->root;
	state->services = other->services;
	other->root = root;
	error_text(err, 0, "%s lacks what was to be written last: %s is used", state->file, spare);
	return 1;
}

int state_keep(struct state *state, sd_event *event, struct writer *writer, const char *spare,
	       struct error *err)
{
	struct kept_file *kept = kept_file_new(event, writer, state->file, spare);
	int r;

	if (!kept)
		return error_set(err, -ENOMEM, "%s", state->file);
	r = read_spare(state, spare, err);
	if (r < 0) {
		kept_file_free(kept);
		return r;
	}
	kept_file_free(state->kept);
	state->kept = kept;
	state->has_spare = true;
	/* The file gets what the spare had, also if nothing changes any more. */
	if (r > 0)
		(void)save(state, NULL);
	return r;
}

/* ---- generations ---------------------------------------------------------------------------- */

/* The number in the entry of @service. Makes the entry if there is none; NULL without memory. */
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
	forget_text(state, service);
	r = save(state, err);
	if (r == -ENOMEM) {
		json_integer_set(generation, last);
		forget_text(state, service);
		return r;
	}
	*ret = (uint32_t)(last + 1);
	return r;
}

/* ---- what is remembered --------------------------------------------------------------------- */

static const json_t *field_of(const struct state *state, const char *service, const char *field)
{
	return json_object_get(json_object_get(state->services, service), field);
}

/* That it cannot be written yet is no failure. */
static int remember(struct state *state, struct error *err)
{
	int r = save(state, err);

	return r < 0 ? r : 0;
}

/* Put @value, which is taken over, into @field (NULL: remove the field), and save. */
static int set_field(struct state *state, const char *service, const char *field, json_t *value,
		     struct error *err)
{
	json_t *entry;

	forget_text(state, service);
	if (!generation_of(state, service)) {
		json_decref(value);
		return error_set(err, -ENOMEM, "%s", state->file);
	}
	entry = json_object_get(state->services, service);
	if (value && json_object_set_new(entry, field, value) < 0)
		return error_set(err, -ENOMEM, "%s", state->file);
	/* What was not there needs no writing either. */
	if (!value && json_object_del(entry, field) < 0)
		return 0;
	return remember(state, err);
}

/* -EILSEQ if a string is not UTF-8: jansson does not tell that from a lack of memory. */
static int strings_json(char *const *vector, json_t **ret)
{
	json_t *array = json_array();

	if (!array)
		return -ENOMEM;
	for (; *vector; vector++) {
		int r;

		errno = 0;
		if (json_array_append_new(array, json_string(*vector)) == 0)
			continue;
		r = errno == ENOMEM ? -ENOMEM : -EILSEQ;
		json_decref(array);
		return r;
	}
	*ret = array;
	return 0;
}

/* An empty vector is as good as none: nothing that is read back can be told from it. */
static int set_strings(struct state *state, const char *service, const char *field,
		       char *const *vector, struct error *err)
{
	json_t *array = NULL;
	int r = 0;

	if (vector && *vector)
		r = strings_json(vector, &array);
	if (r == -ENOMEM)
		return error_set(err, r, "%s", state->file);
	if (r == 0)
		return set_field(state, service, field, array, err);
	/* Better none than one of an earlier time. */
	set_field(state, service, field, NULL, NULL);
	return error_set(err, r, "%s", field);
}

static char **strings(const struct state *state, const char *service, const char *field)
{
	const json_t *array = field_of(state, service, field);
	char **vector = NULL;
	const json_t *text;
	size_t k;

	json_array_foreach (array, k, text) {
		char *copy = strdup(json_string_value(text));

		if (copy && vector_append(&vector, copy) == 0)
			continue;
		vector_free(vector);
		return NULL;
	}
	return vector;
}

static int set_number(struct state *state, const char *service, const char *field, uint32_t number,
		      struct error *err)
{
	json_t *value = json_integer(number);

	if (!value)
		return error_set(err, -ENOMEM, "%s", state->file);
	return set_field(state, service, field, value, err);
}

static uint32_t number(const struct state *state, const char *service, const char *field)
{
	return (uint32_t)json_integer_value(field_of(state, service, field));
}

int state_set_command(struct state *state, const char *service, char *const *command,
		      struct error *err)
{
	return set_strings(state, service, "command", command, err);
}

char **state_command(const struct state *state, const char *service)
{
	return strings(state, service, "command");
}

int state_set_environment(struct state *state, const char *service, char *const *environment,
			  struct error *err)
{
	for (char *const *entry = environment; entry && *entry; entry++)
		if (!strchr(*entry, '=') || (*entry)[0] == '=')
			return error_text(err, -EINVAL, "environment: \"%s\": expected NAME=value",
					  *entry);
	return set_strings(state, service, "environment", environment, err);
}

char **state_environment(const struct state *state, const char *service)
{
	return strings(state, service, "environment");
}

int state_set_base(struct state *state, const char *service, const char *base, struct error *err)
{
	json_t *value = base ? json_string(base) : NULL;

	if (base && !value)
		return error_set(err, -ENOMEM, "%s", state->file);
	return set_field(state, service, "base", value, err);
}

char *state_base(const struct state *state, const char *service)
{
	const char *base = json_string_value(field_of(state, service, "base"));

	return base ? strdup(base) : NULL;
}

int state_set_serving(struct state *state, const char *service, uint32_t generation,
		      struct error *err)
{
	return set_number(state, service, "serving", generation, err);
}

uint32_t state_generation(const struct state *state, const char *service)
{
	return number(state, service, "generation");
}

uint32_t state_serving(const struct state *state, const char *service)
{
	return number(state, service, "serving");
}

static bool contains(char *const *vector, const char *text)
{
	for (; vector && *vector; vector++)
		if (strcmp(*vector, text) == 0)
			return true;
	return false;
}

bool state_has_twin(const struct state *state, const char *service, const char *address)
{
	cleanup(vector_free) char **twins = strings(state, service, "twins");

	return contains(twins, address);
}

int state_set_twin(struct state *state, const char *service, const char *address, bool on,
		   struct error *err)
{
	cleanup(vector_free) char **before = strings(state, service, "twins");
	cleanup(vector_free) char **after = NULL;
	char *copy;

	if (contains(before, address) == on)
		return 0;
	for (char **twin = before; twin && *twin; twin++) {
		copy = strcmp(*twin, address) == 0 ? NULL : strdup(*twin);
		if (copy && vector_append(&after, copy) < 0)
			return error_set(err, -ENOMEM, "%s", state->file);
	}
	copy = on ? strdup(address) : NULL;
	if (on && (!copy || vector_append(&after, copy) < 0))
		return error_set(err, -ENOMEM, "%s", state->file);
	return set_strings(state, service, "twins", after, err);
}

/* Like entries of services, what this version cannot use is kept, and not used. */
int state_set_id(struct state *state, const char *name, const char *id, struct error *err)
{
	json_t *ids = json_object_get(state->root, "ids");

	if (!id && !json_object_get(ids, name))
		return 0;
	if (!json_is_object(ids)) {
		ids = json_object();
		if (json_object_set_new(state->root, "ids", ids) < 0)
			return error_set(err, -ENOMEM, "%s", state->file);
	}
	if (!id)
		json_object_del(ids, name);
	else if (json_object_set_new(ids, name, json_string(id)) < 0)
		return error_set(err, -ENOMEM, "%s", state->file);
	return remember(state, err);
}

bool state_has_ids(const struct state *state)
{
	return json_object_size(json_object_get(state->root, "ids")) > 0;
}

char *state_id(const struct state *state, const char *name)
{
	const json_t *ids = json_object_get(state->root, "ids");
	const char *id = json_string_value(json_object_get(ids, name));

	return id && paths_check_name(id, NULL) >= 0 ? strdup(id) : NULL;
}

int state_set_instances(struct state *state, const char *service, uint32_t instances,
			struct error *err)
{
	if (instances > CONFIG_INSTANCES_MAX)
		return error_text(err, -EINVAL, "instances: %u: expected at most %d", instances,
				  CONFIG_INSTANCES_MAX);
	if (!instances)
		return set_field(state, service, "instances", NULL, err);
	return set_number(state, service, "instances", instances, err);
}

uint32_t state_instances(const struct state *state, const char *service)
{
	return number(state, service, "instances");
}
