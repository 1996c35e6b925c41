/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/vector.h"
#include "orchestrator/host/account.h"

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

/* The daemon's own account. If it has no entry (in a container, say) that is no mistake. */
static int use_own_account(struct service_config *service)
{
	cleanup(account_free) struct account *account = NULL;
	int n = getgroups(CONFIG_GROUPS_MAX, service->groups);

	service->uid = geteuid();
	service->gid = getegid();
	/* Those that do not fit are left out: nobody sets them, as the ids are left alone. */
	service->n_groups = n > 0 ? (size_t)n : 0;
	if (account_by_uid(service->uid, &account) < 0)
		return 0;
	service->home = TAKE_PTR(account->home);
	service->shell = TAKE_PTR(account->shell);
	return 0;
}

/* @uid has no entry (in a container, say): nobody knows its group. .user stays a number. */
static void use_nameless(struct config_reading *reading, const char *path, uid_t uid,
			 struct service_config *service)
{
	service->uid = uid;
	if (!service->group)
		config_mistake(reading, path,
			       "no user has the number %u: name the group to run as, too "
			       "(\"group\")",
			       (unsigned)uid);
}

static int use_user(struct config_reading *reading, const char *path,
		    struct service_config *service)
{
	cleanup(account_free) struct account *account = NULL;
	uid_t uid = geteuid();
	bool numbered = !service->user || account_number(service->user, &uid);
	int r = numbered ? account_by_uid(uid, &account) : account_by_name(service->user, &account);

	if (r == -ENOENT && numbered && service->user) {
		use_nameless(reading, path, uid, service);
		return 0;
	}
	if (r < 0 && service->user)
		return lookup_mistake(reading, path, "user", service->user, r);
	if (r < 0) {
		service->uid = uid;
		return 0;
	}
	if (numbered && service->user) {
		free(service->user);
		service->user = TAKE_PTR(account->name);
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

static bool has_group(const struct service_config *service, gid_t gid)
{
	for (size_t i = 0; i < service->n_groups; i++)
		if (service->groups[i] == gid)
			return true;
	return false;
}

/* Needs .groups of the user. */
static int add_groups(struct config_reading *reading, const char *path,
		      struct service_config *service)
{
	char item_path[CONFIG_JSON_PATH_MAX];

	for (size_t i = 0; service->supplementary_groups && service->supplementary_groups[i]; i++) {
		const char *name = service->supplementary_groups[i];
		gid_t gid = 0;
		int r = account_group(name, &gid);

		config_path_index(path, i, item_path);
		if (r < 0)
			r = lookup_mistake(reading, item_path, "group", name, r);
		else if (has_group(service, gid))
			continue;
		else if (service->n_groups == CONFIG_GROUPS_MAX)
			config_mistake(reading, item_path,
				       "one more than %d groups, those of the user included",
				       CONFIG_GROUPS_MAX);
		else
			service->groups[service->n_groups++] = gid;
		if (r < 0)
			return r;
	}
	return 0;
}

/* Without a change of user the service keeps the groups of the daemon. */
static void refuse_groups(struct config_reading *reading, const char *path,
			  const struct service_config *service)
{
	if (vector_length(service->supplementary_groups) > 0)
		config_mistake(reading, path,
			       "needs \"user\" or \"group\": without them the service has the "
			       "groups of the daemon");
}

int config_check_account(struct config_reading *reading, const char *path,
			 struct service_config *service)
{
	char user_path[CONFIG_JSON_PATH_MAX], group_path[CONFIG_JSON_PATH_MAX];
	char supplementary_path[CONFIG_JSON_PATH_MAX];
	size_t before = reading->mistakes->total;
	int r;

	config_path(path, "supplementary_groups", supplementary_path);
	if (!service->user && !service->group) {
		refuse_groups(reading, supplementary_path, service);
		return use_own_account(service);
	}
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
	r = add_groups(reading, supplementary_path, service);
	if (r < 0)
		return r;
	if (geteuid() != 0)
		config_mistake(reading, service->user ? user_path : group_path,
			       "only a daemon that runs as root can run a service as somebody else "
			       "(this one runs as uid %u)",
			       geteuid());
	return 0;
}
