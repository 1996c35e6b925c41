/* SPDX-License-Identifier: BSD-2-Clause */
/* Strategies, gates, hooks, restarts, watched paths, drains. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/config/config_fixture.h"

#define ROLLOUT(rest_) SERVICE(",\"rollout\":{" rest_ "}")
#define GATE(rest_)    SERVICE(",\"gates\":[{" rest_ "}]")

/* ---- what is read --------------------------------------------------------------------------- */

static void test_config_rolling_is_read(void **state)
{
	cleanup(config_free) struct config *config = load_good(
		SERVICE(",\"instances\":4,\"rollout\":{\"max_unavailable\":2,\"max_surge\":0,"
			"\"strategy\":\"rolling\",\"promote_timeout\":\"1ms\"}"));
	const struct rollout_config *rollout = &config->services[0].rollout;

	(void)state;
	assert_int_equal(rollout->strategy, ROLLOUT_ROLLING);
	assert_int_equal(rollout->max_surge, 0);
	assert_int_equal(rollout->max_unavailable, 2);
	assert_int_equal(rollout->promote_timeout_ms, 1);
}

static void assert_step(const struct rollout_weight *step, uint32_t weight, bool manual,
			uint64_t dwell_ms)
{
	assert_int_equal(step->weight, weight);
	assert_int_equal(step->manual, manual);
	assert_int_equal(step->dwell_ms, dwell_ms);
}

static void test_config_canary_steps_are_read_and_completed(void **state)
{
	cleanup(config_free) struct config *config = load_good(
		ROLLOUT("\"steps\":[{\"weight\":1,\"hold\":\"1m\"},{\"weight\":2,\"hold\":\"0\"},"
			"{\"weight\":99}],\"strategy\":\"canary\",\"bake\":\"1s\""));
	const struct rollout_config *rollout = &config->services[0].rollout;

	(void)state;
	assert_int_equal(rollout->strategy, ROLLOUT_CANARY);
	assert_int_equal(rollout->n_steps, 4);
	assert_step(&rollout->steps[0], 1, false, 60000);
	assert_step(&rollout->steps[1], 2, false, 0);
	assert_step(&rollout->steps[2], 99, true, 0);
	assert_step(&rollout->steps[3], 100, false, 0);
}

static void test_config_stop_first_holds_unless_a_gap_is_allowed(void **state)
{
	static const struct {
		const char *json;
		bool gap;
		uint64_t hold_ms;
	} cases[] = {
		{ROLLOUT("\"strategy\":\"stop-first\""), false, 30000},
		{SERVICE(",\"hold\":\"7s\",\"rollout\":{\"strategy\":\"stop-first\"}"), false,
		 7000},
		{SERVICE(",\"hold\":\"0\",\"rollout\":{\"strategy\":\"stop-first\",\"gap\":true}"),
		 true, 0},
		{SERVICE(",\"steering\":\"hash\",\"rollout\":{\"strategy\":\"stop-first\","
			 "\"gap\":true}"),
		 true, 0},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		struct config *config = load_good(cases[k].json);

		assert_int_equal(config->services[0].rollout.strategy, ROLLOUT_STOP_FIRST);
		assert_int_equal(config->services[0].rollout.gap, cases[k].gap);
		assert_int_equal(config->services[0].hold_ms, cases[k].hold_ms);
		config_free(config);
	}
}

static void test_config_canary_with_a_last_step_of_100_is_complete(void **state)
{
	struct config *config = load_good(ROLLOUT(
		"\"strategy\":\"canary\",\"steps\":[{\"hold\":\"5s\",\"weight\":50},{\"weight\":100}]"));
	const struct rollout_config *rollout = &config->services[0].rollout;

	(void)state;
	assert_int_equal(rollout->n_steps, 2);
	assert_step(&rollout->steps[0], 50, false, 5000);
	assert_step(&rollout->steps[1], 100, false, 0);
	config_free(config);

	config = load_good(ROLLOUT("\"strategy\":\"canary\",\"steps\":[{\"weight\":100}]"));
	assert_int_equal(config->services[0].rollout.n_steps, 1);
	config_free(config);
}

/* @n steps from 1% on, the last one of @last. */
static const char *canary_of(size_t n, unsigned last)
{
	static char json[2048];
	size_t at = (size_t)sprintf(
		json, "{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":\":1\","
		      "\"rollout\":{\"strategy\":\"canary\",\"steps\":[");

	for (size_t i = 1; i < n; i++)
		at += (size_t)sprintf(json + at, "{\"weight\":%zu},", i);
	sprintf(json + at, "{\"weight\":%u}]}}}}", last);
	return json;
}

