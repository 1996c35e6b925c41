/* SPDX-License-Identifier: BSD-2-Clause */
/* What is read. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <jansson.h>
#include <signal.h>

#include "common/vector.h"
#include "orchestrator/host/environment.h"
#include "tests/unit/config/config_fixture.h"

/* ---- what is read --------------------------------------------------------------------------- */

static void test_config_minimal_gets_defaults(void **state)
{
	cleanup(config_free) struct config *config = load_good(SERVICE(""));
	const struct service_config *s;

	(void)state;
	assert_string_equal(config->file, in_folder("baton.json"));
	assert_null(config->api_group);
	assert_true(config->api_gid == (gid_t)-1);
	assert_int_equal(config->rollouts_max, 0);
	assert_int_equal(config->n_services, 1);
	s = &config->services[0];
	assert_string_equal(s->name, "web");
	assert_string_equal(s->command[0], "/bin/true");
	assert_null(s->command[1]);
	assert_int_equal(s->n_listen, 1);
	assert_string_equal(s->listen[0].text, "127.0.0.1:8080");
	assert_int_equal(s->mode, SOCKETS_AUTO);
	assert_int_equal(s->steering, STEERING_AUTO);
	assert_false(s->sticky);
	assert_int_equal(s->hold_ms, 0);
	assert_int_equal(s->drift, DRIFT_REPAIR);
	assert_int_equal(s->agent_lost, AGENT_LOST_ADOPT);
	assert_int_equal(s->backlog, 4096);
	assert_false(s->nonblocking);
	assert_int_equal(s->instances, 1);
	assert_false(s->set_ids);
	assert_int_equal(s->uid, geteuid());
	assert_int_equal(s->gid, getegid());
	assert_null(s->user);
	assert_null(s->directory);
	assert_non_null(s->environment);
	assert_null(s->environment[0]);
	assert_false(s->environment_inherit);
	assert_int_equal(s->health.list[0].kind, HEALTH_KIND_CONNECT);
	assert_int_equal(s->health.list[0].interval_ms, 1000);
	assert_int_equal(s->health.list[0].timeout_ms, 2000);
	assert_int_equal(s->health.list[0].healthy, 2);
	assert_int_equal(s->health.list[0].unhealthy, 3);
	assert_int_equal(s->health.start_timeout_ms, 60000);
	assert_null(s->supplementary_groups);
	for (size_t i = 0; i < PROCESS_LIMITS_MAX; i++)
		assert_false(s->process.limits[i].set);
	assert_int_equal(s->process.umask, 022);
	assert_false(s->process.nice_set);
	assert_false(s->process.no_new_privileges);
	assert_false(s->process.capabilities_set);
	assert_false(s->process.oom_score_adjust_set);
	assert_int_equal(s->process.output[0], OUTPUT_THROUGH);
	assert_int_equal(s->process.output[1], OUTPUT_THROUGH);
	assert_int_equal(s->resources.memory_max, 0);
	assert_int_equal(s->resources.cpu_max, 0);
	assert_int_equal(s->resources.pids_max, 0);
	assert_int_equal(s->rollout.strategy, ROLLOUT_BLUE_GREEN);
	assert_int_equal(s->rollout.max_surge, 1);
	assert_int_equal(s->rollout.max_unavailable, 0);
	assert_int_equal(s->rollout.n_steps, 0);
	assert_int_equal(s->rollout.promote_timeout_ms, 24 * 3600 * 1000);
	assert_int_equal(s->rollout.bake_ms, 0);
	assert_int_equal(s->rollout.settle_timeout_ms, 2000);
	assert_int_equal(s->n_gates, 0);
	for (size_t i = 0; i < _HOOK_COUNT; i++)
		assert_null(s->hooks.command[i]);
	assert_int_equal(s->hooks.timeout_ms, 30000);
	assert_int_equal(s->restart.max, 5);
	assert_int_equal(s->restart.window_ms, 60000);
	assert_int_equal(s->restart.delay_ms, 100);
	assert_null(s->watch);
	assert_int_equal(s->drain.wait, DRAIN_WAIT_EXIT);
	assert_int_equal(s->drain.idle_timeout_ms, 0);
	assert_int_equal(s->drain.signal, SIGTERM);
	assert_true(s->drain.delay_auto);
	assert_int_equal(s->drain.delay_max_ms, 2000);
	assert_int_equal(s->drain.timeout_ms, 30000);
	assert_int_equal(s->drain.shutdown_timeout_ms, 30000);
	assert_false(s->drain.force);
	assert_int_equal(s->drain.generations_max, 4);
	assert_int_equal(s->drain.kill_timeout_ms, 5000);
	assert_int_equal(s->drain.leave_timeout_ms, 1000);
}

