/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/paths.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_NAME    "baton"
#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

int paths_check_name(const char *name, struct error *err)
{
	size_t length = strlen(name);

	if (length > 0 && length < sizeof(((struct paths *)NULL)->name) && name[0] != '-' &&
	    strspn(name, NAME_CHARACTERS) == length)
		return 0;
	return error_text(err, -EINVAL,
			  "\"%.100s\" is not a name: 1 to 63 letters, digits, \"_\" and \"-\", "
			  "not starting with \"-\"",
			  name);
}

static int format_path(char path[static PATHS_MAX], struct error *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int format_path(char path[static PATHS_MAX], struct error *err, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(path, PATHS_MAX, format, ap);
	va_end(ap);
	if (n < 0 || n >= PATHS_MAX)
		return error_set(err, -ENAMETOOLONG, "%.100s...", path);
	return 0;
}

/* The variable's value if it is an absolute path: the XDG specification ignores others. */
static const char *environment_folder(const char *variable)
{
	const char *value = getenv(variable);

	return value && value[0] == '/' ? value : NULL;
}

static int find_run_dir(struct paths *paths, struct error *err)
{
	const char *runtime;

	if (geteuid() == 0)
		return format_path(paths->run_dir, err, "/run/%s", paths->name);
	runtime = environment_folder("XDG_RUNTIME_DIR");
	if (runtime)
		return format_path(paths->run_dir, err, "%s/%s", runtime, paths->name);
	return format_path(paths->run_dir, err, "/tmp/%s-%lu", paths->name,
			   (unsigned long)geteuid());
}

static int find_state_dir(struct paths *paths, struct error *err)
{
	const struct passwd *passwd;
	const char *folder;

	if (geteuid() == 0)
		return format_path(paths->state_dir, err, "/var/lib/%s", paths->name);
	folder = environment_folder("XDG_STATE_HOME");
	if (folder)
		return format_path(paths->state_dir, err, "%s/%s", folder, paths->name);
	folder = environment_folder("HOME");
	if (!folder) {
		passwd = getpwuid(geteuid());
		folder = passwd && passwd->pw_dir[0] == '/' ? passwd->pw_dir : NULL;
	}
	if (!folder)
		return error_text(
			err, -ENOENT,
			"no folder for the state: neither XDG_STATE_HOME nor HOME is set");
	return format_path(paths->state_dir, err, "%s/.local/state/%s", folder, paths->name);
}

int paths_init(const char *name, struct paths *ret, struct error *err)
{
	const char *fallback = getenv("BATON_NAME");
	struct paths paths = {0};
	int r;

	if (!name)
		name = fallback && *fallback ? fallback : DEFAULT_NAME;
	r = paths_check_name(name, err);
	if (r < 0)
		return r;
	strcpy(paths.name, name);
	r = find_run_dir(&paths, err);
	if (r == 0)
		r = format_path(paths.lock_file, err, "%s/lock", paths.run_dir);
	if (r == 0)
		r = format_path(paths.api_socket, err, "%s/api.sock", paths.run_dir);
	if (r == 0)
		r = format_path(paths.agents_dir, err, "%s/agents", paths.run_dir);
	if (r == 0)
		r = find_state_dir(&paths, err);
	if (r == 0)
		r = format_path(paths.state_file, err, "%s/state.json", paths.state_dir);
	if (r == 0)
		r = format_path(paths.spare_file, err, "%s/state.json", paths.run_dir);
	if (r == 0)
		r = format_path(paths.event_file, err, "%s/events.jsonl", paths.state_dir);
	if (r == 0)
		r = format_path(paths.event_spare, err, "%s/events.jsonl", paths.run_dir);
	if (r < 0)
		return r;
	if (strlen(paths.api_socket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return error_text(err, -ENAMETOOLONG,
				  "\"%.200s\" is too long for a unix socket (unix(7))",
				  paths.api_socket);
	*ret = paths;
	return 0;
}

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

int paths_program(const char *program, char *ret, size_t size, struct error *err)
{
	/* /proc/self/exe resolves symlinks: the folder above is the path without its last part. */
	static const struct {
		int parents;
		const char *folder;
	} places[] = {{1, ""}, {2, "/libexec/baton"}, {2, "/sbin"}, {2, "/bin"}};
	char self[PATH_MAX], path[PATH_MAX + 64];
	ssize_t length;
	char *end;
	int n;

	if (!*program || strchr(program, '/'))
		return error_text(err, -EINVAL, "\"%.100s\" is not a program's name", program);
	/* If the file was replaced, its name ends with " (deleted)": the folder is right still. */
	length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (length < 0 && errno == ENOENT)
		return error_text(err, -ENOENT,
				  "/proc is not mounted, and baton finds its programs and its "
				  "servers' processes there: mount -t proc proc /proc");
	if (length < 0)
		return error_set(err, -errno, "/proc/self/exe");
	self[length] = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		end = self + length;
		for (int up = 0; up < places[i].parents; up++)
			while (end > self && *--end != '/')
				continue;
		n = snprintf(path, sizeof(path), "%.*s%s/%s", (int)(end - self), self,
			     places[i].folder, program);
		if (n < 0 || (size_t)n >= sizeof(path) || !is_program(path))
			continue;
		if ((size_t)n >= size)
			return error_set(err, -ENAMETOOLONG, "%s", path);
		memcpy(ret, path, (size_t)n + 1);
		return 0;
	}
	end = strrchr(self, '/');
	return error_set(err, -ENOENT,
			 "%s: neither in %.*s nor in ../libexec/baton, ../sbin or ../bin", program,
			 (int)(end ? end - self : 0), self);
}
