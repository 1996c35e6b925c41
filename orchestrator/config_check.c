/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/duration.h"
#include "orchestrator/account.h"
#include "orchestrator/release.h"
#include "orchestrator/vector.h"

_Static_assert(CONFIG_LISTEN_MAX <= UINT8_MAX, "config_draft.listen_index");

/* "{fds:", 15 bytes, "}" (agent/expand.h), with the NUL. */
#define PLACEHOLDER_MAX    22
#define VARIABLE_SHOWN_MAX 128

/* ---- health --------------------------------------------------------------------------------- */

void config_check_health(struct config_reading *reading, const char *path,
			 struct config_draft *draft)
{
	struct health_config *health = &draft->service.health;
	char start[DURATION_TEXT_MAX], other[DURATION_TEXT_MAX];
	uint64_t least_ms = (health->healthy - 1) * health->interval_ms;

	if (health->path && draft->notify)
		config_mistake(reading, path, "\"http\" and \"notify\" exclude each other");
	if (health->host && !health->path)
		config_mistake(reading, path, "\"host\" needs \"http\"");
	if (health->n_statuses && !health->path)
		config_mistake(reading, path, "\"status\" needs \"http\"");
	duration_format(health->start_timeout_ms, start);
	if (health->timeout_ms > health->start_timeout_ms)
		config_mistake(reading, path,
			       "\"timeout\" (%s) is longer than \"start_timeout\" (%s)",
			       duration_format(health->timeout_ms, other), start);
	if (!draft->notify && least_ms >= health->start_timeout_ms)
		config_mistake(reading, path,
			       "%u checks every \"interval\" take %s at least, but "
			       "\"start_timeout\" is %s",
			       health->healthy, duration_format(least_ms, other), start);

	health->kind = draft->notify ? HEALTH_NOTIFY : health->path ? HEALTH_HTTP : HEALTH_CONNECT;
	if (health->path && !health->n_statuses) {
		health->statuses[0].first = 200;
		health->statuses[0].last = 299;
		health->n_statuses = 1;
	}
}

/* ---- user and group ------------------------------------------------------------------------- */

static int lookup_mistake(struct config_reading *reading, const char *path, const char *what,
			  const char *name, int code)
{
	if (code == -ENOMEM)
		return code;
	if (code == -ENOENT)
		config_mistake(reading, path, "there is no %s \"%s\"", what, name);
	else
		config_mistake(reading, path, "%s \"%s\": %s", what, name, strerror(-code));
	return 0;
}

/* As whoever the daemon is. A user without an entry (in a container, say) is no mistake. */
static int use_own_account(struct service_config *service)
{
	cleanup(account_free) struct account *account = NULL;
	int n = getgroups(CONFIG_GROUPS_MAX, service->groups);

	service->uid = geteuid();
	service->gid = getegid();
	/* More than fit: nobody needs them, as the ids are left alone. */
	service->n_groups = n > 0 ? (size_t)n : 0;
	if (account_by_uid(service->uid, &account) < 0)
		return 0;
	service->home = TAKE_PTR(account->home);
	service->shell = TAKE_PTR(account->shell);
	return 0;
}

static int use_user(struct config_reading *reading, const char *path,
		    struct service_config *service)
{
	cleanup(account_free) struct account *account = NULL;
	int r = service->user ? account_by_name(service->user, &account)
			      : account_by_uid(geteuid(), &account);

	if (r < 0 && service->user)
		return lookup_mistake(reading, path, "user", service->user, r);
	if (r < 0) {
		service->uid = geteuid();
		return 0;
	}
	service->uid = account->uid;
	service->gid = account->gid;
	service->home = TAKE_PTR(account->home);
	service->shell = TAKE_PTR(account->shell);
	return 0;
}

/* Needs .gid; the user is known to exist. */
static void use_groups(struct config_reading *reading, const char *path,
		       struct service_config *service)
{
	if (!service->user) {
		service->groups[0] = service->gid;
		service->n_groups = 1;
	} else if (account_groups(service->user, service->gid, service->groups, CONFIG_GROUPS_MAX,
				  &service->n_groups) < 0) {
		config_mistake(reading, path, "user \"%s\" is in more than %d groups",
			       service->user, CONFIG_GROUPS_MAX);
	}
}

