/* SPDX-License-Identifier: BSD-2-Clause */
/* Copies of services, and which of their differences need a rollout. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/config/config_fixture.h"

static struct service_config *load_service(const char *json)
{
	cleanup(config_free) struct config *config = load_good(json);
	struct service_config *copy = service_config_copy(&config->services[0]);

	assert_non_null(copy);
	return copy;
}

static void test_config_copy_outlives_the_original(void **state)
{
	cleanup(service_config_free) struct service_config *copy =
		load_service(SERVICE(",\"environment\":{\"A\":\"1\"},\"directory\":\"/\","
				     "\"mode\":\"native\",\"hold\":\"1.5s\","
				     "\"drain\":{\"idle_timeout\":\"7s\"},"
				     "\"health\":{\"http\":\"/h\",\"host\":\"x\"}"));

	(void)state;
	assert_string_equal(copy->name, "web");
	assert_string_equal(copy->command[0], "/bin/true");
	assert_string_equal(copy->environment[0], "A=1");
	assert_string_equal(copy->directory, "/");
	assert_string_equal(copy->health.list[0].path, "/h");
	assert_string_equal(copy->health.list[0].host, "x");
	assert_int_equal(copy->mode, SOCKETS_NATIVE);
	assert_int_equal(copy->hold_ms, 1500);
	assert_int_equal(copy->drain.idle_timeout_ms, 7000);
	assert_null(copy->user);
	assert_int_equal(copy->n_listen, 1);
}

/* One of everything that a copy has to have of its own. */
static const char everything[] = SERVICE(
	",\"environment\":{\"A\":\"1\"},\"directory\":\"/\",\"environment_file\":\"/dev/null\","
	"\"health\":[{\"http\":\"/h\",\"host\":\"x\"},"
	"  {\"https\":\"/i\",\"headers\":{\"A\":\"1\"},\"body\":\"b\",\"tls\":{\"name\":\"n\"}}],"
	"\"rollout\":{\"strategy\":\"canary\",\"steps\":[{\"weight\":7,\"hold\":\"1s\"}]},"
	"\"gates\":[{\"exec\":[\"/bin/true\",\"a\"]},{\"name\":\"n\",\"http\":\"http://h/\"}],"
	"\"hooks\":{\"before_start\":[\"/bin/true\",\"b\"],\"after_shift\":[\"/bin/true\",\"c\"],"
	"  \"after_drain\":[\"/bin/true\",\"d\"],\"on_rollback\":[\"/bin/true\",\"e\"],"
	"  \"on_failure\":[\"/bin/true\",\"f\"]},"
	"\"watch\":[\"/x\",\"/y\"],\"umask\":\"0\",\"stdout\":\"/tmp/o\",\"stderr\":\"/tmp/e\","
	"\"resources\":{\"pids_max\":5}");

static void test_config_copy_has_the_command_of_a_check(void **state)
{
	cleanup(service_config_free) struct service_config *copy =
		load_service(SERVICE(",\"health\":{\"exec\":[\"/bin/true\",\"x\"]}"));

	(void)state;
	assert_string_equal(copy->health.list[0].exec[1], "x");
	assert_null(copy->health.list[0].exec[2]);
}

static void test_config_copy_has_everything_of_its_own(void **state)
{
	static const char *const hooks[] = {"b", "c", "d", "e", "f"};
	cleanup(service_config_free) struct service_config *copy = load_service(everything);

	(void)state;
	assert_string_equal(copy->environment_file, "/dev/null");
	assert_int_equal(copy->health.n, 2);
	assert_string_equal(copy->health.list[0].path, "/h");
	assert_string_equal(copy->health.list[1].path, "/i");
	assert_string_equal(copy->health.list[1].headers[0], "A: 1");
	assert_string_equal(copy->health.list[1].body, "b");
	assert_string_equal(copy->health.list[1].tls_name, "n");
	assert_int_equal(copy->rollout.n_steps, 2);
	assert_int_equal(copy->rollout.steps[0].weight, 7);
	assert_int_equal(copy->n_gates, 2);
	assert_string_equal(copy->gates[0].name, "true");
	assert_string_equal(copy->gates[0].exec[1], "a");
	assert_null(copy->gates[0].http);
	assert_string_equal(copy->gates[1].name, "n");
	assert_string_equal(copy->gates[1].http, "http://h/");
	assert_null(copy->gates[1].exec);
	for (size_t i = 0; i < _HOOK_COUNT; i++)
		assert_string_equal(copy->hooks.command[i][1], hooks[i]);
	assert_string_equal(copy->watch[0], "/x");
	assert_string_equal(copy->watch[1], "/y");
	assert_null(copy->watch[2]);
	assert_int_equal(copy->process.umask, 0);
	assert_string_equal(copy->process.output_path[0], "/tmp/o");
	assert_string_equal(copy->process.output_path[1], "/tmp/e");
	assert_int_equal(copy->resources.pids_max, 5);
	assert_null(copy->supplementary_groups);
}

