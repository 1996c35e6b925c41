/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/print.h"

static char *text;
static size_t length;

static struct print begin(bool colour)
{
	return (struct print){.out = open_memstream(&text, &length), .colour = colour};
}

static void assert_printed(struct print *to, const char *expected)
{
	fclose(to->out);
	assert_string_equal(text, expected);
	free(text);
}

static void test_print_text_controls_are_made_visible(void **state)
{
	struct print to = begin(false);

	(void)state;
	print_text(&to, "a\x1b[31mb\tc\nd\x7f \xc2\x9b"
			"1m \xc3\xa4\x01");
	assert_printed(&to, "a\\x1b[31mb c d\\x7f \\x9b1m \xc3\xa4\\x01");
}

static void test_print_text_broken_utf8_stays_in_bounds(void **state)
{
	struct print to = begin(false);
	char *lone = strdup("x\xe2"); /* exactly as long as it is, for the sanitizer */

	(void)state;
	print_text(&to, lone);
	free(lone);
	assert_printed(&to, "x\xe2");
}

static void test_print_coloured_only_where_wanted(void **state)
{
	struct print to = begin(true);

	(void)state;
	print_coloured(&to, PRINT_RED, "a\033");
	print_coloured(&to, PRINT_PLAIN, "b");
	assert_printed(&to, "\033[31ma\\x1b\033[0mb");
	to = begin(false);
	print_coloured(&to, PRINT_RED, "a");
	assert_printed(&to, "a");
}

static void test_print_clean_long_text_is_cut_at_a_character(void **state)
{
	char buffer[8];

	(void)state;
	assert_string_equal(print_clean("1234567", buffer, sizeof(buffer)), "1234567");
	assert_string_equal(print_clean("12345678", buffer, sizeof(buffer)), "1234...");
	assert_string_equal(print_clean("123\xc3\xa4"
					"5678",
					buffer, sizeof(buffer)),
			    "123...");
	assert_string_equal(print_clean("12\x1b"
					"56",
					buffer, sizeof(buffer)),
			    "12...");
	assert_string_equal(print_clean("", buffer, sizeof(buffer)), "");
	assert_int_equal(print_width("a\xc3\xa4\xe2\x82\xac"), 3);
}

static void test_print_lines_each_gets_the_prefix(void **state)
{
	struct print to = begin(false);

	(void)state;
	print_lines(&to, "| ", "one\r\n\ntwo\033\n\n\n");
	print_lines(&to, "- ", "three");
	print_lines(&to, "- ", "\n");
	print_lines(&to, "- ", "");
	assert_printed(&to, "| one\n| \n| two\\x1b\n- three\n");
}

static void test_print_command_is_quoted_for_a_shell(void **state)
{
	struct print to = begin(false);
	json_t *command = json_pack("[s, s, s, s, s, i]", "./server", "--fd={fd}", "daemon off;",
				    "", "it's", 1);

	(void)state;
	print_command(&to, command);
	print_command(&to, NULL);
	json_decref(command);
	assert_printed(&to, "./server --fd={fd} 'daemon off;' '' 'it'\\''s' '?'");
}

