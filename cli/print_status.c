/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/print_status.h"

#include <string.h>

#define DETAIL "             " /* as wide as a label */

static void print_label(const struct print *to, const char *text)
{
	fputs("  ", to->out);
	print_coloured(to, PRINT_DIM, text);
	fprintf(to->out, "%*s", (int)(sizeof(DETAIL) - 1 - 2 - strlen(text)), "");
}

static const char *plural(long long n)
{
	return n == 1 ? "" : "s";
}

static enum print_colour state_colour(const char *state)
{
	static const struct {
		const char *state;
		enum print_colour colour;
	} known[] = {
		{"running", PRINT_GREEN},  {"failed", PRINT_RED},      {"unhealthy", PRINT_RED},
		{"rolling", PRINT_YELLOW}, {"starting", PRINT_YELLOW}, {"stopping", PRINT_YELLOW},
		{"done", PRINT_GREEN},     {"rolled-back", PRINT_RED},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(state, known[i].state) == 0)
			return known[i].colour;
	return PRINT_PLAIN;
}

void print_failure(const struct print *to, const char *indent, const json_t *object)
{
	const char *probe = print_member(object, "probe");
	const char *tail = print_member(object, "tail");
	char prefix[64];

	if (*probe) {
		fprintf(to->out, "%slast probe: ", indent);
		print_text(to, probe);
		fputc('\n', to->out);
	}
	if (*tail) {
		fprintf(to->out, "%slast lines on its stderr:\n", indent);
		snprintf(prefix, sizeof(prefix), "%s| ", indent);
		print_lines(to, prefix, tail);
	}
}

/* ---- parts of a status ---------------------------------------------------------------------- */

static void print_steering(const struct print *to, const json_t *service)
{
	long long instances = print_number(service, "instances");

	print_label(to, "steering");
	print_text(to, print_member(service, "tier"));
	if (*print_member(service, "mode")) {
		fputs(", mode ", to->out);
		print_text(to, print_member(service, "mode"));
	}
	if (instances > 1)
		fprintf(to->out, ", %lld instances", instances);
	fputc('\n', to->out);
}

static void print_endpoint(const struct print *to, const json_t *endpoint, size_t width)
{
	const json_t *program = json_object_get(endpoint, "program");
	const char *state = print_member(program, "state");
	const char *anchor = print_member(endpoint, "anchor");
	bool bad = strcmp(state, "missing") == 0 || strcmp(state, "foreign") == 0;
	long long refused = print_number(endpoint, "refused");
	char listen[PRINT_CELL_MAX];

	print_clean(print_member(endpoint, "listen"), listen, sizeof(listen));
	fputs(listen, to->out);
	if (!json_is_object(program) && !*anchor && refused <= 0) {
		fputc('\n', to->out);
		return;
	}
	fprintf(to->out, "%*s", (int)(width - print_width(listen)), "");
	if (json_is_object(program)) {
		if (print_number(program, "id") > 0)
			fprintf(to->out, "  program %lld ", print_number(program, "id"));
		else
			fputs("  program ", to->out);
		print_coloured(to, bad ? PRINT_RED : PRINT_PLAIN, state);
	}
	if (*anchor) {
		fputs("  anchor ", to->out);
		print_text(to, anchor);
	}
	if (refused > 0)
		fprintf(to->out, "  %lld refused", refused);
	fputc('\n', to->out);
}

static void print_endpoints(const struct print *to, const json_t *endpoints)
{
	char listen[PRINT_CELL_MAX];
	size_t i, width = 0;
	json_t *endpoint;

	json_array_foreach (endpoints, i, endpoint) {
		size_t own = print_width(
			print_clean(print_member(endpoint, "listen"), listen, sizeof(listen)));

		if (own > width)
			width = own;
	}
	json_array_foreach (endpoints, i, endpoint) {
		if (i)
			fputs(DETAIL, to->out);
		else
			print_label(to, json_array_size(endpoints) > 1 ? "endpoints" : "endpoint");
		print_endpoint(to, endpoint, width);
	}
}

