/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/print_generations.h"

#include <string.h>

enum {
	COLUMN_GENERATION,
	COLUMN_MODE,
	COLUMN_INSTANCE,
	COLUMN_PID,
	COLUMN_STATE,
	COLUMN_SOCKETS,
	COLUMN_SHARE,
	COLUMN_SEEN,
	COLUMN_LIVE,
	COLUMN_QUEUED,
	COLUMN_STEERED,
	COLUMN_ACCEPTED,
	COLUMN_RESET,
	COLUMN_BACKUP,
	COLUMN_MIGRATED,
	COLUMN_UPTIME,
	COLUMN_HEALTH,
	_COLUMN_COUNT,
};

static const struct print_column columns[_COLUMN_COUNT] = {
	[COLUMN_GENERATION] = {"GENERATION", false},
	[COLUMN_MODE] = {"MODE", false},
	[COLUMN_INSTANCE] = {"INSTANCE", true},
	[COLUMN_PID] = {"PID", true},
	[COLUMN_STATE] = {"STATE", false},
	[COLUMN_SOCKETS] = {"SOCKETS", true},
	[COLUMN_SHARE] = {"SHARE", true},
	[COLUMN_SEEN] = {"SEEN", true},
	[COLUMN_LIVE] = {"LIVE", true},
	[COLUMN_QUEUED] = {"QUEUED", true},
	[COLUMN_STEERED] = {"STEERED", true},
	[COLUMN_ACCEPTED] = {"ACCEPTED", true},
	[COLUMN_RESET] = {"RESET", true},
	[COLUMN_BACKUP] = {"BACKUP", true},
	[COLUMN_MIGRATED] = {"MIGRATED", true},
	[COLUMN_UPTIME] = {"UPTIME", true},
	[COLUMN_HEALTH] = {"HEALTH", false},
};

_Static_assert(_COLUMN_COUNT <= PRINT_COLUMNS_MAX, "as many as a table can have");

/* Which columns are worth their room. */
struct layout {
	bool numbered; /* some generation has several instances */
	bool modes;    /* the generations have come by their sockets in different modes */
	bool sockets;  /* some instance has several of them */
	/*
	 * Several instances share the new connections. Then lines are long enough: ACCEPTED, which
	 * is nearly STEERED, is left out, and QUEUED if it is 0.
	 */
	bool shares;
};

/* A number that is worth being shown only if it is not 0. */
static void rare_cell(struct print_cell *cell, enum print_colour colour, const json_t *counts,
		      const char *key)
{
	long long n = print_number(counts, key);

	if (n > 0)
		print_cell(cell, colour, "%lld", n);
}

/* "share": {"aimed": what the table gives it, "seen": what it got}. */
static void share_cells(struct print_cell *row, const json_t *object)
{
	const json_t *share = json_object_get(object, "share");
	char text[PRINT_SHARE_MAX];

	print_cell(&row[COLUMN_SHARE], PRINT_PLAIN, "%s",
		   print_share(print_percent(share, "aimed"), text));
	print_cell(&row[COLUMN_SEEN], PRINT_PLAIN, "%s",
		   print_share(print_percent(share, "seen"), text));
}

static void counts_cells(struct print_cell *row, const json_t *counts, const struct layout *layout)
{
	print_number_cell(&row[COLUMN_LIVE], counts, "live");
	if (!layout->shares)
		print_number_cell(&row[COLUMN_QUEUED], counts, "queued");
	else
		rare_cell(&row[COLUMN_QUEUED], PRINT_PLAIN, counts, "queued");
	print_number_cell(&row[COLUMN_STEERED], counts, "steered");
	if (print_number(counts, "accepted") >= 0 && !layout->shares)
		print_number_cell(&row[COLUMN_ACCEPTED], counts, "accepted");
	rare_cell(&row[COLUMN_RESET], PRINT_YELLOW, counts, "reset");
	rare_cell(&row[COLUMN_BACKUP], PRINT_YELLOW, counts, "backup");
	rare_cell(&row[COLUMN_MIGRATED], PRINT_PLAIN, counts, "migrated");
}

static void health_cell(struct print_cell *cell, const json_t *instance, bool out)
{
	const json_t *health = json_object_get(instance, "health");
	const char *state = print_member(health, "state");
	const char *last = print_member(health, "last");
	const char *out_text = out ? "out of the table" : "";
	bool ready = json_is_true(json_object_get(instance, "ready"));
	long long ago = print_number(health, "ago_ms");
	char took[PRINT_TOOK_MAX];
	char when[PRINT_TOOK_MAX + 8] = "";
	enum print_colour colour = out ? PRINT_YELLOW : PRINT_PLAIN;

	if (*print_member(instance, "failure")) {
		print_cell(cell, PRINT_RED, "%s", print_member(instance, "failure"));
		return;
	}
	if (ago >= 0)
		snprintf(when, sizeof(when), " (%s ago)", print_took(ago, took));
	if (!*state || (strcmp(state, "unknown") == 0 && !*last)) {
		if (out)
			print_cell(cell, colour, "%s%s", out_text, ready ? ", ready" : "");
		else
			print_cell(cell, colour, "%s", ready ? "ready" : "-");
		return;
	}
	if (strcmp(state, "unhealthy") == 0)
		colour = PRINT_RED;
	print_cell(cell, colour, "%s%s%s%s%s%s%s", out_text, out ? ", " : "", state,
		   ready ? ", ready" : "", *last ? "  " : "", last, *last ? when : "");
}