static void test_config_canary_steps_are_bounded(void **state)
{
	struct config *config = load_good(canary_of(ROLLOUT_STEPS_MAX, 100));

	(void)state;
	assert_int_equal(config->services[0].rollout.n_steps, ROLLOUT_STEPS_MAX);
	config_free(config);

	config = load_good(canary_of(ROLLOUT_STEPS_MAX - 1, 99));
	assert_int_equal(config->services[0].rollout.n_steps, ROLLOUT_STEPS_MAX);
	assert_step(&config->services[0].rollout.steps[ROLLOUT_STEPS_MAX - 1], 100, false, 0);
	config_free(config);

	load_bad(canary_of(ROLLOUT_STEPS_MAX, 99));
	assert_int_equal(mistakes.total, 1);
	expect_mistake(0, "services.web.rollout.steps: 64 steps before the one of 100, which "
			  "comes last: at most 63 are possible");
	load_bad(canary_of(ROLLOUT_STEPS_MAX + 1, 100));
	assert_int_equal(mistakes.total, 1);
	expect_mistake(0, "services.web.rollout.steps: 65 steps: at most 64 are possible");
}

/* A service with @n gates. */
static const char *gates_of(size_t n)
{
	static char json[64 * (CONFIG_GATES_MAX + 2)];
	size_t at = (size_t)sprintf(json, "{\"services\":{\"web\":{\"command\":[\"/bin/true\"],"
					  "\"listen\":\":1\",\"gates\":[");

	for (size_t k = 0; k < n; k++)
		at += (size_t)sprintf(json + at, "%s{\"exec\":[\"/bin/true\"]}", k > 0 ? "," : "");
	sprintf(json + at, "]}}}");
	return json;
}

static void test_config_gates_are_bounded(void **state)
{
	struct config *config = load_good(gates_of(CONFIG_GATES_MAX));
	struct service_config *copy;

	(void)state;
	assert_int_equal(config->services[0].n_gates, 64);
	assert_string_equal(config->services[0].gates[63].exec[0], "/bin/true");
	copy = service_config_copy(&config->services[0]);
	assert_int_equal(copy->n_gates, 64);
	assert_string_equal(copy->gates[63].exec[0], "/bin/true");
	service_config_free(copy);
	config_free(config);

	load_bad(gates_of(CONFIG_GATES_MAX + 1));
	assert_int_equal(mistakes.total, 1);
	expect_mistake(0, "services.web.gates: 65 gates: at most 64 are possible");
}

static void test_config_gates_are_read(void **state)
{
	cleanup(config_free) struct config *config = load_good(SERVICE(
		",\"gates\":[{\"exec\":[\"/bin/true\",\"a\",\"\"]},"
		"{\"name\":\"error rate\",\"at\":[\"leave\",\"shift\",\"leave\"],"
		"\"http\":\"https://[::1]:9/x?y\","
		"\"status\":[204,\"300-399\"],\"timeout\":\"1ms\",\"min_connections\":0},"
		"{\"http\":\"http://h\",\"at\":\"shift\",\"min_connections\":1000000000}]"));
	const struct service_config *s = &config->services[0];

	(void)state;
	assert_int_equal(s->n_gates, 3);
	assert_string_equal(s->gates[0].name, "true");
	assert_int_equal(s->gates[0].at,
			 ROLLOUT_GATE_SHIFT | ROLLOUT_GATE_STEP | ROLLOUT_GATE_LEAVE);
	assert_string_equal(s->gates[0].exec[0], "/bin/true");
	assert_string_equal(s->gates[0].exec[2], "");
	assert_null(s->gates[0].exec[3]);
	assert_null(s->gates[0].http);
	assert_int_equal(s->gates[0].n_statuses, 0);
	assert_int_equal(s->gates[0].timeout_ms, 30000);
	assert_int_equal(s->gates[0].min_connections, 1);

	assert_string_equal(s->gates[1].name, "error rate");
	assert_int_equal(s->gates[1].at, ROLLOUT_GATE_SHIFT | ROLLOUT_GATE_LEAVE);
	assert_string_equal(s->gates[1].http, "https://[::1]:9/x?y");
	assert_null(s->gates[1].exec);
	assert_int_equal(s->gates[1].n_statuses, 2);
	assert_int_equal(s->gates[1].statuses[0].first, 204);
	assert_int_equal(s->gates[1].statuses[1].last, 399);
	assert_int_equal(s->gates[1].timeout_ms, 1);
	assert_int_equal(s->gates[1].min_connections, 0);

	assert_string_equal(s->gates[2].name, "http://h");
	assert_int_equal(s->gates[2].at, ROLLOUT_GATE_SHIFT);
	assert_int_equal(s->gates[2].n_statuses, 1);
	assert_int_equal(s->gates[2].statuses[0].first, 200);
	assert_int_equal(s->gates[2].statuses[0].last, 299);
	assert_int_equal(s->gates[2].min_connections, 1000000000);
}

