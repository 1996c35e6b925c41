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

static int put_fds(struct output *out, const struct expand_values *values, const char *separator,
		   size_t n_separator)
{
	if (values->n_fds == 0)
		return -EINVAL;
	for (size_t i = 0; i < values->n_fds; i++) {
		if (i > 0)
			put(out, separator, n_separator);
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
	static const char fds[] = "{fds:";
	const char *separator, *end;
	int r;

	if (strncmp(text, "{fd}", 4) == 0) {
		if (values->n_fds == 0)
			return -EINVAL;
		put_number(out, (uint32_t)values->fds[0]);
		return 4;
	}
	if (strncmp(text, "{generation}", 12) == 0) {
		put_number(out, values->generation);
		return 12;
	}
	if (strncmp(text, "{instance}", 10) == 0) {
		put_number(out, values->instance);
		return 10;
	}
	if (strncmp(text, fds, sizeof(fds) - 1) != 0)
		return 0;
	separator = text + sizeof(fds) - 1;
	end = strchr(separator, '}');
	if (!end || end - separator > SEPARATOR_MAX)
		return 0;
	r = put_fds(out, values, separator, (size_t)(end - separator));
	return r < 0 ? r : (int)(end + 1 - text);
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

bool expand_uses_fds(char *const *texts)
{
	const struct expand_values none = {0};

	for (; *texts; texts++) {
		struct output out = {0};

		if (expand_into(*texts, &none, &out) == -EINVAL)
			return true;
	}
	return false;
}
