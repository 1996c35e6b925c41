/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/vector.h"
#include "orchestrator/service/history_file.h"
#include "orchestrator/service/service_internal.h"

/* ---- overrides ------------------------------------------------------------------------------ */

#define BASE_MAX 17

static const char *base_of(const struct service_config *config, char ret[static BASE_MAX])
{
	snprintf(ret, BASE_MAX, "%016" PRIx64, service_config_base(config));
	return ret;
}

/* For later daemons, with what the file said then. */
static void remember_overrides(struct service *s)
{
	bool any = s->history.command || s->history.environment;
	struct state *state = s->context->state;
	const char *id = service_id(s);
	char base[BASE_MAX];
	struct error err;

	if (state_set_command(state, id, s->history.command, &err) < 0 ||
	    state_set_environment(state, id, s->history.environment, &err) < 0 ||
	    state_set_base(state, id, any ? base_of(s->config, base) : NULL, &err) < 0)
		log_warning("%s: the command cannot be remembered: %s", s->config->name, err.text);
}

/* What the current generation has and the configuration has not. */
static void keep_overrides(struct service *s)
{
	const struct generation *g = s->current;
	char **command = NULL, **environment = NULL;

	if (!vector_equal(g->release->command, s->config->command) &&
	    vector_copy(g->release->command, &command) < 0)
		return;
	if (g->added && g->added[0] && vector_copy(g->added, &environment) < 0) {
		vector_free(command);
		return;
	}
	vector_free(s->history.command);
	vector_free(s->history.environment);
	s->history.command = command;
	s->history.environment = environment;
	remember_overrides(s);
}

/* Names only: the values of an environment are nobody's business. */
static void describe_overrides(struct service *s)
{
	char *ret = s->history.overridden;
	size_t size = sizeof(s->history.overridden), n;

	n = (size_t)snprintf(ret, size, "what the file says takes the place of the last upgrade's");
	if (s->history.command)
		n += (size_t)snprintf(ret + n, size - n, " command (%.100s%s)",
				      s->history.command[0], s->history.command[1] ? " ..." : "");
	for (char **entry = s->history.environment; entry && *entry && n < size; entry++)
		n += (size_t)snprintf(ret + n, size - n, "%s%.*s",
				      entry != s->history.environment ? ", "
				      : s->history.command            ? " and environment: "
								      : " environment: ",
				      (int)strcspn(*entry, "="), *entry);
}

void service_drop_overrides(struct service *s)
{
	s->history.overridden[0] = '\0';
	if (!s->history.command && !s->history.environment)
		return;
	describe_overrides(s);
	service_note(s, EVENT_OVERRIDDEN, "%s", s->history.overridden);
	vector_free(TAKE_PTR(s->history.command));
	vector_free(TAKE_PTR(s->history.environment));
	remember_overrides(s);
}

static void recall_overrides(struct service *s)
{
	cleanup_free char *base = state_base(s->context->state, service_id(s));
	char now[BASE_MAX];

	vector_free(s->history.command);
	vector_free(s->history.environment);
	s->history.command = state_command(s->context->state, service_id(s));
	s->history.environment = state_environment(s->context->state, service_id(s));
	/* Versions that did not note what the file said do not count as another file. */
	if (base && strcmp(base, base_of(s->config, now)) != 0)
		service_drop_overrides(s);
}

/* ---- history -------------------------------------------------------------------------------- */

/* A service that takes the place of another one gets its id, hence its file. */
static struct kept_file *history_file_of(struct service *s)
{
	char path[PATHS_MAX];

	history_file_path(&s->context->paths, service_id(s), path);
	if (s->history.file && strcmp(kept_file_path(s->history.file), path) != 0)
		kept_file_free(TAKE_PTR(s->history.file));
	if (!s->history.file)
		s->history.file = kept_file_new(s->context->event, s->context->writer, path, NULL);
	return s->history.file;
}

static void write_history(struct service *s)
{
	struct kept_file *file = history_file_of(s);
	struct error err;
	int r = file ? history_file_write(file, &s->history.past, &err)
		     : error_set(&err, -ENOMEM, "its file");

	if (r < 0)
		log_warning("%s: what it has run cannot be remembered: %s", s->config->name,
			    err.text);
}

static void read_history(struct service *s)
{
	char path[PATHS_MAX];
	struct error err;

	history_file_path(&s->context->paths, service_id(s), path);
	if (history_file_read(path, s->config, &s->history.past, &err) < 0)
		log_warning("%s: what it has run before is not known: %s", s->config->name,
			    err.text);
}

static void note_past(struct service *s, enum past_end end, uint32_t origin)
{
	const struct generation *g = s->current;
	struct past *past =
		past_new(g->number, g->release, g->config, g->added, clock_realtime_ms());

	if (!past) {
		log_warning("%s: out of memory: no rollback will lead to generation %u",
			    s->config->name, g->number);
		return;
	}
	history_commit(&s->history.past, past, end, origin);
	write_history(s);
}

void service_note_commit(struct service *s, enum run_order order)
{
	const struct generation *g = s->current;
	bool plain = vector_equal(g->release->command, s->config->command) &&
		     (!g->added || !g->added[0]);

	note_past(s,
		  g->origin         ? PAST_ROLLED_BACK
		  : s->healing.dead ? PAST_FAILED
				    : PAST_REPLACED,
		  g->origin);
	/* A restart without overrides had none to keep, or was to drop them. */
	if (order == RUN_ORDER_UPGRADE || order == RUN_ORDER_ROLLBACK ||
	    (order == RUN_ORDER_RESTART && plain))
		keep_overrides(s);
}

/* What is not known of a file that runs, as its contents have changed since it was started. */
static void complete(struct release *release, const struct release *known)
{
	if (!release_equal(release, known))
		return;
	if (!release->hash[0]) {
		memcpy(release->hash, known->hash, sizeof(release->hash));
		memcpy(release->digest, known->digest, sizeof(release->digest));
		release->inode = known->inode;
		release->mtime_ms = known->mtime_ms;
		release->size = known->size;
		release->ctime_ns = known->ctime_ns;
	}
	for (size_t k = 0; k < release->n_files && k < known->n_files; k++) {
		struct release_file *file = &release->files[k];
		char *path = file->path;

		if (file->inode || strcmp(path, known->files[k].path) != 0)
			continue;
		*file = known->files[k];
		file->path = path;
	}
}

void service_note_taken_over(struct service *s)
{
	struct generation *g = s->current;
	const struct past *past = history_find(&s->history.past, g->number);

	if (past) {
		complete(g->release, past->release);
		if (past->added && vector_copy(past->added, &g->added) < 0)
			g->added = NULL;
	}
	if (!past || past != history_newest(&s->history.past))
		note_past(s, PAST_REPLACED, 0);
}

const struct past *service_rollback_target(const struct service *s)
{
	return history_target(&s->history.past, s->config);
}

void service_recall(struct service *s)
{
	recall_overrides(s);
	if (s->history.past.n == 0)
		read_history(s);
}

void service_look_at_history(const struct context *context, const char *id)
{
	char path[PATHS_MAX];

	history_file_path(&context->paths, id, path);
	history_file_look(path);
}

void service_forget(struct service *s)
{
	vector_free(TAKE_PTR(s->history.command));
	vector_free(TAKE_PTR(s->history.environment));
	remember_overrides(s);
	history_done(&s->history.past);
	write_history(s);
}

void service_history_done(struct service_history *history)
{
	vector_free(TAKE_PTR(history->command));
	vector_free(TAKE_PTR(history->environment));
	history_done(&history->past);
	kept_file_free(TAKE_PTR(history->file));
}
