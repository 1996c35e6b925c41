/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "bench/settings.h"

#define ARGUMENTS_MAX 16

static struct settings settings;
static struct error err;

/* The arguments after the program's name, NULL-terminated. */
static int parse(const char *const *arguments)
{
	static char words[ARGUMENTS_MAX][2048];
	char *argv[ARGUMENTS_MAX + 1];
	int argc = 1;

	argv[0] = (char[]){"hammer"};
	for (; arguments[argc - 1]; argc++) {
		strncpy(words[argc], arguments[argc - 1], sizeof(words[0]) - 1);
		argv[argc] = words[argc];
	}
	argv[argc] = NULL;
	err.text[0] = '\0';
	settings_done(&settings);
	return settings_parse(argc, argv, &settings, &err);
}

#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})
#define TARGET     "--connect", "127.0.0.1:8080"

static int teardown(void **state)
{
	(void)state;
	settings_done(&settings);
	return 0;
}

static void test_settings_defaults_are_as_documented(void **state)
{
	(void)state;
	assert_int_equal(PARSE(TARGET), 0);
	assert_int_equal(settings.clients[KIND_SHORT], 32);
	assert_int_equal(settings_clients(&settings), 32);
	assert_int_equal(settings.duration_us, 10000000);
	assert_int_equal(settings.timeout_us, 5000000);
	assert_int_equal(settings.grace_us, 5000000);
	assert_int_equal(settings.sources, 1);
	assert_int_equal(settings.interval_us, 0);
	assert_true(expect_status(&settings.expect, 200));
	assert_false(settings.json);
}

static void test_settings_requests_are_what_is_sent(void **state)
{
	(void)state;
	assert_int_equal(PARSE(TARGET, "--path", "/x?y", "--post-path", "/up", "--post-method",
			       "PUT", "--post-bytes", "77"),
			 0);
	assert_string_equal(settings.request[KIND_SHORT],
			    "GET /x?y HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: hammer\r\n"
			    "Connection: close\r\n\r\n");
	assert_string_equal(
		settings.request[KIND_KEEPALIVE],
		"GET /x?y HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: hammer\r\n\r\n");
	assert_string_equal(settings.request[KIND_POST],
			    "PUT /up HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: hammer\r\n"
			    "Content-Length: 77\r\nConnection: close\r\n\r\n");
	assert_int_equal(settings.request_length[KIND_POST], strlen(settings.request[KIND_POST]));
}

static void test_settings_every_option_is_taken(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--connect", "[::1]:80", "--short", "0", "--keepalive", "2",
			       "--json", "--slow-post=3", "--idle=4", "--duration=0",
			       "--timeout=1s", "--keepalive-pause=20ms", "--post-duration=2s",
			       "--rate=300", "--threads=4"),
			 0);
	assert_int_equal(settings_clients(&settings), 9);
	assert_int_equal(settings.clients[KIND_IDLE], 4);
	assert_int_equal(settings.duration_us, 0);
	assert_int_equal(settings.grace_us, 1000000);
	assert_int_equal(settings.keepalive_pause_us, 20000);
	assert_int_equal(settings.post_duration_us, 2000000);
	assert_int_equal(settings.interval_us, 3334); /* never more than the rate */
	assert_int_equal(settings.threads, 4);
	assert_true(settings.json);
	assert_int_equal(PARSE(TARGET, "--grace", "0", "--sources", "254"), 0);
	assert_int_equal(settings.grace_us, 0);
	assert_int_equal(settings.sources, 254);
	assert_int_equal(settings.threads, 1);
}

static bool is_body(const struct expect *expect, const char *text)
{
	struct expect_verdicts verdicts = {0};

	return expect_body(expect, &verdicts, text, strlen(text), true);
}

