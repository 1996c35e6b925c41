/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/print_event.h"

#include <string.h>

#include "cli/print_failed.h"
#include "cli/print_failure.h"
#include "cli/print_status.h"

#define MESSAGE_WIDTH 52

void print_progress_init(struct print_progress *progress, bool quiet)
{
	*progress = (struct print_progress){.quiet = quiet};
}

bool print_event_is_last(const json_t *event)
{
	const char *name = print_member(event, "event");

	return strcmp(name, "done") == 0 || strcmp(name, "failed") == 0 ||
	       strcmp(name, "rolled-back") == 0;
}

bool print_event_is_waiting(const json_t *event)
{
	return strcmp(print_member(event, "event"), "waiting") == 0;
}

static bool is_scale(const json_t *answer)
{
	return strcmp(print_member(answer, "order"), "scale") == 0;
}

/* From the event if it has the number. The answer to an order that supersedes another does not. */
static long long number_of(const json_t *answer, const json_t *event, const char *key)
{
	long long number = print_number(event, key);

	return number >= 0 ? number : print_number(answer, key);
}

/* A hook that failed has not made the step fail in which it was run. */
static bool is_hook(const json_t *event)
{
	return strcmp(print_member(event, "event"), "hook") == 0;
}

/*
 * The event's message, cleaned. That of a hook begins with its name, unless it contains it already.
 */
static void format_message(const json_t *event, char *buffer, size_t size)
{
	const char *message = print_member(event, "message");
	const char *hook = print_member(event, "hook");
	char text[1024];

	if (!*message)
		message = print_member(event, "reason");
	if (is_hook(event) && *hook && !strstr(message, hook)) {
		snprintf(text, sizeof(text), "%s%s%s", hook, *message ? ": " : "", message);
		message = text;
	}
	print_clean(message, buffer, size);
}

void print_progress_begin(const struct print *to, const json_t *answer)
{
	long long generation = print_number(answer, "generation");
	long long replaces = print_number(answer, "replaces");

	print_coloured(to, PRINT_BOLD, print_member(answer, "service"));
	fputs(": ", to->out);
	if (print_number(answer, "supersedes") >= 0) {
		print_text(to, print_member(answer, "order"));
		fprintf(to->out, ", once rollout %lld is undone",
			print_number(answer, "supersedes"));
	} else if ((generation >= 0 || replaces >= 0) && is_scale(answer)) {
		fprintf(to->out, "generation %lld is scaled",
			generation >= 0 ? generation : replaces);
	} else if (generation >= 0 && replaces >= 0)
		fprintf(to->out, "generation %lld replaces %lld", generation, replaces);
	else if (generation >= 0)
		fprintf(to->out, "generation %lld starts", generation);
	else if (replaces >= 0)
		fprintf(to->out, "generation %lld stops", replaces);
	else
		print_text(to, print_member(answer, "order"));
	fputc('\n', to->out);
}

/* Events that somebody should look at stand out. */
static enum print_colour event_colour(const json_t *event)
{
	static const char *const warnings[] = {"agent-lost", "degraded",  "drift",    "dropped",
					       "exited",     "failover",  "paused",   "queue",
					       "refused",    "replacing", "stranger", "superseded",
					       "undeclared", "unhealthy", "waiting"};
	const char *name = print_member(event, "event");

	if (strcmp(name, "done") == 0)
		return PRINT_GREEN;
	if (print_event_is_last(event))
		return PRINT_RED;
	for (size_t i = 0; i < sizeof(warnings) / sizeof(warnings[0]); i++)
		if (strcmp(name, warnings[i]) == 0)
			return PRINT_YELLOW;
	if (is_hook(event) && json_is_false(json_object_get(event, "ok")))
		return PRINT_YELLOW;
	return PRINT_PLAIN;
}

void print_progress_superseded(const struct print *to, const json_t *event)
{
	const char *name = print_member(event, "event");

	fputs("  ", to->out);
	print_coloured(to, PRINT_DIM, "undone");
	fprintf(to->out, "   rollout %lld has ended: ", print_number(event, "rollout"));
	print_text(to, name);
	fputc('\n', to->out);
}

