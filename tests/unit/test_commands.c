/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The commands that ask once and print the answer ("connections", "pause", "resume"), with a client
 * (client.h) that notes what it is asked and answers as the test says.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"

static struct {
	char asked[256]; /* "GET /v1/services, POST /v1/...": in order */
	const char *services;
	const char *answer; /* NULL: refused */
} batond;

static struct error err;
static char output[4096];

/* ---- the client ----------------------------------------------------------------------------- */

enum cli_exit cli_client_find(const char *name, struct cli_client **ret, struct error *error)
{
	*ret = NULL;
	if (name && strcmp(name, "gone") == 0)
		return error_text(error, CLI_UNREACHABLE, "no daemon called \"gone\"");
	return CLI_DONE;
}

void cli_client_free(struct cli_client *client)
{
	assert_null(client);
}

const char *cli_client_name(const struct cli_client *client)
{
	(void)client;
	return "baton";
}

static void note(const char *method, const char *path)
{
	size_t n = strlen(batond.asked);

	snprintf(batond.asked + n, sizeof(batond.asked) - n, "%s%s %s", n ? ", " : "", method,
		 path);
}

static enum cli_exit answer(const char *text, json_t **ret, struct error *error)
{
	*ret = text ? json_loads(text, 0, NULL) : NULL;
	return *ret ? CLI_DONE : error_text(error, CLI_BUSY, "refused");
}

enum cli_exit cli_client_get(struct cli_client *client, const char *path, json_t **ret,
			     struct error *error)
{
	(void)client;
	note("GET", path);
	if (strcmp(path, "/v1/services") == 0)
		return answer(batond.services, ret, error);
	return answer(batond.answer, ret, error);
}

enum cli_exit cli_client_post(struct cli_client *client, const char *path, const json_t *body,
			      json_t **ret, struct error *error)
{
	(void)client;
	assert_null(body);
	note("POST", path);
	return answer(batond.answer, ret, error);
}

/* ---- running a command ---------------------------------------------------------------------- */

static int setup(void **state)
{
	(void)state;
	memset(&batond, 0, sizeof(batond));
	memset(&err, 0, sizeof(err));
	return 0;
}

/* With stdout going into .output meanwhile. */
static enum cli_exit run(enum cli_exit (*command)(const struct cli_options *, struct error *),
			 const struct cli_options *options)
{
	FILE *file = tmpfile();
	int before = dup(STDOUT_FILENO);
	enum cli_exit r;
	size_t n;

	assert_non_null(file);
	fflush(stdout);
	assert_true(dup2(fileno(file), STDOUT_FILENO) >= 0);
	r = command(options, &err);
	fflush(stdout);
	dup2(before, STDOUT_FILENO);
	close(before);
	rewind(file);
	n = fread(output, 1, sizeof(output) - 1, file);
	output[n] = '\0';
	fclose(file);
	return r;
}

static const struct cli_options for_web = {.arguments = {"web"}, .n_arguments = 1};

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
	const struct cli_options none = {0};

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
		assert_string_equal(err.text, "pause: the daemon's answer makes no sense");
		assert_string_equal(output, "");
	}
	setup(NULL);
	assert_int_equal(run(cmd_pause, &bad), CLI_USAGE);
	assert_int_equal(run(cmd_resume, &gone), CLI_UNREACHABLE);
	assert_string_equal(batond.asked, "");
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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(test_commands_pause_prints_what_the_daemon_says),
		TEST(test_commands_resume_prints_a_line_without_a_message_too),
		TEST(test_commands_pause_means_the_only_service),
		TEST(test_commands_pause_quiet_and_json),
		TEST(test_commands_pause_refused_or_answered_with_nonsense_fails),
		TEST(test_commands_connections_asks_with_the_limit_given),
		TEST(test_commands_connections_refused_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