static void test_config_hooks_restart_watch_and_drain_are_read(void **state)
{
	cleanup(config_free) struct config *config = load_good(SERVICE(
		",\"hooks\":{\"before_start\":[\"/bin/true\",\"1\"],"
		"\"after_shift\":[\"/bin/true\",\"2\"],\"after_drain\":[\"/bin/true\",\"3\"],"
		"\"on_rollback\":[\"/bin/true\",\"4\"],\"on_failure\":[\"/bin/true\",\"5\"],"
		"\"timeout\":\"1h\"},"
		"\"restart\":{\"max\":0,\"window\":\"1ms\",\"delay\":\"0\"},"
		"\"watch\":[\"/srv/web/current\",\"/no/such\"],"
		"\"drain\":{\"timeout\":\"7s\",\"shutdown_timeout\":\"0\",\"force\":true,"
		"\"generations_max\":8}"));
	const struct service_config *s = &config->services[0];
	static const char *const expected[] = {"1", "2", "3", "4", "5"};

	(void)state;
	for (size_t i = 0; i < _HOOK_COUNT; i++)
		assert_string_equal(s->hooks.command[i][1], expected[i]);
	assert_int_equal(s->hooks.timeout_ms, 3600000);
	assert_int_equal(s->restart.max, 0);
	assert_int_equal(s->restart.window_ms, 1);
	assert_int_equal(s->restart.delay_ms, 0);
	assert_string_equal(s->watch[0], "/srv/web/current");
	assert_string_equal(s->watch[1], "/no/such");
	assert_null(s->watch[2]);
	assert_int_equal(s->drain.timeout_ms, 7000);
	assert_int_equal(s->drain.shutdown_timeout_ms, 0);
	assert_true(s->drain.force);
	assert_int_equal(s->drain.generations_max, 8);
}

static void test_config_shutdown_timeout_is_that_of_a_drain_by_default(void **state)
{
	cleanup(config_free) struct config *config =
		load_good(SERVICE(",\"drain\":{\"timeout\":\"7s\"},\"watch\":\"/srv\""));

	(void)state;
	assert_int_equal(config->services[0].drain.shutdown_timeout_ms, 7000);
	assert_string_equal(config->services[0].watch[0], "/srv");
	assert_null(config->services[0].watch[1]);
	assert_int_equal(config->services[0].watch_settle_ms, 500);
}

