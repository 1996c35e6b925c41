/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/print.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"

static const char *const colours[] = {
	[PRINT_PLAIN] = "",       [PRINT_BOLD] = "\033[1m",   [PRINT_DIM] = "\033[2m",
	[PRINT_RED] = "\033[31m", [PRINT_GREEN] = "\033[32m", [PRINT_YELLOW] = "\033[33m",
};

/* ---- members of an object ------------------------------------------------------------------- */

const char *print_member(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

long long print_number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value)
									: -1;
}

double print_percent(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	double percent = json_number_value(value);

	return json_is_number(value) && percent >= 0 && percent <= 100 ? percent : -1;
}

/* ---- text ----------------------------------------------------------------------------------- */

#define PIECE_MAX 8

/* The length of the UTF-8 character at @text, at least 1; never beyond the end of @text. */
static size_t character_length(const char *text)
{
	size_t n = 1;

	while (((unsigned char)text[n] & 0xc0) == 0x80 && n < 4)
		n++;
	return n;
}

/* Take one character off *text and write it to @ret, made harmless. Returns its width. */
static size_t take_piece(const char **text, char ret[static PIECE_MAX])
{
	const unsigned char *byte = (const unsigned char *)*text;
	size_t n = character_length(*text);

	*text += n;
	if (*byte == '\n' || *byte == '\t') {
		strcpy(ret, " ");
		return 1;
	}
	/* C0, DEL, and C1 (U+0080 to U+009F), which some terminals obey as well. */
	if (*byte < 0x20 || *byte == 0x7f)
		return (size_t)snprintf(ret, PIECE_MAX, "\\x%02x", *byte);
	if (*byte == 0xc2 && n == 2 && byte[1] < 0xa0)
		return (size_t)snprintf(ret, PIECE_MAX, "\\x%02x", byte[1]);
	memcpy(ret, byte, n);
	ret[n] = '\0';
	return 1;
}

void print_text(const struct print *to, const char *text)
{
	char piece[PIECE_MAX];

	while (*text) {
		take_piece(&text, piece);
		fputs(piece, to->out);
	}
}

void print_coloured(const struct print *to, enum print_colour colour, const char *text)
{
	bool coloured = to->colour && colour != PRINT_PLAIN;

	if (coloured)
		fputs(colours[colour], to->out);
	print_text(to, text);
	if (coloured)
		fputs("\033[0m", to->out);
}

char *print_clean(const char *text, char *buffer, size_t size)
{
	static const char cut[] = "...";
	char piece[PIECE_MAX];
	size_t length = 0, room = 0; /* room: the length at which "..." still fits */

	assert(size >= sizeof(cut));
	while (*text) {
		take_piece(&text, piece);
		if (length + strlen(piece) >= size) {
			memcpy(buffer + room, cut, sizeof(cut));
			return buffer;
		}
		memcpy(buffer + length, piece, strlen(piece));
		length += strlen(piece);
		if (length + sizeof(cut) <= size)
			room = length;
	}
	buffer[length] = '\0';
	return buffer;
}

size_t print_width(const char *clean)
{
	size_t width = 0;

	for (; *clean; clean++)
		width += ((unsigned char)*clean & 0xc0) != 0x80;
	return width;
}

void print_lines(const struct print *to, const char *prefix, const char *text)
{
	size_t length = strlen(text);

	while (length && (text[length - 1] == '\n' || text[length - 1] == '\r'))
		length--;
	while (length) {
		const char *end = memchr(text, '\n', length);
		size_t n = end ? (size_t)(end - text) : length;
		cleanup_free char *line = strndup(text, n);

		if (!line)
			return;
		if (n && line[n - 1] == '\r')
			line[n - 1] = '\0';
		fputs(prefix, to->out);
		print_text(to, line);
		fputc('\n', to->out);
		n += end ? 1 : 0;
		text += n;
		length -= n;
	}
}

static void print_argument(const struct print *to, const char *argument)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "@%+=:,./{}_-";
	const char *c;

	if (*argument && !argument[strspn(argument, plain)]) {
		print_text(to, argument);
		return;
	}
	fputc('\'', to->out);
	for (c = argument; *c;) {
		char piece[PIECE_MAX];

		if (*c == '\'') {
			fputs("'\\''", to->out);
			c++;
			continue;
		}
		take_piece(&c, piece);
		fputs(piece, to->out);
	}
	fputc('\'', to->out);
}

