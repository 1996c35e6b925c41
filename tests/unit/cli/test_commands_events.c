/* SPDX-License-Identifier: BSD-2-Clause */
/* "baton events" */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/fakes/fake_batond.h"

#define EPOCH "0123456789abcdef"
#define EVENT(seq, name)                                                                           \
	"{\"seq\": " #seq ", \"epoch\": \"" EPOCH                                                  \
	"\", \"time\": \"2026-01-01T00:00:00.000Z\", \"service\": \"web\", \"event\": \"" name     \
	"\"}"

#define EVENTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_events_gives_what_is_kept(void **state)
{
	(void)state;
	batond.events = EVENTS(EVENT(1, "start"), EVENT(2, "done"));
	assert_int_equal(run(cmd_events, &(struct cli_options){}), CLI_DONE);
	assert_string_equal(batond.asked, "GET /v1/events?follow=0&since=0");
	assert_non_null(strstr(output, "web  start\n"));
	assert_non_null(strstr(output, "web  done\n"));
	assert_string_equal(errors, "");
}

static void test_events_of_a_service_after_a_number(void **state)
{
	struct cli_options options = {
		.arguments = {"web"}, .n_arguments = 1, .has_since = true, .since = 41};

	(void)state;
	batond.events = EVENTS(EVENT(42, "start"));
	assert_int_equal(run(cmd_events, &options), CLI_DONE);
	assert_string_equal(batond.asked, "GET /v1/events?follow=0&since=41&service=web");
	setup(NULL);
	batond.events = EVENTS(EVENT(42, "start"));
	strcpy(options.epoch, EPOCH);
	assert_int_equal(run(cmd_events, &options), CLI_DONE);
	assert_string_equal(batond.asked, "GET /v1/events?follow=0&since=" EPOCH ":41&service=web");
}

/* Even if nothing has been shown yet it knows from where on it has promised to show all. */
static void test_events_followed_begin_at_the_newest(void **state)
{
	struct cli_options options = {.follow = true, .json = true};

	(void)state;
	batond.answer = "{\"epoch\": \"" EPOCH "\", \"seq\": 7}";
	batond.events = EVENTS(EVENT(8, "start"));
	assert_int_equal(run(cmd_events, &options), CLI_UNREACHABLE);
	assert_string_equal(batond.asked,
			    "GET /v1/version, GET /v1/events?follow=1&since=" EPOCH ":7");
	assert_non_null(strstr(err.text, "ended the connection"));
	assert_non_null(strstr(errors, "has gone; it is waited for up to 30 s"));
	/* A daemon of before does not say where it is, and cannot be gone on with. */
	setup(NULL);
	batond.answer = "{\"name\": \"baton\"}";
	batond.events = EVENTS(EVENT(8, "start"));
	assert_int_equal(run(cmd_events, &options), CLI_UNREACHABLE);
	assert_string_equal(batond.asked, "GET /v1/version, GET /v1/events?follow=1");
}

static void test_events_followed_go_on_when_the_daemon_is_back(void **state)
{
	struct cli_options options = {.follow = true, .quiet = true};

	(void)state;
	batond.answer = "{\"epoch\": \"" EPOCH "\", \"seq\": 7}";
	batond.events = EVENTS(EVENT(8, "start"));
	batond.again = EVENTS(EVENT(9, "done"));
	batond.returns = 2;
	assert_int_equal(run(cmd_events, &options), CLI_UNREACHABLE);
	assert_string_equal(batond.asked, "GET /v1/version, GET /v1/events?follow=1&since=" EPOCH
					  ":7, GET /v1/events?follow=1&since=" EPOCH
					  ":8, GET /v1/events?follow=1&since=" EPOCH ":9");
	assert_string_equal(errors, "");
}

static void test_events_without_a_daemon_are_an_error_at_once(void **state)
{
	struct cli_options options = {.follow = true};

	(void)state;
	batond.returns = 1;
	assert_int_equal(run(cmd_events, &options), CLI_BUSY);
	assert_string_equal(batond.asked, "GET /v1/version");
	options.follow = false;
	assert_int_equal(run(cmd_events, &options), CLI_UNREACHABLE);
	assert_int_equal(batond.returns, 1);
}

static void test_events_dropped_are_shown(void **state)
{
	(void)state;
	batond.events = EVENTS("{\"seq\": 9, \"epoch\": \"" EPOCH
			       "\", \"time\": \"2026-01-01T00:00:00.000Z\", \"service\": \"\", "
			       "\"event\": \"dropped\", \"missed\": 3, \"message\": \"3 events are "
			       "no longer kept\"}");
	assert_int_equal(run(cmd_events, &(struct cli_options){}), CLI_DONE);
	assert_non_null(strstr(output, "dropped: 3 events are no longer kept\n"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(test_events_gives_what_is_kept),
		TEST(test_events_of_a_service_after_a_number),
		TEST(test_events_followed_begin_at_the_newest),
		TEST(test_events_followed_go_on_when_the_daemon_is_back),
		TEST(test_events_without_a_daemon_are_an_error_at_once),
		TEST(test_events_dropped_are_shown),
	};

	return cmocka_run_group_tests_name("commands: events", tests, NULL, NULL);
}