/* Is it the same failed probe as the last one? */
static bool is_repeated(struct print_progress *progress, const json_t *event, const char *message)
{
	char probe[PRINT_CELL_MAX];

	if (strcmp(print_member(event, "event"), "probe") != 0)
		return false;
	print_clean(message, probe, sizeof(probe));
	if (strcmp(probe, progress->last_probe) == 0)
		return true;
	memcpy(progress->last_probe, probe, sizeof(probe));
	return false;
}

/* The step before may have said already why somebody is waited for. */
static void leave_out_reason(const struct print_progress *progress, const json_t *event,
			     char *message)
{
	size_t length = strlen(progress->last_message);

	if (!print_event_is_waiting(event) || length == 0)
		return;
	if (strncmp(message, progress->last_message, length) == 0 &&
	    strncmp(message + length, "; ", 2) == 0)
		memmove(message, message + length + 2, strlen(message + length + 2) + 1);
}

void print_progress_step(const struct print *to, struct print_progress *progress,
			 const json_t *event)
{
	const char *name = print_member(event, "event");
	long long took_ms = print_number(event, "took_ms");
	bool failed = json_is_false(json_object_get(event, "ok")) && !is_hook(event);
	char message[1024];
	char took[PRINT_TOOK_MAX];
	size_t width;

	/* Keep the first step that failed: the steps after it only undo the rollout. */
	if (failed && !progress->failed_step[0])
		print_clean(name, progress->failed_step, sizeof(progress->failed_step));
	if (progress->quiet)
		return;
	format_message(event, message, sizeof(message));
	if (failed)
		strcpy(message, json_is_true(json_object_get(event, "aborted")) ? "ended by request"
										: "failed");
	if (is_repeated(progress, event, message))
		return;
	leave_out_reason(progress, event, message);
	snprintf(progress->last_message, sizeof(progress->last_message), "%s", message);
	fputs("  ", to->out);
	print_coloured(to, PRINT_DIM, name);
	width = print_width(name);
	fprintf(to->out, "%*s", width < 7 ? (int)(9 - width) : 2, "");
	print_coloured(to, failed ? PRINT_RED : event_colour(event), message);
	if (took_ms >= 0) {
		width = print_width(message);
		if (width < MESSAGE_WIDTH)
			fprintf(to->out, "%*s", (int)(MESSAGE_WIDTH - width), "");
		fprintf(to->out, "  %8s", print_took(took_ms, took));
	}
	fputc('\n', to->out);
}

/* Does less serve than the rollout was to bring? The daemon's words have the numbers. */
static bool is_short(const json_t *event, long long generation)
{
	const json_t *serving = json_object_get(event, "serving");

	if (generation < 0 || !serving || !*print_member(event, "message"))
		return false;
	return print_number(serving, "instances") < print_number(serving, "wanted") ||
	       print_number(serving, "generation") != generation;
}

/* Connections that nothing could take for a while. */
static void print_held(const struct print *to, const json_t *event)
{
	const json_t *held = json_object_get(event, "held");
	long long released = print_number(held, "released");
	char longest[PRINT_TOOK_MAX];

	if (released <= 0)
		return;
	print_took(print_number(held, "longest_ms"), longest);
	if (released == 1)
		fprintf(to->out, "; 1 connection waited, for %s", longest);
	else
		fprintf(to->out, "; %lld connections waited, the longest for %s", released,
			longest);
}

static void print_done(const struct print *to, const json_t *answer, const json_t *event)
{
	long long generation = number_of(answer, event, "generation");
	long long replaces = number_of(answer, event, "replaces");
	const char *message = print_member(event, "message"), *lost = print_member(event, "lost");

	print_coloured(to, *lost ? PRINT_YELLOW : PRINT_GREEN, "done");
	fputs(": ", to->out);
	if ((is_scale(answer) && *message) || (generation < 0 && replaces < 0) ||
	    is_short(event, generation)) {
		print_text(to, message);
		return;
	} else {
		if (generation >= 0)
			fprintf(to->out, "generation %lld serves", generation);
		if (replaces >= 0)
			fprintf(to->out, "%sgeneration %lld is gone", generation >= 0 ? ", " : "",
				replaces);
	}
	print_held(to, event);
	if (*lost) {
		fputs(", but ", to->out);
		print_text(to, lost);
	}
}