void print_command(const struct print *to, const json_t *command)
{
	json_t *argument;
	size_t i;

	json_array_foreach (command, i, argument) {
		if (i)
			fputc(' ', to->out);
		print_argument(to, json_is_string(argument) ? json_string_value(argument) : "?");
	}
}

/* ---- labelled lines ------------------------------------------------------------------------- */

void print_label(const struct print *to, const char *text)
{
	fputs("  ", to->out);
	print_coloured(to, PRINT_DIM, text);
	fprintf(to->out, "%*s", (int)(sizeof(PRINT_DETAIL) - 1 - 2 - strlen(text)), "");
}

enum print_colour print_state_colour(const char *state)
{
	static const struct {
		const char *state;
		enum print_colour colour;
	} known[] = {
		{"running", PRINT_GREEN},  {"failed", PRINT_RED},      {"refused", PRINT_RED},
		{"unhealthy", PRINT_RED},  {"degraded", PRINT_YELLOW}, {"rolling", PRINT_YELLOW},
		{"waiting", PRINT_YELLOW}, {"starting", PRINT_YELLOW}, {"stopping", PRINT_YELLOW},
		{"done", PRINT_GREEN},     {"rolled-back", PRINT_RED},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(state, known[i].state) == 0)
			return known[i].colour;
	return PRINT_PLAIN;
}

/* ---- numbers -------------------------------------------------------------------------------- */

const char *print_plural(long long n)
{
	return n == 1 ? "" : "s";
}

char *print_took(long long ms, char buffer[static PRINT_TOOK_MAX])
{
	long long s = ms / 1000, m = s / 60, h = m / 60;

	if (ms < 0)
		snprintf(buffer, PRINT_TOOK_MAX, "-");
	else if (ms < 1000)
		snprintf(buffer, PRINT_TOOK_MAX, "%lld ms", ms);
	else if (s < 10)
		snprintf(buffer, PRINT_TOOK_MAX, "%lld.%02lld s", s, ms % 1000 / 10);
	else if (s < 60)
		snprintf(buffer, PRINT_TOOK_MAX, "%lld.%lld s", s, ms % 1000 / 100);
	else if (m < 60)
		snprintf(buffer, PRINT_TOOK_MAX, "%lldm %02llds", m, s % 60);
	else if (h < 24)
		snprintf(buffer, PRINT_TOOK_MAX, "%lldh %02lldm", h, m % 60);
	else
		snprintf(buffer, PRINT_TOOK_MAX, "%lldd %02lldh", h / 24, h % 24);
	return buffer;
}

void print_time(const struct print *to, const char *time)
{
	size_t length = strlen(time);

	if (length < 20 || time[10] != 'T' || time[length - 1] != 'Z') {
		print_text(to, time);
		return;
	}
	for (size_t i = 0; i < 19; i++) {
		char c[2] = {i == 10 ? ' ' : time[i], '\0'};

		print_text(to, c);
	}
	fputs(" UTC", to->out);
}

/* "2026-01-01T00:00:00.000Z" in milliseconds since 1970; 0 if it is no such time. */
static uint64_t parse_time(const char *time)
{
	struct tm tm = {0};
	const char *rest = strptime(time, "%Y-%m-%dT%H:%M:%S", &tm);
	unsigned ms = 0;
	time_t seconds;

	if (!rest || (*rest == '.' && sscanf(rest, ".%3uZ", &ms) != 1) ||
	    (*rest != '.' && *rest != 'Z'))
		return 0;
	seconds = timegm(&tm);
	return seconds > 0 ? (uint64_t)seconds * 1000 + ms : 0;
}

void print_since(const struct print *to, const char *time)
{
	uint64_t then_ms = parse_time(time);
	char took[PRINT_TOOK_MAX];

	if (to->now_ms && then_ms && then_ms <= to->now_ms)
		fprintf(to->out, "%s ago", print_took((long long)(to->now_ms - then_ms), took));
	else
		print_time(to, time);
}

