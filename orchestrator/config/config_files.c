/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/expand.h"
#include "common/path_open.h"
#include "common/vector.h"
#include "orchestrator/host/environment.h"
#include "orchestrator/host/file.h"

/* ---- programs ------------------------------------------------------------------------------- */

/* Where the service's programs are looked for; NULL: that is not known. */
struct places {
	char *directory;
	char **environment;
};

/*
 * Where in the PATH the program @name is. Not its real path: it may be a symlink that will be
 * moved, or a program of many names that looks at the name it was called by.
 */
static int find_in_path(const char *name, const struct places *places, char **ret)
{
	const char *at = environment_get(places->environment, "PATH");

	for (; at; at = at[0] == ':' ? at + 1 : NULL) {
		size_t n = strcspn(at, ":");
		cleanup_free char *path = NULL, *real = NULL;
		int r = asprintf(&path, "%s%s%.*s/%s", at[0] == '/' ? "" : places->directory,
				 at[0] == '/' ? "" : "/", (int)n, at, name);

		if (r < 0) {
			path = NULL;
			return -ENOMEM;
		}
		r = lookup_executable(path, "/", NULL, &real, NULL);
		if (r == -ENOMEM)
			return r;
		if (r == 0) {
			*ret = TAKE_PTR(path);
			return 0;
		}
		at += n;
	}
	return -ENOENT;
}

/* The program of a gate or a hook; what a name alone stands for is put in its place. */
static int check_program(struct config_reading *reading, const char *path, char **program,
			 const struct places *places)
{
	cleanup_free char *real = NULL, *found = NULL;
	char item_path[CONFIG_JSON_PATH_MAX];
	struct error err;
	int r;

	config_path_index(path, 0, item_path);
	if (strchr(*program, '/') && *program[0] != '/') {
		config_mistake(
			reading, item_path,
			"\"%s\" is a relative path (expected an absolute one, or the name of "
			"a program in the PATH of the service)",
			*program);
		return 0;
	}
	if (*program[0] != '/' && (!places->directory || !places->environment))
		return 0;
	r = lookup_executable(*program, places->directory ? places->directory : "/",
			      places->environment, &real, &err);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		config_mistake(reading, item_path, "%s", err.text);
		return 0;
	}
	if (*program[0] == '/')
		return 0;
	r = find_in_path(*program, places, &found);
	if (r == -ENOMEM)
		return r;
	free(*program);
	*program = r < 0 ? TAKE_PTR(real) : TAKE_PTR(found);
	return 0;
}

static int check_programs(struct config_reading *reading, const char *path,
			  struct config_draft *draft, const struct places *places)
{
	static const char *const hooks[] = {
		[HOOK_BEFORE_START] = "hooks.before_start",
		[HOOK_AFTER_SHIFT] = "hooks.after_shift",
		[HOOK_AFTER_DRAIN] = "hooks.after_drain",
		[HOOK_ON_ROLLBACK] = "hooks.on_rollback",
		[HOOK_ON_FAILURE] = "hooks.on_failure",
	};
	char list_path[CONFIG_JSON_PATH_MAX], item_path[CONFIG_JSON_PATH_MAX];
	struct service_config *service = &draft->service;
	char key_path[CONFIG_JSON_PATH_MAX];
	int r = 0;

	config_path(path, "health", list_path);
	for (size_t i = 0; i < service->health.n && r == 0; i++) {
		config_check_path(list_path, draft, i, item_path);
		config_path(item_path, "exec", key_path);
		if (service->health.list[i].exec)
			r = check_program(reading, key_path, &service->health.list[i].exec[0],
					  places);
	}
	config_path(path, "gates", list_path);
	for (size_t i = 0; i < service->n_gates && r == 0; i++) {
		config_path_index(list_path, i, item_path);
		config_path(item_path, "exec", key_path);
		if (service->gates[i].exec)
			r = check_program(reading, key_path, &service->gates[i].exec[0], places);
	}
	for (size_t i = 0; i < _HOOK_COUNT && r == 0; i++) {
		config_path(path, hooks[i], key_path);
		if (service->hooks.command[i])
			r = check_program(reading, key_path, &service->hooks.command[i][0], places);
	}
	return r;
}

