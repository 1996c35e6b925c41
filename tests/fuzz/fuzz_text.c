/* SPDX-License-Identifier: BSD-2-Clause */
/* Text: of servers for people, and of people for baton. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/label.h"
#include "common/address.h"
#include "common/clean.h"
#include "common/duration.h"
#include "common/expand.h"
#include "orchestrator/host/kernel.h"
#include "tests/fuzz/fuzz.h"

/* Whole, and with a cut in the middle: pieces that are clean may be joined. */
static void clean_pieces(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	size_t half = size / 2, left, right;

	left = clean_text(text, half);
	right = clean_text(text + half, size - half);
	memmove(text + left, text + half, right);
	fuzz_must_be_clean(text, left + right, 1);
	FUZZ_MUST(clean_text(text, left + right) == left + right);
	free(text);
}

void fuzz_clean(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), *again;
	size_t n = clean_text(text, size);

	FUZZ_MUST(n <= size);
	fuzz_must_be_clean(text, n, 1);
	again = fuzz_text((uint8_t *)text, n);
	FUZZ_MUST(clean_text(again, n) == n && memcmp(text, again, n) == 0);
	free(text);
	free(again);
	clean_pieces(data, size);
	text = fuzz_text(data, size);
	clean_line(text);
	fuzz_must_be_clean(text, strlen(text), 0);
	clean_name(text);
	for (const char *c = text; *c; c++)
		FUZZ_MUST(*c >= 0x20 && *c < 0x7f && *c != '"');
	free(text);
}

static void must_be_a_line(const char *line, size_t n)
{
	FUZZ_MUST(n > 0 && n <= LABEL_MAX && line[n - 1] == '\n');
	FUZZ_MUST(strncmp(line, "[web] ", 6) == 0);
	FUZZ_MUST(!memchr(line, '\n', n - 1));
	fuzz_must_be_clean(line, n - 1, 1);
}

void fuzz_label(const uint8_t *data, size_t size)
{
	const char *at = (const char *)data;
	char line[LABEL_MAX];
	struct label label;
	size_t length;

	label_init(&label, "web");
	for (size_t left = size; left > 0;) {
		size_t taken = label_take(&label, at, left, line, &length);

		FUZZ_MUST(taken > 0 && taken <= left);
		at += taken;
		left -= taken;
		if (length > 0)
			must_be_a_line(line, length);
	}
	length = label_rest(&label, line);
	if (length > 0)
		must_be_a_line(line, length);
}

static void try_address(const char *text)
{
	char key[ADDRESS_KEY_MAX];
	struct address address, again;
	struct error err;

	if (address_parse(text, &address, &err) < 0)
		return;
	FUZZ_MUST(address_parse(address.text, &again, &err) == 0);
	FUZZ_MUST(address_equal(&address, &again));
	FUZZ_MUST(address_overlaps(&address, &again));
	(void)address_key(&address, key);
}

static void try_expand(const char *text)
{
	static const int fds[] = {3, 4};
	const struct expand_values values = {.fds = fds, .n_fds = 2, .generation = 7};
	char *expanded = NULL;

	if (expand(text, &values, &expanded) == 0)
		FUZZ_MUST(expand_find(text, EXPAND_FDS | EXPAND_GENERATION | EXPAND_INSTANCE) ||
			  strcmp(expanded, text) == 0);
	free(expanded);
}

void fuzz_words(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	struct kernel_version version;
	uint64_t ms;

	try_address(text);
	try_expand(text);
	(void)duration_parse(text, &ms);
	(void)kernel_version_parse(text, text, text, &version);
	(void)kernel_version_parse("6.1.0-32-amd64", text, "", &version);
	(void)kernel_version_parse("5.15.0-91-generic", "", text, &version);
	free(text);
}
