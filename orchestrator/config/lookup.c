/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/lookup.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/expand.h"
#include "common/vector.h"
#include "orchestrator/config/service_config.h"
#include "orchestrator/host/account.h"
#include "orchestrator/host/environment.h"
#include "orchestrator/host/sight.h"

/* What a service gets by default; the same as systemd.exec(5) gives. */
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* ---- directory ------------------------------------------------------------------------------ */

/* @folder, which is to be one, and @rest, which begins with "/" or is empty. */
static int real_folder(const char *folder, const char *rest, char **ret, struct error *err)
{
	cleanup_free char *real = NULL;
	struct stat st;
	int r = sight_realpath(folder, &real);

	if (r >= 0)
		r = sight_stat(real, &st);
	if (r < 0)
		return error_set(err, r, "%s", folder);
	if (!S_ISDIR(st.st_mode))
		return error_set(err, -ENOTDIR, "%s", folder);
	if (!rest[0])
		*ret = TAKE_PTR(real);
	else if (asprintf(ret, "%s%s%s", real[1] ? real : "", rest[0] == '/' ? "" : "/", rest) < 0)
		return error_set(err, -ENOMEM, "%s", folder);
	return 0;
}

int lookup_directory(const struct service_config *service, char **ret, struct error *err)
{
	const char *path = service->directory;
	cleanup_free char *folder = NULL;

	if (!path)
		path = service->environment_inherit ? "." : "/";
	if (expand_common_folder(path, &folder) < 0)
		return error_set(err, -ENOMEM, "%s", path);
	return real_folder(folder, path + strlen(folder), ret, err);
}

/* ---- environment ---------------------------------------------------------------------------- */

/*
 * Whoever started the daemon has said this to the daemon: a service that obeyed would act in its
 * name.
 */
static const char *const of_the_daemon[] = {
	"FDSTORE",       "INVOCATION_ID",  "JOURNAL_STREAM",        "LISTEN_FDNAMES",
	"LISTEN_FDS",    "LISTEN_PID",     "LISTEN_PIDFDID",        "MAINPID",
	"MANAGERPID",    "NOTIFY_SOCKET",  "SYSTEMD_EXEC_PID",      "WATCHDOG_PID",
	"WATCHDOG_USEC", "MANAGERPIDFDID", "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE",
};

static bool is_of_the_daemon(const char *entry, size_t n)
{
	for (size_t i = 0; i < sizeof(of_the_daemon) / sizeof(of_the_daemon[0]); i++)
		if (strncmp(of_the_daemon[i], entry, n) == 0 && !of_the_daemon[i][n])
			return true;
	return false;
}

/* @entry is "NAME=value"; what is not is left out, as execve(2) lets anything through. */
static int set_entry(char ***environment, const char *entry)
{
	const char *equals = strchr(entry, '=');
	cleanup_free char *name = NULL;

	if (!equals || equals == entry)
		return 0;
	name = strndup(entry, (size_t)(equals - entry));
	if (!name)
		return -ENOMEM;
	return environment_set(environment, name, equals + 1);
}

static int set_inherited(char ***environment)
{
	for (char **entry = environ; entry && *entry; entry++) {
		int r = 0;

		if (!is_of_the_daemon(*entry, strcspn(*entry, "=")))
			r = set_entry(environment, *entry);
		if (r < 0)
			return r;
	}
	return 0;
}

/* As login(1) and systemd do. A user id without an entry (in a container, say) has no name. */
static int set_user(char ***environment, const struct service_config *service)
{
	cleanup(account_free) struct account *account = NULL;
	const char *name = service->user, *home = service->home, *shell = service->shell;
	uint32_t number;
	int r;

	if (name && account_number(name, &number))
		name = NULL;
	else if (!name && account_by_uid(service->uid, &account) == 0) {
		name = account->name;
		home = home ? home : account->home;
		shell = shell ? shell : account->shell;
	}
	r = environment_set(environment, "PATH", DEFAULT_PATH);
	if (r == 0)
		r = environment_set(environment, "HOME", home ? home : "/");
	if (r == 0)
		r = environment_set(environment, "SHELL", shell ? shell : "/bin/sh");
	if (r == 0 && name)
		r = environment_set(environment, "USER", name);
	if (r == 0 && name)
		r = environment_set(environment, "LOGNAME", name);
	return r;
}

