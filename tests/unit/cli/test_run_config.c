/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "cli/run_config.h"

static char *server[] = {(char[]){"./server"}, (char[]){"--flag"}, (char[]){"a b"}, NULL};

static void assert_config(const struct cli_run_options *options, const char *expected)
{
	struct error err = {0};
	json_t *config, *wanted;

	assert_int_equal(cli_run_config(options, "/home/me", server, &config, &err), 0);
	wanted = json_loads(expected, 0, NULL);
	assert_non_null(wanted);
	if (!json_equal(config, wanted)) {
		char *text = json_dumps(config, JSON_INDENT(1));

		print_error("%s\n", text);
		free(text);
		fail();
	}
	json_decref(config);
	json_decref(wanted);
}

static void assert_refused(const struct cli_run_options *options, char *const *command,
			   const char *expected)
{
	struct error err = {0};
	json_t *config = (json_t *)&err;

	assert_int_equal(cli_run_config(options, "/", command, &config, &err), -EINVAL);
	assert_null(config);
	assert_string_equal(err.text, expected);
}

static void test_run_config_least_has_defaults_only(void **state)
{
	struct cli_run_options options = {.listen = {":8080"}, .n_listen = 1};

	(void)state;
	assert_config(&options, "{\"source\": \"command line\", \"services\": {\"server\": {"
				"\"command\": [\"./server\", \"--flag\", \"a b\"],"
				"\"listen\": [\":8080\"], \"directory\": \"/home/me\","
				"\"environment_inherit\": true}}}");
}

static void test_run_config_everything_is_carried_over(void **state)
{
	struct cli_run_options options = {
		.listen = {"127.0.0.1:1", "[::1]:2"},
		.n_listen = 2,
		.health = "/healthz",
		.instances = 3,
		.mode = "native",
		.steering = "ebpf",
		.hold = "5s",
		.service = "web",
		.drain_signal = "QUIT",
		.drain_timeout = "30s",
		.start_timeout = "5s",
		.environment =
			{
				"A=1",
				"B=x=y",
				"A=",
			},
		.n_environment = 3,
	};

	(void)state;
	assert_config(&options,
		      "{\"source\": \"command line\", \"services\": {\"web\": {"
		      "\"command\": [\"./server\", \"--flag\", \"a b\"],"
		      "\"listen\": [\"127.0.0.1:1\", \"[::1]:2\"], \"directory\": \"/home/me\","
		      "\"environment_inherit\": true, \"instances\": 3,"
		      "\"mode\": \"native\", \"steering\": \"ebpf\", \"hold\": \"5s\","
		      "\"environment\": {\"A\": \"\", \"B\": \"x=y\"},"
		      "\"health\": {\"http\": \"/healthz\", \"start_timeout\": \"5s\"},"
		      "\"drain\": {\"signal\": \"QUIT\", \"timeout\": \"30s\"}}}}");
}

/* What batond will refuse is passed on as it is: it says so in the words of a file's mistakes. */
static void test_run_config_words_are_left_to_the_daemon(void **state)
{
	struct cli_run_options options = {
		.listen = {":1"}, .n_listen = 1, .mode = "magic", .hold = "soon"};

	(void)state;
	assert_config(&options, "{\"source\": \"command line\", \"services\": {\"server\": {"
				"\"command\": [\"./server\", \"--flag\", \"a b\"],"
				"\"listen\": [\":1\"], \"directory\": \"/home/me\","
				"\"environment_inherit\": true, \"mode\": \"magic\","
				"\"hold\": \"soon\"}}}");
}

static void test_run_config_notify_is_a_boolean(void **state)
{
	struct cli_run_options options = {
		.listen = {":1"}, .n_listen = 1, .notify = true, .nonblocking = true};

	(void)state;
	assert_config(&options, "{\"source\": \"command line\", \"services\": {\"server\": {"
				"\"command\": [\"./server\", \"--flag\", \"a b\"],"
				"\"listen\": [\":1\"], \"directory\": \"/home/me\","
				"\"environment_inherit\": true, \"nonblocking\": true, "
				"\"health\": {\"notify\": true}}}}");
}

static void test_run_config_without_listen_is_refused_with_example(void **state)
{
	struct cli_run_options options = {0};

	(void)state;
	assert_refused(&options, server,
		       "no address to listen on: name at least one, for example\n"
		       "    baton run --listen 127.0.0.1:8080 -- ./server");
}