static void test_config_every_key_is_read(void **state)
{
	cleanup(config_free) struct config *config = NULL;
	const struct service_config *s;
	char json[2048];

	(void)state;
	write_file("web.env", "A=1\n", 0644);
	snprintf(
		json, sizeof(json),
		"{\"$schema\": \"x\", \"api\": {\"group\": \"root\"}, \"rollouts_max\": 4096, "
		"\"services\": {\"web-1_X\": {"
		"\"command\": [\"true\", \"\", \"{fd}\"], \"listen\": [\"127.0.0.1:1\", \"[::1]:1\"],"
		"\"mode\": \"inherit\", \"steering\": \"ebpf\", \"sticky\": true,"
		"\"hold\": \"10m\", \"drift\": \"report\","
		"\"instances\": 16, \"backlog\": 7, \"nonblocking\": true,"
		"\"directory\": \"%s\", \"environment\": {\"B\": \"2=3\", \"A\": \"\"},"
		"\"environment_inherit\": true, \"environment_file\": \"%s/web.env\","
		"\"health\": {\"http\": \"/h?a=b\", \"host\": \"example.com:80\","
		"  \"status\": [204, \"200-399\", \"500\"], \"interval\": \"10ms\","
		"  \"timeout\": \"1h\", \"healthy\": 1, \"unhealthy\": 9, \"start_timeout\": \"1h\"},"
		"\"rollout\": {\"strategy\": \"blue-green\", \"bake\": \"7d\","
		"  \"settle_timeout\": \"0\"},"
		"\"drain\": {\"wait\": \"exit\", \"idle_timeout\": \"30d\","
		"  \"signal\": \"QUIT\", \"timeout\": \"0\", \"kill_timeout\": \"1d\","
		"  \"leave_timeout\": \"1.5s\"}}}}",
		folder, folder);
	config = load_good(json);
	assert_string_equal(config->api_group, "root");
	assert_int_equal(config->api_gid, 0);
	assert_int_equal(config->rollouts_max, 4096);
	s = config_find(config, "web-1_X");
	assert_non_null(s);
	assert_string_equal(s->command[1], "");
	assert_string_equal(s->command[2], "{fd}");
	assert_int_equal(s->n_listen, 2);
	assert_string_equal(s->listen[1].text, "[::1]:1");
	assert_int_equal(s->mode, SOCKETS_INHERIT);
	assert_int_equal(s->steering, STEERING_EBPF);
	assert_true(s->sticky);
	assert_int_equal(s->hold_ms, 600000);
	assert_int_equal(s->drift, DRIFT_REPORT);
	assert_int_equal(s->instances, 16);
	assert_int_equal(s->backlog, 7);
	assert_true(s->nonblocking);
	assert_string_equal(s->directory, folder);
	assert_string_equal(s->environment[0], "A=");
	assert_string_equal(s->environment[1], "B=2=3");
	assert_null(s->environment[2]);
	assert_true(s->environment_inherit);
	assert_string_equal(s->environment_file, in_folder("web.env"));
	assert_int_equal(s->health.list[0].kind, HEALTH_KIND_HTTP);
	assert_string_equal(s->health.list[0].path, "/h?a=b");
	assert_string_equal(s->health.list[0].host, "example.com:80");
	assert_false(s->health.list[0].tls || s->health.list[0].http2 || s->health.list[0].follow);
	assert_int_equal(s->health.list[0].proxy_protocol, 0);
	assert_int_equal(s->health.list[0].n_statuses, 3);
	assert_int_equal(s->health.list[0].statuses[0].first, 204);
	assert_int_equal(s->health.list[0].statuses[0].last, 204);
	assert_int_equal(s->health.list[0].statuses[1].first, 200);
	assert_int_equal(s->health.list[0].statuses[1].last, 399);
	assert_int_equal(s->health.list[0].statuses[2].first, 500);
	assert_int_equal(s->health.list[0].interval_ms, 10);
	assert_int_equal(s->health.list[0].timeout_ms, 3600000);
	assert_int_equal(s->health.list[0].healthy, 1);
	assert_int_equal(s->health.list[0].unhealthy, 9);
	assert_int_equal(s->rollout.bake_ms, 7 * 24 * 3600 * 1000);
	assert_int_equal(s->rollout.settle_timeout_ms, 0);
	assert_int_equal(s->drain.wait, DRAIN_WAIT_EXIT);
	assert_true(s->drain.idle_timeout_ms == 30ULL * 24 * 3600 * 1000);
	assert_int_equal(s->drain.signal, SIGQUIT);
	assert_int_equal(s->drain.timeout_ms, 0);
	assert_int_equal(s->drain.kill_timeout_ms, 24 * 3600 * 1000);
	assert_int_equal(s->drain.leave_timeout_ms, 1500);
}