static void test_config_copy_keeps_none_apart_from_empty(void **state)
{
	cleanup(service_config_free) struct service_config *copy = load_service(SERVICE(""));

	(void)state;
	assert_null(copy->watch);
	assert_null(copy->supplementary_groups);
	for (size_t i = 0; i < _HOOK_COUNT; i++)
		assert_null(copy->hooks.command[i]);
	assert_non_null(copy->environment);
	assert_null(copy->environment[0]);
}

static void test_config_take_policies_leaves_the_release(void **state)
{
	cleanup(service_config_free) struct service_config *config = load_service(SERVICE(
		",\"health\":{\"http\":\"/old\"},\"directory\":\"/tmp\",\"drain\":{\"timeout\":\"1s\"},"
		"\"gates\":[{\"name\":\"old\",\"http\":\"http://old/\"}],"
		"\"hooks\":{\"after_shift\":[\"/bin/true\",\"old\"]}"));
	cleanup(service_config_free) struct service_config *from = load_service(everything);

	(void)state;
	assert_int_equal(service_config_take_policies(config, from), 0);
	service_config_free(TAKE_PTR(from));
	assert_string_equal(config->directory, "/tmp");
	assert_string_equal(config->health.list[0].path, "/old");
	assert_int_equal(config->rollout.n_steps, 2);
	assert_int_equal(config->n_gates, 2);
	assert_string_equal(config->gates[0].exec[1], "a");
	assert_string_equal(config->hooks.command[HOOK_AFTER_SHIFT][1], "c");
	assert_int_equal(config->drain.timeout_ms, 30000);
}

/* In place of the C library's: the @fail_at-th call fails, where that is not 0. */
static size_t duplicates, fail_at;

char *strdup(const char *text)
{
	size_t n = strlen(text) + 1;
	char *copy = ++duplicates == fail_at ? NULL : malloc(n);

	return copy ? memcpy(copy, text, n) : NULL;
}

static void test_config_copy_without_memory_leaves_nothing_behind(void **state)
{
	cleanup(service_config_free) struct service_config *base = load_service(everything);
	struct service_config *copy = NULL;

	(void)state;
	for (fail_at = 1; fail_at < 1000; fail_at++) {
		duplicates = 0;
		copy = service_config_copy(base);
		if (copy)
			break;
	}
	assert_true(fail_at > 20 && fail_at < 1000);
	fail_at = 0;
	assert_true(service_config_same_release(copy, base));
	service_config_free(copy);
}

/* Reading, too: what fails is the memory for a string that is kept. */
static void test_config_load_without_memory_leaves_nothing_behind(void **state)
{
	const char *file = write_file("baton.json", everything, 0644);
	struct config *config = NULL;
	int r = -1;

	(void)state;
	for (fail_at = 1; fail_at < 1000; fail_at++) {
		duplicates = 0;
		r = config_load(file, NULL, &config, &mistakes);
		if (r == 0)
			break;
		assert_null(config);
		if (r != -ENOMEM)
			fail_msg("duplicate %zu: %d, %s", fail_at, r, mistakes.list[0].text);
	}
	assert_true(fail_at > 20 && fail_at < 1000);
	fail_at = 0;
	config_free(config);
}

