/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * print: turns the daemon's JSON into text for people. Here are the parts; the other print_*.h have
 * the pages. Pure: it reads JSON and writes to a stream, and looks at no clock and no terminal.
 *
 * The texts come from servers and from their clients, so a terminal must not act upon them: control
 * characters are printed as "\x1b". Missing members, and members of an unexpected type, are left
 * out or printed as "-"; no JSON makes these functions fail.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Where to print, and how. */
struct print {
	FILE *out;
	bool colour;
	uint64_t now_ms; /* real time, since 1970; 0: not known, so no "2.00 s ago" */
};

enum print_colour {
	PRINT_PLAIN,
	PRINT_BOLD,
	PRINT_DIM,
	PRINT_RED,
	PRINT_GREEN,
	PRINT_YELLOW,
};

/* ---- members of an object ------------------------------------------------------------------- */

/* The text @key, borrowed from @object; "" if there is none. */
const char *print_member(const json_t *object, const char *key);

/* The whole number @key; -1 if there is none, or if it is negative. */
long long print_number(const json_t *object, const char *key);

/* The number @key of 0 to 100 percent, which may have a fraction; -1 if there is none. */
double print_percent(const json_t *object, const char *key);

/* ---- text ----------------------------------------------------------------------------------- */

/* Print @text on one line: newlines and tabs become spaces, other control characters "\xNN". */
void print_text(const struct print *to, const char *text);
void print_coloured(const struct print *to, enum print_colour colour, const char *text);

/* The same into @buffer, which is returned. A text that does not fit ends with "...". */
char *print_clean(const char *text, char *buffer, size_t size);

/* How many columns of the terminal a clean text takes: one per character. */
size_t print_width(const char *clean);

/* Print each line of @text with @prefix in front; empty lines at the end are left out. */
void print_lines(const struct print *to, const char *prefix, const char *text);

/* Print an array of arguments as one would type them into a shell; of anything else nothing. */
void print_command(const struct print *to, const json_t *command);

/* ---- labelled lines ------------------------------------------------------------------------- */

#define PRINT_DETAIL "             " /* in front of a line that belongs to the label above */

/* Print "  rollout    ": the text behind it begins where PRINT_DETAIL ends. */
void print_label(const struct print *to, const char *text);

/* The colour of a service's state, or of a rollout's result. */
enum print_colour print_state_colour(const char *state);

/* ---- numbers -------------------------------------------------------------------------------- */

/* "s" behind the name of a thing, unless @n is 1. */
const char *print_plural(long long n);

/* "12 ms", "1.02 s", "12.3 s", "2m 05s", "3h 07m", "4d 02h"; "-" if negative. Returns @buffer. */
#define PRINT_TOOK_MAX 32
char *print_took(long long ms, char buffer[static PRINT_TOOK_MAX]);

/* Print "2026-01-01T00:00:00.000Z" as "2026-01-01 00:00:00 UTC"; anything else as it is. */
void print_time(const struct print *to, const char *time);

/* Print it as "1.50 s ago" if to->now_ms is known, else as print_time(). */
void print_since(const struct print *to, const char *time);

/* "512 B", "1.2 kB", "34 MB"; "-" if negative. Returns @buffer. */
#define PRINT_BYTES_MAX 32
char *print_bytes(long long bytes, char buffer[static PRINT_BYTES_MAX]);

/* "0.0%", "24.6%", "100%"; "<0.1%" if it is little, but not 0; "-" if negative. Returns @buffer. */
#define PRINT_SHARE_MAX 16
char *print_share(double percent, char buffer[static PRINT_SHARE_MAX]);

/* ---- tables --------------------------------------------------------------------------------- */

#define PRINT_COLUMNS_MAX 20
#define PRINT_CELL_MAX    160

struct print_column {
	const char *title;
	bool right; /* aligned to the right */
};

struct print_cell {
	char text[PRINT_CELL_MAX]; /* clean */
	enum print_colour colour;
};

/* Plain data: set .columns and .n_columns, the rest to zero. */
struct print_table {
	const struct print_column *columns;
	size_t n_columns;
	struct print_cell *cells;
	size_t n_rows;
};

/* Add a row of empty cells. The cells are valid until the next call; NULL without memory. */
struct print_cell *print_table_row(struct print_table *table);

/* Set a cell's text, cleaned (print_clean()) and cut to fit. */
void print_cell(struct print_cell *cell, enum print_colour colour, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Set a cell to the number @key of @object; "-" if there is none. */
void print_number_cell(struct print_cell *cell, const json_t *object, const char *key);

/* Print titles and rows, without the columns that are empty in every row, and free the rows. */
void print_table(const struct print *to, const char *indent, struct print_table *table);
