/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/release/release.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/vector.h"
#include "orchestrator/host/environment.h"
#include "orchestrator/host/sight.h"

static uint64_t mtime_ms(const struct stat *st)
{
	return (uint64_t)st->st_mtim.tv_sec * 1000 + (uint64_t)st->st_mtim.tv_nsec / 1000000;
}

static uint64_t ctime_ns(const struct stat *st)
{
	return (uint64_t)st->st_ctim.tv_sec * 1000000000 + (uint64_t)st->st_ctim.tv_nsec;
}

/* ---- the files that the command names ------------------------------------------------------- */

static bool is_known(const struct release *release, const char *path)
{
	for (size_t i = 0; i < release->n_files; i++)
		if (strcmp(release->files[i].path, path) == 0)
			return true;
	return false;
}

/*
 * Add what @name names, if that is a regular file. Anything else is no mistake: most arguments name
 * nothing. 1: it is a file; 0: it is not; -ENOMEM.
 */
static int add_file(struct release *release, const char *name)
{
	struct release_file *file = &release->files[release->n_files];
	cleanup_free char *real = NULL;
	char path[PATH_MAX];
	struct stat st;
	int n, r;

	n = name[0] == '/' ? snprintf(path, sizeof(path), "%s", name)
			   : snprintf(path, sizeof(path), "%s/%s", release->directory, name);
	if (!name[0] || n >= (int)sizeof(path))
		return 0;
	r = sight_realpath(path, &real);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	if (sight_stat(real, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	if (is_known(release, real) || release->n_files == RELEASE_FILES_MAX)
		return 1;
	*file = (struct release_file){
		.path = TAKE_PTR(real),
		.inode = st.st_ino,
		.mtime_ms = mtime_ms(&st),
		.size = (uint64_t)st.st_size,
		.ctime_ns = ctime_ns(&st),
	};
	release_hash(file->path, file->hash);
	release->n_files++;
	return 1;
}

static void forget_files(struct release *release)
{
	for (size_t i = 0; i < release->n_files; i++)
		free(release->files[i].path);
	release->n_files = 0;
}

static int find_files(struct release *release)
{
	forget_files(release);
	for (char **argument = release->command + 1; *argument; argument++) {
		const char *value = (*argument)[0] == '-' ? strchr(*argument, '=') : NULL;
		int r = add_file(release, *argument);

		if (r == 0 && value)
			r = add_file(release, value + 1);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static int describe_executable(struct release *release, struct error *err)
{
	struct stat st;
	int r = sight_stat(release->executable, &st);

	if (r < 0)
		return error_set(err, r, "%s", release->executable);
	release->inode = st.st_ino;
	release->mtime_ms = mtime_ms(&st);
	release->size = (uint64_t)st.st_size;
	release->ctime_ns = ctime_ns(&st);
	release_identify(release->executable, release);
	return 0;
}

static int add_environment(char ***environment, char *const *more, struct error *err)
{
	for (; more && *more; more++) {
		const char *equals = strchr(*more, '=');
		cleanup_free char *name = NULL;
		int r;

		if (!equals)
			return error_text(err, -EINVAL, "\"%s\": expected NAME=value", *more);
		name = strndup(*more, (size_t)(equals - *more));
		if (!name)
			return error_set(err, -ENOMEM, "%s", *more);
		r = environment_check_name(name, err);
		if (r < 0)
			return r;
		r = environment_set(environment, name, equals + 1);
		if (r < 0)
			return error_set(err, r, "%s", name);
	}
	environment_sort(*environment);
	return 0;
}

int release_resolve(const struct service_config *service, uint32_t number, char *const *command,
		    char *const *environment, struct release **ret, struct error *err)
{
	cleanup(release_free) struct release *release = calloc(1, sizeof(*release));
	int r;

	if (!release)
		return error_set(err, -ENOMEM, "release");
	if (!command)
		command = service->command;
	if (!command || !command[0])
		return error_text(err, -EINVAL, "command: empty");
	r = vector_copy(command, &release->command);
	if (r < 0)
		return error_set(err, r, "command");
	r = lookup_directory(service, &release->directory, err);
	if (r < 0)
		return error_prefix(err, r, "directory");
	r = lookup_environment(service, number, &release->environment, err);
	if (r == 0)
		r = add_environment(&release->environment, environment, err);
	if (r < 0)
		return error_prefix(err, r, "environment");
	r = lookup_executable(command[0], release->directory, release->environment,
			      &release->executable, err);
	if (r < 0)
		return error_prefix(err, r, "command");
	r = describe_executable(release, err);
	if (r < 0)
		return r;
	r = find_files(release);
	if (r < 0)
		return error_set(err, r, "command");
	release->resolved_ms = clock_monotonic_ms();
	*ret = TAKE_PTR(release);
	return 0;
}

int release_look(struct release *release, struct error *err)
{
	int r = describe_executable(release, err);

	if (r < 0)
		return r;
	r = find_files(release);
	return r < 0 ? error_set(err, r, "command") : 0;
}

/* ---- what was started earlier --------------------------------------------------------------- */

/* A script is run by another program, which is what the kernel shows of its process. */
static bool is_script(const char *path)
{
	char start[2] = "";
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	return fd >= 0 && pread(fd, start, 2, 0) == 2 && memcmp(start, "#!", 2) == 0;
}

/* By the time that a file's owner cannot set. */
static bool is_older(const char *path, uint64_t since_ms)
{
	struct stat st;

	return sight_stat(path, &st) == 0 && ctime_ns(&st) / 1000000 <= since_ms;
}

static void look_back_at_files(struct release *release, uint64_t since_ms)
{
	if (find_files(release) < 0)
		return;
	for (size_t i = 0; i < release->n_files; i++) {
		struct release_file *file = &release->files[i];

		if (is_older(file->path, since_ms))
			continue;
		file->hash[0] = '\0';
		file->inode = file->size = file->mtime_ms = file->ctime_ns = 0;
	}
}

void release_look_back(struct release *release, pid_t pid, uint64_t since_ms)
{
	bool script = is_script(release->executable), older;
	char path[32];
	struct stat st;

	older = is_older(release->executable, since_ms);
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	look_back_at_files(release, since_ms);
	if (script && !older)
		return;
	if (stat(script ? release->executable : path, &st) < 0)
		return;
	release->inode = st.st_ino;
	release->mtime_ms = mtime_ms(&st);
	release->size = (uint64_t)st.st_size;
	release->ctime_ns = ctime_ns(&st);
	release_identify(script ? release->executable : path, release);
}

/* ---- comparing ------------------------------------------------------------------------------ */

bool release_equal(const struct release *a, const struct release *b)
{
	return vector_equal(a->command, b->command) && strcmp(a->directory, b->directory) == 0 &&
	       vector_equal(a->environment, b->environment) &&
	       strcmp(a->executable, b->executable) == 0;
}

static bool same_stat(const struct release_file *a, const struct release_file *b)
{
	return a->inode == b->inode && a->size == b->size && a->mtime_ms == b->mtime_ms;
}

/*
 * Not by the build id: what is put into a program after it was linked (objcopy, patchelf, bundlers)
 * does not change that.
 */
static bool same_contents(const struct release *a, const struct release *b)
{
	if (a->hash[0] && b->hash[0])
		return strcmp(a->hash, b->hash) == 0;
	return a->inode == b->inode && a->size == b->size && a->mtime_ms == b->mtime_ms;
}

static bool same_files(const struct release *a, const struct release *b)
{
	/* A full list may have left some out, and nobody knows how those are. */
	if (a->n_files != b->n_files || a->n_files == RELEASE_FILES_MAX)
		return false;
	for (size_t i = 0; i < a->n_files; i++) {
		const struct release_file *x = &a->files[i], *y = &b->files[i];

		if (strcmp(x->path, y->path) != 0)
			return false;
		if (x->hash[0] && y->hash[0] ? strcmp(x->hash, y->hash) != 0 : !same_stat(x, y))
			return false;
	}
	return true;
}

bool release_identical(const struct release *a, const struct release *b)
{
	/*
	 * The path counts, too: a script may start what is beside it ($0), whatever its own
	 * contents.
	 */
	return release_equal(a, b) && same_contents(a, b) && same_files(a, b);
}

/* A file that looks as it did is not read again. */
static bool differs(const char *path, const struct release_file *known)
{
	char hash[RELEASE_DIGEST_MAX];
	struct release_file now;
	struct stat st;
	int r;

	if (known->inode == 0)
		return false;
	r = sight_stat(path, &st);
	/* Nobody could look: that is no change. */
	if (r == -ETIMEDOUT && sight_why_nothing())
		return false;
	if (r < 0)
		return true;
	now = (struct release_file){
		.inode = st.st_ino, .mtime_ms = mtime_ms(&st), .size = (uint64_t)st.st_size};
	if (same_stat(&now, known) && ctime_ns(&st) == known->ctime_ns)
		return false;
	if (now.size != known->size)
		return true;
	if (!known->hash[0])
		return !same_stat(&now, known);
	release_hash(path, hash);
	return strcmp(hash, known->hash) != 0;
}

bool release_changed(const struct release *release, const char **ret)
{
	struct release_file executable = {.inode = release->inode,
					  .mtime_ms = release->mtime_ms,
					  .size = release->size,
					  .ctime_ns = release->ctime_ns};

	memcpy(executable.hash, release->hash, sizeof(executable.hash));
	*ret = release->executable;
	if (differs(release->executable, &executable))
		return true;
	for (size_t i = 0; i < release->n_files; i++) {
		*ret = release->files[i].path;
		if (differs(release->files[i].path, &release->files[i]))
			return true;
	}
	return false;
}

/* ---- copies --------------------------------------------------------------------------------- */

struct release *release_copy(const struct release *release)
{
	cleanup(release_free) struct release *copy = calloc(1, sizeof(*copy));

	if (!copy || vector_copy(release->command, &copy->command) < 0 ||
	    vector_copy(release->environment, &copy->environment) < 0)
		return NULL;
	copy->inode = release->inode;
	copy->mtime_ms = release->mtime_ms;
	copy->size = release->size;
	copy->ctime_ns = release->ctime_ns;
	memcpy(copy->digest, release->digest, sizeof(copy->digest));
	memcpy(copy->hash, release->hash, sizeof(copy->hash));
	for (; copy->n_files < release->n_files; copy->n_files++) {
		struct release_file *file = &copy->files[copy->n_files];

		*file = release->files[copy->n_files];
		file->path = strdup(file->path);
		if (!file->path)
			return NULL;
	}
	copy->executable = strdup(release->executable);
	copy->directory = strdup(release->directory);
	return copy->executable && copy->directory ? TAKE_PTR(copy) : NULL;
}

void release_free(struct release *release)
{
	if (!release)
		return;
	vector_free(release->command);
	free(release->executable);
	free(release->directory);
	vector_free(release->environment);
	forget_files(release);
	free(release);
}
