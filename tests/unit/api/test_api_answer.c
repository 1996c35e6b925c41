/* SPDX-License-Identifier: BSD-2-Clause */
/* How the API's answers look. The functions of libmicrohttpd that make and queue them are fakes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "orchestrator/api/api_answer.h"

/* ---- libmicrohttpd -------------------------------------------------------------------------- */

struct MHD_Response {
	char *text;
	char headers[512];
};

struct MHD_Connection {
	unsigned status;
	char text[1024];
	char headers[512];
};

static struct MHD_Connection connection;
static int alive; /* responses */
static bool no_memory;
static const char *bad_header; /* that cannot be added */

struct MHD_Response *MHD_create_response_from_buffer(size_t size, void *buffer,
						     enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *response = no_memory ? NULL : calloc(1, sizeof(*response));

	if (!response)
		return NULL;
	response->text = strndup(buffer, size);
	if (mode == MHD_RESPMEM_MUST_FREE)
		free(buffer);
	alive++;
	return response;
}

enum MHD_Result MHD_add_response_header(struct MHD_Response *response, const char *header,
					const char *content)
{
	size_t n = strlen(response->headers);

	if (bad_header && strcmp(header, bad_header) == 0)
		return MHD_NO;
	snprintf(response->headers + n, sizeof(response->headers) - n, "%s: %s\n", header, content);
	return MHD_YES;
}

enum MHD_Result MHD_queue_response(struct MHD_Connection *c, unsigned int status,
				   struct MHD_Response *response)
{
	c->status = status;
	snprintf(c->text, sizeof(c->text), "%s", response->text);
	memcpy(c->headers, response->headers, sizeof(c->headers));
	return MHD_YES;
}

void MHD_destroy_response(struct MHD_Response *response)
{
	free(response->text);
	free(response);
	alive--;
}

static int set_up(void **state)
{
	(void)state;
	connection = (struct MHD_Connection){};
	no_memory = false;
	bad_header = NULL;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(alive, 0);
	return 0;
}

/* A member of the problem that was sent. */
static void assert_member(const char *key, const char *expected)
{
	json_t *json = json_loads(connection.text, 0, NULL);
	const json_t *value = json_object_get(json, key);
	char number[24];

	assert_non_null(value);
	snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	assert_string_equal(json_is_string(value) ? json_string_value(value) : number, expected);
	json_decref(json);
}

/* ---- answers -------------------------------------------------------------------------------- */

static void test_api_answer_json_is_one_line_that_nobody_keeps(void **state)
{
	(void)state;
	assert_int_equal(api_send_json(&connection, 202, json_pack("{s:i}", "rollout", 7)),
			 MHD_YES);
	assert_int_equal(connection.status, 202);
	assert_string_equal(connection.text, "{\"rollout\":7}\n");
	assert_string_equal(connection.headers,
			    "Content-Type: application/json\nCache-Control: no-store\n");
}

static void test_api_answer_that_could_not_be_made_is_a_problem(void **state)
{
	(void)state;
	assert_int_equal(api_send_json(&connection, 200, NULL), MHD_YES);
	assert_int_equal(connection.status, 500);
	assert_member("detail",
		      "the answer could not be made: out of memory, or a text in it is not UTF-8");
	assert_member("code", "1");
}

static void test_api_answer_text_names_what_is_allowed(void **state)
{
	(void)state;
	assert_int_equal(api_send_text(&connection, 405, "text/plain", "GET, HEAD", "no"), MHD_YES);
	assert_string_equal(connection.text, "no");
	assert_string_equal(
		connection.headers,
		"Content-Type: text/plain\nCache-Control: no-store\nAllow: GET, HEAD\n");
}

static void test_api_answer_without_memory_closes_the_connection(void **state)
{
	(void)state;
	no_memory = true;
	assert_int_equal(api_send_json(&connection, 200, json_object()), MHD_NO);
	assert_int_equal(api_send_text(&connection, 200, "text/plain", NULL, "x"), MHD_NO);
	no_memory = false;
	bad_header = "Cache-Control";
	assert_int_equal(api_send_json(&connection, 200, json_object()), MHD_NO);
	bad_header = "Allow";
	assert_int_equal(api_send_text(&connection, 200, "text/plain", "GET", "x"), MHD_NO);
	assert_int_equal(connection.status, 0);
}