static void print_undone(const struct print *to, const struct print_progress *progress,
			 const json_t *event)
{
	const char *step = print_member(event, "step");
	const char *reason = print_member(event, "reason"), *lost = print_member(event, "lost");

	if (!*step)
		step = progress->failed_step;
	print_coloured(to, PRINT_RED,
		       strcmp(print_member(event, "event"), "failed") == 0 ? "failed"
									   : "rolled back");
	if (*step) {
		fputs(" at ", to->out);
		print_text(to, step);
	}
	fputs(": ", to->out);
	print_text(to, *reason ? reason : print_member(event, "message"));
	if (*reason)
		print_held(to, event);
	if (*lost && *reason) {
		fputs("; ", to->out);
		print_text(to, lost);
	}
}

/* If an instance is to blame there is something to mend. */
static void print_nothing_serves(const struct print *to, const json_t *answer, const json_t *event)
{
	fputs("  nothing serves", to->out);
	if (print_number(event, "instance") >= 0) {
		fputs(": when that is mended, \"baton restart ", to->out);
		print_text(to, print_member(answer, "service"));
		fputs("\" tries again", to->out);
	}
	fputc('\n', to->out);
}

/* Who takes the connections after a rollout that did not succeed, as the daemon has seen it. */
static void print_survivor(const struct print *to, const json_t *answer, const json_t *event)
{
	bool shifted = strcmp(print_member(event, "event"), "rolled-back") == 0;
	bool again = json_is_true(json_object_get(event, "started_again"));
	const json_t *serving = json_object_get(event, "serving");
	long long generation = print_number(serving, "generation");
	long long instances = print_number(serving, "instances");
	long long wanted = print_number(serving, "wanted");

	if (!serving)
		return;
	if (generation < 0)
		print_nothing_serves(to, answer, event);
	else if (instances < wanted)
		fprintf(to->out, "  generation %lld serves with %lld of %lld instances\n",
			generation, instances, wanted);
	else if (generation != number_of(answer, event, "replaces"))
		fprintf(to->out, "  generation %lld serves\n", generation);
	else
		fprintf(to->out, "  generation %lld %s\n", generation,
			again     ? "was started again, and serves"
			: shifted ? "serves again"
				  : "is still serving, untouched");
}

void print_progress_end(const struct print *to, const struct print_progress *progress,
			const json_t *answer, const json_t *event)
{
	bool done = strcmp(print_member(event, "event"), "done") == 0;
	long long took_ms = print_number(event, "took_ms");
	char took[PRINT_TOOK_MAX];

	if (done)
		print_done(to, answer, event);
	else
		print_undone(to, progress, event);
	if (took_ms >= 0)
		fprintf(to->out, " (%s)", print_took(took_ms, took));
	fputc('\n', to->out);
	if (done)
		return;
	print_failure(to, "  ", event);
	print_survivor(to, answer, event);
}

void print_event(const struct print *to, const json_t *event)
{
	const char *name = print_member(event, "event");
	const char *service = print_member(event, "service"); /* a reload's is of none */
	const char *message = print_member(event, "message");
	const char *reason = print_member(event, "reason");
	long long generation = print_number(event, "generation");
	long long took_ms = print_number(event, "took_ms");
	char text[1024], took[PRINT_TOOK_MAX];

	print_time(to, print_member(event, "time"));
	fputs("  ", to->out);
	if (*service) {
		print_coloured(to, PRINT_BOLD, service);
		if (generation >= 0)
			fprintf(to->out, " %lld", generation);
		fputs("  ", to->out);
	}
	print_coloured(to, event_colour(event), name);
	format_message(event, text, sizeof(text));
	if (*text)
		fprintf(to->out, ": %s", text);
	if (took_ms >= 0)
		fprintf(to->out, " (%s)", print_took(took_ms, took));
	fputc('\n', to->out);
	if (strcmp(name, "done") == 0)
		return;
	if (!print_event_is_last(event)) {
		print_tail(to, "    ", event);
		return;
	}
	if (*message && *reason && strcmp(message, reason) != 0) {
		fputs("    ", to->out);
		print_text(to, reason);
		fputc('\n', to->out);
	}
	print_failure(to, "    ", event);
}