static int check_command(struct config_reading *reading, const char *path,
			 const struct config_draft *draft, const struct places *places)
{
	const char *program = draft->service.command ? draft->service.command[0] : "";
	const char *directory = places->directory ? places->directory : "/";
	cleanup_free char *executable = NULL;
	char key_path[CONFIG_JSON_PATH_MAX];
	struct error err;
	int r;

	/* If it is not known where to look, that was a mistake already. */
	if (draft->command_bad || !program[0])
		return 0;
	if (program[0] != '/' && !places->directory)
		return 0;
	if (!strchr(program, '/') && !places->environment)
		return 0;
	r = lookup_executable(program, directory, places->environment, &executable, &err);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		config_path(path, "command[0]", key_path);
		config_mistake(reading, key_path, "%s", err.text);
	}
	return 0;
}

/* ---- files that root opens ------------------------------------------------------------------ */

/* Folders that are named for a generation may be made later, but not those in front of them. */
static void check_common_folder(struct config_reading *reading, const char *path, const char *file,
				const struct as_user *user)
{
	cleanup_free char *folder = NULL;
	struct error err;
	int r = expand_common_folder(file, &folder);

	if (r < 0) {
		config_mistake(reading, path, "%s: %s", file, strerror(-r));
		return;
	}
	r = file_check_for(user, folder, PATH_READ, &err);
	if (r == 0)
		error_set(&err, -ENOTDIR, "%s", folder);
	if (r != -EISDIR)
		config_mistake(reading, path, "%s%s%s", r ? folder : "", r ? ": " : "", err.text);
}

/* The file of an output need not be there, but its folder must. */
static void check_output(struct config_reading *reading, const char *path, const char *key,
			 const struct service_config *service, size_t which)
{
	const struct process_settings *process = &service->process;
	const struct as_user user = service_config_user(service);
	const char *file = process->output_path[which];
	char key_path[CONFIG_JSON_PATH_MAX];
	struct error err;

	if (process->output[which] != OUTPUT_FILE)
		return;
	config_path(path, key, key_path);
	if (strlen(file) >= PATH_MAX)
		config_mistake(reading, key_path, "longer than %d bytes", PATH_MAX - 1);
	else if (expand_find(file, EXPAND_GENERATION | EXPAND_INSTANCE))
		check_common_folder(reading, key_path, file, &user);
	else if (file_check_for(&user, file, PATH_APPEND, &err) < 0)
		config_mistake(reading, key_path, "%s: %s", file, err.text);
}

/*
 * A CA file may come later. Who can replace it decides whom batond believes, so that it is opened
 * as root only.
 */
static void check_ca(struct config_reading *reading, const char *path, const char *file)
{
	char key_path[CONFIG_JSON_PATH_MAX];
	struct error err;
	int r;

	if (!file || file[0] != '/')
		return;
	r = file_check_for(NULL, file, PATH_READ, &err);
	if (r != -PATH_IS_REFUSED && r != -PATH_IS_NO_FILE && r != -EISDIR)
		return;
	config_path(path, "tls.ca", key_path);
	config_mistake(reading, key_path, "%s: %s", file, err.text);
}

static void check_cas(struct config_reading *reading, const char *path,
		      const struct config_draft *draft)
{
	char list_path[CONFIG_JSON_PATH_MAX], item_path[CONFIG_JSON_PATH_MAX];
	const struct checks_config *health = &draft->service.health;

	config_path(path, "health", list_path);
	for (size_t k = 0; k < health->n; k++) {
		config_check_path(list_path, draft, k, item_path);
		check_ca(reading, item_path, health->list[k].tls_ca);
	}
}

/* ---- all of it ------------------------------------------------------------------------------ */

int config_check_files(struct config_reading *reading, const char *path, struct config_draft *draft)
{
	struct service_config *service = &draft->service;
	char key_path[CONFIG_JSON_PATH_MAX];
	cleanup(vector_free) char **environment = NULL;
	cleanup_free char *directory = NULL;
	struct places places;
	struct error err;
	int r = 0;

	if (!draft->directory_bad)
		r = lookup_directory(service, &directory, &err);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		config_path(path, "directory", key_path);
		config_mistake(reading, key_path, "%s", err.text);
	}
	r = lookup_environment(service, 0, &environment, &err);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		config_path(path, "environment_file", key_path);
		config_mistake(reading, key_path, "%s", err.text);
	}
	config_check_placeholders(reading, path, draft, environment);
	check_output(reading, path, "stdout", service, 0);
	check_output(reading, path, "stderr", service, 1);
	check_cas(reading, path, draft);
	places.directory = directory;
	places.environment = draft->environment_bad ? NULL : environment;
	r = check_command(reading, path, draft, &places);
	return r < 0 ? r : check_programs(reading, path, draft, &places);
}