static void test_config_health_kinds_and_default_status(void **state)
{
	struct config *config = load_good(SERVICE(",\"health\":{\"http\":\"/\"}"));

	(void)state;
	assert_int_equal(config->services[0].health.list[0].kind, HEALTH_KIND_HTTP);
	assert_int_equal(config->services[0].health.list[0].n_statuses, 1);
	assert_int_equal(config->services[0].health.list[0].statuses[0].first, 200);
	assert_int_equal(config->services[0].health.list[0].statuses[0].last, 299);
	config_free(config);

	config = load_good(SERVICE(",\"health\":{\"notify\":true}"));
	assert_int_equal(config->services[0].health.list[0].kind, HEALTH_KIND_NOTIFY);
	config_free(config);

	config = load_good(SERVICE(",\"health\":{\"exec\":[\"/bin/true\",\"{instance}\"]}"));
	assert_int_equal(config->services[0].health.list[0].kind, HEALTH_KIND_EXEC);
	assert_string_equal(config->services[0].health.list[0].exec[1], "{instance}");
	config_free(config);

	config = load_good(SERVICE(",\"health\":{\"notify\":false,\"http\":\"/\"}"));
	assert_int_equal(config->services[0].health.list[0].kind, HEALTH_KIND_HTTP);
	config_free(config);
}

static void test_config_tells_addresses(void **state)
{
	struct config *config = load_good(
		"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],"
		"\"listen\":[\"0.0.0.0:80\",\"[::]:80\",\"127.0.0.5:81\",\"[::ffff:10.0.0.1]:82\"]}}}");
	cleanup(vector_free) char **told = NULL;

	(void)state;
	assert_int_equal(config_tell_addresses(&config->services[0], &told), 0);
	assert_string_equal(environment_get(told, "BATON_LISTEN"), "0.0.0.0:80");
	assert_string_equal(environment_get(told, "BATON_CONNECT"), "127.0.0.1:80");
	assert_string_equal(environment_get(told, "BATON_LISTEN_ALL"),
			    "0.0.0.0:80 [::]:80 127.0.0.5:81 [::ffff:10.0.0.1]:82");
	assert_string_equal(environment_get(told, "BATON_CONNECT_ALL"),
			    "127.0.0.1:80 [::1]:80 127.0.0.5:81 10.0.0.1:82");
	config_free(config);
}

