/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config_internal.h"

#include <stdio.h>
#include <string.h>

#include "common/expand.h"

/* "{fds:", 15 bytes, "}" (common/expand.h), with the NUL. */
#define PLACEHOLDER_MAX    22
#define VARIABLE_SHOWN_MAX 128

/* ---- sockets -------------------------------------------------------------------------------- */

/* The first placeholder of @kinds in @text, in @ret; NULL: there is none. */
static const char *find_placeholder(const char *text, unsigned kinds,
				    char ret[static PLACEHOLDER_MAX])
{
	const char *found = expand_find(text, kinds);

	if (found)
		snprintf(ret, PLACEHOLDER_MAX, "%.*s", (int)strcspn(found, "}") + 1, found);
	return found ? ret : NULL;
}

static void placeholder_mistake(struct config_reading *reading, const char *path, const char *what,
				const char *of, const struct service_config *service)
{
	config_mistake(reading, path,
		       "\"%s\"%s%s%s stands for sockets that are passed, but with \"mode\" \"%s\" "
		       "none is: leave it out, or use \"inherit\" or \"auto\"",
		       what, of ? " of \"" : "", of ? of : "", of ? "\"" : "",
		       socket_mode_name(service->mode));
}

/* Nothing is set over "environment", so what it sets is in the whole one as it stands there. */
static bool is_from_environment(const struct service_config *service, const char *entry)
{
	for (size_t i = 0; service->environment[i]; i++)
		if (strcmp(service->environment[i], entry) == 0)
			return true;
	return false;
}

static void check_variable(struct config_reading *reading, const char *path,
			   const struct service_config *service, const char *entry)
{
	char key_path[CONFIG_JSON_PATH_MAX], item_path[CONFIG_JSON_PATH_MAX];
	char placeholder[PLACEHOLDER_MAX], name[VARIABLE_SHOWN_MAX];
	size_t n = strcspn(entry, "=");

	if (!find_placeholder(entry + n, EXPAND_FDS, placeholder))
		return;
	snprintf(name, sizeof(name), "%.*s", (int)n, entry);
	if (is_from_environment(service, entry)) {
		config_path(path, "environment", key_path);
		config_path(key_path, name, item_path);
		placeholder_mistake(reading, item_path, placeholder, NULL, service);
	} else {
		config_path(path,
			    service->environment_file ? "environment_file" : "environment_inherit",
			    item_path);
		placeholder_mistake(reading, item_path, placeholder, name, service);
	}
}

/* @environment: see config_check_placeholders(). */
static void check_sockets(struct config_reading *reading, const char *path,
			  const struct config_draft *draft, char *const *environment)
{
	char key_path[CONFIG_JSON_PATH_MAX], item_path[CONFIG_JSON_PATH_MAX];
	const struct service_config *service = &draft->service;
	char placeholder[PLACEHOLDER_MAX];

	if (config_passes_sockets(service))
		return;
	config_path(path, "command", key_path);
	for (size_t i = 0; !draft->command_bad && service->command && service->command[i]; i++) {
		if (!find_placeholder(service->command[i], EXPAND_FDS, placeholder))
			continue;
		config_path_index(key_path, i, item_path);
		placeholder_mistake(reading, item_path, placeholder, NULL, service);
	}
	for (size_t i = 0; environment && environment[i]; i++)
		check_variable(reading, path, service, environment[i]);
}

/* ---- what is of no single instance ---------------------------------------------------------- */

static void check_text(struct config_reading *reading, const char *path, const char *text,
		       const char *why)
{
	char placeholder[PLACEHOLDER_MAX];

	if (text && find_placeholder(text, EXPAND_INSTANCE, placeholder))
		config_mistake(reading, path,
			       "\"%s\" stands for one instance, but %s: leave it out, or use "
			       "{generation}",
			       placeholder, why);
}

static void check_command(struct config_reading *reading, const char *path, char *const *command,
			  const char *why)
{
	char item_path[CONFIG_JSON_PATH_MAX];

	for (size_t i = 0; command && command[i]; i++) {
		config_path_index(path, i, item_path);
		check_text(reading, item_path, command[i], why);
	}
}

static void check_gates(struct config_reading *reading, const char *path,
			const struct service_config *service)
{
	static const char why[] = "a gate is asked once for all of them";
	char list_path[CONFIG_JSON_PATH_MAX], item_path[CONFIG_JSON_PATH_MAX];
	char key_path[CONFIG_JSON_PATH_MAX];

	config_path(path, "gates", list_path);
	for (size_t i = 0; i < service->n_gates; i++) {
		config_path_index(list_path, i, item_path);
		config_path(item_path, "exec", key_path);
		check_command(reading, key_path, service->gates[i].exec, why);
		config_path(item_path, "http", key_path);
		check_text(reading, key_path, service->gates[i].http, why);
	}
}

static void check_hooks(struct config_reading *reading, const char *path,
			const struct service_config *service)
{
	static const char *const names[_HOOK_COUNT] = {
		[HOOK_BEFORE_START] = "hooks.before_start",
		[HOOK_AFTER_SHIFT] = "hooks.after_shift",
		[HOOK_AFTER_DRAIN] = "hooks.after_drain",
		[HOOK_ON_ROLLBACK] = "hooks.on_rollback",
		[HOOK_ON_FAILURE] = "hooks.on_failure",
	};
	char key_path[CONFIG_JSON_PATH_MAX];

	for (size_t i = 0; i < _HOOK_COUNT; i++) {
		config_path(path, names[i], key_path);
		check_command(reading, key_path, service->hooks.command[i],
			      "a hook is run once for all of them");
	}
}

void config_check_placeholders(struct config_reading *reading, const char *path,
			       const struct config_draft *draft, char *const *environment)
{
	char key_path[CONFIG_JSON_PATH_MAX];

	check_sockets(reading, path, draft, environment);
	config_path(path, "environment_file", key_path);
	check_text(reading, key_path, draft->service.environment_file,
		   "the file is read once for all of them");
	check_gates(reading, path, &draft->service);
	check_hooks(reading, path, &draft->service);
}
