/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/wanted_files.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define LINE_BYTES_MAX 512

/* ---- last words ----------------------------------------------------------------------------- */

/* Where the first of @phrases (NULL-terminated) that @line has ends; NULL: it has none. */
static const char *end_of_phrase(const char *line, const char *const *phrases)
{
	for (; *phrases; phrases++) {
		const char *found = strcasestr(line, *phrases);

		if (found)
			return found + strlen(*phrases);
	}
	return NULL;
}

/* The word "lock" or one that begins with it: not "block", "clock" or "mlock". */
static const char *find_lock(const char *line)
{
	const char *found = line;

	while ((found = strcasestr(found, "lock"))) {
		if (found == line || !isalpha((unsigned char)found[-1]))
			return found;
		found++;
	}
	return NULL;
}

/* The first absolute path in @text; with @prefix ("unix:") only one that follows that. */
static bool find_path(const char *text, const char *prefix, char ret[static WANTED_PATH_MAX])
{
	static const char between[] = " \t\r'\"(){}[],;=<>";

	for (const char *word = text; *word; word += strcspn(word, between)) {
		size_t n, skip = strlen(prefix);

		word += strspn(word, between);
		n = strcspn(word, between);
		if (n < skip + 2 || strncmp(word, prefix, skip) != 0 || word[skip] != '/')
			continue;
		while (n > 0 && strchr(".:", word[n - 1]))
			n--;
		if (n - skip >= WANTED_PATH_MAX)
			return false;
		snprintf(ret, WANTED_PATH_MAX, "%.*s", (int)(n - skip), word + skip);
		/* "//" and the like of a URL. */
		return ret[1] != '/';
	}
	return false;
}

static enum wanted_file_kind look_for_socket(const char *line, char ret[static WANTED_PATH_MAX])
{
	static const char *const phrases[] = {"address already in use", "eaddrinuse",
					      "connection in use",      "socket is still in use",
					      "already a server bound", NULL};
	const char *end = end_of_phrase(line, phrases);

	if (end && (find_path(line, "unix:", ret) || find_path(end, "", ret)))
		return WANTED_FILE_SOCKET;
	return WANTED_FILE_NONE;
}

static enum wanted_file_kind look_for_pid(const char *line, char ret[static WANTED_PATH_MAX])
{
	static const char *const phrases[] = {"already running", "pidfile exists",
					      "pid file exists", "pid file already exists", NULL};
	const char *end = end_of_phrase(line, phrases);

	if (!end || !strcasestr(line, "pid"))
		return WANTED_FILE_NONE;
	(void)find_path(end, "", ret);
	return WANTED_FILE_PID;
}

static enum wanted_file_kind look_for_lock(const char *line, char ret[static WANTED_PATH_MAX])
{
	static const char *const phrases[] = {"is locked",
					      "already locked",
					      "could not lock",
					      "couldn't lock",
					      "cannot lock",
					      "can't lock",
					      "to lock",
					      "to acquire",
					      "not acquire",
					      "can't acquire",
					      "cannot acquire",
					      "could not get",
					      "already exists",
					      "held by",
					      "holding",
					      "already in use",
					      "temporarily unavailable",
					      NULL};
	const char *lock = find_lock(line);

	/* Memory is locked for another reason. */
	if (!lock || !end_of_phrase(line, phrases) || strcasestr(line, "memory"))
		return WANTED_FILE_NONE;
	if (!find_path(lock, "", ret))
		(void)find_path(line, "", ret);
	return WANTED_FILE_LOCK;
}

void wanted_file_find(const char *tail, struct wanted_file *ret)
{
	static enum wanted_file_kind (*const looks[])(const char *line,
						      char ret[static WANTED_PATH_MAX]) = {
		look_for_socket,
		look_for_pid,
		look_for_lock,
	};

	*ret = (struct wanted_file){};
	for (; *tail; tail += strcspn(tail, "\n"), tail += *tail != '\0') {
		size_t length = strcspn(tail, "\n");
		char line[LINE_BYTES_MAX];

		snprintf(line, sizeof(line), "%.*s",
			 (int)(length < sizeof(line) ? length : sizeof(line) - 1), tail);
		for (size_t k = 0; k < sizeof(looks) / sizeof(looks[0]); k++) {
			struct wanted_file found = {};

			found.kind = looks[k](line, found.path);
			if (!found.kind)
				continue;
			*ret = found;
			break;
		}
	}
}

/* ---- what to do ----------------------------------------------------------------------------- */

/* "/run/web.{generation}.sock" of "/run/web.sock", in quotes behind ", such as "; "" of "". */
static void suggest(const struct wanted_file_facts *facts, char *ret, size_t size)
{
	const char *path = facts->file.path, *name = strrchr(path, '/'), *dot;

	ret[0] = '\0';
	if (!name)
		return;
	dot = strrchr(name + 1, '.');
	if (!dot || dot == name + 1)
		dot = path + strlen(path);
	snprintf(ret, size, ", such as \"%.*s.{generation}%s%s\"", (int)(dot - path), path,
		 facts->several ? ".{instance}" : "", dot);
}

static void describe(const struct wanted_file *file, char *ret, size_t size)
{
	static const char *const what[] = {
		[WANTED_FILE_SOCKET] = "the unix socket that it binds",
		[WANTED_FILE_PID] = "its pid file",
		[WANTED_FILE_LOCK] = "what it locks",
	};
	static const char *const is[] = {
		[WANTED_FILE_SOCKET] = "is there already",
		[WANTED_FILE_PID] = "says that it runs already",
		[WANTED_FILE_LOCK] = "is locked already",
	};

	snprintf(ret, size, "%s%s%s%s %s", what[file->kind], file->path[0] ? " (" : "", file->path,
		 file->path[0] ? ")" : "", is[file->kind]);
}

char *wanted_file_advise(const struct wanted_file_facts *facts, char ret[static ADVICE_TEXT_MAX])
{
	char so[WANTED_PATH_MAX + 80], such[WANTED_PATH_MAX + 48];

	assert(facts->file.kind != WANTED_FILE_NONE);
	describe(&facts->file, so, sizeof(so));
	suggest(facts, such, sizeof(such));
	if (facts->again && facts->file.kind != WANTED_FILE_LOCK)
		snprintf(ret, ADVICE_TEXT_MAX,
			 "%s, left behind by the server that ended before: have it remove the file "
			 "when it starts",
			 so);
	else if (!facts->others)
		snprintf(ret, ADVICE_TEXT_MAX,
			 "%s: another server has it, which is to be ended, or an earlier one has "
			 "left it behind: remove it then",
			 so);
	else
		snprintf(
			ret, ADVICE_TEXT_MAX,
			"%s; most likely the other %s has it: give each one a file of its own by the "
			"command or the environment%s, or write \"strategy\": \"stop-first\"",
			so, facts->several ? "instance or generation" : "generation", such);
	return ret;
}
