/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/print_checks.h"

#include <string.h>

/* So many that are good are shown; of the others each is. */
#define GOOD_MAX 64

enum {
	COLUMN_GENERATION,
	COLUMN_INSTANCE,
	COLUMN_CHECK,
	COLUMN_LISTEN,
	COLUMN_STATE,
	COLUMN_FAILURES,
	COLUMN_LAST,
	_COLUMN_COUNT,
};

static const struct print_column columns[_COLUMN_COUNT] = {
	[COLUMN_GENERATION] = {"GENERATION", true},
	[COLUMN_INSTANCE] = {"INSTANCE", true},
	[COLUMN_CHECK] = {"CHECK", false},
	[COLUMN_LISTEN] = {"LISTEN", false},
	[COLUMN_STATE] = {"STATE", false},
	[COLUMN_FAILURES] = {"FAILURES", true},
	[COLUMN_LAST] = {"LAST", false},
};

/* What is printed, and how many were left out. */
struct checks {
	struct print_table table;
	size_t good, left_out;
};

static bool is_good(const json_t *check)
{
	return strcmp(print_member(check, "state"), "healthy") == 0;
}

static bool is_worth_a_table(const json_t *list)
{
	size_t i, declared = 0, bad = 0;
	json_t *check;

	json_array_foreach (list, i, check) {
		declared += json_is_true(json_object_get(check, "declared"));
		bad += !is_good(check);
	}
	return declared > 1 || (bad > 0 && json_array_size(list) > 1);
}

static void last_cell(struct print_cell *cell, const json_t *check)
{
	const char *last = print_member(check, "last");
	long long ago = print_number(check, "ago_ms");
	char took[PRINT_TOOK_MAX];

	if (!*last)
		print_cell(cell, PRINT_PLAIN, "-");
	else if (ago < 0)
		print_cell(cell, PRINT_PLAIN, "%s", last);
	else
		print_cell(cell, PRINT_PLAIN, "%s (%s ago)", last, print_took(ago, took));
}

static void check_row(struct checks *checks, const json_t *check, long long generation,
		      long long instance)
{
	const char *state = print_member(check, "state");
	bool unhealthy = strcmp(state, "unhealthy") == 0;
	struct print_cell *row;

	if (is_good(check) && ++checks->good > GOOD_MAX) {
		checks->left_out++;
		return;
	}
	row = print_table_row(&checks->table);
	if (!row)
		return;
	print_cell(&row[COLUMN_GENERATION], PRINT_PLAIN, "%lld", generation);
	print_cell(&row[COLUMN_INSTANCE], PRINT_PLAIN, "%lld", instance);
	print_cell(&row[COLUMN_CHECK], PRINT_PLAIN, "%s", print_member(check, "kind"));
	print_cell(&row[COLUMN_LISTEN], PRINT_PLAIN, "%s", print_member(check, "listen"));
	print_cell(&row[COLUMN_STATE], unhealthy ? PRINT_RED : PRINT_PLAIN, "%s", state);
	if (print_number(check, "failures") > 0)
		print_number_cell(&row[COLUMN_FAILURES], check, "failures");
	last_cell(&row[COLUMN_LAST], check);
}

static void generation_rows(struct checks *checks, const json_t *generation)
{
	json_t *instance, *check;
	size_t i, k;

	json_array_foreach (json_object_get(generation, "instances"), i, instance) {
		const json_t *list = json_object_get(json_object_get(instance, "health"), "checks");

		if (!is_worth_a_table(list))
			continue;
		json_array_foreach (list, k, check) {
			check_row(checks, check, print_number(generation, "generation"),
				  print_number(instance, "instance"));
		}
	}
}

void print_checks(const struct print *to, const json_t *generations)
{
	struct checks checks = {.table = {.columns = columns, .n_columns = _COLUMN_COUNT}};
	json_t *generation;
	size_t i;

	json_array_foreach (generations, i, generation) {
		generation_rows(&checks, generation);
	}
	if (!checks.table.n_rows)
		return;
	fputc('\n', to->out);
	print_table(to, "  ", &checks.table);
	if (checks.left_out > 0)
		fprintf(to->out, "  and %zu more check%s that %s good\n", checks.left_out,
			print_plural((long long)checks.left_out),
			checks.left_out == 1 ? "is" : "are");
}
