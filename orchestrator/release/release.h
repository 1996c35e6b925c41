/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * release: what a generation runs, resolved anew for each generation.
 *
 * Symlinks, PATH, the working directory and the environment file are looked up at the moment of
 * the call, so that a moved "current" link or an edited file counts from the next rollout on. What
 * was found is kept with the generation, for status.
 *
 * The environment is built from three sources, of which later ones win: PATH, HOME, USER, LOGNAME
 * and SHELL of the service's user (if environment_inherit is set: the daemon's whole environment,
 * less what is addressed to the daemon itself); the environment file (environment.h says what may
 * be in it); "environment". LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES and NOTIFY_SOCKET are left to
 * the agent.
 *
 * Reading the configuration makes the same lookups one by one (config/lookup.h), so that it can say
 * which key a mistake belongs to.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "orchestrator/config/config.h"
#include "orchestrator/host/file_hash.h"

#define RELEASE_DIGEST_MAX FILE_HASH_TEXT_MAX
#define RELEASE_FILES_MAX  16

/* A regular file that an argument names: what an interpreter runs, a configuration. */
struct release_file {
	char *path; /* real */
	uint64_t inode, mtime_ms, size;
	uint64_t ctime_ns;             /* of its last change, which nobody can set */
	char hash[RELEASE_DIGEST_MAX]; /* of its contents; "": it is too large, or cannot be read */
};

struct release {
	char **command;   /* NULL-terminated, as configured */
	char *executable; /* real path of command[0] */
	uint64_t inode;
	uint64_t mtime_ms; /* since 1970 */
	uint64_t size;
	uint64_t ctime_ns;
	char digest[RELEASE_DIGEST_MAX]; /* of the executable, for people; see release_identify() */
	char hash[RELEASE_DIGEST_MAX];   /* of its contents */
	struct release_file files[RELEASE_FILES_MAX];
	size_t n_files;
	char *directory;      /* real path; from the first placeholder on as configured */
	char **environment;   /* NULL-terminated, sorted, each name once */
	uint64_t resolved_ms; /* CLOCK_MONOTONIC; 0: it was not, or long ago */
};

/*
 * For the generation @number, which only the path of an environment file may ask for.
 * @command replaces the configured one if it is not NULL ("baton upgrade SERVICE -- COMMAND...").
 * @environment is added to the configured one, and wins; NULL: nothing is added. -ENOENT, -EACCES,
 * -EINVAL with a reason that names the path or the line.
 */
int release_resolve(const struct service_config *service, uint32_t number, char *const *command,
		    char *const *environment, struct release **ret, struct error *err);

/*
 * Take the identity anew: what the executable is now, and the files that the command names. For a
 * release that is started later than it was resolved, or again. Negative if the executable is not
 * there any more; then nothing has changed.
 */
int release_look(struct release *release, struct error *err);

/*
 * Has the executable, or a file that the command names, other contents than when the identity was
 * taken? Then *ret is the path of the first one, which is @release's. A file that is gone has
 * changed, too. What was not known when the identity was taken is not looked at.
 */
bool release_changed(const struct release *release, const char **ret);

/*
 * What the file at @path is, whatever it is called. @release gets
 *	hash	"sha256:..." of all that is in it; "" above RELEASE_HASH_MAX;
 *	digest	"build-id:..." (the GNU build id of an ELF file with nothing behind it), else hash.
 *
 * Both are "" if the file cannot be read. Give it /proc/PID/exe for what already runs. Blocks while
 * it reads. A file that was hashed lately and has not changed since (by device, inode, size and
 * times) is not read again.
 */
#define RELEASE_HASH_MAX FILE_HASH_SIZE_MAX
void release_identify(const char *path, struct release *release);

/* The hash alone, for any file. */
void release_hash(const char *path, char ret[static RELEASE_DIGEST_MAX]);

/*
 * The same release, of which a server was started at @since_ms (realtime) and that runs as the
 * process @pid (0: none). A program is read from the process, whatever has its name by now. A
 * script, or a file that the command names, has not changed since then or is unknown: no hash.
 */
void release_look_back(struct release *release, pid_t pid, uint64_t since_ms);

/*
 * Would starting @b instead of @a make no difference? That is release_equal(), the same contents of
 * the executable and of the files that the command names: by hash; by inode, size and time if one
 * of them has none.
 * Equal build ids say nothing: a build id is that of what was linked, not of what was put into the
 * file afterwards.
 */
bool release_identical(const struct release *a, const struct release *b);

/* Do they run the same: command, executable (by path), directory, environment? */
bool release_equal(const struct release *a, const struct release *b);

/* A deep copy; NULL without memory. */
struct release *release_copy(const struct release *release);

void release_free(struct release *release);
DEFINE_CLEANUP(struct release *, release_free);
