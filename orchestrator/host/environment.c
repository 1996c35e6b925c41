/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/environment.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "orchestrator/host/file.h"

int environment_check_name(const char *name, struct error *err)
{
	static const char *const reserved[] = {
		"LISTEN_FDS",
		"LISTEN_PID",
		"LISTEN_FDNAMES",
		"NOTIFY_SOCKET",
	};

	if (!name[0])
		return error_text(err, -EINVAL, "the name of a variable is empty");
	for (const char *c = name; *c; c++)
		if (*c == '=' || (unsigned char)*c < ' ' || *c == 0x7f)
			return error_text(err, -EINVAL, "\"%s\" cannot be the name of a variable",
					  name);
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		if (strcmp(name, reserved[i]) == 0)
			return error_text(err, -EINVAL, "\"%s\" is set by baton itself", name);
	return 0;
}

static char **find(char *const *environment, const char *name)
{
	size_t n = strlen(name);

	for (char *const *entry = environment; entry && *entry; entry++)
		if (strncmp(*entry, name, n) == 0 && (*entry)[n] == '=')
			return (char **)entry;
	return NULL;
}

int environment_set(char ***environment, const char *name, const char *value)
{
	char **old = find(*environment, name);
	char *text;

	assert(name[0] && !strchr(name, '='));

	if (asprintf(&text, "%s=%s", name, value) < 0)
		return -ENOMEM;
	if (!old)
		return vector_append(environment, text);
	free(*old);
	*old = text;
	return 0;
}

const char *environment_get(char *const *environment, const char *name)
{
	char **entry = find(environment, name);

	return entry ? *entry + strlen(name) + 1 : NULL;
}

static int compare_names(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;

	while (*x == *y && *x != '=' && *x)
		x++, y++;
	/* The end of a name sorts before everything that may be in one. */
	return (*x == '=' ? 0 : (unsigned char)*x) - (*y == '=' ? 0 : (unsigned char)*y);
}

void environment_sort(char **environment)
{
	if (environment)
		qsort(environment, vector_length(environment), sizeof(*environment), compare_names);
}

/* ---- files ---------------------------------------------------------------------------------- */

struct scanner {
	const char *at;
	const char *file;
	unsigned line;
	struct error *err;
	char *value; /* as long as the file at most */
	size_t n;
};

static int refuse(const struct scanner *s, const char *why)
{
	return error_text(s->err, -EINVAL, "%s:%u: %s", s->file, s->line, why);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_letter(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

/* How long the end of line at @at is: "\n", or "\r\n" from an editor elsewhere; 0: none is here. */
static size_t line_end(const char *at)
{
	if (*at == '\n')
		return 1;
	return at[0] == '\r' && at[1] == '\n' ? 2 : 0;
}

static bool at_end(const struct scanner *s)
{
	return !*s->at || line_end(s->at);
}

static void skip_blanks(struct scanner *s)
{
	while (is_blank(*s->at))
		s->at++;
}

/* Step over what a backslash stands before; the end of a line stands for nothing. */
static void take_escaped(struct scanner *s)
{
	size_t n = line_end(s->at);

	if (n) {
		s->at += n;
		s->line++;
	} else {
		s->value[s->n++] = *s->at++;
	}
}

static int scan_single_quoted(struct scanner *s)
{
	for (s->at++; *s->at != '\''; s->at++) {
		if (!*s->at)
			return refuse(s, "a quote (') is not closed");
		if (*s->at == '\n')
			s->line++;
		s->value[s->n++] = *s->at;
	}
	s->at++;
	return 0;
}

static int scan_double_quoted(struct scanner *s)
{
	s->at++;
	while (*s->at != '"') {
		if (!*s->at)
			return refuse(s, "a quote (\") is not closed");
		if (*s->at == '\\' && s->at[1] &&
		    (strchr("\\\"$`", s->at[1]) || line_end(s->at + 1))) {
			s->at++;
			take_escaped(s);
			continue;
		}
		if (*s->at == '\n')
			s->line++;
		s->value[s->n++] = *s->at++;
	}
	s->at++;
	return 0;
}

static int scan_unquoted(struct scanner *s)
{
	size_t keep = 0; /* what an escape wrote is no blank to be dropped */

	while (!at_end(s)) {
		if (*s->at == '"' || *s->at == '\'')
			return refuse(s, "a quote must enclose the whole value");
		/* A comment to a shell, part of the value to systemd. */
		if (*s->at == '#' && is_blank(s->at[-1]))
			return refuse(s, "\"#\" after a blank: put the value in quotes, or the "
					 "comment on a line of its own");
		if (*s->at == '\\') {
			s->at++;
			if (!*s->at)
				return refuse(s, "the file ends in a backslash");
			take_escaped(s);
			keep = s->n;
			continue;
		}
		s->value[s->n++] = *s->at++;
	}
	while (s->n > keep && is_blank(s->value[s->n - 1]))
		s->n--;
	return 0;
}

static int scan_value(struct scanner *s)
{
	int r;

	skip_blanks(s);
	s->n = 0;
	if (*s->at == '\'')
		r = scan_single_quoted(s);
	else if (*s->at == '"')
		r = scan_double_quoted(s);
	else
		r = scan_unquoted(s);
	if (r < 0)
		return r;
	s->value[s->n] = '\0';
	skip_blanks(s);
	return at_end(s) ? 0 : refuse(s, "a quote must enclose the whole value");
}

static int scan_assignment(struct scanner *s, char ***environment)
{
	cleanup_free char *name = NULL;
	const char *start;
	unsigned line;
	int r;

	if (strncmp(s->at, "export", 6) == 0 && is_blank(s->at[6])) {
		s->at += 6;
		skip_blanks(s);
	}
	start = s->at;
	if (is_letter(*s->at))
		while (is_letter(*s->at) || (*s->at >= '0' && *s->at <= '9'))
			s->at++;
	if (s->at == start || *s->at != '=')
		return refuse(s, "expected NAME=value (a name has letters, digits and \"_\")");
	name = strndup(start, (size_t)(s->at - start));
	if (!name)
		return -ENOMEM;
	line = s->line;
	r = environment_check_name(name, s->err);
	if (r < 0)
		return error_prefix(s->err, r, "%s:%u", s->file, line);
	s->at++;
	r = scan_value(s);
	if (r < 0)
		return r;
	return environment_set(environment, name, s->value);
}

static int scan_file(struct scanner *s, char ***environment)
{
	while (*s->at) {
		int r = 0;

		skip_blanks(s);
		if (*s->at == '#' || *s->at == ';')
			while (!at_end(s))
				s->at++;
		else if (!at_end(s))
			r = scan_assignment(s, environment);
		if (r < 0)
			return r;
		s->at += line_end(s->at);
		s->line++;
	}
	return 0;
}

int environment_add_file(char ***environment, const char *path, const struct as_user *user,
			 struct error *err)
{
	cleanup_free char *text = NULL;
	cleanup_free char *value = NULL;
	struct scanner s = {.file = path, .line = 1, .err = err};
	size_t length;
	int r;

	r = file_read_for(user, path, PATH_READ, ENVIRONMENT_FILE_MAX, &text, &length, err);
	if (r < 0)
		return error_prefix(err, r, "%s", path);
	if (strlen(text) != length)
		return error_text(err, -EINVAL, "%s: not a text file", path);
	value = malloc(length + 1);
	if (!value)
		return error_set(err, -ENOMEM, "%s", path);
	s.at = file_text(text);
	s.value = value;
	r = scan_file(&s, environment);
	return r == -ENOMEM ? error_set(err, r, "%s", path) : r;
}
