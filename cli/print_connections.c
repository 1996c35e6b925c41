/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/print_connections.h"

#include <string.h>

enum {
	COLUMN_GENERATION,
	COLUMN_INSTANCE,
	COLUMN_PEER,
	COLUMN_LOCAL,
	COLUMN_STATE,
	COLUMN_AGE,
	COLUMN_IDLE,
	COLUMN_RECEIVED,
	COLUMN_SENT,
	COLUMN_UNREAD,
	COLUMN_UNSENT,
	_COLUMN_COUNT,
};

static const struct print_column columns[_COLUMN_COUNT] = {
	[COLUMN_GENERATION] = {"GENERATION", true},
	[COLUMN_INSTANCE] = {"INSTANCE", true},
	[COLUMN_PEER] = {"PEER", false},
	[COLUMN_LOCAL] = {"LOCAL", false},
	[COLUMN_STATE] = {"STATE", false},
	[COLUMN_AGE] = {"AGE", true},
	[COLUMN_IDLE] = {"IDLE", true},
	[COLUMN_RECEIVED] = {"RECEIVED", true},
	[COLUMN_SENT] = {"SENT", true},
	[COLUMN_UNREAD] = {"UNREAD", true},
	[COLUMN_UNSENT] = {"UNSENT", true},
};

_Static_assert(_COLUMN_COUNT <= PRINT_COLUMNS_MAX, "as many as a table can have");

static void text_cell(struct print_cell *cell, const json_t *object, const char *key)
{
	const char *text = print_member(object, key);

	print_cell(cell, PRINT_PLAIN, "%s", *text ? text : "-");
}

static void took_cell(struct print_cell *cell, const json_t *object, const char *key)
{
	char took[PRINT_TOOK_MAX];

	print_cell(cell, PRINT_PLAIN, "%s", print_took(print_number(object, key), took));
}

static void bytes_cell(struct print_cell *cell, const json_t *object, const char *key)
{
	char bytes[PRINT_BYTES_MAX];

	print_cell(cell, PRINT_PLAIN, "%s", print_bytes(print_number(object, key), bytes));
}

/* A connection that is ESTABLISHED may still wait for accept(2), or be closed by the server
 * already. */
static void state_cell(struct print_cell *cell, const json_t *connection)
{
	const char *state = print_member(connection, "state");

	if (json_is_false(json_object_get(connection, "live")))
		print_cell(cell, PRINT_DIM, "%s, closed by the server", *state ? state : "-");
	else if (json_is_false(json_object_get(connection, "accepted")))
		print_cell(cell, PRINT_YELLOW, "%s, not accepted yet", *state ? state : "-");
	else
		print_cell(cell, PRINT_PLAIN, "%s", *state ? state : "-");
}

/* The local address is worth a column only if it is not always the same. */
static bool have_several_locals(const json_t *connections)
{
	const char *first = print_member(json_array_get(connections, 0), "local");
	json_t *connection;
	size_t i;

	json_array_foreach (connections, i, connection) {
		if (strcmp(print_member(connection, "local"), first) != 0)
			return true;
	}
	return false;
}

static void connection_cells(struct print_cell *row, const json_t *connection, bool local)
{
	print_number_cell(&row[COLUMN_GENERATION], connection, "generation");
	print_number_cell(&row[COLUMN_INSTANCE], connection, "instance");
	text_cell(&row[COLUMN_PEER], connection, "peer");
	if (local)
		text_cell(&row[COLUMN_LOCAL], connection, "local");
	state_cell(&row[COLUMN_STATE], connection);
	took_cell(&row[COLUMN_AGE], connection, "age_ms");
	took_cell(&row[COLUMN_IDLE], connection, "idle_ms");
	bytes_cell(&row[COLUMN_RECEIVED], connection, "received");
	bytes_cell(&row[COLUMN_SENT], connection, "sent");
	bytes_cell(&row[COLUMN_UNREAD], connection, "receive_queue");
	bytes_cell(&row[COLUMN_UNSENT], connection, "send_queue");
}

static void print_total(const struct print *to, const json_t *answer, size_t shown)
{
	long long total = print_number(answer, "total");

	if (total < (long long)shown)
		total = (long long)shown;
	print_coloured(to, PRINT_BOLD, print_member(answer, "service"));
	if (!total)
		fputs(": no connections\n", to->out);
	else
		fprintf(to->out, ": %lld connection%s", total, total == 1 ? "" : "s");
	if (total > (long long)shown)
		fprintf(to->out, ", %zu of them shown (see --limit)", shown);
	if (total)
		fputc('\n', to->out);
}

void print_connections(const struct print *to, const json_t *answer)
{
	struct print_table table = {.columns = columns, .n_columns = _COLUMN_COUNT};
	const json_t *connections = json_object_get(answer, "connections");
	bool local = have_several_locals(connections);
	json_t *connection;
	size_t i, shown;

	json_array_foreach (connections, i, connection) {
		struct print_cell *row = print_table_row(&table);

		if (row)
			connection_cells(row, connection, local);
	}
	shown = table.n_rows;
	if (shown)
		print_table(to, "", &table);
	print_total(to, answer, shown);
}
