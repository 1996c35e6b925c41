/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The commands that ask once and print the answer: "connections", "pause", "resume", "reopen",
 * "reload", "leave".
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/fakes/fake_batond.h"

static const struct cli_options for_web = {.arguments = {"web"}, .n_arguments = 1};
static const struct cli_options none = {0};

/* ---- pause and resume ----------------------------------------------------------------------- */

static void test_commands_pause_prints_what_the_daemon_says(void **state)
{
	(void)state;
	batond.answer = "{\"service\": \"web\", \"paused\": true, "
			"\"message\": \"paused: new connections wait up to 30s\"}";
	assert_int_equal(run(cmd_pause, &for_web), CLI_DONE);
	assert_string_equal(batond.asked, "POST /v1/services/web/pause");
	assert_string_equal(output, "web: paused: new connections wait up to 30s\n");
}

static void test_commands_resume_prints_a_line_without_a_message_too(void **state)
{
	(void)state;
	batond.answer = "{\"service\": \"web\", \"paused\": false}";
	assert_int_equal(run(cmd_resume, &for_web), CLI_DONE);
	assert_string_equal(batond.asked, "POST /v1/services/web/resume");
	assert_string_equal(output, "web: resumed\n");
}

static void test_commands_pause_means_the_only_service(void **state)
{
	(void)state;
	batond.services = "{\"services\": [{\"service\": \"api\"}]}";
	batond.answer = "{\"service\": \"api\", \"paused\": true}";
	assert_int_equal(run(cmd_pause, &none), CLI_DONE);
	assert_string_equal(batond.asked, "GET /v1/services, POST /v1/services/api/pause");
	setup(NULL);
	batond.services = "{\"services\": [{\"service\": \"api\"}, {\"service\": \"web\"}]}";
	assert_int_equal(run(cmd_pause, &none), CLI_USAGE);
	assert_string_equal(err.text, "which service? There are api, web");
	assert_string_equal(batond.asked, "GET /v1/services");
}

static void test_commands_pause_quiet_and_json(void **state)
{
	struct cli_options options = for_web;

	(void)state;
	batond.answer = "{\"service\": \"web\", \"paused\": true}";
	options.quiet = true;
	assert_int_equal(run(cmd_pause, &options), CLI_DONE);
	assert_string_equal(output, "");
	options.json = true;
	assert_int_equal(run(cmd_pause, &options), CLI_DONE);
	assert_string_equal(output, "{\n  \"service\": \"web\",\n  \"paused\": true\n}\n");
}

static void test_commands_pause_refused_or_answered_with_nonsense_fails(void **state)
{
	static const char *const nonsense[] = {
		"{}",
		"[]",
		"{\"service\": \"web\"}",
		"{\"service\": \"web\", \"paused\": false}",
		"{\"service\": \"web\", \"paused\": 1}",
		"{\"service\": \"api\", \"paused\": true}",
	};
	const struct cli_options bad = {.arguments = {"a/b"}, .n_arguments = 1};
	const struct cli_options gone = {.name = "gone"};

	(void)state;
	assert_int_equal(run(cmd_pause, &for_web), CLI_BUSY);
	assert_string_equal(err.text, "refused");
	assert_string_equal(output, "");
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		batond.answer = nonsense[i];
		assert_int_equal(run(cmd_pause, &for_web), CLI_ERROR);
		assert_non_null(strstr(err.text, "pause: the daemon\'s answer is not one that"));
		assert_string_equal(output, "");
	}
	setup(NULL);
	assert_int_equal(run(cmd_pause, &bad), CLI_USAGE);
	assert_int_equal(run(cmd_resume, &gone), CLI_UNREACHABLE);
	assert_string_equal(batond.asked, "");
}

/* ---- reopen --------------------------------------------------------------------------------- */

