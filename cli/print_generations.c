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
	bool modes;    /* not all have come by their sockets in the same way */
	bool sockets;  /* some instance has several of them */
};

static void count_cell(struct print_cell *cell, const json_t *counts, const char *key)
{
	long long n = print_number(counts, key);

	if (n < 0)
		print_cell(cell, PRINT_PLAIN, "-");
	else
		print_cell(cell, PRINT_PLAIN, "%lld", n);
}

/* One that is remarkable where it is not 0, and not worth a column where it always is. */
static void rare_cell(struct print_cell *cell, enum print_colour colour, const json_t *counts,
		      const char *key)
{
	long long n = print_number(counts, key);

	if (n > 0)
		print_cell(cell, colour, "%lld", n);
}

static void counts_cells(struct print_cell *row, const json_t *counts)
{
	count_cell(&row[COLUMN_LIVE], counts, "live");
	count_cell(&row[COLUMN_QUEUED], counts, "queued");
	count_cell(&row[COLUMN_STEERED], counts, "steered");
	if (print_number(counts, "accepted") >= 0)
		count_cell(&row[COLUMN_ACCEPTED], counts, "accepted");
	rare_cell(&row[COLUMN_RESET], PRINT_YELLOW, counts, "reset");
	rare_cell(&row[COLUMN_BACKUP], PRINT_YELLOW, counts, "backup");
	rare_cell(&row[COLUMN_MIGRATED], PRINT_PLAIN, counts, "migrated");
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

static void instance_cells(struct print_cell *row, const json_t *instance,
			   const struct layout *layout)
{
	long long restarts = print_number(instance, "restarts");
	const char *state = print_member(instance, "state");

	if (layout->numbered)
		count_cell(&row[COLUMN_INSTANCE], instance, "instance");
	count_cell(&row[COLUMN_PID], instance, "pid");
	if (restarts > 0)
		print_cell(&row[COLUMN_STATE], PRINT_YELLOW, "%s (%lld restart%s)", state, restarts,
			   restarts == 1 ? "" : "s");
	else
		print_cell(&row[COLUMN_STATE], PRINT_PLAIN, "%s", *state ? state : "-");
	if (layout->sockets)
		count_cell(&row[COLUMN_SOCKETS], instance, "sockets");
	counts_cells(row, json_object_get(instance, "connections"));
	health_cell(&row[COLUMN_HEALTH], instance);
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

	if (!row)
		return;
	generation_cells(row, generation, layout);
	if (n != 1 && json_is_object(sums)) {
		if (n)
			print_cell(&row[COLUMN_INSTANCE], PRINT_PLAIN, "all");
		counts_cells(row, sums);
		row = NULL;
	}
	for (size_t i = 0; i < n; i++) {
		if (!row)
			row = print_table_row(table);
		if (!row)
			return;
		instance_cells(row, json_array_get(instances, i), layout);
		row = NULL;
	}
}

static struct layout choose_layout(const json_t *generations)
{
	struct layout layout = {0};
	const char *first_mode = "";
	json_t *generation, *instance;
	size_t i, j;

	json_array_foreach (generations, i, generation) {
		const json_t *instances = json_object_get(generation, "instances");
		const char *mode = print_member(generation, "mode");

		if (json_array_size(instances) > 1)
			layout.numbered = true;
		if (!*first_mode)
			first_mode = mode;
		else if (*mode && strcmp(mode, first_mode) != 0)
			layout.modes = true;
		json_array_foreach (instances, j, instance) {
			if (print_number(instance, "sockets") > 1)
				layout.sockets = true;
		}
	}
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