static void test_config_same_release_ignores_policies_only(void **state)
{
	static const char *const same[] = {
		SERVICE(",\"health\":{\"http\":\"/\",\"interval\":\"5s\"}"),
		SERVICE(",\"drain\":{\"signal\":\"QUIT\",\"timeout\":\"1s\"}"),
		SERVICE(",\"drain\":{\"wait\":\"connections\",\"idle_timeout\":\"1s\"}"),
		SERVICE(",\"rollout\":{\"bake\":\"1s\"}"),
		SERVICE(",\"hold\":\"1s\",\"drift\":\"report\""),
		SERVICE(",\"environment\":{}"),
		SERVICE(",\"instances\":2"),
		SERVICE(",\"rollout\":{\"strategy\":\"rolling\",\"max_surge\":3}"),
		SERVICE(",\"gates\":[{\"exec\":[\"/bin/true\"]}]"),
		SERVICE(",\"hooks\":{\"after_shift\":[\"/bin/true\"]}"),
		SERVICE(",\"restart\":{\"max\":1},\"watch\":\"/srv\""),
		SERVICE(",\"drain\":{\"force\":true,\"generations_max\":2}"),
		/* What is the default anyway. */
		SERVICE(",\"umask\":\"0022\",\"stdout\":\"inherit\",\"limits\":{}"),
		/* No rollout could change these. */
		SERVICE(",\"steering\":\"ebpf\",\"sticky\":true"),
	};
	static const char *const different[] = {
		SERVICE(",\"environment\":{\"A\":\"1\"}"),
		SERVICE(",\"environment_inherit\":true"),
		SERVICE(",\"environment_file\":\"/dev/null\""),
		SERVICE(",\"directory\":\"/\""),
		SERVICE(",\"backlog\":2"),
		SERVICE(",\"nonblocking\":true"),
		SERVICE(",\"limits\":{\"core\":0}"),
		SERVICE(",\"umask\":\"0027\""),
		SERVICE(",\"nice\":19"),
		SERVICE(",\"no_new_privileges\":true"),
		SERVICE(",\"oom_score_adj\":1000"),
		SERVICE(",\"stdout\":\"journal\""),
		SERVICE(",\"stderr\":\"/dev/null\""),
		SERVICE(",\"resources\":{\"memory_max\":\"1G\"}"),
		SERVICE(",\"resources\":{\"cpu_max\":\"150%\"}"),
		SERVICE(",\"resources\":{\"pids_max\":10}"),
		SERVICE(",\"mode\":\"inherit\""),
		"{\"services\":{\"web\":{\"command\":[\"/bin/true\",\"x\"],\"listen\":\"127.0.0.1:8080\"}}}",
		"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":\"127.0.0.1:8081\"}}}",
		"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":[\"127.0.0.1:8080\",\":1\"]}}}",
	};
	cleanup(service_config_free) struct service_config *base = load_service(SERVICE(""));

	(void)state;
	assert_true(service_config_same_release(base, base));
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		cleanup(service_config_free) struct service_config *other = load_service(same[i]);

		if (!service_config_same_release(base, other))
			fail_msg("different: %s", same[i]);
	}
	for (size_t i = 0; i < sizeof(different) / sizeof(different[0]); i++) {
		cleanup(service_config_free) struct service_config *other =
			load_service(different[i]);

		if (service_config_same_release(base, other) ||
		    service_config_same_release(other, base))
			fail_msg("same: %s", different[i]);
	}
}

static void test_config_same_release_ignores_the_order_of_the_environment(void **state)
{
	cleanup(service_config_free) struct service_config *a =
		load_service(SERVICE(",\"environment\":{\"A\":\"1\",\"B\":\"2\"}"));
	cleanup(service_config_free) struct service_config *b =
		load_service(SERVICE(",\"environment\":{\"B\":\"2\",\"A\":\"1\"}"));

	(void)state;
	assert_true(service_config_same_release(a, b));
}

static void test_config_same_release_sees_the_account(void **state)
{
	static const char *const different[] = {
		SERVICE(",\"group\":\"daemon\""),
		SERVICE(",\"group\":\"root\",\"supplementary_groups\":[\"daemon\"]"),
		/* Written down, but in it already: a release of its own all the same. */
		SERVICE(",\"group\":\"root\",\"supplementary_groups\":[\"root\"]"),
		SERVICE(",\"group\":\"root\",\"capabilities\":[]"),
	};
	cleanup(service_config_free) struct service_config *base = NULL;

	(void)state;
	if (geteuid() != 0)
		skip();
	base = load_service(SERVICE(",\"group\":\"root\""));
	for (size_t i = 0; i < sizeof(different) / sizeof(different[0]); i++) {
		cleanup(service_config_free) struct service_config *other =
			load_service(different[i]);

		if (service_config_same_release(base, other))
			fail_msg("same: %s", different[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_config_copy_outlives_the_original),
		TEST(test_config_copy_has_the_command_of_a_check),
		TEST(test_config_copy_has_everything_of_its_own),
		TEST(test_config_copy_keeps_none_apart_from_empty),
		TEST(test_config_take_policies_leaves_the_release),
		TEST(test_config_copy_without_memory_leaves_nothing_behind),
		TEST(test_config_load_without_memory_leaves_nothing_behind),
		TEST(test_config_same_release_ignores_policies_only),
		TEST(test_config_same_release_ignores_the_order_of_the_environment),
		TEST(test_config_same_release_sees_the_account),
	};

	return cmocka_run_group_tests_name("config_copy", tests, NULL, NULL);
}