/* Each word of each choice, and what it stands for. */
static void test_config_words_are_read(void **state)
{
	static const struct {
		const char *json;
		size_t offset;
		unsigned value;
	} cases[] = {
#define CASE(json_, member_, value_)                                                               \
	{SERVICE("," json_), offsetof(struct service_config, member_), value_}
		CASE("\"mode\":\"auto\"", mode, SOCKETS_AUTO),
		CASE("\"mode\":\"inherit\"", mode, SOCKETS_INHERIT),
		CASE("\"mode\":\"native\"", mode, SOCKETS_NATIVE),
		CASE("\"mode\":\"transparent\"", mode, SOCKETS_TRANSPARENT),
		CASE("\"steering\":\"auto\"", steering, STEERING_AUTO),
		CASE("\"steering\":\"ebpf\"", steering, STEERING_EBPF),
		CASE("\"steering\":\"cbpf\"", steering, STEERING_CBPF),
		CASE("\"steering\":\"hash\"", steering, STEERING_HASH),
		CASE("\"drift\":\"repair\"", drift, DRIFT_REPAIR),
		CASE("\"drift\":\"report\"", drift, DRIFT_REPORT),
		CASE("\"agent_lost\":\"adopt\"", agent_lost, AGENT_LOST_ADOPT),
		CASE("\"agent_lost\":\"replace\"", agent_lost, AGENT_LOST_REPLACE),
		CASE("\"rollout\":{\"strategy\":\"blue-green\"}", rollout.strategy,
		     ROLLOUT_BLUE_GREEN),
		CASE("\"rollout\":{\"strategy\":\"rolling\"}", rollout.strategy, ROLLOUT_ROLLING),
		CASE("\"rollout\":{\"strategy\":\"canary\",\"steps\":[{\"weight\":1}]}",
		     rollout.strategy, ROLLOUT_CANARY),
		CASE("\"drain\":{\"wait\":\"exit\"}", drain.wait, DRAIN_WAIT_EXIT),
		CASE("\"drain\":{\"wait\":\"connections\"}", drain.wait, DRAIN_WAIT_CONNECTIONS),
		CASE("\"drain\":{\"delay\":\"auto\"}", drain.delay_auto, true),
		CASE("\"drain\":{\"delay\":\"0\"}", drain.delay_auto, false),
		CASE("\"drain\":{\"delay\":\"1h\"}", drain.delay_ms, 3600 * 1000),
		CASE("\"drain\":{\"delay_max\":\"300ms\"}", drain.delay_max_ms, 300),
#undef CASE
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup(config_free) struct config *config = load_good(cases[i].json);
		unsigned value;

		memcpy(&value, (char *)&config->services[0] + cases[i].offset, sizeof(value));
		if (value != cases[i].value)
			fail_msg("%s is %u", cases[i].json, value);
	}
}