enum {
	COLUMN_GENERATION,
	COLUMN_INSTANCE,
	COLUMN_PID,
	COLUMN_STATE,
	COLUMN_LIVE,
	COLUMN_QUEUED,
	COLUMN_STEERED,
	COLUMN_MIGRATED,
	COLUMN_UPTIME,
	COLUMN_HEALTH,
	_COLUMN_COUNT,
};

static const struct print_column instance_columns[_COLUMN_COUNT] = {
	[COLUMN_GENERATION] = {"GENERATION", false},
	[COLUMN_INSTANCE] = {"INSTANCE", true},
	[COLUMN_PID] = {"PID", true},
	[COLUMN_STATE] = {"STATE", false},
	[COLUMN_LIVE] = {"LIVE", true},
	[COLUMN_QUEUED] = {"QUEUED", true},
	[COLUMN_STEERED] = {"STEERED", true},
	[COLUMN_MIGRATED] = {"MIGRATED", true},
	[COLUMN_UPTIME] = {"UPTIME", true},
	[COLUMN_HEALTH] = {"HEALTH", false},
};

static void count_cell(struct print_cell *cell, const json_t *counts, const char *key)
{
	long long n = print_number(counts, key);

	if (n < 0)
		print_cell(cell, PRINT_PLAIN, "-");
	else
		print_cell(cell, PRINT_PLAIN, "%lld", n);
}

static void health_cell(struct print_cell *cell, const json_t *instance)
{
	const json_t *health = json_object_get(instance, "health");
	const char *state = print_member(health, "state");
	const char *last = print_member(health, "last");
	bool ready = json_is_true(json_object_get(instance, "ready"));
	long long ago = print_number(health, "ago_ms");
	char took[PRINT_TOOK_MAX];
	char when[PRINT_TOOK_MAX + 8] = "";

	if (*print_member(instance, "failure")) {
		print_cell(cell, PRINT_RED, "%s", print_member(instance, "failure"));
		return;
	}
	if (ago >= 0)
		snprintf(when, sizeof(when), " (%s ago)", print_took(ago, took));
	if (!*state || (strcmp(state, "unknown") == 0 && !*last))
		print_cell(cell, PRINT_PLAIN, "%s", ready ? "ready" : "-");
	else
		print_cell(cell, strcmp(state, "unhealthy") == 0 ? PRINT_RED : PRINT_PLAIN,
			   "%s%s%s%s%s", state, ready ? ", ready" : "", *last ? "  " : "", last,
			   *last ? when : "");
}

static void instance_cells(struct print_cell *row, const json_t *instance, bool numbered)
{
	const json_t *counts = json_object_get(instance, "connections");
	long long restarts = print_number(instance, "restarts");
	const char *state = print_member(instance, "state");

	if (numbered)
		count_cell(&row[COLUMN_INSTANCE], instance, "instance");
	count_cell(&row[COLUMN_PID], instance, "pid");
	if (restarts > 0)
		print_cell(&row[COLUMN_STATE], PRINT_YELLOW, "%s (%lld restart%s)", state, restarts,
			   plural(restarts));
	else
		print_cell(&row[COLUMN_STATE], PRINT_PLAIN, "%s", *state ? state : "-");
	count_cell(&row[COLUMN_LIVE], counts, "live");
	count_cell(&row[COLUMN_QUEUED], counts, "queued");
	count_cell(&row[COLUMN_STEERED], counts, "steered");
	if (print_number(counts, "migrated") > 0)
		count_cell(&row[COLUMN_MIGRATED], counts, "migrated");
	health_cell(&row[COLUMN_HEALTH], instance);
}

static void generation_rows(struct print_table *table, const json_t *generation, bool numbered)
{
	const json_t *instances = json_object_get(generation, "instances");
	const char *state = print_member(generation, "state");
	size_t n = json_array_size(instances);
	char took[PRINT_TOOK_MAX];

	for (size_t i = 0; i < (n ? n : 1); i++) {
		struct print_cell *row = print_table_row(table);

		if (!row)
			return;
		if (i == 0) {
			print_cell(&row[COLUMN_GENERATION],
				   strcmp(state, "current") == 0 ? PRINT_BOLD : PRINT_PLAIN,
				   "%lld %s", print_number(generation, "generation"), state);
			print_cell(&row[COLUMN_UPTIME], PRINT_PLAIN, "%s",
				   print_took(print_number(generation, "uptime_ms"), took));
		}
		if (i < n)
			instance_cells(row, json_array_get(instances, i), numbered);
	}
}

