/* SPDX-License-Identifier: BSD-2-Clause */
/* What is written is caught: log_line() is a fake. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "orchestrator/api/api_tally.h"

static struct tally tally;
static char line[512];
static int n_lines;

void log_line(enum log_level level, const char *format, ...)
{
	va_list ap;

	assert_int_equal(level, LOG_LEVEL_WARNING);
	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	n_lines++;
}

static int setup(void **state)
{
	(void)state;
	tally = (struct tally){};
	n_lines = 0;
	return 0;
}

static void test_api_tally_flood_is_a_line_a_minute(void **state)
{
	(void)state;
	for (uint64_t t = 1; t <= 59000; t++)
		tally_note(&tally, TALLY_REFUSED, 65534, t);
	assert_int_equal(n_lines, 1);
	assert_non_null(strstr(line, "uid 65534: a connection was refused"));
	assert_int_equal(tally_deadline_ms(&tally), 1 + TALLY_QUIET_MS);
	tally_tell(&tally, TALLY_QUIET_MS);
	assert_int_equal(n_lines, 1);
	tally_tell(&tally, 1 + TALLY_QUIET_MS);
	assert_int_equal(n_lines, 2);
	assert_non_null(strstr(line, "api: 58999 connections were refused"));
	/* It goes on quietly, and then there is nothing more to tell. */
	tally_note(&tally, TALLY_REFUSED, 1, 2 + TALLY_QUIET_MS);
	assert_int_equal(n_lines, 2);
	tally_tell(&tally, 1 + 2 * TALLY_QUIET_MS);
	assert_int_equal(n_lines, 3);
	assert_int_equal(tally_deadline_ms(&tally), UINT64_MAX);
}

static void test_api_tally_kinds_are_told_apart(void **state)
{
	(void)state;
	for (int kind = 0; kind < _TALLY_KIND_COUNT; kind++) {
		tally_note(&tally, (enum tally_kind)kind, 1, 5);
		assert_int_equal(n_lines, kind + 1);
		assert_null(strstr(line, "(null)"));
	}
	assert_int_equal(tally_deadline_ms(&tally), UINT64_MAX);
	for (int kind = 0; kind < _TALLY_KIND_COUNT; kind++)
		tally_note(&tally, (enum tally_kind)kind, 1, 6);
	tally_tell(&tally, 5 + TALLY_QUIET_MS);
	assert_int_equal(n_lines, 2 * _TALLY_KIND_COUNT);
	assert_null(strstr(line, "(null)"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(test_api_tally_flood_is_a_line_a_minute),
		TEST(test_api_tally_kinds_are_told_apart),
	};
#undef TEST

	return cmocka_run_group_tests_name("api_tally", tests, NULL, NULL);
}
