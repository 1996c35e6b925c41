/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "orchestrator/health/answer.h"

static struct answer answer;

static void header(const char *line)
{
	answer_header(&answer, line, strlen(line));
}

static int setup(void **state)
{
	(void)state;
	memset(&answer, 0, sizeof(answer));
	return 0;
}

static void test_answer_status_line_is_read(void **state)
{
	char text[ANSWER_REASON_MAX + 8];

	(void)state;
	header("HTTP/1.1 503 Service Unavailable\r\n");
	header("Content-Length: 0\r\n");
	assert_false(answer.headed);
	header("\r\n");
	assert_true(answer.headed);
	assert_int_equal(answer.status, 503);
	assert_string_equal(answer.reason, "Service Unavailable");
	assert_string_equal(answer_status_text(&answer, text, sizeof(text)),
			    "503 Service Unavailable");
}

static void test_answer_fields_are_read_in_any_case(void **state)
{
	char line[600];

	(void)state;
	header("HTTP/1.1 302 Found\r\n");
	header("LOCATION: \t/a b\x1b\r\n");
	header("content-encoding:gzip\r\n");
	header("Locations: /x\r\n");
	header("grpc-status: 5\r\n");
	header("Grpc-Message: unknown service\r\n");
	assert_string_equal(answer.location, "/a b?");
	assert_string_equal(answer.encoding, "gzip");
	assert_string_equal(answer.grpc_status, "5");
	assert_string_equal(answer.grpc_message, "unknown service");
	header("Location:\r\n");
	assert_string_equal(answer.location, "");
	memset(line, 'x', sizeof(line));
	memcpy(line, "Location: ", 10);
	line[sizeof(line) - 1] = '\0';
	header(line);
	assert_int_equal(strlen(answer.location), ANSWER_VALUE_MAX - 1);
	/* The final answer after an interim one begins anew. */
	header("HTTP/1.1 200 OK\r\n");
	assert_string_equal(answer.location, "");
	assert_string_equal(answer.encoding, "");
}

static void test_answer_status_line_without_reason_is_read(void **state)
{
	static const char *const lines[] = {"HTTP/1.1 204 \r\n", "HTTP/1.1 204\r\n",
					    "HTTP/1.0 204"};
	char text[ANSWER_REASON_MAX + 8];

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		memset(&answer, 0, sizeof(answer));
		header(lines[i]);
		assert_int_equal(answer.status, 204);
		assert_string_equal(answer_status_text(&answer, text, sizeof(text)), "204");
	}
}

static void test_answer_bad_status_lines_are_ignored(void **state)
{
	static const char *const lines[] = {"",
					    "\r\n",
					    "HTTP",
					    "HTTP/1.1",
					    "HTTP/1.1 20\r\n",
					    "HTTP/1.1 2000 OK",
					    "HTTP/1.1 2x0 OK",
					    "XTTP/1.1 200 OK",
					    "HTTP/1.1 "};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		header(lines[i]);
		assert_int_equal(answer.status, 0);
	}
}

static void test_answer_interim_status_is_replaced(void **state)
{
	(void)state;
	header("HTTP/1.1 103 Early Hints\r\n");
	answer_body(&answer, "x", 1);
	header("HTTP/1.1 200\r\n");
	assert_int_equal(answer.status, 200);
	assert_string_equal(answer.reason, "");
	assert_int_equal(answer.received, 0);
	assert_string_equal(answer.body, "");
}

static void test_answer_text_is_made_printable(void **state)
{
	char small[4];

	(void)state;
	header("HTTP/1.1 200 \x1b[31mO\xc3\xa4K\r\n");
	assert_string_equal(answer.reason, "?[31mO??K");
	answer_body(&answer, "a\r\n\tb\0\x7f\xff~", 9);
	assert_string_equal(answer.body, "a   b???~");
	assert_int_equal(answer_printable("abcdef", 6, small, sizeof(small)), 3);
	assert_string_equal(small, "abc");
}

static void test_answer_body_is_cut_and_counted(void **state)
{
	char block[200];

	(void)state;
	memset(block, 'x', sizeof(block));
	for (int i = 0; i < 5; i++)
		answer_body(&answer, block, sizeof(block));
	assert_int_equal(answer.received, 1000);
	assert_int_equal(answer.body_length, ANSWER_BODY_MAX - 1);
	assert_int_equal(strlen(answer.body), ANSWER_BODY_MAX - 1);
}

static void test_answer_long_reason_is_cut(void **state)
{
	char line[300] = "HTTP/1.1 200 ";

	(void)state;
	memset(line + 13, 'r', 200);
	header(line);
	assert_int_equal(strlen(answer.reason), ANSWER_REASON_MAX - 1);
}

static void test_answer_accepted_borders_are_inclusive(void **state)
{
	struct health_config health = {.statuses = {{200, 299}, {404, 404}}, .n_statuses = 2};
	static const struct {
		uint16_t status;
		bool accepted;
	} cases[] = {{0, false},   {199, false}, {200, true}, {299, true},
		     {300, false}, {404, true},  {405, false}};
	char text[64], small[6];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		answer.status = cases[i].status;
		assert_int_equal(answer_accepted(&answer, &health), cases[i].accepted);
	}
	assert_string_equal(answer_accepted_text(&health, text, sizeof(text)), "200-299, 404");
	assert_string_equal(answer_accepted_text(&health, small, sizeof(small)), "200-2");
	health.n_statuses = 0;
	answer.status = 200;
	assert_false(answer_accepted(&answer, &health));
	assert_string_equal(answer_accepted_text(&health, text, sizeof(text)), "");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(test_answer_status_line_is_read),
		TEST(test_answer_fields_are_read_in_any_case),
		TEST(test_answer_status_line_without_reason_is_read),
		TEST(test_answer_bad_status_lines_are_ignored),
		TEST(test_answer_interim_status_is_replaced),
		TEST(test_answer_text_is_made_printable),
		TEST(test_answer_body_is_cut_and_counted),
		TEST(test_answer_long_reason_is_cut),
		TEST(test_answer_accepted_borders_are_inclusive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
