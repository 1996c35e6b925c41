/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>

#include "cli/nearest.h"
#include "cli/options.h"

#define ARGS_MAX 64

static struct cli_options options;
static struct error err;

/* Texts are never written to by the parser; getopt's prototype does not say so. */
static int parse(const char *const *words)
{
	static char *argv[ARGS_MAX];
	int argc = 0;

	argv[argc++] = (char *)(uintptr_t) "baton";
	while (*words)
		argv[argc++] = (char *)(uintptr_t)*words++;
	argv[argc] = NULL;
	err.text[0] = '\0';
	return cli_options_parse(argc, argv, &options, &err);
}

#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})

static void assert_refused(int r, const char *text)
{
	assert_int_equal(r, -EINVAL);
	assert_string_equal(err.text, text);
}

static void test_options_general_stand_before_and_after_the_word(void **state)
{
	(void)state;
	assert_int_equal(PARSE("-n", "one", "--json", "restart", "-q", "web", "--no-wait"), 0);
	assert_string_equal(options.name, "one");
	assert_string_equal(options.word, "restart");
	assert_int_equal(options.n_arguments, 1);
	assert_string_equal(options.arguments[0], "web");
	assert_true(options.json && options.quiet && options.no_wait);
	assert_false(options.help || options.follow || options.has_since);
	assert_null(options.command);
	assert_null(options.used[CLI_OPTIONS_RUN]);
	assert_null(options.used[CLI_OPTIONS_EVENTS]);

	assert_int_equal(PARSE("status", "--name=two"), 0);
	assert_string_equal(options.name, "two");
	assert_false(options.json);
}

static void test_options_command_after_dashes_is_untouched(void **state)
{
	(void)state;
	assert_int_equal(PARSE("upgrade", "web", "--", "./s", "--json", "-n", "--", "x"), 0);
	assert_false(options.json);
	assert_null(options.name);
	assert_int_equal(options.n_arguments, 1);
	assert_non_null(options.command);
	assert_string_equal(options.command[0], "./s");
	assert_string_equal(options.command[1], "--json");
	assert_string_equal(options.command[2], "-n");
	assert_string_equal(options.command[3], "--");
	assert_string_equal(options.command[4], "x");
	assert_null(options.command[5]);
}

static void test_options_nothing_after_dashes_is_an_empty_command(void **state)
{
	(void)state;
	assert_int_equal(PARSE("run", "--"), 0);
	assert_non_null(options.command);
	assert_null(options.command[0]);
}

static void test_options_dashes_as_a_value_are_a_value(void **state)
{
	(void)state;
	assert_int_equal(PARSE("-n", "--", "status"), 0);
	assert_string_equal(options.name, "--");
	assert_string_equal(options.word, "status");
	assert_null(options.command);
}

static void test_options_no_word_is_none(void **state)
{
	(void)state;
	assert_int_equal(PARSE("-h"), 0);
	assert_true(options.help);
	assert_null(options.word);
}

static void test_options_run_takes_all_of_its_own(void **state)
{
	(void)state;
	assert_int_equal(PARSE("run", "--listen", ":1", "--listen=[::1]:2", "--health", "/h",
			       "--notify", "--nonblocking", "--instances", "4", "--service", "web",
			       "--drain-signal", "QUIT", "--drain-timeout", "30s",
			       "--start-timeout", "5s", "--mode", "native", "--steering=cbpf",
			       "--hold", "5s", "-e", "A=1", "--environment", "B=-2", "--", "x"),
			 0);
	assert_int_equal(options.run.n_listen, 2);
	assert_string_equal(options.run.listen[0], ":1");
	assert_string_equal(options.run.listen[1], "[::1]:2");
	assert_string_equal(options.run.health, "/h");
	assert_true(options.run.notify);
	assert_true(options.run.nonblocking);
	assert_int_equal(options.run.instances, 4);
	assert_string_equal(options.run.service, "web");
	assert_string_equal(options.run.drain_signal, "QUIT");
	assert_string_equal(options.run.drain_timeout, "30s");
	assert_string_equal(options.run.start_timeout, "5s");
	assert_string_equal(options.run.mode, "native");
	assert_string_equal(options.run.steering, "cbpf");
	assert_string_equal(options.run.hold, "5s");
	assert_int_equal(options.run.n_environment, 2);
	assert_string_equal(options.run.environment[1], "B=-2");
	assert_non_null(options.used[CLI_OPTIONS_RUN]);
}