static void test_settings_expectations_of_posts_follow_or_differ(void **state)
{
	(void)state;
	assert_int_equal(PARSE(TARGET, "--expect-status", "404", "--expect-body", "x"), 0);
	assert_true(expect_status(&settings.expect_post, 404));
	assert_true(is_body(&settings.expect_post, "y"));
	assert_false(is_body(&settings.expect, "y"));
	assert_int_equal(PARSE(TARGET, "--post-expect-status", "201", "--post-expect-body", "y"),
			 0);
	assert_true(expect_status(&settings.expect, 200));
	assert_false(expect_status(&settings.expect_post, 200));
	assert_true(is_body(&settings.expect_post, "y"));
	assert_false(is_body(&settings.expect_post, "x"));
}

static void test_settings_wildcard_target_becomes_local(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--connect", ":8080", "--sources", "8"), 0);
	assert_string_equal(settings.target.text, "127.0.0.1:8080");
}

static void test_settings_help_needs_no_target(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--help"), 0);
	assert_true(settings.help);
	assert_int_equal(PARSE("--version"), 0);
	assert_true(settings.version);
}

static void assert_refused(int r, const char *part)
{
	assert_int_equal(r, -EINVAL);
	if (!strstr(err.text, part))
		fail_msg("\"%s\" does not mention \"%s\"", err.text, part);
}

static void test_settings_mistakes_are_named(void **state)
{
	char path[2048];

	(void)state;
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[SETTINGS_REQUEST_MAX] = '\0';
	assert_refused(PARSE("--json"), "--connect");
	assert_refused(PARSE("--connect", "localhost:80"), "--connect");
	assert_refused(PARSE("--connect"), "--connect");
	assert_refused(PARSE(TARGET, "--nonsense"), "--nonsense");
	assert_refused(PARSE(TARGET, "more"), "more");
	assert_refused(PARSE(TARGET, "--short", "-1"), "--short");
	assert_refused(PARSE(TARGET, "--short", "100001"), "--short");
	assert_refused(PARSE(TARGET, "--short", "0"), "no clients");
	assert_refused(PARSE(TARGET, "--keepalive", "2x"), "--keepalive");
	assert_refused(PARSE(TARGET, "--duration", "10"), "--duration");
	assert_refused(PARSE(TARGET, "--timeout", "0"), "--timeout");
	assert_refused(PARSE(TARGET, "--rate", "0"), "--rate");
	assert_refused(PARSE(TARGET, "--post-bytes", "0"), "--post-bytes");
	assert_refused(PARSE(TARGET, "--post-method", "GET"), "--post-method");
	assert_refused(PARSE(TARGET, "--path", "x"), "--path");
	assert_refused(PARSE(TARGET, "--path", "/a b"), "--path");
	assert_refused(PARSE(TARGET, "--path", path), "--path");
	assert_refused(PARSE(TARGET, "--post-path", "/a\r\nb"), "--post-path");
	assert_refused(PARSE(TARGET, "--expect-status", "x"), "--expect");
	assert_refused(PARSE(TARGET, "--expect-body", "("), "--expect");
	assert_refused(PARSE(TARGET, "--post-expect-body", "("), "--post-expect");
	assert_refused(PARSE(TARGET, "--sources", "0"), "--sources");
	assert_refused(PARSE(TARGET, "--sources", "255"), "--sources");
	assert_refused(PARSE("--connect", "[::1]:80", "--sources", "2"), "--sources");
	assert_refused(PARSE("--connect", "10.0.0.1:80", "--sources", "2"), "--sources");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_settings_defaults_are_as_documented, teardown),
		cmocka_unit_test_teardown(test_settings_requests_are_what_is_sent, teardown),
		cmocka_unit_test_teardown(test_settings_every_option_is_taken, teardown),
		cmocka_unit_test_teardown(test_settings_expectations_of_posts_follow_or_differ,
					  teardown),
		cmocka_unit_test_teardown(test_settings_wildcard_target_becomes_local, teardown),
		cmocka_unit_test_teardown(test_settings_help_needs_no_target, teardown),
		cmocka_unit_test_teardown(test_settings_mistakes_are_named, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
