/* SPDX-License-Identifier: BSD-2-Clause */
/* "health" with several checks: what each of them is, and what they may not be together. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/config/config_fixture.h"

/* A service with two addresses; "health" is before them, so that it is read first. */
#define CHECKS(health_)                                                                            \
	"{\"services\":{\"web\":{\"health\":" health_ ",\"command\":[\"/bin/true\"],\"listen\":["  \
	"\"127.0.0.1:8080\",\"127.0.0.1:8081\"]}}}"

static void test_config_checks_array_of_one_is_what_the_check_alone_is(void **state)
{
#define ONE "{\"http\":\"/h\",\"interval\":\"3s\",\"start_timeout\":\"20s\"}"
	struct config *alone = load_good(CHECKS(ONE)), *array = load_good(CHECKS("[" ONE "]"));
	const struct checks_config *a = &alone->services[0].health, *b = &array->services[0].health;

	(void)state;
	assert_int_equal(a->n, 1);
	assert_int_equal(b->n, 1);
	assert_string_equal(b->list[0].path, a->list[0].path);
	assert_int_equal(b->list[0].kind, a->list[0].kind);
	assert_int_equal(b->list[0].interval_ms, a->list[0].interval_ms);
	assert_int_equal(b->list[0].timeout_ms, a->list[0].timeout_ms);
	assert_int_equal(b->list[0].healthy, a->list[0].healthy);
	assert_int_equal(b->list[0].n_statuses, a->list[0].n_statuses);
	assert_int_equal(b->start_timeout_ms, a->start_timeout_ms);
	config_free(alone);
	config_free(array);
}

static void test_config_checks_each_has_what_it_says_and_else_the_default(void **state)
{
	struct config *config = load_good(
		CHECKS("[{\"http\":\"/a\",\"interval\":\"5s\",\"unhealthy\":1},"
		       " {\"listen\":\"127.0.0.1:8081\",\"timeout\":\"1s\",\"healthy\":4},"
		       " {\"notify\":true},{\"grpc\":true,\"listen\":\"127.0.0.1:8080\"}]"));
	const struct service_config *s = &config->services[0];
	const struct health_config *list = s->health.list;
	static const char *const names[] = {"http", "connect", "notify", "grpc"};
	static const size_t asked[] = {0, 1, 2, 0};

	(void)state;
	assert_int_equal(s->health.n, 4);
	for (size_t k = 0; k < 4; k++) {
		assert_string_equal(health_config_name(&list[k]), names[k]);
		assert_int_equal(service_config_asked(s, &list[k]), asked[k]);
		assert_int_equal(health_config_asks(&list[k]), k != 2);
	}
	assert_int_equal(list[0].interval_ms, 5000);
	assert_int_equal(list[0].unhealthy, 1);
	assert_int_equal(list[0].healthy, 2);
	assert_int_equal(list[1].interval_ms, 1000);
	assert_int_equal(list[1].timeout_ms, 1000);
	assert_int_equal(list[1].healthy, 4);
	assert_int_equal(list[1].unhealthy, 3);
	assert_int_equal(s->health.start_timeout_ms, 60000);
	config_free(config);
}

static void test_config_checks_kinds_are_called_as_in_the_file(void **state)
{
	struct config *config = load_good(CHECKS("[{\"https\":\"/\"},{\"http2\":\"/\"}]"));

	(void)state;
	assert_string_equal(health_config_name(&config->services[0].health.list[0]), "https");
	assert_string_equal(health_config_name(&config->services[0].health.list[1]), "http2");
	config_free(config);
}

/* It is one time, in which all of them have to be good. */
static void test_config_checks_longest_start_timeout_counts(void **state)
{
	struct config *config =
		load_good(CHECKS("[{\"start_timeout\":\"10s\"},{\"timeout\":\"15s\"},"
				 " {\"start_timeout\":\"20s\"},{\"http\":\"/\"}]"));

	(void)state;
	assert_int_equal(config->services[0].health.start_timeout_ms, 20000);
	config_free(config);
	/* The default is nobody's word. */
	config = load_good(CHECKS("[{\"start_timeout\":\"10s\"},{\"http\":\"/\"}]"));
	assert_int_equal(config->services[0].health.start_timeout_ms, 10000);
	config_free(config);
}

static void test_config_checks_none_is_that_it_connects(void **state)
{
	struct config *config = load_good(SERVICE(""));

	(void)state;
	assert_int_equal(config->services[0].health.n, 1);
	assert_int_equal(config->services[0].health.list[0].kind, HEALTH_KIND_CONNECT);
	assert_int_equal(config->services[0].health.start_timeout_ms, 60000);
	config_free(config);
}

