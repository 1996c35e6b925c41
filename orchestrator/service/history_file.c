/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/service/history_file.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/fields.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/vector.h"
#include "orchestrator/host/file.h"

#define HISTORY_VERSION 1

void history_file_path(const struct paths *paths, const char *service, char ret[static PATHS_MAX])
{
	const char *slash = strrchr(paths->state_file, '/');
	int n = slash ? (int)(slash - paths->state_file) + 1 : 0;

	snprintf(ret, PATHS_MAX, "%.*shistory/%s.json", n, paths->state_file, service);
}

/* ---- writing -------------------------------------------------------------------------------- */

static json_t *strings_json(char *const *strings)
{
	json_t *array = json_array();

	for (; strings && *strings; strings++)
		if (json_array_append_new(array, json_string(*strings)) < 0) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static json_t *file_json(const struct release_file *file)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:s}", "path", file->path, "inode",
			 (json_int_t)file->inode, "mtime_ms", (json_int_t)file->mtime_ms, "size",
			 (json_int_t)file->size, "ctime_ns", (json_int_t)file->ctime_ns, "hash",
			 file->hash);
}

static json_t *identity_json(const struct release *release)
{
	json_t *files = json_array();

	for (size_t k = 0; k < release->n_files; k++)
		if (json_array_append_new(files, file_json(&release->files[k])) < 0) {
			json_decref(files);
			return NULL;
		}
	return json_pack("{s:I, s:I, s:I, s:I, s:s, s:s, s:o}", "inode", (json_int_t)release->inode,
			 "mtime_ms", (json_int_t)release->mtime_ms, "size",
			 (json_int_t)release->size, "ctime_ns", (json_int_t)release->ctime_ns,
			 "digest", release->digest, "hash", release->hash, "files", files);
}

static json_t *resources_json(const struct cgroup_limits *limits)
{
	return json_pack("{s:I, s:I, s:I}", "memory_max", (json_int_t)limits->memory_max, "cpu_max",
			 (json_int_t)limits->cpu_max, "pids_max", (json_int_t)limits->pids_max);
}

/* As an agent would be given it. */
static json_t *spec_json(const struct past *past)
{
	const struct service_config *c = past->config;
	const struct release *release = past->release;
	struct launch_spec spec = {
		.service = c->name,
		.generation = past->generation,
		.listen = (struct address *)c->listen,
		.n_listen = c->n_listen,
		.backlog = c->backlog,
		.nonblocking = c->nonblocking,
		.mode = c->mode,
		.executable = release->executable,
		.argv = release->command,
		.environment = release->environment,
		.directory = release->directory,
		.uid = c->uid,
		.gid = c->gid,
		.n_groups = c->n_groups,
		.set_ids = c->set_ids,
		.process = c->process,
	};
	cleanup_free char *text = NULL;
	size_t length;

	_Static_assert(CONFIG_GROUPS_MAX <= PROTOCOL_GROUPS_MAX, "groups fit");
	memcpy(spec.groups, c->groups, c->n_groups * sizeof(c->groups[0]));
	if (launch_spec_encode(&spec, &text, &length) < 0)
		return NULL;
	return json_loadb(text, length, 0, NULL);
}

/* NULL: a text is not UTF-8, it is too long, or there is no memory. */
static json_t *past_json(const struct past *past)
{
	return json_pack("{s:I, s:I, s:I, s:s, s:b, s:o, s:o, s:o, s:o}", "generation",
			 (json_int_t)past->generation, "began_ms", (json_int_t)past->began_ms,
			 "ended_ms", (json_int_t)past->ended_ms, "end", past_end_name(past->end),
			 "came_back", past->came_back, "added", strings_json(past->added),
			 "resources", resources_json(&past->config->resources), "identity",
			 identity_json(past->release), "spec", spec_json(past));
}

/* From the @first on. */
static char *history_text(const struct history *history, size_t first)
{
	json_t *releases = json_array(), *root;
	char *text;

	for (size_t k = first; k < history->n; k++)
		if (json_array_append_new(releases, past_json(history->list[k])) < 0)
			log_warning("%s: the release of generation %u cannot be remembered: out of "
				    "memory, or a text in it is not UTF-8",
				    history->list[k]->config->name, history->list[k]->generation);
	root = json_pack("{s:i, s:o}", "version", HISTORY_VERSION, "releases", releases);
	text = fields_text(root, JSON_INDENT(1));
	json_decref(root);
	return text;
}