static void test_commands_reopen_prints_what_the_daemon_says(void **state)
{
	struct cli_options options = for_web;

	(void)state;
	batond.answer = "{\"service\": \"web\", \"message\": \"2 files opened anew\"}";
	assert_int_equal(run(cmd_reopen, &options), CLI_DONE);
	assert_string_equal(batond.asked, "POST /v1/services/web/reopen");
	assert_string_equal(output, "web: 2 files opened anew\n");
	batond.answer = "{\"service\": \"web\"}";
	assert_int_equal(run(cmd_reopen, &options), CLI_DONE);
	assert_string_equal(output, "web: reopened\n");
	options.json = true;
	assert_int_equal(run(cmd_reopen, &options), CLI_DONE);
	assert_string_equal(output, "{\n  \"service\": \"web\"\n}\n");
	batond.answer = "{\"service\": \"api\"}";
	assert_int_equal(run(cmd_reopen, &options), CLI_ERROR);
	assert_non_null(strstr(err.text, "reopen: the daemon\'s answer is not one that"));
	batond.answer = NULL;
	assert_int_equal(run(cmd_reopen, &options), CLI_BUSY);
	assert_string_equal(output, "");
}

static void test_commands_reopen_lists_what_failed(void **state)
{
	struct cli_options options = for_web;

	(void)state;
	batond.problem = "{\"title\": \"Not every file was opened anew\", \"detail\": \"one\", "
			 "\"mistakes\": [\"generation 1, instance 0: stdout: /x: No such file\", "
			 "\"generation 1, instance 1: stderr: /y: Permission denied\"]}";
	assert_int_not_equal(run(cmd_reopen, &options), CLI_DONE);
	assert_string_equal(errors,
			    "baton: Not every file was opened anew; where that failed, the old one "
			    "is written on:\n"
			    "  generation 1, instance 0: stdout: /x: No such file\n"
			    "  generation 1, instance 1: stderr: /y: Permission denied\n");
	assert_string_equal(err.text, "");
	assert_string_equal(output, "");
	options.json = true;
	assert_int_not_equal(run(cmd_reopen, &options), CLI_DONE);
	assert_non_null(strstr(output, "\"mistakes\": ["));
	assert_string_equal(errors, "");
}

/* ---- reload --------------------------------------------------------------------------------- */

static void test_commands_reload_prints_a_line_for_each_service(void **state)
{
	struct cli_options options = none;

	(void)state;
	batond.answer = "{\"started\": [\"a\"], \"changed\": [\"b\", \"c\"], \"removed\": [\"d\"], "
			"\"unchanged\": [\"e\"], \"refused\": [], \"message\": \"m\"}";
	assert_int_equal(run(cmd_reload, &options), CLI_DONE);
	assert_string_equal(batond.asked, "POST /v1/reload");
	assert_string_equal(output, "a: new, starts\n"
				    "b: changed, is replaced\n"
				    "c: changed, is replaced\n"
				    "d: removed, drains and stops\n"
				    "e: unchanged\n");
	options.quiet = true;
	assert_int_equal(run(cmd_reload, &options), CLI_DONE);
	assert_string_equal(output, "");
	options.json = true;
	assert_int_equal(run(cmd_reload, &options), CLI_DONE);
	assert_non_null(strstr(output, "\"message\": \"m\""));
}

static void test_commands_reload_of_nothing_prints_the_message(void **state)
{
	(void)state;
	batond.answer = "{\"message\": \"there is nothing\", \"started\": 1, \"refused\": null}";
	assert_int_equal(run(cmd_reload, &none), CLI_DONE);
	assert_string_equal(output, "there is nothing\n");
	batond.answer = "{}";
	assert_int_equal(run(cmd_reload, &none), CLI_DONE);
	assert_string_equal(output, "no services\n");
}