static void test_options_events_take_follow_and_since(void **state)
{
	(void)state;
	assert_int_equal(PARSE("events", "-qf", "--since", "0"), 0);
	assert_true(options.follow && options.has_since && options.quiet);
	assert_int_equal(options.since, 0);
	assert_int_equal(PARSE("events", "--since=9223372036854775807"), 0);
	assert_true(options.since == INT64_MAX);
	assert_string_equal(options.used[CLI_OPTIONS_EVENTS], "--since=9223372036854775807");
	assert_string_equal(options.epoch, "");
	assert_int_equal(PARSE("events", "--since", "0123456789abcdef:41"), 0);
	assert_string_equal(options.epoch, "0123456789abcdef");
	assert_int_equal(options.since, 41);
	assert_refused(PARSE("events", "--since", "0123456789abcde:41"),
		       "--since: \"0123456789abcde:41\" is not a number");
	assert_refused(PARSE("events", "--since", "0123456789abcdef:"),
		       "--since: \"0123456789abcdef:\" is not a number");
}

static void test_options_connections_take_a_limit(void **state)
{
	(void)state;
	assert_int_equal(PARSE("connections", "web", "--limit", "100000", "--json"), 0);
	assert_true(options.has_limit && options.json);
	assert_int_equal(options.limit, 100000);
	assert_string_equal(options.used[CLI_OPTIONS_CONNECTIONS], "--limit");
	assert_null(options.used[CLI_OPTIONS_EVENTS]);
	assert_int_equal(PARSE("--limit=0", "connections"), 0);
	assert_true(options.has_limit);
	assert_int_equal(options.limit, 0);
	assert_int_equal(PARSE("connections"), 0);
	assert_false(options.has_limit);
	assert_null(options.used[CLI_OPTIONS_CONNECTIONS]);
}

static void test_options_of_orders_are_told_apart(void **state)
{
	(void)state;
	assert_int_equal(PARSE("upgrade", "web", "--force", "--env", "A=", "--env=B=2", "-e", "C=3",
			       "--supersede", "--", "x"),
			 0);
	assert_true(options.force && options.supersede);
	assert_int_equal(options.run.n_environment, 3);
	assert_string_equal(options.run.environment[0], "A=");
	assert_string_equal(options.run.environment[1], "B=2");
	assert_string_equal(options.used[CLI_OPTIONS_FORCE], "--force");
	assert_string_equal(options.used[CLI_OPTIONS_SUPERSEDE], "--supersede");
	assert_non_null(options.used[CLI_OPTIONS_ENVIRONMENT]);
	assert_null(options.used[CLI_OPTIONS_RUN]);

	assert_int_equal(PARSE("restart"), 0);
	assert_false(options.force || options.supersede);
	assert_null(options.used[CLI_OPTIONS_ENVIRONMENT]);
	assert_refused(PARSE("upgrade", "--force=yes"), "--force takes no value");
	assert_refused(PARSE("upgrade", "--supersede=1"), "--supersede takes no value");
	assert_refused(PARSE("upgrade", "--env"), "--env: its value is missing");
}

static void test_options_number_is_digits_in_range(void **state)
{
	uint64_t number = 7;

	(void)state;
	assert_int_equal(cli_options_number("16", 16, &number), 0);
	assert_int_equal(number, 16);
	assert_int_equal(cli_options_number("0", 16, &number), 0);
	assert_int_equal(number, 0);
	assert_int_equal(cli_options_number("17", 16, &number), -ERANGE);
	assert_int_equal(cli_options_number("99999999999999999999999", 16, &number), -ERANGE);
	assert_int_equal(cli_options_number("", 16, &number), -EINVAL);
	assert_int_equal(cli_options_number("+1", 16, &number), -EINVAL);
	assert_int_equal(cli_options_number(" 1", 16, &number), -EINVAL);
	assert_int_equal(cli_options_number("1.0", 16, &number), -EINVAL);
	assert_int_equal(number, 0);
}