/* Does the table give it new connections? */
static bool has_share(const json_t *object)
{
	return print_percent(json_object_get(object, "share"), "aimed") > 0;
}

/* Does it get new connections, by at least one of its instances? */
static bool serves(const json_t *generation)
{
	json_t *instance;
	size_t i;

	if (has_share(generation))
		return true;
	json_array_foreach (json_object_get(generation, "instances"), i, instance) {
		if (json_is_true(json_object_get(instance, "named")))
			return true;
	}
	return false;
}

/* @serving: its generation serves; an instance that is not named has then been taken out. */
static void instance_cells(struct print_cell *row, const json_t *instance, bool serving,
			   const struct layout *layout)
{
	long long restarts = print_number(instance, "restarts");
	const char *state = print_member(instance, "state");

	if (layout->numbered)
		print_number_cell(&row[COLUMN_INSTANCE], instance, "instance");
	print_number_cell(&row[COLUMN_PID], instance, "pid");
	if (restarts > 0)
		print_cell(&row[COLUMN_STATE], PRINT_YELLOW, "%s (%lld restart%s)", state, restarts,
			   restarts == 1 ? "" : "s");
	else
		print_cell(&row[COLUMN_STATE], PRINT_PLAIN, "%s", *state ? state : "-");
	if (layout->sockets)
		print_number_cell(&row[COLUMN_SOCKETS], instance, "sockets");
	if (layout->shares)
		share_cells(row, instance);
	counts_cells(row, json_object_get(instance, "connections"), layout);
	health_cell(&row[COLUMN_HEALTH], instance,
		    serving && json_is_false(json_object_get(instance, "named")));
}

static void generation_cells(struct print_cell *row, const json_t *generation,
			     const struct layout *layout)
{
	const char *state = print_member(generation, "state");
	const char *mode = print_member(generation, "mode");
	char took[PRINT_TOOK_MAX];

	print_cell(&row[COLUMN_GENERATION],
		   strcmp(state, "current") == 0 ? PRINT_BOLD : PRINT_PLAIN, "%lld %s",
		   print_number(generation, "generation"), state);
	if (layout->modes)
		print_cell(&row[COLUMN_MODE], PRINT_PLAIN, "%s", *mode ? mode : "-");
	print_cell(&row[COLUMN_UPTIME], PRINT_PLAIN, "%s",
		   print_took(print_number(generation, "uptime_ms"), took));
}

static void generation_rows(struct print_table *table, const json_t *generation,
			    const struct layout *layout)
{
	const json_t *instances = json_object_get(generation, "instances");
	const json_t *sums = json_object_get(generation, "connections");
	size_t n = json_array_size(instances);
	struct print_cell *row = print_table_row(table);
	bool serving = serves(generation);

	if (!row)
		return;
	generation_cells(row, generation, layout);
	if (n != 1 && json_is_object(sums)) {
		if (n)
			print_cell(&row[COLUMN_INSTANCE], PRINT_PLAIN, "all");
		if (layout->shares)
			share_cells(row, generation);
		counts_cells(row, sums, layout);
		row = NULL;
	}
	for (size_t i = 0; i < n; i++) {
		if (!row)
			row = print_table_row(table);
		if (!row)
			return;
		instance_cells(row, json_array_get(instances, i), serving, layout);
		row = NULL;
	}
}

static struct layout choose_layout(const json_t *generations)
{
	struct layout layout = {0};
	const char *first_mode = "";
	size_t i, j, n_generations = 0, n_instances = 0;
	json_t *generation, *instance;

	json_array_foreach (generations, i, generation) {
		const json_t *instances = json_object_get(generation, "instances");
		const char *mode = print_member(generation, "mode");

		if (json_array_size(instances) > 1)
			layout.numbered = true;
		if (!*first_mode)
			first_mode = mode;
		else if (*mode && strcmp(mode, first_mode) != 0)
			layout.modes = true;
		n_generations += has_share(generation);
		json_array_foreach (instances, j, instance) {
			if (print_number(instance, "sockets") > 1)
				layout.sockets = true;
			n_instances += has_share(instance);
		}
	}
	layout.shares = n_generations > 1 || n_instances > 1;
	return layout;
}

void print_generations(const struct print *to, const json_t *generations)
{
	struct print_table table = {.columns = columns, .n_columns = _COLUMN_COUNT};
	struct layout layout = choose_layout(generations);
	json_t *generation;
	size_t i;

	json_array_foreach (generations, i, generation) {
		generation_rows(&table, generation, &layout);
	}
	if (!table.n_rows)
		return;
	fputc('\n', to->out);
	print_table(to, "  ", &table);
}