static void test_commands_reload_with_a_refused_service_is_an_error(void **state)
{
	struct cli_options options = none;

	(void)state;
	batond.answer = "{\"changed\": [\"a\"], \"refused\": [{\"service\": \"b\", "
			"\"detail\": \"rollout 5 is under way\"}, {\"service\": \"c\"}]}";
	assert_int_equal(run(cmd_reload, &options), CLI_ERROR);
	assert_string_equal(output, "a: changed, is replaced\n"
				    "b: refused: rollout 5 is under way\n"
				    "c: refused\n");
	assert_string_equal(err.text, "");
	options.quiet = true;
	assert_int_equal(run(cmd_reload, &options), CLI_ERROR);
	assert_string_equal(output, "b: refused: rollout 5 is under way\n"
				    "c: refused\n");
	options.json = true;
	assert_int_equal(run(cmd_reload, &options), CLI_ERROR);
	assert_non_null(strstr(output, "\"refused\""));
}

static void test_commands_reload_says_replaced_only_of_what_is(void **state)
{
	(void)state;
	batond.answer = "{\"changed\": [\"a\", \"b\"], \"rollouts\": {\"b\": {\"rollout\": 3, "
			"\"order\": \"scale\"}, \"d\": {\"rollout\": 4, \"order\": \"start\"}}, "
			"\"waiting\": [{\"service\": \"c\", \"detail\": "
			"\"waits for rollout 5 (restart)\"}, {\"service\": \"d\", \"detail\": "
			"\"waits: 2 of 2 rollouts are under way\"}]}";
	assert_int_equal(run(cmd_reload, &none), CLI_DONE);
	assert_string_equal(output,
			    "a: changed, is replaced\n"
			    "b: changed, is scaled\n"
			    "c: changed, not yet replaced: waits for rollout 5 (restart)\n"
			    "d: new, not yet started: waits: 2 of 2 rollouts are under way\n");
}

static void test_commands_reload_prints_all_mistakes(void **state)
{
	struct cli_options options = none;

	(void)state;
	batond.problem = "{\"status\": 422, \"code\": 2, \"detail\": \"one\", "
			 "\"mistakes\": [\"one\", \"two\\u001b\", 3]}";
	assert_int_equal(run(cmd_reload, &options), CLI_ERROR);
	assert_string_equal(output, "");
	assert_string_equal(errors,
			    "baton: 3 mistakes in the configuration, everything stays as it is:\n"
			    "  one\n"
			    "  two\\x1b\n");
	assert_string_equal(err.text, "");
	options.json = true;
	assert_int_equal(run(cmd_reload, &options), CLI_ERROR);
	assert_non_null(strstr(output, "\"mistakes\": ["));
	assert_string_equal(errors, "");
}

static void test_commands_reload_refused_otherwise_gives_the_reason(void **state)
{
	struct cli_options gone = {.name = "gone"};

	(void)state;
	batond.problem = "{\"status\": 409, \"detail\": \"refused\", \"mistakes\": []}";
	assert_int_equal(run(cmd_reload, &none), CLI_BUSY);
	assert_string_equal(err.text, "refused");
	assert_string_equal(output, "");
	assert_string_equal(errors, "");
	batond.answer = "[]";
	assert_int_equal(run(cmd_reload, &none), CLI_ERROR);
	assert_non_null(strstr(err.text, "reload: the daemon\'s answer is not one that"));
	assert_int_equal(run(cmd_reload, &gone), CLI_UNREACHABLE);
}

/* ---- connections ---------------------------------------------------------------------------- */

static void test_commands_connections_asks_with_the_limit_given(void **state)
{
	struct cli_options options = for_web;

	(void)state;
	batond.answer = "{\"service\": \"web\", \"total\": 0, \"shown\": 0, \"connections\": []}";
	assert_int_equal(run(cmd_connections, &options), CLI_DONE);
	assert_string_equal(batond.asked, "GET /v1/services/web/connections");
	assert_string_equal(output, "web: no connections\n");
	setup(NULL);
	batond.answer = "{\"service\": \"web\", \"total\": 7, \"shown\": 0, \"connections\": []}";
	options.has_limit = true;
	options.limit = 0;
	assert_int_equal(run(cmd_connections, &options), CLI_DONE);
	assert_string_equal(batond.asked, "GET /v1/services/web/connections?limit=0");
	assert_string_equal(output, "web: 7 connections, 0 of them shown (see --limit)\n");
	options.json = true;
	assert_int_equal(run(cmd_connections, &options), CLI_DONE);
	assert_non_null(strstr(output, "\"total\": 7"));
	options.json = false;
	options.quiet = true;
	assert_int_equal(run(cmd_connections, &options), CLI_DONE);
	assert_string_equal(output, "");
}

