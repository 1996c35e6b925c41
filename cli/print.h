/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * print: text for people, made of what the daemon said. Pure: reads JSON, writes to a stream, and
 * asks nobody for anything (no clock, no terminal).
 *
 * What is printed comes from servers and from whoever speaks to them, so nothing is passed on that
 * a terminal would act upon: control characters appear as "\x1b". Missing members and members of
 * an unexpected type are left out or shown as "-"; no JSON makes these functions fail.
 *
 * This file has the parts; print_status.h and print_event.h have the pages.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

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

/* "" where there is no such text. */
const char *print_member(const json_t *object, const char *key);

/* -1 where there is no such number, or a negative one. */
long long print_number(const json_t *object, const char *key);

/* A share of 0 to 100 percent, whole or with a fraction; -1 where there is no such number. */
double print_percent(const json_t *object, const char *key);

/* ---- text ----------------------------------------------------------------------------------- */

/* One line: newlines and tabs become spaces, other control characters "\xNN". */
void print_text(const struct print *to, const char *text);
void print_coloured(const struct print *to, enum print_colour colour, const char *text);

/* The same into @buffer, cut with "..." where it does not fit; @buffer is returned. */
char *print_clean(const char *text, char *buffer, size_t size);

/* How many columns a clean text takes. */
size_t print_width(const char *clean);

/* Each line of @text on a line of its own, with @prefix in front; trailing empty lines go. */
void print_lines(const struct print *to, const char *prefix, const char *text);

/* A command as one would type it into a shell; not an array: nothing. */
void print_command(const struct print *to, const json_t *command);

/* ---- labelled lines ------------------------------------------------------------------------- */

#define PRINT_DETAIL "             " /* in front of what belongs to the label above */

/* "  rollout    ": what follows stands where PRINT_DETAIL ends. */
void print_label(const struct print *to, const char *text);

/* Of a service's state, or a rollout's result. */
enum print_colour print_state_colour(const char *state);

/* ---- numbers -------------------------------------------------------------------------------- */

/* "12 ms", "1.02 s", "12.3 s", "2m 05s", "3h 07m", "4d 02h" */
#define PRINT_TOOK_MAX 32
char *print_took(long long ms, char buffer[static PRINT_TOOK_MAX]);

/* "2026-01-01T00:00:00.000Z" as "2026-01-01 00:00:00 UTC"; anything else as it is. */
void print_time(const struct print *to, const char *time);

/* The same as "1.50 s ago" where the present is known. */
void print_since(const struct print *to, const char *time);

/* "512 B", "1.2 kB", "34 MB"; "-" where negative. */
#define PRINT_BYTES_MAX 32
char *print_bytes(long long bytes, char buffer[static PRINT_BYTES_MAX]);

/* "0.0%", "24.6%", "100%"; "<0.1%" for what is little but not nothing; "-" where negative. */
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

/* A new row of empty cells, valid until the next call; NULL without memory. */
struct print_cell *print_table_row(struct print_table *table);

/* Set a cell, cleaned. */
void print_cell(struct print_cell *cell, enum print_colour colour, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Print titles and rows, columns without any content left out, and free the rows. */
void print_table(const struct print *to, const char *indent, struct print_table *table);