/* Where a command leads to (a "current" link) is worth a line; that it leads to itself is not. */
static void print_executables(const struct print *to, const json_t *service)
{
	const char *command =
		json_string_value(json_array_get(json_object_get(service, "command"), 0));
	const char *label = "runs";
	json_t *generation;
	size_t i;

	json_array_foreach (json_object_get(service, "generations"), i, generation) {
		const char *executable = print_member(generation, "executable");

		if (!*executable || (command && strcmp(command, executable) == 0))
			continue;
		if (label)
			print_label(to, label);
		else
			fputs(DETAIL, to->out);
		label = NULL;
		print_text(to, executable);
		fprintf(to->out, " (generation %lld)\n", print_number(generation, "generation"));
	}
}

static void print_generations(const struct print *to, const json_t *generations)
{
	struct print_table table = {.columns = instance_columns, .n_columns = _COLUMN_COUNT};
	bool numbered = false;
	json_t *generation;
	size_t i;

	json_array_foreach (generations, i, generation) {
		if (json_array_size(json_object_get(generation, "instances")) > 1)
			numbered = true;
	}
	json_array_foreach (generations, i, generation) {
		generation_rows(&table, generation, numbered);
	}
	if (!table.n_rows)
		return;
	fputc('\n', to->out);
	print_table(to, "  ", &table);
}

/* "generation 4 replaces 3", as far as the two are there. */
static void print_pair(const struct print *to, const json_t *rollout, const char *verb)
{
	long long generation = print_number(rollout, "generation");
	long long replaces = print_number(rollout, "replaces");

	if (generation >= 0 && replaces >= 0)
		fprintf(to->out, "generation %lld %s %lld", generation, verb, replaces);
	else if (generation >= 0 || replaces >= 0)
		fprintf(to->out, "generation %lld", generation >= 0 ? generation : replaces);
	else
		fputs("no generation", to->out);
}

static void print_rollout(const struct print *to, const json_t *rollout)
{
	long long elapsed = print_number(rollout, "elapsed_ms");
	char took[PRINT_TOOK_MAX];

	print_label(to, "rollout");
	fprintf(to->out, "%lld, ", print_number(rollout, "rollout"));
	print_text(to, print_member(rollout, "order"));
	fputs(": ", to->out);
	print_pair(to, rollout, "replaces");
	fputs(", at ", to->out);
	print_coloured(to, PRINT_YELLOW, print_member(rollout, "step"));
	if (elapsed >= 0)
		fprintf(to->out, ", %s so far", print_took(elapsed, took));
	fputc('\n', to->out);
}

static void print_last_rollout(const struct print *to, const json_t *last, const char *label)
{
	const char *result = print_member(last, "result");
	const char *reason = print_member(last, "reason");
	bool good = strcmp(result, "done") == 0;
	long long cut = print_number(last, "cut");
	char took[PRINT_TOOK_MAX];

	print_label(to, label);
	fprintf(to->out, "%lld, ", print_number(last, "rollout"));
	print_text(to, print_member(last, "order"));
	fputs(": ", to->out);
	print_pair(to, last, good ? "replaced" : "did not replace");
	fputs(", ", to->out);
	print_coloured(to, state_colour(result), result);
	if (print_number(last, "took_ms") >= 0)
		fprintf(to->out, " in %s", print_took(print_number(last, "took_ms"), took));
	if (cut > 0)
		fprintf(to->out, ", %lld connection%s cut", cut, plural(cut));
	if (*print_member(last, "time")) {
		fputs(", ", to->out);
		print_time(to, print_member(last, "time"));
	}
	fputc('\n', to->out);
	if (good)
		return;
	if (*reason) {
		fputs(DETAIL, to->out);
		print_text(to, reason);
		fputc('\n', to->out);
	}
	print_failure(to, DETAIL, last);
}

/* ---- pages ---------------------------------------------------------------------------------- */