static void test_run_config_health_and_notify_exclude_each_other(void **state)
{
	struct cli_run_options options = {
		.listen = {":1"}, .n_listen = 1, .health = "/", .notify = true};

	(void)state;
	assert_refused(&options, server,
		       "--health and --notify exclude each other: readiness comes from one of "
		       "them");
}

static void test_run_config_bad_environment_is_refused(void **state)
{
	struct cli_run_options options = {
		.listen = {":1"}, .n_listen = 1, .environment = {"A=1", "B"}, .n_environment = 2};

	(void)state;
	assert_refused(&options, server, "--env: \"B\" is not NAME=VALUE");
	options.environment[1] = "=x";
	assert_refused(&options, server, "--env: \"=x\" is not NAME=VALUE");
	options.environment[1] = "A\tB=x";
	assert_refused(&options, server, "--env: \"A\tB=x\" is not NAME=VALUE");
	options.environment[1] = "";
	assert_refused(&options, server, "--env: \"\" is not NAME=VALUE");
}

static void test_run_config_environment_alone_is_an_object(void **state)
{
	struct cli_run_options options = {.environment = {"A=1", "B=", "C=x=y", "A=2"},
					  .n_environment = 4};
	json_t *object = json_object(), *expected;
	struct error err = {0};

	(void)state;
	expected = json_pack("{s:{s:s, s:s, s:s}}", "environment", "A", "2", "B", "", "C", "x=y");
	assert_int_equal(cli_run_environment(&options, object, &err), 0);
	assert_true(json_equal(object, expected));
	json_object_clear(object);
	options.n_environment = 0;
	assert_int_equal(cli_run_environment(&options, object, &err), 0);
	assert_int_equal(json_object_size(object), 0);
	options.environment[0] = "A=\xff";
	options.n_environment = 1;
	assert_int_equal(cli_run_environment(&options, object, &err), -EINVAL);
	options.environment[0] = "A\xff=1";
	assert_true(cli_run_environment(&options, object, &err) < 0);
	json_decref(object);
	json_decref(expected);
}

static void test_run_config_not_utf8_is_refused(void **state)
{
	struct cli_run_options options = {.listen = {":1"}, .n_listen = 1};
	char *command[] = {server[0], (char[]){"\xff"}, NULL};

	(void)state;
	assert_refused(&options, command, "command: \"\xff\" is not UTF-8 text");
	options.listen[0] = "\xc3";
	assert_refused(&options, server, "listen: \"\xc3\" is not UTF-8 text");
	options.listen[0] = ":1";
	options.drain_timeout = "\x80";
	assert_refused(&options, server, "timeout: \"\x80\" is not UTF-8 text");
	options.steering = "\x81";
	assert_refused(&options, server, "steering: \"\x81\" is not UTF-8 text");
}

static void test_run_config_service_name_is_reduced_command(void **state)
{
	static const struct {
		const char *command;
		const char *name;
	} cases[] = {
		{"server", "server"},
		{"./server", "server"},
		{"/srv/my.server", "my-server"},
		{"/usr/bin/python3.11", "python3-11"},
		{"_a_", "_a_"},
		{"-x-", "x"},
		{"a..b--c", "a-b-c"},
		{"/srv/", "service"},
		{"...", "service"},
		{"", "service"},
		{"s\xc3\xa4ge", "s-ge"},
	};
	char name[CLI_SERVICE_MAX];
	char longest[200];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(cli_run_service_name(cases[i].command, name), cases[i].name);
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(strlen(cli_run_service_name(longest, name)), CLI_SERVICE_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_run_config_least_has_defaults_only),
		cmocka_unit_test(test_run_config_everything_is_carried_over),
		cmocka_unit_test(test_run_config_words_are_left_to_the_daemon),
		cmocka_unit_test(test_run_config_notify_is_a_boolean),
		cmocka_unit_test(test_run_config_without_listen_is_refused_with_example),
		cmocka_unit_test(test_run_config_health_and_notify_exclude_each_other),
		cmocka_unit_test(test_run_config_bad_environment_is_refused),
		cmocka_unit_test(test_run_config_environment_alone_is_an_object),
		cmocka_unit_test(test_run_config_not_utf8_is_refused),
		cmocka_unit_test(test_run_config_service_name_is_reduced_command),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