static void test_print_took_unit_fits_the_length(void **state)
{
	static const struct {
		long long ms;
		const char *text;
	} cases[] = {
		{-1, "-"},
		{0, "0 ms"},
		{999, "999 ms"},
		{1000, "1.00 s"},
		{1024, "1.02 s"},
		{9999, "9.99 s"},
		{10000, "10.0 s"},
		{59999, "59.9 s"},
		{60000, "1m 00s"},
		{3599999, "59m 59s"},
		{3600000, "1h 00m"},
		{86399999, "23h 59m"},
		{86400000, "1d 00h"},
		{LLONG_MIN, "-"},
		{LLONG_MAX, "106751991167d 07h"},
	};
	char buffer[PRINT_TOOK_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(print_took(cases[i].ms, buffer), cases[i].text);
}

static void test_print_time_other_forms_stay(void **state)
{
	struct print to = begin(false);

	(void)state;
	print_time(&to, "2026-01-02T03:04:05.678Z");
	print_time(&to, "|2026-01-02T03:04:05Z|");
	print_time(&to, "");
	print_time(&to, "2026-01-02T03:04:05+01:00");
	assert_printed(&to, "2026-01-02 03:04:05 UTC|2026-01-02T03:04:05Z|"
			    "2026-01-02T03:04:05+01:00");
}

static void test_print_members_of_wrong_type_are_absent(void **state)
{
	json_t *object = json_pack("{s:i, s:s, s:n, s:i, s:f}", "number", 5, "text", "t", "null",
				   "negative", -3, "real", 1.5);

	(void)state;
	assert_int_equal(print_number(object, "number"), 5);
	assert_int_equal(print_number(object, "text"), -1);
	assert_int_equal(print_number(object, "null"), -1);
	assert_int_equal(print_number(object, "negative"), -1);
	assert_int_equal(print_number(object, "real"), -1);
	assert_int_equal(print_number(object, "none"), -1);
	assert_int_equal(print_number(NULL, "none"), -1);
	assert_string_equal(print_member(object, "text"), "t");
	assert_string_equal(print_member(object, "number"), "");
	assert_string_equal(print_member(NULL, "text"), "");
	json_decref(object);
}

static void test_print_share_has_one_decimal(void **state)
{
	static const struct {
		const char *json, *text;
	} cases[] = {
		{"0", "0.0%"},     {"0.0", "0.0%"}, {"0.04", "<0.1%"},  {"0.05", "0.1%"},
		{"0.98", "1.0%"},  {"25", "25.0%"}, {"24.62", "24.6%"}, {"99.94", "99.9%"},
		{"99.96", "100%"}, {"100", "100%"}, {"100.1", "-"},     {"-1", "-"},
		{"1e300", "-"},    {"null", "-"},   {"\"5\"", "-"},
	};
	char source[64], buffer[PRINT_SHARE_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *object;

		snprintf(source, sizeof(source), "{\"aimed\": %s}", cases[i].json);
		object = json_loads(source, 0, NULL);
		assert_non_null(object);
		assert_string_equal(print_share(print_percent(object, "aimed"), buffer),
				    cases[i].text);
		json_decref(object);
	}
	assert_true(print_percent(NULL, "aimed") < 0);
}

static void test_print_table_is_aligned_and_drops_empty_columns(void **state)
{
	static const struct print_column columns[] = {
		{"NAME", false},
		{"EMPTY", true},
		{"COUNT", true},
		{"NOTE", false},
	};
	struct print_table table = {.columns = columns, .n_columns = 4};
	struct print to = begin(false);
	struct print_cell *row;

	(void)state;
	row = print_table_row(&table);
	print_cell(&row[0], PRINT_PLAIN, "a\xc3\xa4");
	print_cell(&row[2], PRINT_PLAIN, "%d", 7);
	row = print_table_row(&table);
	print_cell(&row[0], PRINT_PLAIN, "longer");
	print_cell(&row[2], PRINT_PLAIN, "123456");
	print_cell(&row[3], PRINT_PLAIN, "x\n");
	print_table(&to, "  ", &table);
	assert_null(table.cells);
	assert_int_equal(table.n_rows, 0);
	assert_printed(&to, "  NAME     COUNT  NOTE\n"
			    "  a\xc3\xa4           7\n"
			    "  longer  123456  x \n");
}

static void test_print_table_colours_do_not_move_columns(void **state)
{
	static const struct print_column columns[] = {{"A", false}, {"B", false}};
	struct print_table table = {.columns = columns, .n_columns = 2};
	struct print to = begin(true);
	struct print_cell *row;

	(void)state;
	row = print_table_row(&table);
	print_cell(&row[0], PRINT_RED, "x");
	print_cell(&row[1], PRINT_PLAIN, "y");
	row = print_table_row(&table);
	print_cell(&row[0], PRINT_PLAIN, "xxx");
	print_cell(&row[1], PRINT_PLAIN, "y");
	print_table(&to, "", &table);
	assert_printed(&to, "\033[2mA\033[0m    \033[2mB\033[0m\n"
			    "\033[31mx\033[0m    y\n"
			    "xxx  y\n");
}

static void assert_since(uint64_t now_ms, const char *time, const char *expected)
{
	struct print to = begin(false);

	to.now_ms = now_ms;
	print_since(&to, time);
	assert_printed(&to, expected);
}

static void test_print_since_needs_a_present_and_a_past(void **state)
{
	(void)state;
	assert_since(1767225601500, "2026-01-01T00:00:00.000Z", "1.50 s ago");
	assert_since(1767225600000, "2026-01-01T00:00:00.000Z", "0 ms ago");
	assert_since(1767225600000, "2025-12-31T23:59:59Z", "1.00 s ago");
	/* The clock was set back; it is not known; there is no such time. */
	assert_since(1767225599999, "2026-01-01T00:00:00.000Z", "2026-01-01 00:00:00 UTC");
	assert_since(0, "2026-01-01T00:00:00.000Z", "2026-01-01 00:00:00 UTC");
	assert_since(1767225600000, "yesterday", "yesterday");
	assert_since(1767225600000, "2026-01-01T00:00:00", "2026-01-01T00:00:00");
	assert_since(1767225600000, "2026-01-01T00:00:00+01:00", "2026-01-01T00:00:00+01:00");
	assert_since(1767225600000, "", "");
}

static void test_print_bytes_are_short(void **state)
{
	static const struct {
		long long bytes;
		const char *expected;
	} cases[] = {
		{-1, "-"},
		{0, "0 B"},
		{1, "1 B"},
		{999, "999 B"},
		{1000, "1.0 kB"},
		{1299, "1.2 kB"},
		{9999, "9.9 kB"},
		{10000, "10 kB"},
		{999999, "999 kB"},
		{1000000, "1.0 MB"},
		{1234567890123, "1.2 TB"},
		{LLONG_MAX, "9.2 EB"},
	};
	char buffer[PRINT_BYTES_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(print_bytes(cases[i].bytes, buffer), cases[i].expected);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_print_text_controls_are_made_visible),
		cmocka_unit_test(test_print_text_broken_utf8_stays_in_bounds),
		cmocka_unit_test(test_print_coloured_only_where_wanted),
		cmocka_unit_test(test_print_clean_long_text_is_cut_at_a_character),
		cmocka_unit_test(test_print_lines_each_gets_the_prefix),
		cmocka_unit_test(test_print_command_is_quoted_for_a_shell),
		cmocka_unit_test(test_print_took_unit_fits_the_length),
		cmocka_unit_test(test_print_time_other_forms_stay),
		cmocka_unit_test(test_print_members_of_wrong_type_are_absent),
		cmocka_unit_test(test_print_share_has_one_decimal),
		cmocka_unit_test(test_print_table_is_aligned_and_drops_empty_columns),
		cmocka_unit_test(test_print_table_colours_do_not_move_columns),
		cmocka_unit_test(test_print_since_needs_a_present_and_a_past),
		cmocka_unit_test(test_print_bytes_are_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