void print_status(const struct print *to, const json_t *service)
{
	const char *state = print_member(service, "state");
	const char *reason = print_member(service, "reason");
	const json_t *rollout = json_object_get(service, "rollout");
	const json_t *last = json_object_get(service, "last_rollout");

	print_coloured(to, PRINT_BOLD, print_member(service, "service"));
	fputs("  ", to->out);
	print_coloured(to, state_colour(state), state);
	if (*reason && strcmp(state, "failed") == 0) {
		fputs(": ", to->out);
		print_text(to, reason);
	}
	fputc('\n', to->out);

	if (json_array_size(json_object_get(service, "command"))) {
		print_label(to, "command");
		print_command(to, json_object_get(service, "command"));
		fputc('\n', to->out);
	}
	print_executables(to, service);
	print_endpoints(to, json_object_get(service, "endpoints"));
	if (*print_member(service, "tier"))
		print_steering(to, service);
	if (json_is_object(rollout))
		print_rollout(to, rollout);
	if (json_is_object(last))
		print_last_rollout(to, last, json_is_object(rollout) ? "before" : "last");
	print_generations(to, json_object_get(service, "generations"));
}

void print_statuses(const struct print *to, const json_t *answer)
{
	const json_t *services = json_object_get(answer, "services");
	json_t *service;
	size_t i;

	if (!json_array_size(services))
		fputs("no services\n", to->out);
	json_array_foreach (services, i, service) {
		if (i)
			fputc('\n', to->out);
		print_status(to, service);
	}
}

static void list_cells(struct print_cell *row, const json_t *service)
{
	const json_t *rollout = json_object_get(service, "rollout");
	const char *state = print_member(service, "state");
	json_t *generation, *instance, *endpoint;
	char listen[PRINT_CELL_MAX] = "";
	long long current = -1, live = 0;
	size_t i, j;

	json_array_foreach (json_object_get(service, "generations"), i, generation) {
		if (strcmp(print_member(generation, "state"), "current") == 0)
			current = print_number(generation, "generation");
		json_array_foreach (json_object_get(generation, "instances"), j, instance) {
			long long n =
				print_number(json_object_get(instance, "connections"), "live");

			live += n > 0 ? n : 0;
		}
	}
	json_array_foreach (json_object_get(service, "endpoints"), i, endpoint) {
		size_t n = strlen(listen);

		snprintf(listen + n, sizeof(listen) - n, "%s%s", i ? ", " : "",
			 print_member(endpoint, "listen"));
	}
	print_cell(&row[0], PRINT_BOLD, "%s", print_member(service, "service"));
	if (json_is_object(rollout))
		print_cell(&row[1], state_colour(state), "%s (%s)", state,
			   print_member(rollout, "step"));
	else
		print_cell(&row[1], state_colour(state), "%s", state);
	if (current >= 0)
		print_cell(&row[2], PRINT_PLAIN, "%lld", current);
	else
		print_cell(&row[2], PRINT_PLAIN, "-");
	print_cell(&row[3], PRINT_PLAIN, "%s", print_member(service, "tier"));
	print_cell(&row[4], PRINT_PLAIN, "%lld", live);
	print_cell(&row[5], PRINT_PLAIN, "%s", listen);
}

void print_list(const struct print *to, const json_t *answer, bool names_only)
{
	static const struct print_column columns[] = {
		{"SERVICE", false}, {"STATE", false}, {"GENERATION", true},
		{"TIER", false},    {"LIVE", true},   {"LISTENS ON", false},
	};
	struct print_table table = {.columns = columns,
				    .n_columns = sizeof(columns) / sizeof(columns[0])};
	const json_t *services = json_object_get(answer, "services");
	struct print_cell *row;
	json_t *service;
	size_t i;

	json_array_foreach (services, i, service) {
		if (names_only) {
			print_text(to, print_member(service, "service"));
			fputc('\n', to->out);
			continue;
		}
		row = print_table_row(&table);
		if (row)
			list_cells(row, service);
	}
	if (names_only)
		return;
	if (table.n_rows)
		print_table(to, "", &table);
	else
		fputs("no services\n", to->out);
}