static int add_file(char ***environment, const char *template, uint32_t generation,
		    const struct as_user *user, struct error *err)
{
	const struct expand_values values = {
		.generation = generation,
		.stay = EXPAND_FDS | EXPAND_INSTANCE,
	};
	cleanup_free char *file = NULL;
	int r;

	if (generation == 0 && expand_find(template, EXPAND_GENERATION | EXPAND_INSTANCE))
		return 0;
	r = expand(template, &values, &file);
	if (r < 0)
		return error_set(err, r, "%s", template);
	return environment_add_file(environment, file, user, err);
}

int lookup_environment(const struct service_config *service, uint32_t generation, char ***ret,
		       struct error *err)
{
	cleanup(vector_free) char **environment = NULL;
	int r;

	r = service->environment_inherit ? set_inherited(&environment)
					 : set_user(&environment, service);
	if (r < 0)
		return error_set(err, r, "environment");
	if (service->environment_file) {
		const struct as_user user = service_config_user(service);

		r = add_file(&environment, service->environment_file, generation, &user, err);
		if (r < 0)
			return r;
	}
	for (char **entry = service->environment; entry && *entry; entry++) {
		r = set_entry(&environment, *entry);
		if (r < 0)
			return error_set(err, r, "environment");
	}
	if (!environment) {
		r = vector_copy(NULL, &environment);
		if (r < 0)
			return error_set(err, r, "environment");
	}
	environment_sort(environment);
	*ret = TAKE_PTR(environment);
	return 0;
}

/* ---- executable ----------------------------------------------------------------------------- */

static int check_executable(const char *path)
{
	struct stat st;
	int r = sight_stat(path, &st);

	if (r < 0)
		return r;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EACCES;
	return sight_access(path, X_OK);
}

static int join(const char *directory, const char *name, size_t n_name, char ret[static PATH_MAX])
{
	bool absolute = n_name > 0 && name[0] == '/';
	int n;

	n = snprintf(ret, PATH_MAX, "%s%s%.*s", absolute ? "" : directory, absolute ? "" : "/",
		     (int)n_name, name);
	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int real_path(const char *path, char **ret, struct error *err)
{
	int r = sight_realpath(path, ret);

	return r < 0 ? error_set(err, r, "%s", path) : 0;
}

static int found_at(const char *name, const char *directory, char **ret, struct error *err)
{
	char path[PATH_MAX];
	int r = join(directory, name, strlen(name), path);

	if (r == 0)
		r = check_executable(path);
	if (r == -EACCES)
		return error_text(err, r, "\"%s\": not an executable file", path);
	if (r < 0)
		return error_set(err, r, "\"%s\"", r == -ENAMETOOLONG ? name : path);
	return real_path(path, ret, err);
}

/*
 * As in execvp(3), a file that may not be executed does not end the search; it is named if nothing
 * better comes.
 */
static int search_path(const char *name, const char *directory, const char *search, char **ret,
		       struct error *err)
{
	char folder[PATH_MAX], path[PATH_MAX], denied[PATH_MAX] = "";
	const char *at = search;

	for (;;) {
		size_t n = strcspn(at, ":");
		int r = join(directory, at, n, folder);

		if (r == 0)
			r = join(folder, name, strlen(name), path);
		if (r == 0)
			r = check_executable(path);
		if (r == 0)
			return real_path(path, ret, err);
		if (r == -EACCES && !denied[0])
			memcpy(denied, path, sizeof(denied));
		if (!at[n])
			break;
		at += n + 1;
	}
	if (denied[0])
		return error_text(err, -EACCES, "\"%s\": %s is not an executable file", name,
				  denied);
	return error_text(err, -ENOENT, "\"%s\": no such program in the PATH of the service (%s)",
			  name, search);
}

int lookup_executable(const char *name, const char *directory, char *const *environment, char **ret,
		      struct error *err)
{
	const char *search = environment_get(environment, "PATH");

	if (!name[0])
		return error_text(err, -ENOENT, "the name of the program is empty");
	if (strchr(name, '/') && name[0] != '/' &&
	    expand_find(directory, EXPAND_GENERATION | EXPAND_INSTANCE))
		return error_text(err, -EINVAL,
				  "\"%s\" counts from \"directory\", which is another one for each "
				  "generation or instance: write the absolute path of the program",
				  name);
	if (strchr(name, '/'))
		return found_at(name, directory, ret, err);
	return search_path(name, directory, search ? search : DEFAULT_PATH, ret, err);
}