static int check_account(struct config_reading *reading, const char *path,
			 struct service_config *service)
{
	char user_path[CONFIG_JSON_PATH_MAX], group_path[CONFIG_JSON_PATH_MAX];
	size_t before = reading->mistakes->total;
	int r;

	if (!service->user && !service->group)
		return use_own_account(service);
	config_path(path, "user", user_path);
	config_path(path, "group", group_path);
	service->set_ids = true;
	r = use_user(reading, user_path, service);
	if (r < 0)
		return r;
	if (service->group) {
		r = account_group(service->group, &service->gid);
		if (r < 0)
			r = lookup_mistake(reading, group_path, "group", service->group, r);
		if (r < 0)
			return r;
	}
	if (reading->mistakes->total == before)
		use_groups(reading, user_path, service);
	if (geteuid() != 0)
		config_mistake(reading, service->user ? user_path : group_path,
			       "only a daemon that runs as root can run a service as somebody else "
			       "(this one runs as uid %u)",
			       geteuid());
	return 0;
}

/* ---- sockets and steering ------------------------------------------------------------------- */

static bool passes_sockets(const struct service_config *service)
{
	return service->mode != SOCKETS_NATIVE && service->mode != SOCKETS_TRANSPARENT;
}

static void check_sockets(struct config_reading *reading, const char *path,
			  const struct service_config *service)
{
	bool cbpf = service->steering == STEERING_CBPF, hash = service->steering == STEERING_HASH;
	const char *tier = cbpf ? "cbpf" : "hash";
	char key_path[CONFIG_JSON_PATH_MAX];

	if ((cbpf || hash) && service->mode == SOCKETS_TRANSPARENT) {
		config_path(path, "mode", key_path);
		config_mistake(reading, key_path,
			       "\"transparent\" needs the ebpf tier, but \"steering\" is \"%s\": "
			       "leave \"steering\" out, or use \"native\" where the server shares "
			       "its port itself",
			       tier);
	}
	if ((cbpf || hash) && service->hold_ms > 0) {
		config_path(path, "hold", key_path);
		config_mistake(reading, key_path,
			       "needs the ebpf tier, but \"steering\" is \"%s\": leave one of them "
			       "out",
			       tier);
	}
	if (hash && service->sticky) {
		config_path(path, "sticky", key_path);
		config_mistake(reading, key_path,
			       "needs the ebpf or the cbpf tier, but \"steering\" is \"hash\": "
			       "leave one of them out");
	}
	if (service->nonblocking && !passes_sockets(service)) {
		config_path(path, "nonblocking", key_path);
		config_mistake(reading, key_path,
			       "is for sockets that are passed, but with \"mode\" \"%s\" none is: "
			       "leave it out",
			       socket_mode_name(service->mode));
	}
}

/*
 * The first {fd} or {fds:SEP} of @text, as agent/expand.h takes them, in @ret; NULL where there is
 * none.
 */