/* What looks like a contradiction and is none. */
static void test_config_harmless_combinations_are_accepted(void **state)
{
	static const char *const good[] = {
		SERVICE(",\"mode\":\"transparent\",\"steering\":\"ebpf\",\"hold\":\"5s\""),
		SERVICE(",\"mode\":\"native\",\"steering\":\"hash\""),
		SERVICE(",\"steering\":\"hash\",\"hold\":\"0\",\"sticky\":false"),
		SERVICE(",\"steering\":\"cbpf\",\"sticky\":true,\"drift\":\"report\""),
		SERVICE(",\"mode\":\"native\",\"nonblocking\":false"),
		SERVICE(",\"drain\":{\"idle_timeout\":\"1m\"}"),
		SERVICE(",\"drain\":{\"wait\":\"exit\",\"signal\":\"QUIT\"}"),
		SERVICE(",\"drain\":{\"wait\":\"connections\",\"delay\":\"auto\"}"),
		SERVICE(",\"drain\":{\"delay\":\"0s\",\"wait\":\"connections\"}"),
		SERVICE(",\"drain\":{\"wait\":\"connections\",\"idle_timeout\":\"1m\","
			"\"timeout\":\"1h\",\"kill_timeout\":\"1s\"}"),
		SERVICE(",\"environment\":{\"A\":\"{fd}\",\"B\":\"{fds:,}\"}"),
		SERVICE(",\"mode\":\"inherit\",\"environment\":{\"A\":\"{fd}\"}"),
		/* No placeholders of sockets: others, too long a separator, no end. */
		SERVICE(",\"mode\":\"native\",\"environment\":{\"A\":\"{generation}{instance}\","
			"\"B\":\"{fds}{ fd}{FD}{fds:\",\"C\":\"{fds:0123456789abcdef}\","
			"\"{fd}\":\"in a name\"}"),
		/* What is made for a generation need not be there yet; other braces are texts. */
		SERVICE(",\"directory\":\"/usr/{generation}/{instance}\",\"stdout\":"
			"\"/tmp/{generation}/{instance}.log\",\"stderr\":\"/tmp/log.{instance}\","
			"\"environment_file\":\"/no/such/{generation}\",\"hooks\":{\"before_start\":"
			"[\"/bin/mkdir\",\"{generation}{fd}{x}\"]},\"gates\":[{\"exec\":[\"/bin/true\","
			"\"{generation}\"]},{\"http\":\"http://h/{generation}\"}]"),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		config_free(load_good(good[i]));
}

static void test_config_services_are_sorted_and_found(void **state)
{
	cleanup(config_free) struct config *config =
		load_good("{\"services\":{"
			  "\"b\":{\"command\":[\"/bin/true\"],\"listen\":\"127.0.0.1:2\"},"
			  "\"c\":{\"command\":[\"/bin/true\"],\"listen\":\"127.0.0.1:3\"},"
			  "\"a\":{\"command\":[\"/bin/true\"],\"listen\":\"127.0.0.1:1\"}}}");

	(void)state;
	assert_int_equal(config->n_services, 3);
	assert_string_equal(config->services[0].name, "a");
	assert_string_equal(config->services[2].name, "c");
	assert_ptr_equal(config_find(config, "b"), &config->services[1]);
	assert_null(config_find(config, "d"));
}

static void test_config_without_services_is_accepted(void **state)
{
	cleanup(config_free) struct config *config = load_good("{}");

	(void)state;
	assert_int_equal(config->n_services, 0);
	assert_null(config_find(config, "web"));
}

/* ---- names ---------------------------------------------------------------------------------- */

static void test_config_signal_names_go_both_ways(void **state)
{
	(void)state;
	assert_int_equal(config_signal_parse("SIGTERM"), SIGTERM);
	assert_int_equal(config_signal_parse("TERM"), SIGTERM);
	assert_int_equal(config_signal_parse("USR1"), SIGUSR1);
	assert_int_equal(config_signal_parse("SIGKILL"), SIGKILL);
	assert_int_equal(config_signal_parse("term"), 0);
	assert_int_equal(config_signal_parse("SIGSIGTERM"), 0);
	assert_int_equal(config_signal_parse(""), 0);
	assert_int_equal(config_signal_parse("15"), 0);
	assert_string_equal(config_signal_name(SIGQUIT), "SIGQUIT");
	assert_string_equal(config_signal_name(0), "none");
	for (int i = 1; i < 32; i++)
		assert_int_equal(config_signal_parse(config_signal_name(i)), i);
}

/* ---- without memory ------------------------------------------------------------------------- */

static size_t allocations, fail_at;

static void *failing_malloc(size_t size)
{
	if (++allocations != fail_at)
		return malloc(size);
	errno = ENOMEM; /* as malloc(3) */
	return NULL;
}

/*
 * Only strings under 15 bytes: jansson 2.14 itself writes out of bounds where its buffer for a
 * longer one cannot grow.
 */
static void test_config_json_without_memory_leaves_nothing_behind(void **state)
{
	const char *file =
		write_file("baton.json",
			   "{\"services\":{\"web\":{\"command\":[\"/bin/true\"],"
			   "\"listen\":\":8080\",\"environment\":{\"A\":\"1\",\"B\":\"2\"},"
			   "\"health\":{\"http\":\"/\",\"status\":[200,204]},"
			   "\"rollout\":{\"strategy\":\"canary\",\"steps\":[{\"weight\":1}]},"
			   "\"gates\":[{\"exec\":[\"/bin/true\"],\"at\":\"step\"}],"
			   "\"hooks\":{\"on_failure\":[\"true\",\"x\"]},\"watch\":[\"/a\",\"/b\"],"
			   "\"limits\":{\"core\":\"0:0\"},\"stdout\":\"/dev/null\"}}}",
			   0644);
	json_malloc_t old_malloc;
	json_free_t old_free;
	int r = -1;

	(void)state;
	json_get_alloc_funcs(&old_malloc, &old_free);
	json_set_alloc_funcs(failing_malloc, free);
	for (fail_at = 1; fail_at < 10000; fail_at++) {
		struct config *config = (struct config *)&mistakes;

		allocations = 0;
		r = config_load(file, NULL, &config, &mistakes);
		if (r == 0) {
			config_free(config);
			break;
		}
		assert_null(config);
		assert_true(allocations >= fail_at);
		if (r != -ENOMEM)
			fail_msg("allocation %zu: %d, %s", fail_at, r, mistakes.list[0].text);
	}
	json_set_alloc_funcs(old_malloc, old_free);
	assert_int_equal(r, 0);
	assert_true(fail_at > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_config_minimal_gets_defaults),
		TEST(test_config_every_key_is_read),
		TEST(test_config_health_kinds_and_default_status),
		TEST(test_config_tells_addresses),
		TEST(test_config_words_are_read),
		TEST(test_config_harmless_combinations_are_accepted),
		TEST(test_config_services_are_sorted_and_found),
		TEST(test_config_without_services_is_accepted),
		TEST(test_config_signal_names_go_both_ways),
		TEST(test_config_json_without_memory_leaves_nothing_behind),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