int history_file_write(struct kept_file *file, const struct history *history, struct error *err)
{
	cleanup_free char *text = history_text(history, 0);

	for (size_t first = 1; text && strlen(text) > HISTORY_FILE_MAX && first <= history->n;
	     first++) {
		free(text);
		text = history_text(history, first);
	}
	if (!text)
		return error_set(err, -ENOMEM, "%s", kept_file_path(file));
	(void)kept_file_write(file, text, err);
	return 0;
}

/* ---- reading -------------------------------------------------------------------------------- */

static uint64_t number(const json_t *object, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(object, key));

	return value > 0 ? (uint64_t)value : 0;
}

static void take_text(const json_t *object, const char *key, char *ret, size_t size)
{
	const char *text = json_string_value(json_object_get(object, key));

	snprintf(ret, size, "%s", text ? text : "");
}

static int take_strings(const json_t *array, char ***ret)
{
	const json_t *text;
	size_t k;

	json_array_foreach (array, k, text) {
		char *copy;

		if (!json_is_string(text))
			return -EBADMSG;
		copy = strdup(json_string_value(text));
		if (!copy || vector_append(ret, copy) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int take_files(const json_t *array, struct release *ret)
{
	const json_t *entry;
	size_t k;

	json_array_foreach (array, k, entry) {
		struct release_file *file = &ret->files[ret->n_files];
		const char *path = json_string_value(json_object_get(entry, "path"));

		if (!path || ret->n_files == RELEASE_FILES_MAX)
			return -EBADMSG;
		*file = (struct release_file){.path = strdup(path),
					      .inode = number(entry, "inode"),
					      .mtime_ms = number(entry, "mtime_ms"),
					      .size = number(entry, "size"),
					      .ctime_ns = number(entry, "ctime_ns")};
		if (!file->path)
			return -ENOMEM;
		take_text(entry, "hash", file->hash, sizeof(file->hash));
		ret->n_files++;
	}
	return 0;
}

static int take_release(const json_t *identity, struct launch_spec *spec, struct release *ret)
{
	/* What the specification has had is the release's from here on. */
	ret->command = TAKE_PTR(spec->argv);
	ret->environment = TAKE_PTR(spec->environment);
	ret->executable = TAKE_PTR(spec->executable);
	ret->directory = TAKE_PTR(spec->directory);
	ret->inode = number(identity, "inode");
	ret->mtime_ms = number(identity, "mtime_ms");
	ret->size = number(identity, "size");
	ret->ctime_ns = number(identity, "ctime_ns");
	take_text(identity, "digest", ret->digest, sizeof(ret->digest));
	take_text(identity, "hash", ret->hash, sizeof(ret->hash));
	return take_files(json_object_get(identity, "files"), ret);
}

static int take_config(const json_t *resources, struct launch_spec *spec,
		       struct service_config *ret)
{
	if (spec->n_listen > CONFIG_LISTEN_MAX || spec->n_groups > CONFIG_GROUPS_MAX)
		return -EBADMSG;
	memcpy(ret->listen, spec->listen, spec->n_listen * sizeof(ret->listen[0]));
	ret->n_listen = spec->n_listen;
	ret->mode = spec->mode;
	ret->backlog = spec->backlog;
	ret->nonblocking = spec->nonblocking;
	ret->set_ids = spec->set_ids;
	ret->uid = spec->uid;
	ret->gid = spec->gid;
	memset(ret->groups, 0, sizeof(ret->groups));
	memcpy(ret->groups, spec->groups, spec->n_groups * sizeof(ret->groups[0]));
	ret->n_groups = spec->n_groups;
	ret->resources.memory_max = number(resources, "memory_max");
	ret->resources.cpu_max = (uint32_t)number(resources, "cpu_max");
	ret->resources.pids_max = (uint32_t)number(resources, "pids_max");
	process_settings_done(&ret->process);
	return process_settings_copy(&spec->process, &ret->process);
}

static enum past_end read_end(const json_t *json)
{
	const char *text = json_string_value(json_object_get(json, "end"));

	for (enum past_end end = 0; text && end < _PAST_END_COUNT; end++)
		if (strcmp(past_end_name(end), text) == 0)
			return end;
	/* Of a later version: nothing good is known of it. */
	return PAST_FAILED;
}

static int fill_past(const json_t *json, struct launch_spec *spec,
		     const struct service_config *config, struct past *ret)
{
	int r;

	ret->generation = spec->generation;
	ret->began_ms = number(json, "began_ms");
	ret->ended_ms = number(json, "ended_ms");
	ret->end = read_end(json);
	ret->came_back = json_is_true(json_object_get(json, "came_back"));
	ret->release = calloc(1, sizeof(*ret->release));
	ret->config = service_config_copy(config);
	if (!ret->release || !ret->config)
		return -ENOMEM;
	r = take_config(json_object_get(json, "resources"), spec, ret->config);
	if (r >= 0)
		r = take_strings(json_object_get(json, "added"), &ret->added);
	if (r >= 0)
		r = take_release(json_object_get(json, "identity"), spec, ret->release);
	return r;
}

static struct past *read_past(const json_t *json, const struct service_config *config)
{
	cleanup(past_free) struct past *past = calloc(1, sizeof(*past));
	cleanup_free char *text = fields_text(json_object_get(json, "spec"), 0);
	struct launch_spec spec;
	struct error err;
	int r;

	if (!past || !text || launch_spec_decode(text, strlen(text), &spec, &err) < 0)
		return NULL;
	r = fill_past(json, &spec, config, past);
	launch_spec_done(&spec);
	return r < 0 ? NULL : TAKE_PTR(past);
}

static void read_releases(const char *path, const json_t *releases,
			  const struct service_config *config, struct history *ret)
{
	const json_t *json;
	size_t k;

	json_array_foreach (releases, k, json) {
		struct past *past = ret->n < HISTORY_MAX ? read_past(json, config) : NULL;

		if (past)
			ret->list[ret->n++] = past;
		else
			log_warning("%s: release %zu cannot be read, and is left out", path, k);
	}
}

/* 0: it does not exist. */
static int read_text(const char *path, char **ret, size_t *ret_length, const char **ret_why)
{
	int r = file_read(path, HISTORY_FILE_MAX + PROTOCOL_SPEC_MAX, ret, ret_length);

	if (r == -ENOENT)
		return 0;
	*ret_why = r < 0 ? file_why(r) : "";
	return r < 0 ? r : 1;
}

static int parse(const char *path, const char *text, size_t length,
		 const struct service_config *config, struct history *ret, const char **ret_why)
{
	cleanup(json_decref) json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	json_int_t version = json_integer_value(json_object_get(root, "version"));
	const json_t *releases = json_object_get(root, "releases");

	*ret_why = "it is damaged";
	if (version > HISTORY_VERSION)
		*ret_why = "a later version of baton has written it";
	if (version < 1 || version > HISTORY_VERSION || !json_is_array(releases))
		return -EBADMSG;
	read_releases(path, releases, config, ret);
	return 0;
}

void history_file_look(const char *path)
{
	cleanup_free char *text = NULL;
	const char *why;
	size_t length;

	(void)read_text(path, &text, &length, &why);
}

int history_file_read(const char *path, const struct service_config *config, struct history *ret,
		      struct error *err)
{
	cleanup_free char *text = NULL;
	char aside[PATH_MAX];
	const char *why = "";
	size_t length = 0;
	int r = read_text(path, &text, &length, &why);

	if (r > 0)
		r = parse(path, text, length, config, ret, &why);
	if (r >= 0)
		return 0;
	if (r == -ENOMEM)
		return error_set(err, r, "%s", path);
	r = file_move_aside(path, aside);
	if (r < 0)
		return error_text(err, -EBADMSG, "%.400s: %s, and it cannot be moved aside: %s",
				  path, why, strerror(-r));
	return error_text(err, -EBADMSG, "%.400s: %s; it was moved to %s", path, why, aside);
}
