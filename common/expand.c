/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/expand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/vector.h"

/* The longest string that execve(2) takes, with its NUL: 32 pages of 4 KiB. */
#define ARGUMENT_MAX  (128 * 1024)
#define SEPARATOR_MAX 15
#define FDS           "{fds:"

/* Expansion runs twice: at first .text is NULL, and it only measures. */
struct output {
	char *text;
	size_t n;
};

static void put(struct output *out, const char *text, size_t n)
{
	if (out->text)
		memcpy(out->text + out->n, text, n);
	out->n += n;
}

static void put_number(struct output *out, uint32_t number)
{
	char digits[16];
	int n = snprintf(digits, sizeof(digits), "%u", number);

	put(out, digits, (size_t)n);
}

/* Which placeholder @text, which begins with "{", begins with, and its length; 0: none. */
static unsigned look_at(const char *text, size_t *ret_length)
{
	static const struct {
		const char *text;
		enum expand_kind kind;
	} fixed[] = {
		{"{fd}", EXPAND_FDS},
		{"{generation}", EXPAND_GENERATION},
		{"{instance}", EXPAND_INSTANCE},
	};
	const char *end;

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
		*ret_length = strlen(fixed[i].text);
		if (strncmp(text, fixed[i].text, *ret_length) == 0)
			return fixed[i].kind;
	}
	if (strncmp(text, FDS, strlen(FDS)) != 0)
		return 0;
	end = strchr(text, '}');
	if (!end || end - text - (ptrdiff_t)strlen(FDS) > SEPARATOR_MAX)
		return 0;
	*ret_length = (size_t)(end + 1 - text);
	return EXPAND_FDS;
}

static int put_fds(struct output *out, const struct expand_values *values, const char *text,
		   size_t length)
{
	bool all = strncmp(text, FDS, strlen(FDS)) == 0;

	if (values->n_fds == 0)
		return -EINVAL;
	for (size_t i = 0; i < (all ? values->n_fds : 1); i++) {
		if (i > 0)
			put(out, text + strlen(FDS), length - strlen(FDS) - 1);
		put_number(out, (uint32_t)values->fds[i]);
	}
	return 0;
}

/*
 * @text begins with "{". Returns the length of the placeholder there; 0 if there is none; -EINVAL
 * if it cannot be replaced.
 */
static int put_placeholder(struct output *out, const struct expand_values *values, const char *text)
{
	size_t length;
	unsigned kind = look_at(text, &length);
	int r = 0;

	if (!kind || kind & values->stay)
		return 0;
	if (kind == EXPAND_FDS)
		r = put_fds(out, values, text, length);
	else
		put_number(out, kind == EXPAND_GENERATION ? values->generation : values->instance);
	return r < 0 ? r : (int)length;
}

static int expand_into(const char *text, const struct expand_values *values, struct output *out)
{
	const char *brace;
	int n;

	while ((brace = strchr(text, '{'))) {
		put(out, text, (size_t)(brace - text));
		n = put_placeholder(out, values, brace);
		if (n < 0)
			return n;
		if (n == 0) {
			put(out, brace, 1);
			n = 1;
		}
		text = brace + n;
		if (out->n >= ARGUMENT_MAX)
			return -E2BIG;
	}
	put(out, text, strlen(text));
	return out->n >= ARGUMENT_MAX ? -E2BIG : 0;
}

int expand(const char *text, const struct expand_values *values, char **ret)
{
	struct output out = {0};
	int r;

	r = expand_into(text, values, &out);
	if (r < 0)
		return r;
	out.text = malloc(out.n + 1);
	if (!out.text)
		return -ENOMEM;
	out.text[out.n] = '\0';
	out.n = 0;
	(void)expand_into(text, values, &out);
	*ret = out.text;
	return 0;
}

int expand_vector(char *const *texts, const struct expand_values *values, char ***ret)
{
	size_t n = vector_length(texts);
	cleanup(vector_free) char **vector = calloc(n + 1, sizeof(*vector));
	int r;

	if (!vector)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		r = expand(texts[i], values, &vector[i]);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(vector);
	return 0;
}

const char *expand_find(const char *text, unsigned kinds)
{
	size_t length;

	for (; (text = strchr(text, '{')); text++)
		if (look_at(text, &length) & kinds)
			return text;
	return NULL;
}

bool expand_uses_fds(char *const *texts)
{
	for (; texts && *texts; texts++)
		if (expand_find(*texts, EXPAND_FDS))
			return true;
	return false;
}

/* How much of @path is its folder in front of the first placeholder; all of it if it has none. */
static size_t common_length(const char *path)
{
	const char *end = expand_find(path, EXPAND_GENERATION | EXPAND_INSTANCE);

	while (end && end > path + 1 && end[-1] != '/')
		end--;
	/* Without the slash, unless that is all. */
	while (end && end > path + 1 && end[-1] == '/')
		end--;
	return end ? (size_t)(end - path) : strlen(path);
}

int expand_common_folder(const char *path, char **ret)
{
	*ret = strndup(path, common_length(path));
	return *ret ? 0 : -ENOMEM;
}
