/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/tail.h"

static void add(struct tail *tail, const char *text)
{
	tail_add(tail, text, strlen(text));
}

static void check(const struct tail *tail, const char *expected)
{
	char got[PROTOCOL_TAIL_MAX];

	assert_int_equal(tail_text(tail, got), strlen(expected));
	assert_string_equal(got, expected);
}

static void test_tail_empty_is_empty(void **data)
{
	struct tail tail = {0};

	(void)data;
	check(&tail, "");
	tail_add(&tail, "", 0);
	check(&tail, "");
	add(&tail, "\n\n");
	check(&tail, "");
}

static void test_tail_short_text_is_whole(void **data)
{
	struct tail tail = {0};

	(void)data;
	add(&tail, "one\ntw");
	add(&tail, "o\n");
	check(&tail, "one\ntwo");
	tail_reset(&tail);
	check(&tail, "");
	add(&tail, "new");
	check(&tail, "new");
}

static void test_tail_exactly_full_is_whole(void **data)
{
	struct tail tail = {0};
	char text[TAIL_SIZE + 1];

	(void)data;
	memset(text, 'x', TAIL_SIZE);
	text[5] = '\n';
	text[TAIL_SIZE] = '\0';
	add(&tail, text);
	check(&tail, text);
	/* One byte more, and the first line, of five bytes and its newline, is no longer whole. */
	add(&tail, "y");
	memmove(text, text + 6, TAIL_SIZE - 6);
	text[TAIL_SIZE - 6] = 'y';
	text[TAIL_SIZE - 5] = '\0';
	check(&tail, text);
}

/* The definition, by brute force. */
static void expect_of(const char *stream, size_t n, char ret[PROTOCOL_TAIL_MAX])
{
	const char *from = n > TAIL_SIZE ? stream + n - TAIL_SIZE : stream;
	size_t length = (size_t)(stream + n - from);
	const char *newline;

	while (length > 0 && from[length - 1] == '\n')
		length--;
	newline = n > TAIL_SIZE ? memchr(from, '\n', length) : NULL;
	if (newline) {
		length -= (size_t)(newline + 1 - from);
		from = newline + 1;
	}
	memcpy(ret, from, length);
	ret[length] = '\0';
}

static void test_tail_long_streams_in_pieces_keep_the_last_lines(void **data)
{
	enum { STREAM = 40000 };
	char *stream = malloc(STREAM), expected[PROTOCOL_TAIL_MAX];
	struct tail tail = {0};
	size_t n = 0;

	(void)data;
	assert_non_null(stream);
	srand(7);
	for (size_t i = 0; i < STREAM; i++)
		stream[i] = (char)(rand() % 60 == 0 ? '\n' : 'a' + rand() % 26);
	while (n < STREAM) {
		size_t piece = (size_t)(rand() % (rand() % 9 == 0 ? 6000 : 300));

		if (piece > STREAM - n)
			piece = STREAM - n;
		tail_add(&tail, stream + n, piece);
		n += piece;
		expect_of(stream, n, expected);
		check(&tail, expected);
	}
	free(stream);
}

static void test_tail_one_endless_line_keeps_its_end(void **data)
{
	struct tail tail = {0};
	char got[PROTOCOL_TAIL_MAX];

	(void)data;
	for (int i = 0; i < 1000; i++)
		add(&tail, "0123456789");
	assert_int_equal(tail_text(&tail, got), TAIL_SIZE);
	assert_string_equal(got + TAIL_SIZE - 10, "0123456789");
	add(&tail, "\n");
	assert_int_equal(tail_text(&tail, got), TAIL_SIZE - 1);
}

static void test_tail_text_is_cleaned(void **data)
{
	struct tail tail = {0};

	(void)data;
	tail_add(&tail, "\x1b[31mpanic\x1b[0m\0\r\n", 16);
	check(&tail, "panic?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tail_empty_is_empty),
		cmocka_unit_test(test_tail_short_text_is_whole),
		cmocka_unit_test(test_tail_exactly_full_is_whole),
		cmocka_unit_test(test_tail_long_streams_in_pieces_keep_the_last_lines),
		cmocka_unit_test(test_tail_one_endless_line_keeps_its_end),
		cmocka_unit_test(test_tail_text_is_cleaned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