/* ---- problems ------------------------------------------------------------------------------- */

static void test_api_answer_problem_has_defaults(void **state)
{
	struct api_problem problem = {};

	(void)state;
	assert_int_equal(api_send_problem(&connection, &problem, NULL), MHD_YES);
	assert_int_equal(connection.status, 500);
	assert_string_equal(connection.text,
			    "{\"title\":\"Error\",\"status\":500,\"detail\":\"\",\"code\":1}");
	assert_non_null(strstr(connection.headers, "Content-Type: application/problem+json\n"));
}

static void test_api_answer_problem_says_all_that_is_given(void **state)
{
	struct api_problem problem = {.status = 409, .code = 6, .title = "Rollout in progress"};

	(void)state;
	error_text(&problem.detail, 0, "rollout 5 is at step \"verify\"");
	problem.mistakes = json_pack("[s]", "one");
	assert_int_equal(api_send_problem(&connection, &problem, "POST"), MHD_YES);
	assert_int_equal(connection.status, 409);
	assert_string_equal(connection.text,
			    "{\"title\":\"Rollout in progress\",\"status\":409,"
			    "\"detail\":\"rollout 5 is at step \\\"verify\\\"\",\"code\":6,"
			    "\"mistakes\":[\"one\"]}");
	assert_non_null(strstr(connection.headers, "Allow: POST\n"));
	json_decref(problem.mistakes);
}

static void test_api_answer_problem_without_mistakes_has_no_list(void **state)
{
	struct api_problem problem = {.status = 422, .mistakes = json_array()};

	(void)state;
	assert_int_equal(api_send_problem(&connection, &problem, NULL), MHD_YES);
	assert_null(strstr(connection.text, "mistakes"));
	json_decref(problem.mistakes);
}

static void test_api_answer_problem_of_each_status_has_a_title(void **state)
{
	static const struct {
		unsigned status;
		const char *title;
	} cases[] = {
		{400, "Bad request"},
		{403, "Not allowed"},
		{404, "Not found"},
		{405, "Method not allowed"},
		{409, "Busy"},
		{413, "Body too large"},
		{422, "Unprocessable content"},
		{503, "Not available now"},
		{418, "Error"},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		struct api_problem problem = {.status = cases[k].status};

		api_send_problem(&connection, &problem, NULL);
		assert_int_equal(connection.status, cases[k].status);
		assert_member("title", cases[k].title);
	}
}

/* A path can hold any byte; JSON cannot. */
static void test_api_answer_problem_of_bytes_that_are_no_text_is_sent_all_the_same(void **state)
{
	struct api_problem problem = {.status = 404};

	(void)state;
	error_text(&problem.detail, 0, "no service is called \"\xff\xfe\"");
	assert_int_equal(api_send_problem(&connection, &problem, NULL), MHD_YES);
	assert_member("detail", "no service is called \"??\"");
}

static void test_api_answer_refuse_says_why(void **state)
{
	(void)state;
	assert_int_equal(api_refuse(&connection, 413, 2, "more than %d bytes", 4096), MHD_YES);
	assert_int_equal(connection.status, 413);
	assert_member("detail", "more than 4096 bytes");
	assert_member("code", "2");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_api_answer_json_is_one_line_that_nobody_keeps),
		TEST(test_api_answer_that_could_not_be_made_is_a_problem),
		TEST(test_api_answer_text_names_what_is_allowed),
		TEST(test_api_answer_without_memory_closes_the_connection),
		TEST(test_api_answer_problem_has_defaults),
		TEST(test_api_answer_problem_says_all_that_is_given),
		TEST(test_api_answer_problem_without_mistakes_has_no_list),
		TEST(test_api_answer_problem_of_each_status_has_a_title),
		TEST(test_api_answer_problem_of_bytes_that_are_no_text_is_sent_all_the_same),
		TEST(test_api_answer_refuse_says_why),
	};
#undef TEST

	return cmocka_run_group_tests_name("api answer", tests, NULL, NULL);
}