static const char *find_placeholder(const char *text, char ret[static PLACEHOLDER_MAX])
{
	for (; (text = strchr(text, '{')); text++) {
		size_t n = strcspn(text, "}") + 1;
		bool fits = text[n - 1] == '}' && n < PLACEHOLDER_MAX;

		if (!fits || (strncmp(text, "{fd}", 4) != 0 && strncmp(text, "{fds:", 5) != 0))
			continue;
		memcpy(ret, text, n);
		ret[n] = '\0';
		return ret;
	}
	return NULL;
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

	if (!find_placeholder(entry + n, placeholder))
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

/* @environment is the whole one, NULL where it is not known. */
static void check_placeholders(struct config_reading *reading, const char *path,
			       const struct config_draft *draft, char *const *environment)
{
	char key_path[CONFIG_JSON_PATH_MAX], item_path[CONFIG_JSON_PATH_MAX];
	const struct service_config *service = &draft->service;
	char placeholder[PLACEHOLDER_MAX];

	if (passes_sockets(service))
		return;
	config_path(path, "command", key_path);
	for (size_t i = 0; !draft->command_bad && service->command && service->command[i]; i++) {
		if (!find_placeholder(service->command[i], placeholder))
			continue;
		config_path_index(key_path, i, item_path);
		placeholder_mistake(reading, item_path, placeholder, NULL, service);
	}
	for (size_t i = 0; environment && environment[i]; i++)
		check_variable(reading, path, service, environment[i]);
}

/* ---- files ---------------------------------------------------------------------------------- */

/*
 * With the very functions that start a generation, so that a configuration that was accepted can be
 * run, as far as that can be known.
 */
static int check_files(struct config_reading *reading, const char *path, struct config_draft *draft)
{
	struct service_config *service = &draft->service;
	const char *program = service->command ? service->command[0] : "";
	char key_path[CONFIG_JSON_PATH_MAX];
	cleanup(vector_free) char **environment = NULL;
	cleanup_free char *directory = NULL;
	cleanup_free char *executable = NULL;
	struct error err;
	int r = 0;

	if (!draft->directory_bad)
		r = release_directory(service, &directory, &err);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		config_path(path, "directory", key_path);
		config_mistake(reading, key_path, "%s", err.text);
	}
	r = release_environment(service, &environment, &err);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		config_path(path, "environment_file", key_path);
		config_mistake(reading, key_path, "%s", err.text);
	}
	check_placeholders(reading, path, draft, environment);
	/* Where would it be looked for? Without an answer to that, no second mistake. */
	if (draft->command_bad || !program[0])
		return 0;
	if (program[0] != '/' && !directory)
		return 0;
	if (!strchr(program, '/') && (!environment || draft->environment_bad))
		return 0;
	r = release_executable(program, directory ? directory : "/", environment, &executable,
			       &err);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		config_path(path, "command[0]", key_path);
		config_mistake(reading, key_path, "%s", err.text);
	}
	return 0;
}

/* ---- endpoints ------------------------------------------------------------------------------ */

static void listen_path(const char *path, const struct config_draft *draft, size_t i,
			char ret[static CONFIG_JSON_PATH_MAX])
{
	char listen[CONFIG_JSON_PATH_MAX];

	config_path(path, "listen", listen);
	if (draft->listen_is_text)
		memcpy(ret, listen, sizeof(listen));
	else
		config_path_index(listen, draft->listen_index[i], ret);
}

/* Compare the endpoint @i of @draft with the first @n of @other (which may be the same). */
static void compare_endpoint(struct config_reading *reading, const char *path,
			     const struct config_draft *draft, size_t i,
			     const struct config_draft *other, size_t n)
{
	const struct address *mine = &draft->service.listen[i];
	char here[CONFIG_JSON_PATH_MAX], there[CONFIG_JSON_PATH_MAX];
	char other_path[CONFIG_JSON_PATH_MAX];

	for (size_t j = 0; j < n; j++) {
		const struct address *theirs = &other->service.listen[j];
		bool same = address_equal(mine, theirs);

		if (!same && !address_overlaps(mine, theirs))
			continue;
		config_path("services", other->service.name, other_path);
		listen_path(path, draft, i, here);
		listen_path(other_path, other, j, there);
		if (same)
			config_mistake(reading, here, "\"%s\" is %s already", mine->text, there);
		else
			config_mistake(reading, here, "\"%s\" overlaps with \"%s\" of %s",
				       mine->text, theirs->text, there);
		return; /* one mistake for one endpoint */
	}
}

static void check_endpoints(struct config_reading *reading, const char *path,
			    const struct config_draft *draft)
{
	for (size_t i = 0; i < draft->service.n_listen; i++) {
		compare_endpoint(reading, path, draft, i, draft, i);
		for (size_t k = 0; k < reading->n_drafts; k++) {
			const struct config_draft *other = reading->drafts[k];

			/* A service that is defined twice is one mistake, not one per address. */
			if (strcmp(other->service.name, draft->service.name) != 0)
				compare_endpoint(reading, path, draft, i, other,
						 other->service.n_listen);
		}
	}
}

int config_check_service(struct config_reading *reading, const char *path,
			 struct config_draft *draft)
{
	int r = check_account(reading, path, &draft->service);

	if (r < 0)
		return r;
	check_sockets(reading, path, &draft->service);
	r = check_files(reading, path, draft);
	if (r == 0)
		check_endpoints(reading, path, draft);
	return r;
}