static void test_options_bad_numbers_are_refused(void **state)
{
	(void)state;
	assert_refused(PARSE("events", "--since", "-1"), "--since: \"-1\" is not a number");
	assert_refused(PARSE("events", "--since", ""), "--since: \"\" is not a number");
	assert_refused(PARSE("events", "--since", "1x"), "--since: \"1x\" is not a number");
	assert_refused(PARSE("events", "--since", "9223372036854775808"),
		       "--since: \"9223372036854775808\" is not a number in range");
	assert_refused(PARSE("events", "--since", "99999999999999999999999"),
		       "--since: \"99999999999999999999999\" is not a number in range");
	assert_refused(PARSE("connections", "--limit", "-1"), "--limit: \"-1\" is not a number");
	assert_refused(PARSE("connections", "--limit", "100001"),
		       "--limit: \"100001\" is not a number in range");
	assert_refused(PARSE("connections", "--limit"), "--limit: its value is missing");
	assert_refused(PARSE("run", "--instances", "0"),
		       "--instances: \"0\" is not a number in range");
	assert_refused(PARSE("run", "--instances", "65536"),
		       "--instances: \"65536\" is not a number in range");
}

static void test_options_unknown_are_refused_by_name(void **state)
{
	(void)state;
	assert_refused(PARSE("status", "--jason"), "unknown option \"--jason\"");
	assert_refused(PARSE("-x", "status"), "unknown option \"-x\"");
	assert_refused(PARSE("-qx", "status"), "unknown option \"-x\"");
	assert_refused(PARSE("--json=1", "status"), "--json takes no value");
	assert_refused(PARSE("status", "-n"), "-n: its value is missing");
	assert_refused(PARSE("status", "--name"), "--name: its value is missing");
	/* Nothing of a broken cluster is left over for the next line. */
	assert_int_equal(PARSE("list"), 0);
	assert_false(options.quiet);
	assert_string_equal(options.word, "list");
}

static void test_options_too_many_are_refused(void **state)
{
	const char *words[ARGS_MAX] = {"run"};
	size_t n = 1;

	(void)state;
	for (size_t i = 0; i < CLI_RUN_LISTEN_MAX; i++)
		words[n++] = "--listen=:1";
	assert_int_equal(parse(words), 0);
	words[n] = "--listen=:1";
	assert_refused(parse(words), "--listen: more than 16 of them");

	n = 1;
	for (size_t i = 0; i < CLI_ARGUMENTS_MAX; i++)
		words[n++] = "x";
	words[n] = NULL;
	assert_int_equal(parse(words), 0);
	words[n] = "x";
	words[n + 1] = NULL;
	assert_refused(parse(words), "too many arguments");
}

static void test_nearest_small_mistakes_are_recognised(void **state)
{
	static const char *const known[] = {"run",   "status", "list",    "restart",
					    "stop",  "start",  "promote", "abort",
					    "scale", "reload", "reopen"};
	static const struct {
		const char *word;
		const char *nearest;
	} cases[] = {
		{"statsu", "status"},    {"stat", "start"},    {"restrat", "restart"},
		{"rn", "run"},           {"ls", NULL},         {"lsit", "list"},
		{"restarts", "restart"}, {"x", NULL},          {"", NULL},
		{"deploy", NULL},        {"status", "status"}, {"promot", "promote"},
		{"relaod", "reload"},    {"abrt", "abort"},    {"scal", "scale"},
		{"repoen", "reopen"},
	};
	char longest[200] = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *nearest =
			cli_nearest(cases[i].word, known, sizeof(known) / sizeof(known[0]));

		if (cases[i].nearest) {
			assert_non_null(nearest);
			assert_string_equal(nearest, cases[i].nearest);
		} else {
			assert_null(nearest);
		}
	}
	for (size_t i = 0; i < sizeof(longest) - 1; i++)
		longest[i] = 'r';
	assert_null(cli_nearest(longest, known, 1));
	assert_null(cli_nearest("run", known, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options_general_stand_before_and_after_the_word),
		cmocka_unit_test(test_options_command_after_dashes_is_untouched),
		cmocka_unit_test(test_options_nothing_after_dashes_is_an_empty_command),
		cmocka_unit_test(test_options_dashes_as_a_value_are_a_value),
		cmocka_unit_test(test_options_no_word_is_none),
		cmocka_unit_test(test_options_run_takes_all_of_its_own),
		cmocka_unit_test(test_options_events_take_follow_and_since),
		cmocka_unit_test(test_options_connections_take_a_limit),
		cmocka_unit_test(test_options_of_orders_are_told_apart),
		cmocka_unit_test(test_options_number_is_digits_in_range),
		cmocka_unit_test(test_options_bad_numbers_are_refused),
		cmocka_unit_test(test_options_unknown_are_refused_by_name),
		cmocka_unit_test(test_options_too_many_are_refused),
		cmocka_unit_test(test_nearest_small_mistakes_are_recognised),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