static const struct single_mistake mistakes_of_one[] = {
	{CHECKS("7"), "health: expected an object or an array of objects, not a whole number"},
	{CHECKS("[]"), "health: is empty: leave it out, and each address is asked for a "
		       "connection"},
	{CHECKS("[{},[]]"), "health[1]: expected an object, not an array"},
	{CHECKS("[{},\"/\"]"), "health[1]: expected an object, not a string"},
	{CHECKS("[{},{\"interval\":\"1x\"}]"),
	 "health[1].interval: \"1x\" is not a duration (expected a number with a unit: 500ms, 2s, "
	 "1m30s)"},
	{CHECKS("[{\"http\":\"/\"},{\"http\":\"/\",\"notify\":true}]"),
	 "health[1]: \"http\" and \"notify\" exclude each other"},
	{CHECKS("[{\"notify\":true},{},{\"notify\":true}]"),
	 "health[2]: \"notify\" is in services.web.health[0] already"},
	{CHECKS("[{\"notify\":true,\"listen\":\"127.0.0.1:8081\"}]"),
	 "health[0]: \"listen\" and \"notify\" exclude each other: no address is asked"},
	{CHECKS("{\"listen\":\"127.0.0.1:9\"}"),
	 "health.listen: \"127.0.0.1:9\" is no address of this service (expected "
	 "\"127.0.0.1:8080\" or \"127.0.0.1:8081\")"},
	{CHECKS("[{},{\"http\":\"/\",\"listen\":\"0.0.0.0:8081\"}]"),
	 "health[1].listen: \"0.0.0.0:8081\" is no address of this service (expected "
	 "\"127.0.0.1:8080\" or \"127.0.0.1:8081\")"},
	{CHECKS("[{\"listen\":8081}]"),
	 "health[0].listen: expected one of the service's addresses, as a string, not a whole "
	 "number"},
	/* Of all of them, so it is not that of this check alone. */
	{CHECKS("[{\"start_timeout\":\"2s\",\"timeout\":\"1s\"},{\"timeout\":\"3s\"}]"),
	 "health[1]: \"timeout\" (3s) is longer than \"start_timeout\" (2s)"},
	{CHECKS("[{\"start_timeout\":\"5s\"},{\"interval\":\"3s\",\"healthy\":3}]"),
	 "health[1]: 3 checks every \"interval\" take 6s at least, but \"start_timeout\" is 5s"},
};

static void test_config_checks_mistakes_are_refused_by_name(void **state)
{
	(void)state;
	expect_single_mistakes(mistakes_of_one,
			       sizeof(mistakes_of_one) / sizeof(mistakes_of_one[0]));
}

static void test_config_checks_listen_that_is_no_address_says_why(void **state)
{
	(void)state;
	load_bad(CHECKS("[{\"listen\":\"localhost:80\"}]"));
	assert_int_equal(mistakes.total, 1);
	assert_non_null(strstr(mistakes.list[0].text, "services.web.health[0].listen: "));
	assert_non_null(strstr(mistakes.list[0].text, "not an IP address"));
}

/* Of a service whose addresses are not all known it cannot be said which it lacks. */
static void test_config_checks_listen_is_not_compared_with_half_a_list(void **state)
{
	(void)state;
	load_bad("{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":[\"127.0.0.1:1\","
		 "\"127.0.0.1:x\"],\"health\":{\"listen\":\"127.0.0.1:2\"}}}}");
	assert_int_equal(mistakes.total, 1);
	assert_non_null(strstr(mistakes.list[0].text, "services.web.listen[1]: "));
}

static void test_config_checks_more_than_64_are_refused_with_both_numbers(void **state)
{
	char json[4096] = CHECKS("[{}"), *at = strstr(json, "[{}") + 3;
	char rest[512];

	(void)state;
	strcpy(rest, at);
	for (int k = 1; k < 64; k++)
		at += sprintf(at, ",{}");
	sprintf(at, "]%s", rest);
	config_free(load_good(json));
	sprintf(at, ",{}]%s", rest);
	load_bad(json);
	assert_int_equal(mistakes.total, 1);
	expect_mistake(0, "services.web.health: 65 checks: at most 64 are possible");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_config_checks_array_of_one_is_what_the_check_alone_is),
		TEST(test_config_checks_each_has_what_it_says_and_else_the_default),
		TEST(test_config_checks_kinds_are_called_as_in_the_file),
		TEST(test_config_checks_longest_start_timeout_counts),
		TEST(test_config_checks_none_is_that_it_connects),
		TEST(test_config_checks_mistakes_are_refused_by_name),
		TEST(test_config_checks_listen_that_is_no_address_says_why),
		TEST(test_config_checks_listen_is_not_compared_with_half_a_list),
		TEST(test_config_checks_more_than_64_are_refused_with_both_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