static void test_config_harmless_policies_are_accepted(void **state)
{
	static const char *const good[] = {
		ROLLOUT("\"strategy\":\"rolling\",\"max_surge\":0,\"max_unavailable\":1},"
			"\"instances\":2,\"drain\":{"),
		ROLLOUT("\"strategy\":\"rolling\",\"max_unavailable\":16"),
		ROLLOUT("\"strategy\":\"rolling\",\"max_surge\":16"),
		/* Asked elsewhere too. */
		GATE("\"exec\":[\"/bin/true\"],\"at\":[\"step\",\"leave\"]"),
		SERVICE(",\"gates\":[{\"exec\":[\"/bin/true\"],\"at\":\"step\"}],"
			"\"rollout\":{\"strategy\":\"canary\",\"steps\":[{\"weight\":5}]}"),
		SERVICE(",\"gates\":[],\"watch\":[],\"hooks\":{},\"restart\":{}"),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		config_free(load_good(good[i]));
}

/* ---- programs ------------------------------------------------------------------------------- */

static void test_config_programs_of_gates_and_hooks_are_found_in_the_path(void **state)
{
	cleanup(config_free) struct config *config = NULL;
	char json[1024];

	(void)state;
	assert_int_equal(mkdir(in_folder("bin"), 0755), 0);
	assert_int_equal(mkdir(in_folder("empty"), 0755), 0);
	write_file("bin/program", "#!/bin/sh\n", 0755);
	/* As it is called, not what it leads to: that may be moved, and may look at its name. */
	assert_int_equal(symlink("program", in_folder("bin/smoke")), 0);
	snprintf(
		json, sizeof(json),
		SERVICE(",\"directory\":\"%s\",\"environment\":{\"PATH\":\"/no/such:empty:bin:%s\"},"
			"\"gates\":[{\"exec\":[\"smoke\",\"x\"]},{\"exec\":[\"%s/bin/smoke\"]}],"
			"\"hooks\":{\"on_failure\":[\"smoke\"]}"),
		folder, folder, folder);
	config = load_good(json);
	assert_string_equal(config->services[0].gates[0].exec[0], in_folder("bin/smoke"));
	assert_string_equal(config->services[0].gates[0].exec[1], "x");
	assert_string_equal(config->services[0].gates[0].name, "smoke");
	assert_string_equal(config->services[0].gates[1].exec[0], in_folder("bin/smoke"));
	assert_string_equal(config->services[0].hooks.command[HOOK_ON_FAILURE][0],
			    in_folder("bin/smoke"));
}

static void test_config_programs_are_found_in_the_default_path(void **state)
{
	cleanup(config_free) struct config *config = load_good(GATE("\"exec\":[\"true\"]"));
	const char *program = config->services[0].gates[0].exec[0];

	(void)state;
	assert_int_equal(program[0], '/');
	assert_string_equal(strrchr(program, '/'), "/true");
	assert_int_equal(access(program, X_OK), 0);
}

/* An empty entry of a PATH is the directory. */
static void test_config_programs_are_found_in_the_directory(void **state)
{
	cleanup(config_free) struct config *config = NULL;
	char json[1024];

	(void)state;
	write_file("program", "#!/bin/sh\n", 0755);
	snprintf(json, sizeof(json),
		 SERVICE(",\"directory\":\"%s\",\"environment\":{\"PATH\":\"/no/such:\"},"
			 "\"hooks\":{\"after_drain\":[\"program\"]}"),
		 folder);
	config = load_good(json);
	assert_int_equal(access(config->services[0].hooks.command[HOOK_AFTER_DRAIN][0], X_OK), 0);
}

/* ---- mistakes ------------------------------------------------------------------------------- */

static const struct single_mistake single[] = {
	/* rollout */
	{SERVICE(",\"rollout\":\"canary\""), "rollout: expected an object, not a string"},
	{ROLLOUT("\"strategy\":true"), "rollout.strategy: expected a string, not true"},
	{ROLLOUT("\"max_surge\":1"), "rollout.max_surge: is for \"strategy\" \"rolling\", but this "
				     "one is \"blue-green\": leave one of them out"},
	{ROLLOUT("\"strategy\":\"canary\",\"steps\":[{\"weight\":1}],\"max_unavailable\":0"),
	 "rollout.max_unavailable: is for \"strategy\" \"rolling\", but this one is \"canary\": leave "
	 "one of them out"},
	{ROLLOUT("\"strategy\":\"rolling\",\"max_surge\":257"),
	 "rollout.max_surge: 257 is out of range (0 to 256)"},
	{ROLLOUT("\"strategy\":\"rolling\",\"max_unavailable\":-1"),
	 "rollout.max_unavailable: -1 is out of range (0 to 256)"},
	{ROLLOUT("\"strategy\":\"rolling\",\"max_surge\":0"),
	 "rollout: \"max_surge\" and \"max_unavailable\" are both 0: no instance could be added, "
	 "none taken away"},
	{ROLLOUT("\"strategy\":\"rolling\",\"max_surge\":0,\"max_unavailable\":1"),
	 "rollout.max_surge: 0 while \"max_unavailable\" is 1 of 1 \"instances\": nothing would "
	 "serve between the old and the new"},
	{SERVICE(",\"rollout\":{\"strategy\":\"rolling\",\"max_surge\":0,\"max_unavailable\":4},"
		 "\"instances\":3"),
	 "rollout.max_surge: 0 while \"max_unavailable\" is 4 of 3 \"instances\": nothing would "
	 "serve between the old and the new"},
	/* What contradicts a value that was not understood is not told. */
	{SERVICE(",\"instances\":999,"
		 "\"rollout\":{\"strategy\":\"rolling\",\"max_surge\":0,\"max_unavailable\":1}"),
	 "instances: 999 is out of range (1 to 256)"},
	{SERVICE(",\"gates\":[{\"exec\":[\"/bin/true\"],\"at\":\"step\"}],"
		 "\"rollout\":{\"strategy\":\"canari\",\"steps\":[{\"weight\":5}]}"),
	 "rollout.strategy: \"canari\" is unknown (expected \"blue-green\", \"rolling\", "
	 "\"canary\" or \"stop-first\")"},
	/* stop-first */
	{ROLLOUT("\"gap\":true"),
	 "rollout.gap: is for \"strategy\" \"stop-first\", but this one is \"blue-green\": leave "
	 "one of them out"},
	{ROLLOUT("\"strategy\":\"stop-first\",\"bake\":\"1s\""),
	 "rollout.bake: is for an old generation that stands by, but with \"strategy\" "
	 "\"stop-first\" it has ended by then: leave it out"},
	{ROLLOUT("\"strategy\":\"stop-first\",\"max_surge\":1"),
	 "rollout.max_surge: is for \"strategy\" \"rolling\", but this one is \"stop-first\": leave "
	 "one of them out"},
	{SERVICE(",\"gates\":[{\"exec\":[\"/bin/true\"]}],\"rollout\":{\"strategy\":\"stop-first\"}"),
	 "gates: with \"strategy\" \"stop-first\" all clients would wait for their answers: leave "
	 "them out, and use \"health\" instead"},
	{SERVICE(",\"steering\":\"cbpf\",\"rollout\":{\"strategy\":\"stop-first\"}"),
	 "rollout.strategy: \"stop-first\" needs the ebpf tier, which lets connections wait, but "
	 "\"steering\" is \"cbpf\": leave \"steering\" out, or set \"gap\" of \"rollout\" to true "
	 "and have them refused meanwhile"},
	{SERVICE(",\"hold\":\"0\",\"rollout\":{\"strategy\":\"stop-first\"}"),
	 "hold: \"0\" refuses connections between the old and the new of \"stop-first\": give it a "
	 "time, leave it out (30s), or set \"gap\" of \"rollout\" to true"},
	{ROLLOUT("\"promote_timeout\":\"0\""),
	 "rollout.promote_timeout: \"0\" is too short (at least 1ms)"},
	{ROLLOUT("\"promote_timeout\":\"31d\""),
	 "rollout.promote_timeout: \"31d\" is too long (at most 30d)"},
	/* steps */
	{ROLLOUT("\"strategy\":\"canary\""), "rollout.steps: missing: a canary needs them "
					     "([{\"weight\": 10, \"hold\": \"5m\"}])"},
	{ROLLOUT("\"steps\":[{\"weight\":1}]"),
	 "rollout.steps: is for \"strategy\" \"canary\", but this one is \"blue-green\": leave one "
	 "of them out"},
	{ROLLOUT("\"strategy\":\"canary\",\"steps\":10"),
	 "rollout.steps: expected an array of steps such as {\"weight\": 10}, not a whole number"},
	{ROLLOUT("\"strategy\":\"canary\",\"steps\":[]"),
	 "rollout.steps: is empty: at least one step is needed"},
	{ROLLOUT("\"strategy\":\"canary\",\"steps\":[10]"),
	 "rollout.steps[0]: expected an object, not a whole number"},
	{ROLLOUT("\"strategy\":\"canary\",\"steps\":[{\"weight\":5},{\"hold\":\"1m\"}]"),
	 "rollout.steps[1].weight: missing"},
	{ROLLOUT("\"strategy\":\"canary\",\"steps\":[{\"weight\":0}]"),
	 "rollout.steps[0].weight: 0 is out of range (1 to 100)"},
	{ROLLOUT("\"strategy\":\"canary\",\"steps\":[{\"weight\":101}]"),
	 "rollout.steps[0].weight: 101 is out of range (1 to 100)"},
	{ROLLOUT("\"strategy\":\"canary\",\"steps\":[{\"weight\":0.5}]"),
	 "rollout.steps[0].weight: expected a whole number, not a number with a fraction"},
	{ROLLOUT("\"strategy\":\"canary\",\"steps\":[{\"weight\":5},{\"weight\":5}]"),
	 "rollout.steps[1].weight: 5 is not more than the 5 of the step before: weights must grow"},
	{ROLLOUT("\"strategy\":\"canary\",\"steps\":[{\"weight\":100},{\"weight\":50}]"),
	 "rollout.steps[1].weight: 50 is not more than the 100 of the step before: weights must "
	 "grow"},
	{ROLLOUT("\"strategy\":\"canary\",\"steps\":[{\"weight\":100,\"hold\":\"1m\"}]"),
	 "rollout.steps[0].hold: is not for the step of 100: leave it out, and use \"bake\" of "
	 "\"rollout\" to keep the old generation ready after it"},
	{ROLLOUT("\"strategy\":\"canary\",\"steps\":[{\"weight\":5,\"hold\":\"8d\"}]"),
	 "rollout.steps[0].hold: \"8d\" is too long (at most 7d)"},
	{ROLLOUT("\"strategy\":\"canary\",\"steps\":[{\"weight\":5,\"holds\":\"1m\"}]"),
	 "rollout.steps[0].holds: unknown key (did you mean \"hold\"?)"},
	/* gates */
	{SERVICE(",\"gates\":{}"), "gates: expected an array of gates, not an object"},
	{SERVICE(",\"gates\":[1]"), "gates[0]: expected an object, not a whole number"},
	{GATE(""), "gates[0]: needs \"exec\" or \"http\": there is nothing to ask"},
	{GATE("\"exec\":[\"/bin/true\"],\"http\":\"http://h\""),
	 "gates[0]: \"exec\" and \"http\" exclude each other"},
	{GATE("\"exec\":[\"/bin/true\"],\"status\":200"), "gates[0]: \"status\" needs \"http\""},
	{GATE("\"exec\":\"/bin/true\""),
	 "gates[0].exec: expected an array of strings, not a string"},
	{GATE("\"exec\":[]"), "gates[0].exec: is empty: the program to run is missing"},
	{GATE("\"exec\":[\"\"]"), "gates[0].exec[0]: is empty: the program to run is missing"},
	{GATE("\"exec\":[\"/no/such\",1]"),
	 "gates[0].exec[1]: expected a string, not a whole number"},
	{GATE("\"exec\":[\"/no/such\"]"),
	 "gates[0].exec[0]: \"/no/such\": No such file or directory"},
	{GATE("\"exec\":[\"/etc/passwd\"]"),
	 "gates[0].exec[0]: \"/etc/passwd\": not an executable file"},
	{GATE("\"exec\":[\"bin/true\"]"),
	 "gates[0].exec[0]: \"bin/true\" is a relative path (expected an absolute one, or the name "
	 "of a program in the PATH of the service)"},
	{GATE("\"exec\":[\"no-such-program\"]},{\"exec\":[\"/bin/true\"]"),
	 "gates[0].exec[0]: \"no-such-program\": no such program in the PATH of the service "
	 "(/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)"},
	{GATE("\"http\":\"/verdict\""), "gates[0].http: \"/verdict\" is not a URL (expected "
					"\"http://HOST/PATH\" or \"https://HOST/PATH\")"},
	{GATE("\"http\":\"ftp://h/\""), "gates[0].http: \"ftp://h/\" is not a URL (expected "
					"\"http://HOST/PATH\" or \"https://HOST/PATH\")"},
	{GATE("\"http\":\"http:///x\""), "gates[0].http: \"http:///x\" is not a URL (expected "
					 "\"http://HOST/PATH\" or \"https://HOST/PATH\")"},
	{GATE("\"http\":\"https://\""), "gates[0].http: \"https://\" is not a URL (expected "
					"\"http://HOST/PATH\" or \"https://HOST/PATH\")"},
	{GATE("\"http\":\"http://h/a b\""),
	 "gates[0].http: \"http://h/a b\" has a blank or control character in it; write it as %20"},
	{GATE("\"http\":7"), "gates[0].http: expected a string, not a whole number"},
	{GATE("\"http\":\"http://h\",\"status\":\"2xx\""),
	 "gates[0].status: not an HTTP status (expected 100 to 599, or a range: \"200-399\")"},
	{GATE("\"http\":\"http://h\",\"at\":\"begin\""),
	 "gates[0].at: \"begin\" is unknown (expected \"shift\", \"step\" or \"leave\")"},
	{GATE("\"http\":\"http://h\",\"at\":[\"shift\",1]"),
	 "gates[0].at[1]: expected a string, not a whole number"},
	{GATE("\"http\":\"http://h\",\"at\":[]"),
	 "gates[0].at: is empty: the gate would never be asked"},
	{GATE("\"http\":\"http://h\",\"at\":true"),
	 "gates[0].at: expected a string or an array of strings, not true"},
	{GATE("\"http\":\"http://h\",\"at\":[\"step\",\"step\",\"step\",\"step\"]"),
	 "gates[0].at: more than 3 entries"},
	{GATE("\"http\":\"http://h\"},{\"http\":\"http://h\",\"at\":[\"step\"]"),
	 "gates[1]: is asked at \"step\" only, which \"strategy\" \"canary\" has, but this one is "
	 "\"blue-green\": it would never be asked"},
	{GATE("\"http\":\"http://h\",\"name\":\"\""), "gates[0].name: is empty"},
	{GATE("\"http\":\"http://h\",\"name\":\"a\\tb\""),
	 "gates[0].name: \"a?b\" has a control character in it"},
	{GATE("\"http\":\"http://h\",\"name\":\"1234567890123456789012345678901234567890"
	      "123456789012345678901234\""),
	 "gates[0].name: longer than 63 bytes"},
	{GATE("\"http\":\"http://h\",\"timeout\":\"0\""),
	 "gates[0].timeout: \"0\" is too short (at least 1ms)"},
	{GATE("\"http\":\"http://h\",\"min_connections\":1000000001"),
	 "gates[0].min_connections: 1000000001 is out of range (0 to 1000000000)"},
	{GATE("\"url\":\"http://h\""),
	 "gates[0].url: unknown key (there are: name, at, exec, http, status, timeout, "
	 "min_connections)"},
	/* hooks */
	{SERVICE(",\"hooks\":[]"), "hooks: expected an object, not an array"},
	{SERVICE(",\"hooks\":{\"after_shift\":[]}"),
	 "hooks.after_shift: is empty: the program to run is missing"},
	{SERVICE(",\"hooks\":{\"after_drain\":[\"/no/such\"]}"),
	 "hooks.after_drain[0]: \"/no/such\": No such file or directory"},
	{SERVICE(",\"hooks\":{\"on_rollback\":[\"./x\"]}"),
	 "hooks.on_rollback[0]: \"./x\" is a relative path (expected an absolute one, or the name "
	 "of a program in the PATH of the service)"},
	{SERVICE(",\"hooks\":{\"before_stop\":[\"/bin/true\"]}"),
	 "hooks.before_stop: unknown key (there are: before_start, after_shift, after_drain, "
	 "on_rollback, on_failure, timeout)"},
	{SERVICE(",\"hooks\":{\"on_failur\":[\"/bin/true\"]}"),
	 "hooks.on_failur: unknown key (did you mean \"on_failure\"?)"},
	{SERVICE(",\"hooks\":{\"timeout\":\"2d\"}"),
	 "hooks.timeout: \"2d\" is too long (at most 1d)"},
	/* Where they would be looked for is not known. */
	{SERVICE(",\"hooks\":{\"after_shift\":[\"no-such\"]},\"directory\":\"/no/such\""),
	 "directory: /no/such: No such file or directory"},
	{SERVICE(",\"hooks\":{\"after_shift\":[\"no-such\"]},\"environment\":{\"A\":1}"),
	 "environment.A: expected a string, not a whole number"},
	/* restart, watch, drain */
	{SERVICE(",\"restart\":{\"max\":65}"), "restart.max: 65 is out of range (0 to 64)"},
	{SERVICE(",\"restart\":{\"window\":\"0\"}"),
	 "restart.window: \"0\" is too short (at least 1ms)"},
	{SERVICE(",\"restart\":{\"delay\":\"2h\"}"),
	 "restart.delay: \"2h\" is too long (at most 1h)"},
	{SERVICE(",\"restart\":5"), "restart: expected an object, not a whole number"},
	{SERVICE(",\"watch\":{}"), "watch.paths: missing"},
	{SERVICE(",\"watch\":{\"paths\":\"current\"}"),
	 "watch.paths: \"current\" does not start with \"/\""},
	{SERVICE(",\"watch\":{\"paths\":\"/x\",\"settle\":\"0\"}"),
	 "watch.settle: \"0\" is too short (at least 1ms)"},
	{SERVICE(",\"watch\":{\"paths\":\"/x\",\"settle\":\"61m\"}"),
	 "watch.settle: \"61m\" is too long (at most 1h)"},
	{SERVICE(",\"watch\":\"current\""), "watch: \"current\" does not start with \"/\""},
	{SERVICE(",\"watch\":[\"/a\",\"b\"]"), "watch[1]: \"b\" does not start with \"/\""},
	{SERVICE(",\"watch\":\"\""), "watch: is empty"},
	{SERVICE(",\"watch\":[\"/\",\"/\",\"/\",\"/\",\"/\",\"/\",\"/\",\"/\",\"/\",\"/\",\"/\","
		 "\"/\",\"/\",\"/\",\"/\",\"/\",\"/\"]"),
	 "watch: more than 16 entries"},
	{SERVICE(",\"drain\":{\"shutdown_timeout\":\"31d\"}"),
	 "drain.shutdown_timeout: \"31d\" is too long (at most 30d)"},
	{SERVICE(",\"drain\":{\"force\":1}"),
	 "drain.force: expected true or false, not a whole number"},
	{SERVICE(",\"drain\":{\"generations_max\":1}"),
	 "drain.generations_max: 1 is out of range (2 to 8)"},
	{SERVICE(",\"drain\":{\"generations_max\":9}"),
	 "drain.generations_max: 9 is out of range (2 to 8)"},
};

static void test_config_each_policy_mistake_is_named_with_its_path(void **state)
{
	(void)state;
	expect_single_mistakes(single, sizeof(single) / sizeof(single[0]));
}

static void test_config_long_texts_are_refused(void **state)
{
	char json[8192];

	(void)state;
	snprintf(json, sizeof(json), GATE("\"http\":\"http://h/%02048d\""), 0);
	load_bad(json);
	assert_int_equal(mistakes.total, 1);
	expect_mistake(0, "services.web.gates[0].http: longer than 2048 bytes");
	snprintf(json, sizeof(json), SERVICE(",\"watch\":\"/%04096d\""), 0);
	load_bad(json);
	assert_int_equal(mistakes.total, 1);
	expect_mistake(0, "services.web.watch: longer than 4095 bytes");
}

/* Several in one service: each with the place that it has in the file. */
static void test_config_every_policy_mistake_is_told(void **state)
{
	(void)state;
	load_bad(SERVICE(",\"rollout\":{\"max_surge\":1,\"steps\":[{\"weight\":3}]},"
			 "\"gates\":[{\"at\":\"x\",\"exec\":[\"/no/such\"]},{\"exec\":[\"a/b\"]}],"
			 "\"hooks\":{\"on_failure\":[\"/no/such\"]}"));
	assert_int_equal(mistakes.total, 6);
	assert_non_null(strstr(mistakes.list[0].text, "services.web.rollout.steps: "));
	assert_non_null(strstr(mistakes.list[1].text, "services.web.rollout.max_surge: "));
	assert_non_null(strstr(mistakes.list[2].text, "services.web.gates[0].at: "));
	assert_non_null(strstr(mistakes.list[3].text, "services.web.gates[0].exec[0]: "));
	assert_non_null(strstr(mistakes.list[4].text, "services.web.gates[1].exec[0]: "));
	assert_non_null(strstr(mistakes.list[5].text, "services.web.hooks.on_failure[0]: "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_config_rolling_is_read),
		TEST(test_config_canary_steps_are_read_and_completed),
		TEST(test_config_canary_with_a_last_step_of_100_is_complete),
		TEST(test_config_stop_first_holds_unless_a_gap_is_allowed),
		TEST(test_config_canary_steps_are_bounded),
		TEST(test_config_gates_are_bounded),
		TEST(test_config_gates_are_read),
		TEST(test_config_hooks_restart_watch_and_drain_are_read),
		TEST(test_config_shutdown_timeout_is_that_of_a_drain_by_default),
		TEST(test_config_harmless_policies_are_accepted),
		TEST(test_config_programs_of_gates_and_hooks_are_found_in_the_path),
		TEST(test_config_programs_are_found_in_the_default_path),
		TEST(test_config_programs_are_found_in_the_directory),
		TEST(test_config_each_policy_mistake_is_named_with_its_path),
		TEST(test_config_long_texts_are_refused),
		TEST(test_config_every_policy_mistake_is_told),
	};

	return cmocka_run_group_tests_name("config_rollout", tests, NULL, NULL);
}