static void test_commands_connections_refused_fails(void **state)
{
	(void)state;
	assert_int_equal(run(cmd_connections, &for_web), CLI_BUSY);
	assert_string_equal(err.text, "refused");
	assert_string_equal(output, "");
}

/* ---- leave ---------------------------------------------------------------------------------- */

static void test_commands_leave_waits_until_another_one_answers(void **state)
{
	(void)state;
	batond.answer = "{\"pid\": 7, \"services\": 2, \"instances\": 3, \"held\": 0}";
	batond.status = "{\"pid\": 8}";
	batond.looks = 1;
	assert_int_equal(run(cmd_leave, &none), CLI_DONE);
	assert_string_equal(batond.asked, "POST /v1/leave, GET /v1/version");
	assert_string_equal(output, "batond (pid 7) has left; 2 services with 3 instances go on\n");
}

static void test_commands_leave_says_what_it_cost(void **state)
{
	(void)state;
	batond.status = "{\"pid\": 8}";
	batond.looks = 1;
	batond.answer =
		"{\"pid\": 7, \"services\": 1, \"instances\": 1, \"held\": 1, \"reset\": 0}";
	assert_int_equal(run(cmd_leave, &none), CLI_DONE);
	assert_string_equal(output, "batond (pid 7) has left; 1 service with 1 instance goes on\n"
				    "1 connection waits on\n");
	batond.answer =
		"{\"pid\": 7, \"services\": 0, \"instances\": 0, \"held\": 0, \"reset\": 2}";
	assert_int_equal(run(cmd_leave, &none), CLI_DONE);
	assert_string_equal(output,
			    "batond (pid 7) has left; nothing was running\n"
			    "2 connections that waited were reset: no instance could keep them\n");
}

static void test_commands_leave_refused_fails(void **state)
{
	struct cli_options gone = {.name = "gone"};

	(void)state;
	assert_int_equal(run(cmd_leave, &none), CLI_BUSY);
	assert_string_equal(output, "");
	batond.answer = "{}";
	assert_int_equal(run(cmd_leave, &none), CLI_ERROR);
	assert_non_null(strstr(err.text, "leave: the daemon\'s answer is not one that"));
	assert_int_equal(run(cmd_leave, &gone), CLI_UNREACHABLE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(test_commands_pause_prints_what_the_daemon_says),
		TEST(test_commands_resume_prints_a_line_without_a_message_too),
		TEST(test_commands_pause_means_the_only_service),
		TEST(test_commands_pause_quiet_and_json),
		TEST(test_commands_pause_refused_or_answered_with_nonsense_fails),
		TEST(test_commands_reopen_prints_what_the_daemon_says),
		TEST(test_commands_reopen_lists_what_failed),
		TEST(test_commands_reload_prints_a_line_for_each_service),
		TEST(test_commands_reload_of_nothing_prints_the_message),
		TEST(test_commands_reload_with_a_refused_service_is_an_error),
		TEST(test_commands_reload_says_replaced_only_of_what_is),
		TEST(test_commands_reload_prints_all_mistakes),
		TEST(test_commands_reload_refused_otherwise_gives_the_reason),
		TEST(test_commands_leave_waits_until_another_one_answers),
		TEST(test_commands_leave_says_what_it_cost),
		TEST(test_commands_leave_refused_fails),
		TEST(test_commands_connections_asks_with_the_limit_given),
		TEST(test_commands_connections_refused_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