char *print_bytes(long long bytes, char buffer[static PRINT_BYTES_MAX])
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
	long long whole = bytes, tenth = 0;
	size_t unit = 0;

	if (bytes < 0) {
		strcpy(buffer, "-");
		return buffer;
	}
	while (whole >= 1000) {
		tenth = whole % 1000 / 100;
		whole /= 1000;
		unit++;
	}
	if (unit && whole < 10)
		snprintf(buffer, PRINT_BYTES_MAX, "%lld.%lld %s", whole, tenth, units[unit]);
	else
		snprintf(buffer, PRINT_BYTES_MAX, "%lld %s", whole, units[unit]);
	return buffer;
}

char *print_share(double percent, char buffer[static PRINT_SHARE_MAX])
{
	if (percent < 0)
		strcpy(buffer, "-");
	else if (percent > 0 && percent < 0.05)
		strcpy(buffer, "<0.1%");
	else if (percent > 99.95)
		strcpy(buffer, "100%");
	else
		snprintf(buffer, PRINT_SHARE_MAX, "%.1f%%", percent);
	return buffer;
}

/* ---- tables --------------------------------------------------------------------------------- */

struct print_cell *print_table_row(struct print_table *table)
{
	size_t n = table->n_columns;
	struct print_cell *cells, *row;

	assert(n > 0 && n <= PRINT_COLUMNS_MAX);
	cells = reallocarray(table->cells, (table->n_rows + 1) * n, sizeof(*cells));
	if (!cells)
		return NULL;
	table->cells = cells;
	row = cells + table->n_rows * n;
	memset(row, 0, n * sizeof(*row));
	table->n_rows++;
	return row;
}

void print_cell(struct print_cell *cell, enum print_colour colour, const char *format, ...)
{
	char text[PRINT_CELL_MAX * 4];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	print_clean(text, cell->text, sizeof(cell->text));
	cell->colour = colour;
}

void print_number_cell(struct print_cell *cell, const json_t *object, const char *key)
{
	long long n = print_number(object, key);

	if (n < 0)
		print_cell(cell, PRINT_PLAIN, "-");
	else
		print_cell(cell, PRINT_PLAIN, "%lld", n);
}

static void print_padded(const struct print *to, const struct print_cell *cell, size_t width,
			 bool right, bool last)
{
	size_t own = print_width(cell->text);
	int pad = own < width ? (int)(width - own) : 0;

	if (right)
		fprintf(to->out, "%*s", pad, "");
	print_coloured(to, cell->colour, cell->text);
	if (!right && !last)
		fprintf(to->out, "%*s", pad, "");
}

static void print_row(const struct print *to, const char *indent, const struct print_table *table,
		      const struct print_cell *cells, const size_t *widths)
{
	size_t last = 0;

	/* No spaces follow the last cell that has a text. */
	for (size_t i = 0; i < table->n_columns; i++)
		if (cells[i].text[0])
			last = i;
	fputs(indent, to->out);
	for (size_t i = 0, n = 0; i <= last; i++) {
		if (!widths[i])
			continue;
		if (n++)
			fputs("  ", to->out);
		print_padded(to, &cells[i], widths[i], table->columns[i].right, i == last);
	}
	fputc('\n', to->out);
}

void print_table(const struct print *to, const char *indent, struct print_table *table)
{
	struct print_cell titles[PRINT_COLUMNS_MAX] = {0};
	size_t widths[PRINT_COLUMNS_MAX] = {0};
	size_t n = table->n_columns;

	assert(n <= PRINT_COLUMNS_MAX);
	for (size_t i = 0; i < table->n_rows * n; i++) {
		size_t width = print_width(table->cells[i].text);

		if (width > widths[i % n])
			widths[i % n] = width;
	}
	for (size_t i = 0; i < n; i++) {
		if (!widths[i])
			continue;
		print_cell(&titles[i], PRINT_DIM, "%s", table->columns[i].title);
		if (print_width(titles[i].text) > widths[i])
			widths[i] = print_width(titles[i].text);
	}
	print_row(to, indent, table, titles, widths);
	for (size_t i = 0; i < table->n_rows; i++)
		print_row(to, indent, table, table->cells + i * n, widths);
	free(table->cells);
	table->cells = NULL;
	table->n_rows = 0;
}
